"""MySQL 8, which no machine of ours has: rows as its manual shows them, read by a real MariaDB."""

from __future__ import annotations

import pytest

from bot.demo.mariadb import EmbeddedMariaDB
from bot.sessions.mysql import _expressions

# The columns of MySQL 8.0's process list, filled as its manual says; evaluated by the real MariaDB.
MYSQL_8 = frozenset({"ID", "USER", "HOST", "DB", "COMMAND", "TIME", "STATE", "INFO", "EXECUTION_ENGINE"})
ROW = "SELECT 5 AS ID, %s AS USER, %s AS HOST, NULL AS DB, %s AS COMMAND, 7 AS TIME, '' AS STATE, %s AS INFO"


@pytest.mark.parametrize(
    ("user", "host", "command", "info", "peer", "state"),
    [
        ("app", "10.0.3.7:50112", "Query", "SELECT 1", "10.0.3.7:50112", "ACTIVE"),
        ("app", "10.0.3.7:50112", "Execute", "SELECT 1", "10.0.3.7:50112", "ACTIVE"),
        ("app", "db-client.example:50112", "Sleep", None, "db-client.example:50112", "SLEEP"),
        ("app", "localhost", "Sleep", None, "localhost", "SLEEP"),
        ("app", "::1:50112", "Killed", "SELECT 1", "[::1]:50112", "KILLED"),
        ("app", "fd00::7:50112", "Sleep", None, "[fd00::7]:50112", "SLEEP"),
        ("app", "[fd00::7]:50112", "Sleep", None, "[fd00::7]:50112", "SLEEP"),
        ("repl", "10.0.3.8:4000", "Binlog Dump GTID", None, "10.0.3.8:4000", "BACKGROUND"),
        ("event_scheduler", "localhost", "Daemon", None, "localhost", "BACKGROUND"),
        ("system user", "", "Query", None, "", "BACKGROUND"),
        ("system user", None, "Connect", None, None, "BACKGROUND"),
        (None, None, "Connect", None, None, "ACTIVE"),
    ],
)
def test_addresses_and_states_of_mysql_8_are_understood(
    mariadb: EmbeddedMariaDB, user: str | None, host: str | None, command: str, info: str | None,
    peer: str | None, state: str,
) -> None:  # fmt: skip
    columns = _expressions(MYSQL_8, transactions=False)
    names = ("peer", "origin", "state", "time", "trace_id", "memory", "transaction_id", "tenant")
    texts = ", ".join(columns[name] for name in names)
    with mariadb.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT {texts}, NOT ({columns['own']}) FROM ({ROW}) t", ("bot", user, host, command, info))
        assert cursor.fetchone() == (peer, peer, state, 7, None, None, None, None, 1)
