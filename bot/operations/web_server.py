"""The bot's own web servers: health and metrics, and in HTTP mode what Slack posts to /slack/events."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import json
import os
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import structlog
from slack_bolt import App, BoltResponse
from slack_bolt.adapter.wsgi import SlackRequestHandler
from slack_bolt.adapter.wsgi.http_request import WsgiHttpRequest
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher

from bot.errors import ConfigurationError, PortInUseError
from bot.settings import ListenAddress

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

EVENTS = "/slack/events"
PAGES = ("/readyz", "/healthz", "/livez", "/metrics")
MAX_BODY = 1 << 20  # bytes; Slack's largest payloads, whole modals, stay below 300 kB (docs/slack.md 1.9)
MAX_HEADERS = 1 << 16  # bytes
# A thread is held until the delivery is acknowledged, which takes milliseconds; health takes up to a second.
THREADS = 32
CONNECTIONS = 500
IDLE = 30  # seconds until a connection that says nothing is closed
WHOLE_WITHIN = 10.0  # seconds for a request, header and body; Slack gives the whole answer three
SLOW_AFTER = 1.0  # seconds after which a request that is not whole yet counts as slow
MOST_SLOW = 50  # slow requests from one address: a proxy that passes them on unbuffered is one
CROWDED = 400  # connections from which on those between two requests are closed
LOOK_EVERY = 0.25  # seconds
REST = 1.0  # seconds in which nobody is let in after that has failed, as where there is no file left to open
TELL_EVERY = 60.0  # seconds between two lines about refused signatures: anybody can send those

log = structlog.get_logger(__name__)

Body = tuple[int, str, bytes]  # status, content type, content


@dataclass(frozen=True, slots=True)
class Pages:
    """What GET finds, by path."""

    ready: Callable[[], tuple[bool, Mapping[str, Any]]]  # whether the bot is ready, and why or why not
    live: Callable[[], Mapping[str, Any]]
    metrics: Callable[[], tuple[str, bytes]]  # content type and content

    def get(self, path: str) -> Body | None:
        """Return the page at that path, None where there is none."""
        if path in ("/readyz", "/healthz"):
            ready, report = self.ready()
            return (200 if ready else 503), "application/json", json.dumps(report).encode()
        if path == "/livez":
            return 200, "application/json", json.dumps(self.live()).encode()
        if path == "/metrics":
            return 200, *self.metrics()
        return None


@dataclass
class Router:
    """The WSGI application. ``events`` is set once Slack has said who the bot is; until then it is asked to retry."""

    pages: Pages | None  # None: not here
    takes_events: bool
    events: SlackRequestHandler | None = None

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if self.takes_events and path == EVENTS:
            return self._event(environ, start_response) if method == "POST" else _not_allowed(start_response, "POST")
        if self.pages is None or path not in PAGES:
            return _plain(start_response, HTTPStatus.NOT_FOUND)
        if method not in ("GET", "HEAD"):
            return _not_allowed(start_response, "GET, HEAD")
        found = self.pages.get(path)
        if found is None:
            return _plain(start_response, HTTPStatus.NOT_FOUND)
        content = _answer(start_response, *found)
        return content if method == "GET" else []

    def _event(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if self.events is None:
            return _plain(start_response, HTTPStatus.SERVICE_UNAVAILABLE)
        try:
            return self.events(environ, start_response)
        except Exception as error:  # noqa: BLE001  # see below; handlers have a net of their own, in bot.app
            # Bolt reads the body before it looks at the signature: what is no UTF-8 or JSON comes from anybody.
            log.warning("unreadable request", error=type(error).__name__)
            return _plain(start_response, HTTPStatus.BAD_REQUEST)


class _Events(SlackRequestHandler):
    """Bolt's own handler, telling of refused signatures now and then."""

    _told_at = -TELL_EVERY

    def dispatch(self, request: WsgiHttpRequest) -> BoltResponse:
        # Slack's SDK fails at a time that is no number, and a failure is acknowledged as any other.
        timed = str(request.environ.get("HTTP_X_SLACK_REQUEST_TIMESTAMP", "")).isdecimal()
        response = super().dispatch(request) if timed else BoltResponse(status=HTTPStatus.UNAUTHORIZED, body="")
        if response.status == HTTPStatus.UNAUTHORIZED and time.monotonic() - self._told_at >= TELL_EVERY:
            self._told_at = time.monotonic()
            log.warning(
                "signature refused: forged or too old, or SLACK_SIGNING_SECRET is not this app's, or the clock is wrong"
            )
        return response


