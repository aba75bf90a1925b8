"""OceanBase and seekdb: who waits for a row that somebody else has locked, in each form that versions have.

docs/oceanbase.md 5.2.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bot.errors import ConnectionLostError, DataSourceError, DataSourceTimeoutError
from bot.sessions.database import Connection
from bot.sessions.dialect import Tenants
from bot.sessions.model import WaitKind
from bot.sessions.oceanbase.details import number, readable
from bot.sessions.waits.reading import Edge, Party

_OF_ALL_TENANTS = "oceanbase.CDB_OBJECTS"  # for a login of sys
_OF_ONE = "oceanbase.DBA_OBJECTS"
OBJECTS = (_OF_ALL_TENANTS, _OF_ONE)

_WITHOUT_SESSIONS = ("oceanbase.GV$OB_LOCKS", "oceanbase.V$OB_LOCKS")
_WAITS = ("oceanbase.__all_virtual_lock_wait_stat",)  # the sys tenant's
_HELD = ("oceanbase.__all_virtual_trans_lock_stat",)


def probe(connection: Connection, view: str | None, tenants: Tenants, refused: list[str]) -> RowLocks | None:
    """Find what tells waits; ``view`` is GV$OB_LOCKS where it has ID3. None where this login reads no form of it.

    Adds to ``refused`` as ``readable`` does. Raises ``ConnectionLostError`` or ``DataSourceTimeoutError``.
    """
    found = _form(connection, view, tenants)
    if found is None:
        return None
    form, view = found
    tablets = Tablets() if form is QueuesByTable else Tablets.probe(connection, tenants, refused)
    return form(view, tenants, tablets)


def _form(connection: Connection, view: str | None, tenants: Tenants) -> tuple[type[RowLocks], str] | None:
    if view is not None:
        return BothEnds, view
    # Without sessions and without tenants nothing tells two transactions of one number apart.
    older = (
        readable(connection, "trans_id, type, id1, id2, ctime, block", _WITHOUT_SESSIONS, []) if tenants.told else None
    )
    if older is not None:
        return LocksOfTransactions, older
    for columns, form in (
        ("tablet_id, rowkey, session_id, time_after_recv, trans_id, holder_trans_id", WaitStatistics),
        ("tablet_id, rowkey, session_id, time_after_recv", Queues),
        ("table_id, rowkey, session_id, time_after_recv", QueuesByTable),
    ):
        waits = readable(connection, columns, _WAITS, [])
        if waits is not None:
            return form, waits
    return None


@dataclass(frozen=True, slots=True)
class Tablets:
    """What tells which table a tablet is of; an index has tablets of its own, and is told by its own name."""

    view: str | None = None  # None where nothing that this login may read tells it
    tenant: str = "NULL"  # the column with the tenant's id, where several may have a tablet of that number

    @classmethod
    def probe(cls, connection: Connection, tenants: Tenants, refused: list[str]) -> Tablets:
        """Find the view; adds to ``refused`` as ``readable`` does.

        Raises ``ConnectionLostError`` or ``DataSourceTimeoutError``.
        """
        if tenants.several and tenants.view is None:
            return cls()  # another tenant's table may have that number
        views, tenant = ((_OF_ALL_TENANTS,), "con_id") if tenants.several else ((_OF_ONE, _OF_ALL_TENANTS), "NULL")
        return cls(
            readable(connection, f"object_type, owner, object_name, data_object_id, {tenant}", views, refused), tenant
        )

    def names(self, connection: Connection, tablets: Collection[int]) -> Mapping[tuple[int | None, int], str]:
        """Return ``database.table`` by the tenant's id and the tablet's; what cannot be read now is left out."""
        if self.view is None or not tablets:
            return {}
        try:
            rows = connection.rows(
                f"SELECT {self.tenant}, data_object_id, object_type, owner, object_name FROM {self.view} "
                "WHERE data_object_id IN %s",
                (tuple(tablets),),
            )
        except (ConnectionLostError, DataSourceTimeoutError):
            raise
        except DataSourceError:
            return {}  # who waits for whom is worth more than the name of a table
        return {
            (number(tenant), int(tablet)): f"{owner}.{name}{' (index)' if str(kind).startswith('INDEX') else ''}"
            for tenant, tablet, kind, owner, name in rows
        }


class Row(NamedTuple):
    """One wait, as a view has it. A ``transaction`` is a number; None where the view does not tell."""

    lock: str  # tablet (a table's id on OceanBase 3) and row, '' where the view names the holder's transaction alone
    waited: int  # microseconds since the waiter's request came
    tenant: int | None
    waiter: int | None
    waiting: int | None  # its transaction
    holder: int | None
    holding: int | None  # its transaction
    of_table: bool = False  # whether it is for a table as a whole


@dataclass(frozen=True, slots=True)
class RowLocks(ABC):
    """One form in which a version tells who waits for a row, or for a table that a transaction has locked."""

    view: str
    tenants: Tenants
    tablets: Tablets

    def waits(self, connection: Connection) -> Callable[[], Sequence[Edge]]:
        """Read all of them, to be put together while the server is at the next statement.

        Raises one of the ``DataSourceError`` family.
        """
        rows = self._rows(connection)
        tables = self._tables(connection, rows)
        tenants = self._tenants(connection) if rows else {}
        return connection.meanwhile(
            lambda: [self._edge(row, tables.get((row.tenant, row.lock)), tenants.get(row.tenant)) for row in rows]
        )

    @abstractmethod
    def _rows(self, connection: Connection) -> Sequence[Row]:
        """Read all of them; raises one of the ``DataSourceError`` family."""

    @property
    def _tenant(self) -> str:
        return "tenant_id" if self.tenants.view is not None else "NULL"

    def _edge(self, row: Row, table: str | None, tenant: str | None) -> Edge:
        named = row.holder is not None or (row.holding is not None and self.tenants.told)
        return Edge(
            self._party(row.waiter, row.waiting, tenant),
            self._party(row.holder, row.holding, tenant) if named else None,
            WaitKind.TABLE_LOCK if row.of_table else WaitKind.ROW_LOCK,
            self.view,
            row.waited / 1e6,
            table,
            row.lock or None,
        )

    def _tables(self, connection: Connection, rows: Sequence[Row]) -> Mapping[tuple[int | None, str], str]:
        """Return ``database.table`` by the tenant's id and the lock, each worked out once: many wait for one row."""
        tablets = {
            (row.tenant, row.lock): number(row.lock.partition("-")[0])
            for row in {(row.tenant, row.lock): row for row in rows}.values()
        }
        names = self.tablets.names(connection, {tablet for tablet in tablets.values() if tablet is not None})
        several = self.tenants.several
        return {
            place: name
            for place, tablet in tablets.items()
            if tablet is not None and (name := names.get((place[0] if several else None, tablet))) is not None
        }

    def _party(self, session: int | None, transaction: int | None, tenant: str | None) -> Party:
        if not self.tenants.told:  # another tenant's transaction may have that number, and a session has its id alone
            return Party(session)
        return Party(session, transaction, tenant)

    def _tenants(self, connection: Connection) -> Mapping[int | None, str]:
        if self.tenants.view is None:
            return {}
        rows = connection.rows(f"SELECT tenant_id, tenant_name FROM {self.tenants.view}")
        return {int(tenant): str(name) for tenant, name in rows}


