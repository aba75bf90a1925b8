"""Closing requests and what became of them."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime

from bot.access import Person
from bot.sessions.model import Mode, Session


class State(enum.Enum):
    """Where a closing request stands. Only OPEN can still lead to a close."""

    OPEN = "open"
    CLAIMED = "claimed"  # confirmed; somebody's press is being carried out
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


class Approval(enum.Enum):
    """Whose press a data source wants."""

    REQUESTER = "requester"
    SECOND_PERSON = "second-person"


@dataclass(frozen=True, slots=True)
class Target:
    """One session of a closing request, as it was when asked for, and what became of it."""

    session: Session
    intent_at: datetime | None = None  # UTC; when the KILL was about to be sent
    outcome: Outcome | None = None
    detail: str = ""
    outcome_at: datetime | None = None  # UTC


@dataclass(frozen=True, slots=True)
class CardPlace:
    """Where the card stands in Slack, so that it can be rewritten later."""

    channel: str
    ts: str


@dataclass(frozen=True, slots=True)
class ClosingRequest:
    """What a confirmation card stands for. All times are UTC."""

    id: str
    source: str
    mode: Mode  # what was asked for
    requester: Person
    channel: str
    reason: str
    approval: Approval
    created_at: datetime
    expires_at: datetime
    target: Target
    state: State = State.OPEN
    decided_by: Person | None = None  # who confirmed or cancelled
    decided_at: datetime | None = None
    decided_mode: Mode | None = None
    card: CardPlace | None = None

    def expired(self, now: datetime) -> bool:
        """Whether nobody decided in time."""
        return self.state is State.EXPIRED or (self.state is State.OPEN and now >= self.expires_at)
