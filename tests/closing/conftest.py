"""A closer on a real kernel, with a clock that tests may put forward."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import sqlite3
import time
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pymysql
import pytest
from pydantic import SecretStr

from bot.access import Access, Person, Right, Rule
from bot.closing.advice import Adviser
from bot.closing.approval import Approvals
from bot.closing.audit_query import AuditTrail
from bot.closing.break_glass import BreakGlass
from bot.closing.budget import BudgetExtensions
from bot.closing.closer import Closer
from bot.closing.disclosures import Disclosures
from bot.closing.follow_up import FollowUps
from bot.closing.model import ApprovalPolicy, CardPlace, ClosingRequest, State
from bot.closing.open_attempts import OpenAttempts
from bot.closing.requests import ClosingRequests
from bot.closing.rules import ClosingRules, SourceRules
from bot.closing.store import Store, audit_log
from bot.closing.store.database import Database
from bot.sessions.endpoint import Endpoint
from bot.sessions.protection import Protected
from bot.sessions.service import SessionService
from bot.sessions.source import DataSource, DataSourceOptions
from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.support.patience import PATIENCE
from tests.support.stage import (
    APP_PASSWORD,
    WAITS_FOR_LOCK,
    RunningStatement,
    accounts,
    close,
    session_id,
    still_there,
)

T = TypeVar("T")

ALICE = Person("U01ALICE", "T1")
BOB = Person("U02BOB", "T1")
GUS = Person("U03GUS", "T1")
CAROL = Person("U04CAROL", "T1")  # of tenant sys alone
DORA = Person("U05DORA", "T1")  # approves for tenant sys, and may nothing else
CHANNEL = "C01INC"
MAX_TARGETS = 8
WITHOUT_TIMEOUT = "SET ob_query_timeout = 600000000"
BREAK_GLASS_AFTER = timedelta(minutes=1)


class Nobody:
    """A directory that knows no groups and no members: these tests name people by id."""

    def is_internal(self, person: Person) -> bool:
        return person.team == "T1"

    def is_full_member(self, person: Person) -> bool:
        return False

    def is_in_group(self, person: Person, group: str, ahead: Collection[str] = ()) -> bool:
        return False

    def members(self, group: str, ahead: Collection[str] = ()) -> frozenset[str]:
        return frozenset()


@dataclass
class Clock:
    """The real time, plus what a test or a wait has put it forward."""

    ahead: timedelta = timedelta()
    waits: list[float] = field(default_factory=list)
    at_wait: Callable[[], object] = lambda: None

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def timer(self) -> float:
        """Seconds since some moment."""
        return time.monotonic() + self.ahead.total_seconds()

    def wait(self, seconds: float) -> None:
        """Pass the time without spending it."""
        self.waits.append(seconds)
        self.at_wait()
        self.ahead += timedelta(seconds=seconds)


class Desk:
    """What a test needs to ask for a close and to confirm it."""

    def __init__(
        self, database: EmbeddedOceanBase, folder: Path, approval: ApprovalPolicy = ApprovalPolicy.REQUESTER
    ) -> None:
        self.database = database
        self.clock = Clock()
        self.path = folder / "store.db"
        self.store = Store(Database(f"sqlite:///{self.path}"), clock=self.clock)
        self.store.database.create()
        endpoint = Endpoint("demo", database.host, database.port, database.user, SecretStr(database.password))
        self.sessions = SessionService(
            [DataSource(endpoint, DataSourceOptions(None, Protected(frozenset({"guarded"}))))]
        )
        rules = [
            Rule(frozenset({ALICE.id}), frozenset({Right.VIEW, Right.CLOSE})),
            Rule(frozenset({BOB.id}), frozenset({Right.VIEW, Right.CLOSE, Right.APPROVE})),
            Rule(frozenset({CAROL.id}), frozenset({Right.CLOSE}), tenants=frozenset({"sys"})),
            Rule(frozenset({DORA.id}), frozenset({Right.APPROVE}), tenants=frozenset({"sys"})),
        ]
        self.access = access = Access(rules, Nobody())
        self._later: list[Store] = []
        demo = SourceRules(approval, max_targets=MAX_TARGETS, break_glass_after=BREAK_GLASS_AFTER)
        self._of_sources = {"demo": demo}
        self.rules = ClosingRules(timedelta(minutes=2), sources=self._of_sources)
        self.adviser = Adviser(lambda: self.sessions, self.store, self.clock, self.clock.timer)
        self.requests = ClosingRequests(self.sessions, access, self.store, self.rules, self.clock, self.adviser)
        self.approvals = Approvals(access, self.store, self.rules, self.clock)
        self.break_glass = BreakGlass(access, self.approvals, self.store, self.rules, self.clock)
        self.budget = BudgetExtensions(access, self.store, self.rules, self.clock)
        self.closer = self.closer_of(self.store)
        self.disclosures = Disclosures(access, self.sessions, {})
        self.audit = AuditTrail(self.store, access, self.disclosures, self.clock)
        self._opened: list[pymysql.Connection[Any]] = []
        self._statements: list[RunningStatement] = []

    def closer_of(self, store: Store) -> Closer:
        """Make a closer that is the owner of what it claims, as that of another process is."""
        approvals = self.approvals if store is self.store else Approvals(self.access, store, self.rules, self.clock)
        follow_ups = FollowUps(lambda: self.sessions, store, self.clock, self.clock.timer)
        attempts = OpenAttempts(store, self.clock.timer)
        return Closer(
            self.sessions,
            approvals,
            store,
            self.rules,
            attempts,
            follow_ups,
            self.clock,
            self.clock.wait,
            self.clock.timer,
        )

    def ask(self, *asked: Any, **more: Any) -> ClosingRequest:
        """Ask for a close that makes one request."""
        (request,) = self.requests.ask(*asked, **more)
        return request

    def ask_where(self, *asked: Any, **more: Any) -> ClosingRequest:
        """Ask for a close of what fits a filter, which makes one request."""
        (request,) = self.requests.ask_where(*asked, **more)
        return request

    def cancel(self, request_id: str, person: Person) -> ClosingRequest:
        """Cancel a request, all of it."""
        cancelled = self.approvals.cancel(request_id, person)
        assert cancelled.remainder is None
        return cancelled.request

    def breaks_glass(self, request_id: str, person: Person, channel: str, reason: str) -> ClosingRequest:
        """Break the glass; all who are called are told."""
        return self.break_glass.start(
            request_id, person, channel, reason, lambda _request, _after, told: CardPlace(f"D{told}", "1")
        )

    def restarted(self) -> Closer:
        """Make the closer of the process that comes after this one."""
        store = Store(Database(f"sqlite:///{self.path}"), clock=self.clock)
        store.database.create()
        self._later.append(store)
        return self.closer_of(store)

    def rule(self, **changes: Any) -> None:
        """Change what the configuration says of closing on the data source."""
        self._of_sources["demo"] = replace(self._of_sources["demo"], **changes)

    def protect(self, *users: str, modules: Iterable[str] = (), sources: Iterable[str] = ()) -> None:
        """Change what the configuration protects."""
        source = self.sessions.source("demo")
        networks = tuple(map(ipaddress.ip_network, sources))
        source.options = replace(source.options, protected=Protected(frozenset(users), frozenset(modules), networks))

    def state(self, request: ClosingRequest) -> State:
        """How the request stands in the store."""
        kept = self.store.requests.find(request.id)
        assert kept is not None
        return kept.state

    def connect(self, user: str = "teller", **more: Any) -> pymysql.Connection[Any]:
        """Open a session that a test may look at and close; it is idle."""
        connection = self.database.connect(user=user, password=APP_PASSWORD, **more)
        self._opened.append(connection)
        number = session_id(connection)
        self.until(lambda: self.row(number).get("COMMAND") == "Sleep")  # a moment after its client has its answer
        return connection

    def runs(self, sql: str, **more: Any) -> RunningStatement:
        """Start a statement on a session of its own and return once the server shows it."""
        return self.starts(self.connect(**more), sql)

    def starts(self, connection: pymysql.Connection[Any], sql: str) -> RunningStatement:
        """Start a statement on a session that is there already and return once the server shows it."""
        with connection.cursor() as cursor:
            cursor.execute(WITHOUT_TIMEOUT)
        statement = RunningStatement(connection, sql)
        self._statements.append(statement)
        self.until(lambda: self._runs(statement.id))
        return statement

    def _runs(self, session: int) -> bool:
        """Whether the server shows what a session runs, and not still that its time-out was set."""
        row = self.row(session)
        text = str(row.get("TOP_INFO") or row.get("INFO") or WITHOUT_TIMEOUT)
        return row.get("COMMAND") == "Query" and not text.startswith(WITHOUT_TIMEOUT)

    def stops(self, statement: RunningStatement) -> None:
        """End a statement, as if it had come to its end by itself; return once the server shows its session idle."""
        with self.database.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"KILL QUERY {statement.id}")
        assert statement.ended()
        self.until(lambda: self.row(statement.id).get("COMMAND") == "Sleep")

    def row(self, session: int) -> dict[str, Any]:
        with self.database.connect() as connection, connection.cursor(pymysql.cursors.DictCursor) as cursor:
            cursor.execute("SELECT * FROM oceanbase.V$OB_PROCESSLIST WHERE id = %s", (session,))
            return dict(cursor.fetchone() or {})

    def until(self, condition: Callable[[], object]) -> None:
        """Ask the database until something is so; each question takes some milliseconds."""
        deadline = datetime.now(UTC) + timedelta(seconds=PATIENCE)
        while not condition():
            assert datetime.now(UTC) < deadline, "it never came true"

    def tidy(self) -> None:
        self.sessions.close()
        for store in (self.store, *self._later):
            store.database.close()
        running = {statement.connection for statement in self._statements}
        close(one for one in self._opened if one not in running)  # which gives the locks free that others wait for
        for statement in self._statements:
            statement.join(0.5 if self.row(statement.id).get("RETRY_INFO") == WAITS_FOR_LOCK else 0)
            if statement.is_alive():
                with self.database.connect() as admin, admin.cursor() as cursor, contextlib.suppress(pymysql.Error):
                    cursor.execute(f"KILL {statement.id}")
            statement.join(PATIENCE)
        close(self._opened)
        self.until(lambda: not still_there(self.database, self._opened))


def record_of(desk: Desk, request: ClosingRequest) -> list[tuple[str, Mapping[str, Any]]]:
    """The record of one request, oldest first: event and details."""
    with desk.store.database.reading() as connection:
        return [(one.event, one.details) for one in audit_log.entries(connection, request_id=request.id)]


def lock_waiter(desk: Desk, sku: int = 1) -> RunningStatement:
    """Give a statement that waits for a row lock; the kernel looks after killed ones only every 10 s."""
    holder = desk.connect(database="depot")
    holder.begin()
    with holder.cursor() as cursor:
        cursor.execute("UPDATE stock SET quantity = quantity + 1 WHERE sku = %s", (sku,))
    waiter = desk.runs(f"UPDATE stock SET quantity = 0 WHERE sku = {sku}", database="depot")
    desk.until(lambda: desk.row(waiter.id).get("RETRY_INFO") == WAITS_FOR_LOCK)
    return waiter


def after_a_look(desk: Desk) -> None:
    """Return when the kernel will not look for killed lock waiters for some seconds; it does so every ten.

    The first thing a test does: it closes what is open. When the kernel looks is learnt once a minute, by waiting.
    """
    learnt = _LOOKED.get(desk.database, -60.0)
    if time.monotonic() - learnt >= 60:
        waiter = lock_waiter(desk, 3)
        with desk.database.connect() as admin, admin.cursor() as cursor:
            cursor.execute(f"KILL {waiter.id}")
        assert waiter.ended()
        close(desk._opened)  # the lock is free again for whoever called
        learnt = _LOOKED[desk.database] = time.monotonic()
    since = (time.monotonic() - learnt) % 10
    if not 0 <= since < 6:
        time.sleep(10.2 - since)  # until it has looked, which nothing shows


def before_a_look(desk: Desk, play: Callable[[list[RunningStatement]], T], waiters: int = 1) -> T:
    """Play something with killed lock waiters that must be over before the kernel looks for them.

    It is played anew where the kernel has looked meanwhile, as on a machine that is too busy to be in time: what was
    played then was something else.
    """
    for _ in range(10):
        after_a_look(desk)
        waiting = [lock_waiter(desk, sku) for sku in range(1, waiters + 1)]
        played = play(waiting)
        if all(desk.row(waiter.id).get("RETRY_INFO") == WAITS_FOR_LOCK for waiter in waiting):
            return played
        desk.clock.waits.clear()
        close(desk._opened)  # whose locks the next ones would wait for
    raise AssertionError("the kernel looked each time: this machine is too slow for it")


_LOOKED: weakref.WeakKeyDictionary[EmbeddedOceanBase, float] = weakref.WeakKeyDictionary()


def tamper(desk: Desk, request: ClosingRequest, number: int, **changes: object) -> None:
    """Change what was pinned of a target: stands for an id that has gone to another session since."""
    which = "WHERE request_id = ? AND number = ?", (request.id, number)
    with sqlite3.connect(desk.path) as store:
        session = json.loads(store.execute(f"SELECT session FROM closing_targets {which[0]}", which[1]).fetchone()[0])
        session.update(changes)
        store.execute(f"UPDATE closing_targets SET session = ? {which[0]}", (json.dumps(session), *which[1]))
    store.close()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let advice wait for what a busy machine reads late; it goes on without, which a test of that sets anew."""
    monkeypatch.setattr("bot.closing.advice.READ_WITHIN", PATIENCE)


@pytest.fixture
def desk(oceanbase: EmbeddedOceanBase, tmp_path: Path, patient: None) -> Iterator[Desk]:
    accounts(oceanbase)
    set_up = Desk(oceanbase, tmp_path)
    yield set_up
    set_up.tidy()


@pytest.fixture
def two_person_desk(oceanbase: EmbeddedOceanBase, tmp_path: Path, patient: None) -> Iterator[Desk]:
    accounts(oceanbase)
    set_up = Desk(oceanbase, tmp_path, ApprovalPolicy.SECOND_PERSON)
    yield set_up
    set_up.tidy()
