"""Open transactions of MySQL and MariaDB: those of InnoDB."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from bot.sessions.database import Connection, Row
from bot.sessions.model import Transaction
from bot.sessions.mysql.columns import TRANSACTION_STARTED, TRANSACTIONS
from bot.sessions.transactions import Begun, Told
from bot.sessions.waits.reading import Party

ROLLING_BACK = "ROLLING BACK"

_WAIT_STARTED = TRANSACTION_STARTED.replace("trx_started", "trx_wait_started")
# A plain SELECT that locks nothing is a transaction to InnoDB, to nobody else. Both servers tell the start in whole
# seconds, so an age may be up to one second too large.
_OPEN = (
    f"SELECT trx_id, trx_state, trx_mysql_thread_id, trx_requested_lock_id, UNIX_TIMESTAMP() - {_WAIT_STARTED}, "
    f"trx_lock_structs, {TRANSACTION_STARTED} AS started, UNIX_TIMESTAMP(NOW(6)) - {TRANSACTION_STARTED}, "
    f"trx_rows_modified FROM {TRANSACTIONS} WHERE trx_autocommit_non_locking = 0"
)
_OLDEST = f"{_OPEN} ORDER BY started, trx_id LIMIT %s"


class InnoDBTransaction(NamedTuple):
    """A row of ``TRANSACTIONS``."""

    id: int  # MariaDB: 0 of each that has written nothing, so that several have it
    state: str
    session_id: int  # 0 of one that no session has
    requested_lock: str | None
    waited: float | None  # seconds, whole ones
    locks: int  # its lock structures: 0 of one that only reads
    started: float | None  # seconds since the epoch, whole ones
    age: float | None  # seconds
    rows_changed: int

    @property
    def prepared(self) -> bool:
        """Whether XA has prepared it and it has no session, as far as the view tells.

        That of MySQL may be there still; what has none may also be rolled back by a server that has crashed
        (docs/oceanbase.md 8.4).
        """
        return self.session_id == 0 and self.state != ROLLING_BACK


def read(connection: Connection, most: int) -> Told:
    """Read them, oldest first. Raises one of the ``DataSourceError`` family."""
    return Told(
        tuple(
            Begun(
                Transaction(one.id or None, one.state, one.started, one.age, rows_changed=one.rows_changed),
                Party(one.session_id or None),
                prepared=one.prepared,
            )
            for one in read_all(connection, most)
        )
    )


def read_all(connection: Connection, most: int | None = None) -> list[InnoDBTransaction]:
    """Read them with what they wait for, all or so many of the oldest.

    Raises one of the ``DataSourceError`` family.
    """
    return of_rows(rows_of(connection, most))


def rows_of(connection: Connection, most: int | None = None) -> list[Row]:
    """Read the rows that these are made of. Raises as ``read_all``."""
    return connection.rows(_OPEN) if most is None else connection.rows(_OLDEST, (most,))


def of_rows(rows: Iterable[Row]) -> list[InnoDBTransaction]:
    """Make them of their rows."""
    return [
        InnoDBTransaction(
            int(number),
            str(state),
            int(session),
            str(lock) if lock else None,
            _seconds(waited),
            int(locks),
            _seconds(begun),
            _seconds(age),
            int(changed),
        )
        for number, state, session, lock, waited, locks, begun, age, changed in rows
    ]


def _seconds(cell: Any) -> float | None:
    return None if cell is None else max(float(cell), 0.0)
