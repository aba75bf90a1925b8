"""What goes wrong at a data source, by error number, as one of ``bot.errors`` with a sentence for people."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from bot.errors import (
    AccountLimitError,
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
from bot.sessions import refused_logins
from bot.sessions.endpoint import CONNECT_TIMEOUT, READ_TIMEOUT, Endpoint

# libmysqlclient's numbers for what happens before a login: what greets speaks no protocol of MySQL's, nothing greets,
# and whatever goes wrong after that.
OTHER_PROTOCOL = 2007
NO_GREETING = 2055
HANDSHAKE_FAILED = 2012
# As many connections as there may be, of the server or of the account; 5271 is OceanBase's own (docs/oceanbase.md 4.4).
TOO_MANY = (1040, 5271, *refused_logins.LIMITS)
SERVER_LOST = 2013
# The server ended a statement that took longer than it may: MariaDB's max_statement_time, MySQL's max_execution_time
# and OceanBase's ob_query_timeout.
GAVE_UP = (1969, 3024, 4012)


def timeout(endpoint: Endpoint, seconds: float = READ_TIMEOUT) -> DataSourceTimeoutError:
    """Say that the data source did not answer within so many seconds."""
    return DataSourceTimeoutError(
        f"Data source {endpoint.name} did not answer within {seconds:g} s. It may be overloaded or hanging. "
        "Try again, or look at the server itself."
    )


def unsafe(endpoint: Endpoint, reason: object) -> UnsafeConnectionError:
    """Say which data source it is that ``reason``, the rest of a sentence, is true of."""
    return UnsafeConnectionError(f"Data source {_where(endpoint)} {reason}")


def failure(endpoint: Endpoint, errno: int, text: str, *, at_login: bool = False) -> DataSourceError:
    """Say in a sentence what an error number means (docs/oceanbase.md 2.6); 0 is a socket that was closed.

    ``at_login``: it came before any statement of the bot's. Whatever a server says then refuses the login, unless it
    is known to be something else: OceanBase passes on what init_connect failed with.
    """
    where = _where(endpoint)
    if "timed out" in text and errno in (0, SERVER_LOST):
        return timeout(endpoint)
    kind = _BY_ERRNO.get(errno)
    if at_login and (kind is None or kind in (_privilege, _unknown)):
        kind = _refused
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


def _no_greeting(where: str, endpoint: Endpoint, text: str, errno: int) -> DataSourceError:
    """Say that nothing came where a server speaks first: one that hangs, and HTTP, are alike. docs/oceanbase.md 8.6."""
    if "timed out" in text:
        return DataSourceTimeoutError(
            f"Data source {where} took the connection and did not answer within {READ_TIMEOUT} s, not even with the "
            "greeting that a MySQL-compatible server begins with. Either it hangs, or something else has that port, "
            f"such as a web server. {_CHECK_THE_PORT}{_port_of(endpoint)}",
            errno=errno,
        )
    return ConnectionLostError(
        f"Data source {where} closed the connection before any greeting of a MySQL-compatible server. Something else "
        "has that port, a proxy there has no server behind it, or it does not let the bot's host in. "
        f"{_CHECK_THE_PORT}{_port_of(endpoint)}",
        errno=errno,
    )


def _other_protocol(where: str, endpoint: Endpoint, _text: str, errno: int) -> DataSourceError:
    return DataSourceUnreachableError(
        f"Data source {where} answered, but not as a MySQL-compatible server does: something else has that port. "
        f"{_CHECK_THE_PORT}{_port_of(endpoint)}",
        errno=errno,
    )


_CHECK_THE_PORT = (
    "Check host and port: an observer's is usually 2881, an OBProxy's 2883, that of MySQL and MariaDB 3306."
)


def _port_of(endpoint: Endpoint) -> str:
    known = _OTHER_PORTS.get(endpoint.port)
    return f" {endpoint.port} is usually {known}." if known is not None else ""


_OTHER_PORTS: Mapping[int, str] = {
    22: "SSH's",
    80: "a web server's",
    443: "a web server's",
    2882: "the one by which observers talk to each other",
    5432: "PostgreSQL's",
    33060: "MySQL's for its X protocol",
}


def _lost(where: str, _endpoint: Endpoint, _text: str, errno: int) -> DataSourceError:
    return ConnectionLostError(
        f"The connection to data source {where} broke. Check that the server runs, then try again.",
        errno=errno,
    )


def _refused(where: str, endpoint: Endpoint, text: str, errno: int) -> DataSourceError:
    return LoginRefusedError(
        f"Data source {where} refused the login of {endpoint.user}: {refused_logins.why(errno, text)}", errno=errno
    )


def _account_limit(where: str, endpoint: Endpoint, text: str, errno: int) -> DataSourceError:
    connections, used_up = refused_logins.limit(text)
    return AccountLimitError(
        f"Data source {where} turns {endpoint.user} away now: this account {used_up}",
        errno=errno,
        connections=connections,
    )


def _offline(where: str, _endpoint: Endpoint, text: str, errno: int) -> DataSourceError:
    return DataSourceUnreachableError(
        f"Data source {where} takes no connections now: {text[:200].rstrip('.')}. Try again, or look at the server.",
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


def _unfit_letter(where: str, _endpoint: Endpoint, _text: str, errno: int) -> DataSourceError:
    # The server's own text has a part of the statement.
    return DataSourceError(
        f"Data source {where} shows nobody its information_schema.PROCESSLIST now: somebody runs a statement with an "
        "emoji or the like, which does not fit in there. Switch performance_schema on and restart it: its list holds "
        "such statements. Or try again once that one has ended; SHOW PROCESSLIST shows it.",
        errno=errno,
    )


def _plain_reason(text: str) -> str:
    """Cut the frames of driver and Python around the system's own reason."""
    reason = text.rsplit("(", 1)[-1].rstrip(")") if "(" in text else text
    reason = re.sub(r"^\[Errno -?\d+\] ", "", reason)
    return next((said for words, said in _REASONS.items() if words in reason), reason)


