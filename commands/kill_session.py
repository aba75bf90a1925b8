"""/kill-session: asks for a confirmation on a card, then closes sessions or only their queries."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bot.access import Access, Person, Right
from bot.closing.closer import Closer
from bot.closing.model import CardPlace, ClosingRequest, State
from bot.closing.requests import ClosingRequests
from bot.closing.targets import Wanted
from bot.errors import InputError, RequestError, SessionBotError, TargetError
from bot.sessions.model import Mode, SessionQuery
from bot.sessions.service import SessionService
from bot.slack.arguments import describe
from bot.slack.channels import Defaults
from bot.slack.events import Command, Press, Registrar, Submission
from bot.slack.message import Message
from bot.slack.references import all_picked
from bot.slack.replies import Reply
from bot.slack.typed import repaired
from bot.slack.views import closing_card, closing_modal, session_list
from bot.slack.views.help import HELP_WORDS, Topic, help_for
from bot.slack.views.notices import notice
from bot.slack.wishes import Wish, read_wish

NAME = "/kill-session"
USAGE = 'ID[,ID…] [query] [tenant=…] [source=…] [reason="…"] | where FILTER… [query] | help'
DESCRIPTION = "Close OceanBase sessions or only their queries"

EXAMPLES = (
    ("/kill-session 3221487826", "close the session: its client must connect again"),
    ("/kill-session 3221487826 query", "close only the running query: the session stays"),
    ('/kill-session 3221487826 tenant=shop reason="blocks payments"', "say why, for the record"),
    ("/kill-session 3221487826,3221487830@10.0.0.3", "several; @ names the server where an id is not enough"),
    ("/kill-session where tenant=shop user=report time>10m active-only query", "all that fit, longest first"),
)
TOPIC = Topic(f"{NAME} {USAGE}", DESCRIPTION, EXAMPLES, Right.CLOSE)
TIDY_EVERY = 2.0  # seconds; how late a card may say that it has expired

# Slack takes five messages for one press (SLACK.md section 1): the outcome and an error must get through.
_PROGRESS_BY_PRESS = 3

Rewrite = Callable[[Message], object]


@dataclass(frozen=True, slots=True)
class KillSessionCommand:
    """What /kill-session, the Close buttons under a list, the buttons of a card and its dialog do."""

    sessions: SessionService
    requests: ClosingRequests
    closer: Closer
    access: Access
    defaults: Defaults
    full_sql: Mapping[str, bool]
    update: Callable[[CardPlace, Message], bool]  # rewrites a message by its place

    def answer(self, command: Command) -> None:
        """Answer the slash command with a card."""
        text = repaired(command.text)
        if text.lower() in HELP_WORDS:
            help_ = help_for([TOPIC], self.access, self.sessions.names, command.person, command.channel)
            command.reply.private(help_)
            return
        allowed = self.access.sources(command.person, Right.CLOSE, self.sessions.names, command.channel)
        wish = read_wish(text)
        if wish.source and Right.VIEW in self.access.rights(command.person, wish.source, command.channel):
            # Whoever sees a data source is told why nothing is closed there; to others it does not exist.
            self.access.scope(command.person, Right.CLOSE, wish.source, command.channel)
        if wish.where is None:
            source = self.defaults.source_for(wish.source, command.channel, allowed)
            request = self.requests.ask(
                command.person, command.channel, source, wish.wanted, wish.mode,
                tenant=wish.tenant or self.defaults.tenant_for(source, command.channel), reason=wish.reason,
            )  # fmt: skip
        else:
            query = self.defaults.completed(wish.where, command.channel, allowed)
            request = self._ask_where(command, wish, query)
        self._show(request, command.reply)

    def ask_for_picked(self, press: Press, mode: Mode) -> None:
        """Show the card for the sessions picked under a list."""
        picked = all_picked(press)
        request = self.requests.ask(
            press.person, press.channel, picked[0].source, [Wanted(one.id, one.server, one.matches) for one in picked],
            mode,
        )  # fmt: skip
        self._show(request, press.reply)

    def confirm(self, press: Press, mode: Mode) -> None:
        """Carry out what a card stands for."""
        self._remember_place(press, press.value)
        place = CardPlace(press.channel, press.message_ts)
        left = _PROGRESS_BY_PRESS

        def progress(message: Message) -> None:
            nonlocal left
            if not self.update(place, message) and left > 0:
                left -= 1
                press.reply.replace(message)

        def result(message: Message) -> None:
            press.reply.replace(message, ts=press.message_ts)

        self._confirm(press.value, press.person, press.channel, mode, progress, result)

    def ask_number(self, press: Press, mode: Mode) -> None:
        """Open the dialog in which the number of sessions is typed: at once, then see whether it may be used."""
        request_id, number = _counted(press.value)
        metadata = {"request": request_id, "channel": press.channel, "mode": mode.value, "number": str(number)}
        view_id = press.reply.open_modal(press.trigger_id, closing_modal.ask_number(mode, number, metadata))
        if view_id is None:
            raise TargetError(f"Slack did not open the window in time. Press {mode.value} once more.")
        try:
            self._remember_place(press, request_id)
            self.closer.check(request_id, press.person, press.channel)
        except SessionBotError as error:
            press.reply.update_modal(view_id, closing_modal.problem(mode, number, error.sentence))
            if isinstance(error, RequestError):
                self._show_as_it_is(request_id, lambda message: press.reply.replace(message, ts=press.message_ts))
            raise

    def confirm_counted(self, submission: Submission) -> None:
        """Carry out what a card stands for, its number having been typed."""
        request_id = submission.metadata.get("request", "")
        request = self.requests.find(request_id)
        place = request.card if request is not None else None

        def progress(message: Message) -> bool:
            return place is not None and self.update(place, message)

        def result(message: Message) -> None:
            if not progress(message):
                submission.reply.private(notice(message.text))

        self._confirm(
            request_id, submission.person, submission.channel, Mode(submission.metadata["mode"]), progress, result,
            typed=_typed(submission),
        )  # fmt: skip

    def cancel(self, press: Press) -> None:
        """End a request without a close."""

        def rewrite(message: Message) -> None:
            press.reply.replace(message, ts=press.message_ts)

        try:
            request = self.requests.cancel(press.value, press.person, press.channel)
        except RequestError:
            self._show_as_it_is(press.value, rewrite)
            raise
        rewrite(self._result(request))

    def tidy(self) -> None:
        """Rewrite the cards of requests that ran out of time, and of those that a stopped bot left."""
        for request in (*self.requests.expire(), *self.closer.resume()):
            if request.card is not None and request.state is not State.OPEN:
                self.update(request.card, self._result(request))

    def _ask_where(self, command: Command, wish: Wish, query: SessionQuery) -> ClosingRequest:
        return self.requests.ask_where(
            command.person, command.channel, query, wish.mode, question=describe(query), reason=wish.reason
        )

    def _confirm(
        self, request_id: str, person: Person, channel: str, mode: Mode, show_progress: Rewrite, show_result: Rewrite,
        *, typed: int | None = None,
    ) -> None:  # fmt: skip
        def progress(request: ClosingRequest, note: str) -> None:
            show_progress(closing_card.closing_progress(request, note, full_sql=self.full_sql[request.source]))

        try:
            request = self.closer.confirm(request_id, person, channel, mode, progress, typed=typed)
        except RequestError:
            self._show_as_it_is(request_id, show_result)
            raise
        show_result(self._result(request))

    def _show(self, request: ClosingRequest, reply: Reply) -> None:
        place = reply.post_card(closing_card.closing_card(request, full_sql=self.full_sql[request.source]))
        if place is not None:
            self.requests.place_card(request, place)

    def _show_as_it_is(self, request_id: str, rewrite: Rewrite) -> None:
        """Rewrite a card whose buttons no longer fit what became of its request."""
        request = self.requests.find(request_id)
        if request is None or request.state is State.CLAIMED:
            return
        rewrite(self._result(request))

    def _remember_place(self, press: Press, request_id: str) -> None:
        request = self.requests.find(request_id)
        if request is not None and request.card is None and press.message_ts and not press.ephemeral:
            self.requests.place_card(request, CardPlace(press.channel, press.message_ts))

    def _result(self, request: ClosingRequest) -> Message:
        return closing_card.closing_result(request, full_sql=self.full_sql[request.source])


def check_number(submission: Submission) -> dict[str, str]:
    """Say at once that another number was typed than the dialog asks for; the closer looks again."""
    number = submission.metadata.get("number", "")
    if _typed(submission) is not None and str(_typed(submission)) == number:
        return {}
    return {closing_modal.TYPED_BLOCK: f"That is not the number of sessions. Type {number}, or press Keep them."}


def _typed(submission: Submission) -> int | None:
    try:
        text = repaired(submission.values.get(closing_modal.TYPED, ""))
    except InputError:
        return None
    return int(text) if re.fullmatch(r"\d{1,9}", text, re.ASCII) else None


def _counted(value: str) -> tuple[str, int]:
    request_id, _, number = value.partition("|")
    if not re.fullmatch(r"\d{1,3}", number, re.ASCII):
        raise InputError("That button cannot be read. Ask again with /kill-session.")
    return request_id, int(number)


def register(registrar: Registrar, command: KillSessionCommand) -> None:
    """Announce the command, the Close buttons under lists, the buttons of cards and their dialog."""
    registrar.command(NAME, command.answer)
    registrar.press(session_list.CLOSE_SESSION, lambda press: command.ask_for_picked(press, Mode.SESSION))
    registrar.press(session_list.CLOSE_QUERY, lambda press: command.ask_for_picked(press, Mode.QUERY))
    registrar.press(closing_card.CLOSE_SESSION, lambda press: command.confirm(press, Mode.SESSION), shows_progress=True)
    registrar.press(closing_card.CLOSE_QUERY, lambda press: command.confirm(press, Mode.QUERY), shows_progress=True)
    registrar.press(closing_card.COUNT_SESSIONS, lambda press: command.ask_number(press, Mode.SESSION))
    registrar.press(closing_card.COUNT_QUERIES, lambda press: command.ask_number(press, Mode.QUERY))
    registrar.submission(closing_modal.CALLBACK, check_number, command.confirm_counted)
    registrar.press(closing_card.CANCEL, command.cancel)
    registrar.periodically(TIDY_EVERY, command.tidy)
