"""Carrying out a confirmed request: claim it, send what it stands for, look until it is so, record."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from time import monotonic

from bot.access import Person
from bot.closing.aftermath import Aftermath
from bot.closing.consent import Consent, too_late
from bot.closing.looks import Killed, Present, look, present
from bot.closing.model import ClosingRequest, Finding, Outcome, State
from bot.closing.press import Clock, Press, Progress, Timer, counted
from bot.closing.rules import ClosingRules
from bot.closing.sender import Sender
from bot.closing.store import LEASE, Store
from bot.errors import BudgetError, InputError, SessionBotError, StoreError
from bot.sessions.kill import Answer
from bot.sessions.model import Mode
from bot.sessions.service import SessionService

# Lock waiters take 3-11 s to notice that they were closed: the kernel looks only every 10 s
# (OCEANBASE.md 2.2), so less than 15 s would call a close that works a failure.
VERIFY_FOR = 15.0
_LOOKS = (0.01, 0.03, 0.1, 0.3, 0.5)  # seconds between the first looks
_LATER_LOOKS = 1.0

_NO_MORE_BEFORE = 2.0  # seconds before the end of its lease in which a press sends nothing more
_LOOK_UNTIL = 45.0  # seconds since the press, so that the last look and the record end within the lease

Wait = Callable[[float], object]


class Closer:
    """Confirms requests. ``wait`` sleeps for seconds; it, ``clock`` and ``timer`` are given so that tests rule time."""

    def __init__(
        self, sessions: SessionService, consent: Consent, store: Store, rules: ClosingRules, aftermath: Aftermath,
        clock: Clock, wait: Wait, timer: Timer = monotonic,
    ) -> None:  # fmt: skip
        self._sessions = sessions
        self._consent = consent
        self._store = store
        self._rules = rules
        self._clock = clock
        self._wait = wait
        self._timer = timer
        self._sender = Sender(sessions, store)
        self._aftermath = aftermath

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
        # Read before the store grants the lease, so that the press ends before it.
        until = self._timer() + LEASE.total_seconds() - _NO_MORE_BEFORE
        press = Press(self._claim(request, person, mode, delivery), mode, self._clock, self._timer, until, progress)
        try:
            self._sender.send(press, denied)
        except SessionBotError as error:
            # Nothing was sent: the store opens the request again only where it holds no intent.
            with contextlib.suppress(StoreError):
                self._store.release(press.request, self._clock(), str(error))
            raise
        self._verify(press)
        done = self._conclude(press)
        self._aftermath.follow(done, press.sent, press.findings)
        return done

    def present(self, request_id: str, person: Person, channel: str) -> tuple[ClosingRequest, Present]:
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
        finished = []
        for request in self._store.abandoned():
            if all(target.intent_at is None for target in request.targets):
                self._store.release(request, self._clock(), "the bot stopped before anything was sent")
            else:
                self._finish(request)
            left = self._consent.find(request.id)
            if left.state is not State.CLAIMED:  # else it was not left at all: its press goes on
                finished.append(left)
        return finished

    def look_again(self) -> list[ClosingRequest]:
        """Look again at closes that had an outcome; return the requests of which there is something new."""
        return self._aftermath.look()

    def _claim(self, request: ClosingRequest, person: Person, mode: Mode, delivery: str) -> ClosingRequest:
        """Take the request for this press, and return it as taken: nobody else's claim will do for what follows."""
        now = self._clock()
        try:
            taken = self._store.claim(
                request, person, mode, now, self._rules.of(request.source).budget, delivery, LEASE
            )
        except BudgetError as error:
            self._store.note(now, "refused", {"why": str(error)}, person=person, request=request)
            raise
        if not taken:
            raise too_late(self._consent.find(request.id), self._clock())
        return replace(request, state=State.CLAIMED, decided_by=person, decided_at=now, decided_mode=mode)

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
        killed = {number: Killed(sent.session, sent.answer, sent.said) for number, sent in waiting.items()}
        for number, verdict in look(self._sessions, press.request.source, killed, press.mode).items():
            press.seen[number] = verdict.detail
            late = self._timer() - waiting[number].at >= VERIFY_FOR or press.seconds >= _LOOK_UNTIL
            if verdict.final or late:
                press.settle(number, verdict.outcome, verdict.detail, verdict.holder)

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

    def _finish(self, request: ClosingRequest) -> None:
        """Write what a look shows of a press that a stopped bot left; what has not ended is followed from then on."""
        findings = self._look_after_restart(request)
        self._store.conclude(request, findings, self._clock())

    def _look_after_restart(self, request: ClosingRequest) -> dict[int, Finding]:
        intended = {
            one.number: Killed(one.session, Answer(one.answer) if one.answer else Answer.NONE)
            for one in request.targets
            if one.intent_at is not None
        }
        seen = look(self._sessions, request.source, intended, request.decided_mode or request.mode)
        told = "The bot was restarted while closing; this is what a look afterwards shows."
        findings = {}
        for target in request.targets:
            verdict = seen.get(target.number)
            if verdict is None:
                stopped = "Nothing was sent for it before the bot stopped."
                findings[target.number] = Finding(Outcome.NOT_SENT, stopped, self._clock())
            else:
                detail = f"{told} {verdict.detail}".strip()
                findings[target.number] = Finding(
                    verdict.outcome, detail, self._clock(), intended[target.number].answer.value
                )
        return findings


def _unrecorded(press: Press, error: StoreError) -> str:
    outcomes = [finding.outcome for finding in press.findings.values()]
    shows = outcomes[0].value if len(outcomes) == 1 else counted(outcomes)
    sent = {0: "Nothing was sent", 1: "The KILL was sent"}.get(len(press.sent), f"{len(press.sent)} KILLs were sent")
    return (
        f"{sent} and a look shows: {shows}. But the record of it could not be finished: {error} "
        "The bot will finish it as soon as the store answers."
    )
