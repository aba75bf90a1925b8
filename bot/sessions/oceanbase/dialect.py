"""OceanBase and seekdb: which view and columns there are, and what they mean.

Columns are probed, never derived from a version (docs/oceanbase.md 1.2: even patch releases differ).
"""

from __future__ import annotations

from dataclasses import dataclass

from bot.errors import ConnectionLostError, DataSourceError, DataSourceTimeoutError, PrivilegeMissingError
from bot.sessions import deadlocks, session_variables
from bot.sessions.database import MODULE, Connection, Preparation
from bot.sessions.details import CLOSES_ITS_OWN, Grants, Reach, granted, logged_in
from bot.sessions.dialect import UNCUT_BYTES, Dialect
from bot.sessions.endpoint import STATEMENT_TIMEOUT
from bot.sessions.login import Login
from bot.sessions.model import AWAITS, GET_LOCK, WaitKind
from bot.sessions.oceanbase.details import SYS_VARIABLES, TENANTS, OceanBaseDetails, readable
from bot.sessions.oceanbase.transactions import OceanBaseTransactions
from bot.sessions.oceanbase.waits import OceanBaseLocks, WaitingSessions

# Run on each new connection; a server that does not know one is not worth less.
PREPARE: Preparation = (
    {"ob_query_timeout": f"{STATEMENT_TIMEOUT * 1_000_000}", **session_variables.OCEANBASE},
    f"CALL dbms_application_info.set_module('{MODULE}', '')",
)

_ALL_SERVERS = "oceanbase.GV$OB_PROCESSLIST"
_ONE_SERVER = "oceanbase.V$OB_PROCESSLIST"
_LAST_RESORT = "information_schema.PROCESSLIST"  # anybody may read it; all there is on OceanBase 3
_SERVERS = ("oceanbase.DBA_OB_SERVERS",)  # the sys tenant's; seekdb has none

# docs/oceanbase.md 4.5: monitoring, proxies, standby, restore, log subscription, operators.
PROTECTED_USERS = frozenset(
    {
        "proxyro",
        "ocp",
        "ocp_monitor",
        "standbyro",
        "cdcro",
        "operator",
        "monitor",
        "__oceanbase_inner_standby_user",
        "__oceanbase_inner_restore_user",
        "__oceanbase_inner_drc_user",
        "PUBLIC",
        "LBACSYS",
        "ORAAUDITOR",
    }
)

# The rows of one client on the servers that it has touched, where a proxy made the id: bit 31 is clear then.
_CLIENT = (
    "CASE WHEN COALESCE(PROXY_SESSID, 0) <> 0 AND ID < 2147483648 "
    "THEN CONCAT_WS('/', ID, PROXY_SESSID, TENANT, USER) END"
)
_UPTIME = "information_schema.global_status"  # of the server that answers; anybody may read it
_BIGINT, _DOUBLE = 8, 5  # in MySQL's protocol

_LOGIN = "BINARY USER = %s"
# Anybody can call himself session-bot: the tag counts only on the bot's own user.
_TAG = f"(COALESCE(MODULE, '') = %s AND {_LOGIN})"

_CUT = "OceanBase itself cuts a statement at 65,535 bytes; the rest is not known."

_NO_SUCH_VIEW = (1146, 1049)  # 1049: no database named oceanbase
_SYS = "sys"


@dataclass(frozen=True, slots=True)
class _ProcessList:
    view: str
    kinds: dict[str, int]  # of its columns, in upper case, as MySQL's protocol numbers them
    caveats: tuple[str, ...] = ()

    @property
    def listed(self) -> str:
        """What a subquery calls it, see ``Dialect.listed``."""
        return self.view.rpartition(".")[2]

    @property
    def columns(self) -> frozenset[str]:
        return frozenset(self.kinds)


