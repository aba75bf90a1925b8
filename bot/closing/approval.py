"""Whose press a request wants: the requester's, a second person's, or the requester's alone after break-glass.

Rights are asked for at the press, of the rules then and now: whichever is stricter holds.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from bot.access import Access, Person, Right, Scope
from bot.closing.model import ApprovalPolicy, Clock, ClosingRequest, State, Target
from bot.closing.parts import Part, split
from bot.closing.refusals import again, too_late
from bot.closing.rules import ClosingRules
from bot.closing.store import Store
from bot.errors import NotAllowedError, PersonUnknownError, RequestError, TargetError
from bot.sessions.model import Mode


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A press that confirms a request."""

    request_id: str
    person: Person
    channel: str
    mode: Mode
    only: Collection[int] | None = None  # numbers of the targets that a window has shown; None: a card shows them all
    typed: int | None = None  # the number of sessions as the person typed it, where the request wants that
    delivery: str = ""  # names the press, so that one delivered again after the bot was stopped closes nothing


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What came of a cancel."""

    request: ClosingRequest
    remainder: ClosingRequest | None  # what stays open for others
    others: list[ClosingRequest]  # those whose break-glass has ended with it, as they were before


class Approvals:
    """Judges who may confirm or cancel what."""

    def __init__(self, access: Access, store: Store, rules: ClosingRules, clock: Clock) -> None:
        self._access = access
        self._store = store
        self._rules = rules
        self._clock = clock

    def open_request(self, request_id: str) -> ClosingRequest:
        """Look up a request that can still be decided, as it holds now; raises ``RequestError`` for any other."""
        request = self._store.requests.get(request_id)
        if request.state is State.OPEN:
            request = self.as_it_holds(request)
        if request.state is not State.OPEN or request.expired(self._clock()):
            raise too_late(request, self._clock())
        return request

    def as_it_holds(self, request: ClosingRequest) -> ClosingRequest:
        """Return an open request by the rules of when it was made and those of now, whichever are stricter."""
        rules = self._rules.of(request.source)
        approval = rules.approval_for(target.session.tenant for target in request.targets)
        held = self._store.break_glass.stops(target.session for target in request.targets)
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

    def confirmable(self, confirmation: Confirmation) -> Part:
        """Return what of the request this person may confirm.

        Raises ``RequestError``, ``TargetError`` where nothing of it runs, ``PersonUnknownError``, or
        ``NotAllowedError`` where that is nothing, which is on record.
        """
        if confirmation.only is not None:
            self._refuse_what_moved_on(self._store.requests.get(confirmation.request_id), confirmation.only)
        request = self.open_request(confirmation.request_id)
        try:
            return self._part(request, confirmation)
        except NotAllowedError as error:
            refused = {"why": str(error)}
            self._store.requests.note(self._clock(), "refused", refused, person=confirmation.person, request=request)
            raise

    def cancel(self, request_id: str, person: Person, *, called: bool = False) -> Cancelled:
        """End a request without a close: by its requester, by whoever was called, or who may close or approve there.

        ``called`` says that it is done in the direct message that told of its break-glass. Rights are those in the
        request's channel, wherever the button was pressed. Raises ``NotAllowedError``, ``PersonUnknownError`` or
        ``RequestError``.
        """
        self._access.require_internal(person)
        found = self._store.requests.get(request_id)
        request, targets = self.as_it_holds(found), found.targets
        if person.id not in {request.requester.id, *(one.person for one in request.calls)}:
            scope = self._access.any_scope(person, (Right.CLOSE, Right.APPROVE), request.source, request.channel)
            known = Scope(scope.tenants)
            targets = tuple(one for one in targets if known.covers(one.session.tenant))
            if not targets:
                any(scope.covers(one.session.tenant) for one in found.targets)  # raises where that is not known
        if not targets:
            first = request.targets[0].session.tenant
            self._access.require(person, Right.CLOSE, request.source, request.channel, first)
        part, now = self._split(request, targets, {}), self._clock()
        stopped = person.id != request.requester.id and (called or found.alone_from is not None)
        others: list[ClosingRequest] | None
        if stopped:
            others = self._store.decisions.stop(part.taken, person, now, part.remainder)
        else:
            others = [] if self._store.decisions.cancel(part.taken, person, now, part.remainder) else None
        after = self._store.requests.get(request_id)
        if others is None:
            raise too_late(after, self._clock())
        return Cancelled(after, part.remainder, others)

    def approvers(self, request: ClosingRequest) -> tuple[str, ...]:
        """Return the Slack ids of people and user groups whom the rules name as those who may approve it."""
        tenants = [target.session.tenant for target in request.targets]
        named = self._access.named(Right.APPROVE, request.source, tenants, request.channel)
        return tuple(one for one in named if one != request.requester.id)

    def _part(self, request: ClosingRequest, confirmation: Confirmation) -> Part:
        person, channel, mode, only = confirmation.person, confirmation.channel, confirmation.mode, confirmation.only
        require_here(request, channel)
        right = self._right_needed(request, person, mode)
        scope = self._access.scope_as_known(person, right, request.source, channel)
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
        return self._split(request, mine, lost)

    def _split(self, request: ClosingRequest, mine: Collection[Target], lost: Mapping[int, str]) -> Part:
        return split(request, mine, lost, self._clock(), self._rules.confirm_within)

    def _refuse_what_moved_on(self, request: ClosingRequest, only: Collection[int]) -> None:
        """Say of a window where what it has shown is: somebody has decided another part meanwhile."""
        if request.state is not State.OPEN and not any(one.number in only for one in request.targets):
            raise RequestError(
                "Somebody has decided another part of this request. What you looked at waits on a card of its own: "
                "press there. Nothing was closed by this press."
            )

    def _require_what_is_asked_now(self, request: ClosingRequest) -> None:
        """Refuse what could not be asked for any more."""
        rules = self._rules.of(request.source)
        if self._rules.require_reason and not request.reason.strip():
            raise RequestError(f'A reason is required now. Nothing was closed. Ask again: {again(request)} reason="…"')
        if len(request.targets) > rules.max_targets:
            raise RequestError(
                f"One request now closes at most {rules.max_targets} sessions on {request.source}. "
                "Nothing was closed. Ask in several requests."
            )

    def _lost(self, request: ClosingRequest) -> dict[int, str]:
        """Say of targets that nobody may close by this request any more, by their numbers, why.

        Raises ``PersonUnknownError`` where Slack did not say who asked for it.
        """
        try:
            return self._lost_by(self._asker_may(request), request)
        except PersonUnknownError as error:
            raise error.of("who the person is who asked for this") from error

    def _asker_may(self, request: ClosingRequest) -> Scope:
        try:
            return self._access.scope_as_known(request.requester, Right.CLOSE, request.source, request.channel)
        except NotAllowedError:
            return Scope(frozenset())

    def _lost_by(self, asked: Scope, request: ClosingRequest) -> dict[int, str]:
        seen = Scope(self._rules.of(request.source).tenants)
        lost = {}
        for target in request.targets:
            tenant = target.session.tenant
            if not seen.covers(tenant):
                lost[target.number] = f"This bot is no longer configured for tenant {tenant or '-'}."
            elif not asked.covers(tenant):
                lost[target.number] = (
                    f"Who asked for this may no longer close sessions of tenant {tenant or '-'} here. "
                    f"If you may, request it in your own name: {again(request)}"
                )
        return lost

    def _right_needed(self, request: ClosingRequest, person: Person, mode: Mode) -> Right:
        """Return the right that this person's press needs; raises where it is not theirs to press at all."""
        if request.approval is ApprovalPolicy.REQUESTER:
            return right_alone(request)
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
        return right_alone(request)


def require_here(request: ClosingRequest, channel: str) -> None:
    """Raise ``NotAllowedError`` where a press comes from another channel than the request is of."""
    if channel != request.channel:
        raise NotAllowedError("This closing request belongs to another channel. Nothing was closed.")


def _alone_from(request: ClosingRequest, after: timedelta | None) -> datetime | None:
    """From when on a break-glass counts; None where nobody was called, or it is not to be had any more."""
    if after is None or request.alone_from is None or request.called_at is None or not request.calls:
        return None
    return max(request.alone_from, request.called_at + after)


def right_alone(request: ClosingRequest) -> Right:
    """Return the right that a press needs where no second person is wanted."""
    return Right.APPROVE if request.override else Right.CLOSE
