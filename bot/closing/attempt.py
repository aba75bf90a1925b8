"""One attempt while it is carried out: what was sent, and what is known of each target so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from bot.closing.model import Clock, ClosingRequest, Outcome, Target, TargetOutcome
from bot.closing.reconnection import SessionKey
from bot.closing.store.leases import LEASE
from bot.sessions.kill import Sent
from bot.sessions.model import Mode, Session

PROGRESS_AFTER = 2.0  # seconds; below that the outcome itself is news enough
PROGRESS_EVERY = 3.0  # seconds; Slack takes about 50 rewritten messages a minute from the whole bot

Timer = Callable[[], float]  # seconds since some moment, whatever is done to the clock
Progress = Callable[[ClosingRequest, str], None]

_NO_MORE_BEFORE = 2.0  # seconds before the end of its lease in which an attempt asks for more before it sends anything


@dataclass(frozen=True, slots=True)
class Kill:
    """A KILL of this attempt that was sent, or may have been."""

    sent: Sent
    at: float  # reading of the attempt's timer
    known: frozenset[SessionKey] | None = None  # sessions of the same user and source right before; None: too many


@dataclass
class CloseAttempt:
    """A claimed request, the mode that was pressed, and what has come of it so far, by target number.

    ``asked`` is the reading of ``timer`` when the store was asked for the claim.
    """

    request: ClosingRequest
    mode: Mode
    clock: Clock
    timer: Timer
    asked: float
    progress: Progress
    outcomes: dict[int, TargetOutcome] = field(default_factory=dict)
    sent: dict[int, Kill] = field(default_factory=dict)
    seen: dict[int, str] = field(default_factory=dict)  # what the last look showed of those that are waited for

    def __post_init__(self) -> None:
        self.started = self.timer()
        self._told_at: float | None = None
        self._told = ""
        self.renewed(self.asked)

    @property
    def seconds(self) -> float:
        """How long it has taken."""
        return self.timer() - self.started

    @property
    def waiting(self) -> dict[int, Kill]:
        """Those sent of which the outcome is not known yet."""
        return {number: sent for number, sent in self.sent.items() if number not in self.outcomes}

    def settle(self, number: int, outcome: Outcome, detail: str, holder: Session | None = None) -> None:
        """Note what became of a target."""
        result = TargetOutcome(outcome, detail, self.clock(), sent=number in self.sent, holder=holder)
        if number in self.sent:
            sent = self.sent[number].sent
            result = replace(result, answer=sent.answer.value, said=sent.said, session=sent.session)
        self.outcomes[number] = result

    def renewed(self, asked: float) -> None:
        """Note that the store has put off the end of its lease; ``asked`` is when it was asked to."""
        self._until = asked + LEASE.total_seconds() - _NO_MORE_BEFORE

    @property
    def lapsed(self) -> bool:
        """Whether somebody else may have taken it over by now."""
        return self.timer() >= self._until

    def show(self) -> None:
        """Show what is known: as soon as it is taken, so that no live button stays, and when all of it is known."""
        self.progress(self.known(), "")

    def tell(self) -> None:
        """Say how far it is, when it takes long, something has changed, and the last word is some time ago."""
        if self.seconds < PROGRESS_AFTER:
            return
        if self._told_at is not None and self.timer() - self._told_at < PROGRESS_EVERY:
            return
        note = self._note()
        if note == self._told:
            return
        self._told_at, self._told = self.timer(), note
        self.progress(self.known(), note)

    def known(self) -> ClosingRequest:
        """Return the request with what is known so far: a store that fails must not hide what was sent."""
        targets = tuple(self._known(target) for target in self.request.targets)
        return replace(self.request, targets=targets, unrecorded=True)

    def _note(self) -> str:
        if len(self.request.targets) == 1:
            return next(iter(self.seen.values()), "")
        waiting = len(self.waiting)
        left = len(self.request.targets) - len(self.outcomes) - waiting
        counts = [counted(one.outcome for one in self.outcomes.values())] if self.outcomes else []
        counts += [f"{waiting} waiting"] if waiting else []
        counts += [f"{left} to go"] if left else []
        return ", ".join(counts)

    def _known(self, target: Target) -> Target:
        known = self.outcomes.get(target.number)
        if known is None:
            return target
        return replace(target, outcome=known.outcome, detail=known.detail, outcome_at=known.at)


def counted(outcomes: Iterable[Outcome]) -> str:
    """Say how many came to what, in the order of ``Outcome``: "18 closed, 1 already gone"."""
    counts = Counter(outcomes)
    return ", ".join(f"{counts[outcome]} {outcome.value}" for outcome in Outcome if counts[outcome])
