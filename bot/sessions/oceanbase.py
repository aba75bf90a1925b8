"""OceanBase and seekdb: which view and columns there are, and what they mean.

Columns are probed, never derived from a version (OCEANBASE.md 1.2: even patch releases differ).
"""

from __future__ import annotations

from bot.errors import DataSourceError, PrivilegeMissingError
from bot.sessions.database import MODULE, Connection
from bot.sessions.dialect import Dialect
from bot.sessions.endpoint import STATEMENT_TIMEOUT

# Run on each new connection; a server that does not know one is not worth less.
PREPARE = (
    "SET SESSION time_zone = '+00:00'",
    f"SET SESSION ob_query_timeout = {STATEMENT_TIMEOUT * 1_000_000}",
    f"CALL dbms_application_info.set_module('{MODULE}', '')",
)

_VIEWS = ("oceanbase.GV$OB_PROCESSLIST", "oceanbase.V$OB_PROCESSLIST")
_TRANSACTION_VIEWS = ("oceanbase.GV$OB_TRANSACTION_SCHEDULERS", "oceanbase.V$OB_TRANSACTION_SCHEDULERS")

# OCEANBASE.md section 3: monitoring, proxies, standby, restore, log subscription, operators.
PROTECTED_USERS = frozenset({
    "proxyro", "ocp", "ocp_monitor", "standbyro", "cdcro", "operator", "monitor",
    "__oceanbase_inner_standby_user", "__oceanbase_inner_restore_user", "__oceanbase_inner_drc_user",
    "PUBLIC", "LBACSYS", "ORAAUDITOR",
})  # fmt: skip

_NO_SUCH_VIEW = 1146


def probe(connection: Connection, user: str) -> Dialect | None:
    """Find out what this server offers to ``user``; None when it is no OceanBase.

    Raises one of the ``DataSourceError`` family, ``PrivilegeMissingError`` above all.
    """
    for view in _VIEWS:
        try:
            columns = frozenset(str(row[0]).upper() for row in connection.rows(f"DESC {view}"))
        except PrivilegeMissingError:
            raise
        except DataSourceError as error:
            if error.errno in (_NO_SUCH_VIEW, 1049):  # 1049: no database named oceanbase
                continue
            raise
        return Dialect(
            name=_name(connection),
            view=view,
            expressions=_expressions(columns),
            own_values=(MODULE, user.split("@", 1)[0]),
            protected_users=PROTECTED_USERS,
            transaction_view=_transaction_view(connection),
        )
    return None


def _name(connection: Connection) -> str:
    version = str(connection.rows("SELECT version()")[0][0])
    return version.split("-", 1)[-1] if "-" in version else version


def _transaction_view(connection: Connection) -> str | None:
    for view in _TRANSACTION_VIEWS:
        try:
            connection.rows(f"SELECT tx_id FROM {view} LIMIT 0")
        except DataSourceError as error:
            if error.errno == 0:
                raise
            continue  # not in this version, or not for this login: the process list alone must do
        return view
    return None


def _expressions(columns: frozenset[str]) -> dict[str, str]:
    def column(name: str, otherwise: str = "NULL") -> str:
        return name if name in columns else otherwise

    proxied = "COALESCE(PROXY_SESSID, 0) <> 0" if "PROXY_SESSID" in columns else "FALSE"
    client = column("USER_CLIENT_IP", "HOST")
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
        "time": "TIME",
        "total_time": column("TOTAL_TIME", "TIME"),
        "state": "STATE",
        "sql_text": "INFO",
        "sql_length": "CHAR_LENGTH(INFO)",
        "sql_id": column("SQL_ID"),
        "trace_id": column("TRACE_ID"),
        "transaction_id": column("TRANS_ID"),
        "transaction_state": column("TRANS_STATE"),
        "proxy": f"CASE WHEN {proxied} THEN {peer_ip} END",
        "proxy_session_id": column("PROXY_SESSID"),
        "master_session_id": column("MASTER_SESSID"),
        "retry_info": column("RETRY_INFO", "0"),
        "module": column("MODULE"),
        # Anybody can call himself session-bot: the tag counts only on the bot's own user.
        "own": "(ID = connection_id() OR (COALESCE(" + column("MODULE", "''") + ", '') = %s AND BINARY USER = %s))",
        "retry_count": column("RETRY_CNT", "0"),
        "memory": column("MEMORY_USAGE"),
        "action": column("ACTION"),
        "client_info": column("CLIENT_INFO"),
    }


def _address(ip: str, port: str) -> str:
    return f"CONCAT(CASE WHEN LOCATE(':', {ip}) > 0 THEN CONCAT('[', {ip}, ']') ELSE {ip} END, ':', {port})"
