"""/sessions: lists sessions as OCP's session page does."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import structlog

from bot.access import Access, Right, Scope
from bot.closing.disclosures import Disclosures
from bot.errors import InputError, SourceOpenError
from bot.sessions.model import SessionQuery
from bot.sessions.service import SessionService
from bot.sessions.statement import Disclosure
from bot.slack.arguments.normalization import normalize
from bot.slack.arguments.session_query import named_source, parse
from bot.slack.arguments.verbs import Meant, meant
from bot.slack.defaults import Defaults
from bot.slack.delivery.message import Message
from bot.slack.events import Asked, AskedBy, Command, Press, Registrar, Verb, of_diagnosis, of_source
from bot.slack.session_reference import PICK, Asker, kept_disclosure, kept_view, queried
from bot.slack.views import session_list
from bot.slack.views.help import HELP_WORDS, Topic, help_for
from bot.slack.views.notices import CHOOSE_SOURCE, notice, which_source

NAME = "/sessions"
USAGE = (
    "[filter…] [active-only|idle] [private] | "
    "triage | locks | transactions | show ID | stats | vars | deadlocks | audit | sources | help"
)
DESCRIPTION = "List OceanBase sessions and close them"

EXAMPLES = (
    ("/sessions active-only", "what runs now, longest first"),
    ("/sessions tenant=shop user=app time>5m", "tenant is exact, user contains “app”, longer than five minutes"),
    ("/sessions host=10.0.3 db=orders,billing", "several values are alternatives"),
    ("/sessions sql=“update stock” status=ACTIVE", "by a piece of the SQL"),
    ("/sessions orders", "a word anywhere: SQL, user, source, database, server …"),
    ("/sessions user=app waiting", "those that wait for a lock of any kind; “blocking” those that hold others up"),
    ("/sessions idle sort=-time limit=50 page=2", "idle ones, longest first"),
    ("/sessions active-only private", "only you see the answer; “text” gives plain text"),
)
TOPIC = Topic(f"{NAME} {USAGE}", DESCRIPTION, EXAMPLES)


@dataclass(frozen=True, slots=True)
class SessionList:
    """Answers with a list, and works the buttons under it."""

    sessions: SessionService
    access: Access
    defaults: Defaults
    disclosures: Disclosures

    def answer(self, command: Command, text: str, notes: Sequence[str] = ()) -> None:
        """Answer with the first page of what was asked for; ``text`` is normalized, ``notes`` are said with it."""
        allowed = self.access.sources(command.person, Right.VIEW, self.sessions.names, command.channel)
        parsed = parse(text)
        query = self.defaults.completed(parsed.query, command.channel, allowed)
        scope = self.access.scope(command.person, Right.VIEW, query.source or "", command.channel)
        view = scope.narrowed(query.filter.tenants)
        disclosure = self.disclosures.covering(command.person, query.source or "", command.channel, view)
        asker = None if query.private else Asker.of(command.person, scope, disclosure)
        message = self._page(query, scope, disclosure, asker, (*parsed.notes, *notes))
        (command.reply.private if query.private else command.reply.public)(message)

    def source_of(self, command: Command, text: str) -> str:
        """Say which data source a command is about; ``text`` is normalized, perhaps with another verb before it."""
        allowed = self.access.sources(command.person, Right.VIEW, self.sessions.names, command.channel)
        return self.defaults.source_for(named_source(text), command.channel, allowed)

    def browse(self, press: Press) -> None:
        """Refresh, turn the page or toggle: the same query again with its asker's rights, edited in place."""
        query = parse("" if press.value == "list" else press.value).query
        scope = kept_view(press, self.access, self.sessions, query.source or "", query.filter.tenants)
        disclosure = kept_disclosure(press, self.disclosures, query.source or "", scope.narrowed(query.filter.tenants))
        message = self._page(query, scope, disclosure, Asker.read(press.block_id), ())
        press.reply.replace(message, ephemeral=press.ephemeral, ts=press.message_ts)

    def _page(
        self,
        query: SessionQuery,
        scope: Scope,
        disclosure: Disclosure,
        asker: Asker | None,
        notes: tuple[str, ...],
    ) -> Message:
        source = query.source or ""
        page = self.sessions.source(source).page(query, scope.tenants, disclosure)
        structlog.contextvars.bind_contextvars(rows=len(page.sessions))  # for the line that the log gets of it
        return session_list.session_list(page, notes, disclosure=self.disclosures.shown(source), asker=asker)


