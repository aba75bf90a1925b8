"""One press while it is carried out: what was sent, and what is known of each target so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from bot.closing.model import ClosingRequest, Finding, Outcome, Target
from bot.sessions.kill import Answer
from bot.sessions.kill import Sent as SentKill
from bot.sessions.model import Mode, Session

PROGRESS_AFTER = 2.0  # seconds; below that the outcome itself is news enough
PROGRESS_EVERY = 3.0  # seconds; Slack takes about 50 rewritten messages a minute from the whole bot

Clock = Callable[[], datetime]
Timer = Callable[[], float]  # seconds since some moment, whatever is done to the clock
Progress = Callable[[ClosingRequest, str], None]


SessionKey = tuple[str | None, int]  # server and id


@dataclass(frozen=True, slots=True)
class Sent:
    """A KILL that was sent, or may have been."""

    session: Session  # as it was looked at right before
    answer: Answer
    at: float  # reading of the press's timer
    said: str = ""  # the server's own words, '' for an OK
    known: frozenset[SessionKey] | None = None  # sessions of the same user and source right before; None: too many

    @classmethod
    def of(cls, kill: SentKill, at: float, known: frozenset[SessionKey] | None) -> Sent:
        """Remember what was sent."""
        return cls(kill.session, kill.answer, at, kill.said, known)


@dataclass
class Press:
    """A claimed request, the mode that was pressed, and what has come of it so far, by target number.

    ``until`` is the reading of ``timer`` from which on its claim may be somebody else's: nothing is sent any more.
    """

    request: ClosingRequest
    mode: Mode
    clock: Clock
    timer: Timer
    until: float
    progress: Progress
    findings: dict[int, Finding] = field(default_factory=dict)
    sent: dict[int, Sent] = field(default_factory=dict)
    intent_stands: bool = False  # though nothing was sent for it: the store did not take that it was withdrawn
    seen: dict[int, str] = field(default_factory=dict)  # what the last look showed of those that are waited for

    def __post_init__(self) -> None:
        self.started = self.timer()
        self._told_at: float | None = None
        self._told = ""

    @property
    def seconds(self) -> float:
        """How long it has taken."""
        return self.timer() - self.started

    @property
    def waiting(self) -> dict[int, Sent]:
        """Those sent of which the outcome is not known yet."""
        return {number: sent for number, sent in self.sent.items() if number not in self.findings}

    def settle(self, number: int, outcome: Outcome, detail: str, holder: Session | None = None) -> None:
        """Note what became of a target."""
        sent = self.sent.get(number)
        answer, said = (sent.answer.value, sent.said) if sent is not None else ("", "")
        self.findings[number] = Finding(outcome, detail, self.clock(), answer, said, sent is not None, holder)

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
        # The request as claimed: a store that fails from here on must not hide what was sent.
        targets = tuple(self._known(target) for target in self.request.targets)
        self.progress(replace(self.request, targets=targets), note)

    def _note(self) -> str:
        if len(self.request.targets) == 1:
            return next(iter(self.seen.values()), "")
        waiting = len(self.waiting)
        left = len(self.request.targets) - len(self.findings) - waiting
        counts = [counted(finding.outcome for finding in self.findings.values())] if self.findings else []
        counts += [f"{waiting} waiting"] if waiting else []
        counts += [f"{left} to go"] if left else []
        return ", ".join(counts)

    def _known(self, target: Target) -> Target:
        finding = self.findings.get(target.number)
        if finding is None:
            return target
        return replace(target, outcome=finding.outcome, detail=finding.detail, outcome_at=finding.at)


def counted(outcomes: Iterable[Outcome]) -> str:
    """Say how many came to what, in the order of ``Outcome``: "18 closed, 1 already gone"."""
    counts = Counter(outcomes)
    return ", ".join(f"{counts[outcome]} {outcome.value}" for outcome in Outcome if counts[outcome])
