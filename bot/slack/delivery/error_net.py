"""Runs what answers a delivery: whatever it raises is told to the person, with an id that is in the log."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from bot.errors import (
    AnsweredElsewhereError,
    BusyError,
    ConnectionLostError,
    DataSourceError,
    DataSourceTimeoutError,
    DataSourceUnreachableError,
    LoginRefusedError,
    PersonUnknownError,
    PrivilegeMissingError,
    SessionBotError,
    SlackRefusedError,
    StoreError,
)
from bot.slack import events
from bot.slack.delivery.progress import Progress
from bot.slack.delivery.replies import Reply
from bot.slack.telemetry import Telemetry
from bot.slack.views import notices

log = structlog.get_logger(__name__)

Payload = Mapping[str, Any]

# Sentences that hold nothing of what was typed and nothing of anybody's SQL: the log gets those alone.
_PLAIN = (
    BusyError,
    ConnectionLostError,
    DataSourceTimeoutError,
    DataSourceUnreachableError,
    LoginRefusedError,
    PersonUnknownError,
    PrivilegeMissingError,
    SlackRefusedError,
    StoreError,
)


def answer(
    handler: Callable[[Payload, Reply], None],
    payload: Payload,
    reply: Reply,
    telemetry: Telemetry,
    *,
    what: str,
    progress: Progress,
    waits_for: Callable[[], str],
) -> None:
    """Run a handler in this thread. ``what`` names it in logs and metrics: nothing that is not ours gets there.

    ``waits_for`` says, when it takes long, what it waits for.
    """
    error_id = secrets.token_hex(4)
    started = time.monotonic()
    with structlog.contextvars.bound_contextvars(
        id=error_id, rows=None, finding=None, **about(payload) | {"what": what}
    ):
        outcome, why, tell = "done", {}, log.info
        try:
            with progress.told(waits_for):
                try:
                    handler(payload, reply)
                except AnsweredElsewhereError as error:
                    outcome = type(error).__name__
                except SessionBotError as error:
                    outcome, why = type(error).__name__, _reason(error)
                    reply.private(notices.failure(error, error_id, _typed(payload)))
                except Exception as error:  # noqa: BLE001  # the last net: it is logged below, and the person is told
                    outcome, why, tell = "failed", {"exc_info": error}, log.error
                    reply.private(notices.unexpected(error_id))
        finally:
            seconds = time.monotonic() - started
            tell("answered", outcome=outcome, seconds=round(seconds, 3), **why)
            telemetry.answered(what, outcome, seconds)


def about(payload: Payload) -> dict[str, str]:
    """Return what the log says of a delivery: no text, which may hold literals, and no URL."""
    person = events.person_of(payload)
    what = (
        payload.get("command")
        or (payload.get("actions") or [{}])[0].get("action_id")
        or (payload.get("view") or {}).get("callback_id")
        or payload.get("type")
    )
    request = events.request_of(payload)
    return {
        "user": person.id,
        "channel": events.channel_of(payload),
        "what": str(what),
        **({"request": request} if request else {}),
    }


def _typed(payload: Payload) -> str:
    """Return the command line as typed, '' for what is no command."""
    return f"{payload['command']} {payload.get('text') or ''}".strip() if "command" in payload else ""


def _reason(error: SessionBotError) -> dict[str, Any]:
    """Say what the log says of an error besides its kind."""
    number = {"errno": error.errno} if isinstance(error, DataSourceError) and error.errno else {}
    return {"sentence": error.sentence, **number} if isinstance(error, _PLAIN) else dict(number)
