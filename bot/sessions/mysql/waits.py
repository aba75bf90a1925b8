"""Who waits for whom on MySQL and MariaDB, told by InnoDB, the metadata locks and STATE. docs/oceanbase.md 8.8.

Which views there are is probed; what the login may not read is said with its grant.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bot.errors import ConnectionLostError, DataSourceError, DataSourceTimeoutError, PrivilegeMissingError
from bot.sessions.database import Connection, Row
from bot.sessions.model import READ_ONLY, LastStatement, Transaction, WaitKind
from bot.sessions.mysql.columns import REQUESTS, THREADS, TRANSACTION_STARTED, TRANSACTIONS, ProcessList
from bot.sessions.mysql.metadata_locks import METADATA_LOCK_INFO, METADATA_LOCKS
from bot.sessions.mysql.state_waits import TABLE_HANDLES, Open, StateViews, StateWaits
from bot.sessions.mysql.transactions import ROLLING_BACK
from bot.sessions.statement import Statement
from bot.sessions.waits.graph import Prepared
from bot.sessions.waits.reading import Edge, Known, Locks, Party

# MariaDB's, closed to all without PROCESS as TRANSACTIONS is, filled in the same moment as that.
_LOCK_WAITS = "information_schema.INNODB_LOCK_WAITS"
_LOCKS = "information_schema.INNODB_LOCKS"
# MySQL's.
_DATA_LOCK_WAITS = "performance_schema.data_lock_waits"
_DATA_LOCKS = "performance_schema.data_locks"
_REQUESTED = "REQUESTING_ENGINE_LOCK_ID"

_WAIT_STARTED = TRANSACTION_STARTED.replace("trx_started", "trx_wait_started")
_NAME = re.compile(r"`((?:[^`]|``)*)`")


@dataclass(frozen=True, slots=True)
class InnoDBTransaction:
    """A row of ``TRANSACTIONS``."""

    id: int  # MariaDB: 0 of each that has written nothing, so that several have it
    state: str
    session_id: int  # 0 of one that no session has
    requested_lock: str | None
    waited: float | None  # seconds, whole ones
    locks: int  # its lock structures: 0 of one that only reads
    started: float | None  # seconds since the epoch, whole ones
    age: float | None  # seconds, whole ones
    rows_changed: int

    @property
    def prepared(self) -> bool:
        """Whether XA has prepared it and its session has gone, as far as the view tells."""
        return self.session_id == 0 and self.state != ROLLING_BACK


@dataclass(frozen=True, slots=True)
class _RowWait:
    """One transaction that waits for another's row or table lock in InnoDB."""

    waiter: int  # session id
    lock: str  # the very lock
    what: str | None
    holder: Party | Prepared
    holder_key: object
    candidate: bool = False


