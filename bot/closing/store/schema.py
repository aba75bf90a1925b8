"""Prepares a store for this bot: makes what it lacks, and refuses one that newer bots alone may work on.

MySQL-compatible servers do not undo a CREATE or an ALTER. So each is done where it is lacking and the version is
written last: one that was cut off is gone on with, and two replicas may do it at once.
"""

from __future__ import annotations

import itertools
import re
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import random
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from bot.closing.store import tables
from bot.closing.store.tables import audit, audit_head, clock, columns, is_older, metadata
from bot.errors import StoreTooNewError

# What who is slower than another replica is told, by SQLite and by MySQL; a later try finds it made. There are fewer
# tables, columns and indexes to be beaten to than that.
_BEATEN = re.compile("already exists|duplicate|unique constraint|is locked|concurrent DDL|doesn't exist", re.IGNORECASE)
_RACES = 50
# A server of an OceanBase cluster refuses to make a table again before its own statements find the one that was made
# through another server (docs/oceanbase.md 9.5).
_MADE_WITHIN = 10.0  # seconds
_PAUSE = 0.05  # seconds, at the most, before another try

_TABLES = {
    True: sa.text("SELECT name FROM sqlite_master WHERE type = 'table'"),
    # OceanBase's information_schema lists a table before statements find it (docs/oceanbase.md 9.5).
    False: sa.text("SHOW TABLES"),
}
_INDEXES = {
    True: sa.text("SELECT tbl_name, name FROM sqlite_master WHERE type = 'index'"),
    False: sa.text("SELECT table_name, index_name FROM information_schema.statistics WHERE table_schema = DATABASE()"),
}


@dataclass(frozen=True, slots=True)
class Preparation:
    """What a store is, and what it lacks for this bot."""

    version: int | None  # 0: of a bot that wrote none; None: nothing has been written there yet
    tables: tuple[sa.Table, ...]
    columns: tuple[sa.Column[Any], ...]  # of tables that are there
    indexes: tuple[sa.Index, ...]  # of tables that are there

    @property
    def indexed(self) -> tuple[sa.Table, ...]:
        """The tables of which an index is to be made."""
        return (*(one.table for one in self.indexes if one.table is not None), *(t for t in self.tables if t.indexes))

    @property
    def is_needed(self) -> bool:
        """Whether the store has to be prepared before this bot can work on it."""
        if self.version is None or self.version < tables.SCHEMA:
            return True
        return self.version == tables.SCHEMA and bool(self.tables or self.columns or self.indexes)

    def __str__(self) -> str:
        """Say what `run` does to it."""
        if self.version is None:
            return f"it is empty; session-bot run makes {len(self.tables)} tables"
        if not self.is_needed:
            newer = ", of a newer session-bot, which this one may share" if self.version > tables.SCHEMA else ""
            return f"schema version {self.version}{newer}"
        lacks = _listed("table", (one.name for one in self.tables)) + _listed("column", map(str, self.columns))
        adds = ", ".join(lacks + _listed("index", (str(one.name) for one in self.indexes)))
        if self.version == tables.SCHEMA:
            return f"schema version {tables.SCHEMA}; session-bot run adds what it lacks: {adds}"
        first = "back it up"
        if self.version < tables.OLDEST_SCHEMA:
            first = "stop all older session-bots and back it up"
        more = f" and adds {adds}" if adds else ""
        return f"session-bot run migrates it from schema version {self.version} to {tables.SCHEMA}{more}. First {first}"


def _listed(what: str, names: Iterable[str]) -> list[str]:
    return [f"{what} {name}" for name in names]


def of_nothing() -> Preparation:
    """Return what a file that is not there lacks."""
    return Preparation(None, tuple(metadata.sorted_tables), (), ())


def preparation(connection: sa.Connection) -> Preparation:
    """Look what a store is and lacks, and change nothing. Raises ``StoreTooNewError``.

    SQLAlchemy's inspection stays out of it: it cannot read how OceanBase writes a table's indexes.
    """
    on_sqlite = connection.dialect.name == "sqlite"
    there = table_names(connection)
    # A shared store has no clock.
    wanted = [one for one in metadata.sorted_tables if one is not clock or on_sqlite]
    made = [one for one in wanted if one.name in there]
    version = _version(connection, made)
    known = {table: columns(connection, table) for table in made}
    indexes = {(table, name) for table, name in connection.execute(_INDEXES[on_sqlite])}
    return Preparation(
        version,
        tuple(one for one in wanted if one not in made),
        tuple(column for table in made for column in table.columns if column.name not in known[table]),
        tuple(
            index
            for table in made
            for index in sorted(table.indexes, key=lambda one: str(one.name))
            if (table.name, index.name) not in indexes
        ),
    )


def table_names(connection: sa.Connection) -> set[str]:
    """Return the names of the tables that are there, all of which this connection can read."""
    return set(connection.execute(_TABLES[connection.dialect.name == "sqlite"]).scalars())


