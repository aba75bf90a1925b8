"""Who holds what is waited for by STATE: told by each view that tells it, else guessed and called a candidate."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pymysql
import pytest

from bot.sessions.model import Session, WaitKind
from bot.sessions.waits.advice import Action, advise
from bot.sessions.waits.case import Case
from bot.sessions.waits.graph import WaitGraph
from sandbox.databases.embedded import EmbeddedServer
from tests.sessions.conftest import Make, until
from tests.sessions.examples import MARIA_PASSWORD
from tests.support.servers import EmbeddedMySQL, UnpackedMariaDB, WatchedUnpackedMariaDB
from tests.support.stage import session_id
from tests.support.waiting import Scene, heads, is_mysql, numbers, pairs, waiting

PLUGIN, NOTHING, PERFORMANCE_SCHEMA = "the plugin", "nothing", "the performance schema"
POOL = 3  # sessions
_WATCHED = ("wait/lock/metadata/sql/mdl", "transaction")


@pytest.fixture
def tells(server: EmbeddedServer) -> Iterator[str]:
    """Let the servers differ in what tells metadata locks."""
    with server.connect() as root, root.cursor() as cursor:
        if isinstance(server, EmbeddedMySQL):
            yield PERFORMANCE_SCHEMA  # by default
        elif isinstance(server, WatchedUnpackedMariaDB):
            cursor.execute("UPDATE performance_schema.setup_consumers SET ENABLED = 'YES' WHERE NAME LIKE '%current'")
            on = "UPDATE performance_schema.setup_instruments SET ENABLED = %s WHERE NAME IN %s"
            cursor.execute(on, ("YES", _WATCHED))
            yield PERFORMANCE_SCHEMA
            cursor.execute(on, ("NO", _WATCHED))
        elif isinstance(server, UnpackedMariaDB):
            yield NOTHING
        else:
            try:
                cursor.execute("INSTALL SONAME 'metadata_lock_info'")
            except pymysql.Error:
                yield NOTHING  # its package is not there
                return
            yield PLUGIN
            cursor.execute("UNINSTALL SONAME 'metadata_lock_info'")


@pytest.fixture(scope="module")
def pools() -> Iterator[dict[EmbeddedServer, Scene]]:
    """Keep for each server a pool of an application whose sessions are idle and have nothing to do with any of it."""
    made: dict[EmbeddedServer, Scene] = {}
    yield made
    for pool in made.values():
        pool.tidy()
        pool.root("DROP USER pool_app")


@pytest.fixture
def scene(server: EmbeddedServer, tells: str, logins: str, pools: dict[EmbeddedServer, Scene]) -> Iterator[Scene]:
    """Give a scene with a second table, and a pool that has been idle since before."""
    assert tells
    assert logins
    it = Scene(server)
    it.root(
        "CREATE TABLE mysql_test.other (id INT) ENGINE=InnoDB",
        "CREATE TABLE mysql_test.old (id INT) ENGINE=MyISAM",
        "INSERT INTO mysql_test.old VALUES (1)",
        "GRANT ALL ON mysql_test.* TO mysql_plain",
        *("GRANT RELOAD, BACKUP_ADMIN ON *.* TO mysql_plain, mysql_app",) * isinstance(server, EmbeddedMySQL),
        *("GRANT RELOAD ON *.* TO mysql_plain, mysql_app",) * (not isinstance(server, EmbeddedMySQL)),
    )
    if server not in pools:
        it.root(f"CREATE USER pool_app IDENTIFIED BY '{MARIA_PASSWORD}'", "GRANT ALL ON mysql_test.* TO pool_app")
        pools[server] = Scene(server)
        for _ in range(POOL):
            pools[server].client(user="pool_app")
    until(lambda: _idle(server) == POOL)
    yield it
    it.tidy()


def _idle(server: EmbeddedServer) -> int:
    """How many have been idle for a whole second; what comes later is idle for less."""
    with server.connect() as root, root.cursor() as cursor:
        return cursor.execute(
            "SELECT 1 FROM information_schema.PROCESSLIST WHERE USER = 'pool_app' AND COMMAND = 'Sleep' AND TIME >= 1"
        )


def test_a_change_of_a_table_waits_for_a_transaction_and_keeps_out_all_behind_it(
    scene: Scene, tells: str, crm_source: Make
) -> None:
    crm = crm_source()
    elsewhere = scene.client("BEGIN", "SELECT * FROM other")
    holder = scene.client("BEGIN", "SELECT * FROM stock")
    change = scene.runs("ALTER TABLE stock ADD COLUMN colour INT")
    waiting(crm, 1)
    behind = [scene.runs("SELECT * FROM stock"), scene.runs("UPDATE stock SET quantity = 7 WHERE sku = 1")]
    found = waiting(crm, 3)
    assert {(one, numbers(change)[0]) for one in numbers(*behind)} < pairs(found)
    assert {one.kind for one in found.waits} == {WaitKind.METADATA}
    assert {one.candidate for one in found.waits} == {tells == NOTHING}
    assert (session_id(holder), 3) in heads(found)
    if tells != NOTHING:
        assert heads(found) == [(session_id(holder), 3)]
        assert {one.what for one in found.waits} == {"mysql_test.stock"}
        assert found.lacks == ()
    else:
        assert {who for who, _ in heads(found)} == {session_id(holder), session_id(elsewhere)}, "none of the idle pool"
        assert "INSTALL SONAME 'metadata_lock_info' lets this MariaDB tell it." in found.lacks[0]
    (it,) = {
        one.holder for one in found.waits if isinstance(one.holder, Session) and one.holder.id == session_id(holder)
    }
    assert it.transaction is not None
    assert 0 <= (it.transaction.age or 0) < 60
    if tells == PERFORMANCE_SCHEMA:
        assert it.transaction.autocommit is False
        assert it.last_statement is not None
        assert len(it.last_statement.statement.raw_sql) == len("SELECT * FROM stock")
    scene.root(f"KILL QUERY {change.id}")
    assert [one.ended() for one in behind] == [0, 0]
    assert change.ended() != 0


def test_a_chain_goes_through_locks_of_several_kinds(scene: Scene, tells: str, crm_source: Make) -> None:
    crm = crm_source()
    holder = scene.client("BEGIN", "UPDATE stock SET quantity = 7 WHERE sku = 1")
    between = scene.runs("BEGIN", "SELECT * FROM other", "UPDATE stock SET quantity = 8 WHERE sku = 1")
    waiting(crm, 1)
    change = scene.runs("DROP DATABASE mysql_test" if tells == PLUGIN else "ALTER TABLE other ADD COLUMN colour INT")
    waiting(crm, 2)
    behind = scene.runs("SELECT * FROM other") if tells == PERFORMANCE_SCHEMA else None
    found = waiting(crm, 2 + (behind is not None))
    assert (between.id, session_id(holder)) in pairs(found)
    assert (change.id, between.id) in pairs(found)
    if tells != NOTHING:
        assert heads(found) == [(session_id(holder), 2 + (behind is not None))]
    scene.close(change)
    holder.rollback()
    assert between.ended() == 0


def test_a_read_lock_of_all_tables_is_held_by_an_idle_session_without_a_transaction(
    scene: Scene, tells: str, crm_source: Make
) -> None:
    crm = crm_source()
    scene.client("BEGIN", "SELECT * FROM other")
    holder = scene.client("FLUSH TABLES WITH READ LOCK", user="mysql_plain")
    pool = [scene.client("SELECT 1") for _ in range(3)]  # idle for less long than the holder, and longer than who waits
    until(lambda: all(crm.find(one, None)[0].time > 0.2 for one in numbers(*pool)))
    waiters = [
        scene.runs("UPDATE stock SET quantity = 7 WHERE sku = 1"),
        scene.runs("CREATE TABLE mysql_test.another (id INT)"),
        scene.runs("INSERT INTO other VALUES (1)"),
    ]
    found = waiting(crm, 3)
    assert heads(found)[0] == (session_id(holder), 3)
    kinds = {WaitKind.BACKUP_LOCK} if tells == NOTHING else {WaitKind.GLOBAL_READ_LOCK}
    assert {one.kind for one in found.waits} == kinds
    assert {one.candidate for one in found.waits} == {tells == NOTHING}
    assert len(heads(found)) == 1 or tells == NOTHING
    scene.close(holder)
    assert [one.ended() for one in waiters] == [0, 0, 0]


def test_a_lock_of_all_tables_that_waits_for_a_change_keeps_out_who_comes_later(scene: Scene, crm_source: Make) -> None:
    crm = crm_source()
    scene.client("BEGIN", "SELECT * FROM other")
    change = scene.runs("UPDATE stock SET quantity = quantity + SLEEP(100) WHERE sku = 1")
    until(lambda: crm.find(change.id, None)[0].doing == "User sleep")
    flush = scene.runs("FLUSH TABLES WITH READ LOCK", user="mysql_plain")
    waiting(crm, 1)
    behind = scene.runs("INSERT INTO other VALUES (1)")
    assert pairs(waiting(crm, 2)) == {(flush.id, change.id), (behind.id, flush.id)}
    scene.root(f"KILL QUERY {flush.id}")
    assert behind.ended() == 0
    assert change.is_alive()


def test_tables_that_are_locked_are_held_by_who_locked_them_and_not_by_readers(
    scene: Scene, tells: str, crm_source: Make
) -> None:
    crm = crm_source()
    reader = scene.client("BEGIN", "SELECT * FROM stock", "SELECT * FROM old")
    holder = scene.client("LOCK TABLES stock READ, old READ", user="mysql_plain")
    waiters = [scene.runs("INSERT INTO old VALUES (2)"), scene.runs("DELETE FROM stock WHERE sku = 9")]
    found = waiting(crm, 2)
    if is_mysql(scene) or tells == PERFORMANCE_SCHEMA:
        assert pairs(found) == {(one, session_id(holder)) for one in numbers(*waiters)}
        assert {one.what for one in found.waits} == {"mysql_test.old", "mysql_test.stock"}
    told = [one for one in found.waits if not one.candidate]
    assert session_id(reader) not in {one.holder.id for one in told if isinstance(one.holder, Session)}
    assert heads(found)[0][0] == session_id(holder)
    scene.close(holder)
    assert [one.ended() for one in waiters] == [0, 0]


def ends_of(graph: WaitGraph) -> list[Session]:
    return [end for one in graph.waits for end in (one.waiter, one.holder) if isinstance(end, Session)]


@pytest.mark.parametrize("server", ["mysql"], indirect=True)  # MariaDB's waits for no reader
def test_a_flush_waits_for_who_has_a_table_open_and_closing_it_frees_nobody(scene: Scene, crm_source: Make) -> None:
    crm = crm_source()
    scene.client("BEGIN", "UPDATE stock SET quantity = 2 WHERE sku = 1")
    holder = scene.runs("SELECT SLEEP(600) FROM stock")
    until(lambda: crm.find(holder.id, None)[0].doing in (None, "User sleep") and crm.find(holder.id, None)[0].running)
    flush = scene.runs("FLUSH TABLES WITH READ LOCK")
    waiting(crm, 1)
    behind, writer = scene.runs("SELECT * FROM stock"), scene.runs("INSERT INTO other VALUES (1)")
    found = waiting(crm, 3)
    assert pairs(found) == {(flush.id, holder.id), (behind.id, holder.id), (writer.id, flush.id)}
    assert heads(found) == [(holder.id, 3)]
    assert {one.waiter.id: one.kind for one in found.waits} == {
        flush.id: WaitKind.TABLE_FLUSH,
        behind.id: WaitKind.TABLE_FLUSH,
        writer.id: WaitKind.GLOBAL_READ_LOCK,
    }
    advice = {one.id: advise(Case.of(one, found)) for one in ends_of(found)}
    assert advice[flush.id].action is Action.CLOSE_BLOCKER
    assert "frees 2 sessions; 1 more waits for others as well" in advice[holder.id].reason
    scene.root(f"KILL QUERY {flush.id}")
    assert flush.ended() == 1317
    assert pairs(waiting(crm, 2)) == {(behind.id, holder.id), (writer.id, flush.id)}, "it has kept the read lock"
    scene.close(holder)
    assert behind.ended() == 0


def test_a_user_lock_is_held_by_whoever_has_that_name_and_no_name_is_told(
    scene: Scene, tells: str, crm_source: Make
) -> None:
    crm = crm_source()
    scene.client("SELECT GET_LOCK('another', 0)")
    holder = scene.client("SELECT GET_LOCK('it''s secret', 0)")
    waiter = scene.runs("SELECT GET_LOCK('it''s secret', 600)")
    built = scene.runs("DO GET_LOCK(CONCAT('it''s', ' secret'), 600)")
    found = waiting(crm, 2)
    assert (waiter.id, session_id(holder)) in pairs(found)
    by_waiter = {one.waiter.id: one for one in found.waits}
    assert (by_waiter[waiter.id].kind, by_waiter[waiter.id].candidate) == (WaitKind.USER_LOCK, False)
    if tells == PERFORMANCE_SCHEMA:
        assert (built.id, session_id(holder)) in pairs(found)
    elif tells == NOTHING:
        assert (built.id, None) in pairs(found)
    else:
        assert by_waiter[built.id].candidate
    assert {one.what for one in found.waits} == {None}
    assert "secret" not in repr(found)
    scene.close(holder)
    until(lambda: not waiter.is_alive() or not built.is_alive())


def test_a_backup_is_named_where_a_view_tells(scene: Scene, tells: str, crm_source: Make) -> None:
    crm = crm_source()
    scene.client("BEGIN", "SELECT * FROM other")
    stages = "START", "FLUSH", "BLOCK_DDL", "BLOCK_COMMIT"
    holder = scene.client(
        *(["LOCK INSTANCE FOR BACKUP"] if is_mysql(scene) else [f"BACKUP STAGE {stage}" for stage in stages]),
        user="mysql_plain",
    )
    waiter = scene.runs("CREATE TABLE mysql_test.another (id INT)")
    found = waiting(crm, 1)
    assert heads(found)[0] == (session_id(holder), 1)
    assert next((one.kind, one.candidate) for one in found.waits) == (WaitKind.BACKUP_LOCK, tells == NOTHING)
    scene.close(holder)
    assert waiter.ended() == 0


def test_what_runs_under_autocommit_is_told_from_a_statement_of_a_transaction(
    scene: Scene, tells: str, crm_source: Make
) -> None:
    crm = crm_source()
    holder = scene.client("SET autocommit = 0", "UPDATE stock SET quantity = 2 WHERE sku = 1")
    waiter = scene.runs("UPDATE stock SET quantity = 3 WHERE sku = 1")
    found = waiting(crm, 1)
    (wait,) = found.waits
    assert isinstance(wait.holder, Session)
    assert wait.holder.id == session_id(holder)
    its, theirs = wait.waiter.transaction, wait.holder.transaction
    assert its is not None
    assert theirs is not None
    known = tells == PERFORMANCE_SCHEMA
    assert (its.autocommit, theirs.autocommit) == ((True, False) if known else (None, None))
    assert theirs.rows_changed == 1
    with contextlib.suppress(pymysql.Error):
        holder.rollback()
    assert waiter.ended() == 0
