"""MySQL and MariaDB: who waits for a row or a table that another transaction of InnoDB has locked.

MariaDB's views tell it or MySQL's. docs/oceanbase.md 8.8.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from bot.sessions.database import Connection, Row
from bot.sessions.mysql.columns import THREADS, TRANSACTIONS
from bot.sessions.mysql.prepared import PreparedTransactions
from bot.sessions.mysql.transactions import InnoDBTransaction
from bot.sessions.waits.graph import Prepared
from bot.sessions.waits.reading import Party

# MariaDB's, closed to all without PROCESS as TRANSACTIONS is, filled in the same moment as that.
LOCK_WAITS = "information_schema.INNODB_LOCK_WAITS"
LOCKS = "information_schema.INNODB_LOCKS"
# MySQL's.
DATA_LOCK_WAITS = "performance_schema.data_lock_waits"
DATA_LOCKS = "performance_schema.data_locks"
_REQUESTED = "REQUESTING_ENGINE_LOCK_ID"

_NAME = re.compile(r"`((?:[^`]|``)*)`")


class RowWait(NamedTuple):
    """One transaction that waits for another's row or table lock in InnoDB."""

    waiter: int  # session id
    lock: str  # the very lock
    what: str | None
    holder: Party | Prepared
    holder_key: object
    candidate: bool = False

    @property
    def ends(self) -> tuple[object, object, object]:
        """Waiter, holder and lock, for ``without_queues``."""
        return self.waiter, self.holder_key, self.lock


def by_lock_waits(
    connection: Connection, transactions: Callable[[], Sequence[InnoDBTransaction]]
) -> Callable[[], Sequence[RowWait]]:
    """MariaDB's: one lock is named by its transaction, then by its place.

    200 that wait for one row have 20,100 waits: read are those for who does not wait for it, then those of the rest.
    What is read is put together while the server is at the next statement.
    """
    columns = f"requested_lock_id, blocking_trx_id, blocking_lock_id FROM {LOCK_WAITS}"
    wanted = f"SELECT trx_requested_lock_id FROM {TRANSACTIONS} WHERE trx_requested_lock_id IS NOT NULL"
    asked = connection.rows(f"SELECT {columns} WHERE blocking_lock_id NOT IN ({wanted})")
    left = {one.requested_lock for one in transactions() if one.requested_lock} - {str(one[0]) for one in asked}
    if left:
        asked += connection.rows(f"SELECT DISTINCT {columns} WHERE requested_lock_id IN %s", (tuple(left),))
    if not asked:
        return tuple
    blockers = connection.meanwhile(lambda: _blockers(asked))
    locks = connection.rows(f"SELECT lock_id, lock_mode, lock_table FROM {LOCKS}")
    prepared = PreparedTransactions(connection, transactions())

    def waits() -> Sequence[RowWait]:
        told = {str(lock): (str(mode), str(table)) for lock, mode, table in locks}
        return _waits_of(transactions(), blockers(), told, prepared)

    if all(one.session_id for one in transactions()):
        return connection.meanwhile(waits)
    found = waits()  # it may ask what XA has prepared
    return lambda: found


def _blockers(waits: Iterable[Row]) -> Mapping[str, Mapping[tuple[int, str], int]]:
    """Return by requested lock whose locks keep it out, each by transaction and lock, with how often it is told."""
    found: dict[str, dict[tuple[int, str], int]] = {}
    for requested, blocking, lock in waits:
        held_by, one_of = found.setdefault(str(requested), {}), (int(blocking), str(lock))
        held_by[one_of] = held_by.get(one_of, 0) + 1
    return found


def _waits_of(
    transactions: Sequence[InnoDBTransaction],
    blockers: Mapping[str, Mapping[tuple[int, str], int]],
    locks: Mapping[str, tuple[str, str]],
    prepared: PreparedTransactions,
) -> Sequence[RowWait]:
    by_number: dict[int, list[InnoDBTransaction]] = {}
    for one in transactions:
        by_number.setdefault(one.id, []).append(one)
    waits: list[RowWait] = []
    for its in transactions:
        if its.requested_lock is None or not its.session_id:
            continue
        mode, table = locks.get(its.requested_lock, ("", ""))
        lock = _very_lock(its.requested_lock.partition(":")[2], mode)
        for (number, held), times in blockers.get(its.requested_lock, {}).items():
            # Several that have written nothing have number 0. Who waits for the very lock holds it as a rule not.
            may = [one for one in by_number.get(number, ()) if one is not its and (number or one.locks)]
            may = [one for one in may if one.requested_lock != held] or may
            guess = not _all_hold(may, times)
            waits += [
                RowWait(its.session_id, lock, _table(table), *prepared.or_party(one), candidate=guess) for one in may
            ]
    return waits


