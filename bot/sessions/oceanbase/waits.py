"""OceanBase and seekdb: who waits for whom.

Which view tells it is probed, never derived from a version (docs/oceanbase.md 5.2).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from bot.errors import ConnectionLostError, DataSourceError
from bot.sessions.charsets import whole_letters
from bot.sessions.database import Connection
from bot.sessions.dialect import LIST_SQL_BYTES, Tenants
from bot.sessions.model import LastStatement, WaitKind
from bot.sessions.oceanbase import row_locks
from bot.sessions.oceanbase.details import number, readable
from bot.sessions.oceanbase.row_locks import BothEnds, RowLocks
from bot.sessions.oceanbase.transactions import OceanBaseTransactions
from bot.sessions.statement import Statement
from bot.sessions.transactions import MOST, Begun
from bot.sessions.waits.graph import Prepared
from bot.sessions.waits.reading import Edge, Known, Locks, Party

_USER_LOCKS = ("oceanbase.__all_detect_lock_info_v2", "oceanbase.__all_detect_lock_info")
_LONG_OPERATIONS = ("oceanbase.GV$SESSION_LONGOPS", "oceanbase.V$SESSION_LONGOPS")
_AUDIT = ("oceanbase.GV$OB_SQL_AUDIT",)
_TELLS = {
    **dict.fromkeys(row_locks.OBJECTS, "the table of a row lock is not known"),
    **dict.fromkeys(_USER_LOCKS, "who holds a user lock that a session waits for is not known"),
    **dict.fromkeys(_LONG_OPERATIONS, "which transaction the making of an index waits for is not known"),
}

_NO_HOLDERS = (
    "This login can read no view of this server that says who holds a row lock: OceanBase before 4.2.0 shows that in "
    "the sys tenant alone (GRANT SELECT ON oceanbase.__all_virtual_lock_wait_stat and "
    "oceanbase.__all_virtual_trans_lock_stat)."
)

_ROW_LOCKED, _TABLE_LOCKED = -6005, -4023  # RETRY_INFO of who waits for a row, and for a table that it changes
_PENDING = "PENDING_TX_ID: "
_USER_LOCK = "INSERT INTO oceanbase.__all_detect_lock_info"  # what INFO is while GET_LOCK waits (docs/oceanbase.md 5.4)
_IN_GET_LOCK = re.compile(re.escape(_USER_LOCK) + r"\w* \(([^)]*)\) VALUES \(([^)]*)\)")
_UPTIME = "SELECT variable_value FROM information_schema.global_status WHERE variable_name = 'Uptime'"
_GET_LOCK = "13"  # OBJ_TYPE of its locks
_FIRST_WORD = re.compile(r"\s*(?:/\*.*?\*/\s*)*(\w+)", re.DOTALL)
_CHANGES_ROWS = ("DELETE", "INSERT", "REPLACE", "SELECT", "UPDATE", "WITH")
_CHANGES_TABLES = ("ALTER", "CREATE", "DROP", "RENAME", "TRUNCATE")
_NAMES = re.compile(r"`((?:[^`]|``)+)`|([\w$]+)")

_HEADS = 10  # whose last statement is read
_AUDIT_TIMEOUT = 150_000  # microseconds; reading a million of its rows takes a quarter of a second
_NOW_MICROSECONDS = "UNIX_TIMESTAMP(NOW(6)) * 1000000"


@dataclass(frozen=True, slots=True)
class Doing:
    """A session of the list whose statement waits, as the list itself tells."""

    party: Party
    retries: int  # the error for which its statement is tried again
    seconds: float  # since its statement came
    trace_id: str | None
    database: str | None
    text: str  # the beginning of what runs
    in_call: bool = False  # whether that is a statement of a routine that it has called

    @property
    def user_lock(self) -> int | None:
        """The number of the lock that its GET_LOCK waits for: it shows the server's own statement with it."""
        found = _IN_GET_LOCK.match(self.text)
        row = dict(zip(*(part.split(", ") for part in found.groups()), strict=False)) if found is not None else {}
        return number(row.get("obj_id")) if row.get("obj_type") == _GET_LOCK else None

    @property
    def tried_again(self) -> bool:
        """Whether its statement is tried again and again for a lock, which no view of waits has."""
        found = _FIRST_WORD.match(self.text)
        words = {_TABLE_LOCKED: _CHANGES_TABLES, _ROW_LOCKED: _CHANGES_ROWS if self.in_call else ()}
        return found is not None and found[1].upper() in words.get(self.retries, ())

    def names(self, table: str) -> bool:
        """Whether its statement has the name of a ``database.table``, in that database."""
        names = {(quoted or bare).replace("``", "`").lower() for quoted, bare in _NAMES.findall(self.text)}
        database, _, name = table.lower().partition(".")
        whole = self.text.lower().split()[:2] == ["drop", "database"]
        return (database in names and whole) or (name in names and database in {*names, (self.database or "").lower()})


