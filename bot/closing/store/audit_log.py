"""The record of who did what: rows that are only ever added, each chained to the one before by a hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from bot.access import Person
from bot.closing.model import ClosingRequest
from bot.closing.store import schema, tables
from bot.errors import StoreError

_audit, _head = tables.audit, tables.audit_head
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# What a hash covers, for ever: a column that comes later must not make old records look changed.
_CHAINED = ("id", "at", "event", "person", "team", "channel", "source", "request_id", "details")
_TOLD = 5  # wrong places that are told one by one
FORGET = "forget"  # the event of letting old rows go
_UNDER_WAY = "session_bot.acts"  # of a connection: the acts of its transaction


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


@dataclass(frozen=True, slots=True)
class Recorded:
    """One act that has come on record, and the request that it is about as whoever wrote it knew it."""

    entry: Entry
    request: ClosingRequest | None


@dataclass(frozen=True, slots=True)
class LetGo:
    """What the newest record of letting go says: nothing else vouches for rows that are not there any more."""

    at: datetime  # UTC
    last: int  # rows up to this number have been let go
    hash: str  # of the row of that number
    records: int  # how many the bot itself has let go since the record began; fewer than `last` where others took some
    by_older_version: bool  # at the word of a store that is older than such records


_NOTHING = LetGo(_EPOCH, 0, "", 0, by_older_version=False)


def lock(connection: sa.Connection) -> None:
    """Let one writer in at a time, replicas included; the first statement of every transaction that writes.

    The same order everywhere keeps two writers from waiting for each other. Raises ``StoreTooNewError``.
    """
    mine = sa.or_(_head.c.oldest_schema.is_(None), _head.c.oldest_schema <= tables.SCHEMA)
    if not _lock(connection, mine):
        schema.refuse_newer(connection)


def _lock(connection: sa.Connection, *which: sa.ColumnElement[bool]) -> int:
    return connection.execute(_head.update().where(_head.c.id == 1, *which).values(count=_head.c.count)).rowcount


def append(
    connection: sa.Connection,
    at: datetime,
    event: str,
    details: Mapping[str, Any],
    *,
    person: Person | None = None,
    channel: str | None = None,
    source: str | None = None,
    request: ClosingRequest | None = None,
) -> int:
    """Write one act and return its number. The caller holds the ``lock``."""
    count, before = newest(connection)
    row = {
        "id": count + 1,
        "at": (at - _EPOCH) // _MICROSECOND,
        "event": event,
        "person": person.id if person else None,
        "team": person.team if person else None,
        "channel": channel,
        "source": source,
        "request_id": request.id if request else None,
        "details": json.dumps(details),
    }
    row["hash"] = chained = _hash(before, row)
    connection.execute(_audit.insert().values(**row))
    connection.execute(_head.update().values(count=row["id"], hash=chained))
    connection.info.setdefault(_UNDER_WAY, []).append(Recorded(_to_entry(row), request))
    return count + 1


def taken(connection: sa.Connection) -> list[Recorded]:
    """Return the acts of the transaction, in order, and take them from it: they are told once."""
    acts: list[Recorded] = connection.info.pop(_UNDER_WAY, [])
    return acts


def has(connection: sa.Connection, recorded: Recorded) -> bool:
    """Whether that very act is on record."""
    found = entry(connection, recorded.entry.number)
    return found is not None and found.hash == recorded.entry.hash


def append_for(
    connection: sa.Connection,
    request: ClosingRequest,
    at: datetime,
    event: str,
    details: Mapping[str, Any],
    person: Person | None = None,
) -> None:
    """Write one act about a request. The caller holds the ``lock``."""
    append(
        connection, at, event, details, person=person, channel=request.channel, source=request.source, request=request
    )


def entry(connection: sa.Connection, number: int) -> Entry | None:
    """Read the act of that number; None where there is none, or none any more."""
    row = connection.execute(sa.select(_audit).where(_audit.c.id == number)).mappings().first()
    return None if row is None else _to_entry(row)


def entries(
    connection: sa.Connection,
    *,
    since: datetime | None = None,
    request_id: str | None = None,
    channel: str | None = None,
    event: str | None = None,
    newest: int | None = None,
) -> list[Entry]:
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


def whole(connection: sa.Connection) -> Sequence[sa.RowMapping]:
    """Read all rows, each with the head, for ``problems`` and ``let_go``.

    In one statement, so that they fit together although others write and let go meanwhile.
    """
    head = (_head.c.count.label("head_count"), _head.c.hash.label("head_hash"))
    both = sa.select(_audit, *head).select_from(_head.outerjoin(_audit, _head.c.id == 1)).where(_head.c.id == 1)
    return connection.execute(both.order_by(_audit.c.id)).mappings().all()


def problems(rows: Sequence[sa.RowMapping]) -> list[str]:
    """Look through the ``whole`` record for rows that were changed or removed; one sentence for each place.

    Whoever can write to the store and knows this code can forge a whole new chain: a hash that was noted
    elsewhere (``python -m bot check`` prints the newest) tells that, too.
    """
    if not rows:
        return ["the head of the record is missing"]
    start = let_go(rows) or _NOTHING
    number, before = start.last, start.hash
    found = []
    if start.records < start.last:
        found.append(f"{start.last - start.records} of the records up to number {start.last} are missing")
    for row in _acts(rows):
        if row["id"] > number + 1:
            found.append(f"{_rows(number + 1, row['id'] - 1)} missing")
        elif row["id"] <= number:
            found.append(f"record {row['id']}, which had been let go, was put back")
        elif row["hash"] != _hash(before, row):
            found.append(f"record {row['id']} was changed")
        number, before = row["id"], row["hash"]
    if number < rows[0]["head_count"]:
        found.append(f"{_rows(number + 1, rows[0]['head_count'])} missing")
    elif before != rows[0]["head_hash"]:
        found.append(f"the end of the record, after number {number}, was changed")
    more = [f"and {len(found) - _TOLD} more places"] if len(found) > _TOLD else []
    return [*found[:_TOLD], *more]


def let_go(rows: Sequence[sa.RowMapping]) -> LetGo | None:
    """Return the newest record of letting go among rows in their order; None where nothing was let go."""
    found = (_let_go_of(row) for row in reversed(rows) if row["event"] == FORGET)
    return next((one for one in found if one is not None), None)


def newest(connection: sa.Connection) -> tuple[int, str]:
    """Return the number and the hash of the newest row. Raises ``StoreError`` where somebody has removed the head."""
    head = connection.execute(sa.select(_head.c.count, _head.c.hash)).mappings().first()
    if head is None:
        raise StoreError(
            "The head of the record has been removed. Nothing is closed without a record. Find out who can write to "
            "the store, and restore a backup; or restart the bot, which begins a new head."
        )
    return int(head["count"]), str(head["hash"])


def forget(connection: sa.Connection, before: datetime, now: datetime) -> int:
    """Let go of the oldest rows, up to the first that is not older, and put that on record; return how many.

    The caller holds the ``lock``.
    """
    limit = (before - _EPOCH) // _MICROSECOND
    kept = connection.execute(sa.select(sa.func.min(_audit.c.id)).where(_audit.c.at >= limit)).scalar()
    old = sa.select(_audit.c.id, _audit.c.hash, _audit.c.event).limit(1)
    old = old.where(_audit.c.id < kept) if kept is not None else old
    first, last = (connection.execute(old.order_by(order)).first() for order in (_audit.c.id, _audit.c.id.desc()))
    if first is None or last is None or (first.id == last.id and last.event == FORGET):
        return 0  # there is nothing old but what vouches for those that went before
    vouched = _newest_let_go(connection) or _NOTHING
    removed = int(connection.execute(_audit.delete().where(_audit.c.id <= last.id)).rowcount)
    # An older version, to which one may go back, looks there.
    connection.execute(_head.update().values(first=last.id, first_hash=last.hash))
    details = {"records": removed, "before": before.isoformat()}
    append(connection, now, FORGET, details | _vouching(last.id, last.hash, vouched.records + removed))
    return removed


def acknowledge(connection: sa.Connection) -> None:
    """Put on record what a store of an older version has let go, which did not do so itself; once for each store.

    Only that version's head says so, which proves nothing: a store that was made or widened since has no use for it.
    """
    _lock(connection)  # it has no column yet that says who may
    if not tables.is_older(connection) or _newest_let_go(connection) is not None:
        return
    head = connection.execute(sa.select(_head.c.first, _head.c.first_hash)).first()
    if head is not None and head.first:
        vouching = _vouching(head.first, head.first_hash, head.first)
        append(connection, datetime.now(UTC), FORGET, {"records": head.first, "older_version": True} | vouching)


def _vouching(last: int, hash_: str, records: int) -> dict[str, Any]:
    return {"last": last, "hash": hash_, "in_all": records}


def _newest_let_go(connection: sa.Connection) -> LetGo | None:
    which = sa.select(_audit).where(_audit.c.event == FORGET).order_by(_audit.c.id)
    return let_go(connection.execute(which).mappings().all())


def _let_go_of(row: sa.RowMapping) -> LetGo | None:
    """Read a record of letting go; None for one of an older version, which did not say up to where."""
    try:
        details = json.loads(row["details"])
        at = _EPOCH + row["at"] * _MICROSECOND
        by_older = bool(details.get("older_version"))
        return LetGo(at, int(details["last"]), str(details["hash"]), int(details["in_all"]), by_older_version=by_older)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):  # its own hash tells what was changed
        return None


def _acts(rows: Sequence[sa.RowMapping]) -> Sequence[sa.RowMapping]:
    return [row for row in rows if row["id"] is not None]  # a record without any act has its head alone


def _hash(before: str, row: Mapping[str, Any] | sa.RowMapping) -> str:
    kept = [before, *(row[name] for name in _CHAINED)]
    # What somebody else wrote may be of any kind; it must be told, not stop the check.
    return hashlib.sha256(json.dumps(kept, default=repr).encode()).hexdigest()


def _to_entry(row: Mapping[str, Any] | sa.RowMapping) -> Entry:
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
