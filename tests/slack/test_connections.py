"""Connections to Slack: shared, kept open, made again in time; and no call is carried out twice where one ends."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import weakref
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from slack_bolt import App
from structlog.testing import capture_logs

from benchmarks.distance import FarServer
from bot.closing.model import CardPlace
from bot.slack import connections
from bot.slack.client import Client
from bot.slack.connections import Connections, proxy_for
from bot.slack.delivery.message import Message
from bot.slack.delivery.replies import Reply, post_in, update
from bot.slack.delivery.retries import one_try
from bot.slack.socket_mode import SocketLink
from bot.slack.views import blocks as kit
from sandbox.slack.server import SlackSandbox
from tests.support.certificates import Authority
from tests.support.cut_line import Cut, CutLine
from tests.support.patience import PATIENCE
from tests.support.slack_person import Person

SAID = Message("1 session", [kit.divider()])


class Time:
    """What the bot takes for the time since the machine was started."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(connections, "since_boot", time)
    return time


@pytest.fixture(scope="module")
def slack() -> Iterator[SlackSandbox]:
    with SlackSandbox(commands=[{"command": "/sessions", "description": "List sessions"}]) as running:
        running.limits.rates.clear()
        yield running


@pytest.fixture
def line(slack: SlackSandbox) -> Iterator[CutLine]:
    slack.clear()
    slack.calls.clear()
    with CutLine(slack.port) as line:
        yield line


@pytest.fixture
def client(slack: SlackSandbox, line: CutLine) -> Iterator[Client]:
    with Client(slack.world.bot_token, f"{line.url}/api/") as client:
        yield client


def test_calls_of_many_threads_share_few_connections(client: Client, line: CutLine) -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: client.auth_test(), range(100)))
    assert line.connections <= 4
    assert len(line.requests) == 100


@pytest.mark.parametrize("where", Cut, ids=lambda where: where.value)
def test_a_message_is_never_posted_twice_wherever_its_line_is_cut(
    slack: SlackSandbox, client: Client, line: CutLine, where: Cut
) -> None:
    client.auth_test()  # so that there is a connection to be cut
    line.cut(where, "/api/chat.postMessage")
    place = post_in(client, "C01INC", SAID)
    posted = isinstance(place, CardPlace)
    assert posted or not where.in_idleness
    assert len(Person(slack, "U01ALICE").messages()) == (posted or where.carried_out)


@pytest.mark.parametrize("where", Cut, ids=lambda where: where.value)
def test_a_message_is_rewritten_wherever_its_line_is_cut(client: Client, line: CutLine, where: Cut) -> None:
    place = post_in(client, "C01INC", SAID)
    assert isinstance(place, CardPlace)
    line.cut(where, "/api/chat.update")
    assert update(client, place, SAID).taken


@pytest.mark.parametrize("where", Cut, ids=lambda where: where.value)
def test_an_answer_stands_there_once_or_its_asker_is_told_that_it_may_be_missing(
    slack: SlackSandbox, client: Client, line: CutLine, where: Cut
) -> None:
    client.auth_test()
    known = []
    for path in ("/api/chat.postMessage", "/api/chat.postEphemeral"):
        line.cut(where, path)
        reply = Reply(client, "", "C01INC", "U01ALICE")
        shown = reply.public(SAID) if path.endswith("Message") else reply.private(SAID)
        assert shown or not where.in_idleness
        known.append(shown)
    texts = [message["text"] for message in Person(slack, "U01ALICE").messages()]
    assert texts.count(SAID.text) == (2 if where.carried_out else sum(known))
    assert len([text for text in texts if "ask once more" in text]) == known.count(False)