@dataclass(frozen=True, slots=True)
class WaitingSessions:
    """The list of sessions, asked for those of which it tells that they wait."""

    view: str
    columns: frozenset[str]

    def read(self, connection: Connection, retries: Sequence[int], traces: Collection[str]) -> Sequence[Doing]:
        """Read those that are tried again for one of these errors, wait for a user lock, or have one of the trace ids.

        Raises one of the ``DataSourceError`` family.
        """
        if not self.columns >= {"RETRY_INFO", "TRACE_ID", "TRANS_ID", "TOTAL_TIME"}:
            return ()  # information_schema.PROCESSLIST tells nothing of it
        tenant = "TENANT" if "TENANT" in self.columns else "NULL"
        in_call = "COALESCE(LENGTH(TOP_INFO), 0) > 0" if "TOP_INFO" in self.columns else "FALSE"
        rows = connection.rows(
            f"SELECT ID, {tenant}, RETRY_INFO, TOTAL_TIME, TRACE_ID, NULLIF(DB, 'NULL'), "
            f"LEFT(CAST(INFO AS BINARY), {LIST_SQL_BYTES}), {in_call} FROM {self.view} WHERE COMMAND <> 'Sleep' "
            f"AND (RETRY_INFO IN %s OR RETRY_INFO = {_ROW_LOCKED} AND {in_call} OR LOCATE('{_USER_LOCK}', INFO) = 1"
            f"{' OR TRACE_ID IN %s' if traces else ''})",
            (tuple(retries), *((tuple(traces),) if traces else ())),
        )
        return [
            Doing(
                Party(int(session), tenant=str(named) if named else None),
                int(retries or 0),
                float(seconds or 0),
                str(trace) if trace else None,
                str(database) if database else None,
                str(text or ""),
                bool(called),
            )
            for session, named, retries, seconds, trace, database, text, called in rows
        ]

    def listed(self, connection: Connection, ids: Collection[int]) -> Collection[int]:
        """Return those of these ids that a session has."""
        if not ids:
            return ()
        return {int(one) for (one,) in connection.rows(f"SELECT ID FROM {self.view} WHERE ID IN %s", (tuple(ids),))}


