"""Several sessions in one request while the store, the data source or the bot itself fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from bot.closing.model import Outcome, State
from bot.closing.store.leases import LEASE
from bot.errors import (
    DataSourceUnreachableError,
    StoreError,
)
from bot.sessions.console import Console
from bot.sessions.model import Mode
from tests.closing.conftest import ALICE, Desk, record_of
from tests.closing.several import ask, confirm, outcomes, shared, sleepers


def test_a_store_that_fails_in_the_middle_leaves_that_one_alone_and_closes_the_rest(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = sleepers(desk, 3)
    request = ask(desk, *ids)
    intend = desk.store.intents.intend

    def failing(request: Any, target: Any, *more: Any) -> None:
        if target.number == 2:
            raise StoreError("The store does not answer.")
        intend(request, target, *more)

    monkeypatch.setattr(desk.store.intents, "intend", failing)  # stands for a disk that is full for a moment
    done = confirm(desk, request)
    assert outcomes(done) == [Outcome.CLOSED, Outcome.NOT_SENT, Outcome.CLOSED]
    assert "No KILL was sent for it: The store does not answer." in done.targets[1].detail
    assert desk.row(ids[1])


def after_the_first_kill(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Let something happen once a KILL was sent."""
    kill = Console.kill

    def kill_then(*arguments: Any) -> None:
        kill(*arguments)
        happens()

    monkeypatch.setattr(Console, "kill", kill_then)


def test_a_data_source_that_goes_away_in_the_middle_leaves_the_rest_alone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = sleepers(desk, 5)
    request = ask(desk, *ids)
    looks = Console.looks

    def away(*_: Any, **_more: Any) -> object:
        raise DataSourceUnreachableError("Data source demo cannot be reached.")

    def go_away() -> None:
        monkeypatch.setattr(Console, "looks", away)
        monkeypatch.setattr("bot.sessions.kill.FRESH", -1.0)  # it took a while, so that the next is looked at again

    after_the_first_kill(monkeypatch, go_away)
    desk.clock.at_wait = lambda: monkeypatch.setattr(Console, "looks", looks)  # and is back for the looks
    done = confirm(desk, request)
    # The first look afterwards finds it away, too.
    assert outcomes(done) == [Outcome.CLOSED, *[Outcome.NOT_SENT] * 4]
    assert all("No KILL was sent for it: Data source demo cannot be reached." in one.detail for one in done.targets[1:])
    assert [bool(desk.row(one)) for one in ids] == [False, True, True, True, True]
    events = [event for event, _ in record_of(desk, request)]
    assert events == ["request", "confirm", *["intent"] * 5, *["withdraw"] * 4, *["outcome"] * 5]


