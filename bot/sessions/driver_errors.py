"""What goes wrong at a data source, by error number, as one of ``bot.errors`` with a sentence for people."""

from __future__ import annotations

from collections.abc import Callable

from bot.errors import (
    ConnectionLostError,
    DataSourceError,
    DataSourceTimeoutError,
    DataSourceUnreachableError,
    LoginRefusedError,
    NotSessionOwnerError,
    PrivilegeMissingError,
    UnknownSessionError,
    UnsafeConnectionError,
)
from bot.sessions.endpoint import READ_TIMEOUT, Endpoint

HANDSHAKE_FAILED = 2012
_SERVER_LOST = 2013


def timeout(endpoint: Endpoint) -> DataSourceTimeoutError:
    """Say that the data source did not answer in time."""
    return DataSourceTimeoutError(
        f"Data source {endpoint.name} did not answer within {READ_TIMEOUT} s. It may be overloaded or hanging. "
        "Try again, or look at the server itself."
    )


def unsafe(endpoint: Endpoint, reason: object) -> UnsafeConnectionError:
    """Say which data source it is that ``reason``, the rest of a sentence, is true of."""
    return UnsafeConnectionError(f"Data source {_where(endpoint)} {reason}")


def failure(endpoint: Endpoint, errno: int, text: str) -> DataSourceError:
    """Say in a sentence what an error number means (docs/oceanbase.md 2.6); 0 is a socket that was closed."""
    where = _where(endpoint)
    if "timed out" in text and errno in (0, _SERVER_LOST):
        return timeout(endpoint)
    kind = _BY_ERRNO.get(errno)
    if kind is None:
        return DataSourceError(f"Data source {where} answered with error {errno}: {text[:300]}", errno=errno)
    return kind(where, endpoint, text, errno)


def _where(endpoint: Endpoint) -> str:
    return f"{endpoint.name} ({endpoint.host}:{endpoint.port})"


def _unreachable(where: str, _endpoint: Endpoint, text: str, errno: int) -> DataSourceError:
    return DataSourceUnreachableError(
        f"Data source {where} cannot be reached: {_plain_reason(text)}. "
        "Check that the server runs and that its address and port are right.",
        errno=errno,
    )


def _no_handshake(where: str, _endpoint: Endpoint, text: str, errno: int) -> DataSourceError:
    return DataSourceUnreachableError(
        f"Data source {where} answered, but logging in failed: {text}. "
        "Check its port, its TLS and the login plugin of the bot's account there.",
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
        "the server does not say which.",
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
        "For OceanBase: GRANT SELECT ON that view TO it; for MySQL and MariaDB: GRANT PROCESS ON *.* TO it.",
        errno=errno,
    )


def _server_gave_up(_where: str, endpoint: Endpoint, _text: str, errno: int) -> DataSourceError:
    error = timeout(endpoint)
    error.errno = errno
    return error


def _unknown(where: str, _endpoint: Endpoint, text: str, errno: int) -> DataSourceError:
    return UnknownSessionError(f"Data source {where} says: {text[:200]}", errno=errno)


def _not_owner(where: str, endpoint: Endpoint, text: str, errno: int) -> DataSourceError:
    return NotSessionOwnerError(
        f"Data source {where} does not let {endpoint.user} close that session: {text[:200]}. "
        "In OceanBase a login of the sys tenant may close any session, one with SUPER any of its tenant. "
        "MySQL wants CONNECTION_ADMIN for it, and SYSTEM_USER for accounts that have that; MariaDB CONNECTION ADMIN.",
        errno=errno,
    )


def _plain_reason(text: str) -> str:
    """Cut the driver's frame around the system's own reason."""
    return text.rsplit("(", 1)[-1].rstrip(")") if "(" in text else text


_BY_ERRNO: dict[int, Callable[[str, Endpoint, str, int], DataSourceError]] = {
    0: _lost,  # PyMySQL reports a socket that was closed under it with number 0
    2003: _unreachable,
    2002: _unreachable,
    2005: _unreachable,
    2006: _lost,
    HANDSHAKE_FAILED: _no_handshake,
    _SERVER_LOST: _lost,
    1040: _too_many,
    1203: _too_many,  # this user's sessions, by max_user_connections
    1044: _privilege,
    1045: _refused,
    1053: _lost,  # the server is shutting down
    1094: _unknown,
    1095: _not_owner,
    1142: _privilege,
    1227: _privilege,
    1235: _oracle,
    1927: _lost,  # MariaDB: the session was closed under the statement
    1957: _unknown,  # MariaDB: KILL QUERY ID of a query that has ended
    1969: _server_gave_up,  # MariaDB: max_statement_time
    3024: _server_gave_up,  # MySQL: max_execution_time
    4031: _lost,  # MySQL: closed for having been idle
    4012: _server_gave_up,
    5066: _lost,
    5271: _too_many,
}