@dataclass(frozen=True, slots=True)
class SessionsCommand:
    """What /sessions does: a list, unless a verb or help is asked for."""

    list: SessionList
    verbs: Mapping[str, Verb] = field(default_factory=dict)  # /sessions VERB …: each a file of its own
    # For what verbs wait that are about no one data source, or not always.
    waits: Mapping[str, Asked | AskedBy] = field(default_factory=dict)
    topics: Mapping[str, Topic] = field(default_factory=dict)  # what help shows of each verb, and of other commands
    diagnoses: Collection[str] = ()  # verbs that ask what explains sessions
    alone: Mapping[str, str] = field(default_factory=dict)  # words that mean a verb where nothing else is typed

    def answer(self, command: Command) -> None:
        """Answer the slash command."""
        command = replace(command, text=self._spelled_out(command.text))
        try:
            self._answer(command)
        except SourceOpenError as error:
            command.reply.private(which_source(error, command.text))

    def asks(self, command: Command) -> Asked | None:
        """Say what a command will wait for, None for help; raises as ``answer``."""
        text = self._meant(self._spelled_out(command.text)).text
        first, _, rest = text.partition(" ")
        if text.lower() in HELP_WORDS or (first.lower() in self.verbs and rest.strip().lower() in HELP_WORDS):
            return None
        if first.lower() in self.waits:
            found = self.waits[first.lower()]
            return found if isinstance(found, Asked) else found(command, rest.strip())
        asked = of_diagnosis if first.lower() in self.diagnoses else of_source
        return asked(self.list.source_of(command, text))

    def answer_on(self, press: Press) -> None:
        """Run what was typed again, on the data source whose button was pressed."""
        press.reply.replace(notice(f"/sessions {press.value}"), ephemeral=press.ephemeral, ts=press.message_ts)
        self._answer(_typed(press))

    def _spelled_out(self, text: str) -> str:
        return self.alone.get(text.strip().lower(), text)

    def _meant(self, text: str) -> Meant:
        return meant(normalize(text), (*self.verbs, "list", HELP_WORDS[0]))

    def _answer(self, command: Command) -> None:
        said = self._meant(command.text)
        try:
            self._answer_to(command, said)
        except InputError as error:
            if not said.corrected or type(error) is not InputError:  # other kinds have an answer of their own
                raise
            raise InputError(f"{error.sentence} {said.corrected}", spot=error.spot, example=error.example) from error
        if said.corrected:
            command.reply.private(notice(said.corrected))

    def _answer_to(self, command: Command, said: Meant) -> None:
        text = said.text
        first, _, rest = text.partition(" ")
        verb, rest = self.verbs.get(first.lower()), rest.strip()
        if text.lower() in HELP_WORDS:
            self._help([TOPIC, *self.topics.values()], command)
        elif verb is not None and rest.lower() in HELP_WORDS:
            self._help([self.topics[first.lower()]], command)
        elif verb is not None:
            verb(command, rest)
        else:
            questions = (said.question,) if said.question else ()
            self.list.answer(command, rest if first.lower() == "list" else text, questions)

    def _help(self, topics: Sequence[Topic], command: Command) -> None:
        lists = self.list
        command.reply.private(help_for(topics, lists.access, lists.sessions.names, command.person, command.channel))


def _typed(press: Press) -> Command:
    """What was typed, with the data source whose button was pressed."""
    return Command(NAME, press.value, press.person, press.channel, press.trigger_id, press.reply)


def register(registrar: Registrar, command: SessionsCommand) -> None:
    """Announce the command and the buttons of its answer."""
    registrar.command(NAME, command.answer, asks=command.asks)
    for action_id in (session_list.REFRESH, session_list.PREVIOUS, session_list.NEXT, session_list.TOGGLE_ACTIVE):
        registrar.press(action_id, command.list.browse, asks=queried)
    registrar.press(CHOOSE_SOURCE, command.answer_on, asks=lambda press: command.asks(_typed(press)))
    registrar.press(PICK, lambda _press: None)
