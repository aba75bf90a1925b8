"""What is known of a session beyond its row in the process list, and of a login beyond its name."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from dataclasses import dataclass

from bot.errors import ConnectionLostError, DataSourceError, DataSourceTimeoutError
from bot.sessions.database import Connection
from bot.sessions.model import Session


class Reach(enum.Enum):
    """Whose sessions a login sees or may close (docs/oceanbase.md 1.4 and 2.3)."""

    ALL = "all"  # a login of the sys tenant
    MOST = "most"  # for closing: all but those of accounts with SYSTEM_USER, which MySQL has since 8.0.16
    TENANT = "tenant"  # PROCESS for seeing, SUPER for closing
    OWN = "own"


CLOSES_ITS_OWN = "This login may close its own sessions only."


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a login sees and may close: ``sees`` and ``closes`` are whose sessions, None where that is not known.

    ``lacks`` are sentences on what it cannot see for want of a grant, ``closing_lacks`` one on closing others'
    sessions, '' where it may; each names the grant.
    """

    sees: Reach | None
    closes: Reach | None
    lacks: tuple[str, ...]
    closing_lacks: str


@dataclass(frozen=True, slots=True)
class TenantNames:
    """The tenants whose sessions a login can see; there may be others, unless these are ``all`` that there are."""

    names: frozenset[str]  # empty where sessions have no tenants
    all: bool = True


@dataclass(frozen=True, slots=True)
class Grants:
    """What a login is granted. Names of accounts, roles and databases may hold any word, also that of a privilege."""

    privileges: frozenset[str]  # on everything, in upper case, those of active roles included
    idle_roles: tuple[str, ...] = ()  # that it has and that are not active, by their names alone

    def hint(self, user: str) -> str:
        """Say what to do where a privilege is missing that a role might have; '' where there is no such role."""
        if not self.idle_roles:
            return ""
        which = ", ".join(self.idle_roles)
        return (
            f" It has roles that are not active ({which}): one that is meant for this becomes so with "
            f"SET DEFAULT ROLE {self.idle_roles[0]} TO {user}, on MariaDB FOR {user}."
        )


_QUOTED = re.compile(r"`(?:[^`]|``)*`|'(?:[^'\\]|''|\\.)*'|\"(?:[^\"\\]|\"\"|\\.)*\"")
_PRIVILEGES = re.compile(r"GRANT (.+?) ON \*\.\* TO ", re.IGNORECASE)
_ROLES = re.compile(r"GRANT (\?(?:@\?)?(?:, ?\?(?:@\?)?)*) TO ", re.IGNORECASE)


def granted(connection: Connection) -> Grants:
    """Return what the login is granted: each grant is read, with every name taken out of it before."""
    privileges: set[str] = set()
    roles: list[str] = []
    for grant in (str(row[0]) for row in connection.rows("SHOW GRANTS")):
        names, text = iter(_QUOTED.findall(grant)), _QUOTED.sub("?", grant)
        if found := _PRIVILEGES.match(text):
            privileges |= {privilege.strip().upper() for privilege in found[1].split(",")}
        elif found := _ROLES.match(text):
            for role in found[1].split(","):
                roles.append(_unquoted(next(names)))
                if "@" in role:
                    next(names)
    active = _active_roles(connection) if roles else frozenset()
    return Grants(frozenset(privileges), tuple(role for role in roles if role not in active))


def _active_roles(connection: Connection) -> frozenset[str]:
    try:
        said = str(connection.rows("SELECT CURRENT_ROLE()")[0][0] or "")
    except (ConnectionLostError, DataSourceTimeoutError):
        raise
    except DataSourceError:
        return frozenset()  # a server that has roles and not this function is not known
    return frozenset({said, *map(_unquoted, _QUOTED.findall(said))})  # MariaDB says a bare name


def _unquoted(name: str) -> str:
    mark = name[0]
    return name[1:-1].replace(mark * 2, mark)


def logged_in(connection: Connection) -> str:
    """Return the user that a connection is logged in as, whatever a proxy made of the name it was given."""
    return str(connection.rows("SELECT USER()")[0][0]).rpartition("@")[0]


@dataclass(frozen=True, slots=True)
class SessionDetails:
    """What the server says of one session beyond its row, but for its waits. What it does not say is None or empty."""

    session: Session
    transaction_age: float | None = None  # seconds
    plan_id: int | None = None  # of the running statement, in the plan cache of the session's server
    caveats: tuple[str, ...] = ()  # sentences on what cannot be seen, or could not be read now


DetailsReader = Callable[[Connection, Session], SessionDetails]
