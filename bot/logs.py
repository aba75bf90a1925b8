"""Logs: one line for each event, whatever stands in it. JSON, or for people at a terminal something to read."""

from __future__ import annotations

import logging
import traceback
from typing import TextIO

import structlog
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

from bot.slack.text import visible


def setup(stream: TextIO, *, terminal: bool) -> None:
    """Let structlog and the standard library log to a stream, each event as one line."""
    ending = _for_people() if terminal else _for_machines()
    beginning: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*beginning, *ending],
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*beginning, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Bolt and the SDK log payloads below this level.
    root.setLevel(logging.WARNING)


def _for_machines() -> list[Processor]:
    # JSON has an escape for everything that could break a line.
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]


def _for_people() -> list[Processor]:
    # Not structlog's own traceback: with rich installed it shows local variables, and passwords among them.
    return [_visible, structlog.dev.ConsoleRenderer(exception_formatter=_traceback)]


def _visible(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {key: visible(value) if isinstance(value, str) else value for key, value in event.items()}


def _traceback(stream: TextIO, error: ExcInfo) -> None:
    """Write a traceback of which no line can be taken for an event."""
    lines = "".join(traceback.format_exception(*error)).splitlines()
    stream.write("\n".join(f"    | {visible(line)}" for line in lines))
