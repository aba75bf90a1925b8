"""The kinds of servers: what is run on a new connection to one, and how one is recognised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from bot.errors import DataSourceError, PrivilegeMissingError
from bot.sessions.database import Connection
from bot.sessions.dialect import Dialect
from bot.sessions.mysql import dialect as mysql
from bot.sessions.oceanbase import dialect as oceanbase

Kind = Literal["auto", "oceanbase", "seekdb", "mysql"]  # "mysql" is MariaDB as well

# Where the kind is not known, what a server does not know is passed over.
PREPARE: Mapping[Kind, Sequence[str]] = {
    "auto": tuple(dict.fromkeys((*oceanbase.PREPARE, *mysql.PREPARE))),
    "oceanbase": oceanbase.PREPARE,
    "seekdb": oceanbase.PREPARE,
    "mysql": mysql.PREPARE,
}


def probe(kind: Kind, connection: Connection, name: str, user: str) -> Dialect:
    """Find out what the server of data source ``name`` offers to ``user``.

    Raises one of the ``DataSourceError`` family, also for a server of another kind.
    """
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
