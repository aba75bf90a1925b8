"""How many closes one data source takes within a time, and who may allow more."""

from __future__ import annotations

import contextlib
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from bot.access import Person
from bot.closing.model import Budget, ClosingRequest, Extension, Outcome, State, TargetOutcome
from bot.closing.parts import Part
from bot.closing.store import Store, budget
from bot.closing.store.database import Database
from bot.errors import BudgetError, NotAllowedError, RequestError
from bot.sessions.model import Mode
from bot.settings import Settings
from bot.wiring import closing_rules
from tests.closing.conftest import ALICE, BOB, CAROL, CHANNEL, DORA, GUS, Desk, record_of
from tests.closing.several import ask, confirm, outcomes, sleepers
from tests.support.patience import PATIENCE
from tests.support.stage import session_id

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
    assert desk.store.requests.find(request.id) == request, "open, and as it was"
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
    assert desk.store.decisions.claim(under_way, BOB, Mode.SESSION, desk.clock(), THREE)
    request = ask(desk, *sleepers(desk, 2))
    with pytest.raises(BudgetError, match=r"2 sessions or queries were closed .* would close 2 more"):
        confirm(desk, request)
    taken = desk.store.requests.find(under_way.id)
    assert taken is not None
    assert desk.store.leases.release(taken, desk.clock(), "the data source could not be reached")
    assert outcomes(confirm(desk, request)) == [Outcome.CLOSED] * 2, "what was released counts nothing"


def test_what_was_cancelled_or_has_expired_counts_nothing(desk: Desk) -> None:
    desk.cancel(ask(desk, *sleepers(desk, 3)).id, ALICE)
    ask(desk, *sleepers(desk, 3))
    desk.clock.ahead += timedelta(minutes=3)
    assert len(desk.closer.expire()) == 1
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


def refused(desk: Desk, count: int = 1) -> tuple[ClosingRequest, str]:
    """Ask for more than is left and press; return the request and the id of the message that calls for more."""
    request = ask(desk, *sleepers(desk, count))
    with pytest.raises(BudgetError) as told:
        confirm(desk, request, typed=count)
    return request, call(desk, told.value)


def call(desk: Desk, error: BudgetError, channel: str = CHANNEL) -> str:
    return desk.budget.call(error, ALICE, channel)[0]


def allowed(desk: Desk) -> int:
    """How many closes the budget allows now, as a refusal says."""
    request, within = ask(desk, *sleepers(desk, 1)), desk.rules.of("demo").budget
    with desk.store.database.writing() as connection, pytest.raises(BudgetError) as told:
        budget.require(connection, request, 10_000, within, desk.clock())
    found = re.search(r"; (\d+) are allowed there", str(told.value))
    assert found is not None
    return int(found[1])


@pytest.mark.parametrize("person", [ALICE, CAROL, GUS])
def test_more_is_allowed_by_nobody_who_may_not_approve(desk: Desk, person: Person) -> None:
    _, message = refused(desk, 4)
    with pytest.raises(NotAllowedError, match="You may not approve"):
        desk.budget.extend(message, person, CHANNEL)
    assert allowed(desk) == 3


def test_who_may_approve_for_one_tenant_only_extends_no_budget_and_is_told_who_does(desk: Desk) -> None:
    _, message = refused(desk, 4)
    with pytest.raises(NotAllowedError, match=r"of sys on demo; its budget is one for all its tenants") as told:
        desk.budget.extend(message, DORA, CHANNEL)
    assert told.value.who == (BOB.id,)
    assert allowed(desk) == 3


@pytest.mark.parametrize(
    ("tenants", "may"),
    [({"sys"}, True), ({"sys", "shop"}, False), ({"shop"}, False), (None, False)],
    ids=["all that is seen there", "one of two", "another", "one of any"],
)
def test_who_may_approve_for_every_tenant_that_the_bot_sees_there_extends_it(
    desk: Desk, tenants: set[str] | None, may: bool
) -> None:
    _, message = refused(desk, 4)
    desk.rule(tenants=tenants and frozenset(tenants))
    with contextlib.nullcontext() if may else pytest.raises(NotAllowedError):
        desk.budget.extend(message, DORA, CHANNEL)
    assert allowed(desk) == (6 if may else 3)


