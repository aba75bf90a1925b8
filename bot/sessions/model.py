"""What the session service speaks of: sessions, what is searched for, and what a page of them holds."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace
from datetime import datetime

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


@dataclass(frozen=True, slots=True)
class Sort:
    """An order of a list: by a column, or with no ``field`` ACTIVE first, then longest first."""

    field: Field | None = None
    descending: bool = False


SORTABLE = tuple(field for field in Field if field is not Field.ANY)


@dataclass(frozen=True, slots=True)
class Condition:
    """One ``key op value[,value…]``: the values are alternatives; ids are int, times float seconds."""

    field: Field
    operator: Operator
    values: tuple[str | int | float, ...]


@dataclass(frozen=True, slots=True)
class SessionFilter:
    """Which sessions are meant: all conditions and flags hold at once."""

    conditions: tuple[Condition, ...] = ()
    flags: frozenset[Flag] = frozenset()


@dataclass(frozen=True, slots=True)
class SessionQuery:
    """A question for one page of sessions; ``page`` counts from 1."""

    source: str | None = None
    filter: SessionFilter = field(default_factory=SessionFilter)
    sort: Sort = Sort()
    limit: int = DEFAULT_LIMIT
    page: int = 1
    private: bool = False
    text: bool = False

    def toggled(self, flag: Flag) -> SessionQuery:
        """Return the same question from its first page with one flag turned over."""
        flags = self.filter.flags ^ {flag}
        return replace(self, page=1, filter=replace(self.filter, flags=flags))


@dataclass(frozen=True, slots=True)
class Session:
    """One connection to a database, the same whatever kind of server it is on.

    Times are seconds. ``None`` means that the server has no such thing or says nothing of it.
    The meaning of the fields is that of OceanBase's ``GV$OB_PROCESSLIST``.
    """

    source: str  # name of the data source
    server: str | None  # ip:port that clients can connect to
    id: int
    tenant: str | None
    user: str  # '' for remote execution slaves
    peer: str  # ip:port of the TCP peer; behind a proxy the proxy's
    origin: str  # what OCP shows as Source: where the client really is
    database: str | None
    command: str
    time: float  # in the current state, so idle time for SLEEP; a retry resets it
    total_time: float  # since the statement arrived, retries included
    state: str
    sql: str | None  # what runs now; in lists only its first characters
    sql_length: int  # characters of the whole statement
    sql_id: str | None
    trace_id: str | None  # one per request: names this very run of the statement
    transaction_id: int | None
    transaction_state: str | None
    proxy: str | None
    proxy_session_id: int | None
    master_session_id: int | None  # set on remote execution slaves
    retry_info: int  # last error that made the statement retry; -6005 waits for a row lock
    module: str | None
    own: bool  # one of the bot's own sessions
    retry_count: int = 0  # how often the server ran the statement anew by itself
    memory: int | None = None  # bytes
    action: str | None = None  # what the client says of itself, as module
    client_info: str | None = None  # same
    transaction_known: bool = True  # else the server does not say whether a transaction is open

    @property
    def active(self) -> bool:
        """Whether it is ACTIVE as OCP and ODC count it."""
        return self.state == "ACTIVE"

    @property
    def running(self) -> bool:
        """Whether a statement is under way, killed ones that have not ended included."""
        return self.command != "Sleep"

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, so that rows may be locked."""
        return bool(self.transaction_id) or bool(self.transaction_state)

    @property
    def waits_for_lock(self) -> bool:
        """Whether the statement is retried because a row is locked.

        RETRY_INFO -6005 is OB_TRY_LOCK_ROW_CONFLICT; measured on seekdb 1.3 and 1.4. InnoDB says it in words.
        """
        return self.running and (self.retry_info == -6005 or self.transaction_state == "LOCK WAIT")


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
    names_holders: bool = False  # whether the details of a session say who holds the row lock that it waits for

    @property
    def pages(self) -> int:
        """How many pages the filter fills, at least one."""
        return max(1, -(-self.matching // self.query.limit))


@dataclass(frozen=True, slots=True)
class Pin:
    """What tells that a session is still the one that was looked at.

    ``OCEANBASE.md`` section 9: no view carries a connect time, and ids come back within hours,
    after a restart within minutes. The peer's ephemeral port and the proxy session tell them apart.
    """

    source: str
    server: str | None
    id: int
    tenant: str | None
    user: str
    peer: str
    origin: str
    proxy_session_id: int | None
    trace_id: str | None
    sql_id: str | None
    transaction_id: int | None

    @classmethod
    def of(cls, session: Session) -> Pin:
        """Freeze what identifies this session and its statement now."""
        return cls(
            session.source, session.server, session.id, session.tenant, session.user, session.peer,
            session.origin, session.proxy_session_id, session.trace_id, session.sql_id,
            session.transaction_id,
        )  # fmt: skip

    def same_session(self, session: Session) -> bool:
        """Whether this is the same connection."""
        other = Pin.of(session)
        return all(
            getattr(self, name) == getattr(other, name)
            for name in ("source", "server", "id", "tenant", "user", "peer", "origin", "proxy_session_id")
        )

    def same_query(self, session: Session) -> bool:
        """Whether the same connection still runs the very same statement."""
        if not self.same_session(session) or not session.running:
            return False
        if self.trace_id:
            return self.trace_id == session.trace_id
        return (self.sql_id, self.transaction_id) == (session.sql_id, session.transaction_id)
