"""Writes what closes write, for a check that rolls it back: that a store can be read says nothing of a close."""

from __future__ import annotations

import secrets
from datetime import datetime

import sqlalchemy as sa

from bot.access import Person
from bot.closing.model import ApprovalPolicy, ClosingRequest, State, Target
from bot.closing.store import audit_log, tables
from bot.sessions.model import Client, Mode, Session

_SESSION = Session(
    source="",
    server=None,
    id=0,
    tenant=None,
    client=Client(),
    database=None,
    command="",
    time=0.0,
    total_time=0.0,
    state="",
    statement=None,
    trace_id=None,
    transaction=None,
    master_session_id=None,
    retry_info=0,
    own=True,
)


def write(connection: sa.Connection, now: datetime, *, deleting: bool) -> str:
    """Write a closing request with its target and its record, decide it, and return its id.

    ``deleting`` also deletes them, which letting go of old records does. The caller holds the lock of the record and
    rolls back.
    """
    person = Person("-", "")
    request = ClosingRequest(
        id=f"check-{secrets.token_hex(8)}",
        source="",
        mode=Mode.SESSION,
        requester=person,
        channel="",
        reason="",
        approval=ApprovalPolicy.REQUESTER,
        created_at=now,
        expires_at=now,
        targets=(Target(1, _SESSION),),
    )
    requests, targets, audit, deliveries = tables.requests, tables.targets, tables.audit, tables.deliveries
    connection.execute(requests.insert().values(tables.request_values(request)))
    connection.execute(targets.insert(), tables.target_values(request))
    audit_log.append_for(connection, request, now, "check", {}, person)
    delivery = secrets.token_hex(16)
    connection.execute(deliveries.insert().values(id=delivery, taken_at=now.timestamp(), owner=person.id))
    connection.execute(deliveries.update().where(deliveries.c.id == delivery).values(lease_until=None))
    of_request, of_target = requests.c.id == request.id, targets.c.request_id == request.id
    connection.execute(requests.update().where(of_request).values(state=State.DONE.value, decided_by=person.id))
    connection.execute(targets.update().where(of_target).values(intent_at=now.timestamp(), detail=""))
    if deleting:
        for table, which in ((targets, of_target), (requests, of_request), (audit, audit.c.request_id == request.id)):
            connection.execute(table.delete().where(which))
    return request.id
