"""Who waits for whom in the forms that earlier versions have, and with several tenants, on the stand-in cluster.

The views are tables with the columns that the documentation and the sources name; no such version was run.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bot.sessions.model import Session, WaitKind
from bot.sessions.waits.graph import Prepared, WaitGraph
from sandbox.databases.mariadb import EmbeddedMariaDB
from tests.sessions.conftest import Make
from tests.support.cluster import Cluster

SETTING = """
CREATE TABLE oceanbase.`GV$OB_TRANSACTION_SCHEDULERS` (
  TENANT_ID BIGINT, SESSION_ID BIGINT, TX_ID BIGINT, STATE VARCHAR(32), ACTIVE_TIME TIMESTAMP(6), FORMATID BIGINT,
  GLOBALID VARCHAR(64), BRANCHID VARCHAR(64));
CREATE TABLE oceanbase.CDB_OBJECTS (
  CON_ID BIGINT, OWNER VARCHAR(64), OBJECT_NAME VARCHAR(64), OBJECT_TYPE VARCHAR(32), DATA_OBJECT_ID BIGINT);
INSERT INTO oceanbase.CDB_OBJECTS VALUES
  (1002, 'shop', 'stock', 'TABLE', 200001), (1004, 'ledger', 'entries', 'TABLE PARTITION', 200001),
  (1002, 'shop', 'by_sku', 'INDEX', 200002)"""
LATER = """
CREATE TABLE oceanbase.`GV$OB_LOCKS` (
  TENANT_ID BIGINT, TRANS_ID BIGINT, SESSION_ID BIGINT, TYPE VARCHAR(9), ID1 BIGINT, ID2 BIGINT, ID3 VARCHAR(64),
  CTIME BIGINT, BLOCK BIGINT)"""
EARLIER = """
CREATE TABLE oceanbase.`GV$OB_LOCKS` (
  TENANT_ID BIGINT, TRANS_ID BIGINT, TYPE VARCHAR(9), ID1 BIGINT, ID2 VARCHAR(64), CTIME BIGINT, BLOCK BIGINT)"""
TABLES = """
CREATE TABLE oceanbase.__all_virtual_lock_wait_stat (
  TENANT_ID BIGINT, {place} BIGINT, ROWKEY VARCHAR(64), SESSION_ID BIGINT, BLOCK_SESSION_ID BIGINT,
  TIME_AFTER_RECV BIGINT);
