"""Sending what was confirmed, target by target: write the intent, then look, compare the pin and KILL in one go."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import structlog

from bot.closing.attempt import CloseAttempt, Kill
from bot.closing.model import Outcome, Target
from bot.closing.reconnection import ClientKey, SessionKey, client_of, sessions_alike
from bot.closing.store import Store
from bot.closing.targets import refuse_protected
from bot.errors import (
    BusyError,
    ConnectionLostError,
    DataSourceError,
    DataSourceTimeoutError,
    SessionBotError,
    SessionOutOfReachError,
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
    Why.LOGGED_IN: (Outcome.CHANGED, "Its client has logged in since. Nothing was sent; ask again to close it."),
    Why.TAKEN: (Outcome.CHANGED, "The id now belongs to another session."),
    Why.UNSEEN: (Outcome.UNVERIFIED, "Nothing was sent for it. {said}"),
    Why.ELSEWHERE: (Outcome.NOT_SENT, "{said} Nothing was sent for it."),
    Why.ENDING: (Outcome.ROLLING_BACK, "It was closed already and is ending, so nothing was sent."),
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
        wanted = []
        for target in attempt.request.targets:
            if target.number in denied:
                attempt.settle(target.number, Outcome.NOT_ALLOWED, denied[target.number])
            elif attempt.mode is Mode.QUERY and not target.session.running:
                attempt.settle(target.number, Outcome.NOT_SENT, "It ran nothing: there was no query to close.")
            else:
                wanted.append(target)
        _Sending(self._sessions, self._store, attempt, wanted).send()


class _Sending:
    """The sending of one attempt: all its targets are looked at together, then closed one after the other."""

    def __init__(self, sessions: SessionService, store: Store, attempt: CloseAttempt, wanted: Sequence[Target]) -> None:
        self._sessions = sessions
        self._store = store
        self._attempt = attempt
        self._wanted = wanted
        self._intended: set[int] = set()  # whose intents stand
        self._known: dict[ClientKey, frozenset[SessionKey] | None] = {}  # see ``Kill.known``
        self._lists = True  # whether the sessions of the same client are listed

    @property
    def _left(self) -> list[Target]:
        """Those that have not had their turn."""
        return [one for one in self._wanted if one.number not in self._attempt.sent | self._attempt.outcomes]

    def send(self) -> None:
        """Close all of them. Raises as ``Sender.send``."""
        lost = 0  # connections since a target had its turn
        while left := self._left:
            try:
                with self._sessions.source(self._attempt.request.source).console() as console:
                    self._look_and_kill(console, left)
            except _ListTooSlowError:
                self._lists = False
            except ConnectionLostError as error:
                # Before a KILL of those that are left, else it would not be raised: once more on a fresh connection.
                lost = lost + 1 if len(self._left) == len(left) else 1
                if lost > 1:
                    self._give_up(error)
            except (DataSourceError, BusyError, StoreError) as error:
                self._give_up(error)

    def _give_up(self, error: SessionBotError) -> None:
        """Settle all that are left as not sent; raise instead where nothing was sent at all and no intent stands."""
        for target in self._left:
            self._withdraw(target, str(error))
        if not self._attempt.sent and not self._intended:
            raise error
        for target in self._left:
            self._attempt.settle(target.number, Outcome.NOT_SENT, f"No KILL was sent for it: {error}")

    def _look_and_kill(self, console: Console, left: Sequence[Target]) -> None:
        self._list_alike(console, left)
        # What is seen now to be another one needs no intent. What is sent is looked at again after it.
        looks = console.looks([Pin.of(target.session) for target in left])
        wanted = []
        for target, look in zip(left, looks, strict=True):
            refused = kill.refusal(console, look, Pin.of(target.session), self._attempt.mode) or self._protected(
                look.session
            )
            if refused is not None and not _may_be_otherwise(console, look, refused):
                self._not_sent(target, refused)
            else:
                wanted.append((target, look))
        self._attempt.tell()
        self._intend(console, wanted)
        self._kill_all(console, [target for target, _ in wanted if target.number in self._intended])

    def _list_alike(self, console: Console, left: Sequence[Target]) -> None:
        """List the sessions of each client one of whose sessions may be seen to come back."""
        if self._attempt.mode is not Mode.SESSION or not self._lists:
            return
        for session in (target.session for target in left if target.holds):
            if client_of(session) not in self._known:
                self._known[client_of(session)] = _alike(console, session)

    def _intend(self, console: Console, wanted: Sequence[tuple[Target, Look]]) -> None:
        """Write the intents; one that the store does not take keeps no other from being sent."""
        failed: dict[int, StoreError] = {}
        for target, look in wanted:
            if target.number in self._intended:
                continue  # before the connection was lost
            sql = console.kill_text(look.session or target.session, self._attempt.mode, target.session)
            try:
                self._store.intents.intend(self._attempt.request, target, sql, self._attempt.clock())
            except StoreError as error:
                failed[target.number] = error
            else:
                self._intended.add(target.number)
        if failed and not self._intended and not self._attempt.sent:
            raise next(iter(failed.values()))
        for number, why in failed.items():
            self._attempt.settle(number, Outcome.NOT_SENT, f"No KILL was sent for it: {why}")

    def _kill_all(self, console: Console, targets: Sequence[Target]) -> None:
        orders = {target.number: self._order(target) for target in targets}
        looks, past = kill.Looks(console, orders), False
        for target in targets:
            if console.keeps_kills and not past:
                past = True
                self._kill_past(console, [one for one in targets if one in self._left])
            if target not in self._left:
                continue
            if self._attempt.seconds > SEND_FOR:
                spent = f"The {SEND_FOR:.0f} s for sending ran out before its turn. Ask again for the rest."
                self._withdraw(target, spent)
                self._attempt.settle(target.number, Outcome.NOT_SENT, spent)
            else:
                self._kill(console, target, orders[target.number], partial(looks.at, target.number))
            self._attempt.tell()

    def _kill_past(self, console: Console, targets: Sequence[Target]) -> None:
        """Close on their own servers, over one connection to each, what a proxy would not: it keeps each ``KILL``.

        Those of a server that cannot be reached so are left.
        """
        for server in dict.fromkeys(target.session.server for target in targets if not target.session.client_session):
            with contextlib.suppress(SessionOutOfReachError), console.on(server) as direct:
                self._kill_all(direct, [one for one in targets if one.session.server == server])

    def _order(self, target: Target) -> kill.Order:
        def forbid(session: Session) -> None:
            refuse_protected(self._sessions, session, set_aside=self._attempt.request.override)

        def expired() -> bool:
            return self._attempt.lapsed and not self._still_ours()

        return kill.Order(Pin.of(target.session), self._attempt.mode, forbid, expired)

    def _kill(self, console: Console, target: Target, order: kill.Order, at: Callable[[], Look]) -> None:
        """Send the KILL; an intent that comes to nothing is withdrawn."""
        try:
            sent = kill.close(console, order, at)
        except TargetError as error:
            sent = NotSent(Why.PROTECTED, f"It {error.why}")
        if isinstance(sent, NotSent):
            self._not_sent(target, sent)
            return
        if sent.answer is not Answer.OK:
            request, session = self._attempt.request, sent.session
            log.warning(
                "kill failed",
                request=request.id,
                source=request.source,
                server=session.server,
                session=session.id,
                tenant=session.tenant,
                mode=order.mode.value,
                answer=sent.answer.value,
            )
        known = self._known.get(client_of(target.session)) if target.holds else None
        self._attempt.sent[target.number] = Kill(sent, self._attempt.timer(), known)
        with contextlib.suppress(StoreError):  # it is written once more, with the outcome
            self._store.intents.answered(self._attempt.request, target, sent.answer.value, sent.session)

    def _still_ours(self) -> bool:
        """Ask for a new lease: this process was frozen, or the store away, and nobody else may have come."""
        asked = self._attempt.timer()
        try:
            ours = self._store.leases.renew(self._attempt.request)
        except StoreError:
            return False
        if ours:
            self._attempt.renewed(asked)
        return ours

    def _not_sent(self, target: Target, refused: NotSent) -> None:
        self._withdraw(target, refused.said or refused.why.value)
        _settle(self._attempt, target, refused)

    def _withdraw(self, target: Target, why: str) -> None:
        """Withdraw the intent where one stands; where the store does not take that now, it does with the outcome."""
        if target.number not in self._intended:
            return
        try:
            self._store.intents.withdraw(self._attempt.request, target, why, self._attempt.clock())
        except StoreError:
            return
        self._intended.discard(target.number)

    def _protected(self, session: Session | None) -> NotSent | None:
        if session is None:
            return None
        try:
            refuse_protected(self._sessions, session, set_aside=self._attempt.request.override)
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
        state = "the session is idle" if now is None or now.idle else "it runs nothing now"
        if now is not None and now.running:
            state = "the session now runs another one"
        attempt.settle(number, Outcome.CHANGED, f"The query had ended before a KILL was sent; {state}.")
    elif refused.why is Why.ANOTHER_TRANSACTION:
        attempt.settle(number, Outcome.CHANGED, _transaction_changed(target.session, now))
    else:
        outcome, detail = _OUTCOMES[refused.why]
        attempt.settle(number, outcome, detail.format(said=refused.said))


def _transaction_changed(before: Session, now: Session | None) -> str:
    if now is not None and not now.transaction_known:
        return "Whether its transaction is still the one that the card showed cannot be seen now."
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
