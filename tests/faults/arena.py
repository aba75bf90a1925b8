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

from bot.closing.model import Outcome
from bot.slack.views.closing_text import DONE
from sandbox.databases.embedded import EmbeddedServer
from sandbox.slack.delivery import ACK_WITHIN
from sandbox.slack.server import SlackSandbox
from tests.support.odp import Odp
from tests.support.patience import PATIENCE
from tests.support.relay import Relay
from tests.support.running_bot import COMMANDS, RunningBot
from tests.support.slack_person import NotPossible, Person, buttons_of, text_of
from tests.support.slack_text import Json
from tests.support.stage import ASKS, MariaDBStage, Stage, accounts, full_text, session_id

LONG = '[closing]\nconfirm_within = "10m"\n'
BYSTANDERS = 5  # sessions of the same user and source that nobody ever asks to close


@dataclass
class Row:
    """One line of the table.

    A try in which the fault did not come about proves nothing and is no failure of the bot: it is ``unreached``,
    and another one takes its place. Wrong, double, lost and failures must be none.
    """

    scenario: str
    wanted: int = 0  # tries in which the fault must have come about
    tries: int = 0  # those in which it has
    unreached: int = 0  # those in which it has not
    attempted: int = 0  # cards that asked for a close
    done: int = 0  # sessions or queries that a close ended
    wrong: int = 0  # sessions or queries ended that must not have been
    double: int = 0  # sessions for which more than one KILL was sent
    lost: int = 0  # closes that the record or the card does not tell, or tells otherwise
    slowest_ack: float | None = None  # seconds; None where no Slack takes part
    failures: list[str] = field(default_factory=list)  # what else was not as it must be

    @property
    def clean(self) -> bool:
        """Whether nothing happened that must never happen."""
        return not (self.wrong or self.double or self.lost or self.failures)

    @property
    def complete(self) -> bool:
        """Whether the fault came about often enough for the row to say anything."""
        return 0 < self.wanted <= self.tries


class Arena(Stage):
    """A stage that counts. Victims are closed, bystanders never.

    ``tap`` is what the bots' connections go through, where every KILL that they send is counted; without one, as
    where the server itself comes and goes, the intents in the record are.
    """

    def __init__(
        self, database: EmbeddedServer, slack: SlackSandbox, bot: RunningBot, store: str, row: Row, tap: Odp | None
    ) -> None:
        super().__init__(database, slack, bot)
        self.store = sa.create_engine(store)
        self.counts = row
        self.tap = tap
        self.relay: Relay | None = None
        self.bystanders: list[pymysql.Connection[Any]] = []
        self.watch_over(*(self.connect() for _ in range(BYSTANDERS)))

    def tries(self, wanted: int) -> Iterator[int]:
        """Number the tries until the fault has come about in ``wanted`` of them; twice as many and two at most.

        Each must say by ``reached`` whether it has.
        """
        self.counts.wanted += wanted
        before = self.counts.tries
        for number in range(2 * wanted + 2):
            if self.counts.tries - before >= wanted:
                return
            yield number

    def reached(self, came_about: bool, count: int = 1) -> bool:
        """Note whether the fault of a try came about; return it."""
        if came_about:
            self.counts.tries += count
        else:
            self.counts.unreached += count
        return came_about

    def victim(self, **more: Any) -> int:
        """Open a session that may be closed."""
        return session_id(self.connect(**more))

    def alive(self, session: int) -> bool:
        """Whether the server still shows a session."""
        return bool(self.row(session))

    def watch_over(self, *connections: pymysql.Connection[Any]) -> None:
        """Have it counted as a wrong close when one of these sessions ends before ``look_after_bystanders``."""
        self.bystanders += connections

    def look_after_bystanders(self) -> None:
        """Count those that somebody has closed, and let go of them all."""
        self.counts.wrong += sum(not lives(one) for one in self.bystanders)
        self.bystanders.clear()

    def kills(self, session: int) -> int:
        """How many KILLs the bots have sent for a session."""
        assert self.tap is not None, "this arena has no tap"
        return self.tap.passed.count(session)

    def card(self, typed: str, person: Person | None = None) -> Json:
        """Ask for a close and return its card once it stands in the store."""
        card = self.asks(person or self.alice, f"/kill-session {typed}", ASKS)
        self.slack.wait_for(lambda: self.value("SELECT 1 FROM closing_requests WHERE card_ts = :ts", ts=card["ts"]))
        self.counts.attempted += 1
        return card

    def ended(self, card: Json) -> Json:
        """Wait until a card tells an outcome that is on record, and has no button left."""
        return self.alice.wait_for_change(card, self.is_over)

    @staticmethod
    def is_over(card: Json) -> bool:
        """Whether a card tells an outcome that is on record, and has no button left."""
        said = full_text(card)
        return not buttons_of(card) and "is being closed" not in said and "Record pending" not in said

    def value(self, query: str, **values: object) -> Any:
        """Ask the store for one value; None where there is none."""
        with self.store.connect() as connection:
            row = connection.execute(sa.text(query), values).first()
        return row[0] if row else None

    def outcome(self, card: Json) -> str | None:
        """Return what the record says became of a card's one target."""
        request = self.value("SELECT id FROM closing_requests WHERE card_ts = :ts", ts=card["ts"])
        told = self.value("SELECT outcome FROM closing_targets WHERE request_id = :id", id=request)
        return None if told is None else str(told)

    def expect(self, held: bool, what: str) -> None:
        """Note what is not as it must be."""
        if not held:
            self.counts.failures.append(what)

    def count(self, session: int, card: Json, *, closed: bool, answered: bool = True) -> None:
        """Compare what became of a session with what the record and the card say and with what must be.

        Nobody but the bot closes victims: one that is gone was closed, and nothing else may be told of it. Where the
        answer to the KILL died with its bot, ``answered`` is not so, and no more may be told than that it has ended.
        """
        outcome = Outcome.CLOSED if answered else Outcome.ALREADY_GONE
        gone = not self.alive(session)
        self.counts.done += gone
        self.counts.wrong += gone and not closed
        told = self.outcome(card)
        now = self.alice.now(card)
        shown = "" if now is None else full_text(now)
        true = gone == (told == outcome.value) and gone == (DONE[outcome] in shown)
        self.counts.lost += not true
        self.expect(
            true, f"session {session} is {'gone' if gone else 'there'}, the record says {told}, the card {shown!r}"
        )
        self.expect(not closed or gone, f"session {session} was to be closed and is still there: {told}")

    def finish(self) -> None:
        """Count what the record and the server show in the end."""
        with self.store.connect() as connection:
            asked = sa.text("SELECT request_id, details FROM audit WHERE event = :event")
            intents = connection.execute(asked, {"event": "intent"}).all()
            withdrawn = connection.execute(asked, {"event": "withdraw"}).all()
        recorded = Counter((request, json.loads(details)["target"]) for request, details in intents)
        recorded -= Counter((request, json.loads(details)["target"]) for request, details in withdrawn)
        sessions = Counter(int(json.loads(details)["id"]) for _request, details in intents)
        sent = recorded if self.tap is None else Counter(self.tap.passed)
        self.counts.double += sum(number > 1 for number in sent.values())
        if self.tap is not None:
            self.counts.lost += sum(number > sessions[session] for session, number in Counter(self.tap.passed).items())
        self.look_after_bystanders()
        acks = self.slack.take_acks()
        if acks:
            self.counts.slowest_ack = max(acks)
            self.expect(max(acks) < ACK_WITHIN, f"an acknowledgement took {max(acks):.1f} s")
        self.store.dispose()


