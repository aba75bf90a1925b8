"""Socket Mode: the app's connections, and envelopes that go to exactly one of them."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from starlette.responses import HTMLResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from sandbox.slack.delivery import NotAcknowledged
from sandbox.slack.faults import Faults
from sandbox.slack.refusals import Json

MOST_CONNECTIONS = 10
LOOKED_EVERY = 0.05  # seconds


@dataclass(slots=True, eq=False)
class Envelope:
    """A payload on its way; it stays open until acknowledged, and goes out again if its connection dies."""

    kind: str
    payload: Json
    answered: asyncio.Future[Json]
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    attempt: int = 0
    reason: str = ""
    sent_on: Connection | None = None

    def as_json(self) -> str:
        """Write the envelope as Slack does."""
        return json.dumps(
            {
                "envelope_id": self.id,
                "type": self.kind,
                "payload": self.payload,
                "accepts_response_payload": True,
                "retry_attempt": self.attempt,
                "retry_reason": self.reason,
            }
        )


@dataclass(slots=True, eq=False)
class Connection:
    """One open WebSocket of the app; a retiring one gets nothing new."""

    socket: WebSocket
    retiring: bool = False


class SocketMode:
    """All Socket Mode connections of the app. Lives on the server's event loop."""

    def __init__(self, app_id: str, faults: Faults, wake: Callable[[], None]) -> None:
        self._app_id = app_id
        self._faults = faults
        self._wake = wake
        self._tickets: set[str] = set()
        self._connections: list[Connection] = []
        self._open: dict[str, Envelope] = {}

    @property
    def connected(self) -> int:
        """How many connections take payloads now."""
        return len(self._ready())

    def ticket(self) -> str:
        """Issue the one-time part of a WebSocket address; whether there is room for it shows when it is opened."""
        ticket = secrets.token_urlsafe(16)
        self._tickets.add(ticket)
        return ticket

    async def serve(self, socket: WebSocket) -> None:
        """Talk to the app over one connection until it ends."""
        ticket = socket.query_params.get("ticket", "")
        if ticket not in self._tickets:
            await socket.close(code=1008)
            return
        self._tickets.remove(ticket)
        if self._faults.sockets_refused is not None:
            page = HTMLResponse("<html><body>No WebSockets here</body></html>", self._faults.sockets_refused)
            await socket.send_denial_response(page)
            return
        while self._faults.sockets_hang:
            await asyncio.sleep(LOOKED_EVERY)
        await socket.accept()
        reason = self._faults.greeting or ("too_many_websockets" if len(self._connections) >= MOST_CONNECTIONS else "")
        if reason:
            with suppress(WebSocketDisconnect, RuntimeError):
                await socket.send_text(_disconnect(reason))
                await socket.close(code=1000)
            return
        connection = Connection(socket)
        self._connections.append(connection)
        self._wake()
        try:
            if not self._faults.withholds_hello:
                await socket.send_text(json.dumps(self._hello()))
            await self._send_again(None)
            await self._close_retired()
            while True:
                await self._take(await socket.receive_text())
        except (WebSocketDisconnect, RuntimeError):
            pass  # the app went away, or we cut it off: either way its open envelopes go elsewhere
        finally:
            self._connections.remove(connection)
            self._wake()
            await self._send_again(connection)

    def _hello(self) -> Json:
        return {
            "type": "hello",
            "num_connections": len(self._connections),
            "connection_info": {"app_id": self._app_id},
            "debug_info": {
                "host": "sandbox",
                "started": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()),
                "build_number": 1,
                "approximate_connection_time": 3600,
            },
        }

    async def deliver(self, kind: str, payload: Json) -> Json:
        """Send a payload to one connection and wait for its acknowledgement."""
        envelope = Envelope(kind, payload, asyncio.get_running_loop().create_future())
        self._open[envelope.id] = envelope
        await self._send(envelope)
        if self._faults.deliver_twice:
            await self._send(envelope)
        try:
            return await asyncio.wait_for(asyncio.shield(envelope.answered), self._faults.ack_within)
        except TimeoutError:
            if envelope.sent_on is None:
                del self._open[envelope.id]  # nobody was there: Slack forgets it
            raise NotAcknowledged from None

    def _ready(self) -> list[Connection]:
        return [c for c in self._connections if not c.retiring]

    async def _send(self, envelope: Envelope) -> None:
        ready = self._ready()
        if not ready:
            return
        connection = ready[0]
        # The next payload goes to another connection: Slack promises no pattern, this one is the harshest.
        self._connections.remove(connection)
        self._connections.append(connection)
        envelope.sent_on = connection
        with suppress(WebSocketDisconnect, RuntimeError):  # it just went; _send_again follows
            await connection.socket.send_text(envelope.as_json())

    async def _send_again(self, gone: Connection | None) -> None:
        """Send what was open on a connection that is gone, or what never had one."""
        for envelope in list(self._open.values()):
            if envelope.sent_on is gone:
                if gone is not None:
                    envelope.attempt += 1
                    envelope.reason = "connection_closed"
                    envelope.sent_on = None
                await self._send(envelope)

    async def _take(self, text: str) -> None:
        """Take in an acknowledgement."""
        try:
            answer = json.loads(text)
        except ValueError:
            return
        envelope = self._open.get(str(answer.get("envelope_id"))) if isinstance(answer, dict) else None
        if envelope is None:
            return
        if self._faults.loses_ack():
            envelope.attempt += 1
            envelope.reason = "timeout"
            await self._send(envelope)
            return
        del self._open[envelope.id]
        if not envelope.answered.done():
            body = answer.get("payload")
            envelope.answered.set_result(body if isinstance(body, dict) else {})

    async def _close_retired(self) -> None:
        """Close what was asked to go, now that there is another: the SDK's client reads on only then."""
        for connection in list(self._connections):
            if connection.retiring:
                with suppress(WebSocketDisconnect, RuntimeError):
                    await connection.socket.close(code=1000)

    async def drop(self, reason: str, *, abruptly: bool) -> None:
        """Ask all connections to go, or cut them."""
        for connection in list(self._connections):
            connection.retiring = True
            with suppress(WebSocketDisconnect, RuntimeError):
                if abruptly:
                    await connection.socket.close(code=1001)
                else:
                    await connection.socket.send_text(_disconnect(reason))

    async def say(self, text: str) -> None:
        """Send this on all connections, whatever it is."""
        for connection in list(self._connections):
            with suppress(WebSocketDisconnect, RuntimeError):
                await connection.socket.send_text(text)


def _disconnect(reason: str) -> str:
    return json.dumps({"type": "disconnect", "reason": reason, "debug_info": {"host": "sandbox"}})
