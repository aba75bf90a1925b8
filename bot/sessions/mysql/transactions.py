"""Open transactions of MySQL and MariaDB: those of InnoDB."""

from __future__ import annotations

from bot.sessions.database import Connection
from bot.sessions.model import Transaction
from bot.sessions.mysql.columns import TRANSACTION_STARTED, TRANSACTIONS
from bot.sessions.transactions import Begun, Told
from bot.sessions.waits.reading import Party

ROLLING_BACK = "ROLLING BACK"

# A plain SELECT that locks nothing is a transaction to InnoDB, to nobody else. Both servers tell the start in whole
# seconds, so an age may be up to one second too large.
_OPEN = (
    "SELECT trx_mysql_thread_id, trx_id, trx_state, UNIX_TIMESTAMP(NOW(6)) - started, started, trx_rows_modified "
    f"FROM (SELECT trx_mysql_thread_id, trx_id, trx_state, trx_rows_modified, {TRANSACTION_STARTED} AS started "
    f"FROM {TRANSACTIONS} WHERE trx_autocommit_non_locking = 0) AS open ORDER BY started LIMIT %s"
)


def read(connection: Connection, most: int) -> Told:
    """Read them, oldest first. Raises one of the ``DataSourceError`` family.

    One without a thread was prepared by XA, whose session may be there still (MySQL) or not; but for one that the
    server rolls back by itself after a crash (docs/oceanbase.md 8.4).
    """
    found = []
    for thread, number, state, age, started, rows in connection.rows(_OPEN, (most,)):
        transaction = Transaction(
            int(number) or None, str(state), float(started), max(0.0, float(age)), rows_changed=int(rows)
        )
        prepared = not thread and state != ROLLING_BACK
        found.append(Begun(transaction, Party(int(thread) or None), prepared=prepared))
    return Told(tuple(found))
