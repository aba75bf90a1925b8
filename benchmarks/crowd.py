"""Many sessions on a database: most of them idle, some that run statements, from several users and places."""

from __future__ import annotations

import contextlib
import resource
from types import TracebackType
from typing import Any, Self

import pymysql

from sandbox.databases.embedded import EmbeddedServer
from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.support.stage import RunningStatement

PASSWORD = "app-password"  # noqa: S105 # opens nothing but a throw-away server
USERS = ("shop_app", "billing_app", "report", "crm_sync")
DATABASES = ("shop", "billing", "crm")
ACTIVE = 15
RUNS = (
    "SELECT c.region, c.segment, SUM(o.amount) FROM (SELECT 'north' region, 'retail' segment, 1 id) c "
    "JOIN (SELECT 1 customer, 120.50 amount) o ON o.customer = c.id "
    "WHERE c.region IN ('north', 'south') AND o.amount > {number}.5 AND SLEEP(7200) = 0 GROUP BY c.region, c.segment"
)


class Crowd:
    """Sessions that stay for as long as the `with` block."""

    def __init__(self, database: EmbeddedServer) -> None:
        self._database = database
        self._statements: list[RunningStatement] = []
        self._idle: list[pymysql.Connection[Any]] = []
        self._prepared = False

    def __len__(self) -> int:
        return len(self._statements) + len(self._idle)

    @property
    def running(self) -> int:
        """The id of a session that runs a statement."""
        return self._statements[0].id

    def grow_to(self, count: int) -> int:
        """Open sessions until there are so many; returns how many the server and this machine hold."""
        allow_open_files()
        self._prepare()
        with contextlib.suppress(pymysql.Error, OSError):
            while len(self) < count:
                connection = self._open(len(self))
                if len(self._statements) < ACTIVE:
                    self._statements.append(RunningStatement(connection, RUNS.format(number=len(self))))
                else:
                    self._idle.append(connection)
        return len(self)

    def _prepare(self) -> None:
        if self._prepared:
            return
        with self._database.connect() as connection, connection.cursor() as cursor:
            for name in DATABASES:
                cursor.execute(f"CREATE DATABASE IF NOT EXISTS {name}")
            for user in USERS:
                cursor.execute(f"CREATE USER IF NOT EXISTS {user} IDENTIFIED BY '{PASSWORD}'")
                for name in DATABASES:
                    cursor.execute(f"GRANT ALL ON {name}.* TO {user}")
        self._prepared = True

    def _open(self, number: int) -> pymysql.Connection[Any]:
        connection = self._database.connect(
            user=USERS[number % len(USERS)],
            password=PASSWORD,
            database=DATABASES[number % len(DATABASES)],
            bind_address=f"127.0.0.{2 + number % 40}",
        )
        if isinstance(self._database, EmbeddedOceanBase):
            with connection.cursor() as cursor:
                cursor.execute("SET ob_query_timeout = 7200000000, wait_timeout = 28800")
        return connection

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._database.connect() as connection, connection.cursor() as cursor:
            for statement in self._statements:
                with contextlib.suppress(pymysql.Error):
                    cursor.execute(f"KILL {statement.id}")
        for connection in (*self._idle, *(statement.connection for statement in self._statements)):
            with contextlib.suppress(pymysql.Error, OSError):
                connection.close()


def allow_open_files() -> None:
    """Take as many open files as the machine gives; servers started from here inherit it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
