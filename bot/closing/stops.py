"""Stops of a break-glass: each holds for its sessions until somebody who may approve lifts it."""

from __future__ import annotations

from collections.abc import Iterable

from bot.closing.model import Stop
from bot.closing.store import Store
from bot.sessions.model import Pin, Session


def of(store: Store, source: str, sessions: Iterable[Session]) -> tuple[Stop, ...]:
    """Return the Stops that hold for these sessions, the newest of each. Raises ``StoreError``."""
    stopped = store.stopped(source)
    found: dict[tuple[str | None, int], Stop] = {}
    for session in sessions if stopped else ():
        for request in stopped:
            by, at = request.decided_by, request.decided_at
            held = any(Pin.of(target.session).same_session(session) for target in request.targets)
            if held and by is not None and at is not None:
                stop = Stop(request, by, at, session.id)
                found.setdefault((session.server, session.id), stop)
    return tuple(found.values())