def probe(connection: Connection, user: str) -> Dialect | None:
    """Find out what this server offers to ``user``; None when it is no OceanBase.

    Raises one of the ``DataSourceError`` family.
    """
    name = _name(connection)
    seekdb = "seekdb" in name  # one server, one tenant
    found = _process_list(connection, seekdb=seekdb)
    if found is None:
        return None
    login = _login(connection, user)
    tenant = login.tenant or _SYS
    grants = Grants(frozenset()) if tenant == _SYS else granted(connection)
    sees, closes = _reach(grants, tenant)
    tagged = "MODULE" in found.columns
    only = [_ONLY[sees].format(user=user, tenant=tenant, roles=grants.hint(login.user))] if sees in _ONLY else []
    caveats = [*found.caveats, *only]
    lacks = [*found.caveats, *(only if sees is Reach.OWN else [])]
    if not tagged:
        caveats.append(f"Sessions of {login.user} are left out: the bot could not tell its own among them.")
    refused: list[str] = []
    details = OceanBaseDetails.probe(connection, refused, several_tenants=tenant == _SYS and not seekdb)
    unread = [_without(view) for view in refused if view.endswith("OB_LOCKS")]
    servers = readable(connection, "svr_ip, sql_port, status", _SERVERS, refused)
    transactions = None
    if details.transactions is not None:
        transactions = OceanBaseTransactions.probe(connection, details.transactions, details.tenants, login.tenant)
    listed = WaitingSessions(found.view, found.columns)
    locks = OceanBaseLocks.probe(
        connection, listed, details.locks, transactions, details.tenants, tenant, unread, single=seekdb
    )
    if found.view != _LAST_RESORT:  # whose own caveat says it all
        refused = [view for view in refused if tenant == _SYS or view not in _OF_SYS]
        caveats += map(_without, refused)
        lacks += map(_without, refused)
        lacks += map(_without, _refused_elsewhere(connection, tenant, seekdb=seekdb))
        lacks += transactions.lacks if transactions is not None else ()
        lacks += (one for one in locks.missed if one not in lacks)
    return Dialect(
        name=name,
        view=found.view,
        telling_sql_id=_telling_sql_id(found.columns),
        makes_sql_ids=not tagged,
        cut_note=_CUT,
        expressions=_expressions(found.columns)
        | ({} if tagged else _untagged(tenant, seekdb=seekdb))
        | {"server_started": _server_started(connection, found, servers, seekdb=seekdb)}
        | {"transaction_started": _transaction_started(found, details)},
        own_values=(MODULE, login.user) if tagged else (login.user,),
        own_tag=_TAG if tagged else _LOGIN,
        protected_users=PROTECTED_USERS,
        transaction_view=details.transactions,
        transactions=transactions.read if transactions is not None else None,
        transaction_servers=details.transaction_servers,
        lock_view=details.locks,
        caveats=tuple(caveats),
        lacks=tuple(lacks),
        closing_lacks=_closing_lacks(grants, login.user, sees) if closes is Reach.OWN else "",
        sees=sees,
        closes=closes,
        login=login,
        locks=locks.read,
        last_statements=locks.last_of,
        names_holders=locks.rows is not None,
        details=details.read,
        own_address=_address("host_ip()", "mysql_port()"),
        client=_CLIENT if {"PROXY_SESSID", "SVR_IP", "TENANT"} <= found.columns else None,
        cluster=found.view == _ALL_SERVERS or (found.view == _LAST_RESORT and not seekdb),
        single=seekdb,
        servers_view=servers,
        servers_address=_address("svr_ip", "sql_port"),
        tenants=details.tenants,
        tenant_list=TENANTS[0] if tenant == _SYS and not seekdb else None,
        # Where TIME has no fractions it is cut, in information_schema.PROCESSLIST of 4.3.5 rounded.
        request_started_within=0.05 if found.kinds["TIME"] == _DOUBLE else 1.0,
    )


