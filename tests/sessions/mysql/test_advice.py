"""What is advised on real MariaDBs and MySQLs is done: who waited goes on, and bystanders stay."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pymysql.cursors
import pytest

from bot.closing.advice import Adviser
from bot.closing.store import Store
from bot.closing.store.database import Database
from bot.sessions.kill import NotSent, Why
from bot.sessions.model import Session
from bot.sessions.service import SessionService
from bot.sessions.source import DataSource
from bot.sessions.waits.advice import Action, Advice
from bot.sessions.waits.graph import Prepared
from sandbox.databases.embedded import EmbeddedServer
from tests.sessions.conftest import Make, one, until
from tests.sessions.test_kill import close
from tests.support.stage import RunningStatement, session_id
from tests.support.waiting import Scene, is_mysql, waiting

LARGE = 400_000  # rows, which take a second and more to be rolled back


def change(row: int) -> str:
    return f"UPDATE stock SET quantity = quantity + 1 WHERE sku = {row}"


@pytest.fixture
def scene(server: EmbeddedServer, logins: str) -> Iterator[Scene]:
    """Give a scene with a table of ten rows, and sessions that may lock all tables."""
    assert logins
    it = Scene(server)
    it.root(
        f"INSERT INTO mysql_test.stock VALUES {', '.join(f'({number}, 1)' for number in range(2, 11))}",
        "GRANT RELOAD ON *.* TO mysql_app",
    )
    yield it
    it.tidy()


class Advised:
    """An adviser on one data source, and what it says."""

    def __init__(self, crm: DataSource, store: Store) -> None:
        self.crm = crm
        self.adviser = Adviser(lambda: SessionService([crm]), store, lambda: datetime.now(UTC))

    def on(self, who: Session | Prepared, waiters: int) -> Advice:
        """Say what is advised once so many wait."""
        return self.adviser.advise(waiting(self.crm, waiters), who)

    def on_session(self, number: int, waiters: int) -> Advice:
        graph = waiting(self.crm, waiters)
        return self.adviser.advise(graph, one(self.crm, number))


@pytest.fixture
def advised(crm_source: Make, tmp_path: Path) -> Iterator[Advised]:
    database = Database(f"sqlite:///{tmp_path / 'store.db'}")
    database.create()
    yield Advised(crm_source(), Store(database))
    database.close()


def test_an_idle_holder_is_closed_whoever_waits_behind_its_victims(scene: Scene, advised: Advised) -> None:
    bystander, pool = scene.client("BEGIN", change(9)), scene.client("SELECT 1")
    holder = scene.client("BEGIN", change(1))
    middle = scene.runs("BEGIN", change(2), change(1))
    last = scene.runs(change(2))
    victim = advised.on_session(last.id, 2)
    assert (victim.action, [one.id for one in victim.instead if isinstance(one, Session)]) == (
        Action.CLOSE_BLOCKER,
        [session_id(holder)],
    )
    assert victim.reason.startswith("It waits itself: closing it frees nobody.")
    assert advised.on_session(middle.id, 2).reason.startswith("It waits itself: closing it frees only the one behind")
    found = advised.on_session(session_id(holder), 2)
    assert (found.action, found.held_up) == (Action.CLOSE_SESSION, 2)
    assert "Closing it frees 2 sessions. Close Query would do nothing." in found.reason
    for client in (bystander, pool):
        assert advised.on_session(session_id(client), 2).held_up == 0
    scene.root(f"KILL QUERY {session_id(holder)}")
    until(lambda: is_mysql(scene) or one(advised.crm, session_id(holder)).query_closed)
    after = advised.on_session(session_id(holder), 2)
    assert after.action is Action.CLOSE_SESSION
    assert is_mysql(scene) or after.reason.startswith("Its query was closed, which does nothing to an idle transaction")
    scene.close(holder)
    assert middle.ended() == 0
    middle.connection.rollback()
    assert last.ended() == 0
    for client in (bystander, pool):
        client.ping(reconnect=False)


def test_what_runs_within_a_transaction_is_closed_and_what_it_waits_for_alone_would_not_do(
    scene: Scene,
    advised: Advised,
) -> None:
    holder = scene.runs("BEGIN", change(1), "DO SLEEP(1.2)", "SELECT SLEEP(600)")
    waiter = scene.runs(change(1))
    found = advised.on_session(holder.id, 1)
    assert found.action is Action.CLOSE_SESSION
    assert found.reason.startswith("Its transaction began ")
    assert found.reason.endswith(" before this statement. Closing it frees 1 session. Close Query would keep the lock.")
    scene.root(f"KILL QUERY {holder.id}")
    assert holder.ended() in (0, 1317)
    assert waiter.is_alive(), "its query alone frees nobody"
    scene.close(holder)
    assert waiter.ended() == 0


def test_a_prepared_transaction_that_no_session_has_is_nobodys_to_close(scene: Scene, advised: Advised) -> None:
    client = scene.client("XA START 'advised'", change(1), "XA END 'advised'", "XA PREPARE 'advised'")
    try:
        scene.close(client)
        until(lambda: not advised.crm.find(session_id(client), None))
        waiter = scene.runs(change(1))
        (wait,) = waiting(advised.crm, 1).waits
        assert isinstance(wait.holder, Prepared)
        assert advised.on(wait.holder, 1).action is Action.NOTHING
        victim = advised.on_session(waiter.id, 1)
        assert (victim.action, len(victim.instead)) == (Action.NOTHING, 1)
        assert "XA COMMIT or XA ROLLBACK" in victim.then
    finally:
        scene.root("XA ROLLBACK 'advised'")
    assert waiter.ended() == 0


def changed(scene: Scene) -> int:
    """How many rows some transaction has changed."""
    with scene.server.connect() as root, root.cursor() as cursor:
        cursor.execute("SELECT COALESCE(MAX(trx_rows_modified), 0) FROM information_schema.INNODB_TRX")
        return int((cursor.fetchone() or (0,))[0])


@pytest.mark.parametrize("server", ["mariadb", "mysql"], indirect=True)
def test_what_somebody_else_has_closed_and_is_rolled_back_is_not_closed_again(scene: Scene, advised: Advised) -> None:
    crm = advised.crm
    scene.root("CREATE TABLE mysql_test.large (id INT PRIMARY KEY AUTO_INCREMENT, note CHAR(100)) ENGINE=InnoDB")
    digits = ", ".join(f"stock AS digit{number}" for number in range(7))
    victim = scene.runs("BEGIN", change(1), f"INSERT INTO large (note) SELECT REPEAT('x', 100) FROM {digits}")
    waiter = scene.runs(change(1))
    waiting(crm, 1)
    until(lambda: changed(scene) > LARGE)
    card = one(crm, victim.id)
    scene.close(victim)  # MySQL goes on to show the statement
    until(lambda: one(crm, victim.id).ending)
    with crm.console() as console:
        sent = close(console, card)
    assert isinstance(sent, NotSent)
    assert sent.why is Why.ENDING
    refused = advised.adviser.already_closed(one(crm, victim.id), None)
    counted = re.search(
        r"what it has changed is being rolled back \(rows left ([\d,]+) of ([\d,]+), about",
        refused.sentence,
        re.IGNORECASE,
    )
    assert counted is not None, refused.sentence
    left, most = (int(number.replace(",", "")) for number in counted.groups())
    assert 0 < left < most
    assert (refused.by, refused.at) == ("", None)
    assert waiter.ended() == 0


@pytest.mark.parametrize("server", ["mariadb", "mysql"], indirect=True)
def test_a_change_of_a_table_in_a_queue_is_given_up_or_what_it_waits_for_is_stopped(
    scene: Scene, advised: Advised
) -> None:
    reader = scene.runs("SELECT SLEEP(600) FROM stock")
    ddl = scene.runs("ALTER TABLE stock ADD COLUMN colour INT")
    waiting(advised.crm, 1)
    behind = [scene.runs("SELECT * FROM stock"), scene.runs(change(1))]
    found = advised.on_session(ddl.id, 3)
    assert found.action is Action.CLOSE_QUERY
    assert "and 2 sessions behind it: closing its query frees them and loses only the ALTER" in found.reason
    assert [one.id for one in found.instead if isinstance(one, Session)] == [reader.id]
    assert f"Session {reader.id} of mysql_app: Close Query." in found.then
    victim = advised.on_session(behind[0].id, 3)
    assert victim.action is Action.CLOSE_BLOCKER
    scene.root(f"KILL QUERY {ddl.id}")
    assert [one.ended() for one in behind] == [0, 0]
    assert reader.is_alive()
    assert ddl.ended() == 1317
    again = scene.runs("ALTER TABLE stock ADD COLUMN colour INT")
    head = advised.on_session(reader.id, 1)
    assert head.action is Action.CLOSE_QUERY
    scene.root(f"KILL QUERY {reader.id}")
    assert again.ended() == 0


@pytest.mark.parametrize("server", ["mariadb", "mysql"], indirect=True)
def test_what_rests_with_a_lock_of_its_session_is_closed_though_it_has_no_transaction(
    scene: Scene, advised: Advised
) -> None:
    scene.client("BEGIN", "SELECT * FROM stock")
    for lock, wants, kind in (
        ("FLUSH TABLES WITH READ LOCK", change(1), "lock"),
        ("SELECT GET_LOCK('advised', 1)", "SELECT GET_LOCK('advised', 600)", "user lock"),
    ):
        holder = scene.client(lock)
        waiter = scene.runs(wants)
        until(lambda: waiter.id in {one.waiter.id for one in advised.crm.waits().waits})  # noqa: B023
        victim = advised.on_session(waiter.id, 1)
        found = advised.on_session(session_id(holder), 1)
        if not is_mysql(scene) and kind == "lock":  # no view tells it without the plugin
            assert (victim.action, victim.instead) == (Action.UNKNOWN, ())
            assert f"session {session_id(holder)} of mysql_app" in victim.reason.lower()
            assert found.action is Action.UNKNOWN
            assert "INSTALL SONAME 'metadata_lock_info'" in found.reason
        else:
            assert victim.action is Action.CLOSE_BLOCKER
            assert session_id(holder) in [one.id for one in victim.instead if isinstance(one, Session)]
            assert found.action is Action.CLOSE_SESSION
            assert "Close Query would do nothing." in found.reason
        assert found.reason.startswith(("It is idle and holds a ", "It is idle and may hold a "))
        assert f"{kind}." in found.reason
        scene.close(holder)
        assert waiter.ended() == 0


@pytest.mark.parametrize("server", ["mysql"], indirect=True)
def test_the_query_of_what_the_server_calls_autocommit_is_enough(scene: Scene, advised: Advised) -> None:
    holder = scene.runs("UPDATE stock SET quantity = quantity + SLEEP(600) WHERE sku = 1")
    until(lambda: one(advised.crm, holder.id).in_transaction)
    alone = advised.on_session(holder.id, 0)
    assert (alone.action, alone.reason) == (
        Action.CLOSE_QUERY,
        "Its statement is all of its transaction: Close Query suffices; the client stays connected.",
    )
    waiter = scene.runs(change(1))
    found = advised.on_session(holder.id, 1)
    assert found.action is Action.CLOSE_QUERY
    assert "Its statement is all of its transaction: Close Query suffices and frees 1 session" in found.reason
    scene.root(f"KILL QUERY {holder.id}")
    assert waiter.ended() == 0


@pytest.mark.parametrize("server", ["mariadb"], indirect=True)
def test_what_sends_rows_that_its_client_does_not_take_is_ended_by_its_session_alone(
    scene: Scene, advised: Advised
) -> None:
    report = scene.client()
    rows = report.cursor(pymysql.cursors.SSCursor)
    rows.execute("SELECT REPEAT('x', 10000) FROM stock JOIN stock AS b JOIN stock AS c JOIN stock AS d")
    until(lambda: one(advised.crm, session_id(report)).sends)
    ddl = scene.runs("ALTER TABLE stock COMMENT 'x'")
    found = advised.on_session(session_id(report), 1)
    assert found.action is Action.CLOSE_SESSION
    assert "closing the query does not end it" in found.reason
    scene.root(f"KILL QUERY {session_id(report)}")
    until(lambda: advised.on_session(session_id(report), 1).action is Action.CLOSE_SESSION)
    assert ddl.is_alive(), "its rows wait for its client as before"
    scene.close(report)
    assert ddl.ended() == 0
    vars(report)["_result"].unbuffered_active = False  # else PyMySQL reads the rest


@pytest.mark.parametrize("server", ["mysql"], indirect=True)
def test_a_transaction_keeps_tables_of_other_engines_than_innodb_whose_list_does_not_show_it(
    scene: Scene, advised: Advised
) -> None:
    scene.root("CREATE TABLE mysql_test.colours (name CHAR(9)) ENGINE = MEMORY")
    try:
        holder = scene.runs("BEGIN", "SELECT * FROM colours", "SELECT SLEEP(600)")
        ddl = scene.runs("ALTER TABLE colours ADD COLUMN code INT")
        found = advised.on_session(holder.id, 1)
        assert not one(advised.crm, holder.id).in_transaction
        assert (found.action, found.reason.partition(".")[0]) == (
            Action.CLOSE_SESSION,
            "Its client has begun a transaction",
        )
        scene.root(f"KILL QUERY {holder.id}")
        holder.ended()
        waiting(advised.crm, 1)
        assert ddl.is_alive(), "its query is not what has the table"
        scene.close(holder)
        assert ddl.ended() == 0
    finally:
        scene.tidy()
        scene.root("DROP TABLE mysql_test.colours")


@pytest.mark.parametrize("server", ["mysql"], indirect=True)
def test_while_a_monitor_keeps_the_list_of_transactions_old_no_query_is_said_to_be_all_of_one(
    scene: Scene, advised: Advised
) -> None:
    holder, ended = scene.client("SELECT 1"), threading.Event()

    def monitor() -> None:
        with scene.server.connect() as root, root.cursor() as cursor:
            while not ended.wait(0.02):
                cursor.execute("SELECT COUNT(*) FROM information_schema.INNODB_TRX")

    asking = threading.Thread(target=monitor)
    asking.start()
    try:
        time.sleep(0.15)  # so that the list is from before the transaction, and is not read anew
        holder.begin()
        with holder.cursor() as cursor:
            cursor.execute(change(1))
        runs = RunningStatement(holder, "SELECT SLEEP(600)")
        scene.runs(change(1))
        assert advised.on_session(runs.id, 1).action is Action.CLOSE_SESSION
    finally:
        ended.set()
        asking.join()
