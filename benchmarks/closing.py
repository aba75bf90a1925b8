"""From the press on a card to the KILL, and to the card that says what came of it."""

from __future__ import annotations

import contextlib

import pymysql

from benchmarks.bots import ours
from benchmarks.crowd import PASSWORD, USERS
from benchmarks.measure import Samples
from benchmarks.relay import Relay
from benchmarks.report import Line, Report, Table
from benchmarks.slack import TimedSandbox
from benchmarks.stage import Scale, Stage
from sandbox.slack.refusals import Json
from tests.support.slack_person import Person
from tests.support.stage import session_id

HOW = (
    "An idle session is closed by a press on its card. Between the bot and the server stands a relay that sees the "
    "KILL go by. “Card rewritten” is after the bot has looked and seen the session gone. What the session does between "
    "the last look and the KILL is not seen: no server takes a condition with a KILL."
)


def measure(stage: Stage, scale: Scale, report: Report) -> None:
    """Fill in the table of one server."""
    sent, known = [], []
    with (
        Relay(stage.database.host, stage.database.port) as relay,
        TimedSandbox() as slack,
        ours(slack, stage.database, port=relay.port),
    ):
        _close(stage, slack, relay)  # what is done once is not measured
        for _ in range(scale.closes):
            to_kill, to_card = _close(stage, slack, relay)
            sent.append(to_kill)
            known.append(to_card)
    lines = [
        Line("press → KILL sent", Samples(sent).columns()),
        Line("last look's answer → KILL sent", Samples([one * 1000 for one in relay.windows]).columns()),
        Line("press → card rewritten with the outcome", Samples(known).columns()),
    ]
    report.add(Table(f"Closing: {stage.label}", HOW, lines))


def _close(stage: Stage, slack: TimedSandbox, relay: Relay) -> tuple[float, float]:
    """Close one session; returns the milliseconds from the press to the KILL and to the rewritten card."""
    alice = Person(slack, "U01ALICE")
    with contextlib.closing(stage.database.connect(user=USERS[0], password=PASSWORD)) as victim:
        slack.forget()
        slack.types(f"/kill-session {session_id(victim)}")
        card = alice.wait_for_message(_has_button)
        slack.wait_for(lambda: slack.calls.of("chat.postMessage"))
        slack.calls.clear()
        slack.watch.sent.clear()
        relay.kills.clear()
        alice.press(card, "Close Session")
        slack.wait_for(lambda: slack.calls, 20, "the outcome")
        outcome = slack.calls[0]
        if "closed" not in str(outcome.payload) or not relay.kills:
            raise RuntimeError(f"not closed: {outcome}")
        with contextlib.suppress(pymysql.Error):
            victim.ping(reconnect=False)
            raise RuntimeError("it lives")
    return (relay.kills[0] - slack.watch.sent[0]) * 1000, (outcome.time - slack.watch.sent[0]) * 1000


def _has_button(message: Json) -> bool:
    return any(
        element.get("text", {}).get("text") == "Close Session"
        for block in message["blocks"] or []
        for element in block.get("elements", [])
        if isinstance(element.get("text"), dict)
    )
