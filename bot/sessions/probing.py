"""The kinds of servers: what is run on a new connection to one, and how one is recognised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from bot.errors import DataSourceError, PrivilegeMissingError
from bot.sessions import relatives, session_variables
from bot.sessions.database import Connection, Preparation
from bot.sessions.dialect import Dialect
from bot.sessions.mysql import dialect as mysql
from bot.sessions.oceanbase import dialect as oceanbase

STAYS_OPEN = 8 * 3600  # seconds for which an idle connection of the bot's is kept by the server

Kind = Literal["auto", "oceanbase", "seekdb", "mysql"]  # "mysql" is MariaDB as well

_ANY: Preparation = (
    session_variables.EVERYWHERE | {"autocommit": "1", "wait_timeout": f"{STAYS_OPEN}"},
    # WITH CONSISTENT SNAPSHOT, which a look on MySQL and MariaDB begins with, is promised at this level alone.
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ WRITE",
)

# Where the kind is not known, what a server does not know is passed over.
PREPARE: Mapping[Kind, Preparation] = {
    "auto": (*_ANY, *oceanbase.PREPARE, *mysql.PREPARE),
    "oceanbase": (*_ANY, *oceanbase.PREPARE),
    "seekdb": (*_ANY, *oceanbase.PREPARE),
    "mysql": (*_ANY, *mysql.PREPARE),
}


# The variables of the bot's own sessions that it has set, or may have: they say nothing of anybody else's.
OWN_VARIABLES = frozenset(
    {
        *(name for one in PREPARE["auto"] if not isinstance(one, str) for name in one),
        *("tx_isolation", "transaction_isolation", "tx_read_only", "transaction_read_only"),
        *("character_set_client", "character_set_connection", "character_set_results", "collation_connection"),
    }
)


def probe(kind: Kind, connection: Connection, name: str, user: str) -> Dialect:
    """Find out what the server of data source ``name`` offers to ``user``.

    Raises one of the ``DataSourceError`` family, also for a server of another kind.
    """
    relatives.refuse(connection, name)
    try:
        return _probe(kind, connection, name, user)
    except DataSourceError as error:
        if error.errno not in _NOT_ITS_SQL:
            raise
        raise relatives.unlike(connection, name, error) from error


def _probe(kind: Kind, connection: Connection, name: str, user: str) -> Dialect:
    dialect, refusal = None, None
    if kind != "mysql":
        try:
            dialect = oceanbase.probe(connection, user)
        except PrivilegeMissingError as error:
            refusal = error
    # MySQL, too, refuses a view that does not exist, when the login may see nothing of that database.
    if dialect is None and kind in ("auto", "mysql"):
        dialect = mysql.probe(connection, user)
    if dialect is None:
        raise refusal or DataSourceError(_NOT_THIS_KIND[kind].format(name=name))
    return dialect


# No such database, column, table, function, variable, or no such syntax: of a statement that every MySQL knows.
_NOT_ITS_SQL = (1046, 1049, 1054, 1064, 1109, 1146, 1193, 1235, 1305)

_NO_OCEANBASE = (
    "Data source {name} has no oceanbase.GV$OB_PROCESSLIST and no V$OB_PROCESSLIST: "
    "it is no OceanBase 4 or seekdb, or its login may not see that database."
)
_NOT_THIS_KIND: Mapping[Kind, str] = {
    "auto": _NO_OCEANBASE + " It is no MySQL or MariaDB either.",
    "oceanbase": _NO_OCEANBASE,
    "seekdb": _NO_OCEANBASE,
    "mysql": "Data source {name} is no MySQL or MariaDB that answers. Leave its kind out, or set it to auto.",
}
