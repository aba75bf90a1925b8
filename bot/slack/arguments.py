"""Turns what follows ``/sessions`` into a question, and a question back into words."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bot.closing.requests import id_out_of_range
from bot.errors import InputError
from bot.sessions.model import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    Condition,
    Field,
    Flag,
    Operator,
    SessionFilter,
    SessionQuery,
    Sort,
)
from bot.slack.words import KeyWord, PlainWord, nearest, quoted, words

EXAMPLE = "/sessions tenant=shop user=app time>5m active-only"
STATES = ("ACTIVE", "SLEEP", "INIT", "QUERY_KILLED", "SESSION_KILLED", "QUERY_DEADLOCKED")

_FIELDS = {field.value: field for field in Field}
_FLAGS = {flag.value: flag for flag in Flag}
_VIEW_KEYS = ("source", "sort", "limit", "page")
_VIEW_EXAMPLES = {
    "source": "/sessions source=prod",
    "sort": "/sessions sort=-time",
    "limit": "/sessions limit=50",
    "page": "/sessions page=2",
}
_ALSO = {
    "database": "db",
    "state": "status",
    "ip": "host",
    "duration": "time",
    "cluster": "source",
    "active": "active-only",
}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST = 3650 * 86400.0
_COMPARED = (Operator.ABOVE, Operator.AT_LEAST, Operator.BELOW, Operator.AT_MOST)
_LOWER = (Operator.ABOVE, Operator.AT_LEAST)


@dataclass(frozen=True, slots=True)
class ParsedQuery:
    """A question and what had to be corrected to understand it, in sentences."""

    query: SessionQuery
    notes: tuple[str, ...] = ()


def parse(text: str) -> ParsedQuery:
    """Read the words after ``/sessions`` (already repaired).

    A mistyped key or flag is corrected and noted, since nothing can be harmed by a list.
    Raises ``InputError`` with the spot for everything else.
    """
    reader = _Reader()
    for word in words(text):
        reader.read(word)
    return reader.result()


def describe(query: SessionQuery) -> str:
    """Write a question in words that ``parse`` reads back as the same question."""
    parts = [f"source={quoted(query.source)}"] if query.source else []
    parts += [_condition(condition) for condition in query.filter.conditions]
    parts += sorted(flag.value for flag in query.filter.flags)
    if query.sort is not Sort.DEFAULT:
        parts.append(f"sort={query.sort.value}")
    if query.limit != DEFAULT_LIMIT:
        parts.append(f"limit={query.limit}")
    if query.page != 1:
        parts.append(f"page={query.page}")
    parts += [name for name, on in (("private", query.private), ("text", query.text)) if on]
    return " ".join(parts)


def duration(seconds: float) -> str:
    """Write seconds as people type them: 5m, 90s, 0.5s."""
    for unit in ("d", "h", "m"):
        if seconds and seconds % _SECONDS[unit] == 0:
            return f"{int(seconds // _SECONDS[unit])}{unit}"
    return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"


def session_id(value: str) -> int:
    """Read a session id; raises ``InputError`` for anything that no session can have."""
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


class _Reader:
    """Collects the words of one command."""

    def __init__(self) -> None:
        self._conditions: list[Condition] = []
        self._flags: set[Flag] = set()
        self._views: dict[str, str] = {}
        self._words: set[str] = set()
        self._notes: list[str] = []

    def read(self, word: KeyWord | PlainWord) -> None:
        if isinstance(word, PlainWord):
            self._read_plain(word)
        else:
            self._read_key(word)

    def result(self) -> ParsedQuery:
        self._refuse_contradictions()
        query = SessionQuery(
            source=self._views.get("source"),
            filter=SessionFilter(tuple(self._conditions), frozenset(self._flags)),
            sort=self._sort(),
            limit=self._number("limit", DEFAULT_LIMIT, MAX_LIMIT),
            page=self._number("page", 1, 100_000),
            private="private" in self._words,
            text="text" in self._words,
        )
        return ParsedQuery(query, tuple(self._notes))

    def _read_plain(self, word: PlainWord) -> None:
        name = word.word
        if name not in (*_FLAGS, "private", "text"):
            meant = _ALSO.get(name) or nearest(name, (*_FLAGS, "private", "text"))
            if meant not in (*_FLAGS, "private", "text"):
                raise self._unknown_word(word)
            self._notes.append(f"“{word.text}” was read as {meant}.")
            name = meant
        if name in self._words:
            raise InputError(f"{name} stands there twice.", spot=word.text, example=EXAMPLE)
        self._words.add(name)
        if name in _FLAGS:
            self._flags.add(_FLAGS[name])

    def _read_key(self, word: KeyWord) -> None:
        key = word.key
        if key not in _FIELDS and key not in _VIEW_KEYS:
            key = self._meant_key(word)
        if key in _VIEW_KEYS:
            self._read_view(key, word)
            return
        condition = Condition(_FIELDS[key], word.operator, _values(_FIELDS[key], word))
        self._refuse_repeated(condition, word.text)
        self._conditions.append(condition)

    def _meant_key(self, word: KeyWord) -> str:
        known = (*_FIELDS, *_VIEW_KEYS)
        meant = _ALSO.get(word.key) or nearest(word.key, known)
        if meant not in known:
            raise InputError(
                f"There is no key “{word.key}”. There is: {', '.join(known)}.",
                spot=word.text,
                example=EXAMPLE,
            )
        self._notes.append(f"“{word.key}” was read as {meant}.")
        return meant

    def _read_view(self, key: str, word: KeyWord) -> None:
        if key in self._views:
            raise InputError(f"{key} stands there twice. Give it once.", spot=word.text, example=EXAMPLE)
        if word.operator is not Operator.CONTAINS or len(word.values) != 1:
            raise InputError(f"{key} takes one value after =.", spot=word.text, example=_VIEW_EXAMPLES[key])
        self._views[key] = word.values[0]

    def _refuse_repeated(self, condition: Condition, typed: str) -> None:
        name = condition.field.value
        for other in self._conditions:
            if other.field is not condition.field:
                continue
            both_bounds = other.operator in _COMPARED and condition.operator in _COMPARED
            if both_bounds and (other.operator in _LOWER) is not (condition.operator in _LOWER):
                continue
            if condition.field is Field.TIME:
                raise InputError("time stands there twice. Give one lower and one upper bound.", spot=typed,
                                 example="/sessions time>5m time<2h")  # fmt: skip
            values = ",".join(quoted(str(value)) for value in (*other.values, *condition.values))
            raise InputError(
                f"{name} stands there twice. Several values go into one comma list.",
                spot=typed,
                example=f"/sessions {name}={values}",
            )

    def _refuse_contradictions(self) -> None:
        if {Flag.ACTIVE_ONLY, Flag.IDLE} <= self._flags:
            raise InputError(
                "active-only and idle exclude each other: no session is both. Give one of them.",
                spot="idle", example="/sessions active-only",
            )  # fmt: skip
        for condition in self._conditions:
            wanted = condition.field is Field.STATUS and condition.operator is not Operator.NOT
            if wanted and Flag.ACTIVE_ONLY in self._flags and "ACTIVE" not in condition.values:
                raise InputError(
                    "active-only and that status exclude each other. Give one of them.",
                    spot="active-only", example=f"/sessions status={condition.values[0]}",
                )  # fmt: skip
            if wanted and Flag.IDLE in self._flags and condition.values == ("ACTIVE",):
                raise InputError(
                    "idle and status=ACTIVE exclude each other: no session is both. Give one of them.",
                    spot="idle", example="/sessions status=ACTIVE",
                )  # fmt: skip
        low = [c.values[0] for c in self._conditions if c.field is Field.TIME and c.operator in _LOWER]
        high = [c.values[0] for c in self._conditions if c.field is Field.TIME and c.operator not in _LOWER]
        if low and high and float(low[0]) > float(high[0]):
            raise InputError(
                "No time is above the one and below the other.", spot="time",
                example=f"/sessions time>{duration(float(high[0]))} time<{duration(float(low[0]))}",
            )  # fmt: skip

    def _sort(self) -> Sort:
        value = self._views.get("sort", "").lower()
        try:
            return Sort(value)
        except ValueError:
            known = ", ".join(sort.value for sort in Sort if sort.value)
            raise InputError(
                f"The list cannot be sorted by “{value}”. Possible: {known}.",
                spot=value,
                example="/sessions sort=-time",
            ) from None

    def _number(self, key: str, default: int, most: int) -> int:
        value = self._views.get(key)
        if value is None:
            return default
        if not re.fullmatch(r"\d{1,9}", value, re.ASCII) or not 1 <= int(value) <= most:
            raise InputError(
                f"{key} is a number from 1 to {most}.",
                spot=value,
                example=f"/sessions {key}={min(default * 2, most)}",
            )
        return int(value)

    def _unknown_word(self, word: PlainWord) -> InputError:
        if re.fullmatch(r"\d+", word.word, re.ASCII):
            number = session_id(word.word)
            return InputError(
                f"What about {number}? To find a session by its id, use id=.", spot=word.text,
                example=f"/sessions id={number}",
            )  # fmt: skip
        return InputError(
            f"“{word.text[:60]}” is not understood. Possible are the flags {', '.join((*_FLAGS, 'private', 'text'))} "
            f"and the keys {', '.join((*_FIELDS, *_VIEW_KEYS))}.",
            spot=word.text,
            example=EXAMPLE,
        )


def _values(field: Field, word: KeyWord) -> tuple[str | int | float, ...]:
    if field is Field.TIME:
        return (_time(word),)
    if word.operator in _COMPARED and field is not Field.ID:
        raise InputError(
            f"{field.value} cannot be larger or smaller. Use = (contains), == or !=.",
            spot=word.text,
            example=f"/sessions {field.value}={'ACTIVE' if field is Field.STATUS else quoted(word.values[0])}",
        )
    if field is Field.ID:
        return tuple(session_id(value) for value in word.values)
    if field is Field.STATUS:
        return tuple(_state(value) for value in word.values)
    return word.values


def _time(word: KeyWord) -> float:
    value = word.values[0]
    match = _DURATION.fullmatch(value)
    if match is None or len(word.values) > 1:
        raise InputError(
            f"“{','.join(word.values)}” is no duration. A duration is a number with ms, s, m, h or d.",
            spot=word.text,
            example="/sessions time>5m",
        )
    if word.operator not in _COMPARED:
        raise InputError(
            "A time is compared with > or <, since none is hit exactly.",
            spot=word.text,
            example=f"/sessions time>{value}",
        )
    seconds = round(float(match[1]) * _SECONDS[match[2] or "s"], 3)
    if seconds > _LONGEST:
        raise InputError("No session is older than ten years.", spot=word.text, example="/sessions time>30d")
    return seconds


def _state(value: str) -> str:
    state = value.upper()
    if state not in STATES:
        meant = nearest(state, STATES)
        raise InputError(
            f"There is no status “{value}”. There is: {', '.join(STATES)}.",
            spot=value,
            example=f"/sessions status={meant or 'ACTIVE'}",
        )
    return state


def _condition(condition: Condition) -> str:
    if condition.field is Field.TIME:
        return f"time{condition.operator.value}{duration(float(condition.values[0]))}"
    values = ",".join(quoted(str(value), first=not number) for number, value in enumerate(condition.values))
    return f"{condition.field.value}{condition.operator.value}{values}"
