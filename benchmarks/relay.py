"""A relay before a database that notes when a KILL went through, and how old the look before it was."""

from __future__ import annotations

import socket
import threading
import time
from types import TracebackType
from typing import Self

_KILL = b"\x03KILL "  # COM_QUERY and the text


class Relay:
    """Listens for as long as the `with` block and passes everything on as it is."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.kills: list[float] = []
        self.windows: list[float] = []  # seconds between the last answer on that connection and the KILL
        self._sockets = [self._listener]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in self._sockets:
            _end(one)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._server)
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets += [client, server]
            answered = [0.0]
            threading.Thread(target=self._pass_on, args=(client, server, answered), daemon=True).start()
            threading.Thread(target=self._pass_on, args=(server, client, answered), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, answered: list[float]) -> None:
        try:
            while data := source.recv(65536):
                if _KILL in data:
                    self.kills.append(time.time())
                    self.windows.append(time.time() - answered[0])
                answered[0] = time.time()
                target.sendall(data)
        except OSError:
            pass  # one side has gone, so the other one goes as well
        finally:
            _end(source)
            _end(target)


def _end(one: socket.socket) -> None:
    try:
        one.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it has ended by itself
    finally:
        one.close()
