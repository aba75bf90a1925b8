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
        row = _deliveries.c
        now, ours = self._database.now, row.id == delivery
        old = sa.not_(row.taken_at.between(now - REMEMBERED, now + REMEMBERED))  # or of before a clock was set back
        held = row.lease_until.between(now, now + 6 * leases.LEASE.total_seconds())
        kept = sa.select(row.id, row.owner, row.lease_until, held.label("held")).where(sa.or_(ours, old))
        values = {"id": delivery, "taken_at": now, **leases.lease(self._database)}
        with self._database.writing() as connection:
            found = connection.execute(kept.order_by(sa.case((ours, 0), else_=1)).limit(1)).first()
            if found is None:
                connection.execute(_deliveries.insert().values(values))
            elif found.id == delivery and (found.lease_until is None or found.owner == self._database.owner):
                return Taken.ANSWERED
            elif found.id == delivery and self._database.shared and found.held:
                return Taken.UNDER_WAY
            else:
                connection.execute(_deliveries.update().where(row.id == found.id).values(values))
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

    def is_ours(self, delivery: str) -> bool:
        """Whether a delivery is still this process's: another one may have taken it over. Raises ``StoreError``."""
        with self._database.reading() as connection:
            ours = sa.select(_deliveries.c.id).where(self._own(), _deliveries.c.id == delivery)
            return connection.execute(ours).first() is not None

    def _own(self) -> sa.ColumnElement[bool]:
        return _deliveries.c.owner == self._database.owner
