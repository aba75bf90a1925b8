"""A store in a file has one bot at a time: it holds a lock beside the file for as long as it runs."""

from __future__ import annotations

import fcntl
import os

from bot.closing import url
from bot.errors import ConfigurationError

WAIT = 25.0  # seconds; a bot that is being stopped takes up to 20


class StoreLock:
    """The lock of the store at a URL; a database that replicas share needs none. ``check`` and backups need none."""

    def __init__(self, address: str) -> None:
        file = url.file_of(url.read(address))
        self._name = f"{os.path.realpath(file)}.lock" if file is not None else None
        self._lock: int | None = None

    def take(self) -> bool:
        """Take it, until the process ends or ``release``; False where another bot has it.

        Raises ``ConfigurationError`` where there can be none.
        """
        if self._name is None or self._lock is not None:
            return True
        try:
            lock = os.open(self._name, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(lock)
                raise
        except BlockingIOError:
            return False
        except OSError as error:
            raise ConfigurationError(
                [f"store.url: {self._name} cannot be locked ({error.strerror}). Put the store on a local disk."]
            ) from error
        self._lock = lock
        return True

    def release(self) -> None:
        """Give it free. The file stays: another bot may have opened it already."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def taken(waited: float) -> ConfigurationError:
    """Say that another bot had it for all that time."""
    return ConfigurationError(
        [
            f"store.url: another running bot uses this file, and still did after {waited:.0f} s. Two bots on one file "
            "would not know of each other's closes. Stop the other one, or give both a database that they share."
        ]
    )
