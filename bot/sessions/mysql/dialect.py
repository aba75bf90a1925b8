"""MySQL and MariaDB: which process list there is, and what can be read beside it.

Everything is probed, never derived from a version, but for what SUPER is worth on MariaDB. What these servers do not
have is NULL.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import replace

from bot.errors import ConnectionLostError, DataSourceError, DataSourceTimeoutError, PrivilegeMissingError
from bot.sessions.database import Connection, Preparation
from bot.sessions.details import CLOSES_ITS_OWN, Grants, Reach, granted, logged_in
from bot.sessions.dialect import Dialect
from bot.sessions.endpoint import STATEMENT_TIMEOUT
from bot.sessions.login import Login
from bot.sessions.mysql import transactions as open_transactions
from bot.sessions.mysql import waits
from bot.sessions.mysql.columns import (
    REQUESTS,
    SERVER,
    STATUSES,
    THREAD_USERS,
    THREADS,
    TRANSACTIONS,
    UNCUT,
    ProcessList,
)

# Run on each new connection; a server that does not know one is not worth less.
PREPARE: Preparation = (
    {"max_statement_time": f"{STATEMENT_TIMEOUT}"},  # MariaDB, seconds
    {"max_execution_time": f"{STATEMENT_TIMEOUT * 1000}"},  # MySQL, milliseconds; reading only
    # MariaDB: views without indexes are joined by hashes. As a server comes it compares every row with every other:
    # with 1,000 sessions and 200 transactions 15 ms for each time the two are joined.
    {"join_cache_level": "4"},
)

# The first takes no lock on all threads (MySQL 8.0.22 and later); where it is switched off it is empty.
_VIEWS = ("performance_schema.processlist", UNCUT)

# The accounts that MySQL and MariaDB make for themselves, and those of Amazon's RDS (its user guide, "Master user
# account privileges"; not seen on a real one).
PROTECTED_USERS = frozenset(
    {
        "mysql.session",
        "mysql.sys",
        "mysql.infoschema",
        "mariadb.sys",
        "rdsadmin",
        "rdsrepladmin",
    }
)

_OWN_TRANSACTION = f"EXISTS (SELECT 1 FROM {TRANSACTIONS} WHERE trx_mysql_thread_id = connection_id())"
_NO_SUCH_VIEW = (1109, 1146)  # 1109: one of information_schema that is switched off, as by --innodb-trx=OFF
# MariaDB writes CONNECTION ADMIN, MySQL CONNECTION_ADMIN.
_CLOSES_ALL = frozenset({"ALL PRIVILEGES", "SUPER", "CONNECTION ADMIN", "CONNECTION_ADMIN"})
MARIADB = "MariaDB"
# From then on MariaDB's SUPER has no part of CONNECTION ADMIN (MDEV-29668): 10.11 closes by it, 11.8 answers 1095.
_SUPER_IS_NOT_ALL = (11,)
# From then on MySQL lets accounts with SYSTEM_USER be closed by those alone that have it as well.
_SPARES_SYSTEM_USERS = (8, 0, 16)
_CLOSES_SYSTEM_USERS = frozenset({"ALL PRIVILEGES", "SYSTEM_USER"})
_SEES_ALL = frozenset({"ALL PRIVILEGES", "PROCESS"})

# Amazon RDS keeps the privilege to close others' sessions to itself, and lets its users do it by these: its user guide,
# "Ending a session or query". Seen are those that the login may call, or all.
_KILL_PROCEDURES = (
    "SELECT 1 FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = 'mysql' "
    "AND ROUTINE_NAME IN ('rds_kill', 'rds_kill_query') HAVING COUNT(*) = 2"
)
_PROCEDURES = frozenset({"rds_kill", "rds_kill_query"})
_CALLS = re.compile(r"GRANT ([A-Z_, ]+) ON (?:PROCEDURE )?(?:\*|`mysql`)\.(\*|`\w+`) TO ", re.IGNORECASE)

_UPTIME = "SELECT VARIABLE_VALUE FROM {} WHERE VARIABLE_NAME = 'Uptime'"
_OWN_THREAD = f"SELECT THREAD_ID FROM {THREADS} WHERE PROCESSLIST_ID = connection_id()"
_OWN_REQUEST = (
    f"SELECT 1 FROM {REQUESTS} WHERE THREAD_ID = ({_OWN_THREAD}) AND NESTING_EVENT_LEVEL = 0 AND END_EVENT_ID IS NULL"
)
_NO_THREE_BYTES = 3854
_UNREADABLE = (
    f"Which sessions have a transaction open is not known now: MySQL cannot read {TRANSACTIONS} while a "
    "transaction runs a text with an emoji or with what is no letter (error 3854)."
)
_CUT = (
    "{} lists only the beginning of this statement, and the rest is not known here. To see all of it, run SHOW FULL "
    "PROCESSLIST at the server."
)
# What is not known where the login may not read these.
_MISSED = {
    THREADS: "who logged in is not known while a routine of another account runs",
    REQUESTS: "while a routine runs only its innermost statement is shown, "
    "and one run of a query is told from the next by when it began alone",
}


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
            if error.errno not in _NO_SUCH_VIEW:
                raise
            continue
        if answers:
            return _dialect(connection, user, view, columns)
    return None


def _dialect(connection: Connection, user: str, view: str, columns: frozenset[str]) -> Dialect:
    grants = granted(connection)
    unreadable: list[str] = []
    transactions, sees_all = _transactions(connection, grants, unreadable)
    refused: list[str] = []
    logins, requests = _performance_schema(connection, refused)
    found = ProcessList(
        view,
        columns,
        transactions=transactions,
        logins=logins,
        requests=requests,
        status=_status(connection),
    )
    lacks = (
        *(unreadable or _lacks(user, found, grants, sees_all=sees_all)),
        *(_without(view, found) for view in refused),
    )
    login = Login(logged_in(connection))
    name, version = _name(connection)
    locks = waits.probe(connection, found, mariadb=name == MARIADB)
    found = replace(found, modes=locks.modes)
    closing = _CLOSES_ALL - {"SUPER"} if name == MARIADB and version >= _SUPER_IS_NOT_ALL else _CLOSES_ALL
    procedures = bool(connection.rows(_KILL_PROCEDURES))
    closes = Reach.OWN
    if procedures and _may_call(connection):
        closes = Reach.ALL
    elif grants.privileges & closing:
        all_of_them = name == MARIADB or version < _SPARES_SYSTEM_USERS or grants.privileges & _CLOSES_SYSTEM_USERS
        closes = Reach.ALL if all_of_them else Reach.MOST
    hint = grants.hint(login.user) if sees_all else ""  # else with what it cannot see
    return Dialect(
        name=f"{name} {'.'.join(map(str, version))}",
        own_address=SERVER,
        view=found.joined,
        expressions=found.expressions(),
        own_values=(login.user,),
        cut_note=_CUT.format(name),
        uncut_view=UNCUT if found.view != UNCUT else None,
        protected_users=PROTECTED_USERS,
        thread_users=THREAD_USERS,
        transaction_view=TRANSACTIONS if transactions else None,
        transaction_column="trx_id",
        transactions=open_transactions.read if transactions else None,
        own_transaction=_OWN_TRANSACTION if transactions else None,
        makes_sql_ids=True,
        lists_itself=True,
        kill_procedures=procedures,
        kills_by_query_id="QUERY_ID" in columns,
        request_started_within=found.request_started_within,
        caveats=(f"The sessions of {user}, this bot's own login, are left out.", *lacks),
        lacks=(*lacks, *locks.lacks),
        passing=bool(unreadable),
        closing_lacks=_closing_lacks(name, procedures, hint) if closes is Reach.OWN else "",
        sees=Reach.ALL if sees_all else Reach.OWN,
        closes=closes,
        login=login,
        locks=locks,
        last_statements=locks.last_of,
        names_holders=locks.lock_waits or locks.data_locks,
    )


def _closing_lacks(name: str, procedures: bool, hint: str) -> str:
    grant = f"GRANT {'CONNECTION ADMIN' if name == MARIADB else 'CONNECTION_ADMIN'} ON *.* TO it"
    if procedures:
        grant = "GRANT EXECUTE ON PROCEDURE mysql.rds_kill TO it, and on mysql.rds_kill_query"
    return f"{CLOSES_ITS_OWN} For others': {grant}.{hint}"


def _may_call(connection: Connection) -> bool:
    """Whether the login's grants let it call the procedures that close sessions; trying it could hit somebody."""
    grants = (_CALLS.match(str(row[0])) for row in connection.rows("SHOW GRANTS"))
    allows = {"EXECUTE", "ALL PRIVILEGES"}
    called = {grant[2].strip("`") for grant in grants if grant and allows & set(grant[1].upper().split(", "))}
    return "*" in called or called >= _PROCEDURES


