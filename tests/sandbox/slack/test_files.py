"""Direct messages with the bot, and files as the SDK uploads them."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError

from sandbox.slack.server import SlackSandbox
from tests.support.slack_person import Person, text_of


@pytest.fixture
def slack() -> Iterator[SlackSandbox]:
    with SlackSandbox() as sandbox:
        yield sandbox


@pytest.fixture
def client(slack: SlackSandbox) -> WebClient:
    return WebClient(token=slack.world.bot_token, base_url=slack.api_url)


def test_a_direct_message_is_opened_once_and_seen_by_that_person_alone(slack: SlackSandbox, client: WebClient) -> None:
    channel = client.conversations_open(users="U01ALICE")["channel"]["id"]
    assert client.conversations_open(users="U01ALICE")["channel"]["id"] == channel
    client.chat_postMessage(channel=channel, text="for you")
    assert [text_of(message) for message in Person(slack, "U01ALICE").direct_messages()] == ["for you"]
    assert Person(slack, "U02BOB").direct_messages() == []
    assert channel not in Person(slack, "U02BOB").state()["messages"]
    with pytest.raises(SlackApiError, match="user_not_found"):
        client.conversations_open(users="U99NOBODY")


def test_a_file_is_shared_whole_with_those_who_see_the_conversation(slack: SlackSandbox, client: WebClient) -> None:
    text = "SELECT 'ü' -- <!channel>\n" * 20_000
    channel = client.conversations_open(users="U01ALICE")["channel"]["id"]
    client.files_upload_v2(channel=channel, content=text, filename="s.sql", title="SQL of 7", snippet_type="sql")
    [message] = Person(slack, "U01ALICE").direct_messages()
    assert [(file["title"], file["text"]) for file in message["files"]] == [("SQL of 7", text)]
    assert Person(slack, "U02BOB").direct_messages() == []


def test_an_upload_is_taken_once_in_its_length_and_completed_once(client: WebClient) -> None:
    announced = client.files_getUploadURLExternal(filename="s.sql", length=3)

    def send(body: bytes) -> int:
        request = urllib.request.Request(announced["upload_url"], body, {"Content-Type": "application/octet-stream"})
        try:
            with urllib.request.urlopen(request) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code

    file = [{"id": announced["file_id"], "title": "s"}]
    with pytest.raises(SlackApiError, match="file_not_found"):
        client.files_completeUploadExternal(files=file, channel_id="C01INC")
    assert [send(b"four"), send(b"abc"), send(b"abc")] == [400, 200, 400]
    with pytest.raises(SlackApiError, match="not_in_channel"):
        client.files_completeUploadExternal(files=file, channel_id="C03GENERAL")
    with pytest.raises(SlackApiError, match="channel_not_found"):
        client.files_completeUploadExternal(files=file, channel_id="D02BOB")
    client.files_completeUploadExternal(files=file, channel_id="C01INC")
    with pytest.raises(SlackApiError, match="file_not_found"):
        client.files_completeUploadExternal(files=file, channel_id="C01INC")


@pytest.mark.parametrize("length", [0, -1])
def test_an_empty_file_is_refused(client: WebClient, length: int) -> None:
    with pytest.raises(SlackApiError, match="invalid_arguments"):
        client.files_getUploadURLExternal(filename="s.sql", length=length)
