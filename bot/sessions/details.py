"""What is known of a session beyond its row in the process list, and of a login beyond its name."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

from bot.sessions.database import Connection
from bot.sessions.model import Session


class Reach(enum.Enum):
    """Whose sessions a login sees or may close (docs/oceanbase.md 1.4 and 2.3)."""

    ALL = "all"  # a login of the sys tenant
    TENANT = "tenant"  # PROCESS for seeing, SUPER for closing
    OWN = "own"


@dataclass(frozen=True, slots=True)
class TenantNames:
    """The tenants whose sessions a login can see; there may be others, unless these are ``all`` that there are."""

    names: frozenset[str]  # empty where sessions have no tenants
    all: bool = True


_GLOBAL_GRANT = re.compile(r"GRANT (.+) ON \*\.\* TO ", re.IGNORECASE)


def granted(connection: Connection) -> set[str]:
    """Return the privileges on everything that the login has, in upper case, on MySQL those of its roles included."""
    found = (_GLOBAL_GRANT.match(str(row[0])) for row in connection.rows("SHOW GRANTS"))
    return {privilege.strip().upper() for grant in found if grant for privilege in grant[1].split(",")}


def logged_in(connection: Connection) -> str:
    """Return the user that a connection is logged in as, whatever a proxy made of the name it was given."""
    return str(connection.rows("SELECT USER()")[0][0]).rpartition("@")[0]


@dataclass(frozen=True, slots=True)
class LockHolder:
    """Who holds a row lock that a session waits for."""

    id: int | None  # session id; None where the server names the transaction only
    waited: float  # seconds that the lock has been waited for
    transaction_age: float | None  # seconds; None where the server does not say
    session: Session | None  # None: ended in the same moment, internal, or of a tenant that is not shown


@dataclass(frozen=True, slots=True)
class SessionDetails:
    """One session with everything that the server says of it. What it does not say is None or empty."""

    session: Session
    transaction_age: float | None = None  # seconds
    plan_id: int | None = None  # of the running statement, in the plan cache of the session's server
    holders: tuple[LockHolder, ...] = ()  # whom it waits for
    waiters: tuple[int, ...] = ()  # ids of the sessions that wait for its row locks
    caveats: tuple[str, ...] = ()  # sentences on what cannot be seen, or could not be read now
    names_holders: bool = False  # whether it can be said who holds a row lock that it waits for


# Every session of a tenant, None where there are none, that is in one of these transactions.
Find = Callable[[str | None, Collection[int]], list[Session]]
DetailsReader = Callable[[Connection, Session, Find], SessionDetails]
