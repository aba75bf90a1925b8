"""The bot's web server and clients that are slow, many or broken: whoever sends a whole request is answered."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from waitress.channel import HTTPChannel

from bot.operations import web_server
from bot.operations.web_server import Pages, Router, Server
from bot.settings import ListenAddress
from tests.support.http_bot import Web, free_port
from tests.support.patience import PATIENCE

HEAD = b"POST /slack/events HTTP/1.1\r\nHost: bot\r\nContent-Length: 1000\r\n"


class Standing:
    """A server, and whether it has said that it ended."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.web = Web(free_port())
        at = ListenAddress(None, self.web.port, "PORT", "BIND_ADDRESS")
        self.server = Server(at, Router(_PAGES, takes_events=True), self.ended.set)
        self.server.start()


_PAGES = Pages(lambda: (True, {"status": "ok"}), dict, lambda: ("text/plain", b""))


@pytest.fixture
def standing() -> Iterator[Standing]:
    running = Standing()
    yield running
    running.server.stop()


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    opened: list[socket.socket] = []
    yield opened
    for one in opened:
        one.close()


def connect(web: Web, sockets: list[socket.socket], sent: bytes) -> socket.socket:
    """Open a connection and send what is no whole request."""
    client = socket.create_connection(("127.0.0.1", web.port), timeout=PATIENCE)
    sockets.append(client)
    client.sendall(sent)
    return client


def is_closed(client: socket.socket) -> bool:
    """Whether the server has closed it; what it has sent before that is read away."""
    client.setblocking(False)
    try:
        while client.recv(1000):
            pass
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come true"
        time.sleep(0.02)


def drip(clients: list[socket.socket]) -> None:
    """Send one more byte on each, as far as it is open."""
    for client in clients:
        try:
            client.setblocking(False)
            client.send(b"x")
        except OSError:
            continue


def test_five_hundred_and_twenty_slow_clients_keep_nobody_from_being_answered(
    standing: Standing, sockets: list[socket.socket]
) -> None:
    for number in range(520):
        connect(standing.web, sockets, HEAD if number % 2 else HEAD + b"\r\n{")
    slowest = 0.0
    for _ in range(8):
        drip(sockets)
        asked = time.monotonic()
        assert standing.web.health()[0] == 200
        slowest = max(slowest, time.monotonic() - asked)
    assert slowest < web_server.WHOLE_WITHIN / 2, "long before they are cut off"
    wait_until(lambda: sum(map(is_closed, sockets)) >= 520 - web_server.MOST_SLOW)


@pytest.mark.parametrize("sent", [b"", b"P", HEAD, HEAD + b"\r\n{"], ids=["nothing", "a byte", "header", "body"])
def test_a_request_has_a_deadline_however_often_a_byte_of_it_comes(
    monkeypatch: pytest.MonkeyPatch, sockets: list[socket.socket], standing: Standing, sent: bytes
) -> None:
    monkeypatch.setattr(web_server, "WHOLE_WITHIN", 1.0)
    client = connect(standing.web, sockets, sent)
    began = time.monotonic()
    while not is_closed(client):
        assert time.monotonic() - began < PATIENCE
        if sent:
            drip([client])
        time.sleep(0.05)
    assert time.monotonic() - began >= 0.9


def test_a_kept_connection_has_the_deadline_for_each_request_and_not_between_them(
    monkeypatch: pytest.MonkeyPatch, sockets: list[socket.socket], standing: Standing
) -> None:
    monkeypatch.setattr(web_server, "WHOLE_WITHIN", 1.0)
    whole = b"GET /healthz HTTP/1.1\r\nHost: bot\r\n\r\n"
    client = connect(standing.web, sockets, whole)
    client.settimeout(PATIENCE)
    began = time.monotonic()
    assert client.recv(1000).startswith(b"HTTP/1.1 200")
    while time.monotonic() - began < 1.5:
        assert not is_closed(client)
        time.sleep(0.05)
    client.sendall(whole)
    client.settimeout(PATIENCE)
    assert client.recv(1000).startswith(b"HTTP/1.1 200")
    client.sendall(HEAD)
    wait_until(lambda: is_closed(client))


def test_where_all_places_are_taken_those_who_ask_nothing_make_room(
    monkeypatch: pytest.MonkeyPatch, sockets: list[socket.socket], standing: Standing
) -> None:
    monkeypatch.setattr(web_server, "CROWDED", 5)
    for _ in range(8):
        client = connect(standing.web, sockets, b"GET /healthz HTTP/1.1\r\nHost: bot\r\n\r\n")
        assert client.recv(1000)
    wait_until(lambda: sum(map(is_closed, sockets)) >= 3)
    assert sum(map(is_closed, sockets)) == 3
    assert is_closed(sockets[0]), "the oldest first"


@pytest.mark.parametrize("error", [errno.EINVAL, errno.ENOTCONN, errno.EMFILE, errno.ECONNRESET])
def test_a_connection_that_cannot_be_set_up_does_not_end_the_listener(
    standing: Standing, sockets: list[socket.socket], monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    fails = [True, True]
    made = HTTPChannel.__init__

    def breaks(self: Any, *arguments: Any, **more: Any) -> None:
        if fails:
            fails.pop()
            raise OSError(error, "as when a client has gone meanwhile")
        made(self, *arguments, **more)

    monkeypatch.setattr(HTTPChannel, "__init__", breaks)
    for client in [connect(standing.web, sockets, b"GET /healthz HTTP/1.1\r\n\r\n") for _ in range(2)]:
        wait_until(lambda client=client: is_closed(client))  # type: ignore[misc]  # a default is no type of its own
    assert standing.web.health()[0] == 200
    assert not standing.ended.is_set()


def test_a_server_that_ends_by_itself_says_so_and_one_that_is_stopped_does_not(
    standing: Standing, sockets: list[socket.socket]
) -> None:
    client = connect(standing.web, sockets, HEAD)
    standing.server._server.trigger.pull_trigger(standing.server._server.handle_close)
    assert standing.ended.wait(PATIENCE)
    wait_until(lambda: is_closed(client))
    another = Standing()
    another.server.stop()
    assert not another.ended.is_set()