def _all_hold(transactions: Sequence[InnoDBTransaction], times: int) -> bool:
    """Whether each of these has a lock that is told so many times under a number that they share.

    One may have several at the same place, as of a gap and of its row: as many as all its locks but that of the table.
    Each has one where the others have too few.
    """
    most = [max(one.locks - 1, 0) for one in transactions]
    return len(most) == 1 or sum(most) - min(most, default=0) < times


def by_data_locks(
    connection: Connection, transactions_of: Callable[[], Sequence[InnoDBTransaction]]
) -> Callable[[], Sequence[RowWait]]:
    """MySQL's. It names the thread that made a lock, which of a row that was inserted may be the one that waits for it.

    A transaction's own thread is that of its table locks. TRANSACTIONS may not be readable (docs/oceanbase.md 8.4).
    """
    transactions = transactions_of()
    waiting = {one.requested_lock for one in transactions if one.requested_lock is not None}
    if not transactions:
        waiting = {str(lock) for (lock,) in connection.rows(f"SELECT DISTINCT {_REQUESTED} FROM {DATA_LOCK_WAITS}")}
    columns = f"{_REQUESTED}, REQUESTING_ENGINE_TRANSACTION_ID, BLOCKING_ENGINE_TRANSACTION_ID FROM {DATA_LOCK_WAITS} "
    asked = connection.rows(
        f"SELECT {columns} WHERE BLOCKING_ENGINE_LOCK_ID NOT IN (SELECT {_REQUESTED} FROM {DATA_LOCK_WAITS})"
    )
    left = waiting.difference(str(lock) for lock, *_ in asked)
    if left:
        asked += connection.rows(f"SELECT {columns} WHERE {_REQUESTED} IN %s", (tuple(left),))
    if not asked:
        return tuple
    involved = {int(number) for _, *pair in asked for number in pair}
    sessions: dict[int, int | None] = {}
    locks: dict[str, tuple[str, str]] = {}
    for number, lock, kind, mode, database, table, session in connection.rows(
        "SELECT ENGINE_TRANSACTION_ID, ENGINE_LOCK_ID, LOCK_TYPE, LOCK_MODE, OBJECT_SCHEMA, OBJECT_NAME, "
        f"PROCESSLIST_ID FROM {DATA_LOCKS} AS its LEFT JOIN {THREADS} AS whose ON whose.THREAD_ID = its.THREAD_ID "
        "WHERE ENGINE_TRANSACTION_ID IN %s AND (LOCK_TYPE = 'TABLE' OR LOCK_STATUS = 'WAITING')",
        (tuple(involved),),
    ):
        sessions.setdefault(int(number), int(session) if session is not None else None)
        # Its transaction (and in 9.6 a number more), then space, page and place there, or the table, then an address.
        place = ":".join(str(lock).split(":")[-2 if kind == "TABLE" else -4 : -1])
        locks[str(lock)] = _very_lock(place, str(mode)), f"{database}.{table}"
    by_number = {one.id: one for one in transactions}
    prepared = PreparedTransactions(connection, transactions)
    waits: list[RowWait] = []
    for requested, waiter, blocker in dict.fromkeys(asked):  # who holds by two locks is told twice
        session, holds = sessions.get(int(waiter)), sessions.get(int(blocker))
        if session is None or str(requested) not in locks:
            continue  # it has ended since
        lock, table = locks[str(requested)]
        its = by_number.get(int(blocker))
        if its is not None:
            waits.append(RowWait(session, lock, table, *prepared.or_party(its)))
        elif holds is not None:
            waits.append(RowWait(session, lock, table, Party(holds), holds))
        elif int(blocker) in sessions:  # its thread has gone, and its locks have not
            gone = InnoDBTransaction(int(blocker), "", 0, None, None, 1, None, None, 0)
            waits.append(RowWait(session, lock, table, *prepared.or_party(gone)))
    return lambda: waits


def _very_lock(place: str, mode: str) -> str:
    """Name a lock: an insert waits for the gap before a row, and for others than those do that wait for the row."""
    return f"{place}:gap" if "GAP" in mode.replace("REC_NOT_GAP", "") or "INSERT_INTENTION" in mode else place


@lru_cache(maxsize=256)
def _table(quoted: str) -> str | None:
    """Return ``database.table`` of names in backquotes; MariaDB adds the partition."""
    names = [name.replace("``", "`") for name in _NAME.findall(quoted)]
    return ".".join(names[:2]) if len(names) >= 2 else None
