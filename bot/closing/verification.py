"""What is said of a close: of the server's answer and of a look afterwards together (docs/oceanbase.md 3.4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from bot.closing.model import ClosingRequest, Outcome
from bot.errors import BusyError, DataSourceError, InputError
from bot.sessions.console import Console, Look
from bot.sessions.kill import Answer, Sent
from bot.sessions.model import Mode, Pin, Session
from bot.sessions.service import SessionService

_ENDING = ("SESSION_KILLED", "KILLED")  # STATEs
_ABORTED = ("ABORTED", "IN_TERMINATE")  # TRANS_STATEs


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of a close now; ``final`` where looking again could not show anything else."""

    outcome: Outcome
    detail: str
    final: bool = False
    holder: Session | None = None  # the server session that still has the locks of a client that was closed


def verify_all(sessions: SessionService, source: str, sent: Mapping[int, Sent], mode: Mode) -> dict[int, Verdict]:
    """Look at all of them, by number, with one statement on one borrowed connection."""
    try:
        return sessions.source(source).looking(lambda console: verify(console, sent, mode))
    except (DataSourceError, BusyError, InputError) as error:  # InputError: the configuration names it no more
        return {number: _unseen(one, str(error)) for number, one in sent.items()}


def verify(console: Console, sent: Mapping[int, Sent], mode: Mode) -> dict[int, Verdict]:
    """Look once at the sessions to which KILLs were sent, by number. Raises a ``DataSourceError``."""
    looks = console.looks([Pin.of(one.session) for one in sent.values()])
    return {number: _verdict(console, one, mode, look) for (number, one), look in zip(sent.items(), looks, strict=True)}


@dataclass(frozen=True, slots=True)
class Present:
    """The targets of a request as they are now, by number; those that are gone or changed hands are in neither."""

    sessions: Mapping[int, Session]
    unseen: Mapping[int, str]  # why it cannot be seen whether they are there


def present(sessions: SessionService, request: ClosingRequest) -> Present:
    """Look at the targets of a request. Raises a ``DataSourceError`` or ``BusyError``."""
    pins = [Pin.of(target.session) for target in request.targets]
    looks = sessions.source(request.source).looking(lambda console: console.looks(pins))
    seen = {target.number: look for target, look in zip(request.targets, looks, strict=True)}
    there = {number: one.session for number, one in seen.items() if one.session is not None}
    return Present(there, {number: one.unseen for number, one in seen.items() if one.unseen})


def _verdict(console: Console, sent: Sent, mode: Mode, seen: Look) -> Verdict:
    pin = Pin.of(sent.session)
    if seen.session is not None and (mode is Mode.SESSION or pin.same_request(seen.session)):
        return _still_there(sent, seen.session, mode)
    if seen.unseen:
        return _unseen(sent, seen.unseen)
    if seen.session is not None and pin.cannot_tell(seen.session):
        why = "Whether it is still the same query cannot be told: this list counts its time anew while it waits."
        return Verdict(Outcome.UNVERIFIED, f"{_taken(sent)} {why}".strip())
    ended = _ended(sent, seen, mode)
    if mode is Mode.SESSION and console.prepared(sent.session):
        stays = (
            "The session is gone; its prepared XA transaction stays, with its locks. XA RECOVER lists it: end it by "
            "XA COMMIT or XA ROLLBACK."
        )
        return replace(ended, detail=f"{ended.detail} {stays}".strip())
    if mode is Mode.SESSION and console.transaction_open(sent.session):
        return _locks_live_on(console, sent)
    return ended


def _still_there(sent: Sent, now: Session, mode: Mode) -> Verdict:
    what = "session" if mode is Mode.SESSION else "query"
    if sent.answer is Answer.REFUSED:
        # Of a client's id a version of OceanBase marks the session before it refuses (docs/oceanbase.md 4.1).
        return Verdict(Outcome.NOT_ALLOWED, sent.said, final=not sent.session.client_session)
    if sent.answer is Answer.OUT_OF_REACH:
        return Verdict(Outcome.STILL_RUNNING, sent.said, final=True)
    if mode is Mode.SESSION and (now.state in _ENDING or _aborted(now)):
        return Verdict(Outcome.ROLLING_BACK, f"{_taken(sent)} The server is rolling the session back.".strip())
    if sent.answer is Answer.OK:
        still = "yet the session is still there." if mode is Mode.SESSION else "the query has not stopped yet."
        waits = " One that waits for a row lock takes up to 11 s." if mode is Mode.QUERY else ""
        return Verdict(Outcome.STILL_RUNNING, f"The server has taken the KILL; {still}{waits}")
    return Verdict(Outcome.STILL_RUNNING, f"{_taken(sent)} The {what} is still there.".strip())


def _ended(sent: Sent, seen: Look, mode: Mode) -> Verdict:
    query = mode is Mode.QUERY
    if sent.answer is Answer.OK:
        whole = "The whole session has ended." if query and seen.session is None else ""
        if not query and sent.session.state == "KILLED" and not sent.session.idle:  # MariaDB's word for both kinds
            before = "The session has ended; it, or what ran in it, had been closed before this KILL."
            return Verdict(Outcome.ALREADY_GONE, before, final=True)
        return Verdict(Outcome.QUERY_CLOSED if query else Outcome.CLOSED, whole, final=True)
    what = "query" if query else "session"
    if sent.answer is Answer.NOT_ASKED:
        return Verdict(Outcome.ALREADY_GONE, f"The {what} has ended. Nothing was sent for it.", final=True)
    if sent.answer is Answer.UNKNOWN:
        return Verdict(Outcome.ALREADY_GONE, f"The {what} has ended; the KILL did not find it.", final=True)
    ended = f"The {what} has ended; whether by this KILL is not known."
    return Verdict(Outcome.ALREADY_GONE, f"{ended} {_taken(sent)}".strip(), final=True)


def _unseen(sent: Sent, why: str) -> Verdict:
    return Verdict(Outcome.UNVERIFIED, f"{_taken(sent)} Whether it worked could not be seen: {why}".strip())


def _taken(sent: Sent) -> str:
    """Say what the server answered to the KILL."""
    if sent.answer is Answer.OK:
        return "The server has taken the KILL."
    if sent.answer is Answer.NONE:
        return f"No answer to the KILL is known, so it may not have arrived. {sent.said}".strip()
    return sent.said


def _locks_live_on(console: Console, sent: Sent) -> Verdict:
    """Say that the list has the session no more, and that its transaction still exists.

    Some versions only mark a client's session until its next request (docs/oceanbase.md 4.1): then nothing is rolled
    back, and the server session that has the transaction can be closed by its own id.
    """
    if not sent.session.client_session:
        why = "The session is gone; its transaction is still being rolled back."
        return Verdict(Outcome.ROLLING_BACK, f"{_taken(sent)} {why}")
    why = "The client is off the list, but its locks stay until the client's next request."
    return Verdict(Outcome.STILL_RUNNING, why, holder=console.server_session(sent.session))


def _aborted(session: Session) -> bool:
    return session.transaction is not None and session.transaction.state in _ABORTED
