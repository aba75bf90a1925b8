"""Closing requests and what became of them."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from bot.access import Person
from bot.sessions.model import Mode, Pin, Session
from bot.sessions.waits.advice import Action, Advice

Clock = Callable[[], datetime]  # gives the time, UTC

# More sessions than this are closed only by somebody who has typed how many there are.
TYPED_ABOVE = 5


class State(enum.Enum):
    """Where a closing request stands. Only OPEN can still lead to a close."""

    OPEN = "open"
    CLAIMED = "claimed"  # confirmed; an attempt is under way
    DONE = "done"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class Outcome(enum.Enum):
    """What became of one target, in the words that people read."""

    CLOSED = "closed"
    QUERY_CLOSED = "query closed"
    ALREADY_GONE = "already gone"
    CHANGED = "changed, not closed"
    PROTECTED = "protected"
    NOT_ALLOWED = "not allowed"
    STILL_RUNNING = "still running"
    ROLLING_BACK = "rolling back"
    UNVERIFIED = "unverified"
    NOT_SENT = "not sent"

    @classmethod
    def _missing_(cls, value: object) -> Outcome | None:
        # So an older version of the bot wrote them.
        return {"not touched": cls.NOT_SENT, "came back": cls.CLOSED}.get(str(value))


class ApprovalPolicy(enum.Enum):
    """Whose press a data source wants."""

    REQUESTER = "requester"
    SECOND_PERSON = "second-person"


@dataclass(frozen=True, slots=True)
class Budget:
    """How many sessions or queries may be closed on one data source within a time that moves along."""

    most: int = 50
    window: timedelta = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Extension:
    """What somebody has allowed beyond the budget of a data source."""

    source: str
    by: Person
    closes: int  # how many more
    allowed: int  # how many that makes in all, within the budget's time
    within: str  # that time, to be read
    added: bool  # whether by this very press; else by one before it


@dataclass(frozen=True, slots=True)
class Target:
    """One session of a closing request, as it was when asked for, and what became of it."""

    number: int  # its place in the request, from 1
    session: Session
    intent_at: datetime | None = None  # UTC; when the KILL was about to be sent
    outcome: Outcome | None = None
    detail: str = ""
    outcome_at: datetime | None = None  # UTC
    answer: str = ""  # of the server to the KILL, as a value of ``sessions.kill.Answer``; '' where none is known
    sent: Session | None = None  # as it was looked at right before the KILL
    holder: Session | None = None  # the server session that still has the locks of a client that was closed
    newcomer: int | None = (
        None  # the id of the session that does the same since; its own, where only a query was closed
    )
    advice: Advice | None = None  # when it was asked for; None in requests of older versions

    @property
    def holds(self) -> bool:
        """Whether it ran something, was in a transaction, or held up others: what would be seen to come back."""
        held_up = self.advice is not None and self.advice.held_up > 0
        return self.session.running or self.session.in_transaction or held_up

    @property
    def runs_again(self) -> bool:
        """Whether its query alone was closed and the very session runs it anew."""
        return self.newcomer == self.session.id

    @property
    def blockers(self) -> tuple[Session, ...]:
        """The sessions that are advised to be closed instead."""
        if self.advice is None or self.advice.action is not Action.CLOSE_BLOCKER:
            return ()
        return tuple(one for one in self.advice.instead if isinstance(one, Session))


@dataclass(frozen=True, slots=True)
class TargetOutcome:
    """What became of one target, as the attempt that closes it found out.

    ``sent`` tells whether a KILL was sent, as far as whoever found out can know: the attempt itself knows, who looks
    after it was stopped does not.
    """

    outcome: Outcome
    detail: str
    at: datetime  # UTC
    answer: str = ""  # as in ``Target``
    said: str = ""  # the server's own words to the KILL, '' for an OK
    sent: bool | None = None  # None: not known
    session: Session | None = None  # as it was looked at right before the KILL, where one was sent
    holder: Session | None = None  # as in ``Target``


@dataclass(frozen=True, slots=True)
class Untouched:
    """A session that was asked for and that this request does not close; ``why`` does not name it.

    ``tenants`` are its own and those that ``why`` names. The record alone keeps them, for whoever judges who may see
    it; read from anywhere else they are not known (None).
    """

    session_id: int
    server: str | None
    why: str
    tenants: tuple[str | None, ...] = field(default=(None,), compare=False)


@dataclass(frozen=True, slots=True)
class CardPlace:
    """Where the card stands in Slack, so that it can be rewritten later."""

    channel: str
    ts: str


@dataclass(frozen=True, slots=True)
class Call:
    """A direct message that told somebody who may approve of a break-glass."""

    person: str  # Slack id
    place: CardPlace


@dataclass(frozen=True, slots=True)
class ClosingRequest:
    """What a confirmation card stands for. All times are UTC."""

    id: str
    source: str
    mode: Mode  # what was asked for
    requester: Person
    channel: str
    reason: str
    approval: ApprovalPolicy
    created_at: datetime
    expires_at: datetime
    targets: tuple[Target, ...]  # never empty
    untouched: tuple[Untouched, ...] = ()
    filter_text: str = ""  # the filter as typed; '' where ids were named or picked
    matching: int = 0  # how many sessions the filter found, more than one request may close included
    state: State = State.OPEN
    decided_by: Person | None = None  # who confirmed or cancelled
    decided_at: datetime | None = None
    decided_mode: Mode | None = None
    card: CardPlace | None = None
    override: tuple[str, ...] = ()  # all that protects the target and is to be set aside
    alone_from: datetime | None = None  # break-glass: from then on the requester may confirm alone what was asked for
    called_at: datetime | None = None  # break-glass: when the first of those called had been told
    calls: tuple[Call, ...] = ()  # break-glass: who was told by direct message
    stopped: bool = False  # cancelled to stop a break-glass, which holds until somebody who may approve lifts that
    stops: tuple[Stop, ...] = ()  # Stops of earlier requests that hold for its sessions now, newest first
    reviewed_by: Person | None = None  # who signed a close that was confirmed alone
    reviewed_at: datetime | None = None
    owner: str = ""  # the process that carries it out, or did last; '' for none
    unrecorded: bool = False  # whether the outcomes are those that its attempt knows, and the store has not taken yet

    @property
    def to_review(self) -> bool:
        """Whether somebody who may approve still has to sign what was carried out without them."""
        return self.state is State.DONE and self.confirmed_alone and self.reviewed_by is None

    @property
    def protection(self) -> str:
        """All that protects the target and is to be set aside, in words."""
        return ", and ".join(self.override)

    @property
    def confirmed_alone(self) -> bool:
        """Whether break-glass was used: the requester confirmed what wanted a second person."""
        if self.decided_by is None or self.state not in (State.CLAIMED, State.DONE):
            return False
        return self.alone_from is not None and self.decided_by.id == self.requester.id

    def expired(self, now: datetime) -> bool:
        """Whether nobody decided in time."""
        return self.state is State.EXPIRED or (self.state is State.OPEN and now >= self.expires_at)

    @property
    def beyond(self) -> int:
        """How many sessions fit the filter beyond what one request may close."""
        return max(0, self.matching - len(self.targets) - len(self.untouched))

    def affected(self, mode: Mode) -> int:
        """How many of the targets that mode would close: an idle session has no query."""
        return sum(mode is Mode.SESSION or target.session.running for target in self.targets)

    def number_to_type(self, mode: Mode) -> int | None:
        """The number that whoever confirms must type; None where a press is enough."""
        affected = self.affected(mode)
        return affected if affected > TYPED_ABOVE else None

    def is_about(self, session: Session) -> bool:
        """Whether a session is one of its targets.

        A server may be a data source twice: its sessions are the same by whatever name it is asked.
        """
        pins = (Pin.of(replace(one.session, source=session.source)) for one in self.targets)
        return any(pin.same_session(session) for pin in pins)


@dataclass(frozen=True, slots=True)
class Stop:
    """Somebody's Stop of a break-glass, as it holds for a target of another request."""

    stopped: ClosingRequest
    by: Person
    at: datetime  # UTC
    session_id: int
