"""Who waits for whom on real MariaDBs and MySQLs, each wait made for real, with bystanders that are not to blame."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import pymysql
import pytest

from bot.sessions.database import Connection
from bot.sessions.model import Session, WaitKind
from bot.sessions.waits.graph import Prepared
from bot.sessions.waits.reading import Party
from sandbox.databases.embedded import EmbeddedServer
from tests.sessions.conftest import Make, until
from tests.support.stage import session_id
from tests.support.waiting import Scene, heads, is_mysql, numbers, pairs, waiting


@pytest.fixture
def scene(server: EmbeddedServer, logins: str) -> Iterator[Scene]:
    """Give a scene with a table of ten rows."""
    assert logins
    it = Scene(server)
    it.root("INSERT INTO mysql_test.stock VALUES (2, 1), (3, 1), (4, 1), (5, 1), (6, 1), (7, 1), (8, 1), (9, 1)")
    yield it
    it.tidy()


def change(row: int) -> str:
    return f"UPDATE stock SET quantity = quantity + 1 WHERE sku = {row}"


def test_the_sessions_of_waits_are_asked_for_by_their_ids_and_joined_by_hashes(
    scene: Scene, crm_source: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, sent, plain = scene.client("BEGIN", change(1)), list[str](), Connection.rows

    def rows(connection: Connection, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        sent.append(sql)
        return plain(connection, sql, values)

    monkeypatch.setattr(Connection, "rows", rows)
    with crm_source().console() as console:
        sent.clear()
        assert [one.id for one in console.parties([Party(session_id(client), 7)])] == numbers(client)
        assert sent[0].endswith("WHERE ID IN %s")
        if not is_mysql(scene):
            assert console._connection.rows("SELECT @@join_cache_level") == [(4,)]


def test_row_locks_are_chains_whose_queues_are_no_links(scene: Scene, crm_source: Make) -> None:
    crm = crm_source()
    bystander = scene.client("BEGIN", change(9))
    reader = scene.client("START TRANSACTION WITH CONSISTENT SNAPSHOT", "SELECT * FROM stock")
    holder, other = scene.client("BEGIN", change(1)), scene.client("BEGIN", change(5))
    middle = scene.runs("BEGIN", change(2), change(1))
    waiting(crm, 1)
    queue = [scene.runs("BEGIN", change(1)) for _ in range(50)]
    lower = scene.runs("BEGIN", change(3), change(2))
    waiting(crm, 52)
    lowest = [scene.runs("BEGIN", change(3)), scene.runs("BEGIN", change(2)), scene.runs("BEGIN", change(5))]
    found = waiting(crm, 55)
    (first, second), here, below = numbers(holder, other), numbers(middle)[0], numbers(lower)[0]
    assert pairs(found) == {
        *((one, first) for one in numbers(middle, *queue)),
        (below, here),
        *zip(numbers(*lowest), (below, here, second), strict=True),
    }
    assert heads(found) == [(first, 54), (second, 1)]
    assert {(one.kind, one.what, one.candidate) for one in found.waits} == {
        (WaitKind.ROW_LOCK, "mysql_test.stock", False)
    }
    assert max(one.depth for one in found.chains()) == 3
    assert not {*numbers(bystander, reader)} & {one for pair in pairs(found) for one in pair}
    scene.close(holder)
    until(lambda: heads(crm.waits())[:1] not in ([(first, 54)], []))
    assert first not in {one for pair in pairs(crm.waits()) for one in pair}
    scene.close(other)
    assert lowest[2].ended() == 0


def test_a_row_that_was_only_inserted_is_held_by_who_inserted_it(scene: Scene, crm_source: Make) -> None:
    """MySQL names the thread that has made the lock, which is the first that waits for it."""
    holder = scene.client("BEGIN", "INSERT INTO stock VALUES (20, 1)")
    first = scene.runs("BEGIN", change(20))
    waiting(crm_source(), 1)
    second = scene.runs("INSERT INTO stock VALUES (20, 2)")
    found = waiting(crm_source(), 2)
    assert pairs(found) == {(one, session_id(holder)) for one in numbers(first, second)}


def test_an_insert_waits_for_the_gap_and_not_for_who_waits_for_the_row(scene: Scene, crm_source: Make) -> None:
    crm = crm_source()
    scene.root("INSERT INTO mysql_test.stock VALUES (40, 1)")
    gap = scene.client("BEGIN", "SELECT * FROM stock WHERE sku = 20 FOR UPDATE")
    row = scene.runs("BEGIN", change(40), "INSERT INTO stock VALUES (30, 1)")
    waiting(crm, 1)
    waiter = scene.runs(change(40))
    found = waiting(crm, 2)
    (between,) = numbers(row)
    assert pairs(found) == {(between, session_id(gap)), (numbers(waiter)[0], between)}
    gap.rollback()
    assert row.ended() == 0


def test_holders_that_have_written_nothing_are_told_apart_or_are_candidates(scene: Scene, crm_source: Make) -> None:
    """MariaDB gives each such transaction the number 0."""
    holder = scene.client("BEGIN", "SELECT * FROM stock WHERE sku = 1 LOCK IN SHARE MODE")
    reader = scene.client("START TRANSACTION WITH CONSISTENT SNAPSHOT", "SELECT * FROM stock")
    waiter = scene.runs("BEGIN", change(1))
    found = waiting(crm_source(), 1)
    assert (pairs(found), found.waits[0].candidate) == ({(waiter.id, session_id(holder))}, False)
    other = scene.client("BEGIN", "SELECT * FROM stock WHERE sku = 2 LOCK IN SHARE MODE")
    until(lambda: is_mysql(scene) or len(crm_source().waits().waits) == 2)
    found = crm_source().waits()
    assert {one.candidate for one in found.waits} == {not is_mysql(scene)}
    assert session_id(reader) not in {holds for _, holds in pairs(found)}
    assert (waiter.id, session_id(other)) in pairs(found) or is_mysql(scene)


def test_several_that_share_a_row_and_have_written_nothing_all_hold_it(scene: Scene, crm_source: Make) -> None:
    sharing = "BEGIN", "SELECT * FROM stock WHERE sku = 1 LOCK IN SHARE MODE"
    both = scene.client(*sharing), scene.client(*sharing)
    waiter = scene.runs(change(1))
    found = waiting(crm_source(), 1)
    assert pairs(found) == {(waiter.id, session_id(one)) for one in both}
    assert len(found.waits) == 2
    assert not any(one.candidate for one in found.waits)


def test_who_holds_a_row_twice_makes_no_holder_of_a_bystander(scene: Scene, crm_source: Make) -> None:
    """MariaDB tells of each lock, and of neither transaction by a number of its own."""
    scene.root("INSERT INTO mysql_test.stock VALUES (50, 1), (90, 1)")
    read = "SELECT * FROM stock WHERE sku {} LOCK IN SHARE MODE"
    holder = scene.client("BEGIN", read.format("= 20"), read.format("BETWEEN 11 AND 50"))
    bystander = scene.client("BEGIN", read.format("= 90"))
    waiter = scene.runs("INSERT INTO stock VALUES (20, 1)")
    found = waiting(crm_source(), 1)
    told = [(one.holder.id, one.candidate) for one in found.waits if isinstance(one.holder, Session)]
    assert [number for number, _ in told].count(session_id(holder)) == 1, "MySQL tells of both, too"
    assert (session_id(bystander), False) not in told
    assert waiter.id == found.waits[0].waiter.id


def test_what_xa_has_prepared_is_no_session_and_is_named(scene: Scene, crm_source: Make) -> None:
    crm = crm_source()
    holder = scene.client("XA START 'order 77'", change(1), "XA END 'order 77'", "XA PREPARE 'order 77'")
    try:
        waiter = scene.runs("BEGIN", change(1))
        assert heads(waiting(crm, 1)) in ([(session_id(holder), 1)], [(None, 1)])  # MySQL's session lets go of it
        first = waiting(crm, 1).waits[0].holder
        if isinstance(first, Session) and first.transaction is not None:  # MariaDB without its performance schema
            assert first.transaction.prepared is (None if is_mysql(scene) else True), (
                "it is the only one that it may be"
            )
        holder.close()
        until(lambda: isinstance(waiting(crm, 1).waits[0].holder, Prepared))
        (head,) = waiting(crm, 1).heads
        assert isinstance(head.holder, Prepared)
        assert (head.held_up, head.holder.transaction.state, head.holder.transaction.rows_changed) == (1, "RUNNING", 1)
        assert head.holder.xid == (None if is_mysql(scene) else "'order 77'")  # XA_RECOVER_ADMIN
    finally:
        with scene.server.connect() as root, root.cursor() as cursor:
            until(lambda: _rolled_back(cursor))
    assert waiter.ended() == 0


def _rolled_back(cursor: Any) -> bool:
    """Whether the prepared transaction has ended; its session may not have gone yet (1397)."""
    with contextlib.suppress(pymysql.Error):
        cursor.execute("XA ROLLBACK 'order 77'")
        return True
    return False


def test_an_emoji_that_makes_the_list_of_transactions_unreadable_does_not_hide_who_waits(
    scene: Scene, crm_source: Make
) -> None:
    crm = crm_source()
    holder = scene.client("BEGIN", change(1))
    waiter = scene.runs("BEGIN", f"{change(1)} /* \U0001f600 */")
    found = waiting(crm, 1)
    assert pairs(found) == {(waiter.id, session_id(holder))}
    assert heads(found) == [(session_id(holder), 1)]
