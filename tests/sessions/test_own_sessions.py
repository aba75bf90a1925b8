"""The bot's own sessions where a proxy loses the tag by which it tells them: on real kernels, and on the stand-in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from bot.sessions.model import Session, SessionQuery
from bot.sessions.source import DataSource
from bot.sessions.statistics import Grouping
from sandbox.databases.mariadb import EmbeddedMariaDB
from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.sessions.conftest import Make
from tests.support.cluster import Cluster
from tests.support.odp import Odp
from tests.support.stage import session_id


def listed(prod: DataSource) -> dict[tuple[str | None, int], Session]:
    page = prod.page(SessionQuery(limit=50), None)
    assert page.total == prod.statistics(SessionQuery(), Grouping.USER, None).total
    return {(one.server, one.id): one for one in page.sessions}


def listed_ids(prod: DataSource) -> set[int]:
    return {number for _, number in listed(prod)}


def test_behind_a_proxy_that_loses_the_tag_the_bots_own_sessions_are_neither_listed_nor_closed(
    database: EmbeddedOceanBase, source: Make
) -> None:
    source().description()  # a seekdb 1.4 that has just started takes five seconds for the first look-up of a routine
    with Odp(database.host, database.port, loses=b"dbms_application_info") as odp, database.connect() as other:
        prod = source(port=odp.port)
        with contextlib.ExitStack() as held:
            own = {held.enter_context(prod.console())._connection.id for _ in range(3)}
            assert len(own) == 3
            assert not own & listed_ids(prod)
            for number in own:
                (found,) = prod.find(number, None)
                assert found.client.module is None, "the tag is lost"
                assert found.own
        assert session_id(other) in listed_ids(prod), "of the same login, and somebody else's"


def test_the_id_of_an_own_session_that_has_ended_is_nobodys_any_more(database: EmbeddedOceanBase, source: Make) -> None:
    with Odp(database.host, database.port, loses=b"dbms_application_info") as odp:
        prod = source(port=odp.port)
        with prod.console() as first, prod.console() as second:
            ended, left = first._connection.id, second._connection.id
            assert {one.id for one in prod._pool.own()} == {ended, left}
            with database.connect() as admin, admin.cursor() as cursor:
                cursor.execute(f"KILL {ended}")
            with contextlib.suppress(Exception):  # it is gone
                first._connection.rows("SELECT 1")
            assert {one.id for one in prod._pool.own()} == {left}
        prod.close()
        assert prod._pool.own() == ()


@pytest.fixture
def cluster(mariadb: EmbeddedMariaDB) -> Iterator[Cluster]:
    with Cluster(mariadb, tagged=False) as cluster:
        yield cluster


def test_another_servers_session_with_the_id_of_one_of_the_bots_is_shown(
    cluster: Cluster, cluster_source: Make
) -> None:
    prod = cluster_source()
    with prod._pool.connection() as one, prod._pool.connection() as another:
        ids = {one.id, another.id}
        for number in ids:
            cluster.dress_up(ID=number, USER="app", TENANT="shop")
    with prod.console(), prod.console():
        assert set(listed(prod)) == {("10.0.0.9:2881", number) for number in ids}


def test_of_two_sessions_with_one_id_and_the_bots_login_neither_is_closed_by_mistake(
    cluster: Cluster, cluster_source: Make
) -> None:
    prod = cluster_source()
    with prod._pool.connection() as connection:
        cluster.dress_up(ID=connection.id, USER="bot", TENANT="sys")
        prod._pool._own.clear()  # as if that had been there when the connection was made
    with prod.console():
        assert listed(prod) == {}, "which of the two is the bot's is not known"


def test_a_connection_of_the_bot_through_a_proxy_is_its_own_on_every_server_it_is_carried_to(
    cluster: Cluster, cluster_source: Make
) -> None:
    prod = cluster_source()
    with prod._pool.connection() as connection:
        number = connection.id
        for server in ("10.0.0.1", "10.0.0.2"):
            cluster.place(number, server=server, port=2881, proxy="10.9.0.1:33060", client="10.0.3.9")
        cluster.dress_up(ID=number, PROXY_SESSID=5, SVR_IP="10.0.0.3")  # another proxy's client of that id
        prod._pool._own.clear()  # as if all that had been there when the connection was made
    with prod.console():
        assert list(listed(prod)) == [("10.0.0.3:2881", number)]
        assert [one.own for one in sorted(prod.find(number, None), key=lambda one: one.server or "")] == [
            True,
            False,  # the bot's, on its two servers, and the other client's
        ]
