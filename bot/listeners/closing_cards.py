"""The buttons of closing cards: confirming, looking, cancelling, break-glass, review; and cards kept up to date."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

import structlog

from bot.closing.approval import Approvals, Confirmation
from bot.closing.break_glass import BreakGlass
from bot.closing.budget import BudgetExtensions
from bot.closing.closer import Closer
from bot.closing.disclosures import Disclosures
from bot.closing.follow_up import FollowUps
from bot.closing.model import CardPlace, ClosingRequest, State
from bot.closing.requests import ClosingRequests
from bot.closing.store import Store
from bot.errors import BudgetError, InputError, NotAllowedError, RequestError, SessionBotError, StoreError, TargetError
from bot.sessions.model import Mode
from bot.slack.arguments.normalization import normalize
from bot.slack.delivery.card_writer import AGAIN_AFTER, CardWriter, Rewrite, Written
from bot.slack.delivery.message import Message
from bot.slack.delivery.replies import Reply
from bot.slack.delivery.retries import one_try
from bot.slack.events import RESPONSE_URL, Press, Registrar, Submission
from bot.slack.views import closing_card, closing_modal, notices
from bot.slack.views.notices import notice

TIDY_EVERY = 2.0  # seconds; how late a card may say that it has expired, or what came of it afterwards

# Slack takes five messages for one press (docs/slack.md 1.3): an error must get through.
_BY_PRESS = 4
_FIRST_RETRY, _LAST_RETRY = 4.0, 300.0  # seconds between two tries to show an outcome; each is twice the one before

_AGAIN = "Nothing was closed: {what}. Below it is as it is now. Press again if it is to be closed."

_REMAINDER = "Part of this request has been decided. What is below still waits."
_SHOWN = "shown"  # in the metadata of a dialog: the numbers of the targets that it shows
_CALLED = "called"  # in the metadata of a dialog: that it was opened from a direct message

_UNRECORDED_AFTER = 1.0  # seconds that the store has to take an outcome before that is shown without a record
_NO_BUTTONS_AFTER = 1.0  # seconds that a close has before its card says that it is under way

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Messages:
    """The ways to Slack that begin with no press."""

    update: Callable[[CardPlace, Message], Written]  # rewrites a message by its place
    post: Callable[[str, Message], CardPlace | None]  # posts a message into a channel
    tell: Callable[[str, Message], CardPlace | None]  # sends somebody a direct message


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
    messages: Messages
    writer: CardWriter
    _since: float = field(default_factory=time.monotonic)
    _retries: dict[str, tuple[float, float]] = field(default_factory=dict)  # request: not before, pause after that
    _posted: set[str] = field(default_factory=set)  # requests whose cards this process has posted after all
    _called_off: set[str] = field(default_factory=set)  # requests whose direct messages say that they are over

    def show(self, request: ClosingRequest, reply: Reply, note: str = "") -> None:
        """Post the card of a new request; ``note`` is a sentence on why there is one."""
        reply.post_card(self._open_card(request, note), lambda place: self.store.cards.place(request, place))

    def confirm(self, press: Press, mode: Mode) -> None:
        """Carry out what a card stands for."""
        self._remember_place(press, press.value)
        self._confirm(press, press.value, mode, self._card_of(press))

    def look(self, press: Press, mode: Mode) -> None:
        """Open the dialog with the targets as they are now: at once, then fill it."""
        view_id = press.reply.open_modal(press.trigger_id, closing_modal.looking(mode))
        if view_id is None:
            button = "Approve" if _from_call(press) else mode.value
            raise TargetError(f"Slack did not open the window in time. Press {button} once more.")
        try:
            self._remember_place(press, press.value)
            part, present = self.closer.present(Confirmation(press.value, press.person, press.channel, mode))
        except SessionBotError as error:
            press.reply.update_modal(view_id, closing_modal.problem(mode, error.sentence))
            if self._says_other(press.value, error):
                self._show_as_it_is(press.value, self._card_of(press))
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
        card = _Card(request_id, submission.reply, self.store.requests.get(request_id).card, self.messages.update)
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
            press.person, press.channel, request_id, int(number) if number.isdecimal() else 0
        )
        self.show(asked, press.reply)

    def cancel(self, press: Press) -> None:
        """End a request without a close."""
        self._remember_place(press, press.value)
        try:
            cancelled = self.approvals.cancel(press.value, press.person, called=_from_call(press))
        except RequestError:
            self._show_as_it_is(press.value, self._card_of(press))
            raise
        self._show_result(cancelled.request, self._card_of(press))
        if _from_call(press):  # where the place of that message is not known
            press.reply.replace(closing_card.call_over(cancelled.request), ts=press.message_ts)
        if cancelled.remainder is not None:
            self._show_there(cancelled.remainder, press, _REMAINDER)
        for other in cancelled.others:
            self._end_calls(other)
            if other.card is not None:
                card = _Card(other.id, None, other.card, self.messages.update)
                self.writer.put(card.key, card.write, self._as_it_stands(other))

    def lift(self, press: Press) -> None:
        """Let the Stops that hold for a request hold no more."""
        try:
            request = self.break_glass.lift(press.value, press.person)
        except RequestError:
            self._show_as_it_is(press.value, self._card_of(press))
            raise
        card = self._card_of(press)
        note = "Somebody who may approve has lifted the Stop."
        self.writer.put(card.key, card.write, self._as_it_stands(request, note))

    def ask_reason(self, press: Press) -> None:
        """Open the dialog that asks for the reason of a break-glass."""
        self._remember_place(press, press.value)
        try:
            request, after = self.break_glass.breakable(press.value, press.person, press.channel)
        except SessionBotError as error:
            if self._says_other(press.value, error):
                self._show_as_it_is(press.value, self._card_of(press))
            raise
        metadata = _back_to(press, request)
        dialog = closing_modal.ask_reason(request, after.total_seconds(), metadata)
        if press.reply.open_modal(press.trigger_id, dialog) is None:
            raise TargetError("Slack did not open the window in time. Press Break glass once more.")

    def start_break_glass(self, submission: Submission) -> None:
        """Let the requester confirm alone after a while, and say so on the card."""
        called: list[tuple[ClosingRequest, CardPlace]] = []

        def tell(request: ClosingRequest, due: datetime, person: str) -> CardPlace | None:
            message = closing_card.call(request, due, disclosure=self.disclosures.shown(request.source))
            with one_try():  # there are others to be told
                place = self.messages.tell(person, message)
            if place is not None:
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
                self._call_off(asked, place)
            raise
        card = _Card(request.id, submission.reply, request.card, self.messages.update)
        self.writer.put(card.key, card.write, self._as_it_stands(request), told=card.or_privately)
        approvers = self.approvals.approvers(request)
        submission.reply.public(closing_card.broken_glass(request, approvers))

    def review(self, press: Press) -> None:
        """Sign a close that was confirmed alone."""
        request = self.break_glass.review(press.value, press.person)
        self._rewrite(request)
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
            self._rewrite(request)
        # Whatever the process before this one was at may still come.
        in_doubt = time.monotonic() - self._since < AGAIN_AFTER[-1]
        for request in self.store.cards.missing():
            if request.id not in self._posted and not self.writer.has(request.id):
                self._posted.add(request.id)  # once: where the bot is in no channel, Slack takes no second try either
                self.writer.put(request.id, partial(self._post, request), self._as_it_stands(request, _REMAINDER))
        for request in self.store.cards.unshown():
            not_before, pause = self._retries.get(request.id, (0.0, _FIRST_RETRY))
            if time.monotonic() < not_before or request.card is None or self.writer.has(_key(request.card)):
                continue
            self._retries[request.id] = (time.monotonic() + pause, min(pause * 2, _LAST_RETRY))
            self._rewrite(request, in_doubt=in_doubt and self.store.cards.before_start(request))

    def follow(self) -> None:
        """Rewrite the cards of presses that a stopped bot left, and of closes of which there is something new."""
        for request in self.closer.resume():
            self._rewrite(request)
        for request in self.follow_ups.verify():
            self._rewrite(request)

    def _rewrite(self, request: ClosingRequest, *, in_doubt: bool = False) -> None:
        if request.card is None:
            return
        card = _Card(request.id, None, request.card, self.messages.update)
        if request.state is State.OPEN:
            note = "The bot was interrupted before anything was sent. Nothing was closed. Press again."
            self.writer.put(card.key, card.write, self._as_it_stands(request, note))
        else:
            self._show_result(request, card, in_doubt=in_doubt)

    def _card_of(self, press: Press) -> _Card:
        if press.action_id in (closing_card.APPROVE, closing_card.STOP):  # the message is another one then
            request = self.store.requests.find(press.value)
            return _Card(press.value, press.reply, request.card if request else None, self.messages.update, urls_left=0)
        return _Card(press.value, press.reply, CardPlace(press.channel, press.message_ts), self.messages.update)

    def _show_there(self, request: ClosingRequest, event: Press | Submission, note: str) -> None:
        """Post the card of a request that came of somebody's press, where it belongs; nobody waits for that."""

        def post(message: Message) -> Written:
            if not _from_call(event):
                event.reply.post_card(message, lambda place: self.store.cards.place(request, place))
                return Written.TAKEN
            return self._post(request, message)

        self.writer.put(request.id, post, lambda: self._open_card(request, note))

    def _post(self, request: ClosingRequest, message: Message) -> Written:
        """Post a card of which no press gives the place."""
        place = self.messages.post(request.channel, message)
        if place is None:
            return Written.REFUSED
        self.store.cards.place(request, place)
        return Written.TAKEN

    def _end_calls(self, request: ClosingRequest) -> None:
        for one in request.calls:
            self._call_off(request, one.place)

    def _call_off(self, request: ClosingRequest, place: CardPlace) -> None:
        message = closing_card.call_over(request)
        self.writer.put(_key(place), lambda over: self.messages.update(place, over), lambda: message)

    def _confirm(
        self,
        event: Press | Submission,
        request_id: str,
        mode: Mode,
        card: _Card,
        *,
        typed: int | None = None,
        only: Sequence[int] | None = None,
    ) -> None:
        told = False

        def progress(request: ClosingRequest, note: str) -> None:
            nonlocal told
            told = True
            known = all(one.outcome is not None for one in request.targets)
            disclosure = self.disclosures.shown(request.source)
            message = (
                closing_card.closing_result(request, disclosure=disclosure)
                if known
                else closing_card.closing_progress(request, note, disclosure=disclosure)
            )
            after = _UNRECORDED_AFTER if known else 0.0 if note else _NO_BUTTONS_AFTER
            self.writer.put(card.key, card.write_news, lambda: message, after=after)

        try:
            press = Confirmation(request_id, event.person, event.channel, mode, only, typed, event.delivery)
            request = self.closer.confirm(press, progress, leave=lambda left: self._show_there(left, event, _REMAINDER))
        except SessionBotError as error:
            if isinstance(error, BudgetError):
                self._call_for_budget(error, event)
            if (told and not self.writer.withdraw(card.key)) or self._says_other(request_id, error):
                self._show_as_it_is(request_id, card)
            raise
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

    def _show_done(self, event: Press | Submission, request: ClosingRequest, card: _Card) -> None:
        """Show what came of a press, and ask again for what is other than the card said."""
        asked: list[ClosingRequest] = []
        if not request.unrecorded:
            message = self._result(request)  # in the place of what says that it is not on record yet
            self.writer.put(card.key, card.write_news, lambda: message, after=_UNRECORDED_AFTER)
            asked = self._ask_again(request)
        if len(request.targets) > 1 or len(asked) != 1:
            self._show_result(request, card)
            for one in asked:
                self._show_there(one, event, _AGAIN.format(what="These have changed since the card was shown"))
            return
        (again,) = asked
        what = (request.targets[0].detail or "It has changed since the card was shown").rstrip(".")

        def told(written: Written) -> None:
            if (
                written is Written.TAKEN
            ):  # else the card of the first request is tried again, and says that nothing was closed
                self.store.cards.mark_shown(request)
                if request.card is not None:
                    self.store.cards.place(again, request.card)

        self.writer.put(card.key, card.write, self._as_it_stands(again, _AGAIN.format(what=what)), told=told)

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
            if _from_call(event):
                self.messages.post(event.channel, message)
            else:
                event.reply.public(message)

    def _show_as_it_is(self, request_id: str, card: _Card) -> None:
        """Rewrite a card whose buttons no longer fit what became of its request, or lack though it is open again."""
        with contextlib.suppress(StoreError):  # the first error is what the person is told
            request = self.store.requests.find(request_id)
            if request is None or request.state is State.CLAIMED:
                return
            if request.state is not State.OPEN:
                self._show_result(request, card)
                return
            with contextlib.suppress(RequestError):  # one that has run out of time follows by itself
                self.approvals.open_request(request_id)
                self.writer.put(card.key, card.write, self._as_it_stands(request))

    def _as_it_stands(self, request: ClosingRequest, note: str = "") -> Callable[[], Message | None]:
        """Show an open request as it is when the card is written: by then somebody may have decided it anywhere."""

        def render() -> Message | None:
            newest = self.store.requests.find(request.id) or request
            if newest.state is State.OPEN:
                return self._open_card(newest, note)
            return None if newest.state is State.CLAIMED else self._result(newest)

        return render

    def _show_result(self, request: ClosingRequest, card: _Card, *, in_doubt: bool = False) -> None:
        """Show what came of a request, as it is known when the card is written."""
        shown = request

        def render() -> Message:
            nonlocal shown
            with contextlib.suppress(StoreError):  # then as it is known here
                shown = self._newest(request)
            return self._result(shown)

        def told(written: Written) -> None:
            if shown.calls and request.id not in self._called_off:
                self._called_off.add(request.id)
                self._end_calls(shown)
            if written is Written.TAKEN:  # in doubt, the next process must write it as well
                self._retries.pop(request.id, None)
                self.store.cards.mark_shown(shown)
            else:
                card.or_privately(written)

        told_of = None if request.unrecorded else told
        self.writer.put(card.key, card.write, render, told=told_of, in_doubt=in_doubt)

    def _newest(self, request: ClosingRequest) -> ClosingRequest:
        found = self.store.requests.find(request.id)
        # A file that was put in the place of the store may know less.
        return found if found is not None and found.state not in (State.CLAIMED, State.OPEN) else request

    def _remember_place(self, press: Press, request_id: str) -> None:
        request = self.store.requests.find(request_id)
        if request is not None and request.card is None and press.message_ts and not press.ephemeral:
            self.store.cards.place(request, CardPlace(press.channel, press.message_ts))

    def _open_card(self, request: ClosingRequest, note: str = "") -> Message:
        return closing_card.closing_card(
            self.approvals.as_it_holds(request),
            disclosure=self.disclosures.shown(request.source),
            approvers=self.approvals.approvers(request),
            break_glass=self.break_glass.after(request) is not None,
            note=note,
        )

    def _result(self, request: ClosingRequest) -> Message:
        return closing_card.closing_result(request, disclosure=self.disclosures.shown(request.source))


