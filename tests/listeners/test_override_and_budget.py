"""What is closed only by an approver's press: protected sessions, and more within a short time than is usual."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.faults.arena import at_once
from tests.support.approving import ACCESS
from tests.support.slack_person import buttons_of, text_of
from tests.support.slack_text import Json
from tests.support.stage import ASKS, Stage, session_id, staged

OF_ONE_TENANT = """
[[access]]
who = ["U03GUS"]
may = ["approve"]
tenants = ["sys"]
"""
BY_OWNER = 'reason="asked for by its owner"'


@pytest.fixture(scope="module")
def standing(oceanbase: EmbeddedOceanBase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Give a stage with sessions that are protected in every way there is."""
    source = 'protected_modules = ["ledger-writer"]\nprotected_sources = ["127.0.6.0/24"]'
    with staged(oceanbase, tmp_path_factory.mktemp("override"), source=source, access=ACCESS) as stage:
        yield stage


@pytest.fixture
def stage(standing: Stage) -> Iterator[Stage]:
    """Give the standing stage and close afterwards what the test opened on it."""
    yield standing
    standing.tidy()


def protected(stage: Stage, how: str) -> int:
    """Open a session that is protected in that way."""
    if how == "module":
        connection = stage.connect()
        with connection.cursor() as cursor:
            cursor.execute("CALL dbms_application_info.set_module('ledger-writer', '')")
        return session_id(connection)
    return session_id(stage.connect("guarded") if how == "user" else stage.connect(bind_address="127.0.6.7"))


def reasked(stage: Stage, card: Json, button: str, answer: str) -> str:
    """Alice presses and is answered."""
    return text_of(stage.presses(stage.alice, card, button, answer))


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("user", "belongs to guarded, a protected user of demo"),
        ("module", "is tagged ledger-writer, a protected module of demo"),
        ("source", "comes from 127.0.6.7, a protected source of demo"),
    ],
)
def test_a_protected_session_is_refused_with_the_way_in_and_closed_by_an_approvers_press(
    stage: Stage, how: str, why: str
) -> None:
    number = protected(stage, how)
    refusal = text_of(stage.asks(stage.alice, f"/kill-session {number}", "could harm the cluster"))
    assert why in refusal
    assert f'somebody who may approve can confirm it: /kill-session {number} override reason="…"' in refusal
    card = stage.card_of(f"{number} override {BY_OWNER}")
    assert "⛔ Protected. This session " in text_of(card)
    assert why in text_of(card)
    assert "Somebody who may approve can set that aside for this one close." in text_of(card)
    assert reasked(stage, card, "Close Session", "You may not approve closing sessions")
    assert stage.row(number)
    stage.bob.press(card, "Close Session")
    result = stage.alice.wait_for_change(card, "✅ closed")
    assert "Close Session pressed by <@U02BOB>" in text_of(result)
    assert stage.row(number) == {}
    recorded = text_of(stage.asks(stage.alice, "/sessions audit", f"{number}: closed"))
    assert f"asked for Close Session: {number}" in recorded
    assert ", although it " in recorded


def test_all_that_protects_a_session_stands_on_the_card_and_what_comes_later_is_asked_about_anew(
    stage: Stage,
) -> None:
    connection = stage.connect("guarded", bind_address="127.0.6.7")
    number = session_id(connection)
    both = "belongs to guarded, a protected user of demo, and comes from 127.0.6.7, a protected source of demo"
    assert both in text_of(stage.asks(stage.alice, f"/kill-session {number}", "could harm the cluster"))
    card = stage.card_of(f"{number} override {BY_OWNER}")
    assert f"This session {both}." in text_of(card)
    with connection.cursor() as cursor:
        cursor.execute("CALL dbms_application_info.set_module('ledger-writer', '')")
    stage.bob.press(card, "Close Session")
    again = stage.alice.wait_for_change(
        card, "is tagged ledger-writer, a protected module of demo. Its card did not say so"
    )
    assert stage.row(number)
    assert "a protected source of demo." in text_of(again)
    assert "Press again if it is to be closed." in text_of(again)
    stage.bob.press(again, "Close Session")
    stage.alice.wait_for_change(card, "✅ closed")
    assert stage.row(number) == {}


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("{guarded} override", "override needs a reason"),
        ("{guarded},{other} override " + BY_OWNER, "override takes one session at a time"),
        ("{other} override " + BY_OWNER, "is not protected. Nothing was closed. Ask without override"),
        ("where user=guarded override " + BY_OWNER, "override"),
    ],
)
def test_an_override_wants_a_reason_and_one_protected_session(stage: Stage, typed: str, sentence: str) -> None:
    ids = {"guarded": session_id(stage.connect("guarded")), "other": session_id(stage.connect())}
    answer = stage.asks(stage.alice, f"/kill-session {typed.format(**ids)}", sentence)
    assert answer["ephemeral"]
    assert all(map(stage.row, ids.values()))


