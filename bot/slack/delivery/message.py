"""A message before it is sent: blocks, the text for notifications, and a fallback without newer blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import slackblocks as kit


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
        """Return the blocks as JSON; slackblocks raises where Slack's limits are broken."""
        return _json(self.blocks)

    def fallback_payload(self) -> list[dict[str, Any]] | None:
        """Return the fallback's blocks as JSON."""
        if self.fallback is None:
            return None
        return _json(self.fallback() if callable(self.fallback) else self.fallback)


def _json(blocks: list[kit.Block]) -> list[dict[str, Any]]:
    # The channel is a stand-in: only the whole message is checked against Slack's limits. slackblocks renders each
    # block some ten times over for that, looking at its type alone: so the large ones do not take part in full.
    kit.Message(channel="C0", blocks=[_TypeAlone(block) if isinstance(block, _LARGE) else block for block in blocks])
    return [block._resolve() for block in blocks]


_LARGE = (kit.TableBlock, kit.ActionsBlock, kit.RichTextBlock)  # slackblocks limits none of them by the message


class _TypeAlone(kit.Block):
    """Stands for a block that has been checked by itself."""

    def __init__(self, block: kit.Block) -> None:
        super().__init__(block.type, block.block_id)

    def _resolve(self) -> dict[str, Any]:
        return {"type": self.type.value, "block_id": self.block_id}
