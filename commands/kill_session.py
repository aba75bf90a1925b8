"""/kill-session: asks for a confirmation on a card, then closes a session or only its query."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bot.access import Access, Right
from bot.closing.closer import Closer
from bot.closing.model import CardPlace, ClosingRequest, State
from bot.closing.requests import ClosingRequests
from bot.errors import InputError, RequestError
from bot.sessions.model import Mode, Operator
from bot.sessions.service import SessionService
from bot.slack.channels import Defaults
from bot.slack.events import Command, Press, Registrar
from bot.slack.message import Message
from bot.slack.references import picked
from bot.slack.replies import Reply
from bot.slack.typed import repaired
from bot.slack.values import session_id
from bot.slack.views import closing_card, session_list
from bot.slack.views.help import HELP_WORDS, Topic, help_for
from bot.slack.words import KeyWord, PlainWord, nearest, words

NAME = "/kill-session"
USAGE = 'ID [query] [tenant=…] [source=…] [reason="…"] | help'
DESCRIPTION = "Close an OceanBase session or only its query"

EXAMPLES = (
    ("/kill-session 3221487826", "close the session: its client must connect again"),
    ("/kill-session 3221487826 query", "close only the running query: the session stays"),
    ('/kill-session 3221487826 tenant=shop reason="blocks payments"', "say why, for the record"),
)
TOPIC = Topic(f"{NAME} {USAGE}", DESCRIPTION, EXAMPLES, Right.CLOSE)
TIDY_EVERY = 2.0  # seconds; how late a card may say that it has expired

_PASTED = re.compile(r"(?i)^kill\s+(?:(connection|query)\s+)?([^\s;=\"']+)\s*;?\s*(.*)$", re.DOTALL)
_KEYS = ("tenant", "source", "server", "reason")


@dataclass(frozen=True, slots=True)
class Wish:
    """What was typed after /kill-session."""

    id: int
    mode: Mode
    source: str | None = None
    tenant: str | None = None
    server: str | None = None
    reason: str = ""


def parse(text: str) -> Wish:
    """Read the words after /kill-session (already repaired).

    Nothing is corrected here, since a wrong guess would close somebody's session.
    Raises ``InputError``.
    """
    pasted = _PASTED.match(text)
    if pasted is not None:
        text = " ".join((pasted[2], pasted[3], "query" if (pasted[1] or "").lower() == "query" else ""))
    ids: list[PlainWord] = []
    modes: list[Mode] = []
    keys: dict[str, str] = {}
    for word in words(text):
        if isinstance(word, KeyWord):
            _read_key(word, keys)
        elif word.word in ("query", "session"):
            modes.append(Mode.QUERY if word.word == "query" else Mode.SESSION)
        else:
            ids.append(word)
    if len(modes) > 1:
        raise InputError("Say query or session once.", spot=modes[1].name.lower(), example=EXAMPLES[1][0])
    number, server = _one_id(ids)
    if server and "server" in keys:
        raise InputError(
            f"The server stands there twice: @{server} and server={keys['server']}. Nothing was closed.",
            spot=f"@{server}",
            example="/kill-session 3221487826 server=10.0.3.7:2881",
        )
    return Wish(
        number, modes[0] if modes else Mode.SESSION, keys.get("source"), keys.get("tenant"),
        server or keys.get("server"), keys.get("reason", ""),
    )  # fmt: skip


def _read_key(word: KeyWord, keys: dict[str, str]) -> None:
    if word.key not in _KEYS:
        meant = nearest(word.key, _KEYS)
        hint = f" Did you mean {meant}=?" if meant else ""
        raise InputError(
            f"There is no key “{word.key}” here. There is: {', '.join(_KEYS)}.{hint} Nothing was closed.",
            spot=word.text,
            example=EXAMPLES[2][0],
        )
    if word.key in keys:
        raise InputError(f"{word.key} stands there twice. Nothing was closed.", spot=word.text, example=EXAMPLES[2][0])
    if word.operator not in (Operator.CONTAINS, Operator.EXACTLY) or len(word.values) != 1:
        raise InputError(f"{word.key} takes one value after =.", spot=word.text, example=EXAMPLES[2][0])
    keys[word.key] = word.values[0]


def _one_id(ids: list[PlainWord]) -> tuple[int, str | None]:
    if not ids:
        raise InputError("Which session? Give its id; /sessions shows it in the first column.", example=EXAMPLES[0][0])
    first, *more = ids
    if not first.word[:1].isdecimal():
        meant = nearest(first.word, ("query", "help"))
        hint = f" Did you mean {meant}?" if meant else ""
        raise InputError(
            f"“{first.text[:60]}” is not a session id.{hint} Nothing was closed.",
            spot=first.text,
            example=EXAMPLES[0][0],
        )
    if more or "," in first.text:
        meant = nearest(more[0].word, ("query", "session")) if more else None
        raise InputError(
            f"“{more[0].text[:60]}” is not understood. Did you mean {meant}? Nothing was closed."
            if meant
            else "Give one session id; several at once are not closed. Nothing was closed.",
            spot=more[0].text if more else first.text,
            example=EXAMPLES[1][0],
        )
    number, _, server = first.text.rstrip(";").partition("@")
    return session_id(number), server or None


@dataclass(frozen=True, slots=True)
class KillSessionCommand:
    """What /kill-session, the Close buttons under a list and the buttons of a card do."""

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
        wish = parse(text)
        allowed = self.access.sources(command.person, Right.CLOSE, self.sessions.names, command.channel)
        source = self.defaults.source_for(wish.source, command.channel, allowed)
        request = self.requests.ask(
            command.person, command.channel, source, wish.id, wish.mode,
            tenant=wish.tenant or self.defaults.tenant_for(source, command.channel), server=wish.server,
            reason=wish.reason,
        )  # fmt: skip
        self._show(request, command.reply)

    def ask_for_picked(self, press: Press, mode: Mode) -> None:
        """Show the card for the session picked under a list."""
        reference = picked(press)
        request = self.requests.ask(
            press.person, press.channel, reference.source, reference.id, mode,
            server=reference.server, listed=reference.matches,
        )  # fmt: skip
        self._show(request, press.reply)

    def confirm(self, press: Press, mode: Mode) -> None:
        """Carry out what a card stands for."""

        def progress(request: ClosingRequest, note: str) -> None:
            card = closing_card.closing_progress(request, note, full_sql=self.full_sql[request.source])
            press.reply.replace(card, ts=press.message_ts)

        self._remember_place(press)
        try:
            request = self.closer.confirm(press.value, press.person, press.channel, mode, progress)
        except RequestError:
            self._show_as_it_is(press)
            raise
        press.reply.replace(self._result(request), ts=press.message_ts)

    def cancel(self, press: Press) -> None:
        """End a request without a close."""
        try:
            request = self.requests.cancel(press.value, press.person, press.channel)
        except RequestError:
            self._show_as_it_is(press)
            raise
        press.reply.replace(self._result(request), ts=press.message_ts)

    def tidy(self) -> None:
        """Rewrite the cards of requests that ran out of time, and of those that a stopped bot left."""
        for request in (*self.requests.expire(), *self.closer.resume()):
            if request.card is not None and request.state is not State.OPEN:
                self.update(request.card, self._result(request))

    def _show(self, request: ClosingRequest, reply: Reply) -> None:
        place = reply.post_card(closing_card.closing_card(request, full_sql=self.full_sql[request.source]))
        if place is not None:
            self.requests.place_card(request, place)

    def _show_as_it_is(self, press: Press) -> None:
        """Rewrite a card whose buttons no longer fit what became of its request."""
        request = self.requests.find(press.value)
        if request is None or request.state is State.CLAIMED:
            return
        press.reply.replace(self._result(request), ts=press.message_ts)

    def _remember_place(self, press: Press) -> None:
        request = self.requests.find(press.value)
        if request is not None and request.card is None and press.message_ts and not press.ephemeral:
            self.requests.place_card(request, CardPlace(press.channel, press.message_ts))

    def _result(self, request: ClosingRequest) -> Message:
        return closing_card.closing_result(request, full_sql=self.full_sql[request.source])


def register(registrar: Registrar, command: KillSessionCommand) -> None:
    """Announce the command, the Close buttons under lists, and the buttons of cards."""
    registrar.command(NAME, command.answer)
    registrar.press(session_list.CLOSE_SESSION, lambda press: command.ask_for_picked(press, Mode.SESSION))
    registrar.press(session_list.CLOSE_QUERY, lambda press: command.ask_for_picked(press, Mode.QUERY))
    registrar.press(closing_card.CLOSE_SESSION, lambda press: command.confirm(press, Mode.SESSION), shows_progress=True)
    registrar.press(closing_card.CLOSE_QUERY, lambda press: command.confirm(press, Mode.QUERY), shows_progress=True)
    registrar.press(closing_card.CANCEL, command.cancel)
    registrar.periodically(TIDY_EVERY, command.tidy)
