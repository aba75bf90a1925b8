"""What a session of MySQL or MariaDB waits for, told by its STATE or its transaction: marked, counted and found."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pymysql
import pytest

from bot.sessions.model import Condition, Field, Flag, Operator, Session, SessionFilter, SessionQuery, WaitKind, awaited
from bot.sessions.mysql.columns import ProcessList
from bot.sessions.source import DataSource
from bot.sessions.statement import Disclosure
from bot.sessions.statistics import Grouping
from sandbox.databases.embedded import EmbeddedServer
from tests.sessions.conftest import Make, one, until
from tests.support.servers import EmbeddedMySQL
from tests.support.stage import RunningStatement, session_id


@pytest.fixture(params=("mariadb", "watched_mariadb", "mysql"))
def server(request: pytest.FixtureRequest) -> EmbeddedServer:
    """Run the test on the machine's own MariaDB, without and with its performance schema, and on MySQL."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, EmbeddedServer)
    return found


@dataclass(frozen=True)
class Case:
    """What somebody holds, what another one then waits for, and how that is told."""

    held: Sequence[str]
    wants: str
    kind: WaitKind
    words: str = ""
    runs: bool = False  # the last statement of the holder goes on
    on: str = ""  # "MariaDB" or "MySQL"; '' for both

    @property
    def told(self) -> str:
        return self.words or self.kind.value


CHANGE = "UPDATE stock SET quantity = quantity + 1"
CASES = (
    Case(["BEGIN", CHANGE], CHANGE, WaitKind.ROW_LOCK),
    Case(["BEGIN", "SELECT * FROM stock"], "ALTER TABLE stock COMMENT 'x'", WaitKind.METADATA),
    Case(["LOCK TABLES stock WRITE"], "SELECT * FROM stock", WaitKind.METADATA),
    Case(
        ["BEGIN", "CALL idle()"], "DROP PROCEDURE idle", WaitKind.METADATA, "stored procedure metadata lock", on="MySQL"
    ),
    Case(["FLUSH TABLES WITH READ LOCK"], CHANGE, WaitKind.BACKUP_LOCK, on="MariaDB"),
    Case(["FLUSH TABLES WITH READ LOCK"], CHANGE, WaitKind.GLOBAL_READ_LOCK, on="MySQL"),
    Case(["LOCK INSTANCE FOR BACKUP"], "ALTER TABLE stock COMMENT 'x'", WaitKind.BACKUP_LOCK, on="MySQL"),
    Case(["BACKUP STAGE START", "BACKUP STAGE BLOCK_COMMIT"], CHANGE, WaitKind.BACKUP_LOCK, on="MariaDB"),
    Case(["SELECT SLEEP(600) FROM stock"], "FLUSH TABLES stock", WaitKind.TABLE_FLUSH, runs=True, on="MySQL"),
    Case(["SELECT SLEEP(600) FROM paper"], "UPDATE paper SET sku = 7", WaitKind.TABLE_LOCK, "table lock", runs=True),
    Case(["SELECT GET_LOCK('nightly', 1)"], "SELECT GET_LOCK('nightly', 600)", WaitKind.USER_LOCK),
)


@pytest.fixture
def tables(server: EmbeddedServer, logins: str) -> Iterator[None]:
    with server.connect(database="mysql_test") as root, root.cursor() as cursor:
        cursor.execute("CREATE TABLE paper (sku INT) ENGINE=MyISAM")
        cursor.execute("INSERT INTO paper VALUES (1), (2)")  # a table of one row is read before
        cursor.execute("CREATE PROCEDURE idle() SELECT 1")
        yield


@contextlib.contextmanager
def waiting(server: EmbeddedServer, case: Case) -> Iterator[tuple[int, RunningStatement]]:
    """Give the holder's id and the waiter; both are closed in the end."""
    connect = partial(server.connect, database="mysql_test")
    with connect() as holder, connect() as client, connect() as root:
        try:
            yield session_id(holder), _set_up(holder, client, case)
        finally:
            with root.cursor() as cursor, contextlib.suppress(pymysql.Error):
                for connection in (client, holder):
                    cursor.execute(f"KILL {session_id(connection)}")


