"""Whose press a request wants: the requester's, a second person's, or the requester's alone after break-glass."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from datetime import datetime, timedelta

from bot.access import Access, Person, Right
from bot.closing.budget import Extension
from bot.closing.model import Approval, ClosingRequest, State
from bot.closing.press import Clock
from bot.closing.rules import ClosingRules
from bot.closing.store import Store
from bot.errors import BudgetError, InputError, NotAllowedError, RequestError
from bot.sessions.model import Mode


class Consent:
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
        """Look up a request that can still be decided; raises ``RequestError`` for any other."""
        request = self.find(request_id)
        if request.state is not State.OPEN or request.expired(self._clock()):
            raise too_late(request, self._clock())
        return request

    def confirmable(self, request_id: str, person: Person, channel: str) -> tuple[ClosingRequest, frozenset[int]]:
        """Return the request and the numbers of its targets that this person may not close.

        Raises ``RequestError``, or ``NotAllowedError`` where they may close none; that is on record.
        """
        request = self.open_request(request_id)
        try:
            return request, self._denied(request, person, channel)
        except NotAllowedError as error:
            self._store.note(self._clock(), "refused", {"why": str(error)}, person=person, request=request)
            raise

    def cancel(self, request_id: str, person: Person, channel: str) -> ClosingRequest:
        """End a request without a close: by its requester or by anybody who may close or approve there.

        Raises ``NotAllowedError`` or ``RequestError``.
        """
        request = self.find(request_id)
        if person.id != request.requester.id:
            rights = self._access.rights(person, request.source, channel)
            tenants = [target.session.tenant for target in request.targets]
            scopes = [rights[right] for right in (Right.CLOSE, Right.APPROVE) if right in rights]
            if not any(scope.covers(tenant) for scope in scopes for tenant in tenants):
                self._access.require(person, Right.CLOSE, request.source, channel, tenants[0])
        if not self._store.cancel(request, person, self._clock()):
            raise too_late(self.find(request_id), self._clock())
        return self.find(request_id)

    def break_glass(self, request_id: str, person: Person, channel: str, reason: str) -> ClosingRequest:
        """Let the requester confirm alone after a while, because nobody who may approve is there.

        Raises ``NotAllowedError``, ``InputError`` without a reason, or ``RequestError``.
        """
        request, after = self.breakable(request_id, person, channel)
        if not reason.strip():
            raise InputError("Break-glass needs a reason, for whoever reviews the close afterwards. Nothing was done.")
        now = self._clock()
        due = now + after
        until = due + self._rules.confirm_within
        if not self._store.allow_alone(request, person, reason.strip(), now, alone_from=due, expires_at=until):
            self.open_request(request_id)  # or it was decided in the same moment
            raise RequestError("Break-glass is already under way for this request; its card says from when on.")
        return self.find(request_id)

    def breakable(self, request_id: str, person: Person, channel: str) -> tuple[ClosingRequest, timedelta]:
        """Return a request for which this person may use break-glass, and how long they then wait.

        Raises ``NotAllowedError`` or ``RequestError``.
        """
        request = self.open_request(request_id)
        after = self.break_glass_after(request)
        if after is None or request.approval is not Approval.SECOND_PERSON:
            raise NotAllowedError(
                f"Break-glass is not switched on for {request.source}. Somebody else who may approve must press."
            )
        if person.id != request.requester.id:
            raise NotAllowedError("Only who asked for the close can use break-glass. If you may approve, press Close.")
        self._uncovered(request, person, _right_alone(request), channel)
        return request, after

    def break_glass_after(self, request: ClosingRequest) -> timedelta | None:
        """How long a requester would wait to confirm alone; None where that is not possible."""
        return self._rules.of(request.source).break_glass_after

    def review(self, request_id: str, person: Person, channel: str) -> ClosingRequest:
        """Sign a close that was confirmed alone: by somebody else who may approve.

        Raises ``NotAllowedError`` or ``RequestError``.
        """
        request = self.find(request_id)
        if person.id == request.requester.id:
            raise NotAllowedError("Somebody else must review a close that you confirmed alone.")
        for target in request.targets:
            self._access.require(person, Right.APPROVE, request.source, channel, target.session.tenant)
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

    def _denied(self, request: ClosingRequest, person: Person, channel: str) -> frozenset[int]:
        if channel != request.channel:
            raise NotAllowedError("This closing request belongs to another channel. Nothing was closed.")
        return self._uncovered(request, person, self._right_needed(request, person), channel)

    def _uncovered(self, request: ClosingRequest, person: Person, right: Right, channel: str) -> frozenset[int]:
        """Return the numbers of the targets that the person has no such right to; raises where that is all."""
        scope = self._access.scope(person, right, request.source, channel)
        denied = frozenset(one.number for one in request.targets if not scope.covers(one.session.tenant))
        if len(denied) == len(request.targets):
            self._access.require(person, right, request.source, channel, request.targets[0].session.tenant)
        return denied

    def _right_needed(self, request: ClosingRequest, person: Person) -> Right:
        """Return the right that this person's press needs; raises where it is not theirs to press at all."""
        if request.approval is Approval.REQUESTER:
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
        return _right_alone(request)


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
