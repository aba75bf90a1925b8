"""What Slack delivers: each act once, and what the log says of it and of what came of it."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import Any

from bot.errors import (
    BusyError,
    ConnectionLostError,
    DataSourceError,
    DataSourceTimeoutError,
    DataSourceUnreachableError,
    LoginRefusedError,
    PrivilegeMissingError,
    SessionBotError,
    StoreError,
)
from bot.slack import events

REMEMBER = 600.0  # seconds; Slack redelivers within five minutes (docs/slack.md 1.5)
RUSHING, RUSH, RUSH_AT_MOST = 16, 0.1, 0.5  # so many within so many seconds are a rush; how long work stands back

Payload = Mapping[str, Any]


class Deliveries:
    """Remembers what was delivered: Slack sends some payloads twice."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, float] = OrderedDict()
        self._latest = deque([-REMEMBER] * RUSHING, maxlen=RUSHING)

    def first(self, key: str) -> bool:
        """Whether this is the first time within ten minutes. True for exactly one of any callers."""
        now = self._monotonic()
        with self._lock:
            self._latest.append(now)
            while self._seen and now - next(iter(self._seen.values())) > REMEMBER:
                self._seen.popitem(last=False)
            if key in self._seen:
                return False
            self._seen[key] = now
            return True

    def let_through(self) -> None:
        """Wait while many arrive at once: threads that work would keep those waiting that acknowledge."""
        end = self._monotonic() + RUSH_AT_MOST
        while self._latest[-1] - self._latest[0] < RUSH and self._monotonic() < min(end, self._latest[-1] + RUSH / 5):
            time.sleep(RUSH / 20)


def about(payload: Payload) -> dict[str, str]:
    """Return what the log says of a delivery: no text, which may hold literals, and no URL."""
    person = events.person_of(payload)
    what = (
        payload.get("command")
        or (payload.get("actions") or [{}])[0].get("action_id")
        or (payload.get("view") or {}).get("callback_id")
        or payload.get("type")
    )
    return {"user": person.id, "channel": events.channel_of(payload), "what": str(what)}


def typed(payload: Payload) -> str:
    """Return the command line as typed, '' for what is no command."""
    return f"{payload['command']} {payload.get('text') or ''}".strip() if "command" in payload else ""


# Sentences that hold nothing of what was typed and nothing of anybody's SQL: the log gets those alone.
_PLAIN = (
    BusyError,
    ConnectionLostError,
    DataSourceTimeoutError,
    DataSourceUnreachableError,
    LoginRefusedError,
    PrivilegeMissingError,
    StoreError,
)


def reason(error: SessionBotError) -> dict[str, Any]:
    """Say what the log says of an error besides its kind."""
    number = {"errno": error.errno} if isinstance(error, DataSourceError) and error.errno else {}
    return {"sentence": error.sentence, **number} if isinstance(error, _PLAIN) else dict(number)
