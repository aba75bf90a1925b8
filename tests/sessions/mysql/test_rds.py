"""Amazon RDS, which denies KILL and has procedures for it: on real servers, with the procedures as RDS defines them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pymysql
import pytest

from bot.errors import ConnectionLostError
from bot.sessions import kill
from bot.sessions.console import Console
from bot.sessions.database import Connection
from bot.sessions.details import Reach
from bot.sessions.kill import Answer, NotSent, Order, Sent
from bot.sessions.model import Mode, Pin
from bot.sessions.source import DataSource
from sandbox.databases.embedded import EmbeddedServer
from tests.sessions.conftest import Make, one, until
from tests.sessions.examples import MARIA_PASSWORD as PASSWORD
from tests.support.patience import PATIENCE
from tests.support.stage import RunningStatement, session_id

PROCEDURE = """
CREATE DEFINER=rdsadmin@localhost PROCEDURE mysql.{name}(IN thread BIGINT)
    READS SQL DATA
    DETERMINISTIC
BEGIN
    DECLARE l_user VARCHAR(32);
    DECLARE l_host VARCHAR(64);
    DECLARE foo VARCHAR(255);
    SELECT user, host INTO l_user, l_host FROM information_schema.processlist WHERE id = thread;
    IF l_user = 'rdsadmin' THEN
        SELECT `ERROR (RDS): CANNOT KILL RDSADMIN SESSION` INTO foo;
    ELSE
        {kill} thread;
    END IF;
END
"""
PROCEDURES = {"rds_kill": "KILL", "rds_kill_query": "KILL QUERY"}


@pytest.fixture(params=["mariadb", "mysql"])
def server(request: pytest.FixtureRequest) -> EmbeddedServer:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, EmbeddedServer)
    return found


@pytest.fixture
def rds(server: EmbeddedServer, logins: str) -> Iterator[pymysql.cursors.Cursor]:
    """Make the server one of RDS: its procedures, and a login of the bot that may call them and close nobody else."""
    with server.connect() as root, root.cursor() as cursor:
        cursor.execute("CREATE USER rdsadmin@localhost")
        cursor.execute("GRANT ALL ON *.* TO rdsadmin@localhost")
        for name, sql in PROCEDURES.items():
            cursor.execute(PROCEDURE.format(name=name, kill=sql))
        cursor.execute("REVOKE ALL, GRANT OPTION FROM mysql_bot")
        cursor.execute("GRANT SELECT, PROCESS ON *.* TO mysql_bot")
        for name in PROCEDURES:
            cursor.execute(f"GRANT EXECUTE ON PROCEDURE mysql.{name} TO mysql_bot")
        yield cursor
        for name in PROCEDURES:
            cursor.execute(f"DROP PROCEDURE IF EXISTS mysql.{name}")
        cursor.execute("DROP USER rdsadmin@localhost")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give the statements by which something was closed, as they come."""
    statements: list[str] = []
    rows = Connection.rows

    def noting(self: Connection, sql: str, *values: Any) -> list[Any]:
        if sql.startswith(("KILL", "CALL")):
            statements.append(sql)
        return rows(self, sql, *values)

    monkeypatch.setattr(Connection, "rows", noting)
    return statements


def close(crm: DataSource, number: int, mode: Mode = Mode.SESSION) -> Sent | NotSent:
    with crm.console() as console:
        (session,) = console.find(number)
        return kill.close(console, Order(Pin.of(session), mode, lambda _session: None, lambda: False))


def test_what_a_kill_is_denied_for_is_closed_by_the_procedure_and_so_it_is_told(
    server: EmbeddedServer, rds: object, crm_source: Make, sent: list[str]
) -> None:
    crm = crm_source()
    assert crm.health(None).closes is Reach.ALL
    assert "It closes others' sessions by CALL mysql.rds_kill where KILL is denied." in crm.description()
    with server.connect(user="mysql_app", password=PASSWORD) as client:
        number = session_id(client)
        with crm.console() as console:
            (session,) = console.find(number)
            text = console.kill_text(session, Mode.SESSION, session)
        assert text == f"KILL {number}; where that is denied CALL mysql.rds_kill({number})", "so the record has it"
        found = close(crm, number)
        assert isinstance(found, Sent)
        assert (found.answer, found.said) == (Answer.OK, "")
        assert sent == [f"KILL {number}", f"CALL mysql.rds_kill({number})"]
        until(lambda: not crm.find(number, None))


