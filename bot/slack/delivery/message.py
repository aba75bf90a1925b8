"""A message and a Home tab before they are sent: blocks, a fallback without newer ones, the text for notifications."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bot.slack.views import blocks as kit


@dataclass(frozen=True, slots=True)
class Message:
    """What is to be posted.

    ``text`` is mrkdwn, already escaped, and holds no SQL: notifications and screen readers show it.
    ``fallback`` replaces ``blocks`` where Slack refuses one of them; as a function it is built only then.
    """

    text: str
    blocks: list[kit.Block]
    fallback: list[kit.Block] | Callable[[], list[kit.Block]] | None = None

    def payload(self) -> list[dict[str, Any]]:
        """Return the blocks as JSON."""
        return kit.message(self.blocks)

    def fallback_payload(self) -> list[dict[str, Any]] | None:
        """Return the fallback's blocks as JSON."""
        plainer = self.plainer()
        return None if plainer is None else kit.message(plainer)

    def plainer(self) -> list[kit.Block] | None:
        """Return the fallback's blocks."""
        return self.fallback() if callable(self.fallback) else self.fallback


def sentence(text: str) -> Message:
    """One sentence of the bot's own, which holds nothing from elsewhere."""
    return Message(text, [kit.context([kit.plain_text(text)])])


@dataclass(frozen=True, slots=True)
class HomeTab:
    """What is to be published as somebody's Home tab; ``fallback`` is the same without newer blocks."""

    blocks: list[kit.Block]
    fallback: list[kit.Block] | None = None

    def views(self) -> Iterator[kit.View]:
        """The tab as meant, then the plainer one."""
        yield kit.home(self.blocks)
        if self.fallback is not None:
            yield kit.home(self.fallback)


def from_elsewhere(message: Message, channel: str, *, card: bool = False) -> Message:
    """The same as a direct message, for somebody in a channel, by its id, that takes nothing from the bot any more.

    That of a ``card`` comes without its buttons, which count in its channel alone.
    """
    ask = (
        " Its buttons count there alone: ask again where the bot can post." if card and _buttons(message.blocks) else ""
    )
    why = kit.context([kit.mrkdwn(f"This was for <#{channel}>, where Slack takes nothing from the bot any more.{ask}")])

    def without(blocks: list[kit.Block]) -> list[kit.Block]:
        taken = _buttons(blocks) if card else []
        return [why, *(block for block in blocks if block not in taken)]

    fallback = message.fallback
    return Message(
        message.text,
        without(message.blocks),
        None if fallback is None else lambda: without(message.plainer() or []),
    )


def _buttons(blocks: list[kit.Block]) -> list[kit.Block]:
    return [block for block in blocks if block["type"] == "actions"]
