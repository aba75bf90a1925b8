"""Whose press a request wants: the requester's, a second person's, or the requester's alone after break-glass.

Rights are asked for at the press, of the rules then and now: whichever is stricter holds.
"""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from bot.access import Access, Person, Right, Scope
from bot.closing import stops
from bot.closing.attempt import Clock
from bot.closing.budget import Extension
from bot.closing.model import ApprovalPolicy, Call, CardPlace, ClosingRequest, State, Target
from bot.closing.rules import ClosingRules
from bot.closing.store import Store
from bot.errors import BudgetError, InputError, NotAllowedError, RequestError, TargetError
from bot.sessions.model import Mode

MOST_CALLED = 20  # people who are told of a break-glass by direct message

# Tells the person of that id from when on the requester may confirm alone; None where it could not.
Tell = Callable[[ClosingRequest, datetime, str], CardPlace | None]
_NOBODY_TO_CALL = (
    "No approver could be reached by direct message, so break-glass was not started. Ask somebody who may approve to "
    "press; whoever runs this bot can name approvers by id or user group."
)


@dataclass(frozen=True, slots=True)
class Part:
    """What one person's press decides of a request."""

    shown: ClosingRequest  # with those targets alone that this person may decide, one at least
    taken: ClosingRequest  # with those and the lost ones: what is claimed or cancelled
    lost: Mapping[int, str]  # those that nobody may close any more, by number, and why
    remainder: ClosingRequest | None  # what stays open for others, as a request of its own


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What came of a cancel."""

    request: ClosingRequest
    remainder: ClosingRequest | None  # what stays open for others
    others: list[ClosingRequest]  # those whose break-glass has ended with it, as they were before


class Approvals:
    """Judges who may confirm what, and keeps what is said of it."""

    def __init__(self, access: Access, store: Store, rules: ClosingRules, clock: Clock) -> None:
        self._access = access
        self._store = store
        self._rules = rules
        self._clock = clock

    def find(self, request_id: str) -> ClosingRequest:
        """Look a request up; raises ``RequestError`` for one that the store does not hold."""
        request = self._store.get(request_id)
        if request is None:
            raise RequestError("This closing request is unknown. Nothing was closed. Ask again with /kill-session ID.")
        return request

    def open_request(self, request_id: str) -> ClosingRequest:
        """Look up a request that can still be decided, as it holds now; raises ``RequestError`` for any other."""
        request = self.find(request_id)
        if request.state is State.OPEN:
            request = self.as_it_holds(request)
        if request.state is not State.OPEN or request.expired(self._clock()):
            raise too_late(request, self._clock())
        return request

    def as_it_holds(self, request: ClosingRequest) -> ClosingRequest:
        """Return an open request by the rules of when it was made and those of now, whichever are stricter."""
        rules = self._rules.of(request.source)
        approval = rules.approval_for(target.session.tenant for target in request.targets)
        held = stops.of(self._store, (target.session for target in request.targets))
        if held:
            approval = ApprovalPolicy.SECOND_PERSON
        since = request.alone_from or request.created_at
        return replace(
            request,
            approval=ApprovalPolicy.SECOND_PERSON if approval is ApprovalPolicy.SECOND_PERSON else request.approval,
            alone_from=None if held else _alone_from(request, rules.break_glass_after),
            expires_at=min(request.expires_at, since + self._rules.confirm_within),
            stops=held,
        )

    def confirmable(
        self, request_id: str, person: Person, channel: str, mode: Mode, only: Collection[int] | None = None
    ) -> Part:
        """Return what of the request this person may confirm; ``only`` are the targets that a window has shown.

        Raises ``RequestError``, ``TargetError`` where nothing of it runs, or ``NotAllowedError`` where that is nothing,
        which is on record.
        """
        if only is not None:
            self._refuse_what_moved_on(self.find(request_id), only)
        request = self.open_request(request_id)
        try:
            return self._part(request, person, channel, mode, only)
        except NotAllowedError as error:
            self._store.note(self._clock(), "refused", {"why": str(error)}, person=person, request=request)
            raise

    def cancel(self, request_id: str, person: Person, *, called: bool = False) -> Cancelled:
        """End a request without a close: by its requester, by whoever was called, or who may close or approve there.

        ``called`` says that it is done in the direct message that told of its break-glass. Rights are those in the
        request's channel, wherever the button was pressed. Raises ``NotAllowedError`` or ``RequestError``.
        """
        found = self.find(request_id)
        request, targets = self.as_it_holds(found), found.targets
        if person.id not in {request.requester.id, *(one.person for one in request.calls)}:
            rights = self._access.rights(person, request.source, request.channel)
            scopes = [rights[right] for right in (Right.CLOSE, Right.APPROVE) if right in rights]
            targets = tuple(one for one in targets if any(scope.covers(one.session.tenant) for scope in scopes))
        if not targets:
            first = request.targets[0].session.tenant
            self._access.require(person, Right.CLOSE, request.source, request.channel, first)
        part, now = self.split(request, targets), self._clock()
        stopped = person.id != request.requester.id and (called or found.alone_from is not None)
        if not self._store.cancel(part.taken, person, now, part.remainder, stopped=stopped):
            raise too_late(self.find(request_id), self._clock())
        cancelled = self.find(request_id)
        return Cancelled(cancelled, part.remainder, self._end_others(cancelled, person, now) if stopped else [])

    def _end_others(self, stopped: ClosingRequest, person: Person, now: datetime) -> list[ClosingRequest]:
        """End every other break-glass for these sessions, and return the requests as they were."""
        sessions = [target.session for target in stopped.targets]
        others = [one for one in self._store.broken_open() if stops.about(one, sessions) is not None]
        for one in others:
            self._store.end_break_glass(one, person, now)
        return others

    def split(self, request: ClosingRequest, mine: Collection[Target], lost: Mapping[int, str] | None = None) -> Part:
        """Tell apart what somebody may decide and what stays open for others, as a request of its own.

        That waits anew, and a break-glass is not carried over.
        """
        lost = lost or {}
        mine = tuple(mine)
        rest = tuple(one for one in request.targets if one not in mine and one.number not in lost)
        taken = tuple(one for one in request.targets if one not in rest)
        matching = max(0, request.matching - len(rest))
        now = self._clock()
        remainder = replace(
            request,
            id=secrets.token_urlsafe(16),
            created_at=now,
            expires_at=now + self._rules.confirm_within,
            targets=tuple(replace(one, number=number) for number, one in enumerate(rest, 1)),
            untouched=(),
            matching=len(rest) if request.matching else 0,
            card=None,
            alone_from=None,
            called_at=None,
            calls=(),
        )
        return Part(
            replace(request, targets=mine, matching=matching),
            replace(request, targets=taken, matching=matching),
            lost,
            remainder if rest else None,
        )

    def break_glass(self, request_id: str, person: Person, channel: str, reason: str, tell: Tell) -> ClosingRequest:
        """Let the requester confirm alone after a while, because nobody who may approve is there.

        Those who may are told each, by direct message; it counts once one of them has been.
        Raises ``NotAllowedError``, ``InputError`` without a reason, or ``RequestError``.
        """
        request, after = self.breakable(request_id, person, channel)
        if not reason.strip():
            raise InputError("Break-glass needs a reason, for whoever reviews the close afterwards. Nothing was done.")
        request = replace(request, reason=reason.strip())
        calls: list[Call] = []
        told_at = None
        for one in self._to_call(request):
            place = tell(request, (told_at or self._clock()) + after, one)
            if place is not None:
                told_at = told_at or self._clock()
                calls.append(Call(one, place))
        if told_at is None:
            raise RequestError(_NOBODY_TO_CALL)
        due = told_at + after
        until = due + self._rules.confirm_within
        if not self._store.allow_alone(
            request, person, self._clock(), alone_from=due, expires_at=until, called_at=told_at, calls=calls
        ):
            self.open_request(request_id)  # or it was decided in the same moment
            raise RequestError("Break-glass is already under way for this request; its card says from when on.")
        return self.find(request_id)

    def _to_call(self, request: ClosingRequest) -> tuple[str, ...]:
        tenants = [target.session.tenant for target in request.targets]
        people = self._access.people(Right.APPROVE, request.source, tenants, request.channel)
        return tuple(one for one in people if one != request.requester.id)[:MOST_CALLED]

    def lift(self, request_id: str, person: Person) -> ClosingRequest:
        """Let the Stops that hold for sessions of this request hold no more; by somebody who may approve all of them.

        Raises ``NotAllowedError`` or ``RequestError``.
        """
        request = self.open_request(request_id)
        for one in (request, *(stop.stopped for stop in request.stops)):
            scope = self._access.scope(person, Right.APPROVE, one.source, one.channel)
            if not all(scope.covers(target.session.tenant) for target in one.targets):
                raise NotAllowedError("You may not approve all that this Stop holds for. Nothing was lifted.")
        if person.id in {request.requester.id, *(stop.stopped.requester.id for stop in request.stops)}:
            raise NotAllowedError("You asked for this, so somebody else who may approve must lift the Stop.")
        if not request.stops:
            raise RequestError("No Stop holds for this any more.")
        for stop in request.stops:
            self._store.lift(stop.stopped, person, self._clock())
        return self.open_request(request_id)

    def breakable(self, request_id: str, person: Person, channel: str) -> tuple[ClosingRequest, timedelta]:
        """Return a request for which this person may use break-glass, and how long they then wait.

        Raises ``NotAllowedError`` or ``RequestError``.
        """
        request = self.open_request(request_id)
        after = self.break_glass_after(request)
        if after is None or request.approval is not ApprovalPolicy.SECOND_PERSON:
            raise NotAllowedError(
                f"Break-glass is not switched on for {request.source}. Somebody else who may approve must press."
            )
        if person.id != request.requester.id:
            raise NotAllowedError("Only who asked for the close can use break-glass. If you may approve, press Close.")
        self._require_here(request, channel)
        if request.stops:
            newest = request.stops[0]
            raise NotAllowedError(
                f"Break-glass is off for session {newest.session_id}: somebody has pressed Stop. "
                "It works again once somebody who may approve presses Lift Stop on the card.",
                who=(newest.by.id,),
            )
        for target in request.targets:
            self._access.require(person, _right_alone(request), request.source, channel, target.session.tenant)
        if not self._to_call(request):
            raise RequestError(_NOBODY_TO_CALL)
        return request, after

    def break_glass_after(self, request: ClosingRequest) -> timedelta | None:
        """How long a requester would wait to confirm alone; None where that is not possible."""
        return self._rules.of(request.source).break_glass_after

    def review(self, request_id: str, person: Person) -> ClosingRequest:
        """Sign a close that was confirmed alone: by somebody else who may approve in the request's channel.

        Raises ``NotAllowedError`` or ``RequestError``.
        """
        request = self.find(request_id)
        if person.id == request.requester.id:
            raise NotAllowedError("Somebody else must review a close that you confirmed alone.")
        for target in request.targets:
            self._access.require(person, Right.APPROVE, request.source, request.channel, target.session.tenant)
        if not request.confirmed_alone:
            raise RequestError("This request was not confirmed alone; there is nothing to review.")
        if request.state is State.CLAIMED:
            raise RequestError("This close is still being carried out. Sign it when its card says what came of it.")
        if not self._store.review(request, person, self._clock()):
            first = _who(self.find(request_id).reviewed_by)
            raise RequestError("Somebody has already reviewed this close.", first=first)
        return self.find(request_id)

    def call_for_budget(self, error: BudgetError, person: Person, channel: str) -> tuple[str, tuple[str, ...]]:
        """Put on record that a message calls for more closes; return its id, and the ids of those who may allow them.

        Raises ``StoreError``.
        """
        number = self._store.call_for_budget(error, person, channel, self._clock())
        return str(number), self._who_extends(error.source, channel)

    def extend_budget(self, call: str, person: Person, channel: str) -> Extension:
        """Allow as many closes again within the budget's time, in answer to a message and once for each.

        Raises ``NotAllowedError``, or ``RequestError`` when what the message is about is over.
        """
        number = int(call) if re.fullmatch(r"\d{1,18}", call, re.ASCII) else 0
        called = self._store.budget_call(number)
        source = called.source or ""
        if channel != called.channel:
            raise NotAllowedError("This message belongs to another channel. Nothing was done.")
        scope = self._access.scope(person, Right.APPROVE, source, channel)
        if not all(map(scope.covers, self._budgeted(source))):
            tenants = ", ".join(sorted(scope.tenants or ()))
            raise NotAllowedError(
                f"You may approve closing sessions of {tenants} on {source}; its budget is one for all its tenants. "
                "Only somebody who may approve for all of them can extend it. Nothing was done.",
                who=self._who_extends(source, channel),
            )
        return self._store.extend_budget(number, person, self._rules.of(source).budget, self._clock())

    def _budgeted(self, source: str) -> Collection[str | None]:
        """Tenants of which a budget is shared; None stands for any, which only a right to all of them covers."""
        return self._rules.of(source).tenants or (None,)

    def _who_extends(self, source: str, channel: str) -> tuple[str, ...]:
        return self._access.named(Right.APPROVE, source, self._budgeted(source), channel)

    def approvers(self, request: ClosingRequest) -> tuple[str, ...]:
        """Return the Slack ids of people and user groups whom the rules name as those who may approve it."""
        tenants = [target.session.tenant for target in request.targets]
        named = self._access.named(Right.APPROVE, request.source, tenants, request.channel)
        return tuple(one for one in named if one != request.requester.id)

    def _part(
        self, request: ClosingRequest, person: Person, channel: str, mode: Mode, only: Collection[int] | None
    ) -> Part:
        self._require_here(request, channel)
        right = self._right_needed(request, person, mode)
        scope = self._access.scope(person, right, request.source, channel)
        self._require_what_is_asked_now(request)
        lost = self._lost(request)
        left = [one for one in request.targets if one.number not in lost]
        if not left:
            raise NotAllowedError(f"{next(iter(lost.values()))} Nothing was closed.")
        mine = tuple(one for one in left if scope.covers(one.session.tenant))
        if not mine:
            self._access.require(person, right, request.source, channel, left[0].session.tenant)
        mine = tuple(one for one in mine if only is None or one.number in only)
        if not any(mode is Mode.SESSION or one.session.running for one in mine):
            raise TargetError(f"{mode.value} has nothing to close among what you may decide here. Nothing was closed.")
        return self.split(request, mine, lost)

    def _refuse_what_moved_on(self, request: ClosingRequest, only: Collection[int]) -> None:
        """Say of a window where what it has shown is: somebody has decided another part meanwhile."""
        if request.state is not State.OPEN and not any(one.number in only for one in request.targets):
            raise RequestError(
                "Somebody has decided another part of this request. What you looked at waits on a card of its own: "
                "press there. Nothing was closed by this press."
            )

    def _require_here(self, request: ClosingRequest, channel: str) -> None:
        if channel != request.channel:
            raise NotAllowedError("This closing request belongs to another channel. Nothing was closed.")

    def _require_what_is_asked_now(self, request: ClosingRequest) -> None:
        """Refuse what could not be asked for any more."""
        rules = self._rules.of(request.source)
        if self._rules.require_reason and not request.reason.strip():
            raise RequestError(f'A reason is required now. Nothing was closed. Ask again: {_again(request)} reason="…"')
        if len(request.targets) > rules.max_targets:
            raise RequestError(
                f"One request now closes at most {rules.max_targets} sessions on {request.source}. "
                "Nothing was closed. Ask in several requests."
            )

    def _lost(self, request: ClosingRequest) -> dict[int, str]:
        """Say of targets that nobody may close by this request any more, by their numbers, why."""
        try:
            asked = self._access.scope(request.requester, Right.CLOSE, request.source, request.channel)
        except NotAllowedError:
            asked = Scope(frozenset())
        seen = Scope(self._rules.of(request.source).tenants)
        lost = {}
        for target in request.targets:
            tenant = target.session.tenant
            if not seen.covers(tenant):
                lost[target.number] = f"This bot is no longer configured for tenant {tenant or '-'}."
            elif not asked.covers(tenant):
                lost[target.number] = (
                    f"Who asked for this may no longer close sessions of tenant {tenant or '-'} here, or Slack does "
                    "not say who they are. "
                    f"If you may, request it in your own name: {_again(request)}"
                )
        return lost

    def _right_needed(self, request: ClosingRequest, person: Person, mode: Mode) -> Right:
        """Return the right that this person's press needs; raises where it is not theirs to press at all."""
        if request.approval is ApprovalPolicy.REQUESTER:
            return _right_alone(request)
        if person.id != request.requester.id:
            return Right.APPROVE
        if request.alone_from is None:
            raise NotAllowedError(
                f"Closing on {request.source} needs a second person: somebody else who may approve must press."
            )
        left = (request.alone_from - self._clock()).total_seconds()
        if left > 0:
            raise NotAllowedError(
                f"You may confirm this alone in {math.ceil(left)} s, from {request.alone_from:%H:%M:%S} UTC on, unless "
                "somebody presses Stop. Until then somebody else who may approve must press. Nothing was closed."
            )
        if mode is not request.mode:
            raise NotAllowedError(
                f"{request.mode.value} is what those who may approve were called for, and all that you may confirm "
                "alone. Nothing was closed."
            )
        return _right_alone(request)


