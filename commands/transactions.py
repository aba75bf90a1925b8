"""/sessions transactions: the open transactions, oldest first."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bot.access import Access, Right, Scope
from bot.closing.disclosures import Disclosures
from bot.errors import BusyError, DataSourceError, InputError
from bot.sessions.model import Field, Operator, SessionQuery, Sort
from bot.sessions.service import SessionService
from bot.sessions.source import DataSource
from bot.sessions.transactions import FIELDS, TransactionFilter
from bot.sessions.waits.graph import WaitGraph
from bot.slack.arguments import session_query
from bot.slack.arguments.tokens import KeyToken, Token, slips, tokenize, unjoined
from bot.slack.arguments.value_parsers import duration, values_of
from bot.slack.arguments.vocabulary import Vocabulary
from bot.slack.defaults import Defaults
from bot.slack.delivery.message import Message
from bot.slack.events import Command, Press, Registrar
from bot.slack.session_reference import Asker, diagnosed, kept_view
from bot.slack.views import transactions as view
from bot.slack.views.help import Topic

NAME = "transactions"  # the verb after /sessions
ALONE = ("transaction", "trx")  # typed alone after /sessions they mean this verb
USAGE = "/sessions transactions [age>1m] [idle] [tenant=…] [user=…] [on=…] [limit=50] [private]"
EXAMPLES = (
    ("/sessions transactions", "all that are open, the oldest first, with how many sessions each holds up"),
    ("/sessions transactions age>1m idle", "begun more than a minute ago, and now nothing runs in them"),
    ("/sessions transactions tenant=shop user=batch idle time>5m", "of one tenant and user, idle for five minutes"),
)
TOPIC = Topic(USAGE, "Show open transactions, oldest first", EXAMPLES)

_AGE = "age"
_VOCABULARY = Vocabulary({**session_query.VOCABULARY.keys, _AGE: _AGE}, session_query.VOCABULARY.flags)
_TAKEN = ", ".join((_AGE, *sorted(one.value for one in FIELDS)))


@dataclass(frozen=True, slots=True)
class TransactionsArguments:
    """What was typed after ``transactions``; ``notes`` are sentences on what had to be corrected."""

    query: SessionQuery
    age: tuple[tuple[Operator, float], ...] = ()  # bounds, in seconds
    notes: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """The same in words that ``parse`` reads back."""
        ages = (f"{_AGE}{compared.value}{duration(seconds)}" for compared, seconds in self.age)
        return " ".join(filter(None, (*ages, session_query.describe(self.query))))


def parse(text: str) -> TransactionsArguments:
    """Read the normalized text after ``transactions``. Raises ``InputError``."""
    example = EXAMPLES[1][0]
    age: list[tuple[Operator, float]] = []
    rest: list[Token] = []
    tokens, notes = unjoined(tokenize(text, _VOCABULARY), example)
    for token in session_query.with_units(tokens):
        if isinstance(token, KeyToken) and token.key == _AGE:
            age.append((token.operator, _age(token, example)))
            notes += slips([token])
        else:
            rest.append(token)
    if len({compared.value[0] for compared, _ in age}) < len(age):
        raise InputError("age is given twice. Give one lower and one upper bound.", spot=_AGE, example=example)
    parsed = session_query.parse_tokens(rest)
    query = parsed.query
    if query.sort != Sort():
        raise InputError("Transactions stand in the order of their age, oldest first.", spot="sort", example=example)
    for condition in query.filter.conditions:
        if condition.field not in FIELDS:
            typed = str(condition.values[0]) if condition.field is Field.ANY else condition.field.value
            raise InputError(
                f"Transactions are not searched by {'a word alone' if condition.field is Field.ANY else typed}. "
                f"Use {_TAKEN}.",
                spot=typed,
                example=example,
            )
    return TransactionsArguments(query, tuple(age), (*notes, *parsed.notes))


def _age(token: KeyToken, example: str) -> float:
    try:
        return float(values_of(Field.TIME, token)[0])
    except InputError as error:
        raise InputError(str(error), spot=token.text, example=example) from error


@dataclass(frozen=True, slots=True)
class TransactionsCommand:
    """What /sessions transactions and the buttons under its answer do."""

    sessions: SessionService
    access: Access
    defaults: Defaults
    disclosures: Disclosures

    def answer(self, command: Command, text: str) -> None:
        """Answer the command."""
        allowed = self.access.sources(command.person, Right.VIEW, self.sessions.names, command.channel)
        asked = parse(text)
        asked = replace(asked, query=self.defaults.completed(asked.query, command.channel, allowed))
        scope = self.access.scope(command.person, Right.VIEW, asked.query.source or "", command.channel)
        message = self._message(asked, scope, None if asked.query.private else Asker.of(command.person, scope))
        (command.reply.private if asked.query.private else command.reply.public)(message)

    def browse(self, press: Press) -> None:
        """Read them again, or another page, as the asker of the message may see them, in its place."""
        asked = parse(press.value)
        scope = kept_view(press, self.access, self.sessions, asked.query.source or "", asked.query.filter.tenants)
        message = self._message(asked, scope, Asker.read(press.block_id))
        press.reply.replace(message, ephemeral=press.ephemeral, ts=press.message_ts)

    def _message(self, asked: TransactionsArguments, scope: Scope, asker: Asker | None) -> Message:
        source = self.sessions.source(asked.query.source or "")
        seen = source.transactions(scope.tenants)
        fitting = seen.narrowed(None, TransactionFilter(asked.query.filter, asked.age))
        limit = asked.query.limit
        page = min(asked.query.page, max(1, -(-len(fitting.open) // limit)))
        words = {
            number: replace(asked, query=replace(asked.query, page=number)).words
            for number in range(page - 1, page + 2)
        }
        waits, unread = _waits(source)
        shown = view.Page(
            replace(fitting, caveats=(*fitting.caveats, *unread)),
            fitting.open[(page - 1) * limit : page * limit],
            len(seen.open),
            page,
            limit,
            waits,
            words,
            as_text=asked.query.text,
        )
        return view.transactions(shown, asked.notes, disclosure=self.disclosures.shown(source.name), asker=asker)


def _waits(source: DataSource) -> tuple[WaitGraph | None, tuple[str, ...]]:
    """Read who waits for whom; where that cannot be read now, transactions are shown without it, which is said."""
    try:
        return source.waits(), ()
    except (DataSourceError, BusyError) as error:
        return None, (f"How many sessions each holds up is not known now. {error.sentence}",)


def register(registrar: Registrar, command: TransactionsCommand) -> None:
    """Announce the buttons."""
    for action_id in (view.REFRESH, view.PREVIOUS, view.NEXT):
        registrar.press(action_id, command.browse, asks=diagnosed)
