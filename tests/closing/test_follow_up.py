"""What comes after an outcome: a client that is back, a session that ends late, and the card that tells it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pymysql
import pytest

from bot.closing.follow_up import COMES_BACK_WITHIN, ENDS_WITHIN
from bot.closing.model import CardPlace, ClosingRequest, Outcome
from bot.errors import DataSourceError, DataSourceTimeoutError, StoreError
from bot.sessions.console import Console
from bot.sessions.model import Mode, Session
from tests.closing.conftest import ALICE, Desk, before_a_look, record_of, tamper
from tests.closing.several import ask, confirm, outcomes, sleepers
from tests.support.patience import PATIENCE
from tests.support.stage import RunningStatement, session_id

HERE = "127.0.0.51"  # nobody else's clients come from there


def works(desk: Desk, address: str = HERE) -> RunningStatement:
    """Start what one client does again and again."""
    return desk.runs("SELECT SLEEP(60)", bind_address=address)


def news(desk: Desk) -> list[tuple[str, Outcome | None, int | None]]:
    """Look once more: which requests have something new, what became of the first target, and who does the same now."""
    return [(one.id, one.targets[0].outcome, one.targets[0].newcomer) for one in desk.closer._follow_ups.verify()]


def newcomers(request: ClosingRequest) -> list[int | None]:
    assert set(outcomes(request)) == {Outcome.CLOSED}, "that stays so, whoever comes back"
    return [target.newcomer for target in request.targets]


def closed(desk: Desk, client: pymysql.Connection[Any] | RunningStatement) -> ClosingRequest:
    number = client.id if isinstance(client, RunningStatement) else session_id(client)
    done = confirm(desk, ask(desk, number))
    assert outcomes(done) == [Outcome.CLOSED]
    return done


def left_by_a_stopped_bot(desk: Desk) -> ClosingRequest:
    """A request whose bot stopped between the intent and the KILL; the target is still there."""
    request = ask(desk, *sleepers(desk, 1))
    (target,) = request.targets
    assert desk.store.decisions.claim(request, ALICE, Mode.SESSION, desk.clock())
    desk.store.intents.intend(request, target, f"KILL {target.session.id}", desk.clock())
    (left,) = desk.restarted().resume()
    assert outcomes(left) == [Outcome.STILL_RUNNING]
    return left


def kill(desk: Desk, request: ClosingRequest) -> None:
    """Close the target behind the bot's back."""
    number = request.targets[0].session.id
    with desk.database.connect() as admin, admin.cursor() as cursor:
        cursor.execute(f"KILL {number}")
    desk.until(lambda: not desk.row(number))


def rolling_back(desk: Desk) -> tuple[ClosingRequest, RunningStatement]:
    """A request whose target, a lock waiter, has not ended when the outcome must be told."""
    done, waiter = before_a_look(desk, lambda waiting: (confirm(desk, ask(desk, waiting[0].id)), waiting[0]))
    assert outcomes(done) == [Outcome.ROLLING_BACK]
    return done, waiter


def test_a_client_that_reconnects_and_does_the_same_is_told_with_its_new_id(desk: Desk) -> None:
    done = closed(desk, works(desk))
    assert news(desk) == []
    again = works(desk)
    assert news(desk) == [(done.id, Outcome.CLOSED, again.id)]
    kept = desk.store.requests.find(done.id)
    assert kept is not None
    assert newcomers(kept) == [again.id]
    closed_id = done.targets[0].session.id
    assert record_of(desk, done)[-1] == ("came back", {"newcomers": {str(closed_id): again.id}})
    assert news(desk) == [], "told once"


def test_an_idle_client_that_reconnects_is_like_any_other_new_session_of_its_application(desk: Desk) -> None:
    closed(desk, desk.connect(bind_address=HERE, database="depot"))
    desk.connect(bind_address=HERE, database="depot")
    desk.runs("SELECT SLEEP(60)", bind_address=HERE, database="depot")
    assert news(desk) == []


@pytest.mark.parametrize(
    "other",
    [
        lambda desk: desk.runs("SELECT SLEEP(60)", user="auditor", bind_address=HERE),
        lambda desk: desk.runs("SELECT SLEEP(60), 'another'", bind_address=HERE),
        lambda desk: desk.runs("SELECT SLEEP(60)", bind_address="127.0.0.52"),
        lambda desk: desk.runs("SELECT SLEEP(60)", bind_address=HERE, database="depot"),
        lambda desk: desk.connect(bind_address=HERE),
    ],
    ids=["user", "statement", "source", "database", "idle"],
)
def test_a_new_session_of_another_kind_has_not_come_back(desk: Desk, other: Callable[[Desk], object]) -> None:
    closed(desk, works(desk))
    other(desk)
    assert news(desk) == []


