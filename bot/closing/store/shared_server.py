"""A store on a MySQL-compatible server, which replicas share: none may keep the others waiting for long."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from bot.errors import StoreError, UnsafeConnectionError
from bot.sessions.database import login
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
LOCK_TRIES = 4  # together longer than ``DROPPED_AFTER``
_LOCK_WAIT_TIMEOUT = 1205  # MySQL's, MariaDB's and OceanBase's


class SharedServer:
    """What connections to a server have to heed; ``tls`` is how it is logged in to."""

    options: Mapping[str, Any] = MappingProxyType(  # for the engine
        {
            "connect_args": {"connect_timeout": 3, "read_timeout": 6},
            "pool_pre_ping": True,
            "isolation_level": "READ COMMITTED",  # whoever waited for a lock must see what it was held for
        }
    )

    def __init__(self, tls: Tls) -> None:
        self.drops_frozen = True  # whether the server ends what a frozen replica holds, as far as it was asked yet
        self._tls = tls

    def listen(self, engine: sa.Engine) -> None:
        """Look after every connection that the engine makes."""
        self._dialect = engine.dialect
        sa.event.listen(engine, "do_connect", self._log_in)
        sa.event.listen(engine, "connect", self._limit)

    def _log_in(self, _dialect: object, _record: object, _positional: object, named: dict[str, Any]) -> Any:
        """Log in as to a data source, in the place of SQLAlchemy: the password goes only where ``tls`` lets it."""
        try:
            return login(self._tls, **named)
        except UnsafeConnectionError as error:
            raise StoreError(f"The store's database {error}") from error

    def _limit(self, connection: Any, _record: Any) -> None:
        """Let a new connection wait for a lock, and hold one, for seconds only."""
        with contextlib.closing(connection.cursor()) as cursor:
            # Some servers greet without saying that this is on, so that the driver would leave it so.
            cursor.execute("SET autocommit = 0")
            cursor.execute("SET time_zone = '+00:00'")  # in which no hour of the store's clock is there twice
            self._set_first(cursor, _WAITING, _LOCK_WAIT)
            self.drops_frozen = self._set_first(cursor, _DROPPING, DROPPED_AFTER)

    def _set_first(self, cursor: Any, variables: Sequence[str], seconds: int) -> bool:
        for variable in variables:
            try:
                cursor.execute(f"SET SESSION {variable.format(seconds)}")
            except self._dialect.loaded_dbapi.Error as error:
                if self._dialect.is_disconnect(error, None, None):
                    raise
            else:
                return True
        return False


def is_held(error: SQLAlchemyError) -> bool:
    """Whether somebody else held the lock for all the time that one waits for it."""
    return isinstance(error, DBAPIError) and getattr(error.orig, "args", ())[:1] == (_LOCK_WAIT_TIMEOUT,)
