"""A store in a file: one bot's at a time, written through a power cut, and used only while it is at its path."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa

from bot.closing.store.lock import StoreLock
from bot.errors import ConfigurationError, StoreError

_FILE = "file"  # in the info of a connection: which file it has open
_GONE = "The store's file is gone. Put it back, or restart the bot. Check [store] url."


class SqliteFile:
    """What connections to a file have to heed. ``lock`` is held by this process as long as it runs."""

    options: Mapping[str, Any] = MappingProxyType({"connect_args": {"timeout": 5}})  # for the engine

    def __init__(self, path: Path | None, lock: StoreLock | None) -> None:
        self._path = path
        self._lock = lock
        self._was_there = False

    def listen(self, engine: sa.Engine) -> None:
        """Look after every connection that the engine makes."""
        sa.event.listen(engine, "do_connect", self._refuse_new_file)
        sa.event.listen(engine, "connect", self._opened)

    def refuse_other_file(self, connection: sa.Connection, replaced: Callable[[], object]) -> None:
        """Refuse a connection whose file is at its path no more: what is written there nobody would ever see.

        And one to a file that another bot may have by now, as where the whole folder was replaced. ``replaced`` is
        called where another file is used from now on.
        """
        if self._path is None:
            return
        try:
            alone = self._lock is None or self._lock.take()
        except ConfigurationError as error:
            raise StoreError(f"{error.sentence} Nothing is closed meanwhile.") from error
        if not alone:
            raise StoreError("Another bot uses the store's file by now. This one closes nothing any more: stop it.")
        now = _identity(self._path)
        if now == connection.info.get(_FILE):
            return
        if now is None:
            raise StoreError(_GONE)  # it may be put back
        connection.invalidate()
        replaced()
        raise StoreError(
            "The store's file was replaced by another one. Nothing is closed without a record. The new file is used "
            "from now on: press again if its requests are those that you mean."
        )

    def _refuse_new_file(self, *_: object) -> None:
        """Keep SQLite from making an empty file in the place of one that was taken away."""
        if self._was_there and _identity(self._path) is None:
            raise StoreError(_GONE)

    def _opened(self, connection: Any, record: Any) -> None:
        _make_durable(connection)
        record.info[_FILE] = _identity(self._path)
        self._was_there = self._path is not None


def _identity(file: Path | None) -> tuple[int, int] | None:
    """Return device and inode of a file; None where there is none."""
    if file is None:
        return None
    with contextlib.suppress(OSError):
        found = file.stat()
        return found.st_dev, found.st_ino
    return None


def _make_durable(connection: Any) -> None:
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
