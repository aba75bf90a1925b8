"""Where closing requests and the record of what was done are kept: SQLite or a MySQL-compatible server."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from bot.access import Person
from bot.closing import tables
from bot.closing.model import CardPlace, ClosingRequest, Finding, State, Target
from bot.errors import StoreError
from bot.sessions.model import Mode, Session
from bot.sessions.statement import cut

_requests, _targets, _audit = tables.requests, tables.targets, tables.audit

# Characters of SQL in the record of one request, shared by its targets: MySQL's TEXT holds 65,535 bytes.
_RECORDED_SQL = 4000


class Store:
    """Requests and record. Every method raises ``StoreError`` when the store does not answer."""

    def __init__(self, url: str) -> None:
        try:
            parsed = sa.engine.make_url(url)
            sqlite = parsed.get_backend_name() == "sqlite"
            arguments: dict[str, Any] = {"timeout": 5} if sqlite else {"connect_timeout": 3, "read_timeout": 6}
            self._engine = sa.create_engine(parsed, connect_args=arguments, pool_pre_ping=not sqlite)
        except (SQLAlchemyError, ImportError) as error:
            raise StoreError(f"The store's URL is not usable: {type(error).__name__}. See [store] url.") from error
        if sqlite:
            sa.event.listen(self._engine, "connect", _sqlite_durable)

    def create(self) -> None:
        """Make the tables where they are missing."""
        try:
            tables.create(self._engine)
        except SQLAlchemyError as error:
            raise _failed(error) from error

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def add(self, request: ClosingRequest) -> None:
        """Write a new request and its record."""
        with self._transaction() as connection:
            connection.execute(_requests.insert().values(tables.request_values(request)))
            connection.execute(_targets.insert(), tables.target_values(request))
            _record(
                connection, request.created_at, "request", request.requester, request.channel, request.id,
                {
                    "mode": request.mode.value, "reason": request.reason, "question": request.question,
                    "targets": [_recorded(target, _RECORDED_SQL // len(request.targets)) for target in request.targets],
                    "untouched": [asdict(one) for one in request.untouched], "matching": request.matching,
                },
            )  # fmt: skip

    def get(self, request_id: str) -> ClosingRequest | None:
        """Look a request up; None when there is no such."""
        with self._transaction() as connection:
            row = connection.execute(sa.select(_requests).where(_requests.c.id == request_id)).mappings().first()
            if row is None:
                return None
            targets = connection.execute(
                sa.select(_targets).where(_targets.c.request_id == request_id).order_by(_targets.c.number)
            ).mappings().all()  # fmt: skip
        return tables.to_request(row, targets)

    def claim(self, request_id: str, person: Person, mode: Mode, now: datetime) -> bool:
        """Take an open, unexpired request for one press. True for exactly one caller ever, replicas included."""
        return self._decide(request_id, State.CLAIMED, person, now, "confirm", {"mode": mode.value}, mode)

    def cancel(self, request_id: str, person: Person, now: datetime) -> bool:
        """End an open, unexpired request without a close."""
        return self._decide(request_id, State.CANCELLED, person, now, "cancel", {}, None)

    def _decide(
        self, request_id: str, state: State, person: Person, now: datetime, event: str, details: dict[str, Any],
        mode: Mode | None,
    ) -> bool:  # fmt: skip
        with self._transaction() as connection:
            changed = connection.execute(
                _requests.update()
                .where(
                    _requests.c.id == request_id,
                    _requests.c.state == State.OPEN.value,
                    _requests.c.expires_at > now.timestamp(),
                )
                .values(
                    state=state.value,
                    decided_by=person.id,
                    decided_team=person.team,
                    decided_at=now.timestamp(),
                    decided_mode=mode.value if mode else None,
                )
            ).rowcount
            if changed == 1:
                _record(connection, now, event, person, None, request_id, details)
        return changed == 1

    def release(self, request_id: str, now: datetime, why: str) -> None:
        """Open a claimed request again because nothing was sent to the database; never after an intent."""
        intended = sa.exists().where(_targets.c.request_id == request_id, _targets.c.intent_at.is_not(None))
        with self._transaction() as connection:
            changed = connection.execute(
                _requests.update()
                .where(_requests.c.id == request_id, _requests.c.state == State.CLAIMED.value, ~intended)
                .values(
                    state=State.OPEN.value,
                    decided_by=None,
                    decided_team=None,
                    decided_at=None,
                    decided_mode=None,
                )
            ).rowcount
            if changed == 1:
                _record(connection, now, "release", None, None, request_id, {"why": why})

    def intend(self, request_id: str, target: Target, sql: str, now: datetime) -> None:
        """Write that this KILL is about to be sent. Without this record nothing may be sent."""
        claimed = sa.exists().where(_requests.c.id == request_id, _requests.c.state == State.CLAIMED.value)
        with self._transaction() as connection:
            changed = connection.execute(
                _targets.update()
                .where(
                    _targets.c.request_id == request_id,
                    _targets.c.number == target.number,
                    _targets.c.intent_at.is_(None),
                    _targets.c.outcome.is_(None),
                    claimed,
                )
                .values(intent_at=now.timestamp())
            ).rowcount
            if changed != 1:
                raise StoreError("This request was taken over in the meantime. Nothing was closed by this press.")
            _record(connection, now, "intent", None, None, request_id, {**_named(target), "sql": sql})

    def conclude(self, request: ClosingRequest, findings: Mapping[int, Finding], now: datetime) -> None:
        """Write what became of targets of a claimed request, each once, however often it is called.

        The request ends with the last of its targets.
        """
        claimed = sa.exists().where(_requests.c.id == request.id, _requests.c.state == State.CLAIMED.value)
        waiting = sa.exists().where(_targets.c.request_id == request.id, _targets.c.outcome.is_(None))
        with self._transaction() as connection:
            for target in request.targets:
                finding = findings.get(target.number)
                if finding is None:
                    continue
                details = {"outcome": finding.outcome.value, "detail": finding.detail}
                changed = connection.execute(
                    _targets.update()
                    .where(
                        _targets.c.request_id == request.id,
                        _targets.c.number == target.number,
                        _targets.c.outcome.is_(None),
                        claimed,
                    )
                    .values(**details, outcome_at=finding.at.timestamp())
                ).rowcount
                if changed == 1:
                    _record(connection, now, "outcome", None, None, request.id, {**_named(target), **details})
            connection.execute(
                _requests.update()
                .where(_requests.c.id == request.id, _requests.c.state == State.CLAIMED.value, ~waiting)
                .values(state=State.DONE.value)
            )

    def place_card(self, request_id: str, place: CardPlace) -> None:
        """Remember where the card stands."""
        with self._transaction() as connection:
            connection.execute(
                _requests.update()
                .where(_requests.c.id == request_id)
                .values(card_channel=place.channel, card_ts=place.ts)
            )

    def expire(self, now: datetime) -> list[ClosingRequest]:
        """Mark open requests that ran out of time; return those this call has marked."""
        late = sa.and_(_requests.c.state == State.OPEN.value, _requests.c.expires_at <= now.timestamp())
        marked = []
        for request_id in self._ids(late):
            with self._transaction() as connection:
                changed = connection.execute(
                    _requests.update().where(late, _requests.c.id == request_id).values(state=State.EXPIRED.value)
                ).rowcount
                if changed == 1:
                    _record(connection, now, "expire", None, None, request_id, {})
                    marked.append(request_id)
        return [request for request in map(self.get, marked) if request is not None]

    def recent(self, state: State, limit: int) -> list[ClosingRequest]:
        """The newest requests in that state, newest first."""
        newest = sa.select(_requests.c.id).where(_requests.c.state == state.value)
        with self._transaction() as connection:
            ids = connection.execute(newest.order_by(_requests.c.created_at.desc()).limit(limit)).scalars().all()
        return [request for request in map(self.get, ids) if request is not None]

    def abandoned(self, before: datetime) -> list[ClosingRequest]:
        """Requests claimed before that time and never concluded: a bot stopped in the middle."""
        left = sa.and_(_requests.c.state == State.CLAIMED.value, _requests.c.decided_at < before.timestamp())
        return [request for request in map(self.get, self._ids(left)) if request is not None]

    def record(self, now: datetime, event: str, person: Person, channel: str, details: dict[str, Any]) -> None:
        """Write an act that belongs to no request, for example a look at a whole SQL text."""
        with self._transaction() as connection:
            _record(connection, now, event, person, channel, None, details)

    def events(self, request_id: str) -> list[tuple[str, dict[str, Any]]]:
        """The record of one request, oldest first: event and details."""
        with self._transaction() as connection:
            rows = connection.execute(
                sa.select(_audit.c.event, _audit.c.details)
                .where(_audit.c.request_id == request_id)
                .order_by(_audit.c.id)
            ).all()
        return [(event, json.loads(details)) for event, details in rows]

    def check(self) -> None:
        """Read something. An SQLite file that was taken away would else be written to unseen until the bot ends."""
        self.get("")
        file = self._engine.url.database if self._engine.url.get_backend_name() == "sqlite" else None
        if file and file != ":memory:" and not Path(file).exists():
            raise StoreError("The store's file is gone. Put it back, or restart the bot. Check [store] url.")

    def _ids(self, which: sa.ColumnElement[bool]) -> list[str]:
        with self._transaction() as connection:
            return list(connection.execute(sa.select(_requests.c.id).where(which)).scalars().all())

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise _failed(error) from error


def _failed(error: SQLAlchemyError) -> StoreError:
    return StoreError(
        f"The store of requests and records does not answer ({type(error).__name__}). "
        "Nothing is closed without a record. Check [store] url, its disk or its database."
    )


def _sqlite_durable(connection: Any, _record: Any) -> None:
    # WAL lets lists be read while a close is recorded; FULL keeps the record through a power cut.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


def _record(
    connection: sa.Connection, at: datetime, event: str, person: Person | None, channel: str | None,
    request_id: str | None, details: dict[str, Any],
) -> None:  # fmt: skip
    connection.execute(
        _audit.insert().values(
            at=at.timestamp(),
            event=event,
            person=person.id if person else None,
            team=person.team if person else None,
            channel=channel,
            request_id=request_id,
            details=json.dumps(details),
        )
    )


def _named(target: Target) -> dict[str, Any]:
    return {"target": target.number, "id": target.session.id, "server": target.session.server}


def _recorded(target: Target, sql_characters: int) -> dict[str, Any]:
    session: Session = target.session
    if session.sql:
        session = replace(session, sql=cut(session.sql, sql_characters))
    return {"target": target.number, **asdict(session)}
