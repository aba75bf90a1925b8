"""Connections to Slack: kept open, shared by all threads, and made again before anybody needs them.

A call on a new connection takes three round trips (TCP, TLS, the call itself), on a kept one its own. The price is
that Slack may close a kept one just as a call goes out on it (RFC 9112 9.3.1). What `http.client` says then is told
apart here, because a message must not appear twice: a call that did not leave whole is made again on a new
connection, one that did was perhaps carried out.
"""

from __future__ import annotations

import os
import re
import select
import ssl
import threading
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import proxy_bypass

from bot.sessions.uptime import since_boot

PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")  # the first that is set counts
KEPT_READY = 2  # connections to each host: one to be used while the other is asked whether it still works
TEND_EVERY = 0.5  # seconds
LONGEST_QUIET, SHORTEST_QUIET = 15.0, 1.0  # seconds after which a connection is asked whether it still works
LONGER_BY = 1.02  # what a good answer makes of that time: a host that closed once need not do so for ever
TOO_OLD = 30.0  # seconds of quiet after which none is used: the bot was frozen, or its machine asleep
PROBE_WITHIN = 3.0  # seconds
OPEN_AGAIN_AFTER = 5.0  # seconds after one could not be opened ahead of its use

_KEEP_ALIVE = re.compile(r"timeout\s*=\s*(\d+)")


class AnswerLostError(OSError):
    """A call left whole and its answer did not come: whether Slack carried it out is not known."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a host answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    ends: bool = False  # whether it ends its connection
    again: bool = False  # whether the call had left before, and may have been carried out then

    @property
    def text(self) -> str:
        """Its body as a text."""
        return self.body.decode(errors="replace")


def proxy_for(url: str) -> str | None:
    """Return the proxy on the way to a URL, as the environment names it; None where there is none.

    ``NO_PROXY`` holds hosts and domains, with a port or without, or `*`.
    """
    proxy = next((value for name in PROXY_VARIABLES if (value := os.environ.get(name))), "").strip()
    if not proxy or proxy_bypass(urlsplit(url).netloc.rpartition("@")[2]):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


class Connections:
    """Calls hosts over connections that stay open.

    ``context`` says whom to trust, ``timeout`` how many seconds a connection, and each piece of an answer, may take.
    """

    def __init__(
        self, context: ssl.SSLContext, timeout: float = 10.0, monotonic: Callable[[], float] = since_boot
    ) -> None:
        self._context = context
        self._timeout = timeout
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._hosts: dict[tuple[str, str], _Host] = {}
        self._tending = False
        self._ended = threading.Event()

    def post(self, url: str, headers: Mapping[str, str], body: bytes, *, repeatable: bool = False) -> Answer:
        """POST and return what is answered, whatever its status.

        ``repeatable`` says that doing it twice is doing it once. Raises ``AnswerLostError``, or another ``OSError``
        where the call did not leave whole, so that the host cannot have carried it out.
        """
        host, call = self._host(url), ("POST", _target(url), headers, body, self._timeout)
        kept, again = host.take(), False
        if kept is not None:
            try:
                return host.ask(kept, *call)
            except AnswerLostError as error:
                if not repeatable or isinstance(error.__cause__, TimeoutError):
                    raise
                again = True
            except OSError:
                pass  # it was closed meanwhile
        return replace(host.ask(host.open(), *call), again=again)

    def post_once(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Do the same with a host that is seldom called: on a connection of its own."""
        host = _Host(url, self._context, self._timeout, self._monotonic)
        try:
            return host.ask(host.open(), "POST", _target(url), headers, body, self._timeout)
        finally:
            host.close()

    def keep_ready(self, *urls: str) -> None:
        """Keep connections to the hosts of these URLs ready from now on, and to each that is called later."""
        with self._lock:
            self._tending = True
            before = list(self._hosts.values())
        for host in before:
            host.tend_until(self._ended)
        for url in urls:
            self._host(url)

    def close(self) -> None:
        """Keep nothing open any more; calls that are made after all open a connection of their own."""
        self._ended.set()
        with self._lock:
            for host in self._hosts.values():
                host.close()

    def _host(self, url: str) -> _Host:
        parts = urlsplit(url)
        key = parts.scheme, parts.netloc
        with self._lock:
            host = self._hosts.get(key)
            if host is None:
                host = self._hosts[key] = _Host(url, self._context, self._timeout, self._monotonic)
                if self._tending:
                    host.tend_until(self._ended)
        return host