def test_the_tenants_that_a_budget_is_for_are_those_that_the_configuration_names() -> None:
    source = {"host": "127.0.0.1", "user": "root@sys"}
    settings = Settings.model_validate(
        {
            "data_sources": {"whole": source, "part": source | {"tenants": ["sys", "shop"]}},
            "access": [{"who": ["U01ALICE"], "may": ["view"]}],
        }
    )
    rules = closing_rules(settings)
    assert (rules.of("whole").tenants, rules.of("part").tenants) == (None, frozenset({"sys", "shop"}))


def test_who_may_extend_it_is_named_with_the_call(desk: Desk) -> None:
    error = BudgetError("too much", source="demo")
    assert desk.budget.call(error, ALICE, CHANNEL)[1] == (BOB.id,)
    desk.rule(tenants=frozenset({"sys"}))
    assert desk.budget.call(error, ALICE, CHANNEL)[1] == (BOB.id, DORA.id)


def test_whoever_may_approve_allows_as_much_again_until_the_time_is_over(desk: Desk) -> None:
    confirm(desk, ask(desk, *sleepers(desk, 3)))
    request, message = refused(desk)
    extension = desk.budget.extend(message, BOB, CHANNEL)
    assert extension == Extension("demo", BOB, 3, 6, "10 min", added=True)
    assert outcomes(confirm(desk, request)) == [Outcome.CLOSED]
    with pytest.raises(BudgetError, match=r"4 sessions or queries were closed .*; 6 are allowed there"):
        confirm(desk, ask(desk, *sleepers(desk, 3)))
    desk.clock.ahead += WINDOW
    with pytest.raises(BudgetError, match=r"0 sessions or queries were closed .*; 3 are allowed there"):
        confirm(desk, ask(desk, *sleepers(desk, 4)))


def test_a_message_allows_more_once_however_often_and_by_whomever_it_is_pressed(desk: Desk) -> None:
    desk.rule(tenants=frozenset({"sys"}))
    _, message = refused(desk, 4)
    extensions = [desk.budget.extend(message, person, CHANNEL) for person in (DORA, BOB, DORA)]
    assert extensions[0] == Extension("demo", DORA, 3, 6, "10 min", added=True)
    assert extensions[1:] == [replace(extensions[0], added=False)] * 2
    assert allowed(desk) == 6


def test_a_message_that_is_pressed_on_two_replicas_in_the_same_instant_allows_more_once(desk: Desk) -> None:
    _, message = refused(desk, 4)
    stores = [Store(Database(f"sqlite:///{desk.path}")) for _ in range(2)]
    start = threading.Barrier(8)

    def press(number: int) -> bool:
        start.wait()
        with stores[number % 2].database.writing() as connection:
            return budget.extend(connection, int(message), BOB, THREE, desk.clock()).added

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(press, range(8))) == 1
    assert allowed(desk) == 6
    for store in stores:
        store.database.close()


def test_two_messages_about_one_shortage_allow_more_once_and_a_later_one_allows_more_again(desk: Desk) -> None:
    (_, first), (_, second) = refused(desk, 4), refused(desk, 5)
    assert desk.budget.extend(second, BOB, CHANNEL).added
    assert not desk.budget.extend(first, BOB, CHANNEL).added, "what it says was so before Bob's first press"
    assert allowed(desk) == 6
    _, third = refused(desk, 7)
    assert desk.budget.extend(third, BOB, CHANNEL) == Extension("demo", BOB, 3, 9, "10 min", added=True)
    assert not desk.budget.extend(second, BOB, CHANNEL).added
    assert allowed(desk) == 9


def test_a_refusal_from_before_an_extension_allows_nothing_more_though_its_message_comes_after_it(desk: Desk) -> None:
    _, message = refused(desk, 4)
    with pytest.raises(BudgetError) as told:
        confirm(desk, ask(desk, *sleepers(desk, 4)))
    desk.budget.extend(message, BOB, CHANNEL)
    assert not desk.budget.extend(call(desk, told.value), BOB, CHANNEL).added
    assert allowed(desk) == 6


def test_an_old_message_allows_nothing_more(desk: Desk) -> None:
    _, message = refused(desk, 4)
    desk.clock.ahead += WINDOW
    with pytest.raises(RequestError, match=r"older than the 10 min that it is about. Your press allows nothing more"):
        desk.budget.extend(message, BOB, CHANNEL)
    assert allowed(desk) == 3


