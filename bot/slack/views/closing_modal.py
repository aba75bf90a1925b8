"""The dialog in which somebody types how many sessions are to be closed, before more than a few are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import slackblocks as kit

from bot.sessions.model import Mode
from bot.slack.views import parts

CALLBACK = "closing.typed"
TYPED = "closing.number"  # action id
TYPED_BLOCK = "closing.number_block"

_TITLES = {Mode.SESSION: "Close {} sessions", Mode.QUERY: "Close {} queries"}


def ask_number(mode: Mode, number: int, metadata: Mapping[str, str]) -> dict[str, Any]:
    """Ask for the number of sessions; ``metadata`` comes back with what was typed."""
    what = "Each client must connect again." if mode is Mode.SESSION else "The sessions themselves stay."
    blocks = [
        parts.lines([parts.plain(f"{mode.value} for the {number} sessions on the card, all at once. {what}")]),
        kit.InputBlock(
            label=kit.PlainText("How many sessions are meant?"),
            element=kit.PlainTextInput(action_id=TYPED, max_length=20, focus_on_load=True),
            block_id=TYPED_BLOCK,
            hint=kit.PlainText(f"Type {number} to close them."),
        ),
    ]
    view: dict[str, Any] = kit.ModalView(
        title=_TITLES[mode].format(number), blocks=blocks, submit=mode.value, close="Keep them",
        callback_id=CALLBACK, private_metadata=json.dumps(dict(metadata)),
    ).to_dict()  # fmt: skip
    return view


def problem(mode: Mode, number: int, sentence: str) -> dict[str, Any]:
    """Show in the dialog that there is nothing to confirm."""
    view: dict[str, Any] = kit.ModalView(
        title=_TITLES[mode].format(number), blocks=[parts.lines([parts.plain(sentence)])], close="Close"
    ).to_dict()
    return view
