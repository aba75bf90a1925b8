"""Who is told what the bot does in Slack, for metrics and health; and Bolt's app, which tells them."""

from __future__ import annotations

import time
from typing import Protocol

from slack_bolt import App, BoltRequest, BoltResponse


class Telemetry(Protocol):
    """Who is told what the bot does in Slack. Must be quick and never raise."""

    def acknowledged(self, status: int, seconds: float) -> None:
        """A delivery was answered; 200 is an acknowledgement, 401 a wrong signature."""

    def answered(self, what: str, outcome: str, seconds: float) -> None:
        """A command, press or submission was carried out, refused or turned away."""

    def answers(self, what: str) -> None:
        """Something of that name is answered from now on."""

    def called(self, method: str, error: str, *, reached: bool = True) -> None:
        """Slack was called; ``error`` is its code, or the kind of failure where it was not ``reached``, '' for none."""


class NoTelemetry:
    """Telemetry that keeps nothing."""

    def acknowledged(self, status: int, seconds: float) -> None:
        """See ``Telemetry``."""

    def answered(self, what: str, outcome: str, seconds: float) -> None:
        """See ``Telemetry``."""

    def answers(self, what: str) -> None:
        """See ``Telemetry``."""

    def called(self, method: str, error: str, *, reached: bool = True) -> None:
        """See ``Telemetry``."""


class MeasuredApp(App):
    """Bolt's App, telling how long each delivery waits for its answer, in Socket Mode and HTTP mode alike."""

    telemetry: Telemetry = NoTelemetry()

    def dispatch(self, req: BoltRequest) -> BoltResponse:
        """Answer one delivery."""
        started = time.monotonic()
        response = super().dispatch(req)
        self.telemetry.acknowledged(response.status, time.monotonic() - started)
        return response
