"""What of a statement is shown, and to whom its SQL ID would tell what is not."""

from __future__ import annotations

import hashlib

import pytest

from bot.sessions.statement import Disclosure, RawSql, Statement

TEXT = "SET PASSWORD = 'hunter2', @pin = 4711"


@pytest.mark.parametrize(
    ("disclosure", "shown"),
    [
        (Disclosure.NOTHING, ""),
        (Disclosure.DIGEST, "SET PASSWORD = ?, @pin = ?"),
        (Disclosure.ALL_BUT_PASSWORDS, "SET PASSWORD = '***', @pin = 4711"),
    ],
)
def test_a_statement_is_shown_as_it_is_disclosed(disclosure: Disclosure, shown: str) -> None:
    statement = Statement.of(TEXT)
    assert statement.shown(disclosure) == statement.line(disclosure) == shown
    assert " ".join(statement.laid_out(disclosure).split()) == shown
    assert statement.shown(disclosure, 6) in ("", "SET P…")


def test_neither_a_statement_nor_its_text_shows_itself() -> None:
    statement = Statement.of(TEXT, inner="SELECT 'hunter2'")
    for text in (str(statement), repr(statement), f"{statement.raw_sql}", f"{statement.inner!r}"):
        assert "hunter2" not in text
        assert "4711" not in text
    assert statement == Statement.of(TEXT, inner="SELECT 'hunter2'")
    assert statement != Statement.of(TEXT, inner="SELECT 'hunter3'")
    assert RawSql("a") != "a"


def test_the_id_of_a_text_that_it_is_the_hash_of_is_nothing_for_who_sees_no_literals() -> None:
    text = "SET @pin = 4711;"
    guessable = hashlib.md5(text.encode()).hexdigest().upper()
    for typed in (text, f"\n\t {text} \r\n"):
        statement = Statement.of(typed, sql_id=guessable)
        assert statement.sql_id(Disclosure.ALL_BUT_PASSWORDS) == guessable
        assert statement.sql_id(Disclosure.DIGEST) is None
    inside = Statement.of("CALL p()", inner=text, sql_id=guessable)
    assert inside.sql_id(Disclosure.DIGEST) is None
    parameterised = Statement.of("SELECT 4711", sql_id=hashlib.md5(b"SELECT ?").hexdigest().upper())
    assert parameterised.sql_id(Disclosure.DIGEST) == parameterised.sql_id(Disclosure.ALL_BUT_PASSWORDS)
    cut = Statement.of("SELECT '" + "x" * 65_527, sql_id=hashlib.md5(b"SELECT ?").hexdigest().upper(), cut="It is cut.")
    assert cut.sql_id(Disclosure.DIGEST) is None, "what it is the hash of is not known"


def test_statements_that_differ_in_their_literals_alone_have_one_id() -> None:
    ids = {RawSql(f"SELECT SLEEP({n}), 'order {n}' FROM t").id_of_digest for n in range(20)}
    assert len(ids) == 1
    assert ids != {RawSql("SELECT SLEEP(1), 'order 1' FROM u").id_of_digest}
    long = "SELECT a, " * 300
    assert RawSql(long).id_of_digest == RawSql(long[:1000]).id_of_digest, "a list has the first characters alone"
    wide = "SELECT '选', " * 300
    assert RawSql(wide).id_of_digest == RawSql(wide.encode()[:1024].decode("utf-8", "ignore")).id_of_digest


def test_an_id_that_is_made_of_the_digest_is_told_of_a_text_that_a_list_has_cut() -> None:
    text = "SELECT 4711, " + "a, " * 400
    made = RawSql(text).id_of_digest
    for disclosure in (Disclosure.DIGEST, Disclosure.ALL_BUT_PASSWORDS):
        assert Statement.of(text[:1000], length=len(text), sql_id=made).sql_id(disclosure) == made


def test_the_kernels_id_of_a_text_that_a_list_has_cut_is_nothing_for_who_sees_no_literals() -> None:
    text = "SELECT 4711, " + "a, " * 400
    kernels = hashlib.md5(text.strip().replace("4711", "?").encode()).hexdigest().upper()
    assert Statement.of(text, sql_id=kernels).sql_id(Disclosure.DIGEST) == kernels
    assert Statement.of(text[:1000], length=len(text), sql_id=kernels).sql_id(Disclosure.DIGEST) is None
