"""Sessions in the store: flat, as replicas of other versions write and read them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

from bot.closing.store import session_json
from bot.sessions.statement import Statement
from tests.sessions.examples import EXAMPLE, inner_of, length_of, sql_id_of, sql_of

SQL_ID = hashlib.md5(b"SELECT ?").hexdigest().upper()  # that of the statement in the routine


def test_what_is_kept_of_a_statement_stands_beside_the_rest_and_is_read_back() -> None:
    runs = Statement.of("CALL p(5, PASSWORD('hunter2'))", length=9000, sql_id=SQL_ID, inner="SELECT 5")
    session = replace(EXAMPLE, statement=runs)
    flat = json.loads(session_json.written(session))
    assert (flat["sql"], flat["inner_sql"]) == ("CALL p(5, PASSWORD('***'))", "SELECT 5")
    assert (flat["sql_length"], flat["sql_id"], flat["user"]) == (9000, SQL_ID, "app")
    assert "statement" not in flat
    back = session_json.read(json.dumps(flat))
    assert (sql_of(back), inner_of(back), length_of(back), sql_id_of(back)) == (
        "CALL p(5, PASSWORD('***'))",
        "SELECT 5",
        9000,
        SQL_ID,
    )
    assert back == session_json.as_kept(session)
    assert replace(back, statement=None) == replace(session, statement=None)


def test_an_idle_session_has_nothing_of_a_statement() -> None:
    flat = json.loads(session_json.written(replace(EXAMPLE, statement=None)))
    assert (flat["sql"], flat["sql_length"], flat["sql_id"], flat["inner_sql"]) == (None, 0, None, None)
    assert session_json.read(json.dumps(flat)).statement is None


def test_no_id_is_kept_that_would_tell_a_text_that_is_hidden() -> None:
    text = "SET @pin = 4711"
    runs = Statement.of(text, sql_id=hashlib.md5(text.encode()).hexdigest().upper())
    assert session_json.kept(replace(EXAMPLE, statement=runs))["sql_id"] is None
