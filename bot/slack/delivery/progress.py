"""Tells somebody who waits that it goes on."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from bot.slack.delivery.replies import Reply
from bot.slack.delivery.retries import one_try
from bot.slack.views import notices

_TEXT = "⏳ Still waiting for {what}. An answer or an error follows within seconds."


class Progress:
    """What somebody hears, once at most, when it takes longer than ``after`` seconds from now on; None: nothing."""

    def __init__(self, reply: Reply, after: float | None, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._reply = reply
        self._after = after
        self._monotonic = monotonic
        self._since = monotonic()
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
        left = self._since + self._after - self._monotonic()
        timer = threading.Timer(max(0.0, left), lambda: self.tell(_TEXT.format(what=waits_for() or "the database")))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
