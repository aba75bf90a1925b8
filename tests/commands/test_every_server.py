"""The whole flow on every kind of server that there is, and on servers whose defaults are odd."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from bot.closing.store import audit_log
from sandbox.databases.embedded import EmbeddedServer
from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.support.documents import grants
from tests.support.odd_settings import odd_settings
from tests.support.servers import EmbeddedMySQL
from tests.support.stage import MariaDBStage, MySQLStage, Stage, accounts, staged_as
from tests.support.stores import store_at
from tests.support.whole_flow import whole_flow

KEEPER = "keeper"


def kind_of_stage(server: EmbeddedServer) -> type[Stage]:
    if isinstance(server, EmbeddedOceanBase):
        return Stage
    return MySQLStage if isinstance(server, EmbeddedMySQL) else MariaDBStage


@pytest.fixture(params=["oceanbase", "mariadb", "mysql"], ids=["oceanbase-4.3.5", "mariadb", "mysql"])
def server(request: pytest.FixtureRequest) -> EmbeddedServer:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, EmbeddedServer)
    return found


@contextlib.contextmanager
def store_on(server: EmbeddedServer) -> Iterator[str]:
    """Give the URL of a store there, with the login that the guide asks for."""
    with server.connect() as admin, admin.cursor() as cursor:
        cursor.execute("CREATE DATABASE session_bot")
        cursor.execute(f"CREATE USER {KEEPER} IDENTIFIED BY '{server.password}'")
        for grant in grants("Two replicas on one store"):
            cursor.execute(f"{grant} TO {KEEPER}")
        try:
            url = sa.URL.create("mysql+pymysql", KEEPER, server.password, server.host, server.port, "session_bot")
            yield url.render_as_string(hide_password=False)
        finally:
            cursor.execute("DROP DATABASE session_bot")
            cursor.execute(f"DROP USER {KEEPER}")


def test_the_whole_flow_on_the_kernels(stage: Stage) -> None:
    whole_flow(stage)


@pytest.mark.parametrize("name", ["mariadb", "mariadb118", "mysql"])
def test_the_whole_flow_on_mariadb_and_mysql(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    server = request.getfixturevalue(name)
    with staged_as(kind_of_stage(server), server, tmp_path, user="root") as stage:
        whole_flow(stage)


def test_the_whole_flow_with_all_settings_odd_where_the_sessions_are_and_where_the_store_is(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    accounts(server)
    with store_on(server) as url, odd_settings(server) as odd:
        assert {"sql_mode", "sql_safe_updates", "sql_select_limit", "autocommit", "init_connect"} <= set(odd)
        with staged_as(kind_of_stage(server), server, tmp_path, user="root", store=url) as stage:
            whole_flow(stage)
        with store_at(url) as store, store.database.reading() as connection:
            record = audit_log.whole(connection)
        assert [row["event"] for row in record if row["event"] in ("request", "confirm", "intent", "outcome")] == [
            *("request", "confirm", "intent", "outcome"),
            *("request", "confirm", "intent", "outcome"),
        ]
        assert audit_log.problems(record) == []
