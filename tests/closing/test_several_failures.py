"""Several sessions in one request while the store, the data source or the bot itself fails."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from bot.closing.model import Outcome, State
from bot.errors import (
    DataSourceUnreachableError,
    StoreError,
)
from bot.sessions.model import Mode
from tests.closing.conftest import ALICE, Desk, record_of
from tests.closing.several import ask, confirm, outcomes, sleepers


def test_a_store_that_fails_in_the_middle_leaves_that_one_alone_and_closes_the_rest(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = sleepers(desk, 3)
    request = ask(desk, *ids)
    intend = desk.store.intend

    def failing(request: Any, target: Any, *more: Any) -> None:
        if target.number == 2:
            raise StoreError("The store does not answer.")
        intend(request, target, *more)

    monkeypatch.setattr(desk.store, "intend", failing)  # stands for a disk that is full for a moment
    done = confirm(desk, request)
    assert outcomes(done) == [Outcome.CLOSED, Outcome.UNTOUCHED, Outcome.CLOSED]
    assert "No KILL was sent for it: The store does not answer." in done.targets[1].detail
    assert desk.row(ids[1])


def test_a_data_source_that_goes_away_in_the_middle_is_tried_until_the_time_for_sending_is_spent(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = sleepers(desk, 5)
    request = ask(desk, *ids)
    source = desk.sessions.source("demo")
    console, intend = source.console, desk.store.intend

    def away() -> object:
        desk.clock.ahead += timedelta(seconds=9)  # what a server that hangs takes to be given up on
        raise DataSourceUnreachableError("Data source demo cannot be reached.")

    def intend_then_lose(*arguments: Any) -> None:
        intend(*arguments)
        monkeypatch.setattr(source, "console", away)

    monkeypatch.setattr(desk.store, "intend", intend_then_lose)  # the server goes away after the first KILL
    desk.clock.at_wait = lambda: monkeypatch.setattr(source, "console", console)  # and is back for the looks
    done = confirm(desk, request)
    # The first look afterwards finds it away, too; by then its time is up.
    assert outcomes(done) == [Outcome.UNVERIFIED, *[Outcome.UNTOUCHED] * 4]
    assert ["cannot be reached" in one.detail for one in done.targets[1:]] == [True, True, True, False]
    assert "The 25 s for sending were spent" in done.targets[4].detail
    assert [bool(desk.row(one)) for one in ids] == [False, True, True, True, True]


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
    assert desk.requests.find(request.id) == request
    assert outcomes(confirm(desk, request)) == [Outcome.CLOSED] * 3


def test_after_a_crash_each_target_with_an_intent_is_looked_at_and_the_others_are_untouched(desk: Desk) -> None:
    closed, running, waiting = sleepers(desk, 3)
    request = ask(desk, closed, running, waiting)
    assert desk.store.claim(request, ALICE, Mode.SESSION, desk.clock())
    for target in request.targets[:2]:
        desk.store.intend(request, target, f"KILL {target.session.id}", desk.clock())
    with desk.database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"KILL {closed}")  # the bot was stopped right after this one
    desk.until(lambda: not desk.row(closed))
    assert desk.closer.resume() == [], "the press may still be under way"
    desk.clock.ahead += timedelta(seconds=61)
    (left,) = desk.closer.resume()
    assert outcomes(left) == [Outcome.CLOSED, Outcome.STILL_RUNNING, Outcome.UNTOUCHED]
    assert left.state is State.DONE
    assert left.targets[2].detail == "Nothing was sent for it before the bot stopped."
    assert desk.row(running)
    assert desk.row(waiting)
    assert desk.closer.resume() == []


def test_the_press_of_a_bot_that_was_thought_stopped_sends_nothing_more(desk: Desk) -> None:
    ids = sleepers(desk, 2)
    request = ask(desk, *ids)
    intend = desk.store.intend

    def slow(*arguments: Any) -> None:
        intend(*arguments)
        desk.clock.ahead += timedelta(seconds=61)
        desk.closer.resume()  # another replica takes it for a stopped bot's

    desk.store.intend = slow  # type: ignore[method-assign, assignment]  # stands for a machine that slept
    done = confirm(desk, request)
    assert done.targets[1].outcome is Outcome.UNTOUCHED
    assert desk.row(ids[1])
    assert [event for event, _ in record_of(desk, request)].count("outcome") == 2


def test_a_lost_connection_in_the_middle_is_made_anew(desk: Desk) -> None:
    ids = sleepers(desk, 3)
    request = ask(desk, *ids)
    intend = desk.store.intend

    def intend_then_cut(*arguments: Any) -> None:
        intend(*arguments)
        with desk.database.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT id FROM oceanbase.V$OB_PROCESSLIST WHERE module = 'session-bot' AND state = 'SLEEP'")
            for (own,) in cursor.fetchall():
                cursor.execute(f"KILL {own}")

    desk.store.intend = intend_then_cut  # type: ignore[method-assign, assignment]  # between the intent and the KILL
    done = confirm(desk, request)
    assert set(outcomes(done)) <= {Outcome.CLOSED, Outcome.STILL_RUNNING}
    for target in done.targets:
        assert bool(desk.row(target.session.id)) is (target.outcome is Outcome.STILL_RUNNING)
