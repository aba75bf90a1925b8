"""Keeps the cards of closing requests, and the messages around them, as things stand."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

import structlog

from bot.closing.advice import closed_before
from bot.closing.approval import Approvals
from bot.closing.break_glass import BreakGlass
from bot.closing.disclosures import Disclosures
from bot.closing.model import CardPlace, ClosingRequest, State
from bot.closing.store import Store
from bot.errors import RequestError, StoreError
from bot.slack.delivery.card_message import CardMessage, Messages, key_of
from bot.slack.delivery.card_writer import AGAIN_AFTER, CardWriter, OnWritten, Written
from bot.slack.delivery.message import Message, from_elsewhere
from bot.slack.delivery.replies import Reply
from bot.slack.delivery.retries import one_try
from bot.slack.views import closing_card

log = structlog.get_logger(__name__)

REMAINDER = "Part of this request has been decided. What is below still waits."

_FIRST_RETRY, _LAST_RETRY = 4.0, 300.0  # seconds between two tries to show an outcome; each is twice the one before
_UNRECORDED_AFTER = 1.0  # seconds that the store has to take an outcome before that is shown without a record
_NO_BUTTONS_AFTER = 1.0  # seconds that a close has before its card says that it is under way


@dataclass(frozen=True, slots=True)
class CardKeeper:
    """Posts and rewrites cards; each is written as it is known at that moment."""

    store: Store
    approvals: Approvals
    break_glass: BreakGlass
    disclosures: Disclosures
    messages: Messages
    writer: CardWriter
    _since: float = field(default_factory=time.monotonic)
    _retries: dict[str, tuple[float, float]] = field(default_factory=dict)  # request: not before, pause after that
    _posted: set[str] = field(default_factory=set)  # requests whose cards this process has posted after all
    _called_off: set[str] = field(default_factory=set)  # requests whose direct messages say that they are over
    _told_nobody: set[str] = field(default_factory=set)  # requests of which the log tells, since nobody could be told

    def message_of(self, request_id: str, reply: Reply | None, place: CardPlace | None) -> CardMessage:
        """Return the message that is the card of a request, to rewrite it."""
        return CardMessage(request_id, reply, place, self.messages.update)

    def post(self, request: ClosingRequest, reply: Reply, note: str = "") -> None:
        """Post the card of a new request; ``note`` is a sentence on why there is one."""
        reply.post_card(self._open_card(request, note), partial(self.store.cards.place, request))

    def post_later(self, request: ClosingRequest, reply: Reply | None, note: str) -> None:
        """Post the card of a request that came of somebody's press; nobody waits for that.

        By the ``reply`` to that press where it was made in the request's channel.
        """

        def post(message: Message) -> Written:
            if reply is not None:
                reply.post_card(message, partial(self.store.cards.place, request))
                return Written.TAKEN
            return self._post(request, message)

        self.writer.put(request.id, post, lambda: self._open_card(request, note))

    def place(self, request_id: str, place: CardPlace) -> None:
        """Remember where a card is that was pressed, where that is not known yet."""
        request = self.store.requests.find(request_id)
        if request is not None and request.card is None:
            self.store.cards.place(request, place)

    def show_open(
        self, request: ClosingRequest, card: CardMessage, note: str = "", on_written: OnWritten | None = None
    ) -> None:
        """Show an open request as it is when the card is written: by then somebody may have decided it anywhere."""

        def or_elsewhere(written: Written) -> None:
            if written is Written.GONE:
                newest = self.store.requests.find(request.id) or request
                message = self._as_it_stands(request, note)
                if message is not None:
                    self._elsewhere(newest, message, card)

        self.writer.put(
            card.key, card.write, partial(self._as_it_stands, request, note), on_written=on_written or or_elsewhere
        )

    def show_progress(self, request: ClosingRequest, note: str, card: CardMessage) -> None:
        """Show what is known of a close that is under way."""
        known = all(one.outcome is not None for one in request.targets)
        disclosure = self.disclosures.shown(request.source)
        message = (
            closing_card.closing_result(request, disclosure=disclosure)
            if known
            else closing_card.closing_progress(request, note, disclosure=disclosure)
        )
        after = _UNRECORDED_AFTER if known else 0.0 if note else _NO_BUTTONS_AFTER
        self.writer.put(card.key, card.write_news, lambda: message, after=after)

    def show_recorded(self, request: ClosingRequest, card: CardMessage) -> None:
        """Show an outcome in the place of what says that it is not on record yet."""
        message = self._result(request)
        self.writer.put(card.key, card.write_news, lambda: message, after=_UNRECORDED_AFTER)

    def show_result(self, request: ClosingRequest, card: CardMessage, *, in_doubt: bool = False) -> None:
        """Show what came of a request, as it is known when the card is written."""
        shown = request

        def render() -> Message:
            nonlocal shown
            with contextlib.suppress(StoreError):  # then as it is known here
                shown = self._newest(request)
            return self._result(shown)

        def on_written(written: Written) -> None:
            if shown.calls and request.id not in self._called_off:
                self._called_off.add(request.id)
                self.end_calls(shown)
            told = written is Written.GONE and self._elsewhere(shown, self._result(shown), card)
            if written is Written.TAKEN or told:  # in doubt, the next process must write it as well
                self._retries.pop(request.id, None)
                self.store.cards.mark_shown(shown)
            elif written is not Written.GONE:
                card.or_privately(written)

        self.writer.put(
            card.key, card.write, render, on_written=None if request.unrecorded else on_written, in_doubt=in_doubt
        )

    def show_again(self, request: ClosingRequest, again: ClosingRequest, card: CardMessage, note: str) -> None:
        """Show on the card of a request that closed nothing the one that was asked for in its place."""

        def on_written(written: Written) -> None:
            # Else the card of the first request is tried again, and says that nothing was closed.
            if written is Written.TAKEN:
                self.store.cards.mark_shown(request)
                if request.card is not None:
                    self.store.cards.place(again, request.card)

        self.show_open(again, card, note, on_written)

    def show_as_it_is(self, request_id: str, card: CardMessage) -> None:
        """Rewrite a card whose buttons no longer fit what became of its request, or lack though it is open again."""
        with contextlib.suppress(StoreError):  # the first error is what the person is told
            request = self.store.requests.find(request_id)
            if request is None or request.state is State.CLAIMED:
                return
            if request.state is not State.OPEN:
                self.show_result(request, card)
                return
            with contextlib.suppress(RequestError):  # one that has run out of time follows by itself
                self.approvals.open_request(request_id)
                self.show_open(request, card)

    def rewrite(self, request: ClosingRequest, *, in_doubt: bool = False) -> None:
        """Rewrite a card, by its place; ``in_doubt`` where a late write of somebody else may undo that.

        Where it has no place, as in a channel that the bot is not in, those whom it is about are told.
        """
        card = self.message_of(request.id, None, request.card)
        if request.state is State.OPEN:
            note = "The bot was interrupted before anything was sent. Nothing was closed. Press again."
            self.show_open(request, card, note)
        else:
            self.show_result(request, card, in_doubt=in_doubt)

    def withdraw(self, card: CardMessage) -> bool:
        """Take back what is still to be written on a card; False where some of it may stand there."""
        return self.writer.withdraw(card.key)

    def catch_up(self) -> None:
        """Show what Slack did not take before."""
        # Whatever the process before this one was at may still come.
        in_doubt = time.monotonic() - self._since < AGAIN_AFTER[-1]
        for request in self.store.cards.missing():
            if request.id not in self._posted and not self.writer.has(request.id):
                self._posted.add(request.id)
                self.writer.put(
                    request.id, partial(self._post, request), partial(self._as_it_stands, request, REMAINDER)
                )
        for request in self.store.cards.unshown():
            not_before, pause = self._retries.get(request.id, (0.0, _FIRST_RETRY))
            key = key_of(request.card) if request.card is not None else request.id
            if time.monotonic() < not_before or self.writer.has(key):
                continue
            self._retries[request.id] = (time.monotonic() + pause, min(pause * 2, _LAST_RETRY))
            self.rewrite(request, in_doubt=in_doubt and self.store.cards.before_start(request))

    def call(self, request: ClosingRequest, due: datetime, person: str) -> CardPlace | str:
        """Tell somebody who may approve of a break-glass; where Slack does not take that, why and what to do."""
        message = closing_card.call(request, due, disclosure=self.disclosures.shown(request.source))
        with one_try():  # there are others to be told
            told = self.messages.tell(person, message)
        return told if isinstance(told, CardPlace) else f"{told.why}; {told.advice}"

    def end_calls(self, request: ClosingRequest) -> None:
        """Take the buttons off all direct messages that told of a break-glass."""
        for one in request.calls:
            self.call_off(request, one.place)

    def call_off(self, request: ClosingRequest, place: CardPlace) -> None:
        """Take the buttons off one of them."""
        message = closing_card.call_over(request)
        self.writer.put(key_of(place), lambda over: self.messages.update(place, over), lambda: message)

    def _post(self, request: ClosingRequest, message: Message) -> Written:
        """Post a card of which no press gives the place; where its channel takes none, tell who asked for it."""
        placed = self._elsewhere(request, message)
        if not placed:
            self._posted.discard(request.id)
        return Written.TAKEN if placed else Written.REFUSED

    def _elsewhere(self, request: ClosingRequest, message: Message, card: CardMessage | None = None) -> bool:
        """Tell what a card would say where that can still be told: in its channel anew, else those whom it is about.

        The log has it where nobody could be told. False where Slack may take it later.
        """
        place = self.messages.post(request.channel, message)
        if isinstance(place, CardPlace):
            self.store.cards.place(request, place)
            return True
        if place is not Written.GONE:
            return False
        said = from_elsewhere(message, request.channel, card=True)
        decided = request.decided_by.id if request.decided_by is not None else request.requester.id
        people = dict.fromkeys((request.requester.id, decided))
        told = [one for one in people if isinstance(self.messages.tell(one, said), CardPlace)]
        if told:
            return True
        if card is not None and card.or_privately(place):
            return True
        if request.id not in self._told_nobody:
            self._told_nobody.add(request.id)
            log.error("told nobody", request=request.id, channel=request.channel)
        return False

    def _as_it_stands(self, request: ClosingRequest, note: str) -> Message | None:
        newest = self.store.requests.find(request.id) or request
        if newest.state is State.OPEN:
            return self._open_card(newest, note)
        return None if newest.state is State.CLAIMED else self._result(newest)

    def _newest(self, request: ClosingRequest) -> ClosingRequest:
        found = self.store.requests.find(request.id)
        # A file that was put in the place of the store may know less.
        return found if found is not None and found.state not in (State.CLAIMED, State.OPEN) else request

    def _open_card(self, request: ClosingRequest, note: str) -> Message:
        return closing_card.closing_card(
            self.approvals.as_it_holds(request),
            disclosure=self.disclosures.shown(request.source),
            approvers=self.approvals.approvers(request),
            break_glass=self.break_glass.after(request) is not None,
            note=note,
        )

    def _result(self, request: ClosingRequest) -> Message:
        before = None
        with contextlib.suppress(StoreError):
            before = closed_before(self.store, request)
        return closing_card.closing_result(request, disclosure=self.disclosures.shown(request.source), before=before)
