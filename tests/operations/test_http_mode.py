"""HTTP mode: the unchanged bot behind its own server, signed requests alone, each act once."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import pytest

from bot.operations.web_server import MAX_BODY
from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.support.http_bot import HttpBot, Web, free_port, request_url, signed
from tests.support.slack_person import buttons_of, text_of
from tests.support.slack_text import Json
from tests.support.stage import Stage, session_id, staged


@pytest.fixture(scope="module")
def web() -> Web:
    return Web(free_port())


@pytest.fixture(scope="module")
def standing_http_stage(
    oceanbase: EmbeddedOceanBase, web: Web, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """Give a stage whose bot is reached over HTTP."""
    folder = tmp_path_factory.mktemp("http-bot")
    with staged(oceanbase, folder, bot=HttpBot, request_url=request_url(web), web=web) as stage:
        yield stage
        assert stage.bot.stop() == 0
        assert not web.reachable()


@pytest.fixture
def http_stage(standing_http_stage: Stage) -> Iterator[Stage]:
    yield standing_http_stage
    standing_http_stage.tidy()


def is_closed(card: Json) -> bool:
    """Whether a card says what came of it and has no buttons left."""
    return "closed" in text_of(card) and not buttons_of(card)


def command(text: str, trigger: str) -> bytes:
    """Return the body of a slash command of Alice's."""
    fields = {
        "command": "/sessions",
        "text": text,
        "user_id": "U01ALICE",
        "team_id": "T01DEMO",
        "channel_id": "C01INC",
        "trigger_id": trigger,
        "response_url": "",
    }
    return urlencode(fields).encode()


def test_a_list_and_a_close_by_a_press_go_through(http_stage: Stage) -> None:
    stage = http_stage
    sleeper = stage.connect()
    stage.asks(stage.alice, "/sessions", "Sessions on demo")
    card = stage.asks(stage.alice, f"/kill-session {session_id(sleeper)}", "Nothing is closed without a press")
    stage.alice.press(card, "Close Session")
    stage.alice.wait_for_change(card, is_closed)
    assert not stage.row(session_id(sleeper))


def test_the_home_tab_comes_as_an_event(http_stage: Stage) -> None:
    http_stage.alice.opens_home("demo")


@pytest.mark.parametrize(
    ("secret", "age"),
    # Five minutes are allowed; a busy machine takes some seconds to bring it there.
    [("another-secret", 0), (None, 301), (None, -600)],
    ids=["forged", "too-old", "from-the-future"],
)
def test_a_request_with_a_wrong_signature_does_nothing(
    http_stage: Stage, web: Web, secret: str | None, age: float
) -> None:
    body = command("", f"trigger-{secret}-{age}")
    headers = signed(secret or http_stage.slack.world.signing_secret, body, time.time() - age)
    before = web.metric("session_bot_ack_seconds_count", status="401")
    assert web.request("POST", "/slack/events", body, headers)[0] == 401
    assert web.metric("session_bot_ack_seconds_count", status="401") == before + 1
    assert http_stage.alice.messages() == []
    assert "signature refused" in http_stage.bot.log.read_text()


def test_a_request_without_a_signature_does_nothing(http_stage: Stage, web: Web) -> None:
    for headers in ({}, {"X-Slack-Signature": "v0=", "X-Slack-Request-Timestamp": "nonsense"}):
        assert web.request("POST", "/slack/events", command("", "unsigned"), headers)[0] == 401
    checks = b"ssl_check=1&token=x"
    assert web.request("POST", "/slack/events", checks)[0] in (200, 401), "answers, and does nothing"
    assert http_stage.alice.messages() == []


def test_a_signed_command_that_is_sent_again_is_carried_out_once(http_stage: Stage, web: Web) -> None:
    body = command("private", "trigger-replayed")
    headers = signed(http_stage.slack.world.signing_secret, body)
    done = web.metric("session_bot_command_seconds_count", what="/sessions")
    for _ in range(5):
        status, _, content = web.request("POST", "/slack/events", body, headers)
        assert (status, content) == (200, b"")
    # What comes after the five is answered after what they may have set off.
    http_stage.asks(http_stage.alice, "/sessions text private", "Sessions on demo")
    http_stage.slack.wait_for(lambda: web.metric("session_bot_command_seconds_count", what="/sessions") == done + 2)


def test_a_signed_press_that_is_sent_twice_closes_once(http_stage: Stage) -> None:
    stage = http_stage
    sleeper = stage.connect()
    card = stage.asks(stage.alice, f"/kill-session {session_id(sleeper)}", "Nothing is closed without a press")
    stage.slack.faults.deliver_twice = True
    try:
        stage.alice.press(card, "Close Session")
    finally:
        stage.slack.faults.deliver_twice = False
    stage.alice.wait_for_change(card, is_closed)
    assert not [m for m in stage.alice.messages() if "already confirmed" in text_of(m)]


def test_slacks_question_for_the_url_is_answered(http_stage: Stage, web: Web) -> None:
    body = json.dumps({"type": "url_verification", "challenge": "say this", "token": "x"}).encode()
    headers = signed(http_stage.slack.world.signing_secret, body) | {"Content-Type": "application/json"}
    status, _, content = web.request("POST", "/slack/events", body, headers)
    assert status == 200
    assert b"say this" in content


def test_a_body_beyond_the_limit_is_refused_unread(http_stage: Stage, web: Web) -> None:
    body = b"x" * (MAX_BODY + 1)
    try:
        status, _, _ = web.request("POST", "/slack/events", body, signed("any", body))
    except (BrokenPipeError, ConnectionResetError):  # refused before it was sent whole
        status = 413
    assert status == 413
    assert web.health()[0] == 200


@pytest.mark.parametrize("body", [b"{", b"[1]", b"payload={", b"\xff\xfe", b"payload=[]", b'{"type": 5}', b""])
def test_what_cannot_be_read_is_refused_and_the_bot_goes_on(http_stage: Stage, web: Web, body: bytes) -> None:
    for kind in ("application/json", "application/x-www-form-urlencoded"):
        assert web.request("POST", "/slack/events", body, {"Content-Type": kind})[0] in (400, 401)
    assert "Traceback" not in http_stage.bot.log.read_text()
    assert web.health()[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "allowed"),
    [
        ("GET", "/slack/events", 405, "POST"),
        ("PUT", "/slack/events", 405, "POST"),
        ("POST", "/healthz", 405, "GET, HEAD"),
        ("DELETE", "/metrics", 405, "GET, HEAD"),
        ("GET", "/", 404, None),
        ("POST", "/", 404, None),
        ("GET", "/slack/install", 404, None),
        ("GET", "/slack/events/", 404, None),
        ("HEAD", "/healthz", 200, None),
        ("GET", "/readyz", 200, None),
        ("POST", "/livez", 405, "GET, HEAD"),
        ("HEAD", "/livez", 200, None),
        ("HEAD", "/metrics", 200, None),
    ],
)
def test_anything_else_is_answered_as_the_web_does(
    http_stage: Stage, web: Web, method: str, path: str, status: int, allowed: str | None
) -> None:
    found, headers, _ = web.request(method, path)
    assert found == status
    assert headers.get("allow") == allowed


def test_fifty_commands_at_once_are_all_acknowledged(http_stage: Stage, web: Web) -> None:
    with ThreadPoolExecutor(50) as people:
        list(people.map(lambda number: http_stage.alice.types(f"/sessions limit={number + 1} private"), range(50)))
    assert not [m for m in http_stage.alice.messages() if "operation_timeout" in text_of(m)]