@dataclass(slots=True)
class _Card:
    """One card, and the ways to rewrite it: by its place, and by the response URL of a press, five times at most."""

    request_id: str
    reply: Reply | None
    place: CardPlace | None
    update: Callable[[CardPlace, Message], Written]
    urls_left: int = _BY_PRESS
    _last: Message | None = None

    def __post_init__(self) -> None:
        if self.place is not None and not self.place.ts:
            self.place = None

    @property
    def key(self) -> str:
        """What names the message."""
        return _key(self.place) if self.place is not None else self.request_id

    def write(self, message: Message) -> Written:
        """Rewrite it: by the response URL first, which works in channels that the bot is not in, too."""
        self._last = message
        return self._by((self._by_url, self._by_place), message)

    def write_news(self, message: Message) -> Written:
        """Rewrite it with what the next news make old: by the place first, and once only."""
        with one_try():
            return self._by((self._by_place, self._by_url), message)

    def or_privately(self, written: Written) -> None:
        """Tell at least the person who pressed, once, where the card does not show it."""
        if self.reply is not None and self._last is not None and not written.taken:
            self.reply.private(notice(self._last.text))
            self.reply = None  # from now on by the place alone

    def _by(self, ways: Sequence[Rewrite], message: Message) -> Written:
        doubt = False
        for way in ways:
            written = way(message)
            if written.taken:
                return Written.IN_DOUBT if doubt else Written.TAKEN
            doubt = doubt or written.in_doubt
        return Written.UNKNOWN if doubt else Written.REFUSED

    def _by_place(self, message: Message) -> Written:
        return Written.REFUSED if self.place is None else self.update(self.place, message)

    def _by_url(self, message: Message) -> Written:
        if self.reply is None or self.urls_left == 0:
            return Written.REFUSED
        self.urls_left -= 1
        return self.reply.rewrite(message)


