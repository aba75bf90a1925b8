"""Advice on sessions as the waits show them, with who may be closed at all and what was closed before."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from time import sleep

import structlog
from cachetools import TTLCache

from bot.closing.attempt import Timer
from bot.closing.model import Clock, ClosingRequest, Outcome, Target
from bot.closing.reconnection import client_of, same_statement
from bot.closing.store import Store
from bot.closing.targets import never_closed
from bot.errors import AlreadyClosedError, SessionBotError, StoreError
from bot.sessions.asking import ask_each
from bot.sessions.kill import Answer
from bot.sessions.model import Mode, Pin, Session, WaitKind
from bot.sessions.service import SessionService
from bot.sessions.uptime import since_boot
from bot.sessions.waits.advice import CLOSED, Action, Advice, advise
from bot.sessions.waits.case import Case, Closed, Rollback, past_of
from bot.sessions.waits.graph import Place, Prepared, WaitGraph, place_of

PAST = timedelta(minutes=10)  # for which closes count as the past of a session
LONG_PAST = timedelta(days=1)  # within which whoever has closed a session that is ending is sought
READ_WITHIN = 1.0  # seconds that advice waits for the past, and a card for the waits; it goes on without

_BETWEEN = 0.25  # seconds between two looks; InnoDB fills its list anew after 0.1 s, and a read is shared for that long
_KNOWN_FOR = 600.0  # seconds since the last look at a session that is ending
_MOST = 1000  # such sessions
_WHOLE = (
    1.0  # seconds by which MySQL's TIME, and the age of an InnoDB transaction, may be too long: both count whole ones
)
# Seconds that whoever reads the past meanwhile leaves to whoever is about to ask a server: they would wait for the
# interpreter else, and be later by all that this takes.
_AFTER = 0.001
_READ_FOR = 1.0  # seconds for which what the store says of the past is used again
_UNASKED_FOR = 5.0  # seconds for which it is not asked again where it has not answered in time

Past = list[tuple[ClosingRequest, Mapping[int, datetime]]]

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Ending:
    """What looks have shown of a session that is ending; times are readings of the timer."""

    since: float
    transaction: int | None = None
    most: int = 0  # rows to undo at the first look that counted them
    counted_at: float = 0.0


class Adviser:
    """Gives advice on sessions; one for the process, which remembers what is ending and how fast.

    ``sessions`` gives the data sources of the configuration that holds now, ``timer`` seconds since some moment.
    """

    def __init__(
        self, sessions: Callable[[], SessionService], store: Store, clock: Clock, timer: Timer = since_boot
    ) -> None:
        self._sessions = sessions
        self._store = store
        self._clock = clock
        self._timer = timer
        self._lock = threading.Lock()
        self._ending: TTLCache[object, _Ending] = TTLCache(_MOST, _KNOWN_FOR, timer)
        self._past: TTLCache[str, Past] = TTLCache(100, _READ_FOR, timer)
        self._unanswered: TTLCache[str, bool] = TTLCache(100, _UNASKED_FOR, timer)  # of which the past came too late
        self._ahead: set[str] = set()  # whose past is being read before anybody needs it

    def advise(self, graph: WaitGraph, who: Session | Prepared, tenants: frozenset[str] | None = None) -> Advice:
        """Say what to do about a session or a prepared transaction of these waits.

        ``tenants`` are those whose sessions whoever asks may see, None for all: others are not named. Raises
        ``InputError`` for a data source that the configuration names no more. A store that does not answer leaves the
        past unsaid.
        """
        return advise(self._case(graph, who, self._past_of(graph.source), tenants))

    def look_ahead(self, source: str) -> None:
        """Read the past of a data source meanwhile: advice that is asked for soon then waits for no store."""
        with self._lock:
            if source in self._past or source in self._unanswered or source in self._ahead:
                return
            self._ahead.add(source)
        try:
            threading.Thread(target=self._read_past_meanwhile, args=(source,), name="past", daemon=True).start()
        except RuntimeError:  # the system gives no more threads
            self._ahead.discard(source)

    def past(self, graph: WaitGraph, who: Session) -> str:
        """Say what of a session of these waits was closed before and came back; '' where nothing was.

        Nothing of one that rests unless a client was seen to come back: that two rest in a transaction says little.
        """
        past = self._past_of(graph.source)
        closed = closes_of(graph.known(who), past, self._clock()) if past else []
        if not who.running and all(one.back_after is None for one in closed):
            return ""
        return past_of(who, closed)

    def require_past(self, source: str) -> None:
        """Raise ``StoreError`` where advice on sessions of that data source leaves their past unsaid."""
        self._store.outcomes.closed_since(source, self._clock() - PAST)

    def for_card(
        self, source: str, sessions: Sequence[Session], tenants: frozenset[str] | None
    ) -> Mapping[Place, Advice]:
        """Say what to do about sessions whose close is asked for, by the waits as they are now; ``tenants`` as above.

        Never raises, and waits thrice ``READ_WITHIN`` at the most: where the waits cannot be read in time, it says so.
        """
        graph = self._read(source)
        if isinstance(graph, WaitGraph) and any(_is_outdated(graph, one) for one in sessions):
            sleep(_BETWEEN)  # the read may have been shared with somebody who asked before
            graph = self._read(source)
        if isinstance(graph, WaitGraph):
            past = self._past_of(source)
            cases = {place_of(one): self._case(graph, one, past, tenants) for one in sessions}
            # What protects a session has been refused before, or is set aside.
            return {place: advise(replace(case, never="", protected=())) for place, case in cases.items()}
        unknown = Advice(Action.UNKNOWN, f"Who waits for whom could not be read: {graph}")
        return {place_of(one): unknown for one in sessions}

    def already_closed(
        self, session: Session, tenants: frozenset[str] | None, *, alone: bool = True
    ) -> AlreadyClosedError:
        """Say of a session that is ending that nothing is sent: who closed it, how far it is, whom it waits for.

        ``alone`` reads that: two counts of its rollback where the server counts, and the waits; of several only the
        record is read. Never raises.
        """
        graph: WaitGraph | str = ""
        if alone:
            session = self._counted(session)
            graph = self._read(session.source)
        if not isinstance(graph, WaitGraph):
            graph = WaitGraph(session.source, self._clock())
        case = self._case(graph, session, self._closed_within(session.source, LONG_PAST), tenants)
        found = advise(replace(case, never="", protected=()))
        closed = next((one for one in case.past if one.same_session), None)
        why = f"{found.reason} {found.then}".strip()
        return AlreadyClosedError(
            f"Session {session.id}: {why} Nothing was sent. Look again: /sessions show {session.id}",
            why=why,
            tenants=(session.tenant,),
            by=closed.by if closed is not None else "",
            at=closed.at if closed is not None else None,
        )

    def _counted(self, session: Session) -> Session:
        for look in range(2):
            if session.transaction is None or session.transaction.state != "ROLLING BACK":
                break
            if look:
                sleep(_BETWEEN)
            try:
                left = self._sessions().source(session.source).looking(lambda console: console.rows_left(session))  # noqa: B023
            except SessionBotError:
                break
            if left is None:
                break
            session = replace(session, transaction=replace(session.transaction, rows_changed=left))
            self._remembered(session, [])
        return session

    def _read(self, source: str) -> WaitGraph | str:
        """Read the waits; return why not where that fails or takes too long."""

        def read() -> WaitGraph | str:
            try:
                return self._sessions().source(source).waits()
            except SessionBotError as error:
                return error.sentence

        return ask_each({source: read}, READ_WITHIN).get(source, f"there was no answer within {READ_WITHIN:.0f} s.")

    def _case(self, graph: WaitGraph, who: Session | Prepared, past: Past, tenants: frozenset[str] | None) -> Case:
        """Put together what is known of one of these, and of those at the head of what it waits for."""
        case = self._alone(graph, who, past)
        seen = tuple(one for one in case.heads if tenants is None or one.tenant in tenants)
        blockers = tuple(self._alone(graph, one, past) for one in seen)
        return replace(case, heads=seen, hidden=len(seen) < len(case.heads), blockers=blockers)

    def _alone(self, graph: WaitGraph, who: Session | Prepared, past: Past) -> Case:
        case = Case.of(who, graph)
        if isinstance(case.who, Prepared) or isinstance(who, Prepared):
            return case
        who = case.who
        closed = closes_of(who, past, self._clock())
        killed_for, rollback = self._remembered(who, closed)
        sessions = self._sessions()
        return replace(
            case,
            never=never_closed(sessions, who),
            protected=sessions.source(graph.source).protection(who),
            past=tuple(closed),
            killed_for=killed_for,
            waiters_killed_for=self._waiters_killed_for(case, past),
            rollback=rollback,
        )

    def _waiters_killed_for(self, case: Case, past: Past) -> float | None:
        waiters = {place_of(one.waiter): one.waiter for one in case.waiters}.values()
        if not all(one.state in CLOSED for one in waiters):
            return None
        times = [self._remembered(one, closes_of(one, past, self._clock()))[0] for one in waiters]
        return max((time for time in times if time is not None), default=None)

    def _remembered(self, who: Session, closed: list[Closed]) -> tuple[float | None, Rollback | None]:
        """Say since when a session has been ending, and how far its rollback is; remember this look."""
        if not (who.ending or who.query_ending):
            return None, None
        now, key = self._timer(), (who.source, place_of(who))
        with self._lock:
            ending = self._ending.get(key) or _Ending(now)
            rollback = _rollback(ending, who, now)
            self._ending[key] = ending
        known = [(self._clock() - one.at).total_seconds() for one in closed if one.same_session]
        return max([now - ending.since, *known]), rollback

    def _past_of(self, source: str) -> Past:
        """Read what was closed there lately; nothing where the store does not answer in time, nor soon after that."""
        with self._lock:
            known = self._past.get(source)
            if known is not None or source in self._unanswered:
                return known or []
        found = ask_each({source: partial(self._read_past, source)}, READ_WITHIN)
        if source not in found:
            log.warning("past not read in time", source=source)
            with self._lock:
                self._unanswered[source] = True
        return found.get(source, [])

    def _read_past_meanwhile(self, source: str) -> None:
        try:
            sleep(_AFTER)
            self._read_past(source)
        finally:
            self._ahead.discard(source)

    def _read_past(self, source: str) -> Past:
        past = self._closed_within(source, PAST)
        with self._lock:
            self._past[source] = past
            self._unanswered.pop(source, None)
        return past

    def _closed_within(self, source: str, time: timedelta) -> Past:
        try:
            return self._store.outcomes.closed_since(source, self._clock() - time)
        except StoreError as error:
            log.warning("past not read", source=source, error=error.sentence)
            return []


def _is_outdated(graph: WaitGraph, session: Session) -> bool:
    """Whether a session as it is now waits, or has ended its transaction, which these waits do not know yet."""
    if session.waits:
        return not graph.holders(session)
    ended = session.transaction_known and not session.in_transaction
    return ended and any(one.kind is WaitKind.ROW_LOCK for one in graph.waiters(session))


def closed_before(store: Store, request: ClosingRequest) -> Closed | None:
    """Return who had closed before what a request found ending or gone, where the record tells that of one target.

    Raises ``StoreError``.
    """
    found = (Outcome.ROLLING_BACK, Outcome.ALREADY_GONE)
    late = [one for one in request.targets if one.intent_at is None and one.outcome in found]
    if not late:
        return None
    past = store.outcomes.closed_since(request.source, request.created_at - LONG_PAST)
    others = [(other, back) for other, back in past if other.id != request.id]
    closes = [close for target in late for close in closes_of(target.session, others, request.created_at)]
    return max((close for close in closes if close.same_session), key=lambda one: one.at, default=None)


def closes_of(who: Session, past: Past, now: datetime) -> list[Closed]:
    """Return the closes of this session, and of others of the same user and client that did the same, newest first.

    Those of one request count once: they were closed together. What a session has done since before a close is none of
    those that were closed, and did not come back.
    """
    since = now - timedelta(seconds=_does_it_for(who))
    found = []
    for request, back in past:
        query = request.decided_mode is Mode.QUERY
        found_alike = ((target, _is_alike(who, target, since, query=query)) for target in request.targets)
        alike = [(target, same) for target, same in found_alike if same is not None]
        if not alike or request.decided_by is None:
            continue
        target, same_session = max(alike, key=lambda one: one[1])
        at = target.intent_at or request.decided_at or request.created_at
        over = target.outcome_at or at
        came_back = [(back[one.session.id] - (one.outcome_at or over)) for one, _ in alike if one.session.id in back]
        after = max(0.0, min(came_back).total_seconds()) if came_back else None
        ago = (now - at).total_seconds()
        found.append(Closed(at, request.decided_by.id, same_session, query, after, ago))
    return sorted(found, key=lambda one: one.at, reverse=True)


def _does_it_for(who: Session) -> float:
    """Return for how many seconds at least a session has been running its statement, or resting in its transaction."""
    age = who.transaction.age if who.transaction is not None else None
    does = max(who.time, who.total_time) if who.running else max(who.time, age or 0.0)
    return max(0.0, does - _WHOLE)


def _is_alike(who: Session, target: Target, since: datetime, *, query: bool) -> bool | None:
    """Whether a target that was closed is this very session; None where it is not even like it."""
    if target.intent_at is None or _failed(target):
        return None
    before = target.sent or target.session
    if Pin.of(before).same_session(who):
        return True if not query or same_statement(before, who) else None
    if since < target.intent_at or before.database != who.database:
        return None
    if client_of(before) != client_of(who) or before.running != who.running or not same_statement(before, who):
        return None
    # An idle one without a transaction does nothing that could be told from what any other does.
    return False if who.running or (before.in_transaction and who.in_transaction) else None


def _failed(target: Target) -> bool:
    """Whether the server is known to have refused its KILL, or not to have got it."""
    open_yet = target.outcome in (Outcome.NOT_ALLOWED, Outcome.STILL_RUNNING)
    return open_yet and target.answer not in ("", Answer.OK.value, Answer.NONE.value)


def _rollback(ending: _Ending, who: Session, now: float) -> Rollback | None:
    """Say how far a rollback is, by this look and the first one at the same transaction."""
    transaction = who.transaction
    if transaction is None or transaction.rows_changed is None or transaction.state != "ROLLING BACK":
        return None
    left = transaction.rows_changed
    if ending.transaction != transaction.id or left > ending.most:
        ending.transaction, ending.most, ending.counted_at = transaction.id, left, now
    undone = ending.most - left
    pace = undone / (now - ending.counted_at) if now > ending.counted_at else 0.0
    return Rollback(left, ending.most, left / pace if pace else None)
