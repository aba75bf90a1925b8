"""What Slack refuses in messages and in modals: pure judgements, with Slack's error codes.

Blocks that Slack has and this sandbox does not know (video, file, context_actions, task cards, plans)
are refused as an unsupported type: better a refusal here than a surprise there.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.slack.block_rules import IN_HOME, IN_MESSAGES, IN_MODALS
from sandbox.slack.chart_rules import CHARTS_PER_MESSAGE
from sandbox.slack.element_rules import plain
from sandbox.slack.refusals import Json, Refused
from sandbox.slack.schema import Problem, Rule, both, by_type, flag, many, record, text
from sandbox.slack.table_rules import TABLE_CHARACTERS, TABLE_FAMILY, characters

TEXT_CUT = 40_000
MESSAGE_BLOCKS, MODAL_BLOCKS = 50, 100
MARKDOWN_CHARACTERS = 12_000
# Slack names no figure for msg_blocks_too_long; live workspaces were seen to refuse from about here.
MESSAGE_CHARACTERS = 13_200
VIEW_BYTES = 250_000


@dataclass(frozen=True, slots=True)
class Content:
    """What a message says, once it has been found acceptable."""

    text: str
    blocks: list[Json] | None


def _inner(blocks: list[Any], at: str) -> Iterator[tuple[Any, str]]:
    """Yield each block with its place, those inside containers included."""
    for index, block in enumerate(blocks):
        yield block, f"{at}/{index}"
        yield from _inner(block.get("child_blocks", []), f"{at}/{index}/child_blocks")


def _distinct_blocks(blocks: list[Any], at: str) -> Iterator[Problem]:
    seen = set()
    for block, place in _inner(blocks, at):
        block_id = block.get("block_id")
        if block_id in seen:
            yield Problem(f'`block_id` "{block_id}" already exists', f"{place}/block_id")
        if block_id is not None:
            seen.add(block_id)


def _allowed(kinds: Mapping[str, Rule], refused_types: Collection[str]) -> Rule:
    return by_type({kind: rule for kind, rule in kinds.items() if kind not in refused_types})


def block_problems(blocks: object, refused_types: Collection[str] = ()) -> list[Problem]:
    """Return what Slack objects to in a message's blocks."""
    rule = both(many(_allowed(IN_MESSAGES, refused_types), MESSAGE_BLOCKS), _distinct_blocks)
    return list(rule(blocks, "/blocks"))


def check_message(body: Json, refused_types: Collection[str] = ()) -> Content:
    """Return a message's text and blocks; refused with Slack's code if they are not acceptable."""
    if body.get("attachments"):
        raise Refused("invalid_attachments", ["attachments are not part of this sandbox"])
    words = body.get("text") or ""
    if not isinstance(words, str):
        raise Refused("invalid_arguments", ["must provide a string [json-pointer:/text]"])
    blocks = body.get("blocks") or None
    if blocks is None:
        if not words.strip():
            raise Refused("no_text")
        return Content(words[:TEXT_CUT], None)
    if not isinstance(blocks, list):
        raise Refused("invalid_blocks_format")
    problems = block_problems(blocks, refused_types)
    if problems:
        raise Refused("invalid_blocks", [str(problem) for problem in problems])
    _check_sums(blocks)
    return Content(words[:TEXT_CUT], blocks)


def _check_sums(blocks: list[Json]) -> None:
    """Judge what Slack adds up over all blocks of a message."""
    inner = [block for block, _ in _inner(blocks, "")]
    tables = [block for block in inner if block["type"] in TABLE_FAMILY]
    if len(tables) > 1:
        raise Refused("invalid_attachments", ["only_one_table_allowed"])
    if sum(block["type"] == "data_visualization" for block in inner) > CHARTS_PER_MESSAGE:
        raise Refused("invalid_blocks", [f"no more than {CHARTS_PER_MESSAGE} data_visualization blocks allowed"])
    markdown = sum(len(block["text"]) for block in inner if block["type"] == "markdown")
    if markdown > MARKDOWN_CHARACTERS:
        raise Refused("msg_too_long")
    # A data_table alone may hold more than other blocks together.
    most = max([MESSAGE_CHARACTERS, *(TABLE_CHARACTERS[table["type"]] for table in tables)])
    if characters(blocks) > most:
        raise Refused("msg_blocks_too_long")


_MODAL = {
    "callback_id": text(255, 0),
    "private_metadata": text(3000, 0, blank=True),
    "external_id": text(255, 0),
    "submit": plain(24),
    "close": plain(24),
    "clear_on_close": flag,
    "notify_on_close": flag,
    "submit_disabled": flag,
}


def _has_submit(view: dict[str, Any], at: str) -> Iterator[Problem]:
    for index, block in enumerate(view["blocks"]):
        if block["type"] == "input" and "submit" not in view:
            place = f"{at}/blocks/{index}/input"
            yield Problem("must define `submit` to use an `input` block in modals", place)


def _one_focus(view: dict[str, Any], at: str) -> Iterator[Problem]:
    held = [e for b in view["blocks"] for e in (b.get("element"), b.get("accessory"), *b.get("elements", [])) if e]
    if sum(bool(element.get("focus_on_load")) for element in held) > 1:
        yield Problem("only one element can set `focus_on_load`", f"{at}/blocks")


def view_problems(view: object, refused_types: Collection[str] = ()) -> list[Problem]:
    """Return what Slack objects to in a modal."""
    blocks = both(many(_allowed(IN_MODALS, refused_types), MODAL_BLOCKS), _distinct_blocks)
    modal = record({"title": plain(24), "blocks": blocks}, _MODAL)
    return list(by_type({"modal": both(modal, _has_submit, _one_focus)})(view, "/view"))


def home_problems(view: object, refused_types: Collection[str] = ()) -> list[Problem]:
    """Return what Slack objects to in a Home tab."""
    blocks = both(many(_allowed(IN_HOME, refused_types), MODAL_BLOCKS), _distinct_blocks)
    names = ("callback_id", "private_metadata", "external_id")
    return list(by_type({"home": record({"blocks": blocks}, {name: _MODAL[name] for name in names})})(view, "/view"))


def check_home(view: object, refused_types: Collection[str] = ()) -> None:
    """Refuse a Home tab with Slack's code if it is not acceptable."""
    if view is None:
        raise Refused("invalid_arguments", ["missing required field: view"])
    if len(json.dumps(view).encode()) > VIEW_BYTES:
        raise Refused("view_too_large")
    problems = home_problems(view, refused_types)
    if problems:
        raise Refused("invalid_arguments", [str(problem) for problem in problems])


def check_view(view: object, refused_types: Collection[str] = ()) -> None:
    """Refuse a modal with Slack's code if it is not acceptable."""
    if view is None:
        raise Refused("invalid_arguments", ["missing required field: view"])
    if len(json.dumps(view).encode()) > VIEW_BYTES:
        raise Refused("view_too_large")
    problems = view_problems(view, refused_types)
    if problems:
        raise Refused("invalid_arguments", [str(problem) for problem in problems])
