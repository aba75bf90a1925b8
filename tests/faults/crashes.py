"""kill -9 at each step of a close: what the next start makes of it, and that it never closes by itself."""

from __future__ import annotations

import contextlib
from pathlib import Path

from sandbox.databases.embedded import EmbeddedServer
from tests.faults.arena import Arena, Row, arena, buttons_of
from tests.faults.races import STOPPED
from tests.support.crashing_bot import STEPS
from tests.support.slack_person import NotPossible, text_of
from tests.support.slack_text import Json

RUN = ("-m", "bot", "run")


def crashes(row: Row, tries: int, database: EmbeddedServer, folder: Path) -> None:
    """Kill the bot `tries` times at each step."""
    with arena(row, database, folder) as stage:
        for step in STEPS:
            for _ in stage.tries(tries):
                _crash(stage, step)


def _crash(stage: Arena, step: str) -> None:
    victim = stage.victim()
    stage.bot.stop()
    stage.bot.command = ("-m", "tests.support.crashing_bot", step)
    _start(stage)
    card = stage.card(str(victim))
    with contextlib.suppress(NotPossible):  # the bot may be gone before its acknowledgement is
        stage.alice.press(card, "Close Session")
    stage.expect(stage.bot.ended() == -9, f"{step}: the bot was not killed")
    sent = step in ("sent", "concluded", "shown")
    if sent:
        stage.wait_until(lambda: not stage.alive(victim), f"{step}: the end of the session")
    stage.expect(stage.kills(victim) == sent, f"{step}: {stage.kills(victim)} KILLs were sent when the bot died")
    stage.bot.command = RUN
    _start(stage)
    if step == "claimed":
        # Slack delivers the press again, as it was never acknowledged; that must close nothing either.
        card = stage.alice.wait_for_change(card, STOPPED)
        stage.expect("Close Session" in buttons_of(card), "claimed: the card is not open again")
    else:
        _told_truly(stage, step, stage.ended(card))
    stage.counts.wrong += not sent and not stage.alive(victim)  # a restart closes nothing
    stage.expect(stage.kills(victim) == sent, f"{step}: a KILL was sent after the restart")
    if step == "claimed":
        stage.alice.press(card, "Close Session")
        stage.ended(card)
    stage.count(victim, card, closed=step != "intended", answered=step != "sent")
    stage.reached(True)


def _start(stage: Arena) -> None:
    """Start the bot once Slack has noticed that the one before is gone."""
    stage.slack.wait_for(lambda: stage.slack.connections == 0, what="the end of the connection")
    stage.bot.start()


def _told_truly(stage: Arena, step: str, card: Json) -> None:
    told = {"intended": "still running", "sent": "whether by this KILL is not known"}
    wanted = told.get(step, "✅ closed")
    stage.expect(wanted in text_of(card), f"{step}: the card says\n{text_of(card)}")
