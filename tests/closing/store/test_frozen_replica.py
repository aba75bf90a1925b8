"""A replica that freezes in the middle of a write: the others close again within seconds, and it does nothing more."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from bot.closing.model import ApprovalPolicy, ClosingRequest, Outcome, State, Target, TargetOutcome
from bot.closing.store import Store, audit_log, database, shared_server
from bot.errors import StoreError
from bot.operations import preflight
from bot.operations.reports import Report, Verdict
from bot.sessions.model import Mode
from bot.settings import Loaded, Settings
from sandbox.databases.embedded import EmbeddedServer
from sandbox.databases.mariadb import EmbeddedMariaDB
from tests.closing.conftest import ALICE
from tests.sessions.examples import EXAMPLE
from tests.support.patience import PATIENCE
from tests.support.running_bot import ROOT
from tests.support.stores import store_at

SECONDS = 2  # after which the server drops what the frozen one holds; the product gives it more
CLOSE_AGAIN_WITHIN = 30
DONE_BEFORE = {"confirm": [], "intent": ["confirm"], "outcome": ["confirm", "intent"]}
UNKNOWN = ("no_such_variable = {0}",)

_schemas = itertools.count(1)


@dataclass
class Shared:
    """A schema that replicas share, and what its server is told alone, '' for whatever it knows."""

    server: EmbeddedServer
    schema: str
    variable: str

    @property
    def url(self) -> str:
        """Where the store is."""
        server = self.server
        url = sa.URL.create("mysql+pymysql", server.user, server.password, server.host, server.port, self.schema)
        return url.render_as_string(hide_password=False)


@pytest.fixture(
    params=[("mariadb", ""), ("oceanbase", ""), ("mariadb", "wait_timeout = {0}")],
    ids=["mariadb", "oceanbase-4.3.5", "as a MySQL"],
)
def shared(request: pytest.FixtureRequest) -> Iterator[Shared]:
    name, variable = request.param
    server = request.getfixturevalue(name)
    schema = f"frozen_{next(_schemas)}"
    with server.connect() as admin, admin.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {schema}")
        yield Shared(server, schema, variable)
        cursor.execute(f"DROP DATABASE {schema}")


@pytest.fixture
def on_mariadb(mariadb: EmbeddedMariaDB) -> Iterator[Shared]:
    schema = f"frozen_{next(_schemas)}"
    with mariadb.connect() as admin, admin.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {schema}")
        yield Shared(mariadb, schema, "")
        cursor.execute(f"DROP DATABASE {schema}")


@contextlib.contextmanager
def opened(shared: Shared) -> Iterator[Store]:
    with store_at(shared.url) as store:
        store.database.create()
        yield store


@contextlib.contextmanager
def frozen(shared: Shared, request: ClosingRequest, step: str) -> Iterator[subprocess.Popen[str]]:
    """Give a replica that has stopped in that step of a press on the request."""
    arguments = [shared.url, request.id, step, str(SECONDS), *([shared.variable] if shared.variable else [])]
    command = [sys.executable, "-m", "tests.support.frozen_writer", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            _, status = os.waitpid(process.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status), "it ended instead"
            yield process
        finally:
            process.kill()


def now() -> datetime:
    return datetime.now(UTC)


_ids = itertools.count(1)


def added(store: Store) -> ClosingRequest:
    request = ClosingRequest(
        f"request-{next(_ids)}",
        "prod",
        Mode.SESSION,
        ALICE,
        "C01INC",
        "why",
        ApprovalPolicy.REQUESTER,
        now(),
        now() + timedelta(minutes=2),
        (Target(1, EXAMPLE),),
    )
    store.requests.add(request)
    return request


def closed(store: Store, request: ClosingRequest) -> None:
    """Write what a whole close writes."""
    assert store.decisions.claim(request, ALICE, Mode.SESSION, now())
    taken = store.requests.find(request.id)
    assert taken is not None
    store.intents.intend(taken, taken.targets[0], "KILL 1001", now())
    store.outcomes.conclude(taken, {1: TargetOutcome(Outcome.CLOSED, "", now())}, now())
    done = store.requests.find(request.id)
    assert done is not None
    assert done.state is State.DONE


def events(store: Store, request: ClosingRequest) -> list[str]:
    with store.database.reading() as connection:
        return [one.event for one in audit_log.entries(connection, request_id=request.id)]


@pytest.mark.parametrize("step", list(DONE_BEFORE))
def test_while_one_replica_is_frozen_in_a_step_of_a_close_the_others_close_and_it_has_done_nothing_of_that_step(
    shared: Shared, step: str
) -> None:
    with opened(shared) as store:
        first, second = added(store), added(store)
        with frozen(shared, first, step) as replica:
            began = time.monotonic()
            closed(store, second)
            assert time.monotonic() - began < CLOSE_AGAIN_WITHIN
            assert events(store, first) == ["request", *DONE_BEFORE[step]]
            replica.send_signal(signal.SIGCONT)
            told, _ = replica.communicate(timeout=PATIENCE)
        assert told.splitlines()[:-1] == ["confirmed", "intended"][: len(DONE_BEFORE[step])]
        assert "StoreError: The database of the store " in told
        assert events(store, first) == ["request", *DONE_BEFORE[step]], "not half of it either"
        with store.database.reading() as connection:
            assert audit_log.problems(audit_log.whole(connection)) == []
        if step == "confirm":
            closed(store, first)


def test_what_the_product_gives_a_frozen_replica_leaves_the_others_time_to_close_within_thirty_seconds() -> None:
    assert shared_server.DROPPED_AFTER < shared_server.LOCK_TRIES * shared_server._LOCK_WAIT < CLOSE_AGAIN_WITHIN
    assert shared_server._LOCK_WAIT < shared_server.DROPPED_AFTER, (
        "else the next writer of the frozen one gets the lock"
    )


def test_a_connection_is_told_how_long_it_may_hold_the_lock_and_wait_for_it(shared: Shared) -> None:
    wanted = {
        "mariadb": ("autocommit", 0, "idle_transaction_timeout", 8, "innodb_lock_wait_timeout", 4),
        "oceanbase": ("autocommit", 0, "ob_trx_timeout", 8_000_000, "ob_trx_lock_timeout", 4_000_000),
    }["mariadb" if isinstance(shared.server, EmbeddedMariaDB) else "oceanbase"]
    with opened(shared) as store, store.database.reading() as first, store.database.reading() as second:
        for connection in (first, second):
            asked = ", ".join(f"@@SESSION.{name}" for name in wanted[::2])
            assert tuple(connection.exec_driver_sql(f"SELECT {asked}").one()) == wanted[1::2]
    assert store.database.drops_frozen


def test_a_connection_that_the_server_dropped_while_it_was_idle_is_made_anew(
    on_mariadb: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_server, "_DROPPING", (*UNKNOWN, "wait_timeout = {0}"))
    monkeypatch.setattr(shared_server, "DROPPED_AFTER", 1)
    with opened(on_mariadb) as store, on_mariadb.server.connect() as admin, admin.cursor() as cursor:
        mine = "SELECT 1 FROM information_schema.PROCESSLIST WHERE db = %s"
        store.database.check()
        assert cursor.execute(mine, (on_mariadb.schema,))
        until = time.monotonic() + PATIENCE
        while cursor.execute(mine, (on_mariadb.schema,)):
            assert time.monotonic() < until, "it was not dropped"
            time.sleep(0.05)
        store.database.check()
        closed(store, added(store))


def loaded(url: str) -> Loaded:
    """What a configuration with that store is read as."""
    source = {"host": "127.0.0.1", "user": "root@sys"}
    access = [{"who": ["U01ALICE"], "may": ["view"]}]
    settings = Settings.model_validate({"data_sources": {"demo": source}, "access": access, "store": {"url": url}})
    return Loaded(slack=None, settings=settings, data_sources={}, problems=[])


def test_check_says_where_a_server_drops_nothing(on_mariadb: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    def reports() -> list[Report]:
        return preflight.everything(loaded(on_mariadb.url), None, lambda *_: pytest.fail("there is no data source"))

    with opened(on_mariadb):
        pass
    before = reports()
    assert {verdict for verdict, _ in before} == {Verdict.WORKS}
    monkeypatch.setattr(shared_server, "_DROPPING", UNKNOWN)
    (verdict, said), *more = [one for one in reports() if one not in before]
    assert (verdict, more) == (Verdict.FAILS, [])
    assert "store: its server has none of ob_trx_timeout, idle_transaction_timeout and wait_timeout" in said
    assert "so a replica that hangs in mid-write would block every close" in said


@contextlib.contextmanager
def holding(shared: Shared) -> Iterator[Callable[[], None]]:
    """Hold the record's lock until the function given is called."""
    with shared.server.connect(database=shared.schema) as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("UPDATE audit_head SET count = count WHERE id = 1")
        yield connection.rollback


