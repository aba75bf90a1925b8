"""What triage reads of a server beside its waits: all sessions, limits on connections, deadlocks, absent servers."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from bot.errors import ConnectionLostError, DataSourceError, DataSourceTimeoutError, PrivilegeMissingError
from bot.sessions.address import host_of
from bot.sessions.database import Connection, Row
from bot.sessions.dialect import Dialect, Query
from bot.sessions.model import Session, SessionFilter, Sort
from bot.sessions.waits.graph import place_of
from bot.sessions.waits.reading import Party

MOST = 5_000  # sessions that are looked at
_ACQUAINTED = 40  # of them of which all is read
_UNLIMITED = 2_147_483_647  # OceanBase's max_connections where nobody has set one


@dataclass(frozen=True, slots=True)
class Survey:
    """The sessions of a data source at one moment, ACTIVE and longest first, the bot's own left out."""

    source: str
    sessions: tuple[Session, ...]
    as_of: datetime  # UTC
    caveats: tuple[str, ...] = ()  # sentences on what cannot be seen

    def seen_by(self, tenants: frozenset[str] | None) -> Survey:
        """The same of those tenants alone, None for all."""
        return replace(self, sessions=tuple(one for one in self.sessions if tenants is None or one.tenant in tenants))


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit on connections and how many there are: of the server, or of a user, a tenant or a tenant's server."""

    name: str  # as the server has it, for example max_connections
    used: int
    most: int
    user: str | None = None
    tenant: str | None = None
    host: str | None = None  # of the server, by its address alone

    def counts(self, session: Session) -> bool:
        """Whether a session is one of those that the limit is about."""
        return (
            self.user in (None, session.client.user)
            and self.tenant in (None, session.tenant)
            and (self.host is None or (session.server is not None and host_of(session.server) == self.host))
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits on connections that the login can read; ``lacks`` says which not, each with its grant."""

    limits: tuple[Limit, ...]
    lacks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RecentDeadlocks:
    """Deadlocks of late. ``count`` is None where the server tells the latest one only."""

    count: int | None
    ago: float  # seconds since the latest, by the server's own clock


def sessions_of(dialect: Dialect, scope: Sequence[str] | None) -> Query:
    """Select the sessions in scope, one row for each client, as a list does."""
    return dialect.page(scope, SessionFilter(), Sort(), MOST, 0, spread=dialect.client is not None)


def acquainted(
    sessions: Sequence[Session], parties: Callable[[Collection[Party]], list[Session]]
) -> tuple[Session, ...]:
    """Know of those that do something for long whatever advice goes by, which a list leaves out: it costs too much."""
    late = [one for one in sessions if one.running or one.in_transaction or one.query_ending]
    those = sorted(late, key=lambda one: -one.time)[:_ACQUAINTED]
    wanted = [Party(one.id, one.transaction_id, one.tenant, one.server) for one in those]
    known = {place_of(one): one for one in parties(wanted)} if wanted else {}
    return tuple(known.get(place_of(one), one) for one in sessions)


def limits_of(connection: Connection, dialect: Dialect) -> Limits:
    """Read the limits of the server, of tenants and of users. Raises one of the ``DataSourceError`` family."""
    lacks: list[str] = []
    most, of_each_user = map(int, connection.rows("SELECT @@global.max_connections, @@global.max_user_connections")[0])
    counted = _counted(connection, dialect)
    here = sum(number for (tenant, _, _), number in counted.items() if tenant == dialect.login_tenant)
    users = sorted({name for tenant, _, name in counted if tenant == dialect.login_tenant and name})
    limits = []
    if dialect.has_tenants:
        if most < _UNLIMITED:
            limits.append(Limit("max_connections", here, most, tenant=dialect.login_tenant))
        limits += _of_tenants(connection, dialect, counted, lacks)
    else:
        [(_, connected)] = connection.rows("SHOW GLOBAL STATUS LIKE 'Threads_connected'")
        limits.append(Limit("max_connections", int(connected), most))
    try:
        own = _of_users(connection, users)
    except PrivilegeMissingError:
        lacks.append(
            "Limits of single users are not readable here: GRANT SELECT (user, max_user_connections) ON mysql.user."
        )
        own = {}
    for user in users:
        # What is set for an account goes before what is set for all.
        allowed = own.get(user) or (of_each_user if user in own else 0)
        used = sum(
            number for (tenant, _, name), number in counted.items() if (tenant, name) == (dialect.login_tenant, user)
        )
        if allowed > 0 and used:
            limits.append(Limit("max_user_connections", used, allowed, user=user, tenant=dialect.login_tenant))
    return Limits(tuple(limits), tuple(lacks))


def _counted(connection: Connection, dialect: Dialect) -> dict[tuple[str | None, str, str], int]:
    """Count the connections of each tenant, server and user, the bot's own included."""
    tenant, server, user = (dialect.expressions[name] for name in ("tenant", "server", "user"))
    counted: dict[tuple[str | None, str, str], int] = {}
    rows = connection.rows(f"SELECT {tenant}, {server}, {user}, COUNT(*) FROM {dialect.view} GROUP BY 1, 2, 3")
    for whose, where, name, number in rows:
        key = (whose or None, host_of(where or ""), name or "")
        counted[key] = counted.get(key, 0) + int(number)
    return counted


def _of_users(connection: Connection, users: Collection[str]) -> dict[str, int]:
    """Read the limits of users that have one account only: the server counts each account by itself."""
    if not users:
        return {}
    rows = connection.rows(
        "SELECT user, MAX(max_user_connections) FROM mysql.user WHERE user IN %s GROUP BY user HAVING COUNT(user) = 1",
        (tuple(users),),
    )
    return {_text(user): int(most) for user, most in rows}


_SYSSTAT = ("oceanbase.GV$SYSSTAT", "oceanbase.V$SYSSTAT")
# How many sessions a tenant may have on a server, whether that is set or comes of its memory (docs/oceanbase.md 4.4).
_TENANT_LIMITS = (
    f"SELECT t.tenant_name, s.svr_ip, SUM(s.value) FROM {_SYSSTAT[0]} s JOIN oceanbase.DBA_OB_TENANTS t "
    "ON t.tenant_id = s.con_id WHERE s.name = 'max session num' AND s.value > 0 GROUP BY 1, 2",
    f"SELECT NULL, NULL, SUM(value) FROM {_SYSSTAT[1]} WHERE name = 'max session num' AND value > 0",
)


def _of_tenants(
    connection: Connection, dialect: Dialect, counted: dict[tuple[str | None, str, str], int], lacks: list[str]
) -> list[Limit]:
    denied = False
    for sql in _TENANT_LIMITS if dialect.cluster else _TENANT_LIMITS[1:]:
        try:
            rows = connection.rows(sql)
        except (ConnectionLostError, DataSourceTimeoutError):
            raise
        except PrivilegeMissingError:
            denied = True
            continue
        except DataSourceError:
            continue  # not each version has it: seekdb 1.4 has none
        found = []
        for name, host, most in rows:
            tenant = name or dialect.login_tenant
            used = sum(
                number
                for (whose, where, _), number in counted.items()
                if whose == tenant and (host is None or where == host)
            )
            if most:
                found.append(Limit("sessions of a tenant on a server", used, int(most), tenant=tenant, host=host))
        return found
    if denied:
        lacks.append(f"Limits of tenants are not readable here: GRANT SELECT ON {_SYSSTAT[not dialect.cluster]}.")
    return []


def absent_servers(connection: Connection, dialect: Dialect) -> tuple[tuple[str, str], ...]:
    """Return address and status of the cluster's servers that do not serve; raises ``DataSourceError``."""
    query = dialect.absent_servers()
    if query is None:
        return ()
    return tuple((f"{ip}:{port}", str(status)) for ip, port, status in connection.rows(query.sql, query.values))


_CLOCK = r"(\d{4}-\d\d-\d\d +\d{1,2}:\d\d:\d\d)"
_NOW = re.compile(rf"^{_CLOCK}[^\n]*INNODB MONITOR OUTPUT", re.MULTILINE)
_DEADLOCK = re.compile(rf"^LATEST DETECTED DEADLOCK\n-+\n{_CLOCK}", re.MULTILINE)


def latest_deadlock(connection: Connection) -> RecentDeadlocks | None:
    """Read when InnoDB found its latest deadlock, None where it remembers none.

    Its status has both times by the same clock. Raises one of the ``DataSourceError`` family.
    """
    rows: list[Row] = connection.rows("SHOW ENGINE INNODB STATUS")
    return deadlock_in(_text(rows[0][2])) if rows else None


def deadlock_in(status: str) -> RecentDeadlocks | None:
    """Find it in the text of InnoDB's status: whose lines may hold anything, so that only the first heading counts."""
    now, found = _NOW.search(status), _DEADLOCK.search(status)
    if now is None or found is None:
        return None
    return RecentDeadlocks(None, max(0.0, (_time(now[1]) - _time(found[1])).total_seconds()))


def _time(text: str) -> datetime:
    day, clock = text.split()
    return datetime.strptime(f"{day} {clock}", "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")