class _Channel(HTTPChannel):  # type: ignore[misc]  # waitress ships no types
    """A connection that knows since when it owes a whole request: from its beginning, later from a first byte on."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        self.owes_since: float | None = time.monotonic()
        self.quiet_since = 0.0  # since when it has been between two requests
        super().__init__(*arguments, **more)

    def received(self, data: bytes) -> bool:
        """Take what has come."""
        taken: bool = super().received(data)
        if self.request is None:
            self.owes_since, self.quiet_since = None, time.monotonic()
        elif self.owes_since is None:
            self.owes_since = time.monotonic()
        return taken


class _Listener(TcpWSGIServer):  # type: ignore[misc]  # same
    """Lets connections in, and closes those that are slow: waitress itself closes only what is silent.

    No failure of one connection ends it. In waitress any OSError while a connection is set up closes the listener.
    """

    channel_class = _Channel

    def __init__(self, *arguments: Any, **more: Any) -> None:
        self._looked_at = self._resting_until = 0.0
        self._told_at = {"slow": -TELL_EVERY, "let in": -TELL_EVERY}
        super().__init__(*arguments, **more)

    def readable(self) -> bool:
        """Whether somebody may be let in now; asked in every round of the loop."""
        now = time.monotonic()
        if now - self._looked_at >= LOOK_EVERY:
            self._looked_at = now
            self._close_slow(now)
        return bool(super().readable()) and now >= self._resting_until

    def handle_accept(self) -> None:
        """Let somebody in."""
        try:
            accepted = self.accept()
            if accepted is None:
                return
            connection, address = accepted
            try:
                self.set_socket_options(connection)
                self.channel_class(self, connection, self.fix_addr(address), self.adj, map=self._map)
            except OSError:
                connection.close()
                raise
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                self._resting_until = time.monotonic() + REST  # else the loop spins: whoever waits is still there
            self._tell("let in", "connection not taken", error=errno.errorcode.get(error.errno or 0, "unknown"))

    def handle_error(self) -> None:
        """Go on listening."""
        log.exception("web server")

    def handle_close(self) -> None:
        """End the loop when the listening socket itself is lost: it would go on deaf."""
        self.close()
        for one in list(self.active_channels.values()):
            one.will_close = True

    def _close_slow(self, now: float) -> None:
        slow: dict[str, list[_Channel]] = defaultdict(list)
        channels: list[_Channel] = list(self.active_channels.values())
        closed = 0
        for one in channels:
            owed = 0.0 if one.owes_since is None else now - one.owes_since
            if owed >= WHOLE_WITHIN:
                one.will_close, closed = True, closed + 1
            elif owed >= SLOW_AFTER:
                slow[_client(str(one.addr[0]))].append(one)
        for those in slow.values():
            those.sort(key=lambda one: one.owes_since or 0.0)  # the oldest had the most time
            for one in those[: max(0, len(those) - MOST_SLOW)]:
                one.will_close, closed = True, closed + 1
        if len(channels) - closed > CROWDED:
            quiet = [one for one in channels if one.owes_since is None and not one.requests]
            for one in sorted(quiet, key=lambda one: one.quiet_since)[: len(channels) - closed - CROWDED]:
                one.will_close = True
        if closed:
            self._tell("slow", "slow clients: requests that were not whole in time", closed=closed)

    def _tell(self, what: str, event: str, **more: object) -> None:
        """Log it, and not each time: anybody can bring it about."""
        now = time.monotonic()
        if now - self._told_at[what] >= TELL_EVERY:
            self._told_at[what] = now
            log.warning(event, **more)


def _client(address: str) -> str:
    """Return whose address that is: of IPv6 everybody has at least 2**64, and may use another for each connection."""
    parsed = ipaddress.ip_address(address)
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    return str(parsed.ipv4_mapped or ipaddress.IPv6Network((parsed.packed, 64), strict=False))


class WebServer:
    """All that the bot listens on: one port for health, metrics and Slack's requests, or one for each of the two.

    ``ended`` is called where one of them stops listening without having been told to.
    """

    def __init__(
        self, events: ListenAddress | None, health: ListenAddress | None, pages: Pages, ended: Callable[[], None]
    ) -> None:
        self._servers: list[Server] = []
        if events is not None:
            here = pages if health == events else None
            self._servers.append(Server(events, Router(here, takes_events=True), ended))
        if health is not None and health != events:
            self._servers.append(Server(health, Router(pages, takes_events=False), ended))

    def start(self) -> None:
        """Listen; raises ``ConfigurationError`` when a port cannot be used, and listens on none then."""
        try:
            for server in self._servers:
                server.start()
        except ConfigurationError:
            self.stop()
            raise

    def take_events(self, app: App) -> None:
        """Hand what Slack posts to that app from now on."""
        for server in self._servers:
            server.router.events = _Events(app, EVENTS)

    def stop(self) -> None:
        """Answer what has come, then close every connection."""
        for server in self._servers:
            server.stop()


def listen(at: ListenAddress) -> socket.socket:
    """Open a socket there; raises ``ConfigurationError`` that names what to change, ``PortInUseError`` among them."""
    try:
        if at.host is None:
            return _listen_everywhere(at.port)
        return _listen(at.host, at.port)
    except OSError as error:
        number, port, host = error.errno or 0, f"{at.port_variable}: port {at.port}", f"{at.host_variable}: {at.host}"
        if number == errno.EADDRINUSE:
            raise PortInUseError([f"{port} is in use by another process; end that, or set another port"]) from error
        sentence = {
            errno.EACCES: f"{port} may not be opened by the bot's user; set one from 1024 on",
            errno.EADDRNOTAVAIL: f"{host} is no address of this machine; name one that is, or leave it out for all",
            errno.EAFNOSUPPORT: f"{host} is of IPv6, which this machine does not speak; name another, or leave it out",
        }.get(number, f"{port} cannot be used: {os.strerror(number)}")
        raise ConfigurationError([sentence]) from error


def _listen_everywhere(port: int) -> socket.socket:
    """Listen for IPv6 and IPv4 alike, as far as this machine speaks both."""
    try:
        return _listen("::", port)
    except OSError as error:
        if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            raise
        return _listen("0.0.0.0", port)  # noqa: S104  # Slack and probes come from outside


def _listen(host: str, port: int) -> socket.socket:
    v6 = ":" in host
    family = socket.AF_INET6 if v6 else socket.AF_INET
    address = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)[0][4]
    return socket.create_server(address, family=family, dualstack_ipv6=host == "::")


class Server:
    """Listens on one port, in threads of its own: who floods one port does not keep the other from answering."""

    def __init__(self, at: ListenAddress, router: Router, ended: Callable[[], None]) -> None:
        self.router = router
        self._at = at
        self._ended = ended
        self._stopping = False
        self._map: dict[int, Any] = {}  # waitress's sockets by file number
        self._server: Any = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen; raises ``ConfigurationError`` when the port cannot be used."""
        listening = listen(self._at)
        wanted = Adjustments(
            threads=THREADS,
            max_request_body_size=MAX_BODY,
            max_request_header_size=MAX_HEADERS,
            connection_limit=CONNECTIONS,
            channel_timeout=IDLE,
            ident=None,
            asyncore_use_poll=True,
            clear_untrusted_proxy_headers=True,
        )
        threads = ThreadedTaskDispatcher()
        threads.set_thread_count(THREADS)
        where = (listening.family, listening.type, listening.proto, listening.getsockname())
        self._server = _Listener(
            self.router,
            self._map,
            _sock=listening,
            dispatcher=threads,
            adj=wanted,
            sockinfo=where,
            bind_socket=False,
        )
        self._thread = threading.Thread(target=self._run, args=(self._server,), name="server", daemon=True)
        self._thread.start()

    def _run(self, server: Any) -> None:
        try:
            server.run()
        except Exception:
            log.exception("web server")
        if not self._stopping:
            log.error("the web server has ended, so the bot ends too: it can take nothing more")
            self._ended()

    def stop(self) -> None:
        """Answer what has come, then close every connection."""
        if self._server is None or self._thread is None:
            return
        self._stopping = True
        self._server.task_dispatcher.shutdown(timeout=2)
        with contextlib.suppress(OSError):  # it has ended by itself
            self._server.trigger.pull_trigger(self._close_all)
        self._thread.join(timeout=2)
        self._server = self._thread = None

    def _close_all(self) -> None:
        """End waitress's loop, which goes on as long as anything is in its map."""
        for one in list(self._map.values()):
            if isinstance(one, HTTPChannel):
                one.close_when_flushed = True
            else:
                one.close()


def _not_allowed(start_response: StartResponse, allowed: str) -> Iterable[bytes]:
    return _plain(start_response, HTTPStatus.METHOD_NOT_ALLOWED, [("Allow", allowed)])


def _plain(
    start_response: StartResponse, status: HTTPStatus, headers: Iterable[tuple[str, str]] = ()
) -> Iterable[bytes]:
    return _answer(start_response, status, "text/plain; charset=utf-8", f"{status.phrase}\n".encode(), headers)


def _answer(
    start_response: StartResponse,
    status: int,
    content_type: str,
    content: bytes,
    headers: Iterable[tuple[str, str]] = (),
) -> Iterable[bytes]:
    line = f"{status} {HTTPStatus(status).phrase}"
    length = ("Content-Length", str(len(content)))
    start_response(line, [("Content-Type", content_type), length, ("Cache-Control", "no-store"), *headers])
    return [content]
