"""Pooled connections to one data source, and logging in, for the store as well. The only file that knows PyMySQL.

Whatever the driver raises leaves this file as one of ``bot.errors`` with a sentence for people, but for ``login``.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pymysql
from pymysql.constants import CLIENT
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import PoolProxiedConnection, QueuePool

from bot.errors import (
    BusyError,
    ConnectionLostError,
    DataSourceError,
    DataSourceTimeoutError,
    UnsafeConnectionError,
)
from bot.sessions import driver_errors, parsec, refused_logins
from bot.sessions.endpoint import CONNECT_TIMEOUT, READ_TIMEOUT, Endpoint
from bot.sessions.tls import Tls

Value = str | int | float | None
Row = tuple[Any, ...]


# Connections kept open and used at once by one data source, and how many commands may wait for one.
POOL_SIZE = 4
WAITING = 24

# "Too many connections", of a server or of a user (5271 is OceanBase's own, docs/oceanbase.md 4.4).
_TOO_MANY = (1040, 1203, 1226, 5271)

# Login plugins that hand the password itself to whoever asks: as it stands, or encrypted with a key of the asker's.
# So does the long form of caching_sha2_password, which a MySQL asks for after each start: docs/threat-model.md.
_ASK_FOR_THE_PASSWORD = ("mysql_clear_password", "dialog", "sha256_password")

# What PyMySQL says it lacks, and what to do about it.
_EXTRAS = {
    "pynacl": "the account logs in by ed25519, for which a package is missing where the bot runs: pip install "
    '"session-bot[ed25519]"',
    "cryptography": "the account logs in by sha256_password or caching_sha2_password without TLS, for which a package "
    'is missing where the bot runs: pip install "PyMySQL[rsa]"',
}

MODULE = "session-bot"  # how the bot's own sessions are tagged, its replicas' included


@dataclass(frozen=True, slots=True)
class OwnSession:
    """A session of the bot's own, as the list of sessions names it."""

    server: str | None
    user: str
    id: int
    proxy_session_id: int | None  # the same on all servers that its proxy carries it to


class Connection:
    """One connection: runs statements with bound values, turns driver errors into ours."""

    def __init__(self, endpoint: Endpoint, raw: pymysql.Connection[Any]) -> None:
        self._endpoint = endpoint
        self._raw = raw
        self.broken = False

    @property
    def id(self) -> int:
        """The session id the server gave at the handshake."""
        return int(self._raw.thread_id())  # type: ignore[no-untyped-call]  # so in PyMySQL's types

    @property
    def local_address(self) -> str:
        """The bot's own end of the connection as servers print it: ``ip:port``, IPv6 in brackets; '' without one."""
        try:
            host, port, *_ = self._raw._sock.getsockname()  # type: ignore[attr-defined]  # PyMySQL has no public name
        except (AttributeError, OSError, ValueError):
            return ""
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def safety(self) -> str:
        """How it is encrypted, for people."""
        return safety(self._raw)

    def columns(self, view: str) -> dict[str, int]:
        """Return the columns of a view, in upper case, with their types as MySQL's protocol numbers them.

        Not by DESC: OceanBase refuses that to a login with SELECT on just this view. Raises as ``rows``.
        """
        _, described = self._run(f"SELECT * FROM {view} LIMIT 0", ())
        return {str(name).upper(): int(kind) for name, kind, *_ in described}

    def rows(self, sql: str, values: Sequence[Value | Sequence[Value]] = ()) -> list[Row]:
        """Run one statement and return its rows.

        Raises one of the ``DataSourceError`` family.
        """
        return self._run(sql, values)[0]

    def _run(self, sql: str, values: Sequence[Value | Sequence[Value]]) -> tuple[list[Row], Sequence[Row]]:
        """Return the rows and what the server says of their columns."""
        try:
            with self._raw.cursor() as cursor:
                cursor.execute(sql, tuple(values) or None)
                return list(cursor.fetchall()), cursor.description or ()
        except (pymysql.Error, OSError) as error:
            translated = _explained(self._endpoint, error)
            # A statement that was given up on may still be answered: never use that socket again.
            self.broken = isinstance(translated, ConnectionLostError | DataSourceTimeoutError)
            raise translated from error
        except UnicodeDecodeError as error:
            self.broken = True  # the rest of the answer would be taken for that of the next statement
            raise DataSourceError(
                f"{self._endpoint.name} sent a text that is not UTF-8, probably a statement of a client with another "
                "character set, so that nothing of this answer can be shown. Narrow it by user, host or id."
            ) from error


