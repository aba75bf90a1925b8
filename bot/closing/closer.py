"""Carrying out a confirmed request: claim it, send what it stands for, look until it is so, record."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import timedelta

from bot.access import Person
from bot.closing.aftermath import Aftermath
from bot.closing.consent import Consent, too_late
from bot.closing.looks import look, present
from bot.closing.model import ClosingRequest, Finding, Outcome
from bot.closing.press import Clock, Press, Progress, counted
from bot.closing.rules import ClosingRules
from bot.closing.sender import Sender
from bot.closing.store import Store
from bot.errors import InputError, SessionBotError, StoreError
from bot.sessions.model import Mode, Session
from bot.sessions.service import SessionService

# Lock waiters take 3-11 s to notice that they were closed: the kernel looks only every 10 s
# (OCEANBASE.md 2.2), so less than 15 s would call a close that works a failure.
VERIFY_FOR = 15.0
_LOOKS = (0.01, 0.03, 0.1, 0.3, 0.5)  # seconds between the first looks
_LATER_LOOKS = 1.0

# A press is carried out within this time, time-outs included; older claims belong to a bot that stopped.
LEASE = timedelta(seconds=60)
_LOOK_UNTIL = 45.0  # seconds since the press, so that the last look and the record end within the lease

Wait = Callable[[float], object]


class Closer:
    """Confirms requests. ``wait`` sleeps for seconds; both it and ``clock`` are given so that tests rule time."""

    def __init__(
        self, sessions: SessionService, consent: Consent, store: Store, rules: ClosingRules, clock: Clock, wait: Wait
    ) -> None:
        self._sessions = sessions
        self._consent = consent
        self._store = store
        self._rules = rules
        self._clock = clock
        self._wait = wait
        self._sender = Sender(sessions, store)
        self._aftermath = Aftermath(sessions, store, clock)

    def confirm(
        self, request_id: str, person: Person, channel: str, mode: Mode, progress: Progress, *,
        typed: int | None = None, delivery: str = "",
    ) -> ClosingRequest:  # fmt: skip
        """Close what the request names, as far as it is still what it was, and return it with its outcomes.

        ``typed`` is the number of sessions as the person typed it, where the request wants that; ``delivery``
        names the press, so that one that is delivered again after the bot was stopped closes nothing.
        ``progress`` is told when it takes longer than two seconds, then about every three.
        Raises ``RequestError`` when the request is over, ``NotAllowedError``, ``InputError``, ``BudgetError``,
        ``StoreError``, or a ``DataSourceError`` before anything was sent; the request is open again then.
        """
        request, denied = self._consent.confirmable(request_id, person, channel)
        number = request.number_to_type(mode)
        if number is not None and typed != number:
            raise InputError(
                f"{mode.value} here stands for {number} sessions, and that number must be typed. Nothing was closed. "
                f"Press {mode.value} on the card and type {number}."
            )
        budget = self._rules.of(request.source).budget
        if not self._store.claim(request, person, mode, self._clock(), budget, delivery):
            raise too_late(self._consent.find(request_id), self._clock())
        try:
            press = Press(self._consent.find(request_id), mode, self._clock, progress)
            self._sender.send(press, denied)
        except SessionBotError as error:
            # Nothing was sent: the store opens the request again only where it holds no intent.
            with contextlib.suppress(StoreError):
                self._store.release(request, self._clock(), str(error))
            raise
        self._verify(press)
        done = self._conclude(press)
        self._aftermath.follow(done, press)
        return done

    def present(self, request_id: str, person: Person, channel: str) -> tuple[ClosingRequest, dict[int, Session]]:
        """Return a request that this person could confirm, and its targets as they are now, as far as they are there.

        Raises what ``confirm`` would raise at once, or a ``DataSourceError``.
        """
        request, _denied = self._consent.confirmable(request_id, person, channel)
        return request, present(self._sessions, request)

    def resume(self) -> list[ClosingRequest]:
        """Finish the record of presses that a stopped bot left behind, without closing anything.

        Returns the requests whose cards must be rewritten; those of which nothing was sent are open again.
        Raises ``StoreError``.
        """
        before = self._clock() - LEASE
        if not self._store.shared:  # then nobody but the process before this one can have left them
            before = max(before, self._store.opened)
        finished = []
        for request in self._store.abandoned(before):
            if all(target.intent_at is None for target in request.targets):
                self._store.release(request, self._clock(), "the bot stopped before anything was sent")
            else:
                self._store.conclude(request, self._look_after_restart(request), self._clock())
            finished.append(self._consent.find(request.id))
        return finished

    def look_again(self) -> list[ClosingRequest]:
        """Look again at closes that had an outcome; return the requests of which there is something new."""
        return self._aftermath.look()

    def _verify(self, press: Press) -> None:
        """Look at all that was sent until it is so, each for up to ``VERIFY_FOR`` seconds, in common rounds."""
        delays = iter(_LOOKS)
        while press.waiting:
            self._look_once(press)
            if press.waiting:
                press.tell()
                self._wait(next(delays, _LATER_LOOKS))

    def _look_once(self, press: Press) -> None:
        waiting = press.waiting
        killed = {number: sent.session for number, sent in waiting.items()}
        for number, (outcome, detail) in look(self._sessions, press.request.source, killed, press.mode).items():
            sent = waiting[number]
            press.seen[number] = detail
            late = (self._clock() - sent.at).total_seconds() >= VERIFY_FOR or press.seconds >= _LOOK_UNTIL
            if outcome in (Outcome.CLOSED, Outcome.QUERY_CLOSED):
                press.settle(number, outcome, detail)
            elif late:
                press.settle(number, outcome, f"{sent.answer} {detail}".strip())

    def _conclude(self, press: Press) -> ClosingRequest:
        for pause in (0.2, 1.0, None):
            try:
                self._store.conclude(press.request, press.findings, self._clock())
                return self._consent.find(press.request.id)
            except StoreError as error:
                if pause is None:
                    raise StoreError(_unrecorded(press, error)) from error
                self._wait(pause)
        raise AssertionError("unreachable: the last try returns or raises")

    def _look_after_restart(self, request: ClosingRequest) -> dict[int, Finding]:
        mode = request.decided_mode or request.mode
        sent = {one.number: one.session for one in request.targets if one.intent_at is not None}
        seen = look(self._sessions, request.source, sent, mode)
        stopped = Outcome.UNTOUCHED, "Nothing was sent for it before the bot stopped."
        told = "The bot was restarted while closing; this is what a look afterwards shows."
        findings = {}
        for target in request.targets:
            outcome, detail = seen.get(target.number, stopped)
            detail = f"{told} {detail}".strip() if target.number in seen else detail
            findings[target.number] = Finding(outcome, detail, self._clock())
        return findings


def _unrecorded(press: Press, error: StoreError) -> str:
    outcomes = [finding.outcome for finding in press.findings.values()]
    shows = outcomes[0].value if len(outcomes) == 1 else counted(outcomes)
    sent = {0: "Nothing was sent", 1: "The KILL was sent"}.get(len(press.sent), f"{len(press.sent)} KILLs were sent")
    return (
        f"{sent} and a look shows: {shows}. But the record of it could not be finished: {error} "
        "The bot will finish it as soon as the store answers."
    )