CREATE TABLE oceanbase.__all_virtual_trans_lock_stat (
  TENANT_ID BIGINT, TRANS_ID BIGINT, {place} BIGINT, ROWKEY VARCHAR(64), SESSION_ID BIGINT)"""
SHOP, BILLING = 1002, 1004
HEAD, FIRST, SECOND, OTHER = 3221490001, 3221490002, 3221490003, 3221490004


@pytest.fixture
def cluster(mariadb: EmbeddedMariaDB) -> Iterator[Cluster]:
    """Give a cluster in which a session holds up two, and one of another tenant has the same transaction."""
    with Cluster(mariadb) as cluster:
        cluster.run(*SETTING.split(";\n"))
        transaction = {"TRANS_STATE": "ACTIVE", "TRANS_ID": 7}
        waits = {"COMMAND": "Query", "STATE": "ACTIVE", "INFO": "UPDATE stock", "RETRY_INFO": -6005}
        cluster.dress_up(ID=HEAD, **transaction)
        cluster.dress_up(ID=FIRST, **transaction | waits | {"TRANS_ID": 8})
        cluster.dress_up(ID=SECOND, **transaction | waits | {"TRANS_ID": 9})
        cluster.dress_up(ID=OTHER, TENANT="billing", **transaction)
        yield cluster


def insert(cluster: Cluster, table: str, *rows: tuple[object, ...]) -> None:
    for row in rows:
        marks = ", ".join(["%s"] * len(row))
        cluster.run(f"INSERT INTO oceanbase.`{table}` VALUES ({marks})", values=row)


def begins(cluster: Cluster, session: int, transaction: int, *, tenant: int = SHOP, state: str = "ACTIVE") -> None:
    cluster.run(
        "INSERT INTO oceanbase.`GV$OB_TRANSACTION_SCHEDULERS` VALUES "
        "(%s, %s, %s, %s, NOW(6) - INTERVAL 3 MINUTE, 1, '6A6F62', '')",
        values=(tenant, session, transaction, state),
    )


def pairs(found: WaitGraph) -> set[tuple[int, int | None]]:
    return {(one.waiter.id, one.holder.id if isinstance(one.holder, Session) else None) for one in found.waits}


def test_with_several_tenants_a_wait_is_of_its_own_and_names_its_own_table(
    cluster: Cluster, cluster_source: Make
) -> None:
    cluster.run(LATER)
    insert(cluster, "GV$OB_LOCKS", (SHOP, 8, FIRST, "TR", 7, HEAD, '200001-{"INT":1}', 5_000_000, 1))
    insert(cluster, "GV$OB_LOCKS", (SHOP, 9, SECOND, "TR", 7, HEAD, '200002-{"INT":1}', 4_000_000, 1))
    begins(cluster, HEAD, 7)
    begins(cluster, OTHER, 7, tenant=BILLING)
    found = cluster_source().waits()
    assert pairs(found) == {(FIRST, HEAD), (SECOND, HEAD)}
    assert {one.waiter.id: (one.what, one.waited) for one in found.waits} == {
        FIRST: ("shop.stock", 5.0),
        SECOND: ("shop.by_sku (index)", 4.0),
    }
    (head,) = found.heads
    assert isinstance(head.holder, Session)
    assert head.holder.transaction is not None
    assert head.holder.transaction.age is not None
    assert 170 < head.holder.transaction.age < 250


def test_where_tenants_cannot_be_told_a_session_is_known_by_its_id_alone(
    cluster: Cluster, cluster_source: Make
) -> None:
    cluster.run(LATER, "DROP TABLE oceanbase.DBA_OB_TENANTS")
    insert(cluster, "GV$OB_LOCKS", (SHOP, 8, FIRST, "TR", 7, HEAD, '200001-{"INT":1}', 5_000_000, 1))
    insert(cluster, "GV$OB_LOCKS", (SHOP, 9, SECOND, "TR", 7, 77, '200001-{"INT":1}', 5_000_000, 1))
    found = cluster_source().waits()
    assert pairs(found) == {(FIRST, HEAD), (SECOND, None)}, "a transaction's number alone may be another tenant's"
    assert {one.what for one in found.waits} == {None}


def test_behind_a_proxy_both_ends_are_named_as_the_list_names_them(cluster: Cluster, cluster_source: Make) -> None:
    cluster.run(LATER, "DELETE FROM oceanbase.extra_sessions")
    for number, transaction, servers in ((524289, 7, ("10.0.0.8", "10.0.0.9")), (524290, 8, ("10.0.0.9",))):
        for server in servers:
            cluster.dress_up(
                ID=number,
                PROXY_SESSID=number + 2**33,
                SVR_IP=server,
                TRANS_ID=transaction if server == "10.0.0.9" else 0,
                TRANS_STATE="ACTIVE" if server == "10.0.0.9" else "",
                COMMAND="Query" if transaction == 8 else "Sleep",
                INFO="UPDATE" if transaction == 8 else None,
            )
    insert(cluster, "GV$OB_LOCKS", (SHOP, 8, FIRST, "TR", 7, HEAD, '200001-{"INT":1}', 5_000_000, 1))
    found = cluster_source().waits()
    assert pairs(found) == {(524290, 524289)}
    assert isinstance(found.heads[0].holder, Session)
    assert found.heads[0].holder.servers == ("10.0.0.8:2881", "10.0.0.9:2881")


def test_a_prepared_transaction_is_held_by_no_session(cluster: Cluster, cluster_source: Make) -> None:
    cluster.run(LATER, f"DELETE FROM oceanbase.extra_sessions WHERE ID = {HEAD}")
    insert(cluster, "GV$OB_LOCKS", (SHOP, 8, FIRST, "TR", 7, 0, '200001-{"INT":1}', 5_000_000, 1))
    begins(cluster, 0, 7, state="SUB_PREPARED")
    (wait,) = cluster_source().waits().waits
    assert isinstance(wait.holder, Prepared)
    assert (wait.holder.tenant, wait.holder.transaction.id) == ("shop", 7)
    assert "6A6F62" in (wait.holder.xid or "")


def test_a_holder_that_no_list_has_any_more_is_not_named_and_who_waits_for_it_is_told(
    cluster: Cluster, cluster_source: Make
) -> None:
    cluster.run(LATER, f"DELETE FROM oceanbase.extra_sessions WHERE ID = {HEAD}")
    insert(cluster, "GV$OB_LOCKS", (SHOP, 8, FIRST, "TR", 7, HEAD, '200001-{"INT":1}', 5_000_000, 1))
    begins(cluster, HEAD, 7)
    found = cluster_source().waits()
    assert (pairs(found), found.dropped) == ({(FIRST, None)}, 0)
    assert [one.what for one in found.waits] == ["shop.stock"]


def test_a_circle_is_read_as_one(cluster: Cluster, cluster_source: Make) -> None:
    cluster.run(LATER)
    insert(cluster, "GV$OB_LOCKS", (SHOP, 8, FIRST, "TR", 9, SECOND, '200001-{"INT":1}', 5_000_000, 1))
    insert(cluster, "GV$OB_LOCKS", (SHOP, 9, SECOND, "TR", 8, FIRST, '200001-{"INT":2}', 5_000_000, 1))
    found = cluster_source().waits()
    assert found.heads == ()
    assert [one.cycle for one in found.chains()].count(True) == 1


def test_before_the_view_had_sessions_transactions_name_both_ends(cluster: Cluster, cluster_source: Make) -> None:
    cluster.run(EARLIER)
    insert(
        cluster,
        "GV$OB_LOCKS",
        (SHOP, 8, "TX", 7, "", 5_000_000, 1),
        (SHOP, 8, "TR", 200001, '7-{"INT":1}', 5_000_000, 1),
        (SHOP, 9, "TX", 8, "", 4_000_000, 1),
        (SHOP, 7, "TX", 7, "", 9_000_000, 0),
        (SHOP, 7, "TM", 200001, "", 9_000_000, 0),
    )
    found = cluster_source().waits()
    assert pairs(found) == {(FIRST, HEAD), (SECOND, FIRST)}
    assert len(found.waits) == 2, "the two rows of one wait are one"
    assert {one.waiter.id: (one.kind, one.what) for one in found.waits} == {
        FIRST: (WaitKind.ROW_LOCK, "shop.stock"),
        SECOND: (WaitKind.ROW_LOCK, None),
    }


@pytest.mark.parametrize(("place", "table"), [("TABLET_ID", "shop.stock"), ("TABLE_ID", None)])
def test_before_there_was_a_view_the_holder_is_who_has_locked_the_row_and_not_the_head_of_the_queue(
    cluster: Cluster, cluster_source: Make, place: str, table: str | None
) -> None:
    cluster.run(*TABLES.format(place=place).split(";\n"))
    insert(
        cluster,
        "__all_virtual_lock_wait_stat",
        (SHOP, 200001, '{"INT":1}', FIRST, FIRST, 5_000_000),
        (SHOP, 200001, '{"INT":1}', SECOND, FIRST, 4_000_000),
    )
    insert(
        cluster,
        "__all_virtual_trans_lock_stat",
        (SHOP, 7, 200001, '{"INT":1}', HEAD),
        (SHOP, 8, 200001, '{"INT":2}', FIRST),
        (BILLING, 7, 200001, '{"INT":1}', OTHER),
    )
    found = cluster_source().waits()
    assert pairs(found) == {(FIRST, HEAD), (SECOND, HEAD)}
    assert {(one.what, one.waited) for one in found.waits} == {(table, 5.0), (table, 4.0)}
    cluster.run("DELETE FROM oceanbase.__all_virtual_trans_lock_stat")
    assert pairs(cluster_source().waits()) == {(FIRST, None), (SECOND, None)}


def test_without_any_view_of_locks_who_waits_is_told_and_nobody_is_named(
    cluster: Cluster, cluster_source: Make
) -> None:
    found = cluster_source().waits()
    assert pairs(found) == {(FIRST, None), (SECOND, None)}
    assert {one.told_by for one in found.waits} == {"oceanbase.GV$OB_PROCESSLIST.RETRY_INFO"}
    assert "oceanbase.__all_virtual_trans_lock_stat" in found.lacks[0], "what would tell it"
