"""What a kept connection is worth: behind an address that moves or a firewall that forgets, and when it is old."""

from __future__ import annotations

import contextlib
import re
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from pydantic import SecretStr

from bot.errors import BusyError, DataSourceError
from bot.sessions.endpoint import Endpoint
from bot.sessions.identity import Move, Server
from bot.sessions.kill import Answer, NotSent, Order, Sent, Why, close
from bot.sessions.model import Mode, Pin, Session, SessionQuery
from bot.sessions.pool import Purpose
from bot.sessions.source import DataSource, DataSourceOptions
from sandbox.databases.embedded import EmbeddedServer
from sandbox.databases.mariadb import EmbeddedMariaDB
from tests.sessions.conftest import until
from tests.support.relay import Relay
from tests.support.servers import UnpackedMariaDB
from tests.support.stage import session_id

BOT, PASSWORD = "kept_bot", "kept-password"
AT_ONCE = timedelta(0)

MakeKept = Callable[..., DataSource]


@contextlib.contextmanager
def account(server: EmbeddedServer, limit: int = 0) -> Iterator[None]:
    """Let the bot log in there, no more than ``limit`` times at once where that is not 0."""
    with server.connect() as root, root.cursor() as cursor:
        cursor.execute(f"CREATE USER {BOT} IDENTIFIED BY '{PASSWORD}' WITH MAX_USER_CONNECTIONS {limit}")
        cursor.execute(f"GRANT PROCESS, CONNECTION ADMIN ON *.* TO {BOT}")
        try:
            yield
        finally:
            cursor.execute(f"DROP USER {BOT}")


@pytest.fixture
def address(mariadb: EmbeddedMariaDB) -> Iterator[Relay]:
    with account(mariadb), Relay(mariadb.port) as relay:
        yield relay


