"""The tables of the store, and how requests become rows and rows become requests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from bot.access import Person
from bot.closing.model import ApprovalPolicy, Call, CardPlace, ClosingRequest, Outcome, State, Target, Untouched
from bot.closing.store import session_json
from bot.sessions.model import Mode

# The version of what stands below; a store of an earlier one is brought to it at the start (``schema``). It goes up by
# one with each change.
SCHEMA = 1
# Bots that know this version may go on working on it. It goes up to SCHEMA where they would misread or spoil what is
# there; NEEDED is the first version of the bot that knows it.
OLDEST_SCHEMA, NEEDED = 1, "0.2.0"

metadata = sa.MetaData()
# Whatever a server's own defaults are: what is written is undone where it fails, every text fits, and ids differ by
# their case.
_ON_MYSQL: dict[str, Any] = {
    f"{name}_{key}": value
    for name in ("mysql", "mariadb")
    for key, value in (("engine", "InnoDB"), ("charset", "utf8mb4"), ("collate", "utf8mb4_bin"))
}

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
    sa.Column("shown", sa.Boolean),  # whether the card tells how it ended
    sa.Column("planned", sa.Integer),  # how many closes its claim counts for in the budget
    sa.Column("owner", sa.String(32)),  # the process that carries it out
    sa.Column("lease_until", sa.Double),  # by the store's clock: until then nobody else takes it over
    sa.Column("pressed", sa.String(32)),  # the delivery of the press that took it last
    sa.Column("override", sa.Text),
    sa.Column("alone_from", sa.Double),
    sa.Column("called_at", sa.Double),
    sa.Column("calls", sa.Text),  # JSON
    sa.Column("follows", sa.String(32)),  # the request whose press has made this one, whose card nobody has asked for
    sa.Column("stopped", sa.Boolean),  # whether it was cancelled to stop a break-glass
    sa.Column("lifted_by", sa.String(32)),  # who said that this holds no more
    sa.Column("lifted_team", sa.String(32)),
    sa.Column("lifted_at", sa.Double),
    sa.Column("reviewed_by", sa.String(32)),
    sa.Column("reviewed_team", sa.String(32)),
    sa.Column("reviewed_at", sa.Double),
    **_ON_MYSQL,
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
    sa.Column("answer", sa.String(32)),  # of the server to the KILL
    sa.Column("sent", sa.Text),  # the session as it was looked at right before the KILL, JSON
    sa.Column("newcomer", sa.BigInteger),  # the session that does the same since it was closed
    sa.Column("holder", sa.Text),  # the server session that still has a closed client's locks, JSON
    **_ON_MYSQL,
)

audit = sa.Table(
    "audit",
    metadata,
    # Counted by audit_head, without gaps: a missing number is a removed row.
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False),
    sa.Column("at", sa.BigInteger, nullable=False, index=True),  # microseconds since the epoch
    sa.Column("event", sa.String(32), nullable=False),
    sa.Column("person", sa.String(32)),
    sa.Column("team", sa.String(32)),
    sa.Column("channel", sa.String(32)),
    sa.Column("source", sa.String(64)),
    sa.Column("request_id", sa.String(32), index=True),
    sa.Column("details", sa.Text().with_variant(mysql.MEDIUMTEXT, "mysql", "mariadb"), nullable=False),  # JSON
    sa.Column("hash", sa.String(64), nullable=False),  # of this row and the hash of the row before
    **_ON_MYSQL,
)

# One row. Whoever writes takes its lock first, so that rows of several replicas make one chain.
audit_head = sa.Table(
    "audit_head",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("count", sa.BigInteger, nullable=False),  # the newest row's number
    sa.Column("hash", sa.String(64), nullable=False),  # the newest row's
    # Rows up to this number have been let go. Since that is itself on record, only an older version asks here.
    sa.Column("first", sa.BigInteger, nullable=False),
    sa.Column("first_hash", sa.String(64), nullable=False),
    # That it is there says that letting go is put on record in this store. It holds nothing.
    sa.Column("letting_go_recorded", sa.Boolean),
    # SCHEMA, OLDEST_SCHEMA and NEEDED of the newest bot that has prepared this store. They stand in this row so that
    # whoever takes its lock, as every writer does, finds out in the same moment whether it still may.
    sa.Column("schema_version", sa.Integer),
    sa.Column("oldest_schema", sa.Integer),
    sa.Column("needed", sa.String(32)),
    **_ON_MYSQL,
)

# What Slack has delivered of late, so that one of several replicas answers it.
deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("taken_at", sa.Double, nullable=False, index=True),
    sa.Column("owner", sa.String(32), nullable=False),  # the process that answers it
    sa.Column("lease_until", sa.Double),  # until then nobody else does; none once it has its answer
    **_ON_MYSQL,
)

# One row, in a store that is one process's: its time goes on from one process to the next.
clock = sa.Table(
    "store_clock",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("boot", sa.String(64), nullable=False),
    sa.Column("ahead", sa.Double, nullable=False),
    sa.Column("last", sa.Double, nullable=False),
    **_ON_MYSQL,
)


def is_older(connection: sa.Connection) -> bool:
    """Whether the store is of a version that did not put on record what it let go."""
    return audit_head.c.letting_go_recorded.name not in columns(connection, audit_head)


def columns(connection: sa.Connection, table: sa.Table) -> set[str]:
    """Return the names of the columns that a table has."""
    return set(connection.execute(sa.text(f"SELECT * FROM {table.name} LIMIT 0")).keys())


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
        "question": request.filter_text,
        "matching": request.matching,
        "untouched": json.dumps([_untouched(one) for one in request.untouched]),
        "created_at": request.created_at.timestamp(),
        "expires_at": request.expires_at.timestamp(),
        "override": json.dumps(request.override) if request.override else None,
    }


def _untouched(one: Untouched) -> dict[str, Any]:
    """Return what replicas of an older version, which may still be running, can read."""
    return {"session_id": one.session_id, "server": one.server, "why": one.why}


def target_values(request: ClosingRequest) -> list[dict[str, Any]]:
    """Return the rows of a new request's targets."""
    return [
        {
            "request_id": request.id,
            "number": target.number,
            "session": session_json.written(target.session, target.advice),
        }
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
        approval=ApprovalPolicy(row["approval"]),
        created_at=_time(row["created_at"]),
        expires_at=_time(row["expires_at"]),
        targets=tuple(map(_to_target, target_rows)),
        untouched=tuple(Untouched(**one) for one in json.loads(row["untouched"])),
        filter_text=row["question"],
        matching=row["matching"],
        state=State(row["state"]),
        decided_by=Person(row["decided_by"], row["decided_team"]) if row["decided_by"] else None,
        decided_at=_maybe_time(row["decided_at"]),
        decided_mode=Mode(row["decided_mode"]) if row["decided_mode"] else None,
        card=CardPlace(row["card_channel"], row["card_ts"]) if row["card_ts"] else None,
        override=_reasons(row["override"]),
        alone_from=_maybe_time(row["alone_from"]),
        called_at=_maybe_time(row["called_at"]),
        stopped=bool(row["stopped"]),
        calls=tuple(Call(person, CardPlace(*place)) for person, *place in json.loads(row["calls"] or "[]")),
        reviewed_by=Person(row["reviewed_by"], row["reviewed_team"]) if row["reviewed_by"] else None,
        reviewed_at=_maybe_time(row["reviewed_at"]),
        owner=row["owner"] or "",
    )


def _to_target(row: sa.RowMapping) -> Target:
    return Target(
        number=row["number"],
        session=session_json.read(row["session"]),
        intent_at=_maybe_time(row["intent_at"]),
        outcome=Outcome(row["outcome"]) if row["outcome"] else None,
        detail=row["detail"] or "",
        outcome_at=_maybe_time(row["outcome_at"]),
        answer=row["answer"] or "",
        sent=session_json.read(row["sent"]) if row["sent"] else None,
        newcomer=row["newcomer"],
        holder=session_json.read(row["holder"]) if row["holder"] else None,
        advice=session_json.read_advice(row["session"]),
    )


def _reasons(text: str | None) -> tuple[str, ...]:
    """Read why a target is protected; an older version of the bot knew one reason, and wrote it as it stands."""
    if not text:
        return ()
    return tuple(json.loads(text)) if text.startswith("[") else (text,)


def calls_value(calls: Sequence[Call]) -> str:
    """Return who was called, as it is kept."""
    return json.dumps([(one.person, one.place.channel, one.place.ts) for one in calls])


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _maybe_time(seconds: float | None) -> datetime | None:
    return None if seconds is None else _time(seconds)
