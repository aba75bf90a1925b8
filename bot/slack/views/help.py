"""Help: what may be done in this channel by this person, with commands that run as they stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bot.access import Access, Person, Right, Scope
from bot.errors import PersonUnknownError
from bot.sessions.masking import cut
from bot.slack.delivery.message import Message
from bot.slack.escaping import top_level, visible
from bot.slack.views import components

HELP_WORDS = ("help", "-help", "--help", "?")

_SOURCES, _SENTENCE = 15, 400  # data sources that are told, and characters of each
_DOES = {Right.VIEW: "see", Right.CLOSE: "close", Right.APPROVE: "approve closing"}


@dataclass(frozen=True, slots=True)
class Topic:
    """One command or verb: how it is typed, what it does, commands that run; ``right`` is what it needs."""

    usage: str
    description: str
    examples: Sequence[tuple[str, str]]
    right: Right = Right.VIEW


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a person may do on one data source."""

    source: str
    scopes: dict[Right, Scope]

    @property
    def sentence(self) -> str:
        """In words, for example ``prod: see all tenants; close tenant shop``."""
        allowed = (f"{_DOES[right]} {_within(scope)}" for right, scope in self.scopes.items())
        return f"{self.source}: {'; '.join(allowed)}"


def help_for(topics: Sequence[Topic], access: Access, sources: Sequence[str], person: Person, channel: str) -> Message:
    """Show what this person may do in that channel; raises ``PersonUnknownError`` where that is known of nothing."""
    allowances, unsaid = [], {}
    for source in sources:
        try:
            allowances.append(Allowance(source, access.rights(person, source, channel)))
        except PersonUnknownError as error:
            unsaid[source] = error
    if unsaid and not any(one.scopes for one in allowances):
        raise next(iter(unsaid.values()))
    return help_page(topics, allowances, not_known=len(unsaid))


def help_page(topics: Sequence[Topic], allowances: Sequence[Allowance], *, not_known: int = 0) -> Message:
    """Show the topics that need no other right than the person has, and the rights.

    ``not_known`` is on how many data sources Slack did not say what these are.
    """
    rights = {right for allowance in allowances for right in allowance.scopes}
    shown = [topic for topic in topics if topic.right in rights]
    if not shown:
        text = "You may do nothing with this bot in this channel. Ask whoever runs it to add you to an access rule."
        return Message(text, [components.lines([components.plain(text)])])
    blocks = []
    for topic in shown:
        examples = [[components.code(example), components.plain("  " + what)] for example, what in topic.examples]
        blocks.append(
            components.lines([components.bold(topic.usage)], [components.plain(topic.description + ".")], *examples)
        )
    mine = [allowance for allowance in allowances if allowance.scopes]
    left = (
        [[components.plain(f"and more on {len(mine) - _SOURCES} other data sources.")]] if len(mine) > _SOURCES else []
    )
    if not_known:
        unsaid = f"What you may on {not_known} more is not known: Slack did not say who you are. Try again later."
        left.append([components.plain(unsaid)])
    rows = [[components.plain(cut(visible(one.sentence), _SENTENCE))] for one in mine[:_SOURCES]]
    blocks.append(components.lines([components.bold("You may here")], *rows, *left))
    return Message(top_level("; ".join(topic.usage for topic in shown)), list(blocks))


def _within(scope: Scope) -> str:
    if scope.tenants is None:
        return "everything"
    names = sorted(scope.tenants)
    return f"tenant{'s' if len(names) > 1 else ''} {', '.join(names)}"
