"""Reads what is typed after /kill-session: ids or a filter, and how to close. Nothing is ever guessed."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bot.closing.targets import Wanted
from bot.errors import InputError
from bot.sessions.model import Field, Flag, Mode, Operator, SessionQuery
from bot.slack.arguments.session_query import CLOSE_EXAMPLE, CLOSE_VOCABULARY, parse_tokens
from bot.slack.arguments.tokens import KeyToken, Slip, Token, WordToken, again, tokenize, unjoined, unquoted_signs
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
class KillArguments:
    """What was typed: ``wanted`` sessions, or ``where`` with a filter and perhaps a data source."""

    wanted: tuple[Wanted, ...] = ()
    mode: Mode = Mode.SESSION
    source: str | None = None
    tenant: str | None = None
    reason: str = ""
    override: bool = False  # close it although it is protected
    where: SessionQuery | None = None


def parse(text: str) -> KillArguments:
    """Read the normalized text after /kill-session.

    A wrong guess would close somebody's session, so that what is unclear raises ``InputError``.

    >>> asked = parse('3221487826,3221487830@10.0.0.3 query reason="blocks payments"')
    >>> [(one.id, one.server) for one in asked.wanted], asked.mode.value, asked.reason
    ([(3221487826, None), (3221487830, '10.0.0.3')], 'Close Query', 'blocks payments')
    >>> parse("KILL QUERY 3221487826;").mode.value
    'Close Query'
    >>> parse("user=app")
    Traceback (most recent call last):
    bot.errors.InputError: ...
    """
    try:
        tokens = tokenize(text, CLOSE_VOCABULARY)
    except InputError as error:
        raise _nothing_closed(error, error.example) from error
    _refuse_doubt(tokens)
    tokens = _pieces(tokens)
    return _by_filter(tokens) if any(_word(token) == "where" for token in tokens) else _by_ids(tokens)


def _refuse_doubt(tokens: list[Token]) -> None:
    """Raise ``InputError`` with the mended command where a word could be read in two ways.

    What is lost in a list of values, or becomes one of them, closes more than was meant.
    """
    try:
        clear, _ = unjoined(tokens, _ONE)
    except InputError as error:
        raise _nothing_closed(error, CLOSE_EXAMPLE) from error
    doubtful = next((token for token in tokens if token not in clear or token.slip or unquoted_signs(token)), None)
    if doubtful is None:
        return
    mended = " ".join(map(again, clear))
    try:
        parse(mended)
    except InputError as error:
        raise InputError(str(error), spot=doubtful.text, example=error.example) from error
    raise InputError(
        f"{_doubt(doubtful)} Nothing was closed. Did you mean this?",
        spot=doubtful.text,
        example=f"/kill-session {mended}",
    )


def _doubt(token: Token) -> str:
    if token.slip is Slip.COMMA:
        return f"“{token.text}” follows a comma: put it in quotes if it is a value, or drop the comma if it is not."
    if isinstance(token, WordToken):
        return f"“{token.text}” is not needed: all conditions hold at once."
    if token.slip is Slip.COLON:
        return f"“{token.text}” has a colon where a comparison sign belongs."
    return f"“{token.text}” contains more than one sign such as = or &; put a value that contains one in quotes."


def _pieces(tokens: Iterable[Token]) -> list[Token]:
    """Cut lists of ids apart: ``1,2``."""
    pieces: list[Token] = []
    for token in tokens:
        if isinstance(token, KeyToken) or token.quoted:
            pieces.append(token)
            continue
        texts = filter(None, re.split(r"[,、،]", token.text))
        pieces.extend(WordToken(text.lstrip("-").lower(), text) for text in texts)
    return pieces


def _word(token: Token) -> str:
    """Return a word that stands without quotes, in lower case; '' for everything else."""
    return token.word if isinstance(token, WordToken) and not token.quoted else ""


def _by_ids(tokens: Sequence[Token]) -> KillArguments:
    """Read the form without ``where``: ids, and how to close them."""
    mode = _mode(tokens)
    spoken_for = {"kill", "connection", "override", *_MODES}
    ids = [token for token in tokens if isinstance(token, WordToken) and _word(token) not in spoken_for]
    _suggest_filter([token for token in tokens if _word(token) != "override"], ids)
    keys: dict[str, str] = {}
    for token in tokens:
        if isinstance(token, KeyToken):
            _read_key(token, keys)
    wanted = tuple(_id(token, keys.get("server")) for token in ids)
    if not wanted:
        raise InputError("Which session? Give its id; /sessions shows it in the first column.", example=_ONE)
    return KillArguments(
        wanted,
        mode,
        keys.get("source"),
        keys.get("tenant"),
        keys.get("reason", ""),
        override=any(_word(token) == "override" for token in tokens),
    )


def _mode(tokens: Sequence[Token]) -> Mode:
    """Read how to close, from the words for it and from pasted statements, which must all say the same."""
    _refuse_kill_of_nobody(tokens)
    pasted, loose = [], []
    for before, token in zip((None, *tokens), tokens, strict=False):
        if before is not None and _word(before) == "kill" and _word(token) in _KILLED:
            pasted.append(token)
        elif _word(token) in _MODES:
            loose.append(token)
        elif _word(token) == "connection":
            raise InputError(f"“{token.text}” is not understood. Nothing was closed.", spot=token.text, example=_ONE)
    _refuse_both_modes(tokens, pasted)
    said = [*pasted[:1], *loose]
    if len(said) > 1:
        raise InputError("Say query or session once.", spot=said[1].text, example=_QUERY)
    return Mode.QUERY if said and _word(said[0]) == "query" else Mode.SESSION


def _refuse_kill_of_nobody(tokens: Sequence[Token]) -> None:
    """Raise ``InputError`` where no id follows the word KILL."""
    for number, token in enumerate(tokens):
        if _word(token) == "kill" and not any(map(_begins_with_digit, tokens[number + 1 :])):
            raise InputError("KILL whom? An id must follow. Nothing was closed.", spot=token.text, example=_ONE)


def _refuse_both_modes(tokens: Sequence[Token], pasted: Sequence[Token]) -> None:
    """Raise ``InputError`` where some pasted statements close sessions and others queries; a plain KILL a session."""
    plain = sum(_word(token) == "kill" for token in tokens) - len(pasted)
    modes = {_KILLED[_word(token)] for token in pasted} | ({Mode.SESSION} if pasted and plain else set())
    if len(modes) > 1:
        raise InputError(
            "One request closes sessions or queries, not both. Ask for them one after the other. Nothing was closed.",
            spot=next(token.text for token in pasted if _word(token) == "query"),
            example=_QUERY,
        )


def _begins_with_digit(token: Token) -> bool:
    return isinstance(token, WordToken) and token.word[:1].isdecimal()


def _suggest_filter(tokens: Sequence[Token], ids: Sequence[WordToken]) -> None:
    """Suggest ``where`` for what looks like a filter without it, unless an id got lost in a list of values."""
    if any(map(_begins_with_digit, ids)):
        return
    for token in tokens:
        if isinstance(token, KeyToken) and token.key in _KEYS and any(value.isdecimal() for value in token.values[1:]):
            _one_value(token)
    keys = any(isinstance(token, KeyToken) and token.key in _FILTER_KEYS for token in tokens)
    flags = any(_word(token) in _FLAGS for token in ids)
    mistyped = bool(ids) and not ids[0].quoted and nearest(ids[0].word, ("where",)) is not None
    if not (keys or flags or mistyped):
        return
    rest = " ".join(again(token) for token in tokens if not (mistyped and token is ids[0]))
    example = CLOSE_EXAMPLE
    with contextlib.suppress(InputError):
        parse(f"where {rest}")
        example = f"/kill-session where {rest}"
    raise InputError("A filter follows the word where. Nothing was closed. Did you mean this?", example=example)


def _read_key(token: KeyToken, keys: dict[str, str]) -> None:
    if token.key not in _KEYS:
        meant = nearest(token.key, _KEYS)
        hint = f" Did you mean {meant}=?" if meant else ""
        raise InputError(
            f"There is no key “{token.key}” here. Use one of: {', '.join(_KEYS)}.{hint} Nothing was closed.",
            spot=token.text,
            example=_REASON,
        )
    if token.key in keys:
        raise InputError(f"{token.key} is given twice. Nothing was closed.", spot=token.text, example=_REASON)
    keys[token.key] = _one_value(token)


def _one_value(token: KeyToken) -> str:
    if token.operator not in (Operator.CONTAINS, Operator.EXACTLY) or len(token.values) != 1:
        raise InputError(f"{token.key} takes one value after =. Nothing was closed.", spot=token.text, example=_REASON)
    return token.values[0]


def _id(token: WordToken, named_server: str | None) -> Wanted:
    if not _begins_with_digit(token):
        meant = nearest(token.word, (*_MODES, "override", "help"))
        hint = f" Did you mean {meant}?" if meant else ""
        raise InputError(
            f"“{token.text[:60]}” is not a session id.{hint} Nothing was closed.", spot=token.text, example=_ONE
        )
    number, _, server = token.text.partition("@")
    if server and named_server:
        raise InputError(
            f"The server is given twice: @{server} and server={named_server}. Nothing was closed.",
            spot=f"@{server}",
            example="/kill-session 3221487826 server=10.0.3.7:2881",
        )
    return Wanted(session_id(number), server or named_server)


def _by_filter(tokens: Sequence[Token]) -> KillArguments:
    """Read the form with ``where``: the words of a list, with query, session and reason= anywhere between."""
    mode = _mode(tokens)
    reasons = [token for token in tokens if isinstance(token, KeyToken) and token.key == "reason"]
    if len(reasons) > 1:
        raise InputError("reason is given twice. Nothing was closed.", spot=reasons[1].text, example=CLOSE_EXAMPLE)
    rest = [token for token in tokens if token not in reasons and _word(token) not in ("where", *_MODES)]
    for token in rest:
        _refuse_in_filter(token)
    query = _query(rest)
    if not query.filter.conditions and not query.filter.flags:
        raise InputError(
            "Which sessions? where takes a filter; without one every session would be meant. Nothing was closed.",
            example=CLOSE_EXAMPLE,
        )
    reason = _one_value(reasons[0]) if reasons else ""
    return KillArguments(mode=mode, source=query.source, reason=reason, where=query)


def _refuse_in_filter(token: Token) -> None:
    """Raise ``InputError`` for what a filter of a close does not take."""
    name = token.key if isinstance(token, KeyToken) else token.word
    if _word(token) == "override":
        raise InputError(
            "override takes one session by its id, not a filter. Nothing was closed.",
            spot="override",
            example='/kill-session 3221487826 override reason="asked for by its owner"',
        )
    if name in _OF_LISTS:
        raise InputError(
            f"{name} is for lists; a close takes a filter and closes the longest first. Nothing was closed.",
            spot=token.text,
            example=CLOSE_EXAMPLE,
        )
    if _begins_with_digit(token):
        raise InputError(
            f"Give ids or a filter, not both: “{token.text[:60]}” stands beside where. Nothing was closed.",
            spot=token.text,
            example=CLOSE_EXAMPLE,
        )


def _query(tokens: Sequence[Token]) -> SessionQuery:
    try:
        return parse_tokens(tokens, correct=False).query
    except InputError as error:
        raise _nothing_closed(error, CLOSE_EXAMPLE) from error


def _nothing_closed(error: InputError, example: str) -> InputError:
    """Say of a mistake, once, that nothing came of it."""
    said = str(error) if "Nothing was closed" in str(error) else f"{error} Nothing was closed."
    return InputError(said, spot=error.spot, example=example)
