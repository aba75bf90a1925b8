"""How much may be closed on one data source within a short time before somebody must agree to more."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from bot.access import Person
from bot.closing.model import Budget, ClosingRequest, Extension, State
from bot.closing.store import audit_log, tables
from bot.errors import BudgetError, RequestError

CALLED = "call for budget"  # the event of a message that calls for more; its number is the message's id
EXTENDED = "extend budget"  # the event that allows as much again, in answer to such a message

_requests = tables.requests


def require(connection: sa.Connection, request: ClosingRequest, planned: int, budget: Budget, now: datetime) -> None:
    """Raise ``BudgetError`` where the ``planned`` closes of a request would be too many besides all others.

    The caller holds the record's lock.
    """
    source, since = request.source, now - budget.window
    spent = connection.execute(
        sa.select(sa.func.coalesce(sa.func.sum(_requests.c.planned), 0)).where(
            _requests.c.source == source,
            _requests.c.id != request.id,
            _requests.c.decided_at > since.timestamp(),
            _requests.c.decided_at < (now + budget.window).timestamp(),  # later ones are of a clock that was wrong
            _requests.c.state.in_((State.CLAIMED.value, State.DONE.value)),
        )
    ).scalar_one()
    extended = _extended(connection, source, budget, now)
    allowed = _allowed(budget, extended)
    if int(spent) + planned > allowed:
        more = allowed + budget.most
        then = "press again" if int(spent) + planned <= more else "press again, to be told what is missing still"
        raise BudgetError(
            f"{int(spent)} sessions or queries were closed on {source} within {_within(budget)}; {allowed} are allowed "
            f"there, and this request would close {planned} more. Nothing was closed. Somebody who may approve for all "
            f"of {source} must extend the budget by {budget.most}, to {more}; then {then}.",
            source=source,
            extended=max((one.number for one in extended), default=0),
        )


def call(connection: sa.Connection, error: BudgetError, person: Person, channel: str, now: datetime) -> int:
    """Put on record that a message calls for what that error is about, and return its number.

    The caller holds the record's lock.
    """
    details = {"extended": error.extended}
    return audit_log.append(connection, now, CALLED, details, person=person, channel=channel, source=error.source)


def called(connection: sa.Connection, number: int) -> audit_log.Entry:
    """Look up what a message calls for; raises ``RequestError`` where that is not known, or not any more."""
    found = audit_log.entry(connection, number)
    if found is None or found.event != CALLED:
        raise RequestError(f"This message is not known any more. {_AGAIN}")
    return found


def extend(connection: sa.Connection, number: int, person: Person, budget: Budget, now: datetime) -> Extension:
    """Allow as much again in answer to the message of that number, unless somebody has since the refusal it tells of.

    So it is allowed once, whoever presses on whichever replica how often, and once for all messages about the same
    shortage. Raises ``RequestError`` when the time that the message is about is over. The caller holds the lock.
    """
    message = called(connection, number)
    source = message.source or ""
    if now - message.at >= budget.window:
        raise RequestError(f"This message is older than the {_within(budget)} that it is about. {_AGAIN}")
    extended = _extended(connection, source, budget, now)
    allowed = _allowed(budget, extended)
    since = [one for one in extended if one.number > message.details["extended"]]
    if since:
        by, closes = since[-1].person or person, _closes(since[-1], budget)
        return Extension(source, by, closes, allowed, _within(budget), added=False)
    details = {"closes": budget.most, "seconds": budget.window.total_seconds(), "call": number}
    audit_log.append(connection, now, EXTENDED, details, person=person, channel=message.channel, source=source)
    return Extension(source, person, budget.most, allowed + budget.most, _within(budget), added=True)


_AGAIN = (
    "Your press allows nothing more. Press Close on the card again; if that is still too much, a new message says so."
)


def _extended(connection: sa.Connection, source: str, budget: Budget, now: datetime) -> list[audit_log.Entry]:
    return [
        one
        for one in audit_log.entries(connection, since=now - budget.window, event=EXTENDED)
        if one.source == source and one.at < now + budget.window
    ]


def _allowed(budget: Budget, extended: list[audit_log.Entry]) -> int:
    """How many closes are allowed: the number that somebody agreed to counts, whatever the budget is now."""
    return budget.most + sum(_closes(one, budget) for one in extended)


def _closes(extension: audit_log.Entry, budget: Budget) -> int:
    return int(extension.details.get("closes", budget.most))


def _within(budget: Budget) -> str:
    return f"{budget.window.total_seconds() / 60:g} min"
