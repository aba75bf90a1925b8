"""The Home tab, on a real kernel: who may do what, how the data sources are, what waits and what was closed."""

from __future__ import annotations

from tests.slack_person import buttons_of, table_of, text_of
from tests.stage import Stage, session_id


def test_the_tab_shows_rights_data_sources_open_requests_and_the_last_closes(stage: Stage) -> None:
    first, second = stage.connect(), stage.connect()
    card = stage.asks(stage.alice, f"/kill-session {session_id(first)}", "Nothing is closed without a press")
    stage.alice.press(card, "Close Session")
    stage.alice.wait_for_change(card, "✅ closed")
    stage.asks(stage.bob, f"/kill-session {session_id(second)}", "Nothing is closed without a press")
    tab = stage.alice.opens_home("Waiting for a press")
    said = text_of(tab)
    assert "*see, close* · data sources: all · tenants: all · in every channel" in said
    assert table_of(tab)[1][0] == "demo"
    waiting, closed = said.split("Waiting for a press")[1].split("Last closes")
    assert f"Close session {session_id(second)} on demo: asked by <@U02BOB> in <#C01INC>, expires" in waiting
    assert f"✅ closed · Close session {session_id(first)} on demo, by <@U01ALICE>" in closed
    assert buttons_of(tab) == ["Refresh"], "nothing can be closed from there"


def test_refresh_shows_what_has_changed_since(stage: Stage) -> None:
    tab = stage.alice.opens_home("Waiting for a press")
    sleeper = stage.connect()
    stage.asks(stage.bob, f"/kill-session {session_id(sleeper)}", "Nothing is closed without a press")
    stage.alice.press(tab, "Refresh")
    stage.alice.wait_for_home(f"Close session {session_id(sleeper)} on demo")


def test_somebody_whom_no_rule_names_sees_that_and_nothing_else(stage: Stage) -> None:
    said = text_of(stage.gus.opens_home("No access rule names you"))
    assert "demo" not in said
