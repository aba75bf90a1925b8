"""Starting while something is away, and ending in time: what is under way is finished or on record."""

from __future__ import annotations

import contextlib
import signal
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from sandbox.databases.oceanbase import EmbeddedOceanBase
from sandbox.slack.faults import Failure
from sandbox.slack.server import SlackSandbox
from tests.support.http_bot import HttpBot, SocketBot, Web, free_port, request_url
from tests.support.patience import PATIENCE
from tests.support.running_bot import COMMANDS
from tests.support.slack_person import Person, buttons_of, text_of
from tests.support.slack_text import Json
from tests.support.stage import RunningStatement, Stage, accounts, staged


def staged_in(
    database: EmbeddedOceanBase, folder: Path, *, http: bool = True, web: Web | None = None, store: str = ""
) -> AbstractContextManager[Stage]:
    """Set up a stage of its own in one of the two modes."""
    web = web or Web(free_port())
    bot, url = (HttpBot, request_url(web)) if http else (SocketBot, None)
    return staged(database, folder, bot=bot, request_url=url, web=web, store=store)


@contextmanager
def store_taken(folder: Path) -> Iterator[None]:
    """Let nobody else write to the store."""
    with closing(sqlite3.connect(folder / "store.db", isolation_level=None)) as store:
        store.execute("BEGIN IMMEDIATE")
        yield
        store.execute("ROLLBACK")


def of(stage: Stage, card: Json, what: str) -> object:
    """Return what the store has of a card's request or its one target."""
    joined = "closing_targets JOIN closing_requests ON closing_requests.id = request_id"
    ((found,),) = stage.stored(f"SELECT {what} FROM {joined} WHERE card_ts = ?", card["ts"])
    return found


@contextmanager
def closing_under_way(stage: Stage) -> Iterator[tuple[RunningStatement, Json]]:
    """Give a statement that is being closed, and its card; until the end of the block nobody records the outcome.

    The kernel ends a lock waiter 0 to 11 s after its KILL. One whose outcome was on record before the store was taken
    is followed by another one.
    """
    while True:
        waiter = stage.waits_for_lock()
        card = stage.asks(stage.alice, f"/kill-session {waiter.id}", "Nothing is closed without a press")
        stage.alice.press(card, "Close Session")
        stage.slack.wait_for(lambda card=card: of(stage, card, "answer") == "OK", what="the KILL")  # type: ignore[misc]
        with store_taken(stage.bot.log.parent):
            if of(stage, card, "outcome") is None:
                yield waiter, card
                return


@pytest.mark.parametrize("http", [True, False], ids=["http", "socket"])
def test_a_close_under_way_is_finished_and_recorded_and_whoever_comes_meanwhile_is_told(
    restartable: EmbeddedOceanBase, tmp_path: Path, http: bool
) -> None:
    web = Web(free_port())
    with staged_in(restartable, tmp_path, http=http, web=web) as stage:
        listed = stage.asks(stage.bob, "/sessions private", "Sessions on demo")
        with closing_under_way(stage) as (waiter, card):  # until people have been told
            stage.bot.signal(signal.SIGTERM)
            stage.slack.wait_for(lambda: '"stopping"' in stage.bot.log.read_text())
            stage.asks(stage.bob, "/sessions", "The bot is being restarted. Nothing was done.")
            told = stage.presses(stage.bob, listed, "Refresh", "The bot is being restarted. Nothing was done.")
            assert told["ephemeral"]
            status, report = web.health()
            assert (status, report["process"]["status"]) == (503, "stopping"), "a load balancer looks elsewhere"
        assert stage.bot.stop() == 0
        now = stage.alice.now(card)
        assert now is not None
        assert "✅ closed" in text_of(now)
        assert buttons_of(now) == []
        assert (of(stage, card, "outcome"), of(stage, card, "state")) == ("closed", "done")
        assert waiter.ended() != 0
        assert '"stopped"' in stage.bot.log.read_text()


def test_a_close_that_takes_longer_is_cut_short_and_the_next_start_finishes_its_record(
    restartable: EmbeddedOceanBase, tmp_path: Path
) -> None:
    with staged_in(restartable, tmp_path) as stage:
        with closing_under_way(stage) as (waiter, card):  # nothing is recorded
            stage.database.suspend()  # nor is a look answered
            try:
                assert stage.bot.stop() == 0
                assert '"stopped in the middle"' in stage.bot.log.read_text(), "else it waited for one of them"
            finally:
                stage.database.resume()
        assert (of(stage, card, "outcome"), of(stage, card, "state")) == (None, "claimed")
        waiter.ended()
        stage.bot.start()
        stage.alice.wait_for_change(card, lambda m: "The bot was restarted while closing" in text_of(m))
        assert of(stage, card, "outcome") == "closed"


def test_an_idle_bot_ends_by_itself(restartable: EmbeddedOceanBase, tmp_path: Path) -> None:
    with staged_in(restartable, tmp_path) as stage:
        stage.asks(stage.alice, "/sessions", "Sessions on demo")
        assert stage.bot.stop() == 0
        said = stage.bot.log.read_text()
        assert '"stopped"' in said
        assert '"stopped in the middle"' not in said


def test_a_bot_started_while_its_database_is_away_needs_no_restart(
    restartable: EmbeddedOceanBase, tmp_path: Path
) -> None:
    accounts(restartable)
    web = Web(free_port())
    restartable.halt()
    try:
        with staged_in(restartable, tmp_path, web=web) as stage:
            stage.slack.wait_for(lambda: web.health() == (200, web.health()[1]))
            assert web.health()[1]["data_sources"]["demo"]["problem"] == "unreachable"
            stage.asks(stage.alice, "/sessions", "cannot be reached")
            restartable.start()
            stage.slack.wait_for(lambda: web.health()[1]["status"] == "ok")
            stage.asks(stage.alice, "/sessions", "Sessions on demo")
    finally:
        if not restartable.is_running:
            restartable.start()


