"""The closer on a real kernel: every outcome, and everything that must not be closed."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from bot.access import Person
from bot.closing.approval import Confirmation
from bot.closing.closer import VERIFY_FOR
from bot.closing.model import ClosingRequest, Outcome, State
from bot.closing.targets import Wanted
from bot.errors import (
    DataSourceError,
    InputError,
    NotAllowedError,
    RequestError,
    SessionBotError,
    StoreError,
    TargetError,
)
from bot.sessions.model import Mode, Session
from bot.sessions.protection import Protected
from tests.closing.conftest import ALICE, BOB, CHANNEL, GUS, Desk, before_a_look, record_of, tamper
from tests.closing.several import ask, confirm
from tests.support.stage import RunningStatement, session_id


def outcome(request: ClosingRequest) -> Outcome | None:
    return request.targets[0].outcome


def test_a_session_is_closed_and_the_look_afterwards_says_so(desk: Desk) -> None:
    sleeper = desk.connect()
    done = confirm(desk, ask(desk, session_id(sleeper)))
    assert (outcome(done), done.targets[0].detail) == (Outcome.CLOSED, "")
    assert done.state is State.DONE
    assert desk.row(session_id(sleeper)) == {}
    events = record_of(desk, done)
    assert [event for event, _ in events] == ["request", "confirm", "intent", "outcome"]
    assert events[1][1] == {"mode": "Close Session"}


@pytest.mark.parametrize("changed", [{"user": "other"}, {"peer": "127.0.0.1:1"}, {"proxy_session_id": 7}])
def test_an_id_that_belongs_to_another_session_by_now_is_not_closed(desk: Desk, changed: dict[str, object]) -> None:
    sleeper = desk.connect()
    request = ask(desk, session_id(sleeper))
    tamper(desk, request, 1, **changed)
    assert outcome(confirm(desk, request)) is Outcome.CHANGED
    assert desk.row(session_id(sleeper))
    assert "intent" not in [event for event, _ in record_of(desk, request)]


def test_another_run_of_the_very_same_statement_is_not_closed(desk: Desk) -> None:
    first = desk.runs("SELECT SLEEP(60)")
    request = ask(desk, first.id, mode=Mode.QUERY)
    desk.stops(first)
    second = desk.starts(first.connection, "SELECT SLEEP(60)")
    done = confirm(desk, request, Mode.QUERY)
    assert outcome(done) is Outcome.CHANGED
    assert done.targets[0].detail == "The query had ended before a KILL was sent; the session now runs another one."
    assert second.is_alive()


def test_a_query_that_has_ended_is_not_closed_and_its_session_is_said_to_be_idle(desk: Desk) -> None:
    report = desk.runs("SELECT SLEEP(60)")
    request = ask(desk, report.id, mode=Mode.QUERY)
    desk.stops(report)
    done = confirm(desk, request, Mode.QUERY)
    assert outcome(done) is Outcome.CHANGED
    assert done.targets[0].detail == "The query had ended before a KILL was sent; the session is idle."
    assert "intent" not in [event for event, _ in record_of(desk, request)]


def test_a_close_session_does_not_mind_that_the_query_has_moved_on(desk: Desk) -> None:
    first = desk.runs("SELECT SLEEP(60)")
    request = ask(desk, first.id)
    desk.stops(first)
    assert outcome(confirm(desk, request)) is Outcome.CLOSED


def test_a_lock_waiters_session_that_is_not_gone_in_time_is_rolling_back(desk: Desk) -> None:
    def play(waiting: list[RunningStatement]) -> tuple[ClosingRequest, float]:
        request, pressed = ask(desk, waiting[0].id), desk.clock.timer()
        return confirm(desk, request), desk.clock.timer() - pressed

    done, took = before_a_look(desk, play)
    assert outcome(done) is Outcome.ROLLING_BACK
    assert took >= VERIFY_FOR, "it looked for as long"


def test_a_lock_waiters_query_that_does_not_stop_in_time_is_still_running_and_progress_was_told(desk: Desk) -> None:
    told: list[tuple[ClosingRequest, str]] = []

    def play(waiting: list[RunningStatement]) -> ClosingRequest:
        told.clear()
        request = ask(desk, waiting[0].id)
        return desk.closer.confirm(
            Confirmation(request.id, ALICE, CHANNEL, Mode.QUERY), lambda *progress: told.append(progress)
        )

    done = before_a_look(desk, play)
    assert outcome(done) is Outcome.STILL_RUNNING
    (taken, *_), (_, note), (over, *_) = told
    assert [note for _, note in told] == ["", note, ""]
    assert "has not stopped yet" in note
    assert [outcome(one) for one, _ in told] == [None, None, Outcome.STILL_RUNNING]
    for one in (taken, over):
        assert (one.state, one.decided_by, one.decided_mode) == (State.CLAIMED, ALICE, Mode.QUERY)
        assert one.decided_at == done.decided_at


def test_a_database_that_goes_away_after_the_kill_leaves_the_outcome_unverified(desk: Desk) -> None:
    source = desk.sessions.source("demo")
    whole = source.console

    def play(waiting: list[RunningStatement]) -> ClosingRequest:
        source.console = whole  # type: ignore[method-assign]  # stands for a dead server
        request = ask(desk, waiting[0].id)
        # A data source that is gone answers every look with an error from then on.
        desk.clock.at_wait = lambda: setattr(source, "console", _unreachable)
        return confirm(desk, request)

    done = before_a_look(desk, play)
    assert outcome(done) is Outcome.UNVERIFIED
    assert "could not be seen" in done.targets[0].detail


def _unreachable() -> object:
    raise DataSourceError("Data source demo cannot be reached.")


def test_a_failure_before_anything_is_sent_leaves_the_request_open(desk: Desk) -> None:
    sleeper = desk.connect()
    request = ask(desk, session_id(sleeper))
    source = desk.sessions.source("demo")
    whole, source.console = source.console, _unreachable  # type: ignore[method-assign, assignment]  # stands for a dead server
    with pytest.raises(DataSourceError):
        confirm(desk, request)
    source.console = whole  # type: ignore[method-assign]  # it is back
    assert desk.store.requests.find(request.id) == request
    assert outcome(confirm(desk, request)) is Outcome.CLOSED


def test_twenty_presses_at_once_close_once(desk: Desk) -> None:
    sleeper = desk.connect()
    request = ask(desk, session_id(sleeper))
    start = threading.Barrier(20)
    results: list[object] = []

    def press(number: int) -> None:
        start.wait()
        try:
            person = ALICE if number % 2 else BOB
            results.append(
                desk.closer.confirm(Confirmation(request.id, person, CHANNEL, Mode.SESSION), lambda *_: None)
            )
        except SessionBotError as error:
            results.append(error)

    threads = [threading.Thread(target=press, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(result, ClosingRequest) for result in results) == 1
    assert sum(isinstance(result, RequestError) for result in results) == 19
    events = [event for event, _ in record_of(desk, request)]
    assert events == ["request", "confirm", "intent", "outcome"]


def test_after_its_time_a_request_closes_nothing(desk: Desk) -> None:
    sleeper = desk.connect()
    request = ask(desk, session_id(sleeper))
    desk.clock.ahead += timedelta(minutes=2, seconds=1)
    with pytest.raises(RequestError, match="has expired"):
        confirm(desk, request)
    assert [late.id for late in desk.closer.expire()] == [request.id]
    assert desk.closer.expire() == []
    assert desk.row(session_id(sleeper))


def test_a_cancelled_request_closes_nothing(desk: Desk) -> None:
    sleeper = desk.connect()
    request = ask(desk, session_id(sleeper))
    assert desk.cancel(request.id, ALICE).state is State.CANCELLED
    with pytest.raises(RequestError, match="was cancelled"):
        confirm(desk, request)
    with pytest.raises(RequestError, match="was cancelled"):
        desk.cancel(request.id, ALICE)
    assert desk.row(session_id(sleeper))


def test_somebody_without_the_right_can_neither_ask_nor_confirm_nor_cancel(desk: Desk) -> None:
    sleeper = desk.connect()
    with pytest.raises(NotAllowedError):
        desk.ask(GUS, CHANNEL, "demo", [Wanted(session_id(sleeper))], Mode.SESSION)
    request = ask(desk, session_id(sleeper))
    for somebody in (GUS, Person(ALICE.id, "T2")):  # an id counts with its team only
        with pytest.raises(NotAllowedError):
            desk.closer.confirm(Confirmation(request.id, somebody, CHANNEL, Mode.SESSION), lambda *_: None)
        with pytest.raises(NotAllowedError):
            desk.cancel(request.id, somebody)
    assert outcome(confirm(desk, request)) is Outcome.CLOSED


def test_a_press_from_another_channel_is_refused(desk: Desk) -> None:
    request = ask(desk, session_id(desk.connect()))
    with pytest.raises(NotAllowedError, match="another channel"):
        desk.closer.confirm(Confirmation(request.id, ALICE, "C02DBA", Mode.SESSION), lambda *_: None)


def test_an_unknown_request_is_told(desk: Desk) -> None:
    with pytest.raises(RequestError, match="is unknown"):
        desk.closer.confirm(Confirmation("forged", ALICE, CHANNEL, Mode.SESSION), lambda *_: None)


def test_with_a_second_person_the_requester_alone_closes_nothing(two_person_desk: Desk) -> None:
    desk = two_person_desk
    request = ask(desk, session_id(desk.connect()))
    with pytest.raises(NotAllowedError):
        confirm(desk, request)
    done = desk.closer.confirm(Confirmation(request.id, BOB, CHANNEL, Mode.SESSION), lambda *_: None)
    assert outcome(done) is Outcome.CLOSED
    assert (done.requester, done.decided_by) == (ALICE, BOB)


def test_an_approver_cannot_approve_what_he_asked_for(two_person_desk: Desk) -> None:
    desk = two_person_desk
    request = desk.ask(BOB, CHANNEL, "demo", [Wanted(session_id(desk.connect()))], Mode.SESSION)
    with pytest.raises(NotAllowedError, match="needs a second person"):
        desk.closer.confirm(Confirmation(request.id, BOB, CHANNEL, Mode.SESSION), lambda *_: None)


def test_a_user_who_became_protected_since_the_card_is_not_closed(desk: Desk) -> None:
    sleeper = desk.connect()
    request = ask(desk, session_id(sleeper))
    source = desk.sessions.source("demo")
    source.options = replace(source.options, protected=Protected(frozenset({"teller"})))
    assert outcome(confirm(desk, request)) is Outcome.PROTECTED
    assert desk.row(session_id(sleeper))


def test_a_part_of_another_session_points_to_its_master(desk: Desk) -> None:
    found = desk.sessions.source("demo").find(session_id(desk.connect()), None)[0]
    desk.sessions.source("demo").find_all = lambda *_: [replace(found, master_session_id=77)]  # type: ignore[method-assign]  # one server has no remote executions
    with pytest.raises(TargetError, match="Close that one instead: /kill-session 77"):
        ask(desk, found.id)


def test_two_sessions_of_one_id_must_be_told_apart(desk: Desk) -> None:
    found = desk.sessions.source("demo").find(session_id(desk.connect()), None)[0]
    twins: list[Session] = [found, replace(found, server="10.0.0.3:2881")]
    desk.sessions.source("demo").find_all = lambda *_: twins  # type: ignore[method-assign]  # one server has no twins
    with pytest.raises(TargetError, match="2 sessions have the id"):
        ask(desk, found.id)
    request = desk.ask(ALICE, CHANNEL, "demo", [Wanted(found.id, "10.0.0.3")], Mode.SESSION)
    assert request.targets[0].session.server == "10.0.0.3:2881"


@pytest.mark.parametrize("number", [0, 1, 2**32, 2**32 + 3, -5])
def test_an_id_that_the_kernel_would_cut_is_refused(desk: Desk, number: int) -> None:
    with pytest.raises(InputError, match="is not a session id"):
        ask(desk, number)


def test_without_a_record_of_the_intent_nothing_is_sent(desk: Desk) -> None:
    sleeper = desk.connect()
    request = ask(desk, session_id(sleeper))

    def gone(*_: object) -> None:
        raise StoreError("The store does not answer.")

    whole, desk.store.intents.intend = desk.store.intents.intend, gone  # type: ignore[method-assign, assignment]  # stands for a full disk
    with pytest.raises(StoreError):
        confirm(desk, request)
    desk.store.intents.intend = whole  # type: ignore[method-assign]  # it has room again
    assert desk.row(session_id(sleeper))


def test_an_outcome_that_cannot_be_written_is_told_and_finished_later(desk: Desk) -> None:
    sleeper = desk.connect()
    request = ask(desk, session_id(sleeper))

    def gone(*_: object) -> None:
        raise StoreError("The store does not answer.")

    whole, desk.store.outcomes.conclude = desk.store.outcomes.conclude, gone  # type: ignore[method-assign, assignment]  # stands for a full disk
    told = confirm(desk, request)
    assert (outcome(told), told.unrecorded) == (Outcome.CLOSED, True)
    with pytest.raises(StoreError):
        desk.closer.resume()
    assert desk.state(request) is State.CLAIMED, "nothing of it is on record"
    desk.store.outcomes.conclude = whole  # type: ignore[method-assign]  # it has room again
    assert [(outcome(one), one.unrecorded) for one in desk.closer.resume()] == [(Outcome.CLOSED, False)]
    assert desk.closer.resume() == []
    assert [event for event, _ in record_of(desk, request)] == ["request", "confirm", "intent", "outcome"]


def test_a_claim_left_by_a_stopped_bot_before_it_sent_anything_is_opened_again(desk: Desk) -> None:
    sleeper = desk.connect()
    request = ask(desk, session_id(sleeper))
    under_way: list[list[ClosingRequest]] = []

    def stop(*_: object) -> None:
        under_way.append(desk.closer.resume())
        raise SystemExit

    intend, desk.store.intents.intend = desk.store.intents.intend, stop  # type: ignore[method-assign, assignment]  # the bot ends there
    with pytest.raises(SystemExit):
        confirm(desk, request)
    desk.store.intents.intend = intend  # type: ignore[method-assign]  # as it is in the bot that comes after
    assert under_way == [[]], "the press was still under way"
    assert [left.state for left in desk.restarted().resume()] == [State.OPEN]
    assert outcome(confirm(desk, request)) is Outcome.CLOSED


def test_an_intent_of_which_the_store_took_the_record_but_lost_the_answer_came_to_nothing(desk: Desk) -> None:
    sleeper = desk.connect()
    request = ask(desk, session_id(sleeper))
    intend = desk.store.intents.intend

    def lost(*arguments: Any) -> None:
        intend(*arguments)
        raise StoreError("The store does not answer.")

    desk.store.intents.intend = lost  # type: ignore[method-assign, assignment]  # stands for a connection lost at COMMIT
    with pytest.raises(StoreError):
        confirm(desk, request)
    desk.store.intents.intend = intend  # type: ignore[method-assign]  # it answers again
    assert desk.state(request) is State.OPEN, "nothing was sent, and the press knows it"
    assert [event for event, _ in record_of(desk, request)][-3:] == ["intent", "withdraw", "release"]
    assert outcome(confirm(desk, request)) is Outcome.CLOSED


def test_a_store_that_fails_while_looking_does_not_hide_that_the_kill_was_sent(desk: Desk) -> None:
    whole, intend = desk.store.requests.find, desk.store.intents.intend

    def gone(_request_id: str) -> None:
        raise StoreError("The store does not answer.")

    def intend_then_fail(*arguments: Any) -> None:
        intend(*arguments)
        desk.store.requests.find = gone  # type: ignore[method-assign, assignment]  # stands for a disk that fills up right then

    def play(waiting: list[RunningStatement]) -> ClosingRequest:
        request = ask(desk, waiting[0].id, mode=Mode.QUERY)
        desk.store.intents.intend = intend_then_fail  # type: ignore[method-assign, assignment]  # same
        told = confirm(desk, request, Mode.QUERY)
        desk.store.requests.find = whole  # type: ignore[method-assign]  # it has room again
        return told

    request = before_a_look(desk, play)
    assert (outcome(request), request.unrecorded) == (Outcome.STILL_RUNNING, True)
    assert "The server has taken the KILL" in request.targets[0].detail
    desk.closer.resume()
    kept = desk.store.requests.find(request.id)
    assert kept is not None
    assert kept.targets[0].outcome is Outcome.STILL_RUNNING
    events = [event for event, _ in record_of(desk, request)]
    assert events == ["request", "confirm", "intent", "outcome"], "recorded once"