def _version(connection: sa.Connection, made: Sequence[sa.Table]) -> int | None:
    if audit_head in made and (head := refuse_newer(connection)):
        return int(head.get("schema_version") or 0)
    # A bot that was cut off while it made them has written no head yet; of a record somebody has removed it.
    if audit not in made or connection.execute(sa.select(audit.c.id).limit(1)).first() is None:
        return None
    return tables.SCHEMA


def refuse_newer(connection: sa.Connection) -> dict[str, Any]:
    """Return the head of the record, {} where there is none. Raises ``StoreTooNewError``."""
    # By any name that it has: a bot that wrote no version made no columns for it.
    row = connection.execute(sa.text(f"SELECT * FROM {audit_head.name} WHERE id = 1")).mappings().first()
    head = dict(row or {})
    if (head.get("oldest_schema") or 0) > tables.SCHEMA:
        version, needed = head["schema_version"], head["needed"]
        raise StoreTooNewError(
            f"The store has schema version {version}, which wants session-bot {needed} or later. "
            f"This one is for schema version {tables.SCHEMA} and closes nothing. Install that version, or restore the "
            "backup from before the upgrade."
        )
    return head


def prepare(engine: sa.Engine, acknowledge: Callable[[sa.Connection], None]) -> None:
    """Make what a store lacks and write the version; nothing where newer bots have done so.

    Waits for what other replicas are making. Raises ``StoreTooNewError``. ``acknowledge`` puts on record what an older
    store has let go, before it is widened.
    """
    until = time.monotonic() + _MADE_WITHIN
    for races in itertools.count(1):
        try:
            _prepare(engine, acknowledge)
        except DBAPIError as error:
            is_last = races >= _RACES and time.monotonic() > until
            if is_last or not _BEATEN.search(str(error.orig)):
                raise
        else:
            return
        time.sleep(random() * _PAUSE)  # noqa: S311  # it keeps no secret


def _prepare(engine: sa.Engine, acknowledge: Callable[[sa.Connection], None]) -> None:
    with engine.connect() as connection:
        found = preparation(connection)
        older = found.version is not None and audit_head not in found.tables and is_older(connection)
    if found.version is not None and found.version > tables.SCHEMA:
        return
    with engine.begin() as connection:
        for table in found.tables:
            table.create(connection)
    if older:
        with engine.begin() as connection:
            acknowledge(connection)
    with engine.begin() as connection:
        for column in found.columns:  # it is empty in the rows that are there
            connection.execute(sa.text(_adding(column, column.name, engine.dialect)))
        for index in found.indexes:
            index.create(connection)
    with engine.begin() as connection:
        if connection.execute(sa.select(audit_head.c.id)).first() is None:
            start = {"count": 0, "hash": "", "first": 0, "first_hash": ""}
            connection.execute(audit_head.insert().values(id=1, **start))
        before = sa.or_(audit_head.c.schema_version.is_(None), audit_head.c.schema_version < tables.SCHEMA)
        now = {"schema_version": tables.SCHEMA, "oldest_schema": tables.OLDEST_SCHEMA, "needed": tables.NEEDED}
        connection.execute(audit_head.update().where(audit_head.c.id == 1, before).values(now))


def _adding(column: sa.Column[Any], name: str, dialect: sa.Dialect) -> str:
    quoted = dialect.identifier_preparer.quote(name)
    return f"ALTER TABLE {column.table.name} ADD COLUMN {quoted} {column.type.compile(dialect)}"


def try_rights(connection: sa.Connection, needed: Preparation, *, deleting: bool) -> None:
    """Find out whether an account may prepare the store and write to it, by statements that do nothing or fail.

    A server says first that a right is missing. Raises ``DBAPIError`` then. Of one to write OceanBase says so only once
    the table is there.
    """
    absent = f"not_there_{secrets.token_hex(8)}"
    tried = []
    if needed.tables:
        tried.append(f"CREATE TABLE {absent}_either LIKE {absent}")
    if needed.columns:
        column = needed.columns[0]
        tried.append(_adding(column, next(iter(column.table.primary_key)).name, connection.dialect))
    tried += [f"CREATE INDEX {absent} ON {table.name} ({absent})" for table in needed.indexed[:1]]
    head = audit_head.name
    tried.append(f"INSERT INTO {head} SELECT * FROM {head} WHERE FALSE")
    tried.append(f"UPDATE {head} SET id = id WHERE FALSE")
    tried += [f"DELETE FROM {head} WHERE FALSE"] if deleting else []
    for statement in tried:
        try:
            connection.execute(sa.text(statement))
        except DBAPIError as error:
            if getattr(error.orig, "args", ())[:1] not in _FAILS_OTHERWISE:
                raise


_FAILS_OTHERWISE = ((1146,), (1060,), (1072,))  # no such table, a column that is there, no such column
