"""What a session's request is on real kernels: its time and its text, through retries, routines and packets."""

from __future__ import annotations

import contextlib
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pymysql
import pytest
from pymysql.constants import CLIENT

from bot.sessions.model import Condition, Field, Mode, Operator, Pin, Session, SessionFilter, SessionQuery, Sort
from bot.sessions.oceanbase.dialect import _expressions
from bot.sessions.source import DataSource
from bot.sessions.statement import Disclosure
from bot.sessions.statistics import Grouping
from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.sessions.conftest import PASSWORD, Make, read_until
from tests.sessions.examples import inner_of, length_of, sql_id_of, sql_of
from tests.support.patience import PATIENCE
from tests.support.sessions import transaction_state
from tests.support.stage import APP_PASSWORD, RunningStatement, accounts, session_id, still_there

ROUTINES = (
    "PROCEDURE settle(card VARCHAR(20)) BEGIN SELECT SLEEP(0.4); SELECT SLEEP(60), 'pin 8473'; END",
    "PROCEDURE outer_one(card VARCHAR(20)) BEGIN CALL settle('inner card'); END",
    "FUNCTION counted(n INT) RETURNS INT BEGIN DECLARE x INT; SELECT SLEEP(60) INTO x; RETURN n; END",
    "PROCEDURE spin() BEGIN DECLARE i BIGINT DEFAULT 0; WHILE i < 1000000000 DO SET i = i + 1; END WHILE; END",
    "PROCEDURE either() BEGIN IF @late THEN SELECT SLEEP(60), 2; ELSE SELECT SLEEP(60), 1; END IF; END",
    "PROCEDURE takes_it() BEGIN SELECT SLEEP(0.1); UPDATE stock SET quantity = 5 WHERE sku = 3; END",
    "PROCEDURE waits() BEGIN SELECT SLEEP(0.1); UPDATE stock SET quantity = 5 WHERE sku = 2; SELECT SLEEP(60); END",
    "PROCEDURE dynamic() BEGIN PREPARE one FROM 'SELECT SLEEP(60), ''pin 8473'''; EXECUTE one; END",
)
CALL = "CALL settle('card 4711')"


class Floor:
    """Where applications work; what they began is ended after the test."""

    def __init__(self, database: EmbeddedOceanBase) -> None:
        self.database = database
        self._opened: list[pymysql.Connection[Any]] = []
        self._statements: list[RunningStatement] = []

    def connect(self, **more: Any) -> pymysql.Connection[Any]:
        client = pymysql.connect(
            host=self.database.host,
            port=self.database.port,
            user="teller",
            password=APP_PASSWORD,
            database="depot",
            autocommit=True,
            ssl_disabled=True,
            **more,
        )
        self._opened.append(client)
        with client.cursor() as cursor:
            cursor.execute("SET ob_query_timeout = 600000000")
        self._until_idle(client)
        return client

    def starts(self, sql: str, client: pymysql.Connection[Any] | None = None) -> RunningStatement:
        """Start a statement, by default on a session of its own, and return once the server shows it."""
        if client is None:
            client = self.connect()
        else:
            self._until_idle(client)
        statement = RunningStatement(client, sql)
        self._statements.append(statement)
        until(lambda: self.row(statement.id).get("COMMAND") == "Query")
        return statement

    def _until_idle(self, client: pymysql.Connection[Any]) -> None:
        """Wait until the server shows that, a moment after the client has the answer to what it ran before."""
        until(lambda: self.row(session_id(client)).get("COMMAND") == "Sleep")

    def calls(self, sql: str = CALL) -> RunningStatement:
        """Start a call and return once it has been longer in the routine than in the statement that runs there."""
        call = self.starts(sql)
        until(lambda: self.row(call.id)["TOP_INFO"] is not None and _ahead(self.row(call.id)) > 0.3)
        return call

    def reaches(self, statement: RunningStatement, inner: str) -> None:
        """Wait until what runs of a statement begins so, for longer than it would be prepared for."""

        def runs() -> bool:
            row = self.row(statement.id)
            return str(row["INFO"]).lower().startswith(inner) and float(row["TOTAL_TIME"]) > 0.1

        until(runs)

    def row(self, session: int) -> dict[str, Any]:
        """Return the server's own row of a session."""
        with self.database.connect() as admin, admin.cursor(pymysql.cursors.DictCursor) as cursor:
            cursor.execute("SELECT * FROM oceanbase.V$OB_PROCESSLIST WHERE id = %s", (session,))
            return dict(cursor.fetchone() or {})

    def tidy(self) -> None:
        running = [one for one in self._statements if one.is_alive()]
        idle = {*self._opened} - {one.connection for one in running}
        for client in idle:
            with contextlib.suppress(pymysql.Error):  # which gives the locks free that statements wait for
                client.close()
        with self.database.connect() as admin, admin.cursor() as cursor:
            for one in running:
                with contextlib.suppress(pymysql.Error):  # it ended by itself
                    cursor.execute(f"KILL {one.id}")
        for one in running:
            one.join(PATIENCE)
            with contextlib.suppress(pymysql.Error):
                one.connection.close()
        until(lambda: not still_there(self.database, self._opened))