@dataclass(frozen=True, slots=True)
class LockViews:
    """What one server offers to one login of who waits for whom."""

    states: StateViews
    transactions: bool = False  # TRANSACTIONS
    lock_waits: bool = False  # _LOCK_WAITS and _LOCKS
    data_locks: bool = False  # _DATA_LOCK_WAITS, _DATA_LOCKS and THREADS
    modes: bool = False  # _TRANSACTION_EVENTS: whether a transaction is one of autocommit
    statements: bool = False  # REQUESTS: what an idle session ran last
    lacks: tuple[str, ...] = ()
    untold: str = ""  # says what would tell who holds what is waited for by STATE

    def __call__(self, connection: Connection) -> Locks:
        """Read who waits for whom now. Raises one of the ``DataSourceError`` family."""
        transactions = read_transactions(connection) if self.transactions else []
        edges = list(self._row_waits(connection, transactions))
        waits = StateWaits(
            connection,
            self.states,
            self.states.running(connection),
            lambda: self._open(connection, transactions),
            lambda sessions: {one: text for one, (text, _) in self._last_statements(connection, sessions).items()},
        )
        edges += waits.edges()
        lacks = (*self.lacks, self.untold) if waits.untold and self.untold else self.lacks
        return Locks(tuple(edges), lacks, self._known(connection, edges, transactions))

    def _row_waits(self, connection: Connection, transactions: Sequence[InnoDBTransaction]) -> Iterable[Edge]:
        waiting = {one.session_id: one for one in transactions if one.requested_lock is not None and one.session_id}
        waits: Sequence[_RowWait] = ()
        told_by = TRANSACTIONS
        if self.data_locks:
            waits, told_by = _by_data_locks(connection, transactions), _DATA_LOCK_WAITS
        elif self.lock_waits and waiting:
            waits, told_by = _by_lock_waits(connection, transactions), _LOCK_WAITS
        named: set[int] = set()
        for one in without_queue(waits):
            named.add(one.waiter)
            waited = waiting[one.waiter].waited if one.waiter in waiting else None
            party = Party(one.waiter)
            yield Edge(party, one.holder, WaitKind.ROW_LOCK, told_by, waited, one.what, one.lock, one.candidate)
        for number, its in waiting.items():
            if number not in named:
                yield Edge(Party(number), None, WaitKind.ROW_LOCK, TRANSACTIONS, its.waited)

    def _open(self, connection: Connection, transactions: Sequence[InnoDBTransaction]) -> list[Open]:
        """Who has a transaction open, with what it ran last where the server keeps that."""
        ages = {one.session_id: one.age or 0.0 for one in transactions if one.session_id}
        last = self._last_statements(connection, ages)
        return [Open(number, age, last[number][0] if number in last else None) for number, age in ages.items()]

    def _known(
        self, connection: Connection, edges: Iterable[Edge], transactions: Sequence[InnoDBTransaction]
    ) -> tuple[Known, ...]:
        ends = {
            party.session_id
            for edge in edges
            for party in (edge.waiter, edge.holder)
            if isinstance(party, Party) and party.session_id is not None
        }
        if not ends:
            return ()
        by_session = {one.session_id: one for one in transactions}
        modes: dict[int, tuple[bool, bool]] = {}
        if self.modes:
            rows = connection.rows(
                "SELECT PROCESSLIST_ID, AUTOCOMMIT = 'YES', COALESCE(XA_STATE, '') = 'PREPARED' "
                f"FROM {_TRANSACTION_EVENTS} AS its JOIN {THREADS} AS whose ON whose.THREAD_ID = its.THREAD_ID "
                "WHERE its.STATE = 'ACTIVE' AND PROCESSLIST_ID IN %s",
                (tuple(ends),),
            )
            modes = {int(number): (bool(mode), bool(prepared)) for number, mode, prepared in rows}
        prepared = self._none_prepared(connection, transactions)
        last = self.last_of(connection, tuple(ends))
        known = []
        for number in ends:
            transaction = None
            if number in by_session:
                its = by_session[number]
                autocommit, by_xa = modes.get(number, (None, prepared))
                transaction = Transaction(
                    its.id, its.state, its.started, its.age, autocommit, its.rows_changed, prepared=by_xa
                )
            known.append(Known(Party(number), transaction, last.get(number)))
        return tuple(known)

    def last_of(self, connection: Connection, sessions: Sequence[int]) -> Mapping[int, LastStatement]:
        """Read what idle sessions ran last, by their ids, where the server keeps it."""
        return {
            number: LastStatement(Statement.of(text, cut=_CUT if text.endswith("...") else ""), ago)
            for number, (text, ago) in self._last_statements(connection, sessions).items()
        }

    def _none_prepared(self, connection: Connection, transactions: Sequence[InnoDBTransaction]) -> bool | None:
        """Return False where no session has a transaction that XA has prepared; None where one may, or is not known."""
        if self.modes or not self.lock_waits:
            return None
        xids = prepared_xids(connection)
        without_session = sum(one.prepared for one in transactions)
        return False if xids is not None and len(xids) <= without_session else None

    def _last_statements(self, connection: Connection, sessions: Iterable[int]) -> dict[int, tuple[str, float]]:
        """Return the texts that idle sessions ran last, and how many seconds ago they ended."""
        wanted = tuple(sessions)
        if not self.statements or not wanted:
            return {}
        now = (
            f"SELECT TIMER_END FROM {REQUESTS} JOIN {THREADS} USING (THREAD_ID) WHERE PROCESSLIST_ID = connection_id() "
            "AND NESTING_EVENT_LEVEL = 0 AND END_EVENT_ID IS NULL LIMIT 1"
        )
        rows = connection.rows(
            f"SELECT PROCESSLIST_ID, CAST(SQL_TEXT AS BINARY), (({now}) - its.TIMER_END) / 1000000000000 "
            f"FROM {REQUESTS} AS its JOIN {THREADS} AS whose ON whose.THREAD_ID = its.THREAD_ID "
            "WHERE PROCESSLIST_ID IN %s AND NESTING_EVENT_LEVEL = 0 AND END_EVENT_ID IS NOT NULL AND SQL_TEXT <> '' "
            "AND PROCESSLIST_COMMAND = 'Sleep'",
            (wanted,),
        )
        return {int(number): (str(text), max(0.0, float(ago or 0.0))) for number, text, ago in rows}


