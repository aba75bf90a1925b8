"""Who waits for whom on MySQL and MariaDB, told by InnoDB, the metadata locks and STATE. docs/oceanbase.md 8.8.

Which views there are is probed; what the login may not read is said with its grant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bot.errors import ConnectionLostError, DataSourceError, DataSourceTimeoutError, PrivilegeMissingError
from bot.sessions.database import Connection
from bot.sessions.model import LastStatement, Transaction, WaitKind
from bot.sessions.mysql.columns import REQUESTS, THREADS, TRANSACTION_EVENTS, TRANSACTIONS, ProcessList
from bot.sessions.mysql.metadata_locks import METADATA_LOCK_INFO, METADATA_LOCKS
from bot.sessions.mysql.prepared import prepared_xids
from bot.sessions.mysql.row_locks import (
    DATA_LOCK_WAITS,
    DATA_LOCKS,
    LOCK_WAITS,
    LOCKS,
    RowWait,
    by_data_locks,
    by_lock_waits,
)
from bot.sessions.mysql.state_waits import TABLE_HANDLES, Open, StateViews, StateWaits
from bot.sessions.mysql.transactions import ROLLING_BACK, InnoDBTransaction, of_rows, rows_of
from bot.sessions.statement import Statement
from bot.sessions.waits.graph import without_queues
from bot.sessions.waits.reading import Edge, Known, Locks, Party


@dataclass(frozen=True, slots=True)
class LockViews:
    """What one server offers to one login of who waits for whom."""

    states: StateViews
    transactions: bool = False  # TRANSACTIONS
    lock_waits: bool = False  # LOCK_WAITS and LOCKS
    data_locks: bool = False  # DATA_LOCK_WAITS, DATA_LOCKS and THREADS
    modes: bool = False  # TRANSACTION_EVENTS: the list tells whether a transaction is one of autocommit
    statements: bool = False  # REQUESTS: what an idle session ran last
    lacks: tuple[str, ...] = ()
    untold: str = ""  # says what would tell who holds what is waited for by STATE

    def __call__(self, connection: Connection) -> Locks:
        """Read who waits for whom now. Raises one of the ``DataSourceError`` family."""
        rows = rows_of(connection) if self.transactions else []
        transactions = connection.meanwhile(lambda: of_rows(rows))
        of_innodb = self._row_waits(connection, transactions, some=any(lock and its for _, _, its, lock, *_ in rows))
        running = self.states.running(connection)
        waits = StateWaits(
            connection,
            self.states,
            running,
            lambda: self._open(connection, transactions()),
            lambda sessions: {one: text for one, (text, _) in self._last_statements(connection, sessions).items()},
        )
        edges = (*of_innodb(), *waits.edges())
        lacks = (*self.lacks, self.untold) if waits.untold and self.untold else self.lacks
        return Locks(edges, lacks, self._known(connection, edges, transactions()))

    def _row_waits(
        self, connection: Connection, transactions: Callable[[], Sequence[InnoDBTransaction]], *, some: bool
    ) -> Callable[[], Sequence[Edge]]:
        """Read them, to be put together while the server is at the next statement; ``some`` transactions wait."""
        waits: Callable[[], Sequence[RowWait]] = tuple
        told_by = TRANSACTIONS
        if self.data_locks:
            waits, told_by = by_data_locks(connection, transactions), DATA_LOCK_WAITS
        elif self.lock_waits and some:
            waits, told_by = by_lock_waits(connection, transactions), LOCK_WAITS
        return connection.meanwhile(lambda: list(_edges(waits(), transactions(), told_by)))

    def _open(self, connection: Connection, transactions: Sequence[InnoDBTransaction]) -> list[Open]:
        """Who has a transaction open, with what it ran last where the server keeps that."""
        ages = {one.session_id: one.age or 0.0 for one in transactions if one.session_id}
        last = self._last_statements(connection, ages)
        return [Open(number, age, last[number][0] if number in last else None) for number, age in ages.items()]

    def _known(
        self, connection: Connection, edges: Iterable[Edge], transactions: Sequence[InnoDBTransaction]
    ) -> Callable[[], Iterable[Known]]:
        ends = {
            party.session_id
            for edge in edges
            for party in (edge.waiter, edge.holder)
            if isinstance(party, Party) and party.session_id is not None
        }
        if not ends:
            return tuple
        prepared = self._prepared(connection, transactions)
        last = self.last_of(connection, tuple(ends))

        def known() -> Iterable[Known]:
            by_session = {one.session_id: one for one in transactions}
            return [Known(Party(one), _transaction(by_session.get(one), prepared), last.get(one)) for one in ends]

        return connection.meanwhile(known)

    def last_of(self, connection: Connection, sessions: Sequence[int]) -> Mapping[int, LastStatement]:
        """Read what idle sessions ran last, by their ids, where the server keeps it."""
        return {
            number: LastStatement(Statement.of(text, cut=_CUT if text.endswith("...") else ""), ago)
            for number, (text, ago) in self._last_statements(connection, sessions).items()
        }

    def _prepared(self, connection: Connection, transactions: Sequence[InnoDBTransaction]) -> bool | None:
        """Return whether XA has prepared the transactions of sessions that wait for no lock.

        False where there are no more XIDs than transactions without a session, True where it must be all of them; None
        where it may be some, or is not known. A session with such a transaction can do nothing but end it.
        """
        if not self.lock_waits:
            return None
        xids = prepared_xids(connection)
        if xids is None:
            return None
        of_sessions = len(xids) - sum(one.prepared for one in transactions)
        may = sum(
            bool(one.session_id) and one.requested_lock is None and one.state != ROLLING_BACK for one in transactions
        )
        return False if of_sessions <= 0 else True if of_sessions == may else None

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


def _edges(waits: Sequence[RowWait], transactions: Sequence[InnoDBTransaction], told_by: str) -> Iterable[Edge]:
    waiting = {one.session_id: one for one in transactions if one.requested_lock is not None and one.session_id}
    named: set[int] = set()
    for one in without_queues(waits, lambda one: one.ends):
        named.add(one.waiter)
        waited = waiting[one.waiter].waited if one.waiter in waiting else None
        party = Party(one.waiter)
        yield Edge(party, one.holder, WaitKind.ROW_LOCK, told_by, waited, one.what, one.lock, one.candidate)
    for number, its in waiting.items():
        if number not in named:
            yield Edge(Party(number), None, WaitKind.ROW_LOCK, TRANSACTIONS, its.waited)


def _transaction(its: InnoDBTransaction | None, prepared: bool | None) -> Transaction | None:
    if its is None:
        return None
    by_xa = False if its.requested_lock else prepared
    return Transaction(its.id, its.state, its.started, its.age, rows_changed=its.rows_changed, prepared=by_xa)


def probe(connection: Connection, listed: ProcessList, *, mariadb: bool) -> LockViews:
    """Find out what tells waits here, beside the list as it was probed.

    Raises where the connection is lost.
    """
    lacks: list[str] = []
    of_innodb = [_reads(connection, view) for view in (LOCK_WAITS, LOCKS)]
    data_locks = False
    if None in of_innodb:  # MariaDB refuses what is not there as well, and MySQL's views are not
        views = (DATA_LOCK_WAITS, DATA_LOCKS, THREADS)
        data_locks = _reads_all(connection, views, lacks, "who holds a row lock that a session waits for is not known")
    all_locks = handles = modes = False
    if ("ON",) in [row[1:2] for row in connection.rows("SHOW VARIABLES LIKE 'performance_schema'")]:
        all_locks = _reads_all(connection, (METADATA_LOCKS,), lacks, f"{_HOLDERS} metadata locks is not known")
        handles = _reads_all(connection, (TABLE_HANDLES,), lacks, f"{_HOLDERS} table locks is not known")
        modes = _reads_all(
            connection,
            (TRANSACTION_EVENTS,),
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
