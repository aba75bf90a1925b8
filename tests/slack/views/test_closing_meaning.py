"""What the dialog of a close says of a session that is looked at once more, and when its press would close nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.closing.store import session_json
from bot.sessions.model import GET_LOCK, Mode, Session, Transaction
from bot.sessions.statement import Statement
from bot.sessions.waits.advice import Action, Advice
from bot.slack.views import closing_meaning
from tests.sessions.examples import EXAMPLE
from tests.slack.views.test_closing_card import request
from tests.support.sessions import like

IDLE = like(
    EXAMPLE,
    command="Sleep",
    state="SLEEP",
    statement=None,
    trace_id=None,
    time=109.0,
    transaction_id=None,
    transaction_state=None,
)
RUNNING = replace(
    IDLE,
    command="Query",
    state="ACTIVE",
    statement=Statement.of("SELECT 1", sql_id="A" * 32),
    trace_id="Y1-1",
    time=3.0,
)
OPEN = like(IDLE, transaction_id=7, transaction_state="ACTIVE")


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        (IDLE, replace(IDLE, time=115.0), ""),
        (IDLE, replace(IDLE, time=28.0), "it ran something in between and is idle again"),
        (IDLE, RUNNING, "it was idle, now it runs a query"),
        (RUNNING, IDLE, "its query has ended, it is idle"),
        (RUNNING, replace(RUNNING, time=9.0), ""),
        (RUNNING, replace(RUNNING, trace_id="Y1-2"), "it runs another query"),
        (IDLE, OPEN, "it has a transaction open"),
        (OPEN, IDLE, "its transaction has ended"),
        (OPEN, like(OPEN, transaction_id=8), "it is in another transaction"),
        (RUNNING, replace(RUNNING, retry_info=-6005), "it waits for a row lock"),
        (RUNNING, replace(RUNNING, doing="Waiting for event metadata lock"), "it waits for an event metadata lock"),
        (replace(RUNNING, retry_info=-6005), replace(RUNNING, doing="User lock"), "it waits for a user lock"),
        (replace(RUNNING, doing="User lock"), replace(RUNNING, doing="User lock", time=9.0), ""),
        (replace(RUNNING, doing="User lock"), RUNNING, "it waits for a user lock no more"),
    ],
)
def test_what_has_changed_since_a_close_was_asked_for_is_told(before: Session, now: Session, told: str) -> None:
    assert closing_meaning.changes(before, now) == told


@pytest.mark.parametrize(
    ("before", "now", "mode", "meaning"),
    [
        (RUNNING, RUNNING, Mode.QUERY, "stops this query"),
        (RUNNING, IDLE, Mode.QUERY, "closes nothing: the query that was asked for has ended"),
        (RUNNING, replace(RUNNING, trace_id="Y1-2"), Mode.QUERY, "closes nothing: the query that was asked for"),
        (IDLE, RUNNING, Mode.SESSION, "Its running query is stopped."),
        (IDLE, None, Mode.SESSION, "closes nothing: the session has ended"),
    ],
)
def test_a_press_that_would_close_nothing_is_announced_as_such(
    before: Session, now: Session | None, mode: Mode, meaning: str
) -> None:
    present = {1: now} if now is not None else {}
    assert meaning in closing_meaning.meaning_now(request(before), present, mode)


def test_of_several_only_those_that_a_press_would_close_are_counted() -> None:
    moved_on = replace(RUNNING, id=RUNNING.id + 1)
    asked = request(RUNNING, moved_on, replace(IDLE, id=RUNNING.id + 2))
    present = {1: RUNNING, 2: replace(moved_on, trace_id="Y1-9")}
    assert closing_meaning.meaning_now(asked, present, Mode.QUERY).startswith("stops the 1 query that runs; ")
    assert closing_meaning.meaning_now(asked, present, Mode.SESSION).startswith("disconnects 2 clients")
    for mode, what in ((Mode.QUERY, "the queries that were asked for have"), (Mode.SESSION, "all of them have")):
        assert closing_meaning.meaning_now(asked, {}, mode) == f"closes nothing: {what} ended. The card will say so."


def test_who_waits_in_get_lock_is_not_said_to_be_stopped() -> None:
    waits = replace(RUNNING, doing=GET_LOCK)
    assert "only once its GET_LOCK has the lock" in closing_meaning.session_meaning(waits)
    assert "does nothing as long as its GET_LOCK waits" in closing_meaning.query_meaning(waits)


def test_what_xa_has_prepared_is_said_to_stay() -> None:
    holder = replace(IDLE, transaction=Transaction(7, "RUNNING"))
    asked = request(holder)
    advice = Advice(Action.NOTHING, "XA has prepared its transaction.", prepared=True)
    targets = [
        replace(one, advice=session_json.read_advice(session_json.written(holder, advice))) for one in asked.targets
    ]
    told = dict(closing_meaning.meanings(replace(asked, targets=tuple(targets))))
    assert told[Mode.SESSION].endswith("Its prepared XA transaction stays, with its locks.")
    assert dict(closing_meaning.meanings(asked))[Mode.SESSION].endswith("rolled back and the locks are released.")