def _set_up(holder: pymysql.Connection[Any], client: pymysql.Connection[Any], case: Case) -> RunningStatement:
    *before, last = case.held
    with holder.cursor() as cursor:
        for statement in before:
            cursor.execute(statement)
        if case.runs:
            RunningStatement(holder, last)
            until(lambda: _runs(client, session_id(holder)))
        else:
            cursor.execute(last)
    with client.cursor() as cursor:
        cursor.execute("SET innodb_lock_wait_timeout = 600")
    return RunningStatement(client, case.wants)


def _runs(connection: pymysql.Connection[Any], number: int) -> bool:
    with connection.cursor() as cursor:
        return bool(
            cursor.execute(
                "SELECT 1 FROM information_schema.PROCESSLIST WHERE ID = %s AND STATE = 'User sleep'", (number,)
            )
        )


def found(crm: DataSource, flag: Flag = Flag.WAITING) -> list[Session]:
    asked = SessionQuery(filter=SessionFilter(flags=frozenset({flag})))
    return list(crm.page(asked, None, Disclosure.ALL_BUT_PASSWORDS).sessions)


def counted(crm: DataSource) -> tuple[int | None, ...]:
    page = crm.page(SessionQuery(), None)
    return page.waiting, crm.statistics(SessionQuery(), Grouping.USER, None).waiting, crm.health(None).waiting


def test_a_session_that_waits_for_a_lock_of_any_kind_is_marked_counted_and_found(
    server: EmbeddedServer, crm_source: Make, tables: None
) -> None:
    crm, name = crm_source(), "MySQL" if isinstance(server, EmbeddedMySQL) else "MariaDB"
    for case in CASES:
        if case.on not in ("", name):
            continue
        with waiting(server, case) as (holder, waiter):
            until(lambda: one(crm, waiter.id).waits is case.kind)  # noqa: B023
            session = one(crm, waiter.id)
            assert session.waits_for == case.told, case
            assert not one(crm, holder).waits, case
            until(lambda: [it.id for it in found(crm)] == [waiter.id])
            assert found(crm)[0].waits is case.kind, case
            assert counted(crm) == (1, 1, 1), case
            if case.kind is WaitKind.ROW_LOCK:
                until(lambda: [it.id for it in found(crm, Flag.BLOCKING)] == [holder])
        until(lambda: not found(crm))


def test_what_a_session_does_is_read_and_found_whether_it_waits_or_not(
    server: EmbeddedServer, crm_source: Make, tables: None
) -> None:
    crm = crm_source()
    with server.connect() as client:
        sleeper = RunningStatement(client, "SELECT SLEEP(600)")
        until(lambda: one(crm, sleeper.id).doing == "User sleep")
        assert one(crm, sleeper.id).waits is None
        asked = SessionFilter((Condition(Field.ANY, Operator.CONTAINS, ("user sleep",)),))
        assert [it.id for it in crm.page(SessionQuery(filter=asked), None).sessions] == [sleeper.id]
        with server.connect() as root, root.cursor() as cursor:
            cursor.execute(f"KILL {sleeper.id}")


def test_a_login_that_may_not_see_transactions_is_told_that_waits_for_rows_are_not_known(crm_source: Make) -> None:
    asked = SessionQuery(filter=SessionFilter(flags=frozenset({Flag.WAITING})))
    assert crm_source(user="mysql_plain").page(asked, None).untold.startswith("Which sessions wait for a row lock")
    assert crm_source().page(asked, None).untold == ""


def test_the_database_knows_those_that_wait_by_the_same_states_as_the_bot(server: EmbeddedServer) -> None:
    """Every stage that the server has a name for: those of replication and of the scheduler wait for work."""
    waits = ProcessList("", frozenset()).expressions()["waits"]
    with server.connect() as root, root.cursor() as cursor:
        cursor.execute(
            f"SELECT STATE, {waits} FROM (SELECT 'Query' AS COMMAND, 'x' AS INFO, "
            "SUBSTRING(NAME, 7 + LOCATE('/', SUBSTRING(NAME, 7))) AS STATE "
            "FROM performance_schema.setup_instruments WHERE NAME LIKE 'stage/%') AS named"
        )
        told = {str(state): bool(it) for state, it in cursor.fetchall()}
    assert told == {state: awaited(state) is not None for state in told}
    if told:  # without the performance schema there are none
        assert told["Waiting for table metadata lock"]
        assert told["User lock"]
        assert not any(it for state, it in told.items() if "event" in state and "lock" not in state)