def _transactions(connection: Connection, grants: Grants, unreadable: list[str]) -> tuple[bool, bool]:
    """Whether open transactions can be read, and whether the login has PROCESS: they are closed to all others.

    Why they cannot be read just now goes to ``unreadable``.
    """
    try:
        there = _answers(connection, f"SELECT trx_id FROM {TRANSACTIONS} LIMIT 1", empty=True)
    except PrivilegeMissingError:
        return False, False
    except DataSourceError as error:
        if error.errno != _NO_THREE_BYTES:
            raise
        unreadable.append(_UNREADABLE)
        return False, True
    return there, there or bool(grants.privileges & _SEES_ALL)


def _performance_schema(connection: Connection, refused: list[str]) -> tuple[bool, bool]:
    """Tell whether the bot's own session is found in ``THREADS`` and in ``REQUESTS``.

    What the login may not read goes to ``refused``.
    """
    if ("ON",) not in [row[1:2] for row in connection.rows("SHOW VARIABLES LIKE 'performance_schema'")]:
        return False, False
    try:
        logins = _answers(connection, f"{_OWN_THREAD} AND CONNECTION_TYPE IS NOT NULL")
    except PrivilegeMissingError:
        refused.append(THREADS)
        return False, False
    try:
        return logins, logins and _answers(connection, _OWN_REQUEST)
    except PrivilegeMissingError:
        refused.append(REQUESTS)
        return logins, False


