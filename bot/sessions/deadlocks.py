"""The history of deadlocks, as OCP's page has it (docs/oceanbase.md 5.3)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby

from bot.errors import DataSourceError, InputError, NotAllowedError, PrivilegeMissingError
from bot.sessions.database import Connection
from bot.sessions.dialect import LIST_SQL_BYTES, Dialect, Query
from bot.sessions.statement import Statement

EVENTS = 10  # events in one answer
_ROWS = 60  # rows that are read for them: most deadlocks have two members

# The first shows all tenants to a login of sys; seekdb 1.4 has only the second.
VIEWS = ("oceanbase.CDB_OB_DEADLOCK_EVENT_HISTORY", "oceanbase.DBA_OB_DEADLOCK_EVENT_HISTORY")
_TENANTS = "oceanbase.DBA_OB_TENANTS"
_NO_SUCH_VIEW = (1146, 1049)
_DATES = (7, 12)  # TIMESTAMP and DATETIME in MySQL's protocol
_TRANSACTION = re.compile(r"txid:(\d+)")


@dataclass(frozen=True, slots=True)
class Member:
    """One transaction of a deadlock."""

    number: int  # its place in the circle, from 1
    transaction: str
    interrupted: bool  # the one that was given up so that the others could go on
    resource: str  # what it asked for; holds values of keys
    statement: Statement | None


@dataclass(frozen=True, slots=True)
class Deadlock:
    """One event with all of its members."""

    id: str
    at: datetime  # UTC
    tenant: str | None
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Deadlocks:
    """What the history holds of some time, newest first."""

    source: str
    since: timedelta
    events: tuple[Deadlock, ...]
    incomplete: int  # events of which the history does not have every member any more
    detection: bool | None  # None where the server does not say
    as_of: datetime  # UTC


@dataclass(frozen=True, slots=True)
class History:
    """The view of one server as it was probed."""

    view: str
    has_tenants: bool  # a row says which tenant it is of
    has_dates: bool  # REPORT_TIME is a datetime; else microseconds since the epoch (seekdb)

    @classmethod
    def probe(cls, connection: Connection) -> History | None:
        """Find the view; None where the server has none or the login may not read it."""
        for view in VIEWS:
            try:
                columns = connection.columns(view)
            except PrivilegeMissingError:
                continue
            except DataSourceError as error:
                if error.errno not in _NO_SUCH_VIEW:
                    raise
                continue
            return cls(view, "TENANT_ID" in columns, columns.get("REPORT_TIME") in _DATES)
        return None

    def query(self, scope: Sequence[str] | None, since: timedelta, now: datetime) -> Query:
        """Select the newest members; ``scope`` names the tenants, None is all."""
        at = "UNIX_TIMESTAMP(h.REPORT_TIME)" if self.has_dates else "h.REPORT_TIME / 1000000"
        tenant = "t.TENANT_NAME" if self.has_tenants else "NULL"
        joined = f" LEFT JOIN {_TENANTS} t ON t.TENANT_ID = h.TENANT_ID" if self.has_tenants else ""
        within = ""
        values: tuple[tuple[str, ...], ...] = ()
        if scope is not None and self.has_tenants:
            within, values = f" AND BINARY {tenant} IN %s", (tuple(scope) or ("",),)
        return Query(
            f"SELECT h.EVENT_ID, {at}, {tenant}, h.CYCLE_IDX, h.CYCLE_SIZE, h.ROLE, h.VISITOR, h.OBJECT, "
            f"LEFT(CAST(h.EXTRA_VALUE1 AS BINARY), {LIST_SQL_BYTES}) FROM {self.view} h{joined} "
            f"WHERE {at} >= %s{within} ORDER BY 2 DESC, 1, 4 LIMIT {_ROWS}",
            ((now - since).timestamp(), *values),
        )


def read(
    connection: Connection, dialect: Dialect, source: str, scope: Sequence[str] | None, since: timedelta
) -> Deadlocks:
    """Read the events; ``scope`` names the tenants, None is all.

    Raises ``InputError`` where the server keeps none, ``NotAllowedError`` where they are of another
    tenant only, or ``DataSourceError``.
    """
    history = History.probe(connection) if dialect.has_tenants else None
    if history is None:
        raise InputError(f"Data source {source} keeps no history of deadlocks that its login can read.")
    if scope is not None and not history.has_tenants and dialect.login_tenant not in scope:
        raise NotAllowedError(f"{source} tells the deadlocks of tenant {dialect.login_tenant} only.")
    now = datetime.now(UTC)
    query = history.query(scope, since, now)
    events, incomplete = complete(connection.rows(query.sql, query.values))
    return Deadlocks(source, since, events, incomplete, detection(connection), now)


def detection(connection: Connection) -> bool | None:
    """Whether the server looks for deadlocks; None where it does not say."""
    try:
        rows = connection.rows("SHOW PARAMETERS LIKE '_lcl_op_interval'")
    except DataSourceError as error:
        if error.errno == 0:
            raise
        return None
    values = [str(cell) for row in rows for cell in row if re.fullmatch(r"\d+(us|ms|s|m)", str(cell))]
    return None if not values else not values[0].startswith("0")


def complete(rows: Sequence[Sequence[object]]) -> tuple[tuple[Deadlock, ...], int]:
    """Put rows together to events; those that lack a member are only counted."""
    events, incomplete = [], 0
    for key, members in groupby(rows, key=lambda row: (row[0], row[1], row[2])):
        found = list(members)
        if len(found) != int(str(found[0][4])):
            incomplete += 1
            continue
        at = datetime.fromtimestamp(float(str(key[1])), UTC)
        tenant = str(key[2]) if key[2] is not None else None
        events.append(Deadlock(str(key[0]), at, tenant, tuple(map(_member, found))))
    return tuple(events[:EVENTS]), incomplete


def _member(row: Sequence[object]) -> Member:
    number, role, visitor, resource, sql = row[3], row[5], row[6], row[7], row[8]
    transaction = _TRANSACTION.search(str(visitor))
    return Member(
        int(str(number)),
        transaction[1] if transaction else str(visitor),
        str(role).lower() == "victim",
        str(resource or ""),
        Statement.of(str(sql)) if sql else None,
    )
