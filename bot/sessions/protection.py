"""Which sessions are protected from being closed, and why: by user, module, source or tenant; and which are threads."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass

from bot.sessions.address import ip_of
from bot.sessions.dialect import PROTECTED_COMMANDS, Dialect, command_key
from bot.sessions.model import Session

# Tools of the cluster itself tag what they do (docs/oceanbase.md 4.5). ODC does, too, but what runs there
# are people's own statements, which are closed like any other.
PROTECTED_MODULES = frozenset({"obshell", "obagent", "ocp"})
_META_TENANT = "META$"  # META$1002 holds the metadata of tenant 1002

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Protected:
    """What the configuration of a data source adds to the lists of its dialect."""

    users: frozenset[str] = frozenset()
    modules: frozenset[str] = frozenset()  # as clients set them with dbms_application_info; case does not matter
    sources: tuple[Network, ...] = ()

    def reasons(self, session: Session, dialect: Dialect | None, source: str) -> tuple[str, ...]:
        """Say all that protects a session, each as in "belongs to ocp, a protected user of prod"."""
        found = []
        if session.client.definer is not None:
            found += self._by_definer(session.client.definer, dialect, source)
        elif session.client.user in self.users | (dialect.protected_users if dialect else frozenset()):
            found.append(f"belongs to {session.client.user}, a protected user of {source}")
        if (session.tenant or "").startswith(_META_TENANT):
            found.append(f"is of tenant {session.tenant}, which holds the cluster's metadata, on {source}")
        found += [
            f"is tagged {tag}, a protected module of {source}"
            for tag in dict.fromkeys((session.client.module, session.client.info))
            if tag and _among(tag, self.modules | PROTECTED_MODULES)
        ]
        return (*found, *(self._by_source(session, source) if session.client.definer is None else ()))

    def _by_definer(self, definer: str, dialect: Dialect | None, source: str) -> list[str]:
        """Say why a session counts as protected of which only the definer of what it runs is known.

        Whoever logged in may be one of those configured, by user or source. Of the kind of server's own list only
        the definer himself is looked for: else nothing that runs a routine could be closed anywhere.
        """
        if self.users or self.sources or definer in (dialect.protected_users if dialect else ()):
            return [f"is in a routine of {definer}; who logged in is not known, and some are protected on {source}"]
        return []

    def _by_source(self, session: Session, source: str) -> list[str]:
        addresses = dict.fromkeys(map(ip_of, (session.client.origin, session.client.peer)))
        return [
            f"comes from {address}, a protected source of {source}"
            for address in addresses
            if address is not None and any(address in network for network in self.sources)
        ]


def is_thread(session: Session, dialect: Dialect | None) -> bool:
    """Whether no client's statements run in it: it is the server's own or replicates to another server."""
    of_thread = dialect is not None and session.client.user in dialect.thread_users
    return of_thread or command_key(session.command) in PROTECTED_COMMANDS


def _among(tag: str, names: Collection[str]) -> bool:
    return tag.casefold() in {name.casefold() for name in names}
