"""Who waits for whom on the real kernels."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pymysql
import pytest

from bot.sessions.model import Session, WaitKind
from bot.sessions.source import DataSource
from bot.sessions.waits.graph import WaitGraph
from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.sessions.conftest import Make, until
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
            statement.join(20)


def change(row: int) -> str:
    return f"UPDATE stock SET quantity = quantity + 1 WHERE sku = {row}"


@pytest.fixture
def shop(database: EmbeddedOceanBase) -> Iterator[Shop]:
    with database.connect() as root, root.cursor() as cursor:
        cursor.execute("CREATE DATABASE IF NOT EXISTS waits")
        cursor.execute("USE waits")
        cursor.execute("DROP TABLE IF EXISTS stock")
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


def test_fifty_waiters_for_one_row_are_fifty_waits_for_one_session_and_no_queue(source: Make, shop: Shop) -> None:
    head = session_id(shop.holder(1))
    waiters = {shop.waiter(1) for _ in range(50)}
    found = seen(source(), 50)
    assert ids(found) == {head: 50}
    assert {one.waiter.id for one in found.waits} == waiters
    assert {depth for depth, _ in lines(found)} == {0, 1}
