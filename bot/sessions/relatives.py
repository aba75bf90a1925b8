"""Servers that speak MySQL's protocol and are none that the bot is for: what is said of each."""

from __future__ import annotations

import re

from bot.errors import ConnectionLostError, DataSourceError, DataSourceTimeoutError
from bot.sessions.database import Connection

_OWN_WAYS = (
    "its sessions, transactions and KILL are not MySQL's. The bot is for OceanBase, seekdb, MySQL and MariaDB: take "
    "this data source out of the configuration."
)
# By what they call themselves in their greeting, VERSION() or version_comment (docs/oceanbase.md 8.7).
_RELATIVES = {
    "TiDB": "it has no information_schema.INNODB_TRX, so that nobody could be told what a close would roll back. Take "
    "this data source out of the configuration.",
    "ProxySQL": "it answers KILL itself, by ids of its own, and sends other statements to a server of its choice. Give "
    "the bot host and port of the server behind it.",
    "StarRocks": _OWN_WAYS,
    "Doris": _OWN_WAYS,
    "ClickHouse": _OWN_WAYS,
    "Vitess": _OWN_WAYS,
    "SingleStoreDB": _OWN_WAYS,
}
_NAMED = re.compile(rf"(?<![A-Za-z])({'|'.join(_RELATIVES)})(?![A-Za-z])", re.IGNORECASE)
_NAMES = {name.lower(): name for name in _RELATIVES}
_SHOWN = 80  # characters of what a server says of itself


def refuse(connection: Connection, source: str) -> None:
    """Raise a ``DataSourceError`` with a sentence where the server of a data source is one of these."""
    said = said_of_itself(connection)
    found = _NAMED.search(said)
    if found is not None:
        name = _NAMES[found[1].lower()]
        raise DataSourceError(f"Data source {source} is {name}, which is not supported: {_RELATIVES[name]}")


def unlike(connection: Connection, source: str, error: DataSourceError) -> DataSourceError:
    """Say that a server answers as none that the bot knows does: it may be a relative that is not known here."""
    said = said_of_itself(connection)[:_SHOWN]
    return DataSourceError(
        f"Data source {source} calls itself “{said}” and does not answer as OceanBase, MySQL and MariaDB do. Other "
        f"servers that speak MySQL's protocol are not supported. {error}",
        errno=error.errno,
    )


def said_of_itself(connection: Connection) -> str:
    """Return what a server says of itself; a proxy greets by its own name and lets others answer."""
    try:
        version, comment = connection.rows("SELECT VERSION(), @@version_comment")[0]
    except (ConnectionLostError, DataSourceTimeoutError):
        raise
    except (DataSourceError, IndexError, ValueError):
        return connection.greeting  # its SQL is not MySQL's
    return " ".join(dict.fromkeys((connection.greeting, str(version), str(comment))))
