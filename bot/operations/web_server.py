"""The bot's own web server: /healthz and /metrics, and in HTTP mode what Slack posts to /slack/events."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import structlog
import waitress
from slack_bolt import App, BoltResponse
from slack_bolt.adapter.wsgi import SlackRequestHandler
from slack_bolt.adapter.wsgi.http_request import WsgiHttpRequest
from waitress.channel import HTTPChannel

from bot.errors import ConfigurationError

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

EVENTS = "/slack/events"
MAX_BODY = 1 << 20  # bytes; Slack's largest payloads, whole modals, stay below 300 kB (docs/slack.md 1.9)
MAX_HEADERS = 1 << 16  # bytes
# A thread is held until the delivery is acknowledged, which takes milliseconds; health takes up to a second.
THREADS = 32
CONNECTIONS = 500
IDLE = 30  # seconds until a connection that says nothing is closed
TELL_EVERY = 60.0  # seconds between two lines about refused signatures: anybody can send those

log = structlog.get_logger(__name__)

Body = tuple[int, str, bytes]  # status, content type, content


@dataclass(frozen=True, slots=True)
class Pages:
    """What GET finds, by path."""

    health: Callable[[], tuple[bool, Mapping[str, Any]]]  # whether the bot is of use, and why or why not
    metrics: Callable[[], tuple[str, bytes]]  # content type and content

    def get(self, path: str) -> Body | None:
        """Return the page at that path, None where there is none."""
        if path == "/healthz":
            of_use, report = self.health()
            return (200 if of_use else 503), "application/json", json.dumps(report).encode()
        if path == "/metrics":
            return 200, *self.metrics()
        return None


@dataclass
class Router:
    """The WSGI application. ``events`` is set once Slack has said who the bot is; until then it is asked to retry."""

    pages: Pages
    takes_events: bool
    events: SlackRequestHandler | None = None

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if self.takes_events and path == EVENTS:
            return self._event(environ, start_response) if method == "POST" else _not_allowed(start_response, "POST")
        if path not in ("/healthz", "/metrics"):
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


class Server:
    """Listens on a port of all interfaces, in threads of its own; with port None on none."""

    def __init__(self, port: int | None, pages: Pages, *, takes_events: bool) -> None:
        self._port = port
        self._router = Router(pages, takes_events)
        self._map: dict[int, Any] = {}  # waitress's sockets by file number
        self._server: Any = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen; raises ``ConfigurationError`` when the port cannot be used. Without a port nothing is opened."""
        if self._port is None:
            return
        try:
            self._server = waitress.create_server(
                self._router,
                map=self._map,
                host="0.0.0.0",  # noqa: S104  # Slack comes from outside
                port=self._port,
                threads=THREADS,
                max_request_body_size=MAX_BODY,
                max_request_header_size=MAX_HEADERS,
                connection_limit=CONNECTIONS,
                channel_timeout=IDLE,
                ident=None,
                asyncore_use_poll=True,
                clear_untrusted_proxy_headers=True,
            )
        except OSError as error:
            raise ConfigurationError([f"port {self._port} cannot be used: {error.strerror}"]) from error
        self._thread = threading.Thread(target=self._server.run, name="server", daemon=True)
        self._thread.start()

    def take_events(self, app: App) -> None:
        """Hand what Slack posts to that app from now on."""
        self._router.events = _Events(app, EVENTS)

    def stop(self) -> None:
        """Answer what has come, then close every connection."""
        if self._server is None or self._thread is None:
            return
        self._server.task_dispatcher.shutdown(timeout=2)
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
