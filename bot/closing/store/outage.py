"""Says in the log that the store fails: once a minute, however many notice it, and when it works again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from bot.errors import StoreError

EVERY = 60.0  # seconds between two lines of the log

log = structlog.get_logger(__name__)


class Outage:
    """What is known of it. ``monotonic`` gives seconds since some moment."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._since: float | None = None
        self._noticed = 0  # how often since the last line
        self._in_writing = False  # a store that is read-only can be read all the time
        self._told_at = -EVERY
        self._told = False  # whether of this one

    @property
    def lasts(self) -> bool:
        """Whether nobody has used the store since somebody could not."""
        return self._since is not None

    def noticed(self, error: StoreError, *, writing: bool) -> None:
        """Note that somebody could not use the store."""
        with self._lock:
            now = self._monotonic()
            self._since = now if self._since is None else self._since
            self._in_writing = self._in_writing or writing
            self._noticed += 1
            if now - self._told_at < EVERY:
                return
            times, seconds = self._noticed, round(now - self._since)
            self._told_at, self._told, self._noticed = now, True, 0
        log.warning("store fails", error=error.sentence, seconds=seconds, times=times)

    def over(self, *, writing: bool) -> None:
        """Note that somebody has used it."""
        if self._since is None:
            return
        with self._lock:
            if self._since is None or (self._in_writing and not writing):
                return
            told, seconds = self._told, round(self._monotonic() - self._since)
            self._since, self._noticed, self._in_writing, self._told = None, 0, False, False
        if told:
            log.info("store works again", seconds=seconds)
