"""Several data sources in one bot: which one is meant, and what each person may do on which."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.support.slack_person import buttons_of, options_of, table_of, text_of
from tests.support.stage import Stage, session_id, staged

ACCESS = """
[[access]]
who = ["U01ALICE"]
may = ["view", "close"]

[[access]]
who = ["U02BOB"]
may = ["view"]
data_sources = ["spare"]
tenants = ["sys", "shop"]

[[access]]
who = ["U03GUS"]
may = ["view"]
data_sources = ["demo", "spare"]
channels = ["C03GENERAL"]

[[access]]
who = ["U03GUS"]
may = ["close"]
data_sources = ["spare"]
channels = ["C03GENERAL"]

[channels.C03GENERAL]
data_source = "demo"
"""
DEMOS = "C03GENERAL"  # the channel that means demo
SPARE = """
[data_sources.spare]
host = "{host}"
port = {port}
user = "root@sys"
password = "{password}"

[data_sources.museum]
host = "{host}"
port = {port}
user = "root@sys"
password = "{password}"
read_only = true
"""


@pytest.fixture(scope="module")
def standing(oceanbase: EmbeddedOceanBase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    spare = SPARE.format(host=oceanbase.host, port=oceanbase.port, password=oceanbase.password)
    with staged(oceanbase, tmp_path_factory.mktemp("bot"), access=ACCESS, more=spare) as stage:
        yield stage


@pytest.fixture
def stage(standing: Stage) -> Iterator[Stage]:
    yield standing
    standing.tidy()


def test_where_two_could_be_meant_a_question_with_buttons_runs_what_was_typed_on_the_one_pressed(stage: Stage) -> None:
    sleeper = stage.connect()
    asked = stage.asks(stage.alice, f"/sessions id={session_id(sleeper)}", "Which data source?")
    assert asked["ephemeral"]
    assert buttons_of(asked) == ["demo", "spare", "museum"]
    answer = stage.presses(stage.alice, asked, "spare", "Sessions on spare")
    assert not answer["ephemeral"], "a list is for the channel"
    assert table_of(answer)[1][0] == str(session_id(sleeper))
    assert f"/sessions on=spare id={session_id(sleeper)}" in text_of(answer)
    assert buttons_of(stage.alice.now(asked) or {}) == []


def test_a_word_typed_alone_for_locks_leads_to_those_of_the_data_source_pressed(stage: Stage) -> None:
    asked = stage.asks(stage.alice, "/sessions blocked", "Which data source?")
    assert not stage.presses(stage.alice, asked, "spare", "Locks on spare")["ephemeral"]
    stage.asks(stage.alice, "/sessions locks on=museum", "Locks on museum")


def test_a_close_is_never_asked_about_with_buttons_but_answered_with_a_sentence(stage: Stage) -> None:
    sleeper = stage.connect()
    told = stage.asks(stage.alice, f"/kill-session {session_id(sleeper)}", "Which data source?")
    assert buttons_of(told) == []
    assert "You may use: demo, spare." in text_of(told), "on the third nothing is closed"
    assert f"/kill-session {session_id(sleeper)} on=demo" in text_of(told)


def test_somebody_who_may_use_one_data_source_only_is_not_asked(stage: Stage) -> None:
    stage.asks(stage.bob, "/sessions", "Sessions on spare")
    stage.asks(stage.bob, "/sessions source=demo", "There is no data source demo that you may use here")


def test_a_default_that_somebody_may_not_use_gives_way_to_the_one_that_is_left(stage: Stage) -> None:
    for verb in ("", "stats", "vars", "show 5", "locks"):
        answer = stage.asks(stage.bob, f"/sessions {verb}", "spare", DEMOS)
        assert "demo" not in text_of(answer)


def test_a_close_does_not_fall_through_to_another_data_source_than_the_one_that_is_seen(stage: Stage) -> None:
    number = session_id(stage.connect())  # which has that id on both
    refused = "You may not close sessions on demo in this channel"
    assert stage.asks(stage.gus, f"/kill-session {number}", refused, DEMOS)["ephemeral"]
    stage.asks(stage.gus, "/kill-session where user=teller", refused, DEMOS)
    stage.asks(stage.gus, f"/kill-session {number} source=demo", refused, DEMOS)
    stage.asks(stage.gus, f"/kill-session {number} source=spare", "Nothing is closed without a press", DEMOS)


@pytest.mark.parametrize("named", ["zzz", "demo", "museum"])
@pytest.mark.parametrize("typed", ["/sessions audit", "/sessions", "/sessions stats", "/sessions vars"])
def test_a_name_typed_wrong_earns_the_names_that_one_may_use_and_no_other(stage: Stage, typed: str, named: str) -> None:
    told = stage.asks(stage.bob, f"{typed} source={named}", f"There is no data source {named} that you may use here")
    assert "You may use: spare." in text_of(told)
    left = {"demo", "museum"} - {named}
    assert not [name for name in left if name in text_of(told)]


def test_help_shows_what_this_person_may_do_here_and_nothing_else(stage: Stage) -> None:
    bobs = text_of(stage.asks(stage.bob, "/sessions help", "You may here"))
    assert "spare: see tenants shop, sys" in bobs
    assert "demo" not in bobs
    assert "/kill-session" not in bobs
    alices = text_of(stage.asks(stage.alice, "/sessions help", "You may here"))
    assert "demo: see everything; close everything" in alices
    assert "/kill-session 3221487826 query" in alices
    guests = text_of(stage.asks(stage.gus, "/sessions help", "You may do nothing"))
    assert "/sessions" not in guests


def test_on_a_read_only_data_source_nothing_is_closed_by_anybody(stage: Stage) -> None:
    sleeper = stage.connect()
    number = session_id(sleeper)
    for typed in (f"{number} source=museum", "where user=teller source=museum"):
        assert stage.asks(stage.alice, f"/kill-session {typed}", "Nothing is closed on museum")["ephemeral"]
    listed = stage.asks(stage.alice, f"/sessions id={number} source=museum", "Sessions on museum")
    stage.alice.choose(listed, "Pick sessions", options_of(listed, "Pick sessions"))
    stage.presses(stage.alice, listed, "Close Session", "Nothing is closed on museum: its configuration says read_only")
    assert stage.row(number)
