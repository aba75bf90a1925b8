"""A result that Slack does not take at once: the record has it, and the card is rewritten by itself later."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator

import pytest

from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.support.approving import ACCESS, dialog_of
from tests.support.slack_person import buttons_of, text_of
from tests.support.slack_text import Json
from tests.support.stage import ASKS, Stage, session_id, staged

NOT_A_MEMBER = "C03GENERAL"  # the bot's place there is only where somebody types a command
FREE = """
[data_sources.free]
host = "{host}"
port = {port}
user = "root@sys"
password = "{password}"
"""


@pytest.fixture(scope="module")
def standing(oceanbase: EmbeddedOceanBase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Give a stage where a second person confirms on one data source and anybody on the other."""
    with staged(
        oceanbase,
        tmp_path_factory.mktemp("later"),
        access=ACCESS,
        first='default_source = "demo"',
        source='approval = "second-person"\nbreak_glass_after = "1m"',
        more=FREE.format(host=oceanbase.host, port=oceanbase.port, password=oceanbase.password),
    ) as stage:
        yield stage


@pytest.fixture
def stage(standing: Stage) -> Iterator[Stage]:
    """Give the standing stage and close afterwards what the test opened on it."""
    yield standing
    standing.slack.faults.unknown_methods.clear()
    standing.tidy()


def asked_on(stage: Stage, source: str, channel: str | None = None) -> tuple[int, Json]:
    """Ask for the close of a session on that data source."""
    number = session_id(stage.connect())
    return number, stage.card_of(f"{number} source={source}", channel)


def refuse_the_result(stage: Stage) -> None:
    """Let Slack take neither the answer to the next press nor a rewritten message, until it is let through."""
    stage.slack.faults.unknown_methods.add("chat.update")
    stage.slack.faults.fail_next("response_url", status=404, error="expired_url")


def let_it_through(stage: Stage, card: Json, number: int) -> Json:
    """Look at what is known although the card says nothing, let Slack take it, and wait for it."""
    stage.wait_until(lambda: not stage.row(number), "the session's end")
    events = (
        "SELECT a.event FROM audit a JOIN closing_requests r ON r.id = a.request_id WHERE r.card_ts = ? ORDER BY a.id"
    )
    stage.slack.wait_for(
        lambda: [event for (event,) in stage.stored(events, card["ts"])] == ["request", "confirm", "intent", "outcome"]
    )
    now = stage.alice.now(card)
    assert "Close Session" in buttons_of(now or {}), "the card still stands as it was"
    with contextlib.closing(sqlite3.connect(stage.bot.config.parent / "store.db")) as store, store:
        # Whoever pressed has 30 s to show it; they are over.
        store.execute("UPDATE closing_requests SET decided_at = decided_at - 40 WHERE card_ts = ?", (card["ts"],))
    stage.slack.faults.unknown_methods.clear()
    return stage.alice.wait_for_change(card, "✅ closed")


def test_a_result_that_slack_did_not_take_is_shown_by_itself_later(stage: Stage) -> None:
    number, card = asked_on(stage, "free")
    refuse_the_result(stage)
    stage.alice.press(card, "Close Session")
    result = let_it_through(stage, card, number)
    assert "Close Session pressed by <@U01ALICE>" in text_of(result)
    assert buttons_of(result) == []


def test_so_is_one_that_was_confirmed_in_a_dialog_and_whoever_did_is_told_at_once(stage: Stage) -> None:
    number, card = asked_on(stage, "demo")
    dialog_of(stage.bob, card, "Close Session")
    refuse_the_result(stage)
    assert stage.bob.submit() == {}
    told = stage.bob.wait_for_message(lambda message: message["ephemeral"] and "✅ closed" in text_of(message))
    assert f"Close session {number} of teller on demo: ✅ closed" in text_of(told)
    result = let_it_through(stage, card, number)
    assert "Close Session pressed by <@U02BOB>" in text_of(result)


def test_a_client_that_comes_back_and_does_the_same_is_told_on_the_card(stage: Stage) -> None:
    report = stage.runs("SELECT SLEEP(60), 'monthly'", bind_address="127.0.8.1")
    card = stage.asks(stage.alice, f"/kill-session {report.id} source=free", ASKS)
    stage.alice.press(card, "Close Session")
    stage.alice.wait_for_change(card, "✅ closed")
    again = stage.runs("SELECT SLEEP(60), 'daily'", bind_address="127.0.8.1")
    result = text_of(stage.alice.wait_for_change(card, "🔁 came back"))
    assert f"🔁 came back as session {again.id}: a new session of the same user and source does the same." in result
    assert "Closing again will not help" in result
    assert "✅ closed" in result, "it was"
    recorded = stage.stored("SELECT event, details FROM audit WHERE event = 'came back'")
    assert len(recorded) == 1
    assert str(again.id) in recorded[0][1]


def test_a_dialog_reaches_its_card_where_the_bot_is_no_member(stage: Stage) -> None:
    number, card = asked_on(stage, "demo", NOT_A_MEMBER)
    dialog_of(stage.bob, card, "Close Session")
    assert stage.bob.submit() == {}
    result = stage.alice.wait_for_change(card, "✅ closed")
    assert "Close Session pressed by <@U02BOB>" in text_of(result)
    assert stage.row(number) == {}


def test_break_glass_calls_the_channel_where_the_bot_is_no_member(stage: Stage) -> None:
    _, card = asked_on(stage, "demo", NOT_A_MEMBER)
    dialog = dialog_of(stage.alice, card, "Break glass", "alone")
    stage.alice.fill_in(dialog, "Reason", "nobody is there")
    assert stage.alice.submit() == {}
    assert "Stop" in buttons_of(stage.alice.wait_for_change(card, "Break-glass"))
    call = stage.bob.wait_for_message("Look at its card above", NOT_A_MEMBER)
    assert not call["ephemeral"]
