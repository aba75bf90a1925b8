"""OceanBase and seekdb: transaction and plan of one session, and the views that this and more is read from."""

from __future__ import annotations

from dataclasses import dataclass

from bot.errors import ConnectionLostError, DataSourceError, DataSourceTimeoutError, PrivilegeMissingError
from bot.sessions.database import Connection
from bot.sessions.details import SessionDetails
from bot.sessions.dialect import Tenants
from bot.sessions.model import Session

_TRANSACTIONS = ("oceanbase.GV$OB_TRANSACTION_SCHEDULERS", "oceanbase.V$OB_TRANSACTION_SCHEDULERS")
_LOCKS = ("oceanbase.GV$OB_LOCKS", "oceanbase.V$OB_LOCKS")
# The global variables of every tenant, for a login of sys; seekdb 1.3 has it without TENANT_ID.
SYS_VARIABLES = "oceanbase.CDB_OB_SYS_VARIABLES"
TENANTS = ("oceanbase.DBA_OB_TENANTS",)  # the sys tenant's; seekdb has none
_PLANS = ("oceanbase.__all_virtual_processlist",)  # the sys tenant's; no documented view has the plan's id


@dataclass(frozen=True, slots=True)
class OceanBaseDetails:
    """The views that this login may read, None where there is none."""

    transactions: str | None
    locks: str | None
    plans: str | None
    tenants: Tenants
    transaction_servers: bool = False  # whether that view names the server of each

    @classmethod
    def probe(cls, connection: Connection, refused: list[str], *, several_tenants: bool) -> OceanBaseDetails:
        """Find out which views there are; adds to ``refused`` those that are there, but not for this login."""
        transactions = readable(connection, "tx_id, active_time", _TRANSACTIONS, refused)
        # With ID3 the view says which session holds the lock; without it (before 4.2.5 and 4.3.2)
        # the same columns mean something else (docs/oceanbase.md 5.2).
        locks = readable(connection, "session_id, id3", _LOCKS, refused)
        plans = readable(connection, "plan_id", _PLANS, refused)
        tell = several_tenants and all(
            "TENANT_ID" in connection.columns(view) for view in (transactions, locks) if view is not None
        )
        tenants = readable(connection, "tenant_id, tenant_name", TENANTS, []) if tell else None
        servers = transactions is not None and "SVR_IP" in connection.columns(transactions)
        return cls(transactions, locks, plans, Tenants(several_tenants, tenants), servers)

    def read(self, connection: Connection, session: Session) -> SessionDetails:
        """Ask for all of it; raises one of the ``DataSourceError`` family."""
        return SessionDetails(session, self._age(connection, session), self._plan(connection, session))

    def _age(self, connection: Connection, session: Session) -> float | None:
        """Return the age of a session's transaction."""
        if self.transactions is None or session.transaction_id is None:
            return None
        of, whose = self.tenants.narrowed(session.tenant, "session_id", session.id)
        rows = connection.rows(
            f"SELECT TIMESTAMPDIFF(MICROSECOND, active_time, NOW(6)) FROM {self.transactions} "
            f"WHERE tx_id = %s{of} LIMIT 1",
            (session.transaction_id, *whose),
        )
        return max(0.0, float(rows[0][0]) / 1e6) if rows and rows[0][0] is not None else None

    def _plan(self, connection: Connection, session: Session) -> int | None:
        if self.plans is None or session.trace_id is None:
            return None
        rows = connection.rows(
            f"SELECT plan_id FROM {self.plans} WHERE id = %s AND trace_id = %s LIMIT 1", (session.id, session.trace_id)
        )
        return int(rows[0][0]) if rows and rows[0][0] else None


def number(cell: object) -> int | None:
    """Read an id that a view may leave out: as NULL, as '' or as 0. Whatever else is no number is none."""
    if isinstance(cell, int):
        return cell if cell > 0 else None
    text = str(cell or "")
    return int(text) or None if text.isdecimal() else None


def readable(connection: Connection, columns: str, views: tuple[str, ...], refused: list[str]) -> str | None:
    """Return the first of these views that has the columns and may be read by this login.

    Where there is none, the first that a privilege is lacking for is added to ``refused``.
    """
    closed = []
    for view in views:
        try:
            connection.rows(f"SELECT {columns} FROM {view} LIMIT 0")
        except (ConnectionLostError, DataSourceTimeoutError):
            raise
        except PrivilegeMissingError:
            closed.append(view)
            continue
        except DataSourceError:
            continue  # not in this version
        return view
    refused += closed[:1]
    return None