# Told of each use of a pool: data source, seconds, and the kind of error, '' for none.
Visited = Callable[[str, float, str], None]


@dataclass(frozen=True, slots=True)
class PoolUse:
    """How busy the connections of a data source are."""

    in_use: int
    waiting: int
    size: int


class Pool:
    """The connections of one data source. Opens none until the first use."""

    def __init__(self, endpoint: Endpoint, prepare: Sequence[str], visited: Visited | None = None) -> None:
        self._endpoint = endpoint
        self._prepare = tuple(prepare)
        self._visited: Visited = visited or (lambda _source, _seconds, _error: None)
        self._generation = 0
        self._closed = False
        self._own: weakref.WeakKeyDictionary[pymysql.Connection[Any], tuple[OwnSession, ...]] = (
            weakref.WeakKeyDictionary()
        )
        self._own_lock = threading.Lock()
        self._guests = 0
        self._guests_lock = threading.Lock()
        self._places = threading.BoundedSemaphore(POOL_SIZE + WAITING)
        self._given_back = threading.Condition()
        # No overflow: the first connection, once made, is kept, so that listing and closing still
        # work while the server refuses new ones.
        self._pool = QueuePool(
            self._create,
            pool_size=POOL_SIZE,
            max_overflow=0,
            timeout=READ_TIMEOUT,
            use_lifo=True,
            reset_on_return=None,  # autocommit is on: there is never a transaction to roll back
        )

    def _create(self) -> Any:
        return _prepared(self._endpoint, self._prepare)

    @contextlib.contextmanager
    def connection(self) -> Iterator[Connection]:
        """Borrow a connection.

        Raises ``BusyError`` when too many wait already, else one of the ``DataSourceError`` family.
        """
        if not self._places.acquire(blocking=False):
            raise BusyError(
                f"{POOL_SIZE + WAITING} commands are already waiting for data source {self._endpoint.name}. "
                "Nothing was done. Try again in a few seconds."
            )
        started, error = time.monotonic(), ""
        self._count(1)
        try:
            with self._borrow() as connection:
                yield connection
        except (DataSourceError, BusyError) as failed:
            error = type(failed).__name__
            raise
        finally:
            self._count(-1)
            self._places.release()
            self._visited(self._endpoint.name, time.monotonic() - started, error)

    def remember(self, connection: Connection, look: Callable[[], tuple[OwnSession, ...]]) -> tuple[OwnSession, ...]:
        """Return as what a connection is listed; ``look`` is asked the first time, and raises what it raises."""
        raw = connection._raw
        with self._own_lock:
            if raw in self._own:
                return self._own[raw]
        found = look()
        with self._own_lock:
            self._own[raw] = found
        return found

    def own(self) -> tuple[OwnSession, ...]:
        """The sessions of the connections that are open now: others get the ids of those that were closed."""
        with self._own_lock:
            return tuple(one for raw, found in self._own.items() if raw.open for one in found)

    @property
    def use(self) -> PoolUse:
        """How busy it is now."""
        in_use = self._pool.checkedout()
        return PoolUse(in_use, max(0, self._guests - in_use), POOL_SIZE)

    def _count(self, change: int) -> None:
        with self._guests_lock:
            self._guests += change

    @contextlib.contextmanager
    def _borrow(self) -> Iterator[Connection]:
        try:
            fairy = self._connect()
            # Where one connection broke the others mostly did too: those older than that are not used.
            while fairy.info.setdefault("generation", self._generation) != self._generation:
                fairy.invalidate()
                fairy.close()
                fairy = self._connect()
        except PoolTimeoutError as error:
            raise driver_errors.timeout(self._endpoint) from error
        except (pymysql.Error, OSError) as error:
            raise _explained(self._endpoint, error, at_login=True) from error
        raw: Any = fairy.dbapi_connection
        connection = Connection(self._endpoint, raw)
        try:
            yield connection
        finally:
            if connection.broken or not raw.open:
                self._generation += 1
                fairy.invalidate()
            fairy.close()
            if self._closed:
                self._pool.dispose()
            with self._given_back:
                self._given_back.notify()

    def _connect(self) -> PoolProxiedConnection:
        """Take a free connection or a new one; while the server refuses new ones, wait for one that is in use."""
        deadline = time.monotonic() + READ_TIMEOUT
        while True:
            try:
                return self._pool.connect()
            except pymysql.err.OperationalError as error:
                some = self._pool.checkedout() + self._pool.checkedin()
                if error.args[0] not in _TOO_MANY or some <= 0 or time.monotonic() > deadline:
                    raise
                with self._given_back:
                    self._given_back.wait(0.1)

    def close(self) -> None:
        """Close every connection, those in use as soon as they are given back."""
        self._closed = True
        self._pool.dispose()