@dataclass(frozen=True, slots=True)
class BothEnds(RowLocks):
    """The view that names session and transaction of both ends: GV$OB_LOCKS with ID3."""

    def holding(self, connection: Connection) -> Mapping[Party, frozenset[str]]:
        """Return who has locked which tables, each as ``database.table``, in writing them or as a whole.

        Raises one of the ``DataSourceError`` family.
        """
        rows = [
            Row(str(lock or ""), 0, number(tenant), None, None, number(holder), number(holding))
            for tenant, holder, holding, lock in connection.rows(
                f"SELECT {self._tenant}, session_id, trans_id, id3 FROM {self.view} WHERE type = 'TM' AND block = 0"
            )
        ]
        tables = self._tables(connection, rows)
        tenants = self._tenants(connection) if rows else {}
        found: dict[Party, set[str]] = {}
        for row in rows:
            table = tables.get((row.tenant, row.lock))
            if row.holder is not None and table is not None:
                found.setdefault(self._party(row.holder, row.holding, tenants.get(row.tenant)), set()).add(table)
        return {party: frozenset(tables) for party, tables in found.items()}

    def _rows(self, connection: Connection) -> Sequence[Row]:
        return [
            Row(str(lock or ""), int(waited or 0), number(tenant), *_ends(*ends), kind == "TM")
            for tenant, *ends, lock, waited, kind in connection.rows(
                f"SELECT {self._tenant}, session_id, trans_id, id2, id1, id3, ctime, type FROM {self.view} "
                "WHERE block = 1"
            )
        ]