def _process_list(connection: Connection, *, seekdb: bool) -> _ProcessList | None:
    """Return the best list of sessions that this login can read."""
    reasons: list[str] = []
    refused: PrivilegeMissingError | None = None
    closed: list[str] = []
    for view in (_ALL_SERVERS, _ONE_SERVER):
        try:
            columns = connection.columns(view)
            # The bot's own session must be in it: 4.2.1.1 to 4.2.1.4 have a GV$ view without any row.
            if connection.rows(f"SELECT 1 FROM {view} LIMIT 1"):
                return _ProcessList(view, columns, () if not reasons or seekdb else (_one_server(reasons[0]),))
            reasons.append(f"{view} is empty")
        except PrivilegeMissingError as error:
            refused = error
            reasons.append(f"this login may not read {view} (GRANT SELECT ON {view} TO it)")
            closed.append(reasons[-1])
        except DataSourceError as error:
            if error.errno not in _NO_SUCH_VIEW:
                raise
            reasons.append(f"there is no {view}")
    if not connection.rows("SHOW VARIABLES LIKE 'ob_query_timeout'"):
        return None  # not OceanBase
    try:
        columns = connection.columns(_LAST_RESORT)
    except DataSourceError as error:
        raise refused or error from error
    return _ProcessList(_LAST_RESORT, columns, (_last_resort([*closed, *reasons][0]),))


def _one_server(reason: str) -> str:
    return f"Only the sessions of one server are listed, the one that the bot is connected to: {reason}."


def _last_resort(reason: str) -> str:
    return f"Read from {_LAST_RESORT}, since {reason}: trace ids, transactions, lock waits and proxies are not known."


def _name(connection: Connection) -> str:
    version = str(connection.rows("SELECT version()")[0][0])
    return version.split("-", 1)[-1] if "-" in version else version


def _login(connection: Connection, name: str) -> Login:
    """Return who is logged in. The server tells that: what a name says depends on whether a proxy has read it."""
    user = logged_in(connection).partition("@")[0]
    try:
        return Login(user, str(connection.rows("SELECT effective_tenant()")[0][0]))
    except (ConnectionLostError, DataSourceTimeoutError):
        raise
    except DataSourceError:  # seekdb 1.4 has no such function
        read = Login.read(name)
        return Login(user, (read.tenant if read.user == user else None) or _SYS)


def _reach(grants: Grants, tenant: str) -> tuple[Reach, Reach]:
    """Whose sessions this login sees and may close (docs/oceanbase.md 1.4 and 2.3)."""
    if tenant == _SYS:
        return Reach.ALL, Reach.ALL  # grants are not consulted there
    privileges = grants.privileges
    everything = bool(privileges & {"ALL", "ALL PRIVILEGES"})
    return (
        Reach.TENANT if everything or "PROCESS" in privileges else Reach.OWN,
        Reach.TENANT if everything or "SUPER" in privileges else Reach.OWN,
    )


def _closing_lacks(grants: Grants, user: str, sees: Reach) -> str:
    hint = grants.hint(user) if sees is not Reach.OWN else ""  # else with what it cannot see
    return f"{CLOSES_ITS_OWN} For others' of its tenant: GRANT SUPER ON *.* TO it.{hint}"


_ONLY = {
    Reach.TENANT: "The bot's login {user} sees only the sessions of tenant {tenant}.",
    Reach.OWN: "The bot's login {user} sees only its own sessions. To see all of tenant {tenant}: "
    "GRANT PROCESS ON *.* TO it.{roles}",
}

_OF_SYS = ("oceanbase.__all_virtual_processlist", *_SERVERS)  # other tenants' logins are not expected to read them
_TELLS = {
    "OB_TRANSACTION_SCHEDULERS": "neither the age of a transaction is known nor when its rollback ends",
    "OB_LOCKS": "who holds a row lock that a session waits for is not known",
    "__all_virtual_processlist": "the plan of a running statement is not known",
    "DBA_OB_SERVERS": "servers that are away are not named",
    "DEADLOCK_EVENT_HISTORY": "/sessions deadlocks shows none",
    "DBA_OB_TENANTS": "it is not known which tenant a deadlock is of, nor whether the tenants that settings name exist",
    "CDB_OB_SYS_VARIABLES": "/sessions vars shows those of its own tenant alone",
}


