"""Connections to Slack: kept open, shared by all threads, and made anew before anybody needs them.

A call on a new connection takes three round trips (TCP, TLS, the call itself), on a kept one its own. urllib3 keeps
them; two things are added. Slack may close a connection just as a call goes out on it (RFC 9112 9.3.1), and a message
must not appear twice: what did not leave whole is sent again, what did was perhaps carried out. And connections are
opened ahead, so that the first call after a silence is as quick as the second.
"""

from __future__ import annotations

import os
import ssl
import threading
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, replace
from http.client import HTTPException
from queue import LifoQueue
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import proxy_bypass

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager, ProxyManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from bot.sessions.uptime import since_boot

PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")  # the first that is set counts
KEPT_READY = 2  # connections to each host that nobody uses
TEND_EVERY = 0.5  # seconds
# Seconds for which a connection may be used: hosts wait longer for the first call on it, and for the next one 5 s and
# more (docs/slack.md 4.5). After half of them another one takes its place.
GOOD_FOR_FIRST, GOOD_FOR_NEXT = 30.0, 4.0
OPEN_AGAIN_AFTER = 5.0  # seconds after one could not be opened ahead of its use
_AT_MOST = 64  # connections to a host that are kept: more than the bot has threads
_FAILURES = (OSError, HTTPException, HTTPError)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a host answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    again: bool = False  # whether the call had left before, and may have been carried out then

    @property
    def text(self) -> str:
        """Its body as a text."""
        return self.body.decode(errors="replace")


class AnswerLostError(OSError):
    """A call left whole and its answer did not come: whether Slack carried it out is not known."""


class _NotSentError(OSError):
    """A call did not leave whole, so that nobody can have carried it out."""


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

    def __init__(self, context: ssl.SSLContext, timeout: float = 10.0) -> None:
        self._context = context
        self._timeout = timeout
        self._lock = threading.Lock()
        self._managers: dict[str | None, PoolManager] = {}  # by the proxy on the way
        self._tended: set[tuple[str, str]] = set()  # hosts
        self._ended = threading.Event()

    def post(self, url: str, headers: Mapping[str, str], body: bytes, *, repeatable: bool = False) -> Answer:
        """POST and return what is answered, whatever its status.

        ``repeatable`` says that doing it twice is doing it once. Raises ``AnswerLostError``, or another ``OSError``
        where the call did not leave whole, so that the host cannot have carried it out.
        """
        answer = self._post(url, headers, body)
        again = repeatable and isinstance(answer, AnswerLostError) and not isinstance(answer.__cause__, TimeoutError)
        if again or isinstance(answer, _NotSentError):
            answer = self._post(url, headers, body)
        if isinstance(answer, OSError):
            raise answer
        return replace(answer, again=again)

    def keep_ready(self, url: str) -> None:
        """Keep connections to this host ready from now on, in a thread of its own: another one may hang."""
        host = urlsplit(url)[:2]
        with self._lock:
            if host in self._tended:
                return
            self._tended.add(host)

        def tend() -> None:
            pause = 0.0
            while not self._ended.wait(pause):
                pause = self._tend(url)

        threading.Thread(target=tend, name="slack-connections", daemon=True).start()

    def _tend(self, url: str) -> float:
        """Open what is missing to a host; return the seconds until the next time.

        The pool is let go of before those: a thread that had the last reference would have it cleared up while Python
        ends, in the midst of its own clearing up, which then logs a traceback.
        """
        try:
            pool = self._manager(url).connection_from_url(url)
            if isinstance(pool, _Pool):
                pool.tend()
        except _FAILURES:
            return OPEN_AGAIN_AFTER  # the next call tells what is the matter
        return TEND_EVERY

    def close(self) -> None:
        """Keep nothing open any more; calls that are made after all open a connection of their own."""
        self._ended.set()
        with self._lock:
            for manager in self._managers.values():
                manager.clear()

    def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer | OSError:
        """Return what failed, if it does: raised in here it would get urllib3's error as context, whose cause it is."""
        try:
            response = self._manager(url).urlopen(
                "POST", url, body=body, headers=headers, redirect=False, retries=False
            )
        except HTTPError as error:
            return _reason(error)
        return Answer(response.status, dict(response.headers.items()), response.data)

    def _manager(self, url: str) -> PoolManager:
        proxy = proxy_for(url)
        with self._lock:
            manager = self._managers.get(proxy)
            if manager is None:
                options: dict[str, Any] = {
                    "maxsize": _AT_MOST,
                    "timeout": self._timeout,
                    "ssl_context": self._context,
                    # Behind a proxy urllib3 would let the body of each call wait until its headers have arrived.
                    "socket_options": HTTPConnection.default_socket_options,
                }
                if proxy is None:
                    manager = PoolManager(**options)
                else:
                    options |= {"proxy_headers": _login(proxy), "proxy_ssl_context": self._context}
                    manager = ProxyManager(proxy, **options)
                manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
                self._managers[proxy] = manager
        return manager


