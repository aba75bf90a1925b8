"""What people type: commands, plain messages, and what an acknowledgement shows."""

from __future__ import annotations

from typing import Any

from slack_bolt import Ack, App, Respond

from sandbox.slack.server import SlackSandbox
from tests.support.slack_person import Person

Json = dict[str, Any]


def test_a_command_reaches_the_app_with_the_documented_payload(sandbox: SlackSandbox, app: App, alice: Person) -> None:
    seen: list[Json] = []

    @app.command("/sessions")
    def _(ack: Ack, command: Json) -> None:
        seen.append(command)
        ack()

    alice.types('/sessions  tenant=shop  sql="a b" ')
    (command,) = seen
    assert command["command"] == "/sessions"
    assert command["text"] == 'tenant=shop  sql="a b"'
    assert command["user_id"] == "U01ALICE"
    assert command["channel_id"] == "C01INC"
    assert command["channel_name"] == "incident"
    assert command["team_id"] == "T01DEMO"
    assert command["api_app_id"] == "A0SESSIONBOT"
    assert command["is_enterprise_install"] == "false"
    assert command["response_url"].startswith(sandbox.base_url)
    assert "thread_ts" not in command


def test_a_private_channel_is_named_privategroup(app: App, alice: Person) -> None:
    seen: list[Json] = []

    @app.command("/sessions")
    def _(ack: Ack, command: Json) -> None:
        seen.append(command)
        ack()

    alice.types("/sessions", channel="C02DBA")
    assert seen[0]["channel_name"] == "privategroup"


def test_optional_fields_can_be_left_out(sandbox: SlackSandbox, app: App, alice: Person) -> None:
    seen: list[Json] = []
    sandbox.faults.omit_optional_fields = True

    @app.command("/sessions")
    def _(ack: Ack, command: Json) -> None:
        seen.append(command)
        ack()

    alice.types("/sessions")
    assert not {"user_name", "channel_name", "team_domain", "token"} & set(seen[0])


def test_the_text_of_an_acknowledgement_is_shown_to_the_person_alone(app: App, alice: Person, bob: Person) -> None:
    @app.command("/sessions")
    def _(ack: Ack) -> None:
        ack("here you are")

    alice.types("/sessions")
    message = alice.wait_for_message("here you are")
    assert message["ephemeral"]
    assert message["is_bot"]
    assert bob.messages() == []


def test_a_public_acknowledgement_also_shows_what_was_typed(app: App, alice: Person, bob: Person) -> None:
    @app.command("/sessions")
    def _(ack: Ack) -> None:
        ack(text="for all", response_type="in_channel")

    alice.types("/sessions password=oops")
    assert [m["text"] for m in bob.messages()] == ["/sessions password=oops", "for all"]
    assert bob.messages()[0]["user"] == "U01ALICE"


def test_an_acknowledgement_can_show_what_was_typed_and_nothing_else(app: App, alice: Person, bob: Person) -> None:
    @app.command("/sessions")
    def _(ack: Ack) -> None:
        ack({"response_type": "in_channel"})

    alice.types("/sessions active-only")
    assert [m["text"] for m in bob.messages()] == ["/sessions active-only"]


def test_unacceptable_blocks_in_an_acknowledgement_are_an_error_to_the_person(
    sandbox: SlackSandbox, app: App, alice: Person
) -> None:
    @app.command("/sessions")
    def _(ack: Ack) -> None:
        ack(text="x", blocks=[{"type": "header", "text": {"type": "plain_text", "text": "y" * 151}}])

    alice.types("/sessions")
    alice.wait_for_message('/sessions failed with the error "invalid_blocks"')
    assert sandbox.calls.of("ack")[0].answer["error"] == "invalid_blocks"  # type: ignore[index]


def test_a_command_that_the_manifest_lacks_never_reaches_the_app(sandbox: SlackSandbox, alice: Person) -> None:
    alice.types("/nonsense 1")
    assert alice.messages()[0]["text"] == "`/nonsense` is not a valid command"
    assert alice.messages()[0]["ephemeral"]


def test_plain_text_is_just_a_message_that_all_members_see(alice: Person, bob: Person) -> None:
    alice.types("is <billing> down & out?")
    assert bob.messages()[0]["text"] == "is &lt;billing&gt; down &amp; out?"


def test_a_reply_works_where_the_bot_is_no_member(app: App, alice: Person) -> None:
    @app.command("/sessions")
    def _(ack: Ack, respond: Respond) -> None:
        ack()
        respond(text="hello", response_type="ephemeral", replace_original=False, delete_original=False)

    alice.types("/sessions", channel="C03GENERAL")
    assert alice.wait_for_message("hello", channel="C03GENERAL")["ephemeral"]
