"""/kill-session on real kernels: the card, the press, and what becomes of the session."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
from typing import Any

import pymysql
import pytest

from tests.support.slack_person import NotPossible, buttons_of, options_of, text_of
from tests.support.slack_text import Json
from tests.support.stage import ASKS, Stage, session_id


def events_of(stage: Stage) -> list[tuple[str, str | None]]:
    """The record, oldest first: event and person."""
    with sqlite3.connect(stage.bot.log.parent / "store.db") as store:
        rows = store.execute("SELECT event, person FROM audit ORDER BY id").fetchall()
    store.close()
    return rows


def test_closing_a_query_ends_it_and_leaves_the_session_alive(stage: Stage) -> None:
    report = stage.runs("SELECT SLEEP(60)")
    card = stage.card_of(f"{report.id} query")
    assert buttons_of(card)[0] == "Close Query"
    stage.alice.press(card, "Close Query")
    result = stage.alice.wait_for_change(card, "query closed")
    assert report.ended() == 1317
    assert "Close Query pressed by <@U01ALICE>" in text_of(result)
    assert buttons_of(result) == []
    with report.connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)


def test_closing_a_session_disconnects_its_client(stage: Stage) -> None:
    sleeper = stage.connect()
    number = session_id(sleeper)
    card = stage.card_of(str(number))
    stage.alice.press(card, "Close Session")
    stage.alice.wait_for_change(card, "✅ closed")
    assert stage.row(number) == {}


def test_nothing_is_closed_before_the_press(stage: Stage) -> None:
    report = stage.runs("SELECT SLEEP(60)")
    card = stage.card_of(str(report.id))
    stage.alice.press(card, "Cancel")
    result = stage.alice.wait_for_change(card, "cancelled")
    assert "Nothing was closed" in text_of(result)
    assert report.is_alive()
    assert buttons_of(result) == []


def test_the_card_says_what_is_to_be_closed_and_what_that_means(stage: Stage) -> None:
    holder = stage.connect(database="depot", bind_address="127.0.0.5")
    holder.begin()
    with holder.cursor() as cursor:
        cursor.execute("UPDATE stock SET quantity = 5 WHERE sku = 1")
    text = text_of(stage.card_of(f'{session_id(holder)} reason="blocks *the* <shop>"'))
    for said in (
        "Asked by <@U01ALICE>",
        "Data source demo",
        "Tenant sys",
        f"observer 127.0.0.1:{stage.database.port}",
        "User teller",
        "Source 127.0.0.5:",
        "Database Name depot",
        "SLEEP, Sleep, for",
        "open (ACTIVE)",
        "Reason blocks *the* <shop>",
        "rolled back and the locks are released",
        "Close Query  does nothing: this session is idle",
        "Expires",
    ):
        assert said in text
    assert "Close Query" not in buttons_of(stage.card_of(str(session_id(holder))))


def test_closing_an_idle_transaction_frees_those_who_wait_for_its_locks(stage: Stage) -> None:
    holder = stage.connect(database="depot")
    holder.begin()
    with holder.cursor() as cursor:
        cursor.execute("UPDATE stock SET quantity = 7 WHERE sku = 3")
    writers = [stage.runs("UPDATE stock SET quantity = quantity + 1 WHERE sku = 3", database="depot") for _ in range(2)]
    card = stage.card_of(str(session_id(holder)))
    stage.alice.press(card, "Close Session")
    stage.alice.wait_for_change(card, "✅ closed")
    assert [writer.ended() for writer in writers] == [0, 0]


def test_closing_the_query_of_a_lock_waiter_shows_progress_and_then_the_truth(stage: Stage) -> None:
    holder = stage.connect(database="depot")
    holder.begin()
    with holder.cursor() as cursor:
        cursor.execute("UPDATE stock SET quantity = 8 WHERE sku = 2")
    waiter = stage.runs("UPDATE stock SET quantity = 9 WHERE sku = 2", database="depot")
    stage.wait_until(lambda: stage.row(waiter.id).get("RETRY_INFO") == -6005, "the lock wait")
    card = stage.card_of(f"{waiter.id} query")
    assert "waits for a row lock" in text_of(card)
    stage.alice.press(card, "Close Query")
    stage.alice.wait_for_change(card, lambda message: "Closing …" in text_of(message) or "✅" in text_of(message))
    stage.alice.wait_for_change(card, "✅ query closed")
    assert waiter.ended() == 1317


def test_a_second_press_by_anybody_changes_nothing(stage: Stage) -> None:
    sleeper = stage.connect()
    card = stage.card_of(str(session_id(sleeper)))
    stage.alice.press(card, "Close Session")
    result = stage.alice.wait_for_change(card, "✅ closed")
    for person in (stage.alice, stage.bob):
        with pytest.raises((NotPossible, AssertionError)):
            person.press(result, "Close Session")
    assert text_of(stage.bob.now(card) or {}) == text_of(result)


def test_two_people_pressing_at_once_close_once(stage: Stage) -> None:
    sleeper = stage.connect()
    card = stage.card_of(str(session_id(sleeper)))
    before = events_of(stage)
    stage.slack.faults.deliver_twice = True
    try:
        stage.alice.press(card, "Close Session")
        with contextlib.suppress(NotPossible, AssertionError):  # the card may be rewritten before he comes
            stage.bob.press(card, "Close Session")
        stage.alice.wait_for_change(card, "✅ closed")
    finally:
        stage.slack.faults.deliver_twice = False
    events = [event for event, _ in events_of(stage)[len(before) :]]
    assert (events.count("confirm"), events.count("intent"), events.count("outcome")) == (1, 1, 1)


def test_the_record_holds_request_confirmation_intent_and_outcome(stage: Stage) -> None:
    sleeper = stage.connect()
    before = len(events_of(stage))
    card = stage.card_of(str(session_id(sleeper)))
    stage.bob.press(card, "Close Session")
    stage.alice.wait_for_change(card, "✅ closed")
    assert events_of(stage)[before:] == [
        ("request", "U01ALICE"),
        ("confirm", "U02BOB"),
        ("intent", None),
        ("outcome", None),
    ]


def test_a_guest_gets_a_sentence_and_not_a_card(stage: Stage) -> None:
    sleeper = stage.connect()
    answer = stage.asks(stage.gus, f"/kill-session {session_id(sleeper)}", "You may not")
    assert answer["ephemeral"]
    assert not buttons_of(answer)


def test_a_guest_who_presses_somebody_elses_card_closes_nothing(stage: Stage) -> None:
    report = stage.runs("SELECT SLEEP(60)")
    card = stage.card_of(str(report.id))
    assert stage.presses(stage.gus, card, "Close Session", "You may not")["ephemeral"]
    assert stage.presses(stage.gus, card, "Cancel", "You may not")["ephemeral"]
    assert report.is_alive()
    assert "Close Session" in buttons_of(stage.alice.now(card) or {})


def test_a_session_that_ended_before_the_press_is_already_gone(stage: Stage) -> None:
    sleeper = stage.connect()
    number = session_id(sleeper)
    card = stage.card_of(str(number))
    sleeper.close()
    stage.wait_until(lambda: not stage.row(number), "the session's end")
    stage.alice.press(card, "Close Session")
    stage.alice.wait_for_change(card, "already gone")


def test_a_query_that_has_changed_since_the_card_is_not_closed(stage: Stage) -> None:
    first = stage.runs("SELECT SLEEP(60)")
    card = stage.card_of(f"{first.id} query")
    stage.stops(first)
    stage.alice.press(card, "Close Query")
    result = stage.alice.wait_for_change(card, "changed, not closed")
    assert "the session is idle" in text_of(result)
    assert stage.row(first.id)["STATE"] == "SLEEP"


def begins(stage: Stage, client: pymysql.Connection[Any]) -> None:
    """Begin a transaction and return once the server shows it: a moment after its client has the answer."""
    client.begin()
    number = session_id(client)
    stage.wait_until(lambda: stage.row(number).get("TRANS_STATE") == "ACTIVE", "the transaction")


def test_a_transaction_that_began_after_the_card_is_shown_in_bold_and_pressed_again(stage: Stage) -> None:
    client = stage.connect(database="depot")
    number = session_id(client)
    card = stage.card_of(str(number))
    assert "Transaction none" in text_of(card)
    begins(stage, client)
    with client.cursor() as cursor:
        cursor.execute("UPDATE stock SET quantity = quantity + 1 WHERE sku = 2")
    stage.alice.press(card, "Close Session")
    again = stage.alice.wait_for_change(card, "Nothing was closed: A transaction has begun since the card was shown")
    bold = [
        piece["text"]
        for block in again["blocks"]
        for part in block.get("elements", [])
        for piece in part.get("elements", [])
        if isinstance(piece, dict) and (piece.get("style") or {}).get("bold")
    ]
    assert any("A transaction has begun" in text for text in bold)
    assert "Transaction open (ACTIVE)" in text_of(again)
    assert "Its open transaction is rolled back" in text_of(again)
    assert stage.row(number)
    stage.bob.press(again, "Close Session")
    stage.alice.wait_for_change(again, "✅ closed")
    assert stage.row(number) == {}
    events = [event for event, _ in events_of(stage)]
    assert events[-7:] == ["request", "confirm", "outcome", "request", "confirm", "intent", "outcome"]


def test_the_card_that_was_replaced_can_be_pressed_no_more(stage: Stage) -> None:
    client = stage.connect()
    card = stage.card_of(str(session_id(client)))
    begins(stage, client)
    stage.alice.press(card, "Close Session")
    again = stage.alice.wait_for_change(card, "A transaction has begun")
    stage.alice.press(again, "Cancel")
    result = stage.alice.wait_for_change(again, "cancelled")
    assert buttons_of(result) == []
    assert stage.row(session_id(client))


def test_an_idle_session_has_no_query_to_close(stage: Stage) -> None:
    sleeper = stage.connect()
    answer = stage.asks(stage.alice, f"/kill-session {session_id(sleeper)} query", "runs no query")
    assert f"/kill-session {session_id(sleeper)}" in text_of(answer)


def test_a_protected_user_is_never_closed(stage: Stage) -> None:
    guarded = stage.connect(user="guarded")
    stage.asks(stage.alice, f"/kill-session {session_id(guarded)}", "a protected user of demo")
    assert stage.row(session_id(guarded))


def test_the_bots_own_session_is_never_closed(stage: Stage) -> None:
    own = stage.own_session()
    stage.asks(stage.alice, f"/kill-session {own}", "one of this bot's own")


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("", "Which session?"),
        ("2999999999", "There is no session 2999999999 on demo"),
        ("4294967299", "cut a longer one to somebody else's id"),
        ("1", "is not a session id"),
        ("abc", "is not a session id"),
        ("5 qery", "Did you mean query?"),
        ("5 6 abc", "is not a session id"),
        ("user=teller", "A filter follows the word where"),
        ("where", "without one every session would be meant"),
        ("where usr=teller", "Did you mean user?"),
        ("where user=teller limit=5", "limit is for lists"),
        ("where user=nobody-of-that-name", "No session on demo fits that"),
        ("5 tenat=sys", "Did you mean tenant=?"),
        ("5 source=other", "There is no data source other"),
    ],
)
def test_words_typed_wrong_close_nothing_and_earn_a_sentence(stage: Stage, typed: str, sentence: str) -> None:
    answer = stage.asks(stage.alice, f"/kill-session {typed}", sentence)
    assert answer["ephemeral"]


def test_a_pasted_kill_statement_is_understood(stage: Stage) -> None:
    report = stage.runs("SELECT SLEEP(60)")
    card = stage.card_of(f"KILL QUERY {report.id};")
    assert f"Close the query of session {report.id}?" in text_of(card)


def test_another_tenant_than_the_sessions_own_closes_nothing(stage: Stage) -> None:
    sleeper = stage.connect()
    answer = stage.asks(stage.alice, f"/kill-session {session_id(sleeper)} tenant=shop", "in tenant shop")
    assert "There is one of tenant sys on" in text_of(answer)


def test_a_picked_session_is_closed_from_the_list(stage: Stage) -> None:
    report = stage.runs("SELECT SLEEP(60)")
    listed = stage.asks(stage.alice, f"/sessions id={report.id}", "Sessions on demo")
    stage.alice.choose(listed, "Pick sessions", options_of(listed, "Pick sessions")[:1])
    card = stage.presses(stage.alice, listed, "Close Session", "Nothing is closed without a press")
    stage.alice.press(card, "Close Session")
    stage.alice.wait_for_change(card, "✅ closed")
    assert report.ended() in (2013, 5066, 1317)


def test_a_card_works_where_the_bot_is_no_member(stage: Stage) -> None:
    sleeper = stage.connect()
    card = stage.asks(
        stage.alice, f"/kill-session {session_id(sleeper)}", "Nothing is closed without a press", channel="C03GENERAL"
    )
    stage.alice.press(card, "Close Session")
    stage.alice.wait_for_change(card, "✅ closed")


def test_the_record_keeps_no_password_of_a_statement(stage: Stage) -> None:
    report = stage.runs("SELECT SLEEP(60), PASSWORD('hunter2')")
    stage.card_of(str(report.id))
    with sqlite3.connect(stage.bot.log.parent / "store.db") as store:
        kept = json.dumps(store.execute("SELECT session FROM closing_targets").fetchall())
        kept += json.dumps(store.execute("SELECT details FROM audit").fetchall())
    store.close()
    assert "hunter2" not in kept


def test_half_a_character_in_a_reason_is_no_failure_of_the_bot(stage: Stage) -> None:
    number = session_id(stage.connect())
    assert "Reason half ?" in text_of(stage.card_of(f'{number} reason="half \ud800"'))


def is_late(card: Json) -> bool:
    """Whether a busy machine has not read the waits in time for the card's advice."""
    return "could not be read: there was no answer within" in text_of(card)


def test_a_victims_card_leads_to_who_blocks_it_and_ends_itself(stage: Stage) -> None:
    victim = stage.waits_for_lock()
    card = stage.card_of(str(victim.id))
    while is_late(card):
        card = stage.card_of(str(victim.id))
    assert "💡 Close the blocker instead. It waits itself: closing it frees nobody." in text_of(card)
    assert "the locks are released" not in text_of(card)
    assert buttons_of(card)[0] == "Close the blocker instead"
    instead = stage.presses(stage.alice, card, "Close the blocker instead", ASKS)
    assert "nothing was closed" in text_of(stage.alice.wait_for_change(card, "cancelled")).lower()
    while is_late(instead):
        (holder,) = re.findall(r"Close session (\d+)\?", text_of(instead))
        instead = stage.card_of(holder)
    assert "💡 Close Session. It has been idle for" in text_of(instead)
    assert "Closing it frees 1 session." in text_of(instead)
    stage.alice.press(instead, "Close Session")
    stage.alice.wait_for_change(instead, "✅ closed")
    assert victim.ended() == 0, "who waited goes on"
