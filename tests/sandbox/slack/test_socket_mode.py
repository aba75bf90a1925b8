"""Socket Mode, with the real Bolt and its builtin client."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Any

import pytest
from slack_bolt import Ack, App
from slack_sdk import WebClient
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from sandbox.slack.server import SlackSandbox
from tests.sandbox.slack.conftest import new_app, socket_mode
from tests.support.patience import PATIENCE
from tests.support.slack_person import Person

Json = dict[str, Any]


def open_socket(sandbox: SlackSandbox) -> ClientConnection:
    app_client = WebClient(token=sandbox.world.app_token, base_url=sandbox.api_url)
    return connect(app_client.apps_connections_open(app_token=sandbox.world.app_token)["url"], proxy=None)


def received(socket: ClientConnection) -> Json:
    message: Json = json.loads(socket.recv(timeout=PATIENCE))
    return message


def test_a_command_that_nobody_acknowledges_times_out_for_the_person_alone(
    hasty_sandbox: SlackSandbox,
) -> None:
    alice, bob = Person(hasty_sandbox, "U01ALICE"), Person(hasty_sandbox, "U02BOB")
    with open_socket(hasty_sandbox) as socket:
        assert received(socket)["type"] == "hello"
        alice.types("/sessions")
        assert received(socket)["type"] == "slash_commands"
    (message,) = alice.messages()
    assert message["text"] == '/sessions failed with the error "operation_timeout"'
    assert message["ephemeral"]
    assert bob.messages() == []


def test_a_command_without_any_connection_times_out(hasty_sandbox: SlackSandbox) -> None:
    alice = Person(hasty_sandbox, "U01ALICE")
    alice.types("/sessions")
    alice.wait_for_message('/sessions failed with the error "operation_timeout"')
    with open_socket(hasty_sandbox) as socket:
        assert received(socket)["type"] == "hello"
        with pytest.raises(TimeoutError):
            socket.recv(timeout=0.1)


def test_an_envelope_has_the_documented_shape(sandbox: SlackSandbox, app: App, alice: Person) -> None:
    del app  # its connection is there, the next payload goes to one of the two, whichever it is

    with open_socket(sandbox) as socket:
        hello = received(socket)
        assert hello["num_connections"] == 2
        assert hello["connection_info"] == {"app_id": "A0SESSIONBOT"}


def test_the_address_of_a_socket_works_once(sandbox: SlackSandbox) -> None:
    client = WebClient(token=sandbox.world.app_token, base_url=sandbox.api_url)
    url = client.apps_connections_open(app_token=sandbox.world.app_token)["url"]
    with connect(url, proxy=None), pytest.raises(InvalidStatus, match="403"):
        connect(url, proxy=None)


def test_an_eleventh_connection_is_opened_and_told_to_go(sandbox: SlackSandbox) -> None:
    with ExitStack() as sockets:
        for _ in range(10):
            assert received(sockets.enter_context(open_socket(sandbox)))["type"] == "hello"
        with open_socket(sandbox) as eleventh:
            told = received(eleventh)
            assert (told["type"], told["reason"]) == ("disconnect", "too_many_websockets")
            with pytest.raises(ConnectionClosed):
                eleventh.recv(timeout=PATIENCE)
        assert sandbox.connections == 10


def test_each_payload_goes_to_one_connection_and_they_take_turns(hasty_sandbox: SlackSandbox) -> None:
    alice = Person(hasty_sandbox, "U01ALICE")
    with open_socket(hasty_sandbox) as first, open_socket(hasty_sandbox) as second:
        received(first), received(second)
        alice.types("/sessions 1")
        alice.types("/sessions 2")
        texts = [received(socket)["payload"]["text"] for socket in (first, second)]
        assert sorted(texts) == ["1", "2"]
        for socket in (first, second):
            with pytest.raises(TimeoutError):
                socket.recv(timeout=0.05)


def test_a_lost_acknowledgement_brings_the_same_envelope_again(sandbox: SlackSandbox, app: App, alice: Person) -> None:
    seen: list[str] = []
    sandbox.faults.lose_acks = 1

    @app.command("/sessions")
    def _(ack: Ack, command: Json, request: Any) -> None:
        seen.append(command["trigger_id"])
        ack(f"attempt {request.headers.get('x-slack-retry-num')}")

    alice.types("/sessions")
    assert [m["text"] for m in alice.messages()] == ["attempt ['1']"]
    assert len(seen) == 2
    assert len(set(seen)) == 1
    assert sandbox.faults.lose_acks == 0


def test_a_payload_can_arrive_twice(sandbox: SlackSandbox, app: App, alice: Person) -> None:
    seen: list[str] = []
    sandbox.faults.deliver_twice = True

    @app.command("/sessions")
    def _(ack: Ack, command: Json) -> None:
        seen.append(command["trigger_id"])
        ack("once")

    alice.types("/sessions")
    sandbox.wait_for(lambda: len(seen) == 2)
    assert len(set(seen)) == 1
    assert [m["text"] for m in alice.messages()] == ["once"]


def test_what_was_open_on_a_dead_connection_goes_to_the_next_one(hasty_sandbox: SlackSandbox) -> None:
    alice = Person(hasty_sandbox, "U01ALICE")
    with open_socket(hasty_sandbox) as socket:
        received(socket)
        alice.types("/sessions 7")
        first = received(socket)
    with open_socket(hasty_sandbox) as socket:
        messages = [received(socket), received(socket)]
    (again,) = [message for message in messages if message["type"] == "slash_commands"]
    assert again["envelope_id"] == first["envelope_id"]
    assert (first["retry_attempt"], again["retry_attempt"]) == (0, 1)
    assert again["payload"] == first["payload"]


def test_a_late_acknowledgement_changes_nothing_and_stops_redelivery(hasty_sandbox: SlackSandbox) -> None:
    alice = Person(hasty_sandbox, "U01ALICE")
    with open_socket(hasty_sandbox) as socket:
        received(socket)
        alice.types("/sessions")
        envelope = received(socket)
        socket.send(json.dumps({"envelope_id": envelope["envelope_id"], "payload": {"text": "too late"}}))
        socket.ping().wait(PATIENCE)
    assert len(alice.messages()) == 1
    with open_socket(hasty_sandbox) as socket:
        assert received(socket)["type"] == "hello"
        with pytest.raises(TimeoutError):
            socket.recv(timeout=0.1)


def test_the_builtin_client_moves_to_a_new_connection_when_asked(sandbox: SlackSandbox, alice: Person) -> None:
    bolt = new_app(sandbox)

    @bolt.command("/sessions")
    def _(ack: Ack) -> None:
        ack("still here")

    with socket_mode(bolt, sandbox):
        opened = len(sandbox.calls.of("apps.connections.open"))
        sandbox.faults.drop_connections("refresh_requested")
        sandbox.wait_for(lambda: len(sandbox.calls.of("apps.connections.open")) > opened)
        sandbox.wait_for(lambda: sandbox.connections == 1)
        alice.types("/sessions")
        alice.wait_for_message("still here")


def test_the_builtin_client_comes_back_after_its_connection_was_cut(sandbox: SlackSandbox, alice: Person) -> None:
    bolt = new_app(sandbox)

    @bolt.command("/sessions")
    def _(ack: Ack) -> None:
        ack("back again")

    with socket_mode(bolt, sandbox):
        sandbox.faults.drop_connections(abruptly=True)
        sandbox.wait_for(lambda: len(sandbox.calls.of("apps.connections.open")) > 1)
        sandbox.wait_for(lambda: sandbox.connections == 1)
        alice.types("/sessions")
        alice.wait_for_message("back again")


def test_a_cut_connection_is_closed_for_a_plain_client_too(sandbox: SlackSandbox) -> None:
    with open_socket(sandbox) as socket:
        received(socket)
        sandbox.faults.drop_connections(abruptly=True)
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=PATIENCE)
