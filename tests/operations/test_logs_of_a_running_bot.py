"""The log: one line for each thing people do, and never a secret or somebody's data."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
import structlog

from bot.operations import logs
from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.support.http_bot import HttpBot, Web, free_port, request_url, signed
from tests.support.slack_person import buttons_of, options_of, text_of
from tests.support.stage import Stage, session_id, staged

CARD = "4111-1111-2222"  # what nobody may find in a log
AWAY = """
[data_sources.away]
host = "127.0.0.1"
port = 1
user = "root@sys"
password = "secret-of-away"
"""


@pytest.fixture(scope="module")
def web() -> Web:
    return Web(free_port())


@pytest.fixture(scope="module")
def standing_stage(oceanbase: EmbeddedOceanBase, web: Web, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Give a stage in HTTP mode: there is a signing secret to keep as well."""
    folder = tmp_path_factory.mktemp("logs")
    audit_log = f'audit_log = "{folder / "audit.log"}"\n'
    more = {"web": web, "first": 'default_source = "demo"', "more": audit_log + AWAY}
    with staged(oceanbase, folder, bot=HttpBot, request_url=request_url(web), **more) as stage:
        yield stage


@pytest.fixture
def stage(standing_stage: Stage) -> Iterator[Stage]:
    yield standing_stage
    standing_stage.tidy()


def lines(stage: Stage, **wanted: object) -> list[dict[str, Any]]:
    """Return those lines of the log; each must be JSON."""
    found = [json.loads(line) for line in stage.bot.log.read_text().splitlines()]
    return [line for line in found if all(line.get(key) == one for key, one in wanted.items())]


def forged(stage: Stage, web: Web, payload: dict[str, Any]) -> None:
    """Send a command, press or submission as no client of Slack's would, yet signed."""
    body = urlencode(payload if "command" in payload else {"payload": json.dumps(payload)}).encode()
    status, _, content = web.request("POST", "/slack/events", body, signed(stage.slack.world.signing_secret, body))
    assert (status, content) == (200, b"")


def test_a_start_says_what_was_read_and_warns_of_nothing(stage: Stage) -> None:
    (line,) = lines(stage, event="configuration")
    assert line["read"] == f"{stage.bot.config}; the environment"
    assert "SLACK_BOT_TOKEN" in stage.bot.environment
    assert not [line for line in lines(stage, level="warning") if "will be ignored" in line["event"]]


def test_a_command_leaves_one_line_that_says_who_where_what_how_long_and_what_came_of_it(stage: Stage) -> None:
    stage.connect()
    before = len(lines(stage, user="U01ALICE"))
    stage.asks(stage.alice, "/sessions", "Sessions on demo")
    stage.slack.wait_for(lambda: len(lines(stage, user="U01ALICE")) > before)
    (line,) = lines(stage, user="U01ALICE")[before:]
    assert line.pop("seconds") >= 0
    assert line.pop("rows") >= 1
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", line.pop("timestamp"))
    assert re.fullmatch(r"[0-9a-f]{8}", line.pop("id"))
    assert line == {
        "event": "answered",
        "level": "info",
        "user": "U01ALICE",
        "channel": "C01INC",
        "what": "/sessions",
        "outcome": "done",
    }


def test_the_id_that_a_person_is_shown_finds_the_one_line(stage: Stage) -> None:
    told = stage.asks(stage.alice, "/sessions colour=red", "Error id")
    (error_id,) = re.findall(r"Error id\W+([0-9a-f]{8})", text_of(told))
    (line,) = stage.slack.wait_for(lambda: lines(stage, id=error_id))
    assert line["outcome"] == "InputError"
    told = stage.asks(stage.alice, "/sessions source=away", "Error id")
    (error_id,) = re.findall(r"Error id\W+([0-9a-f]{8})", text_of(told))
    (line,) = stage.slack.wait_for(lambda: lines(stage, id=error_id))
    assert line["outcome"] == "DataSourceUnreachableError"
    assert "cannot be reached" in line["sentence"]


