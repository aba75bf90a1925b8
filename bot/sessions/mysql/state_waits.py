"""Who holds what sessions wait for by their STATE on MySQL and MariaDB: metadata, read, table and user locks, flushes.

Told by the performance schema where it is on, else by MariaDB's plugin, else guessed: then holders are candidates.
docs/oceanbase.md 8.10.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from bot.errors import ConnectionLostError, DataSourceError, DataSourceTimeoutError
from bot.sessions.database import Connection, Row
from bot.sessions.model import WaitKind, awaited
from bot.sessions.mysql import metadata_locks
from bot.sessions.mysql.columns import THREADS, ProcessList
from bot.sessions.mysql.metadata_locks import (
    BACKUP,
    METADATA_LOCK_INFO,
    METADATA_LOCKS,
    TABLE,
    USER_LOCK,
    Key,
    MetadataLock,
)
from bot.sessions.mysql.statement_names import Names, mentions_any, names_of, user_lock_of
from bot.sessions.waits.reading import Edge, Party

TABLE_HANDLES = "performance_schema.table_handles"
STATE = "STATE"  # told by this column of the list alone
_TEXT = 4000  # bytes that are read of a statement
_CANDIDATES = 5  # that are named for one that waits
_IDLE_CANDIDATES = 3  # same of idle sessions that may have locked tables: nothing but their idle time speaks for them
_WHOLE_SECONDS = 1.0  # by which the age of a transaction and the time of a statement may differ from what they are
_LOCKS_TABLES = frozenset({"FLUSH", "LOCK", "BACKUP"})  # first words of what keeps others out when it has ended

_WANTS_ALL = frozenset({"FLUSH", "BACKUP"})  # same of what waits until nobody changes anything

# What of MariaDB's backup lock a statement asks for, by its first word; whatever else changes rows.
_OF_CHANGES = ("BACKUP_DML", "BACKUP_TRANS_DML", "BACKUP_COMMIT")
_OF_DDL = ("BACKUP_DDL", "BACKUP_ALTER_COPY", "BACKUP_DML")
_OF_FLUSH = ("BACKUP_FTWRL1", "BACKUP_FTWRL2")
_OF_BACKUP = ("BACKUP_START", "BACKUP_FLUSH", "BACKUP_WAIT_FLUSH", "BACKUP_WAIT_DDL", "BACKUP_WAIT_COMMIT")


@dataclass(frozen=True)
class Running:
    """A session that runs something, as the list has it."""

    id: int
    doing: str
    time: float  # seconds since its statement began
    database: str | None
    text: str

    @property
    def kind(self) -> WaitKind | None:
        """What it waits for, by its STATE."""
        return awaited(self.doing)

    @cached_property
    def names(self) -> Names:
        """What its statement names."""
        return names_of(self.text)


@dataclass(frozen=True, slots=True)
class Open:
    """A session with an open transaction: for how long, and what it ran last where that is known."""

    id: int
    age: float  # seconds
    last: str | None = None


@dataclass(frozen=True, slots=True)
class Idle:
    """An idle session."""

    since: float  # seconds
    database: str | None
    alike: int  # idle sessions of its user from its address, itself included


@dataclass(frozen=True, slots=True)
class StateViews:
    """What one server offers to one login of what is waited for by STATE."""

    listed: ProcessList
    all_locks: bool = False  # METADATA_LOCKS
    handles: bool = False  # TABLE_HANDLES
    granted_locks: bool = False  # METADATA_LOCK_INFO

    def running(self, connection: Connection) -> list[Running]:
        """Read what runs, all of it where any of it waits by its STATE, else nothing.

        Raises one of the ``DataSourceError`` family.
        """
        text = "INFO_BINARY" if self.listed.as_sent else "CAST(INFO AS BINARY)"
        rows = connection.rows(
            f"SELECT ID, STATE, {self._time}, DB, LEFT({text}, {_TEXT}) FROM {self.listed.view} "
            "WHERE COMMAND <> 'Sleep' AND ID <> connection_id()"
        )
        if not any(awaited(str(state or "")) for _, state, *_ in rows):
            return []  # where hundreds wait for rows it counts
        return [
            Running(int(number), str(state or ""), float(since or 0), database, str(sql or ""))
            for number, state, since, database, sql in rows
        ]

    def idle(self, connection: Connection) -> dict[int, Idle]:
        """Read which sessions of others are idle. Raises one of the ``DataSourceError`` family."""
        rows = connection.rows(
            f"SELECT ID, {self._time}, DB, USER, HOST FROM {self.listed.view} WHERE COMMAND = 'Sleep' "
            "AND USER <> SUBSTRING_INDEX(USER(), '@', 1)"
        )
        clients = {int(number): (str(user), str(host).rpartition(":")[0]) for number, _, _, user, host in rows}
        alike = Counter(clients.values())
        return {
            int(number): Idle(float(since or 0), database, alike[clients[int(number)]])
            for number, since, database, _, _ in rows
        }

    @property
    def _time(self) -> str:
        return "TIME_MS / 1000" if "TIME_MS" in self.listed.columns else "TIME"


@dataclass
class StateWaits:
    """One read of who holds what is waited for by STATE; each view is read once, where it is wanted."""

    connection: Connection
    views: StateViews
    running: Sequence[Running]
    transactions_of: Callable[[], Sequence[Open]]
    last_statements_of: Callable[[Iterable[int]], Mapping[int, str]]
    untold: bool = field(default=False, init=False)  # whether somebody's holder is told by no view

    def edges(self) -> Iterator[Edge]:
        """Yield the waits. Raises one of the ``DataSourceError`` family."""
        waiting = {one.id: one for one in self.running if one.kind is not None}
        if not waiting:
            return
        locks = metadata_locks.read_all(self.connection) if self.views.all_locks else []
        if self._granted:  # which tells of each what it has become
            locks = [*self._granted, *metadata_locks.pending_of(locks)]
        told: set[int] = set()
        for pending in metadata_locks.pending_of(locks):
            if pending.session_id in waiting:
                told.add(pending.session_id)
                yield from self._pending(waiting[pending.session_id], pending, locks)
        for waiter in waiting.values():
            if waiter.id not in told:
                yield from self._by_state(waiter, locks)

    def _pending(self, waiter: Running, pending: MetadataLock, locks: Sequence[MetadataLock]) -> Iterator[Edge]:
        holders = metadata_locks.keep_out(pending, locks)
        kind = metadata_locks.kind_of(pending, holders)
        edge = Edge(Party(waiter.id), None, kind, METADATA_LOCKS, waiter.time, pending.what, _lock(pending.key))
        if holders or pending.key[0] != TABLE:
            yield from _held_by(edge, (one.session_id for one in holders))
            return
        # One of those that have a lock has a stronger one by now: as a rule who has locked the table (LOCK TABLES).
        may = [
            one.session_id for one in locks if one.granted and one.key == pending.key and one.session_id != waiter.id
        ]
        lockers = {session for session, table, _ in self._handles if table == pending.key[1:]}.difference(
            one.id for one in self.running
        )
        locked = [one for one in may if one in lockers]
        yield from _held_by(edge, locked) if locked else _candidates(edge, may)

    def _by_state(self, waiter: Running, locks: Sequence[MetadataLock]) -> Iterable[Edge]:
        kind = waiter.kind
        if kind is WaitKind.USER_LOCK:
            return self._user_lock(waiter)
        if kind in (WaitKind.TABLE_LOCK, WaitKind.TABLE_FLUSH):
            return self._table_in_use(waiter, kind)
        granted = self._granted if self.views.granted_locks else list(locks)
        if kind is WaitKind.METADATA:
            return self._metadata(waiter, granted)
        return self._for_all(waiter, granted)

    def _user_lock(self, waiter: Running) -> Iterator[Edge]:
        """Find the holder by the name in the statement, which is bound and never shown."""
        name = user_lock_of(waiter.text)
        edge = Edge(Party(waiter.id), None, WaitKind.USER_LOCK, "IS_USED_LOCK", waiter.time)
        holder = None
        if name is not None:
            rows = _or_nothing(lambda: self.connection.rows("SELECT IS_USED_LOCK(%s)", (name,)))
            holder = rows[0][0] if rows else None
        if holder is None or int(holder) == waiter.id:
            yield from self._any_user_lock(edge._replace(told_by=STATE))
        else:
            yield edge._replace(holder=Party(int(holder)), lock=f"user lock of {holder}")

    def _any_user_lock(self, edge: Edge) -> Iterator[Edge]:
        """Name whoever holds a user lock, of which name is not known; nobody where that is not told."""
        granted = metadata_locks.read_granted(self.connection) if self.views.granted_locks else []
        holders = [
            one.session_id for one in granted if one.key[0] == USER_LOCK and one.session_id != edge.waiter.session_id
        ]
        yield from _candidates(edge._replace(told_by=METADATA_LOCK_INFO) if holders else edge, holders)

    def _table_in_use(self, waiter: Running, kind: WaitKind) -> Iterator[Edge]:
        """Find who has the table open: for a table lock in a way that conflicts, for a flush longer than it waits.

        FLUSH TABLES makes all open tables old ones; whoever opens one anew waits until nobody has it open as it was.
        """
        edge = Edge(Party(waiter.id), None, kind, TABLE_HANDLES, waiter.time)
        flush = kind is WaitKind.TABLE_FLUSH
        others = {one.id: one for one in self.running if one.id != waiter.id}
        tables = waiter.names.tables(waiter.database)
        handles = self._handles
        asked = {table: writes for session, table, writes in handles if session == waiter.id}
        if flush:
            asked = {table: True for _, table, _ in handles if not tables or table in tables}
        found = False
        for session, table, writes in handles:
            other = others.get(session)
            if session == waiter.id or (other is not None and other.kind is kind):
                continue
            if flush and other is not None and other.time < waiter.time:
                continue
            if table in asked and (writes or asked[table]):
                found = True
                yield edge._replace(holder=Party(session), what=".".join(table), lock=_lock((TABLE, *table)))
        if found:
            return
        users = {
            one.session_id
            for one in self._granted
            if not flush and one.key[0] == TABLE and one.key[1:] in tables and one.session_id != waiter.id
        }
        users -= {one.id for one in others.values() if one.kind is kind}
        if len(users) == 1 and len(tables) == 1:  # whoever has the table locked has it open: it is this one
            (what,) = tables
            yield edge._replace(told_by=METADATA_LOCK_INFO, holder=Party(users.pop()), what=".".join(what))
            return
        self.untold = True
        busy = [one for one in others.values() if one.text and one.kind is None and one.time >= waiter.time]
        named = [one for one in busy if not tables or mentions_any(one.names, tables, one.database)]
        named.sort(key=lambda one: -one.time)
        may = [one.id for one in named]
        if not flush:
            may = [one for one in (*may, *self._lockers(waiter)) if not users or one in users] or may
        yield from _candidates(edge._replace(told_by=STATE), may)

    @cached_property
    def _granted(self) -> list[MetadataLock]:
        return metadata_locks.read_granted(self.connection) if self.views.granted_locks else []

    @cached_property
    def _transactions(self) -> Sequence[Open]:
        return self.transactions_of()

    @cached_property
    def _idle(self) -> dict[int, Idle]:
        return self.views.idle(self.connection)

    @cached_property
    def _last(self) -> Mapping[int, str]:
        return self.last_statements_of(self._idle)

    @cached_property
    def _handles(self) -> list[tuple[int, tuple[str, str], bool]]:
        if not self.views.handles:
            return []
        rows = self.connection.rows(
            f"SELECT PROCESSLIST_ID, OBJECT_SCHEMA, OBJECT_NAME, EXTERNAL_LOCK FROM {TABLE_HANDLES} JOIN {THREADS} "
            "ON THREAD_ID = OWNER_THREAD_ID WHERE EXTERNAL_LOCK IS NOT NULL AND PROCESSLIST_ID <> connection_id()"
        )
        return [
            (int(session), (str(database), str(table)), str(lock).startswith("WRITE"))
            for session, database, table, lock in rows
        ]

    def _metadata(self, waiter: Running, granted: Sequence[MetadataLock]) -> Iterator[Edge]:
        """Find by the tables that its statement names who has a lock that conflicts, or waits for one before it."""
        names = waiter.names
        edge = Edge(Party(waiter.id), None, WaitKind.METADATA, METADATA_LOCK_INFO, waiter.time)
        keys = {one.key for one in granted if names.names(one.key, waiter.database, certainly=True)}
        if names.of_database:
            keys = {one.key for one in granted if one.key[0] in (TABLE, "SCHEMA") and one.key[1] in names.single}
        found = False
        for key in sorted(keys) if names.lock_type is not None else ():
            pending = MetadataLock(waiter.id, key, names.lock_type or "", False)
            holders = metadata_locks.keep_out(pending, [*granted, *self._asked_before(waiter, key)])
            if holders:
                found = True
                told = edge._replace(what=pending.what, lock=_lock(key))
                yield from _held_by(told, (one.session_id for one in holders))
        if found:
            return
        # Where a view, a trigger or a foreign key leads is not in the statement: whoever keeps out others may hold it.
        may = [one.session_id for one in self._granted if one.excludes and one.session_id != waiter.id]
        if may:
            yield from _candidates(edge, may)
        else:
            self.untold = True
            yield from self._guessed(waiter, names)

    def _asked_before(self, waiter: Running, key: Key) -> Iterator[MetadataLock]:
        """Yield what others wait for that asked before it, by their statements."""
        for other in self.running:
            if other.kind is not WaitKind.METADATA or other.id == waiter.id or other.time < waiter.time:
                continue
            its = other.names
            if its.lock_type and its.names(key, other.database, certainly=True):
                yield MetadataLock(other.id, key, its.lock_type, False)

    def _guessed(self, waiter: Running, names: Names) -> Iterator[Edge]:
        """Name who may hold it, the least guessed first.

        Behind a change of the table that waits as well, it waits for that. What runs on the table and began before is
        next; then, for a change of the table alone, transactions that were open before: what has ended in one of them
        keeps its tables. An idle session without a transaction keeps none, but by LOCK TABLES, which nothing tells.
        """
        tables = names.tables(waiter.database)
        edge = Edge(Party(waiter.id), None, WaitKind.METADATA, STATE, waiter.time)
        before = [one for one in self.running if one.id != waiter.id and one.time >= waiter.time]
        same = [one for one in before if mentions_any(one.names, tables, one.database)]
        if not names.ddl:
            changes = [one for one in same if one.names.ddl]
            changes.sort(key=lambda one: one.kind is None)
            found = [one.id for one in changes] or self._lockers(waiter)
            yield from _candidates(edge, found)
            return
        runs = [one.id for one in same if one.kind is None]
        waits = {one.id for one in self.running if one.kind is WaitKind.METADATA}
        left_out = {waiter.id, *runs, *waits}
        begun = [one for one in self._transactions if one.age + _WHOLE_SECONDS > waiter.time and one.id not in left_out]
        here, idle = {schema for schema, _ in tables}, self._idle
        inside = {number for number, one in idle.items() if one.database in here}
        begun.sort(key=lambda one: (not _mentions(one, tables), one.id not in inside, -one.age))
        yield from _candidates(edge, (*runs, *(one.id for one in begun)) or self._lockers(waiter))

    def _lockers(self, waiter: Running) -> list[int]:
        """Return who may have locked tables, or all of them: it is idle as a rule, and in no transaction.

        Whose last statement was such a lock comes alone. Else it has been idle for as long as the first has waited, and
        on a busy server hardly longer; a backup has a connection or two, and one of many alike is of a pool.
        """
        longest = max(one.time for one in self.running if one.kind is waiter.kind)
        idle = {number: one for number, one in self._idle.items() if one.since >= longest}
        lockers = [number for number in idle if names_of(self._last.get(number, "")).verb in _LOCKS_TABLES]
        if lockers:
            return lockers
        open_ = {one.id for one in self._transactions}
        # What is known to have done something else last may have locked tables before that.
        ranks = {number: (number in self._last, one.alike, number in open_, one.since) for number, one in idle.items()}
        return sorted(ranks, key=ranks.__getitem__)[:_IDLE_CANDIDATES]

    def _for_all(self, waiter: Running, granted: Sequence[MetadataLock]) -> Iterator[Edge]:
        """Find who has what MariaDB's plugin calls the backup lock: it names no table."""
        edge = Edge(Party(waiter.id), None, waiter.kind or WaitKind.BACKUP_LOCK, METADATA_LOCK_INFO, waiter.time)
        key = (BACKUP, "", "")
        wanted = [MetadataLock(waiter.id, key, one, False) for one in _wanted_of_backup(waiter.names)]
        holders = {one.session_id: one for one in granted if any(asked.kept_out_by(one) for asked in wanted)}
        if not holders:
            self.untold = True
            yield from _candidates(edge._replace(told_by=STATE), self._before_all(waiter) or self._lockers(waiter))
            return
        if any(one.for_all for one in (*wanted, *holders.values())):
            edge = edge._replace(kind=WaitKind.GLOBAL_READ_LOCK)
        yield from _held_by(edge._replace(lock=_lock(key)), holders)

    def _before_all(self, waiter: Running) -> list[int]:
        """Return what runs since before and may keep it from the lock of all tables.

        Whoever wants all tables waits until nobody changes any, and keeps out whoever comes later.
        """
        before = [one for one in self.running if one.id != waiter.id and one.time >= waiter.time and one.text]
        if waiter.names.verb in _WANTS_ALL:
            changes = [one for one in before if one.kind is not waiter.kind and one.names.changes]
            return [one.id for one in sorted(changes, key=lambda one: -one.time)]
        return [one.id for one in before if one.kind is waiter.kind and one.names.verb in _WANTS_ALL]


