"""The way from Slack to the bot in Socket Mode: sockets that fall silent, are too many, or are refused."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable
from pathlib import Path

from sandbox.databases.embedded import EmbeddedServer
from sandbox.slack.server import SlackSandbox
from tests.faults.arena import Arena, Row, arena
from tests.support.patience import PATIENCE
from tests.support.relay import Relay
from tests.support.slack_text import Json

OPEN = "apps.connections.open"
NOTICED_WITHIN = 15.0  # seconds
STATUSES = (403, 401, 503)
_MOST_TRIES = 4  # of sockets, in the seconds that a fault is looked at
_LOOKED_AT_FOR = 6.0  # seconds


def silent_socket(row: Row, tries: int, database: EmbeddedServer, folder: Path) -> None:
    """Let a socket fall silent and press: another one is open within 15 s, and the press closes once."""
    for number in range(tries):
        with arena(row, database, folder / str(number)) as stage, Relay(stage.slack.port) as relay:
            stage.counts.wanted += 1
            stage.slack.socket_port = relay.port
            stage.slack.faults.drop_connections()
            stage.slack.wait_for(lambda relay=relay: relay.taken == 1 and stage.slack.connections == 1)  # type: ignore[misc]
            victim = stage.victim()
            card = stage.card(str(victim))
            relay.forgets()
            silent_since = time.monotonic()
            pressing = threading.Thread(target=_press, args=(stage, card))
            pressing.start()
            stage.slack.wait_for(lambda relay=relay: relay.taken > 1, what="the next socket")  # type: ignore[misc]
            took = time.monotonic() - silent_since
            stage.expect(took < NOTICED_WITHIN, f"the next socket was opened after {took:.1f} s")
            pressing.join(PATIENCE)
            relay.ends_what_is_forgotten()  # now Slack notices too, and delivers the press once more
            stage.ended(card)
            stage.count(victim, card, closed=True)
            stage.reached(True)
            stage.slack.take_acks()  # of the press, that nobody heard


def too_many_sockets(row: Row, tries: int, database: EmbeddedServer, folder: Path) -> None:
    """Have as many sockets as the app may: the bot asks seldom, warns once, and is back when there is room."""

    def set_fault(slack: SlackSandbox) -> None:
        slack.faults.greeting = "too_many_websockets"

    _without_sockets(row, tries, database, folder, set_fault, '"too_many_websockets"')


def refused_sockets(row: Row, tries: int, database: EmbeddedServer, folder: Path) -> None:
    """Refuse each WebSocket after a good call: the same."""
    statuses = itertools.cycle(STATUSES)

    def set_fault(slack: SlackSandbox) -> None:
        slack.faults.sockets_refused = next(statuses)

    _without_sockets(row, tries, database, folder, set_fault, '"handshake_')


def _without_sockets(
    row: Row,
    tries: int,
    database: EmbeddedServer,
    folder: Path,
    set_fault: Callable[[SlackSandbox], None],
    warning: str,
) -> None:
    for number in range(tries):
        with arena(row, database, folder / str(number)) as stage:
            stage.counts.wanted += 1
            victim = stage.victim()
            card = stage.card(str(victim))
            before = len(stage.slack.calls.of(OPEN))
            set_fault(stage.slack)
            stage.slack.faults.drop_connections(abruptly=True)
            pressing = threading.Thread(target=_press, args=(stage, card))
            pressing.start()
            with contextlib.suppress(TimeoutError):
                stage.slack.wait_for(lambda: False, _LOOKED_AT_FOR)
            asked = len(stage.slack.calls.of(OPEN)) - before
            stage.expect(asked <= _MOST_TRIES, f"{asked} sockets were asked for in {_LOOKED_AT_FOR:.0f} s")
            said = stage.bot.log.read_text()
            stage.expect(said.count(warning) == 1, f"the log has {said.count(warning)} warnings of {warning}")
            pressing.join(PATIENCE)
            stage.expect(stage.alive(victim), "a press that nobody could deliver closed the session")
            stage.slack.faults.greeting, stage.slack.faults.sockets_refused = "", None
            stage.slack.wait_for(lambda: stage.slack.connections == 1, what="the next socket")
            stage.slack.wait_for(
                lambda: "delivers here again" in stage.bot.log.read_text(), what="word that it is over"
            )
            stage.slack.take_acks()  # of the press, that Slack has forgotten: it says so to whoever pressed
            stage.alice.press(card, "Close Session")
            stage.ended(card)
            stage.count(victim, card, closed=True)
            stage.reached(asked > 0)


def _press(stage: Arena, card: Json) -> None:
    with contextlib.suppress(AssertionError):  # not acknowledged in time, as Slack tells whoever pressed
        stage.alice.press(card, "Close Session")
