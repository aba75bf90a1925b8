"""/sessions stats: counts sessions as the statistics tab of OCP's session page does."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bot.access import Access, Right, Scope
from bot.closing.disclosures import Disclosures
from bot.errors import InputError, NotAllowedError
from bot.sessions.model import DEFAULT_LIMIT, Operator, SessionQuery
from bot.sessions.service import SessionService
from bot.sessions.statement import Disclosure
from bot.sessions.statistics import Grouping
from bot.slack.arguments import session_query
from bot.slack.arguments.tokens import KeyToken, Token, slips, tokenize, unjoined
from bot.slack.arguments.vocabulary import Vocabulary
from bot.slack.defaults import Defaults
from bot.slack.delivery.message import Message
from bot.slack.events import Asked, Command, Press, Registrar, Verb
from bot.slack.session_reference import Asker, kept_disclosure, kept_view, own_view, queried
from bot.slack.views import statistics as view
from bot.slack.views.help import Topic

NAME = "stats"
USAGE = "/sessions stats [filter…] [by=user|source|db|sql-id|tenant] [private] [text]"
EXAMPLES = (
    ("/sessions stats", "how many, how many active, since when; by user"),
    ("/sessions stats by=sql-id active-only", "which statements run, how often, for how long"),
    ("/sessions stats tenant=shop by=source", "one tenant, by client address"),
)
TOPIC = Topic(USAGE, "Count sessions as OCP's statistics tab does", EXAMPLES)


@dataclass(frozen=True, slots=True)
class StatisticsArguments:
    """What was typed after ``stats``; ``notes`` are sentences on what had to be corrected."""

    query: SessionQuery
    by: Grouping
    notes: tuple[str, ...] = ()


def parse(text: str) -> StatisticsArguments:
    """Read the normalized text after ``stats``. Raises ``InputError``."""
    by: Grouping | None = None
    rest: list[Token] = []
    tokens, notes = unjoined(tokenize(text, _VOCABULARY), EXAMPLES[1][0])
    for token in tokens:
        if not isinstance(token, KeyToken) or token.key != "by":
            rest.append(token)
        elif by is not None:
            raise InputError("by is given twice. Give it once.", spot=token.text, example="/sessions stats by=user")
        else:
            by = _grouping(token)
            notes += slips([token])
    parsed = session_query.parse_tokens(rest)
    query = parsed.query
    if query.sort.field is not None or query.limit != DEFAULT_LIMIT or query.page != 1:
        raise InputError(
            "Statistics take no sort, limit or page: they show the most active first.",
            spot="sort" if query.sort.field is not None else "limit" if query.limit != DEFAULT_LIMIT else "page",
            example=EXAMPLES[0][0],
        )
    return StatisticsArguments(query, by or Grouping.USER, (*notes, *parsed.notes))


_VOCABULARY = Vocabulary({**session_query.VOCABULARY.keys, "by": "by"}, session_query.VOCABULARY.flags)
_GROUPINGS = {by.value: by for by in Grouping}
_ALSO = {"host": Grouping.SOURCE, "ip": Grouping.SOURCE, "database": Grouping.DATABASE}


def _grouping(token: KeyToken) -> Grouping:
    known = _GROUPINGS | _ALSO
    if token.operator is not Operator.CONTAINS or len(token.values) != 1 or token.values[0].lower() not in known:
        raise InputError(
            f"Sessions are counted by {', '.join(by.value for by in Grouping)}.",
            spot=token.text,
            example="/sessions stats by=user",
        )
    return known[token.values[0].lower()]


@dataclass(frozen=True, slots=True)
class StatisticsCommand:
    """What /sessions stats and the buttons under its answer do."""

    sessions: SessionService
    access: Access
    defaults: Defaults
    disclosures: Disclosures
    open_list: Verb  # answers with a list

    def answer(self, command: Command, text: str) -> None:
        """Answer the command."""
        allowed = self.access.sources(command.person, Right.VIEW, self.sessions.names, command.channel)
        arguments = parse(text)
        arguments = replace(arguments, query=self.defaults.completed(arguments.query, command.channel, allowed))
        scope = self.access.scope(command.person, Right.VIEW, arguments.query.source or "", command.channel)
        source, view = arguments.query.source or "", scope.narrowed(arguments.query.filter.tenants)
        disclosure = self.disclosures.covering(command.person, source, command.channel, view)
        asker = None if arguments.query.private else Asker.of(command.person, scope, disclosure)
        message = self._statistics(arguments, scope, disclosure, asker)
        (command.reply.private if arguments.query.private else command.reply.public)(message)

    def browse(self, press: Press) -> None:
        """Count again with the asker's rights, by the same or by something else, edited in place."""
        arguments = parse(press.value)
        query = arguments.query
        scope = kept_view(press, self.access, self.sessions, query.source or "", query.filter.tenants)
        disclosure = kept_disclosure(press, self.disclosures, query.source or "", scope.narrowed(query.filter.tenants))
        message = self._statistics(arguments, scope, disclosure, Asker.read(press.block_id))
        press.reply.replace(message, ephemeral=press.ephemeral, ts=press.message_ts)

    def open(self, press: Press) -> None:
        """Post the list of the group that was chosen, as far as the presser may see it."""
        chosen = press.chosen.get(view.OPEN)
        if chosen:
            query = session_query.parse(chosen[0]).query
            own = own_view(press, self.access, self.sessions, query.source or "")
            if own.narrowed(query.filter.tenants).tenants == frozenset():  # an empty list would say that none is there
                raise NotAllowedError("You may not see these sessions. /sessions lists those that you may see.")
            command = Command("/sessions", chosen[0], press.person, press.channel, press.trigger_id, press.reply)
            self.open_list(command, command.text)

    def _statistics(
        self, arguments: StatisticsArguments, scope: Scope, disclosure: Disclosure, asker: Asker | None
    ) -> Message:
        source = arguments.query.source or ""
        shown = self.disclosures.shown(source)
        data_source, by = self.sessions.source(source), arguments.by
        found = data_source.statistics(arguments.query, by, scope.tenants, disclosure, shown)
        return view.statistics(found, arguments.notes, disclosure=shown, asker=asker)


def register(registrar: Registrar, command: StatisticsCommand) -> None:
    """Announce the buttons and the menu of the answer."""
    for action_id in (view.REFRESH, *view.BY.values()):
        registrar.press(action_id, command.browse, asks=queried)
    registrar.press(view.OPEN, command.open, asks=_chosen)


def _chosen(press: Press) -> Asked | None:
    chosen = press.chosen.get(view.OPEN)
    return queried(replace(press, value=chosen[0])) if chosen else None
