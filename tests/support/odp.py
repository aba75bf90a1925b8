"""A stand-in for an OBProxy that keeps KILL to itself (client_session_id_version=1).

Everything passes through as it is, the login included, except a text query that begins with KILL: that is answered
with "Unknown thread id", as such a proxy does for sessions that are not its own (docs/oceanbase.md 2.5). Where it reads
`names`, a user's is taken apart as an OBProxy does and passed on as `user@tenant` (docs/oceanbase.md 4.2).
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
    are refused. Where it reads `names`, no TLS is offered. While it is `silent`, what is kept from the server is not
    answered either.
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
        names: bool = False,
    ) -> None:
        self.silent = silent
        self._names = names
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
            if self._names:
                target.sendall(_without_tls(source.recv(65536)))
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            pass
        finally:
            _end(target)

    def _watch(self, client: socket.socket, server: socket.socket) -> None:
        """Pass the client's packets on; commands are those with sequence number 0."""
        reader, named = client.makefile("rb"), False
        try:
            while len(header := reader.read(4)) == 4:
                length, sequence = struct.unpack("<I", header[:3] + b"\0")[0], header[3]
                body = reader.read(length)
                if self._names and sequence == 1 and not named:
                    named, body = True, _renamed(body)
                    header = struct.pack("<I", len(body))[:3] + header[3:]
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


def _without_tls(greeting: bytes) -> bytes:
    """Take the offer of TLS out of a server's greeting: the lower half of its capabilities, with CLIENT_SSL, is 0x0800.

    They stand behind the version, the thread's id and the first 8 bytes of the salt.
    """
    place = greeting.index(b"\0", 5) + 1 + 4 + 8 + 1
    (capabilities,) = struct.unpack_from("<H", greeting, place)
    return greeting[:place] + struct.pack("<H", capabilities & ~0x0800) + greeting[place + 2 :]


def _renamed(answer: bytes) -> bytes:
    """Give the user of a client's answer to the greeting the name that the server takes."""
    name, _, rest = answer[32:].partition(b"\0")
    if b"@" in name or b"#" in name:
        name = name.partition(b"#")[0]
    else:
        for between in (b":", b"-", b"."):
            if name.count(between) > 1:
                _, tenant, user = name.split(between)[:3]
                name = user + b"@" + tenant
                break
    return answer[:32] + name + b"\0" + rest


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
