"""Bolt and Slack's Web API, telling an observer what they do, for metrics and health."""

from __future__ import annotations

import time
from typing import Any, Protocol

from slack_bolt import App, BoltRequest, BoltResponse
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web import SlackResponse


class Observer(Protocol):
    """Who is told what the app does, for metrics. Must be quick and never raise."""

    def acknowledged(self, status: int, seconds: float) -> None:
        """A delivery was answered; 200 is an acknowledgement, 401 a wrong signature."""

    def answered(self, what: str, outcome: str, seconds: float) -> None:
        """A command, press or submission was carried out, refused or turned away."""

    def called(self, method: str, error: str, *, reached: bool = True) -> None:
        """Slack was called; ``error`` is its code, or the kind of failure where it was not ``reached``, '' for none."""


class Unobserved:
    """An observer that keeps nothing."""

    def acknowledged(self, status: int, seconds: float) -> None:
        """See ``Observer``."""

    def answered(self, what: str, outcome: str, seconds: float) -> None:
        """See ``Observer``."""

    def called(self, method: str, error: str, *, reached: bool = True) -> None:
        """See ``Observer``."""


class ObservedApp(App):
    """Bolt's App, telling how long each delivery waits for its answer, in Socket Mode and HTTP mode alike."""

    observer: Observer

    def dispatch(self, req: BoltRequest) -> BoltResponse:
        """Answer one delivery."""
        started = time.monotonic()
        response = super().dispatch(req)
        self.observer.acknowledged(response.status, time.monotonic() - started)
        return response


class ObservedClient(WebClient):
    """Slack's client, telling what each call came to."""

    observer: Observer = Unobserved()

    def api_call(self, api_method: str, **arguments: Any) -> SlackResponse:
        """Call a method; every call of the SDK goes through here."""
        try:
            answer = super().api_call(api_method, **arguments)
        except SlackApiError as error:
            self.observer.called(api_method, str(error.response.get("error") or "unknown"))
            raise
        except (SlackClientError, OSError) as error:
            self.observer.called(api_method, type(error).__name__, reached=False)
            raise
        self.observer.called(api_method, "")
        return answer