def _refused_elsewhere(connection: Connection, tenant: str, *, seekdb: bool) -> list[str]:
    """Return what a login is to read, and may not, that no list is made of."""
    refused: list[str] = []
    readable(connection, "EVENT_ID", deadlocks.VIEWS, refused)
    if tenant == _SYS and not seekdb:
        for views in (TENANTS, (SYS_VARIABLES,)):
            readable(connection, "1", views, refused)
    return refused


def _without(view: str) -> str:
    what = next(tells for name, tells in _TELLS.items() if view.endswith(name))
    return f"The bot's login may not read {view}, so {what} (GRANT SELECT ON it)."


def _server_started(connection: Connection, found: _ProcessList, servers: str | None, *, seekdb: bool) -> str:
    """When the server of a row was started, in seconds since the epoch; NULL where nothing says so."""
    named = {"SVR_IP", "SVR_PORT", "SQL_PORT"} <= found.columns
    kind = _kind_of_start(connection, servers) if named and servers is not None else None
    if kind is not None:
        started = "start_service_time / 1000000" if kind == _BIGINT else "UNIX_TIMESTAMP(start_service_time)"
        return (
            f"(SELECT {started} FROM {servers} AS its_server "
            f"WHERE its_server.svr_ip = {found.listed}.SVR_IP AND its_server.svr_port = {found.listed}.SVR_PORT)"
        )
    up = readable(connection, "host_ip(), mysql_port(), variable_value", (_UPTIME,), [])
    if up is None or not (named or seekdb):
        return "NULL"
    # That of the server that answers. Uptime goes on within a statement, as SYSDATE does; NOW is when it arrived.
    started = f"UNIX_TIMESTAMP(SYSDATE(6)) - (SELECT variable_value FROM {up} WHERE variable_name = 'Uptime')"
    return f"CASE WHEN SVR_IP = host_ip() AND SQL_PORT = mysql_port() THEN {started} END" if named else started


def _transaction_started(found: _ProcessList, details: OceanBaseDetails) -> str:
    """When an implicit transaction began: that of autocommit with its statement, that of autocommit=0 before it.

    An explicit one outlives its statement in any case.
    """
    if details.transactions is None or not {"TRANS_ID", "TRANS_STATE"} <= found.columns:
        return "NULL"
    its = details.tenants.joined(details.transactions, found.listed)
    return f"CASE WHEN TRANS_STATE = 'IMPLICIT_ACTIVE' THEN (SELECT UNIX_TIMESTAMP(MAX(its.active_time)) {its}) END"


def _kind_of_start(connection: Connection, servers: str) -> int | None:
    """Return the type of START_SERVICE_TIME, a time or microseconds by version; None where there is no such column."""
    try:
        return connection.columns(f"(SELECT start_service_time FROM {servers}) AS servers")["START_SERVICE_TIME"]
    except (ConnectionLostError, DataSourceTimeoutError):
        raise
    except DataSourceError:
        return None


def _untagged(tenant: str, *, seekdb: bool) -> dict[str, str]:
    """What differs on ``information_schema.PROCESSLIST``, which has eight columns."""
    if seekdb:
        where = {"tenant": "'sys'"}
    else:
        # A login of sys sees every tenant's sessions there, but not whose they are, nor on which server.
        where = {"tenant": "CAST(NULL AS CHAR)" if tenant == _SYS else "effective_tenant()", "server": "NULL"}
    return {
        **where,
        "own": f"(ID = connection_id() OR {_LOGIN})",
    }


# Around what the client has sent the kernel takes these away before it hashes that.
_SPACES = ("\t", "\n", "\r", "\v", "\f")


