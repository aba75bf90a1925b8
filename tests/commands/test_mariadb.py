"""The whole flow on real MariaDBs and on MySQL: listed, looked at and closed through Slack."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from sandbox.databases.embedded import EmbeddedServer
from tests.commands.test_locks import plays_an_incident
from tests.support.charsets import goes_through_everything
from tests.support.documents import grants
from tests.support.servers import EmbeddedMySQL, logins_in_no_hurry
from tests.support.slack_person import buttons_of, options_of, text_of
from tests.support.slack_text import Json
from tests.support.stage import MariaDBStage, MySQLStage, RunningStatement, session_id, staged_as

BOT = "session_bot"


@pytest.fixture(scope="module", params=["mariadb", "mariadb118", "mysql"])
def standing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDBStage]:
    """Give a stage whose bot has a login of its own, as the README wants it."""
    server = request.getfixturevalue(request.param)
    assert isinstance(server, EmbeddedServer)
    on_mysql = isinstance(server, EmbeddedMySQL)
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP USER IF EXISTS {BOT}")
        cursor.execute(f"CREATE USER {BOT} IDENTIFIED BY '{server.password}'")
        for grant in grants("MySQL" if on_mysql else "MariaDB"):
            cursor.execute(f"{grant} TO {BOT}")
    kind = MySQLStage if on_mysql else MariaDBStage
    with staged_as(kind, server, tmp_path_factory.mktemp("bot"), user=BOT, source='kind = "mysql"') as stage:
        yield stage


@pytest.fixture
def stage(standing: MariaDBStage) -> Iterator[MariaDBStage]:
    """Give the standing stage and close afterwards what the test opened on it."""
    yield standing
    standing.tidy()


def cells_of(message: Json) -> dict[str, list[str]]:
    """The columns of the table in a message, by their labels."""
    head, *rows = [line.split(" | ") for line in text_of(message).splitlines() if " | " in line]
    return {label: [row[number] for row in rows] for number, label in enumerate(head)}


def until_innodb_shows(stage: MariaDBStage, waiter: RunningStatement) -> None:
    """Wait until InnoDB shows that this one waits for a lock, and so whatever was begun before.

    Whoever reads its transactions within 0.1 s of another reader is shown the same as that one; the bot
    shares a read of waits for 0.25 s.
    """
    with stage.database.connect() as admin, admin.cursor() as cursor:

        def shown() -> int:
            time.sleep(0.3)
            query = "SELECT 1 FROM information_schema.INNODB_TRX WHERE trx_mysql_thread_id = %s AND trx_state = %s"
            return cursor.execute(query, (waiter.id, "LOCK WAIT"))

        stage.wait_until(shown, "the lock wait")


def test_a_list_shows_times_with_fractions_and_dashes_for_what_mariadb_has_not(stage: MariaDBStage) -> None:
    report = stage.runs("SELECT SLEEP(60), 'secret'", database="depot")
    stage.connect()
    message = stage.asks(stage.alice, "/sessions user=teller active-only", "Sessions on demo")
    cells = cells_of(message)
    assert cells["Session ID"] == [str(report.id)]
    assert cells["SQL"] == ["SELECT SLEEP(?), ?"]
    assert cells["Database Name"] == ["depot"]
    assert (cells["Status"], cells["Command"], cells["OBProxy"]) == (["ACTIVE (User sleep)"], ["Query"], ["-"])
    assert float(cells["Execution Time (s)"][0]) < 60
    assert cells["observer"][0].endswith(f":{stage.database.port}")
    assert "Tenant" not in cells
    stage.asks(stage.alice, "/sessions db=depot status=SLEEP", "No session fits that")


def test_closing_a_query_stops_it_and_leaves_the_session(stage: MariaDBStage) -> None:
    report = stage.runs("SELECT SLEEP(60) FROM depot.stock")
    card = stage.card_of(f"{report.id} query")
    assert "Tenant -" in text_of(card)
    stage.alice.press(card, "Close Query")
    stage.alice.wait_for_change(card, "✅ query closed")
    assert report.ended() == 1317
    assert stage.row(report.id)["COMMAND"] == "Sleep"


def test_the_same_text_run_again_is_another_query_and_is_not_closed(stage: MariaDBStage) -> None:
    first = stage.runs("SELECT SLEEP(60)")
    card = stage.card_of(f"{first.id} query")
    stage.stops(first)
    again = stage.starts(first.connection, "SELECT SLEEP(60)")
    stage.alice.press(card, "Close Query")
    result = stage.alice.wait_for_change(card, "changed, not closed")
    assert "now runs another one" in text_of(result)
    assert again.is_alive()


def test_closing_an_idle_transaction_rolls_it_back_and_frees_who_waits(stage: MariaDBStage) -> None:
    holder = stage.connect(database="depot")
    with holder.cursor() as cursor:
        cursor.execute("UPDATE stock SET quantity = 50 WHERE sku = 3")
        holder.begin()
        cursor.execute("UPDATE stock SET quantity = 7 WHERE sku = 3")
    waiter = stage.runs("UPDATE stock SET quantity = quantity + 1 WHERE sku = 3", database="depot")
    until_innodb_shows(stage, waiter)
    listed = stage.asks(stage.alice, "/sessions user=teller in-transaction status=SLEEP", "Sessions on demo")
    stage.alice.choose(listed, "Pick sessions", options_of(listed, "Pick sessions")[:1])
    card = stage.presses(stage.alice, listed, "Close Session", "Nothing is closed without a press")
    assert f"Close session {session_id(holder)}?" in text_of(card)
    assert "open (RUNNING)" in text_of(card)
    assert "Close Query" not in buttons_of(card)
    stage.alice.press(card, "Close Session")
    stage.alice.wait_for_change(card, "✅ closed")
    assert waiter.ended() == 0
    with stage.database.connect(database="depot") as admin, admin.cursor() as cursor:
        cursor.execute("SELECT quantity FROM stock WHERE sku = 3")
        assert cursor.fetchone() == (51,)


def test_in_the_middle_of_an_incident_the_head_is_named_and_closed(stage: MariaDBStage) -> None:
    plays_an_incident(stage, lambda waiter: until_innodb_shows(stage, waiter))


def test_of_a_queue_for_a_table_the_change_of_it_is_closed_first_and_who_stood_behind_it_goes_on(
    stage: MariaDBStage,
) -> None:
    reader = stage.connect(database="depot")
    reader.begin()
    with reader.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM stock")
    change = stage.runs("ALTER TABLE stock ADD COLUMN colour INT", database="depot")
    until_it_waits(stage, change)
    behind = [stage.runs("SELECT COUNT(*) FROM stock", database="depot") for _ in range(2)]
    for one in behind:
        until_it_waits(stage, one)
    stage.until_read_anew()
    found = stage.asks(stage.alice, "/sessions locks", "Locks on demo")
    assert f"1. Session {change.id} waits itself, and holds up 2 sessions" in text_of(found)
    assert buttons_of(found)[0] == f"Close Query {change.id}"
    card = stage.presses(stage.alice, found, f"Close Query {change.id}", "Nothing is closed without a press")
    stage.alice.press(card, "Close Query")
    stage.alice.wait_for_change(card, "✅ query closed")
    assert [one.ended() for one in behind] == [0, 0]
    assert change.ended() == 1317
    with reader.cursor() as cursor:
        assert cursor.execute("SELECT quantity FROM stock WHERE sku = 1") == 1, "whoever had the table is as before"


def until_it_waits(stage: MariaDBStage, waiter: RunningStatement) -> None:
    told = "Waiting for table metadata lock"
    stage.wait_until(lambda: stage.row(waiter.id)["STATE"] == told, "the table to be waited for")


def test_the_query_of_a_lock_waiter_is_closed_at_once(stage: MariaDBStage) -> None:
    holder = stage.connect(database="depot")
    holder.begin()
    with holder.cursor() as cursor:
        cursor.execute("UPDATE stock SET quantity = 8 WHERE sku = 2")
    waiter = stage.runs("UPDATE stock SET quantity = 9 WHERE sku = 2", database="depot")
    until_innodb_shows(stage, waiter)
    listed = text_of(stage.asks(stage.alice, "/sessions user=teller active-only", "Sessions on demo"))
    assert "🔒 1 of these waits for a row lock, for " in listed
    assert "Details" not in listed.partition("🔒")[2].partition("\n")[0], "which here say nothing of it"
    details = text_of(stage.asks(stage.alice, f"/sessions show {waiter.id}", f"Session {waiter.id} on demo"))
    assert f"held by session {session_id(holder)} (teller from" in details
    until_innodb_shows(stage, waiter)
    card = stage.card_of(f"{waiter.id} query")
    assert "open (LOCK WAIT), waits for a row lock" in text_of(card)
    assert "A transaction that began before it stays open, with its locks." in text_of(card)
    stage.alice.press(card, "Close Query")
    stage.alice.wait_for_change(card, "✅ query closed")
    assert waiter.ended() == 1317


def test_who_waits_for_a_table_is_marked_wherever_it_is_shown_and_found_as_blocked(stage: MariaDBStage) -> None:
    reader = stage.connect(database="depot")
    reader.begin()
    with reader.cursor() as cursor:
        cursor.execute("SELECT * FROM stock")
    waiter = stage.runs("ALTER TABLE stock COMMENT 'x'", database="depot")
    stage.wait_until(lambda: stage.row(waiter.id).get("STATE") == "Waiting for table metadata lock", "the wait")
    listed = stage.asks(stage.alice, "/sessions blocked user=teller", "Sessions on demo")
    assert cells_of(listed)["Status"] == ["ACTIVE 🔒 table metadata lock"]
    said = text_of(listed)
    assert "🔒 1 of these waits for a table metadata lock, for " in said
    assert "in all, 1 active, 1 waiting" in listed["text"]
    assert ", waits for a table metadata lock" in listed["text"]
    details = stage.asks(stage.alice, f"/sessions show {waiter.id}", f"Session {waiter.id} on demo")
    assert "Status ACTIVE, waits for a table metadata lock" in text_of(details)
    assert "waits for a table metadata lock" in details["text"]
    assert "Waiting for a lock 1" in text_of(stage.asks(stage.alice, "/sessions stats", "Session statistics of demo"))
    assert "waits for a table metadata lock" in text_of(stage.card_of(f"{waiter.id} query"))
    none = stage.asks(stage.alice, "/sessions blocked user=nobody", "Sessions on demo")
    assert "1 session waits for a lock, but none that fits the rest. /sessions locks" in text_of(none)
    reader.rollback()
    assert waiter.ended() == 0
    none = stage.asks(stage.alice, "/sessions user=teller waiting", "No session waits for a lock.")
    assert "fits" not in text_of(none)


def test_the_servers_own_threads_and_the_bots_login_are_never_closed(stage: MariaDBStage) -> None:
    with stage.database.connect() as admin, admin.cursor() as cursor:
        cursor.execute("SET GLOBAL event_scheduler = ON")
        try:
            cursor.execute("SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'event_scheduler'")
            ((daemon,),) = cursor.fetchall()
            stage.asks(stage.alice, f"/kill-session {daemon}", "a thread of the server itself or of replication")
        finally:
            cursor.execute("SET GLOBAL event_scheduler = OFF")
        cursor.execute("SELECT ID FROM information_schema.PROCESSLIST WHERE USER = %s", (BOT,))
        own = cursor.fetchall()[0][0]
    stage.asks(stage.alice, f"/kill-session {own}", "one of this bot's own")
    assert stage.row(own)


def test_a_protected_user_wants_the_override_in_a_routine_of_somebody_else_as_well(stage: MariaDBStage) -> None:
    with stage.database.connect() as admin, admin.cursor() as cursor:
        cursor.execute("DROP PROCEDURE IF EXISTS depot.tidy")
        cursor.execute("CREATE DEFINER = teller PROCEDURE depot.tidy() SELECT SLEEP(60) FROM depot.stock")
    call = stage.runs("CALL depot.tidy()", user="guarded", database="depot")
    told = stage.asks(stage.alice, f"/kill-session {call.id}", "closing it could harm the cluster")
    assert "protected" in text_of(told)
    listed = stage.asks(stage.alice, f"/sessions id={call.id}", "Sessions on demo")
    assert cells_of(listed)["User"] in (["guarded"], ["in a routine of teller"])
    assert stage.row(call.id)["COMMAND"] == "Query"


def test_a_statement_that_is_no_utf8_is_listed_shown_found_and_closed(stage: MariaDBStage) -> None:
    goes_through_everything(stage, "This ends within a literal" if isinstance(stage, MySQLStage) else "\ufffd gbk")


def test_who_has_not_logged_in_yet_is_told_as_such_and_only_the_session_can_be_closed(stage: MariaDBStage) -> None:
    address = stage.database.host, stage.database.port
    with logins_in_no_hurry(stage.database), socket.create_connection(address) as stranger:
        stranger.recv(512)
        listed = stage.asks(stage.alice, "/sessions user=unauthenticated", "Sessions on demo")
        cells = cells_of(listed)
        assert cells["Status"] == ["INIT, not logged in yet"]
        number = cells["Session ID"][0]
        refused = stage.asks(stage.alice, f"/kill-session {number} query", "has not logged in yet")
        assert "no query" in text_of(refused)
        stage.asks(stage.alice, "/kill-session where user=unauthenticated query", "No session that runs a query")
        card = stage.card_of(number)
        assert "Close Query" not in buttons_of(card)
        assert "a client that has not logged in yet" in text_of(card)
        assert "query is stopped" not in text_of(card)
        stage.alice.press(card, "Close Session")
        stage.alice.wait_for_change(card, "✅ closed")
