"""Reading the waits of a server: its locks, then the sessions that they name, put together here.

Joined by the server itself the two take four times as long (docs/oceanbase.md 5).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from bot.sessions.database import Connection
from bot.sessions.model import Session, WaitKind
from bot.sessions.waits.graph import Prepared, Wait, WaitGraph, without_queues


@dataclass(frozen=True, slots=True)
class Party:
    """One end of a wait as a server names it: by its session, its transaction, or both."""

    session_id: int | None = None
    transaction_id: int | None = None
    tenant: str | None = None  # None where there are none, or the view does not tell
    server: str | None = None  # ip:port as sessions have it; None where the view does not tell


@dataclass(frozen=True, slots=True)
class Edge:
    """A wait as a server tells it; the fields are those of ``Wait``."""

    waiter: Party
    holder: Party | Prepared | None
    kind: WaitKind
    told_by: str
    waited: float | None = None  # seconds
    what: str | None = None
    lock: str | None = None
    candidate: bool = False


@dataclass(frozen=True, slots=True)
class Locks:
    """What a dialect read of the locks of a server."""

    edges: tuple[Edge, ...] = ()
    lacks: tuple[str, ...] = ()  # sentences on what the login may not read, each with its grant


# Reads the locks on a connection; raises one of the ``DataSourceError`` family.
LocksReader = Callable[[Connection], Locks]
# Selects the sessions that parties name, the bot's own and those of every tenant included.
SessionsOf = Callable[[Sequence[Party]], list[Session]]


def read(connection: Connection, source: str, locks_of: LocksReader, sessions_of: SessionsOf) -> WaitGraph:
    """Read the waits and who is in them; a wait that no longer fits is dropped and counted.

    Raises one of the ``DataSourceError`` family.
    """
    locks = locks_of(connection)
    parties = [party for edge in locks.edges for party in (edge.waiter, edge.holder) if isinstance(party, Party)]
    sessions = sessions_of(parties) if parties else []
    waits, dropped = [], 0
    for edge in locks.edges:
        waiter = session_of(edge.waiter, sessions)
        holder = session_of(edge.holder, sessions) if isinstance(edge.holder, Party) else edge.holder
        if waiter is None or waiter.idle or (edge.holder is not None and holder is None) or waiter is holder:
            dropped += 1
            continue
        waits.append(Wait(waiter, holder, edge.kind, edge.told_by, edge.waited, edge.what, edge.lock, edge.candidate))
    return WaitGraph(source, datetime.now(UTC), tuple(without_queues(waits)), dropped, locks.lacks)


def session_of(party: Party, sessions: Iterable[Session]) -> Session | None:
    """Return the session that a party is: by its transaction where it has one, since ids may be of other servers."""
    fitting = [one for one in sessions if _fits(party, one)]
    return min(fitting, key=lambda one: (one.id != party.session_id, bool(one.master_session_id)), default=None)


def _fits(party: Party, session: Session) -> bool:
    if party.tenant is not None and session.tenant != party.tenant:
        return False
    if party.transaction_id is not None and session.transaction_id is not None:
        return session.transaction_id == party.transaction_id
    here = party.server is None or session.server == party.server
    return party.session_id is not None and session.id == party.session_id and here
