"""Pooled connections to one data source. The only file that knows PyMySQL.

Whatever the driver raises leaves this file as one of ``bot.errors`` with a sentence for people.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pymysql
from pymysql.constants import CLIENT, CR
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import QueuePool

from bot.errors import (
    BusyError,
    ConnectionLostError,
    DataSourceError,
    DataSourceTimeoutError,
    DataSourceUnreachableError,
    LoginRefusedError,
    NotSessionOwnerError,
    PrivilegeMissingError,
    UnknownSessionError,
)

Value = str | int | float | None
Row = tuple[Any, ...]

# Seconds. The server is asked to give up first, so that its own message arrives; reading gives up
# for servers that hang. Together they stay well inside the half hour that an answer may take.
CONNECT_TIMEOUT = 3
STATEMENT_TIMEOUT = 5
READ_TIMEOUT = 6

# Connections kept open and used at once by one data source, and how many commands may wait for one.
POOL_SIZE = 4
WAITING = 24

MODULE = "session-bot"  # how the bot's own sessions are tagged, its replicas' included


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a data source is and how to log in; ``password`` never shows in a repr."""

    name: str
    host: str
    port: int
    user: str
    password: _Secret

    @classmethod
    def of(cls, name: str, host: str, port: int, user: str, password: str) -> Endpoint:
        """Wrap a plain password."""
        return cls(name, host, port, user, _Secret(password))


