"""Carrying out a confirmed request: look again, write the intent, close, look until it is so, record."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from bot.access import Access, Person, Right
from bot.closing.model import Approval, ClosingRequest, Outcome, State
from bot.closing.requests import Clock, already_decided, known, refuse_protected
from bot.closing.store import Store
from bot.errors import (
    BusyError,
    ConnectionLostError,
    DataSourceError,
    NotAllowedError,
    NotSessionOwnerError,
    SessionBotError,
    SessionOutOfReachError,
    StoreError,
    TargetError,
    UnknownSessionError,
)
from bot.sessions.model import Mode, Pin, Session
from bot.sessions.service import Console, SessionService

# Lock waiters take 3-11 s to notice that they were closed: the kernel looks only every 10 s
# (OCEANBASE.md 2.2), so less than 15 s would call a close that works a failure.
VERIFY_FOR = 15.0
PROGRESS_AFTER = 2.0  # seconds; below that the outcome itself is news enough
_LOOKS = (0.01, 0.03, 0.1, 0.3, 0.5)  # seconds between the first looks
_LATER_LOOKS = 1.0

# A press is carried out within this time, time-outs included; older claims belong to a bot that stopped.
LEASE = timedelta(seconds=60)

Wait = Callable[[float], object]
Progress = Callable[[ClosingRequest, str], None]

log = structlog.get_logger(__name__)


class Closer:
    """Confirms requests. ``wait`` sleeps for seconds; both it and ``clock`` are given so that tests rule time."""

    def __init__(self, sessions: SessionService, access: Access, store: Store, clock: Clock, wait: Wait) -> None:
        self._sessions = sessions
        self._access = access
        self._store = store
        self._clock = clock
        self._wait = wait

    def confirm(self, request_id: str, person: Person, channel: str, mode: Mode, progress: Progress) -> ClosingRequest:
        """Close what the request names, if it is still what it was, and return the request with its outcome.

        ``progress`` is told once when it takes longer than two seconds. Raises ``RequestError`` when
        the request is over, ``NotAllowedError``, ``StoreError``, or a ``DataSourceError`` before
        anything was sent; the request is open again then.
        """
        request = self._get(request_id)
        if request.state is not State.OPEN or request.expired(self._clock()):
            raise already_decided(request, self._clock())
        self._permit(request, person, channel)
        if not self._store.claim(request_id, person, mode, self._clock()):
            raise already_decided(self._get(request_id), self._clock())
        try:
            try:
                outcome, detail = self._carry_out(self._get(request_id), mode, progress)
            except ConnectionLostError:
                # Lost before anything was sent, else it would be an outcome: once more on a fresh connection.
                outcome, detail = self._carry_out(self._get(request_id), mode, progress)
        except SessionBotError as error:
            # Nothing was sent: the store opens the request again only where it holds no intent.
            with contextlib.suppress(StoreError):
                self._store.release(request_id, self._clock(), str(error))
            raise
        return self._conclude(request_id, outcome, detail)

    def resume(self) -> list[ClosingRequest]:
        """Finish the record of presses that a stopped bot left behind, without closing anything.

        Returns the requests whose cards must be rewritten. Raises ``StoreError``.
        """
        finished = []
        for request in self._store.abandoned(self._clock() - LEASE):
            if request.target.intent_at is None:
                self._store.release(request.id, self._clock(), "the bot stopped before anything was sent")
            else:
                outcome, detail = self._look_after_restart(request)
                self._store.conclude(request.id, outcome, detail, self._clock())
            finished.append(self._get(request.id))
        return finished

    def _conclude(self, request_id: str, outcome: Outcome, detail: str) -> ClosingRequest:
        for pause in (0.2, 1.0, None):
            try:
                self._store.conclude(request_id, outcome, detail, self._clock())
                return self._get(request_id)
            except StoreError as error:
                if pause is None:
                    raise StoreError(
                        f"The KILL was sent and a look shows: {outcome.value}. But the record of it could not be "
                        f"finished: {error} The bot will finish it as soon as the store answers."
                    ) from error
                self._wait(pause)
        raise AssertionError("unreachable: the last try returns or raises")

    def _permit(self, request: ClosingRequest, person: Person, channel: str) -> None:
        if channel != request.channel:
            raise NotAllowedError("This closing request belongs to another channel. Nothing was closed.")
        tenant = request.target.session.tenant
        if request.approval is Approval.REQUESTER:
            self._access.require(person, Right.CLOSE, request.source, channel, tenant)
            return
        self._access.require(person, Right.APPROVE, request.source, channel, tenant)
        if person.id == request.requester.id:
            raise NotAllowedError(
                f"Closing on {request.source} needs a second person: somebody else who may approve must press."
            )

    def _carry_out(self, request: ClosingRequest, mode: Mode, progress: Progress) -> tuple[Outcome, str]:
        pin = Pin.of(request.target.session)
        source = self._sessions.source(request.source)
        with source.console() as console:
            found = console.find(pin.id)
            current = next((one for one in found if pin.same_session(one)), None)
            refusal = self._refusal(pin, mode, current, found)
            if current is None or refusal is not None:
                return refusal or (Outcome.ALREADY_GONE, "The session had ended before the press.")
            self._store.intend(request.id, console.kill_text(current, mode), self._clock())
            started = self._clock()
            failure = _send(console, current, mode)
        if failure is not None and failure[0] is not None:
            return failure[0], failure[1]
        return self._verify(request, pin, mode, current, started, progress, failure[1] if failure else "")

    def _refusal(
        self, pin: Pin, mode: Mode, current: Session | None, found: list[Session]
    ) -> tuple[Outcome, str] | None:
        if current is None and any(one.server == pin.server for one in found):
            return Outcome.CHANGED, "The id belongs to another session by now."
        if current is None:
            return None
        try:
            refuse_protected(self._sessions, current)
        except TargetError as error:
            return Outcome.PROTECTED, str(error)
        if mode is Mode.QUERY and not pin.same_query(current):
            return Outcome.CHANGED, (
                "The query had ended before the press; the session now runs another one."
                if current.running
                else "The query had ended before the press; the session is idle."
            )
        return None

    def _verify(
        self, request: ClosingRequest, pin: Pin, mode: Mode, before: Session | None, started: datetime,
        progress: Progress, detail: str,
    ) -> tuple[Outcome, str]:  # fmt: skip
        """Look until it is so, for up to ``VERIFY_FOR`` seconds."""
        delays = iter(_LOOKS)
        told = False
        while True:
            outcome, seen = self._look(request.source, pin, mode, before)
            if outcome in (Outcome.CLOSED, Outcome.QUERY_CLOSED):
                return outcome, seen
            passed = (self._clock() - started).total_seconds()
            if passed >= VERIFY_FOR:
                return outcome, f"{detail} {seen}".strip()
            if passed >= PROGRESS_AFTER and not told:
                told = True
                # The request as claimed: a store that fails from here on must not hide what was sent.
                progress(request, seen)
            self._wait(next(delays, _LATER_LOOKS))

    def _look(self, source: str, pin: Pin, mode: Mode, before: Session | None) -> tuple[Outcome, str]:
        try:
            with self._sessions.source(source).console() as console:
                current = next((one for one in console.find(pin.id) if pin.same_session(one)), None)
                if current is None and mode is Mode.SESSION:
                    transaction = before.transaction_id if before else pin.transaction_id
                    if transaction and console.transaction_open(transaction):
                        return (
                            Outcome.ROLLING_BACK,
                            "The session is gone; its transaction is still being rolled back.",
                        )
        except (DataSourceError, BusyError) as error:
            return Outcome.UNVERIFIED, f"Whether it worked could not be seen: {error}"
        return _judge(pin, mode, current)

    def _look_after_restart(self, request: ClosingRequest) -> tuple[Outcome, str]:
        mode = request.decided_mode or request.mode
        outcome, detail = self._look(request.source, Pin.of(request.target.session), mode, request.target.session)
        return (
            outcome,
            f"The bot was restarted while closing; this is what a look afterwards shows. {detail}".strip(),
        )

    def _get(self, request_id: str) -> ClosingRequest:
        return known(self._store.get(request_id))


def _judge(pin: Pin, mode: Mode, current: Session | None) -> tuple[Outcome, str]:
    """Say what one look at the process list shows (OCEANBASE.md 9.2)."""
    if mode is Mode.SESSION:
        if current is None:
            return Outcome.CLOSED, ""
        if current.state in ("SESSION_KILLED", "KILLED") or current.transaction_state in ("ABORTED", "IN_TERMINATE"):
            return Outcome.ROLLING_BACK, "The server has taken the request and is rolling the session back."
        return Outcome.STILL_RUNNING, "The server has taken the request, yet the session is still there."
    if current is None:
        return Outcome.QUERY_CLOSED, "The whole session has ended."
    if not pin.same_query(current):
        return Outcome.QUERY_CLOSED, ""
    return Outcome.STILL_RUNNING, (
        "The server has taken the request; the query has not stopped yet. "
        "One that waits for a row lock takes up to 11 s."
    )


def _send(console: Console, session: Session, mode: Mode) -> tuple[Outcome | None, str] | None:
    """Send the KILL once. An outcome means that it is over, a bare detail that a look must tell."""
    try:
        console.kill(session, mode)
    except UnknownSessionError:
        return Outcome.ALREADY_GONE, f"The {'query' if mode is Mode.QUERY else 'session'} ended in the same moment."
    except NotSessionOwnerError as error:
        return Outcome.NOT_ALLOWED, str(error)
    except SessionOutOfReachError as error:
        return Outcome.STILL_RUNNING, str(error)
    except DataSourceError as error:
        log.warning("kill failed", session=session.id, mode=mode.value, errno=error.errno, error=str(error))
        return None, str(error)
    return None
