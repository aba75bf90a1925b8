"""What the session service speaks of: sessions, what is searched for, and what a page of them holds."""

from __future__ import annotations

import enum
import math
import re
from dataclasses import dataclass, field, replace
from datetime import datetime

from bot.sessions.frozen import quickly_made
from bot.sessions.statement import KEPT_SQL, Disclosure, RawSql, Statement

LOGGING_IN = "INIT"  # STATE of a session whose client has not logged in yet, in OceanBase's word
MAX_LIMIT = 50  # so that a Slack table, 10,000 characters in all, holds every row with readable cells
DEFAULT_LIMIT = 20


class Mode(enum.Enum):
    """What closing means; ``value`` is how OceanBase's consoles name it."""

    SESSION = "Close Session"
    QUERY = "Close Query"


class Field(enum.Enum):
    """What a session can be searched by; ``value`` is the key that people type."""

    TENANT = "tenant"
    USER = "user"
    HOST = "host"
    DATABASE = "db"
    ID = "id"
    SQL = "sql"
    SQL_ID = "sql-id"
    TRACE_ID = "trace-id"
    COMMAND = "command"
    STATUS = "status"
    TIME = "time"
    SERVER = "server"
    PROXY = "proxy"
    ANY = "any"  # every text column at once: ODC's "All"


class Operator(enum.Enum):
    """How a value is compared; ``value`` is the sign that people type."""

    CONTAINS = "="
    NOT = "!="
    EXACTLY = "=="
    AT_LEAST = ">="
    AT_MOST = "<="
    ABOVE = ">"
    BELOW = "<"


class Flag(enum.Enum):
    """Words that narrow a list without a value."""

    ACTIVE_ONLY = "active-only"
    IDLE = "idle"
    IN_TRANSACTION = "in-transaction"
    WAITING = "waiting"  # for a lock of any kind
    BLOCKING = "blocking"  # holds what others wait for, as far as the server names it


@dataclass(frozen=True, slots=True)
class Sort:
    """An order of a list: by a column, or with no ``field`` ACTIVE first, then longest first."""

    field: Field | None = None
    descending: bool = False
    # Of what the database cannot sort by: the places of the sessions that have it, in its order.
    places: tuple[str, ...] | None = None


SORTABLE = tuple(field for field in Field if field is not Field.ANY)


@dataclass(frozen=True, slots=True)
class Condition:
    """One ``key op value[,value…]``: the values are alternatives; ids are int, times float seconds."""

    field: Field
    operator: Operator
    values: tuple[str | int | float, ...]


@dataclass(frozen=True, slots=True)
class Tried:
    """A condition on statements that has been tried here, on what is shown of them."""

    condition: Condition
    fitting: frozenset[str]  # the places of the sessions whose statements have one of its values
    without: bool  # whether a session without a statement counts as such
    texts_too: bool  # whether the database looks at statements as well, but for those that may hold a secret


@dataclass(frozen=True, slots=True)
class SessionFilter:
    """Which sessions are meant: all conditions and flags hold at once."""

    conditions: tuple[Condition, ...] = ()
    flags: frozenset[Flag] = frozenset()
    tried: tuple[Tried, ...] = ()
    running: bool = False  # only what runs a statement, as ``Session.running`` has it
    holders: frozenset[str] = frozenset()  # the places of those that are ``BLOCKING``, as they were found

    @property
    def tenants(self) -> frozenset[str] | None:
        """The tenants that it names as wanted; None where others fit as well."""
        wanted = (Operator.CONTAINS, Operator.EXACTLY)  # of a tenant both mean exactly this one
        named = [one for one in self.conditions if one.field is Field.TENANT and one.operator in wanted]
        return frozenset.intersection(*(frozenset(map(str, one.values)) for one in named)) if named else None


@dataclass(frozen=True, slots=True)
class SessionQuery:
    """What is asked for of sessions: one page; ``page`` counts from 1."""

    source: str | None = None
    filter: SessionFilter = field(default_factory=SessionFilter)
    sort: Sort = Sort()
    limit: int = DEFAULT_LIMIT
    page: int = 1
    private: bool = False
    text: bool = False

    def toggled(self, flag: Flag) -> SessionQuery:
        """Return the same query from its first page with one flag turned over."""
        flags = self.filter.flags ^ {flag}
        return replace(self, page=1, filter=replace(self.filter, flags=flags))


