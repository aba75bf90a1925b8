"""What is about to be sent, written before it is: a KILL without such a record may not leave the bot."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from bot.closing.model import ClosingRequest, State, Target
from bot.closing.store import audit_log, session_json, tables
from bot.closing.store.database import Database, tried_again
from bot.errors import StoreError
from bot.sessions.model import Session

_requests, _targets = tables.requests, tables.targets


class Intents:
    """The intents of claimed requests, while the claim is this process's own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @tried_again
    def intend(self, request: ClosingRequest, target: Target, sql: str, now: datetime) -> None:
        """Write that this KILL is about to be sent. Without this record nothing may be sent."""
        still = sa.and_(
            is_target(request, target),
            _targets.c.intent_at.is_(None),
            _targets.c.outcome.is_(None),
            self._is_own(request),
        )
        with self._database.writing() as connection:
            changed = connection.execute(_targets.update().where(still).values(intent_at=now.timestamp())).rowcount
            if changed != 1:
                raise StoreError("This request was taken over in the meantime. Nothing was closed by this press.")
            audit_log.append_for(connection, request, now, "intent", {**named(target), "sql": sql})

    @tried_again
    def answered(self, request: ClosingRequest, target: Target, answer: str, session: Session) -> None:
        """Keep what the server answered to the KILL, and the session as it was looked at right before.

        That is for whoever must finish what this attempt cannot, and for all who look later.
        """
        still = sa.and_(is_target(request, target), _targets.c.outcome.is_(None), self._is_own(request))
        with self._database.writing() as connection:
            kept = {"answer": answer, "sent": session_json.written(session)}
            connection.execute(_targets.update().where(still).values(kept))

    @tried_again
    def withdraw(self, request: ClosingRequest, target: Target, why: str, now: datetime) -> None:
        """Write that an intent came to nothing: its attempt knows that no KILL was sent, and it counts as none."""
        with self._database.writing() as connection:
            withdraw(connection, self._database, request, target, why, now)

    def _is_own(self, request: ClosingRequest) -> sa.ColumnElement[bool]:
        return sa.exists().where(is_own(self._database, request))


def withdraw(
    connection: sa.Connection, database: Database, request: ClosingRequest, target: Target, why: str, now: datetime
) -> None:
    """Withdraw an intent within a transaction, where one stands."""
    standing = sa.and_(
        is_target(request, target),
        _targets.c.intent_at.is_not(None),
        _targets.c.outcome.is_(None),
        sa.exists().where(is_own(database, request)),
    )
    if connection.execute(_targets.update().where(standing).values(intent_at=None)).rowcount == 1:
        audit_log.append_for(connection, request, now, "withdraw", {**named(target), "why": why})


def is_own(database: Database, request: ClosingRequest) -> sa.ColumnElement[bool]:
    """Whether the request is this process's own: by this very claim, where it was read with one.

    An attempt that was thought dead must not send under the attempt of somebody else who took the request since.
    """
    return sa.and_(is_claimed(request), _requests.c.owner == database.owner)


def is_claimed(request: ClosingRequest) -> sa.ColumnElement[bool]:
    """Whether it is claimed, by the attempt that it was read with where there was one."""
    claimed = [_requests.c.id == request.id, _requests.c.state == State.CLAIMED.value]
    if request.decided_by is not None and request.decided_at is not None:
        claimed += [
            _requests.c.decided_by == request.decided_by.id,
            _requests.c.decided_at == request.decided_at.timestamp(),
        ]
    return sa.and_(*claimed)


def is_target(request: ClosingRequest, target: Target) -> sa.ColumnElement[bool]:
    """Whether it is that one, for the database."""
    return sa.and_(_targets.c.request_id == request.id, _targets.c.number == target.number)


def named(target: Target) -> dict[str, Any]:
    """Return what names a target on record."""
    session = target.session
    return {"target": target.number, "id": session.id, "server": session.server, "tenant": session.tenant}