@dataclass(frozen=True, slots=True)
class _Way:
    """How a host is reached: itself, or through a proxy."""

    tls: bool
    netloc: str
    host: str
    port: int
    proxy: SplitResult | None

    @classmethod
    def to(cls, url: str) -> _Way:
        """Find the way to the host of a URL. Raises ``ConnectionError`` where it names none."""
        parts, proxy = urlsplit(url), proxy_for(url)
        tls = parts.scheme == "https"
        try:
            port = parts.port or (443 if tls else 80)
        except ValueError:
            port = 0
        if parts.scheme not in ("http", "https") or parts.hostname is None or not port:
            raise ConnectionError("no URL of a web server")
        return cls(tls, parts.netloc, parts.hostname, port, urlsplit(proxy) if proxy is not None else None)

    def connection(self, context: ssl.SSLContext, timeout: float) -> HTTPConnection:
        """Make a connection that is not open yet."""
        host, port = self.host, self.port
        if self.proxy is not None:
            host, port = self.proxy.hostname or "", self.proxy.port or 80
        if not self.tls:
            return HTTPConnection(host, port, timeout=timeout)
        tunnelled = HTTPSConnection(host, port, timeout=timeout, context=context)
        if self.proxy is not None:
            tunnelled.set_tunnel(self.host, self.port, _login(self.proxy))
        return tunnelled

    def target(self, path: str) -> str:
        """Name what is asked for, as whoever takes the request wants it."""
        return f"http://{self.netloc}{path}" if self.proxy is not None and not self.tls else path

    @property
    def headers(self) -> Mapping[str, str]:
        """What a request wants besides."""
        return _login(self.proxy) if self.proxy is not None and not self.tls else {}


@dataclass(slots=True)
class _Open:
    """A connection, and when it last answered."""

    http: HTTPConnection
    since: float

    @property
    def silent(self) -> bool:
        """Whether nothing has come on it that ends it."""
        sock, poll = self.http.sock, select.poll()
        if sock is None:
            return False
        poll.register(sock, select.POLLIN)
        if not poll.poll(0):
            return True
        if not isinstance(sock, ssl.SSLSocket):
            return False
        sock.settimeout(0)
        try:
            sock.recv(1)
        except ssl.SSLWantReadError:
            return True  # a ticket of TLS 1.3, which comes unasked
        except OSError:
            return False
        return False


