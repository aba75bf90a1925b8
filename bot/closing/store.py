"""Where closing requests and the record of what was done are kept: SQLite or a MySQL-compatible server."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from bot.access import Person
from bot.closing.model import Approval, CardPlace, ClosingRequest, Outcome, State, Target
from bot.errors import StoreError
from bot.sessions.model import Mode, Session

_metadata = sa.MetaData()

# Times are epoch seconds: no database's idea of time zones can get between.
_requests = sa.Table(
    "closing_requests",
    _metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("source", sa.String(64), nullable=False),
    sa.Column("mode", sa.String(16), nullable=False),
    sa.Column("approval", sa.String(16), nullable=False),
    sa.Column("requester", sa.String(32), nullable=False),
    sa.Column("requester_team", sa.String(32), nullable=False),
    sa.Column("channel", sa.String(32), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("expires_at", sa.Double, nullable=False),
    sa.Column("decided_by", sa.String(32)),
    sa.Column("decided_team", sa.String(32)),
    sa.Column("decided_at", sa.Double),
    sa.Column("decided_mode", sa.String(16)),
    sa.Column("card_channel", sa.String(32)),
    sa.Column("card_ts", sa.String(32)),
    sa.Column("session", sa.Text, nullable=False),  # the whole row as it was when asked for, JSON
    sa.Column("intent_at", sa.Double),
    sa.Column("outcome", sa.String(32)),
    sa.Column("detail", sa.Text),
    sa.Column("outcome_at", sa.Double),
)

_audit = sa.Table(
    "audit",
    _metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("event", sa.String(32), nullable=False),
    sa.Column("person", sa.String(32)),
    sa.Column("team", sa.String(32)),
    sa.Column("channel", sa.String(32)),
    sa.Column("request_id", sa.String(32), index=True),
    sa.Column("details", sa.Text, nullable=False),  # JSON
)


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
            _metadata.create_all(self._engine)
        except SQLAlchemyError as error:
            raise _failed(error) from error

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def add(self, request: ClosingRequest) -> None:
        """Write a new request and its record."""
        with self._transaction() as connection:
            connection.execute(
                _requests.insert().values(
                    id=request.id,
                    state=request.state.value,
                    source=request.source,
                    mode=request.mode.value,
                    approval=request.approval.value,
                    requester=request.requester.id,
                    requester_team=request.requester.team,
                    channel=request.channel,
                    reason=request.reason,
                    created_at=request.created_at.timestamp(),
                    expires_at=request.expires_at.timestamp(),
                    session=json.dumps(asdict(request.target.session)),
                )
            )
            _record(
                connection, request.created_at, "request", request.requester, request.channel, request.id,
                {"mode": request.mode.value, "reason": request.reason, "target": asdict(request.target.session)},
            )  # fmt: skip

    def get(self, request_id: str) -> ClosingRequest | None:
        """Look a request up; None when there is no such."""
        with self._transaction() as connection:
            row = connection.execute(sa.select(_requests).where(_requests.c.id == request_id)).mappings().first()
        return _to_request(row) if row else None

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
        with self._transaction() as connection:
            changed = connection.execute(
                _requests.update()
                .where(
                    _requests.c.id == request_id,
                    _requests.c.state == State.CLAIMED.value,
                    _requests.c.intent_at.is_(None),
                )
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

    def intend(self, request_id: str, sql: str, now: datetime) -> None:
        """Write that this KILL is about to be sent. Without this record nothing may be sent."""
        with self._transaction() as connection:
            changed = connection.execute(
                _requests.update()
                .where(
                    _requests.c.id == request_id,
                    _requests.c.state == State.CLAIMED.value,
                    _requests.c.intent_at.is_(None),
                )
                .values(intent_at=now.timestamp())
            ).rowcount
            if changed != 1:
                raise StoreError("This request was taken over in the meantime. Nothing was closed by this press.")
            _record(connection, now, "intent", None, None, request_id, {"sql": sql})

    def conclude(self, request_id: str, outcome: Outcome, detail: str, now: datetime) -> None:
        """Write what became of a claimed request and end it; once, however often it is called."""
        with self._transaction() as connection:
            changed = connection.execute(
                _requests.update()
                .where(_requests.c.id == request_id, _requests.c.state == State.CLAIMED.value)
                .values(state=State.DONE.value, outcome=outcome.value, detail=detail, outcome_at=now.timestamp())
            ).rowcount
            if changed == 1:
                details = {"outcome": outcome.value, "detail": detail}
                _record(connection, now, "outcome", None, None, request_id, details)

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
        with self._transaction() as connection:
            ids = connection.execute(sa.select(_requests.c.id).where(late)).scalars().all()
        for request_id in ids:
            with self._transaction() as connection:
                changed = connection.execute(
                    _requests.update().where(late, _requests.c.id == request_id).values(state=State.EXPIRED.value)
                ).rowcount
                if changed == 1:
                    _record(connection, now, "expire", None, None, request_id, {})
                    marked.append(request_id)
        return [request for request in map(self.get, marked) if request is not None]

    def abandoned(self, before: datetime) -> list[ClosingRequest]:
        """Requests claimed before that time and never concluded: a bot stopped in the middle."""
        with self._transaction() as connection:
            rows = connection.execute(
                sa.select(_requests).where(
                    _requests.c.state == State.CLAIMED.value, _requests.c.decided_at < before.timestamp()
                )
            ).mappings().all()  # fmt: skip
        return [_to_request(row) for row in rows]

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


def _to_request(row: sa.RowMapping) -> ClosingRequest:
    return ClosingRequest(
        id=row["id"],
        source=row["source"],
        mode=Mode(row["mode"]),
        requester=Person(row["requester"], row["requester_team"]),
        channel=row["channel"],
        reason=row["reason"],
        approval=Approval(row["approval"]),
        created_at=_time(row["created_at"]),
        expires_at=_time(row["expires_at"]),
        target=Target(
            session=Session(**json.loads(row["session"])),
            intent_at=_maybe_time(row["intent_at"]),
            outcome=Outcome(row["outcome"]) if row["outcome"] else None,
            detail=row["detail"] or "",
            outcome_at=_maybe_time(row["outcome_at"]),
        ),
        state=State(row["state"]),
        decided_by=Person(row["decided_by"], row["decided_team"]) if row["decided_by"] else None,
        decided_at=_maybe_time(row["decided_at"]),
        decided_mode=Mode(row["decided_mode"]) if row["decided_mode"] else None,
        card=CardPlace(row["card_channel"], row["card_ts"]) if row["card_ts"] else None,
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _maybe_time(seconds: float | None) -> datetime | None:
    return None if seconds is None else _time(seconds)
