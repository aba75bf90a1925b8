"""Clients behind an OBProxy that numbers them, on the real kernel: what lists, locks and KILL make of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bot.sessions import kill
from bot.sessions.kill import Answer, Order, Sent
from bot.sessions.model import LastStatement, Mode, Pin, Session
from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.sessions.conftest import Make, end, one, read_until, until
from tests.support.proxied import Proxied
from tests.support.stage import RunningStatement, accounts

HOLDER, WAITER = 524289, 524290


@pytest.fixture
def database(oceanbase: EmbeddedOceanBase) -> EmbeddedOceanBase:
    """Give the kernel that has views of clients; seekdb 1.4 knows no proxies."""
    accounts(oceanbase)
    return oceanbase


@pytest.fixture
def holder(database: EmbeddedOceanBase) -> Iterator[Proxied]:
    with Proxied(database, HOLDER, database="depot") as client, client.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("UPDATE stock SET quantity = quantity + 1 WHERE sku = 1")
        yield client


def test_a_client_is_listed_by_its_proxys_number_with_the_proxy_and_where_it_is(
    database: EmbeddedOceanBase, source: Make
) -> None:
    with Proxied(database, WAITER):
        session = one(source(), WAITER)
    assert session.client_session
    assert (session.client.proxy_session_id, session.client.proxy) == (WAITER + 2**33, "127.0.0.1")
    assert session.client.origin == "127.0.0.1"


def test_who_holds_a_lock_and_who_waits_for_it_is_said_of_clients_by_the_ids_of_the_list(
    database: EmbeddedOceanBase, source: Make, holder: Proxied
) -> None:
    prod = source()
    statement = RunningStatement(
        Proxied(database, WAITER, database="depot"), "UPDATE stock SET quantity = 0 WHERE sku = 1"
    )
    try:
        # A busy kernel does not read the ring of what ran last in time; then nothing is told of that.
        found = read_until(prod.waits, lambda now: any(last_of(wait.holder) for wait in now.waits))
        (its,) = found.holders(one(prod, WAITER))
        assert isinstance(its.holder, Session)
        assert (its.holder.id, its.holder.client_session) == (HOLDER, True)
        assert its.holder.transaction is not None
        assert its.holder.transaction.age is not None
        assert [wait.waiter.id for wait in found.waiters(one(prod, HOLDER))] == [WAITER]
    finally:
        end(database, statement)


def last_of(who: object) -> LastStatement | None:
    return who.last_statement if isinstance(who, Session) else None


def test_a_transaction_that_began_before_a_clients_statement_is_no_part_of_it(
    database: EmbeddedOceanBase, source: Make
) -> None:
    prod = source()
    client = Proxied(database, WAITER, database="depot")
    with client.cursor() as cursor:
        cursor.execute("SET autocommit = 0")
        cursor.execute("UPDATE stock SET quantity = quantity + 1 WHERE sku = 2")
        cursor.execute("SELECT SLEEP(0.2)")  # so that the next statement's start is told from the transaction's
    statement = RunningStatement(client, "UPDATE stock SET quantity = SLEEP(60) WHERE sku = 2")
    try:
        until(lambda: one(prod, WAITER).running)
        session = one(prod, WAITER)
        assert session.transaction is not None
        assert session.lasting_transaction
    finally:
        end(database, statement)


def test_the_locks_of_a_client_that_is_closed_are_free(
    database: EmbeddedOceanBase, source: Make, holder: Proxied
) -> None:
    prod = source()
    with prod.console() as console:
        (session,) = console.find(HOLDER)
        assert session.lasting_transaction
        sent = kill.close(console, Order(Pin.of(session), Mode.SESSION, lambda _session: None, lambda: False))
        assert isinstance(sent, Sent)
        assert sent.answer is Answer.OK
        until(lambda: not console.find(HOLDER))
        until(lambda: not console.transaction_open(session))
