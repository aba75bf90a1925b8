"""A bot that starts again: what the one before it left is taken up at once, unless other replicas may be at it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from bot.closing.model import CardPlace, ClosingRequest, Outcome, State
from bot.closing.requests import ClosingRequests
from bot.closing.store import Store
from bot.closing.store.leases import LEASE
from bot.errors import RequestError
from bot.sessions.model import Mode
from tests.closing.conftest import ALICE, Desk, record_of
from tests.closing.several import ask, confirm, outcomes, shared, sleepers


def requests(desk: Desk, store: Store) -> ClosingRequests:
    return ClosingRequests(desk.sessions, desk.access, store, desk.rules, desk.clock)


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
