"""A replica that writes to a shared store and freezes, as by SIGSTOP, in the middle of one write.

python -m tests.support.frozen_writer URL REQUEST STEP SECONDS [VARIABLE]: carries out a press on that request, stops
after STEP, an event that is written but not committed yet, and says in the end how far it came. SECONDS are those after
which the server drops what it holds; VARIABLE is what the server is told alone.
"""

from __future__ import annotations

import signal
import sys
import threading
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from bot.access import Person
from bot.closing.model import Outcome, TargetOutcome
from bot.closing.store import Store, audit_log, shared_server
from bot.closing.store.database import Database
from bot.errors import StoreError
from bot.sessions.model import Mode


def freeze() -> None:
    """Stop the whole process right here; a signal to the process would leave this thread some steps more."""
    signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)


def freeze_after(step: str) -> None:
    """Let this process stop when that event is first written, its transaction still open."""
    append, steps = audit_log.append, [step]

    def appended(connection: sa.Connection, at: datetime, event: str, *more: Any, **named: Any) -> None:
        append(connection, at, event, *more, **named)
        if event in steps:
            steps.remove(event)
            freeze()

    setattr(audit_log, append.__name__, appended)


def press(store: Store, request_id: str) -> None:
    """Confirm, intend and conclude a request of one target, as a close does."""
    request, bob = store.requests.find(request_id), Person("U02BOB", "T1")
    assert request is not None
    assert store.decisions.claim(request, bob, Mode.SESSION, datetime.now(UTC))
    sys.stdout.write("confirmed\n")
    taken = store.requests.find(request_id)
    assert taken is not None
    store.intents.intend(taken, taken.targets[0], "KILL 1001", datetime.now(UTC))
    sys.stdout.write("intended\n")
    store.outcomes.conclude(taken, {1: TargetOutcome(Outcome.CLOSED, "", datetime.now(UTC))}, datetime.now(UTC))
    sys.stdout.write("concluded\n")


def main(url: str, request_id: str, step: str, seconds: str, variable: str = "") -> None:
    """Run it; what the store refuses is said."""
    shared_server.DROPPED_AFTER = int(seconds)
    if variable:
        shared_server._DROPPING = (variable,)
    freeze_after(step)
    try:
        press(Store(Database(url)), request_id)
    except StoreError as error:
        sys.stdout.write(f"StoreError: {error}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