_REASONS: Mapping[str, str] = {
    "Connection refused": "nothing listens at that port (connection refused)",
    "Name or service not known": "there is no such host name",
    "No address associated with hostname": "there is no such host name",
    "nodename nor servname provided": "there is no such host name",
    "Temporary failure in name resolution": "its host name cannot be looked up now",
    "timed out": f"no answer within {CONNECT_TIMEOUT} s",
}


# Also where a statement meets them: a session whose password has expired may do nothing but set a new one, and
# init_connect fails after the login.
_ALWAYS_THE_LOGIN = (1045, 1184, 1698, 1820, 1862, 3118, 3159, 3955, 4150, 4151)

_BY_ERRNO: dict[int, Callable[[str, Endpoint, str, int], DataSourceError]] = {
    0: _lost,  # PyMySQL reports a socket that was closed under it with number 0
    2003: _unreachable,
    2002: _unreachable,
    2005: _unreachable,
    2006: _lost,
    HANDSHAKE_FAILED: _no_handshake,
    SERVER_LOST: _lost,
    NO_GREETING: _no_greeting,
    OTHER_PROTOCOL: _other_protocol,
    1040: _too_many,
    **dict.fromkeys(refused_logins.LIMITS, _account_limit),
    1041: _offline,  # out of memory
    1135: _offline,  # no more threads
    3032: _offline,  # offline_mode
    3168: _offline,
    8001: _offline,  # OceanBase: it is starting
    8002: _offline,  # and stopping
    1044: _privilege,
    **dict.fromkeys(_ALWAYS_THE_LOGIN, _refused),
    1053: _lost,  # the server is shutting down
    1094: _unknown,
    1095: _not_owner,
    1142: _privilege,
    1227: _privilege,
    1927: _lost,  # MariaDB: the session was closed under the statement
    1979: _not_owner,  # MariaDB: same, of KILL QUERY ID
    1957: _unknown,  # MariaDB: KILL QUERY ID of a query that has ended
    **dict.fromkeys(GAVE_UP, _server_gave_up),
    3854: _unfit_letter,  # MySQL
    4031: _lost,  # MySQL: closed for having been idle
    5066: _lost,
    5271: _too_many,
}