def _alone_from(request: ClosingRequest, after: timedelta | None) -> datetime | None:
    """From when on a break-glass counts; None where nobody was called, or it is not to be had any more."""
    if after is None or request.alone_from is None or request.called_at is None or not request.calls:
        return None
    return max(request.alone_from, request.called_at + after)


def _right_alone(request: ClosingRequest) -> Right:
    """Return the right that a press needs where no second person is wanted."""
    return Right.APPROVE if request.override else Right.CLOSE


def too_late(request: ClosingRequest, now: datetime) -> RequestError:
    """Say why a press came too late."""
    if request.expired(now):
        return RequestError(
            f"This closing request has expired. Nothing was closed by this press. Ask again: {_again(request)}"
        )
    first = _who(request.decided_by)
    if request.state is State.CANCELLED:
        return RequestError("This closing request was cancelled. Nothing was closed by this press.", first=first)
    if request.state is State.OPEN:
        return RequestError(
            "This press, or one in the same moment, came to nothing: the bot was stopped or the data source did not "
            "answer. Nothing was closed. The request is open again. Press once more."
        )
    if request.state is State.CLAIMED:
        return RequestError(
            "Somebody has already confirmed this closing request, and it is being carried out; its card will show what "
            "comes of it. Your press changed nothing.",
            first=first,
        )
    return RequestError(
        "Somebody has already confirmed this closing request; its card shows who and what came of it. "
        "Your press changed nothing.",
        first=first,
    )


def _who(person: Person | None) -> str:
    return person.id if person is not None else ""


def _again(request: ClosingRequest) -> str:
    ids = ",".join(str(target.session.id) for target in request.targets)
    query = " query" if request.mode is Mode.QUERY else ""
    return f"/kill-session {f'where {request.question}' if request.question else ids}{query}"
