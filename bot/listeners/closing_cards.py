"""The buttons of closing cards and their dialogs: confirming, looking, cancelling, break-glass, review, budget."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

import structlog

from bot.closing.approval import Approvals, Confirmation
from bot.closing.attempt import counted
from bot.closing.break_glass import BreakGlass
from bot.closing.budget import BudgetExtensions
from bot.closing.closer import Closer
from bot.closing.disclosures import Disclosures
from bot.closing.follow_up import FollowUps
from bot.closing.model import CardPlace, ClosingRequest, State
from bot.closing.requests import ClosingRequests
from bot.closing.store import Store
from bot.errors import (
    BudgetError,
    InputError,
    NotAllowedError,
    RequestError,
    SessionBotError,
    SlackRefusedError,
    StoreError,
    TargetError,
)
from bot.sessions.model import Mode
from bot.slack.arguments.normalization import normalize
from bot.slack.delivery.card_keeper import REMAINDER, CardKeeper
from bot.slack.delivery.card_message import CardMessage
from bot.slack.delivery.replies import Reply
from bot.slack.events import RESPONSE_URL, Press, Registrar, Submission
from bot.slack.views import closing_advice, closing_card, closing_modal, notices
from bot.slack.views.notices import notice

TIDY_EVERY = 2.0  # seconds; how late a card may say that it has expired, or what came of it afterwards

_AGAIN = "Nothing was closed: {what}. Below it is as it is now. Press again if it is to be closed."

_SHOWN = "shown"  # in the metadata of a dialog: the numbers of the targets that it shows
_CALLED = "called"  # in the metadata of a dialog: that it was opened from a direct message


log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ClosingCards:
    """What the buttons of a closing card and its dialogs do."""

    store: Store
    requests: ClosingRequests
    approvals: Approvals
    break_glass: BreakGlass
    budget: BudgetExtensions
    closer: Closer
    follow_ups: FollowUps
    disclosures: Disclosures
    keeper: CardKeeper

    def confirm(self, press: Press, mode: Mode) -> None:
        """Carry out what a card stands for."""
        self._remember_place(press, press.value)
        self._confirm(press, press.value, mode, self._card_of(press))

    def look(self, press: Press, mode: Mode) -> None:
        """Open the dialog while the targets are looked at, then fill it with them as they are now."""
        button = "Approve" if _from_call(press) else mode.value
        opened = press.reply.opening_modal(press.trigger_id, closing_modal.looking(mode), button)
        try:
            self._remember_place(press, press.value)
            part, present = self.closer.present(Confirmation(press.value, press.person, press.channel, mode))
            view_id = opened()
        except SessionBotError as error:
            with contextlib.suppress(SlackRefusedError):
                press.reply.update_modal(opened(), closing_modal.problem(mode, error.sentence))
            if self._says_other(press.value, error):
                self.keeper.show_as_it_is(press.value, self._card_of(press))
            raise
        numbers = ",".join(str(target.number) for target in part.shown.targets)
        metadata = {**_back_to(press, part.taken), "mode": mode.value, _SHOWN: numbers}
        press.reply.update_modal(
            view_id,
            closing_modal.as_it_is_now(
                part.shown,
                present.sessions,
                mode,
                metadata,
                disclosure=self.disclosures.shown(part.taken.source),
                unseen=present.unseen,
                others=len(part.remainder.targets) if part.remainder else 0,
            ),
        )

    def approve(self, press: Press) -> None:
        """Open that dialog from the direct message that told of a break-glass; it counts in the request's channel."""
        request = self.store.requests.get(press.value)
        self.look(replace(press, channel=request.channel, message_ts=""), request.mode)

    def confirm_looked_at(self, submission: Submission) -> None:
        """Carry out what a card stands for, the dialog having been submitted."""
        request_id = submission.metadata.get("request", "")
        card = self.keeper.message_of(request_id, submission.reply, self.store.requests.get(request_id).card)
        if _from_call(submission):
            card.urls_left = 0  # the response URL is that of the direct message
        mode = Mode(submission.metadata["mode"])
        shown = [int(one) for one in submission.metadata[_SHOWN].split(",")] if _SHOWN in submission.metadata else None
        self._confirm(submission, request_id, mode, card, typed=_typed(submission), only=shown)
        if _from_call(submission):  # where the place of that message is not known
            submission.reply.replace(closing_card.call_over(self.store.requests.get(request_id)))

    def ask_for_holder(self, press: Press) -> None:
        """Post a card for the server session that still has a closed client's locks."""
        request_id, _, number = press.value.partition("|")
        asked = self.requests.ask_for_holder(
            press.person, press.channel, request_id, int(number) if number.isdecimal() else 0, press.delivery
        )
        for one in asked:
            self.keeper.post(one, press.reply)

    def ask_for_blocker(self, press: Press) -> None:
        """Post a card for the session that is advised to be closed instead, and cancel the one that was pressed."""
        request_id, _, number = press.value.partition("|")
        request = self.store.requests.get(request_id)
        instead = closing_advice.blockers(request)
        if not number.isdecimal() or int(number) >= len(instead):
            raise TargetError("There is nothing to close under this button any more. Nothing was closed.")
        blocker = instead[int(number)]
        asked = self.requests.ask_for_blocker(press.person, press.channel, request_id, blocker, press.delivery)
        for one in asked:
            self.keeper.post(one, press.reply)
        if press.person.id == request.requester.id and all(one.blockers for one in request.targets):
            with contextlib.suppress(NotAllowedError, RequestError):  # somebody has decided it meanwhile
                cancelled = self.approvals.cancel(request_id, press.person)
                self.keeper.show_result(cancelled.request, self._card_of(replace(press, value=request_id)))

    def cancel(self, press: Press) -> None:
        """End a request without a close."""
        self._remember_place(press, press.value)
        try:
            cancelled = self.approvals.cancel(press.value, press.person, called=_from_call(press))
        except RequestError:
            self.keeper.show_as_it_is(press.value, self._card_of(press))
            raise
        self.keeper.show_result(cancelled.request, self._card_of(press))
        if _from_call(press):  # where the place of that message is not known
            press.reply.replace(closing_card.call_over(cancelled.request), ts=press.message_ts)
        if cancelled.remainder is not None:
            self.keeper.post_later(cancelled.remainder, _reply_there(press), REMAINDER)
        for other in cancelled.others:
            self.keeper.end_calls(other)
            if other.card is not None:
                self.keeper.show_open(other, self.keeper.message_of(other.id, None, other.card))

    def lift(self, press: Press) -> None:
        """Let the Stops that hold for a request hold no more."""
        try:
            request = self.break_glass.lift(press.value, press.person)
        except RequestError:
            self.keeper.show_as_it_is(press.value, self._card_of(press))
            raise
        self.keeper.show_open(request, self._card_of(press), "Somebody who may approve has lifted the Stop.")

    def ask_reason(self, press: Press) -> None:
        """Open the dialog that asks for the reason of a break-glass."""
        self._remember_place(press, press.value)
        try:
            request, after = self.break_glass.breakable(press.value, press.person, press.channel)
        except SessionBotError as error:
            if self._says_other(press.value, error):
                self.keeper.show_as_it_is(press.value, self._card_of(press))
            raise
        metadata = _back_to(press, request)
        dialog = closing_modal.ask_reason(request, after.total_seconds(), metadata)
        press.reply.open_modal(press.trigger_id, dialog, "Break glass")

    def start_break_glass(self, submission: Submission) -> None:
        """Let the requester confirm alone after a while, and say so on the card."""
        called: list[tuple[ClosingRequest, CardPlace]] = []

        def tell(request: ClosingRequest, due: datetime, person: str) -> CardPlace | str:
            place = self.keeper.call(request, due, person)
            if isinstance(place, CardPlace):
                called.append((request, place))
            return place

        try:
            request = self.break_glass.start(
                submission.metadata.get("request", ""),
                submission.person,
                submission.channel,
                submission.values.get(closing_modal.REASON, ""),
                tell,
            )
        except SessionBotError:
            for asked, place in called:
                self.keeper.call_off(asked, place)
            raise
        card = self.keeper.message_of(request.id, submission.reply, request.card)
        self.keeper.show_open(request, card, on_written=card.or_privately)
        approvers = self.approvals.approvers(request)
        submission.reply.public(closing_card.broken_glass(request, approvers))

    def review(self, press: Press) -> None:
        """Sign a close that was confirmed alone."""
        request = self.break_glass.review(press.value, press.person)
        self.keeper.rewrite(request)
        if request.card is None or request.card.ts != press.message_ts:  # pressed in the list of the audit
            press.reply.private(notice(f"Signed: the close of {_ids(request)} is reviewed."))

    def extend_budget(self, press: Press) -> None:
        """Allow as many closes again, once for each message; the message says by how many, and whose press it was."""
        try:
            extension = self.budget.extend(press.value, press.person, press.channel)
        except RequestError:
            press.reply.replace(closing_card.budget_call_over(), ts=press.message_ts)
            raise
        press.reply.replace(closing_card.budget_extended(extension), ts=press.message_ts)
        if not extension.added:
            raise RequestError(
                f"The budget of {extension.source} has been extended since this message, to {extension.allowed} closes "
                f"within {extension.within}. Your press allows nothing more. Press Close on the card again.",
                first=extension.by.id,
            )

    def tidy(self) -> None:
        """Say on their cards what became of requests that ran out of time, and what Slack did not take before."""
        for request in self.closer.expire():
            self.keeper.rewrite(request)
        self.keeper.catch_up()

    def follow(self) -> None:
        """Rewrite the cards of presses that a stopped bot left, and of closes of which there is something new."""
        for request in self.closer.resume():
            self.keeper.rewrite(request)
        for request in self.follow_ups.verify():
            self.keeper.rewrite(request)

    def _card_of(self, press: Press) -> CardMessage:
        if not _from_call(press):
            return self.keeper.message_of(press.value, press.reply, CardPlace(press.channel, press.message_ts))
        request = self.store.requests.find(press.value)  # the message that was pressed is another one
        card = self.keeper.message_of(press.value, press.reply, request.card if request else None)
        card.urls_left = 0
        return card

    def _confirm(
        self,
        event: Press | Submission,
        request_id: str,
        mode: Mode,
        card: CardMessage,
        *,
        typed: int | None = None,
        only: Sequence[int] | None = None,
    ) -> None:
        shown = False

        def progress(request: ClosingRequest, note: str) -> None:
            nonlocal shown
            shown = True
            self.keeper.show_progress(request, note, card)

        try:
            confirmation = Confirmation(request_id, event.person, event.channel, mode, only, typed, event.delivery)
            request = self.closer.confirm(
                confirmation, progress, leave=lambda left: self.keeper.post_later(left, _reply_there(event), REMAINDER)
            )
        except SessionBotError as error:
            if isinstance(error, BudgetError):
                self._call_for_budget(error, event)
            if (shown and not self.keeper.withdraw(card)) or self._says_other(request_id, error):
                self.keeper.show_as_it_is(request_id, card)
            raise
        found = counted(one.outcome for one in request.targets if one.outcome is not None)
        structlog.contextvars.bind_contextvars(finding=found or None)  # for the line that the log gets of the press
        self._show_done(event, request, card)

    def _says_other(self, request_id: str, error: SessionBotError) -> bool:
        """Whether a card says other than what is so: its request is over, or the rules are stricter by now."""
        if not isinstance(error, NotAllowedError):
            return isinstance(error, RequestError)
        with contextlib.suppress(StoreError):
            request = self.store.requests.find(request_id)
            return (
                request is not None and request.state is State.OPEN and self.approvals.as_it_holds(request) != request
            )
        return False

    def _show_done(self, event: Press | Submission, request: ClosingRequest, card: CardMessage) -> None:
        """Show what came of a press, and ask again for what is other than the card said."""
        asked: list[ClosingRequest] = []
        if not request.unrecorded:
            self.keeper.show_recorded(request, card)
            asked = self._ask_again(request)
        if len(request.targets) > 1 or len(asked) != 1:
            self.keeper.show_result(request, card)
            for one in asked:
                self.keeper.post_later(
                    one, _reply_there(event), _AGAIN.format(what="These have changed since the card was shown")
                )
            return
        (again,) = asked
        what = (request.targets[0].detail or "It has changed since the card was shown").rstrip(".")
        self.keeper.show_again(request, again, card, _AGAIN.format(what=what))

    def _ask_again(self, request: ClosingRequest) -> list[ClosingRequest]:
        try:
            return self.requests.ask_again(request)
        except SessionBotError as error:  # the outcome says that nothing was closed; anybody may ask anew
            log.warning("not asked again", request=request.id, error=error.sentence)
            return []

    def _call_for_budget(self, error: BudgetError, event: Press | Submission) -> None:
        """Call on those who may allow more; without its record the message would have nothing to answer."""
        with contextlib.suppress(StoreError):  # that it is too much is what the person is told
            call, who = self.budget.call(error, event.person, event.channel)
            message = notices.budget(error, call, who)
            if _from_call(event) and isinstance(self.keeper.messages.post(event.channel, message), CardPlace):
                return
            event.reply.public(message)

    def _remember_place(self, press: Press, request_id: str) -> None:
        if press.message_ts and not press.ephemeral:
            self.keeper.place(request_id, CardPlace(press.channel, press.message_ts))


