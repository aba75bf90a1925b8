"""A stand-in for an OBProxy that keeps KILL to itself (client_session_id_version=1).

Everything passes through as it is, the login included, except a text query that begins with KILL: that is answered
with "Unknown thread id", as such a proxy does for sessions that are not its own (docs/oceanbase.md 2.5).
"""

from __future__ import annotations

import re
import socket
import struct
import threading
from types import TracebackType
from typing import Self

from tests.support.patience import PATIENCE

_COM_QUERY = 3
_KILL = re.compile(rb"\s*KILL\s+(?:(?:HARD|SOFT)\s+)?(?:QUERY\s+ID\s+|QUERY\s+|CONNECTION\s+)?(\d+)", re.IGNORECASE)


class Odp:
    """Listens on `port` of `address` for as long as the `with` block.

    `errno` is what KILL is answered with; without one it passes like everything else. Text queries that hold `loses`
    are refused. While it is `silent`, what is kept from the server is not answered either.
    """

    def __init__(
        self,
        host: str,
        port: int,
        errno: int | None = 1094,
        address: str = "127.0.0.1",
        loses: bytes | None = None,
        *,
        silent: bool = False,
    ) -> None:
        self.silent = silent
        self._server = (host, port)
        self._errno = errno
        self._loses = loses
        self._listener = socket.create_server(
            (address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET
        )
        self.port = int(self._listener.getsockname()[1])
        self.kills: list[bytes] = []  # what was kept from the server
        self.passed: list[int] = []  # the session, or the query, of each KILL that was not
        self._sockets: list[socket.socket] = [self._listener]
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in self._sockets:
            _end(one)
        for thread in self._threads:
            thread.join(PATIENCE)

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]  # any callable
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._server)
            self._sockets += [client, server]
            self._start(self._pass_on, server, client)
            self._start(self._watch, client, server)

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            pass
        finally:
            _end(target)

    def _watch(self, client: socket.socket, server: socket.socket) -> None:
        """Pass the client's packets on; commands are those with sequence number 0."""
        reader = client.makefile("rb")
        try:
            while len(header := reader.read(4)) == 4:
                length, sequence = struct.unpack("<I", header[:3] + b"\0")[0], header[3]
                body = reader.read(length)
                query = body[1:] if sequence == 0 and body[:1] == bytes([_COM_QUERY]) else b""
                if self._loses is not None and self._loses in query:
                    client.sendall(_error(1305, b"PROCEDURE does not exist"))
                    continue
                kill = _KILL.match(query)
                if kill is None or (self._errno is None and not self.silent):
                    if kill is not None:
                        self.passed.append(int(kill[1]))
                    server.sendall(header + body)
                    continue
                self.kills.append(query)
                if not self.silent:
                    client.sendall(_error(self._errno or 0, b"Unknown thread id: " + kill[1]))
        except OSError:
            pass
        finally:
            _end(server)


def _error(errno: int, text: bytes) -> bytes:
    body = b"\xff" + struct.pack("<H", errno) + b"#HY000" + text
    return struct.pack("<I", len(body))[:3] + b"\x01" + body


def _end(one: socket.socket) -> None:
    try:
        one.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it has ended by itself
    finally:
        one.close()
