"""Small building blocks for rules: each says what is wrong with a piece of JSON, and where."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple


class Problem(NamedTuple):
    """One fault, in Slack's words, with the JSON pointer of its place."""

    message: str
    pointer: str

    def __str__(self) -> str:
        return f"{self.message} [json-pointer:{self.pointer}]"


Rule = Callable[[Any, str], Iterator[Problem]]


def text(most: int, least: int = 1, *, blank: bool = False) -> Rule:
    """A string of that many characters; unless `blank`, white space alone counts as nothing."""

    def check(value: Any, at: str) -> Iterator[Problem]:
        if not isinstance(value, str):
            yield Problem("must provide a string", at)
        elif len(value) > most:
            yield Problem(f"must be less than {most + 1} characters", at)
        elif len(value if blank else value.strip()) < least:
            yield Problem(f"must be more than {least - 1} characters", at)

    return check


def choice(*values: object) -> Rule:
    """One of these values."""

    def check(value: Any, at: str) -> Iterator[Problem]:
        if not any(value is v or (value == v and type(value) is type(v)) for v in values):
            yield Problem("must be a valid enum value", at)

    return check


def whole(least: int, most: int) -> Rule:
    """An integer in this range."""

    def check(value: Any, at: str) -> Iterator[Problem]:
        if not isinstance(value, int) or isinstance(value, bool):
            yield Problem("must provide an integer", at)
        elif not least <= value <= most:
            yield Problem(f"must be between {least} and {most}", at)

    return check


def number(value: Any, at: str) -> Iterator[Problem]:
    """Any number."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        yield Problem("must provide a number", at)


def flag(value: Any, at: str) -> Iterator[Problem]:
    """True or false."""
    if not isinstance(value, bool):
        yield Problem("must provide a boolean", at)


def many(item: Rule, most: int, least: int = 1) -> Rule:
    """A list of that many items, each after the same rule."""

    def check(value: Any, at: str) -> Iterator[Problem]:
        if not isinstance(value, list):
            yield Problem("must provide an array", at)
            return
        if len(value) > most:
            yield Problem(f"no more than {most} items allowed", at)
        if len(value) < least:
            yield Problem(f"must provide at least {least} items", at)
        for index, entry in enumerate(value):
            yield from item(entry, f"{at}/{index}")

    return check


def record(needed: Mapping[str, Rule], allowed: Mapping[str, Rule] | None = None) -> Rule:
    """An object with these properties and no others; `type` is left to `by_type`."""
    rules = {**needed, **(allowed or {})}

    def check(value: Any, at: str) -> Iterator[Problem]:
        if not isinstance(value, dict):
            yield Problem("must provide an object", at)
            return
        for name in needed:
            if name not in value:
                yield Problem(f"missing required field: {name}", at)
        for name, entry in value.items():
            if name in rules:
                yield from rules[name](entry, f"{at}/{name}")
            elif name != "type":
                yield Problem(f"invalid additional property: {name}", at)

    return check


def by_type(kinds: Mapping[str, Rule]) -> Rule:
    """An object whose `type` says which rule it follows."""

    def check(value: Any, at: str) -> Iterator[Problem]:
        if not isinstance(value, dict):
            yield Problem("must provide an object", at)
        elif "type" not in value:
            yield Problem("missing required field: type", at)
        elif not isinstance(value["type"], str) or value["type"] not in kinds:
            yield Problem(f"unsupported type: {value['type']}", f"{at}/type")
        else:
            yield from kinds[value["type"]](value, at)

    return check


def both(*rules: Rule) -> Rule:
    """All of these rules; the later ones only judge what the earlier ones accept."""

    def check(value: Any, at: str) -> Iterator[Problem]:
        for rule in rules:
            found = list(rule(value, at))
            yield from found
            if found:
                return

    return check
