"""The statuses of sessions, and judging one that somebody asks for."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace

from bot.errors import UnknownStatusError
from bot.sessions.database import Connection
from bot.sessions.dialect import Dialect
from bot.sessions.model import Field, SessionFilter, SessionQuery

# OceanBase's own (docs/oceanbase.md 1.3), then what the dialects of other servers make of theirs.
STATES = (
    "ACTIVE",
    "SLEEP",
    "INIT",
    "QUERY_KILLED",
    "SESSION_KILLED",
    "QUERY_DEADLOCKED",
    "KILLED",
    "BACKGROUND",
)


def judge(connection: Connection, dialect: Dialect, scope: Sequence[str] | None, filter_: SessionFilter) -> None:
    """Refuse a status that is neither known nor that of a session in ``scope`` at this moment.

    A later kernel may have others than are listed here; a slip must not find nothing, or, with ``!=``, everything.
    Raises ``UnknownStatusError`` or one of the ``DataSourceError`` family.
    """
    asked = [value for value in _asked(filter_) if value not in STATES]
    if not asked:
        return
    query = dialect.states(scope)
    present = {str(row[0]).upper() for row in connection.rows(query.sql, query.values) if row[0]}
    for value in asked:
        if value not in present:
            there = [*STATES, *sorted(present.difference(STATES))]
            meant = nearest_state(value, there)
            raise UnknownStatusError(
                f"There is no status “{value[:60]}”, and no session has it now. Use one of: {', '.join(there)}.",
                spot=value,
                example=f'/sessions status="{meant}"' if " " in meant else f"/sessions status={meant}",
                meant=meant,
            )


def nearest_state(asked: str, states: Sequence[str] = STATES) -> str:
    """Return the status that was probably meant.

    >>> nearest_state("ACTVE"), nearest_state("QUERY_KILL")
    ('ACTIVE', 'QUERY_KILLED')
    """
    return next(iter(difflib.get_close_matches(asked, states, n=1, cutoff=0.4)), states[0])


def mended(query: SessionQuery, unknown: UnknownStatusError) -> SessionQuery:
    """Return the same query with the status that was probably meant."""
    conditions = tuple(
        replace(one, values=tuple(unknown.meant if value == unknown.spot else value for value in one.values))
        if one.field is Field.STATUS
        else one
        for one in query.filter.conditions
    )
    return replace(query, filter=replace(query.filter, conditions=conditions))


def _asked(filter_: SessionFilter) -> list[str]:
    return [
        str(value).upper()
        for condition in filter_.conditions
        if condition.field is Field.STATUS
        for value in condition.values
    ]
