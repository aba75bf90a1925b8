"""/readyz and /metrics through everything that may fail: they wait for nobody and name no host and no secret."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.databases.oceanbase import EmbeddedOceanBase
from sandbox.slack.faults import Failure
from sandbox.slack.server import SlackSandbox
from tests.support.http_bot import HttpBot, SocketBot, Web, free_port, request_url
from tests.support.running_bot import COMMANDS
from tests.support.slack_person import buttons_of, text_of
from tests.support.slack_text import tells
from tests.support.stage import Stage, session_id, staged

Wait = Callable[[str, int], dict[str, Any]]


@pytest.fixture(scope="module")
def web() -> Web:
    return Web(free_port())


@pytest.fixture(scope="module")
def standing_stage(
    restartable: EmbeddedOceanBase, web: Web, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """Give a stage in HTTP mode on a database that tests may play with."""
    folder = tmp_path_factory.mktemp("health")
    with staged(restartable, folder, bot=HttpBot, request_url=request_url(web), web=web) as stage:
        yield stage


@pytest.fixture
def stage(standing_stage: Stage) -> Iterator[Stage]:
    yield standing_stage
    standing_stage.tidy()


@pytest.fixture
def becomes(stage: Stage, web: Web) -> Wait:
    """Give a function that waits until the bot's health is that, and returns the report."""

    def wait(status: str, code: int) -> dict[str, Any]:
        def now() -> dict[str, Any] | None:
            found, report = web.health()
            return report if (found, report["status"]) == (code, status) else None

        report = stage.slack.wait_for(now, what=f"health {status}")
        assert report is not None
        return report

    return wait


def test_a_bot_that_is_well_says_so_part_by_part_and_names_no_host(stage: Stage, web: Web, becomes: Wait) -> None:
    report = becomes("ok", 200)
    assert report["process"]["status"] == report["store"]["status"] == report["slack"]["status"] == "ok"
    assert report["data_sources"] == {"demo": {"status": "ok"}}
    told = json.dumps(report) + web.request("GET", "/metrics")[2].decode()
    for secret in ("127.0.0.1", stage.database.password, "root@sys", "xoxb-", "store.db"):
        assert secret not in told
    assert not tells(told, stage.database.port)


def test_a_stopped_database_is_degraded_and_well_again_once_it_is_back(stage: Stage, web: Web, becomes: Wait) -> None:
    becomes("ok", 200)
    before = web.metric("session_bot_data_source_errors_total", source="demo")
    stage.database.halt()
    try:
        report = becomes("degraded", 200)
        problem = report["data_sources"]["demo"]["problem"]
        assert problem in ("unreachable", "connection lost")
        assert "127.0.0.1" not in json.dumps(report)
        assert report["store"]["status"] == "ok"
        assert web.metric("session_bot_data_source_errors_total", source="demo") > before
    finally:
        stage.database.start()
    becomes("ok", 200)


def test_a_hung_database_is_degraded_and_keeps_nobody_waiting(stage: Stage, web: Web, becomes: Wait) -> None:
    becomes("ok", 200)
    stage.database.suspend()
    try:
        report = becomes("degraded", 200)
        assert "no answer" in report["data_sources"]["demo"]["problem"]
        stage.alice.types("/sessions private")
        for _ in range(3):
            assert web.request("GET", "/metrics")[0] == 200
            assert web.health()[1]["status"] == "degraded"
        seen = [text_of(message) for message in stage.alice.messages()]
        assert not any("did not answer within" in text for text in seen), "who asks the database waits all the while"
        stage.alice.wait_for_message("did not answer within")
    finally:
        stage.database.resume()
    becomes("ok", 200)


def test_a_store_that_is_gone_is_told_and_well_again_once_it_is_back(stage: Stage, web: Web, becomes: Wait) -> None:
    becomes("ok", 200)
    store = stage.bot.log.parent / "store.db"
    away = store.rename(store.with_name("away.db"))
    try:
        report = becomes("degraded", 200)
        assert report["store"]["status"] == "failing"
        assert report["data_sources"]["demo"]["status"] == "ok"
        assert (web.metric("session_bot_store_up"), web.metric("session_bot_connected")) == (0, 1)
    finally:
        away.rename(store)
    becomes("ok", 200)
    assert web.metric("session_bot_store_up") == 1