class MariaDBArena(MariaDBStage, Arena):
    """The same on a MariaDB."""


@contextlib.contextmanager
def arena(
    row: Row,
    database: EmbeddedServer,
    folder: Path,
    *,
    more: str = "",
    kind: type[Arena] = Arena,
    store: str = "",
    tapped: bool = True,
    relayed: bool = False,
    **bot: Any,
) -> Iterator[Arena]:
    """Set everything up for one row of the table, and count in the end; ``relayed`` puts a relay before all that."""
    accounts(database)
    folder.mkdir(parents=True, exist_ok=True)
    store = store or f"sqlite:///{folder / 'store.db'}"
    more = f"{LONG}{more}"
    with SlackSandbox(commands=COMMANDS) as slack, contextlib.ExitStack() as tapping:
        slack.limits.rates.clear()
        tap = tapping.enter_context(Odp(database.host, database.port, errno=None)) if tapped else None
        port = tap.port if tap else database.port
        relay = tapping.enter_context(Relay(port)) if relayed else None
        port = relay.port if relay else port
        with RunningBot(slack, database, folder, more=more, store=store, port=port, **bot) as running:
            played = kind(database, slack, running, store, row, tap)
            played.relay = relay
            try:
                yield played
                played.finish()
            finally:
                played.tidy()


def lives(connection: pymysql.Connection[Any]) -> bool:
    """Whether a session still answers its own client: an id alone may be somebody else's by now."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except (pymysql.err.OperationalError, pymysql.err.InterfaceError):
        return False
    return True


def at_once(acts: Sequence[Callable[[], object]]) -> bool:
    """Do all of them in the same instant; return whether Slack took each: a button may be gone by its turn."""
    barrier = threading.Barrier(len(acts))

    def run(act: Callable[[], object]) -> bool:
        barrier.wait(PATIENCE)
        try:
            act()
        except NotPossible:
            return False
        return True

    with ThreadPoolExecutor(len(acts)) as pool:
        return all(list(pool.map(run, acts)))


__all__ = ["ASKS", "Arena", "MariaDBArena", "Row", "arena", "at_once", "buttons_of", "lives", "text_of"]
