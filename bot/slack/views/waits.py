"""What several views say of waits: who holds up how many, for what, what to do about it, and the buttons for it."""

from __future__ import annotations

import enum
from collections.abc import Callable

from bot.sessions.masking import cut
from bot.sessions.model import Session
from bot.sessions.waits.advice import Action, Advice
from bot.sessions.waits.blockages import Blockage
from bot.sessions.waits.graph import Prepared, Wait
from bot.slack.escaping import visible
from bot.slack.session_reference import SessionReference
from bot.slack.views import blocks as kit
from bot.slack.views import components, wording
from bot.slack.views.session_list import CLOSE_QUERY, CLOSE_SESSION, DETAILS

HIDDEN = "a session that you may not see"

_REASON, _PAST = 350, 200  # characters


class Button(enum.Enum):
    """A close that is offered; ``value`` is its action id."""

    SESSION = CLOSE_SESSION
    QUERY = CLOSE_QUERY


def holder_buttons(who: Session | Prepared, advice: Advice) -> list[kit.Element]:
    """Buttons for a session: the close that is advised first, and no close that would not help; then its details."""
    if not isinstance(who, Session):
        return []
    reference = str(SessionReference.of(who))
    labels = {Button.SESSION: f"Close Session {who.id}", Button.QUERY: f"Close Query {who.id}"}
    closes = () if who.own else _CLOSES.get(advice.action, ())
    buttons = [kit.button(labels[one], action_id=one.value, value=reference) for one in closes]
    return [*buttons, kit.button(f"Details {who.id}", action_id=DETAILS, value=reference)]


def advised(who: Session | Prepared, advice: Advice) -> components.Line:
    """Say what to do about it, and why."""
    what = advice.action.value
    if isinstance(who, Session) and advice.action in _CLOSES:
        what = f"{what} {who.id}"
    what += ", perhaps" if advice.guessed else ""
    said = [cut(visible(text), _REASON) for text in (advice.reason, advice.then) if text]
    past = [cut(visible(advice.past), _PAST)] if advice.past else []
    return [components.bold(f"{what}. "), components.plain(" ".join([*said, *past]))]


def held_up(count: int, hidden: int = 0) -> str:
    """Say how many sessions are held up, and how many of these may not be seen.

    >>> held_up(1), held_up(4, 2), held_up(4, 4)
    ('1 session', '4 sessions (2 that you may not see)', '4 sessions that you may not see')
    """
    sessions = f"{count:,} session{'' if count == 1 else 's'}"
    if not hidden:
        return sessions
    return f"{sessions} that you may not see" if hidden == count else f"{sessions} ({hidden:,} that you may not see)"


def longest_and_what(blockage: Blockage) -> tuple[str, str]:
    """Say for how long others wait at most, with a comma before it, '' where nothing tells; and for what they wait."""
    longest = f", the longest for {wording.seconds(blockage.longest)}" if blockage.longest is not None else ""
    kinds = list(dict.fromkeys(map(waited_for, blockage.waits)))
    return longest, f"{', '.join(kinds[:2])}{f' and {len(kinds) - 2} more' if len(kinds) > 2 else ''}"


def called(who: Session | Prepared, shows: Callable[[Session | Prepared], bool]) -> str:
    """Name a session or a prepared transaction; one that may not be seen has no name."""
    if not shows(who):
        return HIDDEN
    if isinstance(who, Session):
        return f"session {who.id}" + (" (the bot's own)" if who.own else "")
    named = f" {cut(visible(who.xid), 60)}" if who.xid else ""
    return f"prepared XA transaction{named} (id {who.transaction.id or '-'})"


def waited_for(wait: Wait) -> str:
    """Say for what somebody waits: the kind, and the table where it is known."""
    return wait.kind.value + (f" on {cut(visible(wait.what), 60)}" if wait.what else "")


# Where a query is to be closed, closing its session helps as well; where a session is, closing its query would not.
_CLOSES = {Action.CLOSE_SESSION: (Button.SESSION,), Action.CLOSE_QUERY: (Button.QUERY, Button.SESSION)}
