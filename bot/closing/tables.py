"""The tables of the store, and how requests become rows and rows become requests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import MISSING, asdict, fields
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from bot.access import Person
from bot.closing.model import Approval, CardPlace, ClosingRequest, Outcome, State, Target, Untouched
from bot.sessions.model import Mode, Session

metadata = sa.MetaData()

# Times are epoch seconds: no database's idea of time zones can get between.
requests = sa.Table(
    "closing_requests",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("source", sa.String(64), nullable=False),
    sa.Column("mode", sa.String(16), nullable=False),
    sa.Column("approval", sa.String(16), nullable=False),
    sa.Column("requester", sa.String(32), nullable=False),
    sa.Column("requester_team", sa.String(32), nullable=False),
    sa.Column("channel", sa.String(32), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("question", sa.Text, nullable=False),
    sa.Column("matching", sa.Integer, nullable=False),
    sa.Column("untouched", sa.Text, nullable=False),  # JSON
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("expires_at", sa.Double, nullable=False),
    sa.Column("decided_by", sa.String(32)),
    sa.Column("decided_team", sa.String(32)),
    sa.Column("decided_at", sa.Double),
    sa.Column("decided_mode", sa.String(16)),
    sa.Column("card_channel", sa.String(32)),
    sa.Column("card_ts", sa.String(32)),
)

targets = sa.Table(
    "closing_targets",
    metadata,
    sa.Column("request_id", sa.String(32), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("session", sa.Text, nullable=False),  # the whole row as it was when asked for, JSON
    sa.Column("intent_at", sa.Double),
    sa.Column("outcome", sa.String(32)),
    sa.Column("detail", sa.Text),
    sa.Column("outcome_at", sa.Double),
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("event", sa.String(32), nullable=False),
    sa.Column("person", sa.String(32)),
    sa.Column("team", sa.String(32)),
    sa.Column("channel", sa.String(32)),
    sa.Column("request_id", sa.String(32), index=True),
    sa.Column("details", sa.Text, nullable=False),  # JSON
)


def create(engine: sa.Engine) -> None:
    """Make the tables where they are missing.

    Requests of the time when each had one session, in the request's own row, are put aside under another
    name: they ran out long ago, and what came of them is in the audit.
    """
    older = sa.inspect(engine)
    if older.has_table("closing_requests") and "session" in {c["name"] for c in older.get_columns("closing_requests")}:
        with engine.begin() as connection:
            if engine.dialect.name == "sqlite":  # where the name of an index is the whole database's
                connection.execute(sa.text("DROP INDEX IF EXISTS ix_closing_requests_state"))
            connection.execute(sa.text("ALTER TABLE closing_requests RENAME TO closing_requests_of_one"))
    metadata.create_all(engine)


def request_values(request: ClosingRequest) -> dict[str, Any]:
    """Return the row of a new request."""
    return {
        "id": request.id,
        "state": request.state.value,
        "source": request.source,
        "mode": request.mode.value,
        "approval": request.approval.value,
        "requester": request.requester.id,
        "requester_team": request.requester.team,
        "channel": request.channel,
        "reason": request.reason,
        "question": request.question,
        "matching": request.matching,
        "untouched": json.dumps([asdict(one) for one in request.untouched]),
        "created_at": request.created_at.timestamp(),
        "expires_at": request.expires_at.timestamp(),
    }


def target_values(request: ClosingRequest) -> list[dict[str, Any]]:
    """Return the rows of a new request's targets."""
    return [
        {"request_id": request.id, "number": target.number, "session": json.dumps(asdict(target.session))}
        for target in request.targets
    ]


def to_request(row: sa.RowMapping, target_rows: Sequence[sa.RowMapping]) -> ClosingRequest:
    """Read a request and its targets back."""
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
        targets=tuple(map(_to_target, target_rows)),
        untouched=tuple(Untouched(**one) for one in json.loads(row["untouched"])),
        question=row["question"],
        matching=row["matching"],
        state=State(row["state"]),
        decided_by=Person(row["decided_by"], row["decided_team"]) if row["decided_by"] else None,
        decided_at=_maybe_time(row["decided_at"]),
        decided_mode=Mode(row["decided_mode"]) if row["decided_mode"] else None,
        card=CardPlace(row["card_channel"], row["card_ts"]) if row["card_ts"] else None,
    )


def _to_target(row: sa.RowMapping) -> Target:
    return Target(
        number=row["number"],
        session=_to_session(row["session"]),
        intent_at=_maybe_time(row["intent_at"]),
        outcome=Outcome(row["outcome"]) if row["outcome"] else None,
        detail=row["detail"] or "",
        outcome_at=_maybe_time(row["outcome_at"]),
    )


def _to_session(text: str) -> Session:
    """Read a session that another version of the bot may have written.

    What it did not know is None, which no pin matches: such a session is not closed.
    """
    kept = json.loads(text)
    return Session(
        **{one.name: kept.get(one.name) for one in fields(Session) if one.name in kept or one.default is MISSING}
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _maybe_time(seconds: float | None) -> datetime | None:
    return None if seconds is None else _time(seconds)
