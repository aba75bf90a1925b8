"""Stops of a break-glass: each holds for its sessions until somebody who may approve lifts it."""

from __future__ import annotations

from collections.abc import Collection

from bot.closing.model import Stop
from bot.closing.store import Store
from bot.sessions.model import Pin, Session


def of(store: Store, source: str, sessions: Collection[Session]) -> tuple[Stop, ...]:
    """Return the Stops that hold for these sessions, newest first. Raises ``StoreError``."""
    found = []
    for request in store.stopped(source):
        pins = [Pin.of(target.session) for target in request.targets]
        held = next((one for one in sessions if any(pin.same_session(one) for pin in pins)), None)
        if held is not None and request.decided_by is not None and request.decided_at is not None:
            found.append(Stop(request, request.decided_by, request.decided_at, held.id))
    return tuple(found)
