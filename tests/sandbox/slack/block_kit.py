"""Short spellings of Block Kit for the tests of the rules."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def plain(text: str = "x") -> Json:
    return {"type": "plain_text", "text": text}


def mrkdwn(text: str = "x") -> Json:
    return {"type": "mrkdwn", "text": text}


def option(value: str = "v", text: str = "x") -> Json:
    return {"text": plain(text), "value": value}


def button(action_id: str = "a", **more: Any) -> Json:
    return {"type": "button", "action_id": action_id, "text": plain(), **more}


def select(**more: Any) -> Json:
    return {"type": "static_select", "action_id": "a", "options": [option()], **more}


def multi(**more: Any) -> Json:
    return {**select(**more), "type": "multi_static_select"}


def confirm(**more: Any) -> Json:
    return {"title": plain(), "text": plain(), "confirm": plain(), "deny": plain(), **more}


def actions(*elements: Json, **more: Any) -> Json:
    return {"type": "actions", "elements": list(elements), **more}


def section(**more: Any) -> Json:
    return {"type": "section", **more}


def field(element: Json, **more: Any) -> Json:
    return {"type": "input", "label": plain(), "element": element, **more}


def writing(**more: Any) -> Json:
    return {"type": "plain_text_input", "action_id": "a", **more}


def rich(*elements: Json) -> Json:
    return {"type": "rich_text", "elements": list(elements)}


def code(text: str = "x", **more: Any) -> Json:
    return {"type": "rich_text_preformatted", "elements": [{"type": "text", "text": text}], **more}


def cell(text: str = "x") -> Json:
    return {"type": "raw_text", "text": text}


def table(rows: int = 1, columns: int = 1, text: str = "x", **more: Any) -> Json:
    return {"type": "table", "rows": [[cell(text)] * columns] * rows, **more}


def data_table(rows: int = 2, columns: int = 1, text: str = "x", **more: Any) -> Json:
    return {**table(rows, columns, text), "type": "data_table", "caption": "x", **more}


def container(*blocks: Json, **more: Any) -> Json:
    return {"type": "container", "title": plain(), "child_blocks": list(blocks), **more}


def card(**more: Any) -> Json:
    return {"type": "card", "title": mrkdwn(), **more}


def modal(*blocks: Json, **more: Any) -> Json:
    return {"type": "modal", "title": plain(), "blocks": list(blocks), **more}


DIVIDER = {"type": "divider"}
IMAGE = {"type": "image", "image_url": "https://example.com/x.png", "alt_text": "x"}
COLOURED = rich({"type": "rich_text_section", "elements": [{"type": "text", "text": "x", "style": {"bold": True}}]})
