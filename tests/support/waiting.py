"""Sessions of an application that hold and wait on a real MariaDB or MySQL, and what of it a data source tells."""

from __future__ import annotations

import contextlib
from typing import Any

import pymysql

from bot.sessions.model import Session
from bot.sessions.source import DataSource
from bot.sessions.waits.graph import WaitGraph
from sandbox.databases.embedded import EmbeddedServer
from tests.sessions.conftest import until
from tests.sessions.examples import MARIA_PASSWORD as PASSWORD
from tests.support.patience import PATIENCE
from tests.support.servers import EmbeddedMySQL
from tests.support.stage import RunningStatement, session_id


class Scene:
    """Sessions of an application that hold and wait; none is left after the test."""

    def __init__(self, server: EmbeddedServer) -> None:
        self.server = server
        self._clients: list[pymysql.Connection[Any]] = []
        self._statements: list[RunningStatement] = []

    def client(self, *statements: str, user: str = "mysql_app") -> pymysql.Connection[Any]:
        """Open a session that has run these and is idle now."""
        client = self.server.connect(user=user, password=PASSWORD, database="mysql_test")
        self._clients.append(client)
        with client.cursor() as cursor:
            for statement in ("SET innodb_lock_wait_timeout = 600", *statements):
                cursor.execute(statement)
        return client

    def runs(self, *statements: str, user: str = "mysql_app") -> RunningStatement:
        """Open a session that has run all of these but the last, which it runs now."""
        *before, last = statements
        statement = RunningStatement(self.client(*before, user=user), last)
        self._statements.append(statement)
        return statement

    def root(self, *statements: str) -> None:
        with self.server.connect() as root, root.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def close(self, who: RunningStatement | pymysql.Connection[Any]) -> None:
        self.root(f"KILL {who.id if isinstance(who, RunningStatement) else session_id(who)}")

    def tidy(self) -> None:
        everybody: tuple[RunningStatement | pymysql.Connection[Any], ...] = (*self._clients, *self._statements)
        for who in everybody:
            with contextlib.suppress(pymysql.Error):
                self.close(who)
        for statement in self._statements:
            statement.join(PATIENCE)
        for client in self._clients:
            with contextlib.suppress(pymysql.Error):
                client.close()


def is_mysql(scene: Scene) -> bool:
    return isinstance(scene.server, EmbeddedMySQL)


def numbers(*who: RunningStatement | pymysql.Connection[Any]) -> list[int]:
    return [one.id if isinstance(one, RunningStatement) else session_id(one) for one in who]


def pairs(graph: WaitGraph) -> set[tuple[int, int | None]]:
    """Whom each waits for; None is a prepared transaction, or nobody that is named."""
    return {(one.waiter.id, one.holder.id if isinstance(one.holder, Session) else None) for one in graph.waits}


def heads(graph: WaitGraph) -> list[tuple[int | None, int]]:
    """Ids of those at the head, and how many each holds up."""
    return [(one.holder.id if isinstance(one.holder, Session) else None, one.held_up) for one in graph.heads]


def waiting(crm: DataSource, count: int) -> WaitGraph:
    """Wait until so many wait, each once for what it waits for; InnoDB shows its locks anew after 0.1 s."""
    found: list[WaitGraph] = []

    def come() -> bool:
        found[:] = [crm.waits()]
        return len({one.waiter.id for one in found[0].waits}) == count

    until(come)
    return found[0]