def test_who_waits_longer_than_one_wait_for_the_lock_asks_for_it_again(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_server, "_LOCK_WAIT", 1)
    lock, asked = audit_log.lock, 0

    def ask(connection: sa.Connection) -> None:
        nonlocal asked
        asked += 1
        if asked == 3:
            release()
        lock(connection)

    with opened(shared) as store:
        request = added(store)
        monkeypatch.setattr(audit_log, "lock", ask)
        with holding(shared) as release:
            assert store.decisions.claim(request, ALICE, Mode.SESSION, now())
    assert asked == 3


def test_a_press_that_does_not_get_the_lock_in_time_says_why_and_can_be_pressed_again(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_server, "_LOCK_WAIT", 1)
    monkeypatch.setattr(database, "LOCK_TRIES", 1)
    with opened(shared) as store:
        request = added(store)
        with holding(shared), pytest.raises(StoreError, match=r"perhaps a replica that hangs.*Give it half a minute"):
            store.decisions.claim(request, ALICE, Mode.SESSION, now())
        assert store.requests.find(request.id) == request
        closed(store, request)


# A replica with five writers at once, whose waits are as short beside what it may hold as the product's are.
FIVE_WRITERS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from bot.closing.store import Store, database, shared_server
from bot.closing.store.database import Database