class _Secret(str):
    """A text whose repr says nothing, for tracebacks and dataclass reprs."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'**'"


class Connection:
    """One connection: runs statements with bound values, turns driver errors into ours."""

    def __init__(self, endpoint: Endpoint, raw: pymysql.Connection[Any]) -> None:
        self._endpoint = endpoint
        self._raw = raw
        self.broken = False

    @property
    def id(self) -> int:
        """The session id the server gave at the handshake."""
        return _session_id(self._raw)

    def rows(self, sql: str, values: Sequence[Value | Sequence[Value]] = ()) -> list[Row]:
        """Run one statement and return its rows.

        Raises one of the ``DataSourceError`` family.
        """
        try:
            with self._raw.cursor() as cursor:
                cursor.execute(sql, tuple(values) or None)
                return list(cursor.fetchall())
        except (pymysql.Error, OSError) as error:
            translated = _translate(self._endpoint, error)
            # A statement that was given up on may still be answered: never use that socket again.
            self.broken = isinstance(translated, ConnectionLostError | DataSourceTimeoutError)
            raise translated from error


class Pool:
    """The connections of one data source. Opens none until the first use."""

    def __init__(self, endpoint: Endpoint, prepare: Sequence[str]) -> None:
        self._endpoint = endpoint
        self._prepare = tuple(prepare)
        self._own_ids: set[int] = set()
        self._generation = 0
        self._places = threading.BoundedSemaphore(POOL_SIZE + WAITING)
        # No overflow: the first connection, once made, is kept, so that listing and closing still
        # work while the server refuses new ones.
        self._pool = QueuePool(
            self._create, pool_size=POOL_SIZE, max_overflow=0, timeout=READ_TIMEOUT, use_lifo=True,
            reset_on_return=None,  # autocommit is on: there is never a transaction to roll back
        )  # fmt: skip

    def _create(self) -> Any:
        raw = connect(self._endpoint)
        with raw.cursor() as cursor:
            for statement in self._prepare:
                # Tags and time-outs that this server does not know are not worth a refusal.
                with contextlib.suppress(pymysql.err.OperationalError, pymysql.err.ProgrammingError):
                    cursor.execute(statement)
        self._own_ids.add(_session_id(raw))
        return raw

    @property
    def own_ids(self) -> frozenset[int]:
        """Session ids that this pool has opened, for servers where sessions carry no tag."""
        return frozenset(self._own_ids)

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
        try:
            with self._borrow() as connection:
                yield connection
        finally:
            self._places.release()

    @contextlib.contextmanager
    def _borrow(self) -> Iterator[Connection]:
        try:
            fairy = self._pool.connect()
            # Where one connection broke the others mostly did too: those older than that are not used.
            while fairy.info.setdefault("generation", self._generation) != self._generation:
                fairy.invalidate()
                fairy.close()
                fairy = self._pool.connect()
        except PoolTimeoutError as error:
            raise _timeout(self._endpoint) from error
        except (pymysql.Error, OSError) as error:
            raise _translate(self._endpoint, error) from error
        raw: Any = fairy.dbapi_connection
        connection = Connection(self._endpoint, raw)
        try:
            yield connection
        finally:
            if connection.broken or not raw.open:
                self._generation += 1
                self._own_ids.discard(connection.id)
                fairy.invalidate()
            fairy.close()

    def close(self) -> None:
        """Close every connection that is not in use."""
        self._pool.dispose()


def try_login(endpoint: Endpoint) -> None:
    """Log in and out again. Raises one of the ``DataSourceError`` family."""
    try:
        connect(endpoint).close()
    except (pymysql.Error, OSError) as error:
        raise _translate(endpoint, error) from error


def connect(endpoint: Endpoint) -> pymysql.Connection[Any]:
    """Open a connection with all time-outs set; raises what the driver raises."""
    return pymysql.connect(
        host=endpoint.host,
        port=endpoint.port,
        user=endpoint.user,
        password=str.__str__(endpoint.password),
        charset="utf8mb4",
        autocommit=True,
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        write_timeout=READ_TIMEOUT,
        # One statement at a time, and rowcounts of rows found: no stacked statement can ever slip in.
        client_flag=CLIENT.FOUND_ROWS,
    )


def _session_id(raw: pymysql.Connection[Any]) -> int:
    return int(raw.thread_id())  # type: ignore[no-untyped-call]  # so in PyMySQL's types


def _timeout(endpoint: Endpoint) -> DataSourceTimeoutError:
    return DataSourceTimeoutError(
        f"Data source {endpoint.name} did not answer within {READ_TIMEOUT} s. It may be overloaded or hanging. "
        "Try again, or look at the server itself."
    )


def _translate(endpoint: Endpoint, error: Exception) -> DataSourceError:
    """Say in a sentence what a driver error means (numbers from OCEANBASE.md section 2.6)."""
    errno = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    text = str(error.args[1]) if len(error.args) > 1 else str(error)
    where = f"{endpoint.name} ({endpoint.host}:{endpoint.port})"
    if "timed out" in text and errno in (0, CR.CR_SERVER_LOST):
        return _timeout(endpoint)
    kind = _BY_ERRNO.get(errno)
    if kind is None:
        return DataSourceError(f"Data source {where} answered with error {errno}: {text[:300]}", errno=errno)
    return kind(where, endpoint, text, errno)


def _unreachable(where: str, _endpoint: Endpoint, text: str, errno: int) -> DataSourceError:
    return DataSourceUnreachableError(
        f"Data source {where} cannot be reached: {_plain_reason(text)}. "
        "Check that the server runs and that its address and port are right.",
        errno=errno,
    )


def _lost(where: str, _endpoint: Endpoint, _text: str, errno: int) -> DataSourceError:
    return ConnectionLostError(
        f"The connection to data source {where} broke. Check that the server runs, then try again.",
        errno=errno,
    )


def _refused(where: str, endpoint: Endpoint, _text: str, errno: int) -> DataSourceError:
    return LoginRefusedError(
        f"Data source {where} refused the login of {endpoint.user}. User, password, tenant or cluster is wrong; "
        "OceanBase does not say which.",
        errno=errno,
    )


def _oracle(where: str, endpoint: Endpoint, _text: str, errno: int) -> DataSourceError:
    return LoginRefusedError(
        f"Data source {where} refused the login of {endpoint.user}: an Oracle-mode tenant does not take this "
        "protocol. Log in to the sys tenant instead: it lists and closes the sessions of every tenant.",
        errno=errno,
    )


def _too_many(where: str, _endpoint: Endpoint, _text: str, errno: int) -> DataSourceError:
    return DataSourceUnreachableError(
        f"Data source {where} takes no new connections: it is at its connection limit.", errno=errno
    )


def _privilege(where: str, endpoint: Endpoint, text: str, errno: int) -> DataSourceError:
    return PrivilegeMissingError(
        f"The login {endpoint.user} of data source {where} lacks a privilege: {text[:200]}. "
        "For OceanBase: GRANT SELECT ON oceanbase.* TO it.",
        errno=errno,
    )


def _server_gave_up(_where: str, endpoint: Endpoint, _text: str, errno: int) -> DataSourceError:
    error = _timeout(endpoint)
    error.errno = errno
    return error


def _unknown(where: str, _endpoint: Endpoint, text: str, errno: int) -> DataSourceError:
    return UnknownSessionError(f"Data source {where} says: {text[:200]}", errno=errno)


def _not_owner(where: str, endpoint: Endpoint, text: str, errno: int) -> DataSourceError:
    return NotSessionOwnerError(
        f"Data source {where} does not let {endpoint.user} close that session: {text[:200]}. "
        "A login of the sys tenant may close any session, one with SUPER any of its tenant.",
        errno=errno,
    )


def _plain_reason(text: str) -> str:
    """Cut the driver's frame around the system's own reason."""
    return text.rsplit("(", 1)[-1].rstrip(")") if "(" in text else text


_BY_ERRNO: dict[int, Callable[[str, Endpoint, str, int], DataSourceError]] = {
    0: _lost,  # PyMySQL reports a socket that was closed under it with number 0
    CR.CR_CONN_HOST_ERROR: _unreachable,
    CR.CR_CONNECTION_ERROR: _unreachable,
    CR.CR_UNKNOWN_HOST: _unreachable,
    CR.CR_SERVER_GONE_ERROR: _lost,
    CR.CR_SERVER_LOST: _lost,
    1040: _too_many,
    1044: _privilege,
    1045: _refused,
    1094: _unknown,
    1095: _not_owner,
    1142: _privilege,
    1227: _privilege,
    1235: _oracle,
    4012: _server_gave_up,
    5066: _lost,
    5271: _too_many,
}
