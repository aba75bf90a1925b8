"""The way of a payload from Slack to the app, whatever the transport."""

from __future__ import annotations

import time
from collections import deque
from typing import Protocol

from sandbox.slack.refusals import Json

ACK_WITHIN = 3.0  # seconds

COMMAND = "slash_commands"
INTERACTIVE = "interactive"
EVENT = "events_api"


class NotAcknowledged(Exception):  # noqa: N818 - reads as a sentence where it is raised
    """The app did not answer in time; `error` is the code that Slack shows to the person."""

    def __init__(self, error: str = "operation_timeout") -> None:
        super().__init__(error)
        self.error = error


class Timed:
    """Hands payloads on and remembers how long each waited for its acknowledgement, in seconds."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self.acks: deque[float] = deque(maxlen=10_000)

    async def deliver(self, kind: str, payload: Json) -> Json:
        """Deliver one payload; raises NotAcknowledged."""
        began = time.monotonic()
        try:
            return await self._delivery.deliver(kind, payload)
        finally:
            self.acks.append(time.monotonic() - began)


class Delivery(Protocol):
    """Hands payloads to the app and returns what it acknowledged with, `{}` for nothing."""

    async def deliver(self, kind: str, payload: Json) -> Json:
        """Deliver one payload; raises NotAcknowledged."""
