"""The database that requests and records are kept in: its engine, its transactions, what it says when it fails."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from bot.closing import record, tables, url
from bot.errors import StoreError, UnsafeConnectionError
from bot.sessions.database import login, safety
from bot.sessions.tls import PREFERRED, Tls


class StoreDatabase:
    """SQLite, or a MySQL-compatible server. Every method raises ``StoreError`` when it does not answer.

    ``tls`` is how a server is logged in to; a file needs none of it.
    """

    def __init__(self, address: str, tls: Tls = PREFERRED) -> None:
        parsed = url.read(address)
        self.opened = datetime.now(UTC)
        self.shared = parsed.get_backend_name() != "sqlite"  # may other replicas use it as well?
        self._tls = tls
        options: dict[str, Any] = {"connect_args": {"timeout": 5}}
        if self.shared:
            options = {
                "connect_args": {"connect_timeout": 3, "read_timeout": 6},
                "pool_pre_ping": True,
                "isolation_level": "READ COMMITTED",  # whoever waited for a lock must see what it was held for
            }
        self._engine = sa.create_engine(parsed, **options)
        if self.shared:
            sa.event.listen(self._engine, "do_connect", self._log_in)
        else:
            sa.event.listen(self._engine, "connect", _sqlite_durable)

    @property
    def now(self) -> sa.ColumnElement[float]:
        """The store's own clock, in seconds since the epoch: the only one that all replicas share."""
        if self._engine.dialect.name == "sqlite":
            return sa.literal_column("((julianday('now') - 2440587.5) * 86400.0)", sa.Double)
        return sa.literal_column("UNIX_TIMESTAMP()", sa.Double)

    def create(self) -> None:
        """Make the tables, and what an older store lacks of them; safe where two replicas start at once."""
        try:
            tables.create(self._engine)
        except SQLAlchemyError as error:
            raise _failed(error) from error

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def check(self) -> None:
        """Read something. An SQLite file that was taken away would else be written to unseen until the bot ends."""
        with self.reading() as connection:
            connection.execute(sa.select(tables.requests.c.id).limit(1))
        file = self._engine.url.database if self._engine.url.get_backend_name() == "sqlite" else None
        if file and file != ":memory:" and not Path(file).exists():
            raise StoreError("The store's file is gone. Put it back, or restart the bot. Check [store] url.")

    def safety(self) -> str:
        """Connect and say how the connection is encrypted; '' for a file."""
        if not self.shared:
            return ""
        with self.reading() as connection:
            return safety(connection.connection.dbapi_connection)

    def _log_in(self, _dialect: object, _record: object, _positional: object, named: dict[str, Any]) -> Any:
        """Log in as to a data source, in the place of SQLAlchemy: the password goes only where ``tls`` lets it."""
        try:
            return login(self._tls, **named)
        except UnsafeConnectionError as error:
            raise StoreError(f"The store's database {error}") from error

    @contextlib.contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Give a connection to read with."""
        try:
            with self._engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise _failed(error) from error

    @contextlib.contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """Give a transaction that may write; it ends with the block, and nothing of it stays where that fails."""
        try:
            with self._engine.begin() as connection:
                record.lock(connection)
                yield connection
        except SQLAlchemyError as error:
            raise _failed(error) from error


def _failed(error: SQLAlchemyError) -> StoreError:
    return StoreError(
        f"The store of requests and records does not answer ({type(error).__name__}). "
        "Nothing is closed without a record. Check [store] url, its disk or its database."
    )


def _sqlite_durable(connection: Any, _record: Any) -> None:
    # WAL lets lists be read while a close is recorded; FULL keeps the record through a power cut.
    for last_try in (*[False] * 20, True):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError:  # a new file that another process switches: for that SQLite does not wait
            if last_try:
                raise
            time.sleep(0.05)
    connection.execute("PRAGMA synchronous = FULL")
