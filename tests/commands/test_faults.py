"""What people see while the database, Slack or the bot itself fails, and that nothing is closed by it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.support.slack_person import buttons_of, options_of, text_of
from tests.support.stage import Stage, accounts, session_id, staged

READ_TIMEOUT = 6.0  # seconds; bot.sessions.database


@pytest.fixture(scope="module")
def shaky_database(restartable: EmbeddedOceanBase) -> EmbeddedOceanBase:
    """Give a database that tests may stop, start and suspend."""
    accounts(restartable)
    return restartable


@pytest.fixture(scope="module")
def standing_shaky_stage(
    shaky_database: EmbeddedOceanBase, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """Give the stage on that database, set up once."""
    with staged(shaky_database, tmp_path_factory.mktemp("bot")) as stage:
        yield stage


@pytest.fixture
def shaky_stage(standing_shaky_stage: Stage) -> Iterator[Stage]:
    """Give a stage whose database and Slack a test may play with; it leaves both as they were."""
    yield standing_shaky_stage
    standing_shaky_stage.tidy()


@pytest.fixture
def own_stage(shaky_database: EmbeddedOceanBase, tmp_path: Path) -> Iterator[Stage]:
    """Give a stage whose bot only one test plays with."""
    with staged(shaky_database, tmp_path) as stage:
        yield stage


def stored(stage: Stage, query: str) -> object:
    """Ask the bot's store for one value."""
    with sqlite3.connect(stage.bot.log.parent / "store.db") as store:
        row = store.execute(query).fetchone()
    store.close()
    return row[0] if row else None


def test_a_stopped_database_earns_a_sentence_and_the_next_command_after_its_return_works(shaky_stage: Stage) -> None:
    stage = shaky_stage
    listed = stage.asks(stage.alice, "/sessions", "Sessions on demo")
    stage.database.halt()
    try:
        answer = stage.asks(stage.alice, "/sessions", "cannot be reached")
        assert "Check that the server runs" in text_of(answer)
        assert "Error id" in text_of(answer)
        assert stage.presses(stage.alice, listed, "Refresh", "cannot be reached")["ephemeral"]
        stage.asks(stage.alice, "/kill-session 3221487826", "cannot be reached")
    finally:
        stage.database.start()
    stage.asks(stage.alice, "/sessions", "Sessions on demo")
    stage.alice.press(listed, "Refresh")


def test_a_press_while_the_database_is_down_closes_nothing_and_can_be_repeated(shaky_stage: Stage) -> None:
    stage = shaky_stage
    sleeper = stage.connect()
    card = stage.card_of(session_id(sleeper))
    stage.database.halt()
    try:
        stage.presses(stage.alice, card, "Close Session", "cannot be reached")
    finally:
        stage.database.start()
    now = stage.alice.now(card)
    assert now is not None
    assert "Close Session" in buttons_of(now), "the card is open again"
    stage.alice.press(card, "Close Session")
    # The restart has ended the session; its id may belong to somebody else by now.
    stage.alice.wait_for_change(
        card, lambda message: any(w in text_of(message) for w in ("already gone", "changed, not closed"))
    )


def test_a_hung_database_is_told_within_the_time_out_and_acknowledged_at_once(shaky_stage: Stage) -> None:
    stage = shaky_stage
    stage.asks(stage.alice, "/sessions", "Sessions on demo")
    stage.database.suspend()
    try:
        answer = stage.asks(stage.alice, "/sessions", "did not answer within")
        assert answer["ephemeral"]
        waiting = [text_of(m) for m in stage.alice.messages() if "Still waiting for data source demo" in text_of(m)]
        assert waiting, "progress is shown after two seconds"
        assert not [m for m in stage.alice.messages() if "operation_timeout" in text_of(m)]
    finally:
        stage.database.resume()
    stage.asks(stage.alice, "/sessions", "Sessions on demo")


def test_a_card_that_nobody_presses_says_by_itself_that_it_has_expired(own_stage: Stage) -> None:
    stage = own_stage
    sleeper = stage.connect()
    card = stage.card_of(session_id(sleeper))
    stage.passes(card, 121)
    result = stage.alice.wait_for_change(card, "expired")
    assert buttons_of(result) == []
    assert "This card closed nothing" in text_of(result)
    assert stage.row(session_id(sleeper))
    assert stage.bot.stop() == 0, "a bot told to stop ends cleanly"
    assert '"stopped"' in stage.bot.log.read_text()


