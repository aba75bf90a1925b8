"""What goes wrong at the store's database or file, as a ``StoreError`` with a sentence for people.

No text of the driver's that may hold what was written is quoted, and no host: of a URL that is wrong any part may be a
part of the password.
"""

from __future__ import annotations

import os
import socket
import sqlite3
from pathlib import Path

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from bot.closing.store import file_faults
from bot.closing.store.shared_server import is_held
from bot.errors import StoreAwayError, StoreError
from bot.sessions import driver_errors, refused_logins
from bot.sessions.database import READ_ONLY_ERRORS
from bot.sessions.endpoint import CONNECT_TIMEOUT, READ_TIMEOUT

# Of a cluster that takes writes on several nodes, another one has written the same: said at any statement or at COMMIT,
# and nothing of the transaction stays. InnoDB's deadlock, which Galera answers with as well, and Group Replication's.
_COLLIDED = frozenset({1213, 3101})
_WRONG_LOGIN = 1045
_UNREACHABLE = (2002, 2003, 2005)

# The rest of a sentence that begins with the database of the store; what it says itself stands where {said} is.
_SILENT = f"did not answer within {READ_TIMEOUT} s. It may be overloaded or hanging: look at the server."
_SLOW = "gave up on what it was asked, which took too long. Try again; if it says so again, look at the server."
_LOST = "broke off the connection. Check that it runs, then try again."
_DENIED = "denies its account what is needed: {said}. GRANT it."
_FULL = "cannot store more: its disk is full, or fails. Make room there, and look into its error log."
_NOT_NOW = "takes no connections or statements now: {said}. Try again, or look at the server."
_NOT_PREPARED = (
    "lacks tables or columns, which a bot that runs makes within seconds. Try again; if it says so again, its log has "
    "the reason."
)
_BY_NUMBER = {
    **dict.fromkeys(
        READ_ONLY_ERRORS, "is read-only. Name the server that takes writes in [store] url, or end its read_only."
    ),
    **dict.fromkeys((1142, 1143, 1227), _DENIED),
    # Whoever may not see a database is not told whether there is one.
    1044: "does not let its account into the database that [store] url names, or has none of that name ({said}). "
    "CREATE DATABASE there, and GRANT the account what docs/install.md lists.",
    **dict.fromkeys((1054, 1146), _NOT_PREPARED),
    **dict.fromkeys(
        driver_errors.TOO_MANY,
        "takes no new connections: it is at its limit. Raise max_connections, or end some.",
    ),
    **dict.fromkeys((1969, 3024, 4012), _SLOW),  # MariaDB's, MySQL's and OceanBase's
    **dict.fromkeys((0, 1053, 1927, 2006, 2013, 4031), _LOST),
    **dict.fromkeys((1021, 1030, 1114), _FULL),
    # Short of memory or threads, offline, starting, stopping.
    **dict.fromkeys((1041, 1135, 3032, 3168, 4013, 8001, 8002), _NOT_NOW),
    driver_errors.HANDSHAKE_FAILED: "answered, but logging in failed: {said}. Check port and tls under [store], and "
    "who answers there.",
}


class UndoneError(StoreError):
    """A transaction came to nothing, and may be tried again as a whole."""


class ReadOnlyError(UndoneError, StoreAwayError):
    """The same, where the server takes no writes."""


def told(error: SQLAlchemyError, file: Path | None = None) -> StoreError:
    """Say what an error means and what to do; ``file`` is that of a store in one."""
    if isinstance(error, DBAPIError) and isinstance(error.orig, sqlite3.Error):
        return file_faults.failure(file_faults.told(error.orig, file))
    if isinstance(error, PoolTimeoutError):
        return StoreAwayError(
            "Too many wait for the store of requests and records at once. Nothing is closed without a record. Try "
            "again in half a minute; if it says so again, look at the store's database."
        )
    number, said = _number(error)
    if number in _COLLIDED:
        return UndoneError(
            "Others write to the store of requests and records at the same time, again and again. Nothing is closed "
            "without a record. Try again; of a cluster let [store] url name only one node."
        )
    if is_held(error):
        return StoreAwayError(
            "Somebody else, perhaps a replica that hangs or a backup, is at the store of requests and records and does "
            "not finish. Nothing is closed without a record. Give it half a minute, then try again."
        )
    why = _of_server(error, number, said)
    if why is None:
        # Its text may hold what was written.
        said = f"answers with error {number}" if number > 0 else f"fails ({type(error).__name__})"
        return StoreAwayError(
            f"The database of the store {said}, which the bot does not know. Look at the server and into its error "
            "log. Nothing is closed without a record."
        )
    sentence = f"The database of the store {why} Nothing is closed without a record."
    # Its connections are not used again: the address may lead to the server that takes writes by now.
    return ReadOnlyError(sentence) if number in READ_ONLY_ERRORS else StoreAwayError(sentence)


def _of_server(error: SQLAlchemyError, number: int, said: str) -> str | None:
    """Return the rest of a sentence about a server; None where nothing is known of the error."""
    if number in _UNREACHABLE:
        return f"cannot be reached: {_on_the_way(error)}"
    if number in refused_logins.LIMITS:
        return f"turns its account away now, which {refused_logins.limit(said)[1]}"
    if refused_logins.explains(number):
        coded = " In [store] url an @ of the password is %40, and a % is %25." if number == _WRONG_LOGIN else ""
        return f"refused the login: {refused_logins.why(number, said)}{coded}"
    known = _BY_NUMBER.get(number)
    if known is _LOST and "timed out" in said:
        return _SILENT
    return None if known is None else known.format(said=said)


def _on_the_way(error: SQLAlchemyError) -> str:
    """Say why no connection came about."""
    cause = getattr(error.orig, "original_exception", None) if isinstance(error, DBAPIError) else None
    if isinstance(cause, socket.gaierror):
        return "its host's name cannot be looked up. Check the host in [store] url, and DNS."
    if isinstance(cause, TimeoutError):
        return f"nobody answered within {CONNECT_TIMEOUT} s. Check host and port in [store] url, and the firewall."
    reason = os.strerror(cause.errno).lower() if isinstance(cause, OSError) and cause.errno else "no connection"
    return f"{reason}. Check that it runs, and host and port in [store] url."


def _number(error: SQLAlchemyError) -> tuple[int, str]:
    """Return the number and the text that a server or the driver has given, -1 for anything else."""
    args: tuple[object, ...] = getattr(error.orig, "args", ()) if isinstance(error, DBAPIError) else ()
    if len(args) < 2 or not isinstance(args[0], int):
        return -1, ""
    return args[0], str(args[1])[:200].rstrip(".")