def probe(connection: Connection, listed: ProcessList, *, mariadb: bool) -> LockViews:
    """Find out what tells waits here, beside the list as it was probed.

    Raises where the connection is lost.
    """
    lacks: list[str] = []
    of_innodb = [_reads(connection, view) for view in (_LOCK_WAITS, _LOCKS)]
    data_locks = False
    if None in of_innodb:  # MariaDB refuses what is not there as well, and MySQL's views are not
        views = (_DATA_LOCK_WAITS, _DATA_LOCKS, THREADS)
        data_locks = _reads_all(connection, views, lacks, "who holds a row lock that a session waits for is not known")
    all_locks = handles = modes = False
    if ("ON",) in [row[1:2] for row in connection.rows("SHOW VARIABLES LIKE 'performance_schema'")]:
        all_locks = _reads_all(connection, (METADATA_LOCKS,), lacks, f"{_HOLDERS} metadata locks is not known")
        handles = _reads_all(connection, (TABLE_HANDLES,), lacks, f"{_HOLDERS} table locks is not known")
        modes = _reads_all(
            connection,
            (_TRANSACTION_EVENTS,),
            lacks,
            "whether a statement is all of its transaction, so that closing the query suffices, is not known",
        )
        known = bool(_reads(connection, THREADS))
        all_locks, handles, modes = all_locks and known, handles and known, modes and known
    granted = mariadb and bool(_reads(connection, METADATA_LOCK_INFO))
    return LockViews(
        StateViews(listed, all_locks, handles, granted),
        listed.transactions,
        listed.transactions and all(of_innodb),
        data_locks,
        modes,
        listed.requests,
        tuple(lacks),
        "" if granted or lacks or (all_locks and not mariadb) else _UNTOLD.format(_PLUGIN if mariadb else _CONSUMER),
    )


_TRANSACTION_EVENTS = "performance_schema.events_transactions_current"
_HOLDERS = "who holds"
_CUT = "The server keeps only the beginning of this statement."
_UNTOLD = "No view here tells who holds a metadata lock or a read lock of all tables: candidates are guessed. {}"
# It writes to a table, and so waits itself while such a read lock is held.
_PLUGIN = "Once nobody holds a read lock, INSTALL SONAME 'metadata_lock_info' lets this MariaDB tell it."
_CONSUMER = "Switch performance_schema on, and this server tells it."


def _reads(connection: Connection, view: str) -> bool | None:
    """Whether the login may read a view; None where that is not there. Raises where the connection is lost."""
    try:
        connection.rows(f"SELECT 1 FROM {view} LIMIT 1")
    except PrivilegeMissingError:
        return False
    except (ConnectionLostError, DataSourceTimeoutError):
        raise
    except DataSourceError:
        return None
    return True


def _reads_all(connection: Connection, views: Iterable[str], lacks: list[str], missed: str) -> bool:
    """Whether the login may read all of these; what it may not goes to ``lacks``, with what is missed without it."""
    readable = {view: _reads(connection, view) for view in views}
    refused = [view for view, may in readable.items() if may is False]
    if refused:
        lacks.append(f"The bot's login may not read {' and '.join(refused)}, so {missed} (GRANT SELECT ON it).")
    return all(readable.values())


def read_transactions(connection: Connection) -> list[InnoDBTransaction]:
    """Read the open transactions, but for those of plain SELECTs under autocommit.

    Raises one of the ``DataSourceError`` family.
    """
    rows = connection.rows(
        f"SELECT trx_id, trx_state, trx_mysql_thread_id, trx_requested_lock_id, UNIX_TIMESTAMP() - {_WAIT_STARTED}, "
        f"trx_lock_structs, {TRANSACTION_STARTED}, UNIX_TIMESTAMP() - {TRANSACTION_STARTED}, trx_rows_modified "
        f"FROM {TRANSACTIONS} WHERE trx_autocommit_non_locking = 0"
    )
    return [
        InnoDBTransaction(
            int(number),
            str(state),
            int(session),
            str(lock) if lock else None,
            _seconds(waited),
            int(locks),
            _seconds(begun),
            _seconds(age),
            int(changed),
        )
        for number, state, session, lock, waited, locks, begun, age, changed in rows
    ]


