"""What triage reads of real servers, and that a check which hangs or is denied takes nothing from the others."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pymysql
import pytest

from bot.sessions.diagnosis.examination import Examination, Helpers, Result
from bot.sessions.diagnosis.survey import Limit
from bot.sessions.diagnosis.triage import Check, LongStatement, Thresholds
from bot.sessions.source import DataSource, DataSourceOptions
from bot.sessions.waits.advice import advise
from bot.sessions.waits.case import Case
from sandbox.databases.embedded import EmbeddedServer
from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.sessions.conftest import PASSWORD, Make, end, read_until, until
from tests.sessions.examples import MARIA_PASSWORD
from tests.support.relay import Relay
from tests.support.stage import RunningStatement

QUICK = Thresholds(statement_over=0.0)
LIMIT = 1.0  # seconds for a statement


def examined(prod: DataSource, thresholds: Thresholds = QUICK, tenants: frozenset[str] | None = None) -> Result:
    examination = Examination(prod, tenants, thresholds, Helpers(lambda graph, who: advise(Case.of(who, graph))))
    assert examination.result.pending
    examination.run()
    return examination.result


def timed(prod: DataSource) -> tuple[Result, float]:
    started = time.monotonic()
    return examined(prod), time.monotonic() - started


@pytest.fixture
def report(database: EmbeddedOceanBase) -> Iterator[RunningStatement]:
    with contextlib.closing(database.connect()) as connection:
        with connection.cursor() as cursor:
            cursor.execute("SET ob_query_timeout = 600000000")  # else it ends after 10 s
        statement = RunningStatement(connection, "SELECT SLEEP(600)")
        yield statement
        end(database, statement)


def test_a_check_that_hangs_is_not_checked_and_the_others_are_within_three_seconds(
    database: EmbeddedOceanBase, source: Make, report: RunningStatement
) -> None:
    with Relay(database.port) as relay:
        prod = source(DataSourceOptions(diagnosis_limit=LIMIT), port=relay.port)
        until(lambda: any(one.id == report.id for one in prod.survey(None).sessions))
        with relay.holds("V$OB_LOCKS"):
            # A busy machine may take another read its second as well.
            found, took = read_until(lambda: timed(prod), lambda now: not now[0].not_checked[1:])
    assert [check for check, _ in found.not_checked] == [Check.WAITS]
    assert "took too long" in found.not_checked[0][1]
    assert set(found.checked) == set(Check) - {Check.WAITS}
    long = [one for one in found.findings if isinstance(one, LongStatement)]
    assert report.id in {one.session.id for one in long}, "beside what others run on that kernel"
    assert {one.advice for one in long} == {None}, "nothing is advised then"
    assert not found.pending
    assert took < 30, "each of its reads has one second"


def test_what_cannot_be_reached_is_told_with_why_and_is_asked_no_more(source: Make) -> None:
    found = examined(source(port=1))
    assert "prod" in found.problem
    assert (found.checked, found.not_checked, found.pending) == ((), (), False)


def test_somebody_who_may_see_no_tenant_of_it_is_told_of_no_session(source: Make, report: RunningStatement) -> None:
    prod = source()
    until(lambda: any(one.id == report.id for one in prod.survey(None).sessions))
    found = examined(prod, tenants=frozenset({"billing"}))
    assert (found.findings, found.sessions, found.longest) == ((), 0, ())


@pytest.mark.parametrize("database", ["oceanbase"], indirect=True, ids=["oceanbase-4.3.5"])
def test_the_limit_of_a_tenant_on_a_server_is_the_kernels_own(database: EmbeddedOceanBase, source: Make) -> None:
    [limit] = source().limits().limits
    assert (limit.name, limit.tenant) == ("sessions of a tenant on a server", "sys")
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT value FROM oceanbase.V$SYSSTAT WHERE name = 'max session num'")
        assert cursor.fetchone() == (limit.most,)
    assert limit.used >= 1


@pytest.mark.parametrize("database", ["oceanbase"], indirect=True, ids=["oceanbase-4.3.5"])
def test_limits_that_a_login_may_not_read_are_named_with_their_grants(
    database: EmbeddedOceanBase, source: Make, user: str
) -> None:
    prod = source(user=user, password=PASSWORD)
    said = " ".join(prod.limits().lacks)
    assert "GRANT SELECT ON oceanbase.V$SYSSTAT" in said
    assert "GRANT SELECT (user, max_user_connections) ON mysql.user" in said
    with database.connect() as admin, admin.cursor() as cursor:
        cursor.execute(f"GRANT SELECT ON oceanbase.V$SYSSTAT TO {user}")
        cursor.execute(f"GRANT SELECT (user, max_user_connections) ON mysql.user TO {user}")
    until(lambda: prod.limits().lacks == ())


@pytest.mark.parametrize("server", ["mariadb", "mysql"], indirect=True)
def test_the_limits_of_mysql_and_mariadb_are_the_servers_and_those_of_its_accounts(
    server: EmbeddedServer, logins: str, crm_source: Callable[..., DataSource]
) -> None:
    crm = crm_source()
    assert "GRANT SELECT (user, max_user_connections) ON mysql.user" in " ".join(crm.limits().lacks)
    with server.connect() as admin, admin.cursor() as cursor:
        cursor.execute("GRANT SELECT (user, max_user_connections) ON mysql.user TO mysql_bot")
        cursor.execute(f"ALTER USER {logins} WITH MAX_USER_CONNECTIONS 7")
        cursor.execute("SELECT @@global.max_connections")
        [(most,)] = cursor.fetchall()
        with contextlib.ExitStack() as opened:
            for _ in range(3):
                opened.enter_context(server.connect(user=logins, password=MARIA_PASSWORD))
            until(lambda: Limit("max_user_connections", 3, 7, user=logins) in crm.limits().limits)
    found = crm.limits()
    assert found.lacks == ()
    assert [(one.name, one.most) for one in found.limits if one.user is None] == [("max_connections", most)]


@pytest.mark.parametrize("server", ["mariadb", "mysql"], indirect=True)
def test_the_latest_deadlock_of_mysql_and_mariadb_is_told_with_its_age(
    server: EmbeddedServer, logins: str, crm_source: Callable[..., DataSource]
) -> None:
    with server.connect() as admin, admin.cursor() as cursor:
        cursor.execute("INSERT INTO mysql_test.stock VALUES (71, 1), (72, 1)")

    def hold(sku: int) -> pymysql.Connection[Any]:
        client = opened.enter_context(server.connect(user=logins, password=MARIA_PASSWORD, database="mysql_test"))
        client.begin()
        with client.cursor() as cursor:
            cursor.execute("UPDATE stock SET quantity = 4 WHERE sku = %s", (sku,))
        return client

    with contextlib.ExitStack() as opened:
        clients = [hold(71), hold(72)]
        crossing = [
            RunningStatement(client, f"UPDATE stock SET quantity = 5 WHERE sku = {other}")
            for client, other in zip(clients, (72, 71), strict=True)
        ]
        assert sorted(one.ended() for one in crossing) == [0, 1213]
    latest = crm_source().recent_deadlocks(timedelta(minutes=5), None)
    assert latest is not None
    assert latest.ago < 60