@dataclass(frozen=True, slots=True)
class OceanBaseLocks:
    """What this login reads of locks; ``lacks`` are sentences on what it may not, each with its grant."""

    rows: RowLocks | None
    listed: WaitingSessions
    tenants: Tenants
    login_tenant: str | None
    user_locks: str | None  # where the holders of GET_LOCK's locks are, of the login's own tenant
    long_operations: str | None  # where a statement that makes an index names the transaction that it waits for
    transactions: OceanBaseTransactions | None
    audit: str | None  # where the last statements are
    single: bool  # there is one server only
    lacks: tuple[str, ...]
    missed: tuple[str, ...] = ()  # those of them that name a view which one grant would open

    @classmethod
    def probe(
        cls,
        connection: Connection,
        listed: WaitingSessions,
        locks: str | None,
        transactions: OceanBaseTransactions | None,
        tenants: Tenants,
        login_tenant: str | None,
        lacks: Sequence[str],
        *,
        single: bool,
    ) -> OceanBaseLocks:
        """Find out what tells of waits beside ``locks``, the view of ``RowLocks``.

        Raises ``ConnectionLostError`` or ``DataSourceTimeoutError``.
        """
        refused: list[str] = []
        rows = row_locks.probe(connection, locks, tenants, refused)
        user_locks = readable(connection, "obj_type, obj_id, owner_id", _USER_LOCKS, refused)
        long_operations = readable(connection, "trace_id, message", _LONG_OPERATIONS, refused)
        # It opens the SQL of everybody: not missed where it is not granted.
        audit = readable(connection, "request_id, sid, query_sql, request_time, elapsed_time", _AUDIT, [])
        missed = [f"The bot's login may not read {view}, so {_TELLS[view]} (GRANT SELECT ON it)." for view in refused]
        return cls(
            rows,
            listed,
            tenants,
            login_tenant,
            user_locks,
            long_operations,
            transactions,
            audit,
            single,
            (*(lacks or ((_NO_HOLDERS,) if rows is None else ())), *missed),
            tuple(missed),
        )

    def read(self, connection: Connection) -> Locks:
        """Read all waits; raises one of the ``DataSourceError`` family."""
        of_rows = self.rows.waits(connection) if self.rows is not None else tuple
        of_list = list(self._of_list(connection, of_rows))
        edges = list(dict.fromkeys([*of_rows(), *of_list]))
        begun, prepared = self._begun(connection) if edges else (tuple, False)
        if prepared or any(party.session_id is None for party in _parties(edges)):
            edges = self._named(edges, begun())
        numbers = {party.transaction_id for party in _parties(edges)}
        known = connection.meanwhile(
            lambda: [Known(one.session, one.transaction) for one in begun() if one.transaction.id in numbers]
        )
        last = self._last_statements(connection, edges)
        return Locks(tuple(edges), self.lacks, lambda: (*known(), *last))

    def _named(self, edges: Iterable[Edge], begun: Iterable[Begun]) -> list[Edge]:
        if not self.tenants.told:
            return list(edges)
        by_tenant = self.tenants.view is not None
        # By what names a transaction in the views of locks.
        told = {(one.session.tenant if by_tenant else None, one.transaction.id): one for one in begun}
        return [_named(edge, told) for edge in edges]

    def _of_list(self, connection: Connection, of_rows: Callable[[], Sequence[Edge]]) -> Iterable[Edge]:
        """Read the waits that the list tells, but for those of the sessions that are named already."""
        pending = self._pending(connection)
        retries = (_TABLE_LOCKED,) if self.rows is not None else (_TABLE_LOCKED, _ROW_LOCKED)
        listed = self.listed.read(connection, retries, pending)
        named = {edge.waiter.session_id for edge in of_rows()}
        doing = [one for one in listed if one.party.session_id not in named]
        owners = self._owners(connection) if any(one.user_lock is not None for one in doing) else {}
        there = self.listed.listed(connection, set(owners.values()))
        tried = {one.party: one for one in doing if one.tried_again}
        holding = self.rows.holding(connection) if tried and isinstance(self.rows, BothEnds) else {}
        holding = {party: tables for party, tables in holding.items() if Party(party.session_id) not in _bare(tried)}
        for one in doing:
            transaction = pending.get(one.trace_id or "")
            if transaction is not None:
                holder = Party(None, transaction, one.party.tenant)
                yield Edge(one.party, holder, WaitKind.METADATA, str(self.long_operations), one.seconds)
            elif one.user_lock is not None:
                yield self._user_wait(one, owners, there)
            elif one.party in tried:
                yield from _candidates(
                    one, holding, self.rows.view if holding and self.rows is not None else self._list
                )
            elif one.retries == _ROW_LOCKED:
                yield Edge(one.party, None, WaitKind.ROW_LOCK, self._list, one.seconds)

    @property
    def _list(self) -> str:
        return f"{self.listed.view}.RETRY_INFO"

    def _pending(self, connection: Connection) -> Mapping[str, int]:
        """Return the transactions that statements which make an index wait for, by the statements' trace ids."""
        if self.long_operations is None or not self.tenants.told:
            return {}
        rows = connection.rows(
            f"SELECT trace_id, message FROM {self.long_operations} WHERE message LIKE %s", (f"%{_PENDING}%",)
        )
        told = ((str(trace), number(str(message).partition(_PENDING)[2].strip())) for trace, message in rows)
        return {trace: transaction for trace, transaction in told if transaction is not None}

    def _owners(self, connection: Connection) -> Mapping[int, int]:
        """Return the sessions that have locks of GET_LOCK, by the locks' numbers.

        [kernel] ``ob_table_lock_common.h``: the lower 32 bits of an owner are the session's id.
        """
        if self.user_locks is None:
            return {}
        # seekdb 1.4 keeps the lock of a session that is gone (docs/oceanbase.md 5.4); ids begin anew with a server.
        since = f" AND gmt_create > NOW(6) - INTERVAL ({_UPTIME}) SECOND" if self.single else ""
        rows = connection.rows(f"SELECT obj_id, owner_id FROM {self.user_locks} WHERE obj_type = {_GET_LOCK}{since}")
        return {int(lock): int(owner) & 0xFFFF_FFFF for lock, owner in rows}

    @property
    def _keeps_user_locks(self) -> bool:
        """Whether the lock of GET_LOCK stays when its session is gone, as on the kernel that has no GV$ views any more.

        docs/oceanbase.md 5.4.
        """
        return self.single and self.listed.view.startswith("oceanbase.V$")

    def _user_wait(self, waiter: Doing, owners: Mapping[int, int], there: Collection[int]) -> Edge:
        own = not self.tenants.several or waiter.party.tenant == self.login_tenant  # another tenant counts by itself
        owner = owners.get(waiter.user_lock or 0) if own else None
        holder = Party(owner, tenant=waiter.party.tenant) if owner in there else None
        told_by = str(self.user_locks) if holder is not None else f"{self.listed.view}.INFO"
        lock = f"{waiter.party.tenant}/{waiter.user_lock}"
        outlives = self._keeps_user_locks and owner is not None
        return Edge(waiter.party, holder, WaitKind.USER_LOCK, told_by, waiter.seconds, lock=lock, outlives=outlives)

    def _begun(self, connection: Connection) -> tuple[Callable[[], Sequence[Begun]], bool]:
        if self.transactions is None:
            return tuple, False
        begun, prepared = self.transactions.begun(connection, MOST)
        if self.tenants.told:
            return begun, prepared
        return lambda: [replace(one, session=one.session._replace(transaction_id=None)) for one in begun()], prepared

    def _last_statements(self, connection: Connection, edges: Sequence[Edge]) -> Sequence[Known]:
        """Read what those ran last who hold up others and wait for nobody, where the ring still has it."""
        waiting = {edge.waiter for edge in edges}
        holders = Counter(edge.holder for edge in edges if isinstance(edge.holder, Party))
        heads = {
            party.session_id: party
            for party, _ in holders.most_common()
            if party not in waiting and party.session_id is not None
        }
        last = self.last_of(connection, tuple(heads)[:_HEADS])
        return [Known(heads[session], last_statement=statement) for session, statement in last.items()]

    def last_of(self, connection: Connection, sessions: Sequence[int]) -> Mapping[int, LastStatement]:
        """Read what sessions ran last, by their ids, where the ring still has it."""
        asked = tuple(sessions)
        if self.audit is None or not asked:
            return {}
        hint = f"/*+ QUERY_TIMEOUT({_AUDIT_TIMEOUT}) */"
        try:
            last = connection.rows(
                f"SELECT {hint} MAX(request_id) FROM {self.audit} WHERE sid IN %s AND is_inner_sql = 0 GROUP BY sid",
                (asked,),
            )
            rows = connection.rows(
                f"SELECT {hint} sid, LEFT(CAST(query_sql AS BINARY), {LIST_SQL_BYTES}), LENGTH(query_sql), sql_id, "
                f"({_NOW_MICROSECONDS} - request_time - elapsed_time) / 1e6 FROM {self.audit} "
                "WHERE request_id IN %s AND sid IN %s AND is_inner_sql = 0 ORDER BY request_time",
                (tuple(number for (number,) in last) or (0,), asked),
            )
        except ConnectionLostError:
            raise
        except DataSourceError:
            return {}  # a ring that is long to read is not worth the wait
        return {
            int(session): _last(str(text or ""), int(length or 0), sql_id, float(ago))
            for session, text, length, sql_id, ago in rows
        }


