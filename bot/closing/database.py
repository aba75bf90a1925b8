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

from bot.closing import record, tables
from bot.errors import StoreError


class StoreDatabase:
    """SQLite, or a MySQL-compatible server. Every method raises ``StoreError`` when it does not answer."""

    def __init__(self, url: str) -> None:
        try:
            parsed = sa.engine.make_url(url)
            self.opened = datetime.now(UTC)
            self.shared = parsed.get_backend_name() != "sqlite"  # may other replicas use it as well?
            options: dict[str, Any] = {"connect_args": {"timeout": 5}}
            if self.shared:
                options = {
                    "connect_args": {"connect_timeout": 3, "read_timeout": 6},
                    "pool_pre_ping": True,
                    "isolation_level": "READ COMMITTED",  # whoever waited for a lock must see what it was held for
                }
            self._engine = sa.create_engine(parsed, **options)
        except (SQLAlchemyError, ImportError) as error:
            raise StoreError(f"The store's URL is not usable: {type(error).__name__}. See [store] url.") from error
        if not self.shared:
            sa.event.listen(self._engine, "connect", _sqlite_durable)

    def create(self) -> None:
        """Make the tables, and what an older store lacks of them; safe where two replicas start at once."""
        try:
            tables.create(self._engine, record.acknowledge)
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
