"""A way to a database that can hang, as a server does whose process is stopped: connections open, nothing is said."""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import Self


class HangingRelay:
    """Listens on `port` for as long as the `with` block and passes everything on, but while it hangs nothing."""

    def __init__(self, host: str, port: int, *, hangs: bool = False) -> None:
        self._server = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = int(self._listener.getsockname()[1])
        self._passes = threading.Event()
        if not hangs:
            self._passes.set()
        self._sockets = [self._listener]
        self.accepted = 0
        """How many connections have come so far."""
        self.given_up = 0
        """How many of those that were taken while it hung have been closed by whoever opened them, meanwhile."""

    def hang(self) -> None:
        """Keep what comes from now on."""
        self._passes.clear()

    def resume(self) -> None:
        """Pass on what was kept, and everything that comes."""
        self._passes.set()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.resume()
        for one in list(self._sockets):
            _end(one)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            self._sockets.append(client)
            threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        while not self._passes.wait(0.05):
            if _is_closed(client):
                self.given_up += 1
                _end(client)
                return
        try:
            server = socket.create_connection(self._server)
            self._sockets.append(server)
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:  # the client has given up meanwhile, or the server is not there
            _end(client)
            return
        threading.Thread(target=self._pass_on, args=(server, client), daemon=True).start()
        self._pass_on(client, server)

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                self._passes.wait()
                target.sendall(data)
        except OSError:
            pass  # one side has gone, so the other one goes as well
        finally:
            _end(source)
            _end(target)


def _is_closed(one: socket.socket) -> bool:
    """Whether the other side has closed it; it has sent nothing, since a client waits for the server's greeting."""
    try:
        return one.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _end(one: socket.socket) -> None:
    try:
        one.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it has ended by itself
    finally:
        one.close()
