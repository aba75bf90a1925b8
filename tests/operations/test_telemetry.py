"""What the bot does in Slack reaches metrics and health, by one way."""

from __future__ import annotations

import pytest
from slack_sdk.errors import SlackApiError

from bot.operations.health import SlackHealth
from bot.operations.metrics import Metrics
from bot.operations.telemetry import BotTelemetry
from bot.slack.client import Client
from bot.slack.connections import Answer, Connections
from bot.slack.delivery.retries import one_try
from bot.slack.telemetry import Telemetry


def test_a_call_is_counted_and_tells_how_slack_is(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Answer | OSError] = [
        Answer(200, {}, b'{"ok": true}'),
        Answer(200, {}, b'{"ok": false, "error": "invalid_auth"}'),
        ConnectionRefusedError(),
    ]

    def post(_connections: Connections, *_arguments: object, repeatable: bool) -> Answer:
        assert repeatable
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(Connections, "post", post)
    telemetry = BotTelemetry(Metrics("1"), SlackHealth())
    client = Client("xoxb-nobody", telemetry=telemetry)

    def page() -> str:
        return telemetry.metrics.page()[1].decode()

    assert telemetry.slack.report() == {"status": "degraded", "last_success_seconds_ago": None}
    client.auth_test()
    assert telemetry.slack.report()["status"] == "ok"
    assert 'session_bot_slack_calls_total{method="auth.test"} 1.0' in page()
    with pytest.raises(SlackApiError):
        client.auth_test()
    assert telemetry.slack.report()["problem"] == "the token is refused (invalid_auth)", "it answered"
    assert 'session_bot_slack_errors_total{error="invalid_auth",method="auth.test"} 1.0' in page()
    with one_try(), pytest.raises(ConnectionRefusedError):
        client.auth_test()
    assert telemetry.slack.unreachable
    assert 'session_bot_slack_errors_total{error="refused",method="auth.test"} 1.0' in page()


def test_deliveries_and_what_became_of_them_are_metrics() -> None:
    telemetry: Telemetry = BotTelemetry(metrics := Metrics("1"), SlackHealth())
    telemetry.acknowledged(200, 0.001)
    telemetry.answered("/sessions", "done", 0.2)
    page = metrics.page()[1].decode()
    assert 'session_bot_ack_seconds_count{status="200"} 1.0' in page
    assert 'session_bot_command_seconds_count{outcome="done",what="/sessions"} 1.0' in page
