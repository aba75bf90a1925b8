"""What becomes of a close after its outcome is known: a client that comes back, a session that ends late."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from bot.closing.attempt import CloseAttempt, Timer
from bot.closing.model import Clock, ClosingRequest, Outcome, Target, TargetOutcome
from bot.closing.reconnection import SessionKey, key_of, newcomers_of
from bot.closing.store import Store
from bot.closing.verification import verify
from bot.errors import BusyError, DataSourceError, InputError
from bot.sessions.console import Console
from bot.sessions.kill import Answer, Sent
from bot.sessions.model import Session
from bot.sessions.service import SessionService
from bot.sessions.uptime import since_boot

COMES_BACK_WITHIN = timedelta(seconds=30)
ENDED_BEFORE = timedelta(days=1)
ENDS_WITHIN = timedelta(minutes=10)  # a large transaction takes that long to be rolled back

_UNFINISHED = (Outcome.ROLLING_BACK, Outcome.STILL_RUNNING, Outcome.UNVERIFIED)

T = TypeVar("T")


@dataclass(slots=True)
class _Watch:
    """An attempt whose closed clients may come back."""

    request: ClosingRequest
    closed: dict[int, Session]  # as they were right before their KILLs, by the number of the target
    known: set[SessionKey]  # sessions of the same users and clients right before, and those that came back since
    until: float  # reading of the timer


class FollowUps:
    """Follows closes for a while.

    What has not ended is found in the store, whoever closed it: another replica, or a bot before this one. Which
    clients would have come back is known to this process alone. ``sessions`` gives the data sources of the
    configuration that holds now, ``timer`` seconds since some moment.
    """

    def __init__(
        self, sessions: Callable[[], SessionService], store: Store, clock: Clock, timer: Timer = since_boot
    ) -> None:
        self._sessions = sessions
        self._store = store
        self._clock = clock
        self._timer = timer
        self._lock = threading.Lock()
        self._watches: list[_Watch] = []
        self._verified_once = False

    def follow(self, attempt: CloseAttempt) -> None:
        """Look, from now on, whether the clients whose running sessions were closed come back."""
        kills = {
            number: one
            for number, one in attempt.sent.items()
            if attempt.outcomes[number].outcome is Outcome.CLOSED and one.known is not None and one.sent.session.running
        }
        if not kills:
            return
        known = {key for one in kills.values() for key in one.known or ()}
        closed = {number: one.sent.session for number, one in kills.items()}
        with self._lock:
            self._watches.append(
                _Watch(attempt.request, closed, known, self._timer() + COMES_BACK_WITHIN.total_seconds())
            )

    def verify(self) -> list[ClosingRequest]:
        """Look once at all that is followed; return the requests with something new, as they stand now.

        A data source that does not answer is asked once, not for each; what it would have told is looked at later.
        Raises ``StoreError``; what could not be written then is found again by the next look.
        """
        with self._lock:
            self._watches = [one for one in self._watches if self._timer() < one.until]
            watches = [*self._watches]
        news: dict[str, None] = {}
        away: set[str] = set()
        self._verify_unfinished(news, away)
        for watch in watches:
            newcomers = self._asked(
                watch.request.source, away, partial(newcomers_of, closed=watch.closed, known=watch.known)
            )
            if not newcomers:
                continue
            ids = {number: one.id for number, one in newcomers.items()}
            if self._store.outcomes.came_back(watch.request, ids, self._clock()):
                news[watch.request.id] = None
            for number, one in newcomers.items():
                del watch.closed[number]
                watch.known.add(key_of(one))
        return [request for request in map(self._store.requests.find, news) if request is not None]

    def _verify_unfinished(self, news: dict[str, None], away: set[str]) -> None:
        # The first look of a process is for what ended while there was none.
        since = self._clock() - (ENDS_WITHIN if self._verified_once else ENDED_BEFORE)
        for request in self._store.outcomes.unfinished(since, _UNFINISHED):
            sent = {one.number: unfinished for one in request.targets if (unfinished := _unfinished(one, since))}
            mode = request.decided_mode or request.mode
            verdicts = self._asked(request.source, away, partial(verify, sent=sent, mode=mode)) if sent else None
            for target in request.targets:
                verdict = (verdicts or {}).get(target.number)
                if verdict is None or target.outcome is None or not verdict.final or verdict.outcome in _UNFINISHED:
                    continue
                detail = f"It took longer; at first it was {target.outcome.value}. {verdict.detail}".strip()
                outcome = TargetOutcome(verdict.outcome, detail, self._clock(), sent[target.number].answer.value)
                if self._store.outcomes.amend(request, target, target.outcome, outcome, self._clock()):
                    news[request.id] = None
        self._verified_once = not away

    def _asked(self, source: str, away: set[str], ask: Callable[[Console], T]) -> T | None:
        """Return what a look shows; None where the data source is ``away``."""
        if source in away:
            return None
        try:
            return self._sessions().source(source).looking(ask)
        except (DataSourceError, BusyError, InputError):  # InputError: the configuration names it no more
            away.add(source)
            return None


def _unfinished(target: Target, since: datetime) -> Sent | None:
    """Return what is to be judged anew of a target that has not ended; None for any other."""
    ending = target.outcome is Outcome.ROLLING_BACK  # also where nothing was sent, as it was ending already
    if target.outcome not in _UNFINISHED or (target.intent_at is None and not ending):
        return None
    if target.outcome_at is None or target.outcome_at <= since:
        return None
    answer = Answer(target.answer) if target.answer else Answer.NONE
    if target.intent_at is None:
        answer = Answer.NOT_ASKED
    return Sent(target.sent or target.session, answer)