def test_a_response_url_is_used_once_wherever_its_line_is_cut(slack: SlackSandbox, line: CutLine) -> None:
    used: list[str] = []

    class Urls(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            used.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with (
        _served(ThreadingHTTPServer(("127.0.0.1", 0), Urls)) as port,
        CutLine(port) as urls,
        Client(slack.world.bot_token, slack.api_url) as client,
    ):
        for number, where in enumerate(Cut):
            assert Reply(client, f"{urls.url}/commands/warm", "C01INC", "U01ALICE").public(SAID)
            used.clear()
            urls.cut(where, f"/commands/{number}")
            reply = Reply(client, f"{urls.url}/commands/{number}", "C01INC", "U01ALICE")
            known = reply.public(SAID)
            assert known or not where.in_idleness
            answers = [one for one in used if SAID.text in one]
            assert len(answers) == (known or where.carried_out), where
            assert len(used) - len(answers) == (not known), "the notice that the answer may be missing"
        assert not slack.calls.of("chat.postMessage"), "it was not posted beside that"


def test_what_did_not_leave_whole_is_sent_again_at_once(slack: SlackSandbox, line: CutLine) -> None:
    long = b"text=" + b"x" * 12_000_000  # more than the sockets on the way hold
    with contextlib.closing(Connections(ssl.create_default_context())) as kept:
        for where in (Cut.IN_HEADERS, Cut.IN_BODY):
            kept.post(f"{line.url}/api/auth.test", {}, b"")
            line.cut(where, "/api/api.test")
            assert kept.post(f"{line.url}/api/api.test", {}, long).status == 200
    assert len(slack.calls.of("api.test")) == 2


@contextlib.contextmanager
def _served(server: ThreadingHTTPServer) -> Iterator[int]:
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_first_call_after_an_hour_of_silence_is_as_quick_as_the_second(
    slack: SlackSandbox, client: Client, line: CutLine, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "TEND_EVERY", 0.01)
    client.keep_ready()
    slack.wait_for(lambda: line.connections == connections.KEPT_READY, what="connections that nobody has asked for")
    line.cut(Cut.IDLE)  # as a host does that waits no longer
    slack.wait_for(lambda: line.connections == 2 * connections.KEPT_READY, what="others in their place")
    time.now += connections.GOOD_FOR_FIRST / 2
    slack.wait_for(lambda: line.connections == 3 * connections.KEPT_READY, what="younger ones")
    time.now += 3600
    slack.wait_for(lambda: line.connections == 4 * connections.KEPT_READY, what="those after an hour")
    line.takes_no_more()
    client.auth_test()
    client.auth_test()
    assert len(line.requests) == 2, "nothing was asked to keep them"


def test_whoever_keeps_connections_ready_has_no_hold_of_them_in_between(
    slack: SlackSandbox, line: CutLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "TEND_EVERY", PATIENCE)
    with contextlib.closing(Connections(ssl.create_default_context())) as kept:
        kept.keep_ready(line.url)
        slack.wait_for(lambda: line.connections == connections.KEPT_READY, what="connections that nobody has asked for")
        pool = weakref.ref(pool_of(kept, line.url))
        for manager in kept._managers.values():
            manager.clear()
        slack.wait_for(lambda: pool() is None, PATIENCE / 4, "the end of all that is kept")


def test_nothing_goes_out_on_a_connection_that_its_host_may_be_closing(
    slack: SlackSandbox, line: CutLine, time: Time
) -> None:
    with contextlib.closing(Connections(ssl.create_default_context())) as kept:

        def asks_on_a_new_one_after(seconds: float) -> bool:
            before = line.connections
            time.now += seconds
            kept.post(f"{line.url}/api/api.test", {}, b"")
            return line.connections > before

        assert asks_on_a_new_one_after(0)
        assert not asks_on_a_new_one_after(connections.GOOD_FOR_NEXT - 0.1)
        assert asks_on_a_new_one_after(connections.GOOD_FOR_NEXT)
        pool_of(kept, line.url).tend()
        slack.wait_for(lambda: line.connections == 3, what="one that nobody has used")
        assert not asks_on_a_new_one_after(connections.GOOD_FOR_FIRST - 0.1)
        pool_of(kept, line.url).tend()
        slack.wait_for(lambda: line.connections == 4, what="another one")
        assert asks_on_a_new_one_after(connections.GOOD_FOR_FIRST), "the bot was frozen"


def pool_of(kept: Connections, url: str) -> connections._Pool:
    pool = kept._manager(url).connection_from_url(url)
    assert isinstance(pool, connections._Pool)
    return pool


def test_a_call_goes_out_on_whatever_connection_is_still_open(slack: SlackSandbox, line: CutLine) -> None:
    with contextlib.closing(Connections(ssl.create_default_context())) as kept:
        pool = pool_of(kept, line.url)
        pool.tend()
        assert isinstance(pool.pool, connections._Idle)
        last = pool.pool.queue[-1]
        last.sock.shutdown(socket.SHUT_RDWR)
        slack.wait_for(lambda: not last.is_connected, what="the end of one")
        slack.wait_for(lambda: line.connections == connections.KEPT_READY, what="both to have been taken")
        kept.post(f"{line.url}/api/api.test", {}, b"")
        assert line.connections == connections.KEPT_READY


def test_a_host_that_ends_its_connections_with_each_answer_has_new_ones_ready(
    slack: SlackSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    class Curt(BaseHTTPRequestHandler):
        """Speaks HTTP 1.0."""

        def setup(self) -> None:
            super().setup()
            opened.append(self)

        def do_POST(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    monkeypatch.setattr(connections, "TEND_EVERY", 0.01)
    with (
        _served(ThreadingHTTPServer(("127.0.0.1", 0), Curt)) as port,
        contextlib.closing(Connections(ssl.create_default_context())) as kept,
    ):
        kept.keep_ready(f"http://127.0.0.1:{port}/")
        for ready in range(connections.KEPT_READY, connections.KEPT_READY + 3):
            slack.wait_for(lambda: len(opened) == ready, what="connections that nobody has asked for")  # noqa: B023  # waited for here
            kept.post(f"http://127.0.0.1:{port}/", {}, b"")


def test_a_proxy_is_used_unless_the_host_is_named_as_reached_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "HTTP_PROXY", "http_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "proxy:3128")
    monkeypatch.setenv("NO_PROXY", "internal.example, 127.0.0.1,.slack-gov.com")
    assert proxy_for("https://slack.com/api/") == "http://proxy:3128"
    for url in ("https://127.0.0.1:8080/", "wss://wss.slack-gov.com/link/?ticket=1", "https://a.internal.example/"):
        assert proxy_for(url) is None, url
    monkeypatch.setenv("NO_PROXY", "*")
    assert proxy_for("https://slack.com/api/") is None
    monkeypatch.setenv("HTTPS_PROXY", " ")
    monkeypatch.delenv("NO_PROXY")
    assert proxy_for("https://slack.com/api/") is None


class Proxy(BaseHTTPRequestHandler):
    """A proxy that wants a login, for tunnels and for plain requests."""

    protocol_version = "HTTP/1.1"
    asked: list[str]

    def do_CONNECT(self) -> None:
        if not self._allowed():
            return
        host, _, port = self.path.partition(":")
        with socket.create_connection((host, int(port))) as server:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=_pass_on, args=(server, self.connection), daemon=True)
            back.start()
            _pass_on(self.connection, server)
            back.join()
        self.close_connection = True

    def do_POST(self) -> None:
        if not self._allowed():
            return
        parts = urlsplit(self.path)
        headers = {name: value for name, value in self.headers.items() if name != "Proxy-Authorization"}
        with contextlib.closing(HTTPConnection(parts.netloc)) as server:
            server.request("POST", parts.path, self.rfile.read(int(self.headers["Content-Length"])), headers)
            answer = server.getresponse().read()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def _allowed(self) -> bool:
        self.asked.append(f"{self.command} {self.path}")
        if self.headers.get("Proxy-Authorization") == f"Basic {b64encode(b'bot:pass:word').decode()}":
            return True
        self.send_response(407)
        self.send_header("Content-Length", "0")
        self.end_headers()
        return False


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy() -> Iterator[tuple[int, list[str]]]:
    asked: list[str] = []
    handler = type("Handler", (Proxy,), {"asked": asked})
    with _served(ThreadingHTTPServer(("127.0.0.1", 0), handler)) as port:
        yield port, asked


def test_calls_go_through_a_proxy_with_its_login_on_connections_that_stay_open(
    slack: SlackSandbox, proxy: tuple[int, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, asked = proxy
    monkeypatch.setenv("HTTPS_PROXY", f"http://bot:pass%3Aword@127.0.0.1:{port}")
    monkeypatch.setenv("NO_PROXY", "elsewhere.example")
    with Client(slack.world.bot_token, slack.api_url) as client:
        client.auth_test()
        client.auth_test()
    assert asked == [f"POST {slack.api_url}auth.test"] * 2
    asked.clear()
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    with (
        FarServer(lambda: slack.port, authority.signs("slack", "127.0.0.1"), 0.0) as far,
        Client(slack.world.bot_token, f"{far.url}/api/") as client,
    ):
        client.auth_test()
        client.auth_test()
        assert asked == [f"CONNECT 127.0.0.1:{far.port}"]
        assert far.connections == 1
        client.keep_ready()
        slack.wait_for(lambda: far.connections == connections.KEPT_READY, what="a tunnel that nobody has asked for")
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
    with (
        Client(slack.world.bot_token, "https://slack.example/api/") as client,
        one_try(),
        pytest.raises(OSError, match="407"),
    ):
        client.auth_test()


def test_what_tls_says_unasked_ends_no_connection_that_is_kept_ready(
    slack: SlackSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    monkeypatch.setattr(connections, "TEND_EVERY", 0.01)
    tended = threading.Semaphore(0)
    tend = connections._Pool.tend

    def counted(pool: connections._Pool) -> None:
        tend(pool)
        tended.release()

    monkeypatch.setattr(connections._Pool, "tend", counted)
    with (
        FarServer(lambda: slack.port, authority.signs("slack", "127.0.0.1"), 0.02) as far,
        Client(slack.world.bot_token, f"{far.url}/api/") as client,
    ):
        client.keep_ready()
        for _ in range(20):  # its tickets come one round trip after the handshake
            assert tended.acquire(timeout=PATIENCE)
        assert far.connections == connections.KEPT_READY


def test_only_a_certificate_of_a_trusted_authority_is_taken(
    slack: SlackSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted, other = Authority(tmp_path), Authority(tmp_path, "other")
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted.file))
    with (
        FarServer(lambda: slack.port, other.signs("slack", "127.0.0.1"), 0.0) as far,
        Client(slack.world.bot_token, f"{far.url}/api/") as client,
        one_try(),
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        client.auth_test()


def test_the_socket_goes_through_a_proxy_with_its_login_and_trusts_whom_calls_trust(
    slack: SlackSandbox, proxy: tuple[int, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, asked = proxy
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    monkeypatch.setenv("HTTPS_PROXY", f"http://bot:wrong@127.0.0.1:{port}")
    monkeypatch.setenv("NO_PROXY", f"127.0.0.1:{slack.port}")  # calls need none
    with (
        FarServer(lambda: slack.port, authority.signs("slack", "127.0.0.1"), 0.0) as far,
        Client(slack.world.bot_token, slack.api_url) as client,
        capture_logs() as lines,
    ):
        link = SocketLink(App(client=client, signing_secret=""), client, slack.world.app_token)
        address, here, there = link._address, f"ws://127.0.0.1:{slack.port}", f"wss://127.0.0.1:{far.port}"
        monkeypatch.setattr(link, "_address", lambda: address().replace(here, there))
        link.start()
        try:
            slack.wait_for(lambda: [line.get("error") for line in lines] == ["status_407"], what="the refusal")
            monkeypatch.setenv("HTTPS_PROXY", f"http://bot:pass%3Aword@127.0.0.1:{port}")
            slack.wait_for(link.connected, what="the socket")
            assert set(asked) == {f"CONNECT 127.0.0.1:{far.port}"}
        finally:
            link.close()


def test_the_socket_goes_past_a_proxy_too_where_its_host_is_named_as_reached_without_one(
    slack: SlackSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Client(slack.world.bot_token, slack.api_url) as client:
        link = SocketLink(App(client=client, signing_secret=""), client, slack.world.app_token)
        link.start()
        try:
            slack.wait_for(lambda: slack.connections == 1, what="the socket")
        finally:
            link.close()
