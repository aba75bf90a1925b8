"""MySQL and MariaDB: which process list there is, and what its columns mean.

Everything is probed, never derived from a version. What these servers do not have is NULL.
"""

from __future__ import annotations

import re

from bot.errors import DataSourceError, PrivilegeMissingError
from bot.sessions.database import Connection
from bot.sessions.details import Reach
from bot.sessions.dialect import COLUMNS, Dialect
from bot.sessions.endpoint import STATEMENT_TIMEOUT

# Run on each new connection; a server that does not know one is not worth less.
PREPARE = (
    "SET SESSION time_zone = '+00:00'",
    f"SET SESSION max_statement_time = {STATEMENT_TIMEOUT}",  # MariaDB, seconds
    f"SET SESSION max_execution_time = {STATEMENT_TIMEOUT * 1000}",  # MySQL, milliseconds; reading only
)

# The first takes no lock on all threads (MySQL 8.0.22 and later); where it is switched off it is empty.
_VIEWS = ("performance_schema.processlist", "information_schema.PROCESSLIST")
# InnoDB fills it anew only when nobody has read it for 0.1 s: it may be as old as that, or older under a busy monitor.
_TRANSACTIONS = "information_schema.INNODB_TRX"

# What the servers' own threads have for a user; nobody can log in so.
THREAD_USERS = frozenset({"system user", "event_scheduler"})

# The accounts that MySQL makes for itself, and those of managed services.
PROTECTED_USERS = frozenset({
    "mysql.session", "mysql.sys", "mysql.infoschema", "mariadb.sys",
    "rdsadmin", "rdsrepladmin",
})  # fmt: skip

# COMMANDs of threads that nobody's statements run in: replication (Group Replication, Galera and the event
# scheduler run as "Daemon" or as "system user"). Closing one stops a replica, not a query.
PROTECTED_COMMANDS = frozenset({
    "Daemon", "Binlog Dump", "Binlog Dump GTID", "Connect Out", "Register Slave", "Register Replica",
    "Slave_IO", "Slave_SQL", "Slave_worker", "Table Dump", "Group replication data retrieval",
})  # fmt: skip

_NO_SUCH_VIEW = 1146
# By its name, not by an address: which one clients can use is not known to the server.
_SERVER = "CONCAT(@@hostname, ':', @@port)"


def probe(connection: Connection, user: str) -> Dialect | None:
    """Find out what this server offers to ``user``; None when it is neither MySQL nor MariaDB.

    Raises one of the ``DataSourceError`` family.
    """
    # OceanBase has such views too, with less in them and some of it wrong.
    if connection.rows("SHOW VARIABLES LIKE 'ob_query_timeout'"):
        return None
    for view in _VIEWS:
        try:
            columns = frozenset(str(row[0]).upper() for row in connection.rows(f"DESC {view}"))
            answers = connection.rows(f"SELECT 1 FROM {view} WHERE ID = connection_id()")
        except PrivilegeMissingError:
            continue  # so MariaDB also says of a view that is not there
        except DataSourceError as error:
            if error.errno != _NO_SUCH_VIEW:
                raise
            continue
        if answers:
            return _dialect(connection, user, view, columns)
    return None


def _dialect(connection: Connection, user: str, view: str, columns: frozenset[str]) -> Dialect:
    caveats = [f"The sessions of {user}, this bot's own login, are left out."]
    transactions = _may_see_all(connection)
    if not transactions:
        caveats.append(
            f"Only the login's own sessions can be seen: {user} lacks PROCESS. "
            "GRANT PROCESS ON *.* TO it, then restart this bot."
        )
    # One row at most for each session. A plain SELECT that locks nothing is a transaction to InnoDB, to nobody else.
    # Joined, 1,000 sessions take 30 ms for a page and 20 ms for the totals, whatever is asked for; with subqueries
    # 10 ms, but 220 ms for in-transaction, since MariaDB then reads all transactions for each session.
    joined = f"{view} LEFT JOIN {_TRANSACTIONS} ON trx_mysql_thread_id = ID AND trx_autocommit_non_locking = 0"
    return Dialect(
        name=_name(connection),
        own_address=_SERVER,
        view=joined if transactions else view,
        expressions=_expressions(columns, transactions=transactions),
        own_values=(user,),
        protected_users=PROTECTED_USERS,
        protected_commands=PROTECTED_COMMANDS,
        thread_users=THREAD_USERS,
        transaction_view=_TRANSACTIONS if transactions else None,
        transaction_column="trx_id",
        kills_by_query_id="QUERY_ID" in columns,
        caveats=tuple(caveats),
        sees=Reach.ALL if transactions else Reach.OWN,
        closes=Reach.ALL if _may_close_all(connection) else Reach.OWN,
    )


