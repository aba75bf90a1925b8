"""A bot that starts again: what the one before it left is taken up at once, unless other replicas may be at it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from bot.closing.model import CardPlace, ClosingRequest, Outcome, State
from bot.closing.requests import ClosingRequests
from bot.closing.store import Store
from bot.closing.store.leases import LEASE
from bot.closing.targets import Wanted
from bot.errors import AnsweredElsewhereError, RequestError
from bot.sessions.model import Mode
from tests.closing.conftest import ALICE, CHANNEL, Desk, record_of
from tests.closing.several import ask, confirm, outcomes, shared, sleepers


def requests(desk: Desk, store: Store) -> ClosingRequests:
    return ClosingRequests(desk.sessions, desk.access, store, desk.rules, desk.clock, desk.adviser)


def claimed(desk: Desk) -> ClosingRequest:
    request = ask(desk, *sleepers(desk, 1))
    assert desk.store.decisions.claim(request, ALICE, Mode.SESSION, desk.clock())
    with desk.closer._attempts.taking(request.id):
        assert desk.closer.resume() == [], "it is its own press"
    return request


def test_a_claim_is_left_at_once_by_the_process_before_and_on_a_shared_store_only_after_its_time(desk: Desk) -> None:
    request = claimed(desk)
    assert [one.state for one in desk.restarted().resume()] == [State.OPEN]
    assert outcomes(confirm(desk, request)) == [Outcome.CLOSED]
    request = claimed(desk)
    store = shared(desk)
    other = desk.closer_of(store)
    desk.clock.ahead += LEASE  # it has been there for a while
    assert other.resume() == [], "it may be another replica's"
    store.database.clock.tell(store.database.clock.seconds + LEASE.total_seconds())
    assert other.resume() == [], "its clock was set: whoever is there has not said so by that yet"
    desk.clock.ahead += LEASE
    assert [one.state for one in other.resume()] == [State.OPEN]
    assert outcomes(confirm(desk, request)) == [Outcome.CLOSED]


def test_a_card_that_was_not_rewritten_is_so_at_once_and_on_a_shared_store_after_some_seconds(desk: Desk) -> None:
    request = ask(desk, *sleepers(desk, 1))
    desk.store.cards.place(request, CardPlace("C1", "1.2"))
    ended = desk.cancel(request.id, ALICE)
    assert desk.store.cards.unshown() == [], "whoever decided it is still at it"
    assert shared(desk).cards.unshown() == []
    assert desk.restarted()._store.cards.unshown() == [ended]
    desk.clock.ahead = timedelta(hours=23, minutes=59)
    assert desk.store.cards.unshown() == [ended]
    desk.clock.ahead = timedelta(days=1)
    assert desk.store.cards.unshown() == [], "nobody looks for it any more"


def test_a_press_that_came_to_nothing_closes_nothing_when_it_is_delivered_again_but_a_new_one_does(desk: Desk) -> None:
    (session,) = sleepers(desk, 1)
    request = ask(desk, session)
    assert desk.store.decisions.claim(request, ALICE, Mode.SESSION, desk.clock(), delivery="first")
    taken = desk.store.requests.find(request.id)
    assert taken is not None
    assert desk.store.leases.release(taken, desk.clock(), "the bot stopped before anything was sent")
    with pytest.raises(RequestError, match="The request is open again"):
        confirm(desk, request, delivery="first")
    assert desk.state(request) is State.OPEN
    assert desk.row(session)
    assert outcomes(confirm(desk, request, delivery="second")) == [Outcome.CLOSED]
    events = record_of(desk, request)
    assert [event for event, _ in events] == ["request", "confirm", "release", "confirm", "intent", "outcome"]
    assert events[2][1] == {"why": "the bot stopped before anything was sent"}


def test_a_command_that_is_taken_over_gets_the_card_that_is_missing_and_no_request_beside_it(desk: Desk) -> None:
    first, second = shared(desk), shared(desk)
    wanted, delivery = [Wanted(sleepers(desk, 1)[0])], "d" * 32

    def asked(store: Store) -> list[ClosingRequest]:
        return requests(desk, store).ask(ALICE, CHANNEL, "demo", wanted, Mode.SESSION, delivery=delivery)

    first.deliveries.take(delivery)
    (request,) = asked(first)
    with first.database.writing() as connection:  # it falls silent before its card is there
        connection.exec_driver_sql("UPDATE deliveries SET lease_until = 0")
    second.deliveries.take(delivery)
    assert asked(second) == [request]
    second.cards.place(request, CardPlace("C1", "1.2"))
    assert asked(second) == []
    assert [event for event, _ in record_of(desk, request)] == ["request"]


def test_a_replica_that_was_frozen_at_a_command_writes_no_request_once_another_one_has_it(desk: Desk) -> None:
    first, second = shared(desk), shared(desk)
    first.deliveries.take("d" * 32)
    with first.database.writing() as connection:
        connection.exec_driver_sql("UPDATE deliveries SET lease_until = 0")
    second.deliveries.take("d" * 32)
    wanted = [Wanted(sleepers(desk, 1)[0])]
    with pytest.raises(AnsweredElsewhereError):
        requests(desk, first).ask(ALICE, CHANNEL, "demo", wanted, Mode.SESSION, delivery="d" * 32)
    assert desk.store.requests.recent(State.OPEN, 5) == []
