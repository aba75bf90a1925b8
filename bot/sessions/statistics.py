"""Statistics as OCP's session page has them: totals, and groups by user, source, database, tenant or SQL ID."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from bot.sessions.conditions import client_ip
from bot.sessions.dialect import LIST_SQL_BYTES, Dialect, Query
from bot.sessions.disclosed import Reader, Running
from bot.sessions.model import Field, SessionFilter, SessionQuery
from bot.sessions.statement import Disclosure, Statement

ROWS = 15  # groups that an answer shows


class Grouping(enum.Enum):
    """What sessions are counted by; ``value`` is what people type after ``by=``."""

    USER = "user"
    SOURCE = "source"
    DATABASE = "db"
    SQL_ID = "sql-id"
    TENANT = "tenant"

    @property
    def field(self) -> Field:
        """The field that finds the sessions of one group."""
        return Field.HOST if self is Grouping.SOURCE else Field(self.value)


@dataclass(frozen=True, slots=True)
class Group:
    """The sessions that have something in common. '' is none.

    Times are seconds: since the request arrived, of idle sessions since when they are idle.
    """

    name: str
    active: int
    total: int
    shortest: float
    average: float
    longest: float
    statement: Statement | None  # what has that SQL ID: in a routine its statement, not the call
    in_routines: int = 0  # for groups by SQL ID: how many run it in a routine, so that their times are the calls'


@dataclass(frozen=True, slots=True)
class Statistics:
    """The numbers of one answer, computed by the database; ``groups`` has the largest ones only."""

    source: str
    query: SessionQuery
    by: Grouping
    total: int
    active: int
    longest_active: float  # seconds; sessions that are not ACTIVE do not count
    groups: tuple[Group, ...]
    names: int  # how many groups there are
    as_of: datetime  # UTC
    caveats: tuple[str, ...] = ()
    waiting: int = 0  # for a lock of any kind
    untold: str = ""  # a sentence on the waits that are not known here, '' where all are


def read(reader: Reader, query: SessionQuery, by: Grouping) -> Statistics:
    """Ask for the numbers. Raises ``InputError`` or ``DataSourceError``."""
    connection, dialect, scope = reader.connection, reader.dialect, reader.scope
    filter_ = reader.filter(query.filter)
    asked = totals(dialect, scope, filter_, by)
    total, active, longest, names, waiting = connection.rows(asked.sql, asked.values)[0]
    found = []
    if by is not Grouping.SQL_ID or not reader.tries_ids:
        of_groups = groups(dialect, scope, filter_, by)
        found = list(map(to_group, connection.rows(of_groups.sql, of_groups.values)))
    if by is Grouping.SQL_ID and (reader.tries_ids or dialect.left_out_ids):
        running = reader.running(filter_, unnamed=not reader.tries_ids)
        made = _by_digest(running, named=dialect.makes_sql_ids)
        names = int(names) + len(made)
        found = sorted([*found, *made], key=lambda one: (-one.active, -one.total, one.name))[:ROWS]
    as_of = datetime.now(UTC)
    numbers = int(total), int(active), float(longest), tuple(found), int(names)
    untold = dialect.untold_waits
    return Statistics(reader.source, query, by, *numbers, as_of, waiting=int(waiting), untold=untold)


def _by_digest(running: Sequence[Running], *, named: bool) -> list[Group]:
    """Count by what is shown of statements whose IDs the server does not have, or that are left out."""
    alike: dict[str, list[Running]] = {}
    for one in running:
        text = one.statement if named else one.statement.inner or one.statement
        if one.running:
            alike.setdefault(one.statement.sql_id(Disclosure.DIGEST) or text.raw_sql.id_of_digest, []).append(one)
    found = []
    for sql_id, those in alike.items():
        times = [one.time for one in those]
        first = min(those, key=lambda one: one.id).statement
        found.append(
            Group(
                sql_id if named else first.sql_id(Disclosure.DIGEST) or "",
                sum(one.active for one in those),
                len(those),
                min(times),
                sum(times) / len(times),
                max(times),
                first if named else first.inner or first,
                0 if named else sum(one.statement.inner is not None for one in those),
            )
        )
    return found


def totals(dialect: Dialect, scope: Sequence[str] | None, filter_: SessionFilter, by: Grouping) -> Query:
    """Count sessions, ACTIVE ones, groups and those that wait, and find the longest time of an ACTIVE one."""
    where, values = dialect.where(scope, filter_)
    state, time = dialect.expressions["state"], dialect.expressions["time"]
    running = f"CASE WHEN {_counted(dialect, by)} THEN {_name(dialect, by)} END"
    return Query(
        f"SELECT {dialect.count()}, COALESCE(SUM({state} = 'ACTIVE'), 0), "
        f"COALESCE(MAX(CASE WHEN {state} = 'ACTIVE' THEN {time} END), 0), COUNT(DISTINCT BINARY {running}), "
        f"{dialect.count(dialect.expressions['waits'])} "
        f"FROM {dialect.view} WHERE {where}",
        tuple(values),
    )


def groups(dialect: Dialect, scope: Sequence[str] | None, filter_: SessionFilter, by: Grouping) -> Query:
    """Count by group, those with the most ACTIVE sessions first."""
    where, values = dialect.where(scope, filter_)
    state, time, sql, inner = (dialect.expressions[name] for name in ("state", "time", "sql_text", "inner_sql"))
    text = "NULL, 0"
    if by is Grouping.SQL_ID:
        text = f"MIN(LEFT(COALESCE({inner}, {sql}), {LIST_SQL_BYTES})), COUNT({inner})"
    name = _name(dialect, by)
    return Query(
        f"SELECT MIN({name}), SUM({state} = 'ACTIVE') AS active, {dialect.count()} AS total, MIN({time}), AVG({time}), "
        f"MAX({time}), {text} FROM {dialect.view} WHERE {where} AND {_counted(dialect, by)} "
        # Names that differ in case are different ones, whatever the view's collation says.
        f"GROUP BY BINARY {name} ORDER BY active DESC, total DESC, 1 ASC LIMIT {ROWS}",
        tuple(values),
    )


def to_group(row: Sequence[object]) -> Group:
    """Turn a row of ``groups`` into a group."""
    name, active, total, shortest, average, longest, sql, in_routines = row
    return Group(
        str(name or ""),
        int(str(active)),
        int(str(total)),
        float(str(shortest or 0)),
        float(str(average or 0)),
        float(str(longest or 0)),
        Statement.of(str(sql)) if sql else None,
        int(str(in_routines)),
    )


def _name(dialect: Dialect, by: Grouping) -> str:
    if by is Grouping.SOURCE:
        return f"COALESCE({client_ip(dialect.expressions['origin'])}, '')"
    column = {
        Grouping.USER: "user",
        Grouping.DATABASE: "database_name",
        Grouping.SQL_ID: "sql_id",
        Grouping.TENANT: "tenant",
    }
    return f"COALESCE({dialect.expressions[column[by]]}, '')"


def _counted(dialect: Dialect, by: Grouping) -> str:
    """By SQL ID only what runs is counted: an idle session has none."""
    if by is not Grouping.SQL_ID:
        return "1 = 1"
    return f"COALESCE({dialect.expressions['sql_id']}, '') <> '' AND {dialect.expressions['command']} <> 'Sleep'"
