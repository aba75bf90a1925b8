"""Many tenants, servers and proxies, on the stand-in cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pymysql
import pytest

from bot.demo.mariadb import EmbeddedMariaDB
from bot.sessions.console import Console
from bot.sessions.database import Connection
from bot.sessions.endpoint import Endpoint
from bot.sessions.model import Condition, Field, Mode, Operator, Session, SessionFilter, SessionQuery
from bot.sessions.source import DataSource, DataSourceOptions
from tests.cluster import BOT, Cluster
from tests.stage import APP_PASSWORD, session_id

Make = Callable[..., DataSource]


@pytest.fixture(scope="module")
def standing(mariadb: EmbeddedMariaDB) -> Iterator[Cluster]:
    with Cluster(mariadb) as cluster:
        yield cluster


@pytest.fixture
def cluster(standing: Cluster) -> Iterator[Cluster]:
    yield standing
    standing.tidy()


@pytest.fixture
def source(cluster: Cluster) -> Iterator[Make]:
    made: list[DataSource] = []

    def make(user: str = BOT, port: int = 0, **options: Any) -> DataSource:
        endpoint = Endpoint.of("prod", cluster.database.host, port or cluster.database.port, user, APP_PASSWORD)
        made.append(DataSource(endpoint, DataSourceOptions(**options)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def wait_for(look: Callable[[], Session | None]) -> Session:
    deadline = time.monotonic() + 10
    while (found := look()) is None:
        assert time.monotonic() < deadline, "it never came"
    return found


def wait_until_gone(console: Console, number: int) -> None:
    """Wait for a closed session's end: MariaDB shows it as Killed until its thread has noticed."""
    deadline = time.monotonic() + 10
    while console.find(number):
        assert time.monotonic() < deadline, "it is still there"


def asked(field: Field, *values: str) -> SessionQuery:
    return SessionQuery(filter=SessionFilter((Condition(field, Operator.CONTAINS, values),)))


def test_from_the_sys_tenant_the_sessions_of_all_tenants_are_seen(cluster: Cluster, source: Make) -> None:
    for name in ("app@shop", "report@billing", "dba@sys"):
        cluster.connect(name)
    page = source().page(SessionQuery(), None)
    assert {(one.tenant, one.user) for one in page.sessions} == {("shop", "app"), ("billing", "report"), ("sys", "dba")}


def test_the_tenants_that_somebody_may_see_narrow_the_list_and_its_totals_in_the_database(
    cluster: Cluster, source: Make
) -> None:
    cluster.connect("app@shop")
    cluster.connect("report@billing")
    page = source().page(SessionQuery(), frozenset({"billing"}))
    assert [one.tenant for one in page.sessions] == ["billing"]
    assert (page.total, page.matching) == (1, 1)
    assert source(tenants=frozenset({"shop"})).page(SessionQuery(), frozenset({"billing"})).total == 0


def test_a_tenants_own_login_sees_its_own_tenant(cluster: Cluster, source: Make) -> None:
    cluster.user("boss@billing", "PROCESS")
    cluster.connect("app@shop")
    cluster.connect("report@billing")
    assert [one.user for one in source("boss@billing").page(SessionQuery(), None).sessions] == ["report"]


def test_server_proxy_and_client_are_told_apart_and_searched(cluster: Cluster, source: Make) -> None:
    direct = cluster.connect("app@shop", server="fe80::7")
    behind = cluster.connect("app@shop", server="10.0.0.2", port=2881, proxy="10.9.0.1:33060", client="10.0.3.9")
    prod = source()
    seen = {one.id: one for one in prod.page(SessionQuery(), None).sessions}
    assert seen[session_id(direct)].server == f"[fe80::7]:{cluster.database.port}"
    assert seen[session_id(direct)].proxy is None
    through = seen[session_id(behind)]
    assert (through.server, through.proxy, through.origin) == ("10.0.0.2:2881", "10.9.0.1", "10.0.3.9")
    assert [one.id for one in prod.page(asked(Field.SERVER, "fe80::7"), None).sessions] == [session_id(direct)]
    for typed in ("10.9.0.", str(through.proxy_session_id)):
        assert [one.id for one in prod.page(asked(Field.PROXY, typed), None).sessions] == [session_id(behind)]
    assert [one.id for one in prod.page(asked(Field.HOST, "10.0.3.9"), None).sessions] == [session_id(behind)]
    assert [one.id for one in prod.page(asked(Field.ANY, "10.9.0.1"), None).sessions] == [session_id(behind)]


def test_an_oracle_mode_tenants_session_is_listed_like_any_other(cluster: Cluster, source: Make) -> None:
    cluster.dress_up(ID=3221490000, TENANT="ora", USER="SCOTT")
    assert [(one.tenant, one.user) for one in source().page(SessionQuery(), None).sessions] == [("ora", "SCOTT")]


def test_a_session_of_another_tenant_is_closed_for_real(cluster: Cluster, source: Make) -> None:
    victim = cluster.connect("app@shop")
    with source().console() as console:
        console.kill(console.find(session_id(victim))[0], Mode.SESSION)
        wait_until_gone(console, session_id(victim))
    with pytest.raises(pymysql.err.OperationalError):
        victim.ping(reconnect=False)


def test_of_five_thousand_sessions_a_page_moves_only_the_rows_it_shows(
    cluster: Cluster, source: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.dress_up_many(5000)
    fetched: list[int] = []
    rows = Connection.rows

    def counting(self: Connection, *statement: Any) -> list[tuple[Any, ...]]:
        answer = rows(self, *statement)
        fetched.append(len(answer))
        return answer

    prod = source()
    prod.page(SessionQuery(), None)
    monkeypatch.setattr(Connection, "rows", counting)
    page = prod.page(SessionQuery(limit=20, page=250), None)
    assert (page.total, len(page.sessions)) == (5000, 20)
    assert sum(fetched) <= 20 + 1 + 5, "the page, its totals, and what is looked up of the server at most"
