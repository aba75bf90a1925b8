"""Variables as ODC shows them: name, value, unit, and what the well-known ones mean.

No server reveals the variables of another session over this protocol (OCEANBASE.md 7), so these are those of the
bot's own session, or the global ones that new sessions begin with.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from bot.sessions.dialect import Statement

SHOWN = 40  # variables in one answer

# What ODC pins to the top of its page.
PINNED = (
    "autocommit", "connect_timeout", "interactive_timeout", "last_insert_id", "max_allowed_packet",
    "ob_compatibility_mode", "ob_max_parallel_degree", "ob_query_timeout", "ob_read_consistency", "ob_route_policy",
    "ob_trx_timeout", "tx_isolation",
)  # fmt: skip

# Name: unit of the value, meaning. Units as OceanBase's and MariaDB's manuals give them.
WELL_KNOWN: dict[str, tuple[str, str]] = {
    "autocommit": ("", "whether each statement is a transaction of its own"),
    "connect_timeout": ("s", "how long a login may take"),
    "interactive_timeout": ("s", "when an idle interactive session is disconnected"),
    "last_insert_id": ("", "the last value that AUTO_INCREMENT gave this session"),
    "max_allowed_packet": ("bytes", "the longest statement or row that can be sent"),
    "ob_compatibility_mode": ("", "whether the tenant speaks MySQL or Oracle"),
    "ob_max_parallel_degree": ("", "how many workers one parallel query may have"),
    "ob_query_timeout": ("µs", "when a running query is ended"),
    "ob_read_consistency": ("", "whether reads go to the leader (strong) or to any replica (weak)"),
    "ob_route_policy": ("", "which replicas a weak read goes to"),
    "ob_trx_timeout": ("µs", "when an open transaction is rolled back, counted from its start"),
    "ob_trx_idle_timeout": ("µs", "when an idle open transaction is rolled back and its session disconnected"),
    "ob_pl_block_timeout": ("µs", "when a running procedure is ended"),
    "ob_trx_lock_timeout": ("µs", "how long a statement waits for a row lock; -1 is until its query timeout"),
    "tx_isolation": ("", "what a transaction sees of others"),
    "transaction_isolation": ("", "what a transaction sees of others"),
    "wait_timeout": ("s", "when an idle session is disconnected"),
    "net_read_timeout": ("s", "how long the server waits for more of a statement"),
    "net_write_timeout": ("s", "how long the server waits for the client to take a result"),
    "lock_wait_timeout": ("s", "how long a statement waits for a table's metadata"),
    "innodb_lock_wait_timeout": ("s", "how long a statement waits for a row lock"),
    "max_statement_time": ("s", "when a running query is ended; 0 is never"),
    "max_execution_time": ("ms", "when a running SELECT is ended; 0 is never"),
    "max_connections": ("", "how many sessions the server takes"),
    "max_user_connections": ("", "how many sessions one user may have; 0 is no limit"),
    "read_only": ("", "whether the server refuses changes"),
    "sql_mode": ("", "how strictly SQL is taken"),
    "time_zone": ("", "in which times are shown"),
    "version": ("", "of the server"),
}
_SECRET = re.compile(r"password|passwd|secret|token|private_key", re.IGNORECASE)
HIDDEN = "***"


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable; ``unit`` and ``meaning`` are '' where nothing is known of it."""

    name: str
    value: str
    unit: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Variables:
    """Some of a server's variables; ``matching`` counts all that were asked for."""

    source: str
    everywhere: bool  # the global ones; else those of the bot's own session
    like: str
    variables: tuple[Variable, ...]
    matching: int
    as_of: datetime  # UTC


def statement(like: str, *, everywhere: bool) -> Statement:
    """Ask for the variables whose names contain a text; wildcards in it are literals."""
    literal = re.sub(r"([\\%_])", r"\\\1", like)
    return Statement(f"SHOW {'GLOBAL' if everywhere else 'SESSION'} VARIABLES LIKE %s", (f"%{literal}%",))


def chosen(rows: Sequence[Sequence[object]], like: str) -> tuple[Variable, ...]:
    """Pinned ones first, then by name; without ``like`` only those that something is known of."""
    found = {str(name): _variable(str(name), value) for name, value, *_ in rows}
    first = [found.pop(name) for name in PINNED if name in found]
    rest = [found[name] for name in sorted(found) if like or name in WELL_KNOWN]
    return tuple([*first, *rest][:SHOWN])


def _variable(name: str, value: object) -> Variable:
    unit, meaning = WELL_KNOWN.get(name, ("", ""))
    text = "" if value is None else str(value)
    return Variable(name, HIDDEN if text and _SECRET.search(name) else text, unit, meaning)