class _Connection(HTTPConnection):
    """A connection that knows how far a call got, and how long it has been quiet."""

    _since = 0.0  # when it was opened, or last answered
    _good_for = GOOD_FOR_FIRST

    @property
    def is_young(self) -> bool:
        """Whether it needs no other one in its place yet."""
        return since_boot() - self._since < self._good_for / 2 and self.is_connected

    @property
    def is_connected(self) -> bool:
        """Whether it is not too old, and nothing has come on it that ends it; for whoever has it to themselves."""
        if self.sock is None or since_boot() - self._since >= self._good_for:
            return False
        if super().is_connected:
            return True
        self.sock.settimeout(0)
        try:
            self.sock.recv(1)
        except ssl.SSLWantReadError:
            return True  # a ticket of TLS 1.3, which comes unasked
        except OSError:
            return False
        return False

    def connect(self) -> None:
        """Open it."""
        super().connect()
        self._since, self._good_for = since_boot(), GOOD_FOR_FIRST

    def request(self, *arguments: Any, **options: Any) -> None:
        """Send a call whole. Raises ``_NotSentError``, and urllib3's errors where it is not open and does not open."""
        try:
            super().request(*arguments, **options)
        except OSError as error:  # after some of these urllib3 would read on, in case an answer has come before
            raise _NotSentError(type(error).__name__) from error

    def getresponse(self) -> Any:  # of urllib3, which is none of http.client's
        """Read the answer, its body included. Raises ``AnswerLostError``."""
        try:
            response = super().getresponse()
        except _FAILURES as error:
            raise AnswerLostError(type(error).__name__) from _reason(error)
        self._since, self._good_for = since_boot(), GOOD_FOR_NEXT
        return response


class _TlsConnection(_Connection, HTTPSConnection):
    """The same with TLS."""


class _Idle(LifoQueue[Any]):
    """The connections to a host that nobody uses."""

    def young(self) -> int:
        """Return how many need no other one in their place yet."""
        with self.mutex:
            return sum(one.is_young for one in self.queue)

    def let_go(self) -> None:
        """Close all others."""
        with self.mutex:
            for one in [one for one in self.queue if not one.is_young]:
                self.queue.remove(one)
                one.close()

    def _put(self, item: Any) -> None:
        """Take a connection; urllib3 also puts None, for one that it may open."""
        if item is not None:
            super()._put(item)

    def _get(self) -> Any:
        """Give the one that came last of those that are open, else any: urllib3 opens it again."""
        best = next((one for one in reversed(self.queue) if one.is_connected), self.queue[-1])
        self.queue.remove(best)
        return best


class _Pool(HTTPConnectionPool):
    """Connections to a host."""

    ConnectionCls = _Connection
    QueueCls = _Idle

    def tend(self) -> None:
        """Open what is missing, and only then let go of what is not young. Raises what opening one does."""
        idle = self.pool
        if not isinstance(idle, _Idle):
            return  # it is closed
        for _ in range(KEPT_READY - idle.young()):
            one = self._new_conn()
            try:
                if self.proxy is not None and self.scheme == "https":
                    self._prepare_proxy(one)  # opens it, and asks the proxy for the way
                else:
                    one.connect()
            except BaseException:
                one.close()
                raise
            self._put_conn(one)
        idle.let_go()


class _TlsPool(_Pool, HTTPSConnectionPool):
    """The same with TLS."""

    ConnectionCls = _TlsConnection


def _login(proxy: str) -> dict[str, str]:
    """Return the header in which a proxy wants the login of its URL, in UTF-8; urllib3 would write Latin-1."""
    parts = urlsplit(proxy)
    pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    return {"Proxy-Authorization": f"Basic {b64encode(pair.encode()).decode()}"} if parts.username else {}


def _reason(error: BaseException) -> OSError:
    """Return what urllib3 has wrapped in errors of its own."""
    inner: BaseException | None = error
    while inner is not None and not isinstance(inner, OSError):
        inner = inner.__cause__ or inner.__context__
    return inner or ConnectionError(type(error).__name__)
