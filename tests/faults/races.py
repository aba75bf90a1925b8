"""Two people, one person twice, one envelope three times, two replicas: one close."""

from __future__ import annotations

import secrets
from functools import partial
from pathlib import Path

from bot.demo.embedded import EmbeddedServer
from tests.faults.arena import Arena, Row, arena, at_once
from tests.running_bot import RunningBot

_STORE = "store"


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
        with RunningBot(stage.slack, database, other, store=url, source="budget = 10000"):
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
