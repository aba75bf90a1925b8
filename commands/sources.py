"""/sessions sources: which data sources there are here, how they are, and what the bot may do on them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from bot.access import Access, Right
from bot.errors import InputError
from bot.sessions.service import SessionService
from bot.sessions.source_health import ask_all
from bot.slack.events import Command
from bot.slack.views import sources
from bot.slack.views.help import Topic

NAME = "sources"  # the verb after /sessions
EXAMPLE = "/sessions sources private"
TOPIC = Topic(
    "/sessions sources [private]",
    "Show the data sources: how they are, what the bot sees and may close there",
    ((EXAMPLE, "for you alone"),),
)


@dataclass(frozen=True, slots=True)
class SourcesCommand:
    """What /sessions sources does."""

    sessions: SessionService
    access: Access

    def answer(self, command: Command, text: str) -> None:
        """Answer with all data sources that this person may view in this channel."""
        allowed = self.access.sources(command.person, Right.VIEW, self.sessions.names, command.channel)
        private = parse(text)
        checks = {}
        for name in allowed:
            scope = self.access.scope(command.person, Right.VIEW, name, command.channel)
            checks[name] = partial(self.sessions.source(name).health, scope.tenants)
        message = sources.sources(ask_all(checks), datetime.now(UTC))
        (command.reply.private if private else command.reply.public)(message)


def parse(text: str) -> bool:
    """Read what stands after the verb: whether the answer is for the asker alone. Raises ``InputError``."""
    if text.lower() not in ("", "private"):
        raise InputError("sources takes no words but private: it shows every data source.", spot=text, example=EXAMPLE)
    return text.lower() == "private"