def test_a_session_that_was_there_before_has_not_come_back(desk: Desk) -> None:
    works(desk)
    closed(desk, works(desk))
    assert news(desk) == []


def test_of_several_each_is_told_by_itself(desk: Desk) -> None:
    done = confirm(desk, ask(desk, works(desk).id, works(desk, "127.0.0.53").id))
    second = works(desk, "127.0.0.53")
    assert [newcomers(one) for one in desk.closer._follow_ups.verify()] == [[None, second.id]]
    first = works(desk)
    (kept,) = desk.closer._follow_ups.verify()
    assert (kept.id, newcomers(kept)) == (done.id, [first.id, second.id])


def test_a_client_that_comes_after_the_time_is_over_is_nothing_new(desk: Desk) -> None:
    closed(desk, works(desk))
    desk.clock.ahead += COMES_BACK_WITHIN
    works(desk)
    assert news(desk) == []


def test_a_close_query_is_not_followed_once_it_has_worked(desk: Desk) -> None:
    report = works(desk)
    request = ask(desk, report.id, mode=Mode.QUERY)
    desk.clock.at_wait = lambda: report.join(PATIENCE)
    assert outcomes(confirm(desk, request, Mode.QUERY)) == [Outcome.QUERY_CLOSED]
    works(desk)
    assert news(desk) == []


def test_a_session_that_ends_after_its_outcome_was_told_is_told_anew(desk: Desk) -> None:
    done, waiter = rolling_back(desk)
    assert news(desk) == []
    assert waiter.ended()
    desk.until(lambda: not desk.row(waiter.id))
    assert news(desk) == [(done.id, Outcome.CLOSED, None)]
    assert [event for event, _ in record_of(desk, done)][-2:] == ["outcome", "later"]
    told = record_of(desk, done)[-1][1]
    assert (told["outcome"], told["detail"]) == ("closed", "It took longer; at first it was rolling back.")


def test_a_query_that_stops_late_is_told_anew(desk: Desk) -> None:

    def play(waiting: list[RunningStatement]) -> tuple[ClosingRequest, RunningStatement]:
        return confirm(desk, ask(desk, waiting[0].id, mode=Mode.QUERY), Mode.QUERY), waiting[0]

    request, waiter = before_a_look(desk, play)
    assert outcomes(request) == [Outcome.STILL_RUNNING]
    assert waiter.ended() == 1317
    desk.until(lambda: desk.row(waiter.id).get("COMMAND") == "Sleep")
    assert news(desk) == [(request.id, Outcome.QUERY_CLOSED, None)]


def test_after_its_time_a_session_that_has_not_ended_is_looked_at_no_more(desk: Desk) -> None:
    request = left_by_a_stopped_bot(desk)
    assert news(desk) == []
    desk.clock.ahead += ENDS_WITHIN
    kill(desk, request)
    assert news(desk) == []


