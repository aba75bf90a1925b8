"""What a client asked for, on MySQL and MariaDB: one request whatever runs inside it, and another one each time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pymysql
import pytest
from pymysql.constants import CLIENT

from bot.sessions.dialect import Dialect
from bot.sessions.model import Condition, Field, Mode, Operator, Pin, Session, SessionFilter, SessionQuery
from bot.sessions.source import DataSource
from sandbox.databases.embedded import EmbeddedServer
from tests.sessions.conftest import Make, end, one, until
from tests.sessions.examples import EXAMPLE, inner_of, length_of, sql_id_of, sql_of
from tests.sessions.examples import MARIA_PASSWORD as PASSWORD
from tests.support.servers import EmbeddedMySQL, WatchedUnpackedMariaDB
from tests.support.stage import RunningStatement

# A statement that is closed while it sleeps fails; SELECT SLEEP() alone ends well on MySQL.
SHORT = "SELECT SLEEP(0.02) INTO @slept FROM mysql_test.stock"
LOOP = f"BEGIN DECLARE i INT DEFAULT 0; WHILE i < 1000000 DO {SHORT}; SET i = i + 1; END WHILE; {{}} END"


def is_watched(server: EmbeddedServer) -> bool:
    """Whether the server says which request the statements of a function belong to."""
    return isinstance(server, WatchedUnpackedMariaDB | EmbeddedMySQL)


@pytest.fixture
def crm(server: EmbeddedServer, crm_source: Make) -> DataSource:
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE PROCEDURE mysql_test.churn() {LOOP.format('')}")
        cursor.execute(f"CREATE FUNCTION mysql_test.turn() RETURNS INT {LOOP.format('RETURN 1;')}")
    return crm_source()


@contextlib.contextmanager
def running(server: EmbeddedServer, source: DataSource, sql: str, **more: Any) -> Iterator[RunningStatement]:
    """Run something on a session of its own until the end of the block; the server shows it."""
    with server.connect(user="mysql_app", password=PASSWORD, database="mysql_test", **more) as client:
        statement = RunningStatement(client, sql)
        until(lambda: one(source, statement.id).running)
        try:
            yield statement
        finally:
            end(server, statement)


def later(source: DataSource, before: Session, seconds: float = 0.3) -> Session:
    """Look again, once so much of its time has passed, and a statement or two."""
    until(lambda: one(source, before.id).time > before.time + seconds)
    return one(source, before.id)


def test_a_call_of_many_short_statements_is_one_request_that_can_be_closed(
    server: EmbeddedServer, crm: DataSource
) -> None:
    with running(server, crm, "CALL churn()") as call:
        confirmed = later(crm, one(crm, call.id))  # what has just begun cannot be told by its start
        current = later(crm, confirmed)
        assert Pin.of(confirmed).same_request(current)
        with crm.console() as console:
            statement = console.dialect.kill(current, Mode.QUERY, pinned=confirmed)
            assert statement.sql == f"KILL QUERY {call.id}"
            console._connection.rows(statement.sql)
        assert call.ended() == 1317


def test_a_function_of_many_short_statements_is_one_request_where_the_server_says_so(
    server: EmbeddedServer, crm: DataSource
) -> None:
    with running(server, crm, "SELECT mysql_test.turn()") as asked:
        confirmed = one(crm, asked.id)
        if is_watched(server):
            assert Pin.of(confirmed).same_request(later(crm, confirmed))
        else:  # MariaDB begins number and time anew with each statement of a function: so nothing is closed there
            began = confirmed.request_started or 0.0
            until(lambda: (one(crm, asked.id).request_started or 0.0) > began + 0.3)
            assert not Pin.of(confirmed).same_request(one(crm, asked.id))


def test_the_text_is_the_clients_and_what_runs_inside_it_stands_beside(server: EmbeddedServer, crm: DataSource) -> None:
    with running(server, crm, "CALL churn()") as call:

        def texts() -> tuple[str | None, str | None]:
            session = one(crm, call.id)
            return sql_of(session), inner_of(session)

        if not is_watched(server):
            until(lambda: texts() == (SHORT, None))
            return
        until(lambda: texts() == ("CALL churn()", SHORT))
        named = Condition(Field.SQL, Operator.CONTAINS, ("churn",))
        found = crm.page(SessionQuery(filter=SessionFilter((named,))), None).sessions
        assert [(session.id, sql_of(session)) for session in found] == [(call.id, "CALL churn()")]
        assert length_of(one(crm, call.id)) == 12
        assert sql_id_of(one(crm, call.id)) == sql_id_of(found[0])
        until(lambda: 0.5 < one(crm, call.id).time < 30)


def test_the_next_statement_of_the_same_packet_is_another_request(server: EmbeddedServer, crm: DataSource) -> None:
    login: dict[str, Any] = {"user": "mysql_app", "password": PASSWORD, "database": "mysql_test"}
    with pymysql.connect(host=server.host, port=server.port, client_flag=CLIENT.MULTI_STATEMENTS, **login) as client:
        packet = RunningStatement(client, "SELECT SLEEP(0.5) FROM stock; SELECT SLEEP(60) FROM stock")
        until(lambda: one(crm, packet.id).running)
        first = one(crm, packet.id)
        until(lambda: sql_of(one(crm, packet.id)) != sql_of(first))
        second = one(crm, packet.id)
        assert Pin.of(second).same_request(one(crm, packet.id))
        assert not Pin.of(replace(first, statement=second.statement)).same_request(second)
        end(server, packet)


def test_a_query_stays_itself_when_its_transaction_gets_a_number(server: EmbeddedServer, crm: DataSource) -> None:
    with server.connect() as root, root.cursor() as cursor:
        cursor.execute("INSERT INTO mysql_test.stock VALUES (2, 0), (3, 0), (4, 0)")
    change = "UPDATE stock SET quantity = CASE WHEN SLEEP(0.4) = 0 THEN quantity + 1 END"
    with running(server, crm, change) as update:
        confirmed = one(crm, update.id)
        until(lambda: (one(crm, update.id).transaction_id or 2**48) < 2**48)
        current = one(crm, update.id)
        assert current.transaction_id != confirmed.transaction_id or confirmed.transaction_id is not None
        assert Pin.of(confirmed).same_request(current)


def test_a_query_is_closed_by_its_number_unless_its_routine_has_moved_on() -> None:
    dialect = Dialect("MariaDB", "v", {}, (), frozenset(), None, kills_by_query_id=True)
    seen = replace(EXAMPLE, trace_id="44", request_started=1000.0, time=5.0)
    same_call = replace(seen, trace_id="51", request_started=1000.01)
    for pinned, current, sql in (
        (seen, seen, "KILL QUERY ID 44"),
        (None, seen, "KILL QUERY ID 44"),
        (seen, same_call, f"KILL QUERY {seen.id}"),
        (seen, replace(seen, trace_id=None), f"KILL QUERY {seen.id}"),
    ):
        assert dialect.kill(current, Mode.QUERY, pinned=pinned).sql == sql
    assert dialect.kill(same_call, Mode.SESSION, pinned=seen).sql == f"KILL {seen.id}"


def test_a_long_statement_is_whole_where_it_is_looked_at_and_has_one_sql_id(
    server: EmbeddedServer, crm: DataSource
) -> None:
    text = f"SELECT SLEEP(60), 'ж{'é' * 3000}' FROM stock"
    with running(server, crm, text) as statement:
        session = one(crm, statement.id)
        assert Pin.of(session).same_request(one(crm, statement.id))
        whole = crm.whole(session)
        assert (sql_of(whole), length_of(whole)) == (text, len(text))
        assert whole.statement is not None
        assert whole.statement.cut == ""
        sql_id = sql_id_of(session) or ""
        assert len(sql_id) == 32
        same = Condition(Field.SQL_ID, Operator.CONTAINS, (sql_id,))
        (listed,) = crm.page(SessionQuery(filter=SessionFilter((same,))), None).sessions
        assert (listed.id, sql_id_of(listed)) == (session.id, sql_id_of(session))
        assert text.startswith((sql_of(listed) or "-").removesuffix("..."))


def test_of_a_statement_that_no_view_has_whole_the_beginning_is_told_as_such(
    server: EmbeddedServer, crm: DataSource
) -> None:
    name = "MySQL" if isinstance(server, EmbeddedMySQL) else "MariaDB"
    text = f"SELECT SLEEP(60), '{'é' * 500_000}' FROM stock"
    with running(server, crm, text) as statement:
        whole = crm.whole(one(crm, statement.id))
        assert whole.statement is not None
        assert whole.statement.cut.startswith(f"{name} lists only the beginning of this statement")
        assert text.startswith(sql_of(whole) or "-")
        assert length_of(whole) == len(text.encode()[:65_535].decode("utf-8", "ignore"))
        if name == "MySQL":  # its view of more fails for everybody while somebody runs what has four bytes a letter
            with running(server, crm, "SELECT SLEEP(60), '𠮷' FROM stock"):
                listed = crm.whole(one(crm, statement.id)).statement
                assert listed is not None
                assert listed.cut == whole.statement.cut
                assert Pin.of(one(crm, statement.id)).same_request(one(crm, statement.id))


def test_a_statement_in_another_character_set_is_shown_to_its_end(server: EmbeddedServer, crm: DataSource) -> None:
    text = f"SELECT SLEEP(60), '{'é ' * 10}' FROM stock"
    with server.connect(user="mysql_app", password=PASSWORD, database="mysql_test") as client:
        client.set_character_set("latin1")
        statement = RunningStatement(client, text)
        until(lambda: one(crm, statement.id).running)
        session = one(crm, statement.id)
        assert (sql_of(session) or "").replace("\ufffd", "é") == text  # MariaDB has the bytes of Latin-1
        assert inner_of(session) is None
        end(server, statement)
