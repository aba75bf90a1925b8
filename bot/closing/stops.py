"""Stops of a break-glass: each holds for its sessions until somebody who may approve lifts it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from bot.closing.model import ClosingRequest, Stop
from bot.closing.store import Store
from bot.sessions.model import Pin, Session


def of(store: Store, sessions: Iterable[Session]) -> tuple[Stop, ...]:
    """Return the Stops that hold for these sessions, newest first. Raises ``StoreError``."""
    sessions = tuple(sessions)
    found = []
    for request in store.stopped():
        held = about(request, sessions)
        if held is not None and request.decided_by is not None and request.decided_at is not None:
            found.append(Stop(request, request.decided_by, request.decided_at, held.id))
    return tuple(found)


def about(request: ClosingRequest, sessions: Iterable[Session]) -> Session | None:
    """Return the first of these sessions that a request is about; None where it is about none of them.

    A server may be a data source twice: its sessions are the same by whatever name it is asked.
    """
    for session in sessions:
        if any(Pin.of(replace(one.session, source=session.source)).same_session(session) for one in request.targets):
            return session
    return None
