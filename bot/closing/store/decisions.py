"""What a press decides of an open request: it is taken for a close, or ended without one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from bot.access import Person
from bot.closing.model import Budget, ClosingRequest, State
from bot.closing.store import audit_log, break_glass, budget, leases, tables
from bot.closing.store.database import Database, tried_again
from bot.closing.store.requests import is_open, write
from bot.sessions.model import Mode

_requests, _targets = tables.requests, tables.targets


class Decisions:
    """Each request is decided once, whoever presses where: of several presses one finds it open."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @tried_again
    def claim(
        self,
        request: ClosingRequest,
        person: Person,
        mode: Mode,
        now: datetime,
        within: Budget | None = None,
        *,
        delivery: str = "",
        planned: int | None = None,
        left: ClosingRequest | None = None,
        approved: bool = False,
    ) -> bool:
        """Take an open, unexpired request for one press. True for exactly one caller ever, replicas included.

        Its other targets go to the request that is ``left`` open, if any. ``planned`` is how many closes it counts
        for, all of its targets where that is not said. Where no second person has ``approved`` it, it is taken only
        while no Stop holds for its sessions, and after break-glass only while that has not ended.

        Until its lease ends no other replica takes it over. A press whose ``delivery`` has taken it before, and was
        given up, does not take it again.
        Raises ``BudgetError`` where it would close more than may be closed on its data source ``within`` a time.
        """
        planned = request.affected(mode) if planned is None else planned
        claimed = {"decided_mode": mode.value, "planned": planned, "pressed": delivery or None}
        which = sa.or_(_requests.c.pressed.is_(None), _requests.c.pressed != (delivery or None))
        if request.alone_from is not None and not approved:
            which = sa.and_(which, _requests.c.alone_from.is_not(None))
        with self._database.writing() as connection:
            if not approved and break_glass.stops(connection, [target.session for target in request.targets]):
                return False
            if not _decide(
                connection, request, State.CLAIMED, person, now, which, claimed | leases.lease(self._database)
            ):
                return False
            audit_log.append_for(connection, request, now, "confirm", {"mode": mode.value}, person)
            if within is not None:  # whoever comes too late is told that, not that it is too much
                budget.require(connection, request, planned, within, now)
            _leave_open(connection, request, left)
        return True

    @tried_again
    def cancel(
        self, request: ClosingRequest, person: Person, now: datetime, left: ClosingRequest | None = None
    ) -> bool:
        """End an open, unexpired request without a close; its other targets go to the one that is ``left`` open."""
        with self._database.writing() as connection:
            return _cancel(connection, request, person, now, left, stops=False)

    @tried_again
    def stop(
        self, request: ClosingRequest, person: Person, now: datetime, left: ClosingRequest | None = None
    ) -> list[ClosingRequest] | None:
        """Cancel a request to stop its break-glass, and end every other one for its sessions in the same moment.

        Return those others as they were before; None where it was not open any more.
        """
        with self._database.writing() as connection:
            if not _cancel(connection, request, person, now, left, stops=True):
                return None
            return break_glass.end_others(connection, request, person, now)


def _cancel(
    connection: sa.Connection,
    request: ClosingRequest,
    person: Person,
    now: datetime,
    left: ClosingRequest | None,
    *,
    stops: bool,
) -> bool:
    if not _decide(connection, request, State.CANCELLED, person, now, sa.true(), {"stopped": stops}):
        return False
    audit_log.append_for(connection, request, now, "cancel", {"stopped": True} if stops else {}, person)
    _leave_open(connection, request, left)
    return True


def _decide(
    connection: sa.Connection,
    request: ClosingRequest,
    state: State,
    person: Person,
    now: datetime,
    which: sa.ColumnElement[bool],
    more: Mapping[str, Any],
) -> bool:
    decided = {
        "state": state.value,
        "decided_by": person.id,
        "decided_team": person.team,
        "decided_at": now.timestamp(),
        **more,
    }
    still = sa.and_(is_open(request), _requests.c.expires_at > now.timestamp(), which)
    return connection.execute(_requests.update().where(still).values(decided)).rowcount == 1


def _leave_open(connection: sa.Connection, request: ClosingRequest, left: ClosingRequest | None) -> None:
    """Move the other targets to the request that is left open: a store's account need not be able to delete."""
    if left is None:
        return
    write(connection, left, request, targets=False)
    kept = [target.number for target in request.targets]
    of_it = _targets.c.request_id == request.id
    others = sa.select(_targets.c.number).where(of_it, _targets.c.number.not_in(kept)).order_by(_targets.c.number)
    for number, target in zip(connection.execute(others).scalars().all(), left.targets, strict=True):
        moved = {"request_id": left.id, "number": target.number}
        connection.execute(_targets.update().where(of_it, _targets.c.number == number).values(moved))
    connection.execute(_requests.update().where(_requests.c.id == request.id).values(matching=request.matching))
