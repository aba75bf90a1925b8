"""Servers that are no databases, for tests of what is said where one has a data source's port."""

from __future__ import annotations

import contextlib
import socket
from types import TracebackType

from tests.support.forged import Listener


class Stranger(Listener):
    """Says the same to everybody at once, then waits, or with ``closes`` hangs up."""

    def __init__(self, says: bytes = b"", *, closes: bool = False) -> None:
        super().__init__()
        self._says = says
        self._closes = closes
        self._clients: list[socket.socket] = []

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        for client in self._clients:
            client.close()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            client.sendall(self._says)
        if self._closes:
            client.close()
        else:
            self._clients.append(client)
