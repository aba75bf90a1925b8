"""Whose press a request takes: the requester's, a second person's; who may end it; what is shown before."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from bot.access import Access, Person, Right, Rule
from bot.closing.approval import Confirmation
from bot.closing.model import ApprovalPolicy, ClosingRequest, Outcome, State
from bot.closing.rules import SourceRules
from bot.closing.targets import Wanted
from bot.errors import NotAllowedError, PersonUnknownError, RequestError, StoreError
from bot.sessions.model import Mode
from tests.closing.conftest import ALICE, BOB, CAROL, CHANNEL, DORA, GUS, Desk, Nobody, record_of, tamper
from tests.closing.several import ask, confirm, outcomes, sleepers
from tests.sessions.examples import sql_of
from tests.support.stage import session_id

SECOND, REQUESTER = ApprovalPolicy.SECOND_PERSON, ApprovalPolicy.REQUESTER


def test_the_requesters_own_press_is_refused_and_on_record(two_person_desk: Desk) -> None:
    desk = two_person_desk
    (session,) = sleepers(desk, 1)
    request = ask(desk, session)
    with pytest.raises(NotAllowedError, match="needs a second person: somebody else who may approve must press"):
        confirm(desk, request)
    assert desk.state(request) is State.OPEN
    assert desk.row(session)
    (event, details) = record_of(desk, request)[-1]
    assert event == "refused"
    assert "needs a second person" in details["why"]


@pytest.mark.parametrize("approver", [BOB, DORA])
def test_somebody_who_may_approve_closes_it_even_if_they_may_not_ask(two_person_desk: Desk, approver: Person) -> None:
    desk = two_person_desk
    (session,) = sleepers(desk, 1)
    done = confirm(desk, ask(desk, session), person=approver)
    assert outcomes(done) == [Outcome.CLOSED]
    assert (done.requester, done.decided_by) == (ALICE, approver)
    assert not done.confirmed_alone


def test_somebody_who_may_only_close_is_no_second_person(two_person_desk: Desk) -> None:
    desk = two_person_desk
    (session,) = sleepers(desk, 1)
    request = ask(desk, session)
    with pytest.raises(NotAllowedError, match="You may not approve closing sessions on demo"):
        confirm(desk, request, person=CAROL)
    assert desk.state(request) is State.OPEN
    assert desk.row(session)


def test_where_one_press_is_enough_the_right_to_approve_is_not_the_right_to_close(desk: Desk) -> None:
    (session,) = sleepers(desk, 1)
    with pytest.raises(NotAllowedError, match="You may not close sessions on demo"):
        confirm(desk, ask(desk, session), person=DORA)
    assert desk.row(session)


def test_a_second_person_closes_only_what_is_of_the_tenants_they_approve_for(two_person_desk: Desk) -> None:
    desk = two_person_desk
    other, own = sleepers(desk, 2)
    request = ask(desk, other, own)
    tamper(desk, request, 1, tenant="billing")
    left: list[ClosingRequest] = []
    done = confirm(desk, request, person=DORA, leave=left.append)
    assert outcomes(done) == [Outcome.CLOSED]
    assert [one.session.id for one in left[0].targets] == [other]
    assert desk.row(other)
    assert [details["target"] for event, details in record_of(desk, request) if event == "intent"] == [2]


def test_a_second_person_of_another_tenant_altogether_closes_nothing(two_person_desk: Desk) -> None:
    desk = two_person_desk
    (session,) = sleepers(desk, 1)
    request = ask(desk, session)
    tamper(desk, request, 1, tenant="billing")
    with pytest.raises(NotAllowedError, match="approve closing sessions of tenant billing on demo"):
        confirm(desk, request, person=DORA)
    assert desk.row(session)


@pytest.mark.parametrize(
    ("here", "of_tenants", "tenants", "wanted"),
    [
        (REQUESTER, {}, ["shop"], REQUESTER),
        (SECOND, {}, ["shop"], SECOND),
        (REQUESTER, {"billing": SECOND}, ["billing"], SECOND),
        (REQUESTER, {"billing": SECOND}, ["Billing"], REQUESTER),
        (REQUESTER, {"billing": SECOND}, ["shop", "billing"], SECOND),
        (SECOND, {"test": REQUESTER}, ["test"], REQUESTER),
        (SECOND, {"test": REQUESTER}, ["test", "shop"], SECOND),
        (SECOND, {"test": REQUESTER}, [None], SECOND),
        (SECOND, {"test": REQUESTER}, ["test", None], SECOND),
        (REQUESTER, {"billing": SECOND}, [None], SECOND),
        (REQUESTER, {"test": REQUESTER}, [None], REQUESTER),
    ],
)
def test_of_several_tenants_the_strictest_rule_holds(
    here: ApprovalPolicy, of_tenants: dict[str, ApprovalPolicy], tenants: list[str | None], wanted: ApprovalPolicy
) -> None:
    assert SourceRules(here, of_tenants).approval_for(tenants) is wanted


def test_a_tenant_may_want_a_second_person_where_its_data_source_does_not(desk: Desk) -> None:
    desk.rule(tenant_approval={"sys": SECOND})
    (session,) = sleepers(desk, 1)
    request = ask(desk, session)
    assert request.approval is SECOND
    with pytest.raises(NotAllowedError, match="needs a second person"):
        confirm(desk, request)
    assert outcomes(confirm(desk, request, person=BOB)) == [Outcome.CLOSED]


def test_a_request_over_several_tenants_takes_the_strictest_of_their_rules(desk: Desk) -> None:
    desk.rule(tenant_approval={"billing": SECOND})
    one, other = sleepers(desk, 2)
    source = desk.sessions.source("demo")
    find_all = source.find_all

    def with_tenant(ids: list[int], tenants: frozenset[str] | None) -> list[Any]:
        found = find_all(ids, tenants)
        return [replace(session, tenant="billing" if session.id == other else "sys") for session in found]

    source.find_all = with_tenant  # type: ignore[method-assign, assignment]  # this server has one tenant
    assert ask(desk, one).approval is REQUESTER
    of_both = desk.requests.ask(ALICE, CHANNEL, "demo", [Wanted(one), Wanted(other)], Mode.SESSION)
    assert {each.approval for each in of_both} == {SECOND}


@pytest.mark.parametrize("person", [ALICE, BOB, CAROL, DORA])
def test_a_request_is_ended_by_its_requester_and_by_whoever_may_close_or_approve(desk: Desk, person: Person) -> None:
    request = ask(desk, *sleepers(desk, 1))
    ended = desk.cancel(request.id, person)
    assert (ended.state, ended.decided_by) == (State.CANCELLED, person)
    assert [event for event, _ in record_of(desk, request)] == ["request", "cancel"]


def test_a_request_is_ended_by_nobody_else(desk: Desk) -> None:
    request = ask(desk, *sleepers(desk, 1))
    with pytest.raises(NotAllowedError):
        desk.cancel(request.id, GUS)
    tamper(desk, request, 1, tenant="billing")
    for stranger in (CAROL, DORA):
        with pytest.raises(NotAllowedError):
            desk.cancel(request.id, stranger)
    assert desk.state(request) is State.OPEN


@pytest.mark.parametrize("right", [Right.CLOSE, Right.APPROVE])
def test_whoever_may_stop_it_by_a_user_group_that_slack_does_not_tell_is_not_told_that_no_rule_allows_it(
    desk: Desk, right: Right
) -> None:
    class Silent(Nobody):
        def is_in_group(self, person: Person, group: str, ahead: Collection[str] = ()) -> bool:
            raise PersonUnknownError(f"who is in the user group {group}", "rate limit", "try again")

    request = ask(desk, *sleepers(desk, 1))
    sees = Rule(frozenset({GUS.id}), frozenset({Right.VIEW}))
    desk.approvals._access = Access([sees, Rule(frozenset({"S0DBA"}), frozenset({right}))], Silent())
    with pytest.raises(PersonUnknownError, match="Slack did not say who"):
        desk.cancel(request.id, GUS)
    assert desk.state(request) is State.OPEN


def test_a_request_that_has_run_out_of_time_cannot_be_cancelled(desk: Desk) -> None:
    request = ask(desk, *sleepers(desk, 1))
    desk.clock.ahead += timedelta(minutes=3)
    with pytest.raises(RequestError, match=r"has expired.*/kill-session \d+$"):
        desk.cancel(request.id, ALICE)


def test_before_the_second_press_the_targets_are_shown_as_they_are_now(two_person_desk: Desk) -> None:
    desk = two_person_desk
    worker = desk.runs("SELECT SLEEP(60)")
    gone, changed = desk.connect(), session_id(desk.connect())
    request = ask(desk, worker.id, session_id(gone), changed)
    tamper(desk, request, 3, peer="127.0.0.1:1")
    gone_id = session_id(gone)
    gone.close()
    desk.until(lambda: not desk.row(gone_id))
    desk.stops(worker)
    desk.starts(worker.connection, "SELECT SLEEP(60), 'later'")
    shown, present = desk.closer.present(Confirmation(request.id, BOB, CHANNEL, Mode.SESSION))
    assert sql_of(shown.shown.targets[0].session) == "SELECT SLEEP(60)", "as it was"
    assert {number: sql_of(session) for number, session in present.sessions.items()} == {1: "SELECT SLEEP(60), 'later'"}


def test_what_is_shown_is_shown_only_to_whoever_could_confirm(two_person_desk: Desk) -> None:
    desk = two_person_desk
    request = ask(desk, *sleepers(desk, 1))
    for person in (ALICE, CAROL, GUS):
        with pytest.raises(NotAllowedError):
            desk.closer.present(Confirmation(request.id, person, CHANNEL, Mode.SESSION))
    desk.cancel(request.id, ALICE)
    with pytest.raises(RequestError, match="was cancelled") as told:
        desk.closer.present(Confirmation(request.id, BOB, CHANNEL, Mode.SESSION))
    assert told.value.first == ALICE.id


def test_whose_press_is_wanted_is_named_without_the_requester(two_person_desk: Desk) -> None:
    desk = two_person_desk
    (session,) = sleepers(desk, 1)
    assert desk.approvals.approvers(ask(desk, session)) == (BOB.id, DORA.id)
    by_bob = desk.ask(BOB, CHANNEL, "demo", [Wanted(session)], Mode.SESSION)
    assert desk.approvals.approvers(by_bob) == (DORA.id,)


def test_who_presses_while_a_close_is_carried_out_is_told_that_and_by_whom(desk: Desk) -> None:
    request = ask(desk, *sleepers(desk, 1))
    assert desk.store.decisions.claim(request, ALICE, Mode.SESSION, desk.clock())
    with pytest.raises(RequestError, match="it is being carried out; its card will show what comes of it") as told:
        confirm(desk, request, person=BOB)
    assert told.value.first == ALICE.id


@pytest.mark.parametrize("other", [BOB, ALICE])
def test_a_press_that_was_thought_dead_sends_nothing_under_another_press(desk: Desk, other: Person) -> None:
    """A machine slept between its claim and its KILL; another replica has opened the request since, it was taken."""
    report = desk.runs("SELECT SLEEP(60)")
    request = ask(desk, report.id)
    intend = desk.store.intents.intend

    def late(*arguments: Any) -> None:
        desk.store.intents.intend = intend  # type: ignore[method-assign]  # from here on as it is
        (left,) = desk.restarted().resume()
        assert left.state is State.OPEN
        assert desk.store.decisions.claim(left, other, Mode.QUERY, desk.clock())
        intend(*arguments)

    desk.store.intents.intend = late  # type: ignore[method-assign, assignment]  # stands for the machine that slept
    with pytest.raises(StoreError, match="taken over in the meantime"):
        confirm(desk, request, Mode.SESSION)
    kept = desk.store.requests.find(request.id)
    assert kept is not None
    assert (kept.state, kept.decided_by, kept.decided_mode) == (State.CLAIMED, other, Mode.QUERY), "untouched"
    assert desk.row(report.id)["COMMAND"] == "Query"
    assert "intent" not in [event for event, _ in record_of(desk, request)]


def test_a_press_that_loses_to_one_that_came_to_nothing_is_told_to_press_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    (session,) = sleepers(desk, 1)
    request = ask(desk, session)
    claim = desk.store.decisions.claim

    def after_bob(*arguments: Any, **more: Any) -> bool:
        monkeypatch.setattr(desk.store.decisions, "claim", claim)
        now = desk.clock()
        assert claim(request, BOB, Mode.SESSION, now)
        late = claim(*arguments, **more)
        taken = desk.store.requests.find(request.id)
        assert taken is not None
        assert desk.store.leases.release(taken, now, "the data source cannot be reached")
        return late

    monkeypatch.setattr(desk.store.decisions, "claim", after_bob)  # Bob is quicker and finds the data source away
    with pytest.raises(RequestError, match="The request is open again"):
        confirm(desk, request)
    assert outcomes(confirm(desk, request)) == [Outcome.CLOSED]