shared_server.DROPPED_AFTER, shared_server._LOCK_WAIT, database.LOCK_TRIES = 4, 1, 60
store = Store(Database(sys.argv[1]))
with ThreadPoolExecutor(5) as pool:
    list(pool.map(lambda _: store.leases.renew(), range(5)))
"""


def test_writers_of_a_frozen_replica_that_wait_in_line_do_not_get_the_lock_one_after_the_other(
    on_mariadb: Shared,
) -> None:
    waiting = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE db = %s AND info LIKE 'UPDATE audit_head%%'"
    command = [sys.executable, "-c", FIVE_WRITERS, on_mariadb.url]
    with opened(on_mariadb) as store, on_mariadb.server.connect() as admin, admin.cursor() as cursor:
        request = added(store)
        with holding(on_mariadb) as release, subprocess.Popen(command, cwd=ROOT) as process:
            try:
                until = time.monotonic() + PATIENCE
                while (cursor.execute(waiting, (on_mariadb.schema,)), cursor.fetchall())[1] != ((5,),):
                    assert time.monotonic() < until, "they do not wait"
                    time.sleep(0.02)
                process.send_signal(signal.SIGSTOP)
                began = time.monotonic()
                release()  # the first of those five gets the lock
                closed(store, request)
                assert 3 < time.monotonic() - began < 8, "one of them held it, and no second one"
            finally:
                process.kill()
