"""What Slack demands of text objects, options, confirm dialogs and interactive elements.

Numbers: docs.slack.dev/reference/block-kit, block elements and composition objects, autumn 2026.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sandbox.slack.schema import Problem, Rule, both, by_type, choice, flag, many, record, text, whole

ID = text(255)


def plain(most: int) -> Rule:
    """A plain_text object of at most so many characters."""
    return by_type({"plain_text": record({"text": text(most)}, {"emoji": flag})})


def marked(most: int) -> Rule:
    """A plain_text or mrkdwn object of at most so many characters."""
    return by_type(
        {
            "plain_text": record({"text": text(most)}, {"emoji": flag}),
            "mrkdwn": record({"text": text(most)}, {"verbatim": flag}),
        }
    )


CONFIRM = record(
    {"title": plain(100), "text": marked(300), "confirm": plain(30), "deny": plain(30)},
    {"style": choice("primary", "danger")},
)

OPTION = record({"text": plain(75), "value": text(150)}, {"description": plain(75)})
MARKED_OPTION = record({"text": marked(75), "value": text(150)}, {"description": marked(75)})
OVERFLOW_OPTION = record({"text": plain(75), "value": text(150)}, {"description": plain(75), "url": text(3000)})
OPTION_GROUP = record({"label": plain(75), "options": many(OPTION, 100)})

_COMMON = {"confirm": CONFIRM, "focus_on_load": flag}


def _all_options(element: dict[str, Any]) -> list[dict[str, Any]]:
    groups = element.get("option_groups", [])
    return [*element.get("options", []), *(option for group in groups for option in group["options"])]


def _options_fit(element: dict[str, Any], at: str) -> Iterator[Problem]:
    """Options come in one of two forms, with different values, and initial ones are among them."""
    if ("options" in element) == ("option_groups" in element):
        yield Problem("must define either `options` or `option_groups`", at)
        return
    options = _all_options(element)
    values = [option["value"] for option in options]
    if len(set(values)) < len(values):
        yield Problem("option values must be unique", f"{at}/options")
    if "initial_option" in element and element["initial_option"] not in options:
        yield Problem("must match one of the options", f"{at}/initial_option")
    for index, option in enumerate(element.get("initial_options", [])):
        if option not in options:
            yield Problem("must match one of the options", f"{at}/initial_options/{index}")
    if len(element.get("initial_options", [])) > element.get("max_selected_items", 100):
        yield Problem("must not exceed max_selected_items", f"{at}/initial_options")


_MENU = {
    "placeholder": plain(150),
    "options": many(OPTION, 100),
    "option_groups": many(OPTION_GROUP, 100),
    **_COMMON,
}

STATIC_SELECT = both(record({"action_id": ID}, {"initial_option": OPTION, **_MENU}), _options_fit)
MULTI_STATIC_SELECT = both(
    record(
        {"action_id": ID},
        {"initial_options": many(OPTION, 100), "max_selected_items": whole(1, 100), **_MENU},
    ),
    _options_fit,
)
OVERFLOW = both(record({"action_id": ID, "options": many(OVERFLOW_OPTION, 5)}, {"confirm": CONFIRM}), _options_fit)
CHECKBOXES = both(
    record(
        {"action_id": ID, "options": many(MARKED_OPTION, 10)},
        {"initial_options": many(MARKED_OPTION, 10), **_COMMON},
    ),
    _options_fit,
)
RADIO_BUTTONS = both(
    record({"action_id": ID, "options": many(MARKED_OPTION, 10)}, {"initial_option": MARKED_OPTION, **_COMMON}),
    _options_fit,
)

BUTTON = record(
    {"action_id": ID, "text": plain(75)},
    {
        "value": text(2000, 0),
        "url": text(3000),
        "style": choice("primary", "danger"),
        "confirm": CONFIRM,
        "accessibility_label": text(75),
    },
)

IMAGE = record({"image_url": text(3000), "alt_text": text(2000)})


def _input_lengths(element: dict[str, Any], at: str) -> Iterator[Problem]:
    least, most = element.get("min_length", 0), element.get("max_length", 3000)
    if least > most:
        yield Problem("must not exceed max_length", f"{at}/min_length")
    if len(element.get("initial_value", "")) > most:
        yield Problem(f"must be less than {most + 1} characters", f"{at}/initial_value")


PLAIN_TEXT_INPUT = both(
    record(
        {"action_id": ID},
        {
            "initial_value": text(3000, 0, blank=True),
            "multiline": flag,
            "min_length": whole(0, 3000),
            "max_length": whole(1, 3000),
            "placeholder": plain(150),
            "focus_on_load": flag,
            "dispatch_action_config": record(
                {}, {"trigger_actions_on": many(choice("on_enter_pressed", "on_character_entered"), 2)}
            ),
        },
    ),
    _input_lengths,
)

_CHOOSING = {
    "static_select": STATIC_SELECT,
    "multi_static_select": MULTI_STATIC_SELECT,
    "checkboxes": CHECKBOXES,
    "radio_buttons": RADIO_BUTTONS,
}

ACTIONS_ELEMENT = by_type({"button": BUTTON, "overflow": OVERFLOW, **_CHOOSING})
ACCESSORY = by_type({"button": BUTTON, "overflow": OVERFLOW, "image": IMAGE, **_CHOOSING})
INPUT_ELEMENT = by_type({"plain_text_input": PLAIN_TEXT_INPUT, **_CHOOSING})
CONTEXT_ELEMENT = by_type(
    {
        "plain_text": record({"text": text(3000)}, {"emoji": flag}),
        "mrkdwn": record({"text": text(3000)}, {"verbatim": flag}),
        "image": IMAGE,
    }
)
