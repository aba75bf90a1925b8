"""Data sources on the kernels, on real MariaDBs and MySQL, and logins that differ in what they may."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pymysql
import pytest
from pydantic import SecretStr
from pymysql.cursors import Cursor

from bot.sessions.endpoint import Endpoint
from bot.sessions.model import Session
from bot.sessions.source import DataSource, DataSourceOptions
from sandbox.databases.embedded import EmbeddedServer
from sandbox.databases.mariadb import EmbeddedMariaDB
from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.sessions.examples import MARIA_PASSWORD
from tests.support.cluster import BOT, Cluster
from tests.support.documents import grants
from tests.support.patience import PATIENCE
from tests.support.servers import EmbeddedMySQL
from tests.support.stage import APP_PASSWORD, RunningStatement

PASSWORD = "service-password"
Make = Callable[..., DataSource]
T = TypeVar("T")


def gone(cursor: Cursor, processes: str, users: str) -> None:
    """Wait until no session of these users is left from the test before."""
    deadline = time.monotonic() + PATIENCE
    while cursor.execute(f"SELECT 1 FROM {processes} WHERE USER LIKE %s", (users,)):
        assert time.monotonic() < deadline, "the server keeps sessions whose clients are gone"


def until(condition: Callable[[], object]) -> None:
    """Wait for something; InnoDB shows its transactions anew only when nobody has asked for 0.1 s."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.12)


def read_until(read: Callable[[], T], fits: Callable[[T], object]) -> T:
    """Read something again and again until it is so, and return that reading."""
    found = [read()]

    def come() -> object:
        found.append(read())
        return fits(found[-1])

    if not fits(found[0]):
        until(come)
    return found[-1]


def one(source: DataSource, number: int) -> Session:
    """Look a session up by its id; there is one of it."""
    (session,) = source.find(number, None)
    return session


def end(server: EmbeddedServer, statement: RunningStatement) -> None:
    """Close the session of a statement, which may have ended."""
    with server.connect() as root, root.cursor() as cursor, contextlib.suppress(pymysql.Error):
        cursor.execute(f"KILL {statement.id}")
    statement.join(PATIENCE)


@pytest.fixture
def source(database: EmbeddedOceanBase) -> Iterator[Make]:
    """Make data sources on the kernel; they are closed after the test."""
    made: list[DataSource] = []

    def make(options: DataSourceOptions | None = None, **more: Any) -> DataSource:
        login = {"host": database.host, "port": database.port, "user": "root", "password": database.password, **more}
        login["password"] = SecretStr(login["password"])
        made.append(DataSource(Endpoint("prod", **login), options or DataSourceOptions()))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def user(database: EmbeddedOceanBase) -> Iterator[str]:
    """Give a user who may log in and nothing else."""
    with database.connect() as connection, connection.cursor() as cursor:
        gone(cursor, "oceanbase.V$OB_PROCESSLIST", "service_test")
        cursor.execute(f"CREATE USER service_test IDENTIFIED BY '{PASSWORD}'")
        yield "service_test"
        cursor.execute("DROP USER service_test")


@pytest.fixture(scope="module")
def standing(mariadb: EmbeddedMariaDB) -> Iterator[Cluster]:
    """Give the stand-in cluster for all tests of a file."""
    with Cluster(mariadb, transactions=True) as cluster:
        yield cluster


@pytest.fixture
def cluster(standing: Cluster) -> Iterator[Cluster]:
    """Give the stand-in cluster; what the test has put there is cleared afterwards."""
    yield standing
    standing.tidy()


@pytest.fixture
def cluster_source(cluster: Cluster) -> Iterator[Make]:
    """Make data sources on the stand-in cluster; they are closed after the test."""
    made: list[DataSource] = []

    def make(user: str = BOT, port: int = 0, **options: Any) -> DataSource:
        endpoint = Endpoint("prod", cluster.database.host, port or cluster.database.port, user, SecretStr(APP_PASSWORD))
        made.append(DataSource(endpoint, DataSourceOptions(**options)))
        return made[-1]

    yield make
    for one in made:
        one.close()


SERVERS = ("mariadb", "mariadb118", "watched_mariadb118", "mysql")


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> EmbeddedServer:
    """Run the test once on each of the real MariaDBs and on the real MySQL."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, EmbeddedServer)
    return found


@pytest.fixture
def logins(server: EmbeddedServer) -> Iterator[str]:
    """Give the name of an application's login; the bot has one of its own, and one lacks every privilege."""
    title = "MySQL" if isinstance(server, EmbeddedMySQL) else "MariaDB"
    with server.connect() as connection, connection.cursor() as cursor:
        gone(cursor, "information_schema.PROCESSLIST", "mysql_%")
        for user in ("mysql_bot", "mysql_app", "mysql_plain"):
            cursor.execute(f"DROP USER IF EXISTS {user}")
            cursor.execute(f"CREATE USER {user} IDENTIFIED BY '{MARIA_PASSWORD}'")
        for grant in grants(title):
            cursor.execute(f"{grant} TO mysql_bot")
        cursor.execute("DROP DATABASE IF EXISTS mysql_test")
        cursor.execute("CREATE DATABASE mysql_test")
        cursor.execute("GRANT ALL ON mysql_test.* TO mysql_app")
        cursor.execute("CREATE TABLE mysql_test.stock (sku INT PRIMARY KEY, quantity INT) ENGINE=InnoDB")
        cursor.execute("INSERT INTO mysql_test.stock VALUES (1, 10)")
        yield "mysql_app"
        cursor.execute("DROP USER mysql_bot, mysql_app, mysql_plain")
        cursor.execute("DROP DATABASE mysql_test")


@pytest.fixture
def crm_source(server: EmbeddedServer, logins: str) -> Iterator[Callable[..., DataSource]]:
    """Make data sources; they are closed after the test."""
    made: list[DataSource] = []

    def make(options: DataSourceOptions | None = None, user: str = "mysql_bot") -> DataSource:
        endpoint = Endpoint("crm", server.host, server.port, user, SecretStr(MARIA_PASSWORD))
        made.append(DataSource(endpoint, options or DataSourceOptions()))
        return made[-1]

    yield make
    for one in made:
        one.close()
