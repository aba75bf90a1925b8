"""The way of a payload from Slack to the app, whatever the transport."""

from __future__ import annotations

from typing import Protocol

from bot.demo.slack.refusals import Json

ACK_WITHIN = 3.0  # seconds

COMMAND = "slash_commands"
INTERACTIVE = "interactive"
EVENT = "events_api"


class NotAcknowledged(Exception):  # noqa: N818 - reads as a sentence where it is raised
    """The app did not answer in time; `error` is the code that Slack shows to the person."""

    def __init__(self, error: str = "operation_timeout") -> None:
        super().__init__(error)
        self.error = error


class Delivery(Protocol):
    """Hands payloads to the app and returns what it acknowledged with, `{}` for nothing."""

    async def deliver(self, kind: str, payload: Json) -> Json:
        """Deliver one payload; raises NotAcknowledged."""
