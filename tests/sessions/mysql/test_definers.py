"""Who a session belongs to while a routine of another account runs: MariaDB's list shows that account in its place."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pymysql
import pytest

from bot.sessions.model import Condition, Field, Operator, Pin, SessionFilter, SessionQuery
from bot.sessions.protection import Protected
from bot.sessions.source import DataSource, DataSourceOptions
from bot.sessions.statement import Disclosure
from bot.sessions.statistics import Grouping
from sandbox.databases.embedded import EmbeddedServer
from tests.sessions.conftest import Make, end, one, until
from tests.sessions.examples import MARIA_PASSWORD as PASSWORD
from tests.sessions.examples import inner_of, sql_of
from tests.support.servers import EmbeddedMySQL, WatchedMariaDB, WatchedUnpackedMariaDB
from tests.support.stage import RunningStatement, session_id

Admin = Callable[..., None]

GUARDED = DataSourceOptions(protected=Protected(frozenset({"vip"})))
ACCOUNTS = (
    "vip",
    "owner",
    "owner@'127.0.0.%'",
    "owner@'127.0.0.0/255.255.255.0'",
    "owner@localhost",
    "owner@'db.example'",
    "owner@'127.0.0.1'",
)
SLEEPS = "SELECT SLEEP(60) FROM mysql_test.stock"


@pytest.fixture(params=["mariadb", "watched_mariadb", "mariadb118", "watched_mariadb118", "mysql"])
def server(request: pytest.FixtureRequest) -> EmbeddedServer:
    """Run the test on both MariaDBs, with and without a performance schema that knows who logged in, and on MySQL."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, EmbeddedServer)
    return found


def is_known(server: EmbeddedServer) -> bool:
    """Whether the server says who logged in while a routine runs."""
    return isinstance(server, WatchedMariaDB | WatchedUnpackedMariaDB | EmbeddedMySQL)


@pytest.fixture
def admin(server: EmbeddedServer, logins: str) -> Iterator[Admin]:
    """Run statements as root; the accounts that routines run as are there."""
    with server.connect() as connection, connection.cursor() as cursor:

        def run(*statements: str) -> None:
            for statement in statements:
                cursor.execute(statement)

        for account in ACCOUNTS:
            run(f"DROP USER IF EXISTS {account}", f"CREATE USER {account} IDENTIFIED BY '{PASSWORD}'")
            run(f"GRANT ALL ON mysql_test.* TO {account}")
        yield run
        run(f"DROP USER {', '.join(ACCOUNTS)}")


@contextlib.contextmanager
def calling(
    server: EmbeddedServer, source: DataSource, sql: str = "CALL work()", user: str = "vip", **more: Any
) -> Iterator[RunningStatement]:
    """Let a user run something that runs a routine of somebody else's; the server shows what runs in it."""
    with server.connect(user=user, password=PASSWORD, database="mysql_test", **more) as client:
        statement = RunningStatement(client, sql)
        until(lambda: "SLEEP" in running(source, statement.id))
        try:
            yield statement
        finally:
            end(server, statement)


def running(source: DataSource, number: int) -> str:
    session = one(source, number)
    return (inner_of(session) or sql_of(session) or "") if session.running else ""


def listed(source: DataSource, user: str, operator: Operator = Operator.CONTAINS) -> list[int]:
    named = Condition(Field.USER, operator, (user,))
    return [session.id for session in source.page(SessionQuery(filter=SessionFilter((named,))), None).sessions]


def test_a_protected_user_in_a_routine_of_another_account_is_not_closed_without_an_override(
    server: EmbeddedServer, admin: Admin, crm_source: Make
) -> None:
    admin(f"CREATE DEFINER = owner PROCEDURE mysql_test.work() {SLEEPS}")
    crm = crm_source(GUARDED)
    with calling(server, crm) as call:
        session = one(crm, call.id)
        assert not session.own
        if is_known(server):
            assert (session.client.user, session.client.definer) == ("vip", None)
            assert crm.protection(session) == ("belongs to vip, a protected user of crm",)
        else:
            assert (session.client.user, session.client.definer) == ("in a routine of owner", "owner")
            assert crm.protection(session) == (
                "is in a routine of owner; who logged in is not known, and some are protected on crm",
            )
            assert crm_source().protection(session) == (), "where nobody is protected, neither is whoever this is"


