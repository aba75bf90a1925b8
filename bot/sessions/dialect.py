"""What a dialect is: the statements of one kind of server, all giving the same columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bot.sessions.database import Value
from bot.sessions.details import DetailsReader, Reach
from bot.sessions.model import Condition, Field, Flag, Mode, Operator, Pin, Session, SessionFilter, Sort

# The columns of every dialect's session statement, in the order in which ``to_session`` reads them.
COLUMNS = (
    "server", "id", "tenant", "user", "peer", "origin", "database_name", "command", "time",
    "total_time", "state", "sql_text", "sql_length", "sql_id", "trace_id", "transaction_id",
    "transaction_state", "proxy", "proxy_session_id", "master_session_id", "retry_info", "module", "own",
    "retry_count", "memory", "action", "client_info", "inner_sql", "request_id", "request_started",
    "transaction_started", "server_started", "definer",
)  # fmt: skip

# What costs more than a list may take, and only a target's pin wants.
_PINNED_ONLY = ("request_id", "request_started", "server_started")

LIST_SQL_CHARACTERS = 1000  # what a list fetches of a statement: enough for a digest with its literals masked


@dataclass(frozen=True, slots=True)
class Statement:
    """A SQL text and the values bound to it."""

    sql: str
    values: tuple[Value | Sequence[Value], ...] = ()


@dataclass(frozen=True, slots=True)
class Dialect:
    """The statements of one server as it was probed.

    ``expressions`` gives for each of ``COLUMNS`` its SQL on this server; ``None`` where the server
    has no such thing. ``own_values`` are bound to the ``own`` expression.
    """

    name: str  # shown to people, for example "OceanBase 4.3.5.3"
    view: str
    expressions: dict[str, str]
    own_values: tuple[Value | Sequence[Value], ...]
    protected_users: frozenset[str]
    transaction_view: str | None  # where open transactions are listed
    caveats: tuple[str, ...] = ()  # sentences on what this login cannot see here
    sees: Reach | None = None  # None: not known
    closes: Reach | None = None
    login_tenant: str | None = None  # the tenant logged in to; None where there are no tenants
    details: DetailsReader | None = None  # reads what the process list does not say of a session
    servers_view: str | None = None  # where the cluster's servers are listed
    transaction_column: str = "tx_id"  # their id in that view
    lock_view: str | None = None  # where ID1 is the transaction whose lock is waited for (OCEANBASE.md 5.1)
    protected_commands: frozenset[str] = frozenset()  # COMMANDs of threads that no client's statements run in
    thread_users: frozenset[str] = frozenset()  # what such threads have for a user
    kills_by_query_id: bool = False  # a trace id is a number that KILL QUERY ID takes (MariaDB)
    request_started_within: float = 0.0  # seconds that ``request_started`` may be off
    pinned_expressions: dict[str, str] = field(default_factory=dict)  # where what a pin compares is read, instead

    @property
    def has_tenants(self) -> bool:
        """Whether its sessions belong to tenants."""
        return self.login_tenant is not None

    def page(
        self, scope: Sequence[str] | None, filter_: SessionFilter, sort: Sort, limit: int, offset: int, *,
        pinned: bool = False,
    ) -> Statement:  # fmt: skip
        """Select one page of sessions that are not the bot's own; ``scope`` names the tenants, None is all.

        ``pinned`` reads what a pin compares as well, and the whole statements.
        """
        where, values = self.where(scope, filter_)
        columns = self._columns(None if pinned else LIST_SQL_CHARACTERS, pinned=pinned)
        return Statement(
            f"SELECT {columns} FROM {self.view} WHERE {where} ORDER BY {self._order(sort)} LIMIT %s OFFSET %s",
            (*self.own_values, *values, limit, offset),
        )

    def totals(self, scope: Sequence[str] | None, filter_: SessionFilter) -> Statement:
        """Count the sessions in scope: all, ACTIVE, fitting the filter.

        A statement of its own: asked for together with the page, by a join or by window functions,
        both took 14-16 ms instead of 6 + 3 ms with 1,000 sessions on OceanBase 4.3.5.
        """
        where, values = self.where(scope, SessionFilter())
        matching, matching_values = self._conditions(filter_)
        state = self.expressions["state"]
        return Statement(
            f"SELECT COUNT(*), COALESCE(SUM({state} = 'ACTIVE'), 0), "
            f"COALESCE(SUM(CASE WHEN {matching} THEN 1 ELSE 0 END), 0) FROM {self.view} WHERE {where}",
            (*matching_values, *values),
        )

    def by_id(self, session_id: int) -> Statement:
        """Select every session of that id with its whole SQL, the bot's own included."""
        return Statement(
            f"SELECT {self._columns(None, pinned=True)} FROM {self.view} WHERE {self.expressions['id']} = %s",
            (*self.own_values, session_id),
        )

    def kill(self, session: Session, mode: Mode, *, pinned: Session | None = None) -> Statement:
        """Close a session or its query; ``session`` is as looked at right before, ``pinned`` as it was confirmed.

        A query by its number where the server takes one, so that no later one is hit (MariaDB). Inside a routine
        that is the innermost statement's: where it has changed and the client's request has not, the request is
        closed, whatever statement of it runs.

        The id is a literal: proxies recognise nothing else (OCEANBASE.md 2.1). Raises ``ValueError``
        outside 1 < id < 2^32, which the kernel would cut to somebody else's id. MySQL counts in 64
        bits, but is there only after 49 days of 1,000 logins a second.
        """
        if not 1 < int(session.id) < 2**32:
            raise ValueError(session.id)
        if mode is Mode.QUERY and self.kills_by_query_id and session.trace_id:
            moved_on = (
                pinned is not None and pinned.trace_id != session.trace_id and Pin.of(pinned).same_request(session)
            )
            if not moved_on:
                return Statement(f"KILL QUERY ID {int(session.trace_id)}")
        return Statement(f"KILL {'QUERY ' if mode is Mode.QUERY else ''}{int(session.id)}")

    def transaction(self, transaction_id: int) -> Statement | None:
        """Select a row while that transaction is open or somebody waits for its locks.

        None where the server cannot say.
        """
        asked = []
        if self.transaction_view is not None:
            asked.append(f"(SELECT 1 FROM {self.transaction_view} WHERE {self.transaction_column} = %s LIMIT 1)")
        if self.lock_view is not None:
            asked.append(f"(SELECT 1 FROM {self.lock_view} WHERE block = 1 AND id1 = %s LIMIT 1)")
        return Statement(" UNION ALL ".join(asked), (transaction_id,) * len(asked)) if asked else None

    def absent_servers(self) -> Statement | None:
        """Select address, port and status of the servers that do not serve; None on a single server."""
        if self.servers_view is None:
            return None
        return Statement(f"SELECT svr_ip, sql_port, status FROM {self.servers_view} WHERE status <> 'ACTIVE'")

    def to_session(self, source: str, row: Sequence[Any]) -> Session:
        """Turn a row of ``COLUMNS`` into a session; NULL and '' become what they mean."""
        cell = dict(zip(COLUMNS, row, strict=True))
        return Session(
            source=source,
            server=cell["server"] or None,
            id=int(cell["id"]),
            tenant=cell["tenant"] or None,
            user=cell["user"] or "",
            peer=cell["peer"] or "",
            origin=cell["origin"] or "",
            database=cell["database_name"] or None,
            command=cell["command"] or "",
            time=float(cell["time"] or 0),
            total_time=float(cell["total_time"] or 0),
            state=cell["state"] or "",
            sql=cell["sql_text"] or None,
            sql_length=int(cell["sql_length"] or 0),
            sql_id=cell["sql_id"] or None,
            trace_id=cell["trace_id"] or None,
            transaction_id=int(cell["transaction_id"]) if cell["transaction_id"] else None,
            transaction_state=cell["transaction_state"] or None,
            proxy=cell["proxy"] or None,
            proxy_session_id=int(cell["proxy_session_id"]) if cell["proxy_session_id"] else None,
            master_session_id=int(cell["master_session_id"]) if cell["master_session_id"] else None,
            retry_info=int(cell["retry_info"] or 0),
            module=cell["module"] or None,
            own=bool(cell["own"]),
            retry_count=int(cell["retry_count"] or 0),
            memory=int(cell["memory"]) if cell["memory"] is not None else None,
            action=cell["action"] or None,
            client_info=cell["client_info"] or None,
            inner_sql=cell["inner_sql"] or None,
            request_id=cell["request_id"] or None,
            request_started=_seconds(cell["request_started"]),
            request_started_within=self.request_started_within,
            transaction_started=_seconds(cell["transaction_started"]),
            server_started=_seconds(cell["server_started"]),
            definer=cell["definer"] or None,
            transaction_known=self.expressions["transaction_state"] != "NULL",
        )

    def client_ip(self) -> str:
        """The source without its port, as OCP counts by it; IPv6 addresses stand in brackets before a port."""
        origin = self.expressions["origin"]
        return (
            f"CASE WHEN {origin} LIKE '[%%' THEN SUBSTRING_INDEX(SUBSTRING({origin}, 2), ']', 1) "
            f"WHEN LENGTH({origin}) - LENGTH(REPLACE({origin}, ':', '')) = 1 THEN SUBSTRING_INDEX({origin}, ':', 1) "
            f"ELSE {origin} END"
        )

    def _columns(self, sql_characters: int | None, *, pinned: bool) -> str:
        texts = self.expressions | (self.pinned_expressions if pinned else dict.fromkeys(_PINNED_ONLY, "NULL"))
        if sql_characters is not None:
            texts["sql_text"] = f"LEFT({texts['sql_text']}, {sql_characters})"
        return ", ".join(texts[name] for name in COLUMNS)

    def where(self, scope: Sequence[str] | None, filter_: SessionFilter) -> tuple[str, list[Value | Sequence[Value]]]:
        """Which sessions are meant: not the bot's own, of those tenants, fitting the filter; and the values bound."""
        parts = [f"NOT ({self.expressions['own']})"]
        values: list[Value | Sequence[Value]] = [*self.own_values]
        if scope is not None:
            # The views compare without regard to case; tenants are different when their case is.
            parts.append(f"BINARY {self.expressions['tenant']} IN %s")
            values.append(tuple(scope) or ("",))
        text, more = self._conditions(filter_)
        return " AND ".join([*parts, text]), [*values, *more]

    def _conditions(self, filter_: SessionFilter) -> tuple[str, list[Value | Sequence[Value]]]:
        parts, values = [], []
        for condition in filter_.conditions:
            text, more = self._condition(condition)
            parts.append(text)
            values += more
        parts += [self._flag(flag) for flag in sorted(filter_.flags, key=lambda flag: flag.value)]
        return " AND ".join(parts) or "1 = 1", values

    def _flag(self, flag: Flag) -> str:
        state, command = self.expressions["state"], self.expressions["command"]
        return {
            Flag.ACTIVE_ONLY: f"{state} = 'ACTIVE'",
            Flag.IDLE: f"{command} = 'Sleep'",
            Flag.IN_TRANSACTION: f"(COALESCE({self.expressions['transaction_id']}, 0) <> 0 "
            f"OR COALESCE({self.expressions['transaction_state']}, '') <> '')",
        }[flag]

    def _condition(self, condition: Condition) -> tuple[str, list[Value | Sequence[Value]]]:
        if condition.field is Field.ANY:
            return self._anywhere(condition)
        exactly = condition.operator is Operator.EXACTLY
        column = self._searched(condition.field, exactly=exactly)
        with_case = _with_case(condition.field, exactly=exactly)
        parts: list[str] = []
        values: list[Value | Sequence[Value]] = []
        for typed in condition.values:
            value = typed.lower() if isinstance(typed, str) and not with_case else typed
            if condition.operator in _COMPARISONS:
                parts.append(f"{column} {_COMPARISONS[condition.operator]} %s")
                values.append(value)
            elif condition.field is Field.HOST and condition.operator is Operator.EXACTLY:
                parts.append(f"({column} = %s OR LOWER({self.client_ip()}) = %s)")  # with or without its port
                values += [value, value]
            elif condition.field in EXACT_FIELDS or condition.operator is Operator.EXACTLY:
                parts.append(f"{column} = %s")
                values.append("" if value == "-" else value)  # none, as it is shown
            else:
                parts.append(f"{column} LIKE %s ESCAPE '|'")
                values.append(f"%{_literal_like(str(value))}%")
        text = " OR ".join(parts)
        return (f"NOT ({text})" if condition.operator is Operator.NOT else f"({text})"), values

    def _anywhere(self, condition: Condition) -> tuple[str, list[Value | Sequence[Value]]]:
        """Look for a text in every column that people see, as ODC's "All" does."""
        columns = [f"LOWER(COALESCE({self.expressions[name]}, ''))" for name in _ANY_COLUMNS]
        text = " OR ".join(f"{column} LIKE %s ESCAPE '|'" for _ in condition.values for column in columns)
        values: list[Value | Sequence[Value]] = [
            f"%{_literal_like(str(value).lower())}%" for value in condition.values for _ in columns
        ]
        return (f"NOT ({text})" if condition.operator is Operator.NOT else f"({text})"), values

    def _searched(self, field: Field, *, exactly: bool) -> str:
        column = self.expressions[_COLUMN_OF[field]]
        if field in (Field.ID, Field.TIME):
            return column
        if field is Field.PROXY and not exactly:  # its address or the session's number there
            column = f"CONCAT(COALESCE({column}, ''), ' ', COALESCE({self.expressions['proxy_session_id']}, ''))"
        return (
            f"BINARY COALESCE({column}, '')" if _with_case(field, exactly=exactly) else f"LOWER(COALESCE({column}, ''))"
        )

    def _order(self, sort: Sort) -> str:
        expression = self.expressions
        first = f"({expression['state']} = 'ACTIVE') DESC, {expression['time']} DESC"
        if sort.field is not None:
            first = f"{expression[_COLUMN_OF[sort.field]]} {'DESC' if sort.descending else 'ASC'}"
        return f"{first}, {expression['id']} ASC, {expression['server']} ASC"


