"""/kill-session: asks for a confirmation on a card, then closes sessions or only their queries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from bot.access import Access, Right
from bot.closing.model import ClosingRequest
from bot.closing.requests import ClosingRequests
from bot.closing.targets import Wanted
from bot.errors import InputError, UnknownStatusError
from bot.sessions.model import Mode, SessionQuery
from bot.sessions.service import SessionService
from bot.sessions.states import mended
from bot.slack.arguments import kill_arguments
from bot.slack.arguments.kill_arguments import KillArguments
from bot.slack.arguments.normalization import normalize
from bot.slack.arguments.session_query import describe
from bot.slack.defaults import Defaults
from bot.slack.delivery.replies import Reply
from bot.slack.events import Asked, Command, Press, Registrar, of_source
from bot.slack.session_reference import all_picked
from bot.slack.views import session_list
from bot.slack.views.help import HELP_WORDS, Topic, help_for

NAME = "/kill-session"
USAGE = 'ID[,ID…] [query] [tenant=…] [on=…] [reason="…"] [override] | where FILTER… [query] | help'
DESCRIPTION = "Close OceanBase sessions or only their queries"

EXAMPLES = (
    ("/kill-session 3221487826", "close the session: its client must connect again"),
    ("/kill-session 3221487826 query", "close only the running query: the session stays"),
    ('/kill-session 3221487826 tenant=shop reason="blocks payments"', "say why, for the record"),
    ("/kill-session 3221487826,3221487830@10.0.0.3", "several; @ names the server where an id is not enough"),
    ('/kill-session 3221487826 override reason="…"', "a protected one; somebody who may approve must press"),
    ("/kill-session where tenant=shop user=report time>10m active-only query", "all that fit, longest first"),
)
TOPIC = Topic(f"{NAME} {USAGE}", DESCRIPTION, EXAMPLES, Right.CLOSE)


@dataclass(frozen=True, slots=True)
class KillSessionCommand:
    """What /kill-session and the Close buttons under a list do."""

    sessions: SessionService
    requests: ClosingRequests
    access: Access
    defaults: Defaults
    show: Callable[[ClosingRequest, Reply, str], None]  # posts the card of a request, with a sentence on it

    def answer(self, command: Command) -> None:
        """Answer the slash command with a card."""
        text = normalize(command.text)
        if text.lower() in HELP_WORDS:
            help_ = help_for([TOPIC], self.access, self.sessions.names, command.person, command.channel)
            command.reply.private(help_)
            return
        arguments, source = self._understood(command, text)
        if arguments.where is None:
            asked = self.requests.ask(
                command.person,
                command.channel,
                source,
                arguments.wanted,
                arguments.mode,
                tenant=arguments.tenant or self.defaults.tenant_for(source, command.channel),
                reason=arguments.reason,
                override=arguments.override,
                delivery=command.delivery,
            )
        else:
            query = self.defaults.completed(replace(arguments.where, source=source), command.channel, [source])
            asked = self._ask_where(command, arguments, query)
        self._show(asked, command.reply)

    def _understood(self, command: Command, text: str) -> tuple[KillArguments, str]:
        """Read what was typed, and decide on which data source it is to be done."""
        person, channel, names = command.person, command.channel, self.sessions.names
        access = self.access.for_one_decision()
        closable = access.sources(person, Right.CLOSE, names, channel)
        arguments = kill_arguments.parse(text)
        # Among those that are seen as well: an id that was read on one is never asked for on another.
        used = access.sources(person, Right.CLOSE, names, channel, Right.VIEW)
        source = self.defaults.source_for(arguments.source, channel, used, offered=closable)
        access.scope(person, Right.CLOSE, source, channel)
        return arguments, source

    def asks(self, command: Command) -> Asked:
        """Say on which data source something is to be closed; raises as ``answer``."""
        return of_source(self._understood(command, normalize(command.text))[1], closing=True)

    def makes_card(self, command: Command) -> bool:
        """Whether one replica alone may answer it: help comes from whichever is asked, and waits for no store."""
        try:
            return normalize(command.text).lower() not in HELP_WORDS
        except InputError:  # the handler says what is wrong
            return False

    def ask_for_picked(self, press: Press, mode: Mode) -> None:
        """Show the card for the sessions picked under a list."""
        picked = all_picked(press)
        asked = self.requests.ask(
            press.person,
            press.channel,
            picked[0].source,
            [Wanted(one.id, one.server, one.matches) for one in picked],
            mode,
            delivery=press.delivery,
        )
        self._show(asked, press.reply)

    def _show(self, requests: list[ClosingRequest], reply: Reply) -> None:
        for number, request in enumerate(requests, 1):
            one_of_several = f"Card {number} of {len(requests)}: these sessions have different approvers."
            self.show(request, reply, one_of_several if len(requests) > 1 else "")

    def _ask_where(self, command: Command, arguments: KillArguments, query: SessionQuery) -> list[ClosingRequest]:
        try:
            return self.requests.ask_where(
                command.person,
                command.channel,
                query,
                arguments.mode,
                filter_text=describe(query),
                reason=arguments.reason,
                delivery=command.delivery,
            )
        except UnknownStatusError as error:
            mode = " query" if arguments.mode is Mode.QUERY else ""
            raise InputError(
                f"{error} Nothing was closed.",
                spot=error.spot,
                example=f"/kill-session where {describe(mended(query, error))}{mode}",
            ) from error


def register(registrar: Registrar, command: KillSessionCommand) -> None:
    """Announce the command and the Close buttons under lists."""
    registrar.command(NAME, command.answer, asks=command.asks, once=command.makes_card)
    for action_id, mode in ((session_list.CLOSE_SESSION, Mode.SESSION), (session_list.CLOSE_QUERY, Mode.QUERY)):
        registrar.press(action_id, partial(command.ask_for_picked, mode=mode), asks=_picked, once=True)


def _picked(press: Press) -> Asked:
    return of_source(all_picked(press)[0].source, closing=True)
