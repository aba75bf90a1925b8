"""What of all waits is told first: each head with those behind it, each circle, and those whose holder nobody names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from bot.sessions.model import Session, WaitKind
from bot.sessions.waits.advice import Action, Advice
from bot.sessions.waits.case import QUEUED
from bot.sessions.waits.graph import Link, Place, Prepared, Wait, WaitGraph, age_of, place_of

# What is advised about a session, or a prepared transaction, of these waits.
Advise = Callable[[WaitGraph, Session | Prepared], Advice]
CLOSES = (Action.CLOSE_SESSION, Action.CLOSE_QUERY)


@dataclass(frozen=True, slots=True)
class Blockage:
    """One cause of waits.

    ``who`` is what advice is about: a head; a DDL that itself waits while others queue up behind it; of a circle the
    one whose transaction is the youngest; where no holder is named the one that has waited longest.
    """

    who: Session | Prepared
    waits: tuple[Wait, ...]  # for it directly; in a circle, and where nobody is named, those that it consists of
    behind: tuple[Session, ...]  # all that are held up, directly and through others, each once
    longest: float | None = None  # seconds of the longest wait of these, None where the server does not say
    candidate: bool = False  # the server does not name the holder: it is only one that may be
    waiting: bool = False  # a DDL as above
    named: bool = True  # whether the server names who holds it
    circle: tuple[Session, ...] = ()  # who waits for each other; empty where it is none

    def seen_by(self, sees: Callable[[Session], bool]) -> Blockage:
        """The same for somebody who sees not all: of others it tells the kind of lock, not the table nor how long."""
        if all(map(sees, self.behind)):
            return self
        waits = tuple(one if sees(one.waiter) else replace(one, what=None, waited=None) for one in self.waits)
        return replace(
            self, waits=waits, longest=max((one.waited for one in waits if one.waited is not None), default=None)
        )


def blockages(graph: WaitGraph) -> tuple[Blockage, ...]:
    """Most harmful first: by how many are held up, then by the longest wait; candidates after those named.

    A DDL with a queue behind it stands before the first that it waits for.
    """
    heads = [
        Blockage(one.holder, one.waits, graph.held_up(one.holder), one.longest, one.candidate) for one in graph.heads
    ]
    found = [*heads, *_circles(graph), *_unnamed(graph)]
    found.sort(key=lambda one: (one.candidate, -len(one.behind), -(one.longest or 0.0)))
    ordered: list[Blockage] = []
    told: set[Place] = set()
    for one in found:
        ddl = _ddl(graph, one)
        if ddl is not None and place_of(ddl) not in told:
            told.add(place_of(ddl))
            behind = graph.held_up(ddl)
            ordered.append(Blockage(ddl, graph.waiters(ddl), behind, _longest(graph, behind), waiting=True))
        ordered.append(one)
    return tuple(ordered)


def with_advice(
    graph: WaitGraph, causes: Sequence[Blockage], tenants: frozenset[str] | None, advise: Advise
) -> Iterator[tuple[Blockage, Advice | None]]:
    """Yield these ``blockages`` with what is advised; None where the session is of none of ``tenants``, None for all.

    In a circle it is about the first of them that may be closed. A DDL that waits and is not to be closed is left out:
    it stands in the chains, below whom it waits for.
    """
    for found in causes:
        one, advice = _advice(graph, found, tenants, advise)
        if not one.waiting or (advice is not None and advice.action in CLOSES):
            yield one, advice


def _advice(
    graph: WaitGraph, one: Blockage, tenants: frozenset[str] | None, advise: Advise
) -> tuple[Blockage, Advice | None]:
    first: tuple[Blockage, Advice | None] = one, None
    for who in [who for who in one.circle or (one.who,) if tenants is None or who.tenant in tenants]:
        advice = advise(graph, who)
        if advice.action in CLOSES:
            return replace(one, who=who), advice
        first = first if first[1] is not None else (replace(one, who=who), advice)
    return first


def circles(links: Sequence[Link]) -> Iterator[tuple[Session, ...]]:
    """Yield who waits for each other, each circle once, from the lines of chains."""
    path: list[Session | Prepared | None] = []
    for link in links:
        del path[link.depth :]
        if link.cycle and isinstance(link.who, Session):
            places = [place_of(one) if isinstance(one, Session) else None for one in path]
            yield tuple(one for one in path[places.index(place_of(link.who)) :] if isinstance(one, Session))
        path.append(link.who)


def _circles(graph: WaitGraph) -> list[Blockage]:
    found = []
    for circle in circles(tuple(graph.chains())):
        youngest_first = tuple(sorted(circle, key=age_of))
        waits = tuple(wait for one in circle for wait in graph.holders(one))
        behind = (*graph.held_up(circle[0]), circle[0])
        found.append(Blockage(youngest_first[0], waits, behind, _longest(graph, circle), circle=youngest_first))
    return found


def _unnamed(graph: WaitGraph) -> list[Blockage]:
    groups: dict[tuple[WaitKind, str | None], list[Wait]] = {}
    for wait in graph.waits:
        if wait.holder is None and all(one.holder is None for one in graph.holders(wait.waiter)):
            groups.setdefault((wait.kind, wait.what), []).append(wait)
    found = []
    for waits in groups.values():
        behind = {place_of(wait.waiter): wait.waiter for wait in waits}
        for wait in waits:
            behind |= {place_of(one): one for one in graph.held_up(wait.waiter)}
        all_behind = tuple(behind.values())
        first = max(waits, key=lambda wait: wait.waited or 0.0)
        found.append(Blockage(first.waiter, tuple(waits), all_behind, _longest(graph, all_behind), named=False))
    return found


def _ddl(graph: WaitGraph, head: Blockage) -> Session | None:
    """Return who waits itself and holds up the most meanwhile in a queue, where whoever came later is behind it."""
    if head.circle or not head.named:
        return None
    waiters = [one.waiter for one in head.waits if any(its.kind in QUEUED for its in graph.waiters(one.waiter))]
    return max(waiters, key=lambda one: len(graph.held_up(one)), default=None)


def _longest(graph: WaitGraph, sessions: Sequence[Session]) -> float | None:
    times = [wait.waited for one in sessions for wait in graph.holders(one) if wait.waited is not None]
    return max(times, default=None)
