"""Cuts a command into tokens: ``key op value[,value…]`` and single words, quotes respected."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from bot.errors import InputError
from bot.sessions.model import Flag, Operator
from bot.slack.arguments.vocabulary import SAME, Vocabulary, nearest, resembled

_SIGN = "=!<>~≥≤≠"  # what a comparison is written with; NFKC leaves the last three as they are
_COMMAS = ",、،"  # NFKC makes the full-width one plain, the Chinese and the Arabic one it leaves
_KEY = re.compile(rf"-*([^\W\d_][\w-]*)\s*([{_SIGN}]+)\s*")
_COLON = re.compile(r"(?![0-9A-Fa-f]+:[0-9A-Fa-f]*:)-*([^\W\d_][\w-]*)\s*(:)\s*")  # not in an address of IPv6
_QUOTED = re.compile(r'"((?:[^"]|"")*)"|\'((?:[^\']|\'\')*)\'')
_BARE_VALUE = re.compile(rf"[^\s{_COMMAS};\"']+")
_COMMA = re.compile(rf"\s*[{_COMMAS}]\s*")
_JOINT = re.compile(r"[&|]+")
_SEPARATOR = re.compile(rf"[{_COMMAS}]|[&|]+")
_BARE_WORD = re.compile(r"[^\s;]+")
_COMPARING = re.compile(r"\w.*[=<>~≥≤≠]|[=<>~≥≤≠].*\w")
_PORT = re.compile(r"[\w.-]+:\d{1,5}")
_SIGNS = {operator.value: operator for operator in Operator} | {
    "≥": Operator.AT_LEAST,
    "≤": Operator.AT_MOST,
    "≠": Operator.NOT,
}
_MEANT = {"=>": ">=", "=<": "<=", "<>": "!=", "=!": "!=", "===": "==", "!==": "!="}
_AND, _OR, _NOT = "and", "or", "not"
_ADDRESSES = ("host", "server", "proxy")  # keys whose values may be NAME:PORT


class Slip(enum.Enum):
    """What makes it doubtful whether a word was meant as it is read."""

    COMMA = "after a comma"  # a condition or flag where one more value was to be expected
    COLON = "a colon for ="


@dataclass(frozen=True, slots=True)
class KeyToken:
    """``key op value[,value…]`` as typed; ``text`` is the piece of input it came from."""

    key: str
    operator: Operator
    values: tuple[str, ...]
    text: str
    slip: Slip | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class WordToken:
    """A single word, lower-cased, without leading dashes; what was ``quoted`` is meant as it stood in the quotes.

    ``text`` is the piece of input it came from.
    """

    word: str
    text: str
    quoted: bool = False
    slip: Slip | None = field(default=None, compare=False)


Token = KeyToken | WordToken


_NOTHING = Vocabulary({}, {})
# The flags of lists and closes: a value that is one of them, or resembles one, is written in quotes.
_FLAGS = (*(flag.value for flag in Flag), "private", "text", "query", "session", "where", "override")


def tokenize(text: str, vocabulary: Vocabulary = _NOTHING) -> list[Token]:
    """Cut a normalized text. Raises ``InputError`` for what is no token at all.

    What stands after a comma and reads like a condition or a flag of the ``vocabulary`` is a token of its own,
    with a ``slip``: it would widen the list of values before it.

    >>> for token in tokenize('tenant=shop,billing time>5m sql="update stock" orders'):
    ...     print(token.text, getattr(token, "values", "no key"))
    tenant=shop,billing ('shop', 'billing')
    time>5m ('5m',)
    sql="update stock" ('update stock',)
    orders no key
    """
    return _Tokenizer(text, vocabulary).tokens()


class _Tokenizer:
    """Goes through one text from its start to its end."""

    def __init__(self, text: str, vocabulary: Vocabulary) -> None:
        self._text = text
        self._vocabulary = vocabulary
        self._at = 0
        self._after_comma = False
        self._found: list[Token] = []

    def tokens(self) -> list[Token]:
        while self._skip():
            comma, self._after_comma = self._after_comma, False
            key = self._key(self._at, near=comma)
            if key is not None:
                self._found.append(self._keyed(key, comma=comma))
            elif self._text[self._at] in ('"', "'"):
                start = self._at
                value, self._at = self._value(start, "")
                self._found.append(WordToken(value, self._text[start : self._at], quoted=True))
            else:
                self._found.append(self._plain(comma=comma))
        return self._found

    def _skip(self) -> bool:
        """Go to the next word and tell whether there is one."""
        while self._at < len(self._text):
            sign = self._text[self._at]
            if sign in _COMMAS and self._found and self._own(_end(_COMMA, self._text, self._at)):
                self._after_comma = True
            elif sign == ";":
                self._after_comma = False
            elif not sign.isspace():
                return True
            self._at += 1
        return False

    def _key(self, at: int, *, near: bool, of: str = "") -> re.Match[str] | None:
        """Return the key that begins there; one before a colon only where the command has it."""
        match = _KEY.match(self._text, at)
        if match is not None:
            return match
        match = _COLON.match(self._text, at)
        if match is None or self._vocabulary.key(match[1].lower(), near=near) is None:
            return None
        known = self._vocabulary.key(match[1].lower(), near=False) is not None
        port = of in _ADDRESSES and _PORT.fullmatch(self._bare(at))
        return match if known or not port else None

    def _keyed(self, match: re.Match[str], *, comma: bool) -> KeyToken:
        start, name, typed = self._at, SAME.get(match[1].lower(), match[1].lower()), match.group().strip()
        slip = Slip.COMMA if comma else Slip.COLON if match[2] == ":" else None
        meant = self._vocabulary.key(name, near=True) or name
        operator = Operator.CONTAINS if match[2] == ":" else _operator(typed, match[2])
        if match.group()[-1].isspace() and self._condition(match.end()):
            raise _no_value(typed, typed)
        values, end = self._values(match.end(), typed, meant)
        return KeyToken(meant if slip else name, operator, values, self._text[start:end].strip(), slip)

    def _values(self, at: int, typed: str, key: str) -> tuple[tuple[str, ...], int]:
        """Read the values up to what is a word of its own, and go there."""
        values: list[str] = []
        while True:
            value, end = self._value(at, typed)
            values.append(value)
            self._at = end
            comma = _COMMA.match(self._text, end)
            if comma is None:
                return tuple(values), end
            at = comma.end()
            if self._own(at, key):
                self._at, self._after_comma = at, True
                return tuple(values), end

    def _value(self, at: int, typed: str) -> tuple[str, int]:
        quoted = _QUOTED.match(self._text, at)
        if quoted is not None:
            value = quoted[1].replace('""', '"') if quoted[1] is not None else quoted[2].replace("''", "'")
            end = quoted.end()
        else:
            if self._text[at : at + 1] in ('"', "'"):
                raise InputError(
                    f"The quotation mark{f' after {typed}' if typed else ''} is never closed.",
                    spot=self._text[at:],
                    example='/sessions sql="update stock"',
                )
            value = self._bare(at)
            end = at + len(value)
        if not value.strip():
            raise _no_value(typed or "That", typed)
        return value, end

    def _bare(self, at: int) -> str:
        """Return the value that stands there without quotes, up to a sign like ``&`` with a condition after it."""
        match = _BARE_VALUE.match(self._text, at)
        if match is None:
            return ""
        for joint in _JOINT.finditer(self._text, at, match.end()):
            if joint.start() > at and self._condition(joint.end()):
                return self._text[at : joint.start()]
        return match.group()

    def _plain(self, *, comma: bool) -> WordToken:
        whole = _JOINT.match(self._text, self._at) or _BARE_WORD.match(self._text, self._at)
        assert whole is not None  # noqa: S101  # the character at that place is neither a space nor a semicolon
        text = whole.group()
        self._at = whole.end()
        cut = None if text[0] in "&|" else self._cut(whole, comma=comma)
        if cut is not None:
            sign, self._at = cut
            text = self._text[whole.start() : sign.start()]
            self._after_comma = sign.group()[0] in _COMMAS
        name = _name(text)
        meant = self._vocabulary.flag(name, near=comma) if comma else None
        return WordToken(meant or name, text, slip=Slip.COMMA if meant else None)

    def _cut(self, whole: re.Match[str], *, comma: bool) -> tuple[re.Match[str], int] | None:
        """Find the sign within a word that parts it from a word of its own, and where to go on; None for none."""
        for sign in _SEPARATOR.finditer(self._text, *whole.span()):
            joint = sign.group()[0] in "&|"
            head = self._text[whole.start() : sign.start()]
            after = sign.end() if joint else _end(_COMMA, self._text, sign.start())
            last = sign.end() == whole.end() and not joint
            if head and (last or self._vocabulary.flag(_name(head), near=comma) or self._own(after)):
                return sign, sign.start() if joint else after
        return None

    def _condition(self, at: int) -> bool:
        """Whether a condition or a flag begins there, spelt as it should be."""
        return self._key(at, near=False) is not None or self._flag_at(at, near=False)

    def _own(self, at: int, key: str = "") -> bool:
        """Whether what stands after a comma is a word of its own, and no further value of that key.

        Raises ``InputError`` where it is neither.
        """
        found = self._key(at, near=True, of=key)
        if found is not None:
            known = self._vocabulary.key(found[1].lower(), near=True) is not None
            return known or self._text[found.end() : found.end() + 1] not in f"{_COMMAS};"  # dGVzdA== is a value
        # The names of states are values: ACTIVE is no slip of active-only there.
        if self._flag_at(at, near=key != "status"):
            return True
        piece = self._bare(at)
        if _COMPARING.search(piece):
            raise InputError(
                f"“{piece[:60]}” after the comma is not a condition. If it is a value, put it in quotes.",
                spot=piece,
                example='/sessions sql="a=b","c<d"',
            )
        return _conjunction(_name(piece)) != "" and bool(self._text[at + len(piece) :].strip())

    def _flag_at(self, at: int, *, near: bool) -> bool:
        return self._vocabulary.flag(_name(self._bare(at)), near=near) is not None


def slips(found: Iterable[Token]) -> list[str]:
    """Say how doubtful words were read, a sentence each."""
    said = {
        Slip.COMMA: "“{typed}” after the comma was read as a condition of its own{as_read}.",
        Slip.COLON: "“{typed}” was read as {read}.",
    }
    return [
        said[token.slip].format(
            typed=token.text, read=again(token), as_read="" if again(token) == token.text else f": {again(token)}"
        )
        for token in found
        if token.slip is not None
    ]


def unjoined(found: Sequence[Token], example: str) -> tuple[list[Token], list[str]]:
    """Leave out ``and`` and ``&`` between words, and say so; return the other words and the sentences.

    Raises ``InputError`` for ``or``, ``|`` and ``not``: conditions hold all at once.
    """
    left, notes = [], []
    for number, token in enumerate(found):
        kind = _conjunction(token.word) if isinstance(token, WordToken) and not token.quoted else ""
        after = found[number + 1] if number + 1 < len(found) else None
        if kind == _NOT and isinstance(after, KeyToken):
            raise InputError(
                "“not” is not supported: use !=. To search for the word itself, put it in quotes.",
                spot=token.text,
                example=example,
            )
        if kind in ("", _NOT) or number == 0 or after is None:
            left.append(token)
            continue
        if kind == _OR:
            raise InputError(
                f"“{token.text}” is not supported: all conditions must hold. Separate several values of one key with "
                "commas; put text to search for in quotes.",
                spot=token.text,
                example=example,
            )
        notes.append(f"“{token.text}” was ignored: all conditions must hold anyway.")
    return left, notes


def unquoted_signs(token: Token) -> bool:
    """Whether a value has a sign in it that may have been meant to part it, and stands without quotes."""
    if not isinstance(token, KeyToken):
        return False
    key = _KEY.match(token.text) or _COLON.match(token.text)
    bare = _QUOTED.sub("", token.text[key.end() if key else 0 :])
    return any(sign in bare for sign in f"{_SIGN}&|".replace("!", ""))


def _name(typed: str) -> str:
    return typed.lstrip("-").lower()


def _conjunction(name: str) -> str:
    """Return what a word between conditions says of them: and, or, not; '' for any other word."""
    if _JOINT.fullmatch(name):
        return _OR if "|" in name else _AND
    return name if name in (_AND, _OR, _NOT) else ""


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at


def _no_value(what: str, spot: str) -> InputError:
    return InputError(f"{what} has no value.", spot=spot, example="/sessions user=app time>5m")


def _operator(typed: str, sign: str) -> Operator:
    if sign in _SIGNS:
        return _SIGNS[sign]
    meant = _MEANT.get(sign)
    hint = f" Did you mean {meant}?" if meant else ""
    raise InputError(
        f"{sign} is not a comparison. Use = (contains), == (exactly), !=, >, >=, < or <=.{hint}",
        spot=typed,
        example="/sessions time>=5m" if meant in (None, ">=", "<=") else f"/sessions user{meant}app",
    )


def again(token: Token) -> str:
    """Write a word so that it is read as the same word again, and without any doubt."""
    if isinstance(token, WordToken):
        return token.word if token.slip else token.text
    if token.slip is None and not unquoted_signs(token):
        return token.text
    return f"{token.key}{token.operator.value}{listed(token.values, near=token.key != 'status')}"


def listed(values: Iterable[str], *, near: bool = True) -> str:
    """Write values so that ``tokenize`` reads them back as they are; ``near`` as in ``quoted``."""
    return ",".join(quoted(value, first=not number, near=near) for number, value in enumerate(values))


def quoted(value: str, *, first: bool = True, near: bool = True) -> str:
    r"""Write a value so that ``tokenize`` reads it back as it is, no longer than it can be typed.

    Of a list only the ``first`` value cannot be taken for a condition or a flag; the others can, if they are one,
    or, with ``near``, if they resemble one.

    >>> quoted("app"), quoted("update stock"), quoted('say "no"')
    ('app', '"update stock"', '\'say "no"\'')
    """
    bare = _BARE_VALUE.fullmatch(value) is not None and not any(sign in value for sign in f"{_SIGN}&|")
    if bare and (first or not _stands_alone(value, near=near)):
        return value
    mark = "'" if value.count('"') > value.count("'") else '"'
    return mark + value.replace(mark, mark * 2) + mark


def _stands_alone(value: str, *, near: bool) -> bool:
    name = _name(value)
    if name in _FLAGS or _conjunction(name) or _COLON.match(value):
        return True
    return near and resembled(name, (*_FLAGS, "active"), 0.7) is not None


def known_key(token: KeyToken, keys: Iterable[str], notes: list[str], example: str) -> str:
    """Return which of ``keys`` is meant; a slip is noted. Raises ``InputError`` for any other."""
    known = tuple(keys)
    if token.key in known:
        return token.key
    meant = nearest(token.key, known)
    if meant is None:
        raise InputError(
            f"There is no key “{token.key}” here. Use one of: {', '.join(known)}.", spot=token.text, example=example
        )
    notes.append(f"“{token.key}” was read as {meant}.")
    return meant