def test_a_bot_started_while_slack_is_away_needs_no_restart(restartable: EmbeddedOceanBase, tmp_path: Path) -> None:
    accounts(restartable)
    web = Web(free_port())
    slack = SlackSandbox(commands=COMMANDS, port=free_port())
    bot = SocketBot(slack, restartable, tmp_path, web)
    starting = threading.Thread(target=bot.start)
    starting.start()
    try:
        slack.wait_for(web.reachable)
        assert web.health()[0] == 503
        assert web.health()[1]["process"]["status"] == "starting"
        slack.start()
        starting.join(PATIENCE)
        Person(slack, "U01ALICE").types("/sessions")
        Person(slack, "U01ALICE").wait_for_message("Sessions on demo")
        slack.wait_for(lambda: web.health()[1]["status"] == "ok")
    finally:
        starting.join(PATIENCE)
        assert bot.stop() == 0
        slack.stop()


def test_health_says_starting_until_the_bot_takes_what_slack_sends(
    restartable: EmbeddedOceanBase, tmp_path: Path
) -> None:
    web = Web(free_port())
    with SlackSandbox(commands=COMMANDS) as slack:
        slack.faults.fall_ill(Failure("", 500), share=1.0, methods={"apps.connections.open"})
        bot = SocketBot(slack, restartable, tmp_path, web)
        starting = threading.Thread(target=bot.start)
        starting.start()
        try:
            slack.wait_for(lambda: any(call.method == "apps.connections.open" for call in slack.calls))
            status, report = web.health()
            assert (status, report["process"]["status"]) == (503, "starting")
            slack.faults.recover()
            starting.join(PATIENCE)
            slack.wait_for(lambda: web.health()[0] == 200)
        finally:
            starting.join(PATIENCE)
            assert bot.stop() == 0


def test_a_bot_is_ready_once_slack_has_greeted_it_and_ends_when_slack_refuses_its_token_later(
    restartable: EmbeddedOceanBase, tmp_path: Path
) -> None:
    web = Web(free_port())
    with SlackSandbox(commands=COMMANDS) as slack:
        bot = SocketBot(slack, restartable, tmp_path, web)
        slack.faults.sockets_refused = 403
        starting = threading.Thread(target=bot.start)
        starting.start()
        try:
            slack.wait_for(lambda: len(slack.calls.of("apps.connections.open")) == 2, what="the second try")
            said = bot.log.read_text()
            assert '"handshake_403"' in said
            assert '"ready"' not in said
            assert web.health()[1]["slack"]["connected"] is False
            slack.faults.sockets_refused = None
            starting.join(PATIENCE)
            slack.wait_for(lambda: '"ready"' in bot.log.read_text(), what="the bot to be ready")
            assert web.health()[1]["slack"]["connected"] is True
            slack.faults.fail_next("apps.connections.open", error="token_revoked")
            slack.faults.drop_connections(abruptly=True)
            assert bot.ended() == 1
            assert '"Slack refuses the bot"' in bot.log.read_text()
            assert "make an app-level token" in bot.log.read_text(), "not: install the app anew, which makes none"
        finally:
            slack.faults.sockets_refused = None
            starting.join(PATIENCE)
            bot.kill()


def test_a_bot_started_while_its_store_is_away_says_so_and_needs_no_restart(
    restartable: EmbeddedOceanBase, tmp_path: Path
) -> None:
    accounts(restartable)
    with restartable.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE IF NOT EXISTS records")
    web = Web(free_port())
    url = f"mysql+pymysql://root:{restartable.password}@127.0.0.1:{restartable.port}/records"
    restartable.halt()
    try:
        with staged_in(restartable, tmp_path, web=web, store=url) as stage:
            stage.slack.wait_for(lambda: web.health()[1].get("store", {}).get("status") == "failing")
            assert web.health()[0] == 503
            restartable.start()
            stage.slack.wait_for(lambda: web.health() == (200, web.health()[1]))
            waiter = stage.runs("SELECT SLEEP(100)")
            card = stage.asks(stage.alice, f"/kill-session {waiter.id}", "Nothing is closed without a press")
            stage.alice.press(card, "Close Session")
            stage.alice.wait_for_change(card, "✅ closed")
            assert restartable.password not in stage.bot.log.read_text()
    finally:
        if not restartable.is_running:
            restartable.start()


def test_a_bot_told_to_end_while_it_waits_for_slack_ends(restartable: EmbeddedOceanBase, tmp_path: Path) -> None:
    web = Web(free_port())
    slack = SlackSandbox(commands=COMMANDS, port=free_port())
    bot = HttpBot(slack, restartable, tmp_path, web)

    def start() -> None:
        with contextlib.suppress(AssertionError):  # it ends before it is ready
            bot.start()

    starting = threading.Thread(target=start)
    starting.start()
    slack.wait_for(web.reachable)
    assert bot.stop() == 0
    starting.join(PATIENCE)


def test_a_port_that_is_taken_is_told(restartable: EmbeddedOceanBase, tmp_path: Path) -> None:
    with socket.socket() as taken, SlackSandbox(commands=COMMANDS) as slack:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        bot = HttpBot(slack, restartable, tmp_path, Web(int(taken.getsockname()[1])))
        with pytest.raises(AssertionError, match=r"ended with 1:\n(.|\n)*PORT: port \d+ is in use by another process"):
            bot.start()
