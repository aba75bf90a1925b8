"""Messages: who sees them, who may change them, and the errors of chat methods."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from slack_sdk import WebClient

from sandbox.slack.server import SlackSandbox
from sandbox.slack.world import DEMO_WORLD
from tests.sandbox.slack.block_kit import section, table
from tests.sandbox.slack.test_web_api import error_of
from tests.support.slack_person import Person

SECTION = section(text={"type": "mrkdwn", "text": "hello"})


def test_members_of_a_channel_see_what_is_posted_and_others_do_not(sandbox: SlackSandbox, client: WebClient) -> None:
    client.chat_postMessage(channel="C02DBA", text="for us")
    assert Person(sandbox, "U02BOB").messages("C02DBA")[0]["text"] == "for us"
    assert "C02DBA" not in Person(sandbox, "U03GUS").state()["messages"]


def test_a_posted_message_is_answered_with_its_ts_and_named_blocks(client: WebClient, alice: Person) -> None:
    response = client.chat_postMessage(channel="C01INC", text="fallback", blocks=[SECTION])
    message = response["message"]
    assert (response["channel"], message["ts"], message["bot_id"]) == ("C01INC", response["ts"], "B0SESSIONBOT")
    assert message["blocks"][0]["block_id"]
    assert alice.messages()[0]["key"] == response["ts"]


@pytest.mark.parametrize(
    ("channel", "error"),
    [("C03GENERAL", "not_in_channel"), ("C9", "channel_not_found"), ("#incident", "channel_not_found")],
)
def test_the_bot_posts_only_where_it_is_a_member(client: WebClient, channel: str, error: str) -> None:
    assert error_of(client.chat_postMessage, channel=channel, text="x")["error"] == error


def test_chat_write_public_lets_the_bot_post_into_public_channels() -> None:
    world = dataclasses.replace(DEMO_WORLD, scopes=(*DEMO_WORLD.scopes, "chat:write.public"))
    with SlackSandbox(world) as sandbox:
        client = WebClient(token=world.bot_token, base_url=sandbox.api_url)
        assert client.chat_postMessage(channel="C03GENERAL", text="x")["ok"]


def test_refused_blocks_name_their_place(client: WebClient) -> None:
    long = section(text={"type": "mrkdwn", "text": "x" * 3001})
    answer = error_of(client.chat_postMessage, channel="C01INC", text="x", blocks=[long])
    assert answer["error"] == "invalid_blocks"
    assert answer["response_metadata"]["messages"] == [
        "[ERROR] must be less than 3001 characters [json-pointer:/blocks/0/text/text]"
    ]


def test_two_tables_are_refused(client: WebClient) -> None:
    answer = error_of(client.chat_postMessage, channel="C01INC", text="x", blocks=[table(), table()])
    assert answer["error"] == "invalid_attachments"


def test_a_workspace_may_not_have_tables_yet(sandbox: SlackSandbox, client: WebClient) -> None:
    sandbox.faults.refuse_blocks = {"table"}
    answer = error_of(client.chat_postMessage, channel="C01INC", text="x", blocks=[table()])
    assert answer["error"] == "invalid_blocks"


def test_a_message_without_content_is_refused(client: WebClient) -> None:
    for method in ("chat.postMessage", "chat.postEphemeral"):
        content = {"channel": "C01INC", "user": "U01ALICE", "text": " "}
        assert error_of(client.api_call, api_method=method, json=content)["error"] == "no_text"


def test_an_update_rewrites_the_message_in_place(client: WebClient, alice: Person) -> None:
    ts = client.chat_postMessage(channel="C01INC", text="old", blocks=[SECTION])["ts"]
    client.chat_update(channel="C01INC", ts=ts, text="new", blocks=[SECTION])
    (message,) = alice.messages()
    assert (message["key"], message["text"], message["edited"]) == (ts, "new", False)


def test_an_update_with_text_alone_leaves_the_blocks_where_they_are(client: WebClient, alice: Person) -> None:
    ts = client.chat_postMessage(channel="C01INC", text="old", blocks=[SECTION])["ts"]
    client.chat_update(channel="C01INC", ts=ts, text="new")
    (message,) = alice.messages()
    assert message["blocks"][0]["text"] == SECTION["text"]


def test_an_update_without_any_block_takes_the_blocks_away_and_is_marked(client: WebClient, alice: Person) -> None:
    ts = client.chat_postMessage(channel="C01INC", text="old", blocks=[SECTION])["ts"]
    client.chat_update(channel="C01INC", ts=ts, text="new", blocks=[])
    (message,) = alice.messages()
    assert (message["blocks"], message["edited"]) == (None, True)


def test_an_update_refuses_what_slack_refuses(client: WebClient, alice: Person) -> None:
    ts = client.chat_postMessage(channel="C01INC", text="mine")["ts"]
    alice.types("hers")
    hers = alice.messages()[-1]["ts"]
    refused: list[tuple[dict[str, Any], str]] = [
        ({"ts": "1.000000", "text": "x"}, "message_not_found"),
        ({"ts": hers, "text": "x"}, "cant_update_message"),
        ({"ts": ts, "text": "x" * 4001}, "msg_too_long"),
        ({"ts": ts, "text": "x", "blocks": [{"type": "nonsense"}]}, "invalid_blocks"),
    ]
    for arguments, error in refused:
        assert error_of(client.chat_update, channel="C01INC", **arguments)["error"] == error
    assert error_of(client.chat_update, channel="C9", ts=ts, text="x")["error"] == "channel_not_found"
    assert alice.messages()[0]["text"] == "mine"


def test_only_own_messages_can_be_deleted(client: WebClient, alice: Person) -> None:
    ts = client.chat_postMessage(channel="C01INC", text="mine")["ts"]
    alice.types("hers")
    hers = alice.messages()[-1]["ts"]
    client.chat_delete(channel="C01INC", ts=ts)
    assert [m["text"] for m in alice.messages()] == ["hers"]
    assert error_of(client.chat_delete, channel="C01INC", ts=ts)["error"] == "message_not_found"
    assert error_of(client.chat_delete, channel="C01INC", ts=hers)["error"] == "cant_delete_message"


def test_an_ephemeral_message_is_its_addressees_alone_and_cannot_be_updated(
    client: WebClient, alice: Person, bob: Person
) -> None:
    ts = client.chat_postEphemeral(channel="C01INC", user="U01ALICE", text="psst")["message_ts"]
    (message,) = alice.messages()
    assert message["ephemeral"]
    assert message["key"] != ts
    assert bob.messages() == []
    assert error_of(client.chat_update, channel="C01INC", ts=ts, text="x")["error"] == "message_not_found"
    assert error_of(client.chat_delete, channel="C01INC", ts=ts)["error"] == "message_not_found"


def test_an_ephemeral_message_needs_a_member_as_addressee(client: WebClient) -> None:
    post = client.chat_postEphemeral
    assert error_of(post, channel="C02DBA", user="U03GUS", text="x")["error"] == "user_not_in_channel"
    assert error_of(post, channel="C03GENERAL", user="U01ALICE", text="x")["error"] == "not_in_channel"


def test_a_reply_in_a_thread_needs_its_parent(client: WebClient, alice: Person) -> None:
    ts = client.chat_postMessage(channel="C01INC", text="parent")["ts"]
    client.chat_postMessage(channel="C01INC", text="child", thread_ts=ts)
    assert alice.messages()[-1]["thread_ts"] == ts
    answer = error_of(client.chat_postMessage, channel="C01INC", text="x", thread_ts="1.000000")
    assert answer["error"] == "thread_not_found"
