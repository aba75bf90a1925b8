"""Turns what follows ``/sessions`` into a query, and a query back into words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from bot.errors import InputError
from bot.sessions.model import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    SORTABLE,
    Condition,
    Field,
    Flag,
    Operator,
    SessionFilter,
    SessionQuery,
    Sort,
)
from bot.slack.arguments.tokens import (
    KeyToken,
    Slip,
    Token,
    WordToken,
    listed,
    quoted,
    slips,
    tokenize,
    unjoined,
)
from bot.slack.arguments.value_parsers import COMPARED, NUMBER, UNITS, duration, session_id, values_of
from bot.slack.arguments.vocabulary import Vocabulary, nearest

EXAMPLE = "/sessions tenant=shop user=app time>5m active-only"
CLOSE_EXAMPLE = "/kill-session where tenant=shop user=report time>10m active-only"

_FIELDS = {field.value: field for field in Field}
_FLAGS = {flag.value: flag for flag in Flag}
_VIEW_KEYS = ("source", "sort", "limit", "page")
_VIEW_EXAMPLES = {
    "source": "/sessions on=prod",
    "sort": "/sessions sort=-time",
    "limit": "/sessions limit=50",
    "page": "/sessions page=2",
}
_FLAG_WORDS = (*_FLAGS, "private", "text")
_ALSO = {
    "database": "db",
    "state": "status",
    "ip": "host",
    "duration": "time",
    "cluster": "source",
    "active": "active-only",
    "blocked": "waiting",
    "locked": "waiting",
    "lock": "waiting",
    "blockers": "blocking",
    "blocker": "blocking",
}
VOCABULARY = Vocabulary.of((*_FIELDS, *_VIEW_KEYS), _FLAG_WORDS, _ALSO)
CLOSE_VOCABULARY = Vocabulary.of(
    (*_FIELDS, *_VIEW_KEYS, "reason"), (*_FLAG_WORDS, "query", "session", "where", "override"), _ALSO, wary=True
)
# 10.0.3.7, 10.0.3.7:51234, 10.0.3., fe80::1, [2001:db8::7]:2881
_ADDRESS = re.compile(r"\d{1,3}(?:\.\d{0,3}){1,3}(?::\d+)?|\[?[0-9A-Fa-f]*:[0-9A-Fa-f:.]*(?:%\w+)?\]?(?::\d+)?")
_LOWER = (Operator.ABOVE, Operator.AT_LEAST)


@dataclass(frozen=True, slots=True)
class ParsedQuery:
    """A query and what had to be corrected to understand it, in sentences."""

    query: SessionQuery
    notes: tuple[str, ...] = ()


def parse(text: str) -> ParsedQuery:
    """Read the normalized text after ``/sessions``.

    A mistyped key or flag is corrected and noted, since nothing can be harmed by a list. Raises ``InputError`` with
    the spot for everything else.

    >>> found = parse("tenat=shop 10.0.3 time>300 activ-only")
    >>> describe(found.query)
    'tenant=shop host=10.0.3 time>5m active-only'
    >>> found.notes
    ('“tenat” was read as tenant.', '“activ-only” was read as active-only.')
    """
    return parse_tokens(tokenize(text, VOCABULARY))


def named_source(text: str) -> str | None:
    """Return the data source that a normalized command names, whatever its verb; raises ``InputError``.

    >>> named_source("show 3221487826 on=prod"), named_source("vars like=timeout")
    ('prod', None)
    """
    for token in tokenize(text, VOCABULARY):
        if isinstance(token, KeyToken) and VOCABULARY.key(token.key, near=True) == "source" and token.values:
            return token.values[0]
    return None


def parse_tokens(found: Iterable[Token], *, correct: bool = True) -> ParsedQuery:
    """Read tokens as ``parse`` does; for a close (``correct=False``) none has a slip, and what is meant is suggested.

    Raises ``InputError``.
    """
    tokens, notes = unjoined(list(found), EXAMPLE)
    reader = _Reader(correct=correct, notes=[*slips(tokens), *notes])
    for token in with_units(tokens):
        reader.read(token)
    return reader.result()


def describe(query: SessionQuery) -> str:
    """Write a query in words that ``parse`` reads back as the same query.

    >>> describe(parse('status=active sql="a b",c page=2').query)
    'status=ACTIVE sql="a b",c page=2'
    """
    parts = [f"on={quoted(query.source)}"] if query.source else []
    parts += [_condition(condition) for condition in query.filter.conditions]
    parts += sorted(flag.value for flag in query.filter.flags)
    if query.sort.field is not None:
        parts.append(f"sort={'-' if query.sort.descending else ''}{query.sort.field.value}")
    if query.limit != DEFAULT_LIMIT:
        parts.append(f"limit={query.limit}")
    if query.page != 1:
        parts.append(f"page={query.page}")
    parts += [name for name, on in (("private", query.private), ("text", query.text)) if on]
    return " ".join(parts)


def with_units(tokens: Iterable[Token]) -> Iterator[Token]:
    """Put a unit that stands apart back to its number: ``time > 5 minutes``."""
    number: KeyToken | None = None
    for token in tokens:
        if number is not None and isinstance(token, WordToken) and token.word in UNITS:
            yield replace(number, values=(number.values[0] + token.word,), text=f"{number.text} {token.text}")
            number = None
            continue
        if number is not None:
            yield number
        number = (
            token
            if isinstance(token, KeyToken) and len(token.values) == 1 and NUMBER.fullmatch(token.values[0])
            else None
        )
        if number is None:
            yield token
    if number is not None:
        yield number


def _is_number(values: Sequence[str]) -> bool:
    return len(values) == 1 and NUMBER.fullmatch(values[0]) is not None


class _Reader:
    """Collects the tokens of one command."""

    def __init__(self, *, correct: bool, notes: list[str]) -> None:
        self._correct = correct
        self._notes = notes
        self._conditions: list[Condition] = []
        self._flags: set[Flag] = set()
        self._views: dict[str, str] = {}
        self._words: set[str] = set()

    def read(self, token: Token) -> None:
        if isinstance(token, WordToken):
            self._read_plain(token)
        else:
            self._read_key(token)

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

    def _read_plain(self, token: WordToken) -> None:
        name = token.word
        if token.quoted:
            self._read_bare(token)
            return
        if name not in _FLAG_WORDS:
            meant = _ALSO.get(name) or nearest(name, _FLAG_WORDS)
            if meant not in _FLAG_WORDS:
                self._read_bare(token)
                return
            self._note(token.text, meant)
            name = meant
        if name in self._words:
            raise InputError(f"{name} is given twice.", spot=token.text, example=EXAMPLE)
        self._words.add(name)
        if name in _FLAGS:
            self._flags.add(_FLAGS[name])

    def _note(self, typed: str, meant: str) -> None:
        """Correct what was mistyped and say so; where a session would be closed only suggest it."""
        if not self._correct:
            raise InputError(
                f"There is no “{typed}”. Did you mean {meant}? Nothing was closed.", spot=typed, example=CLOSE_EXAMPLE
            )
        self._notes.append(f"“{typed}” was read as {meant}.")

    def _read_bare(self, token: WordToken) -> None:
        """Take a bare number for an id, a bare address for a source, any other word for a text somewhere."""
        text = token.word if token.quoted else token.text
        if not self._correct:
            raise InputError(
                f"“{text[:60]}” has no key. A close takes keys and flags only, so that it hits nobody else: "
                f"for example user={quoted(text[:60])}. Nothing was closed.",
                spot=token.text,
                example=CLOSE_EXAMPLE,
            )
        if text[0] in "=!<>," and not token.quoted:
            raise InputError(f"What stands before “{text[:60]}”?", spot=text, example=EXAMPLE)
        if re.fullmatch(r"\d+([,、،]\d+)*", text, re.ASCII):
            condition = Condition(Field.ID, Operator.CONTAINS, tuple(map(session_id, re.split(r"[,、،]", text))))
        elif _ADDRESS.fullmatch(text):
            condition = Condition(Field.HOST, Operator.CONTAINS, (text,))
        else:
            condition = Condition(Field.ANY, Operator.CONTAINS, (text,))
            self._notes.append(f"“{text}” is looked for in every column.")
        self._refuse_repeated(condition, token.text)
        self._conditions.append(condition)

    def _read_key(self, token: KeyToken) -> None:
        key = token.key
        if key not in _FIELDS and key not in _VIEW_KEYS:
            key = self._meant_key(token)
        if key in _VIEW_KEYS:
            self._read_view(key, token)
            return
        condition = Condition(_FIELDS[key], token.operator, values_of(_FIELDS[key], token))
        self._refuse_repeated(condition, token.text)
        self._conditions.append(condition)

    def _meant_key(self, token: KeyToken) -> str:
        known = (*_FIELDS, *_VIEW_KEYS)
        meant = _ALSO.get(token.key) or nearest(token.key, known)
        if meant not in known:
            value = " If it is a value, put it in quotes." if token.slip is Slip.COMMA else ""
            raise InputError(
                f"There is no key “{token.key}”. Use one of: {', '.join(known)}.{value}",
                spot=token.text,
                example=EXAMPLE,
            )
        self._note(token.key, meant)
        return meant

    def _read_view(self, key: str, token: KeyToken) -> None:
        if key in self._views:
            raise InputError(f"{key} is given twice. Give it once.", spot=token.text, example=EXAMPLE)
        if token.operator is not Operator.CONTAINS or len(token.values) != 1:
            raise InputError(f"{key} takes one value after =.", spot=token.text, example=_VIEW_EXAMPLES[key])
        self._views[key] = token.values[0]

    def _refuse_repeated(self, condition: Condition, typed: str) -> None:
        name = condition.field.value
        for other in self._conditions:
            if other.field is not condition.field or other.field is Field.ANY:  # each bare word must be found
                continue
            both_bounds = other.operator in COMPARED and condition.operator in COMPARED
            if both_bounds and (other.operator in _LOWER) is not (condition.operator in _LOWER):
                continue
            if condition.field is Field.TIME:
                raise InputError(
                    "time is given twice. Give one lower and one upper bound.",
                    spot=typed,
                    example="/sessions time>5m time<2h",
                )
            values = listed(map(str, (*other.values, *condition.values)))
            raise InputError(
                f"{name} is given twice. Several values go into one comma list.",
                spot=typed,
                example=f"/sessions {name}={values}",
            )

    def _refuse_contradictions(self) -> None:
        for other in (Flag.ACTIVE_ONLY, Flag.WAITING):
            if {other, Flag.IDLE} <= self._flags:
                raise InputError(
                    f"{other.value} and idle exclude each other: no session is both. Give one of them.",
                    spot="idle",
                    example=f"/sessions {other.value}",
                )
        for condition in self._conditions:
            self._refuse_against_flags(condition)
        self._refuse_empty_span()

    def _refuse_against_flags(self, condition: Condition) -> None:
        if condition.field is not Field.STATUS or condition.operator is Operator.NOT:
            return
        if Flag.ACTIVE_ONLY in self._flags and "ACTIVE" not in condition.values:
            raise InputError(
                "active-only and that status exclude each other. Give one of them.",
                spot="active-only",
                example=f"/sessions status={quoted(str(condition.values[0]))}",
            )
        if Flag.IDLE in self._flags and condition.values == ("ACTIVE",):
            raise InputError(
                "idle and status=ACTIVE exclude each other: no session is both. Give one of them.",
                spot="idle",
                example="/sessions status=ACTIVE",
            )

    def _refuse_empty_span(self) -> None:
        times = [condition for condition in self._conditions if condition.field is Field.TIME]
        low = [float(one.values[0]) for one in times if one.operator in _LOWER]
        high = [float(one.values[0]) for one in times if one.operator not in _LOWER]
        if low and high and low[0] > high[0]:
            raise InputError(
                "No time is above the one and below the other.",
                spot="time",
                example=f"/sessions time>{duration(high[0])} time<{duration(low[0])}",
            )

    def _sort(self) -> Sort:
        value = self._views.get("sort", "").lower()
        if not value:
            return Sort()
        field = _FIELDS.get(value.removeprefix("-"))
        if field not in SORTABLE:
            raise InputError(
                f"The list cannot be sorted by “{value}”. Possible: {', '.join(field.value for field in SORTABLE)}; "
                "with - in front the largest comes first.",
                spot=value,
                example="/sessions sort=-time",
            )
        return Sort(field, descending=value.startswith("-"))

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


def _condition(condition: Condition) -> str:
    if condition.field is Field.TIME:
        return f"time{condition.operator.value}{duration(float(condition.values[0]))}"
    # The names of states resemble flags, and are never taken for them.
    values = listed(map(str, condition.values), near=condition.field is not Field.STATUS)
    return f"{condition.field.value}{condition.operator.value}{values}"
