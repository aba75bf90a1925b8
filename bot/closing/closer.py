"""Carrying out a confirmed request: claim it, send what it stands for, look until it is so, record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import structlog

from bot.closing.approval import Approvals, Confirmation
from bot.closing.attempt import CloseAttempt, Progress, Timer
from bot.closing.follow_up import FollowUps
from bot.closing.model import ApprovalPolicy, Clock, ClosingRequest, Outcome, State, TargetOutcome
from bot.closing.open_attempts import OpenAttempts
from bot.closing.parts import Part
from bot.closing.refusals import too_late
from bot.closing.rules import ClosingRules
from bot.closing.sender import Sender
from bot.closing.store import Store
from bot.closing.verification import Present, present, verify_all
from bot.errors import BudgetError, InputError, SessionBotError, StoppedError
from bot.sessions.kill import Answer, Sent
from bot.sessions.service import SessionService
from bot.sessions.uptime import since_boot

log = structlog.get_logger(__name__)

# Lock waiters take 1-11 s to notice that they were closed: the kernel looks only every 10 s
# (docs/oceanbase.md 2.2), so less than 15 s would call a close that works a failure.
VERIFY_FOR = 15.0
FIRST_PAUSES = (0.01, 0.03, 0.1, 0.3, 0.5)  # seconds between the first looks
LATER_PAUSE = 1.0

Wait = Callable[[float], object]


class Closer:
    """Confirms requests. ``wait`` sleeps for seconds; it, ``clock`` and ``timer`` are given so that tests rule time."""

    def __init__(
        self,
        sessions: SessionService,
        approvals: Approvals,
        store: Store,
        rules: ClosingRules,
        attempts: OpenAttempts,
        follow_ups: FollowUps,
        clock: Clock,
        wait: Wait,
        timer: Timer = since_boot,
    ) -> None:
        self._sessions = sessions
        self._approvals = approvals
        self._store = store
        self._rules = rules
        self._clock = clock
        self._wait = wait
        self._timer = timer
        self._sender = Sender(sessions, store)
        self._attempts = attempts
        self._follow_ups = follow_ups

    def confirm(
        self,
        confirmation: Confirmation,
        progress: Progress,
        leave: Callable[[ClosingRequest], object] = lambda _left: None,
    ) -> ClosingRequest:
        """Close what the request names, as far as it is still what it was, and return it with its outcomes.

        Where this person may decide only some of its targets, the others stay open in a request of their own, of which
        ``leave`` is told as soon as it is there.
        ``progress`` is told as soon as the request is taken, then about every three seconds, and what came of it
        before that is on record: a store that fails keeps nobody waiting.
        Raises ``RequestError`` when the request is over, ``NotAllowedError``, ``InputError``, ``BudgetError``,
        ``StoreError``, or a ``DataSourceError`` before anything was sent; the request is open again then.
        """
        part, request_id = self._approvals.confirmable(confirmation), confirmation.request_id
        if self._attempts.carries(request_id) and self._store.requests.get(request_id).state is State.OPEN:
            # In a file that was put in the place of the one that had the claim.
            raise too_late(replace(part.taken, state=State.CLAIMED), self._clock())
        _require_number(part, confirmation)
        with self._attempts.taking(request_id):
            asked = self._timer()
            claimed = self._claim(part, confirmation)
            if claimed is None:
                self._approvals.confirmable(confirmation)  # which says why not
                raise too_late(self._store.requests.get(request_id), self._clock())
            attempt = CloseAttempt(claimed, confirmation.mode, self._clock, self._timer, asked, progress)
            if part.remainder is not None:
                leave(part.remainder)
            return self._carry_out(attempt, part.lost)

    def present(self, confirmation: Confirmation) -> tuple[Part, Present]:
        """Return what of a request this person could confirm, and that as it is now, as far as it is there.

        Raises what ``confirm`` would raise at once, or a ``DataSourceError``.
        """
        part = self._approvals.confirmable(confirmation)
        return part, present(self._sessions, part.shown)

    def resume(self) -> list[ClosingRequest]:
        """Finish the record of attempts that nobody carries out any more, without closing anything.

        Returns the requests whose cards must be rewritten; those of which nothing was sent are open again.
        Raises ``StoreError``.
        """
        finished = self._attempts.settle()
        if not self._attempts.may_take_over():
            return finished
        for request in self._store.leases.abandoned(self._attempts.requests):
            if request.id in self._attempts.requests:
                continue  # one of one's own attempts has taken it since they were asked for
            try:
                if self._store.leases.take_over(request):
                    finished.append(self._taken_over(request))
            except SessionBotError:
                raise
            except Exception:  # one that cannot be finished keeps no other from it
                log.exception("not finished", request=request.id)
        return finished

    def _taken_over(self, request: ClosingRequest) -> ClosingRequest:
        with self._attempts.taking(request.id):
            # As it stands now: the owner before may have gone on after it was read.
            self._finish(self._store.requests.get(request.id), self._why_left(request))
        return self._store.requests.get(request.id)

    def expire(self) -> list[ClosingRequest]:
        """Mark the requests that nobody decided in time; return them so that their cards can say so."""
        return self._store.requests.expire(self._clock(), self._attempts.requests)

    def _claim(self, part: Part, confirmation: Confirmation) -> ClosingRequest | None:
        """Take what this person decides, and return it as taken: nobody else's claim will do for what follows.

        None where it is not to be had any more: somebody was quicker, or a Stop holds by now.
        """
        now, request, person, mode = self._clock(), part.taken, confirmation.person, confirmation.mode
        second_person = request.approval is ApprovalPolicy.SECOND_PERSON and person.id != request.requester.id
        try:
            claimed = self._store.decisions.claim(
                request,
                person,
                mode,
                now,
                self._rules.of(request.source).budget,
                delivery=confirmation.delivery,
                planned=part.shown.affected(mode),
                left=part.remainder,
                approved=second_person,
            )
        except BudgetError as error:
            self._store.requests.note(now, "refused", {"why": str(error)}, person=person, request=request)
            raise
        if not claimed:
            return None
        return replace(request, state=State.CLAIMED, decided_by=person, decided_at=now, decided_mode=mode)

    def _carry_out(self, attempt: CloseAttempt, denied: Mapping[int, str]) -> ClosingRequest:
        with self._attempts.carrying_out(attempt):
            attempt.show()
            try:
                self._sender.send(attempt, denied)
            except SessionBotError as error:
                # Nothing was sent: the store opens the request again only where it holds no intent.
                self._attempts.release(attempt, str(error))
                raise
            try:
                self._verify(attempt)
            except StoppedError:
                self._attempts.conclude(attempt)  # what is known of it: the rest is looked at by the next process
                raise
            attempt.show()
            done = self._attempts.conclude(attempt)
        self._follow_ups.follow(attempt)
        return done if done is not None else attempt.known()

    def _verify(self, attempt: CloseAttempt) -> None:
        """Look at all that was sent until it is so, each for up to ``VERIFY_FOR`` seconds, in common rounds."""
        delays = iter(FIRST_PAUSES)
        while attempt.waiting:
            self._verify_once(attempt)
            if attempt.waiting:
                attempt.tell()
                self._wait(next(delays, LATER_PAUSE))

    def _verify_once(self, attempt: CloseAttempt) -> None:
        waiting = attempt.waiting
        sent = {number: one.sent for number, one in waiting.items()}
        for number, verdict in verify_all(self._sessions, attempt.request.source, sent, attempt.mode).items():
            attempt.seen[number] = verdict.detail
            if verdict.final or self._timer() - waiting[number].at >= VERIFY_FOR:
                attempt.settle(number, verdict.outcome, verdict.detail, verdict.holder)

    def _why_left(self, request: ClosingRequest) -> str:
        """Say why an attempt, as it was before it was taken over, had no owner any more."""
        if request.owner == self._store.database.owner:
            return "The press was broken off"
        if self._store.database.shared:  # who is silent may be there all the same
            return "The replica that was closing this has fallen silent"
        return "The bot was restarted while closing"

    def _finish(self, request: ClosingRequest, why: str) -> None:
        """Write what a look shows of an attempt that was left; what has not ended is followed from then on."""
        if all(target.intent_at is None for target in request.targets):
            self._store.leases.release(request, self._clock(), f"{why}. Nothing had been sent.")
        else:
            self._store.outcomes.conclude(request, self._verify_afterwards(request, why), self._clock())

    def _verify_afterwards(self, request: ClosingRequest, why: str) -> dict[int, TargetOutcome]:
        intended = {
            one.number: Sent(one.sent or one.session, Answer(one.answer) if one.answer else Answer.NONE)
            for one in request.targets
            if one.intent_at is not None
        }
        seen = verify_all(self._sessions, request.source, intended, request.decided_mode or request.mode)
        outcomes = {}
        for target in request.targets:
            verdict = seen.get(target.number)
            if verdict is None:
                not_sent = TargetOutcome(Outcome.NOT_SENT, f"{why}. Nothing had been sent for it.", self._clock())
                outcomes[target.number] = not_sent
            else:
                detail = f"{why}; this is what a look afterwards shows. {verdict.detail}".strip()
                answer = intended[target.number].answer.value
                outcomes[target.number] = TargetOutcome(
                    verdict.outcome, detail, self._clock(), answer, holder=verdict.holder
                )
        return outcomes


def _require_number(part: Part, confirmation: Confirmation) -> None:
    mode = confirmation.mode
    number = part.shown.number_to_type(mode)
    if number is not None and confirmation.typed != number:
        raise InputError(
            f"{mode.value} here stands for {number} sessions, and that number must be typed. Nothing was closed. "
            f"Press {mode.value} on the card and type {number}."
        )
