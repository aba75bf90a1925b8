"""Two people, one person twice, one envelope three times, two replicas: one close."""

from __future__ import annotations

import contextlib
import secrets
import time
from functools import partial
from pathlib import Path

from bot.demo.embedded import EmbeddedServer
from tests.faults.arena import LONG, Arena, Row, arena, at_once, buttons_of, text_of
from tests.running_bot import RunningBot
from tests.slack_text import Json

_STORE = "store"
TAKEN_OVER_WITHIN = 15.0  # seconds; tests.hasty_bot's lease, and the time to look
STOPPED = "The bot was stopped before anything was sent"


def two_pressers(row: Row, tries: int, database: EmbeddedServer, folder: Path) -> None:
    """Press the same button as two people in the same instant."""
    with arena(row, database, folder) as stage:
        for _ in range(tries):
            victim = stage.victim()
            card = stage.card(str(victim))
            at_once([partial(person.press, card, "Close Session") for person in (stage.alice, stage.bob)])
            stage.ended(card)
            stage.count(victim, card, closed=True)
            _confirmed_once(stage, card["ts"])


def redeliveries(row: Row, tries: int, database: EmbeddedServer, folder: Path) -> None:
    """Press twice while every payload goes out twice and every second acknowledgement is lost: four deliveries."""
    with arena(row, database, folder) as stage:
        stage.slack.faults.deliver_twice = True
        for number in range(tries):
            victim = stage.victim()
            card = stage.card(str(victim))
            stage.slack.faults.lose_acks = number % 2
            at_once([partial(stage.alice.press, card, "Close Session")] * 2)
            stage.slack.faults.lose_acks = 0
            stage.ended(card)
            stage.count(victim, card, closed=True)
            _confirmed_once(stage, card["ts"])


def two_replicas(row: Row, tries: int, database: EmbeddedServer, folder: Path, store: EmbeddedServer) -> None:
    """Deliver each press to two replicas on one shared store."""
    url = shared_store(store)
    with arena(row, database, folder / "one", store=url) as stage:
        other = folder / "other"
        other.mkdir()
        with RunningBot(stage.slack, database, other, store=url, more=LONG):
            stage.slack.wait_for(lambda: stage.slack.connections >= 2, 10, "two replicas")
            for _ in range(tries):
                victim = stage.victim()
                card = stage.card(str(victim))
                stage.slack.faults.deliver_twice = True  # the second copy goes to the other connection
                stage.alice.press(card, "Close Session")
                stage.slack.faults.deliver_twice = False
                stage.ended(card)
                stage.count(victim, card, closed=True)
                _confirmed_once(stage, card["ts"])


def killed_replica(row: Row, tries: int, database: EmbeddedServer, folder: Path, store: EmbeddedServer) -> None:
    """Kill one of two replicas while both are at work; the other finishes the story, and nothing twice."""
    url = shared_store(store)
    hasty = ("-m", "tests.hasty_bot")
    with arena(row, database, folder / "one", store=url, command=hasty) as stage:
        other = folder / "other"
        other.mkdir()
        with RunningBot(stage.slack, database, other, store=url, command=hasty, more=LONG):
            stage.slack.wait_for(lambda: stage.slack.connections >= 2, 10, "two replicas")
            cards = {victim: stage.card(str(victim)) for victim in [stage.victim() for _ in range(tries)]}
            presses = [partial(stage.alice.press, card, "Close Session") for card in cards.values()]
            at_once([*presses, stage.bot.kill])
            until = time.monotonic() + TAKEN_OVER_WITHIN
            for victim, card in cards.items():
                _press_until_over(stage, card, until)
                stage.count(victim, card, closed=True)


def _press_until_over(stage: Arena, card: Json, until: float) -> None:
    """Wait for the outcome; where nothing came of the press, press again as a person would."""
    with contextlib.suppress(AssertionError):  # acknowledged and lost with the replica: the card is as it was
        over = max(0.5, until - time.monotonic())
        stage.alice.wait_for_change(card, lambda now: not buttons_of(now) or STOPPED in text_of(now), timeout=over)
    told = stage.alice.now(card)
    if told is not None and buttons_of(told):
        stage.alice.press(told, "Close Session")
        stage.ended(card)


def shared_store(server: EmbeddedServer) -> str:
    """Make a schema of its own and return its URL."""
    name = f"{_STORE}_{secrets.token_hex(4)}"
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
    return f"mysql+pymysql://{server.user}:{server.password}@{server.host}:{server.port}/{name}"


def _confirmed_once(stage: Arena, ts: str) -> None:
    request = stage.value("SELECT id FROM closing_requests WHERE card_ts = :ts", ts=ts)
    confirmed = stage.value("SELECT COUNT(*) FROM audit WHERE event = 'confirm' AND request_id = :id", id=request)
    stage.expect(confirmed == 1, f"request {request} was confirmed {confirmed} times")