def _by_lock_waits(connection: Connection, transactions: Sequence[InnoDBTransaction]) -> list[_RowWait]:
    """MariaDB's: one lock is named by its transaction, then by its place.

    200 that wait for one row have 20,100 waits: read are those for who does not wait for it, then those of the rest.
    """
    columns = f"requested_lock_id, blocking_trx_id, blocking_lock_id FROM {_LOCK_WAITS}"
    wanted = f"SELECT trx_requested_lock_id FROM {TRANSACTIONS} WHERE trx_requested_lock_id IS NOT NULL"
    asked = connection.rows(f"SELECT {columns} WHERE blocking_lock_id NOT IN ({wanted})")
    left = {one.requested_lock for one in transactions if one.requested_lock} - {str(one[0]) for one in asked}
    if left:
        asked += connection.rows(f"SELECT DISTINCT {columns} WHERE requested_lock_id IN %s", (tuple(left),))
    if not asked:
        return []
    locks = {
        str(lock): (str(mode), str(table))
        for lock, mode, table in connection.rows(f"SELECT lock_id, lock_mode, lock_table FROM {_LOCKS}")
    }
    blockers: dict[str, list[tuple[int, str]]] = {}
    for requested, blocking, lock in asked:
        blockers.setdefault(str(requested), []).append((int(blocking), str(lock)))
    by_number: dict[int, list[InnoDBTransaction]] = {}
    for one in transactions:
        by_number.setdefault(one.id, []).append(one)
    prepared = _Prepared(connection, transactions)
    waits = []
    for its in transactions:
        if its.requested_lock is None or not its.session_id:
            continue
        mode, table = locks.get(its.requested_lock, ("", ""))
        lock = _very_lock(its.requested_lock.partition(":")[2], mode)
        for number, held in blockers.get(its.requested_lock, ()):
            # Several that have written nothing have number 0. Who waits for the very lock holds it as a rule not.
            may = [one for one in by_number.get(number, ()) if one is not its and (number or one.locks)]
            may = [one for one in may if one.requested_lock != held] or may
            waits += [
                _RowWait(its.session_id, lock, _table(table), *prepared.or_party(one), candidate=len(may) > 1)
                for one in may
            ]
    return waits


def _by_data_locks(connection: Connection, transactions: Sequence[InnoDBTransaction]) -> list[_RowWait]:
    """MySQL's. It names the thread that made a lock, which of a row that was inserted may be the one that waits for it.

    A transaction's own thread is that of its table locks. TRANSACTIONS may not be readable (docs/oceanbase.md 8.4).
    """
    waiting = {one.requested_lock for one in transactions if one.requested_lock is not None}
    if not transactions:
        waiting = {str(lock) for (lock,) in connection.rows(f"SELECT DISTINCT {_REQUESTED} FROM {_DATA_LOCK_WAITS}")}
    columns = f"{_REQUESTED}, REQUESTING_ENGINE_TRANSACTION_ID, BLOCKING_ENGINE_TRANSACTION_ID FROM {_DATA_LOCK_WAITS} "
    asked = connection.rows(
        f"SELECT {columns} WHERE BLOCKING_ENGINE_LOCK_ID NOT IN (SELECT {_REQUESTED} FROM {_DATA_LOCK_WAITS})"
    )
    left = waiting.difference(str(lock) for lock, *_ in asked)
    if left:
        asked += connection.rows(f"SELECT {columns} WHERE {_REQUESTED} IN %s", (tuple(left),))
    if not asked:
        return []
    involved = {int(number) for _, *pair in asked for number in pair}
    sessions: dict[int, int | None] = {}
    locks: dict[str, tuple[str, str]] = {}
    for number, lock, kind, mode, database, table, session in connection.rows(
        "SELECT ENGINE_TRANSACTION_ID, ENGINE_LOCK_ID, LOCK_TYPE, LOCK_MODE, OBJECT_SCHEMA, OBJECT_NAME, "
        f"PROCESSLIST_ID FROM {_DATA_LOCKS} AS its LEFT JOIN {THREADS} AS whose ON whose.THREAD_ID = its.THREAD_ID "
        "WHERE ENGINE_TRANSACTION_ID IN %s AND (LOCK_TYPE = 'TABLE' OR LOCK_STATUS = 'WAITING')",
        (tuple(involved),),
    ):
        sessions.setdefault(int(number), int(session) if session is not None else None)
        # Its transaction (and in 9.6 a number more), then space, page and place there, or the table, then an address.
        place = ":".join(str(lock).split(":")[-2 if kind == "TABLE" else -4 : -1])
        locks[str(lock)] = _very_lock(place, str(mode)), f"{database}.{table}"
    by_number = {one.id: one for one in transactions}
    prepared = _Prepared(connection, transactions)
    waits = []
    for requested, waiter, blocker in asked:
        session, holds = sessions.get(int(waiter)), sessions.get(int(blocker))
        if session is None or str(requested) not in locks:
            continue  # it has ended since
        lock, table = locks[str(requested)]
        its = by_number.get(int(blocker))
        if its is not None:
            waits.append(_RowWait(session, lock, table, *prepared.or_party(its)))
        elif holds is not None:
            waits.append(_RowWait(session, lock, table, Party(holds), holds))
        elif int(blocker) in sessions:  # its thread has gone, and its locks have not
            gone = InnoDBTransaction(int(blocker), "", 0, None, None, 1, None, None, 0)
            waits.append(_RowWait(session, lock, table, *prepared.or_party(gone)))
    return waits


