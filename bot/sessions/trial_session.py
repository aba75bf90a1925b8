"""Sessions that a trial opens for itself, so that there is something to list, to lock with and to close: nobody's."""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from dataclasses import field as of

from bot.errors import DataSourceError
from bot.sessions.database import Connection, Preparation, Row, open_connection
from bot.sessions.dialect import Dialect, own_sessions
from bot.sessions.endpoint import Endpoint
from bot.sessions.model import Session
from bot.sessions.pool import OwnSession
from bot.sessions.statement import Disclosure
from bot.sessions.uptime import since_boot

LASTS = 30  # seconds after which whatever it runs has ended by itself, also where its client is gone
HOLDS = 60  # seconds after which a server takes back the row that it has locked, whatever became of its client
_PATIENCE = LASTS + 10  # seconds that its client waits for an answer


def _preparation() -> Preparation:
    """What a server is told. Untagged, so that a list shows it as anybody's where tags tell the bot's own."""
    return (
        {"ob_query_timeout": f"{LASTS * 1_000_000}", "ob_trx_timeout": f"{HOLDS * 1_000_000}"},  # OceanBase
        {"innodb_lock_wait_timeout": f"{LASTS}"},
        {"lock_wait_timeout": f"{LASTS}"},  # for a table that somebody alters
        {"max_statement_time": "0"},  # MariaDB
        {"max_execution_time": "0"},  # MySQL
        {"wait_timeout": f"{HOLDS}"},  # else a client that hangs, or whose machine is gone, keeps the row for 8 hours
    )


_VIEW = (
    "SELECT 1 FROM information_schema.tables "
    "WHERE table_schema = %s AND table_name = %s AND table_type LIKE '%%VIEW' LIMIT 1"
)


@dataclass(frozen=True, slots=True)
class Way:
    """A way to get to a data source: as it is configured, or straight to one of its servers.

    ``proxied`` says that the server sees another address than the client's own: a proxy or the like is between.
    """

    endpoint: Endpoint = of(repr=False)
    direct: bool  # past whatever the configuration names
    proxied: bool


@dataclass(frozen=True, slots=True)
class Table:
    """A table in which a row may be locked.

    >>> Table.named("ops.check").sql
    '`ops`.`check`'
    """

    database: str
    name: str

    @property
    def sql(self) -> str:
        """Its name as it stands in a statement."""
        return f"`{self.database}`.`{self.name}`"

    @classmethod
    def named(cls, text: str) -> Table:
        """Read ``DATABASE.TABLE``; raises ``ValueError`` for anything else."""
        parts = text.split(".")
        if len(parts) != 2 or not all(part and part.isprintable() and not set(part) & set("`%\"'") for part in parts):
            raise ValueError(text)
        return cls(*parts)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a statement ended for its client: when, by ``since_boot``, and with which error number, None for none."""

    at: float
    errno: int | None


class TrialSession:
    """A session of a trial's own. Its statements run in a thread of their own while others look at it."""

    def __init__(self, connection: Connection, itself: OwnSession) -> None:
        self.itself = itself
        self.mark = secrets.token_hex(16)  # which stands in a statement of its own, and in nobody else's
        self._connection = connection

    @classmethod
    @contextlib.contextmanager
    def opened(cls, way: Way, dialect: Dialect) -> Iterator[TrialSession]:
        """Log in. Raises a ``DataSourceError``, also where the list does not have the session that asks."""
        connection = open_connection(way.endpoint, _preparation())
        try:
            asked = dialect.itself()
            found = own_sessions(connection.rows(asked.sql, asked.values), dialect.login.user)
            if len(found) != 1:
                raise DataSourceError(f"The list has {len(found)} sessions for the one that asks.")
            connection.wait_for_answers(_PATIENCE)
            yield cls(connection, found[0])
        finally:
            connection.abandon()  # it may be in the middle of a statement

    def is_listed_as(self, session: Session) -> bool:
        """Whether a row may be this session, by its id, its user and its server, or by its proxy's number for it."""
        mine = self.itself
        if (session.id, session.client.user) != (mine.id, mine.user):
            return False
        if mine.proxy_session_id is not None:
            return session.client.proxy_session_id == mine.proxy_session_id
        return session.server == mine.server

    @property
    def sql(self) -> str:
        """What ``run_marked`` sends, and takes ``LASTS`` seconds."""
        return f"SELECT SLEEP({LASTS}), '{self.mark}'"

    def shows_mark(self, session: Session) -> bool:
        """Whether a row shows a statement with the mark, which proves that it is this session."""
        shown = session.statement.shown(Disclosure.ALL_BUT_PASSWORDS) if session.statement is not None else ""
        return self.is_listed_as(session) and self.mark in shown

    def run_marked(self) -> Future[Ended]:
        """Run a statement that carries the mark and locks nothing."""
        return self._started(self.sql)

    def is_view(self, table: Table) -> bool:
        """Whether it is a view: who reads a row of it with a lock may lock all that it is made of."""
        return bool(self._connection.rows(_VIEW, (table.database, table.name)))

    def lock(self, table: Table) -> list[Row]:
        """Begin a transaction and lock the first row of a table; [] where there is none.

        Raises a ``DataSourceError``, also where somebody else has that row locked.
        """
        self._connection.rows("START TRANSACTION")
        return self._connection.rows(f"SELECT 1 FROM {table.sql} LIMIT 1 FOR UPDATE NOWAIT")

    def wait_for_lock(self, table: Table) -> Future[Ended]:
        """Ask for the lock of the same row with a statement that carries the mark, and wait for it."""
        return self._started(f"SELECT '{self.mark}' FROM {table.sql} LIMIT 1 FOR UPDATE")

    def next_statement(self) -> Ended:
        """Run a statement of no effect."""
        return self._run("SELECT 1")

    def _started(self, sql: str) -> Future[Ended]:
        ended: Future[Ended] = Future()
        threading.Thread(target=lambda: ended.set_result(self._run(sql)), name="trial", daemon=True).start()
        return ended

    def _run(self, sql: str) -> Ended:
        try:
            self._connection.rows(sql)
        except DataSourceError as error:
            return Ended(since_boot(), error.errno)
        return Ended(since_boot(), None)