def check_number(submission: Submission) -> dict[str, str]:
    """Say at once that another number was typed than the dialog asks for; the closer looks again."""
    number = submission.metadata.get("number")
    if number is None or (_typed(submission) is not None and str(_typed(submission)) == number):
        return {}
    return {closing_modal.TYPED_BLOCK: f"That is not the number of sessions. Type {number}, or press Keep them."}


def check_reason(submission: Submission) -> dict[str, str]:
    """Say at once that a reason is missing."""
    given = submission.values.get(closing_modal.REASON, "").strip()
    return {} if given else {closing_modal.REASON_BLOCK: "Say why, for whoever reviews the close afterwards."}


def _typed(submission: Submission) -> int | None:
    try:
        text = normalize(submission.values.get(closing_modal.TYPED, ""))
    except InputError:
        return None
    return int(text) if re.fullmatch(r"\d{1,9}", text, re.ASCII) else None


def _back_to(press: Press, request: ClosingRequest) -> dict[str, str]:
    """What a dialog must know to find its request, its channel and its card again."""
    called = {_CALLED: "yes"} if _from_call(press) else {}
    return {"request": request.id, "channel": press.channel, RESPONSE_URL: press.reply.response_url, **called}


def _reply_there(event: Press | Submission) -> Reply | None:
    """Return the reply to who decides in the request's channel; None for a direct message."""
    return None if _from_call(event) else event.reply


