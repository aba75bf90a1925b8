"""A store in a file: one bot's at a time, written through a power cut, and used only while it is at its path."""

from __future__ import annotations

import contextlib
import os
import shlex
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from bot.closing.store import file_faults
from bot.closing.store.lock import StoreLock
from bot.errors import ConfigurationError, StoreAwayError, StoreError

_FILE = "file"  # in the info of a connection: which file it has open
_GONE = "The store's file is gone. Put it back, or restart the bot. Check [store] url."
_NOT_YET = "The store's file is not made yet, which a bot that runs does within seconds. Try again."
_OTHERS = 0o077  # rights of other people than the owner


class SqliteFile:
    """What connections to a file have to heed. ``lock`` is held by this process as long as it runs."""

    options: Mapping[str, Any] = MappingProxyType({"connect_args": {"timeout": 5}})  # for the engine

    def __init__(self, path: Path, lock: StoreLock | None) -> None:
        self._path = path
        self._lock = lock
        self._was_there = False

    def make(self) -> None:
        """Make the file, for its owner alone: it holds statements. SQLite makes those beside it alike.

        Raises ``StoreError``.
        """
        if self._was_there:
            return
        try:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            pass
        except OSError as error:
            why = file_faults.unusable(self._path) or file_faults.refused(error, self._path)
            raise file_faults.failure(why) from error

    def missing(self) -> Path | None:
        """Return the file where there is none yet, and nothing but ``make`` makes one."""
        return self._path if _identity(self._path) is None else None

    def open_to_others(self) -> str:
        """Say that the mode of it, or of what SQLite keeps beside it, is not for its owner alone, and what ends that.

        '' where it is.
        """
        files = [Path(f"{self._path}{end}") for end in ("", "-wal", "-shm")]
        found = [str(one) for one in files if one.exists() and one.stat().st_mode & _OTHERS]
        if not found:
            return ""
        mode = "the mode of the store's file, which holds statements, lets not only its owner read it"
        return f"{mode}: chmod 600 {shlex.join(found)}"

    def listen(self, engine: sa.Engine) -> None:
        """Look after every connection that the engine makes."""
        sa.event.listen(engine, "do_connect", self._refuse_new_file)
        sa.event.listen(engine, "connect", self._opened)

    def refuse_other_file(self, connection: sa.Connection, replaced: Callable[[], object]) -> None:
        """Refuse a connection whose file is at its path no more: what is written there nobody would ever see.

        And one to a file that another bot may have by now, as where the whole folder was replaced. ``replaced`` is
        called where another file is used from now on.
        """
        try:
            alone = self._lock is None or self._lock.take()
        except ConfigurationError as error:
            raise StoreAwayError(f"{error.sentence} Nothing is closed meanwhile.") from error
        if not alone:
            raise StoreAwayError("Another bot uses the store's file by now. This one closes nothing any more: stop it.")
        now = _identity(self._path)
        if now == connection.info.get(_FILE):
            return
        if now is None:
            raise StoreAwayError(_GONE)  # it may be put back
        connection.invalidate()
        replaced()
        raise StoreError(
            "The store's file was replaced by another one. Nothing is closed without a record. The new file is used "
            "from now on: press again if its requests are those that you mean."
        )

    def _refuse_new_file(self, *_: object) -> None:
        """Keep SQLite from making an empty file where there is none: others could read it, or it would hide a loss."""
        if _identity(self._path) is None:
            why = file_faults.unusable(self._path)
            raise file_faults.failure(why) if why else StoreAwayError(_GONE if self._was_there else _NOT_YET)

    def _opened(self, connection: Any, record: Any) -> None:
        connection.execute("PRAGMA synchronous = FULL")  # it keeps the record through a power cut
        record.info[_FILE] = _identity(self._path)
        self._was_there = True


def _identity(file: Path) -> tuple[int, int] | None:
    """Return device and inode of a file; None where there is none."""
    with contextlib.suppress(OSError):
        found = file.stat()
        return found.st_dev, found.st_ino
    return None


def let_read(connection: sa.Connection) -> None:
    """Switch the file to a log of its own (WAL), so that lists can be read while a close is recorded."""
    for last_try in (*[False] * 20, True):
        try:
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            break
        except OperationalError:  # a new file that another process switches: for that SQLite does not wait
            if last_try:
                raise
            time.sleep(0.05)