@pytest.mark.parametrize("value", ["demo", "", "0", "1", "-1", "9" * 30, "４", "1 OR 1"])
def test_a_message_that_the_store_does_not_know_allows_nothing(desk: Desk, value: str) -> None:
    refused(desk, 4)
    with pytest.raises(RequestError, match="not known any more"):
        desk.budget.extend(value, BOB, CHANNEL)
    assert allowed(desk) == 3


def test_a_message_in_another_channel_allows_nothing(desk: Desk) -> None:
    _, message = refused(desk, 4)
    with pytest.raises(NotAllowedError, match="belongs to another channel"):
        desk.budget.extend(message, BOB, "C02OTHER")
    assert allowed(desk) == 3


def test_what_somebody_agreed_to_counts_and_not_a_budget_that_is_larger_since(desk: Desk) -> None:
    _, message = refused(desk, 4)
    desk.budget.extend(message, BOB, CHANNEL)
    desk.rule(budget=replace(THREE, most=4))
    assert allowed(desk) == 4 + 3


def test_a_refusal_says_to_how_many_it_must_be_extended_and_whether_that_will_do(desk: Desk) -> None:
    wanted = "Somebody who may approve for all of demo must extend the budget by 3, to 6; then press again"
    for count, end in ((6, "."), (7, ", to be told what is missing still.")):
        with pytest.raises(BudgetError) as told:
            confirm(desk, ask(desk, *sleepers(desk, count)), typed=count)
        assert str(told.value).endswith(wanted + end)


def test_what_is_closed_or_allowed_on_another_data_source_is_not_counted(desk: Desk) -> None:
    elsewhere = replace(ask(desk, *sleepers(desk, 3)), id="elsewhere", source="other")
    desk.store.requests.add(elsewhere)
    assert desk.store.decisions.claim(elsewhere, ALICE, Mode.SESSION, desk.clock(), THREE)
    message = int(call(desk, BudgetError("", source="other")))
    with desk.store.database.writing() as connection:
        budget.extend(connection, message, BOB, THREE, desk.clock())
    assert outcomes(confirm(desk, ask(desk, *sleepers(desk, 3)))) == [Outcome.CLOSED] * 3
    with pytest.raises(BudgetError, match=ENDED):
        confirm(desk, ask(desk, *sleepers(desk, 1)))


def test_whoever_comes_too_late_is_told_that_and_not_that_it_is_too_much(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ask(desk, *sleepers(desk, 3))
    assert desk.store.decisions.claim(request, BOB, Mode.SESSION, desk.clock(), THREE)
    desk.rule(budget=replace(THREE, most=2))  # for which this press would be too much as well
    before = Part(request, request, {}, None)  # as read before Bob's press
    monkeypatch.setattr(desk.approvals, "confirmable", lambda *_: before)
    with pytest.raises(RequestError, match="already confirmed") as told:
        confirm(desk, request)
    assert told.value.first == BOB.id


def test_presses_at_once_on_two_replicas_never_exceed_it(desk: Desk) -> None:
    requests = [ask(desk, *sleepers(desk, 1)) for _ in range(8)]
    stores = [Store(Database(f"sqlite:///{desk.path}")) for _ in range(2)]
    start = threading.Barrier(8)

    def press(number: int) -> bool:
        store, request = stores[number % 2], requests[number]
        start.wait()
        try:
            return store.decisions.claim(request, ALICE, Mode.SESSION, desk.clock(), THREE)
        except BudgetError:
            return False

    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(press, range(8)))
    assert sum(claims) == 3
    assert [desk.state(one) is State.CLAIMED for one in requests] == claims
    for store in stores:
        store.database.close()


def test_a_press_that_a_stopped_bot_left_counts_what_it_had_sent(desk: Desk) -> None:
    request = ask(desk, *sleepers(desk, 3))
    now = desk.clock()
    assert desk.store.decisions.claim(request, ALICE, Mode.SESSION, now, THREE)
    desk.store.intents.intend(request, request.targets[0], "KILL 5", now)
    rest = TargetOutcome(Outcome.NOT_SENT, "", now)
    desk.store.outcomes.conclude(request, {1: TargetOutcome(Outcome.UNVERIFIED, "", now), 2: rest, 3: rest}, now)
    assert outcomes(confirm(desk, ask(desk, *sleepers(desk, 2)))) == [Outcome.CLOSED] * 2
