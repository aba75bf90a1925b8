"""What a dialect is: the statements of one kind of server, all giving the same columns."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bot.sessions.charsets import whole_letters
from bot.sessions.conditions import SQL_COLUMNS, Conditions
from bot.sessions.database import Value
from bot.sessions.details import DetailsReader, Reach
from bot.sessions.login import Login
from bot.sessions.model import (
    READ_ONLY,
    Client,
    Mode,
    Session,
    SessionFilter,
    Sort,
    Transaction,
)
from bot.sessions.pool import OwnSession
from bot.sessions.statement import Disclosure, RawSql, Statement
from bot.sessions.transactions import LastStatements, TransactionsReader
from bot.sessions.waits.reading import LocksReader

# The columns of every dialect's session statement, in the order in which ``to_session`` reads them.
COLUMNS = (
    "server",
    "id",
    "tenant",
    "user",
    "peer",
    "origin",
    "database_name",
    "command",
    "time",
    "total_time",
    "state",
    "sql_text",
    "sql_length",
    "sql_id",
    "trace_id",
    "transaction_id",
    "transaction_state",
    "proxy",
    "proxy_session_id",
    "master_session_id",
    "retry_info",
    "module",
    "own",
    "retry_count",
    "memory",
    "action",
    "client_info",
    "inner_sql",
    "request_id",
    "request_started",
    "transaction_started",
    "transaction_mode",
    "server_started",
    "definer",
    "sql_cut",
    "event",
    "doing",
    "past_wait",
)

COMMAND_LENGTH = 16  # characters that MySQL's and MariaDB's lists show of a COMMAND


def command_key(command: str) -> str:
    """Return a COMMAND as it is compared: servers differ in its case, and in how much of it they show.

    >>> command_key("Binlog dump"), command_key("Group Replication Data Stream subscription")
    ('binlog dump', 'group replicatio')
    """
    return command[:COMMAND_LENGTH].lower()


# COMMANDs of threads that no client waits for: replication (Galera and the event scheduler run as "Daemon" or as
# "system user"), clones, and what writes the rows of INSERT DELAYED. Closing one stops a replica or loses rows.
PROTECTED_COMMANDS = frozenset(
    map(
        command_key,
        (
            # MySQL 8.0 to 9.7, sql/sql_parse.cc, Command_names; MariaDB 10.11 and 11.8, same, command_name.
            "Daemon",
            "Delayed insert",
            "Binlog Dump",
            "Binlog Dump GTID",
            "Table Dump",
            "Connect Out",
            "Register Slave",
            "Register Replica",
            "Slave_IO",
            "Slave_SQL",
            "Slave_worker",
            "clone",
            "Group Replication Data Stream subscription",
            # OceanBase, get_mysql_cmd_str: the others with small letters, and this, spelt so.
            "Daemno",
        ),
    )
)

# What ``transaction_mode`` may be; anything else is a transaction that its client has begun.
AUTOCOMMIT, XA_PREPARED = "AUTOCOMMIT", "XA PREPARED"

# What costs more than a list may take, and only a target's pin wants.
_PINNED_ONLY = ("request_id", "request_started", "transaction_started", "transaction_mode", "server_started")

UNCUT_BYTES = (
    65_535 - 4
)  # a statement that is listed with more than these may be cut: after so many, or before a letter
LIST_SQL_BYTES = 1000  # what a list fetches of a statement: enough for a digest with its literals masked


@dataclass(frozen=True, slots=True)
class Query:
    """A SQL text and the values bound to it, as the bot asks a server."""

    sql: str
    values: tuple[Value | Sequence[Value], ...] = ()


@dataclass(frozen=True, slots=True)
class Tenants:
    """How the transactions of one tenant are told from another's of the same number: each counts by itself."""

    several: bool = False  # whether the login sees more than one
    view: str | None = None  # where the ids of their names are; None: not readable, or not needed

    @property
    def told(self) -> bool:
        """Whether a transaction's number and its tenant name it."""
        return not self.several or self.view is not None

    def narrowed(self, tenant: str | None, column: str, session_id: int | None) -> tuple[str, tuple[Value, ...]]:
        """Narrow a view that has TENANT_ID to a tenant; where ids are not known, by ``column`` to a session's rows."""
        if self.view is not None:
            return f" AND tenant_id = (SELECT tenant_id FROM {self.view} WHERE BINARY tenant_name = %s)", (tenant,)
        return (f" AND {column} = %s", (session_id,)) if self.several and session_id is not None else ("", ())

    def joined(self, transactions: str, listed: str) -> str:
        """Select from a view of transactions, as ``its``, what belongs to a row of the list of sessions."""
        number = f"its.tx_id = {listed}.TRANS_ID"
        if self.view is not None:
            return (
                f"FROM {transactions} AS its JOIN {self.view} AS theirs ON theirs.tenant_id = its.tenant_id "
                f"WHERE {number} AND BINARY theirs.tenant_name = {listed}.TENANT"
            )
        # Of a client behind a proxy a view may have the server's own id: it is not known then.
        return f"FROM {transactions} AS its WHERE {number}" + (
            f" AND its.session_id = {listed}.ID" if self.several else ""
        )