def _key(place: CardPlace) -> str:
    return f"{place.channel}/{place.ts}"


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


def _from_call(event: Press | Submission) -> bool:
    """Whether somebody decides in the direct message that told them of a break-glass."""
    if isinstance(event, Submission):
        return _CALLED in event.metadata
    return event.action_id in (closing_card.APPROVE, closing_card.STOP)


def _ids(request: ClosingRequest) -> str:
    return ", ".join(str(target.session.id) for target in request.targets)


def register(registrar: Registrar, cards: ClosingCards) -> None:
    """Announce the buttons of cards and their dialogs."""
    registrar.press(closing_card.CLOSE_SESSION, lambda press: cards.confirm(press, Mode.SESSION), shows_progress=True)
    registrar.press(closing_card.CLOSE_QUERY, lambda press: cards.confirm(press, Mode.QUERY), shows_progress=True)
    registrar.press(closing_card.LOOK_SESSION, lambda press: cards.look(press, Mode.SESSION), shows_progress=True)
    registrar.press(closing_card.LOOK_QUERY, lambda press: cards.look(press, Mode.QUERY), shows_progress=True)
    registrar.submission(closing_modal.CALLBACK, check_number, cards.confirm_looked_at)
    registrar.press(closing_card.CANCEL, cards.cancel)
    registrar.press(closing_card.APPROVE, cards.approve, shows_progress=True)
    registrar.press(closing_card.STOP, cards.cancel)
    registrar.press(closing_card.LIFT, cards.lift)
    registrar.press(closing_card.CLOSE_HOLDER, cards.ask_for_holder)
    registrar.press(closing_card.BREAK_GLASS, cards.ask_reason)
    registrar.submission(closing_modal.GLASS_CALLBACK, check_reason, cards.start_break_glass)
    registrar.press(closing_card.REVIEW, cards.review)
    registrar.press(notices.EXTEND_BUDGET, cards.extend_budget)
    registrar.periodically(TIDY_EVERY, cards.tidy)
    registrar.periodically(TIDY_EVERY, cards.follow)