def test_what_people_do_is_counted(stage: Stage, web: Web) -> None:
    counted = {
        name: web.metric(name, **labels)
        for name, labels in (
            ("session_bot_command_seconds_count", {"what": "/sessions"}),
            ("session_bot_ack_seconds_count", {"status": "200"}),
            ("session_bot_closes_total", {"outcome": "closed"}),
            ("session_bot_data_source_seconds_count", {"source": "demo"}),
        )
    }
    sleeper = stage.connect()
    stage.asks(stage.alice, "/sessions", "Sessions on demo")
    stage.asks(stage.alice, "/sessions tenat==", "Error id")
    card = stage.asks(stage.alice, f"/kill-session {session_id(sleeper)}", "Nothing is closed without a press")
    stage.alice.press(card, "Close Session")
    stage.alice.wait_for_change(card, lambda m: "closed" in text_of(m) and not buttons_of(m))
    stage.slack.wait_for(lambda: web.metric("session_bot_closes_total") == counted["session_bot_closes_total"] + 1)
    assert web.metric("session_bot_commands_total", what="/sessions", outcome="refused") >= 1
    assert web.metric("session_bot_ack_seconds_count", status="200") >= counted["session_bot_ack_seconds_count"] + 4
    for name, before in counted.items():
        assert web.metric(name) > before
    assert web.metric("session_bot_ack_seconds_bucket", status="200", le="+Inf") == web.metric(
        "session_bot_ack_seconds_count", status="200"
    )
    assert web.metric("session_bot_queue_depth") == 0
    assert web.metric("session_bot_pool_size", source="demo") > 0
    assert web.metric("session_bot_slack_calls_total", method="response_url") >= 1


def test_errors_of_slack_are_counted_by_their_code(stage: Stage, web: Web) -> None:
    # All its uses: where the list takes two seconds, the first one tells what it waits for.
    stage.slack.faults.fall_ill(Failure("", 404, "expired_url"), share=1.0, methods={"response_url"})
    stage.slack.faults.fail_next("chat.postMessage", error="channel_is_archived")
    stage.alice.types("/sessions")
    stage.slack.wait_for(lambda: web.metric("session_bot_slack_errors_total", error="channel_is_archived") == 1)
    stage.slack.faults.recover()
    refused = web.metric("session_bot_slack_errors_total", method="response_url", error="expired_url")
    assert refused >= 1
    assert web.metric("session_bot_slack_calls_total", method="response_url", outcome="place") == refused


def test_who_waits_and_which_connections_are_in_use_is_shown(stage: Stage, web: Web) -> None:
    stage.asks(stage.alice, "/sessions", "Sessions on demo")
    stage.database.suspend()
    try:
        for number in range(6):
            stage.alice.types(f"/sessions limit={number + 1} private")
        stage.slack.wait_for(
            lambda: (
                web.metric("session_bot_pool_waiting", source="demo") > 0
                # One that is open already is kept for closing, which no list gets.
                and web.metric("session_bot_pool_in_use") >= web.metric("session_bot_pool_size") - 1
            )
        )
    finally:
        stage.database.resume()
    stage.slack.wait_for(lambda: web.metric("session_bot_pool_in_use") == 0)


def test_in_socket_mode_health_has_a_port_of_its_own_and_follows_the_connection(
    restartable: EmbeddedOceanBase, tmp_path: Path
) -> None:
    web = Web(free_port())
    with SlackSandbox(commands=COMMANDS) as slack, SocketBot(slack, restartable, tmp_path, web):
        slack.wait_for(lambda: web.health()[1]["status"] == "ok")
        assert web.health()[1]["slack"]["connected"] is True
        assert web.metric("session_bot_connected") == 1
        assert web.request("POST", "/slack/events")[0] == 404, "nothing but health and metrics there"
        slack.stop()
        slack.wait_for(lambda: web.health()[1]["slack"]["status"] == "degraded")
        assert web.metric("session_bot_connected") == 0
        assert web.health()[0] == 200
        slack.start()
        slack.wait_for(lambda: web.health()[1]["slack"]["status"] == "ok", what="the bot's way back to Slack")
