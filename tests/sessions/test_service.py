"""The session service on real kernels: what it lists, what it leaves out, and how it fails."""

from __future__ import annotations

import contextlib
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pymysql
import pytest
from pydantic import SecretStr

from bot.errors import (
    BusyError,
    DataSourceError,
    DataSourceUnreachableError,
    LoginRefusedError,
    UnknownSessionError,
)
from bot.sessions.database import MODULE, Connection, _Guarded, _Result
from bot.sessions.endpoint import Endpoint
from bot.sessions.identity import identify
from bot.sessions.kill import Answer, Order, Sent, close
from bot.sessions.model import SORTABLE, Condition, Field, Mode, Operator, Pin, SessionFilter, SessionQuery, Sort
from bot.sessions.oceanbase.dialect import _expressions
from bot.sessions.pool import POOL_SIZE, WAITING
from bot.sessions.source import DataSourceOptions
from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.sessions.conftest import PASSWORD, Make
from tests.sessions.examples import EXAMPLE, sql_of
from tests.support.odp import Odp
from tests.support.sessions import like
from tests.support.stage import RunningStatement, session_id


def by_user(name: str, **more: Any) -> SessionQuery:
    condition = Condition(Field.USER, Operator.EXACTLY, (name,))
    return SessionQuery(filter=SessionFilter((condition,)), **more)