class _Host:
    """A host's connections."""

    def __init__(self, url: str, context: ssl.SSLContext, timeout: float, monotonic: Callable[[], float]) -> None:
        self._way = _Way.to(url)
        self._context = context
        self._timeout = timeout
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._idle: list[_Open] = []  # the one that answered last is at the end
        self._busy = 0
        self._closed = False
        self._quiet = LONGEST_QUIET
        self._not_before = 0.0
        self._answers_probes = True

    def take(self) -> _Open | None:
        """Return a connection that is open as far as can be seen; None where there is none."""
        with self._lock:
            while self._idle:
                newest = self._idle.pop()
                if newest.silent and self._monotonic() - newest.since < TOO_OLD:
                    self._busy += 1
                    return newest
                newest.http.close()
        return None

    def open(self) -> _Open:
        """Connect. Raises ``OSError``."""
        http = self._way.connection(self._context, self._timeout)
        with self._lock:
            self._busy += 1
        try:
            http.connect()
        except (OSError, HTTPException) as error:
            http.close()
            self._done()
            raise _not_sent(error) from error
        return _Open(http, self._monotonic())

    def ask(
        self, one: _Open, method: str, target: str, headers: Mapping[str, str], body: bytes | None, timeout: float
    ) -> Answer:
        """Ask on a connection, and keep it where it stays open. Raises as ``Connections.post`` does."""
        left_whole = stays = False
        try:
            if one.http.sock is not None:
                one.http.sock.settimeout(timeout)
            one.http.request(method, self._way.target(target), body, {**headers, **self._way.headers})
            left_whole = True
            response = one.http.getresponse()
            content = response.read()
            answer = Answer(response.status, dict(response.headers.items()), content, response.will_close)
            stays = not answer.ends
        except (OSError, HTTPException) as error:
            raise (AnswerLostError(type(error).__name__) if left_whole else _not_sent(error)) from error
        finally:
            if not stays:
                one.http.close()
            self._done(one if stays else None)
        self._heed(answer)
        return answer

    def tend_until(self, ended: threading.Event) -> None:
        """Keep connections ready in a thread of its own."""

        def tend() -> None:
            while not ended.wait(TEND_EVERY):
                self.tend()

        threading.Thread(target=tend, name="slack-connections", daemon=True).start()

    def tend(self) -> None:
        """Let go of what the host has closed and of what is not needed; ask on what is quiet; open what is missing."""
        now, due = self._monotonic(), None
        with self._lock:
            for one in [one for one in self._idle if not one.silent]:
                self._idle.remove(one)
                self._learn(now - one.since)
                one.http.close()
            for one in [one for one in self._idle[:-KEPT_READY] if now - one.since >= self._quiet]:
                self._idle.remove(one)
                one.http.close()
            if self._idle and now - self._idle[0].since >= self._quiet:
                due = self._idle.pop(0)
                self._busy += 1
            missing = self._busy + len(self._idle) < KEPT_READY and now >= self._not_before
        if due is not None or missing:
            self._probe(due)

    def close(self) -> None:
        """Let go of all of them."""
        with self._lock:
            self._closed = True
            while self._idle:
                self._idle.pop().http.close()

    def _probe(self, one: _Open | None) -> None:
        """Ask for nothing in particular, on this connection or a new one."""
        if one is not None and not self._answers_probes:
            one.http.close()
            self._done()
            one = None
        old = one is not None
        try:
            one = one or self.open()
            if not self._answers_probes:
                self._done(one)
                return
            answer = self.ask(one, "HEAD", "/", {}, None, PROBE_WITHIN)
        except OSError:
            if not old:
                self._not_before = self._monotonic() + OPEN_AGAIN_AFTER  # the next call tells what is the matter
            return
        # One that is ended by an answer is of no use to anybody: such a host gets new ones, not asked for anything.
        self._answers_probes = not answer.ends
        self._quiet = min(LONGEST_QUIET, self._quiet * LONGER_BY)

    def _done(self, kept: _Open | None = None) -> None:
        with self._lock:
            self._busy -= 1
            if kept is not None and not self._closed:
                kept.since = self._monotonic()
                self._idle.append(kept)
            elif kept is not None:
                kept.http.close()

    def _learn(self, quiet: float) -> None:
        """Ask sooner from now on: this host closes what was quiet for so long."""
        self._quiet = max(SHORTEST_QUIET, min(self._quiet, quiet / 2))

    def _heed(self, answer: Answer) -> None:
        said = _KEEP_ALIVE.search(next((v for k, v in answer.headers.items() if k.lower() == "keep-alive"), ""))
        if said is not None:
            self._learn(float(said[1]))


def _target(url: str) -> str:
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _login(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {b64encode(pair.encode()).decode()}"}


def _not_sent(error: Exception) -> OSError:
    """Return what is raised where a call did not leave whole."""
    return error if isinstance(error, OSError) else ConnectionError(type(error).__name__)
