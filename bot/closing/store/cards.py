"""Where the cards of requests stand in Slack, and which of them do not tell yet how it ended."""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa

from bot.closing.model import CardPlace, Clock, ClosingRequest, State
from bot.closing.store import tables
from bot.closing.store.database import Database, tried_again
from bot.closing.store.requests import StoredRequests

_SHOWN_LATER = timedelta(days=1)  # how long it is tried to show an outcome that Slack did not take
_BEING_SHOWN = timedelta(seconds=5)  # whoever decided it is still at it; shown twice it is the same

_requests = tables.requests


class Cards:
    """What is remembered of cards, so that they can be rewritten after a restart."""

    def __init__(self, database: Database, requests: StoredRequests, clock: Clock) -> None:
        self._database = database
        self._stored = requests
        self._clock = clock

    def place(self, request: ClosingRequest, place: CardPlace) -> None:
        """Remember where the card stands."""
        self._set(request, card_channel=place.channel, card_ts=place.ts)

    def mark_shown(self, request: ClosingRequest) -> None:
        """Remember that the card tells how the request ended; where more is known by now, that it must tell that."""
        self._set(request, shown=self._stored.find(request.id) == request)

    def unshown(self) -> list[ClosingRequest]:
        """Return requests that are over and whose cards could not be told so yet, or have no place."""
        now = self._clock()
        before = now - _BEING_SHOWN
        if not self._database.shared:  # then nobody is at what the process before this one decided
            before = max(before, self._database.opened)
        over = (State.DONE.value, State.CANCELLED.value, State.EXPIRED.value)
        decided = sa.func.coalesce(_requests.c.decided_at, _requests.c.expires_at)
        which = sa.and_(
            _requests.c.state.in_(over),
            _requests.c.shown.is_not(True),
            _requests.c.created_at > (now - _SHOWN_LATER).timestamp(),
            decided < before.timestamp(),
        )
        return self._stored.where(which)

    def missing(self) -> list[ClosingRequest]:
        """Return open requests that somebody's press has made and that have no card, as after a crash."""
        now = self._clock()
        made = sa.and_(_requests.c.follows.is_not(None), _requests.c.created_at < (now - _BEING_SHOWN).timestamp())
        which = sa.and_(_requests.c.state == State.OPEN.value, made, _requests.c.card_ts.is_(None))
        return [one for one in self._stored.where(which) if not one.expired(now)]

    def before_start(self, request: ClosingRequest) -> bool:
        """Whether a request was over before this process began."""
        return (request.decided_at or request.expires_at) < self._database.opened

    @tried_again
    def _set(self, request: ClosingRequest, **values: object) -> None:
        with self._database.writing() as connection:
            connection.execute(_requests.update().where(_requests.c.id == request.id).values(**values))