@dataclass(frozen=True, slots=True)
class LocksOfTransactions(RowLocks):
    """The earlier form of that view, without sessions: a waiter has a row of TYPE TX, and one of TR with the row."""

    def _rows(self, connection: Connection) -> Sequence[Row]:
        found: dict[tuple[int | None, ...], Row] = {}
        for tenant, transaction, kind, first, second, waited in connection.rows(
            f"SELECT {self._tenant}, trans_id, type, id1, id2, ctime FROM {self.view} "
            "WHERE block = 1 AND type IN ('TR', 'TX') ORDER BY type DESC"  # TX first, TR in its place
        ):
            row_key = kind == "TR"
            holder, _, key = str(second or "").partition("-") if row_key else (first, "", "")
            lock = f"{first}-{key}" if row_key else ""
            one = Row(lock, int(waited or 0), number(tenant), None, number(transaction), None, number(holder))
            found[one.tenant, one.waiting, one.holding] = one
        return list(found.values())


@dataclass(frozen=True, slots=True)
class WaitStatistics(RowLocks):
    """What waits are made of on 4.2: it names both transactions, and the waiter's session."""

    def _rows(self, connection: Connection) -> Sequence[Row]:
        return [
            Row(f"{tablet}-{key}", int(waited or 0), number(tenant), *_ends(session, waiting, None, holding))
            for tenant, session, waiting, holding, tablet, key, waited in connection.rows(
                f"SELECT {self._tenant}, session_id, trans_id, holder_trans_id, tablet_id, rowkey, time_after_recv "
                f"FROM {self.view}"
            )
        ]


@dataclass(frozen=True, slots=True)
class Queues(RowLocks):
    """What waits are made of on 4.0 and 4.1: who waits for which row, and in another table who has locked it.

    Its BLOCK_SESSION_ID is the head of the queue, not the holder.
    """

    @property
    def _object(self) -> str:
        return "tablet_id"

    def _rows(self, connection: Connection) -> Sequence[Row]:
        waits = connection.rows(
            f"SELECT {self._tenant}, session_id, {self._object}, rowkey, time_after_recv FROM {self.view}"
        )
        holders = self._holders(connection, [(tenant, place, key) for tenant, _, place, key, _ in waits])
        return [
            Row(f"{place}-{key}", int(waited or 0), number(tenant), number(session), None, *holder)
            for tenant, session, place, key, waited in waits
            for holder in holders.get((number(tenant), str(place), str(key)), [(None, None)])
        ]

    def _holders(
        self, connection: Connection, wanted: Collection[tuple[object, object, object]]
    ) -> Mapping[tuple[int | None, str, str], Sequence[tuple[int | None, int | None]]]:
        """Return session and transaction of who has locked these rows; empty where this login may not read it."""
        view = readable(connection, f"{self._object}, rowkey, session_id, trans_id", _HELD, []) if wanted else None
        if view is None:
            return {}
        places = tuple({str(place) for _, place, _ in wanted})
        keys = tuple({str(key) for *_, key in wanted})
        found: dict[tuple[int | None, str, str], list[tuple[int | None, int | None]]] = {}
        for tenant, place, key, session, transaction in connection.rows(
            f"SELECT DISTINCT {self._tenant}, {self._object}, rowkey, session_id, trans_id FROM {view} "
            f"WHERE {self._object} IN %s AND rowkey IN %s",  # of one statement there may be millions of rows
            (places, keys),
        ):
            holder = number(session), number(transaction)
            found.setdefault((number(tenant), str(place), str(key)), []).append(holder)
        return found


@dataclass(frozen=True, slots=True)
class QueuesByTable(Queues):
    """The same on OceanBase 3, where a row is of a table."""

    @property
    def _object(self) -> str:
        return "table_id"


def _ends(
    waiter: object, waiting: object, holder: object, holding: object
) -> tuple[int | None, int | None, int | None, int | None]:
    """Read session and transaction of who waits, then of who holds."""
    return number(waiter), number(waiting), number(holder), number(holding)
