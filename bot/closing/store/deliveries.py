"""Which of Slack's deliveries is whose: one that reaches two replicas is answered by one of them."""

from __future__ import annotations

import enum

import sqlalchemy as sa

from bot.closing.store import leases, tables
from bot.closing.store.database import Database, tried_again

# Seconds for which a delivery is remembered: Slack sends again within five minutes (docs/slack.md 1.5). The row of an
# older one is written over: a store's account need not be able to delete.
REMEMBERED = 3600.0

_deliveries = tables.deliveries


class Taken(enum.Enum):
    """Whose a delivery is."""

    OURS = "ours"  # from now on: nobody else answers it
    ANSWERED = "answered"
    UNDER_WAY = "under way"  # another replica is at it


class Deliveries:
    """The deliveries of the last hour. Who answers one has a lease, which ``leases.LEASE`` is the length of."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @tried_again
    def take(self, delivery: str) -> Taken:
        """Take a delivery: ours for exactly one caller, and for another one once that has fallen silent.

        ``delivery`` is what ``events.delivery_of`` names it by. Raises ``StoreError``.
        """
        row, now = _deliveries.c, self._database.now
        held = row.lease_until.between(
            now, now + 6 * leases.LEASE.total_seconds()
        )  # else of before a clock was set back
        whose = sa.select(row.owner, row.lease_until, held.label("held")).where(row.id == delivery)
        old = sa.select(row.id).where(row.taken_at < now - REMEMBERED).limit(1)
        values = {"id": delivery, "taken_at": now, **leases.lease(self._database)}
        with self._database.writing() as connection:
            found = connection.execute(whose).first()
            if found is not None and (found.lease_until is None or found.owner == self._database.owner):
                return Taken.ANSWERED
            if found is not None and self._database.shared and found.held:
                return Taken.UNDER_WAY
            written_over = delivery if found is not None else connection.execute(old).scalar()
            if written_over is None:
                connection.execute(_deliveries.insert().values(values))
            else:
                connection.execute(_deliveries.update().where(row.id == written_over).values(values))
        return Taken.OURS

    @tried_again
    def answered(self, delivery: str) -> None:
        """Note that a delivery of ours has had its answer. Raises ``StoreError``."""
        with self._database.writing() as connection:
            connection.execute(
                _deliveries.update().where(self._own(), _deliveries.c.id == delivery).values(lease_until=None)
            )

    @tried_again
    def renew(self) -> None:
        """Put off the end of the leases of all deliveries that this process answers. Raises ``StoreError``."""
        open_ = _deliveries.c.lease_until.is_not(None)
        with self._database.writing() as connection:
            connection.execute(_deliveries.update().where(self._own(), open_).values(leases.lease(self._database)))

    def _own(self) -> sa.ColumnElement[bool]:
        return _deliveries.c.owner == self._database.owner
