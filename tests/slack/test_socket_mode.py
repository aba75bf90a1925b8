"""The link to Slack in Socket Mode: whatever happens to a socket, the next one delivers, and nobody is told wrongly."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from slack_bolt import Ack, App
from structlog.testing import capture_logs

from bot.sessions.uptime import since_boot
from bot.slack import app_socket, socket_mode
from bot.slack.client import Client
from bot.slack.socket_mode import SocketLink
from sandbox.slack.delivery import ACK_WITHIN
from sandbox.slack.faults import Failure
from sandbox.slack.server import SlackSandbox
from sandbox.slack.socket_mode import MOST_CONNECTIONS
from tests.support.patience import PATIENCE
from tests.support.relay import Relay
from tests.support.slack_person import Person

OPEN = "apps.connections.open"
NOTICED_WITHIN = 15.0  # seconds, as is promised

Lines = list[Any]


@pytest.fixture(scope="module")
def shared() -> Iterator[SlackSandbox]:
    with SlackSandbox(commands=[{"command": "/sessions"}]) as slack:
        slack.limits.rates.clear()
        yield slack


@pytest.fixture
def slack(shared: SlackSandbox) -> Iterator[SlackSandbox]:
    yield shared
    faults = shared.faults
    faults.greeting, faults.sockets_refused = "", None
    faults.sockets_hang = faults.withholds_hello = False
    faults.recover()
    faults.ack_within = ACK_WITHIN
    shared.socket_port = None
    shared.clear()
    shared.calls.clear()


@pytest.fixture
def relay(slack: SlackSandbox) -> Iterator[Relay]:
    """Give what the sockets go through; the calls do not."""
    with Relay(slack.port) as relay:
        slack.socket_port = relay.port
        yield relay


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the pauses be the shortest that may be drawn, and whoever looks every now and then look more often."""
    monkeypatch.setattr("random.uniform", lambda low, _high: low)
    monkeypatch.setattr(app_socket, "_TURN", 0.05)
    monkeypatch.setattr(socket_mode, "TEND_EVERY", 0.1)


@pytest.fixture
def log() -> Iterator[Lines]:
    with capture_logs() as lines:
        yield lines


class Link:
    """A bot that answers one command, and what its link has told."""

    def __init__(self, slack: SlackSandbox, client: Client) -> None:
        self.slack = slack
        self.told: list[bool] = []
        self._told = threading.Condition()
        self.cut_off = 0
        app = App(client=client, signing_secret="")
        self.answer: Callable[[Ack], object] = lambda ack: ack("here")
        app.command("/sessions")(self._answer)
        self.link = SocketLink(app, client, slack.world.app_token, self._tell, self._cut)
        self.alice = Person(slack, "U01ALICE")

    def becomes(self, *connected: bool) -> None:
        """Wait until ``connected`` has been these, one after the other, and is the last of them."""
        with self._told:
            assert self._told.wait_for(lambda: self.told[-len(connected) :] == list(connected), PATIENCE), self.told
        assert self.link.connected() is connected[-1]

    def delivers(self) -> None:
        """Have a command answered."""
        before = len(self.alice.messages())
        self.alice.types("/sessions")
        self.slack.wait_for(lambda: len(self.alice.messages()) > before, what="the answer")
        assert self.alice.messages()[-1]["text"] == "here"

    def _answer(self, ack: Ack) -> None:
        self.answer(ack)

    def _tell(self, connected: bool) -> None:
        with self._told:
            self.told.append(connected)
            self._told.notify_all()

    def _cut(self) -> None:
        self.cut_off += 1


@pytest.fixture
def linked(slack: SlackSandbox, hasty: None) -> Iterator[Callable[[], Link]]:
    """Give a function that opens a link."""
    del hasty
    with contextlib.ExitStack() as opened:

        def link() -> Link:
            client = opened.enter_context(Client(slack.world.bot_token, slack.api_url))
            one = Link(slack, client)
            opened.callback(one.link.close)
            one.link.start()
            return one

        yield link


def warnings(log: Lines) -> list[Mapping[str, Any]]:
    """Return what the log warned of."""
    return [line for line in log if line["log_level"] in ("warning", "error")]


def opened(slack: SlackSandbox) -> int:
    """Return how many addresses of sockets were asked for."""
    return len(slack.calls.of(OPEN))