def _telling_sql_id(columns: frozenset[str]) -> str | None:
    """Whether the SQL ID is the plain hash of the text, or may be: what is cut is not known whole.

    So it is where nothing of the text is a parameter: SET, CREATE USER, DO, and whatever a text PREPARE has.
    """
    if "SQL_ID" not in columns:
        return None
    hidden = []
    for text in ("INFO", *(("TOP_INFO",) if "TOP_INFO" in columns else ())):
        plain = f"BINARY {text}"
        for space in _SPACES:
            plain = f"REPLACE({plain}, '{space}', ' ')"
        start = f"LENGTH({plain}) - LENGTH(LTRIM({plain})) + 1"
        sent = f"SUBSTRING(BINARY {text}, {start}, LENGTH(TRIM({plain})))"
        hidden.append(f"{_is_cut(text)} OR LOWER(SQL_ID) = LOWER(MD5({sent}))")
    return f"COALESCE(SQL_ID, '') <> '' AND ({' OR '.join(hidden)})"


def _expressions(columns: frozenset[str]) -> dict[str, str]:
    def column(name: str, otherwise: str = "NULL") -> str:
        return name if name in columns else otherwise

    proxied = "COALESCE(PROXY_SESSID, 0) <> 0" if "PROXY_SESSID" in columns else "FALSE"
    client = column("USER_CLIENT_IP", "HOST")
    retry = f"COALESCE({column('RETRY_INFO', '0')}, 0)"
    changes_table = f"({retry} = -4023 AND ({_CHANGES_TABLE}))"
    past_wait = "FALSE"
    if "TOTAL_TIME" in columns:
        past_wait = f"(TIME > {_TRIED_WITHIN} AND TOTAL_TIME - TIME > 0.05)"
        if "TOP_INFO" in columns:  # in a routine TIME is the whole call's, and what only reads waits for no row
            reads = "LOCATE('SELECT', INFO) = 1 AND LOCATE(' FOR ', INFO) = 0"
            past_wait = f"CASE WHEN LENGTH(TOP_INFO) > 0 THEN COALESCE({reads}, FALSE) ELSE {past_wait} END"
    running, now = "COMMAND <> 'Sleep'", "UNIX_TIMESTAMP(NOW(6))"
    time, asked, inner = "TIME", "INFO", "NULL"
    if "TOTAL_TIME" in columns:
        # Since the request arrived. The server's retries start TIME anew, as each statement of one packet does;
        # TOTAL_TIME is that of the innermost statement of a routine, where TIME is the whole call's.
        time = f"CASE WHEN {running} AND TOTAL_TIME > TIME THEN TOTAL_TIME ELSE TIME END"
    if "TOP_INFO" in columns:
        # The client's own text while INFO is a statement of the routine that it calls, or empty between two of them.
        asked = "CASE WHEN LENGTH(TOP_INFO) > 0 THEN TOP_INFO ELSE INFO END"
        inner = "CASE WHEN LENGTH(TOP_INFO) > 0 AND LENGTH(INFO) > 0 THEN INFO END"
    peer_ip = "REPLACE(REPLACE(SUBSTRING(HOST, 1, LENGTH(HOST) - LOCATE(':', REVERSE(HOST))), '[', ''), ']', '')"
    return {
        # SQL_PORT is the port that clients can use; SVR_PORT would be the servers' own RPC.
        "server": _address("SVR_IP", "SQL_PORT") if "SVR_IP" in columns else _address("host_ip()", "mysql_port()"),
        "id": "ID",
        # seekdb 1.4 has no TENANT column: everybody is in sys there.
        "tenant": column("TENANT", "'sys'"),
        "user": "USER",
        "peer": "HOST",
        # As OCP: the client's address, with its port where the connection is direct.
        "origin": f"CASE WHEN NOT ({proxied}) AND {peer_ip} = {client} THEN HOST ELSE {client} END",
        # The text 'NULL' stands where no database is selected (all versions).
        "database_name": "NULLIF(DB, 'NULL')",
        "command": "COMMAND",
        "time": time,
        "total_time": column("TOTAL_TIME", "TIME"),
        "state": "STATE",
        # What a client in another character set sent is no valid text: of bytes any function gives the right answer.
        "sql_text": f"CAST({asked} AS BINARY)",
        "sql_letters": asked,
        "sql_length": f"LENGTH({asked})",
        "sql_cut": _is_cut(asked) if inner == "NULL" else f"{_is_cut(asked)} OR COALESCE({_is_cut(inner)}, FALSE)",
        "sql_id": column("SQL_ID"),
        "trace_id": column("TRACE_ID"),
        # The kernel keeps a number ready for the next transaction, as in a routine between two statements.
        "transaction_id": "CASE WHEN TRANS_STATE <> '' THEN TRANS_ID END"
        if "TRANS_STATE" in columns
        else column("TRANS_ID"),
        "transaction_state": column("TRANS_STATE"),
        "proxy": f"CASE WHEN {proxied} THEN {peer_ip} END",
        "proxy_session_id": column("PROXY_SESSID"),
        "master_session_id": column("MASTER_SESSID"),
        "retry_info": column("RETRY_INFO", "0"),
        "module": column("MODULE"),
        "own": f"(ID = connection_id() OR {_TAG})",
        "retry_count": column("RETRY_CNT", "0"),
        "memory": column("MEMORY_USAGE"),
        "action": column("ACTION"),
        "client_info": column("CLIENT_INFO"),
        "inner_sql": inner if inner == "NULL" else f"CAST({inner} AS BINARY)",
        "inner_letters": inner,
        "request_id": column("TRACE_ID"),
        "request_started": f"CASE WHEN {running} THEN {now} - ({time}) END",
        "transaction_started": "NULL",
        "transaction_mode": "NULL",  # TRANS_STATE tells it, with the start
        "server_started": "NULL",
        "definer": "NULL",
        "event": "NULL",
        "doing": f"CASE WHEN {_IN_GET_LOCK} THEN '{GET_LOCK}' WHEN {changes_table} THEN '{_AWAITS_TABLE}' END",
        "past_wait": past_wait,
        "waits": f"({running} AND ({_IN_GET_LOCK} OR {retry} = -6005 AND NOT {past_wait} OR {changes_table}))",
    }