def test_what_is_worked_out_meanwhile_is_so_once_the_next_statement_is_sent_and_before_it_is_answered(
    database: EmbeddedOceanBase, source: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    send: Any = _Guarded._execute_command  # type: ignore[attr-defined]  # PyMySQL has no public name
    read = _Result.read

    def sends(raw: _Guarded, command: int, sql: Any) -> None:
        order.append("sent")
        send(raw, command, sql)

    def reads(result: _Result) -> None:
        order.append("read")
        read(result)

    def asks() -> object:
        return connection.rows("SELECT 2")

    with source().console() as console:
        connection = console._connection
        monkeypatch.setattr(_Guarded, "_execute_command", sends)
        monkeypatch.setattr(_Result, "read", reads)
        found = connection.meanwhile(lambda: order.append("worked out"))
        fails, asked = connection.meanwhile(lambda: 1 // 0), connection.meanwhile(asks)
        assert connection.rows("SELECT 1") == [(1,)]
        assert (found(), order) == (None, ["sent", "worked out", "read"])
        with pytest.raises(ZeroDivisionError):
            fails()
        assert asked() == [(2,)]  # here, not in the midst of the other
        assert order[3:] == ["sent", "read"]
        wanted_before = connection.meanwhile(lambda: order.append("at once"))
        wanted_before()
        assert connection.rows("SELECT 3") == [(3,)]
        assert order[5:] == ["at once", "sent", "read"]


def test_a_page_says_of_a_session_what_the_server_says(database: EmbeddedOceanBase, source: Make, user: str) -> None:
    with database.connect(user=user, password=PASSWORD) as client:
        page = source().page(by_user(user), None)
        (session,) = page.sessions
        assert (page.source, page.matching, page.pages) == ("prod", 1, 1)
        assert page.total >= 1
        assert (session.source, session.id, session.tenant, session.client.user) == (
            "prod",
            session_id(client),
            "sys",
            user,
        )
        assert (session.command, session.database, sql_of(session), session.own) == ("Sleep", None, None, False)
        assert session.server is not None
        assert session.server.endswith(f":{database.port}")
        address, port = client._sock.getsockname()  # type: ignore[attr-defined]  # the driver's own socket
        assert session.client.peer == session.client.origin == f"{address}:{port}"


def test_a_transaction_counts_as_open_until_it_has_ended(database: EmbeddedOceanBase, source: Make, user: str) -> None:
    with database.connect(user=user, password=PASSWORD) as client, source().console() as console:
        client.begin()
        (session,) = console.find(session_id(client))
        assert session.transaction_id
        assert console.transaction_open(session)
        assert not console.transaction_open(like(session, transaction_id=session.transaction_id + 1_000_000))
        client.rollback()
        assert not console.transaction_open(session)
        assert console.transaction_open(like(session, transaction_id=None)) is None


def test_own_sessions_are_left_out_of_lists_and_marked_when_found(source: Make) -> None:
    prod = source()
    with prod.console() as first, prod.console() as second:
        own = {first._connection.id, second._connection.id}
        listed = {session.id for session in prod.page(SessionQuery(limit=50), None).sessions}
        assert not own & listed
        for session_id in own:
            assert [session.own for session in prod.find(session_id, None)] == [True]


def test_another_replica_of_the_bot_is_left_out_as_well(source: Make) -> None:
    one, other = source(), source()
    with other.console() as console:
        assert [session.own for session in one.find(console._connection.id, None)] == [True]


def test_whoever_calls_himself_the_bot_is_not_taken_for_it(
    database: EmbeddedOceanBase, source: Make, user: str
) -> None:
    with database.connect(user=user, password=PASSWORD) as client, client.cursor() as cursor:
        with contextlib.suppress(pymysql.Error):  # seekdb has no such package for everybody
            cursor.execute(f"CALL dbms_application_info.set_module('{MODULE}', '')")
        (session,) = source().page(by_user(user), None).sessions
        assert not session.own


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the rows that each statement moves."""
    fetched: list[int] = []
    ask = Connection.rows

    def count(self: Connection, *statement: Any) -> Any:
        rows = ask(self, *statement)
        fetched.append(len(rows))
        return rows

    monkeypatch.setattr(Connection, "rows", count)
    return fetched


def test_pages_hold_each_session_once_and_the_last_one_stands_for_those_behind_it(
    database: EmbeddedOceanBase, source: Make, user: str, counted: list[int]
) -> None:
    prod = source()
    prod.description()
    counted.clear()
    with contextlib.ExitStack() as clients:
        ids = {session_id(clients.enter_context(database.connect(user=user, password=PASSWORD))) for _ in range(30)}
        page = prod.page(by_user(user, limit=5), None)
        assert (len(page.sessions), page.matching, page.pages) == (5, 30, 6)
        assert counted == [1, 5]
        last = prod.page(by_user(user, limit=20, page=9), None)
        assert (last.query.page, len(last.sessions)) == (2, 10)
        # By their ids: 1.4 reads the time of each row at a moment of its own, and those of one age change places.
        by_id = {"limit": 12, "sort": Sort(Field.ID)}
        pages = [prod.page(by_user(user, page=number, **by_id), None).sessions for number in (1, 2, 3)]
        assert {session.id for sessions in pages for session in sessions} == ids


@pytest.mark.parametrize("database", ["oceanbase"], indirect=True, ids=["oceanbase-4.3.5"])
def test_a_thousand_sessions_move_no_more_rows_than_the_page_shows(
    database: EmbeddedOceanBase, source: Make, counted: list[int]
) -> None:

    def quick() -> pymysql.Connection[Any]:
        # Else PyMySQL reads the machine's certificates anew for each connection: 35 ms against 1 ms.
        return pymysql.connect(
            host=database.host, port=database.port, user="root", password=database.password, ssl_disabled=True
        )

    prod = source()
    with contextlib.ExitStack() as clients:
        with ThreadPoolExecutor(8) as pool:
            for client in pool.map(lambda _: quick(), range(1000)):
                clients.enter_context(client)
        prod.description()
        counted.clear()
        page = prod.page(by_user("root", limit=20, page=25), None)
    assert page.matching >= 1000
    assert len(page.sessions) == 20
    assert counted == [1, 20]


def test_the_tenants_of_a_data_source_narrow_it_whatever_is_asked(source: Make) -> None:
    narrowed = source(DataSourceOptions(tenants=frozenset({"shop"})))
    for asked in (None, frozenset({"sys"}), frozenset({"shop", "sys"}), frozenset({"SHOP"}), frozenset[str]()):
        assert narrowed.page(SessionQuery(), asked).total == 0
    with source().console() as console:
        assert source().find(console._connection.id, None)
        assert narrowed.find(console._connection.id, None) == []
        assert source().find(console._connection.id, frozenset({"shop"})) == []


def test_all_connections_to_one_server_lead_to_the_same_one(database: EmbeddedOceanBase, source: Make) -> None:
    prod = source()
    with prod.console() as one, prod.console() as other:
        found = identify(one._connection)
        assert found == identify(other._connection)
        assert found is not None
        assert found.name == f"seekdb on port {database.port}"
    assert prod._pool.move is None


def test_a_wrong_password_is_a_refused_login(source: Make) -> None:
    with pytest.raises(LoginRefusedError, match="prod") as told:
        source(password="wrong-hunter2").page(SessionQuery(), None)
    assert "hunter2" not in str(told.value)


def test_a_password_of_other_letters_than_ascii_logs_in(source: Make, database: EmbeddedOceanBase, user: str) -> None:
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"ALTER USER {user} IDENTIFIED BY 'größe-€'")
    source(user=user, password="größe-€").try_login()
    with pytest.raises(LoginRefusedError) as told:
        source(user=user, password="größe-€-hunter2").try_login()
    assert "hunter2" not in str(told.value)


def test_a_closed_port_is_an_unreachable_data_source(source: Make) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(DataSourceUnreachableError, match="prod") as told:
            source(port=unused.getsockname()[1], password="hunter2").page(SessionQuery(), None)
    assert "hunter2" not in str(told.value)


def test_a_list_that_was_long_on_its_way_says_so(source: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    prod = source()
    prod.description()
    hours = iter(range(0, 3600 * 50, 3600))
    monkeypatch.setattr("bot.sessions.source.monotonic", lambda: float(next(hours)))
    (caveat,) = prod.page(SessionQuery(), None).caveats
    assert caveat.startswith("The list was ")
    assert caveat.endswith("00 s on its way.")


def test_a_password_is_in_no_repr() -> None:
    assert "hunter2" not in repr(Endpoint("prod", "10.0.0.1", 2881, "root", SecretStr("hunter2")))


def test_reading_goes_on_silently_after_the_bots_own_session_was_closed(
    database: EmbeddedOceanBase, source: Make
) -> None:
    prod = source()
    with prod.console() as first, prod.console() as second:
        own = [first._connection.id, second._connection.id]
    with database.connect() as admin, admin.cursor() as cursor:
        for session_id in own:
            cursor.execute(f"KILL {session_id}")
    assert prod.page(SessionQuery(), None).source == "prod"
    with prod.console() as console:
        assert console._connection.id not in own


@pytest.mark.parametrize("session_id", [-1, 0, 1, 2**32, 2**32 + 5, 2**63])
@pytest.mark.parametrize("mode", Mode)
def test_an_id_that_the_kernel_would_cut_is_never_sent(
    source: Make, session_id: int, mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    with source().console() as console:
        sent: list[object] = []
        monkeypatch.setattr(Connection, "rows", lambda self, *statement: sent.append(statement))
        with pytest.raises(ValueError, match=str(session_id)):
            console.kill(replace(EXAMPLE, id=session_id), mode)
        assert not sent


def test_closing_what_is_not_there_says_so(source: Make) -> None:
    with source().console() as console, pytest.raises(UnknownSessionError, match="prod"):
        console.kill(replace(EXAMPLE, id=2**32 - 2), Mode.SESSION)


@pytest.mark.parametrize("field", SORTABLE, ids=lambda field: field.value)
def test_every_column_sorts_both_ways(source: Make, database: EmbeddedOceanBase, field: Field) -> None:
    prod = source()
    with contextlib.ExitStack() as opened:
        for name in ("test", None, "oceanbase"):
            opened.enter_context(database.connect(database=name))
        up = [one.id for one in prod.page(SessionQuery(sort=Sort(field)), None).sessions]
        down = [one.id for one in prod.page(SessionQuery(sort=Sort(field, descending=True)), None).sessions]
    assert len(up) == len(down) >= 3
    if field is Field.ID:
        assert up == sorted(up) == down[::-1]
    if field is Field.DATABASE:
        assert up != down


@pytest.mark.parametrize("mode", Mode)
def test_a_session_that_a_proxy_does_not_know_is_closed_on_its_own_server(
    database: EmbeddedOceanBase, source: Make, user: str, mode: Mode
) -> None:
    with Odp(database.host, database.port) as odp, database.connect(user=user, password=PASSWORD) as client:
        victim = RunningStatement(client, "SELECT SLEEP(60)")
        with source(port=odp.port).console() as console:
            while not (session := console.find(victim.id)[0]).running:
                pass  # each look takes some milliseconds
            sent = close(console, Order(Pin.of(session), mode, lambda _session: None, lambda: False))
        assert isinstance(sent, Sent)
        assert sent.answer is Answer.OK
        assert victim.ended() in ((1317,) if mode is Mode.QUERY else (2013, 5066, 1317))
        assert odp.kills == [f"KILL {'QUERY ' if mode is Mode.QUERY else ''}{victim.id}".encode()]


def test_what_is_gone_is_gone_behind_a_proxy_as_well(database: EmbeddedOceanBase, source: Make) -> None:
    with Odp(database.host, database.port) as odp, source(port=odp.port).console() as console:
        with pytest.raises(UnknownSessionError, match="prod"):
            console.kill(replace(EXAMPLE, id=2**32 - 2), Mode.SESSION)
        assert len(odp.kills) == 1


def test_an_oceanbase_is_not_taken_for_a_mysql(source: Make) -> None:
    with pytest.raises(DataSourceError, match="prod is no MySQL or MariaDB"):
        source(DataSourceOptions(kind="mysql")).description()


def test_more_callers_than_may_wait_are_sent_away(source: Make) -> None:
    prod = source()
    with contextlib.ExitStack() as held:
        for _ in range(POOL_SIZE):
            held.enter_context(prod.console())
        for _ in range(WAITING):  # as those who wait would: each takes a place before a connection
            assert prod._pool._places.acquire(blocking=False)
        with pytest.raises(BusyError, match="prod"):
            prod.page(SessionQuery(), None)
        for _ in range(WAITING):
            prod._pool._places.release()
    assert prod.page(SessionQuery(), None)


# What a cluster behind OBProxy would show in the columns that decide; no such cluster runs here, but the
# expressions are evaluated by the real kernel, over a row of its making.
ROW = "'{host}' AS HOST, '{client}' AS USER_CLIENT_IP, {proxy} AS PROXY_SESSID, '{server}' AS SVR_IP, 2881 AS SQL_PORT"


@pytest.mark.parametrize(
    ("host", "client", "proxy", "origin", "by"),
    [
        ("10.0.3.7:50112", "10.0.3.7", "NULL", "10.0.3.7:50112", None),
        ("10.0.3.7:50112", "10.0.3.7", "0", "10.0.3.7:50112", None),
        ("10.0.9.9:4000", "10.0.3.7", "77", "10.0.3.7", "10.0.9.9"),
        ("10.0.9.9:4000", "10.0.9.9", "77", "10.0.9.9", "10.0.9.9"),
        ("10.0.9.9:4000", "10.0.3.7", "NULL", "10.0.3.7", None),
        ("[::1]:1234", "::1", "NULL", "[::1]:1234", None),
        ("[fd00::9]:4000", "fd00::7", "77", "fd00::7", "fd00::9"),
    ],
)
def test_source_and_proxy_are_told_apart_as_a_cluster_shows_them(
    database: EmbeddedOceanBase, host: str, client: str, proxy: str, origin: str, by: str | None
) -> None:
    columns = _expressions(frozenset({"HOST", "USER_CLIENT_IP", "PROXY_SESSID", "SVR_IP", "SQL_PORT"}))
    for server, shown in (("10.0.0.1", "10.0.0.1:2881"), ("fd00::1", "[fd00::1]:2881")):
        row = ROW.format(host=host, client=client, proxy=proxy, server=server)
        with database.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT {columns['origin']}, {columns['proxy']}, {columns['server']} FROM (SELECT {row}) t")
            assert cursor.fetchone() == (origin, by, shown)