WAYS: dict[str, Callable[[SlackSandbox, Relay], None]] = {
    "a-fin": lambda _slack, relay: relay.hangs_up(),
    "a-reset": lambda _slack, relay: relay.hangs_up(reset=True),
    "silence": lambda _slack, relay: relay.forgets(),
    "nothing-reaches-slack": lambda _slack, relay: relay.loses_what_is_sent(),
    "a-close": lambda slack, _relay: slack.faults.drop_connections(abruptly=True),
    "a-close-on-which-tcp-stays-open": lambda _slack, relay: relay.says(b"\x88\x02\x03\xe8"),
    "frames-that-are-none": lambda _slack, relay: relay.says(b"\xff" * 64),
    "a-text-that-is-no-json": lambda slack, _relay: slack.faults.say("<html><body>Sign in</body></html>"),
    "json-that-is-no-message": lambda slack, _relay: slack.faults.say("[1]"),
    "the-link-is-disabled": lambda slack, _relay: slack.faults.drop_connections("link_disabled"),
    "too-many-sockets": lambda slack, _relay: slack.faults.drop_connections("too_many_websockets"),
}


@pytest.mark.parametrize("way", WAYS)
def test_whatever_way_a_socket_ends_or_falls_silent_it_is_not_taken_for_a_connection_and_the_next_one_delivers(
    slack: SlackSandbox, relay: Relay, linked: Callable[[], Link], monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(app_socket, "PING_EVERY", 0.5)
    monkeypatch.setattr(app_socket, "SILENT_AFTER", 1.5)
    link = linked()
    link.becomes(True)
    assert opened(slack) == 1
    began = time.monotonic()
    WAYS[way](slack, relay)
    link.becomes(True, False, True)
    assert time.monotonic() - began < NOTICED_WITHIN
    if way in ("silence", "nothing-reaches-slack"):  # Slack takes the old one for a living one, as long as it likes
        slack.faults.ack_within = 0.5
        link.alice.types("/sessions")
        slack.faults.ack_within = ACK_WITHIN
    link.delivers()


@pytest.mark.parametrize("odd", ['{"type": "goodbye"}', '{"type": "x", "envelope_id": "1", "payload": 7}', "{}"])
def test_a_message_of_another_kind_is_told_and_ends_nothing(
    slack: SlackSandbox, linked: Callable[[], Link], log: Lines, odd: str
) -> None:
    link = linked()
    link.becomes(True)
    slack.faults.say(odd)
    slack.wait_for(lambda: bool(warnings(log)), what="the warning")
    link.delivers()
    assert (opened(slack), link.told) == (1, [True])


def test_a_silent_socket_is_noticed_and_another_one_opened_within_fifteen_seconds() -> None:
    """What takes longest is silence; a call and a handshake that work take far less than what is left."""
    assert app_socket.SILENT_AFTER + 2 * socket_mode.TEND_EVERY + app_socket.CLOSED_WITHIN < NOTICED_WITHIN - 3
    assert app_socket.SILENT_AFTER - app_socket.PING_EVERY >= 5, "a line may be slow"


def test_a_bot_that_was_frozen_asks_again_whether_its_socket_works_and_does_not_blame_it(
    slack: SlackSandbox, linked: Callable[[], Link], monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen_for = [0.0]
    for module in (app_socket, socket_mode):
        monkeypatch.setattr(module, "since_boot", lambda: since_boot() + frozen_for[0])
    monkeypatch.setattr(socket_mode, "TEND_EVERY", 0.5)  # as it is: each socket has its turn before
    link = linked()
    link.becomes(True)
    frozen_for[0] = 2 * app_socket.SILENT_AFTER
    assert not link.link.connected(), "whether Slack delivers is not known"
    slack.wait_for(link.link.connected, what="an answer to the next ping")
    link.delivers()
    assert opened(slack) == 1


def test_a_socket_that_slack_renews_is_open_until_the_next_one_is_and_no_delivery_is_lost(
    slack: SlackSandbox, linked: Callable[[], Link], log: Lines
) -> None:
    link = linked()
    link.becomes(True)
    for count in (2, 3):
        link.link._flaps = link.link._failures = 0  # as if the socket had been open for an hour
        slack.faults.drop_connections("warning" if count == 2 else "refresh_requested")
        link.delivers()
        assert opened(slack) == count
        link.becomes(True)
    assert not warnings(log)


def test_what_comes_on_a_socket_that_is_to_go_is_taken_until_slack_closes_it(
    slack: SlackSandbox, relay: Relay, linked: Callable[[], Link]
) -> None:
    link = linked()
    link.becomes(True)
    slack.faults.fall_ill(Failure("", 503), share=1.0, methods=[OPEN])
    relay.says(_text({"type": "disconnect", "reason": "warning"}))  # Slack's own goes on delivering
    slack.wait_for(lambda: opened(slack) > 1, what="the try to open another")
    link.delivers()
    assert link.link.connected()
    slack.faults.recover()
    slack.wait_for(lambda: slack.connections == 2, what="the next one beside it")
    for _ in range(2):  # one on each
        link.delivers()


def test_a_socket_that_is_to_go_is_believed_for_a_while_only_where_no_other_opens(
    slack: SlackSandbox, relay: Relay, linked: Callable[[], Link], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_socket, "LEAVES_WITHIN", 1.0)
    link = linked()
    link.becomes(True)
    slack.faults.fall_ill(Failure("", 503), share=1.0, methods=[OPEN])
    relay.says(_text({"type": "disconnect", "reason": "refresh_requested"}))
    link.becomes(False)
    slack.faults.recover()
    link.becomes(True)


def test_an_acknowledgement_goes_out_on_the_next_socket_where_its_own_has_ended(
    slack: SlackSandbox, linked: Callable[[], Link]
) -> None:
    link = linked()
    link.becomes(True)
    came: list[str] = []

    def slow(ack: Ack) -> None:
        came.append("once")
        if len(came) == 1:
            slack.faults.drop_connections("refresh_requested")
            slack.wait_for(lambda: slack.connections == 1 and opened(slack) == 2, what="the next socket")
            slack.wait_for(lambda: not link.link._old, what="the end of the one that it came on")
        ack("here")

    link.answer = slow
    link.delivers()


def test_too_many_sockets_are_asked_for_ever_more_seldom_and_told_once_with_the_likely_cause_and_when_it_is_over(
    slack: SlackSandbox, linked: Callable[[], Link], log: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    slack.faults.greeting = "too_many_websockets"
    began = time.monotonic()
    link = linked()
    slack.wait_for(lambda: opened(slack) == 4, what="the fourth try")
    assert time.monotonic() - began >= (1 + 2 + 4) / 2
    assert not link.link.settled.is_set()
    [told] = warnings(log)
    assert told["error"] == "too_many_websockets"
    assert "ten" in told["why"]
    assert "replicas" in told["why"]
    slack.faults.greeting = ""
    monkeypatch.setattr(link.link, "_not_before", 0.0)  # not to wait for the next pause
    link.becomes(True)
    slack.wait_for(lambda: any("again" in line["event"] for line in log), what="word that it is over")
    link.delivers()


def test_the_pauses_grow_to_half_a_minute_and_are_never_the_same_for_all(slack: SlackSandbox) -> None:
    with Client(slack.world.bot_token, slack.api_url) as client:
        link = SocketLink(App(client=client, signing_secret=""), client, slack.world.app_token)
        pauses = []
        for failures in range(1, 12):
            link._failures = failures
            drawn = [link._pause(app_socket.REASONS["too_many_websockets"]) for _ in range(50)]
            assert len(set(drawn)) > 1
            assert max(drawn) <= 2 * min(drawn) + 1e-9
            pauses.append(max(drawn))
        assert pauses[0] <= 1
        assert 15 <= pauses[-1] <= socket_mode.LONGEST_PAUSE
        assert sum(pauses[:5]) < 32 < 2 * sum(pauses[:6]), "some six in half a minute"
        link.close()


def test_after_hours_without_slack_the_pauses_are_still_the_longest(slack: SlackSandbox) -> None:
    with Client(slack.world.bot_token, slack.api_url) as client:
        link = SocketLink(App(client=client, signing_secret=""), client, slack.world.app_token)
        link._failures = link._flaps = 5000
        assert link._pause(None) >= socket_mode.LONGEST_PAUSE / 2
        assert not link.connected()
        link.close()


def test_a_link_whose_sockets_all_hang_ends_within_seconds(
    slack: SlackSandbox, linked: Callable[[], Link], monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()
    monkeypatch.setattr(app_socket, "GREETED_WITHIN", 0.3)
    monkeypatch.setattr(SocketLink, "_address", lambda _self: str(over.wait(PATIENCE)))  # as a name that resolves late
    link = linked().link
    slack.wait_for(lambda: len(link._sockets) >= 3, what="three that hang")
    began = time.monotonic()
    link.close()
    assert time.monotonic() - began < 3 * socket_mode.ENDS_WITHIN, "they are waited for together"
    over.set()


def test_the_same_trouble_is_told_again_after_ten_minutes(slack: SlackSandbox, log: Lines) -> None:
    with Client(slack.world.bot_token, slack.api_url) as client:
        link = SocketLink(App(client=client, signing_secret=""), client, slack.world.app_token)
        for now in (0.0, 30.0, 590.0, 601.0, 900.0):
            link._warn(app_socket.REASONS["too_many_websockets"], now)
        assert len(warnings(log)) == 2
        link.close()


def test_more_than_ten_sockets_of_one_app_are_greeted_as_too_many(
    slack: SlackSandbox, linked: Callable[[], Link], log: Lines
) -> None:
    first = [linked() for _ in range(MOST_CONNECTIONS)]
    for link in first:
        link.becomes(True)
    late = linked()
    slack.wait_for(lambda: bool(warnings(log)), what="the warning")
    assert warnings(log)[0]["error"] == "too_many_websockets"
    assert not late.link.connected()
    first[0].link.close()
    late.becomes(True)


@pytest.mark.parametrize("status", [403, 503, 200])
def test_a_refused_handshake_is_no_connection_and_is_told(
    slack: SlackSandbox, linked: Callable[[], Link], log: Lines, status: int
) -> None:
    slack.faults.sockets_refused = status
    link = linked()
    slack.wait_for(lambda: opened(slack) == 2, what="the next try")
    assert not link.link.settled.is_set()
    assert not link.link.connected()
    [told] = warnings(log)
    assert told["error"] == f"handshake_{status}"
    assert f"HTTP {status}" in told["why"]
    slack.faults.sockets_refused = None
    link.becomes(True)
    assert link.told == [True]


@pytest.mark.parametrize("hangs", ["the-handshake", "tcp", "the-call", "the-greeting"])
def test_whatever_hangs_while_a_socket_is_opened_another_one_is_tried(
    slack: SlackSandbox, linked: Callable[[], Link], log: Lines, monkeypatch: pytest.MonkeyPatch, hangs: str
) -> None:
    monkeypatch.setattr(app_socket, "HANDSHAKE_WITHIN", 0.5)
    monkeypatch.setattr(app_socket, "GREETED_WITHIN", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        if hangs == "the-handshake":
            slack.faults.sockets_hang = True
        elif hangs == "tcp":  # taken, and not a byte comes back
            slack.socket_port = silent.getsockname()[1]
        elif hangs == "the-call":
            slack.faults.carry_out_late(OPEN, 3.0, 1)
        else:
            slack.faults.withholds_hello = True
        link = linked()
        slack.wait_for(lambda: bool(warnings(log)), what="the warning")
        assert warnings(log)[0]["why"] in ("no answer in time", "Slack did not greet in time")
        assert not link.link.connected()
        slack.faults.sockets_hang, slack.socket_port, slack.faults.withholds_hello = False, None, False
        link.becomes(True)
        link.delivers()


def test_a_limit_is_waited_for_as_long_as_slack_asks(
    slack: SlackSandbox, linked: Callable[[], Link], log: Lines
) -> None:
    slack.faults.fail_next(OPEN, 429, "ratelimited", retry_after=2)
    began = time.monotonic()
    link = linked()
    link.becomes(True)
    assert time.monotonic() - began >= 2
    assert [line["error"] for line in warnings(log)] == ["ratelimited"]


def test_a_socket_after_several_that_ended_young_is_believed_once_it_has_lasted(
    slack: SlackSandbox, linked: Callable[[], Link], log: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket_mode, "LONGEST_PAUSE", 1.0)
    monkeypatch.setattr(socket_mode, "LONGEST_PAUSE_UNREACHED", 1.0)
    link = linked()
    for count in (1, 2, 3):
        slack.wait_for(lambda count=count: slack.connections == 1 and opened(slack) == count)  # type: ignore[misc]
        slack.faults.drop_connections(abruptly=True)
        slack.wait_for(lambda: slack.connections == 0)
    slack.wait_for(lambda: slack.connections == 1, what="the fourth")
    assert not link.link.connected(), "it may end like the ones before"
    link.delivers()
    assert [line["error"] for line in warnings(log)] == ["closed"]
    link.becomes(True)


def test_a_token_that_slack_refuses_ends_the_link_at_the_start_and_later(
    slack: SlackSandbox, linked: Callable[[], Link], log: Lines
) -> None:
    slack.faults.fail_next(OPEN, error="invalid_auth")
    link = linked()
    assert link.link.settled.wait(PATIENCE)
    assert link.link.refusal is not None
    assert link.link.refusal.word == "invalid_auth"
    assert (link.cut_off, warnings(log)) == (0, []), "whoever waits for the start tells it"
    link = linked()
    link.becomes(True)
    asked = opened(slack)
    slack.faults.fail_next(OPEN, error="socket_mode_not_enabled")
    slack.faults.drop_connections("link_disabled")
    slack.wait_for(lambda: link.cut_off == 1, what="the end")
    assert opened(slack) == asked + 1
    assert [line["error"] for line in warnings(log)] == ["link_disabled", "socket_mode_not_enabled"]
    link.becomes(False)


def test_socket_mode_that_is_switched_off_has_its_own_sentence(
    slack: SlackSandbox, linked: Callable[[], Link], log: Lines
) -> None:
    link = linked()
    link.becomes(True)
    slack.faults.greeting = "link_disabled"
    slack.faults.drop_connections("link_disabled")
    slack.wait_for(lambda: opened(slack) == 3, what="another try")
    [told] = warnings(log)
    assert told["why"] == "Socket Mode was switched off in the Slack app's settings"
    assert not link.link.connected()


def _text(message: Mapping[str, str]) -> bytes:
    """Write a message as a frame of a WebSocket."""
    text = json.dumps(message).encode()
    return bytes((0x81, len(text))) + text
