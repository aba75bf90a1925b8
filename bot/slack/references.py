"""What buttons and menus carry: a reference to a session, never its place in a list."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from bot.errors import InputError
from bot.sessions.model import Session
from bot.slack.events import Press

PICK = "sessions.pick"  # the menu under a list

_SEPARATOR = "|"  # stands in no name of a data source and in no address


@dataclass(frozen=True, slots=True)
class SessionReference:
    """One session as it was listed; ``check`` tells when its id has gone to another one since."""

    source: str
    server: str | None
    id: int
    check: str

    @classmethod
    def of(cls, session: Session) -> SessionReference:
        """Refer to a listed session."""
        return cls(session.source, session.server, session.id, _check(session))

    @classmethod
    def read(cls, text: str) -> SessionReference:
        """Read ``str(reference)`` back; raises ``InputError`` for anything else."""
        parts = text.split(_SEPARATOR)
        if len(parts) != 4 or not re.fullmatch(r"\d{1,10}", parts[2], re.ASCII) or not 1 < int(parts[2]) < 2**32:
            raise InputError("That choice cannot be read. Press Refresh and choose again.")
        return cls(parts[0], parts[1] or None, int(parts[2]), parts[3])

    def __str__(self) -> str:
        return _SEPARATOR.join((self.source, self.server or "", str(self.id), self.check))

    def matches(self, session: Session) -> bool:
        """Whether this is still the session that was listed."""
        if self.id != session.id or (self.server != session.server and self.server not in session.servers):
            return False
        whole, port, routine = _check(session).split(".")
        listed, listed_port, in_routine = (*self.check.split("."), "", "")[:3]
        # While a routine runs, MariaDB shows its definer instead of who logged in: the port names the connection.
        return whole == listed or bool(port == listed_port and (routine or in_routine) and session.peer_port)


def picked(press: Press) -> SessionReference:
    """Return the one session picked in the menu; raises ``InputError`` when there is none, or more."""
    chosen = all_picked(press)
    if len(chosen) > 1:
        raise InputError(f"{len(chosen)} sessions are picked, and this shows one. Pick one, then press the button.")
    return chosen[0]


def all_picked(press: Press) -> list[SessionReference]:
    """Return the sessions picked in the menu, else the button's own, all of one data source.

    Raises ``InputError`` when there is none.
    """
    values = press.chosen.get(PICK) or ((press.value,) if _SEPARATOR in press.value else ())
    chosen = [SessionReference.read(value) for value in values]
    if not chosen:
        raise InputError("Pick a session in the menu first, then press the button.")
    if len({one.source for one in chosen}) > 1:
        raise InputError("That choice cannot be read. Press Refresh and choose again.")
    return chosen


def _check(session: Session) -> str:
    """Sum up who it is: whole, by its client's port alone, and whether a routine hides who that is."""
    # Each server that a proxy's client has touched sees another connection of the proxy.
    peer = session.origin if session.client_session else session.peer
    parts = (session.tenant, session.user, peer, session.proxy_session_id), (session.tenant, session.peer_port)
    whole, port = (hashlib.sha256(repr(part).encode()).hexdigest()[:12] for part in parts)
    return f"{whole}.{port}.{'r' if session.definer else ''}"
