"""Who carries out a press, who writes its card, by whose clock: processes, stores and a Slack that are in the way."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
import sys
from functools import partial
from pathlib import Path

from bot.closing.model import Outcome
from sandbox.databases.embedded import EmbeddedServer
from tests.faults.arena import Arena, Row, arena, buttons_of, text_of
from tests.support.locking_bot import STEPS
from tests.support.patience import PATIENCE
from tests.support.slack_text import Json

_SESSIONS = 5  # in each request of several: more want their number typed
_DAYS = 86_400
_JUMPS = (200 * _DAYS, -3600, 0, 3600, -200 * _DAYS, 0)  # seconds by which a clock is wrong


def lost_kills(row: Row, tries: int, database: EmbeddedServer, folder: Path) -> None:
    """Let each KILL be lost on its way, and the query end by itself: nobody claims it."""
    with arena(row, database, folder) as stage:
        assert stage.tap is not None, "this arena has one"
        stage.tap.silent = True
        for _ in stage.tries(tries):
            report = stage.runs("SELECT SLEEP(600)")
            card = stage.card(f"{report.id} query")
            before = len(stage.tap.kills)
            stage.alice.press(card, "Close Query")
            stage.slack.wait_for(partial(_more_than, stage.tap.kills, before), what="the KILL")
            stage.stops(report)
            told = stage.ended(card)
            stage.expect("whether by this KILL is not known" in text_of(told), text_of(told))
            stage.expect(stage.outcome(card) == Outcome.ALREADY_GONE.value, f"the record says {stage.outcome(card)}")
            stage.counts.lost += "✅" in text_of(told)
            stage.counts.double += len(stage.tap.kills) - before > 1
            stage.reached(True)


def second_processes(row: Row, tries: int, database: EmbeddedServer, folder: Path) -> None:
    """Start a second bot on the same file while the first closes several: it stands by and touches nothing."""
    with arena(row, database, folder) as stage:
        for number in stage.tries(tries):
            victims = [stage.victim() for _ in range(_SESSIONS)]
            card = stage.card(",".join(map(str, victims)))
            log = folder / f"second{number}.log"
            with log.open("wb") as out:
                second = subprocess.Popen(
                    [sys.executable, "-m", "bot", "run"], cwd=folder, env=stage.bot.environment, stdout=out, stderr=out
                )
            try:
                stage.slack.wait_for(partial(_says, log, "another bot uses the store"), what="the second")
                stage.alice.press(card, "Close Session")
                told = stage.ended(card)
            finally:
                second.terminate()
                second.wait(PATIENCE)
            _all_closed(stage, victims, told)
            stage.expect("ready" not in log.read_text(), "the second has started")
            stage.reached(True)


def slow_slack(row: Row, tries: int, database: EmbeddedServer, folder: Path) -> None:
    """Let Slack carry out every rewritten card half a minute late: all that was confirmed is closed at once."""
    with arena(row, database, folder) as stage:
        for _ in stage.tries(tries):
            victims = [stage.victim() for _ in range(_SESSIONS)]
            card = stage.card(",".join(map(str, victims)))
            stage.slack.faults.carry_out_late("chat.update", 30, times=3)
            stage.alice.press(card, "Close Session")
            stage.wait_until(partial(_none_alive, stage, victims), "all to be closed", timeout=25)
            _all_closed(stage, victims, stage.ended(card))
            stage.reached(True)


def late_rewrites(row: Row, tries: int, database: EmbeddedServer, folder: Path) -> None:
    """Let a progress update be carried out after the outcome: the outcome comes back."""
    for number in range(tries):
        # A bot of its own: what another card is rewritten with minutes later would be late in its place.
        with arena(row, database, folder / str(number)) as stage:
            for _ in stage.tries(1):
                waiter = stage.waits_for_lock()
                card = stage.card(str(waiter.id))
                stage.slack.faults.carry_out_late("chat.update", 20, times=1)  # the outcome is known by then
                stage.alice.press(card, "Close Session")
                stage.ended(card)
                if stage.reached(stage.slack.faults.late_calls_left("chat.update") == 0):  # else it was closed too soon
                    stage.alice.wait_for_change(card, "Closing …")
                    stage.ended(card)
                stage.slack.faults.recover()
                stage.count(waiter.id, card, closed=True)


def clock_jumps(row: Row, tries: int, database: EmbeddedServer, folder: Path) -> None:
    """Set the bot's clock by days and hours while it closes."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "jump"
    with arena(row, database, folder, command=("-m", "tests.support.jumping_bot", str(file))) as stage:
        for number in stage.tries(tries):
            victim = stage.victim()
            card = stage.card(str(victim))
            file.write_text(str(_JUMPS[number % len(_JUMPS)]), encoding="ascii")
            stage.alice.press(card, "Close Session")
            file.write_text(str(_JUMPS[(number + 1) % len(_JUMPS)]), encoding="ascii")
            stage.ended(card)
            stage.count(victim, card, closed=True)
            stage.reached(True)


