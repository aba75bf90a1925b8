"""All waits of a data source at one moment: who holds up whom, and who is at the head.

Servers tell a wait in different ways (``bot/sessions/oceanbase/waits.py``, ``bot/sessions/mysql/waits.py``); from here
on it is the same whatever the server.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import NamedTuple, TypeVar

from bot.sessions.frozen import quickly_made
from bot.sessions.model import Session, Transaction, WaitKind

_W = TypeVar("_W")

# What a session keeps whatever becomes of its statement and its transaction.
OF_SESSION = (WaitKind.GLOBAL_READ_LOCK, WaitKind.BACKUP_LOCK, WaitKind.TABLE_LOCK, WaitKind.USER_LOCK)

Place = tuple[str | None, int, str | None]  # server, id, tenant: what names a session within its data source


def place_of(session: Session) -> Place:
    """Name a session within its data source; a client behind a proxy by its number there, whatever its server."""
    behind_proxy = session.client.proxy_session_id and session.client_session
    return (None if behind_proxy else session.server, session.id, session.tenant)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A transaction that XA has prepared and that no session has: only XA COMMIT or XA ROLLBACK ends it."""

    transaction: Transaction
    tenant: str | None = None
    xid: str | None = None  # as XA RECOVER lists it, where the login may read that


@quickly_made
@dataclass(frozen=True, slots=True)
class Wait:
    """One session that waits, and one that holds what it waits for.

    ``holder`` is None where the server names nobody. A ``candidate`` may hold it, which no view says.
    """

    waiter: Session
    holder: Session | Prepared | None
    kind: WaitKind
    told_by: str  # the view or the column that tells it, as people can look it up
    waited: float | None = None  # seconds, None where the server does not say
    what: str | None = None  # shown: the table, as database.table; a user lock's name is a literal, so masked
    lock: str | None = None  # never shown: names the very lock, so that a queue for it can be told from a chain
    candidate: bool = False
    # The server keeps the lock when its holder is gone: closing that frees nobody. Without holder: it is gone.
    outlives: bool = False


@dataclass(frozen=True, slots=True)
class Head:
    """A session, or a prepared transaction, that others wait for and that waits for nobody."""

    holder: Session | Prepared
    waits: tuple[Wait, ...]  # of those that wait for it directly
    held_up: int  # sessions that wait for it, directly and through others
    longest: float | None  # seconds of the longest wait of these
    candidate: bool  # whether it is only a candidate for all of them


@quickly_made
@dataclass(frozen=True, slots=True)
class Link:
    """One line of a chain: a session under the one that it waits for. ``depth`` 0 is a head."""

    depth: int
    who: Session | Prepared | None  # None: a holder that the server does not name
    wait: Wait | None  # None for a head
    cycle: bool = False  # it stands further up already: here the chain comes back to itself


class _Edge(NamedTuple):
    """A wait with what names its ends, worked out once: whoever walks the waits compares that at every step."""

    waiter: object
    holder: object  # None where the server names nobody
    wait: Wait


