"""What to do about a session: close it, close only its query, close another one instead, or wait.

One pure function of a session, its waits and its past; ``locks``, ``triage``, ``show``, cards and windows all ask it.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from bot.sessions.model import Session
from bot.sessions.waits.graph import Prepared, Wait, WaitGraph


class Action(enum.Enum):
    """What is advised; ``value`` is the button or the word."""

    CLOSE_SESSION = "Close Session"
    CLOSE_QUERY = "Close Query"
    CLOSE_BLOCKER = "Close the blocker instead"
    WAIT = "Wait"
    NOTHING = "Nothing to close"  # no session will end it, or nothing has to be ended
    OVERRIDE = "Protected"  # closed with an override, or never


@dataclass(frozen=True, slots=True)
class Closed:
    """One close of the same user, client and statement, a while ago."""

    at: datetime  # UTC
    by: str  # who, as the view of the store names people: a Slack id
    same_session: bool  # whether it was this very session; else one like it
    query: bool  # whether only its query was closed
    back_after: float | None = None  # seconds after which the client was back


@dataclass(frozen=True, slots=True)
class Case:
    """A session or a prepared transaction, and what is known of it when advice is asked for."""

    who: Session | Prepared
    waits: tuple[Wait, ...] = ()  # whom it waits for
    waiters: tuple[Wait, ...] = ()  # who waits for it directly
    held_up: int = 0  # sessions that wait for it, directly and through others
    heads: tuple[Session | Prepared, ...] = ()  # who is at the head of what it waits for
    protected: tuple[str, ...] = ()  # reasons, each as in "belongs to ocp, a protected user of prod"
    past: tuple[Closed, ...] = ()  # of the last ten minutes, newest first

    @classmethod
    def of(
        cls,
        who: Session | Prepared,
        graph: WaitGraph,
        protected: Sequence[str] = (),
        past: Sequence[Closed] = (),
    ) -> Case:
        """Take from the waits what concerns this session."""
        waits = graph.holders(who) if isinstance(who, Session) else ()
        heads = graph.heads_of(who) if isinstance(who, Session) else ()
        held_up = len(graph.held_up(who))
        return cls(who, waits, graph.waiters(who), held_up, heads, tuple(protected), tuple(past))


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do, and why in the words of the case; ``then`` is what comes after it, '' for nothing."""

    action: Action
    reason: str
    instead: tuple[Session | Prepared, ...] = ()  # whom to close, or to look at, instead
    past: str = ""  # what was closed before and came back; beside whichever action


def advise(case: Case) -> Advice:  # noqa: PLR0911  # a rule each
    """Say what to do; the first rule that matches counts."""
    who = case.who
    if isinstance(who, Prepared):
        return Advice(
            Action.NOTHING,
            "A prepared XA transaction holds it, and no session: XA RECOVER names it; its transaction manager ends it "
            "by XA COMMIT or XA ROLLBACK.",
        )
    if case.protected:
        return Advice(Action.OVERRIDE, f"It {case.protected[0]}.")
    if who.ending:
        return Advice(Action.WAIT, "It was closed already and is ending.")
    if case.waits:
        named = tuple(case.heads)
        return Advice(
            Action.CLOSE_BLOCKER if named else Action.WAIT,
            f"It waits itself: closing it frees the {case.held_up} behind it."
            if case.held_up
            else "It waits itself: closing it frees nobody.",
            named,
        )
    if who.idle:
        return Advice(Action.CLOSE_SESSION, "It is idle: Close Query would do nothing.")
    if who.transaction is not None and who.transaction.autocommit:
        return Advice(Action.CLOSE_QUERY, "Its statement is all of its transaction.")
    return Advice(Action.CLOSE_SESSION, "Close Query would keep what its transaction holds.")