def _may_see_all(connection: Connection) -> bool:
    """Whether the login has PROCESS, directly or by a role: the transactions are closed to all others."""
    try:
        connection.rows(f"SELECT trx_id FROM {_TRANSACTIONS} LIMIT 1")
    except PrivilegeMissingError:
        return False
    return True


def _may_close_all(connection: Connection) -> bool:
    granted = " ".join(str(row[0]).upper() for row in connection.rows("SHOW GRANTS"))
    # MariaDB writes CONNECTION ADMIN, MySQL CONNECTION_ADMIN.
    return bool(re.search(r"ALL PRIVILEGES ON \*\.\*|\bSUPER\b|\bCONNECTION[ _]ADMIN\b", granted))


def _name(connection: Connection) -> str:
    version = str(connection.rows("SELECT version()")[0][0])
    return f"{'MariaDB' if 'mariadb' in version.lower() else 'MySQL'} {version.split('-', 1)[0]}"


def _expressions(columns: frozenset[str], *, transactions: bool) -> dict[str, str]:
    # KILL QUERY of an idle session leaves MariaDB showing 'Killed' until its next statement, which runs normally.
    idle = "(COMMAND = 'Sleep' OR COMMAND = 'Killed' AND INFO IS NULL)"
    background = ", ".join(f"'{command}'" for command in sorted(PROTECTED_COMMANDS))
    # An address of IPv6 stands there without brackets: ::1:54012. A socket is 'localhost', a server's thread ''.
    peer = (
        "CASE WHEN LOCATE(':', HOST, LOCATE(':', HOST) + 1) > 0 AND LEFT(HOST, 1) <> '[' "
        "THEN CONCAT('[', LEFT(HOST, LENGTH(HOST) - LOCATE(':', REVERSE(HOST))), ']:', SUBSTRING_INDEX(HOST, ':', -1)) "
        "ELSE HOST END"
    )
    time = "TIME_MS / 1000" if "TIME_MS" in columns else "TIME"
    return dict.fromkeys(COLUMNS, "NULL") | {
        "server": _SERVER,
        "id": "ID",
        "user": "USER",
        "peer": peer,
        "origin": peer,
        "database_name": "DB",
        "command": f"CASE WHEN {idle} THEN 'Sleep' ELSE COMMAND END",
        "time": time,
        "total_time": time,
        # In OceanBase's words, for the same filters to work. MariaDB shows KILL and KILL QUERY alike as 'Killed'.
        "state": (
            "CASE COMMAND WHEN 'Sleep' THEN 'SLEEP' WHEN 'Killed' THEN 'KILLED' "
            f"ELSE CASE WHEN COMMAND IN ({background}) OR USER IN ('system user', 'event_scheduler') "
            "THEN 'BACKGROUND' ELSE 'ACTIVE' END END"
        ),
        "sql_text": "INFO",
        "sql_length": "CHAR_LENGTH(INFO)",
        # These servers have no id of the text in their process lists: this one tells one text from another.
        "sql_id": "MD5(INFO)",
        # MariaDB: a number for each statement, so that it names this very run. It stays there when that has ended.
        "trace_id": f"CASE WHEN NOT ({idle}) THEN CAST(QUERY_ID AS CHAR) END" if "QUERY_ID" in columns else "NULL",
        "transaction_id": "trx_id" if transactions else "NULL",
        "transaction_state": "trx_state" if transactions else "NULL",
        # Sessions cannot be tagged here: all of the bot's login are the bot's.
        "own": "(ID = connection_id() OR BINARY COALESCE(USER, '') = %s)",
        "memory": "MEMORY_USED" if "MEMORY_USED" in columns else "NULL",
    }