# '=' means these exactly (DESIGN.md section 4); tenants are case-sensitive in OceanBase.
EXACT_FIELDS = frozenset({Field.ID, Field.TENANT, Field.STATUS, Field.SQL_ID})
CASE_FIELDS = frozenset({Field.TENANT})
NAMES = frozenset({Field.USER, Field.DATABASE})  # '==' tells App from app, as the server does

_COMPARISONS = {
    Operator.ABOVE: ">",
    Operator.AT_LEAST: ">=",
    Operator.BELOW: "<",
    Operator.AT_MOST: "<=",
}

_COLUMN_OF = {
    Field.TENANT: "tenant",
    Field.USER: "user",
    Field.HOST: "origin",
    Field.DATABASE: "database_name",
    Field.ID: "id",
    Field.SQL: "sql_text",
    Field.SQL_ID: "sql_id",
    Field.TRACE_ID: "trace_id",
    Field.COMMAND: "command",
    Field.STATUS: "state",
    Field.TIME: "time",
    Field.SERVER: "server",
    Field.PROXY: "proxy",
}

_ANY_COLUMNS = (
    "id", "sql_text", "user", "origin", "database_name", "command", "state", "server", "proxy", "tenant", "sql_id",
    "trace_id",
)  # fmt: skip


def _seconds(cell: object) -> float | None:
    return None if cell is None else float(str(cell))


def _with_case(field: Field, *, exactly: bool) -> bool:
    return field in CASE_FIELDS or (exactly and field in NAMES)


def _literal_like(text: str) -> str:
    """Take the meaning from LIKE's wildcards: what was typed is what is looked for."""
    return text.replace("|", "||").replace("%", "|%").replace("_", "|_")
