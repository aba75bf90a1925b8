"""HTTP mode: signed requests to a real Bolt app behind its own small server."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs

import pytest
from slack_bolt import Ack, App, BoltRequest, Respond
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.signature import SignatureVerifier

from sandbox.slack.server import SlackSandbox
from tests.sandbox.slack.block_kit import actions, button, modal, plain, section
from tests.sandbox.slack.conftest import COMMANDS
from tests.support.patience import PATIENCE
from tests.support.slack_person import NotPossible, Person

Json = dict[str, Any]
Received = tuple[dict[str, str], bytes]


class Receiver(http.server.ThreadingHTTPServer):
    """A request URL that hands everything to Bolt and keeps what came."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.app: App | None = None
        self.received: list[Received] = []
        self.go_on = threading.Event()
        self.go_on.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/slack/events"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.received.append((headers, body))
        self.server.go_on.wait(PATIENCE)
        assert self.server.app is not None
        response = self.server.app.dispatch(BoltRequest(body=body.decode(), headers=dict(headers)))
        try:
            self.send_response(response.status)
            for name, value in response.first_headers().items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(response.body.encode())
        except BrokenPipeError:
            pass  # Slack gave up waiting, as some tests want

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.go_on.set()
        server.shutdown()
        thread.join()


@contextmanager
def running(receiver: Receiver, **more: Any) -> Iterator[SlackSandbox]:
    with SlackSandbox(commands=COMMANDS, request_url=receiver.url, **more) as sandbox:
        receiver.app = App(
            client=WebClient(token=sandbox.world.bot_token, base_url=sandbox.api_url),
            signing_secret=sandbox.world.signing_secret,
        )
        yield sandbox


@pytest.fixture
def sandbox(receiver: Receiver) -> Iterator[SlackSandbox]:
    with running(receiver) as sandbox:
        yield sandbox


@pytest.fixture
def app(sandbox: SlackSandbox, receiver: Receiver) -> App:
    assert receiver.app is not None
    return receiver.app


def test_a_command_comes_as_a_signed_form_and_is_answered_in_the_response(
    app: App, receiver: Receiver, alice: Person
) -> None:
    @app.command("/sessions")
    def _(ack: Ack, command: Json) -> None:
        ack(f"you said {command['text']}")

    alice.types("/sessions a & b")
    assert alice.wait_for_message("you said a & b")["ephemeral"]
    ((headers, body),) = receiver.received
    assert headers["content-type"] == "application/x-www-form-urlencoded"
    assert parse_qs(body.decode())["command"] == ["/sessions"]
    verifier = SignatureVerifier("sandbox-signing-secret")
    assert verifier.is_valid_request(body, dict(headers))
    assert not SignatureVerifier("another").is_valid_request(body, dict(headers))


def test_an_answer_in_json_is_honoured(app: App, alice: Person, bob: Person) -> None:
    @app.command("/sessions")
    def _(ack: Ack) -> None:
        ack(text="for all", response_type="in_channel")

    alice.types("/sessions")
    bob.wait_for_message("for all")


def test_presses_and_modals_come_as_a_payload_field(
    sandbox: SlackSandbox, app: App, receiver: Receiver, client: WebClient, alice: Person
) -> None:
    @app.action("go")
    def _(ack: Ack, respond: Respond, body: Json) -> None:
        ack()
        client.views_open(trigger_id=body["trigger_id"], view=modal(section(text=plain("opened"))))
        respond(text="pressed", response_type="ephemeral", replace_original=True, delete_original=False)

    client.chat_postMessage(channel="C01INC", text="x", blocks=[actions(button("go", text=plain("Go")))])
    card = alice.wait_for_message("Go")
    alice.press(card, "Go")
    alice.wait_for_modal("opened")
    alice.wait_for_change(card, "pressed")
    assert list(parse_qs(receiver.received[0][1].decode())) == ["payload"]


def test_no_socket_is_opened_while_http_is_on(sandbox: SlackSandbox, client: WebClient) -> None:
    with pytest.raises(SlackApiError, match="socket_mode_not_enabled"):
        client.apps_connections_open(app_token=sandbox.world.app_token)


def test_an_app_that_fails_is_reported_at_once(app: App, alice: Person) -> None:
    alice.types("/kill-session 1")
    alice.wait_for_message('/kill-session failed with the error "dispatch_failed"')


def test_an_app_that_is_not_there_is_reported_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/slack/events"
        with SlackSandbox(commands=COMMANDS, request_url=url) as sandbox:
            alice = Person(sandbox, "U01ALICE")
            alice.types("/sessions")
            alice.wait_for_message('/sessions failed with the error "dispatch_failed"')


def test_a_slow_app_times_out_and_is_not_asked_again(receiver: Receiver) -> None:
    receiver.go_on.clear()
    with running(receiver, ack_within=0.3) as sandbox:
        client = WebClient(token=sandbox.world.bot_token, base_url=sandbox.api_url)
        alice = Person(sandbox, "U01ALICE")
        alice.types("/sessions")
        alice.wait_for_message('/sessions failed with the error "operation_timeout"')
        client.chat_postMessage(channel="C01INC", text="x", blocks=[actions(button(text=plain("Go")))])
        with pytest.raises(NotPossible, match="operation_timeout"):
            alice.press(alice.wait_for_message("[Go]"), "Go")
        receiver.go_on.set()
    assert len(receiver.received) == 2


def test_the_same_signed_request_can_arrive_twice(
    sandbox: SlackSandbox, app: App, receiver: Receiver, alice: Person
) -> None:
    @app.command("/sessions")
    def _(ack: Ack) -> None:
        ack("once")

    sandbox.faults.deliver_twice = True
    alice.types("/sessions")
    first, second = receiver.received
    assert first == second
    assert [m["text"] for m in alice.messages()] == ["once"]


def test_a_lost_answer_is_a_time_out(sandbox: SlackSandbox, app: App, receiver: Receiver, alice: Person) -> None:
    @app.command("/sessions")
    def _(ack: Ack) -> None:
        ack("lost")

    sandbox.faults.lose_acks = 1
    alice.types("/sessions")
    (message,) = alice.messages()
    assert message["text"] == '/sessions failed with the error "operation_timeout"'
    assert len(receiver.received) == 1
