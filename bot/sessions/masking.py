"""Hides what is not shown of a text: the literals of a SQL statement for its digest, passwords and other secrets.

Literals are found by a scanner of MySQL's own lexical rules. sqlparse's lexer is not used for that:
it takes the backslash of ``'x\\\\'`` for an escaped quote and then prints the next literal in clear
(0.6.1), and it prints what follows an unterminated quote.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

import sqlparse
from sqlparse.exceptions import SQLParseError

HIDDEN = "'***'"

Token = tuple[str, str]  # its kind and its text

_LONGEST_NAME = 66  # 64 characters and the backticks
_REMEMBER_UP_TO = 1_000  # characters, as lists have them: one list shows each text twice, and the next one again
_FORMAT_UP_TO = 10_000  # characters; sqlparse takes about a second for ten times as many

_STRING_OF = {True: r"{0}(?:[^{0}\\]++|\\(?:.|\Z)|{0}{0})*+(?:{0}|\Z)", False: r"{0}(?:[^{0}]++|{0}{0})*+(?:{0}|\Z)"}


def _reading(*, single: bool, double: bool) -> re.Pattern[str]:
    """What is a token where a backslash escapes what follows it within ``single`` quotes and within ``double`` ones."""
    return re.compile(
        rf"""
          (?P<string>  [xXbBnN]?{_STRING_OF[single].format("'")} | {_STRING_OF[double].format('"')} )
        | (?P<name>    `(?:[^`]++|``)*+(?:`|\Z) )
        | (?P<comment> /\*(?!M?!).*?(?:\*/|\Z) | --(?=[\x00-\x20]|\Z)[^\n]*+ | \#[^\n]*+ )
        | (?P<number>  (?:0[xX][0-9a-fA-F]++|0[bB][01]++)(?![\w$])
                     | (?:\d++\.\d*+|(?<![\w$`])\.\d++)(?:[eE][+-]?\d++)?+ | \d++[eE][+-]?\d++ | \d++(?![\w$]) )
        | (?P<word>    [\w$@]++ )
        | (?P<space>   \s++ )
        | (?P<other>   . )
        """,
        re.VERBOSE | re.DOTALL,
    )


_USUAL = _reading(single=True, double=True)
# With NO_BACKSLASH_ESCAPES no backslash escapes anything, with ANSI_QUOTES none in a name in double quotes.
_OTHERS = (_reading(single=False, double=False), _reading(single=True, double=False))

_CLOSED = re.compile(r'''[xXbBnN]?'(?:[^'\\]++|\\.|'')*+'|"(?:[^"\\]++|\\.|"")*+"''', re.DOTALL)

# Words before a string literal that make it a secret: IDENTIFIED BY '…', PASSWORD('…'), SECRET = '…'.
_SECRET_WORD = re.compile(r"(?i)^@*(?:by|pw)$|passw(?:or)?d|pwd|secret|token|access_?(?:key|id)|encrypt\w{0,40}key")
_KEY = r"(?:passw(?:or)?d|pwd|secret|token|access_?(?:key|id)|key_?id)"
# From the start of a word only, never a step back: else a long word of many "password"s takes minutes.
_SECRET_IN_TEXT = re.compile(
    rf"(?is)(?<!\w)((?:(?!{_KEY})\w)*+{_KEY}\w*+[\"'\\]*+\s*+(?::=|[=:])\s*+)"
    r"(?:[\"'\\].*|[^&\s'\",;(]*+\(.*|[^&\s'\",;]++)"
)
_SUSPICIOUS = re.compile(rf"(?i)identified|{_KEY}")
# SQL inside a text, as PREPARE takes it.
_IDENTIFIED_IN_TEXT = re.compile(r"(?i)(\bidentified\s+(?:with\s+\S+\s+)?(?:by|as)\s+(?:password\s+)?).+", re.DOTALL)
_URL_PASSWORD = re.compile(r"(://[^:/@\s'\"]*+:)[^/\s'\"]+(@)")  # to the last @: the password may hold others
# A password as Oracle's SQL takes it, without quotes.
_BARE_PASSWORD = re.compile(r"[^\s,;]+")
# A literal that no quotation mark ends where it seems to: IDENTIFIED BY 'it's mine', or one stray mark before.
_STRAY = re.compile(
    rf"(?is)(?:identified|{_KEY}).*(?:[=(,:]|\b(?:by|as|using|values|replace)|{_KEY})"
    r"(?:\s|/\*.*?\*/|--.*?\n|\#.*?\n)*['\"]\Z"
)
_STRAY_WITHIN = 160  # characters before the mark
_AFTER_STRING = re.compile(
    r"(?i)(?:and|asc?|between|collate|desc|div|else|end|escape|for|from|group|having|in|into|is|like|limit|mod|not|on|or"
    r"|order|regexp|replace|require|rlike|separator|then|union|using|when|where|with|xor)(?![\w$@])|[^\w$]"
)
# In small letters: a text without any of these has nothing that is hidden as a secret.
SIGNS_OF_SECRETS = ("identified", "passw", "pw", "secret", "token", "access", "encrypt", "keyid", "key_id", "://")
# Bytes that are no UTF-8 were read as GB18030 (``charsets.decoded``): of another character set, half a letter may be a
# backslash or a backtick. Behind a letter that may be misread, no backslash before a quotation mark is sure to be one.
_HALVES = {
    half: "".join(
        letter for lead in range(0x81, 0xFF) for letter in bytes([lead, ord(half)]).decode("gb18030", "ignore")
    )
    for half in "\\`"
}
_MISREAD_MARK = re.compile(rf"[{_HALVES[chr(92)]}][\\'\"]|[^\x00-\x7f]\\{{2,}}+['\"]")
_MISREAD_ONE_OF = re.compile(r"[^\x00-\x7f]\\['\"]")
_MISREAD_NAME = re.compile(rf"[{_HALVES['`']}]|\ufffd`")
_MARKS = re.compile(r"\\['\"]")
_VERSIONED = re.compile(r"/\*M?!")  # some servers run what is in it, to others it is a comment
_DOLLARS = re.compile(r"\$\w*\$")  # MySQL's quotation of a routine in another language
_NO_PASSWORD = ("PASSWORD", "VALUES", "RANDOM")  # what else may follow IDENTIFIED BY without quotes


def digest(sql: str, length: int | None = None) -> str:
    """One line, of at most ``length`` characters, in which every literal is ``?``."""
    line = _line(sql) if len(sql) <= _REMEMBER_UP_TO else _line.__wrapped__(sql)
    return line if length is None else cut(line, length)


@lru_cache(maxsize=256)
def _line(sql: str) -> str:
    line = re.sub(r"\s+", " ", without_literals(sql)).strip()
    if not line and sql.strip():
        return "…"  # a comment, or all that a server has of a statement that begins with one
    return re.sub(r"\(\s*\?(?:\s*,\s*\?)+\s*\)", "(?, …)", line)


def parameterised(sql: str) -> str | None:
    """The text that OceanBase makes an SQL ID of where every literal is a parameter; None where more is hidden.

    Comments and what a stray backtick has swallowed are not shown to whoever sees no literals.

    >>> parameterised("SELECT name FROM orders WHERE id = 4711"), parameterised("SELECT 1 -- of 4711")
    ('SELECT name FROM orders WHERE id = ?', None)
    """
    parts: list[str] = []
    for kind, text in _tokens(sql):
        if kind in ("comment", "rest") or (kind == "name" and len(text) > _LONGEST_NAME):
            return None
        parts.append("?" if kind in ("string", "number", "bare") else text)
    return "".join(parts)


def without_literals(sql: str) -> str:
    """The same text with every literal as ``?`` and without comments.

    >>> without_literals("UPDATE `order 7` SET note = 'it''s 5', total = 1.5e3")
    'UPDATE `order 7` SET note = ?, total = ?'
    """
    return _shown(sql, _without_literals)


def _without_literals(tokens: Iterable[Token]) -> Iterator[tuple[str, str]]:
    for kind, text in tokens:
        if kind in ("string", "number", "bare"):
            yield text, "?"
        elif kind == "comment":
            yield text, " "
        elif kind == "rest":
            yield text, "…"
        elif kind == "name":
            # Longer than any name: a stray backtick has swallowed what follows it.
            yield text, _hide_inside(text) if len(text) <= _LONGEST_NAME else "`?`"
        else:
            yield text, text


@lru_cache(maxsize=64)  # a card of many sessions shows each several times, until it is narrow enough
def without_passwords(sql: str, *, nested: bool = True) -> str:
    """The same text with passwords and other secrets hidden, also where it is cut or broken.

    With ``nested`` also in SQL that stands in a string, as PREPARE takes it.

    >>> without_passwords("CREATE USER ann IDENTIFIED BY 'hunter2' COMMENT 'on call'")
    "CREATE USER ann IDENTIFIED BY '***' COMMENT 'on call'"
    """
    small = sql.lower()
    may_hold_one = any(sign in small for sign in SIGNS_OF_SECRETS)
    shown = _shown(sql, lambda tokens: _without_passwords(tokens, nested=nested), sure=may_hold_one)
    return _URL_PASSWORD.sub(r"\1***\2", shown)


def _without_passwords(tokens: Iterable[Token], *, nested: bool) -> Iterator[tuple[str, str]]:
    previous: list[str] = []  # the last few words and signs, nearest last
    for kind, text in tokens:
        seen = text
        if kind in ("string", "bare") and _is_secret(previous):
            yield text, HIDDEN
            seen = HIDDEN  # what follows at once is a part of the same secret
        elif kind == "rest":
            yield text, "…"
        else:
            yield text, _hide_inside(text, nested=nested) if kind in ("string", "comment", "name") else text
        if kind not in ("space", "comment"):
            previous = [*previous[-5:], seen.strip("`") if kind == "name" else seen]


def without_secrets(text: str) -> str:
    """A text that may be SQL, an address or settings, as clients tell of themselves: its secrets hidden.

    >>> without_secrets("jdbc:mysql://ann:hunter2@db1/shop?password=hunter2&ssl=true")
    'jdbc:mysql://ann:***@db1/shop?password=***&ssl=true'
    """
    return _hide_inside(f" {without_passwords(text)}")[1:]


def ends_within(sql: str) -> bool:
    """Whether what would end the last literal or comment is missing.

    >>> [ends_within(text) for text in ("SELECT 'a', 'b", "SELECT /* a", "SELECT 'a''b' /* a */")]
    [True, True, False]
    """
    *_, (kind, text) = ("", ""), *_tokens(sql, sure=False)
    if kind == "comment":
        return text.startswith("/*") and (len(text) < len("/**/") or not text.endswith("*/"))
    return kind == "string" and _CLOSED.fullmatch(text) is None


def formatted(sql: str, *, literals: bool) -> str:
    """The whole text for reading, laid out where that is quick enough: passwords hidden, or all literals."""
    text = without_passwords(sql) if literals else without_literals(sql).strip()
    if len(text) > _FORMAT_UP_TO:
        return text
    try:
        return str(sqlparse.format(text, reindent=True)).strip() or text
    except (SQLParseError, RecursionError):
        return text  # as it is beats not at all


def cut(text: str, length: int) -> str:
    """Shorten to ``length`` characters with an ellipsis as the last."""
    return text if len(text) <= length else text[: max(0, length - 1)].rstrip() + "…"


def _shown(sql: str, show: Callable[[Iterable[Token]], Iterator[tuple[str, str]]], *, sure: bool = True) -> str:
    """Put together how each token is shown; what another reading of the text hides is left out.

    How the session that runs it has its sql_mode is not known.
    """
    parts = list(show(_tokens(sql, sure=sure)))
    hidden = bytearray(len(sql))
    for reading in _OTHERS if "\\" in sql else ():
        position = 0
        for text, shown in show(_tokens(sql, reading)):
            if shown != text:
                hidden[position : position + len(text)] = b"\1" * len(text)
            position += len(text)
    found: list[str] = []
    position = 0
    for text, shown in parts:
        if any(hidden[position : position + len(text)]) and (shown == text or found[-1:] == ["…"]):
            shown = "" if found[-1:] == ["…"] else "…"  # noqa: PLW2901
        if shown:
            found.append(shown)
        position += len(text)
    return "".join(found)


def _tokens(sql: str, reading: re.Pattern[str] = _USUAL, *, sure: bool = True) -> Iterator[Token]:
    """Yield each token with its kind; a password without quotes is a ``bare`` one.

    Where literals and the rest have changed places for a stray quotation mark, the ``rest`` is one token. To another
    reading than the usual one, most quotation marks behind a backslash would be such. Where it must be ``sure`` what is
    a literal, the rest begins where that is not known any more.
    """
    words: list[str] = []  # the last few, nearest last
    position = 0
    doubts = _Doubts(sql) if sure and reading is _USUAL else None
    while match := reading.match(sql, position):
        kind, text = match.lastgroup or "other", match.group()
        if doubts is not None and doubts.begin_in(kind, position, match.end()):
            yield "rest", sql[position:]
            return
        if kind in ("word", "number", "other") and _expects_password(words) and text.upper() not in _NO_PASSWORD:
            bare = _BARE_PASSWORD.match(sql, position)
            kind, text = ("bare", bare.group()) if bare else (kind, text)
        yield kind, text
        position += len(text)
        if kind == "string" and reading is _USUAL and _is_stray(text, sql[position : position + _LONGEST_NAME]):
            yield "rest", sql[position:]
            return
        if kind not in ("space", "comment"):
            words = [*words[-5:], text.upper()]


class _Doubts:
    """Tells of one token after the other where it is not known any more what is a literal and what is not."""

    def __init__(self, sql: str) -> None:
        self._sql = sql
        self._comment_until = 0  # where the last one ends that some servers run
        # The readings with backslashes and without them leave nothing open where there is one such mark alone.
        marks = [_MISREAD_MARK, *([_MISREAD_ONE_OF] if len(_MARKS.findall(sql)) > 1 else [])]
        found = [] if sql.isascii() else [found for mark in marks if (found := mark.search(sql))]
        self._mark = min((one.start() for one in found), default=len(sql))

    def begin_in(self, kind: str, start: int, end: int) -> bool:
        """Whether they begin in the token from ``start`` to ``end``."""
        if self._mark < end:
            return True
        if kind == "word" and _DOLLARS.match(self._sql, start, end):
            return True
        if kind in ("string", "comment", "name") and start < self._comment_until < end:
            return True  # to servers that do not run it the comment ends within it
        if kind == "other" and _VERSIONED.match(self._sql, start):
            if start < self._comment_until:
                return True
            end_of_it = self._sql.find("*/", start)
            self._comment_until = len(self._sql) if end_of_it < 0 else end_of_it
        known = kind in ("string", "comment") and "\\" not in self._sql
        return not known and _MISREAD_NAME.search(self._sql, start, end + 1) is not None


def _is_stray(text: str, after: str) -> bool:
    glued = after and not _AFTER_STRING.match(after)
    return bool(glued or _STRAY.search(text[-_STRAY_WITHIN:]))


def _expects_password(words: list[str]) -> bool:
    return words[-2:] == ["IDENTIFIED", "BY"] or (words[-1:] == ["REPLACE"] and "IDENTIFIED" in words)


def _is_secret(previous: list[str]) -> bool:
    words = [word for word in previous if word not in ("=", "(", ":", ":=", ",")]
    if not words:
        return False
    last = words[-1]
    # Literals side by side are one: IDENTIFIED BY 'a' 'b'; SET DECRYPTION IDENTIFIED BY 'a', 'b' has several.
    if previous[-1] == HIDDEN or previous[-2:] == [HIDDEN, ","]:
        return True
    if last.upper() == "BY":
        return any(word.upper() in ("IDENTIFIED", "ENCRYPTED") for word in words)
    # IDENTIFIED WITH plugin AS '…', BY VALUES '…', VIA plugin USING '…', BY '…' REPLACE '…'
    if last.upper() in ("AS", "VALUES", "USING", "REPLACE"):
        return any(word.upper() in ("IDENTIFIED", "PASSWORD") for word in words)
    # SET PASSWORD FOR 'u'@'h' = '…': the user name stands between.
    if previous[-1] == "=" and {"PASSWORD", "FOR"} <= {word.upper() for word in words}:
        return True
    return previous[-1] != "," and bool(_SECRET_WORD.search(last))


def _hide_inside(text: str, *, nested: bool = True) -> str:
    """Hide what is a secret within a string or a comment, whose own signs stay; with ``nested`` read it as SQL, too."""
    end = text[1:][-1:] if text.endswith(("'", '"', "*/")) else ""
    inner = text[1 : len(text) - len(end)]
    for pattern, hidden in (
        (_IDENTIFIED_IN_TEXT, r"\1***"),
        (_SECRET_IN_TEXT, r"\1***"),
        (_URL_PASSWORD, r"\1***\2"),
    ):
        inner = pattern.sub(hidden, inner)
    if nested and _SUSPICIOUS.search(inner):
        inner = without_passwords(inner, nested=False)
    return text[:1] + inner + end