def test_a_session_in_a_routine_of_the_bots_own_login_is_listed_and_not_taken_for_the_bots_own(
    server: EmbeddedServer, admin: Admin, crm_source: Make
) -> None:
    admin(
        f"CREATE DEFINER = mysql_bot PROCEDURE mysql_test.work() {SLEEPS}",
        "GRANT ALL ON mysql_test.* TO mysql_bot",
    )
    crm = crm_source()
    with calling(server, crm) as call:
        assert not one(crm, call.id).own
        assert listed(crm, "vip" if is_known(server) else "in a routine of mysql_bot") == [call.id]
        assert crm.page(SessionQuery(), None).total == crm.statistics(SessionQuery(), Grouping.USER, None).total


def test_the_connection_stays_the_same_session_before_a_call_in_it_and_after_it(
    server: EmbeddedServer, admin: Admin, crm_source: Make
) -> None:
    admin(
        "CREATE DEFINER = owner PROCEDURE mysql_test.work() SELECT SLEEP(1) FROM mysql_test.stock",
    )
    crm = crm_source()
    with server.connect(user="vip", password=PASSWORD, database="mysql_test") as client:
        number = session_id(client)
        before = one(crm, number)
        call = RunningStatement(client, "CALL work()")
        until(lambda: "SLEEP" in running(crm, number))
        inside = one(crm, number)
        assert call.ended() == 0
        after = one(crm, number)
        for earlier, later in ((before, inside), (inside, after), (before, after), (inside, before)):
            assert Pin.of(earlier).same_session(later)
        assert (before.client.user, after.client.user) == ("vip", "vip")
        if is_known(server):
            assert inside.client.peer == before.client.peer
    with server.connect(user="vip", password=PASSWORD) as another:
        assert not Pin.of(inside).same_session(one(crm, session_id(another)))


def test_filters_and_statistics_count_it_for_who_logged_in_or_for_the_routine(
    server: EmbeddedServer, admin: Admin, crm_source: Make
) -> None:
    admin(f"CREATE DEFINER = owner PROCEDURE mysql_test.work() {SLEEPS}")
    crm = crm_source()
    name = "vip" if is_known(server) else "in a routine of owner"
    with calling(server, crm) as call:
        assert listed(crm, name, Operator.EXACTLY) == [call.id]
        assert listed(crm, "owner", Operator.EXACTLY) == []
        assert listed(crm, "vip") == ([call.id] if is_known(server) else [])
        groups = crm.statistics(SessionQuery(), Grouping.USER, None).groups
        assert [group.total for group in groups if group.name == name] == [1]


@pytest.mark.parametrize(
    ("made", "runs"),
    [
        ("FUNCTION mysql_test.work() RETURNS INT RETURN SLEEP(60)", "SELECT mysql_test.work()"),
        ("VIEW mysql_test.shown AS SELECT mysql_test.work()", "SELECT * FROM shown"),
        (
            "TRIGGER mysql_test.adds BEFORE INSERT ON mysql_test.stock FOR EACH ROW SET NEW.quantity = SLEEP(60)",
            "INSERT INTO stock VALUES (7, 7)",
        ),
        ("PROCEDURE mysql_test.work() WHILE SLEEP(0.01) = 0 DO SET @x = 1; END WHILE", "CALL work()"),
    ],
    ids=["function", "view", "trigger", "loop"],
)
def test_functions_triggers_and_loops_of_another_account_are_told_as_well(
    server: EmbeddedServer, admin: Admin, crm_source: Make, made: str, runs: str
) -> None:
    if made.startswith("VIEW"):
        admin("CREATE DEFINER = owner FUNCTION mysql_test.work() RETURNS INT RETURN SLEEP(60)")
    admin(f"CREATE DEFINER = owner {made}")
    crm = crm_source(GUARDED)
    with server.connect(user="vip", password=PASSWORD, database="mysql_test") as client:
        statement = RunningStatement(client, runs)
        expected = "vip" if is_known(server) else "in a routine of owner"
        until(lambda: one(crm, statement.id).client.user == expected and one(crm, statement.id).running)
        assert any("crm" in why for why in crm.protection(one(crm, statement.id)))
        end(server, statement)


def test_a_routine_that_runs_as_its_caller_hides_nobody(server: EmbeddedServer, admin: Admin, crm_source: Make) -> None:
    admin(f"CREATE DEFINER = owner PROCEDURE mysql_test.work() SQL SECURITY INVOKER {SLEEPS}")
    crm = crm_source(GUARDED)
    with calling(server, crm) as call:
        session = one(crm, call.id)
        assert (session.client.user, session.client.definer) == ("vip", None)


