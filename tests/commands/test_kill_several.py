"""Several sessions at once on real kernels: typed, filtered or picked; one card, one press, the number typed."""

from __future__ import annotations

import contextlib
import sqlite3
from concurrent.futures import ThreadPoolExecutor

from tests.support.slack_person import NotPossible, buttons_of, options_of, table_of, text_of
from tests.support.stage import ASKS, Stage, session_id


def sleepers(stage: Stage, count: int, address: str = "127.0.0.1") -> list[int]:
    return [session_id(stage.connect(bind_address=address)) for _ in range(count)]


def joined(ids: list[int]) -> str:
    return ",".join(map(str, ids))


def test_three_named_sessions_are_closed_with_one_press(stage: Stage) -> None:
    ids = sleepers(stage, 3)
    card = stage.card_of(f'{joined(ids)} reason="a leak"')
    for number in ids:
        assert f"Session ID {number}" in text_of(card)
    assert "disconnects 3 clients" in text_of(card)
    stage.alice.press(card, "Close Session")
    result = stage.alice.wait_for_change(card, "Close 3 sessions: 3 closed")
    assert text_of(result).count("✅ closed") == 3
    assert buttons_of(result) == []
    assert [stage.row(number) for number in ids] == [{}, {}, {}]


def test_pasted_kill_statements_close_the_queries_they_name(stage: Stage) -> None:
    reports = [stage.runs("SELECT SLEEP(60)") for _ in range(2)]
    card = stage.card_of(" ".join(f"KILL QUERY {report.id};" for report in reports))
    assert buttons_of(card)[0] == "Close Query"
    stage.alice.press(card, "Close Query")
    stage.alice.wait_for_change(card, "2 query closed")
    assert [report.ended() for report in reports] == [1317, 1317]


def test_of_named_sessions_those_that_cannot_be_closed_are_said_and_the_others_closed(stage: Stage) -> None:
    guarded, gone = session_id(stage.connect(user="guarded")), stage.connect()
    ids = [*sleepers(stage, 1), session_id(gone)]
    card = stage.card_of(joined([*ids, guarded, 2999999999]))
    assert f"Not touched: {guarded} belongs to guarded, a protected user of demo" in text_of(card)
    assert "Not touched: 2999999999 is no session on demo" in text_of(card)
    gone.close()
    stage.wait_until(lambda: not stage.row(ids[1]), "the session's end")
    stage.alice.press(card, "Close Session")
    result = stage.alice.wait_for_change(card, "1 closed, 1 already gone; 2 not touched")
    assert "a protected user of demo" in text_of(result)
    assert stage.row(guarded)


def test_a_session_is_named_by_its_server_with_or_without_the_port(stage: Stage) -> None:
    number = sleepers(stage, 1)[0]
    for server in ("127.0.0.1", f"127.0.0.1:{stage.database.port}"):
        assert f"Close session {number}?" in text_of(stage.card_of(f"{number}@{server}"))
    stage.asks(stage.alice, f"/kill-session {number}@127.0.0.2", f"no session {number} on server 127.0.0.2")


def test_a_condition_after_a_comma_is_not_lost_in_a_close_but_an_error_with_the_mended_command(stage: Stage) -> None:
    victim = sleepers(stage, 1)[0]
    told = stage.asks(stage.alice, "/kill-session where tenant=sys, user=nobody", "Did you mean this?")
    assert told["ephemeral"]
    assert "For example: /kill-session where tenant=sys user=nobody" in text_of(told)
    assert "For example: /kill-session 5 reason=stuck" in text_of(
        stage.asks(stage.alice, "/kill-session 5, reason=stuck", "Did you mean this?")
    )
    assert not [message for message in stage.alice.messages() if ASKS in text_of(message)]
    assert stage.row(victim)


def test_a_status_that_there_is_not_closes_nothing_and_earns_the_nearest_one(stage: Stage) -> None:
    victim = sleepers(stage, 1)[0]
    for typed in ("status!=slep", "status=slep", "status=ACTIVE,slep"):
        told = text_of(stage.asks(stage.alice, f"/kill-session where user=teller {typed}", "no session has it now"))
        assert "There is no status “SLEP”" in told
        assert "Nothing was closed." in told
        mended = typed.replace("slep", "SLEEP")
        assert f"For example: /kill-session where on=demo user=teller {mended}" in told
    assert not [message for message in stage.alice.messages() if ASKS in text_of(message)]
    stage.asks(stage.alice, "/kill-session where user=teller status=killed", "No session on demo fits that")
    assert stage.row(victim)


