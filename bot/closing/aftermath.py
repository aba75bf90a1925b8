"""What becomes of a close after its outcome is known: a client that comes back, a session that ends late."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from bot.closing.looks import Killed, judge
from bot.closing.model import ClosingRequest, Finding, Outcome, Target
from bot.closing.press import Clock, Sent, SessionKey
from bot.closing.store import Store
from bot.errors import BusyError, DataSourceError, InputError
from bot.sessions.console import Console
from bot.sessions.kill import Answer
from bot.sessions.model import Session
from bot.sessions.service import SessionService
from bot.sessions.statement import digest

COMES_BACK_WITHIN = timedelta(seconds=30)
ENDS_WITHIN = timedelta(minutes=10)  # a large transaction takes that long to be rolled back

_UNFINISHED = (Outcome.ROLLING_BACK, Outcome.STILL_RUNNING, Outcome.UNVERIFIED)
_ALIKE = 200  # sessions of one user and client; where there are more, a new one cannot be told from an old one
_SQL_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class _Watch:
    """One closed target that is looked at again."""

    request: ClosingRequest
    number: int
    session: Session  # as it was right before the KILL
    outcome: Outcome
    known: frozenset[SessionKey] = frozenset()  # sessions of the same user and client right before the KILL
    killed: Killed | None = None  # where it has not ended: what is judged anew
    until: datetime | None = None  # where it has not ended the store tells how long


class Aftermath:
    """Follows closes for a while.

    What has not ended is found in the store, whoever closed it: another replica, or a bot before this one. Which
    clients would have come back is known to this process alone. ``sessions`` gives the data sources of the
    configuration that holds now.
    """

    def __init__(self, sessions: Callable[[], SessionService], store: Store, clock: Clock) -> None:
        self._sessions = sessions
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._watches: list[_Watch] = []

    def follow(self, request: ClosingRequest, sent: Mapping[int, Sent], findings: Mapping[int, Finding]) -> None:
        """Look, from now on, whether the clients whose running sessions were closed come back."""
        until = self._clock() + COMES_BACK_WITHIN
        watches = [
            _Watch(request, number, one.session, Outcome.CLOSED, one.known, until=until)
            for number, one in sent.items()
            if findings[number].outcome is Outcome.CLOSED and one.known is not None and one.session.running
        ]
        with self._lock:
            self._watches += watches

    def look(self) -> list[ClosingRequest]:
        """Look once at all that is followed; return the requests with something new, as they stand now.

        A data source that does not answer is asked once, not for each; what it would have told is looked at later.
        Raises ``StoreError``; what could not be written then is found again by the next look.
        """
        now = self._clock()
        with self._lock:
            watches = deque(one for one in self._watches if one.until is None or now < one.until)
            self._watches = []
        news: dict[str, None] = {}
        away: set[str] = set()
        left = []
        try:
            self._look_at_unfinished(now, news, away)
            while watches:
                watch = watches[0]
                finding = self._look_at(watch, away)
                if finding is None:
                    left.append(watch)
                elif self._amended(watch, finding):
                    news[watch.request.id] = None
                watches.popleft()
        finally:
            with self._lock:
                self._watches += [*left, *watches]
        return [request for request in map(self._store.get, news) if request is not None]

    def _look_at_unfinished(self, now: datetime, news: dict[str, None], away: set[str]) -> None:
        for request in self._store.unfinished(now - ENDS_WITHIN, _UNFINISHED):
            for target in request.targets:
                watch = _unfinished(request, target, now - ENDS_WITHIN)
                finding = self._look_at(watch, away) if watch is not None else None
                if watch is not None and finding is not None and self._amended(watch, finding):
                    news[request.id] = None

    def _look_at(self, watch: _Watch, away: set[str]) -> Finding | None:
        """Return what is new; None where nothing is, or where the data source is ``away``."""
        source = watch.request.source
        if source in away:
            return None
        try:
            with self._sessions().source(source).console() as console:
                return self._back(console, watch) if watch.killed is None else self._ended(console, watch, watch.killed)
        except (DataSourceError, BusyError, InputError):  # InputError: the configuration names it no more
            away.add(source)
            return None

    def _ended(self, console: Console, watch: _Watch, killed: Killed) -> Finding | None:
        verdict = judge(console, killed, watch.request.decided_mode or watch.request.mode)
        if not verdict.final or verdict.outcome in _UNFINISHED:
            return None
        told = f"It took longer; at first it was {watch.outcome.value}. {verdict.detail}"
        return Finding(verdict.outcome, told.strip(), self._clock(), killed.answer.value)

    def _back(self, console: Console, watch: _Watch) -> Finding | None:
        there = console.alike(watch.session, _ALIKE)
        new = [one for one in there if _key(one) not in watch.known and _same_work(watch.session, one)]
        if not new:
            return None
        return Finding(
            Outcome.CAME_BACK,
            f"The session was closed, and a new one of the same user and source does the same: {new[0].id}.",
            self._clock(),
        )

    def _amended(self, watch: _Watch, finding: Finding) -> bool:
        target = next(one for one in watch.request.targets if one.number == watch.number)
        return self._store.amend(watch.request, target, watch.outcome, finding, self._clock())


def _unfinished(request: ClosingRequest, target: Target, since: datetime) -> _Watch | None:
    """Return what is to be looked at of a target that has not ended; None for any other."""
    ending = target.outcome is Outcome.ROLLING_BACK  # also where somebody else had closed it
    if target.outcome not in _UNFINISHED or (target.intent_at is None and not ending):
        return None
    if target.outcome_at is None or target.outcome_at <= since:
        return None
    answer = Answer(target.answer) if target.answer else Answer.NONE
    if target.intent_at is None:
        answer = Answer.NOT_ASKED
    return _Watch(request, target.number, target.session, target.outcome, killed=Killed(target.session, answer))


def alike(console: Console, session: Session) -> frozenset[SessionKey] | None:
    """Name the sessions of the same user and client before a close; None where there are too many to tell."""
    found = console.alike(session, _ALIKE)
    return frozenset(map(_key, found)) if len(found) < _ALIKE else None


def _key(session: Session) -> SessionKey:
    """Name a session; a client behind a proxy by its number there, whichever server it touches next."""
    return (None if session.client_session else session.server, session.id)


def _same_work(before: Session, now: Session) -> bool:
    """Whether a session runs the same statement on the same database.

    An idle one does nothing that could be told from what any other new session of an application does.
    """
    if before.database != now.database or not now.running:
        return False
    in_routine = before.inner_sql is not None or now.inner_sql is not None  # then the id is an inner statement's
    if (before.sql_id or now.sql_id) and not in_routine:
        return before.sql_id == now.sql_id
    return _words(before) == _words(now)


def _words(session: Session) -> str:
    return digest(session.sql, _SQL_CHARACTERS) if session.sql else ""
