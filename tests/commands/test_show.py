"""/sessions show, Details and View SQL on real kernels: what is known of one session."""

from __future__ import annotations

import re
import time
from typing import Any

import pymysql
import pytest

from tests.support.slack_person import buttons_of, options_of, text_of
from tests.support.slack_text import tells
from tests.support.stage import RunningStatement, Stage, session_id


def blocked(stage: Stage) -> tuple[pymysql.Connection[Any], RunningStatement]:
    """Return a session that holds a row idly, and a statement that waits for it."""
    holder = stage.connect(database="depot")
    holder.begin()
    with holder.cursor() as cursor:
        cursor.execute("UPDATE stock SET quantity = 7 WHERE sku = 3")
    waiter = stage.runs("UPDATE depot.stock SET quantity = 4711 WHERE sku = 3", user="auditor")
    stage.until_locks_show(waiter)
    return holder, waiter


def closes(stage: Stage, statement: RunningStatement) -> None:
    """Close the session of a statement, and wait for its client to hear of it."""
    with stage.database.connect() as admin, admin.cursor() as cursor:
        cursor.execute(f"KILL {statement.id}")
    statement.ended()


def test_a_running_session_shows_all_that_the_server_says_of_it(stage: Stage) -> None:
    client = stage.connect(database="depot", bind_address="127.0.0.8")
    with client.cursor() as cursor:
        cursor.execute("CALL dbms_application_info.set_module('billing', 'nightly run')")
        cursor.execute("CALL dbms_application_info.set_client_info('job 12')")
    report = RunningStatement(client, "SELECT SLEEP(60), 'a secret' FROM stock")
    stage.wait_until(lambda: stage.row(report.id).get("COMMAND") == "Query", "the statement to run")
    row = stage.row(report.id)
    card = stage.asks(stage.alice, f"/sessions show {report.id}", f"Session {report.id} on demo")
    said = text_of(card)
    for expected in (
        "Status ACTIVE",
        "User teller",
        "Source 127.0.0.8:",
        "Tenant sys",
        "Database Name depot",
        "Command Query",
        "Execution Time",
        "Transaction none",
        f"SQL ID {row['SQL_ID']}",
        f"Trace ID {row['TRACE_ID']}",
        "Plan ID ",
        f"observer 127.0.0.1:{stage.database.port}",
        "OBProxy -",
        "Module billing",
        "Action nightly run",
        "Client Info job 12",
        "SELECT SLEEP(?), ?",
    ):
        assert expected in said
    assert "a secret" not in str(card)
    assert "Idle since" not in said
    assert "Its current statement" not in said
    assert buttons_of(card) == ["View SQL", "Close Query", "Close Session", "Refresh"]
    closes(stage, report)


def test_an_idle_session_says_since_when_and_offers_no_close_of_a_query(stage: Stage) -> None:
    sleeper = stage.connect()
    card = stage.asks(stage.alice, f"/sessions show {session_id(sleeper)} private", "Status SLEEP, idle for")
    assert "Idle since <!date^" in text_of(card)
    assert card["ephemeral"]
    assert buttons_of(card) == ["View SQL", "Close Session", "Refresh"]
    as_of = int(re.findall(r"As of <!date\^(\d+)", text_of(card))[0])
    stage.wait_until(lambda: time.time() > as_of + 1, "another second, by which the same card differs")
    stage.alice.press(card, "Refresh")
    stage.alice.wait_for_change(card, lambda now: text_of(now) != text_of(card))


def test_a_lock_waiter_names_its_holder_and_the_holder_its_waiter(stage: Stage) -> None:
    holding, waiter = blocked(stage)
    holder = session_id(holding)
    card = stage.asks(stage.alice, f"/sessions show {waiter.id}", "Waits for a row lock")
    stage.presses(stage.alice, card, "Who blocks?", f"Session {holder} holds up 1 session")
    said = text_of(card)
    assert f"held by session {holder} (teller from 127.0.0.1:" in said
    assert f"Close the blocker instead. It waits itself: closing it frees nobody. Session {holder} of teller" in said
    assert ", idle for" in said
    assert "its transaction open for" in said
    assert "because of a row locked by another session (error -6005)" in said
    assert "retries included" in said
    assert not tells(said, 4711)
    said = text_of(stage.asks(stage.alice, f"/sessions show {holder}", f"Session {holder} on demo"))
    assert f"Holds up 1 session: {waiter.id}" in said
    assert f"Close Session {holder}. It has been idle for" in said
    assert ", ACTIVE, open for" in said
    holding.rollback()
    assert waiter.ended() == 0


