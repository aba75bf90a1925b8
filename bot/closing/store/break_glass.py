"""Confirming alone: allowed after break-glass, stopped, lifted again, and reviewed afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import sqlalchemy as sa

from bot.access import Person
from bot.closing.model import Call, ClosingRequest, State, Stop
from bot.closing.store import audit_log, tables
from bot.closing.store.database import Database, tried_again
from bot.closing.store.requests import StoredRequests, is_open, read, show_anew
from bot.sessions.model import Session

_requests = tables.requests


class BreakGlassRecords:
    """Who may confirm alone from when on, whom that was told, and whose Stop is in the way."""

    def __init__(self, database: Database, requests: StoredRequests) -> None:
        self._database = database
        self._stored = requests

    @tried_again
    def allow(
        self,
        request: ClosingRequest,
        person: Person,
        now: datetime,
        *,
        alone_from: datetime,
        expires_at: datetime,
        called_at: datetime,
        calls: Sequence[Call],
    ) -> bool:
        """Let the requester of an open request confirm it alone after a while, for its reason; True the first time.

        Not where a Stop holds for its sessions by now: somebody may have pressed it while others were called.
        """
        still = sa.and_(is_open(request), _requests.c.expires_at > now.timestamp(), _requests.c.alone_from.is_(None))
        allowed = {
            "alone_from": alone_from.timestamp(),
            "expires_at": expires_at.timestamp(),
            "reason": request.reason,
            "called_at": called_at.timestamp(),
            "calls": tables.calls_value(calls),
        }
        with self._database.writing() as connection:
            if stops(connection, [target.session for target in request.targets]):
                return False
            if connection.execute(_requests.update().where(still).values(allowed)).rowcount != 1:
                return False
            called = [one.person for one in calls]
            details = {"reason": request.reason, "alone_from": alone_from.isoformat(), "called": called}
            audit_log.append_for(connection, request, now, "break glass", details, person)
        return True

    def stops(self, sessions: Iterable[Session]) -> tuple[Stop, ...]:
        """Return the Stops that hold for these sessions, newest first."""
        with self._database.reading() as connection:
            return stops(connection, sessions)

    @tried_again
    def lift(self, stops: Iterable[Stop], person: Person, now: datetime) -> None:
        """Let these Stops hold no more."""
        lifted = {"lifted_by": person.id, "lifted_team": person.team, "lifted_at": now.timestamp()}
        with self._database.writing() as connection:
            for stop in stops:
                which = sa.and_(_requests.c.id == stop.stopped.id, is_stopped())
                if connection.execute(_requests.update().where(which).values(lifted)).rowcount == 1:
                    audit_log.append_for(connection, stop.stopped, now, "lift stop", {}, person)

    def to_review(self) -> list[ClosingRequest]:
        """Requests that were confirmed alone and that nobody has signed, newest first."""
        return self._stored.where(is_to_review())

    @tried_again
    def review(self, request: ClosingRequest, person: Person, now: datetime) -> bool:
        """Sign what was confirmed alone; True only the first time."""
        which = sa.and_(_requests.c.id == request.id, is_to_review())
        signed = {"reviewed_by": person.id, "reviewed_team": person.team, "reviewed_at": now.timestamp()}
        with self._database.writing() as connection:
            changed = connection.execute(_requests.update().where(which).values(signed)).rowcount
            if changed == 1:
                audit_log.append_for(connection, request, now, "review", {}, person)
                show_anew(connection, request)
        return changed == 1


def stops(connection: sa.Connection, sessions: Iterable[Session]) -> tuple[Stop, ...]:
    """Return the Stops that hold for these sessions, newest first, within a transaction."""
    sessions = tuple(sessions)
    found = []
    for request in read(connection, is_stopped()):
        held = next(filter(request.is_about, sessions), None)
        if held is not None and request.decided_by is not None and request.decided_at is not None:
            found.append(Stop(request, request.decided_by, request.decided_at, held.id))
    return tuple(found)


def end_others(
    connection: sa.Connection, stopped: ClosingRequest, person: Person, now: datetime
) -> list[ClosingRequest]:
    """End every break-glass for these sessions that is under way, within the transaction that stops one of them.

    Return the requests as they were before.
    """
    under_way = sa.and_(_requests.c.state == State.OPEN.value, _requests.c.alone_from.is_not(None))
    sessions = [target.session for target in stopped.targets]
    others = [one for one in read(connection, under_way) if any(map(one.is_about, sessions))]
    for one in others:
        ended = {"alone_from": None, "called_at": None, "calls": None}
        connection.execute(_requests.update().where(_requests.c.id == one.id).values(ended))
        audit_log.append_for(connection, one, now, "end break glass", {}, person)
    return others


def is_to_review() -> sa.ColumnElement[bool]:
    """What ``ClosingRequest.to_review`` says, for the database."""
    alone = sa.and_(_requests.c.alone_from.is_not(None), _requests.c.decided_by == _requests.c.requester)
    return sa.and_(_requests.c.state == State.DONE.value, alone, _requests.c.reviewed_by.is_(None))


def is_stopped() -> sa.ColumnElement[bool]:
    """Whether somebody has stopped a break-glass, and nobody has lifted that, for the database."""
    stopped = sa.and_(_requests.c.stopped.is_(True), _requests.c.lifted_by.is_(None))
    return sa.and_(_requests.c.state == State.CANCELLED.value, stopped)
