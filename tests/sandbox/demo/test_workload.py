"""The workload is what the demo promises to show, and it goes on living whatever is closed."""

import threading
import time
from collections.abc import Iterator

import pymysql
import pytest
from pymysql.constants import ER

from sandbox.databases.oceanbase import EmbeddedOceanBase
from sandbox.demo.client import Event
from sandbox.demo.shop import create_bot_account
from sandbox.demo.workload import REPORT, Pace, Workload, loopback_source
from tests.support.patience import PATIENCE

FAST = Pace(reconnect_after=0.1, between_queries=0.1, between_reports=0.1, between_writes=0.2, blocker_away=1.5)
LOST = 2013  # the client side's own number: no server sends it
INTERRUPTED = 5066  # OceanBase's, when the session of a running statement is closed; 2013 comes as well

Row = tuple[object, ...]


@pytest.fixture(scope="module", params=["oceanbase", "seekdb14"], ids=["oceanbase-4.3.5", "seekdb-1.4"])
def database(request: pytest.FixtureRequest) -> EmbeddedOceanBase:
    """Run this file's tests on one kernel and then on the other, so that each workload starts once."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, EmbeddedOceanBase)
    return found


@pytest.fixture(scope="module")
def workload(database: EmbeddedOceanBase) -> Iterator[Workload]:
    with workload_on(database) as running:
        yield running


def workload_on(database: EmbeddedOceanBase) -> Workload:
    return Workload(database.host, database.port, database.user, database.password, FAST)


def rows_of(database: EmbeddedOceanBase, sql: str) -> tuple[Row, ...]:
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def close(database: EmbeddedOceanBase, session_id: int, what: str = "KILL") -> float:
    """Close as the bot does, with the bot's own account; return the time of it."""
    with database.connect() as connection:
        user, password = create_bot_account(connection)
    with database.connect(user=user, password=password) as connection, connection.cursor() as cursor:
        moment = time.time()
        cursor.execute(f"{what} {session_id}")
    return moment


def wait_for_row(database: EmbeddedOceanBase, where: str, within: float = PATIENCE) -> Row:
    deadline = time.monotonic() + within
    while True:
        rows = rows_of(database, f"SELECT ID, INFO FROM oceanbase.V$OB_PROCESSLIST WHERE {where}")
        if rows:
            return rows[0]
        assert time.monotonic() < deadline, f"no session with {where}"
        time.sleep(0.05)


def test_several_users_databases_and_addresses_are_seen_with_a_long_report(
    workload: Workload, database: EmbeddedOceanBase
) -> None:
    workload.events.wait_for("admin-console", "done")
    sessions = rows_of(database, "SELECT USER, DB, HOST FROM oceanbase.V$OB_PROCESSLIST WHERE USER <> 'root'")
    assert {row[0] for row in sessions} >= {"app", "billing", "report", "batch", "admin"}
    assert {row[1] for row in sessions} >= {"shop", "billing", "reports", "NULL"}
    if loopback_source(database.host, 11):
        assert len({str(row[2]).split(":")[0] for row in sessions}) >= 6
    report = wait_for_row(database, "USER = 'report' AND STATE = 'ACTIVE' AND INFO LIKE 'SELECT c.region%'")
    assert report[1] == REPORT


def test_the_report_pauses_after_every_one_of_six_hundred_orders(
    workload: Workload, database: EmbeddedOceanBase
) -> None:
    hurried = REPORT.replace("SLEEP(5)", "SLEEP(0.002)")
    assert workload.events
    started = time.monotonic()
    rows_of(database, hurried)
    assert time.monotonic() - started >= 600 * 0.002  # at five seconds each: the better part of an hour


def test_closing_the_reports_query_leaves_its_client_on_the_same_session(
    workload: Workload, database: EmbeddedOceanBase
) -> None:
    row = wait_for_row(database, "INFO LIKE 'SELECT c.region%' AND STATE = 'ACTIVE' AND USER = 'report'")
    moment = close(database, int(str(row[0])), "KILL QUERY")
    error = workload.events.wait_for("monthly-report", "error", errno=ER.QUERY_INTERRUPTED, after=moment)
    assert error.session_id == row[0]
    again = wait_for_row(database, "INFO LIKE 'SELECT c.region%' AND STATE = 'ACTIVE' AND USER = 'report'")
    assert again[0] == row[0]


def test_closing_the_reports_session_makes_its_client_come_back_with_a_new_one(
    workload: Workload, database: EmbeddedOceanBase
) -> None:
    row = wait_for_row(database, "INFO LIKE 'SELECT c.region%' AND STATE = 'ACTIVE' AND USER = 'report'")
    moment = close(database, int(str(row[0])))
    back = workload.events.wait_for("monthly-report", "connected", after=moment)
    assert back.session_id != row[0]
    said = {e.errno for e in workload.events if e.session_id == row[0] and e.what == "error" and e.time > moment}
    assert said
    assert said <= {LOST, INTERRUPTED}


