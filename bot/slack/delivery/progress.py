"""Tells somebody who waits that it goes on."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from bot.slack.delivery.replies import Reply
from bot.slack.delivery.retries import one_try
from bot.slack.views import notices

_TEXT = "⏳ Still waiting for {what}. An answer or an error follows within seconds."


@dataclass(order=True, slots=True)
class _Alarm:
    at: float  # reading of ``monotonic``
    number: int
    ring: Callable[[], object] | None = field(compare=False)  # None: nothing is to be done any more


class Alarms:
    """Does what is due, each in a thread of its own; one thread waits for all, as one for each command would cost."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._alarms: list[_Alarm] = []  # a heap
        self._numbers = itertools.count()
        self._waiting = False

    @contextlib.contextmanager
    def after(self, seconds: float, ring: Callable[[], object]) -> Iterator[None]:
        """Do something in so many seconds, unless the block has ended by then."""
        with self._changed:
            if not self._waiting:
                threading.Thread(target=self._wait, name="alarms", daemon=True).start()
                self._waiting = True
            alarm = _Alarm(time.monotonic() + seconds, next(self._numbers), ring)
            heapq.heappush(self._alarms, alarm)
            if self._alarms[0] is alarm:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                alarm.ring = None

    def _wait(self) -> None:
        with self._changed:
            while self._alarms:
                left = self._alarms[0].at - time.monotonic()
                if left > 0:
                    self._changed.wait(left)
                    continue
                ring = heapq.heappop(self._alarms).ring
                if ring is not None:
                    with contextlib.suppress(RuntimeError):  # the system gives no more threads
                        threading.Thread(target=ring, name="alarm", daemon=True).start()
            self._waiting = False


class Progress:
    """What somebody hears, once at most, when it takes longer than ``after`` seconds from now on; None: nothing."""

    def __init__(self, reply: Reply, after: float | None, alarms: Alarms) -> None:
        self._reply = reply
        self._after = after
        self._alarms = alarms
        self._since = time.monotonic()
        self._telling = threading.Lock()

    def tell(self, text: str) -> None:
        """Tell it now, unless something was told or is told by the handler itself."""
        if self._after is None or self._reply.answering or not self._telling.acquire(blocking=False):
            return  # or the answer waits for Slack
        with one_try():  # no news when it comes after the answer
            self._reply.private(notices.notice(text))

    @contextlib.contextmanager
    def told(self, waits_for: Callable[[], str]) -> Iterator[None]:
        """Tell it when what is done here takes too long; ``waits_for`` says then what it waits for, '' if unknown."""
        if self._after is None:
            yield
            return
        left = self._since + self._after - time.monotonic()
        with self._alarms.after(left, lambda: self.tell(_TEXT.format(what=waits_for() or "the database"))):
            yield
