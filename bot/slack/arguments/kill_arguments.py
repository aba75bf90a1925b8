"""Reads what is typed after /kill-session: ids or a filter, and how to close. Nothing is ever guessed."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bot.closing.targets import Wanted
from bot.errors import InputError
from bot.sessions.model import Field, Flag, Mode, Operator, SessionQuery
from bot.slack.arguments.session_query import CLOSE_EXAMPLE, CLOSE_VOCABULARY, read
from bot.slack.arguments.tokens import KeyWord, PlainWord, Slip, Word, again, unjoined, unquoted_signs, words
from bot.slack.arguments.value_parsers import session_id
from bot.slack.arguments.vocabulary import nearest

_ONE = "/kill-session 3221487826"
_QUERY = "/kill-session 3221487826 query"
_REASON = '/kill-session 3221487826 tenant=shop reason="blocks payments"'

_MODES = {"query": Mode.QUERY, "session": Mode.SESSION}
_KILLED = {"query": Mode.QUERY, "connection": Mode.SESSION}  # what may follow the word KILL in SQL
_KEYS = ("tenant", "source", "server", "reason")
_FILTER_KEYS = tuple(field.value for field in Field)
_FLAGS = tuple(flag.value for flag in Flag)
_OF_LISTS = ("sort", "limit", "page", "private", "text")


@dataclass(frozen=True, slots=True)
class Wish:
    """What was typed: ``wanted`` sessions, or ``where`` with a filter and perhaps a data source."""

    wanted: tuple[Wanted, ...] = ()
    mode: Mode = Mode.SESSION
    source: str | None = None
    tenant: str | None = None
    reason: str = ""
    override: bool = False  # close it although it is protected
    where: SessionQuery | None = None


def read_wish(text: str) -> Wish:
    """Read the words after /kill-session (already repaired).

    A wrong guess would close somebody's session, so that what is unclear raises ``InputError``.

    >>> wish = read_wish('3221487826,3221487830@10.0.0.3 query reason="blocks payments"')
    >>> [(one.id, one.server) for one in wish.wanted], wish.mode.value, wish.reason
    ([(3221487826, None), (3221487830, '10.0.0.3')], 'Close Query', 'blocks payments')
    >>> read_wish("KILL QUERY 3221487826;").mode.value
    'Close Query'
    >>> read_wish("user=app")
    Traceback (most recent call last):
    bot.errors.InputError: ...
    """
    try:
        typed = words(text, CLOSE_VOCABULARY)
    except InputError as error:
        raise _nothing_closed(error, error.example) from error
    _refuse_doubt(typed)
    typed = _pieces(typed)
    if any(_is(word, "where") for word in typed):
        return _filter(typed)
    modes = _modes(typed)
    keys: dict[str, str] = {}
    override = any(_is(word, "override") for word in typed)
    typed = [word for word in typed if not _is(word, "override")]
    ids = [word for word in typed if isinstance(word, PlainWord) and not _is(word, "kill", *_MODES, "connection")]
    _suggest_filter(typed, ids)
    for word in typed:
        if isinstance(word, KeyWord):
            _read_key(word, keys)
    wanted = tuple(_id(word, keys.get("server")) for word in ids)
    if not wanted:
        raise InputError("Which session? Give its id; /sessions shows it in the first column.", example=_ONE)
    return Wish(wanted, _mode(modes), keys.get("source"), keys.get("tenant"), keys.get("reason", ""), override)


def _refuse_doubt(typed: list[Word]) -> None:
    """Raise ``InputError`` with the mended command where a word could be read in two ways.

    What is lost in a list of values, or becomes one of them, closes more than was meant.
    """
    try:
        clear, _ = unjoined(typed, _ONE)
    except InputError as error:
        raise _nothing_closed(error, CLOSE_EXAMPLE) from error
    doubtful = next((word for word in typed if word not in clear or word.slip or unquoted_signs(word)), None)
    if doubtful is None:
        return
    mended = " ".join(map(again, clear))
    try:
        read_wish(mended)
    except InputError as error:
        raise InputError(str(error), spot=doubtful.text, example=error.example) from error
    raise InputError(
        f"{_doubt(doubtful)} Nothing was closed. Did you mean this?",
        spot=doubtful.text,
        example=f"/kill-session {mended}",
    )


def _doubt(word: Word) -> str:
    if word.slip is Slip.COMMA:
        return f"“{word.text}” follows a comma: put it in quotes if it is a value, or drop the comma if it is not."
    if isinstance(word, PlainWord):
        return f"“{word.text}” is not needed: all conditions hold at once."
    if word.slip is Slip.COLON:
        return f"“{word.text}” has a colon where a comparison sign belongs."
    return f"“{word.text}” contains more than one sign such as = or &; put a value that contains one in quotes."


def _pieces(typed: Iterable[Word]) -> list[Word]:
    """Cut lists of ids apart: ``1,2``."""
    pieces: list[Word] = []
    for word in typed:
        if isinstance(word, KeyWord) or word.quoted:
            pieces.append(word)
            continue
        texts = filter(None, re.split(r"[,、،]", word.text))
        pieces.extend(PlainWord(text.lstrip("-").lower(), text) for text in texts)
    return pieces


def _is(word: Word, *names: str) -> bool:
    return isinstance(word, PlainWord) and not word.quoted and word.word in names


def _modes(typed: Sequence[Word]) -> list[PlainWord]:
    """Return the words that say how to close; those of several pasted statements must say the same."""
    loose, pasted = [], []
    kills = 0
    for number, word in enumerate(typed):
        before = typed[number - 1] if number else None
        after_kill = before is not None and _is(before, "kill")
        if _is(word, "kill"):
            kills += 1
            if not any(isinstance(one, PlainWord) and one.word[:1].isdecimal() for one in typed[number + 1 :]):
                raise InputError("KILL whom? An id must follow. Nothing was closed.", spot=word.text, example=_ONE)
        elif isinstance(word, PlainWord) and _is(word, *_KILLED) and after_kill:
            pasted.append(word)
        elif isinstance(word, PlainWord) and _is(word, *_MODES):
            loose.append(word)
        elif _is(word, "connection"):
            raise InputError(f"“{word.text}” is not understood. Nothing was closed.", spot=word.text, example=_ONE)
    meant = {_KILLED[word.word] for word in pasted} | ({Mode.SESSION} if 0 < len(pasted) < kills else set())
    if len(meant) > 1:
        raise InputError(
            "One request closes sessions or queries, not both. Ask for them one after the other. Nothing was closed.",
            spot=next(word.text for word in pasted if word.word == "query"),
            example=_QUERY,
        )
    found = [*pasted[:1], *loose]
    if len(found) > 1:
        raise InputError("Say query or session once.", spot=found[1].text, example=_QUERY)
    return found


def _mode(found: Sequence[PlainWord]) -> Mode:
    return Mode.QUERY if found and found[0].word == "query" else Mode.SESSION


def _suggest_filter(typed: Sequence[Word], ids: Sequence[PlainWord]) -> None:
    """Suggest ``where`` for what looks like a filter without it, unless an id got lost in a list of values."""
    if any(word.word[:1].isdecimal() for word in ids):
        return
    for word in typed:
        if isinstance(word, KeyWord) and word.key in _KEYS and any(value.isdecimal() for value in word.values[1:]):
            _one_value(word)
    keys = any(isinstance(word, KeyWord) and word.key in _FILTER_KEYS for word in typed)
    flags = any(_is(word, *_FLAGS) for word in ids)
    mistyped = bool(ids) and not ids[0].quoted and nearest(ids[0].word, ("where",)) is not None
    if not (keys or flags or mistyped):
        return
    rest = " ".join(again(word) for word in typed if not (mistyped and word is ids[0]))
    example = CLOSE_EXAMPLE
    with contextlib.suppress(InputError):
        read_wish(f"where {rest}")
        example = f"/kill-session where {rest}"
    raise InputError("A filter follows the word where. Nothing was closed. Did you mean this?", example=example)


def _read_key(word: KeyWord, keys: dict[str, str]) -> None:
    if word.key not in _KEYS:
        meant = nearest(word.key, _KEYS)
        hint = f" Did you mean {meant}=?" if meant else ""
        raise InputError(
            f"There is no key “{word.key}” here. Use one of: {', '.join(_KEYS)}.{hint} Nothing was closed.",
            spot=word.text,
            example=_REASON,
        )
    if word.key in keys:
        raise InputError(f"{word.key} is given twice. Nothing was closed.", spot=word.text, example=_REASON)
    keys[word.key] = _one_value(word)


def _one_value(word: KeyWord) -> str:
    if word.operator not in (Operator.CONTAINS, Operator.EXACTLY) or len(word.values) != 1:
        raise InputError(f"{word.key} takes one value after =. Nothing was closed.", spot=word.text, example=_REASON)
    return word.values[0]


def _id(word: PlainWord, named_server: str | None) -> Wanted:
    if not word.word[:1].isdecimal():
        meant = nearest(word.word, (*_MODES, "override", "help"))
        hint = f" Did you mean {meant}?" if meant else ""
        raise InputError(
            f"“{word.text[:60]}” is not a session id.{hint} Nothing was closed.", spot=word.text, example=_ONE
        )
    number, _, server = word.text.partition("@")
    if server and named_server:
        raise InputError(
            f"The server is given twice: @{server} and server={named_server}. Nothing was closed.",
            spot=f"@{server}",
            example="/kill-session 3221487826 server=10.0.3.7:2881",
        )
    return Wanted(session_id(number), server or named_server)


def _filter(typed: Sequence[Word]) -> Wish:
    """Read the form with ``where``: the words of a list, with query, session and reason= anywhere between."""
    modes = _modes(typed)
    reasons = [word for word in typed if isinstance(word, KeyWord) and word.key == "reason"]
    if len(reasons) > 1:
        raise InputError("reason is given twice. Nothing was closed.", spot=reasons[1].text, example=CLOSE_EXAMPLE)
    if any(_is(word, "override") for word in typed):
        raise InputError(
            "override takes one session by its id, not a filter. Nothing was closed.",
            spot="override",
            example='/kill-session 3221487826 override reason="asked for by its owner"',
        )
    rest = [word for word in typed if word not in reasons and not _is(word, "where", *_MODES)]
    for word in rest:
        name = word.key if isinstance(word, KeyWord) else word.word
        if name in _OF_LISTS:
            raise InputError(
                f"{name} is for lists; a close takes a filter and closes the longest first. Nothing was closed.",
                spot=word.text,
                example=CLOSE_EXAMPLE,
            )
        if isinstance(word, PlainWord) and word.word[:1].isdecimal():
            raise InputError(
                f"Give ids or a filter, not both: “{word.text[:60]}” stands beside where. Nothing was closed.",
                spot=word.text,
                example=CLOSE_EXAMPLE,
            )
    query = _parsed(rest)
    if not query.filter.conditions and not query.filter.flags:
        raise InputError(
            "Which sessions? where takes a filter; without one every session would be meant. Nothing was closed.",
            example=CLOSE_EXAMPLE,
        )
    return Wish(mode=_mode(modes), source=query.source, reason=_one_value(reasons[0]) if reasons else "", where=query)


def _parsed(typed: Sequence[Word]) -> SessionQuery:
    try:
        return read(typed, correct=False).query
    except InputError as error:
        raise _nothing_closed(error, CLOSE_EXAMPLE) from error


def _nothing_closed(error: InputError, example: str) -> InputError:
    """Say of a mistake, once, that nothing came of it."""
    said = str(error) if "Nothing was closed" in str(error) else f"{error} Nothing was closed."
    return InputError(said, spot=error.spot, example=example)
