"""What is wrong on a data source now, worst first, and which sessions would have to be closed for it to end.

Pure checks of what ``survey.py`` beside it and the waits have read; ``examination.py`` has it read.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from bot.sessions.address import host_of
from bot.sessions.diagnosis.survey import Limit, Limits, RecentDeadlocks
from bot.sessions.model import Session
from bot.sessions.statement import Statement
from bot.sessions.waits.advice import Action, Advice
from bot.sessions.waits.blockages import Advise, Blockage, blockages, with_advice
from bot.sessions.waits.graph import Prepared, WaitGraph, place_of

_LASTS = 1.0  # seconds from which on what a session does counts as what was closed before: healthy ones do it as well
SHOWN = 5  # findings of one check that are told one by one; the rest is counted


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From when on something counts as wrong: the settings of ``[triage]``. Spans are seconds."""

    statement_over: float = 60.0
    idle_transaction_over: float = 60.0
    same_statement: int = 10  # sessions that run it at once
    same_statement_over: float = 5.0
    near_limit: int = 80  # per cent of a limit on connections
    killed_over: float = 30.0
    deadlocks_within: float = 900.0


class Check(enum.Enum):
    """One thing that is read; ``value`` is how people are told of it."""

    SESSIONS = "sessions"
    WAITS = "waits"
    LIMITS = "limits on connections"
    SERVERS = "servers of the cluster"
    CLOSED = "what was closed lately"
    DEADLOCKS = "deadlocks"


@dataclass(frozen=True, slots=True)
class Blocker:
    """What holds up others, of whatever kind: close it, or wait.

    ``hidden`` counts those held up that the asker may not see.
    """

    blockage: Blockage
    advice: Advice | None  # None: the asker may not see it
    hidden: int = 0


@dataclass(frozen=True, slots=True)
class Candidates:
    """Several that may hold up the same sessions, of which the server does not say which one does."""

    blockages: tuple[Blockage, ...]  # the least guessed first
    hidden: int = 0  # of those held up, that the asker may not see


@dataclass(frozen=True, slots=True)
class LongStatement:
    """A statement that has been running for long and waits for nobody."""

    session: Session
    advice: Advice | None  # None: who waits for whom is not known, so nothing is advised


@dataclass(frozen=True, slots=True)
class SameStatement:
    """One statement that many sessions run at once, none of which waits."""

    statement: Statement
    digest: str  # of it, by which they are found again
    sessions: tuple[Session, ...]  # longest first
    origins: tuple[str, ...]  # their clients' addresses, the most frequent first
    advised: bool = True  # else who waits for whom is not known, so nothing is advised
    past: str = ""  # what of it was closed before and came back


@dataclass(frozen=True, slots=True)
class NearLimit:
    """A limit on connections that is nearly used up."""

    limit: Limit


@dataclass(frozen=True, slots=True)
class CrowdingClient:
    """Near a limit, a client with more than half of the connections; ``idle`` may be closed and loses nothing."""

    limit: Limit
    host: str  # its very address
    sessions: int  # that it has
    idle: tuple[Session, ...]  # outside of a transaction, longest idle first


@dataclass(frozen=True, slots=True)
class Killed:
    """A session that somebody has killed and that is still there. ``advice`` as of ``LongStatement``."""

    session: Session
    advice: Advice | None


@dataclass(frozen=True, slots=True)
class Returned:
    """A session that does what was closed before: ``past`` says how often, and what to do."""

    session: Session
    past: str


@dataclass(frozen=True, slots=True)
class AbsentServers:
    """Servers of the cluster that do not serve, each with its status."""

    servers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class IdleTransactions:
    """Transactions that their clients leave open and that hold up nobody, as far as is known."""

    sessions: tuple[Session, ...]  # longest idle first
    known: bool = True  # whether each wait was read, and its holder named


@dataclass(frozen=True, slots=True)
class More:
    """Further findings of the kind of the one before: how many, and what lists them, '' for nothing."""

    count: int
    what: str
    listed: str = ""


Finding = (
    Blocker
    | Candidates
    | LongStatement
    | SameStatement
    | NearLimit
    | CrowdingClient
    | Killed
    | Returned
    | RecentDeadlocks
    | AbsentServers
    | IdleTransactions
    | More
)


