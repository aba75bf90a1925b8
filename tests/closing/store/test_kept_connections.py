"""The store behind an address that moves or a firewall that forgets, and on a cluster whose nodes all take writes."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

import pymysql
import pytest
import sqlalchemy as sa

from bot.closing.model import ApprovalPolicy, ClosingRequest, State, Target
from bot.closing.store import Store, audit_log, kept_connections
from bot.errors import StoreError
from bot.sessions.model import Mode
from sandbox.databases.embedded import DatabaseUnavailable, EmbeddedServer
from sandbox.databases.mariadb import EmbeddedMariaDB
from tests.closing.conftest import ALICE, BOB
from tests.conftest import installed_mariadb, leave_out
from tests.sessions.examples import EXAMPLE
from tests.support import galera
from tests.support.relay import Relay
from tests.support.servers import UnpackedMariaDB
from tests.support.stores import store_at

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
_schemas = itertools.count(1)


def url(server: EmbeddedServer, schema: str, port: int = 0) -> str:
    address = sa.URL.create("mysql+pymysql", server.user, server.password, server.host, port or server.port, schema)
    return address.render_as_string(hide_password=False)


def request(number: int = 1) -> ClosingRequest:
    return ClosingRequest(
        id=f"kept-{number}",
        source="prod",
        mode=Mode.SESSION,
        requester=ALICE,
        channel="C01INC",
        reason="",
        approval=ApprovalPolicy.REQUESTER,
        created_at=NOW,
        expires_at=NOW + timedelta(minutes=2),
        targets=(Target(1, EXAMPLE),),
    )


@pytest.fixture
def schema(mariadb: EmbeddedMariaDB) -> Iterator[str]:
    name = f"kept_{next(_schemas)}"
    with mariadb.connect() as root, root.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
        yield name
        cursor.execute("SET GLOBAL read_only = 0")
        cursor.execute(f"DROP DATABASE {name}")


def test_a_store_is_written_on_whoever_has_its_address_once_the_server_before_takes_no_writes(
    mariadb: EmbeddedMariaDB, mariadb118: UnpackedMariaDB, schema: str
) -> None:
    accounts = f"CREATE USER {schema} IDENTIFIED BY 'kept-password'", f"GRANT ALL ON {schema}.* TO {schema}"
    with mariadb118.connect() as there, there.cursor() as elsewhere, mariadb.connect() as root, root.cursor() as here:
        elsewhere.execute(f"CREATE DATABASE {schema}")
        for one in accounts:
            elsewhere.execute(one)
            here.execute(one)
        with Relay(mariadb.port) as relay:
            address = url(mariadb, schema, relay.port).replace(f"root:{mariadb.password}", f"{schema}:kept-password")
            with store_at(url(mariadb118, schema)) as promoted, store_at(address) as store:
                promoted.database.create()
                store.database.create()
                store.requests.add(request(1))
                here.execute("SET GLOBAL read_only = 1")
                with pytest.raises(StoreError, match="is read-only"):
                    store.requests.add(request(2))
                relay.leads_to(mariadb118.port)
                store.requests.add(request(3))
                assert promoted.requests.find("kept-3") is not None
        here.execute(f"DROP USER {schema}")
        elsewhere.execute(f"DROP USER {schema}")
        elsewhere.execute(f"DROP DATABASE {schema}")


def test_an_old_connection_of_the_store_gives_way_to_one_to_whoever_has_the_address(
    mariadb: EmbeddedMariaDB, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_connections, "MAX_AGE", timedelta(0))
    with Relay(mariadb.port) as relay, store_at(url(mariadb, schema, relay.port)) as store:
        store.database.create()
        before = relay.taken
        store.requests.add(request())
        assert relay.taken == before + 1
        relay.leads_to(1)  # where nobody is
        assert store.requests.find("kept-1") is not None, "the old one is kept until another has logged in"


def test_one_that_has_been_old_for_long_waits_for_no_successor_each_time(
    mariadb: EmbeddedMariaDB, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Relay(mariadb.port) as relay, store_at(url(mariadb, schema, relay.port)) as store:
        store.database.create()
        monkeypatch.setattr(kept_connections, "monotonic", lambda: monotonic() + 3600)
        relay.leads_to(1)  # where nobody is
        before = relay.taken
        for _ in range(3):
            assert store.requests.find("kept-1") is None
        assert relay.taken == before + 1


def test_a_firewall_that_has_forgotten_the_stores_connections_fails_no_press(
    mariadb: EmbeddedMariaDB, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_connections, "IDLE", 0.0)
    with Relay(mariadb.port) as relay, store_at(url(mariadb, schema, relay.port)) as store:
        store.database.create()
        relay.forgets()
        store.requests.add(request())
        assert store.decisions.claim(request(), ALICE, Mode.SESSION, NOW)


@pytest.fixture(scope="module")
def nodes() -> Iterator[tuple[galera.Node, galera.Node]]:
    installed_mariadb()
    try:
        with galera.cluster() as both:
            with both[0].connect() as root, root.cursor() as cursor:
                cursor.execute("CREATE DATABASE store")
            yield both
    except DatabaseUnavailable as problem:
        leave_out(str(problem), "galera-4")


@pytest.fixture(scope="module")
def replicas(nodes: tuple[galera.Node, galera.Node]) -> Iterator[tuple[Store, Store]]:
    """Give two replicas of the bot, each on a node of its own."""
    with store_at(url(nodes[0], "store")) as first, store_at(url(nodes[1], "store")) as second:
        first.database.create()
        second.database.create()
        yield first, second


def test_what_collides_at_commit_with_another_node_is_written_again(
    replicas: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = replicas
    first.requests.add(request(10))
    commit = pymysql.connections.Connection.commit
    collisions: list[int] = []

    def late(connection: Any) -> None:
        if not collisions:
            collisions.append(0)
            second.requests.note(NOW, "refused", {}, person=BOB, request=request(10))
        try:
            commit(connection)
        except pymysql.Error as error:
            collisions.append(error.args[0])
            raise

    monkeypatch.setattr(pymysql.connections.Connection, "commit", late)
    assert first.decisions.claim(request(10), ALICE, Mode.SESSION, NOW)
    assert collisions == [0, 1213]
    with first.database.reading() as connection:
        assert audit_log.problems(audit_log.whole(connection)) == []
        events = [one.event for one in audit_log.entries(connection, request_id="kept-10")]
    assert sorted(events) == ["confirm", "refused", "request"]


def test_of_presses_on_two_nodes_at_once_one_gets_each_request(replicas: tuple[Store, Store]) -> None:
    numbers = range(20, 40)
    for number in numbers:
        replicas[number % 2].requests.add(request(number))
    together = threading.Barrier(2)

    def press(store: Store) -> list[bool]:
        won = []
        for number in numbers:
            together.wait(60)
            won.append(store.decisions.claim(request(number), ALICE, Mode.SESSION, NOW))
        return won

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(press, replicas)
    assert [one + other for one, other in zip(first, second, strict=True)] == [1] * len(numbers)
    for store in replicas:
        assert all(one.state is State.CLAIMED for one in store.requests.those([f"kept-{n}" for n in numbers]).values())
        with store.database.reading() as connection:
            assert audit_log.problems(audit_log.whole(connection)) == []


def test_what_one_node_has_written_is_read_on_the_other_at_once(replicas: tuple[Store, Store]) -> None:
    for number in range(40, 60):
        written = replace(request(number), reason=f"on {number % 2}")
        replicas[number % 2].requests.add(written)
        assert replicas[1 - number % 2].requests.get(written.id).reason == written.reason
