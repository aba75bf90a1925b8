"""Open transactions: read on the kernels, MariaDB and MySQL, and narrowed to what is asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pymysql
import pytest

from bot.sessions.model import Condition, Field, Flag, LastStatement, Operator, SessionFilter, Transaction
from bot.sessions.source import DataSource
from bot.sessions.statement import Disclosure
from bot.sessions.transactions import OpenTransaction, TransactionFilter, Transactions
from bot.sessions.waits.graph import Prepared
from sandbox.databases.embedded import EmbeddedServer
from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.sessions.conftest import Make, read_until, until
from tests.sessions.examples import EXAMPLE, MARIA_PASSWORD
from tests.support.cluster import Cluster
from tests.support.servers import EmbeddedMySQL
from tests.support.sessions import like
from tests.support.stage import APP_PASSWORD, RunningStatement, accounts, session_id

Connect = Callable[[], "pymysql.Connection[Any]"]
IDLE = TransactionFilter(SessionFilter(flags=frozenset({Flag.IDLE})))


def told(found: Transactions) -> dict[int, OpenTransaction]:
    return {one.session.id: one for one in found.open if one.session is not None}


def last_of(one: OpenTransaction) -> LastStatement | None:
    return one.session.last_statement if one.session is not None else None


def run(client: pymysql.Connection[Any], *statements: str) -> None:
    with client.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def plays(prod: DataSource, connect: Connect, stock: str, *, keeps_last: bool) -> None:
    """Let one idle, one wait for its row, and one have no transaction; all of that is told."""
    until(lambda: not prod.transactions(None).open)  # what a test before this one had open
    with contextlib.ExitStack() as opened:
        idle, waiting, pooled = (opened.enter_context(connect()) for _ in range(3))
        run(pooled, f"SELECT * FROM {stock}")
        run(idle, "BEGIN", f"UPDATE {stock} SET quantity = quantity + 1 WHERE sku = 1")
        until(lambda: session_id(idle) in told(prod.transactions(None)))
        waiter = RunningStatement(waiting, f"UPDATE {stock} SET quantity = 5 WHERE sku = 1")
        until(lambda: waiter.id in told(prod.transactions(None)))
        until(lambda: told(prod.transactions(None))[session_id(idle)].idle)  # MySQL counts whole seconds
        # A busy kernel does not read the ring of what ran last in time; then nothing is told of that.
        found = read_until(
            lambda: prod.transactions(None), lambda now: last_of(told(now)[session_id(idle)]) or not keeps_last
        )
        assert set(told(found)) == {session_id(idle), waiter.id}, "neither what has none nor the bot's own"
        first, second = told(found)[session_id(idle)], told(found)[waiter.id]
        age = first.transaction.age
        assert age is not None
        assert found.open[0].transaction.age == found.oldest
        assert found.oldest is not None
        assert found.oldest >= age
        assert first.idle is not None
        assert age >= first.idle - 1.0, "InnoDB knows whole seconds alone"
        assert second.idle is None
        assert first.transaction.rows_changed == 1 or (first.transaction.bytes_changed or 0) > 0
        assert first.session is not None
        assert first.session.transaction == first.transaction
        last = last_of(first)
        assert (last is not None) is keeps_last
        assert last is None or last.statement.shown(Disclosure.DIGEST).startswith(f"UPDATE {stock} SET quantity")
        assert set(told(found.narrowed(None, IDLE))) == {session_id(idle)}
        idle.rollback()
        waiter.ended()
        until(lambda: not prod.transactions(None).open)


def test_open_transactions_are_told_with_age_idle_time_and_bytes_on_oceanbase(
    database: EmbeddedOceanBase, source: Make, request: pytest.FixtureRequest
) -> None:
    accounts(database)
    audited = "seekdb-1.4" not in request.node.name  # that has no GV$OB_SQL_AUDIT

    def connect() -> pymysql.Connection[Any]:
        return database.connect(user="teller", password=APP_PASSWORD)

    plays(source(), connect, "depot.stock", keeps_last=audited)


def test_transactions_that_the_clock_does_not_tell_apart_are_in_the_order_in_which_they_began(
    database: EmbeddedOceanBase, source: Make
) -> None:
    accounts(database)
    before = source()
    until(lambda: not before.transactions(None).open)  # what a test before this one had open
    with contextlib.ExitStack() as opened:
        clients = [opened.enter_context(database.connect(user="teller", password=APP_PASSWORD)) for _ in range(6)]
        for sku, client in enumerate(clients, 1):
            run(client, "BEGIN", f"INSERT INTO depot.stock VALUES ({sku + 100}, 1)")
        ids = [one.session.id for one in source().transactions(None).open if one.session is not None]
        assert ids == [session_id(client) for client in clients]


@pytest.mark.parametrize("server", ["mariadb", "mysql"], indirect=True)
def test_open_transactions_are_told_with_age_idle_time_and_rows_on_mysql(
    server: EmbeddedServer, crm_source: Make, logins: str
) -> None:
    crm = crm_source()
    watched = isinstance(server, EmbeddedMySQL)  # that MariaDB has its performance schema off

    def connect() -> pymysql.Connection[Any]:
        return server.connect(user=logins, password=MARIA_PASSWORD)

    plays(crm, connect, "mysql_test.stock", keeps_last=watched)
    with server.connect(user=logins, password=MARIA_PASSWORD) as client:
        run(client, "XA START 'order'", "INSERT INTO mysql_test.stock VALUES (7, 7)", "XA END 'order'")
        run(client, "XA PREPARE 'order'")
    until(lambda: [one.who for one in crm.transactions(None).open if isinstance(one.who, Prepared)])
    (prepared,) = crm.transactions(None).open
    assert prepared.session is None
    assert prepared.idle is None
    assert prepared.transaction.rows_changed == 1
    assert crm.transactions(None).narrowed(None, IDLE).open == (), "it has no session that could be idle"
    with server.connect() as admin:
        run(admin, "XA ROLLBACK 'order'")
    unseeing = crm_source(user="mysql_plain").transactions(None)
    assert unseeing.open == ()
    assert "tells this login of no transaction" in unseeing.caveats[0]
    assert "GRANT PROCESS" in " ".join(unseeing.caveats)


def test_of_a_cluster_each_is_told_with_its_tenant_and_one_whose_client_was_closed_as_that(
    cluster: Cluster, cluster_source: Make
) -> None:
    run_by = cluster.connect("app@shop")
    cluster.place(session_id(run_by), transaction=77)
    cluster.holds(77, session_id(run_by))
    hidden = cluster.connect("hidden@shop")
    cluster.holds(78, session_id(hidden))
    found = cluster_source().transactions(None)
    assert set(told(found)) == {session_id(run_by)}
    assert [(one.tenant, one.transaction.id) for one in found.open] == [("shop", 77), ("shop", 78)]
    (unlisted,) = (one for one in found.open if one.who is None)
    assert unlisted.server_session == session_id(hidden)
    assert found.narrowed({"billing"}).open == ()


def test_where_no_view_tells_of_transactions_the_list_does_without_their_age(
    cluster: Cluster, cluster_source: Make
) -> None:
    cluster.run("RENAME TABLE oceanbase.`GV$OB_TRANSACTION_SCHEDULERS` TO oceanbase.away")
    try:
        client = cluster.connect("app@shop")
        cluster.place(session_id(client), transaction=77)
        found = cluster_source().transactions(None)
        assert set(told(found)) == {session_id(client)}
        assert found.oldest is None
        assert "How old a transaction is, is not known here" in found.caveats[0]
    finally:
        cluster.run("RENAME TABLE oceanbase.away TO oceanbase.`GV$OB_TRANSACTION_SCHEDULERS`")


def open_one(age: float | None, **changes: Any) -> OpenTransaction:
    session = replace(like(EXAMPLE, **changes), transaction=Transaction(12, "ACTIVE", age=age))
    return OpenTransaction(session, session.transaction or Transaction(12, "ACTIVE"), session.tenant)


@pytest.mark.parametrize(
    ("condition", "fits"),
    [
        (Condition(Field.USER, Operator.CONTAINS, ("AP",)), True),
        (Condition(Field.USER, Operator.EXACTLY, ("App",)), False),
        (Condition(Field.USER, Operator.NOT, ("report",)), True),
        (Condition(Field.TENANT, Operator.CONTAINS, ("Shop",)), False),
        (Condition(Field.TENANT, Operator.CONTAINS, ("billing", "shop")), True),
        (Condition(Field.HOST, Operator.CONTAINS, ("10.0.3.",)), True),
        (Condition(Field.HOST, Operator.EXACTLY, ("10.0.3.7",)), True),
        (Condition(Field.HOST, Operator.EXACTLY, ("10.0.3",)), False),
        (Condition(Field.DATABASE, Operator.EXACTLY, ("-",)), False),
        (Condition(Field.PROXY, Operator.EXACTLY, ("-",)), True),
        (Condition(Field.ID, Operator.CONTAINS, (5, EXAMPLE.id)), True),
        (Condition(Field.ID, Operator.NOT, (EXAMPLE.id,)), False),
        (Condition(Field.ID, Operator.ABOVE, (5,)), True),
        (Condition(Field.TIME, Operator.ABOVE, (75.0,)), True),
        (Condition(Field.TIME, Operator.BELOW, (75.0,)), False),
        (Condition(Field.SERVER, Operator.CONTAINS, ("10.0.0.1",)), True),
        (Condition(Field.STATUS, Operator.CONTAINS, ("SLEEP",)), False),
        (Condition(Field.COMMAND, Operator.CONTAINS, ("query",)), True),
    ],
)
def test_a_condition_means_of_a_transactions_session_what_it_means_in_a_list(condition: Condition, fits: bool) -> None:
    assert TransactionFilter(SessionFilter((condition,))).fits(open_one(1.0)) is fits


def test_an_age_that_is_not_known_is_neither_above_nor_below_anything() -> None:
    older, younger = ((operator, 60.0) for operator in (Operator.ABOVE, Operator.BELOW))
    found = Transactions("prod", datetime.now(UTC), (open_one(75.0), open_one(30.0), open_one(None)))
    assert [one.transaction.age for one in found.narrowed(None, TransactionFilter(age=(older,))).open] == [75.0]
    assert [one.transaction.age for one in found.narrowed(None, TransactionFilter(age=(younger,))).open] == [30.0]
    assert found.oldest == 75.0
    assert len(found.narrowed({"shop"}).open) == 3
    assert found.narrowed({"Shop"}).open == ()
