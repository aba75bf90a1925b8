"""Answers that Slack did not take: kept in memory for a few minutes and tried again."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from bot.errors import SessionBotError
from bot.slack.delivery.retries import one_try

FOR = 180.0  # seconds; later nobody looks for the answer any more
MOST = 300  # answers; the oldest goes when there are more
_FIRST_PAUSE, _LAST_PAUSE = 1.0, 15.0  # seconds between two tries; each is twice the one before

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Kept:
    what: str
    send: Callable[[], bool]
    at_last: Callable[[], bool]
    until: float
    next: float
    pause: float


class Outbox:
    """What waits to be shown. ``deliver`` is to be called about every second."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._waiting: deque[_Kept] = deque()

    def keep(
        self, what: str, send: Callable[[], bool], at_last: Callable[[], bool] = lambda: False, seconds: float = FOR
    ) -> None:
        """Keep what could not be sent; ``send`` says whether it has been taken, as does the other way ``at_last``."""
        now = self._monotonic()
        with self._lock:
            if len(self._waiting) >= MOST:
                log.error("answer lost", what=self._waiting.popleft().what, why="too many wait")
            self._waiting.append(_Kept(what, send, at_last, now + seconds, now + _FIRST_PAUSE, _FIRST_PAUSE))
        log.warning("answer kept for later", what=what)

    @staticmethod
    def _try(what: str, send: Callable[[], bool]) -> bool:
        with one_try():  # one that is not taken holds up no other
            try:
                return send()
            except SessionBotError as error:  # what had to be done after it was sent
                log.warning("sent, but not noted", what=what, error=str(error))
                return True
            except Exception:  # of a fault in one of them the others know nothing
                log.exception("answer not sent", what=what)
                return False

    def deliver(self) -> None:
        """Try again what is due."""
        now = self._monotonic()
        with self._lock:
            due = [one for one in self._waiting if one.next <= now]
            for one in due:
                self._waiting.remove(one)
        for one in due:
            if self._try(one.what, one.send):
                log.info("answer sent later", what=one.what)
            elif self._monotonic() >= one.until:
                if not self._try(one.what, one.at_last):
                    log.error("answer lost", what=one.what, why="Slack did not take it")
            else:
                one.pause = min(one.pause * 2, _LAST_PAUSE)
                one.next = self._monotonic() + one.pause
                with self._lock:
                    self._waiting.append(one)