def _ahead(row: dict[str, Any]) -> float:
    return float(row["TIME"]) - float(row["TOTAL_TIME"])


def until(condition: Callable[[], object]) -> None:
    """Ask the database until it is so; each question takes some milliseconds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never came true"


@pytest.fixture
def floor(database: EmbeddedOceanBase) -> Iterator[Floor]:
    accounts(database)
    if database not in _WITH_ROUTINES:
        with database.connect(database="depot") as admin, admin.cursor() as cursor:
            for text in ROUTINES:
                cursor.execute(f"CREATE {text}")
            cursor.execute("CREATE TABLE journal (entry INT)")
            cursor.execute(
                "CREATE TRIGGER slow_entry BEFORE INSERT ON journal FOR EACH ROW "
                "BEGIN DECLARE x INT; SELECT SLEEP(60) INTO x; END"
            )
        _WITH_ROUTINES.add(database)
    set_up = Floor(database)
    yield set_up
    set_up.tidy()


_WITH_ROUTINES: weakref.WeakSet[EmbeddedOceanBase] = weakref.WeakSet()


def one(prod: DataSource, session: int) -> Session:
    (found,) = prod.find(session, None)
    return found


def listed(prod: DataSource, *conditions: Condition, **more: Any) -> list[int]:
    of_tellers = Condition(Field.USER, Operator.EXACTLY, ("teller",))
    query = SessionQuery(filter=SessionFilter((of_tellers, *conditions)), limit=50, **more)
    return [session.id for session in prod.page(query, None, Disclosure.ALL_BUT_PASSWORDS).sessions]


def longer_than(seconds: float) -> Condition:
    return Condition(Field.TIME, Operator.ABOVE, (seconds,))


def by_sql(*texts: str, operator: Operator = Operator.CONTAINS) -> Condition:
    return Condition(Field.SQL, operator, texts)


def retried(floor: Floor) -> tuple[RunningStatement, RunningStatement]:
    """Return a statement that waits for a row for more than a second, its TIME started anew since, and a younger one.

    The server runs a waiter anew when the row has gone to another one that waited before it.
    """
    holder, next_one = floor.connect(), floor.connect()
    for client in (holder, next_one):
        client.begin()
    with holder.cursor() as cursor:
        cursor.execute("UPDATE stock SET quantity = 1 WHERE sku = 3")
    floor.starts("UPDATE stock SET quantity = 2 WHERE sku = 3", next_one)
    until(lambda: floor.row(session_id(next_one)).get("RETRY_INFO") == -6005)
    waiter = floor.starts("UPDATE stock SET quantity = 3 WHERE sku = 3")
    until(lambda: floor.row(waiter.id).get("RETRY_INFO") == -6005)
    until(lambda: float(floor.row(waiter.id)["TIME"]) > 0.5)
    younger = floor.starts("SELECT SLEEP(60)")
    until(lambda: float(floor.row(waiter.id)["TIME"]) > 1.3)  # TOTAL_TIME begins some hundredths later
    holder.rollback()
    until(lambda: _ahead(floor.row(waiter.id)) < -0.8)  # it has been run anew
    until(lambda: floor.row(waiter.id)["RETRY_INFO"] == -6005)  # and waits again
    return waiter, younger


def test_a_statement_that_waited_through_the_servers_retries_has_the_time_since_it_arrived(
    floor: Floor, source: Make
) -> None:
    prod = source()
    waiter, younger = retried(floor)
    anew = float(floor.row(waiter.id)["TIME"])
    waiting = one(prod, waiter.id)
    assert max(1.2, anew) < waiting.time
    assert waiting.waits
    order = listed(prod)
    assert order.index(waiter.id) < order.index(younger.id), "the one that came later stands below it"
    assert waiter.id in listed(prod, longer_than(1.2))
    assert waiter.id not in listed(prod, Condition(Field.TIME, Operator.BELOW, (1.2,)))
    assert listed(prod, sort=Sort(Field.TIME, descending=True)).index(waiter.id) < order.index(younger.id)
    tellers = SessionFilter((Condition(Field.USER, Operator.EXACTLY, ("teller",)),))
    assert prod.statistics(SessionQuery(filter=tellers), Grouping.USER, None).longest_active > 1.2


def test_a_query_that_was_killed_and_still_waits_keeps_the_time_since_it_arrived(floor: Floor, source: Make) -> None:
    prod = source()
    waiter, _ = retried(floor)
    with prod.console() as console:
        console.kill(one(prod, waiter.id), Mode.QUERY)
        killed = next(iter(console.find(waiter.id)))
    assert killed.state == "QUERY_KILLED"
    assert killed.time > 1.2


def test_an_idle_session_has_the_time_that_it_is_idle_for_be_its_query_killed_or_not(
    floor: Floor, source: Make
) -> None:
    prod = source()
    number = session_id(floor.connect())
    for state in ("SLEEP", "QUERY_KILLED"):
        found = one(prod, number)
        assert (found.state, found.running) == (state, False)
        assert found.time <= float(floor.row(number)["TIME"])
        with floor.database.connect() as admin, admin.cursor() as cursor:
            cursor.execute(f"KILL QUERY {number}")


def test_in_a_routine_the_time_is_that_of_the_whole_call(floor: Floor, source: Make) -> None:
    prod = source()
    call = floor.calls()
    row, found = floor.row(call.id), one(prod, call.id)
    assert float(row["TOTAL_TIME"]) + 0.3 < float(row["TIME"]) <= found.time
    assert found.total_time < found.time, "that of the statement in it"
    assert call.id in listed(prod, longer_than(float(row["TIME"])))


def test_of_several_statements_in_one_packet_the_time_is_since_the_packet_arrived(floor: Floor, source: Make) -> None:
    prod = source()
    packet = floor.starts("SELECT SLEEP(0.5); SELECT SLEEP(60)", floor.connect(client_flag=CLIENT.MULTI_STATEMENTS))
    until(lambda: "60" in str(floor.row(packet.id)["INFO"]))
    anew = float(floor.row(packet.id)["TIME"])
    found = one(prod, packet.id)
    assert "60" in (sql_of(found) or "")
    assert found.time >= anew + 0.4


@pytest.mark.parametrize(
    "asked",
    [
        CALL,
        "CALL outer_one('card 4711')",
        "SELECT counted(4711)",
        "INSERT INTO journal VALUES (4711)",
        "CALL dynamic()",
    ],
    ids=["call", "call in a call", "function", "trigger", "dynamic"],
)
def test_what_the_client_asked_for_is_shown_and_beside_it_what_runs_of_it_now(
    floor: Floor, source: Make, asked: str
) -> None:
    prod = source()
    statement = floor.starts(asked)
    floor.reaches(statement, "select sleep(60)")
    row, found = floor.row(statement.id), one(prod, statement.id)
    assert (sql_of(found), length_of(found)) == (asked, len(asked))
    assert inner_of(found) == row["INFO"]
    # The server's, which changes to the inner one's some moments after INFO does.
    until(lambda: sql_id_of(one(prod, statement.id)) == floor.row(statement.id)["SQL_ID"])
    query = SessionQuery(filter=SessionFilter((Condition(Field.ID, Operator.CONTAINS, (statement.id,)),)))
    (in_a_list,) = prod.page(query, None).sessions
    assert (sql_of(in_a_list), inner_of(in_a_list)) == (sql_of(found), inner_of(found))


def test_before_and_after_a_routine_and_between_its_statements_there_is_no_inner_one(
    floor: Floor, source: Make
) -> None:
    prod = source()
    spinning = floor.starts("CALL spin()")
    until(lambda: floor.row(spinning.id)["TOP_INFO"] is not None)
    found = one(prod, spinning.id)
    assert (floor.row(spinning.id)["INFO"], sql_of(found), inner_of(found)) == ("", "CALL spin()", None)
    client = floor.connect()
    with client.cursor() as cursor, pytest.raises(pymysql.MySQLError):
        cursor.execute("CALL no_such_routine()")
    with floor.database.connect() as admin, admin.cursor() as cursor:
        stopped = floor.starts(CALL, client)
        until(lambda: floor.row(stopped.id)["TOP_INFO"] is not None)
        cursor.execute(f"KILL QUERY {stopped.id}")
        assert stopped.ended() == 1317
    plain = floor.starts("SELECT SLEEP(60), 'after it'", client)
    found = one(prod, plain.id)
    assert (sql_of(found), inner_of(found)) == ("SELECT SLEEP(60), 'after it'", None)


def test_a_call_is_the_same_request_while_one_statement_of_it_follows_another(floor: Floor, source: Make) -> None:
    prod = source()
    holder = floor.connect()
    holder.begin()
    with holder.cursor() as cursor:
        cursor.execute("UPDATE stock SET quantity = 0 WHERE sku = 2")
    call = floor.starts("CALL waits()")
    floor.reaches(call, "update stock")
    pin = Pin.of(one(prod, call.id))
    holder.rollback()
    floor.reaches(call, "select sleep(60)")
    now = one(prod, call.id)
    assert inner_of(now) != inner_of(pin.session)
    assert pin.same_request(now)


def test_a_call_is_found_by_its_own_words_and_by_those_of_what_runs_in_it(floor: Floor, source: Make) -> None:
    prod = source()
    call, other = floor.calls(), floor.starts("SELECT SLEEP(60), 'something else'")
    inner = str(floor.row(call.id)["INFO"])
    for words in ("settle", "SETTLE('card", "pin 8473", "nowhere"):
        expected = [] if words == "nowhere" else [call.id]
        assert [one for one in listed(prod, by_sql(words)) if one != other.id] == expected, words
        anywhere = Condition(Field.ANY, Operator.CONTAINS, (words,))
        assert listed(prod, anywhere) == expected, words
        assert (call.id in listed(prod, by_sql(words, operator=Operator.NOT))) is (not expected), words
    assert listed(prod, by_sql("settle", "something else")) == [call.id, other.id]
    assert listed(prod, by_sql(CALL.lower(), operator=Operator.EXACTLY)) == [call.id]
    assert listed(prod, by_sql(inner, operator=Operator.EXACTLY)) == [call.id]
    assert call.id not in listed(prod, by_sql("-", operator=Operator.EXACTLY)), "it has a statement"
    idle = session_id(floor.connect())
    assert listed(prod, by_sql("-", operator=Operator.EXACTLY)) == [idle]


def test_calls_are_sorted_by_their_own_text_and_those_of_one_text_by_what_runs_in_them(
    floor: Floor, source: Make
) -> None:
    prod = source()
    clients = [floor.connect(), floor.connect()]
    with clients[0].cursor() as cursor:
        cursor.execute("SET @late = 1")
    late, early = (floor.starts("CALL either()", client) for client in clients)
    first = floor.starts("CALL dynamic()")
    for call in (late, early, first):
        floor.reaches(call, "select sleep(60)")
    assert listed(prod, sort=Sort(Field.SQL)) == [first.id, early.id, late.id]
    assert listed(prod, sort=Sort(Field.SQL, descending=True)) == [late.id, early.id, first.id]


def test_statements_are_counted_by_the_text_that_their_sql_id_names_and_calls_are_told(
    floor: Floor, source: Make
) -> None:
    prod = source()
    call = floor.calls()
    plain = floor.starts("SELECT SLEEP(60)")
    tellers = SessionFilter((Condition(Field.USER, Operator.EXACTLY, ("teller",)),))
    row = floor.row(call.id)
    everything = Disclosure.ALL_BUT_PASSWORDS  # the id of a routine's statement has its literals in it
    counted = prod.statistics(SessionQuery(filter=tellers), Grouping.SQL_ID, None, everything, everything)
    groups = {one.name: one for one in counted.groups}
    inside = groups[row["SQL_ID"]]
    assert sql_of(inside) == row["INFO"]
    assert (inside.in_routines, inside.total) == (1, 1)
    assert inside.longest >= float(row["TIME"]), "the whole call's"
    assert groups[floor.row(plain.id)["SQL_ID"]].in_routines == 0


def test_where_the_server_does_not_tell_the_callers_text_the_statement_is_as_it_says(
    database: EmbeddedOceanBase,
) -> None:
    older = _expressions(frozenset({"HOST", "TIME", "INFO"}))
    assert (older["time"], older["sql_text"], older["inner_sql"]) == ("TIME", "CAST(INFO AS BINARY)", "NULL")
    middle = _expressions(frozenset({"HOST", "TIME", "TOTAL_TIME", "INFO", "TRACE_ID"}))
    row = "'{command}' AS COMMAND, {time} AS TIME, {total} AS TOTAL_TIME"
    with database.connect() as connection, connection.cursor() as cursor:
        for command, time, total, expected in (
            ("Query", 8, 33, 33),
            ("Query", 8.1, 0.05, 8.1),
            ("Sleep", 8, 33, 8),
            ("Query", 8, "NULL", 8),
        ):
            said = row.format(command=command, time=time, total=total)
            cursor.execute(f"SELECT {middle['time']} FROM (SELECT {said}) t")
            assert float(cursor.fetchone()[0]) == expected  # type: ignore[index]  # there is one row


def test_a_login_that_sees_only_the_list_of_last_resort_pins_a_query_by_its_start(
    floor: Floor, source: Make, user: str
) -> None:
    limited = source(user=user, password=PASSWORD)
    client = floor.connect()
    first = floor.starts("SELECT SLEEP(60)", client)
    until(lambda: float(floor.row(first.id)["TIME"]) > 2.6)  # told as 3
    before = one(limited, first.id)
    assert before.trace_id is None
    assert before.request_started is not None
    assert before.request_started_within == 1.0
    again = one(limited, first.id)
    assert Pin.of(before).same_request(again)
    with floor.database.connect() as admin, admin.cursor() as cursor:
        cursor.execute(f"KILL QUERY {first.id}")
        assert first.ended() == 1317
        floor.starts("SELECT SLEEP(60)", client)
    assert not Pin.of(before).same_request(one(limited, first.id)), "the same text, and another run of it"


def test_a_statement_in_a_transaction_that_autocommit_off_began_before_it_is_not_alone_in_it(
    floor: Floor, source: Make
) -> None:
    prod = source()
    client = floor.connect()
    with client.cursor() as cursor:
        cursor.execute("SET autocommit = 0")
        cursor.execute("UPDATE stock SET quantity = 6 WHERE sku = 3")
    until(lambda: float(floor.row(session_id(client))["TIME"]) > 1.2)
    running = floor.starts("SELECT SLEEP(60)", client)
    found = one(prod, running.id)
    assert (transaction_state(found), found.in_transaction) == ("IMPLICIT_ACTIVE", True)
    assert not found.statement_transaction, "closing the session rolls back what stood there before"
    waiter = floor.starts("UPDATE stock SET quantity = 7 WHERE sku = 3")
    until(lambda: floor.row(waiter.id).get("RETRY_INFO") == -6005)
    # Until it is in a queue, the server runs it anew again and again, each time in a transaction of its own.
    alone = read_until(lambda: one(prod, waiter.id), lambda now: transaction_state(now) == "IMPLICIT_ACTIVE")
    assert (transaction_state(alone), alone.statement_transaction) == ("IMPLICIT_ACTIVE", True)
    explicit = floor.connect()
    explicit.begin()
    floor.starts("SELECT SLEEP(60)", explicit)
    assert not one(prod, session_id(explicit)).statement_transaction


def test_a_number_that_is_ready_for_the_next_transaction_is_none(floor: Floor, source: Make) -> None:
    prod = source()
    client = floor.connect()
    with client.cursor() as cursor:
        cursor.execute("SET autocommit = 0")
        cursor.execute("SAVEPOINT here")
    assert floor.row(session_id(client))["TRANS_ID"]
    assert not one(prod, session_id(client)).in_transaction
    with client.cursor() as cursor:
        cursor.execute("UPDATE stock SET quantity = 6 WHERE sku = 3")
    assert one(prod, session_id(client)).in_transaction


def test_a_call_that_waits_for_a_row_in_autocommit_has_no_transaction_that_outlives_it(
    floor: Floor, source: Make
) -> None:
    """The server runs the statement anew thousands of times a second there, each time in a transaction of its own."""
    prod = source()
    holder = floor.connect()
    holder.begin()
    with holder.cursor() as cursor:
        cursor.execute("UPDATE stock SET quantity = 4 WHERE sku = 3")
    call = floor.starts("CALL takes_it()")
    floor.reaches(call, "update stock")
    seen = [one(prod, call.id) for _ in range(20)]
    ended = ("IN_TERMINATE", "ROLLED_BACK")  # there is nothing that a KILL could roll back
    kept = [found for found in seen if found.in_transaction and transaction_state(found) not in ended]
    assert all(found.statement_transaction for found in kept)
