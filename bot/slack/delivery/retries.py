"""Retries while Slack limits, fails or is away: which calls are made again, how often and for how long."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator
from contextvars import ContextVar

from bot.slack.connections import Answer, AnswerLostError
from bot.slack.slack_errors import FAILED, LIMITED

SECONDS = 20.0  # for all tries of one call, since the first has ended
_BRIEFLY = 2.0  # seconds: what opens a window lives for three, and nobody waits longer to hear who somebody is
_BRIEF = ("views.open", "views.push", "users.info", "usergroups.users.list")
_AGAIN, _ONCE_MORE = 4, 1  # tries after the first one that Slack failed at
_MOST = 20  # tries after the first one in all, should Slack ask to wait no time at all

# Made twice, these do the same as once. Of all others Slack may have carried out what it answered with an error:
# they are tried once more only, since an answer that comes twice is better than none. Where no answer came at all to
# what left whole, they are not: it was carried out as a rule.
_REPEATABLE = (
    "chat.update",
    "views.",
    "users.",
    "usergroups.",
    "conversations.",
    "auth.",
    "apps.connections.open",
)

_retrying: ContextVar[bool] = ContextVar("retrying", default=True)


@contextlib.contextmanager
def one_try() -> Iterator[None]:
    """Try each call of this thread once only: for news that the next ones make old."""
    token = _retrying.set(False)
    try:
        yield
    finally:
        _retrying.reset(token)


def may_retry() -> bool:
    """Whether calls of this thread may take a while."""
    return _retrying.get()


def is_repeatable(method: str) -> bool:
    """Whether calling this method of the Web API twice is calling it once."""
    return method.startswith(_REPEATABLE)


class Tries:
    """The tries of one call: again after as long as Slack says when it limits, and when it fails, for ``SECONDS``.

    ``method`` is that of the Web API, '' for a response URL; ``repeatable`` says that doing it twice is doing it once.
    """

    def __init__(self, method: str = "", *, repeatable: bool) -> None:
        self._repeatable = repeatable
        self._seconds = _BRIEFLY if method in _BRIEF else SECONDS
        self._ended_first: float | None = None  # when the first try had ended
        self._tried = self._failures = 0

    def go_on(self, came: Answer | OSError, word: str = "") -> bool:
        """Whether to call again after what ``came``, whose error is ``word``; waits until it is time for that."""
        status, now = came.status if isinstance(came, Answer) else 0, time.monotonic()
        limited = status == 429 or word in LIMITED
        failed = isinstance(came, OSError) or status >= 500 or word in FAILED
        self._ended_first = now if self._ended_first is None else self._ended_first
        if not may_retry() or not (limited or failed) or self._tried >= _MOST:
            return False
        if isinstance(came, AnswerLostError) and not self._repeatable:
            return False
        wait = _asked_to_wait(came) if limited else 0.5 * 2**self._failures + random.random()  # noqa: S311  # no secret
        self._tried, self._failures = self._tried + 1, self._failures + failed
        if self._failures > (_AGAIN if self._repeatable else _ONCE_MORE):
            return False
        if now + wait - self._ended_first > self._seconds:
            return False
        time.sleep(wait)
        return True


def _asked_to_wait(came: Answer | OSError) -> float:
    headers = came.headers if isinstance(came, Answer) else {}
    seconds = next((value for name, value in headers.items() if name.lower() == "retry-after"), "")
    return float(seconds) if seconds.isdecimal() else 1.0