def test_a_command_whose_acknowledgement_is_lost_is_carried_out_once(shaky_stage: Stage) -> None:
    stage = shaky_stage
    sleeper = stage.connect()
    stage.slack.faults.lose_acks = 1
    card = stage.card_of(session_id(sleeper))
    stage.asks(stage.alice, "/sessions", "Sessions on demo")
    cards = [m for m in stage.alice.messages() if str(session_id(sleeper)) in text_of(m)]
    assert [m["key"] for m in cards if "Nothing is closed without a press" in text_of(m)] == [card["key"]]


def test_a_lost_socket_is_opened_again(shaky_stage: Stage) -> None:
    stage = shaky_stage
    stage.slack.faults.drop_connections()
    stage.slack.wait_for(lambda: stage.slack.connections > 0, what="a new connection")
    stage.asks(stage.alice, "/sessions", "Sessions on demo")


def test_a_workspace_that_leaves_out_optional_fields_is_served(shaky_stage: Stage) -> None:
    stage = shaky_stage
    faults = stage.slack.faults
    faults.omit_optional_fields = True
    faults.unknown_methods |= {"users.info", "usergroups.users.list", "conversations.info"}
    try:
        report = stage.runs("SELECT SLEEP(60)")
        listed = stage.asks(stage.alice, f"/sessions id={report.id}", "Sessions on demo")
        stage.alice.choose(listed, "Pick sessions", options_of(listed, "Pick sessions")[:1])
        card = stage.presses(stage.alice, listed, "Close Query", "Nothing is closed without a press")
        stage.alice.press(card, "Close Query")
        stage.alice.wait_for_change(card, "query closed")
        assert report.ended() == 1317
    finally:
        faults.omit_optional_fields = False
        faults.unknown_methods.clear()


def test_slack_answering_too_many_requests_loses_no_answer(shaky_stage: Stage) -> None:
    stage = shaky_stage
    stage.slack.faults.fail_next("response_url", status=429, error="ratelimited", retry_after=1)
    stage.asks(stage.alice, "/sessions", "Sessions on demo")


def test_an_unusable_response_url_falls_back_to_posting(shaky_stage: Stage) -> None:
    stage = shaky_stage
    stage.slack.faults.fail_next("response_url", status=404, error="expired_url")
    stage.asks(stage.alice, "/sessions", "Sessions on demo")


def test_without_its_store_the_bot_closes_nothing_and_says_so(shaky_stage: Stage) -> None:
    stage = shaky_stage
    sleeper = stage.connect()
    card = stage.card_of(session_id(sleeper))
    with sqlite3.connect(stage.bot.log.parent / "store.db", isolation_level=None) as store:
        store.execute("ALTER TABLE audit RENAME TO audit_away")
        try:
            stage.presses(stage.alice, card, "Close Session", "Nothing is closed without a record")
        finally:
            store.execute("ALTER TABLE audit_away RENAME TO audit")
    store.close()
    assert stage.row(session_id(sleeper))
    stage.asks(stage.alice, "/sessions", "Sessions on demo")


def test_a_bot_killed_between_intent_and_outcome_finishes_the_record_without_closing(own_stage: Stage) -> None:
    stage = own_stage
    sleeper = stage.connect()
    card = stage.card_of(session_id(sleeper))
    stage.slack.wait_for(lambda: stored(stage, "SELECT card_ts FROM closing_requests") == card["ts"])
    stage.bot.kill()
    # The state a crash leaves right after the intent was written, longer ago than any press takes.
    with sqlite3.connect(stage.bot.log.parent / "store.db") as store:
        store.execute(
            "UPDATE closing_requests SET state = 'claimed', decided_by = 'U01ALICE', decided_team = 'T01DEMO', "
            "decided_mode = 'Close Session', decided_at = created_at - 100"
        )
        store.execute("UPDATE closing_targets SET intent_at = 1")
    store.close()
    stage.bot.start()
    result = stage.alice.wait_for_change(card, "still running")
    assert "The bot was restarted while closing" in text_of(result)
    assert stage.row(session_id(sleeper)), "a restart closes nothing"
    lines = [json.loads(line) for line in stage.bot.log.read_text().splitlines() if '"recorded"' in line]
    (told,) = [line for line in lines if line["act"] == "outcome"]
    named = told["session"], told["user"], told["mode"], told["finding"]
    assert named == (session_id(sleeper), "U01ALICE", "Close Session", "still running"), "the log tells it as any other"