@dataclass(frozen=True, slots=True)
class Look:
    """All that was read of one data source; None is what has not been read, or could not be."""

    sessions: tuple[Session, ...] | None = None  # that the asker may see
    waits: WaitGraph | None = None  # of those that the asker may see, and whoever waits for them or holds them up
    limits: Limits | None = None
    absent: tuple[tuple[str, str], ...] = ()
    deadlocks: RecentDeadlocks | None = None
    tenants: frozenset[str] | None = None  # that the asker may see
    may_close: Callable[[Session], bool] = field(default=lambda _session: True)  # protected and own ones may not be
    is_thread: Callable[[Session], bool] = field(default=lambda _session: False)

    def sees(self, one: Session | Prepared) -> bool:
        """Whether the asker may see more of it than that it is there."""
        return self.tenants is None or one.tenant in self.tenants

    def waits_itself(self, session: Session) -> bool:
        """Whether a session waits for another one, as far as anything that was read tells."""
        return session.waits is not None or (self.waits is not None and bool(self.waits.holders(session)))

    def holds_up_others(self, session: Session) -> bool:
        """Whether somebody waits for it."""
        return self.waits is not None and bool(self.waits.waiters(session))


# What of a session of these waits was closed before and came back; '' where nothing was.
PastOf = Callable[[WaitGraph, Session], str]


def find(look: Look, thresholds: Thresholds, advise: Advise, past_of: PastOf) -> tuple[Finding, ...]:
    """Say what is wrong, worst first; each session is told once, by the worst of what it does.

    Advice costs a walk through the waits: it is asked for those that are told, the past of all.
    """
    found: list[Finding] = []
    told: set[object] = set()
    if look.waits is not None:
        causes = with_advice(look.waits, blockages(look.waits), look.tenants, advise)
        blockers = [Blocker(one.seen_by(look.sees), advice, _hidden(look, one)) for one, advice in causes]
        parties = [who for one in blockers for who in (one.blockage.who, *one.blockage.circle)]
        told |= {place_of(who) for who in parties if isinstance(who, Session)}
        # What there is nothing to close for stands behind what is to be closed.
        blockers.sort(key=lambda one: one.advice is not None and one.advice.action in (Action.WAIT, Action.NOTHING))
        found += _first(_without_guesses(blockers, look), "more hold up others", "/sessions locks")
    sessions = [one for one in look.sessions or () if place_of(one) not in told]

    def advised(session: Session) -> Advice | None:
        return advise(look.waits, session) if look.waits is not None else None

    def past(session: Session) -> str:
        return past_of(look.waits, session) if look.waits is not None else ""

    known = look.waits is not None
    same = [
        replace(one, advised=known, past=past(one.sessions[0])) for one in same_statements(sessions, look, thresholds)
    ]
    in_groups = {place_of(session) for group in same for session in group.sessions}
    running = [one for one in sessions if _works(one, look) and place_of(one) not in in_groups]
    long = [one for one in running if one.time > thresholds.statement_over and not one.query_ending]
    found += _first(
        [LongStatement(one, advised(one)) for one in _longest(long)[:SHOWN]],
        "more statements run for so long",
        f"/sessions active-only time>{thresholds.statement_over:.0f}s",
        len(long),
    )
    found += same
    for limit in near(look, thresholds):
        found.append(NearLimit(limit))
        if (crowd := crowding(look, limit)) is not None:
            found.append(crowd)
    killed = [one for one in sessions if _killed(one) and one.time > thresholds.killed_over]
    found += _first([Killed(one, advised(one)) for one in _longest(killed)[:SHOWN]], "more are killed", "", len(killed))
    told_already = in_groups | {place_of(one) for one in (*long, *killed)}
    returned = [
        Returned(one, said)
        for one in sessions
        if (one.running or one.in_transaction)
        and one.time >= _LASTS
        and place_of(one) not in told_already
        and not look.is_thread(one)
        and (said := past(one))
    ]
    told |= {place_of(one.session) for one in returned}
    found += _first(returned, "more came back", "/sessions audit")
    if look.deadlocks is not None and look.deadlocks.ago <= thresholds.deadlocks_within:
        found.append(look.deadlocks)
    if look.absent:
        found.append(AbsentServers(look.absent))
    idle = [
        one
        for one in sessions
        if one.idle and one.in_transaction and not look.holds_up_others(one) and not _killed(one)
        if place_of(one) not in told
    ]
    left_open = [one for one in idle if one.time > thresholds.idle_transaction_over]
    if left_open:
        named = look.waits is not None and all(one.holder and not one.candidate for one in look.waits.waits)
        found.append(IdleTransactions(tuple(_longest(left_open)), named))
    return tuple(found)


