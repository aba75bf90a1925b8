"""A store on a MySQL-compatible server, which replicas share: none may keep the others waiting for long."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from bot.closing.store.kept_connections import KeptConnections
from bot.errors import StoreAwayError, UnsafeConnectionError
from bot.sessions import session_variables
from bot.sessions.database import Preparation, login, prepare
from bot.sessions.endpoint import CONNECT_TIMEOUT, READ_TIMEOUT
from bot.sessions.tls import Tls

# A replica that freezes in the middle of a write holds the record's lock, and nobody closes anything, until the server
# drops its transaction: after 8 hours (`wait_timeout`) where nobody tells it another time. Seconds; OceanBase keeps to
# them within 0.2 s, but takes up to 5 s more from 10 s on (measured on seekdb 1.3).
DROPPED_AFTER = 8
# What a server is told, the first of these that it knows: OceanBase takes variables of others as well and does nothing
# about them. Its own counts from the start of the transaction, since `ob_trx_idle_timeout` leaves many idle ones alone
# for minutes (the same); MariaDB's counts while the client is silent. The last one, which every MySQL knows, drops idle
# connections that hold nothing as well: the pool tries each before it gives it out.
_DROPPING: tuple[str, ...] = ("ob_trx_timeout = {0}000000", "idle_transaction_timeout = {0}", "wait_timeout = {0}")
# How long a server lets somebody wait for the lock. It must be over before the lock is dropped: else it would be given
# to the next writer of the very replica that is frozen. And before `read_timeout`, else the wait goes on unseen.
_LOCK_WAIT = 4  # seconds; InnoDB takes up to one more
_WAITING = ("ob_trx_lock_timeout = {0}000000", "innodb_lock_wait_timeout = {0}")
# Three are how long a statement may take, in microseconds, seconds and milliseconds; 0 is as long as it likes.
_PREPARATION: Preparation = (
    # Some servers greet without saying that autocommit is on, so that the driver would leave it so.
    session_variables.EVERYWHERE | {"autocommit": "0", "lc_messages": "'en_US'"},
    {"ob_query_timeout": "10000000", **session_variables.OCEANBASE},
    {"max_statement_time": "0", "alter_algorithm": "'DEFAULT'"},  # MariaDB's; else it may refuse to make an index
    {"max_execution_time": "0"},
    # A change of a table waits for whoever reads it, such as a backup, and whoever comes later waits for the change.
    {"lock_wait_timeout": f"{_LOCK_WAIT}"},
)
# What is read has all that was written before, through whichever node of a cluster: Galera's and Group Replication's.
_CAUSAL = ("wsrep_sync_wait = 7", "group_replication_consistency = 'BEFORE'")
_ISOLATION = "SET SESSION TRANSACTION ISOLATION LEVEL {}, READ WRITE"
LOCK_TRIES = 4  # together longer than ``DROPPED_AFTER``
_LOCK_WAIT_TIMEOUT = 1205  # MySQL's, MariaDB's and OceanBase's


class SharedServer:
    """What connections to a server have to heed; ``tls`` is how it is logged in to."""

    options: Mapping[str, Any] = MappingProxyType(  # for the engine
        {
            "connect_args": {
                "connect_timeout": CONNECT_TIMEOUT,
                "read_timeout": READ_TIMEOUT,
                "charset": session_variables.CHARACTER_SET,
                "collation": session_variables.COLLATION,
            },
        }
    )

    def __init__(self, tls: Tls) -> None:
        self.drops_frozen = True  # whether the server ends what a frozen replica holds, as far as it was asked yet
        self._tls = tls

    def listen(self, engine: sa.Engine) -> None:
        """Look after every connection that the engine makes."""
        self._dialect = engine.dialect
        KeptConnections(engine, self._connect)

    def _connect(self, named: Mapping[str, Any]) -> Any:
        """Open a connection in the place of SQLAlchemy, which then quotes names by the sql_mode that it finds."""
        connection = self._log_in(named)
        try:
            prepare(connection, _PREPARATION)
            with contextlib.closing(connection.cursor()) as cursor:
                cursor.execute(_ISOLATION.format(self._isolation(cursor)))
                self._set_first(cursor, _CAUSAL)
                self._set_first(cursor, _WAITING, _LOCK_WAIT)
                self.drops_frozen = self._set_first(cursor, _DROPPING, DROPPED_AFTER)
        except BaseException:
            connection.close()
            raise
        return connection

    def _log_in(self, named: Mapping[str, Any]) -> Any:
        """Log in as to a data source: the password goes only where ``tls`` lets it."""
        try:
            return login(self._tls, **named)
        except UnsafeConnectionError as error:
            raise StoreAwayError(f"The store's database {error}") from error

    def _isolation(self, cursor: Any) -> str:
        """Choose a level at which whoever waited for the lock sees what it was held for.

        That is READ COMMITTED, but InnoDB refuses to write at it where statements are replicated as such (1665).
        There a transaction sees what was committed before its first plain read, which is after the lock; on
        OceanBase it would be before.
        """
        try:
            cursor.execute("SELECT 1 FROM DUAL WHERE @@log_bin AND @@binlog_format = 'STATEMENT'")
            return "REPEATABLE READ" if cursor.fetchall() else "READ COMMITTED"
        except self._dialect.loaded_dbapi.Error as error:
            self._raise_if_lost(error)
            return "READ COMMITTED"

    def _set_first(self, cursor: Any, variables: Sequence[str], seconds: int = 0) -> bool:
        for variable in variables:
            try:
                cursor.execute(f"SET SESSION {variable.format(seconds)}")
            except self._dialect.loaded_dbapi.Error as error:
                self._raise_if_lost(error)
            else:
                return True
        return False

    def _raise_if_lost(self, error: Any) -> None:
        if self._dialect.is_disconnect(error, None, None):
            raise error


def is_held(error: SQLAlchemyError) -> bool:
    """Whether somebody else held the lock for all the time that one waits for it."""
    return isinstance(error, DBAPIError) and getattr(error.orig, "args", ())[:1] == (_LOCK_WAIT_TIMEOUT,)
