"""Many tenants, servers and proxies, on the stand-in cluster."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pymysql
import pytest

from bot.demo.mariadb import EmbeddedMariaDB
from bot.errors import DataSourceError, SessionOutOfReachError, UnknownSessionError
from bot.sessions.database import Connection
from bot.sessions.direct import kill_directly
from bot.sessions.endpoint import Endpoint
from bot.sessions.model import Condition, Field, Mode, Operator, Session, SessionFilter, SessionQuery
from bot.sessions.source import Console, DataSource, DataSourceOptions
from tests.cluster import BOT, Cluster
from tests.conftest import leave_out
from tests.odp import Odp
from tests.patience import PATIENCE
from tests.stage import APP_PASSWORD, Statement, session_id

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
    deadline = time.monotonic() + PATIENCE
    while (found := look()) is None:
        assert time.monotonic() < deadline, "it never came"
    return found


def wait_until_gone(console: Console, number: int) -> None:
    """Wait for a closed session's end: MariaDB shows it as Killed until its thread has noticed."""
    deadline = time.monotonic() + PATIENCE
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


@pytest.mark.parametrize("errno", [1094, 4016])
def test_what_a_proxy_does_not_reach_is_closed_on_its_own_server(cluster: Cluster, source: Make, errno: int) -> None:
    victim = cluster.connect("app@shop", server="127.0.0.1")
    number = session_id(victim)
    cluster.place(number, server="10.0.0.2", port=2881)  # of another server, under the same id
    with Odp(cluster.database.host, cluster.database.port, errno) as odp, source(port=odp.port).console() as console:
        here = f"127.0.0.1:{cluster.database.port}"
        assert {one.server for one in console.find(number)} == {here, "10.0.0.2:2881"}
        console.kill(next(one for one in console.find(number) if one.server == here), Mode.SESSION)
        assert odp.kills == [b"KILL %d" % number]
        wait_until_gone(console, number)


def test_of_a_query_beyond_the_proxy_only_the_run_that_was_looked_at_is_closed(cluster: Cluster, source: Make) -> None:
    client = cluster.connect("app@shop")
    with Odp(cluster.database.host, cluster.database.port) as odp, source(port=odp.port).console() as console:

        def running() -> Session | None:
            return next((one for one in console.find(first.id) if one.running), None)

        first = Statement(client, "SELECT SLEEP(60)")
        seen = wait_for(running)
        console.kill(seen, Mode.QUERY)
        assert first.ended() == 1317
        again = Statement(client, "SELECT SLEEP(60)")
        wait_for(running)
        with pytest.raises(UnknownSessionError):
            console.kill(seen, Mode.QUERY)
        assert again.is_alive()
        console.kill(wait_for(running), Mode.QUERY)
        assert again.ended() == 1317


def test_a_server_that_cannot_be_asked_is_told_and_nothing_is_closed(cluster: Cluster, source: Make) -> None:
    with socket.socket() as unused, Odp(cluster.database.host, cluster.database.port) as odp:
        unused.bind(("127.0.0.1", 0))
        victim = cluster.connect("app@shop", server="127.0.0.1", port=unused.getsockname()[1])
        with source(port=odp.port).console() as console:
            (session,) = console.find(session_id(victim))
            with pytest.raises(SessionOutOfReachError, match=r"server could not be asked\. Nothing was closed"):
                console.kill(session, Mode.SESSION)
        victim.ping(reconnect=False)


def test_where_there_is_no_other_address_it_is_not_called_gone(cluster: Cluster, source: Make) -> None:
    with Odp(cluster.database.host, cluster.database.port) as odp, source(port=odp.port).console() as console:
        victim = cluster.connect("app@shop", server="127.0.0.1", port=odp.port)
        (session,) = console.find(session_id(victim))
        with pytest.raises(DataSourceError, match=r"Unknown thread id.*Yet it was still listed then") as told:
            console.kill(session, Mode.SESSION)
        assert type(told.value) is DataSourceError
        assert len(odp.kills) == 1
        victim.ping(reconnect=False)


def test_another_session_under_the_same_id_is_not_closed_on_the_server(cluster: Cluster, source: Make) -> None:
    victim = cluster.connect("app@shop")
    with Odp(cluster.database.host, cluster.database.port) as odp, source(port=odp.port).console() as console:
        (session,) = console.find(session_id(victim))
        moved = replace(session, peer="10.0.3.7:50112")
        with pytest.raises(UnknownSessionError):
            console.kill(moved, Mode.SESSION)
        proxy = Endpoint.of("prod", "127.0.0.1", odp.port, f"{BOT}#prod", APP_PASSWORD)
        refused = UnknownSessionError("Unknown thread id", errno=1094)
        with pytest.raises(UnknownSessionError, match="has no such session"):
            kill_directly(proxy, (), console._dialect, moved, Mode.SESSION, refused)
        victim.ping(reconnect=False)
        kill_directly(proxy, (), console._dialect, session, Mode.SESSION, refused)
        wait_until_gone(console, session.id)


def test_a_server_of_ipv6_is_reached_by_its_address(cluster: Cluster, source: Make) -> None:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        leave_out("this machine has no IPv6")
    # The MariaDB listens on IPv4 alone: another stand-in, which keeps nothing back, carries IPv6 to it.
    with (
        Odp(cluster.database.host, cluster.database.port) as odp,
        Odp(cluster.database.host, cluster.database.port, errno=None, address="::1") as server,
        source(port=odp.port).console() as console,
    ):
        victim = cluster.connect("app@shop", server="::1", port=server.port)
        (session,) = console.find(session_id(victim))
        assert session.server == f"[::1]:{server.port}"
        console.kill(session, Mode.SESSION)
        assert (len(odp.kills), server.kills) == (1, [])
        wait_until_gone(console, session.id)
