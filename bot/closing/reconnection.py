"""Telling a client that comes back: which sessions it had before a close, and which new one does the same.

After a close of a query alone: whether the very session runs it again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from bot.sessions.address import host_of
from bot.sessions.console import Console
from bot.sessions.model import Pin, Session
from bot.sessions.statement import Disclosure

ClientKey = tuple[str | None, str, str]  # tenant, user and host
SessionKey = tuple[str | None, int]  # server and id; no server for a client behind a proxy

_ALIKE = 200  # sessions of one user and client; where there are more, a new one cannot be told from an old one
_SQL_CHARACTERS = 200
_RESTS = 1.0  # seconds idle in a transaction after which that is no pause between two statements


def sessions_alike(console: Console, session: Session) -> frozenset[SessionKey] | None:
    """Name the sessions of the same user and client before a close; None where there are too many to tell."""
    found = console.alike(session, _ALIKE)
    return frozenset(map(key_of, found)) if len(found) < _ALIKE else None


def newcomers_of(console: Console, closed: Mapping[int, Session], known: Collection[SessionKey]) -> dict[int, Session]:
    """Return the sessions not ``known`` that do what closed targets did, each once, by the number of the target."""
    newcomers: dict[int, Session] = {}
    taken = set(known)
    alike: dict[ClientKey, list[Session]] = {}
    for number, before in closed.items():
        client = client_of(before)
        if client not in alike:
            alike[client] = console.alike(before, _ALIKE)
        new = (one for one in alike[client] if key_of(one) not in taken and _same_work(before, one))
        newcomer = next(new, None)
        if newcomer is not None:
            taken.add(key_of(newcomer))
            newcomers[number] = newcomer
    return newcomers


def runs_again(console: Console, closed: Mapping[int, Session]) -> dict[int, Session]:
    """Return the sessions that run the very text anew that was closed in them, by the number of the target."""
    looks = console.looks([Pin.of(one) for one in closed.values()])
    there = {number: look.session for number, look in zip(closed, looks, strict=True)}
    return {
        number: now
        for number, now in there.items()
        if now is not None and _same_text(closed[number], now) and not Pin.of(closed[number]).same_request(now)
    }


def client_of(session: Session) -> ClientKey:
    """Name what the sessions of one user and client have in common."""
    return (session.tenant, session.client.user, host_of(session.client.origin))


def key_of(session: Session) -> SessionKey:
    """Name a session; a client behind a proxy by its number there, whichever server it touches next."""
    return (None if session.client_session else session.server, session.id)


def rests(session: Session) -> bool:
    """Whether it rests without a transaction: a new one that does tells nothing unless it holds up others."""
    return not (session.running or session.in_transaction)


def _same_work(before: Session, now: Session) -> bool:
    """Whether a session runs the same statement on the same database, or rests in a transaction as the other did."""
    if before.database != now.database or before.running != now.running:
        return False
    if now.running:
        return same_statement(before, now)
    return before.in_transaction and now.in_transaction and now.time >= _RESTS


def _same_text(before: Session, now: Session) -> bool:
    one, other = before.statement, now.statement
    return one is not None and other is not None and now.running and one.raw_sql == other.raw_sql


def same_statement(before: Session, now: Session) -> bool:
    """Whether two sessions run the same statement, whatever its literals; two that run none do."""
    one, other = before.statement, now.statement
    if one is None or other is None:
        return one is other
    if one.inner is None and other.inner is None and one.raw_sql_id and one.raw_sql_id == other.raw_sql_id:
        return True
    # In a routine the id is an inner statement's, and of what has no parameters none is kept.
    return one.shown(Disclosure.DIGEST, _SQL_CHARACTERS) == other.shown(Disclosure.DIGEST, _SQL_CHARACTERS)