# What the server runs in a session's name while that waits in GET_LOCK: INFO is the client's own again as soon as it
# has the lock (docs/oceanbase.md 5.4). 9 is a lock on an object, 13 one of GET_LOCK's; LOCATE works on any bytes.
_IN_GET_LOCK = (
    "COALESCE(LOCATE('INSERT INTO oceanbase.__all_detect_lock_info', INFO) = 1 "
    "AND LOCATE('VALUES (9, 13, ', INFO) > 0, FALSE)"
)


# Who waits for a row is tried again every 5 to 15 s, which starts TIME anew but not TOTAL_TIME (docs/oceanbase.md 1.3).
_TRIED_WITHIN = 20

# A statement that changes a table is tried again for as long as anybody has locked that (docs/oceanbase.md 5.5). -4023
# is said of others as well, which only run.
_SPACES_BEFORE = "LENGTH(INFO) - LENGTH(LTRIM(CAST(INFO AS BINARY)))"
_CHANGES_TABLE = " OR ".join(
    f"COALESCE(LOCATE('{word} ', INFO), 0) = {_SPACES_BEFORE} + 1" for word in ("ALTER", "DROP", "RENAME", "TRUNCATE")
)
_AWAITS_TABLE = f"{AWAITS}{WaitKind.METADATA.value}"  # as MySQL says it


def _is_cut(text: str) -> str:
    return f"LENGTH({text}) > {UNCUT_BYTES}"


def _address(ip: str, port: str) -> str:
    return f"CONCAT(CASE WHEN LOCATE(':', {ip}) > 0 THEN CONCAT('[', {ip}, ']') ELSE {ip} END, ':', {port})"
