"""Cuts a command into words: ``key op value[,value…]`` and single words, quotes respected."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from bot.errors import InputError
from bot.sessions.model import Operator

_KEY = re.compile(r"-*([A-Za-z][A-Za-z-]*)\s*([=!<>]+)\s*")
_QUOTED = re.compile(r'"((?:[^"]|"")*)"|\'((?:[^\']|\'\')*)\'')
_BARE_VALUE = re.compile(r"[^\s,\"']+")
_COMMA = re.compile(r"\s*,\s*")
_WORD = re.compile(r"[^\s]+")
_SIGNS = {operator.value: operator for operator in Operator}
_MEANT = {"=>": ">=", "=<": "<=", "<>": "!=", "=!": "!=", "===": "==", "!==": "!="}


@dataclass(frozen=True, slots=True)
class KeyWord:
    """``key op value[,value…]`` as typed; ``text`` is the piece of input it came from."""

    key: str
    operator: Operator
    values: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class PlainWord:
    """A single word, lower-cased, without leading dashes; what was ``quoted`` is meant as it stands."""

    word: str
    text: str
    quoted: bool = False


Word = KeyWord | PlainWord


def words(text: str) -> list[Word]:
    """Cut a repaired text. Raises ``InputError`` for what is no word at all."""
    found: list[Word] = []
    position = 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        start = position
        match = _KEY.match(text, position)
        if match is None and text[position] in ('"', "'"):
            value, position = _value(text, position, "")
            found.append(PlainWord(value, value, quoted=True))
            continue
        if match is None:
            piece = _WORD.match(text, position)
            assert piece is not None  # noqa: S101  # the character at position is no space
            found.append(PlainWord(piece.group().lstrip("-").lower(), piece.group()))
            position = piece.end()
            continue
        values, position = _values(text, match.end(), match.group().strip())
        found.append(
            KeyWord(match[1].lower(), _operator(match.group().strip(), match[2]), values, text[start:position].strip())
        )
    return found


def _values(text: str, position: int, typed: str) -> tuple[tuple[str, ...], int]:
    values: list[str] = []
    while True:
        value, position = _value(text, position, typed)
        values.append(value)
        comma = _COMMA.match(text, position)
        if comma is None:
            return tuple(values), position
        position = comma.end()


def _value(text: str, position: int, typed: str) -> tuple[str, int]:
    quoted = _QUOTED.match(text, position)
    if quoted is not None:
        value = quoted[1].replace('""', '"') if quoted[1] is not None else quoted[2].replace("''", "'")
        end = quoted.end()
    else:
        if text[position : position + 1] in ('"', "'"):
            raise InputError(
                f"The quotation mark{f' after {typed}' if typed else ''} is never closed.",
                spot=text[position:],
                example='/sessions sql="update stock"',
            )
        bare = _BARE_VALUE.match(text, position)
        value, end = (bare.group(), bare.end()) if bare else ("", position)
    if not value.strip():
        raise InputError(f"{typed or 'That'} has no value.", spot=typed, example="/sessions user=app time>5m")
    return value, end


def _operator(typed: str, sign: str) -> Operator:
    if sign in _SIGNS:
        return _SIGNS[sign]
    meant = _MEANT.get(sign)
    hint = f" Did you mean {meant}?" if meant else ""
    raise InputError(
        f"{sign} is no comparison. There is = (contains), == (exactly), !=, >, >=, < and <=.{hint}",
        spot=typed,
        example="/sessions time>=5m" if meant in (None, ">=", "<=") else f"/sessions user{meant}app",
    )


def again(word: Word) -> str:
    """Write a word so that it is read as the same word again."""
    if isinstance(word, PlainWord) and word.quoted:
        return '"' + word.text.replace('"', '""') + '"'
    return word.text


def quoted(value: str, *, first: bool = True) -> str:
    """Write a value so that ``words`` reads it back as it is, no longer than it can be typed.

    The ``first`` value of a list follows the sign of comparison, which would swallow signs like it.
    """
    if _BARE_VALUE.fullmatch(value) and not (first and value[0] in "=!<>"):
        return value
    mark = "'" if value.count('"') > value.count("'") else '"'
    return mark + value.replace(mark, mark * 2) + mark


def known_key(word: KeyWord, keys: Iterable[str], notes: list[str], example: str) -> str:
    """Return which of ``keys`` is meant; a slip is noted. Raises ``InputError`` for any other."""
    known = tuple(keys)
    if word.key in known:
        return word.key
    meant = nearest(word.key, known)
    if meant is None:
        raise InputError(
            f"There is no key “{word.key}” here. There is: {', '.join(known)}.", spot=word.text, example=example
        )
    notes.append(f"“{word.key}” was read as {meant}.")
    return meant


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that was probably meant."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.7)
    return close[0] if close else None
