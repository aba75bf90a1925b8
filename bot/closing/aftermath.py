"""What becomes of a close after its outcome is known: a client that comes back, a session that ends late."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime, timedelta

from bot.closing.looks import look
from bot.closing.model import ClosingRequest, Finding, Outcome
from bot.closing.press import Clock, Press, SessionKey
from bot.closing.store import Store
from bot.errors import BusyError, DataSourceError
from bot.sessions.model import Session
from bot.sessions.service import SessionService
from bot.sessions.source import Console
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
    known: frozenset[SessionKey] | None
    outcome: Outcome
    until: datetime


class Aftermath:
    """Follows closes for a while. What it knows ends with the process: the record stands as it was then."""

    def __init__(self, sessions: SessionService, store: Store, clock: Clock) -> None:
        self._sessions = sessions
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._watches: list[_Watch] = []

    def follow(self, request: ClosingRequest, press: Press) -> None:
        """Look again, from now on, at what was sent by a press that has its outcomes."""
        now = self._clock()
        watches = []
        for number, sent in press.sent.items():
            outcome = press.findings[number].outcome
            if outcome in _UNFINISHED:
                until = now + ENDS_WITHIN
            elif outcome is Outcome.CLOSED and sent.known is not None and sent.session.running:
                until = now + COMES_BACK_WITHIN
            else:
                continue
            watches.append(_Watch(request, number, sent.session, sent.known, outcome, until))
        with self._lock:
            self._watches += watches

    def look(self) -> list[ClosingRequest]:
        """Look once at all that is followed; return the requests with something new, as they stand now."""
        with self._lock:
            watches, self._watches = self._watches, []
        news: dict[str, None] = {}
        left = []
        for watch in watches:
            finding = self._look_at(watch)
            if finding is None:
                left += [watch] if self._clock() < watch.until else []
            elif self._amended(watch, finding):
                news[watch.request.id] = None
        with self._lock:
            self._watches += left
        return [request for request in map(self._store.get, news) if request is not None]

    def _look_at(self, watch: _Watch) -> Finding | None:
        if watch.outcome is Outcome.CLOSED:
            return self._come_back(watch)
        mode = watch.request.decided_mode or watch.request.mode
        outcome, detail = look(self._sessions, watch.request.source, {watch.number: watch.session}, mode)[watch.number]
        if outcome not in (Outcome.CLOSED, Outcome.QUERY_CLOSED):
            return None
        told = f"It took longer; at first it was {watch.outcome.value}. {detail}"
        return Finding(outcome, told.strip(), self._clock())

    def _come_back(self, watch: _Watch) -> Finding | None:
        try:
            with self._sessions.source(watch.request.source).console() as console:
                there = console.alike(watch.session, _ALIKE)
        except (DataSourceError, BusyError):
            return None  # the next look may tell
        known = watch.known or frozenset()
        new = [one for one in there if (one.server, one.id) not in known and _same_work(watch.session, one)]
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


def alike(console: Console, session: Session) -> frozenset[SessionKey] | None:
    """Name the sessions of the same user and client before a close; None where there are too many to tell."""
    found = console.alike(session, _ALIKE)
    return frozenset((one.server, one.id) for one in found) if len(found) < _ALIKE else None


def _same_work(before: Session, now: Session) -> bool:
    """Whether a session runs the same statement on the same database.

    An idle one does nothing that could be told from what any other new session of an application does.
    """
    if before.database != now.database or not now.running:
        return False
    if before.sql_id or now.sql_id:
        return before.sql_id == now.sql_id
    return _words(before) == _words(now)


def _words(session: Session) -> str:
    return digest(session.sql, _SQL_CHARACTERS) if session.sql else ""
