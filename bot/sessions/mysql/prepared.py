"""What XA has prepared on MySQL and MariaDB: transactions that no session has, and their XIDs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from bot.errors import ConnectionLostError, DataSourceError, DataSourceTimeoutError
from bot.sessions.database import Connection, Row
from bot.sessions.model import READ_ONLY, Transaction
from bot.sessions.mysql.transactions import InnoDBTransaction
from bot.sessions.waits.graph import Prepared
from bot.sessions.waits.reading import Party


@dataclass(slots=True)
class PreparedTransactions:
    """Tells the transactions that XA has prepared from those that a session has."""

    connection: Connection
    transactions: Sequence[InnoDBTransaction]
    _known: tuple[str, ...] | None = field(default=None, init=False)
    _asked: bool = field(default=False, init=False)

    def or_party(self, one: InnoDBTransaction) -> tuple[Party | Prepared, object]:
        """Return who has a transaction, and what tells that one from others."""
        if one.session_id:
            number = one.id if 0 < one.id < READ_ONLY else None  # such a one stays the same while it lasts
            return Party(one.session_id, number), one.session_id
        transaction = Transaction(one.id, one.state or None, one.started, one.age, rows_changed=one.rows_changed)
        return Prepared(transaction, xid=self._xid()), ("prepared", one.id)

    def _xid(self) -> str | None:
        """The one XID that is prepared; None where there are several: none is told with its transaction."""
        if not self._asked:
            self._asked = True
            self._known = prepared_xids(self.connection)
        return self._known[0] if self._known is not None and len(self._known) == 1 else None


def prepared_xids(connection: Connection) -> tuple[str, ...] | None:
    """Return the XIDs that are prepared, as XA COMMIT takes them; None where the login may not know (MySQL).

    Raises where the connection is lost.
    """
    for sql in ("XA RECOVER FORMAT='SQL'", "XA RECOVER CONVERT XID"):  # MariaDB's and MySQL's
        try:
            rows = connection.rows(sql)
        except (ConnectionLostError, DataSourceTimeoutError):
            raise
        except DataSourceError:
            continue
        return tuple(_xid(row) for row in rows)
    return None


def _xid(row: Row) -> str:
    form, length, _, data = row
    if not str(data).startswith("0x"):
        return str(data)
    both = bytes.fromhex(str(data)[2:])
    parts = both[: int(length)], both[int(length) :]
    shown = [f"'{part.decode()}'" if _PLAIN.fullmatch(part) else f"0x{part.hex()}" for part in parts]
    return ",".join((*(shown if parts[1] or int(form) != 1 else shown[:1]), *([str(form)] if int(form) != 1 else [])))


_PLAIN = re.compile(rb"[A-Za-z0-9_.:@/ -]+")