def same_statements(sessions: Iterable[Session], look: Look, thresholds: Thresholds) -> list[SameStatement]:
    """Return the statements that many run at once, each for long; whoever waits is held up and runs nothing."""
    slow = [
        (one, one.statement)
        for one in sessions
        if one.statement is not None
        and one.time > thresholds.same_statement_over
        and _works(one, look)
        and not one.query_ending
    ]
    alike: dict[str, list[tuple[Session, Statement]]] = {}
    for session, statement in slow:
        alike.setdefault(digest_of(statement), []).append((session, statement))
    found = []
    for digest, those in alike.items():
        if len(those) >= thresholds.same_statement:
            members = _longest([session for session, _ in those])
            origins = Counter(host_of(one.client.origin) for one in members)
            addresses = tuple(host for host, _ in origins.most_common())
            found.append(SameStatement(those[0][1], digest, tuple(members), addresses))
    return sorted(found, key=lambda one: -len(one.sessions))


def digest_of(statement: Statement) -> str:
    """Name a statement by its digest, which two that differ in their literals share."""
    return statement.raw_sql.id_of_digest


def near(look: Look, thresholds: Thresholds) -> list[Limit]:
    """Return the limits that are nearly used up, the fullest first; those of a tenant only to who may see that."""
    limits = look.limits.limits if look.limits is not None else ()
    seen = [one for one in limits if look.tenants is None or one.tenant in look.tenants]
    full = [one for one in seen if one.used * 100 >= one.most * thresholds.near_limit]
    return sorted(full, key=lambda one: -one.used / one.most)


def crowding(look: Look, limit: Limit) -> CrowdingClient | None:
    """Return the client that has more than half of what a limit counts, where some of it could be closed."""
    counted = [one for one in look.sessions or () if limit.counts(one)]
    for host, sessions in Counter(host_of(one.client.origin) for one in counted).most_common(1):
        idle = [one for one in counted if host_of(one.client.origin) == host and dispensable(one, look)]
        if sessions * 2 > limit.used and idle:
            return CrowdingClient(limit, host, sessions, tuple(_longest(idle)))
    return None


def dispensable(session: Session, look: Look) -> bool:
    """Whether closing a session loses nothing but the connection: idle, in no transaction, and nobody waits for it.

    That must be known: where the server does not say whether a transaction is open, or who waits, nothing is.
    """
    outside = session.transaction_known and not session.in_transaction
    free = look.waits is not None and not look.holds_up_others(session)
    return session.idle and outside and free and not session.own and look.may_close(session)


def longest_running(look: Look) -> list[Session]:
    """Return the sessions that run a statement and wait for nobody, longest first."""
    return _longest([one for one in look.sessions or () if _works(one, look)])


def _without_guesses(blockers: Sequence[Blocker], look: Look) -> list[Blocker | Candidates]:
    """Put together who may hold up the same sessions: closing one of several is a guess, which is not offered."""
    groups: dict[frozenset[object], list[Blocker]] = {}
    for one in blockers:
        if one.blockage.candidate and one.advice is not None:
            groups.setdefault(_held_up(one.blockage), []).append(one)
    found: list[Blocker | Candidates] = []
    for one in blockers:
        group = groups.get(_held_up(one.blockage), []) if one.blockage.candidate else []
        if one not in group or len(group) == 1:
            found.append(one)
        elif one is group[0]:
            found.append(Candidates(tuple(each.blockage for each in group), _hidden(look, one.blockage)))
    return found


def _held_up(blockage: Blockage) -> frozenset[object]:
    return frozenset(map(place_of, blockage.behind))


def _hidden(look: Look, one: Blockage) -> int:
    return sum(not look.sees(session) for session in one.behind)


def _works(session: Session, look: Look) -> bool:
    """Whether it runs a client's statement and is held up by nobody."""
    return session.running and not look.is_thread(session) and not look.waits_itself(session)


def _killed(session: Session) -> bool:
    return session.ending or session.query_ending or session.state in ("KILLED", "SESSION_KILLED", "QUERY_KILLED")


def _longest(sessions: Iterable[Session]) -> list[Session]:
    return sorted(sessions, key=lambda one: (-one.time, one.id))


def _first(found: Sequence[Finding], what: str, listed: str, count: int | None = None) -> list[Finding]:
    left = (len(found) if count is None else count) - SHOWN
    return [*found[:SHOWN], *([More(left, what, listed)] if left > 0 else [])]
