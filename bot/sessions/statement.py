"""What a session runs, and what of it a person is shown."""

from __future__ import annotations

import enum
import hashlib
import re
from dataclasses import dataclass
from typing import Self

from bot.sessions.charsets import whole_letters
from bot.sessions.frozen import quickly_made
from bot.sessions.masking import cut, digest, ends_within, formatted, parameterised, without_passwords

KEPT_SQL = 4000  # characters of a statement that are kept of a target, and compared at the press

_SAME_START = 200  # characters by which a text is known again
_NAMED_BYTES = 1000  # of a statement that name it where the server does not: as many as every list has


class Disclosure(enum.Enum):
    """What a person may see of a statement."""

    NOTHING = "nothing"
    DIGEST = "digest"  # one line, each literal as ?
    ALL_BUT_PASSWORDS = "all but passwords"

    @property
    def literals(self) -> bool:
        """Whether literals are shown."""
        return self is Disclosure.ALL_BUT_PASSWORDS


class RawSql:
    """A text as a client has sent it: no ``str``, so that nothing shows, logs or compares it by accident."""

    __slots__ = ("__text",)

    def __init__(self, text: str) -> None:
        self.__text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RawSql) and self.__text == other.__text

    def __hash__(self) -> int:
        return hash(self.__text)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.__text)} characters)"

    def __len__(self) -> int:
        return len(self.__text)

    def shown(self, disclosure: Disclosure, most: int | None = None) -> str:
        """Return at most so many characters of what of it is shown: its digest is one line, else it is as it was."""
        if disclosure is Disclosure.NOTHING:
            return ""
        if disclosure is Disclosure.DIGEST:
            return digest(self.__text, most)
        text = without_passwords(self.__text)
        return text if most is None else cut(text, most)

    def laid_out(self, disclosure: Disclosure) -> str:
        """Return all of what is shown, laid out for reading."""
        return "" if disclosure is Disclosure.NOTHING else formatted(self.__text, literals=disclosure.literals)

    def tells_no_more(self, sql_id: str) -> bool:
        """Whether an id is made of what is shown without literals, so that it tells nothing of what is hidden.

        OceanBase leaves many literals in what it hashes: those of SET and CREATE USER, of ORDER BY and GROUP BY, of
        functions of time and JSON, of LIKE … ESCAPE (docs/oceanbase.md 2.2). Only the id itself tells.
        """
        shown = parameterised(self.__text)
        if shown is None:
            return False
        # A number below zero is one literal.
        texts = (shown, re.sub(r"-\s?\?", "?", shown))
        return sql_id.upper() in {
            hashlib.md5(one.strip().encode("utf-8", "replace"), usedforsecurity=False).hexdigest().upper()
            for one in texts
        }

    @property
    def broken_off(self) -> bool:
        """Whether it ends within a literal or a comment, as nothing does that runs: a server has cut it."""
        return ends_within(self.__text)

    def goes_on_in(self, longer: str) -> bool:
        """Whether a longer text begins as it does; ends that servers make differ."""
        same = self.__text[: min(_SAME_START, max(1, len(self.__text) - len("...")))]
        return len(longer) > len(self.__text) and longer.startswith(same)

    @property
    def has_secret(self) -> bool:
        """Whether there is a password or the like in it."""
        return without_passwords(self.__text) != self.__text

    @property
    def id_of_digest(self) -> str:
        """What names the statement, whatever its literals, where the server has no id that does."""
        start = self.__text.encode("utf-8", "replace")[:_NAMED_BYTES].decode("utf-8", "ignore")
        # A list's text may end with the sign for a letter that was cut there.
        return hashlib.sha256(digest(whole_letters(start)).encode("utf-8", "replace")).hexdigest()[:32]


@quickly_made
@dataclass(frozen=True, slots=True)
class Statement:
    """The client's request that a session runs. Whoever shows it says what of it may be seen."""

    raw_sql: RawSql
    length: int  # characters; of what a list has read only the beginning of, bytes of the whole one
    raw_sql_id: str | None = None  # the server's SQL_ID, or what names it here
    inner: Statement | None = None  # the routine's statement that runs now, where this is the client's call of it
    cut: str = ""  # says that the server gave only the beginning of one of them; '' where both are whole

    @classmethod
    def of(
        cls,
        text: str,
        *,
        length: int | None = None,
        sql_id: str | None = None,
        inner: str | None = None,
        cut: str = "",
    ) -> Self:
        """Take a text as the server gave it, or as it was kept."""
        within = Statement(RawSql(inner), len(inner)) if inner else None
        return cls(RawSql(text), len(text) if length is None else length, sql_id, within, cut)

    def shown(self, disclosure: Disclosure, most: int | None = None) -> str:
        """Return at most so many characters of what of it is shown."""
        return self.raw_sql.shown(disclosure, most)

    def line(self, disclosure: Disclosure) -> str:
        """Return the same in one line, for a cell or a sentence."""
        return " ".join(self.raw_sql.shown(disclosure).split())

    def laid_out(self, disclosure: Disclosure) -> str:
        """Return all of what is shown, laid out for reading."""
        return self.raw_sql.laid_out(disclosure)

    def sql_id(self, disclosure: Disclosure) -> str | None:
        """Return its SQL ID; None where that would tell more of the text than is disclosed."""
        if self.raw_sql_id is None or disclosure is Disclosure.NOTHING:
            return None
        runs = self.inner.raw_sql if self.inner is not None else self.raw_sql  # in a routine the id is its statement's
        if disclosure.literals and not runs.has_secret and not self.raw_sql.has_secret:
            return self.raw_sql_id
        whole = not self.cut and (self.inner is not None or self.length <= len(self.raw_sql))
        # One that was made here is of the digest's beginning, which every list has.
        made = self.raw_sql_id in (runs.id_of_digest, self.raw_sql.id_of_digest)
        told = made or (whole and runs.tells_no_more(self.raw_sql_id))
        return self.raw_sql_id if told else None