def test_no_token_password_url_or_literal_is_in_the_log_of_a_busy_day(stage: Stage, web: Web) -> None:
    secret = stage.runs(f"SELECT SLEEP(600), 'card {CARD}'")
    sleeper = stage.connect()
    for text, answer in (
        ("/sessions active-only", "Sessions on demo"),
        (f'/sessions sql="{CARD}"', "Sessions on demo"),
        (f"/sessions {CARD}", "Sessions on demo"),
        (f"/sessions tenat={CARD}", "was read as tenant"),
        (f"/sessions colour={CARD}", "Error id"),
        (f'/sessions time>"{CARD}"', "Error id"),
        (f"/sessions source={CARD}", "Error id"),
        (f"/sessions source=away sql={CARD}", "Error id"),
        (f"/sessions show {secret.id}", "Session"),
        (f"/sessions show {CARD}", "Error id"),
        (f"/sessions stats by=sql-id sql={CARD}", "demo"),
        (f"/sessions vars like={CARD}", "demo"),
        ("/sessions deadlocks", "demo"),
        ("/sessions sources", "demo"),
        ("/sessions help", "/sessions"),
        (f"/kill-session where sql='{CARD}' user=nobody", "Error id"),
        (f"/kill-session {CARD}", "Error id"),
        (f'/kill-session 4294967290 reason="{CARD}"', "Error id"),
        ("/kill-session 99999999999", "Error id"),
    ):
        stage.asks(stage.alice, text, answer)
    stage.asks(stage.gus, f"/sessions sql={CARD}", "no access rule allows it")
    listed = stage.asks(stage.alice, f"/sessions id={secret.id}", "Sessions on demo")
    stage.alice.choose(listed, "Pick sessions", options_of(listed, "Pick sessions")[:1])
    stage.alice.press(listed, "View SQL")
    stage.alice.wait_for_modal(CARD)
    stage.alice.closes_modal()
    card = stage.asks(stage.alice, f'/kill-session {secret.id} query reason="{CARD}"', "Nothing is closed without")
    stage.alice.press(card, "Close Query")
    stage.alice.wait_for_change(card, lambda m: "query closed" in text_of(m) and not buttons_of(m))
    stage.slack.faults.fail_next("response_url", status=500, error="internal_error")
    stage.slack.faults.fail_next("chat.postMessage", error="msg_too_long")
    stage.alice.types(f"/kill-session {session_id(sleeper)}")
    person = {"user": {"id": "U01ALICE", "team_id": "T01DEMO"}, "team": {"id": "T01DEMO"}, "trigger_id": CARD}
    metadata = json.dumps({"request": CARD, "mode": CARD, "channel": "C01INC", "number": "7"})
    typed = {"closing.number_block": {"closing.number": {"type": "plain_text_input", "value": "7"}}}
    view = {"type": "modal", "callback_id": "closing.typed", "private_metadata": metadata, "blocks": []}
    forged(stage, web, {"type": "view_submission", **person, "view": view | {"state": {"values": typed}}})
    forged(
        stage,
        web,
        {
            "type": "block_actions",
            **person,
            "trigger_id": f"2{CARD}",
            "channel": {"id": "C01INC"},
            "actions": [{"action_id": "closing.count_sessions", "type": "button", "value": CARD}],
        },
    )
    forged(
        stage,
        web,
        {
            "type": "block_actions",
            **person,
            "trigger_id": f"3{CARD}",
            "channel": {"id": "C01INC"},
            "actions": [{"action_id": CARD, "type": "button", "value": CARD}],
        },
    )
    fields = {"command": "/sessions", "text": CARD, "user_id": "U01ALICE", "trigger_id": f"4{CARD}"}
    forged(stage, web, fields)  # without a channel
    web.request("POST", "/slack/events", CARD.encode(), signed("wrong", b""))
    (failed,) = stage.slack.wait_for(lambda: lines(stage, outcome="failed"))
    stage.asks(stage.alice, "/sessions text private", "Sessions on demo")

    log = stage.bot.log.read_text()
    world = stage.slack.world
    for hidden in (
        CARD,
        stage.database.password,
        "secret-of-away",
        world.bot_token,
        world.app_token,
        world.signing_secret,
        "xoxb-",
        "xapp-",
        "/commands/T",
        "/actions/T",
        "http://",
        "Traceback",
    ):
        assert hidden not in log, [line for line in log.splitlines() if hidden in line]
    assert "KeyError at " in failed["exception"]
    outcomes = {line["outcome"] for line in lines(stage, event="answered")}
    assert {"done", "InputError", "NotAllowedError", "TargetError", "DataSourceUnreachableError"} <= outcomes


