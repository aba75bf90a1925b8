"""What Slack demands of blocks, and which may stand in a message or in a modal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sandbox.slack.chart_rules import CHART
from sandbox.slack.element_rules import (
    ACCESSORY,
    ACTIONS_ELEMENT,
    BUTTON,
    CONTEXT_ELEMENT,
    ID,
    INPUT_ELEMENT,
    marked,
    plain,
)
from sandbox.slack.element_rules import IMAGE as ELEMENT_IMAGE
from sandbox.slack.rich_text_rules import RICH_TEXT
from sandbox.slack.schema import Problem, Rule, both, by_type, choice, flag, many, record, text
from sandbox.slack.table_rules import DATA_TABLE, TABLE

_NAMED = {"block_id": ID}


def _says_something(section: dict[str, Any], at: str) -> Iterator[Problem]:
    if "text" not in section and "fields" not in section:
        yield Problem("must define either `text` or `fields`", at)


def _distinct_actions(actions: dict[str, Any], at: str) -> Iterator[Problem]:
    seen = set()
    for index, element in enumerate(actions["elements"]):
        action_id = element["action_id"]
        if action_id in seen:
            place = f"{at}/elements/{index}/action_id"
            yield Problem(f'`action_id` "{action_id}" already exists', place)
        seen.add(action_id)
    if sum(element.get("style") == "primary" for element in actions["elements"]) > 1:
        # Slack's guide allows one primary button in a set; whether it refuses a second is not written down.
        yield Problem("no more than 1 primary button allowed", f"{at}/elements")


SECTION = both(
    record(
        {},
        {
            "text": marked(3000),
            "fields": many(marked(2000), 10),
            "accessory": ACCESSORY,
            "expand": flag,
            **_NAMED,
        },
    ),
    _says_something,
)
HEADER = record({"text": plain(150)}, {"level": choice(1, 2, 3, 4), **_NAMED})
CONTEXT = record({"elements": many(CONTEXT_ELEMENT, 10)}, _NAMED)
ACTIONS = both(record({"elements": many(ACTIONS_ELEMENT, 25)}, _NAMED), _distinct_actions)
DIVIDER = record({}, _NAMED)
IMAGE = record({"image_url": text(3000), "alt_text": text(2000)}, {"title": plain(2000), **_NAMED})
INPUT = record(
    {"label": plain(2000), "element": INPUT_ELEMENT},
    {"hint": plain(2000), "optional": flag, "dispatch_action": flag, **_NAMED},
)
MARKDOWN = record({"text": text(12_000)}, _NAMED)
ALERT = record({"text": marked(200)}, {"level": choice("default", "info", "warning", "error", "success"), **_NAMED})

_CARD_IMAGE = by_type({"image": ELEMENT_IMAGE})
CARD = record(
    {},
    {
        "title": marked(150),
        "subtitle": marked(150),
        "body": marked(200),
        "subtext": marked(200),
        "icon": _CARD_IMAGE,
        "hero_image": _CARD_IMAGE,
        "actions": many(by_type({"button": BUTTON}), 3),
        **_NAMED,
    },
)
CAROUSEL = record({"elements": many(by_type({"card": CARD}), 10)}, _NAMED)

_EVERYWHERE: dict[str, Rule] = {
    "section": SECTION,
    "header": HEADER,
    "context": CONTEXT,
    "actions": ACTIONS,
    "divider": DIVIDER,
    "image": IMAGE,
    "input": INPUT,
    "rich_text": RICH_TEXT,
}
_IN_CONTAINERS: dict[str, Rule] = {**_EVERYWHERE, "table": TABLE}


def _foldable(container: dict[str, Any], at: str) -> Iterator[Problem]:
    if container.get("default_collapsed") and not container.get("is_collapsible"):
        yield Problem("requires `is_collapsible`", f"{at}/default_collapsed")


CONTAINER = both(
    record(
        {"title": plain(150), "child_blocks": many(by_type(_IN_CONTAINERS), 10)},
        {
            "subtitle": plain(150),
            "width": choice("narrow", "standard", "wide", "full"),
            "is_collapsible": flag,
            "default_collapsed": flag,
            **_NAMED,
        },
    ),
    _foldable,
)

IN_MESSAGES: dict[str, Rule] = {
    **_EVERYWHERE,
    "card": CARD,
    "carousel": CAROUSEL,
    "markdown": MARKDOWN,
    "table": TABLE,
    "data_table": DATA_TABLE,
    "data_visualization": CHART,
    "container": CONTAINER,
}
IN_HOME: dict[str, Rule] = {
    **_EVERYWHERE,
    "card": CARD,
    "carousel": CAROUSEL,
    "table": TABLE,
    "data_table": DATA_TABLE,
    "container": CONTAINER,
}
IN_MODALS: dict[str, Rule] = {**_EVERYWHERE, "card": CARD, "alert": ALERT}