def _very_lock(place: str, mode: str) -> str:
    """Name a lock: an insert waits for the gap before a row, and for others than those do that wait for the row."""
    return f"{place}:gap" if "GAP" in mode.replace("REC_NOT_GAP", "") or "INSERT_INTENTION" in mode else place


def without_queue(waits: Collection[_RowWait]) -> list[_RowWait]:
    """Leave out who merely waits in the same queue, where somebody is named who holds: of 200 waiters 19,900 waits."""
    queued = {(one.waiter, one.lock) for one in waits}
    held = {(one.waiter, one.lock) for one in waits if (one.holder_key, one.lock) not in queued}
    return [one for one in waits if (one.holder_key, one.lock) not in queued or (one.waiter, one.lock) not in held]


@dataclass(slots=True)
class _Prepared:
    """Tells the transactions that XA has prepared from those that a session has."""

    connection: Connection
    transactions: Sequence[InnoDBTransaction]
    _known: tuple[str, ...] | None = field(default=None, init=False)
    _asked: bool = field(default=False, init=False)

    def or_party(self, one: InnoDBTransaction) -> tuple[Party | Prepared, object]:
        """Return who has a transaction, and what tells that one from others."""
        if one.session_id:
            number = one.id if 0 < one.id < READ_ONLY else None  # such a one stays the same while it lasts
            return Party(one.session_id, number), one.session_id
        transaction = Transaction(one.id, one.state or None, one.started, one.age, rows_changed=one.rows_changed)
        return Prepared(transaction, xid=self._xid()), ("prepared", one.id)

    def _xid(self) -> str | None:
        """The one XID that is prepared; None where there are several: none is told with its transaction."""
        if not self._asked:
            self._asked = True
            self._known = prepared_xids(self.connection)
        return self._known[0] if self._known is not None and len(self._known) == 1 else None


def prepared_xids(connection: Connection) -> tuple[str, ...] | None:
    """Return the XIDs that are prepared, as XA COMMIT takes them; None where the login may not know (MySQL).

    Raises where the connection is lost.
    """
    for sql in ("XA RECOVER FORMAT='SQL'", "XA RECOVER CONVERT XID"):  # MariaDB's and MySQL's
        try:
            rows = connection.rows(sql)
        except (ConnectionLostError, DataSourceTimeoutError):
            raise
        except DataSourceError:
            continue
        return tuple(_xid(row) for row in rows)
    return None


def _xid(row: Row) -> str:
    form, length, _, data = row
    if not str(data).startswith("0x"):
        return str(data)
    both = bytes.fromhex(str(data)[2:])
    parts = both[: int(length)], both[int(length) :]
    shown = [f"'{part.decode()}'" if _PLAIN.fullmatch(part) else f"0x{part.hex()}" for part in parts]
    return ",".join((*(shown if parts[1] or int(form) != 1 else shown[:1]), *([str(form)] if int(form) != 1 else [])))


_PLAIN = re.compile(rb"[A-Za-z0-9_.:@/ -]+")


def _table(quoted: str) -> str | None:
    """Return ``database.table`` of names in backquotes; MariaDB adds the partition."""
    names = [name.replace("``", "`") for name in _NAME.findall(quoted)]
    return ".".join(names[:2]) if len(names) >= 2 else None


def _seconds(cell: object) -> float | None:
    return None if cell is None else max(float(str(cell)), 0.0)