def test_a_query_is_closed_by_the_procedure_for_queries_and_its_session_stays(
    server: EmbeddedServer, rds: object, crm_source: Make, sent: list[str]
) -> None:
    crm = crm_source()
    with server.connect(user="mysql_app", password=PASSWORD) as client:
        statement = RunningStatement(client, "SELECT SLEEP(60)")
        until(lambda: one(crm, statement.id).running)
        found = close(crm, statement.id, Mode.QUERY)
        assert isinstance(found, Sent)
        assert found.answer is Answer.OK
        assert sent[1:] == [f"CALL mysql.rds_kill_query({statement.id})"]
        statement.join(PATIENCE)
        client.ping(reconnect=False)


def test_who_has_changed_since_the_denied_kill_is_not_closed_by_the_procedure(
    server: EmbeddedServer, rds: object, crm_source: Make, sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    crm, kills = crm_source(), Console.kill
    with server.connect(user="mysql_app", password=PASSWORD, database="mysql_test") as client:

        def kill_then_begin(*arguments: Any) -> None:
            try:
                kills(*arguments)
            finally:
                client.begin()
                with client.cursor() as cursor:
                    cursor.execute("UPDATE stock SET quantity = 0")
                time.sleep(kill.FRESH * 1.2)  # longer than a look is good for

        monkeypatch.setattr(Console, "kill", kill_then_begin)
        found = close(crm, session_id(client))
        assert isinstance(found, Sent)
        assert (found.answer, sent) == (Answer.REFUSED, [f"KILL {session_id(client)}"])
        client.commit()  # nothing was lost


def test_a_kill_that_may_have_worked_is_followed_by_no_call(
    server: EmbeddedServer, rds: object, crm_source: Make, sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    crm = crm_source()

    def lost(*_: Any) -> None:
        raise ConnectionLostError("The connection broke.")

    monkeypatch.setattr(Console, "kill", lost)
    with server.connect(user="mysql_app", password=PASSWORD) as client:
        found = close(crm, session_id(client))
        assert isinstance(found, Sent)
        assert (found.answer, sent) == (Answer.NONE, [])


def test_a_login_that_may_not_call_them_is_told_to_close_its_own_alone(
    server: EmbeddedServer, rds: pymysql.cursors.Cursor, crm_source: Make, sent: list[str]
) -> None:
    rds.execute("REVOKE EXECUTE ON PROCEDURE mysql.rds_kill FROM mysql_bot")
    crm = crm_source()
    assert crm.health(None).closes is Reach.OWN
    assert "This login may close its own sessions only." in crm.description()
    with server.connect(user="mysql_app", password=PASSWORD) as client:
        found = close(crm, session_id(client))
        assert isinstance(found, Sent)
        assert found.answer in (Answer.REFUSED, Answer.ERROR)
        client.ping(reconnect=False)
    rds.execute("GRANT EXECUTE ON mysql.* TO mysql_bot")
    assert crm_source().health(None).closes is Reach.ALL


def test_the_servers_own_administrator_is_not_closed_by_them_either(
    server: EmbeddedServer, rds: pymysql.cursors.Cursor, crm_source: Make
) -> None:
    rds.execute("CREATE USER IF NOT EXISTS rdsadmin@'%' IDENTIFIED BY 'x'")
    try:
        with server.connect(user="rdsadmin", password="x") as client:
            crm = crm_source()
            assert crm.protection(one(crm, session_id(client)))
            found = close(crm, session_id(client))
            assert isinstance(found, Sent)
            assert found.answer is Answer.ERROR
            assert "CANNOT KILL RDSADMIN SESSION" in found.said
            client.ping(reconnect=False)
    finally:
        rds.execute("DROP USER rdsadmin@'%'")
