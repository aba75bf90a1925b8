"""What a statement names: its tables, the metadata lock that it asks for, and the user lock of a GET_LOCK.

Only what stands there for certain is read: the rest is not known.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from bot.sessions.masking import without_literals
from bot.sessions.mysql.metadata_locks import TABLE, Key

_TOKEN = re.compile(r"`((?:[^`]|``)+)`|([\w$]+)|(\S)")
# A table's name stands behind these.
_BEFORE_TABLES = frozenset("FROM JOIN STRAIGHT_JOIN INTO UPDATE TABLE TABLES ON TRUNCATE EXISTS ALTER LIKE".split())  # noqa: SIM905
_NO_NAMES = frozenset("IF NOT EXISTS IGNORE LOW_PRIORITY QUICK ONLY TEMPORARY ONLINE LOCAL NO_WRITE_TO_BINLOG".split())  # noqa: SIM905
_NEVER_NAMES = frozenset("WITH FOR READ WHERE SELECT SET VALUES DUPLICATE AS USING LIMIT ORDER GROUP".split())  # noqa: SIM905
_DDL = frozenset("ALTER DROP TRUNCATE RENAME CREATE OPTIMIZE REPAIR".split())  # noqa: SIM905
_CHANGES = frozenset("INSERT REPLACE UPDATE DELETE LOAD".split())  # noqa: SIM905

_LITERAL = r"(?:_?utf8(?:mb[34])?\s*|_ascii\s*)?'((?:[^'\\]|'')*)'|x'([0-9a-f]+)'|0x([0-9a-f]+)"
_GET_LOCK = re.compile(rf"\bget_lock\s*\(\s*(?:{_LITERAL})\s*,", re.IGNORECASE)
_ANY_GET_LOCK = re.compile(r"\bget_lock\b", re.IGNORECASE)
_QUOTED_OR_COMMENT = re.compile(r"/\*|--\s|#|\\")


@dataclass(frozen=True, slots=True)
class Names:
    """What a statement says of itself."""

    verb: str  # its first word, in capital letters
    certain: frozenset[tuple[str | None, str]]  # tables: database, None for the session's own, and name
    mentioned: frozenset[tuple[str | None, str]]  # whatever else could be a table
    words: frozenset[str]  # in capital letters

    @property
    def of_database(self) -> bool:
        """Whether it changes a database, and so all tables in it."""
        return self.ddl and not self.words.isdisjoint(("DATABASE", "SCHEMA")) and "TABLE" not in self.words

    @property
    def single(self) -> frozenset[str]:
        """All names in it, whatever they are of."""
        return frozenset(name for _, name in self.certain | self.mentioned)

    @property
    def ddl(self) -> bool:
        """Whether it changes what tables are, so that it wants one for itself."""
        return self.verb in _DDL

    @property
    def changes(self) -> bool:
        """Whether it changes rows or tables, or may: what a routine does is not in its call."""
        return self.ddl or self.verb in _CHANGES or self.verb == "CALL"

    @property
    def lock_type(self) -> str | None:
        """The metadata lock that it asks for on its tables; None where that is not known."""
        if self.ddl:
            return "EXCLUSIVE"
        if self.verb in _CHANGES or (self.verb == "SELECT" and {"FOR", "UPDATE"} <= self.words):
            return "SHARED_WRITE"
        if self.verb in ("SELECT", "WITH", "TABLE", "ANALYZE", "CHECK"):
            return "SHARED_READ"
        if self.verb == "LOCK":
            return "SHARED_NO_READ_WRITE" if "WRITE" in self.words else "SHARED_READ_ONLY"
        return "SHARED_NO_WRITE" if self.verb == "FLUSH" else None

    def names(self, key: Key, database: str | None, *, certainly: bool) -> bool:
        """Whether it names a table, seen from a session's database."""
        namespace, schema, name = key
        named = self.certain if certainly else self.certain | self.mentioned
        return namespace == TABLE and ((schema, name) in named or ((None, name) in named and schema == database))

    def tables(self, database: str | None) -> frozenset[tuple[str, str]]:
        """The tables that it certainly names, seen from a session's database."""
        return frozenset((schema or database or "", name) for schema, name in self.certain)


def names_of(text: str) -> Names:
    """Read what a statement names.

    >>> sorted(names_of("UPDATE shop.stock AS s SET note = 'FROM x'").certain)
    [('shop', 'stock')]
    """
    tokens = [
        (quoted.replace("``", "`") or word or sign, bool(quoted), bool(word))
        for quoted, word, sign in _TOKEN.findall(without_literals(text))
    ]
    certain: set[tuple[str | None, str]] = set()
    mentioned: set[tuple[str | None, str]] = set()
    words = frozenset(text.upper() for text, _, word in tokens if word)
    before, at = "", 0
    listed = False  # whether a comma leads to another table
    while at < len(tokens):
        name, quoted, word = tokens[at]
        upper = name.upper()
        if not (quoted or word):
            before = "TABLES" if name == "," and listed else name
            listed = listed and name in (",", ".")
            at += 1
            continue
        if not quoted and (upper in _BEFORE_TABLES or upper in _NO_NAMES):
            before = before if upper in _NO_NAMES and before in _BEFORE_TABLES else upper
            listed = False
            at += 1
            continue
        if not quoted and upper in _NEVER_NAMES:
            before, listed = "", False
            at += 1
            continue
        schema: str | None = None
        if at + 2 < len(tokens) and tokens[at + 1][0] == "." and (tokens[at + 2][1] or tokens[at + 2][2]):
            schema, name, at = name, tokens[at + 2][0], at + 2
        if before in _BEFORE_TABLES:
            certain.add((schema, name))
            listed = True
        else:
            mentioned.add((schema, name))
        before = ""
        at += 1
    verb = next((text.upper() for text, _, word in tokens if word), "")
    return Names(verb, frozenset(certain), frozenset(mentioned), words)


def user_lock_of(text: str) -> str | None:
    """Return the name in the one GET_LOCK of a statement; None where it is not a literal that reads in one way only.

    A backslash is an escape or not by sql_mode, and what stands in a comment is not run.

    >>> user_lock_of("SELECT GET_LOCK('it''s', 10)"), user_lock_of("DO get_lock(0x6e69, 10)")
    ("it's", 'ni')
    >>> user_lock_of("SELECT GET_LOCK(CONCAT('a', 'b'), 10)")
    """
    if _QUOTED_OR_COMMENT.search(text) or len(_ANY_GET_LOCK.findall(text)) != 1:
        return None
    found = _GET_LOCK.search(text)
    if found is None:
        return None
    quoted, *digits = found.groups()
    if quoted is not None:
        return str(quoted).replace("''", "'") if str(quoted).isascii() else None
    digits = [one for one in digits if one]
    try:
        return bytes.fromhex(digits[0]).decode("ascii")
    except ValueError:
        return None


def mentions_any(names: Names, tables: Collection[tuple[str, str]], database: str | None) -> bool:
    """Whether it names one of these tables, or could."""
    return any(names.names((TABLE, schema, name), database, certainly=False) for schema, name in tables)
