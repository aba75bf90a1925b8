"""A store in a file has one bot at a time: it holds a lock beside the file for as long as it runs."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from bot.closing.store import url
from bot.errors import ConfigurationError

WAIT = 25.0  # seconds; a bot that is being stopped takes up to 20


class StoreLock:
    """The lock of the store at a URL; a database that replicas share needs none. ``check`` and backups need none."""

    def __init__(self, address: str) -> None:
        self._file = url.file_of(url.read(address))
        self._lock: int | None = None

    def take(self) -> bool:
        """Take it, until the process ends or ``release``; False where another bot has it.

        It is taken anew where another folder, or nothing, is at its place by now. Raises ``ConfigurationError`` where
        there can be none.
        """
        if self._file is None:
            return True
        name = f"{os.path.realpath(self._file)}.lock"
        if self._lock is not None and _is(self._lock, name):
            return True
        try:
            lock = os.open(name, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(lock)
                raise
        except BlockingIOError:
            return False
        except OSError as error:
            raise ConfigurationError(
                [f"store.url: {name} cannot be locked ({error.strerror}). Put the store on a local disk."]
            ) from error
        self.release()
        self._lock = lock
        return True

    def release(self) -> None:
        """Give it free. The file stays: another bot may have opened it already."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _is(lock: int, name: str) -> bool:
    try:
        return os.path.samestat(os.fstat(lock), Path(name).stat())
    except OSError:
        return False


def taken(waited: float) -> ConfigurationError:
    """Say that another bot had it for all that time."""
    return ConfigurationError(
        [
            f"store.url: another running bot uses this file, and still did after {waited:.0f} s. Two bots on one file "
            "would not know of each other's closes. Stop the other one, or give both a database that they share."
        ]
    )