@pytest.mark.parametrize("host", ["127.0.0.%", "127.0.0.0/255.255.255.0", "localhost", "db.example", "a role"])
def test_an_account_whose_host_can_be_no_clients_is_told_from_a_login(
    server: EmbeddedServer, admin: Admin, crm_source: Make, host: str
) -> None:
    definer = f"owner@'{host}'"
    if host == "a role":
        definer = "owners"
        admin("DROP ROLE IF EXISTS owners", "CREATE ROLE owners", "GRANT ALL ON mysql_test.* TO owners")
    admin(f"CREATE DEFINER = {definer} PROCEDURE mysql_test.work() {SLEEPS}")
    crm = crm_source()
    with calling(server, crm) as call:
        session = one(crm, call.id)
        if is_known(server):
            assert (session.client.user, session.client.definer) == ("vip", None)
        else:
            assert session.client.user.startswith("in a routine of owner")
            assert session.client.definer is not None
        assert session.client.port == str(call.connection._sock.getsockname()[1])  # type: ignore[attr-defined]  # the driver's own socket


def test_an_account_bound_to_an_address_is_taken_for_a_login_where_the_server_does_not_say(
    server: EmbeddedServer, admin: Admin, crm_source: Make
) -> None:
    """Nothing in the list differs then; what is closed is what was confirmed all the same (docs/threat-model.md)."""
    admin("CREATE DEFINER = owner@'127.0.0.1' PROCEDURE mysql_test.work() SELECT SLEEP(1) FROM mysql_test.stock")
    crm = crm_source()
    with server.connect(user="vip", password=PASSWORD, database="mysql_test") as client:
        before = one(crm, session_id(client))
        call = RunningStatement(client, "CALL work()")
        until(lambda: "SLEEP" in running(crm, call.id))
        inside = one(crm, call.id)
        assert call.ended() == 0
        assert inside.client.user == ("vip" if is_known(server) else "owner")
        assert Pin.of(inside).same_session(one(crm, call.id)) == is_known(server)
        assert Pin.of(before).same_session(inside) == is_known(server)


def test_over_a_socket_nothing_names_the_connection_but_who_logged_in(
    server: EmbeddedServer, admin: Admin, crm_source: Make
) -> None:
    admin(f"CREATE DEFINER = owner PROCEDURE mysql_test.work() {SLEEPS}")
    crm = crm_source()
    socket = str(server.base_dir / "data" / "server.sock")
    with contextlib.closing(
        pymysql.connect(unix_socket=socket, user="vip", password=PASSWORD, database="mysql_test")
    ) as client:
        before = one(crm, session_id(client))
        assert (before.client.peer, before.client.port) == ("localhost", None)
        call = RunningStatement(client, "CALL work()")
        until(lambda: "SLEEP" in running(crm, call.id))
        session = one(crm, call.id)
        assert session.client.user == ("vip" if is_known(server) else "in a routine of owner")
        assert session.client.port is None
        end(server, call)


def test_an_event_is_nobodys_login_and_not_hidden_even_when_it_is_the_bots_own(
    server: EmbeddedServer, admin: Admin, crm_source: Make
) -> None:
    admin(
        "GRANT ALL ON mysql_test.* TO mysql_bot",
        "SET GLOBAL event_scheduler = ON",
        "CREATE DEFINER = mysql_bot EVENT mysql_test.nightly ON SCHEDULE AT NOW() DO "
        "SELECT SLEEP(60), 'nightly' FROM mysql_test.stock",
    )
    crm = crm_source(GUARDED)
    nightly = SessionQuery(filter=SessionFilter((Condition(Field.SQL, Operator.CONTAINS, ("'nightly'",)),)))
    try:
        until(lambda: crm.page(nightly, None, Disclosure.ALL_BUT_PASSWORDS).matching)
        (session,) = crm.page(nightly, None, Disclosure.ALL_BUT_PASSWORDS).sessions
        assert not session.own
        if isinstance(server, EmbeddedMySQL):
            assert crm.is_thread(session)
        else:
            assert crm.protection(session)
            assert (session.client.user, session.client.definer) == ("in an event of mysql_bot", "mysql_bot")
    finally:
        admin("SET GLOBAL event_scheduler = OFF")
        with server.connect() as root, root.cursor() as cursor:
            cursor.execute(
                "SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE 'SELECT SLEEP(60), ''nightly''%'"
            )
            for (number,) in cursor.fetchall():
                cursor.execute(f"KILL {number}")
