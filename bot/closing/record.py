"""The record of who did what: rows that are only ever added, each chained to the one before by a hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from bot.access import Person
from bot.closing import tables

_audit, _head = tables.audit, tables.audit_head
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# What a hash covers, for ever: a column that comes later must not make old records look changed.
_CHAINED = ("id", "at", "event", "person", "team", "channel", "source", "request_id", "details")
_TOLD = 5  # wrong places that are told one by one


@dataclass(frozen=True, slots=True)
class Entry:
    """One act, as it stands in the record."""

    number: int  # counted from 1 without gaps
    at: datetime  # UTC
    event: str
    person: Person | None
    channel: str | None
    source: str | None
    request_id: str | None
    details: Mapping[str, Any]
    hash: str


def lock(connection: sa.Connection) -> None:
    """Let one writer in at a time, replicas included; the first statement of every transaction that writes.

    The same order everywhere keeps two writers from waiting for each other.
    """
    connection.execute(_head.update().where(_head.c.id == 1).values(count=_head.c.count))


def append(
    connection: sa.Connection, at: datetime, event: str, details: Mapping[str, Any], *,
    person: Person | None = None, channel: str | None = None, source: str | None = None, request_id: str | None = None,
) -> None:  # fmt: skip
    """Write one act. The caller holds the ``lock``."""
    head = connection.execute(sa.select(_head)).mappings().one()
    row = {
        "id": head["count"] + 1,
        "at": (at - _EPOCH) // _MICROSECOND,
        "event": event,
        "person": person.id if person else None,
        "team": person.team if person else None,
        "channel": channel,
        "source": source,
        "request_id": request_id,
        "details": json.dumps(details),
    }
    chained = _hash(head["hash"], row)
    connection.execute(_audit.insert().values(**row, hash=chained))
    connection.execute(_head.update().values(count=row["id"], hash=chained))


def entries(
    connection: sa.Connection, *, since: datetime | None = None, request_id: str | None = None,
    channel: str | None = None, event: str | None = None, newest: int | None = None,
) -> list[Entry]:  # fmt: skip
    """Read acts, oldest first; ``newest`` is how many at most, counted from the end."""
    which = sa.select(_audit)
    if since is not None:
        which = which.where(_audit.c.at >= (since - _EPOCH) // _MICROSECOND)
    if request_id is not None:
        which = which.where(_audit.c.request_id == request_id)
    if event is not None:
        which = which.where(_audit.c.event == event)
    if channel is not None:
        ours = sa.select(tables.requests.c.id).where(tables.requests.c.channel == channel)
        which = which.where(sa.or_(_audit.c.channel == channel, _audit.c.request_id.in_(ours)))
    rows = connection.execute(which.order_by(_audit.c.id.desc()).limit(newest)).mappings().all()
    return [_to_entry(row) for row in reversed(rows)]


def problems(connection: sa.Connection) -> list[str]:
    """Look for rows that were changed or removed since they were written; one sentence for each place.

    Whoever can write to the store and knows this code can forge a whole new chain: a hash that was noted
    elsewhere (``python -m bot check`` prints the newest) tells that, too.
    """
    head = connection.execute(sa.select(_head)).mappings().one()
    number, before = head["first"], head["first_hash"]
    found = []
    for row in connection.execute(sa.select(_audit).order_by(_audit.c.id)).mappings():
        if row["id"] != number + 1:
            found.append(f"{_rows(number + 1, row['id'] - 1)} missing")
        elif row["hash"] != _hash(before, row):
            found.append(f"record {row['id']} was changed")
        number, before = row["id"], row["hash"]
    if number < head["count"]:
        found.append(f"{_rows(number + 1, head['count'])} missing")
    elif before != head["hash"]:
        found.append(f"the end of the record, after number {number}, was changed")
    more = [f"and {len(found) - _TOLD} more places"] if len(found) > _TOLD else []
    return [*found[:_TOLD], *more]


def newest(connection: sa.Connection) -> tuple[int, str]:
    """Return the number and the hash of the newest row."""
    head = connection.execute(sa.select(_head)).mappings().one()
    return int(head["count"]), str(head["hash"])


def forget(connection: sa.Connection, before: datetime) -> int:
    """Let go of the oldest rows, up to the first that is not older; return how many. Caller holds the ``lock``."""
    limit = (before - _EPOCH) // _MICROSECOND
    kept = connection.execute(sa.select(sa.func.min(_audit.c.id)).where(_audit.c.at >= limit)).scalar()
    gone = _audit.c.id < kept if kept is not None else sa.true()
    last = connection.execute(
        sa.select(_audit.c.id, _audit.c.hash).where(gone).order_by(_audit.c.id.desc()).limit(1)
    ).first()  # fmt: skip
    if last is None:
        return 0
    removed = connection.execute(_audit.delete().where(_audit.c.id <= last.id)).rowcount
    connection.execute(_head.update().values(first=last.id, first_hash=last.hash))
    return int(removed)


def _hash(before: str, row: Mapping[str, Any] | sa.RowMapping) -> str:
    kept = [before, *(row[name] for name in _CHAINED)]
    return hashlib.sha256(json.dumps(kept).encode()).hexdigest()


def _to_entry(row: sa.RowMapping) -> Entry:
    return Entry(
        number=row["id"],
        at=_EPOCH + row["at"] * _MICROSECOND,
        event=row["event"],
        person=Person(row["person"], row["team"] or "") if row["person"] else None,
        channel=row["channel"],
        source=row["source"],
        request_id=row["request_id"],
        details=json.loads(row["details"]),
        hash=row["hash"],
    )


def _rows(first: int, last: int) -> str:
    return f"record {first} is" if first == last else f"records {first} to {last} are"
