"""MariaDB: what is listed and closed, on a real one."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pymysql
import pytest

from bot.demo.mariadb import EmbeddedMariaDB
from bot.errors import (
    DataSourceError,
    DataSourceTimeoutError,
    InputError,
    NotAllowedError,
    NotSessionOwnerError,
    UnknownSessionError,
)
from bot.sessions.endpoint import STATEMENT_TIMEOUT
from bot.sessions.model import (
    SORTABLE,
    Condition,
    Field,
    Flag,
    Mode,
    Operator,
    Session,
    SessionFilter,
    SessionQuery,
    Sort,
)
from bot.sessions.source import DataSource, DataSourceOptions
from bot.sessions.statistics import Grouping
from tests.patience import PATIENCE
from tests.sessions.examples import MARIA_PASSWORD as PASSWORD
from tests.stage import Statement, session_id

Make = Callable[..., DataSource]


def query(*conditions: Condition, flags: frozenset[Flag] = frozenset(), **more: Any) -> SessionQuery:
    app = Condition(Field.USER, Operator.EXACTLY, ("mysql_app",))
    return SessionQuery(filter=SessionFilter((app, *conditions), flags), **more)


def listed(source: DataSource, *conditions: Condition, **more: Any) -> list[Session]:
    return list(source.page(query(*conditions, **more), None).sessions)


def until(look: Callable[[], object]) -> None:
    """Look until it is so; InnoDB shows nothing new of its transactions to who looks more often than each 0.1 s."""
    deadline = time.monotonic() + PATIENCE
    while not look():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.12)


@contextlib.contextmanager
def running(mariadb: EmbeddedMariaDB, source: DataSource, sql: str, **more: Any) -> Iterator[Statement]:
    """Run a statement on a session of its own; the server shows it."""
    with mariadb.connect(user="mysql_app", password=PASSWORD, **more) as client:
        statement = Statement(client, sql)
        until(lambda: one(source, statement.id).running)
        yield statement
        with mariadb.connect() as admin, admin.cursor() as cursor, contextlib.suppress(pymysql.Error):
            cursor.execute(f"KILL QUERY {statement.id}")
        statement.join(PATIENCE)


def one(source: DataSource, number: int) -> Session:
    (session,) = source.find(number, None)
    return session


def test_a_session_is_what_the_server_says_and_dashes_elsewhere(
    mariadb: EmbeddedMariaDB, maria_source: Make, logins: str
) -> None:
    maria = maria_source()
    with mariadb.connect(user=logins, password=PASSWORD) as client:
        (session,) = listed(maria)
        assert (session.id, session.user, session.command, session.state) == (
            session_id(client), logins, "Sleep", "SLEEP",
        )  # fmt: skip
        address, port = client._sock.getsockname()  # type: ignore[attr-defined]  # the driver's own socket
        assert session.peer == session.origin == f"{address}:{port}"
        assert session.server is not None
        assert session.server.endswith(f":{mariadb.port}")
        absent = (
            session.tenant, session.database, session.sql, session.sql_id, session.trace_id, session.proxy,
            session.proxy_session_id, session.master_session_id, session.module, session.transaction_id,
            session.transaction_state,
        )  # fmt: skip
        assert set(absent) == {None}
        assert (session.retry_info, session.sql_length, session.own) == (0, 0, False)
        assert session.memory is not None
        assert session.memory > 0
    assert maria.description().startswith("MariaDB ")


def test_a_running_query_has_a_time_with_fractions_and_a_name_for_this_very_run(
    mariadb: EmbeddedMariaDB, maria_source: Make
) -> None:
    maria = maria_source()
    with running(mariadb, maria, "SELECT SLEEP(60), '100%'", database="mysql_test") as statement:
        first = one(maria, statement.id)
        assert (first.state, first.command, first.database) == ("ACTIVE", "Query", "mysql_test")
        assert (first.sql, first.sql_length) == ("SELECT SLEEP(60), '100%'", 24)
        assert first.time > 0
        assert first.trace_id is not None
        until(lambda: one(maria, statement.id).time > first.time)
        assert one(maria, statement.id).trace_id == first.trace_id
        assert len(first.sql_id or "") == 32


def test_filters_orders_and_counts_work_as_on_oceanbase(mariadb: EmbeddedMariaDB, maria_source: Make) -> None:
    maria = maria_source()
    with (
        running(mariadb, maria, "SELECT SLEEP(60), '100%'", database="mysql_test") as statement,
        mariadb.connect(user="mysql_app", password=PASSWORD) as client,
    ):
        idle, busy = session_id(client), statement.id
        sql_id = one(maria, busy).sql_id or ""
        for condition, expected in (
            (Condition(Field.SQL, Operator.CONTAINS, ("0%",)), [busy]),
            (Condition(Field.SQL, Operator.CONTAINS, ("1_0",)), []),
            (Condition(Field.DATABASE, Operator.EXACTLY, ("mysql_test",)), [busy]),
            (Condition(Field.STATUS, Operator.CONTAINS, ("SLEEP",)), [idle]),
            (Condition(Field.SQL_ID, Operator.CONTAINS, (sql_id,)), [busy]),
            (Condition(Field.COMMAND, Operator.NOT, ("sleep",)), [busy]),
            (Condition(Field.TIME, Operator.BELOW, (3600.0,)), [busy, idle]),
            (Condition(Field.TENANT, Operator.CONTAINS, ("shop",)), []),
            (Condition(Field.PROXY, Operator.CONTAINS, ("10.",)), []),
            (Condition(Field.ANY, Operator.CONTAINS, ("MYSQL_TEST",)), [busy]),
        ):
            assert [session.id for session in listed(maria, condition)] == expected, condition
        for sort in (Sort(), *(Sort(field, down) for field in SORTABLE for down in (False, True))):
            assert {session.id for session in listed(maria, sort=sort)} == {idle, busy}
        page = maria.page(query(flags=frozenset({Flag.ACTIVE_ONLY}), limit=1), None)
        assert ([session.id for session in page.sessions], page.matching) == ([busy], 1)
        assert page.active < page.total
        assert [session.id for session in listed(maria, flags=frozenset({Flag.IDLE}))] == [idle]


def test_closing_a_query_hits_only_the_run_that_was_looked_at(mariadb: EmbeddedMariaDB, maria_source: Make) -> None:
    maria = maria_source()
    with mariadb.connect(user="mysql_app", password=PASSWORD) as client:
        first = Statement(client, "SELECT SLEEP(60)")
        until(lambda: one(maria, first.id).running)
        seen = one(maria, first.id)
        with mariadb.connect() as admin, admin.cursor() as cursor:
            cursor.execute(f"KILL QUERY {first.id}")
        assert first.ended() == 1317
        second = Statement(client, "SELECT SLEEP(60)")
        until(lambda: one(maria, second.id).running)
        with maria.console() as console:
            assert console.kill_text(seen, Mode.QUERY) == f"KILL QUERY ID {seen.trace_id}"
            with pytest.raises(UnknownSessionError, match="Unknown query id"):
                console.kill(seen, Mode.QUERY)
            assert second.is_alive()
            console.kill(one(maria, second.id), Mode.QUERY)
        assert second.ended() == 1317


def test_a_close_that_came_too_late_does_not_make_an_idle_session_look_busy(
    mariadb: EmbeddedMariaDB, maria_source: Make
) -> None:
    maria = maria_source()
    with mariadb.connect(user="mysql_app", password=PASSWORD) as client, mariadb.connect() as admin:
        with admin.cursor() as cursor:
            cursor.execute(f"KILL QUERY {session_id(client)}")
        session = one(maria, session_id(client))
        assert (session.state, session.running, session.trace_id) == ("KILLED", False, None)
        with client.cursor() as cursor:
            cursor.execute("SELECT 1")
        assert one(maria, session_id(client)).state == "SLEEP"


def test_an_open_transaction_is_seen_and_is_gone_after_the_close(mariadb: EmbeddedMariaDB, maria_source: Make) -> None:
    maria = maria_source()
    with mariadb.connect(user="mysql_app", password=PASSWORD, database="mysql_test") as holder:
        holder.begin()
        with holder.cursor() as cursor:
            cursor.execute("UPDATE stock SET quantity = 11 WHERE sku = 1")
        with running(mariadb, maria, "UPDATE stock SET quantity = 12 WHERE sku = 1", database="mysql_test") as waiter:
            until(lambda: one(maria, waiter.id).waits_for_lock)
            (session,) = listed(maria, Condition(Field.STATUS, Operator.CONTAINS, ("SLEEP",)))
            assert (session.id, session.transaction_state, session.running) == (session_id(holder), "RUNNING", False)
            both = listed(maria, flags=frozenset({Flag.IN_TRANSACTION}))
            assert {session.id for session in both} == {session_id(holder), waiter.id}
            with maria.console() as console:
                assert session.transaction_id is not None
                assert console.transaction_open(session)
                console.kill(session, Mode.SESSION)
                until(lambda: not console.transaction_open(session))
            until(lambda: not maria.find(session.id, None))
            assert waiter.ended() == 0
    with mariadb.connect(database="mysql_test") as admin, admin.cursor() as cursor:
        cursor.execute("SELECT quantity FROM stock WHERE sku = 1")
        assert cursor.fetchone() == (12,)


def test_a_plain_select_is_no_transaction(mariadb: EmbeddedMariaDB, maria_source: Make) -> None:
    maria = maria_source()
    with running(mariadb, maria, "SELECT SLEEP(60) FROM stock", database="mysql_test") as statement:
        assert not one(maria, statement.id).in_transaction


def test_every_session_of_the_bots_login_counts_as_its_own(mariadb: EmbeddedMariaDB, maria_source: Make) -> None:
    maria = maria_source()
    with mariadb.connect(user="mysql_bot", password=PASSWORD) as other:
        assert one(maria, session_id(other)).own
        page = maria.page(SessionQuery(limit=50), None)
        assert "mysql_bot" not in {session.user for session in page.sessions}
        assert any("mysql_bot" in caveat and "left out" in caveat for caveat in page.caveats)


def test_a_login_without_process_is_told_what_it_cannot_see(mariadb: EmbeddedMariaDB, maria_source: Make) -> None:
    maria = maria_source(user="mysql_plain")
    with mariadb.connect(user="mysql_app", password=PASSWORD) as client:
        page = maria.page(SessionQuery(), None)
        assert (page.total, maria.find(session_id(client), None)) == (0, [])
        assert any("GRANT PROCESS" in caveat for caveat in page.caveats)
        with maria.console() as console:
            in_one = replace(one(maria_source(), session_id(client)), transaction_id=1)
            assert console.transaction_open(in_one) is None
            seen = replace(one(maria_source(), session_id(client)), trace_id=None)
            with pytest.raises((NotSessionOwnerError, UnknownSessionError)):
                console.kill(seen, Mode.SESSION)
        assert one(maria_source(), session_id(client)).id == session_id(client)


@pytest.mark.parametrize("kind", ["auto", "mysql"])
@pytest.mark.parametrize("user", ["mysql_bot", "mysql_plain"])
def test_the_server_is_recognised_whatever_the_login_may(maria_source: Make, kind: Any, user: str) -> None:
    assert maria_source(DataSourceOptions(kind=kind), user=user).description().startswith("MariaDB 1")


@pytest.mark.parametrize("kind", ["oceanbase", "seekdb"])
def test_another_kind_than_configured_is_told(maria_source: Make, kind: Any) -> None:
    with pytest.raises(DataSourceError, match="maria has no oceanbase"):
        maria_source(DataSourceOptions(kind=kind)).description()


def test_variables_are_those_of_the_server_which_has_no_tenants(maria_source: Make) -> None:
    maria = maria_source()
    found = maria.variables("wait_timeout", None, everywhere=True, usual="shop")
    assert (found.tenant, found.everywhere, found.instead) == (None, True, False)
    assert maria.variables("wait_timeout", None, everywhere=False).everywhere is False
    with pytest.raises(InputError, match="maria has no tenants: leave tenant= out"):
        maria.variables("", None, everywhere=True, tenant="shop")
    with pytest.raises(NotAllowedError, match="maria has no tenants, yet"):
        maria.variables("", frozenset({"shop"}), everywhere=True)


def test_rules_about_tenants_show_nothing_and_say_so(mariadb: EmbeddedMariaDB, maria_source: Make) -> None:
    with mariadb.connect(user="mysql_app", password=PASSWORD) as client:
        for options, tenants in (
            (DataSourceOptions(), frozenset({"shop"})),
            (DataSourceOptions(tenants=frozenset({"shop"})), None),
        ):
            maria = maria_source(options)
            with pytest.raises(NotAllowedError, match="maria has no tenants"):
                maria.page(SessionQuery(), tenants)
            with pytest.raises(NotAllowedError, match="maria has no tenants"):
                maria.statistics(SessionQuery(), Grouping.USER, tenants)
            assert maria.find(session_id(client), tenants) == []


@pytest.mark.parametrize("kind", ["auto", "mysql"])
def test_the_server_gives_up_on_the_bots_own_statements(maria_source: Make, kind: Any) -> None:
    with maria_source(DataSourceOptions(kind=kind)).console() as console:
        assert float(console._connection.rows("SELECT @@max_statement_time")[0][0]) == STATEMENT_TIMEOUT
        with pytest.raises(DataSourceTimeoutError, match="maria"):
            console._connection.rows("SET STATEMENT max_statement_time = 0.05 FOR SELECT SLEEP(5)")


def test_the_servers_own_threads_are_listed_and_protected(mariadb: EmbeddedMariaDB, maria_source: Make) -> None:
    maria = maria_source()
    with mariadb.connect() as admin, admin.cursor() as cursor:
        cursor.execute("SET GLOBAL event_scheduler = ON")
        try:
            scheduler = Condition(Field.USER, Operator.EXACTLY, ("event_scheduler",))
            found = SessionQuery(filter=SessionFilter((scheduler,)))
            until(lambda: maria.page(found, None).matching)
            (session,) = maria.page(found, None).sessions
            background = Condition(Field.STATUS, Operator.CONTAINS, ("BACKGROUND",))
            both = SessionQuery(filter=SessionFilter((scheduler, background)))
            assert maria.page(both, None).sessions[0].id == session.id, "what a list shows can be asked for"
        finally:
            cursor.execute("SET GLOBAL event_scheduler = OFF")
    assert (session.command, session.state, session.active) == ("Daemon", "BACKGROUND", False)
    assert "(Daemon)" in maria.protection(session)
    for user, command, why in (
        ("repl", "Binlog Dump", "replication (Binlog Dump)"),
        ("repl", "Binlog Dump GTID", "replication (Binlog Dump GTID)"),
        ("system user", "Slave_IO", "replication (Slave_IO)"),
        ("system user", "Connect", "a thread of the server itself"),
        ("mysql.session", "Sleep", "belongs to mysql.session, a protected user"),
        ("rdsadmin", "Query", "belongs to rdsadmin, a protected user"),
    ):
        assert why in maria.protection(replace(session, user=user, command=command))
    assert maria.protection(replace(session, user="mysql_app", command="Query")) == ""


def test_while_the_server_refuses_new_connections_commands_share_the_one_that_is_there(
    mariadb: EmbeddedMariaDB, maria_source: Make
) -> None:
    source = maria_source()
    source.description()  # the connection that is kept
    with mariadb.connect() as admin, admin.cursor() as cursor, contextlib.ExitStack() as crowd:
        cursor.execute("SELECT @@max_connections")
        ((before,),) = cursor.fetchall()
        cursor.execute("SET GLOBAL max_connections = 10")
        try:
            with pytest.raises(pymysql.err.OperationalError, match="Too many"):  # noqa: PT012  # refused at some point
                while True:
                    crowd.callback(mariadb.connect().close)
            with ThreadPoolExecutor(8) as pool:
                pages = list(pool.map(lambda _: source.page(SessionQuery(), None), range(24)))
            assert all(page.total for page in pages)
        finally:
            cursor.execute(f"SET GLOBAL max_connections = {int(before)}")