def _wanted_of_backup(names: Names) -> Collection[str]:
    if names.ddl:
        return _OF_DDL
    return {"FLUSH": _OF_FLUSH, "BACKUP": _OF_BACKUP}.get(names.verb, _OF_CHANGES)


def _mentions(one: Open, tables: Collection[tuple[str, str]]) -> bool:
    names = names_of(one.last or "")
    return not names.single.isdisjoint(name for _, name in tables)


def _held_by(edge: Edge, holders: Iterable[int]) -> Iterator[Edge]:
    found = [number for number in dict.fromkeys(holders) if number != edge.waiter.session_id]
    yield from (edge._replace(holder=Party(number)) for number in found)
    if not found:
        yield edge


def _candidates(edge: Edge, holders: Iterable[int]) -> Iterator[Edge]:
    found = list(dict.fromkeys(holders))[:_CANDIDATES]
    yield from (edge._replace(holder=Party(number), candidate=True) for number in found)
    if not found:
        yield edge


def _lock(key: Key) -> str:
    """Name a lock; a user lock's own name is a literal, which goes nowhere from here."""
    return str(hash(key)) if key[0] == USER_LOCK else "/".join(key)


def _or_nothing(ask: Callable[[], list[Row]]) -> list[Row]:
    try:
        return ask()
    except (ConnectionLostError, DataSourceTimeoutError):
        raise
    except DataSourceError:
        return []