def test_a_filter_closes_what_fits_and_only_with_the_number_typed(stage: Stage) -> None:
    ids = sleepers(stage, 7, "127.0.0.41")
    other = sleepers(stage, 1, "127.0.0.42")
    card = stage.card_of('where host=127.0.0.41 user=teller reason="a leak"')
    assert sorted(row[0] for row in table_of(card)[1:]) == sorted(map(str, ids))
    assert "Where on=demo host=127.0.0.41 user=teller" in text_of(card)
    stage.alice.press(card, "Close Session")
    modal = stage.alice.wait_for_modal("Close 7 sessions")
    for wrong in ("6", "seven", "77"):
        stage.alice.fill_in(modal, "How many sessions do you want to close?", wrong)
        assert "Type 7" in next(iter(stage.alice.submit().values()))
    assert all(map(stage.row, ids)), "nothing is closed by a wrong number"
    stage.alice.fill_in(modal, "How many sessions do you want to close?", " ７ ")
    assert stage.alice.submit() == {}
    result = stage.alice.wait_for_change(card, "Close 7 sessions: 7 closed")
    assert stage.alice.modal() is None
    assert {row[1] for row in table_of(result)[1:]} == {"✅ closed"}
    assert not any(map(stage.row, ids))
    assert stage.row(other[0])


def test_more_than_one_request_may_close_are_counted_and_left(stage: Stage) -> None:
    ids = sleepers(stage, 23, "127.0.0.43")
    card = stage.card_of("where host=127.0.0.43 idle")
    assert "Not touched: 3 also fit the filter. One request closes at most 20; ask again for the rest." in text_of(card)
    stage.alice.press(card, "Close Session")
    stage.alice.fill_in(stage.alice.wait_for_modal("Close 20 sessions"), "closing.number", "20")
    stage.alice.submit()
    stage.alice.wait_for_change(card, "20 closed; 3 not touched")
    assert sum(bool(stage.row(number)) for number in ids) == 3


def test_a_guest_who_opens_the_dialog_is_told_there_and_closes_nothing(stage: Stage) -> None:
    ids = sleepers(stage, 6)
    card = stage.card_of(joined(ids))
    assert stage.presses(stage.gus, card, "Close Session", "You may not")["ephemeral"]
    stage.gus.wait_for_modal("You may not")
    stage.gus.closes_modal()
    assert all(map(stage.row, ids))


def test_a_dialog_that_is_submitted_after_the_card_was_cancelled_closes_nothing(stage: Stage) -> None:
    ids = sleepers(stage, 6)
    card = stage.card_of(joined(ids))
    stage.alice.press(card, "Close Session")
    modal = stage.alice.wait_for_modal("Close 6 sessions")
    stage.bob.press(card, "Cancel")
    stage.bob.wait_for_change(card, "cancelled")
    stage.alice.fill_in(modal, "closing.number", "6")
    assert stage.alice.submit() == {}
    told = stage.alice.wait_for_message("This closing request was cancelled")
    assert told["ephemeral"], "the answer reaches the person although a dialog has no address for it"
    assert "Error id" in text_of(told)
    assert all(map(stage.row, ids))


def test_a_dialog_delivered_twice_and_submitted_by_two_people_closes_each_session_once(stage: Stage) -> None:
    ids = sleepers(stage, 6)
    card = stage.card_of(joined(ids))
    people = (stage.alice, stage.bob)
    for person in people:
        person.press(card, "Close Session")
        person.fill_in(person.wait_for_modal("Close 6 sessions"), "closing.number", "6")
    with sqlite3.connect(stage.bot.log.parent / "store.db") as store:
        before = store.execute("SELECT MAX(id) FROM audit").fetchone()[0]
        stage.slack.faults.deliver_twice = True
        try:
            with ThreadPoolExecutor(2) as threads:
                list(threads.map(lambda person: person.submit(), people))
            stage.alice.wait_for_change(card, "Close 6 sessions: 6 closed")
        finally:
            stage.slack.faults.deliver_twice = False
        rows = store.execute("SELECT event FROM audit WHERE id > ?", (before,)).fetchall()
    store.close()
    events = [event for (event,) in rows]
    assert (events.count("confirm"), events.count("intent"), events.count("outcome")) == (1, 6, 6)


