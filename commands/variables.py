"""/sessions vars: variables of the bot's own session and the global ones, as ODC's page has them. Read only."""

from __future__ import annotations

from dataclasses import dataclass

from bot.access import Access, Right
from bot.errors import InputError
from bot.sessions.model import Operator
from bot.sessions.service import SessionService
from bot.slack.arguments.tokens import KeyToken, WordToken, known_key, slips, tokenize
from bot.slack.arguments.vocabulary import Vocabulary, nearest
from bot.slack.defaults import Defaults
from bot.slack.events import Command
from bot.slack.views import variables as view
from bot.slack.views.help import Topic

NAME = "vars"
USAGE = "/sessions vars [like=…] [global] [tenant=…] [on=…] [private]"
EXAMPLES = (
    ("/sessions vars", "the well-known ones, those that ODC pins first"),
    ("/sessions vars like=timeout global", "by a part of their name; what new sessions begin with"),
    ("/sessions vars tenant=shop", "what new sessions of that tenant begin with"),
)
TOPIC = Topic(USAGE, "Show variables with their units; no server shows another session's", EXAMPLES)

_KEYS = ("like", "tenant", "source")
_WORDS = ("global", "private")
_VOCABULARY = Vocabulary.of(_KEYS, _WORDS)


@dataclass(frozen=True, slots=True)
class VariablesArguments:
    """What was typed after ``vars``; ``notes`` are sentences on what had to be corrected."""

    like: str = ""
    tenant: str | None = None
    source: str | None = None
    everywhere: bool = False
    private: bool = False
    notes: tuple[str, ...] = ()


def parse(text: str) -> VariablesArguments:
    """Read the normalized text after ``vars``; a bare word is a part of a name. Raises ``InputError``."""
    keys: dict[str, str] = {}
    said: set[str] = set()
    tokens = tokenize(text, _VOCABULARY)
    notes = slips(tokens)
    for token in tokens:
        if isinstance(token, KeyToken):
            _read_key(token, keys, notes)
        elif (known := _known(token, notes)) is not None:
            said.add(known)
        elif "like" in keys:
            raise InputError("Give one part of a name.", spot=token.text, example=EXAMPLES[1][0])
        else:
            keys["like"] = token.word if token.quoted else token.text
    return VariablesArguments(
        keys.get("like", ""), keys.get("tenant"), keys.get("source"), "global" in said, "private" in said, tuple(notes)
    )


def _read_key(token: KeyToken, keys: dict[str, str], notes: list[str]) -> None:
    key = known_key(token, _KEYS, notes, EXAMPLES[1][0])
    if key in keys:
        raise InputError(f"{key} is given twice. Give it once.", spot=token.text, example=EXAMPLES[1][0])
    if token.operator is not Operator.CONTAINS or len(token.values) != 1:
        raise InputError(f"{key} takes one value after =.", spot=token.text, example=EXAMPLES[1][0])
    keys[key] = token.values[0]


def _known(token: WordToken, notes: list[str]) -> str | None:
    if token.quoted or token.word in _WORDS:
        return None if token.quoted else token.word
    meant = nearest(token.word, _WORDS)
    if meant is not None:
        notes.append(f"“{token.text}” was read as {meant}.")
    return meant


@dataclass(frozen=True, slots=True)
class VariablesCommand:
    """What /sessions vars does."""

    sessions: SessionService
    access: Access
    defaults: Defaults

    def answer(self, command: Command, text: str) -> None:
        """Answer the command."""
        allowed = self.access.sources(command.person, Right.VIEW, self.sessions.names, command.channel)
        arguments = parse(text)
        source = self.defaults.source_for(arguments.source, command.channel, allowed)
        usual = self.defaults.tenant_for(source, command.channel)
        if arguments.tenant or usual:
            meant = arguments.tenant or usual
            self.access.require(command.person, Right.VIEW, source, command.channel, meant)
        scope = self.access.scope(command.person, Right.VIEW, source, command.channel)
        found = self.sessions.source(source).variables(
            arguments.like, scope.tenants, everywhere=arguments.everywhere, tenant=arguments.tenant, usual=usual
        )
        message = view.variables(found, arguments.notes)
        (command.reply.private if arguments.private else command.reply.public)(message)
