"""Sessions for tests that need no server."""

from __future__ import annotations

import hashlib

from bot.sessions.deadlocks import Member
from bot.sessions.model import Client, Session, Transaction
from bot.sessions.statement import Disclosure, Statement
from bot.sessions.statistics import Group

MARIA_PASSWORD = "service-password"  # of the logins that conftest.py makes

_SQL_ID = hashlib.md5(b"SELECT * FROM orders WHERE id = ?").hexdigest().upper()  # as OceanBase makes it
EXAMPLE = Session(
    source="demo",
    server="10.0.0.1:2881",
    id=3221487826,
    tenant="shop",
    client=Client(user="app", peer="10.0.3.7:51234", origin="10.0.3.7:51234"),
    database="orders",
    command="Query",
    time=75.4,
    total_time=75.4,
    state="ACTIVE",
    statement=Statement.of(
        "SELECT * FROM orders WHERE id = 5",
        sql_id=_SQL_ID,
    ),
    trace_id="YB42-1-0-0",
    transaction=Transaction(12, "ACTIVE"),
    master_session_id=None,
    retry_info=0,
    own=False,
)


def sql_of(session: Session | Group | Member) -> str | None:
    """Return what a session runs, without its passwords."""
    return session.statement.shown(Disclosure.ALL_BUT_PASSWORDS) if session.statement is not None else None


def inner_of(session: Session) -> str | None:
    """Return what runs in the routine that it runs."""
    inner = session.statement.inner if session.statement is not None else None
    return inner.shown(Disclosure.ALL_BUT_PASSWORDS) if inner is not None else None


def length_of(session: Session) -> int:
    """Return how long the whole statement is."""
    return session.statement.length if session.statement is not None else 0


def sql_id_of(session: Session, disclosure: Disclosure = Disclosure.ALL_BUT_PASSWORDS) -> str | None:
    """Return its SQL ID."""
    return session.statement.sql_id(disclosure) if session.statement is not None else None