@quickly_made
@dataclass(frozen=True, slots=True)
class Client:
    """Who has a connection and from where, and what the client says of itself."""

    user: str = ""  # '' for remote execution slaves
    origin: str = ""  # what OCP shows as Source: where the client really is
    peer: str = ""  # ip:port of the TCP peer; behind a proxy the proxy's
    proxy: str | None = None
    proxy_session_id: int | None = None
    module: str | None = None
    action: str | None = None
    info: str | None = None
    definer: str | None = None  # set: a routine of this account runs, and the server does not say who logged in

    @property
    def port(self) -> str | None:
        """The peer's port, which with the id names the connection; None for a Unix socket."""
        found = _PORT.search(self.peer)
        return found[1] if found is not None and int(found[1]) else None


@quickly_made
@dataclass(frozen=True, slots=True)
class Transaction:
    """An open transaction."""

    id: int | None
    state: str | None
    started: float | None = None  # seconds since the epoch; InnoDB: whole ones; OceanBase: of autocommit's alone
    age: float | None = None  # seconds; where waits or transactions are asked for
    autocommit: bool | None = None  # whether its one statement is all of it; None: the server does not say
    rows_changed: int | None = None  # InnoDB: it falls while it is rolled back
    bytes_changed: int | None = None  # OceanBase: of its log; where transactions are asked for
    prepared: bool | None = None  # whether XA has prepared it, so that no close ends it; None: the server does not say

    @property
    def over(self) -> bool:
        """Whether nothing of it is left to roll back."""
        return self.state in _OVER

    def completed(self, told: Transaction) -> Transaction:
        """The same with what another view tells of it; what is known of it already stands."""
        # Where hundreds wait it counts that ``replace`` takes four times as long.
        return Transaction(
            self.id,
            self.state,
            self.started,
            told.age if self.age is None else self.age,
            told.autocommit if self.autocommit is None else self.autocommit,
            told.rows_changed if self.rows_changed is None else self.rows_changed,
            told.bytes_changed if self.bytes_changed is None else self.bytes_changed,
            told.prepared if self.prepared is None else self.prepared,
        )


class WaitKind(enum.Enum):
    """What a statement waits for; ``value`` is how it is told."""

    ROW_LOCK = "row lock"
    METADATA = "table metadata lock"
    GLOBAL_READ_LOCK = "global read lock"
    BACKUP_LOCK = "backup lock"
    TABLE_FLUSH = "table flush"
    TABLE_LOCK = "table lock"
    USER_LOCK = "user lock"


GET_LOCK = "GET_LOCK"  # what ``Session.doing`` says of OceanBase's own statement in the place of a client's GET_LOCK

# What a STATE of MySQL and MariaDB says that is waited for (docs/oceanbase.md 8.9). Every other one that ends as those
# of metadata locks do is one of them: each kind of object has its own, and later versions have more.
AWAITS, LOCK = "Waiting for ", " lock"
LOCK_STATES = {
    GET_LOCK: WaitKind.USER_LOCK,
    "User lock": WaitKind.USER_LOCK,
    f"{AWAITS}locking service lock": WaitKind.USER_LOCK,
    f"{AWAITS}global read lock": WaitKind.GLOBAL_READ_LOCK,
    f"{AWAITS}commit lock": WaitKind.GLOBAL_READ_LOCK,  # FLUSH TABLES WITH READ LOCK holds both
    f"{AWAITS}backup lock": WaitKind.BACKUP_LOCK,
    f"{AWAITS}binlog lock": WaitKind.BACKUP_LOCK,  # Percona's LOCK BINLOG FOR BACKUP
    f"{AWAITS}table flush": WaitKind.TABLE_FLUSH,
    f"{AWAITS}table level lock": WaitKind.TABLE_LOCK,
}


# What they say of a statement whose rows wait for its client to take them (same).
_SENDING = ("Writing to net", "Sending to client")


def awaited(doing: str | None) -> WaitKind | None:
    """Return what somebody waits for who does this.

    >>> awaited("Waiting for trigger metadata lock"), awaited("Waiting for next activation")
    (<WaitKind.METADATA: 'table metadata lock'>, None)
    """
    if doing is None or doing in LOCK_STATES:
        return LOCK_STATES.get(doing or "")
    return WaitKind.METADATA if doing.startswith(AWAITS) and doing.endswith(LOCK) else None


@dataclass(frozen=True, slots=True)
class LastStatement:
    """What an idle session ran last, where the server keeps it."""

    statement: Statement
    ago: float  # seconds since it ended


