"""SQL texts as people may see them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.sessions.masking import cut, digest, formatted, without_passwords

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("sql", "shown"),
    [
        ("SELECT 1, 2.5e3, 0xFF, 'a', \"b\", N'c', x'00'", "SELECT ?, ?, ?, ?, ?, ?, ?"),
        ("SELECT a1 FROM t2 WHERE `x'y` = 5", "SELECT a1 FROM t2 WHERE `x'y` = ?"),
        ("IN (1, 2,3)  AND\n\tx IN ( 'a','b' )", "IN (?, …) AND x IN (?, …)"),
        (r"a='x\\' AND b='secret'", "a=? AND b=?"),
        ("a='it''s' AND b='x'", "a=? AND b=?"),
        ("SELECT /* secret */ 1 -- secret\n, 2 # secret", "SELECT ?, ?"),
        ("SELECT 'never closed and secret", "SELECT ?"),
        ("SELECT 'cut after a backslash\\", "SELECT ?"),
        ("", ""),
        ("/* cut within a comment", "…"),
        ("/* ping */", "…"),
        ("SELECT 1.4711FROM t", "SELECT ?FROM t"),
        ("SELECT 47.5e3and 1", "SELECT ?and ?"),
        ("SELECT a FROM db1.2020_orders", "SELECT a FROM db1.2020_orders"),
        ("SELECT 1 -- card\r4711\n, 2", "SELECT ?, ?"),
        ("SELECT 1 --\x0b4711\n, 2", "SELECT ?, ?"),
    ],
)
def test_a_digest_is_one_line_without_literals(sql: str, shown: str) -> None:
    assert digest(sql, 100).replace(" ,", ",") == shown


pieces = st.sampled_from(
    ["SELECT", " ", ",", "(", ")", "=", "a", "`b`", "\n", "-- x\n", "/* y */", "5", "--", "/", "*"]
)
quotes = st.sampled_from(["'{}'", '"{}"'])


@given(before=st.lists(pieces, max_size=6), quote=quotes, after=st.lists(pieces, max_size=6), closed=st.booleans())
def test_what_a_literal_holds_never_survives_where_literals_are_hidden(
    before: list[str], quote: str, after: list[str], closed: bool
) -> None:
    literal = quote.format("MARKER\\\\")
    text = " ".join(before) + "\n" + literal + " ".join(after)
    text = text if closed else text.rstrip("'\"")
    assert "MARKER" not in digest(text, 10_000)
    assert "MARKER" not in formatted(text, literals=False)


@given(st.text(max_size=300), st.integers(1, 50))
def test_no_text_is_too_strange_for_a_digest_or_for_hiding_passwords(text: str, length: int) -> None:
    assert len(digest(text, length)) <= length
    without_passwords(text)
    formatted(text, literals=True)
    formatted(text, literals=False)


@pytest.mark.parametrize(
    "sql",
    [
        f"CREATE USER u IDENTIFIED BY '{SECRET}'",
        f'create user u identified by "{SECRET}"',
        f"ALTER USER u IDENTIFIED BY PASSWORD '{SECRET}'",
        f"CREATE USER u IDENTIFIED WITH mysql_native_password AS '{SECRET}'",
        f"CREATE USER a IDENTIFIED BY 'x', b IDENTIFIED BY '{SECRET}'",
        f"SET PASSWORD FOR 'u'@'h' = '{SECRET}'",
        f"SET PASSWORD = PASSWORD('{SECRET}')",
        f"CHANGE MASTER TO MASTER_PASSWORD='{SECRET}'",
        f"ALTER SYSTEM RESTORE FROM 'oss://b?host=h&access_key={SECRET}&x=1'",
        f"CREATE USER u IDENTIFIED BY '{SECRET} and never closed",
        f"PREPARE s FROM 'CREATE USER u IDENTIFIED BY ''{SECRET}'''",
        f"SELECT 1 /* IDENTIFIED BY '{SECRET}' */",
        f"/*!50000 CREATE USER u IDENTIFIED BY '{SECRET}' */",
        f"UPDATE users SET password = '{SECRET}' WHERE id = 5",
        f"SELECT 'mysql://root:{SECRET}@10.0.0.1/x'",
        f"CREATE EXTERNAL TABLE t LOCATION = 's3://x' ACCESS_KEY = '{SECRET}'",
    ],
)
def test_a_password_is_shown_nowhere(sql: str) -> None:
    assert SECRET not in without_passwords(sql)
    assert SECRET not in formatted(sql, literals=True)
    assert SECRET not in digest(sql, 1000)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 'a', \"b\" FROM t ORDER BY 'x'",
        "SELECT * FROM t WHERE by_whom = 'me' -- a note",
        "SELECT '\\\\', ''''",
        "",
    ],
)
def test_a_text_without_secrets_stays_as_it_is(sql: str) -> None:
    assert without_passwords(sql) == sql


def test_a_long_text_is_kept_whole() -> None:
    sql = "SELECT " + ", ".join(f"'value {number}'" for number in range(6000))
    assert len(sql) > 65_535
    assert formatted(sql, literals=True) == sql
    assert len(digest("'" * 65_535 + "\\" * 65_535, 50)) <= 50


def test_cutting_ends_in_an_ellipsis_within_the_length() -> None:
    assert cut("abcdef", 4) == "abc…"
    assert cut("abcd", 4) == "abcd"


def test_a_statement_without_literals_is_still_laid_out_whole() -> None:
    sql = "select a, 'x' from orders where id = 5 and note in ('p', \"q\") -- card 4711\norder by a"
    shown = formatted(sql, literals=False)
    assert "\n" in shown
    assert " ".join(shown.split()) == "select a, ? from orders where id = ? and note in (?, ?) order by a"