def test_once_the_time_for_sending_is_spent_nothing_more_is_sent(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = sleepers(desk, 3)

    def take_long() -> None:
        desk.clock.ahead += timedelta(seconds=26)

    after_the_first_kill(monkeypatch, take_long)
    done = confirm(desk, ask(desk, *ids))
    assert outcomes(done) == [Outcome.CLOSED, Outcome.NOT_SENT, Outcome.NOT_SENT]
    assert "The 25 s for sending ran out before its turn" in done.targets[2].detail
    assert [bool(desk.row(one)) for one in ids] == [False, True, True]


def test_a_data_source_that_is_away_from_the_start_leaves_the_request_open(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ask(desk, *sleepers(desk, 3))

    def away() -> object:
        raise DataSourceUnreachableError("Data source demo cannot be reached.")

    with monkeypatch.context() as patch:
        patch.setattr(desk.sessions.source("demo"), "console", away)
        with pytest.raises(DataSourceUnreachableError):
            confirm(desk, request)
    assert desk.store.requests.find(request.id) == request
    assert outcomes(confirm(desk, request)) == [Outcome.CLOSED] * 3


def test_after_a_crash_each_target_with_an_intent_is_looked_at_and_the_others_are_untouched(desk: Desk) -> None:
    closed, running, waiting = sleepers(desk, 3)
    request = ask(desk, closed, running, waiting)
    assert desk.store.decisions.claim(request, ALICE, Mode.SESSION, desk.clock())
    for target in request.targets[:2]:
        desk.store.intents.intend(request, target, f"KILL {target.session.id}", desk.clock())
    with desk.database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"KILL {closed}")  # the bot was stopped right after this one
    desk.until(lambda: not desk.row(closed))
    with desk.closer._attempts.taking(request.id):
        assert desk.closer.resume() == [], "the press may still be under way"
    later = desk.restarted()
    (left,) = later.resume()
    assert outcomes(left) == [Outcome.ALREADY_GONE, Outcome.STILL_RUNNING, Outcome.NOT_SENT]
    assert left.state is State.DONE
    assert left.targets[2].detail == "The bot was restarted while closing. Nothing had been sent for it."
    assert desk.row(running)
    assert desk.row(waiting)
    assert later.resume() == []


def test_a_press_thought_dead_sends_nothing_after_the_takeover_not_even_what_it_has_intended(desk: Desk) -> None:
    ids = sleepers(desk, 2)
    request = ask(desk, *ids)
    intend = desk.store.intents.intend

    def slow(*arguments: Any) -> None:
        intend(*arguments)
        desk.clock.ahead += timedelta(seconds=61)
        desk.restarted().resume()  # another replica takes it for a stopped bot's

    desk.store.intents.intend = slow  # type: ignore[method-assign, assignment]  # stands for a machine that slept
    done = confirm(desk, request)
    assert [bool(desk.row(one)) for one in ids] == [True, True]
    told = [(event, details["outcome"]) for event, details in record_of(desk, request) if "outcome" in details]
    found = [("outcome", "still running"), ("outcome", "not sent")]
    assert told == [*found, ("later", "not sent")], "as the takeover found them, and as the press knows better"
    assert outcomes(done) == [Outcome.NOT_SENT, Outcome.NOT_SENT]


def test_a_takeover_that_read_too_early_does_not_say_that_nothing_was_sent(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, waiting = sleepers(desk, 2)
    request = ask(desk, closed, waiting)
    assert desk.store.decisions.claim(request, ALICE, Mode.SESSION, desk.clock())
    stale = desk.store.requests.find(request.id)
    assert stale is not None
    stale = replace(stale, targets=(replace(stale.targets[0], intent_at=desk.clock()), stale.targets[1]))
    for target in request.targets:
        desk.store.intents.intend(request, target, f"KILL {target.session.id}", desk.clock())
    with desk.database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"KILL {closed}")
    desk.until(lambda: not desk.row(closed))
    later = desk.restarted()
    monkeypatch.setattr(later._store.leases, "abandoned", lambda _carried_out: [stale])  # read between the two intents
    (left,) = later.resume()
    assert outcomes(left) == [Outcome.ALREADY_GONE, Outcome.STILL_RUNNING]
    told = [details for event, details in record_of(desk, request) if event == "outcome"]
    assert [one["outcome"] for one in told] == ["already gone", "still running"]


@pytest.mark.parametrize("ahead", [timedelta(minutes=5), timedelta(minutes=-5)], ids=["ahead", "behind"])
def test_a_lease_is_judged_by_the_stores_clock_whatever_a_replicas_own_says(desk: Desk, ahead: timedelta) -> None:
    request = ask(desk, *sleepers(desk, 2))
    assert desk.store.decisions.claim(request, ALICE, Mode.SESSION, desk.clock())
    desk.clock.ahead += ahead  # the clock of the other replica
    store = shared(desk)
    other = desk.closer_of(store)
    other._attempts._hears_since -= LEASE.total_seconds()  # it was there before
    assert other.resume() == [], "the press may still be under way"
    first, second = request.targets
    desk.store.intents.intend(request, first, "KILL 5", desk.clock())
    store.database.clock.tell(store.database.clock.seconds + LEASE.total_seconds())
    assert other.resume() == [], "its clock was set: whoever is there has not said so by that yet"
    other._attempts._hears_since -= LEASE.total_seconds()
    (left,) = other.resume()
    with pytest.raises(StoreError, match="taken over"):
        desk.store.intents.intend(request, second, "KILL 6", desk.clock())
    assert outcomes(left) == [Outcome.STILL_RUNNING, Outcome.NOT_SENT]


def test_a_lost_connection_in_the_middle_is_made_anew(desk: Desk) -> None:
    ids = sleepers(desk, 3)
    request = ask(desk, *ids)
    intend = desk.store.intents.intend
    cut: list[int] = []

    def intend_then_cut(claimed: Any, target: Any, *more: Any) -> None:
        intend(claimed, target, *more)
        if target.number in cut:
            return
        cut.append(target.number)
        with desk.database.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT id FROM oceanbase.V$OB_PROCESSLIST WHERE module = 'session-bot' AND state = 'SLEEP'")
            for (own,) in cursor.fetchall():
                cursor.execute(f"KILL {own}")

    desk.store.intents.intend = intend_then_cut  # type: ignore[method-assign, assignment]  # between the intent and the KILL
    done = confirm(desk, request)
    assert outcomes(done) == [Outcome.CLOSED] * 3
    assert not any(desk.row(target.session.id) for target in done.targets)
    events = [event for event, _ in record_of(desk, request)]
    assert events.count("withdraw") == events.count("intent") - 3


def test_an_intent_that_could_not_be_withdrawn_does_not_leave_the_request_without_a_result(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ask(desk, *sleepers(desk, 2))
    looks = Console.looks
    failed: list[int] = []

    def fails(*_: Any) -> None:
        failed.append(1)
        raise DataSourceUnreachableError("Data source demo cannot be reached.")

    def gone(*_: Any) -> None:
        raise StoreError("The store does not answer.")

    def looks_once(self: Console, pins: Any, **more: Any) -> Any:
        if failed:
            fails()
        return looks(self, pins, **more)

    with monkeypatch.context() as patch:
        patch.setattr("bot.closing.sender.kill.close", fails)
        patch.setattr(desk.store.intents, "withdraw", gone)
        patch.setattr(Console, "looks", looks_once)
        done = confirm(desk, request)
    assert outcomes(done) == [Outcome.NOT_SENT, Outcome.NOT_SENT]
    assert [target.intent_at for target in done.targets] == [None, None]
    events = [event for event, _ in record_of(desk, request)]
    assert events == ["request", "confirm", *["intent"] * 2, *["withdraw", "outcome"] * 2]
