"""A line to a web server that a test can cut at any point of a request."""

from __future__ import annotations

import contextlib
import enum
import select
import socket
import struct
import threading
from http.client import HTTPConnection
from types import TracebackType
from typing import Self

_RESET = struct.pack("ii", 1, 0)  # what is open is reset, not ended


class Cut(enum.Enum):
    """Where a request is when its line is cut. The client knows only of the first two, and of long requests."""

    IDLE = "ended while idle"
    IDLE_RESET = "reset while idle"
    AT_ONCE = "before anything was read"
    IN_HEADERS = "in its headers"
    IN_BODY = "in its body"
    NOT_PASSED_ON = "read whole and not carried out"
    UNANSWERED = "carried out and not answered"
    IN_ANSWER = "carried out and half answered"

    @property
    def in_idleness(self) -> bool:
        """Whether there is no request at all."""
        return self in (Cut.IDLE, Cut.IDLE_RESET)

    @property
    def carried_out(self) -> bool:
        """Whether the server has done what was asked."""
        return self in (Cut.UNANSWERED, Cut.IN_ANSWER)


class CutLine:
    """Passes requests on to a port of this machine for as long as the `with` block."""

    def __init__(self, port: int) -> None:
        self._server = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.connections = 0
        self.requests: list[str] = []  # the first line of each that came whole
        self._cut: tuple[Cut, str] | None = None
        self._open: dict[socket.socket, socket.socket] = {}  # with what wakes its thread
        self._reset: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """Where it is, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def cut(self, where: Cut, path: str = "/") -> None:
        """Cut the line of the next request whose path begins so; or of all that are open and idle."""
        if not where.in_idleness:
            self._cut = where, path
            return
        with self._lock:
            for wake in self._open.values():
                wake.sendall(b"r" if where is Cut.IDLE_RESET else b"e")
            threads = list(self._threads)
        for thread in threads:
            thread.join()

    def takes_no_more(self) -> None:
        """Refuse new connections from now on."""
        _end(self._listener)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.takes_no_more()
        self.cut(Cut.IDLE)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            wakes, woken = socket.socketpair()
            thread = threading.Thread(target=self._serve, args=(client, woken), daemon=True)
            with self._lock:
                self.connections += 1
                self._open[client] = wakes
                self._threads.append(thread)
                thread.start()  # in here: whoever joins those that are noted finds them started

    def _serve(self, client: socket.socket, woken: socket.socket) -> None:
        reset = False
        with contextlib.suppress(OSError):
            while client in select.select([client, woken], [], [])[0] and self._request(client):
                pass
            reset = client in self._reset or (bool(select.select([woken], [], [], 0)[0]) and woken.recv(1) == b"r")
        with self._lock:
            self._open.pop(client).close()
            self._threads.remove(threading.current_thread())
        woken.close()
        _end(client, reset=reset)

    def _request(self, client: socket.socket) -> bool:
        """Pass on one request; False once the line has ended."""
        if not client.recv(1, socket.MSG_PEEK):
            return False
        try:
            self._cuts(Cut.AT_ONCE)
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += client.recv(1)
                self._cuts(Cut.IN_HEADERS, head)
            first, *lines = head.decode().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines if line)
            body, length = b"", int(headers.get("Content-Length", 0))
            while len(body) < length:
                body += client.recv(min(65536, length - len(body)))
                self._cuts(Cut.IN_BODY, head)
            self.requests.append(first)
            self._cuts(Cut.NOT_PASSED_ON, head)
            said = self._asked(first, headers, body)
            self._cuts(Cut.UNANSWERED, head)
            if self._cut is not None and self._cut[0] is Cut.IN_ANSWER:
                client.sendall(said[:-2])
            self._cuts(Cut.IN_ANSWER, head)
        except _CutError:
            self._reset.add(client)
            return False
        client.sendall(said)
        return True

    def _asked(self, first: str, headers: dict[str, str], body: bytes) -> bytes:
        """Return what the server answers, its length told."""
        method, path, _ = first.split(" ")
        with contextlib.closing(HTTPConnection("127.0.0.1", self._server, timeout=30)) as server:
            server.request(method, path, body, headers)
            answer = server.getresponse()
            content = answer.read()
        length = answer.getheader("Content-Length", "0") if method == "HEAD" else len(content)
        kept = [f"{name}: {value}" for name, value in answer.getheaders() if name.lower() not in _OURS]
        head = [f"HTTP/1.1 {answer.status} {answer.reason}", *kept, f"Content-Length: {length}", "", ""]
        return "\r\n".join(head).encode() + content

    def _cuts(self, where: Cut, head: bytes = b"") -> None:
        """Raise ``_CutError`` where the line is to be cut here, once."""
        with self._lock:
            if self._cut is None or self._cut[0] is not where:
                return
            if head and not head.startswith(b"POST " + self._cut[1].encode()):
                return
            self._cut = None
        raise _CutError


class _CutError(Exception):
    """The line ends here."""


_OURS = ("content-length", "transfer-encoding", "connection")


def _end(one: socket.socket, *, reset: bool = False) -> None:
    with contextlib.suppress(OSError):
        if reset:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        else:
            one.shutdown(socket.SHUT_RDWR)
    one.close()
