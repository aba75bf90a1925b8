"""Break-glass: a requester who confirms alone because nobody who may approve is there; and the review of it."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from bot.access import Person, Right, Rule
from bot.closing.approval import Confirmation
from bot.closing.audit_query import AuditQuery
from bot.closing.break_glass import MOST_CALLED, BreakGlass
from bot.closing.model import ApprovalPolicy, CardPlace, ClosingRequest, Outcome, State
from bot.closing.store import audit_log
from bot.closing.targets import Wanted
from bot.errors import InputError, NotAllowedError, RequestError, StoreError
from bot.sessions.model import Mode
from tests.closing.conftest import ALICE, BOB, BREAK_GLASS_AFTER, CAROL, CHANNEL, DORA, GUS, Desk, record_of, tamper
from tests.closing.several import ask, confirm, outcomes, sleepers
from tests.sessions.examples import inner_of, sql_of
from tests.support.patience import PATIENCE

WHY = "Everybody else is asleep"


@pytest.fixture
def desk(two_person_desk: Desk) -> Desk:
    return two_person_desk


def broken(desk: Desk, session: int) -> ClosingRequest:
    """A request of Alice's for which she has used break-glass."""
    request = ask(desk, session)
    return desk.breaks_glass(request.id, ALICE, CHANNEL, WHY)


def confirmed_alone(desk: Desk) -> ClosingRequest:
    request = broken(desk, *sleepers(desk, 1))
    desk.clock.ahead += BREAK_GLASS_AFTER
    return confirm(desk, request)


def test_it_is_off_unless_the_configuration_says_after_how_long(desk: Desk) -> None:
    desk.rule(break_glass_after=None)
    request = ask(desk, *sleepers(desk, 1))
    assert desk.break_glass.after(request) is None
    with pytest.raises(NotAllowedError, match="Break-glass is not switched on for demo"):
        desk.breaks_glass(request.id, ALICE, CHANNEL, WHY)
    desk.clock.ahead += timedelta(seconds=90)
    with pytest.raises(NotAllowedError, match="needs a second person"):
        confirm(desk, request)


def test_where_one_press_is_enough_there_is_nothing_to_break(desk: Desk) -> None:
    desk.rule(approval=ask(desk, *sleepers(desk, 1)).approval.REQUESTER)
    request = ask(desk, *sleepers(desk, 1))
    with pytest.raises(NotAllowedError, match="Break-glass is not switched on"):
        desk.breaks_glass(request.id, ALICE, CHANNEL, WHY)


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_it_needs_a_reason(desk: Desk, reason: str) -> None:
    request = ask(desk, *sleepers(desk, 1))
    with pytest.raises(InputError, match="Break-glass needs a reason"):
        desk.breaks_glass(request.id, ALICE, CHANNEL, reason)
    assert desk.store.requests.find(request.id) == request


@pytest.mark.parametrize("person", [BOB, CAROL, DORA, GUS])
def test_nobody_but_the_requester_can_use_it(desk: Desk, person: Person) -> None:
    request = ask(desk, *sleepers(desk, 1))
    with pytest.raises(NotAllowedError, match="Only who asked for the close can use break-glass"):
        desk.breaks_glass(request.id, person, CHANNEL, WHY)
    assert desk.store.requests.find(request.id) == request


def test_a_requester_who_may_not_close_any_more_cannot_use_it(desk: Desk) -> None:
    request = ask(desk, *sleepers(desk, 1))
    desk.store.requests.add(replace(request, id="of-gus", requester=GUS))  # asked for while he still could
    with pytest.raises(NotAllowedError, match="You may not close sessions on demo"):
        desk.breaks_glass("of-gus", GUS, CHANNEL, WHY)


def test_a_requester_who_could_not_confirm_an_override_anyway_is_told_so_at_once(desk: Desk) -> None:
    (guarded,) = sleepers(desk, 1, user="guarded")
    request = desk.ask(ALICE, CHANNEL, "demo", [Wanted(guarded)], Mode.SESSION, reason="stuck", override=True)
    with pytest.raises(NotAllowedError, match="You may not approve closing sessions on demo"):
        desk.breaks_glass(request.id, ALICE, CHANNEL, WHY)
    by_bob = desk.ask(BOB, CHANNEL, "demo", [Wanted(guarded)], Mode.SESSION, reason="stuck", override=True)
    desk.breaks_glass(by_bob.id, BOB, CHANNEL, WHY)
    desk.clock.ahead += BREAK_GLASS_AFTER
    assert outcomes(confirm(desk, by_bob, person=BOB)) == [Outcome.CLOSED]


