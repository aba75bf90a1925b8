"""How much may be closed on one data source within a short time before somebody must agree to more."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from bot.closing import record, tables
from bot.closing.model import Budget, State
from bot.errors import BudgetError

EXTENDED = "extend budget"  # the event that allows as much again

_requests = tables.requests


def require(connection: sa.Connection, source: str, planned: int, budget: Budget, now: datetime) -> None:
    """Raise ``BudgetError`` where ``planned`` more closes would be too many; the caller holds the record's lock."""
    since = now - budget.window
    spent = connection.execute(
        sa.select(sa.func.coalesce(sa.func.sum(_requests.c.planned), 0)).where(
            _requests.c.source == source,
            _requests.c.decided_at > since.timestamp(),
            _requests.c.state.in_((State.CLAIMED.value, State.DONE.value)),
        )
    ).scalar_one()
    extended = [one for one in record.entries(connection, since=since, event=EXTENDED) if one.source == source]
    allowed = budget.most * (1 + len(extended))
    if int(spent) + planned > allowed:
        minutes = budget.window.total_seconds() / 60
        raise BudgetError(
            f"{int(spent)} sessions or queries were closed on {source} within {minutes:g} min; {allowed} are allowed "
            f"there, and this request would close {planned} more. Nothing was closed. "
            f"Somebody who may approve must extend the budget by {budget.most}; then press again.",
            source=source,
        )
