"""One socket of Socket Mode: opened, greeted, kept honest by pings, and read until it ends."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from websockets.exceptions import ConnectionClosed, InvalidProxy, InvalidProxyStatus, InvalidStatus, WebSocketException
from websockets.protocol import State
from websockets.sync.client import ClientConnection, connect

from bot.sessions.uptime import since_boot
from bot.slack.connections import proxy_for
from bot.slack.slack_errors import CALL_ERRORS, Kind, SlackError, of_app_token, slack_error

# Seconds. What falls silent is noticed within SILENT_AFTER of its last answer, so that there is time left of fifteen
# seconds to open the next one.
TCP_WITHIN = 3.0  # for each address of a host
HANDSHAKE_WITHIN = 6.0  # TCP and TLS included
GREETED_WITHIN = 10.0  # from the call of apps.connections.open
PING_EVERY = 3.0
SILENT_AFTER = 9.0
LEAVES_WITHIN = 10.0  # how long Slack is believed to deliver on a socket that it asks to go (docs/slack.md 3.1)
FROZEN_AFTER = 3.0  # between two turns of a thread: it was this process that stood still, and no line
CLOSED_WITHIN = 1.0  # Slack answers a close and leaves TCP open (docs/slack.md 3.1)
_TURN, _SHORT_TURN = 0.25, 0.02

_LARGEST = 16 * 1024 * 1024  # bytes of one message; Slack's own are far below

Message = Mapping[str, Any]

log = structlog.get_logger(__name__)

_NETWORK = "check that the network, and the proxy if there is one, let WebSockets through to Slack"
REASONS = {
    "too_many_websockets": SlackError(
        "too_many_websockets",
        Kind.PASSING,
        "Slack has as many open sockets of this app as it allows, which is ten: probably other replicas, an old one "
        "that still runs, or a bot on somebody's machine with the same token",
        "stop those that are not needed",
    ),
    "link_disabled": SlackError(
        "link_disabled",
        Kind.OTHER,
        "Socket Mode was switched off in the Slack app's settings",
        "switch it on there, or run the bot in HTTP mode",
    ),
}


def socket_problem(error: Exception) -> SlackError:
    """Say why a socket could not be opened. Texts of such errors may hold its address, so they are not told."""
    if isinstance(error, CALL_ERRORS):
        problem = of_app_token(slack_error(error))
        return REASONS.get(problem.word, problem)
    if isinstance(error, InvalidProxyStatus):
        status = error.response.status_code
        what = "a proxy wants a login" if status == 407 else "the proxy refuses"
        return _passing(f"status_{status}", f"{what}, HTTP {status}", "check the proxy and its login")
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        return _passing(f"handshake_{status}", f"the WebSocket was refused, HTTP {status}")
    if isinstance(error, InvalidProxy):
        return _passing("proxy", "the address of the proxy cannot be used", "set HTTPS_PROXY to http://host:port")
    if isinstance(error, ConnectionClosed):
        return _passing("closed", "the socket was closed")
    return _passing("no_websocket", "something that is not Slack answered")


def _passing(word: str, why: str, advice: str = _NETWORK) -> SlackError:
    return SlackError(word, Kind.PASSING, why, advice, reached=False)


LATE = _passing("timeout", "Slack did not greet in time")
SILENT = _passing("silent", "the socket fell silent")


class AppSocket:
    """A socket in a thread of its own, from the call that asks for its address to its end.

    ``address`` asks Slack for it. ``take`` is given each delivery with this socket, ``changed`` is called whenever
    something here may matter to whoever watches. Attributes are written by this thread alone.
    """

    def __init__(
        self,
        address: Callable[[], str],
        context: ssl.SSLContext | None,
        take: Callable[[AppSocket, Message], None],
        changed: Callable[[], None],
    ) -> None:
        self._address = address
        self._context = context
        self._take = take
        self._changed = changed
        self._told_to_end = threading.Event()
        self._connection: ClientConnection | None = None
        self._answered_at: float | None = None  # when the last ping that was answered was sent
        self._awake_since = 0.0
        self._thread = threading.Thread(target=self._run, name="slack-socket", daemon=True)
        self.started_at = since_boot()
        self.greeted_at: float | None = None
        self.leaves_since: float | None = None
        self.reason = ""  # Slack's, for which it goes
        self.problem: SlackError | None = None
        self.ended = False

    def start(self) -> None:
        """Open it."""
        self._thread.start()

    def delivers(self, now: float) -> bool:
        """Whether Slack delivers here, as far as can be known: it has greeted, and answers pings."""
        return (
            self._answered_at is not None
            and not self.ended
            and now - self._answered_at < SILENT_AFTER
            and (self.leaves_since is None or (self.problem is None and now - self.leaves_since < LEAVES_WITHIN))
        )

    def is_over(self, now: float) -> bool:
        """Whether another one is needed: it has ended, is about to, or nothing is to be expected of it any more."""
        return self.ended or self.leaves_since is not None or self.is_silent(now)

    def is_silent(self, now: float) -> bool:
        """Whether it was not greeted in time, or does not answer pings any more."""
        if self.greeted_at is None:
            return now - self.started_at >= GREETED_WITHIN
        return now - max(self._answered_at or self.greeted_at, self._awake_since) >= SILENT_AFTER

    def lasted(self, now: float) -> float:
        """For how many seconds Slack has been delivering here, until it ended or was asked to go."""
        if self.greeted_at is None:
            return 0.0
        return (self.leaves_since or now) - self.greeted_at

    def send(self, text: str) -> bool:
        """Send something; False where the socket is closed."""
        connection = self._connection
        if connection is None or self.ended:
            return False
        try:
            connection.send(text)
        except (ConnectionClosed, OSError):
            return False
        return True

    def end(self, wait: float = 0.0) -> None:
        """Close it, within about a second; wait for that as long as said."""
        self._told_to_end.set()
        if wait:
            self._thread.join(wait)

    def _run(self) -> None:
        try:
            self._live()
        except (*CALL_ERRORS, WebSocketException) as error:
            self.problem = self.problem or socket_problem(error)
        except Exception:
            log.exception("socket failed")
            self.problem = _passing("failed", "the socket failed")
        finally:
            self._connection = None
            self.ended = True
            self._changed()

    def _live(self) -> None:
        url = self._address()
        if self._told_to_end.is_set():  # it took so long that another one is opened by now
            return
        with connect(
            url,
            ssl=self._context if url.startswith("wss:") else None,
            proxy=proxy_for(url),
            timeout=TCP_WITHIN,
            open_timeout=HANDSHAKE_WITHIN,
            close_timeout=CLOSED_WITHIN,
            ping_interval=None,  # what they tell is wanted here
            compression=None,
            max_size=_LARGEST,
        ) as connection:
            self._connection = connection
            self._read(connection)

    def _read(self, connection: ClientConnection) -> None:
        pong, pinged_at, turned_at = None, 0.0, since_boot()
        while not self._told_to_end.is_set():
            now = since_boot()
            if now - turned_at >= FROZEN_AFTER:
                self._awake_since = now  # what has come meanwhile is read first
            turned_at = now
            if pong is not None and pong.is_set():
                pong, first, self._answered_at = None, self._answered_at is None, pinged_at
                if first:
                    self._changed()
            if self.is_silent(now):
                self.problem = SILENT if self.greeted_at is not None else LATE
                return
            if self.greeted_at is not None and pong is None and now - pinged_at >= PING_EVERY:
                pong, pinged_at = connection.ping(), now
            try:
                message = connection.recv(timeout=_SHORT_TURN if pong and self._answered_at is None else _TURN)
            except TimeoutError:
                if connection.state is not State.OPEN:
                    return  # Slack has closed it, and leaves TCP open
                continue
            if not self._heard(message):
                return

    def _heard(self, message: str | bytes) -> bool:
        """Take in a message; False where this socket is of no use any more."""
        try:
            said = json.loads(message)
        except ValueError:
            said = None
        if not isinstance(said, dict):
            # What it held is sent again on the next socket, since it is not acknowledged.
            self.problem = _passing("unreadable", "something that is not Slack answered")
            return False
        kind = said.get("type")
        if kind == "hello":
            self.greeted_at = self.greeted_at or since_boot()
        elif kind == "disconnect":
            return self._asked_to_go(str(said.get("reason")))
        else:
            self._take(self, said)
        return True

    def _asked_to_go(self, reason: str) -> bool:
        """Slack closes the socket itself, a while after; what comes on it until then is taken."""
        self.reason, self.problem = reason, REASONS.get(reason)
        if self.greeted_at is None:
            self.problem = self.problem or _passing("closed", "the socket was closed")
            return False
        self.leaves_since = self.leaves_since or since_boot()
        self._changed()
        return True