def test_the_idle_transaction_blocks_two_writers_and_closing_it_frees_them(
    workload: Workload, database: EmbeddedOceanBase
) -> None:
    holder = workload.events.wait_for("stock-take", "holding")
    waiting = wait_for_waiters(database, count=2)
    assert {row[1] for row in waiting} == {holder.session_id}
    moment = close(database, holder.session_id)
    for writer in ("checkout-1", "checkout-2"):
        workload.events.wait_for(writer, "done", after=moment)
    workload.events.wait_for("stock-take", "error", errno=LOST, after=moment)
    back = workload.events.wait_for("stock-take", "holding", after=moment)
    assert back.session_id != holder.session_id
    assert {row[1] for row in wait_for_waiters(database, count=2)} == {back.session_id}


def wait_for_waiters(database: EmbeddedOceanBase, count: int) -> tuple[Row, ...]:
    deadline = time.monotonic() + PATIENCE
    while True:
        rows = rows_of(database, "SELECT DISTINCT SESSION_ID, ID2 FROM oceanbase.V$OB_LOCKS WHERE BLOCK = 1")
        if len(rows) == count:
            return tuple((int(str(waiter)), int(str(holder))) for waiter, holder in rows)
        assert time.monotonic() < deadline, f"there are {len(rows)} waiters"
        time.sleep(0.05)


def test_short_queries_come_and_go(workload: Workload) -> None:
    started = time.time()
    for client in ("shop-web-1", "shop-web-2", "billing-api"):
        first = workload.events.wait_for(client, "done", after=started)
        workload.events.wait_for(client, "done", after=first.time)
    assert [e for e in workload.events if e.what == "error" and e.time > started] == []


def test_every_client_is_back_after_all_sessions_were_closed(workload: Workload, database: EmbeddedOceanBase) -> None:
    workload.events.wait_for("admin-console", "done")
    clients = {event.client for event in workload.events}
    moment = time.time()
    for (session_id,) in rows_of(database, "SELECT ID FROM oceanbase.V$OB_PROCESSLIST WHERE USER <> 'root'"):
        with database.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"KILL {session_id}")
    for client in clients:
        workload.events.wait_for(client, "connected", after=moment)


def test_the_clients_come_back_after_the_database_was_away_and_stop_while_it_hangs(
    restartable: EmbeddedOceanBase,
) -> None:
    with workload_on(restartable) as workload:
        workload.events.wait_for("shop-web-1", "done")
        moment = time.time()
        restartable.restart()
        workload.events.wait_for("shop-web-1", "done", after=moment)
        workload.events.wait_for("stock-take", "holding", after=moment)
        restartable.suspend()
        given_up = threading.Timer(PATIENCE, restartable.resume)
        given_up.start()
    waited_for = given_up.finished.is_set()
    given_up.cancel()
    restartable.resume()
    assert not waited_for, "its clients end only once the database answers"


def test_starting_it_twice_on_one_database_adds_nothing(restartable: EmbeddedOceanBase) -> None:
    for _ in range(2):
        with workload_on(restartable) as workload:
            workload.events.wait_for("checkout-1", "connected")
    assert rows_of(restartable, "SELECT COUNT(*) FROM shop.orders") == ((600,),)


def test_the_users_have_no_more_rights_than_they_need(workload: Workload, database: EmbeddedOceanBase) -> None:
    assert workload.events
    with database.connect() as connection:
        user, password = create_bot_account(connection)
    with database.connect(user=user, password=password) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM oceanbase.V$OB_PROCESSLIST")
        with pytest.raises(pymysql.err.OperationalError) as refusal:
            cursor.execute("SELECT * FROM shop.orders")
    assert refusal.value.args[0] == ER.TABLEACCESS_DENIED_ERROR
    for name in ("app", "billing", "report", "batch", "admin", user):
        with pytest.raises(pymysql.err.OperationalError):
            database.connect(user=name, password="")


def test_where_only_one_loopback_address_exists_the_client_takes_that() -> None:
    assert loopback_source("db.example.com", 11) == ""
    assert loopback_source("127.0.0.1", 1) == "127.0.0.1"


def test_waiting_for_an_event_that_does_not_come_says_which(workload: Workload) -> None:
    with pytest.raises(TimeoutError, match="admin-console had no event 'error' with error 1317"):
        workload.events.wait_for("admin-console", "error", errno=1317, within=0.05)
    assert isinstance(next(iter(workload.events)), Event)