@dataclass(frozen=True, slots=True)
class Dialect:
    """The statements of one server as it was probed.

    ``expressions`` gives for each of ``COLUMNS`` its SQL on this server; ``None`` where the server
    has no such thing. ``own_values`` are bound to the ``own`` expression, or to its part ``own_tag``, which
    tells the bot's own sessions without the id of the connection that asks.
    """

    name: str  # shown to people, for example "OceanBase 4.3.5.3"
    view: str
    expressions: dict[str, str]
    own_values: tuple[Value | Sequence[Value], ...]
    protected_users: frozenset[str]
    transaction_view: str | None  # where open transactions are listed
    caveats: tuple[str, ...] = ()  # sentences on what this login cannot see here
    lacks: tuple[str, ...] = ()  # what cannot be seen for want of a grant, and which; some of it is no caveat of a list
    passing: bool = False  # whether the server shows less just now because of what somebody runs
    closing_lacks: str = ""  # same of closing others' sessions, '' where it may
    sees: Reach | None = None  # None: not known
    closes: Reach | None = None
    login: Login = field(default_factory=lambda: Login(""))  # as the server itself has it
    locks: LocksReader | None = None  # reads who waits for whom
    last_statements: LastStatements | None = None  # reads what sessions ran last
    names_holders: bool = False  # whether that says who holds a row lock
    transactions: TransactionsReader | None = None  # reads open transactions; None: the list alone tells of them
    details: DetailsReader | None = None  # reads what the process list does not say of a session
    own_address: str = "NULL"  # address and port of the server that answers, as ``server`` has them
    own_transaction: str | None = None  # whether the asking connection's is listed; None: the list is never stale
    client: str | None = None  # what names the client of a row that a proxy numbered, NULL for any other row
    cluster: bool = False  # the view lists the sessions of all servers
    single: bool = True  # there is one server only: what its list does not have is not there
    servers_view: str | None = None  # where the cluster's servers are listed
    servers_address: str = "NULL"  # their address there, as ``server`` has it
    tenants: Tenants = Tenants()
    tenant_list: str | None = None  # where all tenants are named; None: the login sees its own alone
    transaction_servers: bool = False  # whether that view names the server of each: seekdb's does not
    transaction_column: str = "tx_id"  # their id in that view
    lock_view: str | None = None  # where ID1 is the transaction whose lock is waited for (docs/oceanbase.md 5.2)
    thread_users: frozenset[str] = frozenset()  # what such threads have for a user
    kill_procedures: bool = False  # mysql.rds_kill and rds_kill_query are there (docs/oceanbase.md 8.5)
    kills_by_query_id: bool = False  # a trace id is a number that KILL QUERY ID takes (MariaDB)
    request_started_within: float = 0.0  # seconds that ``request_started`` may be off
    lists_itself: bool = False  # the view had the session that asked: one that no longer has it says nothing of others
    cut_note: str = ""  # says of a statement that the server's list has only the beginning of it
    uncut_view: str | None = None  # where more of such a statement stands
    own_tag: str | None = None  # None: ``own`` has no such part
    telling_sql_id: str | None = None  # whether the SQL ID is the hash of the text itself; None: it is never that
    left_out_ids: str | None = None  # whose SQL IDs are left out
    judged_sql_id: str | None = None  # the SQL ID where it is told only once the text was read, and searched then
    makes_sql_ids: bool = False  # the server has no id of statements: the bot makes one of what is shown of each

    @property
    def conditions(self) -> Conditions:
        """How its sessions are searched and sorted."""
        return Conditions(self.expressions)

    @property
    def listed(self) -> str:
        """What a subquery calls the list: its name without the database, which a page of clients has as well."""
        return self.view.rpartition(".")[2]

    @property
    def one_of_several(self) -> bool:
        """Whether the view lists the sessions of one server, and there are others."""
        return not self.cluster and not self.single

    @property
    def lacking(self) -> bool:
        """Whether a grant could show or allow more: probed again after a while."""
        return bool(self.lacks or self.closing_lacks)

    @property
    def closes_unseen(self) -> bool:
        """Whether the login may close sessions that it does not see."""
        order = (Reach.OWN, Reach.TENANT, Reach.MOST, Reach.ALL)
        return self.closes is not None and self.sees is not None and order.index(self.closes) > order.index(self.sees)

    @property
    def login_tenant(self) -> str | None:
        """The tenant logged in to; None where there are no tenants."""
        return self.login.tenant

    @property
    def has_tenants(self) -> bool:
        """Whether its sessions belong to tenants."""
        return self.login_tenant is not None

    @property
    def untold_waits(self) -> str:
        """Say which waits are not known here, '' where all are."""
        tells = self.expressions["retry_info"] if self.has_tenants else self.expressions["transaction_state"]
        if tells not in ("0", "NULL"):
            return ""
        return "Which sessions wait for a row lock is not known here."

    def disclosing(self, disclosure: Disclosure) -> Dialect:
        """The same, with nothing but statements themselves that would tell what is not disclosed of them."""
        if self.telling_sql_id is None:
            return self
        if not disclosure.literals:  # whether an ID tells more is known only of a text that was read
            return replace(
                self, expressions=self.expressions | {"sql_id": "NULL"}, judged_sql_id=self.expressions["sql_id"]
            )
        telling = f"{self.telling_sql_id} AND {self.conditions.secret}"
        guarded = f"CASE WHEN {telling} THEN NULL ELSE {self.expressions['sql_id']} END"
        return replace(self, expressions=self.expressions | {"sql_id": guarded}, left_out_ids=telling)

    def itself(self) -> Query:
        """Select as what the sessions are listed that have the id of the connection that asks."""
        return Query(
            f"SELECT {', '.join(self.expressions[name] for name in _ITSELF)} FROM {self.view} "
            f"WHERE {self.expressions['id']} = connection_id()"
        )

    def own_start(self) -> Query:
        """Select when the server of the connection that asks was started, as ``server_started`` has it."""
        return Query(
            f"SELECT {self.expressions['server_started']} FROM {self.view} "
            f"WHERE {self.expressions['id']} = connection_id()"
        )

    def knowing(self, own: Sequence[OwnSession], *, itself: bool) -> Dialect:
        """The same, with these sessions known as the bot's own even where its tag on them is lost on the way.

        ``itself`` says whether the connection that asks is among them. The id alone may be somebody else's: on
        another server, and after the session's end.
        """
        one_of = self.own_tag if itself and self.own_tag is not None else self.expressions["own"]
        values = [*self.own_values]
        server, user, number, client = (self.expressions[name] for name in _ITSELF)
        for one in own:
            if one.proxy_session_id is not None:
                one_of += f" OR COALESCE({client}, 0) = %s AND BINARY COALESCE({user}, '') = %s"
                values += [one.proxy_session_id, one.user]
            else:
                one_of += f" OR {number} = %s AND COALESCE({server}, '') = %s AND BINARY COALESCE({user}, '') = %s"
                values += [one.id, one.server or "", one.user]
        return replace(self, expressions=self.expressions | {"own": f"({one_of})"}, own_values=tuple(values))

    def page(
        self,
        scope: Sequence[str] | None,
        filter_: SessionFilter,
        sort: Sort,
        limit: int,
        offset: int,
        *,
        pinned: bool = False,
        spread: bool = False,
    ) -> Query:
        """Select one page of sessions that are not the bot's own; ``scope`` names the tenants, None is all.

        ``pinned`` reads what a pin compares as well, and the whole statements. ``spread`` takes one row of each client
        that has several (docs/oceanbase.md 4.1), the one that does something.
        """
        where, values = self.where(scope, filter_)
        columns = ", ".join(self._columns(None if pinned else LIST_SQL_BYTES, pinned=pinned))
        rows = f"{self.view} WHERE {where}"
        if spread and self.client is not None:
            state, command, time = (self.expressions[name] for name in ("state", "command", "time"))
            place = f"CONCAT({self.expressions['server']}, '/', {self.expressions['id']})"
            rows = (
                f"(SELECT listed.*, ROW_NUMBER() OVER (PARTITION BY COALESCE({self.client}, {place}) "
                f"ORDER BY {state} = 'ACTIVE' DESC, {command} = 'Sleep', {time}) AS row_of_client "
                f"FROM {self.view} listed WHERE {where}) {self.listed} WHERE row_of_client = 1"
            )
        order, places = self.conditions.order(sort)
        return Query(
            f"SELECT {columns} FROM {rows} ORDER BY {order} LIMIT %s OFFSET %s",
            (*self.own_values, *values, *places, limit, offset),
        )

    def statements(
        self,
        scope: Sequence[str] | None,
        filter_: SessionFilter,
        most: int,
        *,
        unnamed: bool = False,
        secret: bool = False,
    ) -> Query:
        """Select place, id, statements and what they do of sessions that run one, no more than so many.

        ``unnamed`` takes those whose SQL IDs are left out, ``secret`` those that may hold a secret.
        """
        where, values = self.where(scope, filter_)
        where += f" AND ({self.left_out_ids})" if unnamed else ""
        where += f" AND {self.conditions.secret}" if secret else ""
        text, inner = (self.expressions[name] for name in SQL_COLUMNS)
        texts = f"LEFT({text}, {LIST_SQL_BYTES}), LEFT({inner}, {LIST_SQL_BYTES})"
        longest = f"GREATEST(LENGTH({text}), COALESCE(LENGTH({inner}), 0))"
        doing = ", ".join((*(self.expressions[name] for name in _DOING), self.judged_sql_id or "NULL"))
        return Query(
            f"SELECT {self.conditions.place}, {self.expressions['id']}, {texts}, {longest} > {LIST_SQL_BYTES}, {doing} "
            f"FROM {self.view} WHERE {where} AND COALESCE({text}, '') <> '' LIMIT %s",
            (*values, most),
        )

    def of_clients(self, ids: Sequence[int]) -> Query:
        """Select every row of those ids, to know all servers of their clients."""
        columns = ", ".join(self._columns(LIST_SQL_BYTES, pinned=False))
        where = f"{self.expressions['id']} IN %s"
        return Query(f"SELECT {columns} FROM {self.view} WHERE {where}", (*self.own_values, tuple(ids)))

    def involved(self, ids: Collection[int], transactions: Collection[int]) -> Query:
        """Select every session that has one of these ids or is in one of these transactions, the bot's own included."""
        columns = ", ".join(self._columns(LIST_SQL_BYTES, pinned=True))
        named = [(self.expressions["id"], tuple(ids)), (self.expressions["transaction_id"], tuple(transactions))]
        where = " OR ".join(f"{column} IN %s" for column, numbers in named if numbers)
        values = [numbers for _, numbers in named if numbers]
        return Query(f"SELECT {columns} FROM {self.view} WHERE {where or 'FALSE'}", (*self.own_values, *values))

    def count(self, which: str = "1 = 1") -> str:
        """Count sessions for which something is so: the rows of one client behind a proxy are one."""
        rows = f"COALESCE(SUM(CASE WHEN {which} THEN 1 ELSE 0 END), 0)"
        if self.client is None:
            return rows
        client = f"CASE WHEN {which} THEN {self.client} END"
        return f"({rows} - COUNT({client}) + COUNT(DISTINCT {client}))"

    def totals(self, scope: Sequence[str] | None, filter_: SessionFilter) -> Query:
        """Count the sessions in scope: all, ACTIVE, fitting the filter, rows of a client beyond its first, waiting.

        A statement of its own: asked for together with the page, by a join or by window functions,
        both took 14-16 ms instead of 6 + 3 ms with 1,000 sessions on OceanBase 4.3.5.
        """
        where, values = self.where(scope, SessionFilter())
        matching, matching_values = self.conditions.of(filter_)
        active = f"{self.expressions['state']} = 'ACTIVE'"
        # Of a client's rows only one is running.
        several = "0" if self.client is None else f"COUNT({self.client}) - COUNT(DISTINCT {self.client})"
        times = 1 if self.client is None else 3  # as often as ``count`` names its condition
        return Query(
            f"SELECT {self.count()}, COALESCE(SUM({active}), 0), {self.count(matching)}, {several}, "
            f"{self.count(self.expressions['waits'])} FROM {self.view} WHERE {where}",
            (*(matching_values * times), *values),
        )

    def states(self, scope: Sequence[str] | None) -> Query:
        """Select each status that a session in scope has now."""
        where, values = self.where(scope, SessionFilter())
        return Query(f"SELECT DISTINCT {self.expressions['state']} FROM {self.view} WHERE {where}", tuple(values))

    def by_ids(self, ids: Sequence[int]) -> Query:
        """Select every session of those ids with its whole SQL, the bot's own included."""
        columns = ", ".join(self._columns(None, pinned=True))
        where = f"{self.expressions['id']} IN %s"
        return Query(f"SELECT {columns} FROM {self.view} WHERE {where}", (*self.own_values, tuple(ids)))

    def look(self, ids: Sequence[int]) -> Query:
        """Select the same, with three values before each row: which server answers, ``own_transaction``, and ``NOW``.

        Where the view is one server's, it is asked in the same statement: a proxy may send the next one elsewhere.
        """
        if self.cluster:
            plain = self.by_ids(ids)
            return Query(plain.sql.replace("SELECT ", f"SELECT NULL, NULL, {NOW}, ", 1), plain.values)
        columns = self._columns(None, pinned=True)
        named = ", ".join(f"{text} AS c{number}" for number, text in enumerate(columns))
        which = f"{self.expressions['id']} IN %s"
        here = f"SELECT {self.own_address} AS address, {self.own_transaction or 'NULL'} AS in_transaction"
        return Query(
            f"SELECT here.address, here.in_transaction, found.* FROM ({here}) here LEFT JOIN "
            f"(SELECT {NOW} AS looked_at, {named} FROM {self.view} WHERE {which}) found ON 1 = 1",
            (*self.own_values, tuple(ids)),
        )

    def any_session_on(self, server: str) -> Query:
        """Select a row while a server shows any session of its own; the bot's count as well."""
        return Query(f"SELECT 1 FROM {self.view} WHERE {self.expressions['server']} = %s LIMIT 1", (server,))

    def server_status(self, server: str) -> Query | None:
        """Select a row while the cluster's list has a server as serving; None where there is no such list."""
        if self.servers_view is None:
            return None
        return Query(
            f"SELECT 1 FROM {self.servers_view} WHERE {self.servers_address} = %s AND status = 'ACTIVE'", (server,)
        )

    def servers(self) -> Query:
        """Select the address of each server that serves; without their list, of each that lists a session."""
        if self.servers_view is not None:
            return Query(f"SELECT {self.servers_address} FROM {self.servers_view} WHERE status = 'ACTIVE'")
        return Query(f"SELECT DISTINCT {self.expressions['server']} FROM {self.view}")

    def uncut(self, session_id: int) -> Query | None:
        """Select what a session runs from where more of it stands than in the list; None where there is no such view.

        MySQL's locks all threads, and fails while anybody runs a text that it cannot write in three bytes a letter.
        """
        if self.uncut_view is None:
            return None
        return Query(f"SELECT INFO, LENGTH(INFO) > {UNCUT_BYTES} FROM {self.uncut_view} WHERE ID = %s", (session_id,))

    def own_place(self) -> Query:
        """Select server and peer of the sessions that may be this very connection: others may have its id."""
        server, peer = self.expressions["server"], self.expressions["peer"]
        return Query(f"SELECT {server}, {peer} FROM {self.view} WHERE {self.expressions['id']} = connection_id()")

    def kill(self, session: Session, mode: Mode, *, pinned: Session | None = None) -> Query:
        """Close a session or its query; ``session`` is as looked at right before, ``pinned`` as it was confirmed.

        A query by its number where the server takes one, so that no later one is hit (MariaDB). Inside a routine
        that is the innermost statement's: where another one of the same request runs by now, the request is closed,
        whatever statement of it runs.

        The id is a literal: proxies recognise nothing else (docs/oceanbase.md 2.1). Raises ``ValueError``
        outside 1 < id < 2^32, which the kernel would cut to somebody else's id. MySQL counts in 64
        bits, but is there only after 49 days of 1,000 logins a second.
        """
        number = _id_to_close(session)
        same_statement = pinned is None or pinned.trace_id == session.trace_id
        if mode is Mode.QUERY and self.kills_by_query_id and session.trace_id and same_statement:
            return Query(f"KILL QUERY ID {int(session.trace_id)}")
        return Query(f"KILL {'QUERY ' if mode is Mode.QUERY else ''}{number}")

    def kill_by_procedure(self, session: Session, mode: Mode) -> Query:
        """Close a session or its query by a procedure of Amazon RDS. Raises as ``kill``."""
        return Query(f"CALL mysql.rds_kill{'_query' if mode is Mode.QUERY else ''}({_id_to_close(session)})")

    def transaction(self, session: Session) -> Query | None:
        """Select a row while this session's transaction is open or somebody waits for its locks.

        None where it has none, or the server cannot say.
        """
        if session.transaction_id is None:
            return None
        if self.own_transaction is not None and session.transaction_id >= READ_ONLY:
            return None  # InnoDB gives such a number to the next transaction that only reads
        asked: list[str] = []
        values: list[Value] = []
        for view, its_number, its_session in (
            (self.transaction_view, f"{self.transaction_column} = %s", "session_id"),
            (self.lock_view, "block = 1 AND id1 = %s", "id2"),
        ):
            if view is not None:
                # The views have the servers' own ids, not those that a proxy made.
                known = None if session.client_session else session.id
                whose, more = self.tenants.narrowed(session.tenant, its_session, known)
                asked.append(f"(SELECT 1 FROM {view} WHERE {its_number}{whose} LIMIT 1)")
                values += [session.transaction_id, *more]
        return Query(" UNION ALL ".join(asked), tuple(values)) if asked else None

    def prepared(self, session: Session) -> Query | None:
        """Select a row while a session's transaction stands without any session, prepared by XA (InnoDB)."""
        if (
            self.own_transaction is None
            or self.transaction_view is None
            or session.transaction is None
            or session.transaction_id is None
        ):
            return None
        which = f"{self.transaction_column} = %s AND trx_mysql_thread_id = 0 AND trx_state <> 'ROLLING BACK'"
        return Query(f"SELECT 1 FROM {self.transaction_view} WHERE {which}", (session.transaction_id,))

    def rows_left(self, session: Session) -> Query | None:
        """Select how many rows a rollback has still to undo; None where the server does not count them."""
        if self.own_transaction is None or self.transaction_view is None or session.transaction_id is None:
            return None
        which = f"{self.transaction_column} = %s AND trx_state = 'ROLLING BACK'"
        return Query(f"SELECT trx_rows_modified FROM {self.transaction_view} WHERE {which}", (session.transaction_id,))

    def server_session(self, session: Session) -> Query | None:
        """Select server session and address of a session's transaction; None where the server cannot say."""
        if (
            self.transaction_view is None
            or not (self.cluster and self.transaction_servers)
            or session.transaction is None
            or session.transaction_id is None
        ):
            return None
        if self.tenants.several and self.tenants.view is None:
            return None  # each tenant counts by itself: another's transaction may have that number
        whose, more = self.tenants.narrowed(session.tenant, "session_id", None)
        which = f"{self.transaction_column} = %s{whose}"
        sql = f"SELECT session_id, svr_ip FROM {self.transaction_view} WHERE {which}"
        return Query(sql, (session.transaction_id, *more))

    def absent_servers(self) -> Query | None:
        """Select address, port and status of the servers that do not serve; None on a single server."""
        if self.servers_view is None:
            return None
        return Query(f"SELECT svr_ip, sql_port, status FROM {self.servers_view} WHERE status <> 'ACTIVE'")

    def tenant_names(self) -> Query | None:
        """Select the names of all tenants; None where there are none, or the login sees its own alone."""
        if self.tenant_list is None:
            return None
        # Each has one for itself, with its logs, which nobody logs in to.
        return Query(f"SELECT tenant_name FROM {self.tenant_list} WHERE LEFT(tenant_name, 5) <> 'META$'")

    def to_session(self, source: str, row: Sequence[Any]) -> Session:
        """Turn a row of ``COLUMNS`` into a session; NULL and '' become what they mean."""
        # In the order of ``COLUMNS``. Hundreds of rows are read at a time: a dict of each takes half as long again.
        (
            server,
            number,
            tenant,
            user,
            peer,
            origin,
            database,
            command,
            time,
            total_time,
            state,
            sql_text,
            sql_length,
            sql_id,
            trace_id,
            transaction_id,
            transaction_state,
            proxy,
            proxy_session_id,
            master_session_id,
            retry_info,
            module,
            own,
            retry_count,
            memory,
            action,
            client_info,
            inner_sql,
            request_id,
            request_started,
            transaction_started,
            transaction_mode,
            server_started,
            definer,
            sql_cut,
            event,
            doing,
            past_wait,
        ) = row
        transaction, transaction_id = None, int(transaction_id or 0)
        if transaction_id or transaction_state:
            transaction = Transaction(
                transaction_id or None,
                transaction_state or None,
                _seconds(transaction_started),
                None,  # age
                None if transaction_mode is None else transaction_mode == AUTOCOMMIT,
                prepared=None if transaction_mode is None else transaction_mode == XA_PREPARED,
            )
        client = Client(
            user or "",
            origin or "",
            peer or "",
            proxy or None,
            int(proxy_session_id) if proxy_session_id else None,
            module or None,
            action or None,
            client_info or None,
            definer or None,
        )
        statement = self._statement(sql_text, sql_length, sql_id, inner_sql or None, sql_cut) if sql_text else None
        return Session(
            source,
            server or None,
            int(number),
            tenant or None,
            client,
            database or None,
            command or "",
            float(time or 0),
            float(total_time or 0),
            state or "",
            statement,
            trace_id or None,
            transaction,
            int(master_session_id) if master_session_id else None,
            int(retry_info or 0),
            bool(own),
            int(retry_count or 0),
            int(memory) if memory is not None else None,
            self.expressions["transaction_state"] != "NULL",
            None if transaction_mode is None else transaction_mode != AUTOCOMMIT,
            request_id or None,
            _seconds(request_started),
            self.request_started_within,
            _seconds(server_started),
            True,  # listed
            bool(event),
            (),  # servers
            doing or None,
            bool(past_wait),
        )

    def _statement(self, text: str, length: object, sql_id: str | None, inner: str | None, cut: object) -> Statement:
        if self.makes_sql_ids:
            sql_id = RawSql(text).id_of_digest
        note = self.cut_note if cut else ""
        if note or length is not None:
            text = whole_letters(text)
        whole = None if length is None else int(str(length))
        return Statement.of(text, length=whole, sql_id=sql_id or None, inner=inner, cut=note)

    def _columns(self, sql_bytes: int | None, *, pinned: bool) -> list[str]:
        texts = self.expressions | ({} if pinned else dict.fromkeys(_PINNED_ONLY, "NULL"))
        whole, texts["sql_length"] = texts["sql_text"], "NULL"
        if sql_bytes is not None:
            for name in SQL_COLUMNS:
                texts[name] = f"LEFT({texts[name]}, {sql_bytes})"
            texts["sql_length"] = f"CASE WHEN LENGTH({whole}) > {sql_bytes} THEN LENGTH({whole}) END"
        return [texts[name] for name in COLUMNS]

    def where(self, scope: Sequence[str] | None, filter_: SessionFilter) -> tuple[str, list[Value | Sequence[Value]]]:
        """Which sessions are meant: not the bot's own, of those tenants, fitting the filter; and the values bound."""
        parts = [f"NOT ({self.expressions['own']})"]
        values: list[Value | Sequence[Value]] = [*self.own_values]
        if scope is not None:
            # The views compare without regard to case; tenants are different when their case is.
            parts.append(f"BINARY {self.expressions['tenant']} IN %s")
            values.append(tuple(scope) or ("",))
        text, more = self.conditions.of(filter_)
        return " AND ".join([*parts, text]), [*values, *more]


# When the server reads a row, in seconds: unlike NOW, which is when the statement arrived there.
NOW = "UNIX_TIMESTAMP(SYSDATE(6))"

_ITSELF = ("server", "user", "id", "proxy_session_id")  # in the order of ``OwnSession``

_DOING = ("state", "command", "time")


def own_sessions(rows: Sequence[Sequence[Any]], user: str) -> tuple[OwnSession, ...]:
    """Read what ``Dialect.itself`` selects: of other servers' sessions with that id those of the same user count, too.

    A proxy carries one connection to several servers, and it is better to leave one too many out than to close it.
    """
    found = [
        OwnSession(server or None, user or "", int(number), int(client or 0) or None)
        for server, user, number, client in rows
    ]
    return tuple([one for one in found if one.user == user] or found)


def _id_to_close(session: Session) -> int:
    if not 1 < int(session.id) < 2**32:
        raise ValueError(session.id)
    return int(session.id)


def _seconds(cell: Any) -> float | None:
    return None if cell is None else float(cell)
