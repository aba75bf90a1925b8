"""A store on servers whose defaults for new sessions are odd: the same promises, with several replicas on it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from bot.closing.store import Store, audit_log
from bot.errors import StoreError
from sandbox.databases.embedded import EmbeddedServer
from tests.closing.conftest import ALICE
from tests.support.odd_settings import odd_settings
from tests.support.stores import store_at

SCHEMA = "odd_store"
NOW = datetime(2026, 3, 29, 1, 59, 59, tzinfo=UTC)


@pytest.fixture(params=["oceanbase", "mariadb", "mysql"], ids=["oceanbase-4.3.5", "mariadb", "mysql"])
def server(request: pytest.FixtureRequest) -> Iterator[EmbeddedServer]:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, EmbeddedServer)
    with found.connect() as admin, admin.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {SCHEMA}")
        yield found
        cursor.execute(f"DROP DATABASE {SCHEMA}")


@pytest.fixture
def stores(server: EmbeddedServer) -> Iterator[tuple[Store, Store]]:
    """Give two replicas of the bot on one store, both new to the server."""
    address = sa.URL.create("mysql+pymysql", server.user, server.password, server.host, server.port, SCHEMA)
    url = address.render_as_string(hide_password=False)
    with odd_settings(server), store_at(url) as first, store_at(url) as second:
        first.database.create()
        yield first, second


def test_writers_of_two_replicas_see_what_each_has_waited_for(stores: tuple[Store, Store]) -> None:
    start = threading.Barrier(8)

    def write(number: int) -> None:
        start.wait()
        for step in range(5):
            with stores[number % 2].database.writing() as connection:
                audit_log.append(connection, NOW, "refused", {"why": "a 'quoted\\' one", "step": step}, person=ALICE)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    with stores[0].database.reading() as connection:
        record = audit_log.whole(connection)
        assert audit_log.problems(record) == []
        assert [row["id"] for row in record] == list(range(1, 41))


def test_what_fails_in_the_middle_of_a_write_leaves_nothing(stores: tuple[Store, Store]) -> None:
    store, other = stores
    with pytest.raises(StoreError, match=r"answers with error 1406"):
        write_too_much(store)
    with other.database.reading() as connection:
        assert audit_log.newest(connection) == (0, "")
        assert audit_log.whole(connection)[0]["id"] is None


def write_too_much(store: Store) -> None:
    with store.database.writing() as connection:
        audit_log.append(connection, NOW, "refused", {})
        audit_log.append(connection, NOW, "longer than its column " * 2, {})
