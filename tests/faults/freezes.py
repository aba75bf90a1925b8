"""SIGSTOP in each step of a close, on each kind of shared store: the others close, the frozen one wakes up late."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from sandbox.databases.embedded import EmbeddedServer
from tests.faults.arena import LONG, Arena, Row, arena, buttons_of
from tests.faults.races import STOPPED, shared_store
from tests.support.freezing_bot import STEPS
from tests.support.patience import PATIENCE
from tests.support.running_bot import RunningBot
from tests.support.slack_person import NotPossible, text_of
from tests.support.slack_text import Json

CLOSE_AGAIN_WITHIN = 30.0  # seconds, whatever a frozen replica holds


def freezes(row: Row, tries: int, database: EmbeddedServer, folder: Path, stores: Sequence[EmbeddedServer]) -> None:
    """Stop one of two replicas, each time in another step or on another store."""
    for number in range(tries):
        row.wanted += 1
        step, store = STEPS[number % len(STEPS)], stores[(number + number // len(STEPS)) % len(stores)]
        url, one = shared_store(store), folder / str(number)
        with arena(row, database, one, store=url, command=("-m", "tests.support.freezing_bot", step)) as stage:
            victim = stage.victim()
            card = stage.card(str(victim))
            with contextlib.suppress(NotPossible):  # its acknowledgement may be in the frozen process still
                stage.alice.press(card, "Close Session")
            stage.bot.frozen()
            try:
                _while_frozen(stage, step, victim, card, url, one / "other")
            finally:
                stage.bot.signal(signal.SIGCONT)


def _while_frozen(stage: Arena, step: str, victim: int, card: Json, store: str, folder: Path) -> None:
    began = time.monotonic()
    folder.mkdir()
    hasty = ("-m", "tests.support.hasty_bot")
    with RunningBot(stage.slack, stage.database, folder, store=store, command=hasty, more=LONG):
        stage.slack.faults.deliver_twice = True  # Slack knows nothing of the frozen one and gives it its share
        _closes(stage, stage.victim())
        took = time.monotonic() - began
        stage.expect(took < CLOSE_AGAIN_WITHIN, f"{step}: nobody could close for {took:.0f} s")
        sent = step in ("kill", "outcome")
        if sent:
            told = stage.ended(card)
            # The server's answer to the KILL is frozen with the press that got it.
            wanted = "whether by this KILL is not known" if step == "kill" else "✅ closed"
            stage.expect(wanted in text_of(told), f"{step}: the card says\n{text_of(told)}")
        elif step == "intent":
            stage.alice.wait_for_change(card, STOPPED)
        stage.bot.signal(signal.SIGCONT)
        stage.slack.wait_for(lambda: _answered(stage, failed=not sent), PATIENCE, "the woken replica to be done")
        if not sent:
            stage.expect(stage.alive(victim), f"{step}: the woken replica closed the session all the same")
            # What the woken replica had to tell of its press is overtaken by the card as it is.
            again = stage.alice.wait_for_change(card, lambda now: "Close Session" in buttons_of(now))
            stage.alice.press(again, "Close Session")
            stage.ended(card)
        if step == "kill":  # whose answer the woken press has: it puts right what the look could not tell
            stage.alice.wait_for_change(card, "✅ closed")
        stage.count(victim, card, closed=True)
        stage.reached(True)
        stage.slack.faults.deliver_twice = False


def _closes(stage: Arena, victim: int) -> None:
    card = stage.card(str(victim))
    stage.alice.press(card, "Close Session")
    stage.ended(card)
    stage.count(victim, card, closed=True)


def _answered(stage: Arena, *, failed: bool) -> bool:
    """Whether the press of the first bot is over, as its log says."""
    outcome = "StoreAwayError" if failed else "done"
    lines = stage.bot.log.read_text().splitlines()
    return any("closing.close_session" in line and f'"outcome": "{outcome}"' in line for line in lines)