def test_it_can_be_used_once(desk: Desk) -> None:
    request = broken(desk, *sleepers(desk, 1))
    with pytest.raises(RequestError, match="Break-glass is already under way"):
        desk.breaks_glass(request.id, ALICE, CHANNEL, "again")
    assert desk.store.requests.find(request.id) == request
    assert [event for event, _ in record_of(desk, request)] == ["request", "break glass"]


def test_until_the_delay_is_over_the_requesters_press_says_how_long_it_takes(desk: Desk) -> None:
    (session,) = sleepers(desk, 1)
    request = broken(desk, session)
    assert request.alone_from is not None
    desk.clock.ahead = request.alone_from - timedelta(seconds=9.5) - (desk.clock() - desk.clock.ahead)
    with pytest.raises(NotAllowedError, match=rf"alone in (9|10) s, from {request.alone_from:%H:%M:%S} UTC on"):
        confirm(desk, request)
    assert desk.state(request) is State.OPEN
    assert desk.row(session)


def test_after_the_delay_the_requester_confirms_alone_and_the_record_says_so(desk: Desk) -> None:
    done = confirmed_alone(desk)
    assert outcomes(done) == [Outcome.CLOSED]
    assert done.confirmed_alone
    events = record_of(desk, done)
    assert [event for event, _ in events] == ["request", "break glass", "confirm", "intent", "outcome"]
    assert events[1][1]["reason"] == WHY


def test_the_requests_time_begins_anew_when_the_delay_is_over(desk: Desk) -> None:
    request = ask(desk, *sleepers(desk, 1))
    desk.clock.ahead += timedelta(seconds=110)
    later = desk.breaks_glass(request.id, ALICE, CHANNEL, WHY)
    assert later.alone_from is not None
    assert later.expires_at - later.alone_from == timedelta(minutes=2)
    desk.clock.ahead += timedelta(seconds=60 + 110)
    assert desk.closer.expire() == []
    desk.clock.ahead += timedelta(seconds=11)
    with pytest.raises(RequestError, match="has expired"):
        confirm(desk, later)
    assert [late.id for late in desk.closer.expire()] == [request.id]


@pytest.mark.parametrize("after", [timedelta(), BREAK_GLASS_AFTER])
def test_somebody_who_may_approve_may_confirm_meanwhile(desk: Desk, after: timedelta) -> None:
    request = broken(desk, *sleepers(desk, 1))
    desk.clock.ahead += after
    done = confirm(desk, request, person=DORA)
    assert outcomes(done) == [Outcome.CLOSED]
    assert not done.confirmed_alone
    assert not done.to_review
    assert desk.store.break_glass.to_review() == []


def test_somebody_who_may_approve_may_stop_it_meanwhile(desk: Desk) -> None:
    (session,) = sleepers(desk, 1)
    request = broken(desk, session)
    assert desk.cancel(request.id, DORA).state is State.CANCELLED
    desk.clock.ahead += BREAK_GLASS_AFTER
    with pytest.raises(RequestError, match="was cancelled") as told:
        confirm(desk, request)
    assert told.value.first == DORA.id
    assert desk.row(session)


def test_after_a_cancel_or_its_time_there_is_nothing_to_break(desk: Desk) -> None:
    ended, late = (ask(desk, *sleepers(desk, 1)) for _ in range(2))
    desk.cancel(ended.id, BOB)
    with pytest.raises(RequestError, match="was cancelled"):
        desk.breaks_glass(ended.id, ALICE, CHANNEL, WHY)
    desk.clock.ahead += timedelta(minutes=2)
    with pytest.raises(RequestError, match="has expired"):
        desk.breaks_glass(late.id, ALICE, CHANNEL, WHY)


