"""How sessions are searched and sorted: filters and orders as SQL on the columns of one server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from string import ascii_lowercase

from bot.sessions.charsets import forms
from bot.sessions.database import Value
from bot.sessions.masking import SIGNS_OF_SECRETS
from bot.sessions.model import Condition, Field, Flag, Operator, SessionFilter, Sort, Tried

# '=' means these exactly; tenants are case-sensitive in OceanBase (docs/oceanbase.md 1.5).
EXACT_FIELDS = frozenset({Field.ID, Field.TENANT, Field.STATUS, Field.SQL_ID})
_CASE_FIELDS = frozenset({Field.TENANT})
_NAMES = frozenset({Field.USER, Field.DATABASE})  # '==' tells App from app, as the server does

_COMPARISONS = {
    Operator.ABOVE: ">",
    Operator.AT_LEAST: ">=",
    Operator.BELOW: "<",
    Operator.AT_MOST: "<=",
}

_COLUMN_OF = {
    Field.TENANT: "tenant",
    Field.USER: "user",
    Field.HOST: "origin",
    Field.DATABASE: "database_name",
    Field.ID: "id",
    Field.SQL: "sql_text",
    Field.SQL_ID: "sql_id",
    Field.TRACE_ID: "trace_id",
    Field.COMMAND: "command",
    Field.STATUS: "state",
    Field.TIME: "time",
    Field.SERVER: "server",
    Field.PROXY: "proxy",
}

SQL_COLUMNS = ("sql_text", "inner_sql")  # what the client asked for, and what runs of it now in a routine: as bytes
# The same as texts, in which LOCATE finds small letters of ASCII whatever their case and whatever stands before them.
_AS_TEXT = {"sql_text": "sql_letters", "inner_sql": "inner_letters"}

_ANY_COLUMNS = (
    "id",
    *SQL_COLUMNS,
    "user",
    "origin",
    "database_name",
    "command",
    "state",
    "server",
    "proxy",
    "tenant",
    "sql_id",
    "trace_id",
    "doing",
)


@dataclass(frozen=True, slots=True)
class Conditions:
    """What is asked for of sessions, in the SQL of a server that has these ``expressions`` for its columns."""

    expressions: dict[str, str]

    @property
    def secret(self) -> str:
        """Whether what a session runs may hold a secret: that is found by nobody."""
        return f"({' OR '.join(_signs(self._text(name)) for name in SQL_COLUMNS)})"

    @property
    def place(self) -> str:
        """What names a row among all others of the view."""
        return f"CONCAT(COALESCE({self.expressions['server']}, ''), '/', {self.expressions['id']})"

    def of(self, filter_: SessionFilter) -> tuple[str, list[Value | Sequence[Value]]]:
        """Which sessions fit a filter, and the values bound."""
        parts, values = [], []
        for condition in filter_.conditions:
            text, more = self._condition(condition)
            parts.append(text)
            values += more
        for one in filter_.tried:
            text, more = self._tried(one)
            parts.append(text)
            values += more
        if filter_.running:
            text = f"COALESCE({self.expressions['sql_text']}, '') <> ''"
            parts.append(f"{self.expressions['command']} <> 'Sleep' AND {text}")
        parts += [self._flag(flag) for flag in sorted(filter_.flags - {Flag.BLOCKING}, key=lambda flag: flag.value)]
        if Flag.BLOCKING in filter_.flags:
            parts.append(f"{self.place} IN %s")
            values.append(tuple(sorted(filter_.holders)) or ("",))
        return " AND ".join(parts) or "1 = 1", values

    def order(self, sort: Sort) -> tuple[str, tuple[Value, ...]]:
        """By what they are sorted, and the values bound."""
        # Each row's time is read at its own instant. Sessions as old as each other to what a list shows go by their
        # ids, else two that began together could change places from page to page: one is shown twice, one never.
        expression = self.expressions | {"time": f"ROUND({self.expressions['time']}, 1)"}
        for name in SQL_COLUMNS:
            expression[name] = f"CASE WHEN {self.secret} THEN '' ELSE {self.expressions[name]} END"
        first = f"({expression['state']} = 'ACTIVE') DESC, {expression['time']} DESC"
        if sort.field is not None:
            names = SQL_COLUMNS if sort.field is Field.SQL else (_COLUMN_OF[sort.field],)
            first = ", ".join(f"{expression[name]} {'DESC' if sort.descending else 'ASC'}" for name in names)
        if sort.places is None:
            return f"{first}, {expression['id']} ASC, {expression['server']} ASC", ()
        # Any other session has nothing to sort by: it stands where nothing does.
        places = sort.places or ("",)
        first = f"FIELD({self.place}, {', '.join(['%s'] * len(places))}) {'DESC' if sort.descending else 'ASC'}"
        return f"{first}, {expression['id']} ASC, {expression['server']} ASC", places

    def _flag(self, flag: Flag) -> str:
        state, command = self.expressions["state"], self.expressions["command"]
        return {
            Flag.ACTIVE_ONLY: f"{state} = 'ACTIVE'",
            Flag.IDLE: f"{command} = 'Sleep'",
            Flag.IN_TRANSACTION: f"(COALESCE({self.expressions['transaction_id']}, 0) <> 0 "
            f"OR COALESCE({self.expressions['transaction_state']}, '') <> '')",
            Flag.WAITING: self.expressions["waits"],
        }[flag]

    def _condition(self, condition: Condition) -> tuple[str, list[Value | Sequence[Value]]]:
        if condition.field is Field.ANY:
            return self._anywhere(condition)
        exactly = condition.operator is Operator.EXACTLY
        columns = self._searched(condition.field, exactly=exactly)
        with_case = _with_case(condition.field, exactly=exactly)
        parts: list[str] = []
        values: list[Value | Sequence[Value]] = []
        for typed, column in product(condition.values, columns):
            if condition.field is Field.SQL:
                text, more = self._within(column, "" if exactly and typed == "-" else str(typed), exactly=exactly)
                parts.append(text)
                values += more
                continue
            value = typed.lower() if isinstance(typed, str) and not with_case else typed
            if condition.operator in _COMPARISONS:
                parts.append(f"{column} {_COMPARISONS[condition.operator]} %s")
                values.append(value)
            elif condition.field is Field.HOST and condition.operator is Operator.EXACTLY:
                alone = client_ip(self.expressions["origin"])
                parts.append(f"({column} = %s OR {_in_small_letters(alone)} = %s)")  # with or without its port
                values += [value, value]
            elif condition.field in EXACT_FIELDS or condition.operator is Operator.EXACTLY:
                parts.append(f"{column} = %s")
                values.append("" if value == "-" else value)  # none, as it is shown
            else:
                parts.append(f"{column} LIKE %s ESCAPE '|'")
                values.append(f"%{_literal_like(str(value))}%")
        return _so_or_not(condition, " OR ".join(parts)), values

    def _anywhere(self, condition: Condition) -> tuple[str, list[Value | Sequence[Value]]]:
        """Look for a text in every column that people see, as ODC's "All" does."""
        text, values = self._in_columns(condition, _ANY_COLUMNS)
        return _so_or_not(condition, text), values

    def _in_columns(self, condition: Condition, names: Sequence[str]) -> tuple[str, list[Value | Sequence[Value]]]:
        parts: list[str] = []
        values: list[Value | Sequence[Value]] = []
        for value, name in product(map(str, condition.values), names):
            column = self.expressions[name]
            if name in ("inner_sql", "doing") and column == "NULL":
                continue
            if name in SQL_COLUMNS:
                text, more = self._within(name, value)
            else:
                text, more = f"{_in_small_letters(column)} LIKE %s ESCAPE '|'", [f"%{_literal_like(value.lower())}%"]
            parts.append(text)
            values += more
        return " OR ".join(parts), values

    def _text(self, name: str) -> str:
        return self.expressions.get(_AS_TEXT[name], self.expressions[name])

    def _within(self, name: str, value: str, *, exactly: bool = False) -> tuple[str, list[Value | Sequence[Value]]]:
        """Whether a statement holds what was typed, or is ``exactly`` that; ``name`` is one of ``SQL_COLUMNS``.

        Functions of texts are right only up to the first byte that is none in UTF-8, those of bytes know no case.
        """
        # A session that is in no routine has one text, not an empty one besides.
        names = (name, "sql_text") if name != "sql_text" else (name,)
        sent = f"COALESCE({', '.join(self.expressions[one] for one in names)}, '')"
        text = f"COALESCE({', '.join(map(self._text, names))}, '')"
        typed, small = value.lower(), _in_small_letters(text)
        if exactly:
            parts = [f"{small} = %s AND LENGTH(LOWER({text})) = LENGTH({text})"]
            values: list[Value | Sequence[Value]] = [typed]
        else:
            parts = [f"{small} LIKE %s ESCAPE '|'", f"COALESCE(LOCATE(%s, {text}), 0) > 0"]
            # By some collations all emoji are the same letter.
            values = [f"%{_literal_like(typed)}%", typed if typed.isascii() else None]
        folded = sent
        for letter in ascii_lowercase:
            folded = f"REPLACE({folded}, '{letter.upper()}', '{letter}')"
        same = f"{folded} = UNHEX(%s)" if exactly else f"LOCATE(UNHEX(%s), {folded}) > 0"
        for form in forms(value):
            parts.append(f"COALESCE(LOCATE(UNHEX(%s), {sent}), 0) > 0 AND {same}")
            values += [None if form.run is None else form.run.hex(), form.small.hex()]
        return f"({' OR '.join(parts)})", values

    def _tried(self, one: Tried) -> tuple[str, list[Value | Sequence[Value]]]:
        """Take the sessions that were found to fit, and of a word anywhere those that have it elsewhere."""
        text = f"{self.place} IN %s"
        values: list[Value | Sequence[Value]] = [tuple(sorted(one.fitting)) or ("",)]
        if one.without:
            text += f" OR COALESCE({self.expressions['sql_text']}, '') = ''"
        if one.condition.field is Field.ANY:
            elsewhere, more = self._in_columns(
                one.condition, [name for name in _ANY_COLUMNS if name not in SQL_COLUMNS]
            )
            text, values = f"{text} OR {elsewhere}", [*values, *more]
        if one.texts_too and one.condition.field is Field.ANY:
            within, more = self._in_columns(one.condition, SQL_COLUMNS)
            text, values = f"{text} OR NOT {self.secret} AND ({within})", [*values, *more]
        elif one.texts_too and one.condition.field is Field.SQL:
            exactly = one.condition.operator is Operator.EXACTLY
            operator = Operator.EXACTLY if exactly else Operator.CONTAINS
            within, more = self._condition(replace(one.condition, operator=operator))
            text, values = f"{text} OR NOT {self.secret} AND {within}", [*values, *more]
        return _so_or_not(one.condition, text), values

    def _searched(self, field: Field, *, exactly: bool) -> tuple[str, ...]:
        """In what a value is looked for, each by itself: in a routine also in the statement that runs there."""
        column = self.expressions[_COLUMN_OF[field]]
        if field in (Field.ID, Field.TIME):
            return (column,)
        if field is Field.SQL:
            return SQL_COLUMNS if self.expressions["inner_sql"] != "NULL" else ("sql_text",)
        if field is Field.PROXY and not exactly:  # its address or the session's number there
            column = f"CONCAT(COALESCE({column}, ''), ' ', COALESCE({self.expressions['proxy_session_id']}, ''))"
        with_case = _with_case(field, exactly=exactly)
        return (f"BINARY COALESCE({column}, '')" if with_case else _in_small_letters(column),)


