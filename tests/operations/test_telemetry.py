"""What the bot does in Slack reaches metrics and health, by one way."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from slack_sdk.errors import SlackApiError

from bot.closing.model import Outcome
from bot.errors import BusyError, DataSourceError, SessionBotError
from bot.operations.health import SlackHealth
from bot.operations.metrics import OUTCOMES, SLACK_METHODS, SOURCE_ERRORS, Metrics
from bot.operations.telemetry import BotTelemetry
from bot.slack.client import Client
from bot.slack.connections import Answer, Connections
from bot.slack.delivery.retries import one_try
from bot.slack.slack_errors import Kind
from bot.slack.telemetry import Telemetry
from tests.support.running_bot import ROOT


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
    assert 'session_bot_slack_calls_total{method="auth.test",outcome="ok"} 1.0' in page()
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
    assert 'session_bot_command_seconds_count{what="/sessions"} 1.0' in page
    assert 'session_bot_commands_total{outcome="done",what="/sessions"} 1.0' in page


def test_what_alerts_go_by_begins_at_zero_and_no_label_is_anybodys_text() -> None:
    metrics = Metrics("1")
    metrics.answers("/sessions")
    metrics.visits(["prod"])
    before = samples(metrics)
    for name, wanted in {
        "session_bot_closes_total": len(Outcome),
        "session_bot_commands_total": len(OUTCOMES),
        "session_bot_command_seconds_count": 1,
        "session_bot_data_source_errors_total": len(SOURCE_ERRORS),
        "session_bot_data_source_seconds_count": 1,
        "session_bot_slack_calls_total": len(SLACK_METHODS) * (1 + len(Kind)),
        "session_bot_ack_seconds_count": 2,
    }.items():
        assert [value for (family, _), value in before.items() if family == name] == [0.0] * wanted, name
    assert len(before) < 1000
    metrics.called("auth.test", "a_word_of_whatever_answers_there")
    metrics.called("auth.test", "status_599")
    metrics.called("a.method.of_tomorrow", "ratelimited")
    metrics.answered("/sessions", "AnErrorOfTomorrow", 1.0)
    metrics.visited("prod", 1.0, "AnErrorOfTomorrow")
    after = samples(metrics)
    assert after["session_bot_slack_errors_total", ("other", "auth.test")] == 2
    assert after["session_bot_slack_errors_total", ("ratelimited", "other")] == 1
    assert after["session_bot_commands_total", ("other", "/sessions")] == 1
    assert after["session_bot_data_source_errors_total", ("other", "prod")] == 1


def test_every_error_of_the_bots_own_has_its_place_in_the_metrics() -> None:
    metrics = Metrics("1")
    for kind in kinds_of(SessionBotError):
        metrics.answered("/sessions", kind.__name__, 1.0)
        if issubclass(kind, DataSourceError | BusyError) and kind is not DataSourceError:
            metrics.visited("prod", 1.0, kind.__name__)
    told = samples(metrics)
    assert ("session_bot_data_source_errors_total", ("other", "prod")) not in told
    assert ("session_bot_commands_total", ("other", "/sessions")) not in told


def test_every_method_of_slack_that_is_called_is_counted_by_its_name() -> None:
    calls = re.compile(r"\b_?(?:client|self)\.((?:apps|auth|chat|conversations|files|usergroups|users|views)_\w+)\(")
    called = set()
    for path in (ROOT / "bot" / "slack").rglob("*.py"):
        called |= {name.replace("_", ".") for name in calls.findall(path.read_text(encoding="utf-8"))}
    assert len(called) > 10
    assert called <= set(SLACK_METHODS)


def test_the_process_is_measured_where_proc_shows_processes_alone(tmp_path: Path) -> None:
    """As under the unit's ProcSubset=pid: there is no /proc/stat."""
    (tmp_path / "self").symlink_to("/proc/self")
    told = samples(Metrics("1", proc=str(tmp_path)))
    assert told["process_resident_memory_bytes", ()] > 1_000_000
    assert told["process_open_fds", ()] > 0
    began = Path(f"/proc/{os.getpid()}").stat().st_ctime
    assert abs(told["process_start_time_seconds", ()] - began) < 5


def samples(metrics: Metrics) -> dict[tuple[str, tuple[str, ...]], float]:
    """Return the values of the page by names and values of labels, in the order of the labels' names."""
    return {
        (one.name, tuple(value for _, value in sorted(one.labels.items()))): one.value
        for family in text_string_to_metric_families(metrics.page()[1].decode())
        for one in family.samples
    }


def kinds_of(error: type[SessionBotError]) -> Iterator[type[SessionBotError]]:
    for kind in error.__subclasses__():
        yield kind
        yield from kinds_of(kind)