@contextlib.contextmanager
def connected(endpoint: Endpoint, prepare: Sequence[str]) -> Iterator[Connection]:
    """Open a connection outside any pool, for one use. Raises one of the ``DataSourceError`` family."""
    try:
        raw = _prepared(endpoint, prepare)
    except (pymysql.Error, OSError) as error:
        raise _explained(endpoint, error, at_login=True) from error
    try:
        yield Connection(endpoint, raw)
    finally:
        with contextlib.suppress(pymysql.Error):  # the server may have closed it
            raw.close()


def try_login(endpoint: Endpoint) -> None:
    """Log in and out again. Raises one of the ``DataSourceError`` family."""
    try:
        connect(endpoint).close()
    except (pymysql.Error, OSError) as error:
        raise _explained(endpoint, error, at_login=True) from error


def connect(endpoint: Endpoint) -> pymysql.Connection[Any]:
    """Open a connection with all time-outs set; raises ``UnsafeConnectionError`` or what the driver raises."""
    try:
        return login(
            endpoint.tls,
            host=endpoint.host,
            port=endpoint.port,
            user=endpoint.user,
            password=endpoint.password.get_secret_value(),
            charset="utf8mb4",
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=READ_TIMEOUT,
            write_timeout=READ_TIMEOUT,
        )
    except UnsafeConnectionError as error:
        raise driver_errors.unsafe(endpoint, error) from error


def login(tls: Tls, *, password: str = "", **arguments: Any) -> pymysql.Connection[Any]:
    """Log in to whatever server it is, as safely as ``tls`` says; the ``arguments`` are PyMySQL's.

    Raises ``UnsafeConnectionError``, with the rest of a sentence whose subject the caller knows, else what the
    driver raises. No text of any error is made from the password.
    """
    try:
        # Bytes: PyMySQL would send a text as Latin-1, and of one that is none it would quote a part.
        return _Guarded(tls, password=password.encode("utf-8", "surrogateescape"), **arguments)
    except pymysql.err.OperationalError as error:
        cause = getattr(error, "original_exception", None)
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise UnsafeConnectionError(
                f"has a certificate that could not be verified: {cause.verify_message.rstrip('.')}. Nothing of the "
                "login was sent. Check tls_ca, and that the certificate is for the host as it is configured; if both "
                "are right, somebody may be intercepting the connection."
            ) from error
        if isinstance(cause, ssl.SSLError):
            raise pymysql.err.OperationalError(
                driver_errors.HANDSHAKE_FAILED, f"the TLS handshake failed ({cause.reason})"
            ) from error
        raise
    except (pymysql.Error, OSError, UnsafeConnectionError):
        raise
    except RuntimeError as error:  # PyMySQL's where a package is missing that it has as an extra
        package = next((name for name in _EXTRAS if f"'{name}'" in str(error)), None)
        if package is None:
            raise _not_understood() from error
        raise pymysql.err.OperationalError(refused_logins.MISSING_PACKAGE, _EXTRAS[package]) from error
    except Exception as error:
        # PyMySQL stumbles in many ways: over a greeting that is none, a host that is no name, a plugin it has half.
        raise _not_understood() from error


def _not_understood() -> pymysql.err.OperationalError:
    return pymysql.err.OperationalError(
        driver_errors.HANDSHAKE_FAILED, "it does not speak a protocol that the bot understands"
    )


