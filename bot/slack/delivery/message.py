"""A message before it is sent: blocks, the text for notifications, and a fallback without newer blocks."""

from __future__ import annotations

from collections.abc import Callable
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
        if self.fallback is None:
            return None
        return kit.message(self.fallback() if callable(self.fallback) else self.fallback)
