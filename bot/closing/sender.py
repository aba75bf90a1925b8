"""Sending what was confirmed, target by target: look again, compare the pin, write the intent, KILL."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import structlog

from bot.closing.aftermath import alike
from bot.closing.model import Outcome, Target
from bot.closing.press import Press, Sent, SessionKey
from bot.closing.store import Store
from bot.closing.targets import refuse_protected
from bot.errors import (
    BusyError,
    ConnectionLostError,
    DataSourceError,
    DataSourceTimeoutError,
    NotSessionOwnerError,
    SessionOutOfReachError,
    StoreError,
    TargetError,
    UnknownSessionError,
)
from bot.sessions.model import Mode, Pin, Session
from bot.sessions.service import SessionService
from bot.sessions.source import Console

# Seconds for sending. With the time-outs of the last KILL and the looks afterwards it stays within the
# closer's lease, after which the press would be taken for one that a stopped bot left.
SEND_FOR = 25.0

log = structlog.get_logger(__name__)


class Sender:
    """Sends the KILLs of one press after the other; one that fails does not keep the next from being sent."""

    def __init__(self, sessions: SessionService, store: Store) -> None:
        self._sessions = sessions
        self._store = store

    def send(self, press: Press, denied: Collection[int]) -> None:
        """Close every target that is still what was confirmed and not ``denied``.

        Raises a ``SessionBotError`` only while nothing was sent and no intent written.
        """
        for target in press.request.targets:
            if target.number in denied:
                tenant = target.session.tenant or "-"
                press.settle(target.number, Outcome.NOT_ALLOWED, f"You may not close sessions of tenant {tenant} here.")
            elif press.mode is Mode.QUERY and not target.session.running:
                press.settle(target.number, Outcome.UNTOUCHED, "It was idle: there was no query to close.")
            elif press.seconds > SEND_FOR:
                spent = f"The {SEND_FOR:.0f} s for sending were spent before its turn. Ask again for what is left."
                press.settle(target.number, Outcome.UNTOUCHED, spent)
            else:
                self._send(press, target)
            press.tell()

    def _send(self, press: Press, target: Target) -> None:
        try:
            try:
                self._look_and_kill(press, target)
            except ConnectionLostError as error:
                # Lost before anything was sent, else it would not be raised: once more on a fresh connection.
                self._look_and_kill(press, target, listed=not isinstance(error, _ListTooSlowError))
        except (DataSourceError, BusyError, StoreError) as error:
            if not press.sent:
                raise
            press.settle(target.number, Outcome.UNTOUCHED, f"No KILL was sent for it: {error}")

    def _look_and_kill(self, press: Press, target: Target, *, listed: bool = True) -> None:
        pin = Pin.of(target.session)
        with self._sessions.source(press.request.source).console() as console:
            told = listed and press.mode is Mode.SESSION and target.session.running  # an idle one does not come back
            known = _alike(console, target.session) if told else None
            found = console.find(pin.id)
            current = next((one for one in found if pin.same_session(one)), None)
            refusal = self._refusal(press, pin, current, found)
            if refusal is not None:
                press.settle(target.number, *refusal)
                return
            if current is None:
                press.settle(target.number, Outcome.ALREADY_GONE, "The session had ended before the press.")
                return
            self._store.intend(press.request, target, console.kill_text(current, press.mode), press.clock())
            press.sent[target.number] = Sent(current, press.clock(), known=known)
            _kill(console, press, target.number)

    def _refusal(
        self, press: Press, pin: Pin, current: Session | None, found: list[Session]
    ) -> tuple[Outcome, str] | None:
        if current is None:
            taken = any(one.server == pin.session.server for one in found)
            return (Outcome.CHANGED, "The id belongs to another session by now.") if taken else None
        try:
            refuse_protected(self._sessions, current, override=bool(press.request.override))
        except TargetError as error:
            return Outcome.PROTECTED, f"It {error.why}"
        if press.mode is Mode.QUERY and not pin.same_request(current):
            return Outcome.CHANGED, (
                "The query had ended before the press; the session now runs another one."
                if current.running
                else "The query had ended before the press; the session is idle."
            )
        return None


class _ListTooSlowError(ConnectionLostError):
    """The sessions of the same client were not listed in time, and the connection was given up for it."""


def _alike(console: Console, session: Session) -> frozenset[SessionKey] | None:
    """Name the sessions of the same client; None where that cannot be known: no close fails because of it."""
    try:
        return alike(console, session)
    except ConnectionLostError:
        raise
    except DataSourceTimeoutError as error:
        raise _ListTooSlowError(str(error)) from error
    except DataSourceError:
        return None


def _kill(console: Console, press: Press, number: int) -> None:
    """Send the KILL once. What fails in a way that may have worked all the same is left to the looks."""
    sent = press.sent[number]
    try:
        console.kill(sent.session, press.mode)
    except UnknownSessionError:
        what = "query" if press.mode is Mode.QUERY else "session"
        press.sent[number] = replace(sent, answer="unknown session")
        press.settle(number, Outcome.ALREADY_GONE, f"The {what} ended in the same moment.")
    except NotSessionOwnerError as error:
        press.sent[number] = replace(sent, answer=str(error))
        press.settle(number, Outcome.NOT_ALLOWED, str(error))
    except SessionOutOfReachError as error:
        press.sent[number] = replace(sent, answer=str(error))
        press.settle(number, Outcome.STILL_RUNNING, str(error))
    except DataSourceError as error:
        log.warning(
            "kill failed", session=sent.session.id, mode=press.mode.value, errno=error.errno, error=str(error)
        )  # fmt: skip
        press.sent[number] = replace(sent, answer=str(error))