def test_no_override_sets_aside_what_is_never_closed(stage: Stage) -> None:
    own = stage.own_session()
    stage.asks(stage.alice, f"/kill-session {own} override {BY_OWNER}", "one of this bot's own. It is never closed")


def test_closes_beyond_the_budget_wait_until_an_approver_extends_it(
    oceanbase: EmbeddedOceanBase, tmp_path: Path
) -> None:
    source = 'budget = 2\nbudget_window = "10m"'
    with staged(oceanbase, tmp_path, source=source, access=ACCESS + OF_ONE_TENANT) as stage:
        ids = [session_id(stage.connect(bind_address=f"127.0.5.{number}")) for number in range(1, 6)]
        for number in ids[:2]:
            card = stage.card_of(number)
            stage.alice.press(card, "Close Session")
            stage.alice.wait_for_change(card, "✅ closed")
        third = stage.card_of(ids[2])
        wanted = "Somebody who may approve for all of demo must extend the budget by 2, to 4; then press again."
        call = stage.presses(stage.alice, third, "Close Session", wanted)
        if call["ephemeral"]:  # Alice is told herself as well; which of the two comes first is open
            call = stage.bob.wait_for_message(wanted)
        assert "2 sessions or queries were closed on demo within 10 min; 2 are allowed there" in text_of(call)
        assert "You can ask: <!subteam^S0DBATEAM> <@U02BOB>." in text_of(call)
        assert buttons_of(call) == ["Extend budget"]
        assert not call["ephemeral"], "whoever may approve must see it"
        assert stage.row(ids[2])
        assert "Close Session" in buttons_of(stage.alice.now(third) or {}), "the card waits"
        assert stage.presses(stage.alice, call, "Extend budget", "You may not approve")["ephemeral"]
        of_one = stage.presses(stage.gus, call, "Extend budget", "You may approve closing sessions of sys on demo; its")
        assert of_one["ephemeral"]
        assert "You can ask: <!subteam^S0DBATEAM> <@U02BOB>." in text_of(of_one)
        stage.slack.faults.deliver_twice = True
        at_once([partial(stage.bob.press, call, "Extend budget")] * 3)
        stage.slack.faults.deliver_twice = False
        said = "<@U02BOB> extended the budget of demo by 2 closes, to 4 within 10 min. Press again."
        extended = stage.alice.wait_for_change(call, said)
        assert buttons_of(extended) == []
        stage.alice.press(third, "Close Session")
        stage.alice.wait_for_change(third, "✅ closed")
        assert "extended the budget of demo by 2" in text_of(stage.asks(stage.bob, "/sessions audit", "Record of"))
        more = stage.card_of(f"{ids[3]},{ids[4]}")
        told = stage.presses(stage.alice, more, "Close Session", "this request would close 2 more")
        assert "3 sessions or queries were closed on demo within 10 min; 4 are allowed there" in text_of(told)
        [(extensions,)] = stage.stored("SELECT COUNT(*) FROM audit WHERE event = 'extend budget'")
        assert extensions == 1
        assert all(map(stage.row, ids[3:])), "a request is closed as a whole or not at all"
        stage.tidy()


def test_where_nothing_may_be_closed_neither_an_override_nor_an_approver_closes_anything(
    oceanbase: EmbeddedOceanBase, tmp_path: Path
) -> None:
    with staged(oceanbase, tmp_path, source="read_only = true", access=ACCESS) as stage:
        for user in ("teller", "guarded"):
            number = session_id(stage.connect(user))
            for person in (stage.alice, stage.bob):
                for typed in ("", f"override {BY_OWNER}"):
                    answer = stage.asks(
                        person,
                        f"/kill-session {number} {typed}",
                        "Nothing is closed by this bot: the configuration of each data source says read_only",
                    )
                    assert not buttons_of(answer)
                    assert ASKS not in text_of(answer)
            assert stage.row(number)
        stage.tidy()