def test_two_people_pressing_the_card_of_three_close_them_once(stage: Stage) -> None:
    ids = sleepers(stage, 3)
    card = stage.card_of(joined(ids))
    stage.alice.press(card, "Close Session")
    with contextlib.suppress(NotPossible, AssertionError):  # the card may be rewritten before he comes
        stage.bob.press(card, "Close Session")
    stage.alice.wait_for_change(card, "Close 3 sessions: 3 closed")


def test_several_picked_in_a_list_are_closed_and_the_one_whose_id_changed_hands_is_not(stage: Stage) -> None:
    reports = [stage.runs("SELECT SLEEP(60)", bind_address="127.0.0.44") for _ in range(2)]
    idle = sleepers(stage, 2, "127.0.0.44")
    listed = stage.asks(stage.alice, "/sessions host=127.0.0.44", "Sessions on demo")
    options = options_of(listed, "Pick sessions")
    assert len(options) == 4
    stage.alice.choose(listed, "Pick sessions", options)
    told = stage.presses(stage.alice, listed, "View SQL", "4 sessions are picked")
    assert told["ephemeral"]
    card = stage.presses(stage.alice, listed, "Close Query", ASKS)
    assert "is idle: it runs no query that could be closed" in text_of(card)
    assert all(str(number) in text_of(card) for number in idle)
    stage.alice.press(card, "Close Query")
    stage.alice.wait_for_change(card, "2 query closed; 2 not touched")
    assert [report.ended() for report in reports] == [1317, 1317]
    everything = stage.presses(stage.alice, listed, "Close Session", ASKS)
    stage.alice.press(everything, "Close Session")
    stage.alice.wait_for_change(everything, "Close 4 sessions: 4 closed")


def test_of_several_the_one_in_a_new_transaction_gets_a_card_of_its_own(stage: Stage) -> None:
    others = sleepers(stage, 2)
    client = stage.connect()
    number = session_id(client)
    card = stage.asks(stage.alice, f"/kill-session {others[0]},{number},{others[1]}", ASKS)
    client.begin()
    told = stage.presses(stage.alice, card, "Close Session", "These have changed since the card was shown")
    result = stage.alice.wait_for_change(card, "2 closed, 1 changed, not closed")
    assert "A transaction has begun since the card was shown" in text_of(result)
    assert buttons_of(told)[0] == "Close Session"
    assert f"Close session {number}?" in text_of(told)
    stage.alice.press(told, "Close Session")
    stage.alice.wait_for_change(told, "✅ closed")
    assert [stage.row(one) for one in (*others, number)] == [{}, {}, {}]


def test_a_lock_waiter_among_several_does_not_keep_the_outcome_of_the_others_from_being_shown(stage: Stage) -> None:
    holder = stage.connect(database="depot")
    holder.begin()
    with holder.cursor() as cursor:
        cursor.execute("UPDATE stock SET quantity = 8 WHERE sku IN (1, 2)")
    waiters = [stage.runs(f"UPDATE stock SET quantity = 9 WHERE sku = {sku}", database="depot") for sku in (1, 2)]
    stage.wait_until(lambda: {stage.row(one.id).get("RETRY_INFO") for one in waiters} == {-6005}, "the lock waits")
    card = stage.card_of(joined([*sleepers(stage, 1), *(waiter.id for waiter in waiters)]))
    assert text_of(card).count("waits for a row lock") == 2
    stage.alice.press(card, "Close Session")
    # How soon a lock waiter notices is up to the kernel, 0-11 s; until then the card counts who is waited for.
    stage.alice.wait_for_change(
        card, lambda message: "1 closed, 2 waiting" in text_of(message) or "Close 3 sessions: " in text_of(message)
    )
    stage.alice.wait_for_change(card, "Close 3 sessions: 3 closed")
