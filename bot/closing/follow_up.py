"""What becomes of a close after its outcome is known: a client that comes back, a session that ends late."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from bot.closing.attempt import CloseAttempt, Timer
from bot.closing.model import Clock, ClosingRequest, Outcome, Target, TargetOutcome
from bot.closing.reconnection import SessionKey, client_of, key_of, newcomers_of, rests, runs_again
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
    """An attempt whose closed clients may come back, or run again what was closed."""

    request: ClosingRequest
    closed: dict[int, Session]  # as they were right before their KILLs, by the number of the target
    queries: dict[int, Session]  # the same of those whose queries alone were closed
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
        """Look, from now on, whether the clients that were closed come back, or run again what was closed."""
        kills = {
            number: one
            for number, one in attempt.sent.items()
            if attempt.outcomes[number].outcome is Outcome.CLOSED and one.known is not None
        }
        queries = {
            number: one.sent.session
            for number, one in attempt.sent.items()
            if attempt.outcomes[number].outcome is Outcome.QUERY_CLOSED
        }
        if not kills and not queries:
            return
        known = {key for one in kills.values() for key in one.known or ()}
        closed = {number: one.sent.session for number, one in kills.items()}
        with self._lock:
            self._watches.append(
                _Watch(attempt.request, closed, queries, known, self._timer() + COMES_BACK_WITHIN.total_seconds())
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
            back = self._back(watch, away)
            if not back:
                continue
            ids = {number: one.id for number, one in back.items()}
            if self._store.outcomes.came_back(watch.request, ids, self._clock()):
                news[watch.request.id] = None
            for number, one in back.items():
                watch.queries.pop(number, None)
                if watch.closed.pop(number, None) is not None:
                    watch.known.add(key_of(one))
        return [request for request in map(self._store.requests.find, news) if request is not None]

    def _back(self, watch: _Watch, away: set[str]) -> dict[int, Session]:
        """Look once at one of them; return what does again what was closed, by the number of the target."""
        source, known = watch.request.source, watch.known
        found: dict[int, Session] = {}
        if watch.queries:
            found |= self._asked(source, away, partial(runs_again, closed=watch.queries)) or {}
        if watch.closed:
            new = partial(newcomers_of, closed=watch.closed, known=known)
            found |= self._asked(source, away, new) or {}
        # Of those that rested without a transaction only such as held up others are followed.
        resting = {number: one for number, one in watch.closed.items() if number not in found and rests(one)}
        return found | (self._holding_again(source, resting, known) if resting and source not in away else {})

    def _holding_again(
        self, source: str, closed: Mapping[int, Session], known: Collection[SessionKey]
    ) -> dict[int, Session]:
        """Return the new sessions of the same clients that hold up others again, by the number of the target."""
        try:
            heads = [one.holder for one in self._sessions().source(source).waits().heads]
        except (DataSourceError, BusyError, InputError):
            return {}
        new = [one for one in heads if isinstance(one, Session) and key_of(one) not in known]
        pairs = (
            (number, one) for number, before in closed.items() for one in new if client_of(one) == client_of(before)
        )
        return dict(pairs)

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