def _from_call(event: Press | Submission) -> bool:
    """Whether somebody decides in the direct message that told them of a break-glass."""
    if isinstance(event, Submission):
        return _CALLED in event.metadata
    return event.action_id in (closing_card.APPROVE, closing_card.STOP)


def _ids(request: ClosingRequest) -> str:
    return ", ".join(str(target.session.id) for target in request.targets)


def register(registrar: Registrar, cards: ClosingCards) -> None:
    """Announce the buttons of cards and their dialogs.

    A press that opens a window at once is no ``once``: a trigger id opens one window, within three seconds.
    """
    for action_id, mode in ((closing_card.CLOSE_SESSION, Mode.SESSION), (closing_card.CLOSE_QUERY, Mode.QUERY)):
        registrar.press(action_id, partial(cards.confirm, mode=mode), shows_progress=True, once=True)
    for action_id, mode in ((closing_card.LOOK_SESSION, Mode.SESSION), (closing_card.LOOK_QUERY, Mode.QUERY)):
        registrar.press(action_id, partial(cards.look, mode=mode), shows_progress=True)
    registrar.press(closing_card.APPROVE, cards.approve, shows_progress=True)
    registrar.submission(closing_modal.CALLBACK, check_number, cards.confirm_looked_at)
    registrar.submission(closing_modal.GLASS_CALLBACK, check_reason, cards.start_break_glass)
    for action_id, act in (
        (closing_card.CANCEL, cards.cancel),
        (closing_card.STOP, cards.cancel),
        (closing_card.LIFT, cards.lift),
        (closing_card.CLOSE_HOLDER, cards.ask_for_holder),
        *((f"{closing_card.CLOSE_BLOCKER}.{number}", cards.ask_for_blocker) for number in range(3)),
        (closing_card.BREAK_GLASS, cards.ask_reason),
        (closing_card.REVIEW, cards.review),
        (notices.EXTEND_BUDGET, cards.extend_budget),
    ):
        registrar.press(action_id, act, once=True)
    registrar.periodically(TIDY_EVERY, cards.tidy)
    registrar.periodically(TIDY_EVERY, cards.follow)
