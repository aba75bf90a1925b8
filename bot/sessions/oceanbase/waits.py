"""OceanBase and seekdb: who waits for whom.

Which view tells it is probed, never derived from a version (docs/oceanbase.md 5.2).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from bot.errors import ConnectionLostError, DataSourceError, DataSourceTimeoutError
from bot.sessions.database import Connection
from bot.sessions.dialect import Tenants
from bot.sessions.model import WaitKind
from bot.sessions.oceanbase.details import number, readable
from bot.sessions.waits.reading import Edge, Locks, Party

_OF_ALL_TENANTS = "oceanbase.CDB_OBJECTS"  # for a login of sys
_OF_ONE = "oceanbase.DBA_OBJECTS"


@dataclass(frozen=True, slots=True)
class Tablets:
    """What tells which table a tablet is of; an index has tablets of its own, and is told by its own name."""

    view: str | None = None  # None where nothing that this login may read tells it
    tenant: str = "NULL"  # the column with the tenant's id, where several may have a tablet of that number

    @classmethod
    def probe(cls, connection: Connection, tenants: Tenants) -> Tablets:
        """Find the view. Raises ``ConnectionLostError`` or ``DataSourceTimeoutError``."""
        if tenants.several and tenants.view is None:
            return cls()  # another tenant's table may have that number
        view, tenant = (_OF_ALL_TENANTS, "con_id") if tenants.several else (_OF_ONE, "NULL")
        return cls(readable(connection, f"owner, object_name, data_object_id, {tenant}", (view,), []), tenant)

    def names(self, connection: Connection, tablets: Collection[int]) -> Mapping[tuple[int | None, int], str]:
        """Return ``database.table`` by the tenant's id and the tablet's; what cannot be read now is left out."""
        if self.view is None or not tablets:
            return {}
        try:
            rows = connection.rows(
                f"SELECT {self.tenant}, data_object_id, owner, object_name FROM {self.view} WHERE data_object_id IN %s",
                (tuple(tablets),),
            )
        except (ConnectionLostError, DataSourceTimeoutError):
            raise
        except DataSourceError:
            return {}  # who waits for whom is worth more than the name of a table
        return {(number(tenant), int(tablet)): f"{owner}.{name}" for tenant, tablet, owner, name in rows}


@dataclass(frozen=True, slots=True)
class OceanBaseLocks:
    """What this login reads of locks; ``lacks`` are sentences on what it may not, each with its grant."""

    view: str | None  # GV$OB_LOCKS where it has ID3
    tenants: Tenants
    tablets: Tablets
    lacks: tuple[str, ...]

    def read(self, connection: Connection) -> Locks:
        """Read all waits; raises one of the ``DataSourceError`` family."""
        rows = self._rows(connection)
        names = self.tablets.names(connection, {row.tablet for row in rows if row.tablet is not None})
        tenants = self._tenants(connection) if rows else {}
        return Locks(tuple(dict.fromkeys(self._edge(row, names, tenants) for row in rows)), self.lacks)

    def _rows(self, connection: Connection) -> list[_Row]:
        if self.view is None:
            return []
        tenant = "tenant_id" if self.tenants.view is not None else "NULL"
        rows = connection.rows(
            f"SELECT {tenant}, session_id, trans_id, id2, id1, id3, ctime FROM {self.view} WHERE block = 1"
        )
        return [_Row(str(lock or ""), int(waited or 0), *map(number, names)) for *names, lock, waited in rows]

    def _edge(self, row: _Row, names: Mapping[tuple[int | None, int], str], tenants: Mapping[int | None, str]) -> Edge:
        return Edge(
            self._party(row.waiter, row.waiting, tenants.get(row.tenant)),
            self._party(row.holder, row.holding, tenants.get(row.tenant)),
            WaitKind.ROW_LOCK if row.lock else WaitKind.TABLE_LOCK,
            str(self.view),
            row.waited / 1e6,
            names.get((row.tenant if self.tablets.tenant != "NULL" else None, row.tablet)) if row.tablet else None,
            row.lock or None,
        )

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
class _Row:
    """One wait, as the view has it."""

    lock: str
    waited: int  # microseconds since the waiter's request came
    tenant: int | None
    waiter: int | None
    waiting: int | None  # its transaction
    holder: int | None
    holding: int | None  # its transaction

    @property
    def tablet(self) -> int | None:
        return number(self.lock.partition("-")[0])