def safety(raw: Any) -> str:
    """Say how a connection that ``login`` has opened is encrypted, as its own socket knows."""
    if not isinstance(raw._sock, ssl.SSLSocket):
        return "not encrypted"
    verified = raw._sock.context.verify_mode is ssl.CERT_REQUIRED
    return f"{raw._sock.version()}, certificate {'verified' if verified else 'not verified'}"


class _Guarded(pymysql.Connection):
    """Asks a server to be what ``tls`` wants before anything is sent; PyMySQL itself gives whatever is asked for."""

    server_capabilities: int
    password: bytes
    _auth_plugin_name: str

    def __init__(self, tls: Tls, **arguments: Any) -> None:
        self._tls = tls
        try:
            self._context = tls.context()
        except (OSError, ValueError) as error:
            raise UnsafeConnectionError(
                "cannot be verified: the file that tls_ca names cannot be read, or holds no certificate in PEM. "
                "Nothing of the login was sent."
            ) from error
        super().__init__(ssl_disabled=tls.mode == "off", ssl={"wanted": True} if tls.must else None, **arguments)

    def _create_ssl_ctx(self, _options: object) -> ssl.SSLContext:
        """Take ours. PyMySQL asks for it where TLS is preferred as well."""
        return self._context

    def _get_server_information(self) -> None:
        """Read the server's greeting, which comes before anything is sent."""
        super()._get_server_information()  # type: ignore[misc]  # not in PyMySQL's types
        if self._tls.must and not self.server_capabilities & CLIENT.SSL:
            raise UnsafeConnectionError(
                f'offers no TLS, and tls = "{self._tls.mode}" is set. Nothing of the login was sent. Turn TLS on at '
                "the server; if it was on, somebody may be intercepting the connection."
            )
        if self._asks_too_much(self._auth_plugin_name):
            # A server's usual plugin need not be the account's: let it ask for that one by name.
            self._auth_plugin_name = "mysql_native_password"

    def _process_auth(self, plugin_name: bytes, *more: Any) -> Any:
        """Answer a server that asks for another login plugin."""
        plugin = plugin_name.decode("ascii", "replace")
        if self._asks_too_much(plugin):
            raise UnsafeConnectionError(
                f'asks for the password in a form ({plugin}) that the bot sends only with tls = "verified". '
                "It was not sent. Set that, or let the account use mysql_native_password or caching_sha2_password. "
                f"{refused_logins.OR_NO_SUCH_ACCOUNT}"
            )
        if plugin == "parsec":
            return self._sign(*more)
        try:
            return super()._process_auth(plugin_name, *more)  # type: ignore[misc]  # not in PyMySQL's types
        except pymysql.err.OperationalError as error:
            if error.args[:1] != (refused_logins.UNKNOWN_PLUGIN,):
                raise
            said = f"the account logs in by the plugin {plugin}, which the bot does not know"
            raise pymysql.err.OperationalError(refused_logins.UNKNOWN_PLUGIN, said) from error

    def _sign(self, challenge: Any, *_: object) -> Any:
        """Log in by parsec, which PyMySQL does not know."""
        self.write_packet(b"")  # asks for how the key is made of the password
        salted: Any = self._read_packet()  # type: ignore[no-untyped-call]  # so in PyMySQL's types
        salted.check_error()
        self.write_packet(
            parsec.answer(self.password, challenge.read_all(), salted.get_all_data().removeprefix(b"\x01"))
        )
        answer: Any = self._read_packet()  # type: ignore[no-untyped-call]
        answer.check_error()
        return answer

    def _asks_too_much(self, plugin: str) -> bool:
        return self._tls.mode != "verified" and plugin in _ASK_FOR_THE_PASSWORD


def _prepared(endpoint: Endpoint, prepare: Sequence[str]) -> pymysql.Connection[Any]:
    raw = connect(endpoint)
    with raw.cursor() as cursor:
        for statement in prepare:
            # Tags and time-outs that this server does not know are not worth a refusal.
            with contextlib.suppress(pymysql.err.OperationalError, pymysql.err.ProgrammingError):
                cursor.execute(statement)
    return raw


def _explained(endpoint: Endpoint, error: Exception, *, at_login: bool = False) -> DataSourceError:
    errno = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    text = str(error.args[1]) if len(error.args) > 1 else str(error)
    return driver_errors.failure(endpoint, errno, text, at_login=at_login)
