"""Break-glass: a requester confirms alone because nobody who may approve is there; stopped, lifted and reviewed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta

from bot.access import Access, Person, Right
from bot.closing.approval import Approvals, require_here, right_alone
from bot.closing.model import ApprovalPolicy, Call, CardPlace, Clock, ClosingRequest, State
from bot.closing.refusals import first_of
from bot.closing.rules import ClosingRules
from bot.closing.store import Store
from bot.errors import InputError, NotAllowedError, RequestError

MOST_CALLED = 20  # people who are told of a break-glass by direct message
_TOLD_AT_ONCE = 8

# Tells the person of that id from when on the requester may confirm alone; where it could not, why and what to do.
Tell = Callable[[ClosingRequest, datetime, str], CardPlace | str]
_NOBODY_TO_CALL = (
    "No approver could be reached by direct message, so break-glass was not started. Ask somebody who may approve to "
    "press; whoever runs this bot can name approvers by id or user group."
)
_REASONS = 2  # that are told where nobody could be


class BreakGlass:
    """Calls those who may approve before somebody confirms alone, and lets them answer for it afterwards."""

    def __init__(self, access: Access, approvals: Approvals, store: Store, rules: ClosingRules, clock: Clock) -> None:
        self._access = access
        self._approvals = approvals
        self._store = store
        self._rules = rules
        self._clock = clock

    def after(self, request: ClosingRequest) -> timedelta | None:
        """How long a requester would wait to confirm alone; None where that is not possible."""
        return self._rules.of(request.source).break_glass_after

    def breakable(self, request_id: str, person: Person, channel: str) -> tuple[ClosingRequest, timedelta]:
        """Return a request for which this person may use break-glass, and how long they then wait.

        Raises ``NotAllowedError``, ``PersonUnknownError`` or ``RequestError``.
        """
        request = self._approvals.open_request(request_id)
        after = self.after(request)
        if after is None or request.approval is not ApprovalPolicy.SECOND_PERSON:
            raise NotAllowedError(
                f"Break-glass is not switched on for {request.source}. Somebody else who may approve must press."
            )
        if person.id != request.requester.id:
            raise NotAllowedError("Only who asked for the close can use break-glass. If you may approve, press Close.")
        require_here(request, channel)
        _refuse_stopped(request)
        for target in request.targets:
            self._access.require(person, right_alone(request), request.source, channel, target.session.tenant)
        if not self._to_call(request):
            raise RequestError(_NOBODY_TO_CALL)
        return request, after

    def start(self, request_id: str, person: Person, channel: str, reason: str, tell: Tell) -> ClosingRequest:
        """Let the requester confirm alone after a while, because nobody who may approve is there.

        Those who may are told each, by direct message; it counts once one of them has been.
        Raises ``NotAllowedError``, ``PersonUnknownError``, ``InputError`` without a reason, or ``RequestError``.
        """
        request, after = self.breakable(request_id, person, channel)
        if not reason.strip():
            raise InputError("Break-glass needs a reason, for whoever reviews the close afterwards. Nothing was done.")
        request = replace(request, reason=reason.strip())
        others = iter(self._to_call(request))
        calls: list[Call] = []
        reasons: list[str] = []
        for one in others:
            place = tell(request, self._clock() + after, one)
            if isinstance(place, CardPlace):
                calls.append(Call(one, place))
                break
            reasons.append(place)
        if not calls:
            raise RequestError(_nobody_told(reasons))
        told_at = self._clock()
        due = told_at + after
        with ThreadPoolExecutor(_TOLD_AT_ONCE) as threads:  # the time runs for all of them
            told = threads.map(lambda one: (one, tell(request, due, one)), others)
            calls += [Call(one, place) for one, place in told if isinstance(place, CardPlace)]
        until = due + self._rules.confirm_within
        if not self._store.break_glass.allow(
            request, person, self._clock(), alone_from=due, expires_at=until, called_at=told_at, calls=calls
        ):
            self.breakable(request_id, person, channel)  # or somebody decided it, or pressed Stop, in the same moment
            raise RequestError("Break-glass is already under way for this request; its card says from when on.")
        return self._store.requests.get(request_id)

    def lift(self, request_id: str, person: Person) -> ClosingRequest:
        """Let the Stops that hold for sessions of this request hold no more; by somebody who may approve all of them.

        Raises ``NotAllowedError``, ``PersonUnknownError`` or ``RequestError``.
        """
        request = self._approvals.open_request(request_id)
        for one in (request, *(stop.stopped for stop in request.stops)):
            scope = self._access.scope_as_known(person, Right.APPROVE, one.source, one.channel)
            if not all(scope.covers(target.session.tenant) for target in one.targets):
                raise NotAllowedError("You may not approve all that this Stop holds for. Nothing was lifted.")
        if person.id in {request.requester.id, *(stop.stopped.requester.id for stop in request.stops)}:
            raise NotAllowedError("You asked for this, so somebody else who may approve must lift the Stop.")
        if not request.stops:
            raise RequestError("No Stop holds for this any more.")
        self._store.break_glass.lift(request.stops, person, self._clock())
        return self._approvals.open_request(request_id)

    def review(self, request_id: str, person: Person) -> ClosingRequest:
        """Sign a close that was confirmed alone: by somebody else who may approve in the request's channel.

        Raises ``NotAllowedError``, ``PersonUnknownError`` or ``RequestError``.
        """
        request = self._store.requests.get(request_id)
        if person.id == request.requester.id:
            raise NotAllowedError("Somebody else must review a close that you confirmed alone.")
        for target in request.targets:
            self._access.require(person, Right.APPROVE, request.source, request.channel, target.session.tenant)
        if not request.confirmed_alone:
            raise RequestError("This request was not confirmed alone; there is nothing to review.")
        if request.state is State.CLAIMED:
            raise RequestError("This close is still being carried out. Sign it when its card says what came of it.")
        if not self._store.break_glass.review(request, person, self._clock()):
            first = first_of(self._store.requests.get(request_id).reviewed_by)
            raise RequestError("Somebody has already reviewed this close.", first=first)
        return self._store.requests.get(request_id)

    def _to_call(self, request: ClosingRequest) -> tuple[str, ...]:
        tenants = [target.session.tenant for target in request.targets]
        others = self._access.people(Right.APPROVE, request.source, tenants, request.channel, besides=request.requester)
        return others[:MOST_CALLED]


def _nobody_told(reasons: Sequence[str]) -> str:
    """Say why nobody could be told, once for each reason."""
    if not reasons:
        return _NOBODY_TO_CALL
    why = " · ".join(list(dict.fromkeys(reasons))[:_REASONS])
    return (
        f"No approver could be reached by direct message ({why}), so break-glass was not started. Ask somebody who may "
        "approve to press."
    )


def _refuse_stopped(request: ClosingRequest) -> None:
    if request.stops:
        newest = request.stops[0]
        raise NotAllowedError(
            f"Break-glass is off for session {newest.session_id}: somebody has pressed Stop. "
            "It works again once somebody who may approve presses Lift Stop on the card.",
            who=(newest.by.id,),
        )