@quickly_made
@dataclass(frozen=True, slots=True)
class Session:
    """One connection to a database, the same whatever kind of server it is on.

    Data source, server, id and tenant name it; then come who has it, what it does, and its transaction.
    Times are seconds. ``None`` means that the server has no such thing or says nothing of it.
    The meaning of the fields is that of OceanBase's ``GV$OB_PROCESSLIST``.
    """

    source: str  # name of the data source
    server: str | None  # ip:port that clients can connect to
    id: int
    tenant: str | None
    client: Client
    database: str | None
    command: str
    time: float  # running: since the client's request arrived; else in the current state, so idle time for SLEEP
    total_time: float  # since the statement arrived, retries included; of a routine's innermost one
    state: str
    statement: Statement | None  # the client's request that runs now; in lists only its first characters
    trace_id: str | None  # OceanBase: one per request; MariaDB's QUERY_ID: of the innermost statement of a routine
    transaction: Transaction | None
    master_session_id: int | None  # set on remote execution slaves
    retry_info: int  # last error that made the statement retry; -6005 waits for a row lock
    own: bool  # one of the bot's own sessions
    retry_count: int = 0  # how often the server ran the statement anew by itself
    memory: int | None = None  # bytes
    transaction_known: bool = True  # else the server does not say whether a transaction is open
    begun: bool | None = None  # whether its client has begun one, even if InnoDB lists none; None: that is not told
    request_id: str | None = None  # names this very run of the client's request; None: only its start may tell
    request_started: float | None = None  # seconds since the epoch, by the server's clock
    request_started_within: float = 0.0  # seconds that ``request_started`` may be off
    server_started: float | None = None  # seconds since the epoch, by the server's clock; not in lists
    listed: bool = True  # else a server session that only the view of transactions has, its client having been closed
    event: bool = False  # a run of an event, which the server has begun by itself: it has no client
    servers: tuple[str, ...] = ()  # all of one client behind a proxy (docs/oceanbase.md 4.1), where there are several
    # MySQL's and MariaDB's STATE, for example "Waiting for table metadata lock"; of OceanBase that one or ``GET_LOCK``.
    doing: str | None = None
    past_wait: bool = (
        False  # whether ``retry_info`` tells of a wait that is over: OceanBase keeps it until the request ends
    )
    last_statement: LastStatement | None = None  # of an idle one, where waits or transactions are asked for

    @property
    def active(self) -> bool:
        """Whether it is ACTIVE as OCP and ODC count it."""
        return self.state == "ACTIVE"

    @property
    def running(self) -> bool:
        """Whether a statement is under way, killed ones that have not ended included.

        COMMAND alone does not tell: what logs in, writes for a replica or waits for work has one and runs nothing.
        """
        return not self.idle and self.statement is not None

    @property
    def idle(self) -> bool:
        """Whether it waits for its client's next request."""
        return self.command == "Sleep"

    @property
    def logging_in(self) -> bool:
        """Whether its client has not logged in yet."""
        return self.state == LOGGING_IN and self.statement is None

    @property
    def transaction_id(self) -> int | None:
        """The server's number of its open transaction, where it tells one."""
        return self.transaction.id if self.transaction is not None else None

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, so that rows may be locked."""
        return self.transaction is not None

    @property
    def statement_transaction(self) -> bool:
        """Whether the open transaction began with the running statement and so ends with it: autocommit's.

        InnoDB tells the start of a transaction in whole seconds: one begun in the second of the request counts as its.
        OceanBase calls a later statement of a transaction without autocommit IMPLICIT_ACTIVE, too: the start tells.
        """
        if self.transaction is None or self.idle:
            return False
        started = self.transaction.started
        if started is None or self.request_started is None:
            return self.transaction.state == "IMPLICIT_ACTIVE"
        earliest = self.request_started - self.request_started_within
        return started >= (math.floor(earliest) if started % 1 == 0 else earliest)

    @property
    def lasting_transaction(self) -> bool:
        """Whether closing the session rolls back more than what its running statement has done."""
        return self.transaction is not None and not self.transaction.over and not self.statement_transaction

    @property
    def client_session(self) -> bool:
        """Whether the id was made by a proxy, so that several servers may list it (docs/oceanbase.md 4.1).

        Servers set bit 31 of the ids that they make. Nowhere else does an id without it mean a proxy's.
        """
        return self.listed and bool(self.client.proxy_session_id) and self.id < 2**31

    @property
    def observer(self) -> str:
        """The server that it is on, or all servers of one client; '-' where none is known."""
        return ", ".join(self.servers) or self.server or "-"

    @property
    def ending(self) -> bool:
        """Whether it is at its end, or being rolled back, whoever has done that: it is not closed again.

        MySQL shows what a closed session rolls back with the statement that ran, as if that went on.
        """
        return self.listed and (self.state == "SESSION_KILLED" or self._transaction_is("ROLLING BACK"))

    @property
    def query_closed(self) -> bool:
        """Whether only what ran in it has been closed: it is idle, and goes on with its client's next request."""
        return self.idle and not self.ending and self.listed and self.state in ("QUERY_KILLED", "KILLED")

    @property
    def query_ending(self) -> bool:
        """Whether somebody has closed what runs in it, and it has not stopped yet."""
        return not self.idle and self.state in ("QUERY_KILLED", "SESSION_KILLED", "KILLED")

    @property
    def waits(self) -> WaitKind | None:
        """What its statement waits for, as far as the list tells.

        RETRY_INFO -6005 is OB_TRY_LOCK_ROW_CONFLICT; measured on seekdb 1.3 and 1.4. InnoDB says it in words.
        """
        if self.idle:
            return None
        locked = (self.retry_info == -6005 and not self.past_wait) or self._transaction_is("LOCK WAIT")
        return awaited(self.doing) or (WaitKind.ROW_LOCK if locked else None)

    @property
    def waits_for(self) -> str:
        """The same in the field's words, by the server's own where it tells metadata locks apart; '' for nothing."""
        kind = self.waits
        if kind is WaitKind.METADATA and self.doing is not None:
            return self.doing.removeprefix(AWAITS)
        return kind.value if kind is not None else ""

    @property
    def sends(self) -> bool:
        """Whether it sends rows to its client: while that takes none, closing the query does not end it."""
        return self.running and self.doing in _SENDING

    @property
    def in_get_lock(self) -> bool:
        """Whether its statement, or its innermost one, is the server's own that stands for the client's GET_LOCK."""
        return self.doing == GET_LOCK

    def _transaction_is(self, state: str) -> bool:
        return self.transaction is not None and self.transaction.state == state