def test_a_database_that_cannot_be_reached_is_asked_once_for_all_and_again_later(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = confirm(desk, ask(desk, works(desk).id, works(desk).id))
    again = works(desk)
    asked = []

    def away() -> object:
        asked.append("once")
        raise DataSourceError("Data source demo cannot be reached.")

    with monkeypatch.context() as patch:
        patch.setattr(desk.sessions.source("demo"), "console", away)
        assert news(desk) == []
    assert asked == ["once"], "each waits for a server that hangs"
    assert news(desk) == [(done.id, Outcome.CLOSED, again.id)]


def test_what_could_not_be_written_is_found_again_by_the_next_look(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    done = confirm(desk, ask(desk, works(desk).id, works(desk).id))
    again = {works(desk).id, works(desk).id}

    def full(*_: object) -> bool:
        raise StoreError("The store does not answer.")

    with monkeypatch.context() as patch:
        patch.setattr(desk.store.outcomes, "came_back", full)  # stands for a full disk
        with pytest.raises(StoreError):
            desk.closer._follow_ups.verify()
    (kept,) = desk.closer._follow_ups.verify()
    assert (kept.id, set(newcomers(kept))) == (done.id, again)


def test_what_another_replica_has_told_is_not_told_again(desk: Desk) -> None:
    done = closed(desk, works(desk))
    again = works(desk)
    with desk.store.database.reading() as connection:
        before = connection.exec_driver_sql("SELECT COUNT(*) FROM audit").scalar_one()
    assert desk.store.outcomes.came_back(done, {1: again.id}, desk.clock())
    assert news(desk) == []
    with desk.store.database.reading() as connection:
        assert connection.exec_driver_sql("SELECT COUNT(*) FROM audit").scalar_one() == before + 1


def test_a_card_that_slack_did_not_take_is_told_of_as_not_shown(desk: Desk) -> None:
    done = closed(desk, works(desk))
    desk.store.cards.place(done, CardPlace("C1", "1.2"))
    desk.store.cards.mark_shown(done)
    desk.clock.ahead += COMES_BACK_WITHIN / 2
    again = works(desk)
    assert news(desk) == [(done.id, Outcome.CLOSED, again.id)]
    desk.clock.ahead += COMES_BACK_WITHIN
    assert [(one.id, newcomers(one)) for one in desk.store.cards.unshown()] == [(done.id, [again.id])]


def test_what_a_stopped_bot_left_is_followed_as_well(desk: Desk) -> None:
    request = left_by_a_stopped_bot(desk)
    assert news(desk) == []
    kill(desk, request)
    told = [(request.id, Outcome.ALREADY_GONE, None)]
    assert news(desk) == told, "not claimed for the bot: its KILL may not have arrived"


@pytest.mark.parametrize("error", [DataSourceTimeoutError, DataSourceError])
def test_a_list_that_cannot_be_had_keeps_no_session_from_being_closed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, error: type[DataSourceError]
) -> None:
    def unknown(self: Console, *_: object) -> list[Any]:
        if error is DataSourceTimeoutError:  # a connection that was given up on is not used again
            self._connection.broken = True
            self._connection._raw.close()
        raise error("Data source demo did not answer in time.")

    monkeypatch.setattr(Console, "alike", unknown)  # stands for a server on which long lists take too long
    closed(desk, works(desk))
    monkeypatch.undo()
    works(desk)
    assert news(desk) == [], "what was there before is not known"


def test_where_there_are_too_many_alike_nobody_is_said_to_have_come_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.closing.reconnection._ALIKE", 3)
    for _ in range(3):
        works(desk)
    closed(desk, works(desk))
    works(desk)
    assert news(desk) == []


def test_a_session_closed_by_hand_before_the_first_look_leaves_nothing_behind(desk: Desk) -> None:
    client = desk.connect(bind_address=HERE)
    request = ask(desk, session_id(client))
    with contextlib.suppress(pymysql.Error):
        client.close()
    desk.until(lambda: not desk.row(request.targets[0].session.id))
    assert outcomes(confirm(desk, request)) == [Outcome.ALREADY_GONE]
    works(desk)
    assert news(desk) == []


def test_one_newcomer_is_told_once_for_a_request_of_several_alike(desk: Desk) -> None:
    done = confirm(desk, ask(desk, *(works(desk).id for _ in range(5))))
    assert outcomes(done) == [Outcome.CLOSED] * 5
    first = works(desk)
    (kept,) = desk.closer._follow_ups.verify()
    assert [one.newcomer for one in kept.targets] == [first.id, None, None, None, None]
    assert outcomes(kept) == [Outcome.CLOSED] * 5, "they were closed, and still are"
    assert desk.closer._follow_ups.verify() == []
    second = works(desk)
    (kept,) = desk.closer._follow_ups.verify()
    assert [one.newcomer for one in kept.targets] == [first.id, second.id, None, None, None]
    told = [details["newcomers"] for event, details in record_of(desk, done) if event == "came back"]
    assert [list(one.values()) for one in told] == [[first.id], [second.id]]


def test_a_close_is_judged_by_the_transaction_that_was_seen_right_before_its_kill(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The card showed a session in another transaction, or in none."""
    done, waiter = rolling_back(desk)
    (target,) = done.targets
    assert target.sent is not None
    assert target.sent.transaction_id is not None
    asked: list[int | None] = []
    open_ = Console.transaction_open

    def transaction_open(self: Console, session: Session) -> bool | None:
        asked.append(session.transaction_id)
        return open_(self, session)

    monkeypatch.setattr(Console, "transaction_open", transaction_open)
    tamper(desk, done, 1, transaction_id=None)
    assert waiter.ended()
    desk.until(lambda: not desk.row(waiter.id))
    assert news(desk) == [(done.id, Outcome.CLOSED, None)]
    assert target.sent.transaction_id in asked


def test_the_first_look_of_a_process_is_for_all_that_ended_while_there_was_none(desk: Desk) -> None:
    request = left_by_a_stopped_bot(desk)
    desk.clock.ahead += 2 * ENDS_WITHIN
    kill(desk, request)
    (found,) = desk.restarted()._follow_ups.verify()
    assert (found.id, outcomes(found)) == (request.id, [Outcome.ALREADY_GONE])
