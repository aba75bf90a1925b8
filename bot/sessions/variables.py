"""Variables as ODC shows them: name, value, unit, and what the well-known ones mean.

No server reveals the variables of another session over this protocol (docs/oceanbase.md 7), so these are those of the
bot's own session, or the global ones that new sessions begin with. Each tenant has its own; a login of the sys tenant
can read the global ones of all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from bot.errors import DataSourceError, InputError, NotAllowedError, PrivilegeMissingError
from bot.sessions.database import Connection
from bot.sessions.details import Reach
from bot.sessions.dialect import Dialect, Query
from bot.sessions.oceanbase.details import SYS_VARIABLES
from bot.sessions.probing import OWN_VARIABLES

SHOWN = 40  # variables in one answer

# What ODC pins to the top of its page.
PINNED = (
    "autocommit",
    "connect_timeout",
    "interactive_timeout",
    "last_insert_id",
    "max_allowed_packet",
    "ob_compatibility_mode",
    "ob_max_parallel_degree",
    "ob_query_timeout",
    "ob_read_consistency",
    "ob_route_policy",
    "ob_trx_timeout",
    "tx_isolation",
)

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
    "sql_mode": ("", "how strictly SQL is checked"),
    "time_zone": ("", "time zone in which times are shown"),
    "version": ("", "server version"),
}
# How OceanBase keeps the words of some well-known ones (measured on kernel 4.3.5; tests compare them).
_WORDS = {
    "autocommit": {"0": "OFF", "1": "ON"},
    "read_only": {"0": "OFF", "1": "ON"},
    "ob_compatibility_mode": {"0": "MYSQL", "1": "ORACLE"},
    "ob_read_consistency": {"1": "FROZEN", "2": "WEAK", "3": "STRONG"},
    "ob_route_policy": {
        "1": "READONLY_ZONE_FIRST",
        "2": "ONLY_READONLY_ZONE",
        "3": "UNMERGE_ZONE_FIRST",
        "4": "UNMERGE_FOLLOWER_FIRST",
    },
}

_TENANTS = "oceanbase.DBA_OB_TENANTS"
_NO_SUCH_VIEW_OR_COLUMN = (1146, 1049, 1054)

_SECRET = re.compile(r"password|passwd|secret|token|private_key", re.IGNORECASE)
HIDDEN = "***"


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable; ``unit`` and ``meaning`` are '' where nothing is known of it."""

    name: str
    value: str
    unit: str
    meaning: str
    own: bool = False  # set by the bot for its own session


@dataclass(frozen=True, slots=True)
class Variables:
    """Some of a server's variables; ``matching`` counts all that were asked for."""

    source: str
    everywhere: bool  # the global ones; else those of the bot's own session
    like: str
    variables: tuple[Variable, ...]
    matching: int
    as_of: datetime  # UTC
    tenant: str | None = None  # whose they are; None where the server has no tenants
    instead: bool = False  # global ones, though those of a session were asked for


def whose(
    dialect: Dialect, source: str, scope: Sequence[str] | None, named: str | None, usual: str | None
) -> str | None:
    """Decide whose variables are meant: the ``named`` tenant's, else the ``usual`` one's, else the login's own.

    ``scope`` names the tenants that the asker may see, None is all. None on a server without tenants. Raises
    ``NotAllowedError`` for any tenant outside of it, ``InputError`` where it is open which one is meant.
    """
    if not dialect.has_tenants:
        if named is not None:
            raise InputError(f"{source} has no tenants: leave tenant= out.", spot=named, example="/sessions vars")
        return None
    meant = named or usual
    if meant is None and scope and dialect.login_tenant not in scope:
        if len(scope) > 1:
            raise InputError(
                f"Whose variables? Name one tenant: {', '.join(scope)}.", example=f"/sessions vars tenant={scope[0]}"
            )
        meant = scope[0]
    meant = meant or dialect.login_tenant
    if scope is not None and meant not in scope:
        raise NotAllowedError(f"The variables of tenant {meant} on {source} are not shown to you in this channel.")
    return meant


