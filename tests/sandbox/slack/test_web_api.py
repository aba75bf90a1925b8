"""The Web API as slack_sdk calls it: tokens, scopes, arguments, errors, rate limits and faults."""

from __future__ import annotations

import dataclasses
import json
import urllib.request
from typing import Any
from urllib.parse import urlencode

import pytest
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError

from sandbox.slack.limits import Rate
from sandbox.slack.server import SlackSandbox
from sandbox.slack.world import DEMO_WORLD, Channel, Member
from tests.sandbox.slack.conftest import Clock

Json = dict[str, Any]


def error_of(call: Any, **arguments: Any) -> Json:
    """Return the answer to a call that Slack refuses."""
    with pytest.raises(SlackApiError) as refusal:
        call(**arguments)
    answer: Json = refusal.value.response.data
    return answer


def posted(sandbox: SlackSandbox, method: str, data: bytes, content_type: str, token: str | None) -> Json:
    headers = {"Content-Type": content_type}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(sandbox.api_url + method, data, headers)
    with urllib.request.urlopen(request) as response:
        answer: Json = json.load(response)
    return answer


def test_auth_test_says_whose_token_it_is(client: WebClient) -> None:
    response = client.auth_test()
    assert response["team_id"] == "T01DEMO"
    assert response["team"] == "OceanBase on-call"
    assert response["user_id"] == "U0SESSIONBOT"
    assert response["bot_id"] == "B0SESSIONBOT"
    assert response["is_enterprise_install"] is False
    assert "chat:write" in response.headers["x-oauth-scopes"].split(",")


@pytest.mark.parametrize(
    ("token", "error"),
    [
        ("", "not_authed"),
        ("xoxb-other", "invalid_auth"),
        ("xapp-sandbox-app", "not_allowed_token_type"),
    ],
)
def test_only_the_bot_token_opens_the_web_api(sandbox: SlackSandbox, token: str, error: str) -> None:
    client = WebClient(token=token, base_url=sandbox.api_url)
    assert error_of(client.auth_test)["error"] == error


def test_only_the_app_token_opens_a_socket(sandbox: SlackSandbox, client: WebClient) -> None:
    bot_token, app_token = sandbox.world.bot_token, sandbox.world.app_token
    assert error_of(client.apps_connections_open, app_token=bot_token)["error"] == "not_allowed_token_type"
    assert client.apps_connections_open(app_token=app_token)["url"].startswith("ws://127.0.0.1:")


def test_tokens_are_not_recorded(sandbox: SlackSandbox) -> None:
    form = urlencode({"token": sandbox.world.bot_token, "user": "U01ALICE"}).encode()
    answer = posted(sandbox, "users.info", form, "application/x-www-form-urlencoded", None)
    assert answer["ok"]
    assert sandbox.calls[-1].payload == {"user": "U01ALICE"}


def test_blocks_may_come_as_json_text_inside_a_form(sandbox: SlackSandbox) -> None:
    blocks = json.dumps([{"type": "divider"}])
    form = urlencode({"channel": "C01INC", "text": "x", "blocks": blocks}).encode()
    answer = posted(sandbox, "chat.postMessage", form, "application/x-www-form-urlencoded", sandbox.world.bot_token)
    assert answer["message"]["blocks"][0]["type"] == "divider"


@pytest.mark.parametrize(("body", "error"), [(b"{", "invalid_json"), (b"[]", "json_not_object")])
def test_a_body_that_is_no_json_object_is_refused(sandbox: SlackSandbox, body: bytes, error: str) -> None:
    answer = posted(sandbox, "auth.test", body, "application/json", sandbox.world.bot_token)
    assert answer == {"ok": False, "error": error}


def test_what_is_not_emulated_is_an_unknown_method(sandbox: SlackSandbox, client: WebClient) -> None:
    assert error_of(client.conversations_list)["error"] == "unknown_method"
    sandbox.faults.unknown_methods = {"users.info"}
    assert error_of(client.users_info, user="U01ALICE")["error"] == "unknown_method"


def test_people_are_described_with_what_access_rules_need(client: WebClient) -> None:
    guest = client.users_info(user="U03GUS")["user"]
    assert (guest["is_restricted"], guest["deleted"], guest["team_id"]) == (True, False, "T01DEMO")
    assert client.users_info(user="U01ALICE")["user"]["is_restricted"] is False
    assert client.users_info(user="U0SESSIONBOT")["user"]["is_bot"] is True
    assert error_of(client.users_info, user="U9NOBODY")["error"] == "user_not_found"


def test_a_stranger_and_a_leaver_are_marked() -> None:
    stranger = Member("U1", "Eve", "", "#000000", is_stranger=True)
    leaver = Member("U2", "Lee", "", "#000000", deleted=True)
    with SlackSandbox(dataclasses.replace(DEMO_WORLD, people=(stranger, leaver))) as sandbox:
        client = WebClient(token=sandbox.world.bot_token, base_url=sandbox.api_url)
        assert client.users_info(user="U1")["user"]["is_stranger"] is True
        assert client.users_info(user="U2")["user"]["deleted"] is True


def test_a_user_group_lists_its_people(client: WebClient) -> None:
    assert client.usergroups_users_list(usergroup="S0DBATEAM")["users"] == ["U02BOB"]
    assert error_of(client.usergroups_users_list, usergroup="S0NONE")["error"] == "no_such_subteam"


