"""OceanBase and seekdb: transactions, row locks and plans of one session."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bot.errors import ConnectionLostError, DataSourceError, DataSourceTimeoutError, PrivilegeMissingError
from bot.sessions.database import Connection, Value
from bot.sessions.details import Find, LockHolder, SessionDetails
from bot.sessions.dialect import Tenants
from bot.sessions.model import Session

_TRANSACTIONS = ("oceanbase.GV$OB_TRANSACTION_SCHEDULERS", "oceanbase.V$OB_TRANSACTION_SCHEDULERS")
_LOCKS = ("oceanbase.GV$OB_LOCKS", "oceanbase.V$OB_LOCKS")
# The global variables of every tenant, for a login of sys; seekdb 1.3 has it without TENANT_ID.
SYS_VARIABLES = "oceanbase.CDB_OB_SYS_VARIABLES"
TENANTS = ("oceanbase.DBA_OB_TENANTS",)  # the sys tenant's; seekdb has none
_PLANS = ("oceanbase.__all_virtual_processlist",)  # the sys tenant's; no documented view has the plan's id

_EDGES = 20  # holders and waiters read of one session; more would not help anybody who reads them


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

    def read(self, connection: Connection, session: Session, find: Find) -> SessionDetails:
        """Ask for all of it; raises one of the ``DataSourceError`` family."""
        return SessionDetails(
            session,
            self._age(connection, session, session.transaction_id, session.id),
            self._plan(connection, session),
            self._holders(connection, session, find),
            self._waiters(connection, session, find),
            names_holders=self.locks is not None and self._narrowed(session, "trans_id", "session_id") is not None,
        )

    def _age(
        self, connection: Connection, session: Session, transaction_id: int | None, session_id: int | None
    ) -> float | None:
        """Return the age of a transaction in the tenant of ``session``; ``session_id`` has it, as the server says."""
        if self.transactions is None or transaction_id is None:
            return None
        of, whose = self.tenants.narrowed(session.tenant, "session_id", session_id)
        rows = connection.rows(
            f"SELECT TIMESTAMPDIFF(MICROSECOND, active_time, NOW(6)) FROM {self.transactions} "
            f"WHERE tx_id = %s{of} LIMIT 1",
            (transaction_id, *whose),
        )
        return max(0.0, float(rows[0][0]) / 1e6) if rows and rows[0][0] is not None else None

    def _plan(self, connection: Connection, session: Session) -> int | None:
        if self.plans is None or session.trace_id is None:
            return None
        rows = connection.rows(
            f"SELECT plan_id FROM {self.plans} WHERE id = %s AND trace_id = %s LIMIT 1", (session.id, session.trace_id)
        )
        return int(rows[0][0]) if rows and rows[0][0] else None

    def _narrowed(self, session: Session, number: str, whose: str) -> tuple[str, tuple[Value, ...]] | None:
        """Narrow the view of locks to a session's own rows; None where that cannot be done.

        By its transaction and tenant: what the view names as a session may be the server's own, of one that the list
        shows as its client's (docs/oceanbase.md 4.1).
        """
        transaction = session.transaction_id
        if transaction is not None and self.tenants.told:
            of, values = self.tenants.narrowed(session.tenant, whose, None)
            return f"{number} = %s{of}", (transaction, *values)
        if session.client_session:
            return None
        if transaction is None:
            return f"{whose} = %s", (session.id,)
        return f"{number} = %s AND {whose} = %s", (transaction, session.id)

    def _holders(self, connection: Connection, session: Session, find: Find) -> tuple[LockHolder, ...]:
        narrowed = self._narrowed(session, "trans_id", "session_id")
        if self.locks is None or not session.waits or narrowed is None:
            return ()
        which, values = narrowed
        rows = connection.rows(
            f"SELECT id2, id1, MAX(ctime) FROM {self.locks} WHERE block = 1 AND {which} "
            f"GROUP BY id2, id1 LIMIT {_EDGES}",
            values,
        )
        edges = [(number(holder), number(transaction), waited) for holder, transaction, waited in rows]
        found = _found(find, session.tenant, (transaction for _, transaction, _ in edges))
        return tuple(
            self._holder(connection, session, holder, transaction, waited, _one_of(found, transaction, holder))
            for holder, transaction, waited in edges
        )

    def _holder(
        self,
        connection: Connection,
        waiter: Session,
        holder: int | None,
        transaction: int | None,
        waited: object,
        session: Session | None,
    ) -> LockHolder:
        return LockHolder(
            session.id if session is not None else holder,
            float(str(waited or 0)) / 1e6,  # CTIME is in microseconds
            self._age(connection, waiter, transaction, holder),
            session,
        )

    def _waiters(self, connection: Connection, session: Session, find: Find) -> tuple[int, ...]:
        narrowed = self._narrowed(session, "id1", "id2")
        if self.locks is None or session.transaction_id is None or narrowed is None:
            return ()
        which, values = narrowed
        rows = connection.rows(
            f"SELECT DISTINCT session_id, trans_id FROM {self.locks} WHERE block = 1 AND {which} LIMIT {_EDGES}",
            values,
        )
        edges = [(number(waiter), number(transaction)) for waiter, transaction in rows]
        found = _found(find, session.tenant, (transaction for _, transaction in edges))
        listed = ((waiter, _one_of(found, transaction, waiter)) for waiter, transaction in edges)
        ids = {one.id if one is not None else waiter for waiter, one in listed}
        return tuple(sorted(number for number in ids if number is not None))


def _found(find: Find, tenant: str | None, transactions: Iterable[int | None]) -> list[Session]:
    numbers = {number for number in transactions if number is not None}
    return find(tenant, numbers) if numbers else []


def _one_of(found: Iterable[Session], transaction: int | None, named: int | None) -> Session | None:
    """Return the session that is in a transaction: the one that is ``named``, else none that does a part for another.

    An id alone may be another server's; locks are held within one tenant.
    """
    there = [one for one in found if one.transaction_id == transaction]
    return min(there, key=lambda one: (one.id != named, bool(one.master_session_id)), default=None)


def number(cell: object) -> int | None:
    """Read an id that a view may leave out: as NULL, as '' or as 0. Whatever else is no number is none."""
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