def test_refresh_rewrites_the_card_in_place_and_says_when_the_session_has_ended(stage: Stage) -> None:
    report = stage.runs("SELECT SLEEP(60)")
    card = stage.asks(stage.alice, f"/sessions show {report.id}", "Status ACTIVE")
    stage.stops(report)
    stage.bob.press(card, "Refresh")
    idle = stage.alice.wait_for_change(card, "idle for")
    assert "Close Query" not in buttons_of(idle)
    report.connection.close()
    stage.wait_until(lambda: not stage.row(report.id), "the session's end")
    stage.alice.press(idle, "Refresh")
    ended = stage.alice.wait_for_change(card, "This session has ended")
    assert buttons_of(ended) == []


def test_the_buttons_of_a_card_open_its_sql_and_ask_to_close_it(stage: Stage) -> None:
    report = stage.runs("SELECT SLEEP(60), 'for alice'")
    card = stage.asks(stage.alice, f"/sessions show {report.id}", "Status ACTIVE")
    stage.alice.press(card, "View SQL")
    stage.alice.wait_for_modal("'for alice'")
    stage.alice.closes_modal()
    stage.presses(stage.alice, card, "Close Session", f"Close session {report.id}?")
    closing = stage.presses(stage.alice, card, "Close Query", f"Close the query of session {report.id}?")
    stage.alice.press(closing, "Close Query")
    stage.alice.wait_for_change(closing, "query closed")
    assert report.ended() == 1317


def test_details_under_a_list_show_the_card_of_the_session_picked(stage: Stage) -> None:
    sleeper = stage.connect()
    number = session_id(sleeper)
    listed = stage.asks(stage.alice, f"/sessions id={number}", "Sessions on demo")
    stage.alice.choose(listed, "Pick sessions", options_of(listed, "Pick sessions")[:1])
    assert not stage.presses(stage.alice, listed, "Details", f"Session {number} on demo")["ephemeral"]
    listed = stage.asks(stage.alice, f"/sessions private id={number}", "Sessions on demo")
    stage.alice.choose(listed, "Pick sessions", options_of(listed, "Pick sessions")[:1])
    assert stage.presses(stage.alice, listed, "Details", f"Session {number} on demo")["ephemeral"]


@pytest.mark.parametrize("where", ["@127.0.0.1", "@127.0.0.1:{port}", " server=127.0.0.1 tenat=sys source=demo"])
def test_a_session_is_found_by_its_server_with_or_without_the_port(stage: Stage, where: str) -> None:
    number = session_id(stage.connect())
    card = stage.asks(
        stage.alice, f"/sessions show {number}{where.format(port=stage.database.port)}", f"Session {number} on demo"
    )
    assert ("“tenat” was read as tenant." in text_of(card)) is ("tenat" in where)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("", "Which session?"),
        ("abc", "is not a session id"),
        ("4294967299", "is not a session id"),
        ("@10.0.0.3", "Which session?"),
        ("{id}@10.0.0.3", "There is {id}@127.0.0.1"),
        ("{id}@127.0.0", "There is {id}@127.0.0.1"),
        ("{id} tenant=SYS", "There is no session {id} of tenant SYS on demo. There is {id}@"),
        ("4294967290", "It may have ended, or it is of another data source or not yours to see"),
        ("{id} {id}", "show takes one id"),
        ("{id} user=teller", "To search by user: /sessions user=teller"),
        ("{id} active-only", "no flag but private"),
        ("{id} limit=5", "no flag but private"),
        ("{id} tenant=a,b", "show takes one id"),
        ("{id} source=nowhere", "no data source nowhere"),
        ('{id}@"x', 'on server "x on demo. There is {id}@127.0.0.1'),
    ],
)
def test_what_cannot_be_shown_earns_a_sentence_with_what_to_do(stage: Stage, words: str, sentence: str) -> None:
    number = session_id(stage.connect())
    told = stage.asks(stage.alice, f"/sessions show {words.format(id=number)}", sentence.format(id=number))
    assert told["ephemeral"]


def test_a_guest_sees_neither_a_card_nor_its_refresh(stage: Stage) -> None:
    number = session_id(stage.connect())
    stage.asks(stage.gus, f"/sessions show {number}", "You may not see sessions")
    card = stage.asks(stage.alice, f"/sessions show {number}", f"Session {number} on demo")
    assert stage.presses(stage.gus, card, "Refresh", "You may not see sessions")["ephemeral"]


def test_a_hostile_statement_is_shown_harmlessly_on_the_card(stage: Stage) -> None:
    hostile = stage.runs("SELECT SLEEP(60), '<!channel> <@U01ALICE> hunter2' AS `<!here>`, \"IDENTIFIED BY 'hunter2'\"")
    card = stage.asks(stage.alice, f"/sessions show {hostile.id}", "Status ACTIVE")
    assert "hunter2" not in str(card)
    kinds = {
        part["type"]
        for block in card["blocks"]
        if block["type"] == "rich_text"
        for element in block["elements"]
        for part in element["elements"]
    }
    assert kinds == {"text"}