def read(
    connection: Connection, dialect: Dialect, source: str, like: str, tenant: str | None, *, everywhere: bool
) -> Variables:
    """Read the variables of the bot's own session, or the global ones; of another ``tenant`` there are only these.

    Raises ``InputError`` for a tenant that there is not, or one of the ``DataSourceError`` family.
    """
    other = tenant != dialect.login_tenant
    if tenant is not None and other:
        rows = _of_tenant(connection, dialect, source, like, tenant)
    else:
        asked = _query(like, everywhere=everywhere)
        rows = connection.rows(asked.sql, asked.values)
    now = datetime.now(UTC)
    shown = chosen(rows, like, own=not (everywhere or other))
    return Variables(source, everywhere or other, like, shown, len(rows), now, tenant, instead=other and not everywhere)


def _of_tenant(
    connection: Connection, dialect: Dialect, source: str, like: str, tenant: str
) -> Sequence[Sequence[object]]:
    """Return names and values of a tenant that is not the login's own, in the words of the server."""
    if dialect.sees is not Reach.ALL:
        raise PrivilegeMissingError(
            f"The bot's login on {source} is of tenant {dialect.login_tenant} and cannot read the variables of "
            f"tenant {tenant}. Those of {dialect.login_tenant} are not shown in their place."
        )
    literal = like.replace("|", "||").replace("%", "|%").replace("_", "|_")
    try:
        there = connection.rows(f"SELECT 1 FROM {_TENANTS} WHERE BINARY tenant_name = %s LIMIT 1", (tenant,))
        found = connection.rows(
            f"SELECT t.tenant_name, v.name, v.value FROM {SYS_VARIABLES} v JOIN {_TENANTS} t "
            "ON t.tenant_id = v.tenant_id "
            "WHERE BINARY t.tenant_name IN %s AND v.scope LIKE '%%GLOBAL%%' AND v.name LIKE %s ESCAPE '|'",
            ((tenant, dialect.login_tenant or ""), f"%{literal}%"),
        )
    except PrivilegeMissingError as error:
        raise PrivilegeMissingError(
            f"The bot's login on {source} may not read the variables of other tenants than its own, so those of tenant "
            f"{tenant} are not shown (GRANT SELECT ON {SYS_VARIABLES} and ON {_TENANTS} TO it).",
            errno=error.errno,
        ) from error
    except DataSourceError as error:
        if error.errno not in _NO_SUCH_VIEW_OR_COLUMN:
            raise
        raise InputError(
            f"{source} tells the variables of tenant {dialect.login_tenant} only: those of {tenant} are not shown.",
            spot=tenant,
            example=f"/sessions vars tenant={dialect.login_tenant}",
        ) from error
    if not there:
        raise InputError(
            f"There is no tenant “{tenant}” on {source}.", spot=tenant, example="/sessions stats by=tenant"
        )
    asked = _query(like, everywhere=True)
    said = {str(name): value for name, value, *_ in connection.rows(asked.sql, asked.values)}
    kept = {str(name): value for of, name, value in found if of != tenant}
    return [(name, _in_words(str(name), value, kept, said)) for of, name, value in found if of == tenant]


def _in_words(name: str, value: object, kept: Mapping[str, object], said: Mapping[str, object]) -> object:
    """Write a value as the server does, which keeps words as numbers: 1 for ON, 4194304 for STRICT_ALL_TABLES.

    What the login's own tenant has kept alike reads as ``said`` of that one; others only where the words are known.
    """
    if name in said and kept.get(name) == value:
        return said[name]
    return _WORDS.get(name, {}).get(str(value), value)


def _query(like: str, *, everywhere: bool) -> Query:
    """Ask for the variables whose names contain a text; wildcards in it are literals."""
    literal = re.sub(r"([\\%_])", r"\\\1", like)
    return Query(f"SHOW {'GLOBAL' if everywhere else 'SESSION'} VARIABLES LIKE %s", (f"%{literal}%",))


def chosen(rows: Sequence[Sequence[object]], like: str, *, own: bool = False) -> tuple[Variable, ...]:
    """Pinned ones first, then by name; without ``like`` only those that something is known of.

    ``own`` says that they are those of the bot's own session.
    """
    found = {str(name): _variable(str(name), value, own=own) for name, value, *_ in rows}
    first = [found.pop(name) for name in PINNED if name in found]
    rest = [found[name] for name in sorted(found) if like or name in WELL_KNOWN]
    return tuple([*first, *rest][:SHOWN])


def _variable(name: str, value: object, *, own: bool) -> Variable:
    unit, meaning = WELL_KNOWN.get(name, ("", ""))
    text = "" if value is None else str(value)
    hidden = HIDDEN if text and _SECRET.search(name) else text
    return Variable(name, hidden, unit, meaning, own and name in OWN_VARIABLES)
