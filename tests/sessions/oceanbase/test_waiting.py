"""What a session of OceanBase waits for: marked, counted and found on the real kernels."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pymysql
import pytest

from bot.sessions.model import Flag, Session, SessionFilter, SessionQuery, WaitKind
from bot.sessions.source import DataSource
from bot.sessions.statement import Disclosure
from bot.sessions.statistics import Grouping
from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.sessions.conftest import Make, one, until
from tests.sessions.examples import inner_of, sql_of
from tests.support.stage import RunningStatement, session_id

INNER = "INSERT INTO oceanbase.__all_detect_lock_info"


@pytest.fixture
def clients(database: EmbeddedOceanBase) -> Iterator[list[pymysql.Connection[Any]]]:
    """Give four sessions; the first holds what the others wait for."""
    with database.connect() as root, root.cursor() as cursor:
        cursor.execute("CREATE DATABASE IF NOT EXISTS waits")
        cursor.execute("DROP TABLE IF EXISTS waits.paper")
        cursor.execute("CREATE TABLE waits.paper (sku INT PRIMARY KEY, quantity INT)")
        cursor.execute("INSERT INTO waits.paper VALUES (1, 1)")
        opened = [database.connect(database="waits") for _ in range(4)]
        for client in opened:
            run(client, "SET ob_query_timeout = 600000000")  # else a statement ends after 10 s
        yield opened
        run(opened[0], "ROLLBACK", "SELECT RELEASE_ALL_LOCKS()")  # else who waits in GET_LOCK cannot be closed
        for client in opened:
            with contextlib.suppress(pymysql.Error):
                cursor.execute(f"KILL {session_id(client)}")


def run(client: pymysql.Connection[Any], *statements: str) -> None:
    with client.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def listed(prod: DataSource, flag: Flag) -> tuple[Session, ...]:
    return prod.page(SessionQuery(filter=SessionFilter(flags=frozenset({flag}))), None).sessions


def found(prod: DataSource) -> set[int]:
    return {one.id for one in listed(prod, Flag.WAITING)}


def counted(prod: DataSource) -> tuple[int | None, ...]:
    page = prod.page(SessionQuery(), None)
    return page.waiting, prod.statistics(SessionQuery(), Grouping.USER, None).waiting, prod.health(None).waiting


def test_who_waits_in_get_lock_waits_for_a_user_lock_and_its_statement_is_told_as_the_servers_own(
    source: Make, clients: list[pymysql.Connection[Any]]
) -> None:
    """A text of a client that speaks of that statement is none."""
    prod, (holder, *others, reader) = source(), clients
    run(holder, "SELECT GET_LOCK('nightly', 1)", "SELECT GET_LOCK('weekly', 1)")
    reads = RunningStatement(reader, f"SELECT SLEEP(600), '{INNER} (task_type) VALUES (9, 13, '")
    waiter = RunningStatement(others[0], "SELECT GET_LOCK('nightly', 600)")
    calls = RunningStatement(others[1], "DO GET_LOCK('weekly', 600)")
    until(lambda: found(prod) == {waiter.id, calls.id})
    session, other = one(prod, waiter.id), one(prod, calls.id)
    for each in (session, other):
        assert (each.waits, each.waits_for, each.in_get_lock) == (WaitKind.USER_LOCK, "user lock", True)
    assert (sql_of(session) or "").startswith(INNER), "the kernel has nothing else of a SELECT"
    assert (sql_of(other), (inner_of(other) or "")[: len(INNER)]) == ("DO GET_LOCK('weekly', 600)", INNER)
    assert "nightly" not in (session.statement.shown(Disclosure.DIGEST) if session.statement else "")
    assert not one(prod, session_id(holder)).waits
    assert (one(prod, reads.id).running, one(prod, reads.id).waits) == (True, None)
    assert counted(prod) == (2, 2, 2)


def test_who_waits_for_a_row_or_a_table_is_found_and_counted_in_a_routine_too_and_who_holds_it_is_found(
    source: Make, clients: list[pymysql.Connection[Any]]
) -> None:
    prod, (holder, *others) = source(), clients
    run(
        holder,
        "DROP TABLE IF EXISTS ledger",
        "CREATE TABLE ledger (sku INT)",
        "DROP PROCEDURE IF EXISTS touch",
        "CREATE PROCEDURE touch() BEGIN SELECT 1; UPDATE paper SET quantity = 3; SELECT SLEEP(600); END",
        "BEGIN",
        "UPDATE paper SET quantity = 2",
        "INSERT INTO ledger VALUES (1)",
    )
    waiter = RunningStatement(others[0], "UPDATE paper SET quantity = 4")
    calls = RunningStatement(others[1], "CALL touch()")
    changes = RunningStatement(others[2], " truncate TABLE ledger")
    until(lambda: found(prod) == {waiter.id, calls.id, changes.id})
    assert one(prod, changes.id).waits_for == "table metadata lock"
    for each in (one(prod, waiter.id), one(prod, calls.id)):
        assert (each.waits, each.waits_for, each.in_get_lock) == (WaitKind.ROW_LOCK, "row lock", False)
    assert not one(prod, session_id(holder)).waits
    assert counted(prod) == (3, 3, 3)
    assert {it.id for it in listed(prod, Flag.BLOCKING)} == {session_id(holder)}, (
        "but for whom it holds up in a routine"
    )
    holder.rollback()
    until(lambda: not found(prod))
    assert one(prod, calls.id).running, "it goes on, and the server keeps what it was last tried again for"
