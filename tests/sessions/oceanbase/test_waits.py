"""Who waits for whom on the real kernels."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import pymysql
import pytest

from bot.sessions.database import Connection
from bot.sessions.model import Session, WaitKind
from bot.sessions.oceanbase import row_locks
from bot.sessions.source import DataSource
from bot.sessions.statement import Disclosure
from bot.sessions.waits import reading
from bot.sessions.waits.graph import WaitGraph
from bot.sessions.waits.reading import Locks, Party
from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.sessions.conftest import Make, read_until, until
from tests.support.patience import PATIENCE
from tests.support.stage import RunningStatement, session_id


class Shop:
    """Sessions that take locks of one table; all of them are closed in the end."""

    def __init__(self, database: EmbeddedOceanBase) -> None:
        self.database = database
        self.opened: list[pymysql.Connection[Any]] = []
        self.statements: list[RunningStatement] = []

    def session(self, *statements: str) -> pymysql.Connection[Any]:
        """Open a session in a transaction that runs these one after the other, and stays open."""
        client = self.database.connect(database="waits")
        self.opened.append(client)
        with client.cursor() as cursor:
            for statement in ("SET ob_query_timeout = 600000000", "BEGIN", *statements):
                cursor.execute(statement)
        return client

    def holder(self, *rows: int) -> pymysql.Connection[Any]:
        """Open a session that holds these rows and is idle."""
        return self.session(*map(change, rows))

    def waiter(self, row: int, *held: int) -> int:
        """Open a session that holds rows and waits for another."""
        return self.waits(self.holder(*held), change(row))

    def waits(self, client: pymysql.Connection[Any], statement: str) -> int:
        """Run a statement that will have to wait."""
        self.statements.append(RunningStatement(client, statement))
        return self.statements[-1].id

    def close(self) -> None:
        with self.database.connect() as root, root.cursor() as cursor:
            for client in self.opened:
                with contextlib.suppress(pymysql.Error):
                    cursor.execute(f"KILL {session_id(client)}")
        for statement in self.statements:
            statement.join(PATIENCE)


def change(row: int) -> str:
    return f"UPDATE stock SET quantity = quantity + 1 WHERE sku = {row}"


@pytest.fixture
def shop(database: EmbeddedOceanBase) -> Iterator[Shop]:
    with database.connect() as root, root.cursor() as cursor:
        cursor.execute("CREATE DATABASE IF NOT EXISTS waits")
        cursor.execute("USE waits")
        cursor.execute("DROP TABLE IF EXISTS stock, other, priced")
        cursor.execute("CREATE TABLE priced (sku INT PRIMARY KEY, price INT, UNIQUE KEY by_price (price))")
        cursor.execute("CREATE TABLE other (n INT)")
        cursor.execute("INSERT INTO other VALUES (0)")
        cursor.execute("CREATE TABLE stock (sku INT PRIMARY KEY, quantity INT)")
        cursor.execute("INSERT INTO stock VALUES " + ", ".join(f"({row}, 100)" for row in range(1, 21)))
    shop = Shop(database)
    yield shop
    shop.close()


def seen(prod: DataSource, waits: int) -> WaitGraph:
    """Read the waits until there are so many."""
    found = prod.waits()

    def enough() -> bool:
        nonlocal found
        found = prod.waits()
        return len(found.waits) == waits

    until(enough)
    return found


def ids(found: WaitGraph) -> dict[int, int]:
    return {one.holder.id: one.held_up for one in found.heads if isinstance(one.holder, Session)}


def lines(found: WaitGraph) -> list[tuple[int, int]]:
    return [(one.depth, one.who.id) for one in found.chains() if isinstance(one.who, Session)]


def test_chains_with_branches_and_two_heads_are_told_apart_and_whoever_blocks_nobody_is_not_named(
    source: Make, shop: Shop
) -> None:
    shop.holder(20)  # older than all others, and idle, and blocks nobody
    pool = [shop.session() for _ in range(5)]
    head, other = session_id(shop.holder(1)), session_id(shop.holder(11))
    middle = shop.waiter(1, 2)
    leaves = shop.waiter(2), shop.waiter(2, 3)
    last, apart = shop.waiter(3), shop.waiter(11)
    found = seen(source(), 5)
    assert ids(found) == {head: 4, other: 1}
    assert lines(found)[:2] == [(0, head), (1, middle)]
    assert {(2, leaves[0]), (2, leaves[1]), (3, last)} == set(lines(found)[2:5])
    assert lines(found)[5:] == [(0, other), (1, apart)]
    assert not {session_id(one) for one in pool} & {number for _, number in lines(found)}
    assert (found.dropped, found.lacks) == (0, ())
    its = found.waits[0]
    assert (its.kind, its.what, its.candidate) == (WaitKind.ROW_LOCK, "waits.stock", False)
    assert its.told_by.endswith("V$OB_LOCKS")
    assert '"INT"' in (its.lock or ""), "the whole of what names the row"
    assert '"INT"' not in (its.what or ""), "a row's key is a literal"


@pytest.mark.parametrize("form", [row_locks.WaitStatistics, row_locks.Queues])
def test_what_the_view_is_made_of_tells_the_same_waits_to_those_who_read_it_in_its_place(
    source: Make, shop: Shop, form: type[row_locks.RowLocks]
) -> None:
    prod = source()
    head = session_id(shop.holder(1))
    middle = shop.waiter(1, 2)
    queue = shop.waiter(1), shop.waiter(2)
    seen(prod, 3)
    with prod.console() as console:
        tenants = console.dialect.tenants
        rows = form("oceanbase.__all_virtual_lock_wait_stat", tenants, row_locks.Tablets("oceanbase.DBA_OBJECTS"))
        locks = reading.read(console._connection, "prod", lambda its: Locks(tuple(rows.waits(its)())), console.parties)
    assert {(one.waiter.id, one.holder.id) for one in locks.waits if isinstance(one.holder, Session)} == {
        (middle, head),
        (queue[0], head),
        (queue[1], middle),
    }, "also the second of a queue, for whom the first is said to block"
    assert {one.what for one in locks.waits} == {"waits.stock"}


def test_fifty_waiters_for_one_row_are_fifty_waits_for_one_session_and_no_queue(source: Make, shop: Shop) -> None:
    head = session_id(shop.holder(1))
    waiters = {shop.waiter(1) for _ in range(50)}
    found = seen(source(), 50)
    assert ids(found) == {head: 50}
    assert {one.waiter.id for one in found.waits} == waiters
    assert {depth for depth, _ in lines(found)} == {0, 1}


def test_the_head_is_told_with_its_transaction_and_what_it_ran_last(source: Make, shop: Shop) -> None:
    prod = source()
    holder = shop.holder(1)
    shop.waiter(1)
    with prod.console() as console:
        keeps_them = "v1.4" not in console.dialect.name

    def told(now: WaitGraph) -> object:  # a busy kernel does not read the ring of what ran last in time
        holders = [one.holder for one in now.heads]
        return any(isinstance(one, Session) and (one.last_statement or not keeps_them) for one in holders)

    found = read_until(prod.waits, told)
    (head,) = found.heads
    assert isinstance(head.holder, Session)
    transaction = head.holder.transaction
    assert transaction is not None
    assert transaction.state == "ACTIVE"
    assert transaction.age is not None
    assert head.longest is not None
    assert transaction.age >= head.longest - 0.1  # of two views: seen 1 ms younger while the kernel waited for a CPU
    last = head.holder.last_statement
    assert (last is not None) is keeps_them
    if last is not None:
        assert last.statement.shown(Disclosure.ALL_BUT_PASSWORDS) == change(1)
        assert 0 <= last.ago < PATIENCE
    assert session_id(holder) == head.holder.id


def test_how_much_a_transaction_has_changed_is_asked_for_by_whoever_shows_it_alone(
    source: Make, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    prod = source()
    shop.holder(1)
    shop.waiter(1)
    read_until(prod.waits, lambda now: bool(now.heads))
    sent: list[str] = []
    plain = Connection.rows

    def rows(connection: Connection, sql: str, values: Any = ()) -> Any:
        sent.append(sql)
        return plain(connection, sql, values)

    monkeypatch.setattr(Connection, "rows", rows)
    read_until(prod.waits, lambda now: bool(now.heads))
    assert not any("log_size" in sql for sql in sent)
    assert any(one.transaction.bytes_changed for one in prod.transactions(None).open)
    assert any("log_size" in sql for sql in sent)


def test_a_holder_that_goes_on_between_the_locks_and_the_sessions_is_not_named(source: Make, shop: Shop) -> None:
    prod = source()
    holder, stays = shop.holder(1), shop.holder(2)
    shop.waiter(1)
    shop.waiter(2)
    seen(prod, 2)
    with prod.console() as console:
        assert console.dialect.locks is not None
        connection = console._connection

        def sessions_of(parties: Sequence[Party]) -> list[Session]:
            with holder.cursor() as cursor:
                cursor.execute("ROLLBACK")
            return console.parties(parties)

        found = reading.read(connection, "prod", console.dialect.locks, sessions_of)
    assert ids(found) == {session_id(stays): 1}
    assert found.dropped == 1


def test_a_waiter_that_is_being_closed_stays_in_its_chain(
    database: EmbeddedOceanBase, source: Make, shop: Shop
) -> None:
    prod = source()
    head = session_id(shop.holder(1))
    closed, other = shop.waiter(1, 2), shop.waiter(2)
    seen(prod, 2)
    with database.connect() as root, root.cursor() as cursor:
        cursor.execute(f"KILL {closed}")
    with prod.console() as console:
        assert console.dialect.locks is not None
        found = reading.read(console._connection, "prod", console.dialect.locks, console.parties)
    if len(found.waits) == 2:  # the server looks for closed ones every 10 s: it may be gone by now
        (its,) = (one for one in found.waits if one.waiter.id == closed)
        assert its.waiter.ending
        assert lines(found) == [(0, head), (1, closed), (2, other)]


def test_who_holds_a_user_lock_is_named_to_those_who_wait_for_it(
    database: EmbeddedOceanBase, source: Make, shop: Shop
) -> None:
    prod = source()
    holder = shop.session("SELECT GET_LOCK('nightly run', 5)")
    shop.session("SELECT GET_LOCK('another', 5)", "SELECT RELEASE_LOCK('another')")
    waiters = {
        shop.waits(shop.session(), f"{verb} GET_LOCK('nightly run', 600), RELEASE_LOCK('nightly run')")
        for verb in ("SELECT", "DO")
    }
    found = seen(prod, 2)
    assert ids(found) == {session_id(holder): 2}
    assert {one.waiter.id for one in found.waits} == waiters
    assert {(one.kind, one.what) for one in found.waits} == {(WaitKind.USER_LOCK, None)}, "its name is a literal"
    with prod.console() as console:
        keeps = "v1.4" in console.dialect.name
    assert {one.outlives for one in found.waits} == {keeps}, "there the lock stays when its session is gone"
    assert len(found.frees(found.waits[0].holder or found.waits[0].waiter)) == (0 if keeps else 2)
    with holder.cursor() as cursor:
        cursor.execute("SELECT RELEASE_LOCK('nightly run')")
    for statement in shop.statements:
        assert statement.ended() == 0


def test_a_change_of_a_table_waits_for_whoever_has_written_to_it(source: Make, shop: Shop) -> None:
    prod = source()
    head = session_id(shop.holder(1))
    bystander = session_id(shop.session("UPDATE other SET n = 1"))
    index = shop.waits(shop.session(), "CREATE INDEX by_quantity ON stock (quantity)")
    found = seen(prod, 1)
    (its,) = found.waits
    assert (its.waiter.id, its.kind, its.candidate) == (index, WaitKind.METADATA, False)
    assert its.told_by.endswith("V$SESSION_LONGOPS")
    truncate = shop.waits(shop.session(), "TRUNCATE TABLE stock")
    found = seen(prod, 2)
    (its,) = (one for one in found.waits if one.waiter.id == truncate)
    assert (its.kind, its.what, its.candidate) == (WaitKind.METADATA, "waits.stock", True)
    assert ids(found) == {head: 2}
    assert bystander not in ids(found)


def test_what_waits_inside_a_call_has_who_wrote_to_the_table_for_a_candidate(source: Make, shop: Shop) -> None:
    prod = source()
    head = session_id(shop.holder(1))
    shop.session("UPDATE other SET n = 1")  # holds up nobody
    calls = set()
    for first in (3, 4):
        name = f"change_{first}_and_1"
        body = f"CREATE PROCEDURE {name}() BEGIN {change(first)}; {change(1)}; END"
        shop.session(f"DROP PROCEDURE IF EXISTS {name}", body)
        calls.add(shop.waits(shop.session(), f"CALL {name}()"))
    plain = shop.waiter(1)
    found = seen(prod, 3)
    assert ids(found) == {head: 3}, "not each other, though each has written to that table as well"
    assert {one.waiter.id: (one.kind, one.what, one.candidate) for one in found.waits} == {
        **dict.fromkeys(calls, (WaitKind.ROW_LOCK, "waits.stock", True)),
        plain: (WaitKind.ROW_LOCK, "waits.stock", False),
    }


class Shown:
    """Stands for a kernel in the middle of a statement that changes 260,000 rows (docs/oceanbase.md 5.2)."""

    def rows(self, sql: str) -> Sequence[Sequence[object]]:
        assert "WHERE block = 1" in sql
        rows = ((0, 9, 317, 7, 314, None, 700_000, "TX"), (0, 8, 318, 7, 314, "200001", 700_000, "TM"))
        return [row if "tenant_id" in sql else (None, *row[1:]) for row in rows]

    def meanwhile(self, work: Callable[[], object]) -> Callable[[], object]:
        return work


def test_whoever_waits_for_what_a_long_statement_changes_waits_for_a_row_and_for_no_table(
    monkeypatch: pytest.MonkeyPatch, source: Make
) -> None:
    with source().console() as console:
        form = row_locks.BothEnds("a view", console.dialect.tenants, row_locks.Tablets())
    monkeypatch.setattr(row_locks.RowLocks, "_tenants", lambda *_: {})
    edges = form.waits(cast("Connection", Shown()))()
    assert [(one.waiter.session_id, one.kind) for one in edges] == [(9, WaitKind.ROW_LOCK), (8, WaitKind.TABLE_LOCK)]


def test_a_circle_is_read_as_one_and_an_idle_holder_whose_query_was_closed_still_holds(
    database: EmbeddedOceanBase, source: Make, shop: Shop
) -> None:
    prod = source()
    one_end, other_end = shop.holder(1), shop.holder(2)
    shop.waits(one_end, change(2))
    shop.waits(other_end, change(1))
    holder = session_id(shop.session("INSERT INTO priced VALUES (1, 700)"))
    waiter = shop.waits(shop.session(), "INSERT INTO priced VALUES (2, 700)")
    with database.connect() as root, root.cursor() as cursor:
        cursor.execute(f"KILL QUERY {holder}")
    found = seen(prod, 3)
    assert ids(found) == {holder: 1}, "nobody in the circle is at its head"
    assert [one.cycle for one in found.chains()].count(True) == 1
    (its,) = (one for one in found.waits if one.waiter.id == waiter)
    assert its.what == "waits.by_price (index)"
    assert isinstance(its.holder, Session)
    assert (its.holder.state, its.holder.idle) == ("QUERY_KILLED", True)
