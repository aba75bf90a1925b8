"""An address that leads to a server through this process: to another one after a switch-over, or nowhere any more."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from tests.support.patience import PATIENCE


class Relay:
    """Listens on ``port`` for as long as the `with` block and hands everything on to the server of then.

    Each new connection goes to whoever ``leads_to`` named last, those that are there stay where they are. What is
    forgotten goes nowhere any more, and neither end is told. While it ``holds`` something, no statement with that in it
    is handed on.
    """

    host = "127.0.0.1"

    def __init__(self, port: int) -> None:
        self._server = port
        self._listener = socket.create_server((self.host, 0))
        self.port = int(self._listener.getsockname()[1])
        self._flows: list[_Flow] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self.taken = 0  # connections so far
        self.held = 0  # statements that it has held at any time
        self._holds = b""
        self._released = threading.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(PATIENCE)
        for flow in self._flows:
            flow.end()

    def leads_to(self, port: int) -> None:
        """Send new connections to another server."""
        self._server = port

    def forgets(self) -> None:
        """Drop all that is sent on the connections that there are."""
        for flow in self._flows:
            flow.forgotten = True

    def ends_what_is_forgotten(self) -> None:
        """Tell both ends at last."""
        for flow in self._flows:
            if flow.forgotten:
                flow.hang_up(reset=False)

    def loses_what_is_sent(self) -> None:
        """Drop what clients send on the connections that there are; what the server says still comes."""
        for flow in self._flows:
            flow.half_open = True

    def hangs_up(self, *, reset: bool = False) -> None:
        """End the connections that there are; with ``reset`` as somebody does who has never heard of them."""
        for flow in self._flows:
            flow.hang_up(reset=reset)

    def says(self, piece: bytes) -> None:
        """Send this to the clients, as if it came from the server."""
        for flow in self._flows:
            flow.says(piece)

    @contextlib.contextmanager
    def holds(self, text: str) -> Iterator[None]:
        """Hold what is sent with that in it for as long as the block."""
        self._released.clear()
        self._holds = text.encode()
        try:
            yield
        finally:
            self._holds = b""
            self._released.set()

    def held_back(self, piece: bytes) -> None:
        """Wait where a piece has what is held."""
        if self._holds and self._holds in piece:
            self.held += 1
            self._released.wait(PATIENCE)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.taken += 1
            try:
                server = socket.create_connection((self.host, self._server))
            except OSError:
                client.close()
                continue
            self._flows.append(_Flow(client, server, self.held_back))


class _Flow:
    """One connection through the relay."""

    def __init__(self, client: socket.socket, server: socket.socket, asked: Callable[[bytes], None]) -> None:
        self.forgotten = self.half_open = False
        self._ends = client, server
        self._threads = [
            threading.Thread(target=self._hand_on, args=ends, daemon=True)
            for ends in ((client, server, asked), (server, client, lambda _piece: None))
        ]
        for thread in self._threads:
            thread.start()

    def _hand_on(self, one: socket.socket, other: socket.socket, sent: Callable[[bytes], None]) -> None:
        with contextlib.suppress(OSError):
            while piece := one.recv(65536):
                sent(piece)
                if not self.forgotten and not (self.half_open and one is self._ends[0]):
                    other.sendall(piece)
        if not self.forgotten:
            with contextlib.suppress(OSError):
                other.shutdown(socket.SHUT_RDWR)

    def hang_up(self, *, reset: bool) -> None:
        """End both connections; the threads that hand on close them."""
        for one in self._ends:
            with contextlib.suppress(OSError):
                if reset:
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    one.close()
                else:
                    one.shutdown(socket.SHUT_RDWR)

    def says(self, piece: bytes) -> None:
        """Send this to the client."""
        with contextlib.suppress(OSError):
            self._ends[0].sendall(piece)

    def end(self) -> None:
        """Close both ends."""
        for one in self._ends:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(PATIENCE)
