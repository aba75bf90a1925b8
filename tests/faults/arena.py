"""Where faults are played: a real kernel, bots, the strict sandbox, bystanders; and what is counted there."""

from __future__ import annotations

import contextlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymysql
import sqlalchemy as sa

from bot.demo.embedded import EmbeddedServer
from bot.demo.slack.server import SlackSandbox
from tests.running_bot import COMMANDS, RunningBot
from tests.slack_person import NotPossible, Person, buttons_of, text_of
from tests.slack_text import Json
from tests.stage import MariaDBStage, Stage, accounts, session_id

ASKS = "Nothing is closed without a press"
LONG = '[closing]\nconfirm_within = "10m"\n'
BYSTANDERS = 5  # sessions of the same user and source that nobody ever asks to close


@dataclass
class Row:
    """One line of the table. All counts but the first three must be 0."""

    scenario: str
    tries: int = 0
    attempted: int = 0  # presses that asked for a close, as requests: two people on one card are one
    done: int = 0  # sessions or queries that a close ended
    wrong: int = 0  # sessions or queries ended that must not have been
    double: int = 0  # targets for which more than one KILL was sent
    lost: int = 0  # closes that the record does not tell, or tells otherwise
    slowest_ack: float | None = None  # seconds; None where no Slack takes part
    failures: list[str] = field(default_factory=list)  # what else was not as it must be

    @property
    def clean(self) -> bool:
        """Whether nothing happened that must never happen."""
        return not (self.wrong or self.double or self.lost or self.failures)


class Arena(Stage):
    """A stage that counts. Victims are closed, bystanders never."""

    def __init__(self, database: EmbeddedServer, slack: SlackSandbox, bot: RunningBot, store: str, row: Row) -> None:
        super().__init__(database, slack, bot)
        self.store = sa.create_engine(store)
        self.counts = row
        self.bystanders = [session_id(self.connect()) for _ in range(BYSTANDERS)]

    def victim(self, **more: Any) -> int:
        """Open a session that may be closed."""
        return session_id(self.connect(**more))

    def alive(self, session: int) -> bool:
        """Whether the server still shows a session that is not being ended."""
        return bool(self.row(session))

    def card(self, typed: str, person: Person | None = None) -> Json:
        """Ask for a close and return its card once it stands in the store."""
        card = self.asks(person or self.alice, f"/kill-session {typed}", ASKS, timeout=20)
        self.slack.wait_for(lambda: self.value("SELECT 1 FROM closing_requests WHERE card_ts = :ts", ts=card["ts"]), 10)
        self.counts.tries += 1
        self.counts.attempted += 1
        return card

    def ended(self, card: Json, timeout: float = 30) -> Json:
        """Wait until a card tells an outcome, and has no button left."""
        return self.alice.wait_for_change(card, lambda message: not buttons_of(message), timeout=timeout)

    def value(self, query: str, **values: object) -> Any:
        """Ask the store for one value; None where there is none."""
        with self.store.connect() as connection:
            row = connection.execute(sa.text(query), values).first()
        return row[0] if row else None

    def expect(self, held: bool, what: str) -> None:
        """Note what is not as it must be."""
        if not held:
            self.counts.failures.append(what)

    def count(self, session: int, card: Json, *, closed: bool) -> None:
        """Compare what became of a session with what the record says and with what must be."""
        gone = not self.alive(session)
        self.counts.done += gone
        self.counts.wrong += gone and not closed
        request = self.value("SELECT id FROM closing_requests WHERE card_ts = :ts", ts=card["ts"])
        told = self.value("SELECT outcome FROM closing_targets WHERE request_id = :id", id=request)
        self.counts.lost += gone and closed and told not in ("closed", "already gone", "came back")
        self.counts.lost += not gone and told == "closed"
        self.expect(not closed or gone, f"session {session} was to be closed and is still there: {told}")

    def finish(self) -> None:
        """Count what the record and the server show in the end."""
        with self.store.connect() as connection:
            intents = connection.execute(sa.text("SELECT request_id, details FROM audit WHERE event = 'intent'")).all()
        sent = Counter((request, json.loads(details)["target"]) for request, details in intents)
        self.counts.double += sum(number > 1 for number in sent.values())
        self.counts.wrong += sum(not self.alive(one) for one in self.bystanders)
        acks = self.slack.take_acks()
        if acks:
            self.counts.slowest_ack = max(acks)
        self.store.dispose()


class MariaDBArena(MariaDBStage, Arena):
    """The same on a MariaDB."""


@contextlib.contextmanager
def arena(
    row: Row, database: EmbeddedServer, folder: Path, *, more: str = "", kind: type[Arena] = Arena, store: str = "",
    **bot: Any,
) -> Iterator[Arena]:  # fmt: skip
    """Set everything up for one row of the table, and count in the end."""
    accounts(database)
    folder.mkdir(parents=True, exist_ok=True)
    store = store or f"sqlite:///{folder / 'store.db'}"
    more = f"{LONG}{more}"
    with SlackSandbox(commands=COMMANDS) as slack:
        slack.limits.rates.clear()
        with RunningBot(slack, database, folder, more=more, store=store, **bot) as running:
            played = kind(database, slack, running, store, row)
            try:
                yield played
                played.finish()
            finally:
                played.tidy()


def at_once(acts: Sequence[Callable[[], object]]) -> list[object]:
    """Do all of them in the same instant; return what each gave or raised of what Slack may refuse."""
    barrier = threading.Barrier(len(acts))

    def run(act: Callable[[], object]) -> object:
        barrier.wait(20)
        try:
            return act()
        except NotPossible as refused:
            return refused

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(run, acts))


def database_connection_errors() -> tuple[type[Exception], ...]:
    """What a client gets whose session was closed."""
    return (pymysql.err.OperationalError, pymysql.err.InterfaceError)


__all__ = ["ASKS", "Arena", "MariaDBArena", "Row", "arena", "at_once", "buttons_of", "text_of"]
