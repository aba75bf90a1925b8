"""Connections on which nobody has logged in yet, and runs of events: neither has a client that runs anything."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from bot.closing.targets import never_closed
from bot.sessions import kill
from bot.sessions.model import Client, Flag, Mode, Pin, Session, SessionFilter, SessionQuery
from bot.sessions.service import SessionService
from bot.sessions.source import DataSource
from bot.slack.views import closing_meaning, wording
from sandbox.databases.embedded import EmbeddedServer
from tests.sessions.conftest import one, until
from tests.sessions.examples import MARIA_PASSWORD, sql_of
from tests.support.servers import EmbeddedMySQL, logins_in_no_hurry
from tests.support.stage import session_id


@pytest.fixture(params=["mariadb", "watched_mariadb118", "mysql"])
def server(request: pytest.FixtureRequest) -> EmbeddedServer:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, EmbeddedServer)
    return found


@contextlib.contextmanager
def strangers(server: EmbeddedServer, many: int) -> Iterator[list[socket.socket]]:
    """Open connections that take the server's greeting and never log in."""
    with logins_in_no_hurry(server), contextlib.ExitStack() as stack:
        opened = [stack.enter_context(socket.create_connection((server.host, server.port))) for _ in range(many)]
        for each in opened:
            each.recv(512)
        yield opened


def listed(source: DataSource, **more: Any) -> list[Session]:
    return list(source.page(SessionQuery(filter=SessionFilter(**more), limit=50), None).sessions)


def test_who_has_not_logged_in_is_not_active_runs_nothing_and_can_be_closed_alone(
    server: EmbeddedServer, crm_source: Callable[..., DataSource]
) -> None:
    source = crm_source()
    before = {session.id for session in listed(source)}
    with strangers(server, 5) as opened:
        until(lambda: len(listed(source)) == len(before) + 5)
        found = [session for session in listed(source) if session.id not in before]
        page = source.page(SessionQuery(limit=50), None)
        assert page.active == sum(session.active for session in page.sessions if session.id in before)
        for session in found:
            assert (session.state, session.command, session.client.user) == ("INIT", "Connect", "unauthenticated user")
            assert (session.logging_in, session.running, session.idle, session.active) == (True, False, False, False)
            assert wording.status(session) == "INIT, not logged in yet"
            assert "not logged in yet" in closing_meaning.session_meaning(session)
            assert "does nothing" in closing_meaning.query_meaning(session)
            assert "query is stopped" not in closing_meaning.session_meaning(session)
        ids = {session.id for session in found}
        for only in ({"running": True}, {"flags": frozenset({Flag.ACTIVE_ONLY})}, {"flags": frozenset({Flag.IDLE})}):
            assert not ids & {session.id for session in listed(source, **only)}
        pinned = one(source, found[0].id)
        assert Pin.of(pinned).enough
        with source.console() as console:
            order = kill.Order(Pin.of(pinned), Mode.SESSION, lambda _session: None, lambda: False)
            assert isinstance(kill.close(console, order), kill.Sent)
        until(lambda: not source.find(pinned.id, None))
        opened[0].close()


def test_a_connection_on_which_somebody_has_logged_in_since_is_not_closed_and_told_as_such(
    server: EmbeddedServer, crm_source: Callable[..., DataSource]
) -> None:
    source = crm_source()
    with server.connect(user="mysql_app", password=MARIA_PASSWORD) as client:
        now = one(source, session_id(client))
        before = replace(now, state="INIT", command="Connect", client=Client("unauthenticated user"))
        with source.console() as console:
            order = kill.Order(Pin.of(before), Mode.SESSION, lambda _session: None, lambda: False)
            refused = kill.close(console, order)
        assert isinstance(refused, kill.NotSent)
        assert refused.why is kill.Why.LOGGED_IN


def test_a_run_of_an_event_has_no_client_and_runs_again_when_it_is_next_due(
    server: EmbeddedServer, crm_source: Callable[..., DataSource]
) -> None:
    source = crm_source()
    with server.connect(database="mysql_test") as root, root.cursor() as cursor:
        cursor.execute("SET GLOBAL event_scheduler = ON")
        cursor.execute("CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY DO INSERT INTO stock SELECT 900 + SLEEP(60), 1")
        try:
            until(lambda: any(_nightly(session) for session in listed(source)))
            run = next(filter(_nightly, listed(source)))
            if isinstance(server, EmbeddedMySQL):  # which lists it as a thread of its own
                assert (run.state, run.event, run.client.user) == ("BACKGROUND", True, "system user")
                said = never_closed(SessionService([source]), run)
                assert said.startswith("is a run of an event of the scheduler: it has no client")
                cursor.execute("KILL %s", (run.id,))  # else the server's end waits for it
                return
            assert run.event
            for meaning in (closing_meaning.session_meaning(run), closing_meaning.query_meaning(run)):
                assert "it runs again when it is next due" in meaning
                assert "must connect again" not in meaning
            with source.console() as console:
                order = kill.Order(Pin.of(one(source, run.id)), Mode.SESSION, lambda _session: None, lambda: False)
                assert isinstance(kill.close(console, order), kill.Sent)
            until(lambda: not source.find(run.id, None))
        finally:
            cursor.execute("DROP EVENT nightly")
            cursor.execute("SET GLOBAL event_scheduler = OFF")


def _nightly(session: Session) -> bool:
    return "900 + SLEEP" in (sql_of(session) or "")
