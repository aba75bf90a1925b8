"""What messages and modals say in plain text, for tests to read: Block Kit flattened to lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]


def elements_of(place: Json) -> Iterator[tuple[str, Json]]:
    """Yield each interactive element of a message or modal with the id of its block."""
    for block in place.get("blocks") or []:
        for element in _elements(block):
            if "action_id" in element:
                yield block.get("block_id", ""), element


def _elements(block: Json) -> list[Json]:
    if block["type"] == "actions":
        return list(block["elements"])
    return [element for element in (block.get("accessory"), block.get("element")) if element]


def options_in(element: Json) -> list[Json]:
    """Return the option objects of a menu, grouped or not."""
    groups = element.get("option_groups") or []
    return [*element.get("options", []), *(option for group in groups for option in group["options"])]


def element_called(place: Json, name: str) -> tuple[str, Json]:
    """Return an element and its block's id by its action_id, placeholder or label."""
    labels = {b["block_id"]: b["label"]["text"] for b in place.get("blocks") or [] if b["type"] == "input"}
    names = []
    for block_id, element in elements_of(place):
        placeholder = element.get("placeholder", {}).get("text")
        own = [element["action_id"], placeholder, labels.get(block_id)]
        if name in own:
            return block_id, element
        names.append(own)
    raise AssertionError(f"nothing called {name!r} among {names} in:\n{text_of(place)}")


def buttons_of(place: Json) -> list[str]:
    """Return the texts of all buttons of a message or modal."""
    return [e["text"]["text"] for _, e in elements_of(place) if e["type"] == "button"]


def options_of(place: Json, menu: str) -> list[str]:
    """Return the texts of the options of a menu, named by action_id, placeholder or label."""
    _, element = element_called(place, menu)
    return [option["text"]["text"] for option in options_in(element)]


def table_of(place: Json) -> list[list[str]]:
    """Return the rows of the message's table, the header first; empty without a table."""
    for block in place.get("blocks") or []:
        if block["type"] in ("table", "data_table"):
            return [[_words(cell) for cell in row] for row in block["rows"]]
    return []


def text_of(place: Json | list[Json] | None) -> str:
    """Return what a message, a modal or a list of blocks says, a line per block, cell row or control."""
    if place is None:
        return ""
    if isinstance(place, list):
        return "\n".join(line for block in place for line in _lines(block))
    if "key" in place and not place["blocks"]:
        return str(place["text"])
    title = [_words(place["title"])] if "title" in place else []
    return "\n".join([*title, text_of(place["blocks"])])


def _lines(block: Json) -> Iterator[str]:
    kind = block["type"]
    if kind in ("table", "data_table"):
        if "caption" in block:
            yield block["caption"]
        for row in block["rows"]:
            yield " | ".join(_words(cell) for cell in row)
    elif kind == "data_visualization":
        yield block["title"]
        for series in block["chart"].get("series", [{"name": "", "data": block["chart"].get("segments", [])}]):
            yield " ".join([series["name"], *(f"{point['label']}: {point['value']}" for point in series["data"])])
    elif kind == "actions":
        yield " ".join(_control(element) for element in block["elements"])
    elif kind == "context":
        yield " ".join(_words(element) for element in block["elements"])
    elif kind != "divider":
        for part in ("title", "label", "text"):
            if part in block:
                yield _words(block[part])
        yield from (_words(field) for field in block.get("fields", []))
        yield from (_words(element) for element in block.get("elements", []))
        yield from (_control(block[part]) for part in ("accessory", "element") if part in block)
        yield from (line for child in block.get("child_blocks", []) for line in _lines(child))
        if "hint" in block:
            yield _words(block["hint"])


def _control(element: Json) -> str:
    if element["type"] == "button":
        return f"[{element['text']['text']}]"
    parts = [_words(element.get("placeholder", ""))] + [option["text"]["text"] for option in options_in(element)]
    return "<" + ", ".join(part for part in parts if part) + ">"


def _words(part: Json | str) -> str:
    """Return the words of a text object, a cell or a piece of rich text."""
    if isinstance(part, str):
        return part
    if "elements" in part:
        between = "" if part["type"] in ("rich_text_section", "rich_text_preformatted", "rich_text_quote") else "\n"
        return between.join(_words(element) for element in part["elements"])
    for key in (
        "text",
        "alt_text",
        "fallback",
        "url",
        "name",
        "user_id",
        "usergroup_id",
        "channel_id",
        "range",
    ):
        if key in part:
            return _words(part[key])
    return ""


def is_progress(message: Json) -> bool:
    """Whether it tells that an answer is still waited for, as on a busy machine after two seconds."""
    return "⏳ Still waiting for " in text_of(message)


def tells(what: object, number: int) -> bool:
    """Whether a number stands there by itself: ids, ports and times may hold its digits."""
    without_dates = re.sub(r"<!date\^[^>]*>", "", str(what))
    return re.search(rf"(?<![\d.]){number}(?!\d)", without_dates) is not None
