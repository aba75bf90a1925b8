"""A press has an owner and a card one writer: whatever is slow, away or started twice, what is told is what is so."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from bot.closing.store.lock import StoreLock
from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.support.odp import Odp
from tests.support.patience import PATIENCE
from tests.support.slack_person import buttons_of
from tests.support.slack_text import Json, text_of
from tests.support.stage import ASKS, Stage, session_id, staged

JUMPING = "tests.support.jumping_bot"


@contextlib.contextmanager
def store_locked(stage: Stage) -> Iterator[None]:
    """Let nobody else write to the store."""
    with contextlib.closing(sqlite3.connect(stage.bot.log.parent / "store.db", isolation_level=None)) as store:
        store.execute("BEGIN IMMEDIATE")
        yield
        store.execute("ROLLBACK")


def placed_card(stage: Stage, typed: object) -> Json:
    card = stage.card_of(typed)
    stage.slack.wait_for(lambda: stage.stored("SELECT 1 FROM closing_requests WHERE card_ts = ?", card["ts"]))
    return card


def of_targets(stage: Stage, card: Json, what: str) -> list[str | None]:
    """Return what the store has of each target of a card."""
    request = "SELECT id FROM closing_requests WHERE card_ts = ?"
    asked = f"SELECT {what} FROM closing_targets WHERE request_id = ({request}) ORDER BY number"
    return [row[0] for row in stage.stored(asked, card["ts"])]


def outcomes(stage: Stage, card: Json) -> list[str | None]:
    return of_targets(stage, card, "outcome")


@contextlib.contextmanager
def closing_with_the_store_locked(stage: Stage) -> Iterator[Json]:
    """Give the card of a lock waiter and a statement whose KILLs are answered; nobody can record what came of them.

    The kernel ends a lock waiter 0 to 11 s after its KILL: where all was on record before the store was locked, others
    are closed.
    """
    while True:
        report = stage.runs("SELECT SLEEP(600)", bind_address="127.0.0.61")
        card = placed_card(stage, f"{stage.waits_for_lock().id},{report.id}")
        stage.alice.press(card, "Close Session")
        stage.slack.wait_for(lambda card=card: of_targets(stage, card, "answer") == ["OK", "OK"], what="the KILLs")  # type: ignore[misc]
        with store_locked(stage):
            if outcomes(stage, card) == [None, None]:
                yield card
                return


def test_a_kill_that_was_lost_on_its_way_is_not_said_to_have_worked_when_the_query_ends(
    oceanbase: EmbeddedOceanBase, tmp_path: Path
) -> None:
    with (
        Odp(oceanbase.host, oceanbase.port, errno=None, silent=True) as wire,
        staged(oceanbase, tmp_path, port=wire.port) as stage,
    ):
        report = stage.runs("SELECT SLEEP(600)")
        card = placed_card(stage, f"{report.id} query")
        stage.alice.press(card, "Close Query")
        told = stage.alice.wait_for_change(card, "No answer to the KILL is known, so it may not have arrived")
        assert "taken" not in text_of(told)
        assert wire.kills == [f"KILL QUERY {report.id}".encode()], "sent once"
        stage.stops(report)  # it ends by itself
        told = stage.alice.wait_for_change(card, "already gone")
        assert "The query has ended; whether by this KILL is not known." in text_of(told)
        assert "✅" not in text_of(told)
        ((outcome,),) = stage.stored("SELECT details FROM audit WHERE event = 'outcome'")
        assert "whether by this KILL is not known" in outcome


def test_a_second_bot_on_the_same_file_waits_and_starts_only_when_the_first_has_ended(
    oceanbase: EmbeddedOceanBase, tmp_path: Path
) -> None:
    with staged(oceanbase, tmp_path) as stage:
        card = placed_card(stage, session_id(stage.connect()))
        log = tmp_path / "second.log"
        with log.open("wb") as out:
            second = subprocess.Popen(
                [sys.executable, "-m", "bot", "run"], cwd=tmp_path, env=stage.bot.environment, stdout=out, stderr=out
            )
        try:
            stage.slack.wait_for(lambda: "another bot uses the store" in log.read_text(), what="the second to wait")
            assert stage.slack.connections == 1
            stage.alice.press(card, "Close Session")
            stage.alice.wait_for_change(card, "✅ closed")
            stage.bot.stop()
            stage.slack.wait_for(lambda: '"ready"' in log.read_text(), what="the second to start")
            stage.asks(stage.bob, "/sessions", "Sessions on demo")
        finally:
            second.terminate()
            assert second.wait(PATIENCE) == 0


def test_a_second_bot_that_is_told_to_end_while_it_waits_ends(oceanbase: EmbeddedOceanBase, tmp_path: Path) -> None:
    with staged(oceanbase, tmp_path) as stage:
        log = tmp_path / "second.log"
        with log.open("wb") as out:
            second = subprocess.Popen(
                [sys.executable, "-m", "bot", "run"], cwd=tmp_path, env=stage.bot.environment, stdout=out, stderr=out
            )
        stage.slack.wait_for(lambda: "another bot uses the store" in log.read_text(), what="the second to wait")
        second.send_signal(signal.SIGTERM)
        assert second.wait(PATIENCE) == 0


def test_with_a_slack_that_takes_no_rewritten_card_for_long_all_that_was_confirmed_is_closed(
    oceanbase: EmbeddedOceanBase, tmp_path: Path
) -> None:
    with staged(oceanbase, tmp_path) as stage:
        victims = [session_id(stage.connect()) for _ in range(12)]
        card = placed_card(stage, ",".join(map(str, victims)))
        stage.alice.press(card, "Close Session")
        modal = stage.alice.wait_for_modal("Close 12 sessions")
        stage.alice.fill_in(modal, "How many sessions do you want to close?", "12")
        stage.slack.faults.carry_out_late("chat.update", 30, times=20)
        assert stage.alice.submit() == {}
        stage.wait_until(lambda: not any(stage.row(one) for one in victims), "all of them to be closed")
        stage.slack.wait_for(lambda: outcomes(stage, card) == ["closed"] * 12, what="the record")
        told = stage.alice.wait_for_change(card, "12 closed")
        assert "restarted" not in text_of(told)
        assert "silent" not in text_of(told)


def test_a_rewrite_that_slack_carries_out_late_does_not_stand_on_the_card_for_good(
    oceanbase: EmbeddedOceanBase, tmp_path: Path
) -> None:
    with staged(oceanbase, tmp_path, command=("-m", "tests.support.locking_bot", "intend")) as stage:
        card = placed_card(stage, session_id(stage.connect()))
        stage.slack.faults.carry_out_late("chat.update", 12, times=1)  # the client gives up after 10 s
        stage.alice.press(card, "Close Session")
        stage.slack.wait_for(lambda: stage.slack.faults.late_calls_left("chat.update") == 0, what="the progress")
        (tmp_path / "locked").unlink()
        stage.alice.wait_for_change(card, "✅ closed")
        stage.alice.wait_for_change(card, "Closing …")  # the late one
        stage.alice.wait_for_change(card, "✅ closed")


def test_while_the_store_does_not_answer_after_the_kill_the_card_says_what_came_of_it_and_the_record_follows(
    oceanbase: EmbeddedOceanBase, tmp_path: Path
) -> None:
    with staged(oceanbase, tmp_path) as stage:
        with closing_with_the_store_locked(stage) as card:
            told = stage.alice.wait_for_change(card, "Record pending")
            assert "2 closed" in text_of(told)
            assert buttons_of(told) == []
            assert outcomes(stage, card) == [None, None]
        told = stage.alice.wait_for_change(card, lambda now: "Record pending" not in text_of(now))
        assert "2 closed" in text_of(told)
        assert outcomes(stage, card) == ["closed", "closed"]
        assert "restarted" not in text_of(told)
        assert "Nothing is closed without a record" not in str(stage.alice.messages())


def test_a_press_that_a_locked_store_keeps_from_sending_is_open_again_seconds_after_it_answers(
    oceanbase: EmbeddedOceanBase, tmp_path: Path
) -> None:
    claim = ("-m", "tests.support.locking_bot", "claim")
    with staged(oceanbase, tmp_path, command=claim) as stage:
        victim = session_id(stage.connect())
        card = placed_card(stage, victim)
        stage.alice.press(card, "Close Session")
        stage.slack.wait_for((tmp_path / "locked").exists, what="the claim")
        told = stage.alice.wait_for_change(card, "Closing …")
        assert buttons_of(told) == [], "no live button while nothing can be decided"
        stage.alice.wait_for_message(lambda m: "Nothing is closed without a record" in text_of(m))
        (tmp_path / "locked").unlink()
        answered = time.monotonic()
        told = stage.alice.wait_for_change(card, "The bot was interrupted before anything was sent")
        assert time.monotonic() - answered < 15
        assert "Close Session" in buttons_of(told)
        stage.alice.press(told, "Close Session")
        stage.alice.wait_for_change(card, "✅ closed")


@pytest.mark.parametrize("by", [timedelta(days=200), timedelta(hours=-1)], ids=["forwards", "back"])
def test_a_clock_that_jumps_during_a_close_delays_and_hides_nothing(
    oceanbase: EmbeddedOceanBase, tmp_path: Path, by: timedelta
) -> None:
    file = tmp_path / "jump"
    with staged(oceanbase, tmp_path, command=("-m", JUMPING, str(file))) as stage:
        waiter = stage.waits_for_lock().id
        card, waits = placed_card(stage, waiter), placed_card(stage, session_id(stage.connect()))
        stage.alice.press(card, "Close Session")
        stage.slack.wait_for(lambda: stage.stored("SELECT max(answer) FROM closing_targets") == [("OK",)])
        file.write_text(str(by.total_seconds()), encoding="ascii")
        told = stage.alice.wait_for_change(card, "✅ closed")
        assert buttons_of(told) == []
        stage.alice.press(waits, "Close Session")  # its two minutes are not over, nor longer than that
        stage.alice.wait_for_change(waits, "✅ closed")


def test_a_jump_of_the_clock_opens_no_budget_also_after_a_restart(oceanbase: EmbeddedOceanBase, tmp_path: Path) -> None:
    file = tmp_path / "jump"
    command = ("-m", JUMPING, str(file))
    with staged(oceanbase, tmp_path, command=command, source='budget = 1\nbudget_window = "6h"') as stage:
        first = placed_card(stage, session_id(stage.connect()))
        stage.alice.press(first, "Close Session")
        stage.alice.wait_for_change(first, "✅ closed")
        stage.bot.stop()
        times = ", ".join(f"{one} = {one} - 7200" for one in ("created_at", "expires_at", "decided_at"))
        stage.change_store(f"UPDATE closing_requests SET {times}")
        file.write_text(str(200 * 86400), encoding="ascii")
        stage.slack.wait_for(lambda: stage.slack.connections == 0)
        stage.bot.start()
        second = placed_card(stage, session_id(stage.connect()))
        stage.alice.press(second, "Close Session")
        stage.alice.wait_for_message(lambda m: "within 360 min; 1 are allowed" in text_of(m))


def test_a_store_that_was_replaced_by_a_backup_closes_nothing_by_itself_and_says_so(
    oceanbase: EmbeddedOceanBase, tmp_path: Path
) -> None:
    with staged(oceanbase, tmp_path) as stage:
        victim = session_id(stage.connect())
        card = placed_card(stage, victim)
        _backup(tmp_path)
        _restore(stage, tmp_path)
        stage.presses(stage.alice, card, "Close Session", "was replaced by another one")
        assert stage.row(victim)
        stage.alice.press(card, "Close Session")
        stage.alice.wait_for_change(card, "✅ closed")


def _backup(folder: Path) -> None:
    with (
        contextlib.closing(sqlite3.connect(folder / "store.db")) as source,
        contextlib.closing(sqlite3.connect(folder / "backup.db")) as backup,
    ):
        source.backup(backup)


def _restore(stage: Stage, folder: Path, only_if: Callable[[], bool] = lambda: True) -> bool:
    """Put the backup in its place and remove what SQLite keeps beside a file; the bot writes nothing in between.

    Nothing is done where ``only_if`` is not so then; return whether it was.
    """
    stage.bot.signal(signal.SIGSTOP)
    try:
        stage.bot.frozen()
        if not only_if():
            return False
        shutil.move(folder / "backup.db", folder / "store.db")
        for name in ("store.db-wal", "store.db-shm"):
            (folder / name).unlink(missing_ok=True)
        return True
    finally:
        stage.bot.signal(signal.SIGCONT)


@pytest.mark.parametrize("early", [False, True], ids=["with the card", "without it"])
def test_a_backup_that_replaces_the_store_during_a_close_does_not_make_it_undone(
    oceanbase: EmbeddedOceanBase, tmp_path: Path, early: bool
) -> None:
    for number in itertools.count():
        folder = tmp_path / str(number)
        folder.mkdir()
        with staged(oceanbase, folder) as stage:
            if early:
                _backup(folder)
            card = placed_card(stage, stage.waits_for_lock().id)
            if not early:
                _backup(folder)
            stage.alice.press(card, "Close Session")
            stage.slack.wait_for(lambda: of_targets(stage, card, "answer") == ["OK"])  # noqa: B023
            if not _restore(stage, folder, only_if=lambda: outcomes(stage, card) == [None]):  # noqa: B023
                # The kernel ends a lock waiter 0 to 11 s after its KILL: this one was over before.
                continue
            stage.slack.wait_for(lambda: outcomes(stage, card) == ["closed"], what="the record")  # noqa: B023
            told = stage.alice.wait_for_change(
                card, lambda m: "✅ closed" in text_of(m) and "pending" not in text_of(m)
            )
            assert buttons_of(told) == []
            assert stage.stored("SELECT state FROM closing_requests") == [("done",)]
            assert stage.stored("SELECT count(*) FROM audit WHERE event = 'outcome'") == [(1,)]
            return


def test_a_bot_whose_folder_was_replaced_closes_nothing_once_another_bot_has_the_new_one(
    oceanbase: EmbeddedOceanBase, tmp_path: Path
) -> None:
    folder = tmp_path / "volume"
    folder.mkdir()
    with staged(oceanbase, tmp_path, store=f"sqlite:///{folder / 'store.db'}") as stage:
        victim = session_id(stage.connect())
        card = stage.asks(stage.alice, f"/kill-session {victim}", ASKS)
        shutil.copytree(folder, tmp_path / "copy")
        folder.rename(tmp_path / "gone")
        (tmp_path / "copy").rename(folder)
        other = StoreLock(f"sqlite:///{folder / 'store.db'}")
        assert other.take()
        try:
            stage.presses(stage.alice, card, "Close Session", "Another bot uses the store's file by now")
            assert stage.row(victim)
        finally:
            other.release()


def test_a_bot_that_ends_while_the_record_is_pending_writes_it_as_soon_as_the_store_lets_it(
    oceanbase: EmbeddedOceanBase, tmp_path: Path
) -> None:
    with staged(oceanbase, tmp_path, command=("-m", "tests.support.locking_bot", "intend")) as stage:
        card = placed_card(stage, session_id(stage.connect()))
        stage.alice.press(card, "Close Session")
        stage.alice.wait_for_change(card, "Record pending")
        stage.bot.signal(signal.SIGTERM)
        stage.slack.wait_for(lambda: '"stopping"' in stage.bot.log.read_text(), what="the end to begin")
        (tmp_path / "locked").unlink()
        assert stage.bot.ended() == 0
        assert outcomes(stage, card) == ["closed"]
