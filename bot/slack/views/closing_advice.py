"""What is advised on the targets of a request, in the words of its card."""

from __future__ import annotations

from collections.abc import Sequence

from bot.closing.model import ClosingRequest
from bot.sessions.masking import cut
from bot.sessions.model import Mode, Session
from bot.sessions.waits.advice import Action, Advice
from bot.slack.escaping import visible

_BLOCKERS = 3  # that a card offers to close instead
_CHARACTERS = 900  # of one sentence
_MODES = {Action.CLOSE_SESSION: Mode.SESSION, Action.CLOSE_QUERY: Mode.QUERY}

Sentence = tuple[str, str]  # what stands in bold, and what is said of it


def advised_mode(request: ClosingRequest) -> Mode | None:
    """The way of closing that is advised for all targets alike; None where that is another thing, or not known."""
    actions = {one.advice.action for one in request.targets if one.advice is not None}
    return _MODES.get(actions.pop()) if len(actions) == 1 else None


def blockers(request: ClosingRequest) -> list[Session]:
    """The sessions that a card offers to close instead, each once, in the order of the targets."""
    found = {(one.server, one.id, one.tenant): one for target in request.targets for one in target.blockers}
    ours = {(one.session.server, one.session.id, one.session.tenant) for one in request.targets}
    return [one for key, one in found.items() if key not in ours][:_BLOCKERS]


def sentences(request: ClosingRequest) -> list[Sentence]:
    """Say what is advised, and why."""
    known = [one.advice for one in request.targets if one.advice is not None]
    if not known:
        return []
    said = _of_one(known[0]) if len(request.targets) == 1 else _of_several(request, known)
    past = next((one.past for one in known if one.past), "")
    return [*said, *([("", f"🔁 {_short(past)}")] if past else [])]


def _of_one(advice: Advice) -> list[Sentence]:
    heading = f"💡 {advice.action.value}{', perhaps' if advice.guessed else ''}."
    if advice.action is Action.UNKNOWN:
        heading = "❓ No advice."
    return [(heading, f" {_short(advice.reason)}"), *([("", _short(advice.then))] if advice.then else [])]


def _of_several(request: ClosingRequest, known: Sequence[Advice]) -> list[Sentence]:
    if all(one.action is Action.UNKNOWN for one in known):
        return [("❓ No advice.", f" {_short(known[0].reason)}")]
    waiting = sum(one.action is Action.CLOSE_BLOCKER for one in known)
    if not waiting:
        return []
    free = (
        "1 of these waits itself: closing it" if waiting == 1 else f"{waiting} of these wait themselves: closing them"
    )
    instead = blockers(request)
    which = (
        f" At the head of what they wait for: {', '.join(f'session {one.id}' for one in instead)}." if instead else ""
    )
    return [(f"💡 {Action.CLOSE_BLOCKER.value}.", f" {free} frees only those that wait for nobody else.{which}")]


def _short(text: str) -> str:
    return cut(visible(text), _CHARACTERS)