@dataclass(frozen=True, slots=True)
class SessionPage:
    """One page of an answer, with the totals computed by the database."""

    source: str
    sessions: tuple[Session, ...]
    total: int  # sessions that the asker may see
    active: int  # of those, ACTIVE
    matching: int  # of those, fitting the filter
    as_of: datetime  # UTC
    query: SessionQuery
    caveats: tuple[str, ...] = ()  # sentences on what cannot be seen here, for example other users' sessions
    names_holders: bool = False  # whether the waits say who holds a row lock
    waiting: int = 0  # of all that the asker may see, those that wait for a lock of any kind
    untold: str = ""  # a sentence on the waits that are not known here, '' where all are

    @property
    def pages(self) -> int:
        """How many pages the filter fills, at least one."""
        return max(1, -(-self.matching // self.query.limit))


# TRANS_STATEs with nothing left to roll back; a routine's lock waiter shows the first two between its retries.
_OVER = ("IN_TERMINATE", "ROLLED_BACK", "COMMITTED")
_PORT = re.compile(r":(\d{1,5})$")
_SAME_START = 0.05  # seconds; by how much the start of one request may differ from look to look
_SAME_BOOT = 1.5  # seconds; same for the start of a server, which some tell in whole seconds


@dataclass(frozen=True, slots=True)
class Pin:
    """What tells that a session, its request and its transaction are still those that were looked at.

    docs/oceanbase.md 3.2: no view carries a connect time, and ids come back within hours,
    after a restart within minutes. The peer's ephemeral port and the proxy session tell them apart,
    and the start of the server where there is no port.
    """

    session: Session

    @classmethod
    def of(cls, session: Session) -> Pin:
        """Freeze what identifies this session, its request and its transaction now."""
        return cls(session)

    @property
    def id(self) -> int:
        """The session's id."""
        return self.session.id

    @property
    def enough(self) -> bool:
        """Whether it tells this session from another one that gets its id after a restart of the server."""
        one = self.session
        return bool(one.client.port or one.client.proxy_session_id) or one.server_started is not None

    def same_session(self, session: Session) -> bool:
        """Whether this is the same connection; for a client behind a proxy, whether it is the same client."""
        before = self.session
        if _names(before) != _names(session):
            return False
        if before.client_session:
            return (before.client.user, before.client.origin) == (session.client.user, session.client.origin)
        if before.server != session.server or not self._same_boot(session):
            return False
        mine, theirs = before.client, session.client
        if mine.definer is not None or theirs.definer is not None:
            # Who logged in is not known of one of them: the id and the client's port name the connection. Without a
            # port the id alone does, in one run of the server: MariaDB counts on.
            one_run = before.server_started is not None and session.server_started is not None
            return mine.port == theirs.port and (mine.port is not None or one_run)
        return (mine.user, mine.peer, mine.origin) == (theirs.user, theirs.peer, theirs.origin)

    def logged_in_since(self, session: Session) -> bool:
        """Whether a client has logged in on this connection, on which none had: servers of the kind count ids on."""
        before = self.session
        same_port = before.client.port in (None, session.client.port)
        same = (before.server, before.tenant) == (session.server, session.tenant) and self._same_boot(session)
        return before.logging_in and not session.logging_in and same and same_port

    def same_request(self, session: Session) -> bool:
        """Whether the same connection still runs the very same request of its client, as it was shown.

        By what names the request on this server, else by its start. Statements of one packet share OceanBase's
        trace id, so that the text counts as well; inside a routine MariaDB names and shows only the innermost one.
        """
        before = self.session
        if not self.same_session(session) or not before.running or not session.running:
            return False
        if before.request_id or session.request_id:
            return before.request_id == session.request_id and _same_text(before, session)
        if before.trace_id and before.trace_id == session.trace_id:
            return True
        if before.request_started is None or session.request_started is None:
            return False
        if session.server_started is not None and session.request_started < session.server_started - _SAME_BOOT:
            return False  # MySQL counts from the session's own clock, which its client has set (SET timestamp)
        off = before.request_started_within + session.request_started_within + _SAME_START
        # A request that came after the look began later than that; one younger than the margin cannot be told.
        return abs(before.request_started - session.request_started) <= off < before.time

    def cannot_tell(self, session: Session) -> bool:
        """Whether it is not known if the session still runs the same request.

        The list of last resort (``information_schema.PROCESSLIST``) names none, and starts TIME, whole seconds, anew
        with each retry of a lock waiter: of two runs of one text the start tells nothing there.
        """
        before = self.session
        unnamed = not (before.request_id or session.request_id or before.trace_id or session.trace_id)
        both_run = before.running and session.running
        if not (unnamed and both_run and before.request_started_within >= 1.0 and self.same_session(session)):
            return False
        return _same_text(before, session) and not self.same_request(session)

    def same_transaction(self, session: Session) -> bool:
        """Whether closing the session rolls back what it would have rolled back: the same transaction, or none.

        One that begins and ends with the running statement counts as none. Where it was not known whether a
        transaction was open, there is nothing to compare; where it is not known any more, nothing is the same.
        """
        before = self.session
        if not before.transaction_known:
            return True
        if not session.transaction_known:
            return False
        one, other = before.transaction, session.transaction
        if one is not None and other is not None and _same_transaction(one, other):
            return True
        return not before.lasting_transaction and not session.lasting_transaction

    def _same_boot(self, session: Session) -> bool:
        before, now = self.session.server_started, session.server_started
        return before is None or now is None or same_boot(before, now)


def same_boot(one: float, other: float) -> bool:
    """Whether two starts of a server, each as it was told, are the same one."""
    return abs(one - other) <= _SAME_BOOT


def _names(session: Session) -> tuple[object, ...]:
    return session.source, session.id, session.tenant, session.client.proxy_session_id


def _same_text(before: Session, now: Session) -> bool:
    """Whether the texts are the same as far as they are kept: in what the store kept passwords are hidden already."""
    kept, runs = before.statement, now.statement
    if kept is None or runs is None:
        return kept is runs
    shown = runs.shown(Disclosure.ALL_BUT_PASSWORDS, KEPT_SQL)
    same = kept.raw_sql == RawSql(shown) or kept.shown(Disclosure.ALL_BUT_PASSWORDS, KEPT_SQL) == shown
    return same and kept.length == runs.length


def _same_transaction(one: Transaction, other: Transaction) -> bool:
    if one.started is None or other.started is None:
        return one.id == other.id
    if one.started != other.started:
        return False
    # InnoDB gives a transaction its number at its first write; before that it has a large one that means nothing.
    numbers = {number for number in (one.id, other.id) if number and number < READ_ONLY}
    return len(numbers) < 2


READ_ONLY = 2**48  # InnoDB shows transactions that have written nothing with numbers from here on (trx0trx.h)