@pytest.fixture
def kept() -> Iterator[MakeKept]:
    """Make data sources; they are closed after the test."""
    made: list[DataSource] = []

    def make(port: int, **options: Any) -> DataSource:
        endpoint = Endpoint("shop", "127.0.0.1", port, BOT, SecretStr(PASSWORD))
        made.append(DataSource(endpoint, DataSourceOptions(**options)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def listed(source: DataSource) -> set[int]:
    return {one.id for one in source.page(SessionQuery(limit=50), None).sessions}


def found(source: DataSource, number: int) -> Session:
    (session,) = source.find(number, None)
    return session


def order(session: Session) -> Order:
    return Order(Pin.of(session), Mode.SESSION, lambda _session: None, lambda: False)


def closed(source: DataSource, session: Session) -> Sent | NotSent:
    with source.console() as console:
        return close(console, order(session))


def test_after_a_switch_over_whoever_has_the_address_now_is_shown_and_it_is_said(
    mariadb: EmbeddedMariaDB, mariadb118: UnpackedMariaDB, address: Relay, kept: MakeKept
) -> None:
    shop = kept(address.port, max_age=AT_ONCE)
    with account(mariadb118), mariadb.connect() as there, mariadb118.connect() as here:
        assert session_id(there) in listed(shop)
        before = found(shop, session_id(there))
        assert shop.page(SessionQuery(), None).caveats == shop.health(None).caveats
        address.leads_to(mariadb118.port)
        page = shop.page(SessionQuery(limit=50), None)
        (one,) = [session for session in page.sessions if session.id == session_id(here)]
        assert one.server is not None
        assert one.server.endswith(f":{mariadb118.port}")
        (told,) = [caveat for caveat in page.caveats if "leads to" in caveat]
        assert str(mariadb118.port) in told
        assert f"before, it led to {before.server}" in told
        assert told in shop.health(None).caveats
        assert shop.health(None).kind.startswith("MariaDB 11."), "all that was known of the other is forgotten"
        answer = closed(shop, before)
        assert isinstance(answer, NotSent)
        assert answer.why is Why.ELSEWHERE
        assert told in answer.said
        assert isinstance(closed(shop, found(shop, session_id(here))), Sent)
        until(lambda: not shop.find(session_id(here), None))
        assert found_by(mariadb, session_id(there)), "nothing was sent to the other server"


def found_by(server: EmbeddedServer, number: int) -> bool:
    with server.connect() as root, root.cursor() as cursor:
        return bool(cursor.execute("SELECT 1 FROM information_schema.PROCESSLIST WHERE ID = %s", (number,)))


def test_what_was_borrowed_before_a_switch_over_is_not_kept_after_it(
    mariadb118: UnpackedMariaDB, address: Relay, kept: MakeKept
) -> None:
    shop = kept(address.port)
    with account(mariadb118), mariadb118.connect() as here:
        with shop.console():
            address.leads_to(mariadb118.port)
            with shop.console() as console:
                assert console.find(session_id(here)), "a new connection leads to the new server"
        for _ in range(3):
            assert session_id(here) in listed(shop)


def test_after_a_switch_over_to_a_server_of_the_same_name_nothing_of_before_is_called_gone(
    mariadb: EmbeddedMariaDB, kept: MakeKept
) -> None:
    shop = kept(mariadb.port)
    with account(mariadb):
        with mariadb.connect() as client:
            session = found(shop, session_id(client))
        until(lambda: not shop.find(session.id, None))
        assert session.server is not None
        assert session.server_started is not None
        before = replace(session, server_started=session.server_started - 3600)
        shop._pool._move = Move(Server(session.server, ("1",)), Server(session.server, ("2",)), datetime.now(UTC))
        answer = closed(shop, before)
        assert isinstance(answer, NotSent)
        assert answer.why is Why.ELSEWHERE
        assert "leads to another server than before" in answer.said
        assert answer.said == shop.unseen(session.server)
        gone = closed(shop, session)
        assert isinstance(gone, NotSent)
        assert gone.why is Why.GONE, "by its start it was of this server"


def test_what_protects_sessions_holds_while_the_server_after_a_switch_over_is_not_known_yet(
    mariadb: EmbeddedMariaDB, mariadb118: UnpackedMariaDB, address: Relay, kept: MakeKept
) -> None:
    shop = kept(address.port, max_age=AT_ONCE)
    with account(mariadb118), mariadb.connect() as there, mariadb118.connect() as here, shop.console() as press:
        (session,) = press.find(session_id(there))
        session = replace(session, client=replace(session.client, user="rdsadmin"))
        address.leads_to(mariadb118.port)
        with pytest.MonkeyPatch.context() as broken:
            broken.setattr("bot.sessions.probing.probe", not_known)
            for _ in range(2):
                with pytest.raises(DataSourceError, match="not known"):
                    shop.page(SessionQuery(), None)
                assert shop.protection(session) == ("belongs to rdsadmin, a protected user of shop",)
        assert session_id(here) in listed(shop)
        assert shop.health(None).kind.startswith("MariaDB 11."), "it is learned once it can be"


def not_known(*_: object) -> None:
    raise DataSourceError("not known")


def test_an_old_connection_is_kept_while_the_server_takes_no_new_one(mariadb: EmbeddedMariaDB, kept: MakeKept) -> None:
    with account(mariadb, limit=1):
        shop = kept(mariadb.port, max_age=AT_ONCE)
        with shop.console() as console:
            number = console._connection.id
        for _ in range(3):
            assert shop.page(SessionQuery(), None).sessions is not None
            with shop.console() as console:
                assert console._connection.id == number


def test_an_old_connection_has_a_successor_before_it_is_given_up(mariadb: EmbeddedMariaDB, kept: MakeKept) -> None:
    with account(mariadb):
        shop, young = kept(mariadb.port, max_age=AT_ONCE), kept(mariadb.port)
        numbers = []
        for source in (shop, shop, young, young):
            with source.console() as console:
                numbers.append(console._connection.id)
        assert numbers[0] != numbers[1]
        assert numbers[2] == numbers[3]
        until(lambda: not found_by(mariadb, numbers[0]))


@pytest.mark.parametrize("idle", [0.0, 3600.0], ids=["tried first", "used at once"])
def test_a_firewall_that_has_forgotten_the_connections_fails_no_list_and_no_close(
    mariadb: EmbeddedMariaDB, address: Relay, kept: MakeKept, monkeypatch: pytest.MonkeyPatch, idle: float
) -> None:
    monkeypatch.setattr("bot.sessions.pool.IDLE", idle)
    monkeypatch.setattr("bot.sessions.database.READ_TIMEOUT", 1)
    shop = kept(address.port)
    with mariadb.connect() as victim:
        listed(shop)
        address.forgets()
        assert session_id(victim) in listed(shop)
        session = found(shop, session_id(victim))
        assert isinstance(closed(shop, session), Sent)
        until(lambda: not found_by(mariadb, session.id))


def test_of_several_connections_that_were_forgotten_none_is_used_as_it_is_after_the_first(
    address: Relay, kept: MakeKept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.sessions.pool.IDLE", 3600.0)
    monkeypatch.setattr("bot.sessions.database.READ_TIMEOUT", 1)
    shop = kept(address.port)
    with contextlib.ExitStack() as held:
        for _ in range(2):  # for the second a third one is opened, which nobody has used yet
            held.enter_context(shop._pool.connection())
    address.forgets()
    listed(shop)
    with shop.console() as console:
        assert console._connection.rows("SELECT 1") == [(1,)]


def test_a_slow_sign_of_life_is_waited_for_where_there_is_no_room_for_a_successor(
    mariadb: EmbeddedMariaDB, kept: MakeKept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.sessions.pool.IDLE", 0.0)
    monkeypatch.setattr("bot.sessions.pool.SIGN_OF_LIFE", 0.0)  # no answer comes in no time
    with account(mariadb, limit=1):
        shop = kept(mariadb.port)
        with shop.console() as console:
            number = console._connection.id
        for _ in range(2):
            assert shop.page(SessionQuery(), None).matching >= 0
        with shop.console() as console:
            assert console._connection.id == number


@pytest.mark.parametrize("trouble", [KeyboardInterrupt, ValueError, struct.error, MemoryError])
def test_a_half_read_answer_is_never_taken_for_that_of_another_statement(
    mariadb: EmbeddedMariaDB, kept: MakeKept, monkeypatch: pytest.MonkeyPatch, trouble: type[BaseException]
) -> None:
    def fail(*_: object) -> None:
        raise trouble

    with account(mariadb):
        shop = kept(mariadb.port)
        with monkeypatch.context() as broken, shop.console() as console:
            number = console._connection.id
            broken.setattr("bot.sessions.database._Result._row", fail)
            with pytest.raises(trouble):
                console._connection.rows("SELECT 1 UNION SELECT 2")
        with shop.console() as console:
            assert console._connection.id != number
            assert console._connection.rows("SELECT 3") == [(3,)]


def test_a_server_that_was_demoted_is_left(mariadb: EmbeddedMariaDB, kept: MakeKept) -> None:
    with account(mariadb):
        shop = kept(mariadb.port)
        with shop.console() as console, shop.console() as another:
            numbers = {console._connection.id, another._connection.id}
            console._connection.rows("SET SESSION TRANSACTION READ ONLY")
            with pytest.raises(DataSourceError, match="1792"):
                console._connection.rows("CREATE TABLE mysql.kept (id INT)")
        with shop.console() as console, shop.console() as another:
            assert not numbers & {console._connection.id, another._connection.id}


@pytest.mark.parametrize("purpose", [Purpose.READING, Purpose.SEARCHING])
def test_searches_that_hang_delay_no_close(mariadb: EmbeddedMariaDB, kept: MakeKept, purpose: Purpose) -> None:
    with account(mariadb), mariadb.connect() as gate, mariadb.connect() as victim, gate.cursor() as cursor:
        shop = kept(mariadb.port)
        shop.check()
        cursor.execute("SELECT GET_LOCK('kept_gate', 0)")
        searching = [threading.Thread(target=partial(_search, shop, purpose)) for _ in range(8)]
        for thread in searching:
            thread.start()
        until(lambda: (shop.pool_use.in_use, shop.pool_use.waiting) == (3, 5))
        session = found(shop, session_id(victim))
        answer = closed(shop, session)
        assert (shop.pool_use.in_use, shop.pool_use.waiting) == (3, 5), "all of them are still at it"
        cursor.execute("SELECT RELEASE_LOCK('kept_gate')")
        for thread in searching:
            thread.join()
        assert isinstance(answer, Sent)
        assert answer.answer is Answer.OK


def _search(source: DataSource, purpose: Purpose = Purpose.READING) -> None:
    with source._pool.connection(purpose) as connection, contextlib.suppress(DataSourceError):
        connection.rows("SELECT GET_LOCK('kept_gate', 30), RELEASE_LOCK('kept_gate')")


def test_one_connection_alone_serves_both_and_whoever_closes_comes_first(
    mariadb: EmbeddedMariaDB, kept: MakeKept
) -> None:
    with account(mariadb, limit=1):
        shop = kept(mariadb.port)
        turns: list[str] = []

        def reads() -> None:
            shop.page(SessionQuery(), None)
            turns.append("read")

        def closes() -> None:
            with shop.console():
                turns.append("closed")

        with shop._pool.connection():
            threads = [threading.Thread(target=reads)]
            threads[0].start()
            until(lambda: shop.pool_use.waiting == 1)
            threads.append(threading.Thread(target=closes))
            threads[1].start()
            until(lambda: shop.pool_use.waiting == 2)
        for thread in threads:
            thread.join()
        assert turns == ["closed", "read"]


def test_who_finds_no_connection_free_is_told_of_the_bots_own_queue_and_the_server_is_not_blamed(
    mariadb: EmbeddedMariaDB, kept: MakeKept, monkeypatch: pytest.MonkeyPatch
) -> None:
    with account(mariadb):
        shop = kept(mariadb.port)
        with contextlib.ExitStack() as held:
            for _ in range(3):
                held.enter_context(shop._pool.connection())
            monkeypatch.setattr("bot.sessions.pool.READ_TIMEOUT", 0)
            with pytest.raises(BusyError, match="Nothing was asked of data source shop") as told:
                shop.page(SessionQuery(), None)
            assert "1 command waits in the bot's own queue for a connection to it" in str(told.value)
            assert shop.find(1, None) == [], "and whoever closes has one"


def test_an_answer_that_waited_in_the_bots_own_queue_says_so(
    mariadb: EmbeddedMariaDB, kept: MakeKept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.sessions.source.SLOW", -1.0)
    with account(mariadb):
        said = " ".join(kept(mariadb.port).page(ALL, None).caveats)
    assert re.search(r"It waited \d+ s for one of the bot's own connections to shop\.", said)


ALL = replace(SessionQuery(), limit=1)
