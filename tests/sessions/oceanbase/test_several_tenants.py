"""Transactions and locks of several tenants, each of which counts its transactions by itself, on the stand-in cluster.

The views are tables with the columns that the documentation of OceanBase 4.3 gives them; no real cluster was seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from bot.closing.model import Outcome
from bot.closing.verification import verify
from bot.sessions.kill import Answer, Sent
from bot.sessions.model import Mode, Session
from bot.sessions.source import DataSource
from bot.sessions.statement import Disclosure
from bot.slack.views import session_details
from sandbox.databases.mariadb import EmbeddedMariaDB
from tests.sessions.conftest import Make
from tests.support.cluster import Cluster
from tests.support.slack_text import text_of

VIEWS = """
DELETE FROM oceanbase.DBA_OB_TENANTS;
INSERT INTO oceanbase.DBA_OB_TENANTS (TENANT_ID, TENANT_NAME)
VALUES (1, 'sys'), (1002, 'shop'), (1004, 'Shop'), (1006, 'billing');
CREATE TABLE oceanbase.`GV$OB_TRANSACTION_SCHEDULERS` (
  TENANT_ID BIGINT, SESSION_ID BIGINT, TX_ID BIGINT, ACTIVE_TIME TIMESTAMP(6));
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
        "INSERT INTO oceanbase.`GV$OB_TRANSACTION_SCHEDULERS` VALUES (%s, %s, %s, NOW(6) - INTERVAL %s MINUTE)",
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
        assert verify(console, Sent(before, Answer.OK), Mode.SESSION).outcome is Outcome.CLOSED


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
    cluster.run("INSERT INTO oceanbase.`GV$OB_TRANSACTION_SCHEDULERS` VALUES (3221490001, 7, NOW(6))")
    assert is_open(prod) is False
    assert prod.details(of_shop(prod)).transaction_age is None, "the other's age is not its own"


def test_details_tell_the_age_the_holder_and_the_waiters_of_the_sessions_own_tenant(
    cluster: Cluster, cluster_source: Make
) -> None:
    prod = cluster_source()
    for tenant, minutes in ((BILLING, 600), (SHOP, 3)):
        opens(cluster, tenant, NUMBER, minutes=minutes)
        opens(cluster, tenant, 3221490005, 11, minutes=minutes)
        blocks(cluster, tenant, 3221490005 + tenant, holding=11, waiting=7, waiter=NUMBER)
        blocks(cluster, tenant, NUMBER, waiter=3221490003 + tenant)
    details = prod.details(of_shop(prod))
    assert details.transaction_age is not None
    assert 170 < details.transaction_age < 250
    (holder,) = details.holders
    assert holder.id == 3221490005 + SHOP
    assert holder.transaction_age is not None
    assert holder.transaction_age < 250
    assert details.waiters == (3221490003 + SHOP,)


@pytest.mark.parametrize("unnamed", [None, "", "0"])
def test_a_holder_whose_session_the_server_does_not_name_is_said_to_be_that(
    cluster: Cluster, cluster_source: Make, unnamed: object
) -> None:
    prod = cluster_source()
    blocks(cluster, SHOP, unnamed, holding=11, waiting=7, waiter=NUMBER)
    opens(cluster, SHOP, 0, 11, minutes=3)
    details = prod.details(of_shop(prod))
    assert details.caveats == ()
    (holder,) = details.holders
    assert (holder.id, holder.waited, holder.session) == (None, 5.0, None)
    said = text_of(
        {"blocks": session_details.session_details(details, datetime.now(UTC), disclosure=Disclosure.DIGEST).payload()}
    )
    assert "held by a session that this server does not name, its transaction open for 180 s" in said