def client_ip(origin: str) -> str:
    """A source without its port, as OCP counts by it; IPv6 addresses stand in brackets before a port."""
    return (
        f"CASE WHEN {origin} LIKE '[%%' THEN SUBSTRING_INDEX(SUBSTRING({origin}, 2), ']', 1) "
        f"WHEN LENGTH({origin}) - LENGTH(REPLACE({origin}, ':', '')) = 1 THEN SUBSTRING_INDEX({origin}, ':', 1) "
        f"ELSE {origin} END"
    )


def _so_or_not(condition: Condition, text: str) -> str:
    return f"NOT ({text})" if condition.operator is Operator.NOT else f"({text})"


def _signs(text: str) -> str:
    return " OR ".join(f"COALESCE(LOCATE('{sign}', {text}), 0) > 0" for sign in SIGNS_OF_SECRETS)


def _with_case(field: Field, *, exactly: bool) -> bool:
    return field in _CASE_FIELDS or (exactly and field in _NAMES)


def _in_small_letters(texts: str) -> str:
    """The first of some texts that is there, for a comparison with any text that people type.

    A column of three bytes a character, as MySQL and MariaDB have them, cannot be compared with one of four. All such
    characters are equal by most other collations: an emoji would find every other one.
    """
    return f"CONVERT(LOWER(COALESCE({texts}, '')) USING utf8mb4) COLLATE utf8mb4_bin"


def _literal_like(text: str) -> str:
    """Take the meaning from LIKE's wildcards: what was typed is what is looked for."""
    return text.replace("|", "||").replace("%", "|%").replace("_", "|_")
