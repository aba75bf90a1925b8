"""Open transactions of OceanBase and seekdb: who has them, since when, and how much they have changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bot.sessions.database import Connection, Row
from bot.sessions.dialect import Tenants
from bot.sessions.model import Transaction
from bot.sessions.oceanbase.details import readable
from bot.sessions.transactions import Begun, Told
from bot.sessions.waits.reading import Party

# Where the size of a transaction's log is, by version: that of seekdb 1.4 is the last.
_CHANGES = (
    "oceanbase.GV$OB_TRANSACTION_PARTICIPANTS",
    "oceanbase.V$OB_TRANSACTION_PARTICIPANTS",
    "oceanbase.V$OB_TRANSACTION_WRITE_STATE",
)
_WITHOUT = "The bot's login may not read {}, so how much a transaction has changed is not known (GRANT SELECT ON it)."
_OWN_WORK = 1  # sessions 0 and 1 are the server's own (docs/oceanbase.md 4.6)
# States in which nothing is open: none was begun, or all is done. [kernel] the view's definition names all states.
_NOT_OPEN = ("INVALID", "IDLE", "ROLLED_BACK", "COMMITTED", "SUB_COMMITTED", "SUB_ROLLBACKED")
_PREPARED = "SUB_PREPARED"


@dataclass(frozen=True, slots=True)
class OceanBaseTransactions:
    """The views that this login may read."""

    view: str
    columns: frozenset[str]
    tenants: Tenants
    login_tenant: str | None
    changes: str | None  # where the size of their logs is
    leaders: bool  # whether that view names the role of each replica
    lacks: tuple[str, ...] = ()  # sentences on what this login may not read of them

    @classmethod
    def probe(
        cls, connection: Connection, view: str, tenants: Tenants, login_tenant: str | None
    ) -> OceanBaseTransactions | None:
        """Find out what there is in ``view`` and beside it; None where that does not tell who has a transaction."""
        columns = frozenset(connection.columns(view))
        if not columns >= {"SESSION_ID", "STATE"}:
            return None
        refused: list[str] = []
        changes = readable(connection, "tx_id, pending_log_size, flushed_log_size", _CHANGES, refused)
        leaders = changes is not None and "ROLE" in connection.columns(changes)
        lacks = tuple(map(_WITHOUT.format, refused)) if changes is None else ()
        return cls(view, columns, tenants, login_tenant, changes, leaders, lacks)

    def read(self, connection: Connection, most: int) -> Told:
        """Read them, oldest first, with how much each has changed. Raises one of the ``DataSourceError`` family."""
        rows = self._rows(connection, most)
        return Told(self._begun(rows, self._sizes(connection) if rows else {}), self.lacks)

    def begun(self, connection: Connection, most: int) -> tuple[Callable[[], Sequence[Begun]], bool]:
        """Read them, oldest first, and not how much they have changed, which costs as much. Raises as ``read``.

        They are put together while the server is at the next statement; also returned is whether XA has prepared any.
        """
        rows = self._rows(connection, most)
        return connection.meanwhile(lambda: self._begun(rows, {})), any(state == _PREPARED for _, _, state, *_ in rows)

    def _rows(self, connection: Connection, most: int) -> list[Row]:
        by_tenant = self.tenants.view is not None and "TENANT_ID" in self.columns
        tenant = "theirs.tenant_name" if by_tenant else "NULL"
        named = f" LEFT JOIN {self.tenants.view} AS theirs ON theirs.tenant_id = its.tenant_id" if by_tenant else ""
        its_tenant = "its.tenant_id" if "TENANT_ID" in self.columns else "0"
        xa = "its.formatid, its.globalid, its.branchid" if "GLOBALID" in self.columns else "NULL, NULL, NULL"
        return connection.rows(
            "SELECT its.session_id, its.tx_id, its.state, TIMESTAMPDIFF(MICROSECOND, its.active_time, NOW(6)) / 1e6, "
            f"UNIX_TIMESTAMP(its.active_time), {tenant}, {its_tenant}, {xa} FROM {self.view} AS its{named} "
            "WHERE its.state NOT IN %s AND (its.session_id > %s OR its.state = %s) "
            "ORDER BY its.active_time, its.tx_id LIMIT %s",
            (_NOT_OPEN, _OWN_WORK, _PREPARED, most),
        )

    def _begun(self, rows: Sequence[Row], sizes: Mapping[tuple[int, int], int]) -> tuple[Begun, ...]:
        found = []
        for session, transaction, state, age, started, name, whose, *xid in rows:
            begun = Transaction(
                int(transaction),
                str(state),
                float(started) if started is not None else None,
                max(0.0, float(age)) if age is not None else None,
                bytes_changed=sizes.get((int(whose or 0), int(transaction))) if sizes else None,
            )
            tenant_name = str(name) if name else (self.login_tenant if not self.tenants.several else None)
            number = int(session or 0)
            party = Party(number if number > _OWN_WORK else None, int(transaction), tenant_name)
            found.append(Begun(begun, party, _xid(*xid), prepared=state == _PREPARED))
        return tuple(found)

    def _sizes(self, connection: Connection) -> dict[tuple[int, int], int]:
        """Return the bytes of log of each transaction, by tenant and number: of one replica of each stream."""
        if self.changes is None:
            return {}
        whose = "tenant_id" if "TENANT_ID" in self.columns else "0 * tx_id"
        leaders = " WHERE role = 'LEADER'" if self.leaders else ""
        rows = connection.rows(
            f"SELECT {whose}, tx_id, SUM(pending_log_size + flushed_log_size) FROM {self.changes}{leaders} "
            f"GROUP BY {whose}, tx_id"
        )
        return {(int(tenant), int(transaction)): int(size or 0) for tenant, transaction, size in rows}


def _xid(form: object, glob: object, branch: object) -> str | None:
    """Write the name of an XA transaction as XA COMMIT takes it; the views have its parts in hexadecimal digits."""
    if not glob:
        return None
    return ", ".join((f"X'{glob}'", f"X'{branch or ''}'", str(form)))
