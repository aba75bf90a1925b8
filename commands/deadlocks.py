"""/sessions deadlocks: the history of deadlocks, as OCP's page has it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from bot.access import Access, Right
from bot.closing.disclosures import Disclosures
from bot.sessions.service import SessionService
from bot.slack.arguments import keys_and_flags
from bot.slack.arguments.value_parsers import span
from bot.slack.arguments.vocabulary import Vocabulary
from bot.slack.defaults import Defaults
from bot.slack.events import Command
from bot.slack.views import deadlocks as view
from bot.slack.views.help import Topic

NAME = "deadlocks"  # the verb after /sessions
USAGE = "/sessions deadlocks [since=7d] [tenant=…] [on=…] [private]"
EXAMPLES = (
    ("/sessions deadlocks", "of the last seven days, newest first"),
    ("/sessions deadlocks since=2h tenant=shop", "of two hours, of one tenant"),
)
TOPIC = Topic(USAGE, "Show which transactions deadlocked, and which of them was interrupted", EXAMPLES)

LONGEST = timedelta(days=30)
_VOCABULARY = Vocabulary.of(("since", "tenant", "source"), ("private",))


@dataclass(frozen=True, slots=True)
class DeadlocksArguments:
    """What was typed after ``deadlocks``; ``notes`` are sentences on what had to be corrected."""

    since: timedelta = timedelta(days=7)
    tenant: str | None = None
    source: str | None = None
    private: bool = False
    notes: tuple[str, ...] = ()


def parse(text: str) -> DeadlocksArguments:
    """Read the normalized text after ``deadlocks``. Raises ``InputError``."""
    typed = keys_and_flags.read(text, _VOCABULARY, EXAMPLES[1][0])
    given = typed.values
    since = span(given["since"], LONGEST, EXAMPLES[1][0]) if "since" in given else timedelta(days=7)
    private = "private" in typed.flags
    return DeadlocksArguments(since, given.get("tenant"), given.get("source"), private, typed.notes)


@dataclass(frozen=True, slots=True)
class DeadlocksCommand:
    """What /sessions deadlocks does."""

    sessions: SessionService
    access: Access
    defaults: Defaults
    disclosures: Disclosures

    def answer(self, command: Command, text: str) -> None:
        """Answer the command."""
        allowed = self.access.sources(command.person, Right.VIEW, self.sessions.names, command.channel)
        arguments = parse(text)
        source = self.defaults.source_for(arguments.source, command.channel, allowed)
        tenants = self.access.scope(command.person, Right.VIEW, source, command.channel).tenants
        tenant = arguments.tenant or self.defaults.tenant_for(source, command.channel)
        if tenant is not None:
            self.access.require(command.person, Right.VIEW, source, command.channel, tenant)
            tenants = frozenset({tenant})
        found = self.sessions.source(source).deadlocks(arguments.since, tenants)
        message = view.deadlocks(found, arguments.notes, disclosure=self.disclosures.shown(source))
        (command.reply.private if arguments.private else command.reply.public)(message)
