"""Where a data source is and how to log in to it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pydantic import SecretStr

from bot.sessions.address import to_connect
from bot.sessions.tls import PREFERRED, Tls

# Seconds. The server is asked to give up first, so that its own message arrives; reading gives up
# for servers that hang. Together they stay well inside the half hour that an answer may take.
CONNECT_TIMEOUT = 3
STATEMENT_TIMEOUT = 5
READ_TIMEOUT = 6
WAY_BACK = 0.5  # by how much the bot waits longer than a server that is asked to give up earlier
# The session variables that bound a statement, in units per second; each server knows one of them, OceanBase two.
STATEMENT_LIMITS = {
    "ob_query_timeout": 1_000_000,  # OceanBase
    "max_statement_time": 1,  # MariaDB
    "max_execution_time": 1_000,  # MySQL: reading only
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a data source is and how to log in."""

    name: str
    host: str
    port: int
    user: str
    password: SecretStr
    tls: Tls = PREFERRED

    def at(self, server: str | None, user: str) -> Endpoint | None:
        """The same login, as safe, on one server of the cluster, ``ip:port`` or ``[ip]:port``, past any proxy.

        None for what is no such address, and for this endpoint itself. ``user`` is its name as servers take it: a
        proxy takes others, which a server refuses (docs/oceanbase.md 4.2).

        >>> proxy = Endpoint("prod", "10.0.0.1", 2883, "main:sys:bot", SecretStr("…"))
        >>> past = proxy.at("10.0.0.2:2881", "bot@sys")
        >>> past.host, past.port, past.user
        ('10.0.0.2', 2881, 'bot@sys')
        """
        there = to_connect(server or "")
        if there is None or there == (self.host, self.port):
            return None
        return replace(self, host=there[0], port=there[1], user=user)
