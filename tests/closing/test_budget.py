"""How many closes one data source takes within a time, and who may allow more."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from bot.access import Person
from bot.closing.model import Budget, Finding, Outcome, State
from bot.closing.store import Store
from bot.errors import BudgetError, NotAllowedError, RequestError
from bot.sessions.model import Mode
from tests.closing.conftest import ALICE, BOB, CAROL, CHANNEL, DORA, GUS, Desk, record_of
from tests.closing.several import ask, confirm, outcomes, sleepers
from tests.patience import PATIENCE
from tests.stage import session_id

WINDOW = timedelta(minutes=10)
THREE = Budget(3, WINDOW)
ENDED = "3 sessions or queries were closed on demo within 10 min; 3 are allowed there"


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.rule(budget=THREE)
    return desk


def test_what_is_too_much_is_refused_and_nothing_is_closed(desk: Desk) -> None:
    assert outcomes(confirm(desk, ask(desk, *sleepers(desk, 3)))) == [Outcome.CLOSED] * 3
    (session,) = sleepers(desk, 1)
    request = ask(desk, session)
    with pytest.raises(BudgetError, match=f"{ENDED}, and this request would close 1 more. Nothing was") as told:
        confirm(desk, request)
    assert told.value.source == "demo"
    assert desk.store.get(request.id) == request, "open, and as it was"
    assert desk.row(session)
    event, details = record_of(desk, request)[-1]
    assert event == "refused"
    assert ENDED in details["why"]


def test_one_request_that_is_more_than_all_that_is_allowed_is_refused(desk: Desk) -> None:
    ids = sleepers(desk, 4)
    with pytest.raises(BudgetError, match=r"0 sessions or queries were closed .* would close 4 more"):
        confirm(desk, ask(desk, *ids))
    assert all(map(desk.row, ids))


def test_only_what_was_sent_counts_after_the_end(desk: Desk) -> None:
    gone, there = desk.connect(), sleepers(desk, 2)
    request = ask(desk, session_id(gone), *there)
    gone.close()
    desk.until(lambda: not desk.row(request.targets[0].session.id))
    assert outcomes(confirm(desk, request)) == [Outcome.ALREADY_GONE, Outcome.CLOSED, Outcome.CLOSED]
    assert outcomes(confirm(desk, ask(desk, *sleepers(desk, 1)))) == [Outcome.CLOSED]
    with pytest.raises(BudgetError, match=ENDED):
        confirm(desk, ask(desk, *sleepers(desk, 1)))


def test_of_close_query_only_those_that_run_one_count(desk: Desk) -> None:
    report, idle = desk.runs("SELECT SLEEP(60)"), sleepers(desk, 4)
    desk.clock.at_wait = lambda: report.join(PATIENCE)
    done = confirm(desk, ask(desk, report.id, *idle), Mode.QUERY)
    assert outcomes(done) == [Outcome.QUERY_CLOSED, *[Outcome.NOT_SENT] * 4]
    assert outcomes(confirm(desk, ask(desk, *idle[:2]))) == [Outcome.CLOSED] * 2
    with pytest.raises(BudgetError, match=ENDED):
        confirm(desk, ask(desk, idle[2]))


def test_while_a_press_is_carried_out_all_that_it_may_close_counts(desk: Desk) -> None:
    under_way = ask(desk, *sleepers(desk, 2))
    assert desk.store.claim(under_way, BOB, Mode.SESSION, desk.clock(), THREE)
    request = ask(desk, *sleepers(desk, 2))
    with pytest.raises(BudgetError, match=r"2 sessions or queries were closed .* would close 2 more"):
        confirm(desk, request)
    taken = desk.store.get(under_way.id)
    assert taken is not None
    assert desk.store.release(taken, desk.clock(), "the data source could not be reached")
    assert outcomes(confirm(desk, request)) == [Outcome.CLOSED] * 2, "what was released counts nothing"


def test_what_was_cancelled_or_has_expired_counts_nothing(desk: Desk) -> None:
    desk.consent.cancel(ask(desk, *sleepers(desk, 3)).id, ALICE, CHANNEL)
    ask(desk, *sleepers(desk, 3))
    desk.clock.ahead += timedelta(minutes=3)
    assert len(desk.requests.expire()) == 1
    assert outcomes(confirm(desk, ask(desk, *sleepers(desk, 3)))) == [Outcome.CLOSED] * 3


def test_the_time_moves_along(desk: Desk) -> None:
    confirm(desk, ask(desk, *sleepers(desk, 2)))
    desk.clock.ahead += timedelta(minutes=9)
    confirm(desk, ask(desk, *sleepers(desk, 1)))
    with pytest.raises(BudgetError, match=ENDED):
        confirm(desk, ask(desk, *sleepers(desk, 1)))
    desk.clock.ahead += timedelta(minutes=1)
    with pytest.raises(BudgetError, match=r"1 sessions or queries were closed .* would close 3 more"):
        confirm(desk, ask(desk, *sleepers(desk, 3)))
    assert outcomes(confirm(desk, ask(desk, *sleepers(desk, 2)))) == [Outcome.CLOSED] * 2


@pytest.mark.parametrize("person", [ALICE, CAROL, GUS])
def test_more_is_allowed_by_nobody_who_may_not_approve(desk: Desk, person: Person) -> None:
    with pytest.raises(NotAllowedError, match="You may not approve"):
        desk.consent.extend_budget("demo", person, CHANNEL)


def test_whoever_may_approve_allows_as_much_again_until_the_time_is_over(desk: Desk) -> None:
    confirm(desk, ask(desk, *sleepers(desk, 3)))
    request = ask(desk, *sleepers(desk, 1))
    with pytest.raises(BudgetError):
        confirm(desk, request)
    assert desk.consent.extend_budget("demo", DORA, CHANNEL) == 3
    assert outcomes(confirm(desk, request)) == [Outcome.CLOSED]
    with pytest.raises(BudgetError, match=r"4 sessions or queries were closed .*; 6 are allowed there"):
        confirm(desk, ask(desk, *sleepers(desk, 3)))
    desk.clock.ahead += WINDOW
    with pytest.raises(BudgetError, match=r"0 sessions or queries were closed .*; 3 are allowed there"):
        confirm(desk, ask(desk, *sleepers(desk, 4)))


def test_what_is_closed_or_allowed_on_another_data_source_is_not_counted(desk: Desk) -> None:
    elsewhere = replace(ask(desk, *sleepers(desk, 3)), id="elsewhere", source="other")
    desk.store.add(elsewhere)
    assert desk.store.claim(elsewhere, ALICE, Mode.SESSION, desk.clock(), THREE)
    desk.store.extend_budget("other", BOB, CHANNEL, THREE, desk.clock())
    assert outcomes(confirm(desk, ask(desk, *sleepers(desk, 3)))) == [Outcome.CLOSED] * 3
    with pytest.raises(BudgetError, match=ENDED):
        confirm(desk, ask(desk, *sleepers(desk, 1)))


def test_whoever_comes_too_late_is_told_that_and_not_that_it_is_too_much(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ask(desk, *sleepers(desk, 3))
    assert desk.store.claim(request, BOB, Mode.SESSION, desk.clock(), THREE)
    desk.rule(budget=replace(THREE, most=2))  # for which this press would be too much as well
    monkeypatch.setattr(desk.consent, "confirmable", lambda *_: (request, frozenset()))  # read before Bob's press
    with pytest.raises(RequestError, match="already confirmed") as told:
        confirm(desk, request)
    assert told.value.first == BOB.id


def test_presses_at_once_on_two_replicas_never_exceed_it(desk: Desk) -> None:
    requests = [ask(desk, *sleepers(desk, 1)) for _ in range(8)]
    stores = [Store(f"sqlite:///{desk.path}") for _ in range(2)]
    start = threading.Barrier(8)

    def press(number: int) -> bool:
        store, request = stores[number % 2], requests[number]
        start.wait()
        try:
            return store.claim(request, ALICE, Mode.SESSION, desk.clock(), THREE)
        except BudgetError:
            return False

    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(press, range(8)))
    assert sum(claims) == 3
    assert [desk.state(one) is State.CLAIMED for one in requests] == claims
    for store in stores:
        store.close()


def test_a_press_that_a_stopped_bot_left_counts_what_it_had_sent(desk: Desk) -> None:
    request = ask(desk, *sleepers(desk, 3))
    now = desk.clock()
    assert desk.store.claim(request, ALICE, Mode.SESSION, now, THREE)
    desk.store.intend(request, request.targets[0], "KILL 5", now)
    rest = Finding(Outcome.NOT_SENT, "", now)
    desk.store.conclude(request, {1: Finding(Outcome.UNVERIFIED, "", now), 2: rest, 3: rest}, now)
    assert outcomes(confirm(desk, ask(desk, *sleepers(desk, 2)))) == [Outcome.CLOSED] * 2
