"""The sandbox as a server: one loopback port for Slack's API, its Socket Mode and the page."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import uvicorn
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from websockets.exceptions import InvalidState

from sandbox.slack.calls import Calls, Changes
from sandbox.slack.chat import ChatMethods
from sandbox.slack.delivery import ACK_WITHIN, Timed
from sandbox.slack.faults import Faults
from sandbox.slack.files import FileMethods
from sandbox.slack.home import Home
from sandbox.slack.http_mode import HttpMode
from sandbox.slack.interactions import Interactions
from sandbox.slack.limits import RateLimits
from sandbox.slack.methods import WorkspaceMethods
from sandbox.slack.modals import ModalMethods
from sandbox.slack.page import Page, is_foreign
from sandbox.slack.payloads import Payloads
from sandbox.slack.replies import Replies
from sandbox.slack.response_urls import ResponseUrls
from sandbox.slack.socket_mode import SocketMode
from sandbox.slack.tickets import Tickets
from sandbox.slack.web_api import WebApi
from sandbox.slack.workspace import Workspace
from sandbox.slack.world import DEMO_WORLD, Command, World

STATIC = Path(__file__).parent / "static"
SECURITY_POLICY = "default-src 'self'; connect-src 'self' ws:"
START_WITHIN = 30.0  # seconds
STOP_WITHIN = 1.0  # seconds

T = TypeVar("T")


class SlackSandbox:
    """A Slack workspace on a loopback port, for as long as it is started.

    `commands` are the manifest's slash commands as mappings with command, description and usage_hint.
    With `request_url` payloads are POSTed there (HTTP mode), else they go out over Socket Mode.
    `clock` sets what trigger ids, response URLs and rate limits go by, `ack_within` how long Slack waits.
    """

    def __init__(
        self,
        world: World = DEMO_WORLD,
        commands: Iterable[Mapping[str, Any]] = (),
        port: int = 0,
        *,
        request_url: str | None = None,
        ack_within: float = ACK_WITHIN,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.world = world
        self.faults = Faults()
        self.faults.ack_within = ack_within
        self.limits = RateLimits(clock)
        self._changes = Changes()
        self.calls = Calls(clock, self._changes.wake)
        self.port = port
        self._commands = tuple(
            Command(c["command"], c.get("description", ""), c.get("usage_hint", "")) for c in commands
        )
        self._request_url = request_url
        self._clock = clock
        self._socket_mode = SocketMode(world.bot.app_id, self.faults, self._changes.wake)
        self.faults.when_dropped(self._drop, self._say)
        self.socket_port: int | None = None
        """The port that Socket Mode connections are sent to, for a relay in between; None for this server's own."""
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def base_url(self) -> str:
        """Where the server is, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def page_url(self) -> str:
        """Where a browser finds the page."""
        return self.base_url + "/"

    @property
    def api_url(self) -> str:
        """What the bot is given as SLACK_API_URL."""
        return self.base_url + "/api/"

    def start(self) -> None:
        """Listen and serve in a thread; raises OSError when the port is taken."""
        listener = socket.socket()
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", self.port))
        except OSError:
            listener.close()
            raise
        self.port = listener.getsockname()[1]
        config = uvicorn.Config(
            self._build(),
            lifespan="off",
            log_level="error",
            loop="asyncio",
            ws="websockets-sansio",
            # The SDK's builtin client lets go of its socket only when something arrives on it.
            ws_ping_interval=0.5,
            date_header=False,
        )
        self._server = server = _Server(config)
        self._thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listener]}, name="slack-sandbox", daemon=True
        )
        self._thread.start()
        if not server.ready.wait(START_WITHIN):
            raise RuntimeError("the Slack sandbox did not start")

    def stop(self) -> None:
        """Close all connections and end the thread."""
        if self._server is None or self._thread is None:
            return
        self._server.end()
        self._thread.join()
        self._server = self._thread = None

    def __enter__(self) -> SlackSandbox:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def wait_for(self, predicate: Callable[[], T], timeout: float = 120.0, what: str = "the condition") -> T:
        """Wait until the predicate is true and return its value; it is asked again after each change.

        `timeout` guards against hanging: it says nothing of how fast anything is.
        """
        end = time.monotonic() + timeout
        while True:
            count = self._changes.count
            value = predicate()
            if value:
                return value
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"{what} did not come true within {timeout:g} s")
            self._changes.after(count, min(left, 0.25))

    @property
    def connections(self) -> int:
        """How many Socket Mode connections of the bot take payloads now."""
        return self._socket_mode.connected

    def take_acks(self) -> list[float]:
        """Return how long each acknowledgement took since the last call, in seconds; those that never came too."""
        taken = list(self._timed.acks)
        self._timed.acks.clear()
        return taken

    def clear(self) -> None:
        """Take all messages and modals away, so that many tests can share one sandbox."""

        async def clear() -> None:
            self._workspace.clear()

        assert self._server is not None  # noqa: S101  # started, like for everything else here
        assert self._server.loop is not None  # noqa: S101  # same
        asyncio.run_coroutine_threadsafe(clear(), self._server.loop).result(START_WITHIN)

    def _build(self) -> ASGIApp:
        self._workspace = workspace = Workspace(self.world, self._clock)
        workspace.listen(lambda _event, _audience: self._changes.wake())
        tickets = Tickets(self._clock)
        self._timed = delivery = self._delivery()
        payloads = Payloads(workspace, self.base_url)
        replies = Replies(workspace, tickets, self.faults)
        interactions = Interactions(
            workspace=workspace,
            tickets=tickets,
            payloads=payloads,
            replies=replies,
            delivery=delivery,
            commands=self._commands,
            faults=self.faults,
            calls=self.calls,
            clock=self._clock,
        )
        home = Home(workspace, payloads, delivery, self.faults, self._clock)
        files = FileMethods(workspace, self.base_url)
        methods = (
            WorkspaceMethods(
                self.world, self.base_url, None if self._request_url else self._socket_url, self.faults
            ).table()
            | ChatMethods(workspace, payloads, self.faults).table()
            | ModalMethods(workspace, tickets, payloads, self.faults).table()
            | home.table()
            | files.table()
        )
        api = WebApi(self.world, methods, self.limits, self.faults, self.calls)
        urls = ResponseUrls(replies, tickets, self.limits, self.faults, self.calls)
        routes = [
            Route("/", _index),
            Mount("/static", StaticFiles(directory=STATIC, check_dir=False)),
            Route("/api/{method}", api.handle, methods=["GET", "POST"]),
            Route("/commands/{rest:path}", urls.handle, methods=["POST"]),
            Route("/actions/{rest:path}", urls.handle, methods=["POST"]),
            Route("/upload/{file}", files.receive, methods=["POST"]),
            WebSocketRoute("/link/", self._socket_mode.serve),
            *Page(workspace, interactions, home, self._commands).routes(),
        ]
        return _Guard(Starlette(routes=routes), self.port)

    def _delivery(self) -> Timed:
        if self._request_url is None:
            return Timed(self._socket_mode)
        return Timed(HttpMode(self._request_url, self.world.signing_secret, self.faults))

    def _socket_url(self) -> str:
        return f"ws://127.0.0.1:{self.socket_port or self.port}/link/?ticket={self._socket_mode.ticket()}"

    def _drop(self, reason: str, abruptly: bool) -> None:
        self._do(self._socket_mode.drop(reason, abruptly=abruptly))

    def _say(self, text: str) -> None:
        self._do(self._socket_mode.say(text))

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        if self._server is None or self._server.loop is None:
            work.close()
            return
        asyncio.run_coroutine_threadsafe(work, self._server.loop).result(START_WITHIN)


class _Server(uvicorn.Server):
    """Uvicorn, saying when it answers and on which loop, and ending at once instead of by polling."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()
        self.loop: asyncio.AbstractEventLoop | None = None
        self._ended = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.loop = asyncio.get_running_loop()
        self.ready.set()

    async def main_loop(self) -> None:
        await self._ended.wait()

    def end(self) -> None:
        """Stop serving; may be called from any thread."""
        if self.loop is not None:
            self.loop.call_soon_threadsafe(self._ended.set)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        state = self.server_state
        for connection in list(state.connections):
            with suppress(InvalidState):  # its other side was just closing it
                connection.shutdown()
        end = time.monotonic() + STOP_WITHIN
        while (state.connections or state.tasks) and time.monotonic() < end:
            await asyncio.sleep(0.005)
        for task in state.tasks:
            task.cancel()


class _Guard:
    """Keeps other sites' pages out of the page API, and puts security headers on what the browser loads."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._port = port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        foreign = scope["path"].startswith("/page/") and is_foreign(HTTPConnection(scope), self._port)
        if foreign and scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if foreign:
            await PlainTextResponse("Only the sandbox's own page may do this.", 403)(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                extra = [
                    (b"content-security-policy", SECURITY_POLICY.encode()),
                    (b"x-content-type-options", b"nosniff"),
                    (b"cache-control", b"no-store"),
                ]
                message["headers"] = [*message.get("headers", []), *extra]
            await send(message)

        await self._app(scope, receive, with_headers)


async def _index(_: Request) -> Response:
    return FileResponse(STATIC / "index.html")
