"""Which server, or which cluster, is at the other end of a connection: an address may come to lead to another one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from bot.errors import ConnectionLostError, DataSourceError, DataSourceTimeoutError
from bot.sessions.database import Connection

# All servers know SHOW VARIABLES, and let every login read these (seen on OceanBase 4.3.5, seekdb 1.4, MariaDB 10.11
# and 11.8, MySQL 9.6). Of one that has no such variable the row is missing.
_VARIABLES = (
    "SHOW VARIABLES WHERE Variable_name IN "
    "('version', 'server_uuid', 'server_uid', 'server_id', 'hostname', 'port', 'ob_query_timeout')"
)
# One row for each server and parameter; what stands before the parameter's name differs between versions, its type and
# its value follow it. A login of a user tenant may be shown none.
_CLUSTER = "SHOW PARAMETERS LIKE 'cluster%'"


@dataclass(frozen=True, slots=True)
class Server:
    """A server, or a cluster of OceanBase: any of its servers is as good as another."""

    name: str  # for people
    marks: tuple[str, ...]  # what tells it from all others


@dataclass(frozen=True, slots=True)
class Move:
    """That an address has come to lead to another server."""

    before: Server
    now: Server
    noticed: datetime

    def told(self, source: str) -> str:
        """Say it in a sentence."""
        which = f"{self.now.name}; before, it led to {self.before.name}"
        if self.now.name == self.before.name:
            which = f"another server than before, which is called {self.now.name} as well"
        return f"Since {self.noticed:%H:%M} UTC the address of {source} leads to {which}."


def identify(connection: Connection) -> Server | None:
    """Return which server, or cluster, it is; None where nothing tells. Raises a ``DataSourceError``."""
    found = {str(name).lower(): str(value) for name, value in _tried(connection, _VARIABLES)}
    if "ob_query_timeout" not in found:
        name = f"{found.get('hostname', '')}:{found.get('port', '')}"
        # What a server made for itself stays; its server_id may be set at any time.
        own = found.get("server_uuid") or found.get("server_uid") or found.get("server_id", "")
        marks = (own, found.get("hostname", ""), found.get("port", ""))
        return Server(name, marks) if any(marks) else None
    if "seekdb" in found.get("version", ""):  # one server, whose cluster is called like that of all others
        return Server(f"seekdb on port {found.get('port', '')}", (found.get("server_uuid", ""), found.get("port", "")))
    rows = [list(map(str, row)) for row in _tried(connection, _CLUSTER)]
    name, number = (
        next((row[row.index(one) + 2] for row in rows if one in row[:-2]), "") for one in ("cluster", "cluster_id")
    )
    return Server(f"cluster {name} (id {number})", (name, number)) if name or number else None


def _tried(connection: Connection, sql: str) -> list[tuple[object, ...]]:
    """Ask what a server may not know."""
    try:
        return connection.rows(sql)
    except (ConnectionLostError, DataSourceTimeoutError):
        raise
    except DataSourceError:
        return []