def test_a_cancel_in_the_same_moment_is_told_and_not_taken_for_another_break_glass(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ask(desk, *sleepers(desk, 1))
    allow = desk.store.break_glass.allow

    def after_bob(*arguments: Any, **more: Any) -> bool:
        desk.cancel(request.id, BOB)
        return allow(*arguments, **more)

    monkeypatch.setattr(desk.store.break_glass, "allow", after_bob)  # Bob is quicker by a moment
    with pytest.raises(RequestError, match="was cancelled") as told:
        desk.breaks_glass(request.id, ALICE, CHANNEL, WHY)
    assert told.value.first == BOB.id


def test_what_was_confirmed_alone_is_to_be_reviewed_once_by_somebody_else_who_may_approve(desk: Desk) -> None:
    done = confirmed_alone(desk)
    assert done.to_review
    assert [one.id for one in desk.audit.to_review(ALICE, CHANNEL)] == [done.id]
    with pytest.raises(NotAllowedError, match="Somebody else must review"):
        desk.break_glass.review(done.id, ALICE)
    with pytest.raises(NotAllowedError, match="You may not approve"):
        desk.break_glass.review(done.id, CAROL)
    signed = desk.break_glass.review(done.id, DORA)
    assert (signed.to_review, signed.confirmed_alone, signed.reviewed_by) == (False, True, DORA)
    assert desk.store.break_glass.to_review() == []
    with pytest.raises(RequestError, match="already reviewed") as told:
        desk.break_glass.review(done.id, BOB)
    assert told.value.first == DORA.id
    assert [event for event, _ in record_of(desk, done)][-2:] == ["outcome", "review"]


def test_one_who_approves_himself_still_needs_somebody_else_for_the_review(desk: Desk) -> None:
    request = desk.ask(BOB, CHANNEL, "demo", [Wanted(sleepers(desk, 1)[0])], Mode.SESSION)
    desk.breaks_glass(request.id, BOB, CHANNEL, WHY)
    desk.clock.ahead += BREAK_GLASS_AFTER
    done = confirm(desk, request, person=BOB)
    assert done.to_review
    with pytest.raises(NotAllowedError, match="Somebody else must review"):
        desk.break_glass.review(done.id, BOB)


def test_what_was_not_confirmed_alone_is_not_reviewed(desk: Desk) -> None:
    done = confirm(desk, ask(desk, *sleepers(desk, 1)), person=BOB)
    with pytest.raises(RequestError, match="was not confirmed alone"):
        desk.break_glass.review(done.id, DORA)
    assert "review" not in [event for event, _ in record_of(desk, done)]


def test_a_signature_in_advance_is_not_taken_since_the_press_may_come_to_nothing(desk: Desk) -> None:
    """Signed while under way, then opened again: the requester could confirm alone once more, unseen."""
    request = broken(desk, *sleepers(desk, 1))
    desk.clock.ahead += BREAK_GLASS_AFTER
    assert desk.store.decisions.claim(request, ALICE, Mode.SESSION, desk.clock())
    with pytest.raises(RequestError, match="still being carried out"):
        desk.break_glass.review(request.id, BOB)
    assert not desk.store.break_glass.review(request, BOB, desk.clock())
    assert [one.state for one in desk.restarted().resume()] == [State.OPEN]
    assert confirm(desk, request).to_review


def test_what_waits_for_a_review_is_kept_and_listed_however_old_it_is(desk: Desk) -> None:
    done = confirmed_alone(desk)
    later = desk.clock() + timedelta(days=400)
    desk.store.old_records.forget(later, later)
    assert [one.id for one in desk.store.break_glass.to_review()] == [done.id]
    assert desk.audit.to_review(GUS, CHANNEL) == [], "who may not see the data source is not told"
    told, _since = desk.audit.read(ALICE, CHANNEL, AuditQuery(timedelta(hours=1)))
    assert [one.entry.event for one in told] == ["forget"]


def stopped(desk: Desk, session: int) -> ClosingRequest:
    """A request whose break-glass Dora has stopped."""
    request = broken(desk, session)
    return desk.cancel(request.id, DORA)


def test_a_stop_holds_for_every_later_request_and_for_one_that_was_broken_open_before(desk: Desk) -> None:
    first, other = sleepers(desk, 2)
    before = broken(desk, first)
    assert stopped(desk, first).stopped
    desk.clock.ahead += BREAK_GLASS_AFTER
    with pytest.raises(NotAllowedError, match="needs a second person"):
        confirm(desk, before)
    desk.rule(approval=ApprovalPolicy.REQUESTER)
    later = ask(desk, first)
    assert later.approval is ApprovalPolicy.SECOND_PERSON
    with pytest.raises(NotAllowedError, match=f"is off for session {first}: somebody has pressed Stop") as told:
        desk.breaks_glass(later.id, ALICE, CHANNEL, WHY)
    assert told.value.who == (DORA.id,)
    assert ask(desk, other).approval is ApprovalPolicy.REQUESTER, "another session is another matter"
    assert desk.row(first)


def test_a_stop_is_lifted_by_who_may_approve_and_asked_for_neither(desk: Desk) -> None:
    (session,) = sleepers(desk, 1)
    of_bob = desk.ask(BOB, CHANNEL, "demo", [Wanted(session)], Mode.SESSION)
    desk.breaks_glass(of_bob.id, BOB, CHANNEL, WHY)
    desk.cancel(of_bob.id, DORA)
    later = ask(desk, session)
    asked = "You asked for this, so somebody else"
    for nobody, why in ((ALICE, "You may not approve"), (GUS, "You may not approve"), (BOB, asked)):
        with pytest.raises(NotAllowedError, match=why):
            desk.break_glass.lift(later.id, nobody)
    assert desk.approvals.open_request(later.id).stops
    desk.break_glass.lift(later.id, DORA)
    assert desk.approvals.open_request(later.id).stops == ()
    with pytest.raises(RequestError, match="No Stop holds for this any more"):
        desk.break_glass.lift(later.id, DORA)
    assert record_of(desk, of_bob)[-1][0] == "lift stop"
    assert desk.breaks_glass(later.id, ALICE, CHANNEL, WHY).alone_from is not None


def test_lifting_lifts_every_stop_of_a_session(desk: Desk) -> None:
    (session,) = sleepers(desk, 1)
    first, second = (broken(desk, session) for _ in range(2))
    desk.cancel(first.id, BOB)
    assert desk.approvals.cancel(second.id, BOB, called=True).request.stopped, "in the message that told of it"
    later = ask(desk, session)
    assert len(desk.approvals.open_request(later.id).stops) == 2
    assert desk.break_glass.lift(later.id, BOB).stops == ()


def test_a_stop_that_is_pressed_while_others_are_called_lets_no_break_glass_begin_even_once_it_is_lifted(
    desk: Desk,
) -> None:
    (session,) = sleepers(desk, 1)
    stopped_one, request = broken(desk, session), ask(desk, session)

    def tell(_request: ClosingRequest, _due: datetime, person: str) -> CardPlace | str:
        if person == DORA.id:
            desk.cancel(stopped_one.id, DORA)
        return CardPlace(f"D{person}", "1")

    with pytest.raises(NotAllowedError, match=f"is off for session {session}: somebody has pressed Stop"):
        desk.break_glass.start(request.id, ALICE, CHANNEL, WHY, tell)
    assert desk.break_glass.lift(request.id, DORA).alone_from is None
    desk.clock.ahead += BREAK_GLASS_AFTER
    with pytest.raises(NotAllowedError, match="needs a second person"):
        confirm(desk, request)


def test_a_stop_between_the_look_at_rights_and_the_claim_is_heeded_and_closes_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    (session,) = sleepers(desk, 1)
    stopped_one = broken(desk, session)
    desk.rule(approval=ApprovalPolicy.REQUESTER)
    request, claim = ask(desk, session), desk.store.decisions.claim

    def after_dora(*arguments: Any, **more: Any) -> bool:
        desk.cancel(stopped_one.id, DORA)
        return claim(*arguments, **more)

    monkeypatch.setattr(desk.store.decisions, "claim", after_dora)  # Dora is quicker by a moment
    with pytest.raises(NotAllowedError, match="needs a second person"):
        confirm(desk, request)
    assert desk.state(request) is State.OPEN
    assert desk.row(session)


def test_a_stop_whose_other_break_glasses_cannot_be_ended_is_none_at_all(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    (session,) = sleepers(desk, 1)
    request, other = (broken(desk, session) for _ in range(2))
    append = audit_log.append

    def full(connection: Any, at: datetime, event: str, *more: Any, **named: Any) -> int:
        if event == "end break glass":
            raise StoreError("The store does not answer.")
        return append(connection, at, event, *more, **named)

    with monkeypatch.context() as patch:
        patch.setattr(audit_log, "append", full)
        with pytest.raises(StoreError):
            desk.cancel(request.id, DORA)
    assert (desk.state(request), desk.approvals.open_request(other.id).stops) == (State.OPEN, ())


def test_an_approver_has_as_long_as_before_where_break_glass_is_taken_out(desk: Desk) -> None:
    request = broken(desk, *sleepers(desk, 1))
    desk.clock.ahead += BREAK_GLASS_AFTER + timedelta(minutes=1, seconds=30)
    desk.rule(break_glass_after=None)
    assert outcomes(confirm(desk, request, person=BOB)) == [Outcome.CLOSED]


def test_who_asked_stops_nothing_but_their_own_request(desk: Desk) -> None:
    (session,) = sleepers(desk, 1)
    request = broken(desk, session)
    assert not desk.cancel(request.id, ALICE).stopped
    assert desk.breaks_glass(ask(desk, session).id, ALICE, CHANNEL, WHY)


def test_a_stop_that_nobody_has_lifted_outlives_the_records_time(desk: Desk) -> None:
    (session,) = sleepers(desk, 1)
    request = stopped(desk, session)
    tamper(desk, request, 1, sql="SELECT 'a name'", inner_sql="SELECT 'another'")
    desk.clock.ahead += timedelta(days=400)
    desk.store.old_records.forget(desk.clock() - timedelta(days=1), desk.clock())
    kept = desk.store.requests.get(request.id).targets[0].session
    assert (sql_of(kept), inner_of(kept)) == (None, None), "what it ran is let go"
    assert desk.approvals.open_request(ask(desk, session).id).stops


def test_a_break_glass_counts_from_when_the_first_of_those_called_was_told(desk: Desk) -> None:
    request = ask(desk, *sleepers(desk, 1))
    asked_at = desk.clock()
    told: list[str] = []

    def tell(_request: ClosingRequest, _due: datetime, person: str) -> CardPlace | str:
        told.append(person)
        desk.clock.ahead += timedelta(seconds=40)
        return "the person has left" if person == BOB.id else CardPlace(f"D{person}", "1")

    broken_ = desk.break_glass.start(request.id, ALICE, CHANNEL, WHY, tell)
    assert told == [BOB.id, DORA.id], "who asked is not called"
    assert [one.person for one in broken_.calls] == [DORA.id]
    assert broken_.alone_from is not None
    assert broken_.alone_from >= asked_at + timedelta(seconds=80) + BREAK_GLASS_AFTER
    assert dict(record_of(desk, request))["break glass"]["called"] == [DORA.id]


def test_once_the_first_is_told_all_others_are_at_the_same_time(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    people, together = ["U1", "U2", "U3", "U4"], threading.Barrier(3)
    monkeypatch.setattr(BreakGlass, "_to_call", lambda *_: people)

    def tell(_request: ClosingRequest, _due: datetime, person: str) -> CardPlace | str:
        if person != "U1":
            together.wait(PATIENCE)
        return CardPlace(f"D{person}", "1")

    broken_ = desk.break_glass.start(ask(desk, *sleepers(desk, 1)).id, ALICE, CHANNEL, WHY, tell)
    assert sorted(one.person for one in broken_.calls) == people


def test_where_nobody_is_told_nothing_has_changed(desk: Desk) -> None:
    request = ask(desk, *sleepers(desk, 1))
    said = (
        "No approver could be reached by direct message (rate limit; try again in a minute), so break-glass was not "
        "started. Ask somebody who may approve to press."
    )
    with pytest.raises(RequestError, match=re.escape(said)):
        desk.break_glass.start(request.id, ALICE, CHANNEL, WHY, lambda *_: "rate limit; try again in a minute")
    assert desk.store.requests.find(request.id) == request


def test_it_is_used_in_the_requests_channel(desk: Desk) -> None:
    request = ask(desk, *sleepers(desk, 1))
    with pytest.raises(NotAllowedError, match="belongs to another channel"):
        desk.breaks_glass(request.id, ALICE, "C02OTHER", WHY)


def test_who_was_called_stops_it_also_without_a_right_by_now(desk: Desk) -> None:
    request = broken(desk, *sleepers(desk, 1))
    assert BOB.id in [one.person for one in request.calls]
    desk.access._rules = tuple(one for one in desk.access._rules if BOB.id not in one.who)
    assert desk.cancel(request.id, BOB).stopped


def test_no_more_than_twenty_are_called(desk: Desk) -> None:
    many = frozenset(f"U{number:02}MANY" for number in range(25))
    desk.access._rules += (Rule(many, frozenset({Right.APPROVE})),)
    request = broken(desk, *sleepers(desk, 1))
    assert len({one.person for one in request.calls}) == len(request.calls) == MOST_CALLED
    for extra in many - {one.person for one in request.calls}:
        assert desk.approvals.confirmable(Confirmation(request.id, Person(extra, "T1"), CHANNEL, Mode.SESSION)), (
            "by right all the same"
        )
