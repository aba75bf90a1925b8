"""Interactive elements inside blocks: finding one, what was chosen in it, and the state of all of them."""

from __future__ import annotations

from collections.abc import Iterator

from sandbox.slack.refusals import Json, PersonRefused

ONE_OPTION = {"static_select": "initial_option", "radio_buttons": "initial_option"}
MANY_OPTIONS = {"multi_static_select": "initial_options", "checkboxes": "initial_options"}
TEXT = {"plain_text_input": "initial_value"}


def elements(blocks: list[Json] | None) -> Iterator[tuple[str, Json]]:
    """Yield each interactive element with the id of its block."""
    for block in blocks or []:
        found = [block.get("accessory"), block.get("element")]
        if block["type"] == "actions":
            found = list(block["elements"])
        elif block["type"] == "card":
            found = list(block.get("actions") or [])
        for element in found:
            if element and "action_id" in element:
                yield block["block_id"], element
        yield from elements(block.get("child_blocks"))
        if block["type"] == "carousel":
            yield from elements(block["elements"])


def find_element(blocks: list[Json] | None, block_id: str, action_id: str) -> Json:
    """Find the element that was pressed; refused when it is not there (any more)."""
    for block, element in elements(blocks):
        if (block, element["action_id"]) == (block_id, action_id):
            return element
    raise PersonRefused("no_such_element", "That button or menu is not there any more.", 404)


def _options(element: Json) -> list[Json]:
    groups = element.get("option_groups") or []
    return [*(element.get("options") or []), *(option for group in groups for option in group["options"])]


def _option(element: Json, chosen: object) -> Json:
    """Return the element's own option; the page may name it by its value or send it whole."""
    value = chosen.get("value") if isinstance(chosen, dict) else chosen
    for option in _options(element):
        if option["value"] == value:
            return option
    raise PersonRefused("no_such_option", "That option is not in the menu.", 400)


def chosen(element: Json, given: Json) -> Json:
    """Return what an element holds as Slack puts it into state and actions, checked against the element."""
    kind = element["type"]
    if kind in ONE_OPTION or kind == "overflow":
        option = given.get("selected_option")
        return {"type": kind, "selected_option": _option(element, option) if option else None}
    if kind in MANY_OPTIONS:
        picked = given.get("selected_options") or []
        if not isinstance(picked, list):
            raise PersonRefused("bad_request", "selected_options must be a list.")
        options = [_option(element, option) for option in picked]
        most = element.get("max_selected_items")
        if most and len(options) > most:
            raise PersonRefused("too_many_options", f"At most {most} can be picked.", 400)
        return {"type": kind, "selected_options": options}
    if kind in TEXT:
        value = given.get("value")
        return {"type": kind, "value": value if isinstance(value, str) and value else None}
    raise PersonRefused("no_such_element", "That element holds nothing.", 400)


def _initial(element: Json) -> Json:
    kind = element["type"]
    if kind in ONE_OPTION:
        return {"selected_option": element.get(ONE_OPTION[kind])}
    if kind in MANY_OPTIONS:
        return {"selected_options": element.get(MANY_OPTIONS[kind]) or []}
    return {"value": element.get(TEXT[kind])}


def state_of(blocks: list[Json] | None, given: Json) -> Json:
    """Return `state.values`: what each stateful element holds, by block and action id."""
    values: Json = {}
    for block_id, element in elements(blocks):
        if element["type"] in ONE_OPTION or element["type"] in MANY_OPTIONS or element["type"] in TEXT:
            held = given.get(block_id, {}).get(element["action_id"])
            entry = chosen(element, held if isinstance(held, dict) else _initial(element))
            values.setdefault(block_id, {})[element["action_id"]] = entry
    return values


def action_of(block_id: str, element: Json, given: Json, action_ts: str) -> Json:
    """Build the entry of `actions`: a button's value comes from the stored block alone."""
    action: Json = {"action_id": element["action_id"], "block_id": block_id, "action_ts": action_ts}
    shown = ("text", "value", "style", "url", "confirm", "placeholder")
    copied = {key: element[key] for key in shown if key in element}
    if element["type"] == "button":
        return {**action, "type": "button", **copied}
    picked = chosen(element, given)
    if element["type"] == "overflow" and picked["selected_option"] is None:
        raise PersonRefused("no_such_option", "Pick one of the menu's entries.", 400)
    return {**action, **copied, **picked}


def missing_inputs(blocks: list[Json], values: Json) -> dict[str, str]:
    """Return what Slack itself objects to before it sends a modal, by block id."""
    errors = {}
    for block in blocks:
        if block["type"] != "input":
            continue
        element = block["element"]
        held = values[block["block_id"]][element["action_id"]]
        content = held.get("value") or held.get("selected_option") or held.get("selected_options")
        if not content:
            if not block.get("optional", False):
                errors[block["block_id"]] = "Please complete this required field."
        elif element["type"] in TEXT:
            least, most = element.get("min_length", 0), element.get("max_length", 3000)
            if len(content) < least:
                errors[block["block_id"]] = f"Please write at least {least} characters."
            elif len(content) > most:
                errors[block["block_id"]] = f"Please write at most {most} characters."
    return errors
