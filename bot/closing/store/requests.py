"""Requests as they are kept: written once, looked up, let expire."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from bot.access import Person
from bot.closing.model import ClosingRequest, State, Target
from bot.closing.store import audit_log, session_json, tables
from bot.closing.store.database import Database, tried_again
from bot.errors import AnsweredElsewhereError, RequestError

# Characters of SQL in the record of one request, shared by its targets: MySQL's TEXT holds 65,535 bytes.
_RECORDED_SQL = 4000

_AT_ONCE = 500  # ids that one statement names

_requests, _targets = tables.requests, tables.targets


class StoredRequests:
    """Every request, open or over."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @tried_again
    def add(
        self, *requests: ClosingRequest, follows: ClosingRequest | None = None, delivery: str = ""
    ) -> list[ClosingRequest]:
        """Write new requests and their records; they ``follow`` one of whose targets something had changed.

        Return those that want a card. Where a replica that has fallen silent since has written them for the same
        ``delivery``, these are what it has left without one: nothing is written then. Raises ``AnsweredElsewhereError``
        where another replica has taken the delivery over.
        """
        owner = sa.select(tables.deliveries.c.owner).where(tables.deliveries.c.id == delivery)
        with self._database.writing() as connection:
            if delivery and connection.execute(owner).scalar() not in (None, self._database.owner):
                raise AnsweredElsewhereError("Another replica has taken this over.")
            try:
                for request in requests:
                    write(connection, request, follows)
            except IntegrityError:
                connection.rollback()
                audit_log.taken(connection)
                known = {one.id: one for one in read(connection, _requests.c.id.in_([one.id for one in requests]))}
                if not known:
                    raise
                left = [known[one.id] for one in requests if one.id in known]
                return [one for one in left if one.state is State.OPEN and one.card is None]
        return list(requests)

    def find(self, request_id: str) -> ClosingRequest | None:
        """Look a request up; None when there is no such."""
        return next(iter(self.where(_requests.c.id == request_id)), None)

    def get(self, request_id: str) -> ClosingRequest:
        """Look a request up that a card stands for; raises ``RequestError`` when there is no such."""
        request = self.find(request_id)
        if request is None:
            raise RequestError("This closing request is unknown. Nothing was closed. Ask again with /kill-session ID.")
        return request

    def those(self, request_ids: Collection[str]) -> dict[str, ClosingRequest]:
        """Look several requests up; those that are not there are left out."""
        ids = sorted(request_ids)
        parts = [ids[start : start + _AT_ONCE] for start in range(0, len(ids), _AT_ONCE)]
        return {one.id: one for part in parts for one in self.where(_requests.c.id.in_(part))}

    def recent(self, state: State, limit: int) -> list[ClosingRequest]:
        """The newest requests in that state, newest first."""
        return self.where(_requests.c.state == state.value, limit)

    def where(self, which: sa.ColumnElement[bool], limit: int | None = None) -> list[ClosingRequest]:
        """Read the requests of which that holds, newest first."""
        with self._database.reading() as connection:
            return read(connection, which, limit)

    def expire(self, now: datetime, carried_out: Collection[str] = ()) -> list[ClosingRequest]:
        """Mark open requests that ran out of time; return those this call has marked.

        Not those that are ``carried_out``: they are open in a file that was replaced since they were confirmed.
        """
        late = sa.and_(_requests.c.state == State.OPEN.value, _requests.c.expires_at <= now.timestamp())
        found = self.where(sa.and_(late, _requests.c.id.not_in(carried_out)))
        return [replace(one, state=State.EXPIRED) for one in found if self._expire(one, late, now)]

    @tried_again
    def _expire(self, request: ClosingRequest, late: sa.ColumnElement[bool], now: datetime) -> bool:
        with self._database.writing() as connection:
            expired = _requests.update().where(late, _requests.c.id == request.id).values(state=State.EXPIRED.value)
            changed = connection.execute(expired).rowcount
            if changed == 1:
                audit_log.append_for(connection, request, now, "expire", {})
        return changed == 1

    @tried_again
    def note(
        self, now: datetime, event: str, details: Mapping[str, Any], *, person: Person, request: ClosingRequest
    ) -> None:
        """Write an act that changes nothing of a request, for example a press that was refused."""
        named = {**details, "tenants": list({target.session.tenant: None for target in request.targets})}
        with self._database.writing() as connection:
            audit_log.append_for(connection, request, now, event, named, person)


def write(
    connection: sa.Connection, request: ClosingRequest, follows: ClosingRequest | None, *, targets: bool = True
) -> None:
    """Write a new request and its record within a transaction; without ``targets`` the caller gives it those."""
    first = follows.id if follows is not None else None
    connection.execute(_requests.insert().values(tables.request_values(request) | {"follows": first}))
    if targets:
        connection.execute(_targets.insert(), tables.target_values(request))
    details = {
        "mode": request.mode.value,
        "reason": request.reason,
        "question": request.filter_text,
        "approval": request.approval.value,
        "override": request.protection,
        "targets": [_recorded(target, _RECORDED_SQL // len(request.targets)) for target in request.targets],
        "untouched": [asdict(one) for one in request.untouched],
        "matching": request.matching,
        **({"follows": first} if first is not None else {}),
    }
    audit_log.append_for(connection, request, request.created_at, "request", details, request.requester)


def read(connection: sa.Connection, which: sa.ColumnElement[bool], limit: int | None = None) -> list[ClosingRequest]:
    """Read the requests of which that holds, newest first, within a transaction."""
    chosen = sa.select(_requests).where(which).order_by(_requests.c.created_at.desc()).limit(limit)
    rows = connection.execute(chosen).mappings().all()
    ids = [row["id"] for row in rows]
    targets: dict[str, list[sa.RowMapping]] = {}
    for start in range(0, len(ids), _AT_ONCE):
        theirs = _targets.c.request_id.in_(ids[start : start + _AT_ONCE])
        for one in connection.execute(sa.select(_targets).where(theirs).order_by(_targets.c.number)).mappings():
            targets.setdefault(one["request_id"], []).append(one)
    return [tables.to_request(row, targets.get(row["id"], [])) for row in rows]


def is_open(request: ClosingRequest) -> sa.ColumnElement[bool]:
    """Whether it is still open, for the database."""
    return sa.and_(_requests.c.id == request.id, _requests.c.state == State.OPEN.value)


def show_anew(connection: sa.Connection, request: ClosingRequest) -> None:
    """Let its card be rewritten until Slack has taken it: it tells what is so no more."""
    connection.execute(_requests.update().where(_requests.c.id == request.id).values(shown=False))


def _recorded(target: Target, sql_characters: int) -> dict[str, Any]:
    return {"target": target.number, **session_json.kept(target.session, sql_characters)}
