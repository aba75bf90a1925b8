"""Logs: key-value lines for a terminal, JSON otherwise, without secrets and without what exceptions quote."""

from __future__ import annotations

import logging
import re
import sys
import threading
import traceback
from collections.abc import Mapping, MutableMapping
from types import TracebackType
from typing import Any

import structlog

from bot.slack.escaping import visible

# Whatever gets into a line by another way: tokens, and URLs beyond their host (response URLs, tickets, logins).
_TOKEN = re.compile(r"\bx(?:ox[a-z]|app|oxe\.xox[bp])-[\w.-]+")
_URL = re.compile(r"\b([a-z][a-z0-9+]{1,20}://)(?:[^\s/]*@)?([^\s/'\"]*)(?:/[^\s'\"]*)?")

FRAMES = 12  # the last calls of an exception are told

Event = MutableMapping[str, Any]


def set_up() -> None:
    """Send structlog's lines and those of the libraries to standard error, in one shape."""
    terminal = sys.stderr.isatty()
    own: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _where,
        _without_empty,
        _masked,
    ]
    # JSON has an escape for whatever could break a line; at a terminal it would even move the cursor.
    own += [_visible] if terminal else []
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if terminal
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[*own, renderer],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *own],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    # Bolt and the SDK log payloads below this level.
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    log = structlog.get_logger("bot")
    threading.excepthook = lambda ended: log.error("a thread ended", exc_info=ended.exc_value)


def ended(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Tell, as the interpreter's last word, what ended the process: as a line of the log does, without its text."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        print(f"session-bot ended, and the fault is its own: {_told(error)}", file=sys.stderr)  # noqa: T201  # as said


def masked(text: str) -> str:
    """Hide tokens, and of URLs all but the host.

    >>> masked("POST https://hooks.slack.com/commands/T1/2/x with xoxb-1234-abcd")
    'POST https://hooks.slack.com with [token]'
    """
    return _URL.sub(r"\1\2", _TOKEN.sub("[token]", text))


def _where(_logger: object, _method: str, event: Event) -> Event:
    """Say where an exception came from and of what kind; its own text may quote a statement."""
    info = event.pop("exc_info", None)
    error = sys.exc_info()[1] if info is True else info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        event["exception"] = _told(error)
    return event


def _told(error: BaseException | None) -> str:
    causes = []
    while error is not None:
        frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
        causes.append(
            f"{type(error).__qualname__} at "
            + " > ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames)
        )
        error = error.__cause__ or error.__context__
    return "; raised from ".join(causes)


def _without_empty(_logger: object, _method: str, event: Event) -> Event:
    return {key: value for key, value in event.items() if value is not None}


def _visible(_logger: object, _method: str, event: Event) -> Event:
    """Keep each event on one line. What is no text is shown by its ``repr``, which has escapes of its own."""
    return {key: visible(value) if isinstance(value, str) else value for key, value in event.items()}


def _masked(_logger: object, _method: str, event: Event) -> Event:
    return {key: _mask(value) for key, value in event.items()}


def _mask(value: Any) -> Any:
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, Mapping):
        return {key: _mask(one) for key, one in value.items()}
    return [_mask(one) for one in value] if isinstance(value, list | tuple) else value
