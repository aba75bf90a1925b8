"""MySQL and MariaDB: what is listed and closed, on real ones."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pymysql
import pytest

from bot.errors import (
    DataSourceError,
    DataSourceTimeoutError,
    NotAllowedError,
    NotSessionOwnerError,
    UnknownSessionError,
)
from bot.sessions.endpoint import STATEMENT_TIMEOUT
from bot.sessions.identity import identify
from bot.sessions.model import (
    SORTABLE,
    Condition,
    Field,
    Flag,
    Mode,
    Operator,
    Pin,
    Session,
    SessionFilter,
    SessionQuery,
    Sort,
)
from bot.sessions.source import DataSource, DataSourceOptions
from bot.sessions.statement import Disclosure
from bot.sessions.statistics import Grouping
from sandbox.databases.embedded import EmbeddedServer
from tests.sessions.conftest import Make, one, until
from tests.sessions.examples import MARIA_PASSWORD as PASSWORD
from tests.sessions.examples import length_of, sql_id_of, sql_of
from tests.support.patience import PATIENCE
from tests.support.servers import EmbeddedMySQL
from tests.support.sessions import like, transaction_state
from tests.support.stage import RunningStatement, session_id


def query(*conditions: Condition, flags: frozenset[Flag] = frozenset(), **more: Any) -> SessionQuery:
    app = Condition(Field.USER, Operator.EXACTLY, ("mysql_app",))
    return SessionQuery(filter=SessionFilter((app, *conditions), flags), **more)


def listed(source: DataSource, *conditions: Condition, **more: Any) -> list[Session]:
    return list(source.page(query(*conditions, **more), None, Disclosure.ALL_BUT_PASSWORDS).sessions)


@contextlib.contextmanager
def running(server: EmbeddedServer, source: DataSource, sql: str, **more: Any) -> Iterator[RunningStatement]:
    """Run a statement on a session of its own; the server shows it."""
    with server.connect(user="mysql_app", password=PASSWORD, **more) as client:
        statement = RunningStatement(client, sql)
        until(lambda: one(source, statement.id).running)
        yield statement
        with server.connect() as admin, admin.cursor() as cursor, contextlib.suppress(pymysql.Error):
            cursor.execute(f"KILL QUERY {statement.id}")
        statement.join(PATIENCE)


def is_mysql(server: EmbeddedServer) -> bool:
    return isinstance(server, EmbeddedMySQL)


def test_a_session_is_what_the_server_says_and_dashes_elsewhere(
    server: EmbeddedServer, crm_source: Make, logins: str
) -> None:
    crm = crm_source()
    with server.connect(user=logins, password=PASSWORD) as client:
        (session,) = listed(crm)
        assert (session.id, session.client.user, session.command, session.state) == (
            session_id(client),
            logins,
            "Sleep",
            "SLEEP",
        )
        address, port = client._sock.getsockname()  # type: ignore[attr-defined]  # the driver's own socket
        assert session.client.peer == session.client.origin == f"{address}:{port}"
        assert session.server is not None
        assert session.server.endswith(f":{server.port}")
        absent = (
            session.tenant,
            session.database,
            sql_of(session),
            sql_id_of(session),
            session.trace_id,
            session.client.proxy,
            session.client.proxy_session_id,
            session.master_session_id,
            session.client.module,
            session.transaction_id,
            transaction_state(session),
        )
        assert set(absent) == {None}
        assert (session.retry_info, length_of(session), session.own) == (0, 0, False)
        assert (session.memory or 0) > 0 or is_mysql(server)
    assert crm.description().startswith("MySQL 9." if is_mysql(server) else "MariaDB 1")


def test_a_running_query_has_a_time_with_fractions_and_a_name_for_this_very_run(
    server: EmbeddedServer, crm_source: Make
) -> None:
    crm = crm_source()
    with running(server, crm, "SELECT SLEEP(60), '100%'", database="mysql_test") as statement:
        first = one(crm, statement.id)
        assert (first.state, first.command, first.database) == ("ACTIVE", "Query", "mysql_test")
        assert (sql_of(first), length_of(first)) == ("SELECT SLEEP(60), '100%'", 24)
        assert 0 < first.time < 10
        until(lambda: one(crm, statement.id).time > first.time)
        again = one(crm, statement.id)
        assert (again.trace_id, again.request_id) == (first.trace_id, first.request_id)
        assert first.trace_id or first.request_id
        assert first.request_started == pytest.approx(time.time(), abs=15)
        assert len(sql_id_of(first) or "") == 32


def test_filters_orders_and_counts_work_as_on_oceanbase(server: EmbeddedServer, crm_source: Make) -> None:
    crm = crm_source()
    with (
        running(server, crm, "SELECT SLEEP(60), '100%'", database="mysql_test") as statement,
        server.connect(user="mysql_app", password=PASSWORD) as client,
    ):
        idle, busy = session_id(client), statement.id
        sql_id = sql_id_of(one(crm, busy)) or ""
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
            assert [session.id for session in listed(crm, condition)] == expected, condition
        for sort in (Sort(), *(Sort(field, down) for field in SORTABLE for down in (False, True))):
            assert {session.id for session in listed(crm, sort=sort)} == {idle, busy}
        page = crm.page(query(flags=frozenset({Flag.ACTIVE_ONLY}), limit=1), None)
        assert ([session.id for session in page.sessions], page.matching) == ([busy], 1)
        assert page.active < page.total
        assert [session.id for session in listed(crm, flags=frozenset({Flag.IDLE}))] == [idle]


def test_a_query_is_another_one_when_the_very_same_text_runs_again(server: EmbeddedServer, crm_source: Make) -> None:
    crm = crm_source()
    with server.connect(user="mysql_app", password=PASSWORD, database="mysql_test") as client:
        first = RunningStatement(client, "SELECT SLEEP(0.5) FROM stock")
        until(lambda: one(crm, first.id).running)
        seen = one(crm, first.id)
        assert Pin.of(seen).same_request(one(crm, first.id))
        assert first.ended() == 0
        second = RunningStatement(client, "SELECT SLEEP(60) FROM stock")
        until(lambda: one(crm, second.id).running)
        again = one(crm, second.id)
        assert not Pin.of(replace(seen, statement=again.statement)).same_request(again)
        with crm.console() as console:
            if not is_mysql(server):  # which takes no number of a query: nothing but the look before keeps it apart
                assert console.kill_text(seen, Mode.QUERY, seen) == f"KILL QUERY ID {seen.trace_id}"
                with pytest.raises(UnknownSessionError, match="Unknown query id"):
                    console.kill(seen, Mode.QUERY)
                assert second.is_alive()
            console.kill(one(crm, second.id), Mode.QUERY)
        assert second.ended() == 1317


def test_a_close_that_came_too_late_does_not_make_an_idle_session_look_busy(
    server: EmbeddedServer, crm_source: Make
) -> None:
    crm = crm_source()
    with server.connect(user="mysql_app", password=PASSWORD) as client, server.connect() as admin:
        with admin.cursor() as cursor:
            cursor.execute(f"KILL QUERY {session_id(client)}")
        session = one(crm, session_id(client))
        state = "SLEEP" if is_mysql(server) else "KILLED"
        assert (session.state, session.running, session.trace_id, session.request_id) == (state, False, None, None)
        with client.cursor() as cursor:
            cursor.execute("SELECT 1")
        assert one(crm, session_id(client)).state == "SLEEP"


def test_an_open_transaction_is_seen_and_is_gone_after_the_close(server: EmbeddedServer, crm_source: Make) -> None:
    crm = crm_source()
    with server.connect(user="mysql_app", password=PASSWORD, database="mysql_test") as holder:
        holder.begin()
        with holder.cursor() as cursor:
            cursor.execute("UPDATE stock SET quantity = 11 WHERE sku = 1")
        with running(server, crm, "UPDATE stock SET quantity = 12 WHERE sku = 1", database="mysql_test") as waiter:
            until(lambda: one(crm, waiter.id).waits)
            (session,) = listed(crm, Condition(Field.STATUS, Operator.CONTAINS, ("SLEEP",)))
            assert (session.id, transaction_state(session), session.running) == (session_id(holder), "RUNNING", False)
            both = listed(crm, flags=frozenset({Flag.IN_TRANSACTION}))
            assert {session.id for session in both} == {session_id(holder), waiter.id}
            with crm.console() as console:
                assert console.transaction_open(session)
                console.kill(session, Mode.SESSION)
                until(lambda: not console.transaction_open(session))
            until(lambda: not crm.find(session.id, None))
            assert waiter.ended() == 0
    with server.connect(database="mysql_test") as admin, admin.cursor() as cursor:
        cursor.execute("SELECT quantity FROM stock WHERE sku = 1")
        assert cursor.fetchone() == (12,)


def test_a_plain_select_is_no_transaction(server: EmbeddedServer, crm_source: Make) -> None:
    crm = crm_source()
    with running(server, crm, "SELECT SLEEP(60) FROM stock", database="mysql_test") as statement:
        assert not one(crm, statement.id).in_transaction


def test_every_session_of_the_bots_login_counts_as_its_own(server: EmbeddedServer, crm_source: Make) -> None:
    crm = crm_source()
    with server.connect(user="mysql_bot", password=PASSWORD) as other:
        assert one(crm, session_id(other)).own
        page = crm.page(SessionQuery(limit=50), None)
        assert "mysql_bot" not in {session.client.user for session in page.sessions}
        assert any("mysql_bot" in caveat and "left out" in caveat for caveat in page.caveats)


def test_every_login_is_told_which_server_it_is(server: EmbeddedServer, crm_source: Make) -> None:
    with crm_source().console() as one, crm_source(user="mysql_plain").console() as other:
        found = identify(one._connection)
        assert found is not None
        assert found == identify(other._connection)
        assert found.name.endswith(f":{server.port}")
        assert all(found.marks[2:]), "server_id, hostname and port"


def test_a_login_without_process_is_told_what_it_cannot_see(server: EmbeddedServer, crm_source: Make) -> None:
    crm = crm_source(user="mysql_plain")
    with server.connect(user="mysql_app", password=PASSWORD) as client:
        page = crm.page(SessionQuery(), None)
        assert (page.total, crm.find(session_id(client), None)) == (0, [])
        assert any("GRANT PROCESS" in caveat for caveat in page.caveats)
        with crm.console() as console:
            in_one = like(one(crm_source(), session_id(client)), transaction_id=1)
            assert console.transaction_open(in_one) is None
            seen = replace(one(crm_source(), session_id(client)), trace_id=None)
            with pytest.raises((NotSessionOwnerError, UnknownSessionError)):
                console.kill(seen, Mode.SESSION)
        assert one(crm_source(), session_id(client)).id == session_id(client)


@pytest.mark.parametrize("kind", ["auto", "mysql"])
@pytest.mark.parametrize("user", ["mysql_bot", "mysql_plain"])
def test_the_server_is_recognised_whatever_the_login_may(
    server: EmbeddedServer, crm_source: Make, kind: Any, user: str
) -> None:
    name = "MySQL 9." if is_mysql(server) else "MariaDB 1"
    assert crm_source(DataSourceOptions(kind=kind), user=user).description().startswith(name)


@pytest.mark.parametrize("kind", ["oceanbase", "seekdb"])
def test_another_kind_than_configured_is_told(crm_source: Make, kind: Any) -> None:
    with pytest.raises(DataSourceError, match="crm has no oceanbase"):
        crm_source(DataSourceOptions(kind=kind)).description()


def test_rules_about_tenants_show_nothing_and_say_so(server: EmbeddedServer, crm_source: Make) -> None:
    with server.connect(user="mysql_app", password=PASSWORD) as client:
        for options, tenants in (
            (DataSourceOptions(), frozenset({"shop"})),
            (DataSourceOptions(tenants=frozenset({"shop"})), None),
        ):
            crm = crm_source(options)
            with pytest.raises(NotAllowedError, match="crm has no tenants"):
                crm.page(SessionQuery(), tenants)
            with pytest.raises(NotAllowedError, match="crm has no tenants"):
                crm.statistics(SessionQuery(), Grouping.USER, tenants)
            assert crm.find(session_id(client), tenants) == []


@pytest.mark.parametrize("kind", ["auto", "mysql"])
def test_the_server_gives_up_on_the_bots_own_statements(server: EmbeddedServer, crm_source: Make, kind: Any) -> None:
    limit, hint = ("max_statement_time", "SET STATEMENT max_statement_time = 0.05 FOR SELECT SLEEP(5)")
    if is_mysql(server):
        limit, hint = (
            "max_execution_time / 1000",
            "SELECT /*+ MAX_EXECUTION_TIME(50) */ SLEEP(5) FROM mysql_test.stock",
        )
    with crm_source(DataSourceOptions(kind=kind), user="mysql_app").console() as console:
        assert float(console._connection.rows(f"SELECT @@{limit}")[0][0]) == STATEMENT_TIMEOUT
        with pytest.raises(DataSourceTimeoutError, match="crm"):
            console._connection.rows(hint)


def test_green_means_that_the_very_statements_of_a_list_and_a_look_were_tried(crm_source: Make) -> None:
    crm = crm_source()
    crm.check()
    assert crm.health(None).problem == ""
    for column in ("sql_id", "request_id"):  # of the list; of the looks alone
        broken = crm_source()
        broken.description()
        dialect = broken._dialect
        assert dialect is not None
        broken._dialect = replace(dialect, expressions=dialect.expressions | {column: "mysql.no_such_function(INFO)"})
        with pytest.raises(DataSourceError, match="no_such_function"):
            broken.check()
        with pytest.raises(DataSourceError, match="no_such_function"):
            broken.description()
        assert "no_such_function" in broken.health(None).problem


def test_the_servers_own_threads_are_listed_and_protected(server: EmbeddedServer, crm_source: Make) -> None:
    crm = crm_source()
    with server.connect() as admin, admin.cursor() as cursor:
        cursor.execute("SET GLOBAL event_scheduler = ON")
        try:
            scheduler = Condition(Field.USER, Operator.EXACTLY, ("event_scheduler",))
            found = SessionQuery(filter=SessionFilter((scheduler,)))
            until(lambda: crm.page(found, None, Disclosure.ALL_BUT_PASSWORDS).matching)
            (session,) = crm.page(found, None, Disclosure.ALL_BUT_PASSWORDS).sessions
        finally:
            cursor.execute("SET GLOBAL event_scheduler = OFF")
    assert (session.command, session.state, session.active) == ("Daemon", "BACKGROUND", False)
    assert crm.is_thread(session)
    for user, command in (
        ("repl", "Binlog Dump"),
        ("repl", "Binlog Dump GTID"),
        ("system user", "Slave_IO"),
        ("system user", "Connect"),
    ):
        assert crm.is_thread(like(session, user=user, command=command))
    for user in ("mysql.session", "rdsadmin"):
        its = like(session, user=user, command="Query")
        assert any(f"belongs to {user}, a protected user" in one for one in crm.protection(its))
        assert not crm.is_thread(its)
    app = like(session, user="mysql_app", command="Query")
    assert crm.protection(app) == ()
    assert not crm.is_thread(app)


@pytest.mark.parametrize("server", ["mariadb", "watched_mariadb118"], indirect=True)
def test_what_writes_the_rows_of_an_insert_delayed_is_a_thread_that_nobody_closes(
    server: EmbeddedServer, crm_source: Make
) -> None:
    crm = crm_source()
    writer = SessionQuery(filter=SessionFilter((Condition(Field.COMMAND, Operator.EXACTLY, ("Delayed insert",)),)))
    with server.connect() as admin, admin.cursor() as cursor:
        cursor.execute("CREATE TABLE mysql_test.log (line INT) ENGINE=MyISAM")
        cursor.execute("INSERT DELAYED INTO mysql_test.log VALUES (1)")
        until(lambda: crm.page(writer, None).matching)
        (session,) = crm.page(writer, None).sessions
        cursor.execute("DROP TABLE mysql_test.log")
    assert (session.client.user, session.state, session.active) == ("delayed", "BACKGROUND", False)
    assert crm.is_thread(session)


def test_while_the_server_refuses_new_connections_commands_share_the_one_that_is_there(
    server: EmbeddedServer, crm_source: Make
) -> None:
    source = crm_source()
    source.description()  # the connection that is kept
    with server.connect() as admin, admin.cursor() as cursor, contextlib.ExitStack() as crowd:
        cursor.execute("SELECT @@max_connections")
        ((before,),) = cursor.fetchall()
        cursor.execute("SET GLOBAL max_connections = 10")
        try:
            with pytest.raises(pymysql.err.OperationalError, match="Too many"):  # noqa: PT012  # refused at some point
                while True:
                    crowd.callback(server.connect().close)
            with ThreadPoolExecutor(8) as pool:
                pages = list(pool.map(lambda _: source.page(SessionQuery(), None), range(24)))
            assert all(page.total for page in pages)
        finally:
            cursor.execute(f"SET GLOBAL max_connections = {int(before)}")
