"""A bot that starts again: what the one before it left is taken up at once, unless other replicas may be at it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from bot.closing.aftermath import Aftermath
from bot.closing.closer import Closer
from bot.closing.consent import Consent
from bot.closing.model import CardPlace, Outcome, State
from bot.closing.requests import ClosingRequests
from bot.closing.store import Store
from bot.errors import RequestError
from bot.sessions.model import Mode
from tests.closing.conftest import ALICE, CHANNEL, Desk, record_of
from tests.closing.several import ask, confirm, outcomes, sleepers


@pytest.fixture
def stores(desk: Desk) -> Iterator[list[Store]]:
    made: list[Store] = []
    yield made
    for one in made:
        one.close()


def opened_again(desk: Desk, stores: list[Store], *, shared: bool) -> dict[str, Any]:
    """What a new process makes its parts of; a store on a server is one that other replicas may use as well."""
    store = Store(f"sqlite:///{desk.path}")
    stores.append(store)
    store.shared = shared  # stands for a MySQL-compatible server
    return {"sessions": desk.sessions, "store": store, "rules": desk.rules, "clock": desk.clock}


def closer(desk: Desk, stores: list[Store], *, shared: bool) -> Closer:
    parts = opened_again(desk, stores, shared=shared)
    consent = Consent(desk.requests._access, parts["store"], desk.rules, desk.clock)
    aftermath = Aftermath(lambda: desk.sessions, parts["store"], desk.clock)
    return Closer(**parts, consent=consent, aftermath=aftermath, wait=desk.clock.wait)


def requests(desk: Desk, stores: list[Store], *, shared: bool) -> ClosingRequests:
    return ClosingRequests(**opened_again(desk, stores, shared=shared), access=desk.requests._access)


def test_a_claim_is_left_at_once_by_the_process_before_and_on_a_shared_store_only_after_its_time(
    desk: Desk, stores: list[Store]
) -> None:
    request = ask(desk, *sleepers(desk, 1))
    assert desk.store.claim(request, ALICE, Mode.SESSION, desk.clock())
    assert desk.closer.resume() == [], "it is its own press"
    assert closer(desk, stores, shared=True).resume() == [], "it may be another replica's"
    assert [one.state for one in closer(desk, stores, shared=False).resume()] == [State.OPEN]
    assert outcomes(confirm(desk, request)) == [Outcome.CLOSED]


def test_a_card_that_was_not_rewritten_is_so_at_once_and_on_a_shared_store_after_some_seconds(
    desk: Desk, stores: list[Store]
) -> None:
    request = ask(desk, *sleepers(desk, 1))
    desk.requests.place_card(request, CardPlace("C1", "1.2"))
    ended = desk.consent.cancel(request.id, ALICE, CHANNEL)
    assert desk.requests.unshown() == [], "whoever decided it is still at it"
    assert requests(desk, stores, shared=True).unshown() == []
    assert requests(desk, stores, shared=False).unshown() == [ended]
    desk.clock.ahead = timedelta(hours=23, minutes=59)
    assert desk.requests.unshown() == [ended]
    desk.clock.ahead = timedelta(days=1)
    assert desk.requests.unshown() == [], "nobody looks for it any more"


def test_a_press_that_came_to_nothing_closes_nothing_when_it_is_delivered_again_but_a_new_one_does(desk: Desk) -> None:
    (session,) = sleepers(desk, 1)
    request = ask(desk, session)
    assert desk.store.claim(request, ALICE, Mode.SESSION, desk.clock(), delivery="first")
    taken = desk.store.get(request.id)
    assert taken is not None
    assert desk.store.release(taken, desk.clock(), "the bot stopped before anything was sent")
    with pytest.raises(RequestError, match="The request is open again"):
        confirm(desk, request, delivery="first")
    assert desk.state(request) is State.OPEN
    assert desk.row(session)
    assert outcomes(confirm(desk, request, delivery="second")) == [Outcome.CLOSED]
    events = record_of(desk, request)
    assert [event for event, _ in events] == ["request", "confirm", "release", "confirm", "intent", "outcome"]
    assert events[2][1] == {"why": "the bot stopped before anything was sent"}
