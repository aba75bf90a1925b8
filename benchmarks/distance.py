"""A relay with TLS in front of a server, as far away as one says: it counts connections and round trips."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.certificates import server_context

_CHUNK = 65536


class FarServer:
    """Listens for as long as the `with` block; the bytes of each way take half of ``round_trip`` seconds.

    A new connection takes one round trip more, as a TCP handshake does, and TLS its own. ``port`` of the server is
    asked for when somebody connects.
    """

    def __init__(self, port: Callable[[], int], files: tuple[Path, Path], round_trip: float) -> None:
        self._server = port
        self._files = files
        self._way = round_trip / 2
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)
        self._under_way: set[asyncio.Task[None]] = set()
        self.port = 0
        self.connections = 0
        self.round_trips = 0

    @property
    def url(self) -> str:
        """Where it is, without a slash at the end."""
        return f"https://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()
        self._loop.close()

    async def _serve(self) -> None:
        context = server_context(self._files)
        inner = await asyncio.start_server(self._decrypt, "127.0.0.1", 0, ssl=context)
        self._inner = int(inner.sockets[0].getsockname()[1])
        outer = await asyncio.start_server(self._delay, "127.0.0.1", 0)
        self.port = int(outer.sockets[0].getsockname()[1])
        self._ready.set()
        await self._ended.wait()
        for server in (outer, inner):
            server.close()
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        await asyncio.sleep(0)  # what was aborted lets go of its sockets in the loop's next round

    async def _decrypt(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection("127.0.0.1", self._server())
        self._start(_passed_on(client, to_server))
        self._start(_passed_on(server, to_client))

    async def _delay(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection("127.0.0.1", self._inner)
        turn = _Turn(self)
        self.connections += 1
        self.round_trips += 1
        self._start(_late(client, to_server, self._way, taken=turn.sent, first=2 * self._way))
        self._start(_late(server, to_client, self._way, passed=turn.answered))

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)


class _Turn:
    """Whose turn it is on a connection: what is sent after an answer is a round trip more."""

    def __init__(self, counts: FarServer) -> None:
        self._counts = counts
        self._waits = False

    def sent(self) -> None:
        """Bytes have left the client."""
        if not self._waits:
            self._waits = True
            self._counts.round_trips += 1

    def answered(self) -> None:
        """Bytes have reached the client."""
        self._waits = False


async def _passed_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(_CHUNK):
            target.write(data)
            await target.drain()
        target.close()
    except (OSError, asyncio.CancelledError):
        target.transport.abort()


async def _late(
    source: asyncio.StreamReader,
    target: asyncio.StreamWriter,
    seconds: float,
    *,
    taken: Callable[[], None] = lambda: None,
    passed: Callable[[], None] = lambda: None,
    first: float = 0.0,
) -> None:
    """Pass on what comes, each piece that much later; what comes at once leaves ``first`` seconds from now."""
    pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
    not_before = time.monotonic() + first

    async def take() -> None:
        data = b"-"
        while data:
            try:
                data = await source.read(_CHUNK)
            except OSError:
                data = b""
            if data:
                taken()
            pieces.put_nowait((max(time.monotonic(), not_before) + seconds, data))

    taking = asyncio.ensure_future(take())
    try:
        while True:
            due, data = await pieces.get()
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if not data:
                break
            target.write(data)
            passed()
        target.close()
    except (OSError, asyncio.CancelledError):
        target.transport.abort()
    finally:
        taking.cancel()
