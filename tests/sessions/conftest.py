"""Data sources on the kernels, and a login without rights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bot.demo.database import EmbeddedOceanBase
from bot.sessions.endpoint import Endpoint
from bot.sessions.service import DataSource, DataSourceOptions

PASSWORD = "service-password"
Make = Callable[..., DataSource]


@pytest.fixture
def source(database: EmbeddedOceanBase) -> Iterator[Make]:
    """Make data sources on the kernel; they are closed after the test."""
    made: list[DataSource] = []

    def make(options: DataSourceOptions | None = None, **more: Any) -> DataSource:
        login = {"host": database.host, "port": database.port, "user": "root", "password": database.password, **more}
        made.append(DataSource(Endpoint.of("prod", **login), options or DataSourceOptions()))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def user(database: EmbeddedOceanBase) -> Iterator[str]:
    """Give a user who may log in and nothing else."""
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE USER service_test IDENTIFIED BY '{PASSWORD}'")
        yield "service_test"
        cursor.execute("DROP USER service_test")
