"""When its server was started, which tells a session from another one that gets its id after a restart."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.sessions.endpoint import Endpoint
from bot.sessions.model import Pin, Session, SessionQuery
from bot.sessions.oceanbase.dialect import _ProcessList, _server_started
from bot.sessions.source import DataSource, DataSourceOptions
from sandbox.databases.mariadb import EmbeddedMariaDB
from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.conftest import SEEKDB_14, installed_server, leave_out
from tests.support.cluster import BOT, Cluster
from tests.support.patience import PATIENCE
from tests.support.sessions import like
from tests.support.stage import APP_PASSWORD, accounts, session_id

Login = Callable[..., DataSource]
STARTED = datetime(2026, 11, 1, 6, tzinfo=UTC).timestamp()


@pytest.fixture
def login() -> Iterator[Login]:
    """Log in as somebody; closed after the test."""
    with contextlib.ExitStack() as opened:

        def log_in(database: EmbeddedOceanBase | EmbeddedMariaDB, user: str, password: str) -> DataSource:
            endpoint = Endpoint("prod", database.host, database.port, user, SecretStr(password))
            return opened.enter_context(contextlib.closing(DataSource(endpoint, DataSourceOptions())))

        yield log_in


def one(prod: DataSource, session: int, server: str | None = None) -> Session:
    return next(found for found in prod.find(session, None) if server in (None, found.server))


def seekdb_14() -> Path:
    return SEEKDB_14 if SEEKDB_14.is_file() else leave_out("seekdb 1.4 is not installed in .venv/seekdb-1.4")


@pytest.mark.parametrize("server", [installed_server, seekdb_14], ids=["seekdb-1.3", "seekdb_1.4"])
def test_a_session_of_before_a_restart_is_not_taken_for_one_of_after_it(
    server: Callable[[], Path], login: Login
) -> None:
    with EmbeddedOceanBase(server=server()) as database:
        with database.connect() as admin, admin.cursor() as cursor:
            packages = "SELECT 1 FROM oceanbase.__all_package WHERE package_name = 'dbms_vector'"
            assert cursor.execute(packages), "who tags a session would wait for it, and a 1.4 must not end before"
        accounts(database)
        logins = [login(database, "root", database.password), login(database, "teller", APP_PASSWORD)]
        pins = []
        with database.connect(user="auditor", password=APP_PASSWORD) as client:
            for prod in logins:
                seen = one(prod, session_id(client))
                assert seen.server_started is not None, "whoever may log in is told it"
                pins.append(Pin.of(like(seen, peer="0.0.0.0:0", origin="unix:")))  # as a Unix socket shows it
                assert pins[-1].enough
                assert pins[-1].same_session(like(one(prod, seen.id), peer="0.0.0.0:0", origin="unix:"))
            (listed,) = [found for found in logins[0].page(SessionQuery(), None).sessions if found.id == seen.id]
            assert listed.server_started is None, "a list does without"
        database.restart()
        with database.connect(user="auditor", password=APP_PASSWORD) as client:
            for prod, pin in zip(logins, pins, strict=True):
                now = one(prod, session_id(client))
                reused = like(now, id=pin.id, peer="0.0.0.0:0", origin="unix:")
                assert not pin.same_session(reused)
                assert pin.same_session(replace(reused, server_started=pin.session.server_started))


def test_a_server_that_is_frozen_while_it_is_looked_at_is_not_another_run_of_it(
    restartable: EmbeddedOceanBase, login: Login
) -> None:
    prod = login(restartable, "root", restartable.password)
    with restartable.connect() as client, ThreadPoolExecutor(1) as looks:
        pin = Pin.of(one(prod, session_id(client)))
        restartable.suspend()
        try:
            look = looks.submit(one, prod, pin.id)
            with pytest.raises(TimeoutError):
                look.result(2)  # more than the starts of one run may differ
        finally:
            restartable.resume()
        assert pin.same_session(look.result(PATIENCE))


@pytest.fixture
def cluster(mariadb: EmbeddedMariaDB) -> Iterator[Cluster]:
    with Cluster(mariadb) as cluster:
        yield cluster


SERVERS = "oceanbase.DBA_OB_SERVERS"
SECOND = "10.0.0.2:2881"


@pytest.mark.parametrize("kind", ["datetime(6)", "timestamp(6)", "bigint"])
def test_of_a_cluster_each_row_has_the_start_of_its_own_server(cluster: Cluster, login: Login, kind: str) -> None:
    later = STARTED + 86_400.25
    cluster.run(f"ALTER TABLE {SERVERS} DROP COLUMN START_SERVICE_TIME", f"ALTER TABLE {SERVERS} ADD COLUMN x INT")
    cluster.run(f"ALTER TABLE {SERVERS} CHANGE x START_SERVICE_TIME {kind} NULL INVISIBLE")
    told = "%s * 1000000" if kind == "bigint" else "FROM_UNIXTIME(%s)"
    cluster.run(f"UPDATE {SERVERS} SET START_SERVICE_TIME = {told}", values=(STARTED,))
    cluster.run(f"INSERT INTO {SERVERS} VALUES ('10.0.0.2', 2882, 2, 'z2', 2881, 'ACTIVE')")
    cluster.run(f"UPDATE {SERVERS} SET START_SERVICE_TIME = {told} WHERE ID = 2", values=(later,))
    prod = login(cluster.database, BOT, APP_PASSWORD)
    client = cluster.connect("app@shop", server="10.0.0.2", port=2881)
    other = cluster.connect("app@shop")
    assert one(prod, session_id(client)).server_started == later
    assert one(prod, session_id(other)).server_started == STARTED
    pin = Pin.of(one(prod, session_id(client)))
    cluster.run(f"UPDATE {SERVERS} SET START_SERVICE_TIME = {told} WHERE ID = 2", values=(later + 60,))
    assert not pin.same_session(one(prod, session_id(client)))
    cluster.run(f"UPDATE {SERVERS} SET START_SERVICE_TIME = NULL WHERE ID = 2")
    assert one(prod, session_id(client)).server_started is None, "it is not serving yet"


def test_of_a_server_that_is_not_listed_or_whose_list_is_closed_to_the_login_it_is_not_known(
    cluster: Cluster, login: Login
) -> None:
    client = cluster.connect("app@shop", server="10.0.0.7", port=2881)
    prod = login(cluster.database, BOT, APP_PASSWORD)
    assert one(prod, session_id(client)).server_started is None
    here = cluster.connect("app@shop")
    cluster.run(f"ALTER TABLE {SERVERS} DROP COLUMN START_SERVICE_TIME")
    assert one(login(cluster.database, BOT, APP_PASSWORD), session_id(here)).server_started is None


def test_where_the_servers_may_not_be_read_the_one_that_answers_tells_its_own_start(
    restartable: EmbeddedOceanBase, login: Login
) -> None:
    """No cluster runs here, but the real kernel evaluates the expression over rows of two servers."""
    prod = login(restartable, "root", restartable.password)
    rows = (
        "SELECT host_ip() AS SVR_IP, mysql_port() AS SQL_PORT UNION ALL SELECT host_ip(), mysql_port() + 1 "
        "UNION ALL SELECT '10.0.0.7', mysql_port()"
    )
    with prod.console() as console:
        known = one(prod, console._connection.id).server_started
        assert known is not None
        columns = dict.fromkeys(("SVR_IP", "SVR_PORT", "SQL_PORT"), 8)
        found = _ProcessList("oceanbase.GV$OB_PROCESSLIST", columns)
        told = _server_started(console._connection, found, None, seekdb=False)
        here, *elsewhere = console._connection.rows(f"SELECT {told} FROM ({rows}) several")
        assert abs(float(here[0]) - known) < 1.5
        assert elsewhere == [(None,), (None,)]
        nowhere = _ProcessList("information_schema.PROCESSLIST", {})
        assert _server_started(console._connection, nowhere, None, seekdb=False) == "NULL"
