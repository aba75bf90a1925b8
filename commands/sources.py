"""/sessions sources: which data sources there are here, how they are, and what the bot may do on them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from bot.access import Access, Right
from bot.closing.model import CardPlace
from bot.errors import InputError
from bot.sessions.service import SessionService
from bot.sessions.source_health import Looks, as_they_answer
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
    looks: Looks

    def answer(self, command: Command, text: str) -> None:
        """Answer with all data sources that this person may view in this channel; in a channel as they answer."""
        allowed = self.access.sources(command.person, Right.VIEW, self.sessions.names, command.channel)
        private = parse(text)
        for unsaid in allowed.unsaid.values():
            raise unsaid  # it shows all that there are
        asked = {}
        for name in allowed:
            scope = self.access.scope(command.person, Right.VIEW, name, command.channel)
            asked[name] = self.looks.ask(name, scope.tenants, self.sessions.source(name).health)
        place: list[CardPlace] = []
        for found in as_they_answer(asked):
            message = sources.sources(found, datetime.now(UTC))
            over = not any(one.pending for one in found)
            if place:
                command.reply.update(place[0], message)
            elif private:
                command.reply.private(message)
            elif over:
                command.reply.public(message)
            else:
                command.reply.post_card(message, place.append)


def parse(text: str) -> bool:
    """Read what stands after the verb: whether the answer is for the asker alone. Raises ``InputError``."""
    if text.lower() not in ("", "private"):
        raise InputError("sources takes no words but private: it shows every data source.", spot=text, example=EXAMPLE)
    return text.lower() == "private"
