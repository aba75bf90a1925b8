"""Data sources on a real MariaDB, with logins that differ in what they may."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from bot.demo.mariadb import EmbeddedMariaDB
from bot.sessions.endpoint import Endpoint
from bot.sessions.service import DataSource, DataSourceOptions
from tests.sessions.examples import MARIA_PASSWORD


@pytest.fixture
def logins(mariadb: EmbeddedMariaDB) -> Iterator[str]:
    """Give the name of an application's login; the bot has one of its own, and one lacks every privilege."""
    with mariadb.connect() as connection, connection.cursor() as cursor:
        for user in ("mysql_bot", "mysql_app", "mysql_plain"):
            cursor.execute(f"CREATE OR REPLACE USER {user} IDENTIFIED BY '{MARIA_PASSWORD}'")
        cursor.execute("GRANT PROCESS, CONNECTION ADMIN ON *.* TO mysql_bot")
        cursor.execute("CREATE OR REPLACE DATABASE mysql_test")
        cursor.execute("GRANT ALL ON mysql_test.* TO mysql_app")
        cursor.execute("CREATE TABLE mysql_test.stock (sku INT PRIMARY KEY, quantity INT) ENGINE=InnoDB")
        cursor.execute("INSERT INTO mysql_test.stock VALUES (1, 10)")
        yield "mysql_app"
        cursor.execute("DROP USER mysql_bot, mysql_app, mysql_plain")
        cursor.execute("DROP DATABASE mysql_test")


@pytest.fixture
def maria_source(mariadb: EmbeddedMariaDB, logins: str) -> Iterator[Callable[..., DataSource]]:
    """Make data sources; they are closed after the test."""
    made: list[DataSource] = []

    def make(options: DataSourceOptions | None = None, user: str = "mysql_bot") -> DataSource:
        endpoint = Endpoint.of("maria", mariadb.host, mariadb.port, user, MARIA_PASSWORD)
        made.append(DataSource(endpoint, options or DataSourceOptions()))
        return made[-1]

    yield make
    for one in made:
        one.close()