@dataclass(frozen=True)
class WaitGraph:
    """What one look showed; a snapshot of a server is not atomic, so what no longer fits is ``dropped``."""

    source: str
    as_of: datetime  # UTC
    waits: tuple[Wait, ...] = ()
    dropped: int = 0  # waits whose waiter or holder was gone, or waited for something else, a moment later
    lacks: tuple[str, ...] = ()  # sentences on what the login may not read here, each with its grant

    @cached_property
    def heads(self) -> tuple[Head, ...]:
        """Most harmful first: those that hold up the most, then the longest wait; candidates after those named."""
        found: dict[object, Session | Prepared] = {}
        for one in self._edges:
            if one.wait.holder is not None and one.holder not in self._holders:
                found.setdefault(one.holder, one.wait.holder)
        heads = [self._head(key, holder) for key, holder in found.items()]
        return tuple(sorted(heads, key=lambda one: (one.candidate, -one.held_up, -(one.longest or 0.0))))

    def holders(self, session: Session) -> tuple[Wait, ...]:
        """The waits of a session itself: whom it waits for, and for what."""
        return tuple(one.wait for one in self._holders.get(_key(session), ()))

    def waiters(self, holder: Session | Prepared) -> tuple[Wait, ...]:
        """The waits for what a session or a prepared transaction holds, direct ones alone."""
        return tuple(one.wait for one in self._waiters.get(_key(holder), ()))

    def held_up(self, holder: Session | Prepared) -> tuple[Session, ...]:
        """All sessions that wait for it, directly and through others, each once; never itself.

        Of what is known to hold up some, those for whom it is one of several candidates are left out.
        """
        return tuple(self._held_up(_key(holder)).values())

    def _held_up(self, holder: object) -> Mapping[object, Session]:
        """The same by what names them."""
        if holder in self._held_up_by:
            return self._held_up_by[holder]
        seen: dict[object, Session] = {}
        todo = [holder]
        certain = any(not one.wait.candidate for one in self._waiters.get(holder, ()))
        while todo:
            above = todo.pop()
            for one in self._waiters.get(above, ()):
                if certain and one.wait.candidate and above == holder and len(self._holders[one.waiter]) > 1:
                    continue
                if one.waiter not in seen and one.waiter != holder:
                    seen[one.waiter] = one.wait.waiter
                    todo.append(one.waiter)
        self._held_up_by[holder] = seen
        return seen

    def heads_of(self, session: Session, *, certain: bool = False) -> tuple[Session | Prepared, ...]:
        """Who is at the head of what a session waits for; empty where it waits for nobody, or in a circle.

        ``certain`` leaves out those to whom no way leads but by a candidate.
        """
        first = _key(session)
        seen, found = {first}, dict[object, Session | Prepared]()
        todo = [*self._holders.get(first, ())]
        while todo:
            one = todo.pop(0)  # in their order: of candidates the least guessed come first
            if one.wait.holder is None or one.holder in seen or (certain and one.wait.candidate):
                continue
            seen.add(one.holder)
            further = self._holders.get(one.holder, ())
            if further:
                todo += further
            else:
                found[one.holder] = one.wait.holder
        return tuple(found.values())

    def frees(self, holder: Session | Prepared) -> tuple[Session, ...]:
        """Those of whom it holds up that wait for nobody else then; one whose holder is not named waits on.

        So does one that waits for what outlives its holder, and one that waits for what a session keeps that goes on.
        """
        first = _key(holder)
        held_up = self._held_up(first)
        free: set[object] = {first}

        def lets_go(its: _Edge) -> bool:
            keeps = its.wait.outlives or (its.wait.kind in OF_SESSION and its.holder != first)
            return its.holder is not None and its.holder in free and not keeps

        left, before = list(held_up), -1
        while left and len(left) != before:
            before = len(left)
            free.update(one for one in left if all(map(lets_go, self._holders[one])))
            left = [one for one in left if one not in free]
        return tuple(session for one, session in held_up.items() if one in free)

    def circle(self, session: Session) -> tuple[Session, ...]:
        """The circle of waits that a session is in, itself first; empty where it is in none."""
        first = _key(session)
        path: list[tuple[object, tuple[Session, ...]]] = [(first, (session,))]
        seen = {first}
        while path:
            last, way = path.pop()
            for one in self._holders.get(last, ()):
                if not isinstance(one.wait.holder, Session):
                    continue
                if one.holder == first:
                    return way
                if one.holder not in seen:
                    seen.add(one.holder)
                    path.append((one.holder, (*way, one.wait.holder)))
        return ()

    def circle_ahead(self, session: Session) -> tuple[Session, ...]:
        """The circle at the end of what a session waits for, the youngest transaction first; empty where there is none.

        One that the session is in itself is ``circle``.
        """
        todo = [_key(session)]
        seen = set(todo)
        while todo:
            for one in self._holders.get(todo.pop(0), ()):
                if isinstance(one.wait.holder, Session) and one.holder not in seen:
                    seen.add(one.holder)
                    todo.append(one.holder)
                    if found := self.circle(one.wait.holder):
                        return tuple(sorted(found, key=age_of))
        return ()

    def known(self, session: Session) -> Session:
        """The same session with what was read beside the waits, where it is in them: it may have been seen later."""
        told = self._sessions.get(_key(session), session)
        one, other = session.transaction, told.transaction
        if told is session:
            return session
        if one is None or other is None or one.id != other.id:
            return replace(session, last_statement=session.last_statement or told.last_statement)
        started = other.started if one.started is None else one.started
        last = session.last_statement or told.last_statement
        return replace(session, last_statement=last, transaction=replace(one.completed(other), started=started))

    def chains(self) -> Iterator[Link]:
        """All waits as lines, each waiter once, under the first that it waits for; then circles, then unnamed ones."""
        return iter(self._lines)

    @cached_property
    def _lines(self) -> tuple[Link, ...]:
        return tuple(self._all_chains())

    def _all_chains(self) -> Iterator[Link]:
        shown: set[object] = set()
        for head in self.heads:
            yield from self._chain(Link(0, head.holder, None), shown)
        for one in self._edges:
            if one.wait.holder is not None and one.waiter not in shown:
                yield from self._chain(Link(0, one.wait.holder, None), shown)
        for one in self._edges:
            if one.wait.holder is None and one.waiter not in shown:
                yield from self._chain(Link(0, None, None), shown, (one,))

    def seen_by(self, tenants: frozenset[str] | None) -> WaitGraph:
        """The same of those chains alone that touch these tenants, None for all: whole, so that all can be counted."""
        if tenants is None:
            return self
        touched: set[object] = set()
        todo = [_key(end) for one in self.waits for end in _ends(one) if end.tenant in tenants]
        while todo:
            key = todo.pop()
            if key not in touched:
                touched.add(key)
                near = (*self._holders.get(key, ()), *self._waiters.get(key, ()))
                todo += [end for one in near for end in (one.waiter, one.holder) if end is not None]
        return replace(self, waits=tuple(one.wait for one in self._edges if one.waiter in touched))

    def _chain(self, start: Link, shown: set[object], waits: Sequence[_Edge] | None = None) -> Iterator[Link]:
        first = _key(start.who) if start.who is not None else None
        todo: list[tuple[Link, object, tuple[object, ...]]] = [(start, first, ())]
        while todo:
            link, key, above = todo.pop()
            if key in above:
                yield replace(link, cycle=True)
                continue
            if link.wait is not None and key in shown:
                continue
            yield link
            shown.add(key)
            under = self._waiters.get(key, ()) if waits is None or link is not start else waits
            if not under:
                continue
            path = (*above, key)
            todo += [
                (Link(link.depth + 1, one.wait.waiter, one.wait), one.waiter, path)
                for one in sorted(under, key=lambda edge: -(edge.wait.waited or 0.0))[::-1]  # the last is the next
                if one.waiter not in shown or one.waiter in path
            ]

    def _head(self, key: object, holder: Session | Prepared) -> Head:
        direct = tuple(one.wait for one in self._waiters.get(key, ()))
        held_up = self._held_up(key)
        times = [one.wait.waited for each in held_up for one in self._holders[each] if one.wait.waited is not None]
        return Head(holder, direct, len(held_up), max(times, default=None), all(one.candidate for one in direct))

    @cached_property
    def _sessions(self) -> dict[object, Session]:
        found: dict[object, Session] = {}
        for one in self._edges:
            found[one.waiter] = one.wait.waiter
            if isinstance(one.wait.holder, Session):
                found[one.holder] = one.wait.holder
        return found

    @cached_property
    def _edges(self) -> tuple[_Edge, ...]:
        return tuple(
            _Edge(_key(one.waiter), _key(one.holder) if one.holder is not None else None, one) for one in self.waits
        )

    @cached_property
    def _holders(self) -> dict[object, list[_Edge]]:
        found: dict[object, list[_Edge]] = {}
        for one in self._edges:
            found.setdefault(one.waiter, []).append(one)
        return found

    @cached_property
    def _waiters(self) -> dict[object, list[_Edge]]:
        found: dict[object, list[_Edge]] = {}
        for one in self._edges:
            if one.holder is not None:
                found.setdefault(one.holder, []).append(one)
        return found

    @cached_property
    def _held_up_by(self) -> dict[object, Mapping[object, Session]]:
        """Who is held up by whom, as far as that was asked for."""
        return {}


