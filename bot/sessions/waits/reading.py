"""Reading the waits of a server: its locks, then the sessions that they name, put together here.

Joined by the server itself the two take four times as long (docs/oceanbase.md 5).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from bot.sessions.database import Connection
from bot.sessions.frozen import complete
from bot.sessions.model import LastStatement, Session, Transaction, WaitKind
from bot.sessions.waits.graph import Prepared, Wait, WaitGraph, ends_of, place_of, without_queues


class Party(NamedTuple):
    """One end of a wait as a server names it: by its session, its transaction, or both.

    A tuple, since the sessions are looked up by it: ten times for each of hundreds of waits.
    """

    session_id: int | None = None
    transaction_id: int | None = None
    tenant: str | None = None  # None where there are none, or the view does not tell
    server: str | None = None  # ip:port as sessions have it; None where the view does not tell


class Edge(NamedTuple):
    """A wait as a server tells it; the fields are those of ``Wait``."""

    waiter: Party
    holder: Party | Prepared | None
    kind: WaitKind
    told_by: str
    waited: float | None = None  # seconds
    what: str | None = None
    lock: str | None = None
    candidate: bool = False
    outlives: bool = False


class Known(NamedTuple):
    """What a server tells of an end of waits that its list of sessions does not have."""

    party: Party
    transaction: Transaction | None = None  # its age and what it has changed
    last_statement: LastStatement | None = None


@dataclass(frozen=True, slots=True)
class Locks:
    """What a dialect read of the locks of a server."""

    edges: tuple[Edge, ...] = ()
    lacks: tuple[str, ...] = ()  # sentences on what the login may not read, each with its grant
    # Worked out while the sessions are read, where it has not been yet.
    known: Callable[[], Iterable[Known]] = tuple


# Reads the locks on a connection; raises one of the ``DataSourceError`` family.
LocksReader = Callable[[Connection], Locks]
# Selects the sessions that parties name, the bot's own and those of every tenant included; they are made for this read.
SessionsOf = Callable[[Sequence[Party]], list[Session]]


def read(
    connection: Connection, source: str, locks_of: LocksReader, sessions_of: SessionsOf, *, unlisted: bool = False
) -> WaitGraph:
    """Read the waits and who is in them; a wait that no longer fits is dropped and counted.

    ``unlisted`` says that who holds a lock may be in no list, having been closed by a number that a proxy made
    (docs/oceanbase.md 4.1): the locks are read once more then, since elsewhere such a one has just ended. Raises one of
    the ``DataSourceError`` family.
    """
    locks = locks_of(connection)
    parties = [party for edge in locks.edges for party in (edge.waiter, edge.holder) if isinstance(party, Party)]
    ends = Ends(sessions_of(parties) if parties else [])
    ends.learn(locks.known())
    waits, lost, dropped = [], [], 0
    for edge in locks.edges:
        asks, holds, kind, told_by, waited, what, lock, candidate, outlives = edge
        waiter = ends.session_of(asks)
        holder = ends.session_of(holds) if isinstance(holds, Party) else holds
        if waiter is None or waiter.idle or waiter is holder:
            dropped += 1
            continue
        wait = Wait(waiter, holder, kind, told_by, waited, what, lock, candidate, outlives)
        if holds is not None and holder is None:
            lost.append((edge, wait))
        else:
            waits.append(wait)
    still = {_names(edge) for edge in locks_of(connection).edges} if lost and unlisted else set()
    unnamed = [wait for edge, wait in lost if _names(edge) in still and not edge.candidate]
    dropped += len(lost) - len(unnamed)
    return WaitGraph(
        source, datetime.now(UTC), tuple(without_queues([*waits, *unnamed], ends_of)), dropped, locks.lacks
    )


def _names(edge: Edge) -> tuple[object, ...]:
    return edge.waiter, edge.holder, edge.lock


class Ends:
    """Sessions by what names them, so that each end of a wait is looked for among a few."""

    def __init__(self, sessions: Iterable[Session]) -> None:
        self._of_id: dict[int, list[Session]] = {}
        self._of_transaction: dict[int, list[Session]] = {}
        for one in sessions:
            self._of_id.setdefault(one.id, []).append(one)
            if one.transaction_id is not None:
                self._of_transaction.setdefault(one.transaction_id, []).append(one)
        self._found: dict[Party, Session | None] = {}  # a party is an end of many waits

    def learn(self, known: Iterable[Known]) -> None:
        """Complete these sessions, which nobody else has yet, with what is known of them beside the list.

        What the list tells stands. Of a session that is not there nothing is learnt.
        """
        for one in known:
            session = self.session_of(one.party)
            if session is None:
                continue
            transaction = session.transaction
            if transaction is not None and one.transaction is not None:
                complete(session, transaction=transaction.completed(one.transaction))
            if one.last_statement is not None:
                complete(session, last_statement=one.last_statement)

    def session_of(self, party: Party) -> Session | None:
        """Return the session that a party is."""
        try:
            return self._found[party]
        except KeyError:
            found = self._found[party] = self._look_for(party)
            return found

    def _look_for(self, party: Party) -> Session | None:
        of_id = self._of_id.get(party.session_id, []) if party.session_id is not None else []
        of_number = self._of_transaction.get(party.transaction_id, []) if party.transaction_id is not None else []
        same = len(of_id) == len(of_number) == 1 and of_id[0] is of_number[0]
        return session_of(party, of_id if same else [*of_number, *of_id])


def session_of(party: Party, sessions: Iterable[Session]) -> Session | None:
    """Return the session that a party is: by its transaction where it has one, since ids may be of other servers.

    None where there is none, and where a bare id could be one of several.
    """
    found = [one for one in sessions if _fits(party, one)]
    if len(found) == 1:
        return found[0]
    fitting = {place_of(one): one for one in found}
    if party.transaction_id is None and len(fitting) > 1:
        return None
    order = sorted(fitting.values(), key=lambda one: (one.id != party.session_id, bool(one.master_session_id)))
    return order[0] if order else None


def _fits(party: Party, session: Session) -> bool:
    number, wanted, tenant, server = party
    if tenant is not None and session.tenant != tenant:
        return False
    if wanted is not None:
        transaction = session.transaction
        if transaction is not None and transaction.id is not None:
            return transaction.id == wanted
        if transaction is None and session.transaction_known:
            return False  # it has ended meanwhile
    return number is not None and session.id == number and (server is None or session.server == server)
