"""What the bot does in Slack, told to metrics and health."""

from __future__ import annotations

from dataclasses import dataclass

from bot.operations.health import SlackHealth
from bot.operations.metrics import Metrics


@dataclass(frozen=True, slots=True)
class BotTelemetry:
    """The ``Telemetry`` of a bot that runs."""

    metrics: Metrics
    slack: SlackHealth

    def acknowledged(self, status: int, seconds: float) -> None:
        """A delivery was answered."""
        self.metrics.acknowledged(status, seconds)

    def answered(self, what: str, outcome: str, seconds: float) -> None:
        """A command, press or submission was carried out, refused or turned away."""
        self.metrics.answered(what, outcome, seconds)

    def answers(self, what: str) -> None:
        """Something of that name is answered from now on."""
        self.metrics.answers(what)

    def called(self, method: str, error: str, *, reached: bool = True) -> None:
        """Slack was called."""
        self.metrics.called(method, error)
        self.slack.called(error, reached=reached)
