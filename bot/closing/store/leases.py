"""Whose a claimed request is: its owner renews a lease, and whoever falls silent is taken over from."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from bot.closing.model import ClosingRequest, State
from bot.closing.store import audit_log, tables
from bot.closing.store.database import Database, tried_again
from bot.closing.store.intents import is_claimed, is_own, withdraw
from bot.closing.store.requests import StoredRequests

# Whoever carries out an attempt renews its lease, by the store's clock: replicas' own may differ. After this time of
# silence another replica takes over.
LEASE = timedelta(seconds=20)

_requests, _targets = tables.requests, tables.targets


class Leases:
    """The claims of all processes that use the store."""

    def __init__(self, database: Database, requests: StoredRequests) -> None:
        self._database = database
        self._stored = requests

    @tried_again
    def renew(self, request: ClosingRequest | None = None) -> bool:
        """Put off the end of the leases of all that this process has claimed, or of one claim; True where there is any.

        A lease that has ended is renewed as well, where nobody has taken over.
        """
        mine = sa.and_(_requests.c.state == State.CLAIMED.value, _requests.c.owner == self._database.owner)
        which = is_own(self._database, request) if request is not None else mine
        with self._database.writing() as connection:
            return connection.execute(_requests.update().where(which).values(lease(self._database))).rowcount > 0

    def abandoned(self, carried_out: Collection[str]) -> list[ClosingRequest]:
        """Requests that nobody carries out any more; ``carried_out`` are those that this process does."""
        own = sa.and_(_requests.c.owner == self._database.owner, _requests.c.id.not_in(carried_out))
        left = sa.or_(self._left_behind(), own)
        return self._stored.where(sa.and_(_requests.c.state == State.CLAIMED.value, left))

    @tried_again
    def take_over(self, request: ClosingRequest) -> bool:
        """Take a claimed request from an owner that has ended or fallen silent; True for one caller.

        From then on the owner before, should it come back, neither sends anything for it nor writes of it.
        """
        free = sa.or_(_requests.c.owner == self._database.owner, self._left_behind())
        which = sa.and_(is_claimed(request), free)
        with self._database.writing() as connection:
            return connection.execute(_requests.update().where(which).values(lease(self._database))).rowcount == 1

    @tried_again
    def release(self, request: ClosingRequest, now: datetime, why: str, *, nothing_sent: bool = False) -> bool:
        """Open a claimed request again because nothing was sent to the database; never after an intent.

        ``nothing_sent`` is for the attempt itself, which knows that none of its intents came to anything.
        """
        intended = sa.exists().where(_targets.c.request_id == request.id, _targets.c.intent_at.is_not(None))
        which = sa.and_(is_own(self._database, request), ~intended)
        undecided = ("decided_by", "decided_team", "decided_at", "decided_mode", "planned", "owner", "lease_until")
        with self._database.writing() as connection:
            for target in request.targets if nothing_sent else ():
                withdraw(connection, self._database, request, target, why, now)
            opened = {"state": State.OPEN.value, **dict.fromkeys(undecided)}
            changed = connection.execute(_requests.update().where(which).values(opened)).rowcount
            if changed == 1:
                audit_log.append_for(connection, request, now, "release", {"why": why})
        return changed == 1

    def _left_behind(self) -> sa.ColumnElement[bool]:
        """Whether another owner's claim is its no more: a file has one process at a time, and that is this one."""
        others = sa.or_(_requests.c.owner.is_(None), _requests.c.owner != self._database.owner)
        if not self._database.shared:
            return others
        now = self._database.now
        # A version that knew no leases gave its attempts a minute.
        until = sa.func.coalesce(_requests.c.lease_until, _requests.c.decided_at + 60.0)
        # One that ends long after any that is given out now is of before the server's clock was set back.
        stale = _requests.c.lease_until > now + 6 * LEASE.total_seconds()
        return sa.and_(others, sa.or_(until <= now, stale))


def lease(database: Database) -> dict[str, Any]:
    """Return what makes a request this process's own for the time of a lease."""
    return {"owner": database.owner, "lease_until": database.now + LEASE.total_seconds()}