def _last(text: str, length: int, sql_id: object, ago: float) -> LastStatement:
    whole = whole_letters(text) if length > LIST_SQL_BYTES else text
    return LastStatement(Statement.of(whole, length=length, sql_id=str(sql_id) if sql_id else None), max(0.0, ago))


def _parties(edges: Iterable[Edge]) -> Iterator[Party]:
    return (party for edge in edges for party in edge[:2] if isinstance(party, Party))


def _named(edge: Edge, begun: Mapping[tuple[str | None, int | None], Begun]) -> Edge:
    """Name the sessions that the views of locks do not; let a wait be for a transaction that no session has."""
    waiter, holder = _with_session(edge.waiter, begun), edge.holder
    if isinstance(holder, Party):
        its = begun.get((holder.tenant, holder.transaction_id))
        if its is not None and its.prepared:
            holder = Prepared(its.transaction, its.session.tenant, its.xid)
        else:
            holder = _with_session(holder, begun)
    named = waiter is edge.waiter and holder is edge.holder
    return edge if named else edge._replace(waiter=waiter, holder=holder)


def _with_session(party: Party, begun: Mapping[tuple[str | None, int | None], Begun]) -> Party:
    its = begun.get((party.tenant, party.transaction_id)) if party.session_id is None else None
    return party._replace(session_id=its.session.session_id) if its is not None else party


def _bare(parties: Iterable[Party]) -> Collection[Party]:
    return {Party(party.session_id) for party in parties}


def _candidates(waiter: Doing, holding: Mapping[Party, frozenset[str]], told_by: str) -> Iterable[Edge]:
    """Yield who has locked a table that a statement names: it may wait for each of them, which nothing tells."""
    kind = WaitKind.ROW_LOCK if waiter.retries == _ROW_LOCKED else WaitKind.METADATA
    found = [
        (holder, table)
        for holder, tables in holding.items()
        if holder.tenant is None or waiter.party.tenant in (None, holder.tenant)
        for table in sorted(tables)
        if waiter.names(table)
    ]
    for holder, table in found:
        yield Edge(waiter.party, holder, kind, told_by, waiter.seconds, table, candidate=True)
    if not found:
        yield Edge(waiter.party, None, kind, told_by, waiter.seconds)