def locked_stores(row: Row, tries: int, database: EmbeddedServer, folder: Path) -> None:
    """Let somebody else hold the store's lock for seconds after each step of a close."""
    for step in STEPS:
        one = folder / step
        with arena(row, database, one, command=("-m", "tests.support.locking_bot", step)) as stage:
            for _ in stage.tries(tries):
                _closed_while_locked(stage, one, step)


def _closed_while_locked(stage: Arena, folder: Path, step: str) -> None:
    victim = stage.victim()
    card = stage.card(str(victim))
    (folder / "again").touch()
    if step == "claim":
        stage.presses(stage.alice, card, "Close Session", "Nothing is closed without a record")
    else:
        stage.alice.press(card, "Close Session")
    stage.slack.wait_for((folder / "locked").exists, what=f"the lock after {step}")
    if step == "claim":
        stage.expect(stage.kills(victim) == 0, "a KILL was sent without a record")
    elif step == "conclude":
        stage.alice.wait_for_change(card, "✅ closed")
    else:
        now = stage.alice.wait_for_change(card, "Record pending")
        stage.expect("✅ closed" in text_of(now) and not buttons_of(now), f"{step}: {text_of(now)}")
    (folder / "locked").unlink()
    if step == "claim":
        card = stage.alice.wait_for_change(card, "The bot was interrupted before anything was sent")
        stage.expect(stage.alive(victim), "it was closed without a record")
        stage.alice.press(card, "Close Session")
    stage.alice.wait_for_change(card, lambda now: "✅" in text_of(now) and "pending" not in text_of(now))
    stage.count(victim, card, closed=True)
    stage.reached(True)


def replaced_files(row: Row, tries: int, database: EmbeddedServer, folder: Path) -> None:
    """Put a backup in the place of the store between card and press: nothing is closed before a second press."""
    with arena(row, database, folder) as stage:
        for _ in stage.tries(tries):
            victim = stage.victim()
            card = stage.card(str(victim))
            stage.store.dispose()
            with (
                contextlib.closing(sqlite3.connect(folder / "store.db")) as store,
                contextlib.closing(sqlite3.connect(folder / "backup.db")) as backup,
            ):
                store.backup(backup)
            shutil.move(folder / "backup.db", folder / "store.db")
            for name in ("store.db-wal", "store.db-shm"):  # as whoever restores a file must
                (folder / name).unlink(missing_ok=True)
            stage.presses(stage.alice, card, "Close Session", "was replaced by another one")
            stage.counts.wrong += not stage.alive(victim)
            stage.alice.press(card, "Close Session")
            stage.ended(card)
            stage.count(victim, card, closed=True)
            stage.reached(True)


def _all_closed(stage: Arena, victims: list[int], told: Json) -> None:
    stage.counts.done += sum(not stage.alive(one) for one in victims)
    stage.expect(f"{len(victims)} closed" in text_of(told), text_of(told))
    stage.counts.lost += f"{len(victims)} closed" not in text_of(told)


def _more_than(kept: list[bytes], before: int) -> bool:
    return len(kept) > before


def _says(log: Path, text: str) -> bool:
    return text in log.read_text()


def _none_alive(stage: Arena, victims: list[int]) -> bool:
    return not any(map(stage.alive, victims))
