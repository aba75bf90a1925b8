"""What a close would roll back is part of what was confirmed: a transaction that began since, ended, or is another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pymysql

from bot.closing.model import ApprovalPolicy, ClosingRequest, Outcome, State
from bot.sessions.model import Mode
from tests.closing.conftest import ALICE, BOB, GUS, Desk, record_of, tamper
from tests.closing.several import ask, confirm, outcomes, sleepers
from tests.support.patience import PATIENCE
from tests.support.stage import RunningStatement, session_id


def write(connection: pymysql.Connection[Any], sku: int = 1) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE depot.stock SET quantity = quantity + 1 WHERE sku = %s", (sku,))


def changed(desk: Desk, **more: Any) -> ClosingRequest:
    """Confirm a close after its session has begun a transaction."""
    client = desk.connect()
    request = ask(desk, session_id(client))
    client.begin()
    write(client)
    done = confirm(desk, request, **more)
    assert outcomes(done) == [Outcome.CHANGED]
    return done


def test_a_transaction_that_began_after_the_card_is_not_rolled_back_but_asked_about(desk: Desk) -> None:
    client = desk.connect()
    request = ask(desk, session_id(client))
    assert not request.targets[0].session.in_transaction
    client.begin()
    write(client)
    done = confirm(desk, request)
    assert outcomes(done) == [Outcome.CHANGED]
    assert done.targets[0].detail.startswith("A transaction has begun since the card was shown")
    client.commit()  # nothing was lost
    events = [event for event, _ in record_of(desk, request)]
    assert "intent" not in events


def test_a_transaction_that_begins_right_before_the_kill_is_not_rolled_back(desk: Desk) -> None:
    client = desk.connect()
    request = ask(desk, session_id(client))
    intend = desk.store.intents.intend

    def intend_then_begin(*arguments: Any) -> None:
        intend(*arguments)
        client.begin()
        write(client)

    desk.store.intents.intend = intend_then_begin  # type: ignore[method-assign, assignment]  # its client goes on right then
    assert outcomes(confirm(desk, request)) == [Outcome.CHANGED]
    client.commit()
    assert [event for event, _ in record_of(desk, request)][-2:] == ["withdraw", "outcome"]


def test_it_is_asked_about_again_as_it_is_now_and_closed_with_a_new_press(desk: Desk) -> None:
    done = changed(desk)
    (again,) = desk.requests.ask_again(done)
    assert (again.state, again.requester, again.reason) == (State.OPEN, ALICE, done.reason)
    assert again.targets[0].session.in_transaction
    assert dict(record_of(desk, again))["request"]["follows"] == done.id
    assert outcomes(confirm(desk, again)) == [Outcome.CLOSED]


def test_the_other_targets_of_the_request_are_closed(desk: Desk) -> None:
    client, others = desk.connect(), sleepers(desk, 2)
    request = ask(desk, others[0], session_id(client), others[1])
    client.begin()
    write(client)
    done = confirm(desk, request)
    assert outcomes(done) == [Outcome.CLOSED, Outcome.CHANGED, Outcome.CLOSED]
    (again,) = desk.requests.ask_again(done)
    assert [one.session.id for one in again.targets] == [session_id(client)]


def test_a_transaction_that_has_ended_or_is_another_is_asked_about(desk: Desk) -> None:
    client = desk.connect()
    client.begin()
    write(client)
    first, second = ask(desk, session_id(client)), ask(desk, session_id(client))
    client.commit()
    done = confirm(desk, first)
    assert (outcomes(done), done.targets[0].detail) == (
        [Outcome.CHANGED],
        "Its transaction has ended since the card was shown.",
    )
    client.begin()
    write(client)
    done = confirm(desk, second)
    assert outcomes(done) == [Outcome.CHANGED]
    assert done.targets[0].detail.startswith("It is in another transaction")


def test_a_session_that_goes_on_in_the_same_transaction_is_closed(desk: Desk) -> None:
    client = desk.connect()
    client.begin()
    write(client)
    request = ask(desk, session_id(client))
    write(client, 2)
    assert outcomes(confirm(desk, request)) == [Outcome.CLOSED]


def test_a_session_that_has_only_run_statements_in_autocommit_since_is_closed(desk: Desk) -> None:
    client = desk.connect()
    request = ask(desk, session_id(client))
    write(client)
    running = RunningStatement(client, "SELECT SLEEP(60)")
    desk.until(lambda: desk.row(running.id).get("COMMAND") == "Query")
    assert outcomes(confirm(desk, request)) == [Outcome.CLOSED]


def test_an_update_in_autocommit_is_the_statements_own_transaction(desk: Desk) -> None:
    """It waits for a row lock, in a transaction that began and would end with it."""
    client, holder = desk.connect(), desk.connect()
    request = ask(desk, session_id(client))
    holder.begin()
    write(holder)
    waiter = RunningStatement(client, "UPDATE depot.stock SET quantity = 0 WHERE sku = 1")
    desk.until(lambda: desk.row(waiter.id).get("TRANS_STATE") == "IMPLICIT_ACTIVE")
    done = confirm(desk, request)
    assert outcomes(done)[0] in (Outcome.CLOSED, Outcome.ROLLING_BACK)


def test_without_autocommit_the_transaction_outlives_its_statement_and_is_asked_about(desk: Desk) -> None:
    client = desk.connect()
    request = ask(desk, session_id(client))
    client.autocommit(False)
    write(client)
    assert outcomes(confirm(desk, request)) == [Outcome.CHANGED]
    client.commit()


def test_close_query_asks_nothing_of_transactions(desk: Desk) -> None:
    client = desk.connect()
    running = RunningStatement(client, "SELECT SLEEP(60)")
    desk.until(lambda: desk.row(running.id).get("COMMAND") == "Query")
    request = ask(desk, running.id, mode=Mode.QUERY)
    assert desk.requests.ask_again(request) == []
    desk.clock.at_wait = lambda: running.join(PATIENCE)
    done = confirm(desk, request, Mode.QUERY)
    assert outcomes(done) == [Outcome.QUERY_CLOSED]
    assert desk.requests.ask_again(done) == []


def test_another_session_under_the_id_is_not_asked_about(desk: Desk) -> None:
    request = ask(desk, *sleepers(desk, 1))
    tamper(desk, request, 1, peer="127.0.0.1:1")
    done = confirm(desk, request)
    assert outcomes(done) == [Outcome.CHANGED]
    assert desk.requests.ask_again(done) == []


def test_it_is_not_asked_in_the_name_of_somebody_who_may_not_close_any_more(desk: Desk) -> None:
    assert desk.requests.ask_again(replace(changed(desk), requester=GUS)) == []


def test_asked_again_it_wants_a_second_person_as_before(two_person_desk: Desk) -> None:
    (again,) = two_person_desk.requests.ask_again(changed(two_person_desk, person=BOB))
    assert (again.approval, again.requester) == (ApprovalPolicy.SECOND_PERSON, ALICE)