def test_who_closed_what_when_and_how_long_it_took_is_in_the_log_and_in_what_is_sent_on(stage: Stage) -> None:
    """A close and one that came to nothing; the file is moved away between them."""
    file = stage.bot.log.parent / "audit.log"
    before = stage.stored("SELECT count(*) FROM audit")[0][0]
    secret = stage.runs(f"SELECT SLEEP(600), 'card {CARD}'")
    card = stage.card_of(secret.id)
    stage.alice.press(card, "Close Session")
    stage.alice.wait_for_change(card, "✅ closed")
    found = stage.slack.wait_for(lambda: lines(stage, event="recorded", act="outcome", session=secret.id))
    (outcome,) = found
    request = outcome["request"]
    told = lines(stage, event="recorded", request=request)
    assert [line["act"] for line in told] == ["request", "confirm", "intent", "outcome"]
    for line in told:
        named = {name: line[name] for name in ("source", "session", "tenant", "mode", "user", "requester", "channel")}
        assert named == {
            "source": "demo",
            "session": secret.id,
            "tenant": "sys",
            "mode": "Close Session",
            "user": "U01ALICE",
            "requester": "U01ALICE",
            "channel": "C01INC",
        }
        assert line["server"]
    assert outcome["finding"] == "closed"
    assert outcome["seconds"] > 0
    (answered,) = stage.slack.wait_for(lambda: lines(stage, event="answered", request=request))
    assert (answered["finding"], answered["what"]) == ("1 closed", "closing.close_session")
    assert {line["id"] for line in told[1:]} == {answered["id"]}, "they are of this very press"
    stage.slack.wait_for(lambda: file.read_text().count(request) == 4)
    moved = file.rename(file.with_name("audit.log.1"))

    sleeper = session_id(stage.connect())
    card = stage.card_of(sleeper)
    stage.change_store(
        "UPDATE closing_targets SET session = json_set(session, '$.peer', '127.0.0.1:1') "
        "WHERE request_id IN (SELECT id FROM closing_requests WHERE state = 'open')"
    )
    stage.alice.press(card, "Close Session")
    found = stage.slack.wait_for(lambda: lines(stage, event="recorded", act="outcome", session=sleeper))
    assert [line["finding"] for line in found] == ["changed, not closed"]
    (answered,) = stage.slack.wait_for(lambda: lines(stage, event="answered", request=found[0]["request"]))
    assert answered["finding"] == "1 changed, not closed"

    def sent() -> list[dict[str, Any]]:
        texts = [one.read_text() for one in (moved, file) if one.exists()]
        acts = [json.loads(line) for text in texts for line in text.splitlines()]
        return [one for one in acts if one["number"] > before]

    def on_record() -> list[Any]:
        return stage.stored("SELECT id, event FROM audit WHERE id > ? ORDER BY id", before)

    each_once = "each act of the record once and in order"
    stage.slack.wait_for(lambda: [(one["number"], one["act"]) for one in sent()] == on_record(), what=each_once)
    (asked,) = [one for one in sent() if one.get("request") == request and one["act"] == "request"]
    assert asked["details"]["targets"][0]["sql"] == "SELECT SLEEP(?), ?"
    for text in (stage.bot.log.read_text(), moved.read_text(), file.read_text()):
        assert f"card {CARD}" not in text
    assert "SLEEP" not in stage.bot.log.read_text()


class NoTerminal(io.StringIO):
    """A standard error that is a file."""


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[NoTerminal]:
    """Give what is logged, with logging set up as for a running bot."""
    stream = NoTerminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers.clear()
    logs.set_up()
    yield stream
    structlog.reset_defaults()
    root.handlers[:] = before
    root.setLevel(level)


def test_an_exception_is_logged_with_its_place_and_kind_and_without_its_text(written: NoTerminal) -> None:
    def fail() -> None:
        try:
            dict[str, int]()[f"card {CARD}"]
        except KeyError as error:
            raise ValueError(f"SELECT '{CARD}'") from error

    try:
        fail()
    except ValueError as error:
        structlog.get_logger("test").error("failed", exc_info=error)
        structlog.get_logger("test").exception("failed")
        logging.getLogger("slack_bolt").exception("failed")
    assert CARD not in written.getvalue()
    assert len(written.getvalue().splitlines()) == 3
    for line in map(json.loads, written.getvalue().splitlines()):
        assert re.search(
            r"ValueError at .*test_logs_of_a_running_bot.py:\d+ fail; raised from KeyError at ", line["exception"]
        )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("token xoxb-1-a.b, xapp-1-A, xoxe.xoxp-1-x", "token [token], [token], [token]"),
        ("https://hooks.slack.com/actions/T1/2/abc?x=1 failed", "https://hooks.slack.com failed"),
        ("wss://wss-primary.slack.com/link/?ticket=abc", "wss://wss-primary.slack.com"),
        ("mysql+pymysql://bot:pass@db:3306/bot", "mysql+pymysql://db:3306"),
        ("(proxy: http://user:p@s's@proxy:3128, status: 407)", "(proxy: http://proxy:3128, status: 407)"),
        ("data source prod (10.0.0.1:2881) away", "data source prod (10.0.0.1:2881) away"),
    ],
)
def test_tokens_and_urls_are_hidden_wherever_they_come_from(written: NoTerminal, text: str, shown: str) -> None:
    structlog.get_logger("test").warning("told", problems=[text], more={"text": text})
    logging.getLogger("slack_sdk").warning("%s", text)
    own, foreign = map(json.loads, written.getvalue().splitlines())
    assert (own["problems"], own["more"]["text"], foreign["event"]) == ([shown], shown, shown)
