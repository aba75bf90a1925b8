"""A sandbox, a Web API client for it, and a real Bolt app connected to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from slack_bolt import App
from slack_bolt.adapter.socket_mode import SocketModeHandler
from slack_sdk import WebClient

from sandbox.slack.server import SlackSandbox
from tests.support.slack_person import Person

COMMANDS = [
    {"command": "/sessions", "description": "List sessions", "usage_hint": "[filter]"},
    {"command": "/kill-session", "description": "Close one", "usage_hint": "ID"},
]

Connect = Callable[[App], SocketModeHandler]


class Clock:
    """A clock that a test can put forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sandbox(clock: Clock) -> Iterator[SlackSandbox]:
    with SlackSandbox(commands=COMMANDS, clock=clock) as running:
        yield running


@pytest.fixture
def hasty_sandbox() -> Iterator[SlackSandbox]:
    """A sandbox that waits less long for acknowledgements, for tests in which none comes."""
    with SlackSandbox(commands=COMMANDS, ack_within=0.3) as running:
        yield running


@pytest.fixture
def client(sandbox: SlackSandbox) -> WebClient:
    return WebClient(token=sandbox.world.bot_token, base_url=sandbox.api_url)


@pytest.fixture
def alice(sandbox: SlackSandbox) -> Person:
    return Person(sandbox, "U01ALICE")


@pytest.fixture
def bob(sandbox: SlackSandbox) -> Person:
    return Person(sandbox, "U02BOB")


def new_app(sandbox: SlackSandbox) -> App:
    """Build a Bolt app that talks to the sandbox."""
    return App(client=WebClient(token=sandbox.world.bot_token, base_url=sandbox.api_url))


@contextmanager
def socket_mode(app: App, sandbox: SlackSandbox) -> Iterator[SocketModeHandler]:
    """Connect an app by Socket Mode, with the SDK's own client."""
    handler = SocketModeHandler(app, sandbox.world.app_token, ping_interval=1)
    before = sandbox.connections
    handler.connect()  # type: ignore[no-untyped-call]
    sandbox.wait_for(lambda: sandbox.connections > before)
    try:
        yield handler
    finally:
        # The builtin client's threads wait up to a second for something to come: let it come.
        handler.client.closed = True
        handler.client.current_session_state.terminated = True
        handler.client.enqueue_message("")
        sandbox.faults.drop_connections("warning")
        handler.close()  # type: ignore[no-untyped-call]


@pytest.fixture
def app(sandbox: SlackSandbox) -> Iterator[App]:
    """A Bolt app that is connected; tests add their listeners."""
    bolt = new_app(sandbox)
    with socket_mode(bolt, sandbox):
        yield bolt
