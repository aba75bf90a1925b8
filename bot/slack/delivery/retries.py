"""Retries while Slack limits, fails or is away: which calls are made again, how often and for how long."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextvars import ContextVar
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.parse import urlsplit

from slack_sdk.http_retry.handler import RetryHandler
from slack_sdk.http_retry.request import HttpRequest
from slack_sdk.http_retry.response import HttpResponse
from slack_sdk.http_retry.state import RetryState

from bot.slack.connections import AnswerLostError
from bot.slack.slack_errors import FAILED, LIMITED

SECONDS = 20.0  # for one call, all its tries together
_BRIEFLY = 2.0  # seconds: what opens a window lives for three, and nobody waits longer to hear who somebody is
_BRIEF = ("views.open", "views.push", "users.info", "usergroups.users.list")
_AGAIN, _ONCE_MORE = 4, 1  # tries after the first one that Slack failed at

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


class RetryWithinDeadline(RetryHandler):
    """Waits as long as Slack says when it limits, and tries again when it fails, within ``SECONDS`` in all.

    ``repeatable`` is for clients of response URLs whose messages replace another one.
    """

    def __init__(self, *, repeatable: bool = False) -> None:
        super().__init__(max_retry_count=20)  # what ends it is the time, or the number of failures
        self._repeatable = repeatable

    def _can_retry(
        self,
        *,
        state: RetryState,
        request: HttpRequest,
        response: HttpResponse | None = None,
        error: Exception | None = None,
    ) -> bool:
        kept = state.custom_values = state.custom_values or {"since": time.monotonic(), "failures": 0}
        limited, failed = _is_limited(response), _is_failed(response, error)
        if not _retrying.get() or not (limited or failed):
            return False
        method = urlsplit(request.url).path.rsplit("/", 1)[-1]
        repeatable = self._repeatable or is_repeatable(method)
        if isinstance(error, AnswerLostError) and not repeatable:
            return False
        wait = (
            _asked_to_wait(response) if limited else self.interval_calculator.calculate_sleep_duration(kept["failures"])
        )
        kept["failures"] += failed
        if kept["failures"] > (_AGAIN if repeatable else _ONCE_MORE):
            return False
        kept["wait"] = wait
        most = _BRIEFLY if method in _BRIEF else SECONDS
        return bool(time.monotonic() + wait - kept["since"] <= most)

    def prepare_for_next_attempt(
        self,
        *,
        state: RetryState,
        request: HttpRequest,
        response: HttpResponse | None = None,
        error: Exception | None = None,
    ) -> None:
        """Sleep for what ``_can_retry`` has found."""
        del request, response, error
        state.next_attempt_requested = True
        time.sleep((state.custom_values or {})["wait"])
        state.increment_current_attempt()


def _is_limited(response: HttpResponse | None) -> bool:
    return response is not None and (response.status_code == 429 or _error_in(response) in LIMITED)


def _is_failed(response: HttpResponse | None, error: Exception | None) -> bool:
    if response is not None:
        return response.status_code >= 500 or _error_in(response) in FAILED
    # Timeouts and refused or broken connections; HTTPError comes with a response.
    return isinstance(error, OSError | HTTPException) and not isinstance(error, HTTPError)


def _error_in(response: HttpResponse) -> str:
    return str((response.body or {}).get("error") or "")


def _asked_to_wait(response: HttpResponse | None) -> float:
    headers = {name.lower(): values for name, values in (response.headers if response is not None else {}).items()}
    seconds = str((headers.get("retry-after") or ["1"])[0])
    return float(seconds) if seconds.isdecimal() else 1.0
