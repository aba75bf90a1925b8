"""Searching, counting and sorting by what is shown of statements, which no database can: their digests are made here.

Statements are read as far as everything else that is asked for leaves them, and tried one by one; the database is then
told which sessions fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bot.errors import InputError
from bot.sessions.conditions import EXACT_FIELDS
from bot.sessions.database import Connection
from bot.sessions.dialect import Dialect
from bot.sessions.model import Condition, Field, Operator, SessionFilter, Sort, Tried
from bot.sessions.statement import Disclosure, Statement

MOST = 5000  # statements that are tried for one answer

_AS_SHOWN = "SQL is searched as it is shown to whoever may not close all of this: each literal is ?."
_SHORTEST_PART = 8  # characters of an ID that a word must have to be sought in the IDs that are made here


@dataclass(frozen=True, slots=True)
class Running:
    """A session that runs a statement: its place, as the dialect names it, and its id."""

    place: str
    id: int
    statement: Statement
    active: bool
    running: bool
    time: float  # seconds since the request arrived


@dataclass(frozen=True, slots=True)
class Reader:
    """Somebody who asks, for what is disclosed to them, about the sessions of a scope on one data source."""

    connection: Connection
    dialect: Dialect
    source: str
    scope: Sequence[str] | None
    disclosure: Disclosure

    @property
    def tries_ids(self) -> bool:
        """Whether SQL IDs are made or judged here, so that the database cannot search, sort or count by them."""
        return self.dialect.makes_sql_ids or self.dialect.judged_sql_id is not None

    def filter(self, asked: SessionFilter) -> SessionFilter:
        """Return the filter for the database, what that cannot try having been tried.

        Raises ``InputError`` or one of the ``DataSourceError`` family.
        """
        mine = tuple(one for one in asked.conditions if self._is_tried(one))
        if not mine:
            return asked
        rest = replace(asked, conditions=tuple(one for one in asked.conditions if one not in mine))
        # The database tries the texts of all others itself, for whoever sees all but passwords.
        secret = self.disclosure.literals and not any(map(self._by_made_id, mine))
        running = self.running(rest, secret=secret)
        return replace(rest, tried=tuple(self._tried(one, running) for one in mine))

    def sort(self, asked: Sort, filter_: SessionFilter) -> Sort:
        """Return the order for the database, of the sessions that a filter of ``filter`` leaves; raises as that."""
        by_id = asked.field is Field.SQL_ID and self.tries_ids
        if not by_id and (asked.field is not Field.SQL or self.disclosure.literals):
            return asked
        key = self._id if by_id else self._text
        # The order of ids stands for that of all that look alike, whichever way it goes.
        running = sorted(self.running(filter_), key=lambda one: one.id, reverse=asked.descending)
        return replace(asked, places=tuple(one.place for one in sorted(running, key=lambda one: key(one.statement))))

    def caveats(self, asked: SessionFilter) -> tuple[str, ...]:
        """Say what statements were searched as, where that is less than their texts."""
        texts = any(one.field in (Field.SQL, Field.ANY) for one in asked.conditions)
        return (_AS_SHOWN,) if texts and not self.disclosure.literals else ()

    def running(self, filter_: SessionFilter, *, unnamed: bool = False, secret: bool = False) -> list[Running]:
        """Read the statements of all sessions that fit, or only those ``unnamed`` or ``secret`` to ``Dialect``.

        Raises ``InputError`` where there are too many.
        """
        asked = self.dialect.statements(self.scope, filter_, MOST + 1, unnamed=unnamed, secret=secret)
        rows = self.connection.rows(asked.sql, asked.values)
        if len(rows) > MOST:
            raise InputError(
                f"More than {MOST:,} statements run on {self.source} that the rest of this fits: too many to search as "
                "they are shown. Narrow it by user, db, host or tenant as well.",
                spot="",
                example="/sessions user=app active-only",
            )
        return [
            Running(
                str(place),
                int(number),
                _statement(str(text), str(inner or ""), str(sql_id or ""), cut=bool(cut)),
                str(state) == "ACTIVE",
                str(command) != "Sleep",
                float(time or 0),
            )
            for place, number, text, inner, cut, state, command, time, sql_id in rows
        ]

    def _is_tried(self, condition: Condition) -> bool:
        return condition.field in (Field.SQL, Field.ANY) or self._by_made_id(condition)

    def _by_made_id(self, condition: Condition) -> bool:
        if not self.tries_ids:
            return False
        word = condition.field is Field.ANY and any(map(_part_of_id, condition.values))
        return word or condition.field is Field.SQL_ID

    def _tried(self, condition: Condition, running: Sequence[Running]) -> Tried:
        values = [str(value).lower() for value in condition.values]
        exactly = condition.operator is Operator.EXACTLY or condition.field in EXACT_FIELDS

        def fits(text: str) -> bool:
            if exactly:
                return text in values or (not text and "-" in values)  # none, as it is shown
            return any(value in text for value in values)

        return Tried(
            condition,
            frozenset(one.place for one in running if any(map(fits, self._seen(condition.field, one.statement)))),
            without=condition.field is not Field.ANY and fits(""),
            texts_too=self.disclosure.literals,
        )

    def _seen(self, field: Field, statement: Statement) -> list[str]:
        """Return what of a statement is sought in, in small letters."""
        texts = [self._id(statement).lower()] if self.tries_ids and field is not Field.SQL else []
        if field is Field.SQL_ID:
            return texts
        shown = [statement, *([statement.inner] if statement.inner is not None else [])]
        return [*texts, *(one.shown(self.disclosure).lower() for one in shown)]

    def _id(self, statement: Statement) -> str:
        if self.dialect.makes_sql_ids:
            return statement.raw_sql.id_of_digest
        return statement.sql_id(self.disclosure) or ""

    def _text(self, statement: Statement) -> tuple[str, str]:
        inner = statement.inner.shown(self.disclosure) if statement.inner is not None else ""
        return statement.shown(self.disclosure).lower(), inner.lower()


def _statement(text: str, inner: str, sql_id: str, *, cut: bool) -> Statement:
    sql_id = "" if cut else sql_id  # the hash of the whole is not known then
    return Statement.of(text, length=len(text) + cut, sql_id=sql_id or None, inner=inner or None)


def _part_of_id(value: object) -> bool:
    text = str(value).lower()
    return len(text) >= _SHORTEST_PART and not set(text) - set("0123456789abcdef")
