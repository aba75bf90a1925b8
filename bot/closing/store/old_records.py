"""Letting go of what is old, and the newest time that records themselves vouch for."""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa

from bot.closing.model import State
from bot.closing.store import audit_log, session_json, tables
from bot.closing.store.break_glass import is_stopped, is_to_review
from bot.closing.store.database import Database, tried_again

_requests, _targets = tables.requests, tables.targets


class OldRecords:
    """Records, and the requests that they are about."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @tried_again
    def forget(self, before: datetime, now: datetime) -> int:
        """Let go of records older than that, and of requests that nobody waits for; return how many records."""
        waited_for = sa.or_(
            _requests.c.state.in_((State.OPEN.value, State.CLAIMED.value)),
            is_to_review(),
            is_stopped(),
        )
        its_own = sa.and_(tables.audit.c.request_id == _requests.c.id, tables.audit.c.event == "request")
        recorded = sa.exists().where(its_own)
        with self._database.writing() as connection:
            _forget_what_ran(connection, before)
            forgotten = audit_log.forget(connection, before, now)
            # A request goes after its own record, which goes in its turn, whatever its time says.
            old = sa.and_(_requests.c.created_at < before.timestamp(), ~waited_for, ~recorded)
            connection.execute(_targets.delete().where(_targets.c.request_id.in_(sa.select(_requests.c.id).where(old))))
            connection.execute(_requests.delete().where(old))
            return forgotten

    def believed(self, keep: timedelta) -> float | None:
        """Return the time of the newest record of before the start that others a day and more older vouch for.

        That of the oldest where there is none such, None where there is no record. A clock that was wrong for a moment
        leaves records that stand alone.
        """
        if self._database.newest_at_start is None:
            return None
        audit, older = tables.audit.c, tables.audit.alias("older")
        day, keeps = 86_400_000_000, int(keep.total_seconds() * 1e6)
        vouched = sa.exists().where(older.c.at <= audit.at - day, older.c.at >= audit.at - keeps)
        up_to = audit.at <= int(self._database.newest_at_start * 1e6)
        with self._database.reading() as connection:
            newest = connection.execute(sa.select(sa.func.max(audit.at)).where(up_to, vouched)).scalar()
            if newest is None:
                newest = connection.execute(sa.select(sa.func.min(audit.at))).scalar()
        return newest / 1e6 if newest is not None else None


def _forget_what_ran(connection: sa.Connection, before: datetime) -> None:
    """Let go of the statements of old requests that stay for their Stop alone."""
    old = sa.select(_requests.c.id).where(_requests.c.created_at < before.timestamp(), is_stopped())
    rows = connection.execute(sa.select(_targets).where(_targets.c.request_id.in_(old))).mappings().all()
    for row in rows:
        which = sa.and_(_targets.c.request_id == row["request_id"], _targets.c.number == row["number"])
        connection.execute(
            _targets.update().where(which).values(session=session_json.without_statement(row["session"]))
        )
