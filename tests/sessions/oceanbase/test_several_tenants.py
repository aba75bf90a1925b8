"""Transactions and locks of several tenants, each of which counts its transactions by itself, on the stand-in cluster.

The views are tables with the columns that the documentation of OceanBase 4.3 gives them; no real cluster was seen.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bot.closing.model import Outcome
from bot.closing.verification import verify
from bot.sessions.kill import Answer, Sent
from bot.sessions.model import Mode, Session, SessionQuery
from bot.sessions.source import DataSource
from sandbox.databases.mariadb import EmbeddedMariaDB
from tests.sessions.conftest import Make
from tests.support.cluster import Cluster

VIEWS = """
DELETE FROM oceanbase.DBA_OB_TENANTS;
INSERT INTO oceanbase.DBA_OB_TENANTS (TENANT_ID, TENANT_NAME)
VALUES (1, 'sys'), (1002, 'shop'), (1004, 'Shop'), (1006, 'billing');
CREATE TABLE oceanbase.`GV$OB_TRANSACTION_SCHEDULERS` (
  TENANT_ID BIGINT, SESSION_ID BIGINT, TX_ID BIGINT, ACTIVE_TIME TIMESTAMP(6), STATE VARCHAR(32) DEFAULT 'ACTIVE');
CREATE TABLE oceanbase.`GV$OB_LOCKS` (
  TENANT_ID BIGINT, TRANS_ID BIGINT, SESSION_ID BIGINT, TYPE VARCHAR(9), ID1 BIGINT, ID2 VARCHAR(64),
  ID3 VARCHAR(64), CTIME BIGINT, BLOCK BIGINT)"""
SHOP, BILLING = 1002, 1006
NUMBER = 3221487826  # of the session of tenant shop


@pytest.fixture
def cluster(mariadb: EmbeddedMariaDB) -> Iterator[Cluster]:
    with Cluster(mariadb) as cluster:
        cluster.run(*VIEWS.split(";\n"))
        cluster.dress_up(
            ID=NUMBER,
            TENANT="shop",
            TRANS_ID=7,
            TRANS_STATE="ACTIVE",
            COMMAND="Query",
            STATE="ACTIVE",
            INFO="UPDATE stock SET quantity = 1",
            RETRY_INFO=-6005,
            RETRY_CNT=3,
        )
        yield cluster


def opens(cluster: Cluster, tenant: int, session: int, transaction: int = 7, *, minutes: int = 0) -> None:
    cluster.run(
        "INSERT INTO oceanbase.`GV$OB_TRANSACTION_SCHEDULERS` (TENANT_ID, SESSION_ID, TX_ID, ACTIVE_TIME) "
        "VALUES (%s, %s, %s, NOW(6) - INTERVAL %s MINUTE)",
        values=(tenant, session, transaction, minutes),
    )


def blocks(cluster: Cluster, tenant: int, holder: object, *, holding: int = 7, waiting: int = 9, waiter: int) -> None:
    cluster.run(
        "INSERT INTO oceanbase.`GV$OB_LOCKS` VALUES (%s, %s, %s, 'TR', %s, %s, '1-{}', 5000000, 1)",
        values=(tenant, waiting, waiter, holding, holder),
    )


def of_shop(prod: DataSource) -> Session:
    (session,) = prod.find(NUMBER, None)
    return session


def is_open(prod: DataSource) -> bool | None:
    session = of_shop(prod)
    with prod.console() as console:
        return console.transaction_open(session)


def test_another_tenants_transaction_of_the_same_number_is_not_taken_for_the_sessions_own(
    cluster: Cluster, cluster_source: Make
) -> None:
    prod = cluster_source()
    opens(cluster, BILLING, 3221490001)
    blocks(cluster, BILLING, 3221490001, waiter=3221490002)
    assert is_open(prod) is False
    opens(cluster, SHOP, NUMBER)
    assert is_open(prod) is True


def test_a_lock_that_is_waited_for_counts_in_its_own_tenant_only(cluster: Cluster, cluster_source: Make) -> None:
    prod = cluster_source()
    blocks(cluster, BILLING, 3221490001, waiter=3221490002)
    assert is_open(prod) is False
    blocks(cluster, SHOP, NUMBER, waiter=3221490003)
    assert is_open(prod) is True


def test_a_session_that_is_gone_is_not_rolling_back_because_of_another_tenants_transaction(
    cluster: Cluster, cluster_source: Make
) -> None:
    prod = cluster_source()
    before = of_shop(prod)
    opens(cluster, BILLING, 3221490001)
    cluster.run("DELETE FROM oceanbase.extra_sessions")
    with prod.console() as console:
        cluster.serves("10.0.0.9")  # without the session, but serving
        assert verify(console, {1: Sent(before, Answer.OK)}, Mode.SESSION)[1].outcome is Outcome.CLOSED


def test_where_the_tenants_may_not_be_read_the_session_tells_its_transaction(
    cluster: Cluster, cluster_source: Make
) -> None:
    cluster.run("DROP TABLE oceanbase.DBA_OB_TENANTS")
    prod = cluster_source()
    opens(cluster, BILLING, 3221490001)
    blocks(cluster, BILLING, 3221490001, waiter=3221490002)
    assert is_open(prod) is False
    opens(cluster, SHOP, NUMBER, minutes=3)
    assert is_open(prod) is True
    age = prod.details(of_shop(prod)).transaction_age
    assert age is not None
    assert 170 < age < 250


def test_where_the_view_of_transactions_does_not_tell_tenants_they_are_not_asked_for(
    cluster: Cluster, cluster_source: Make
) -> None:
    cluster.run("ALTER TABLE oceanbase.`GV$OB_TRANSACTION_SCHEDULERS` DROP COLUMN TENANT_ID")
    prod = cluster_source()
    cluster.run("INSERT INTO oceanbase.`GV$OB_TRANSACTION_SCHEDULERS` VALUES (3221490001, 7, NOW(6), 'ACTIVE')")
    assert is_open(prod) is False
    assert prod.details(of_shop(prod)).transaction_age is None, "the other's age is not its own"


def test_details_tell_the_age_of_the_transaction_of_the_sessions_own_tenant(
    cluster: Cluster, cluster_source: Make
) -> None:
    prod = cluster_source()
    for tenant, minutes in ((BILLING, 600), (SHOP, 3)):
        opens(cluster, tenant, NUMBER, minutes=minutes)
    age = prod.details(of_shop(prod)).transaction_age
    assert age is not None
    assert 170 < age < 250


HOLDER, WAITER = 3221490005, 3221490003  # the servers' own ids, of sessions that the list shows as clients
CLIENT, OTHER = 524289, 524290


def client(cluster: Cluster, number: int, transaction: int, *, server: str = "10.0.0.9", **columns: object) -> None:
    """Add the row of a client behind a proxy, on one of its servers."""
    row = {"TENANT": "shop", "TRANS_ID": transaction, "TRANS_STATE": "ACTIVE" if transaction else ""}
    cluster.dress_up(ID=number, PROXY_SESSID=number + 2**33, SVR_IP=server, **(row | columns))


def locked(cluster: Cluster) -> None:
    """Let one client wait for a lock of the other, each on two servers; another tenant has the same numbers."""
    for server in ("10.0.0.9", "10.0.0.8"):
        client(cluster, CLIENT, 11 if server == "10.0.0.9" else 0, server=server)
    client(cluster, OTHER, 0)
    client(cluster, OTHER, 9, server="10.0.0.8", COMMAND="Query", STATE="ACTIVE", INFO="UPDATE", RETRY_INFO=-6005)
    client(cluster, 524291, 11, TENANT="billing")
    client(cluster, 524292, 9, TENANT="billing")
    blocks(cluster, SHOP, HOLDER, holding=11, waiting=9, waiter=WAITER)
    blocks(cluster, BILLING, HOLDER, holding=12, waiting=9, waiter=WAITER)
    blocks(cluster, BILLING, HOLDER, holding=11, waiting=8, waiter=WAITER)
    for tenant, minutes in ((BILLING, 600), (SHOP, 3)):
        opens(cluster, tenant, HOLDER, 11, minutes=minutes)


def test_behind_a_proxy_holders_and_waiters_are_found_by_transaction_and_tenant_and_named_as_the_list_names_them(
    cluster: Cluster, cluster_source: Make
) -> None:
    locked(cluster)
    prod = cluster_source()
    (waiting,) = prod.find(OTHER, None)
    (holding,) = prod.find(CLIENT, None)
    found = prod.waits()
    (its,) = found.holders(waiting)
    assert isinstance(its.holder, Session)
    assert (its.holder.id, its.holder.tenant, its.waited) == (CLIENT, "shop", 5.0)
    assert its.holder.transaction is not None
    assert its.holder.transaction.age is not None
    assert 170 < its.holder.transaction.age < 250
    assert [one.waiter.id for one in found.waiters(holding)] == [OTHER]
    age = prod.details(holding).transaction_age
    assert age is not None
    assert 170 < age < 250


def test_a_client_waits_for_a_session_that_is_connected_directly(cluster: Cluster, cluster_source: Make) -> None:
    client(cluster, OTHER, 9, COMMAND="Query", STATE="ACTIVE", RETRY_INFO=-6005)
    client(cluster, CLIENT, 7, USER="", MASTER_SESSID=NUMBER)  # does a part of its statement, on another server
    blocks(cluster, SHOP, 77, holding=7, waiting=9, waiter=WAITER)
    (its,) = cluster_source().waits().waits
    assert isinstance(its.holder, Session)
    assert (its.waiter.id, its.holder.id) == (OTHER, NUMBER)


def test_where_a_clients_tenant_cannot_be_told_no_holder_is_named(cluster: Cluster, cluster_source: Make) -> None:
    cluster.run("DROP TABLE oceanbase.DBA_OB_TENANTS")
    locked(cluster)
    prod = cluster_source()
    assert prod.waits().waits == ()
    assert prod.details(prod.find(CLIENT, None)[0]).transaction_age is None


def test_a_clients_transaction_that_began_before_its_statement_is_known_for_one(
    cluster: Cluster, cluster_source: Make
) -> None:
    client(cluster, CLIENT, 11, TRANS_STATE="IMPLICIT_ACTIVE", COMMAND="Query", STATE="ACTIVE", INFO="UPDATE stock")
    opens(cluster, BILLING, HOLDER, 11)
    opens(cluster, SHOP, HOLDER, 11, minutes=3)
    (session,) = cluster_source().find(CLIENT, None)
    assert session.lasting_transaction


def test_what_pins_a_client_on_several_servers_is_read_for_a_close_by_a_filter(
    cluster: Cluster, cluster_source: Make
) -> None:
    locked(cluster)
    opens(cluster, SHOP, HOLDER, 9, minutes=3)
    prod = cluster_source()
    found = prod.page(SessionQuery(), frozenset({"shop"}), pinned=True).sessions
    assert {(one.id, one.transaction_id) for one in found} == {(CLIENT, 11), (OTHER, 9), (NUMBER, 7)}
    assert all(one.servers for one in found if one.client_session)


@pytest.mark.parametrize("unnamed", [None, "", "0"])
def test_a_holder_whose_session_the_view_of_locks_does_not_name_is_known_by_its_transaction(
    cluster: Cluster, cluster_source: Make, unnamed: object
) -> None:
    cluster.dress_up(ID=3221490005, TRANS_ID=11, TRANS_STATE="ACTIVE")
    blocks(cluster, SHOP, unnamed, holding=11, waiting=7, waiter=NUMBER)
    opens(cluster, SHOP, 3221490005, 11, minutes=3)
    (its,) = cluster_source().waits().waits
    assert isinstance(its.holder, Session)
    assert (its.holder.id, its.waited) == (3221490005, 5.0)
