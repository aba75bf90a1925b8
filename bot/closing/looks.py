"""What a look at the process list shows of a KILL that was sent (OCEANBASE.md 9.2)."""

from __future__ import annotations

from collections.abc import Mapping

from bot.closing.model import ClosingRequest, Outcome
from bot.errors import BusyError, DataSourceError, InputError
from bot.sessions.model import Mode, Pin, Session
from bot.sessions.service import SessionService
from bot.sessions.source import Console

Seen = tuple[Outcome, str]


def look(sessions: SessionService, source: str, killed: Mapping[int, Session], mode: Mode) -> dict[int, Seen]:
    """Look at all of them on one borrowed connection; ``killed`` are the sessions as they were before, by number."""
    seen: dict[int, Seen] = {}
    try:
        with sessions.source(source).console() as console:
            for number, before in killed.items():
                seen[number] = judge(console, before, mode)
    except (DataSourceError, BusyError, InputError) as error:  # InputError: the configuration names it no more
        unseen = Outcome.UNVERIFIED, f"Whether it worked could not be seen: {error}"
        return {number: seen.get(number, unseen) for number in killed}
    return seen


def present(sessions: SessionService, request: ClosingRequest) -> dict[int, Session]:
    """Return the targets of a request as they are now, by number; those that are gone or changed hands are left out.

    Raises a ``DataSourceError`` or ``BusyError``.
    """
    with sessions.source(request.source).console() as console:
        found = {target.number: _current(console, Pin.of(target.session)) for target in request.targets}
    return {number: session for number, session in found.items() if session is not None}


def _current(console: Console, pin: Pin) -> Session | None:
    return next((one for one in console.find(pin.id) if pin.same_session(one)), None)


def judge(console: Console, before: Session, mode: Mode) -> Seen:
    """Look once at a session to which a KILL was sent; ``before`` is as it was then. Raises a ``DataSourceError``."""
    pin = Pin.of(before)
    current = _current(console, pin)
    if mode is Mode.QUERY:
        return _judge_query(pin, current)
    if current is None:
        if before.transaction_id and console.transaction_open(before):
            return Outcome.ROLLING_BACK, "The session is gone; its transaction is still being rolled back."
        return Outcome.CLOSED, ""
    if current.state in ("SESSION_KILLED", "KILLED") or current.transaction_state in ("ABORTED", "IN_TERMINATE"):
        return Outcome.ROLLING_BACK, "The server has taken the request and is rolling the session back."
    return Outcome.STILL_RUNNING, "The server has taken the request, yet the session is still there."


def _judge_query(pin: Pin, current: Session | None) -> Seen:
    if current is None:
        return Outcome.QUERY_CLOSED, "The whole session has ended."
    if not pin.same_request(current):
        return Outcome.QUERY_CLOSED, ""
    return Outcome.STILL_RUNNING, (
        "The server has taken the request; the query has not stopped yet. "
        "One that waits for a row lock takes up to 11 s."
    )
