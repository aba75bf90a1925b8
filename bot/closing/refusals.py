"""What is said of a press that comes to nothing."""

from __future__ import annotations

from datetime import datetime

from bot.access import Person
from bot.closing.model import ClosingRequest, State
from bot.errors import RequestError
from bot.sessions.model import Mode


def too_late(request: ClosingRequest, now: datetime) -> RequestError:
    """Say why a press came too late."""
    if request.expired(now):
        return RequestError(
            f"This closing request has expired. Nothing was closed by this press. Ask again: {again(request)}"
        )
    first = first_of(request.decided_by)
    if request.state is State.CANCELLED:
        return RequestError("This closing request was cancelled. Nothing was closed by this press.", first=first)
    if request.state is State.OPEN:
        return RequestError(
            "This press, or one in the same moment, came to nothing: the bot was stopped or the data source did not "
            "answer. Nothing was closed. The request is open again. Press once more."
        )
    if request.state is State.CLAIMED:
        return RequestError(
            "Somebody has already confirmed this closing request, and it is being carried out; its card will show what "
            "comes of it. Your press changed nothing.",
            first=first,
        )
    return RequestError(
        "Somebody has already confirmed this closing request; its card shows who and what came of it. "
        "Your press changed nothing.",
        first=first,
    )


def first_of(person: Person | None) -> str:
    """Return the Slack id of whoever was first; '' where that is not known."""
    return person.id if person is not None else ""


def again(request: ClosingRequest) -> str:
    """Return the command that asks for the same once more."""
    ids = ",".join(str(target.session.id) for target in request.targets)
    query = " query" if request.mode is Mode.QUERY else ""
    return f"/kill-session {f'where {request.filter_text}' if request.filter_text else ids}{query}"
