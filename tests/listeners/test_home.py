"""The Home tab, on a real kernel: who may do what, how the data sources are, what waits and what was closed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox.databases.oceanbase import EmbeddedOceanBase
from sandbox.slack.faults import Failure
from tests.support.slack_person import buttons_of, table_of, text_of
from tests.support.stage import Stage, session_id, staged


def test_the_tab_shows_rights_data_sources_open_requests_and_the_last_closes(stage: Stage) -> None:
    first, second = stage.connect(), stage.connect()
    card = stage.asks(stage.alice, f"/kill-session {session_id(first)}", "Nothing is closed without a press")
    stage.alice.press(card, "Close Session")
    stage.alice.wait_for_change(card, "✅ closed")
    stage.asks(stage.bob, f"/kill-session {session_id(second)}", "Nothing is closed without a press")
    tab = stage.alice.opens_home("Waiting for a press")
    said = text_of(tab)
    assert "see, close · data sources: all · tenants: all · in every channel" in said
    assert table_of(tab)[1][0] == "demo"
    waiting, closed = said.split("Waiting for a press")[1].split("Last closes")
    assert f"Close session {session_id(second)} on demo: asked by U02BOB in C01INC, expires" in waiting
    assert f"✅ closed · Close session {session_id(first)} on demo, by U01ALICE" in closed
    assert buttons_of(tab) == ["Refresh"], "nothing can be closed from there"


def test_refresh_shows_what_has_changed_since(stage: Stage) -> None:
    tab = stage.alice.opens_home("Waiting for a press")
    sleeper = stage.connect()
    stage.asks(stage.bob, f"/kill-session {session_id(sleeper)}", "Nothing is closed without a press")
    stage.alice.press(tab, "Refresh")
    stage.alice.wait_for_home(f"Close session {session_id(sleeper)} on demo")


def test_where_slack_takes_no_table_the_tab_says_the_same_as_text(stage: Stage) -> None:
    stage.slack.faults.refuse_blocks.add("table")
    try:
        tab = stage.bob.opens_home("---------")
    finally:
        stage.slack.faults.refuse_blocks.clear()
    assert not [block for block in tab["blocks"] if block["type"] == "table"]
    assert "demo" in text_of(tab)
    assert buttons_of(tab) == ["Refresh"]


def test_whoever_opens_a_tab_that_slack_refuses_hears_so_by_direct_message(stage: Stage) -> None:
    stage.slack.faults.fall_ill(Failure("", error="not_enabled"), share=1.0, methods={"views.publish"})
    try:
        stage.alice.looks_at_home()
        told = stage.alice.wait_for_message(
            "Slack did not show the Home tab (the Home tab of the app is off)", "D01ALICE"
        )
    finally:
        stage.slack.faults.recover()
    assert "Whoever runs this bot must switch it on in the Slack app's settings" in text_of(told)


def test_somebody_whom_no_rule_names_sees_that_and_nothing_else(stage: Stage) -> None:
    said = text_of(stage.gus.opens_home("No access rule names you"))
    assert "demo" not in said


PRIVATE = """
[[access]]
who = ["U01ALICE"]
may = ["view", "close"]

[[access]]
who = ["U02BOB"]
may = ["view"]
tenants = ["shop"]

[[access]]
who = ["U02BOB", "U03GUS"]
may = ["view", "close"]
data_sources = ["demo"]
tenants = ["sys"]
channels = ["C02DBA"]
"""


@pytest.fixture(scope="module")
def private(oceanbase: EmbeddedOceanBase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Give a stage whose rules hold in a private channel, with an open request and a close."""
    with staged(oceanbase, tmp_path_factory.mktemp("private"), access=PRIVATE) as stage:
        closed, asked = stage.connect(), stage.connect()
        card = stage.asks(stage.alice, f"/kill-session {session_id(closed)}", "Nothing is closed without a press")
        stage.alice.press(card, "Close Session")
        stage.alice.wait_for_change(card, "✅ closed")
        stage.asks(stage.alice, f"/kill-session {session_id(asked)}", "Nothing is closed without a press")
        yield stage
        stage.tidy()


def test_what_somebody_may_see_in_a_channel_alone_is_not_shown_to_them_outside_of_it(private: Stage) -> None:
    tab = private.gus.opens_home("see, close · in C02DBA")
    said = text_of(tab)
    assert "These rules apply only in those channels. Type /sessions there." in said
    assert not [word for word in ("demo", "sys", "Waiting for a press", "Last closes") if word in said]
    private.gus.press(tab, "Refresh")
    assert text_of(private.gus.opens_home("in C02DBA")) == said
    assert "on demo: asked by U01ALICE" in text_of(private.alice.opens_home("Waiting for a press"))


def test_beside_what_holds_everywhere_a_rule_of_a_channel_adds_nothing_to_the_tab(private: Stage) -> None:
    tab = private.bob.opens_home("Waiting for a press")
    said = text_of(tab)
    assert "see · data sources: all · tenants: shop · in every channel" in said
    assert "see, close · in C02DBA" in said
    assert table_of(tab)[1][2:4] == ["0", "0"], "of tenant shop, which this server has not"
    assert "Nothing waits." in said
    assert "Nothing was closed yet." in said