def test_a_channel_is_described(client: WebClient) -> None:
    dba = client.conversations_info(channel="C02DBA")["channel"]
    assert (dba["is_private"], dba["is_member"], dba["is_ext_shared"]) == (True, True, False)
    assert client.conversations_info(channel="C03GENERAL")["channel"]["is_member"] is False
    assert error_of(client.conversations_info, channel="C9")["error"] == "channel_not_found"


def test_a_private_channel_without_the_bot_does_not_exist_for_it() -> None:
    secret = Channel("C7", "secret", ("U01ALICE",), is_private=True, has_bot=False)
    with SlackSandbox(dataclasses.replace(DEMO_WORLD, channels=(secret,))) as sandbox:
        client = WebClient(token=sandbox.world.bot_token, base_url=sandbox.api_url)
        assert error_of(client.conversations_info, channel="C7")["error"] == "channel_not_found"
        assert error_of(client.chat_postMessage, channel="C7", text="x")["error"] == "channel_not_found"


@pytest.mark.parametrize(
    ("scope", "method", "arguments"),
    [
        ("chat:write", "chat_postMessage", {"channel": "C01INC", "text": "x"}),
        ("chat:write", "chat_postEphemeral", {"channel": "C01INC", "text": "x", "user": "U01ALICE"}),
        ("chat:write", "chat_update", {"channel": "C01INC", "text": "x", "ts": "1"}),
        ("chat:write", "chat_delete", {"channel": "C01INC", "ts": "1"}),
        ("users:read", "users_info", {"user": "U01ALICE"}),
        ("usergroups:read", "usergroups_users_list", {"usergroup": "S0DBATEAM"}),
        ("channels:read", "conversations_info", {"channel": "C01INC"}),
        ("groups:read", "conversations_info", {"channel": "C02DBA"}),
    ],
)
def test_a_scope_that_was_not_granted_is_named(scope: str, method: str, arguments: Json) -> None:
    left = tuple(granted for granted in DEMO_WORLD.scopes if granted != scope)
    with SlackSandbox(dataclasses.replace(DEMO_WORLD, scopes=left)) as sandbox:
        client = WebClient(token=sandbox.world.bot_token, base_url=sandbox.api_url)
        answer = error_of(getattr(client, method), **arguments)
    assert (answer["error"], answer["needed"]) == ("missing_scope", scope)
    assert answer["provided"] == ",".join(left)


def test_a_missing_argument_is_named(client: WebClient) -> None:
    answer = error_of(client.users_info, user="")
    assert answer["error"] == "invalid_arguments"
    assert answer["response_metadata"]["messages"] == ["[ERROR] missing required field: user"]


def test_calls_are_recorded_with_their_answers(sandbox: SlackSandbox, client: WebClient) -> None:
    client.chat_postMessage(channel="C01INC", text="x")
    (call,) = sandbox.calls.of("chat.postMessage")
    assert call.payload["text"] == "x"
    assert call.status == 200
    assert isinstance(call.answer, dict)
    assert call.answer["ok"]


def test_posting_faster_than_allowed_is_limited_in_that_channel_only(
    sandbox: SlackSandbox, client: WebClient, clock: Clock
) -> None:
    sandbox.limits.rates["chat.postMessage"] = Rate(60, 2, per="channel")
    for _ in range(2):
        client.chat_postMessage(channel="C01INC", text="x")
    with pytest.raises(SlackApiError) as refusal:
        client.chat_postMessage(channel="C01INC", text="x")
    assert refusal.value.response.status_code == 429
    assert refusal.value.response["error"] == "ratelimited"
    assert int(refusal.value.response.headers["Retry-After"]) == 1
    client.chat_postMessage(channel="C02DBA", text="x")
    clock.ahead += 1
    client.chat_postMessage(channel="C01INC", text="x")


def test_updates_are_limited_for_the_whole_app(sandbox: SlackSandbox, client: WebClient) -> None:
    ts = client.chat_postMessage(channel="C01INC", text="x")["ts"]
    for number in range(50):
        client.chat_update(channel="C01INC", ts=ts, text=str(number))
    assert error_of(client.chat_update, channel="C01INC", ts=ts, text="x")["error"] == "ratelimited"


def test_the_next_call_can_be_made_to_fail(sandbox: SlackSandbox, client: WebClient) -> None:
    sandbox.faults.fail_next("chat.postMessage", status=429, error="ratelimited", retry_after=7)
    with pytest.raises(SlackApiError) as refusal:
        client.chat_postMessage(channel="C01INC", text="x")
    assert refusal.value.response.headers["Retry-After"] == "7"
    client.chat_postMessage(channel="C01INC", text="x")


def test_optional_fields_of_answers_can_be_left_out(sandbox: SlackSandbox, client: WebClient) -> None:
    sandbox.faults.omit_optional_fields = True
    assert set(client.users_info(user="U01ALICE")["user"]) <= {
        "id",
        "team_id",
        "deleted",
        "is_restricted",
        "is_ultra_restricted",
        "is_bot",
    }
    assert client.chat_postMessage(channel="C01INC", text="x").get("message") is None
