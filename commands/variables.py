"""/sessions vars: variables of the bot's own session and the global ones, as ODC's page has them. Read only."""

from __future__ import annotations

from dataclasses import dataclass

from bot.access import Access, Right
from bot.errors import InputError
from bot.sessions.model import Operator
from bot.sessions.service import SessionService
from bot.slack.arguments.tokens import KeyWord, PlainWord, known_key, slips, words
from bot.slack.arguments.vocabulary import Vocabulary, nearest
from bot.slack.defaults import Defaults
from bot.slack.events import Command
from bot.slack.views import variables as view
from bot.slack.views.help import Topic

NAME = "vars"
USAGE = "/sessions vars [like=…] [global] [tenant=…] [source=…] [private]"
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
class Question:
    """What was typed after ``vars``; ``notes`` are sentences on what had to be corrected."""

    like: str = ""
    tenant: str | None = None
    source: str | None = None
    everywhere: bool = False
    private: bool = False
    notes: tuple[str, ...] = ()


def read(text: str) -> Question:
    """Read the words after ``vars`` (already repaired); a bare word is a part of a name. Raises ``InputError``."""
    keys: dict[str, str] = {}
    said: set[str] = set()
    typed = words(text, _VOCABULARY)
    notes = slips(typed)
    for word in typed:
        if isinstance(word, KeyWord):
            _read_key(word, keys, notes)
        elif (known := _known(word, notes)) is not None:
            said.add(known)
        elif "like" in keys:
            raise InputError("Give one part of a name.", spot=word.text, example=EXAMPLES[1][0])
        else:
            keys["like"] = word.word if word.quoted else word.text
    return Question(
        keys.get("like", ""), keys.get("tenant"), keys.get("source"), "global" in said, "private" in said, tuple(notes)
    )


def _read_key(word: KeyWord, keys: dict[str, str], notes: list[str]) -> None:
    key = known_key(word, _KEYS, notes, EXAMPLES[1][0])
    if key in keys:
        raise InputError(f"{key} is given twice. Give it once.", spot=word.text, example=EXAMPLES[1][0])
    if word.operator is not Operator.CONTAINS or len(word.values) != 1:
        raise InputError(f"{key} takes one value after =.", spot=word.text, example=EXAMPLES[1][0])
    keys[key] = word.values[0]


def _known(word: PlainWord, notes: list[str]) -> str | None:
    if word.quoted or word.word in _WORDS:
        return None if word.quoted else word.word
    meant = nearest(word.word, _WORDS)
    if meant is not None:
        notes.append(f"“{word.text}” was read as {meant}.")
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
        question = read(text)
        source = self.defaults.source_for(question.source, command.channel, allowed)
        usual = self.defaults.tenant_for(source, command.channel)
        if question.tenant or usual:
            meant = question.tenant or usual
            self.access.require(command.person, Right.VIEW, source, command.channel, meant)
        scope = self.access.scope(command.person, Right.VIEW, source, command.channel)
        found = self.sessions.source(source).variables(
            question.like, scope.tenants, everywhere=question.everywhere, tenant=question.tenant, usual=usual
        )
        message = view.variables(found, question.notes)
        (command.reply.private if question.private else command.reply.public)(message)