def without_queues(waits: Collection[_W], told: Callable[[_W], tuple[object, object, object]]) -> list[_W]:
    """Leave out who merely stands in the same queue: InnoDB names a lock's earlier waiters as blockers of the later.

    A holder that itself waits for the very lock is dropped where somebody else is named who does not: of 200 waiters
    InnoDB tells 19,900 such waits. ``told`` gives a wait's waiter, its holder and the very lock, each None where that
    is not told.
    """
    ends = [told(one) for one in waits]
    queued = {(waiter, lock) for waiter, _, lock in ends if lock is not None}
    held = {(waiter, lock) for waiter, holder, lock in ends if holder is not None and (holder, lock) not in queued}
    return [
        one
        for one, (waiter, holder, lock) in zip(waits, ends, strict=True)
        if holder is None or (holder, lock) not in queued or (waiter, lock) not in held
    ]


def ends_of(wait: Wait) -> tuple[object, object, object]:
    """Name waiter, holder and lock of a wait, for ``without_queues``."""
    return _key(wait.waiter), _key(wait.holder) if wait.holder is not None else None, wait.lock


def age_of(session: Session) -> float:
    """How old its transaction is, in seconds; for how long it does what it does where that is not told."""
    age = session.transaction.age if session.transaction is not None else None
    return session.time if age is None else age


def _key(one: Session | Prepared) -> object:
    return place_of(one) if isinstance(one, Session) else ("prepared", one.tenant, one.transaction.id)


def _ends(wait: Wait) -> tuple[Session | Prepared, ...]:
    return (wait.waiter, wait.holder) if wait.holder is not None else (wait.waiter,)
