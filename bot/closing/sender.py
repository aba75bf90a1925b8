"""Sending what was confirmed, target by target: write the intent, then look, compare the pin and KILL in one go."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import structlog

from bot.closing.attempt import CloseAttempt, Kill
from bot.closing.model import Outcome, Target
from bot.closing.reconnection import SessionKey, sessions_alike
from bot.closing.store import Store
from bot.closing.targets import refuse_protected
from bot.errors import (
    BusyError,
    ConnectionLostError,
    DataSourceError,
    DataSourceTimeoutError,
    StoreError,
    TargetError,
)
from bot.sessions import kill
from bot.sessions.console import Console, Look
from bot.sessions.kill import Answer, NotSent, Why
from bot.sessions.model import Mode, Pin, Session
from bot.sessions.service import SessionService

# Seconds for sending: whoever waits for the last ones of many has gone on by then, and so have the sessions.
SEND_FOR = 25.0

_OUTCOMES = {
    Why.GONE: (Outcome.ALREADY_GONE, "The session had ended before a KILL was sent."),
    Why.TAKEN: (Outcome.CHANGED, "The id now belongs to another session."),
    Why.UNSEEN: (Outcome.UNVERIFIED, "Nothing was sent for it. {said}"),
    Why.ELSEWHERE: (Outcome.NOT_SENT, "{said} Nothing was sent for it."),
    Why.ENDING: (Outcome.ROLLING_BACK, "It was already ending, so nothing was sent."),
    Why.OUT_OF_REACH: (Outcome.NOT_SENT, "{said}"),
    Why.LATE: (Outcome.NOT_SENT, "{said} Nothing was sent for it."),
}

_CANNOT_TELL = (
    "The bot cannot tell whether this is still the same query: this list has no query ids and restarts its clock while "
    "a query waits. Give the bot's login the views in the install guide, or close the session."
)

log = structlog.get_logger(__name__)


class Sender:
    """Sends the KILLs of one attempt after the other; one that fails does not keep the next from being sent."""

    def __init__(self, sessions: SessionService, store: Store) -> None:
        self._sessions = sessions
        self._store = store

    def send(self, attempt: CloseAttempt, denied: Mapping[int, str]) -> None:
        """Close every target that is still what was confirmed and not ``denied``, by number, for some reason.

        Raises a ``SessionBotError`` only while nothing was sent and no intent stands.
        """
        for target in attempt.request.targets:
            if target.number in denied:
                attempt.settle(target.number, Outcome.NOT_ALLOWED, denied[target.number])
            elif attempt.mode is Mode.QUERY and not target.session.running:
                attempt.settle(target.number, Outcome.NOT_SENT, "It was idle: there was no query to close.")
            elif attempt.seconds > SEND_FOR:
                spent = f"The {SEND_FOR:.0f} s for sending ran out before its turn. Ask again for the rest."
                attempt.settle(target.number, Outcome.NOT_SENT, spent)
            else:
                self._send(attempt, target)
            attempt.tell()

    def _send(self, attempt: CloseAttempt, target: Target) -> None:
        try:
            try:
                self._look_and_kill(attempt, target)
            except ConnectionLostError as error:
                # Lost before anything was sent, else it would not be raised: once more on a fresh connection.
                self._look_and_kill(attempt, target, listed=not isinstance(error, _ListTooSlowError))
        except (DataSourceError, BusyError, StoreError) as error:
            if not attempt.sent and not attempt.intent_stands:
                raise
            attempt.settle(target.number, Outcome.NOT_SENT, f"No KILL was sent for it: {error}")

    def _look_and_kill(self, attempt: CloseAttempt, target: Target, *, listed: bool = True) -> None:
        pin = Pin.of(target.session)
        with self._sessions.source(attempt.request.source).console() as console:
            # An idle one does not come back.
            runs = listed and attempt.mode is Mode.SESSION and target.session.running
            known = _alike(console, target.session) if runs else None
            # What is seen now to be another one needs no intent. What is sent is looked at again after it.
            look = console.look(pin)
            refused = kill.refusal(console, look, pin, attempt.mode) or self._protected(attempt, look.session)
            if refused is not None and not _may_be_otherwise(console, look, refused):
                _settle(attempt, target, refused)
                return
            sql = console.kill_text(look.session or target.session, attempt.mode, target.session)
            self._store.intents.intend(attempt.request, target, sql, attempt.clock())
            self._kill(console, attempt, target, known)

    def _kill(
        self, console: Console, attempt: CloseAttempt, target: Target, known: frozenset[SessionKey] | None
    ) -> None:
        """Send the KILL; an intent that comes to nothing is withdrawn."""

        def forbid(session: Session) -> None:
            refuse_protected(self._sessions, session, set_aside=attempt.request.override)

        def expired() -> bool:
            return attempt.lapsed and not self._still_ours(attempt)

        try:
            sent = kill.close(console, kill.Order(Pin.of(target.session), attempt.mode, forbid, expired))
        except TargetError as error:
            sent = NotSent(Why.PROTECTED, f"It {error.why}")
        except DataSourceError as error:
            self._withdraw(attempt, target, str(error), error)
            raise
        if isinstance(sent, NotSent):
            self._withdraw(attempt, target, sent.said or sent.why.value, None)
            _settle(attempt, target, sent)
            return
        if sent.answer is not Answer.OK:
            log.warning("kill failed", session=sent.session.id, mode=attempt.mode.value, answer=sent.answer.value)
        attempt.sent[target.number] = Kill(sent, attempt.timer(), known)
        with contextlib.suppress(StoreError):  # it is written once more, with the outcome
            self._store.intents.answered(attempt.request, target, sent.answer.value, sent.session)

    def _still_ours(self, attempt: CloseAttempt) -> bool:
        """Ask for a new lease: this process was frozen, or the store away, and nobody else may have come."""
        asked = attempt.timer()
        try:
            ours = self._store.leases.renew(attempt.request)
        except StoreError:
            return False
        if ours:
            attempt.renewed(asked)
        return ours

    def _withdraw(self, attempt: CloseAttempt, target: Target, why: str, error: DataSourceError | None) -> None:
        """Withdraw the intent; where the store does not take that now, it does with the outcome."""
        try:
            self._store.intents.withdraw(attempt.request, target, why, attempt.clock())
        except StoreError as failed:
            attempt.intent_stands = True
            if error is not None:
                raise StoreError(f"{error} {failed}") from failed

    def _protected(self, attempt: CloseAttempt, session: Session | None) -> NotSent | None:
        if session is None:
            return None
        try:
            refuse_protected(self._sessions, session, set_aside=attempt.request.override)
        except TargetError as error:
            return NotSent(Why.PROTECTED, f"It {error.why}", session)
        return None


def _may_be_otherwise(console: Console, look: Look, refused: NotSent) -> bool:
    """Whether a closer look may show that it can be closed: on its own server, or in a fresh list of transactions."""
    if look.unseen:
        return console.dialect.one_of_several
    return refused.why is Why.ANOTHER_TRANSACTION and console.dialect.own_transaction is not None


class _ListTooSlowError(ConnectionLostError):
    """The sessions of the same client were not listed in time, and the connection was given up for it."""


def _settle(attempt: CloseAttempt, target: Target, refused: NotSent) -> None:
    number, now = target.number, refused.now
    if refused.why is Why.PROTECTED:
        attempt.settle(number, Outcome.PROTECTED, refused.said)
    elif refused.why is Why.ANOTHER_REQUEST and now is not None and Pin.of(target.session).cannot_tell(now):
        attempt.settle(number, Outcome.NOT_SENT, _CANNOT_TELL)
    elif refused.why is Why.ANOTHER_REQUEST:
        state = "the session now runs another one" if now is not None and now.running else "the session is idle"
        attempt.settle(number, Outcome.CHANGED, f"The query had ended before a KILL was sent; {state}.")
    elif refused.why is Why.ANOTHER_TRANSACTION:
        attempt.settle(number, Outcome.CHANGED, _transaction_changed(target.session, now))
    else:
        outcome, detail = _OUTCOMES[refused.why]
        attempt.settle(number, outcome, detail.format(said=refused.said))


def _transaction_changed(before: Session, now: Session | None) -> str:
    lasting = [one is not None and one.lasting_transaction for one in (before, now)]
    if lasting == [False, True]:
        return "A transaction has begun since the card was shown; closing would roll it back."
    if lasting == [True, False]:
        return "Its transaction has ended since the card was shown."
    return "It is in another transaction than when the card was shown; closing would roll that back."


def _alike(console: Console, session: Session) -> frozenset[SessionKey] | None:
    """Name the sessions of the same client; None where that cannot be known: no close fails because of it."""
    try:
        return sessions_alike(console, session)
    except ConnectionLostError:
        raise
    except DataSourceTimeoutError as error:
        raise _ListTooSlowError(str(error)) from error
    except DataSourceError:
        return None
