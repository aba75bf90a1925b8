"""Reads single values after a key: ids, durations, states; and writes durations back."""

from __future__ import annotations

import re
from datetime import timedelta

from bot.closing.targets import id_out_of_range
from bot.errors import InputError
from bot.sessions.model import Field, Operator
from bot.sessions.states import STATES, nearest_state
from bot.slack.arguments.tokens import KeyToken, quoted

COMPARED = (Operator.ABOVE, Operator.AT_LEAST, Operator.BELOW, Operator.AT_MOST)
UNITS = {
    "": 1,
    "ms": 0.001,
    "s": 1,
    "sec": 1,
    "second": 1,
    "seconds": 1,
    "m": 60,
    "min": 60,
    "minute": 60,
    "minutes": 60,
    "h": 3600,
    "hour": 3600,
    "hours": 3600,
    "d": 86400,
    "day": 86400,
    "days": 86400,
}
_LONGEST = 3650 * 86400.0
NUMBER = re.compile(r"\d+(?:\.\d+)?")
_STATE = re.compile(r"[A-Z][A-Z0-9_ -]{0,39}", re.ASCII)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)")


def values_of(field: Field, token: KeyToken) -> tuple[str | int | float, ...]:
    """Read what stands behind the sign of comparison; raises ``InputError``."""
    if field is Field.TIME:
        return (_time(token),)
    if token.operator in COMPARED and field is not Field.ID:
        raise InputError(
            f"{field.value} cannot be larger or smaller. Use = (contains), == or !=.",
            spot=token.text,
            example=f"/sessions {field.value}={'ACTIVE' if field is Field.STATUS else quoted(token.values[0])}",
        )
    if field is Field.ID:
        return tuple(session_id(value) for value in token.values)
    if field is Field.STATUS:
        return tuple(_state(value) for value in token.values)
    return token.values


def span(value: str, longest: timedelta, example: str) -> timedelta:
    """Read a duration that reaches back into the past; raises ``InputError``."""
    match = _DURATION.fullmatch(value.lower())
    seconds = float(match[1]) * UNITS[match[2]] if match and match[2] in UNITS else 0
    if not 1 <= seconds <= longest.total_seconds():
        raise InputError(
            f"“{value[:60]}” is no time to look back. Give a number with s, m, h or d, at most {longest.days}d.",
            spot=value,
            example=example,
        )
    return timedelta(seconds=seconds)


def duration(seconds: float) -> str:
    """Write seconds as people type them: 5m, 90s, 0.5s.

    >>> duration(300), duration(90), duration(0.5)
    ('5m', '90s', '0.5s')
    """
    for unit in ("d", "h", "m"):
        if seconds and seconds % UNITS[unit] == 0:
            return f"{int(seconds // UNITS[unit])}{unit}"
    return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"


def session_id(value: str) -> int:
    """Read a session id; raises ``InputError`` for anything that no session can have.

    >>> session_id("3221487826")
    3221487826
    >>> session_id("4294967297")
    Traceback (most recent call last):
    bot.errors.InputError: 4294967297 is not a session id: ...
    """
    if not re.fullmatch(r"\d+", value, re.ASCII):
        raise InputError(
            f"“{value[:60]}” is not a session id. An id is a number; take it from the first column of /sessions.",
            spot=value,
            example="/sessions id=3221487826",
        )
    number = int(value.lstrip("0")[:40] or "0")
    if not 1 < number < 2**32:
        raise InputError(id_out_of_range(number), spot=value, example="/sessions active-only")
    return number


def _time(token: KeyToken) -> float:
    value = token.values[0]
    match = _DURATION.fullmatch(value.lower())
    if match is None or match[2] not in UNITS or len(token.values) > 1:
        raise InputError(
            f"“{','.join(token.values)}” is not a duration. A duration is a number with ms, s, m, h or d.",
            spot=token.text,
            example="/sessions time>5m",
        )
    seconds = round(float(match[1]) * UNITS[match[2]], 3)
    if seconds > _LONGEST:
        raise InputError("No session is older than ten years.", spot=token.text, example="/sessions time>30d")
    if token.operator not in COMPARED:
        raise InputError(
            "Compare a time with > or <; an exact time would match nothing.",
            spot=token.text,
            example=f"/sessions time>{value}",
        )
    return seconds


def _state(value: str) -> str:
    """Read a status in any case; whether there is one of that name is for the data source to say."""
    state = value.upper()
    if not _STATE.fullmatch(state):
        raise InputError(
            f"There is no status “{value[:60]}”. Use one of: {', '.join(STATES)}.",
            spot=value,
            example=f"/sessions status={nearest_state(state)}",
        )
    return state
