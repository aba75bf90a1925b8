"""Servers of MySQL's kind that start again, and give out the same ids, or that start with less than others have."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import pymysql
import pytest
from pydantic import SecretStr

from bot.sessions.endpoint import Endpoint
from bot.sessions.model import Pin, SessionQuery
from bot.sessions.source import DataSource, DataSourceOptions
from sandbox.databases.embedded import EmbeddedServer
from sandbox.databases.mariadb import EmbeddedMariaDB
from tests.conftest import running_server
from tests.sessions.conftest import one, until
from tests.support.servers import EmbeddedMySQL, UnpackedMariaDB
from tests.support.stage import session_id


@pytest.fixture(params=[EmbeddedMariaDB, UnpackedMariaDB, EmbeddedMySQL])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedServer]:
    """Give a server of the test's own, far from UTC."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    with running_server(request.param) as database:
        yield database


@pytest.fixture
def source(server: EmbeddedServer) -> Iterator[DataSource]:
    """Watch it as root."""
    endpoint = Endpoint("crm", server.host, server.port, server.user, SecretStr(server.password))
    with contextlib.closing(DataSource(endpoint, DataSourceOptions())) as made:
        yield made


def by_socket(server: EmbeddedServer) -> pymysql.Connection[Any]:
    socket = str(server.base_dir / "data" / "server.sock")
    return pymysql.connect(unix_socket=socket, user="app", password="pw", ssl_disabled=True)


def test_after_a_restart_the_same_id_user_and_socket_are_another_session(
    server: EmbeddedServer, source: DataSource
) -> None:
    with server.connect() as root, root.cursor() as cursor:
        cursor.execute("CREATE USER app@localhost IDENTIFIED BY 'pw'")
        cursor.execute("CREATE DATABASE shop")
        cursor.execute("CREATE TABLE shop.orders (id INT PRIMARY KEY) ENGINE = InnoDB")
        cursor.execute("GRANT ALL ON shop.* TO app@localhost")
    with contextlib.ExitStack() as opened:
        # Enough of them for the id to be one that a new server has not given out while it started.
        clients = [opened.enter_context(by_socket(server)) for _ in range(30)]
        with clients[-1].cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("INSERT INTO shop.orders VALUES (1)")
        number, began = session_id(clients[-1]), time.time()
        until(lambda: one(source, number).in_transaction)
        before = one(source, number)
        assert (before.client.peer, before.client.port) == ("localhost", None)
        assert before.transaction is not None
        assert before.transaction.started == pytest.approx(began, abs=3), "whatever the server's time zone"
        assert Pin.of(before).enough
        until(lambda: time.time() > (before.server_started or 0) + 3)
        again = one(source, number)
        assert again.server_started == before.server_started
        assert Pin.of(before).same_session(again)
    server.restart()
    with contextlib.ExitStack() as opened:
        while True:
            client = opened.enter_context(by_socket(server))
            assert session_id(client) <= number
            if session_id(client) == number:
                break
        after = one(source, number)
        assert (after.server, after.client.user, after.client.peer) == (
            before.server,
            before.client.user,
            before.client.peer,
        )
        assert not Pin.of(before).same_session(after)


class WithoutTransactions(EmbeddedMariaDB):
    """A MariaDB that does not say which transactions are open; nor does TiDB, which was not tried (its manual)."""

    options = ("--innodb-trx=OFF",)


class WithoutPerformanceSchema(EmbeddedMySQL):
    """A MySQL as managed ones are on small machines."""

    options = ("--performance-schema=OFF",)


@pytest.mark.parametrize("server", [WithoutTransactions, WithoutPerformanceSchema], indirect=True)
def test_what_a_server_has_switched_off_is_done_without(server: EmbeddedServer, source: DataSource) -> None:
    with server.connect() as root, root.cursor() as cursor:
        cursor.execute("CREATE USER app IDENTIFIED BY 'pw'")
    source.check()
    with server.connect(user="app", password="pw") as client:
        listed = [session.id for session in source.page(SessionQuery(), None).sessions if session.client.user == "app"]
        session = one(source, session_id(client))
        assert listed == [session.id]
        assert session.transaction_known == isinstance(server, EmbeddedMySQL)
        assert Pin.of(session).same_session(one(source, session_id(client)))
        caveats = " ".join(source.page(SessionQuery(), None).caveats)
        assert ("transaction open is not known" in caveats) == isinstance(server, EmbeddedMariaDB)