def _status(connection: Connection) -> str | None:
    for view in STATUSES:
        with contextlib.suppress(PrivilegeMissingError):  # a session without this is better than none
            if _answers(connection, _UPTIME.format(view)):
                return view
    return None


def _answers(connection: Connection, sql: str, *, empty: bool = False) -> bool:
    """Whether a view is there with these columns and has a row, or may be ``empty``.

    Whatever keeps it from being read, a list without it is better than none. Raises ``PrivilegeMissingError`` where it
    is the login, and where the connection is lost.
    """
    try:
        return bool(connection.rows(sql)) or empty
    except (PrivilegeMissingError, ConnectionLostError, DataSourceTimeoutError):
        raise
    except DataSourceError as error:
        if error.errno == _NO_THREE_BYTES:
            raise
        return False


def _lacks(user: str, found: ProcessList, grants: Grants, *, sees_all: bool) -> Iterator[str]:
    if not sees_all:
        yield (
            f"Only the login's own sessions can be seen: {user} lacks PROCESS. "
            f"GRANT PROCESS ON *.* TO it; the bot notices within minutes.{grants.hint(user)}"
        )
    elif not found.transactions:
        yield f"This server has no {TRANSACTIONS}, so which sessions have a transaction open is not known."


def _without(view: str, found: ProcessList) -> str:
    return (
        f"The bot's login may not read {view}, so {_MISSED[view] if found.shows_definer else _MISSED[REQUESTS]} "
        "(GRANT SELECT ON it)."
    )


def _name(connection: Connection) -> tuple[str, tuple[int, ...]]:
    said = str(connection.rows("SELECT version()")[0][0])
    numbers = re.match(r"[0-9]+(?:\.[0-9]+)*", said)
    version = tuple(map(int, numbers[0].split("."))) if numbers is not None else ()
    return MARIADB if "mariadb" in said.lower() else "MySQL", version
