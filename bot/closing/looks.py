"""What is said of a close: of the server's answer to the KILL and of a look afterwards together (OCEANBASE.md 9.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bot.closing.model import ClosingRequest, Outcome
from bot.errors import BusyError, DataSourceError, InputError
from bot.sessions.console import Console, Look
from bot.sessions.kill import Answer
from bot.sessions.model import Mode, Pin, Session
from bot.sessions.service import SessionService

_ENDING = ("SESSION_KILLED", "KILLED")  # STATEs
_ABORTED = ("ABORTED", "IN_TERMINATE")  # TRANS_STATEs


@dataclass(frozen=True, slots=True)
class Killed:
    """A session to which a KILL was sent, as it was right before, and what the server answered."""

    session: Session
    answer: Answer = Answer.NONE
    said: str = ""  # the server's own words, '' for an OK


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of a close now; ``final`` where looking again could not show anything else."""

    outcome: Outcome
    detail: str
    final: bool = False
    holder: Session | None = None  # the server session that still has the locks of a client that was closed


def look(sessions: SessionService, source: str, killed: Mapping[int, Killed], mode: Mode) -> dict[int, Verdict]:
    """Look at all of them, by number, on one borrowed connection."""
    seen: dict[int, Verdict] = {}
    try:
        with sessions.source(source).console() as console:
            for number, one in killed.items():
                seen[number] = judge(console, one, mode)
    except (DataSourceError, BusyError, InputError) as error:  # InputError: the configuration names it no more
        return {number: seen.get(number) or _unseen(one, str(error)) for number, one in killed.items()}
    return seen


def present(sessions: SessionService, request: ClosingRequest) -> dict[int, Session]:
    """Return the targets of a request as they are now, by number; those that are gone or changed hands are left out.

    Raises a ``DataSourceError``, also where a server does not answer whose sessions the list leaves out, or a
    ``BusyError``.
    """
    with sessions.source(request.source).console() as console:
        looks = {target.number: console.look(Pin.of(target.session)) for target in request.targets}
    for one in looks.values():
        if one.unseen:
            raise DataSourceError(f"Whether a session is still there cannot be seen. {one.unseen}")
    return {number: one.session for number, one in looks.items() if one.session is not None}


def judge(console: Console, killed: Killed, mode: Mode) -> Verdict:
    """Look once at a session to which a KILL was sent. Raises a ``DataSourceError``."""
    pin = Pin.of(killed.session)
    seen = console.look(pin)
    if seen.session is not None and (mode is Mode.SESSION or pin.same_request(seen.session)):
        return _still_there(killed, seen.session, mode)
    if seen.unseen:
        return _unseen(killed, seen.unseen)
    if mode is Mode.SESSION and console.transaction_open(killed.session):
        return _locks_live_on(console, killed)
    return _ended(killed, seen, mode)


def _still_there(killed: Killed, now: Session, mode: Mode) -> Verdict:
    what = "session" if mode is Mode.SESSION else "query"
    if killed.answer is Answer.REFUSED:
        return Verdict(Outcome.NOT_ALLOWED, killed.said, final=True)
    if killed.answer is Answer.OUT_OF_REACH:
        return Verdict(Outcome.STILL_RUNNING, killed.said, final=True)
    if mode is Mode.SESSION and (now.state in _ENDING or now.transaction_state in _ABORTED):
        return Verdict(Outcome.ROLLING_BACK, f"{_taken(killed)} The server is rolling the session back.".strip())
    if killed.answer is Answer.OK:
        still = "yet the session is still there." if mode is Mode.SESSION else "the query has not stopped yet."
        waits = " One that waits for a row lock takes up to 11 s." if mode is Mode.QUERY else ""
        return Verdict(Outcome.STILL_RUNNING, f"The server has taken the KILL; {still}{waits}")
    return Verdict(Outcome.STILL_RUNNING, f"{_taken(killed)} The {what} is still there.".strip())


def _ended(killed: Killed, seen: Look, mode: Mode) -> Verdict:
    query = mode is Mode.QUERY
    if killed.answer is Answer.OK:
        whole = "The whole session has ended." if query and seen.session is None else ""
        return Verdict(Outcome.QUERY_CLOSED if query else Outcome.CLOSED, whole, final=True)
    what = "query" if query else "session"
    if killed.answer is Answer.UNKNOWN:
        return Verdict(Outcome.ALREADY_GONE, f"The {what} ended in the same moment.", final=True)
    ended = f"The {what} has ended; whether by this KILL is not known."
    return Verdict(Outcome.ALREADY_GONE, f"{ended} {_taken(killed)}".strip(), final=True)


def _unseen(killed: Killed, why: str) -> Verdict:
    return Verdict(Outcome.UNVERIFIED, f"{_taken(killed)} Whether it worked could not be seen: {why}".strip())


def _taken(killed: Killed) -> str:
    """Say what the server answered, as far as that is not a plain OK."""
    if killed.answer is Answer.OK:
        return "The server has taken the KILL."
    if killed.answer is Answer.NONE:
        return f"No answer to the KILL is known, so it may not have arrived. {killed.said}".strip()
    return killed.said


def _locks_live_on(console: Console, killed: Killed) -> Verdict:
    """Say that the list has the session no more, and that its transaction still exists.

    Some versions only mark a client's session until its next request (OCEANBASE.md 2.3): then nothing is rolled back,
    and the server session that has the transaction can be closed by its own id.
    """
    if not killed.session.client_session:
        told = "The session is gone; its transaction is still being rolled back."
        return Verdict(Outcome.ROLLING_BACK, f"{_taken(killed)} {told}")
    told = "The client is off the list, but its locks stay until the client's next request."
    return Verdict(Outcome.STILL_RUNNING, told, holder=console.server_session(killed.session))
