"""What Slack hands out for a short while: trigger ids and response URLs."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from sandbox.slack.refusals import Refused

TRIGGER_LIFE = 3.0  # seconds
URL_LIFE = 30 * 60.0  # seconds
URL_USES = 5


@dataclass(slots=True)
class Trigger:
    """The right to open one modal for one person."""

    user: str
    view_id: str | None
    issued: float
    used: bool = False


@dataclass(slots=True)
class ResponseUrl:
    """The right to answer where somebody typed a command or pressed; `message_key` is the message pressed."""

    kind: str
    user: str
    channel: str
    issued: float
    message_key: str | None = None
    typed: str | None = None
    uses: int = 0


class Tickets:
    """All trigger ids and response URLs handed out so far."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._triggers: dict[str, Trigger] = {}
        self._urls: dict[str, ResponseUrl] = {}

    def trigger(self, user: str, view_id: str | None = None) -> str:
        """Issue a trigger id; one from inside a modal may push onto that modal."""
        number = len(self._triggers) + 1
        trigger_id = f"{number}.{int(self._clock())}.{secrets.token_hex(8)}"
        self._triggers[trigger_id] = Trigger(user, view_id, self._clock())
        return trigger_id

    def redeem(self, trigger_id: str) -> Trigger:
        """Take a trigger id in, once and in time."""
        trigger = self._triggers.get(trigger_id)
        if trigger is None:
            raise Refused("invalid_trigger_id")
        if trigger.used:
            raise Refused("exchanged_trigger_id")
        if self._clock() - trigger.issued > TRIGGER_LIFE:
            raise Refused("expired_trigger_id")
        trigger.used = True
        return trigger

    def response_url(
        self, kind: str, user: str, channel: str, message_key: str | None = None, typed: str | None = None
    ) -> str:
        """Issue a response URL and return its path; `kind` is commands or actions, as in Slack's own."""
        path = f"/{kind}/{secrets.token_hex(6)}/{secrets.token_urlsafe(18)}"
        self._urls[path] = ResponseUrl(kind, user, channel, self._clock(), message_key, typed)
        return path

    def peek(self, path: str) -> ResponseUrl:
        """Return a response URL just issued without using it."""
        return self._urls[path]

    def channel_of(self, path: str) -> str | None:
        """Return the channel that a response URL answers in, None for one never issued."""
        return self._urls[path].channel if path in self._urls else None

    def use(self, path: str) -> ResponseUrl:
        """Count a use of a response URL; refused with Slack's own words once it is used up or old."""
        url = self._urls.get(path)
        if url is None:
            raise Refused("no_service")
        if self._clock() - url.issued > URL_LIFE:
            raise Refused("expired_url")
        if url.uses >= URL_USES:
            raise Refused("used_url")
        url.uses += 1
        return url
