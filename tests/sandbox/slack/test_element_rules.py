"""What Slack refuses in buttons, menus and inputs."""

from __future__ import annotations

import pytest

from sandbox.slack.rules import block_problems
from tests.sandbox.slack.block_kit import (
    Json,
    actions,
    button,
    confirm,
    field,
    mrkdwn,
    multi,
    option,
    plain,
    select,
    writing,
)

REFUSED = [
    (
        actions(button(), button()),
        '`action_id` "a" already exists [json-pointer:/blocks/0/elements/1/action_id]',
    ),
    (
        actions(button(style="primary"), button("b", style="primary")),
        "no more than 1 primary button allowed [json-pointer:/blocks/0/elements]",
    ),
    (
        actions({"type": "button", "text": plain()}),
        "missing required field: action_id [json-pointer:/blocks/0/elements/0]",
    ),
    (
        actions(button("x" * 256)),
        "must be less than 256 characters [json-pointer:/blocks/0/elements/0/action_id]",
    ),
    (
        actions(button(text=plain("x" * 76))),
        "must be less than 76 characters [json-pointer:/blocks/0/elements/0/text/text]",
    ),
    (
        actions(button(value="x" * 2001)),
        "must be less than 2001 characters [json-pointer:/blocks/0/elements/0/value]",
    ),
    (
        actions(button(url="x" * 3001)),
        "must be less than 3001 characters [json-pointer:/blocks/0/elements/0/url]",
    ),
    (
        actions(button(style="default")),
        "must be a valid enum value [json-pointer:/blocks/0/elements/0/style]",
    ),
    (
        actions(button(accessibility_label="x" * 76)),
        "must be less than 76 characters [json-pointer:/blocks/0/elements/0/accessibility_label]",
    ),
    (
        actions(button(confirm=confirm(title=plain("x" * 101)))),
        "must be less than 101 characters [json-pointer:/blocks/0/elements/0/confirm/title/text]",
    ),
    (
        actions(button(confirm=confirm(text=plain("x" * 301)))),
        "must be less than 301 characters [json-pointer:/blocks/0/elements/0/confirm/text/text]",
    ),
    (
        actions(button(confirm=confirm(confirm=plain("x" * 31)))),
        "must be less than 31 characters [json-pointer:/blocks/0/elements/0/confirm/confirm/text]",
    ),
    (
        actions(button(confirm=confirm(deny=plain("x" * 31)))),
        "must be less than 31 characters [json-pointer:/blocks/0/elements/0/confirm/deny/text]",
    ),
    (
        actions(button(confirm=confirm(title=mrkdwn()))),
        "unsupported type: mrkdwn [json-pointer:/blocks/0/elements/0/confirm/title/type]",
    ),
    (
        actions(button(confirm={"title": plain(), "text": plain(), "confirm": plain()})),
        "missing required field: deny [json-pointer:/blocks/0/elements/0/confirm]",
    ),
    (
        actions(select(options=[option(str(n)) for n in range(101)])),
        "no more than 100 items allowed [json-pointer:/blocks/0/elements/0/options]",
    ),
    (
        actions(select(options=[])),
        "must provide at least 1 items [json-pointer:/blocks/0/elements/0/options]",
    ),
    (
        actions(select(options=[option("x" * 151)])),
        "must be less than 151 characters [json-pointer:/blocks/0/elements/0/options/0/value]",
    ),
    (
        actions(select(options=[option(text="x" * 76)])),
        "must be less than 76 characters [json-pointer:/blocks/0/elements/0/options/0/text/text]",
    ),
    (
        actions(select(options=[{**option(), "description": plain("x" * 76)}])),
        "must be less than 76 characters [json-pointer:/blocks/0/elements/0/options/0/description/text]",
    ),
    (
        actions(select(options=[{"text": mrkdwn(), "value": "v"}])),
        "unsupported type: mrkdwn [json-pointer:/blocks/0/elements/0/options/0/text/type]",
    ),
    (
        actions(select(options=[option(), option()])),
        "option values must be unique [json-pointer:/blocks/0/elements/0/options]",
    ),
    (
        actions(select(initial_option=option("other"))),
        "must match one of the options [json-pointer:/blocks/0/elements/0/initial_option]",
    ),
    (
        actions(multi(initial_options=[option(), option("other")])),
        "must match one of the options [json-pointer:/blocks/0/elements/0/initial_options/1]",
    ),
    (
        actions(select(placeholder=plain("x" * 151))),
        "must be less than 151 characters [json-pointer:/blocks/0/elements/0/placeholder/text]",
    ),
    (
        actions({"type": "static_select", "action_id": "a"}),
        "must define either `options` or `option_groups` [json-pointer:/blocks/0/elements/0]",
    ),
    (
        actions({"type": "overflow", "action_id": "a", "options": [option(str(n)) for n in range(6)]}),
        "no more than 5 items allowed [json-pointer:/blocks/0/elements/0/options]",
    ),
    (
        actions({"type": "checkboxes", "action_id": "a", "options": [option(str(n)) for n in range(11)]}),
        "no more than 10 items allowed [json-pointer:/blocks/0/elements/0/options]",
    ),
    (
        actions({"type": "radio_buttons", "action_id": "a", "options": [option(str(n)) for n in range(11)]}),
        "no more than 10 items allowed [json-pointer:/blocks/0/elements/0/options]",
    ),
    (actions(writing()), "unsupported type: plain_text_input [json-pointer:/blocks/0/elements/0/type]"),
    (actions({"type": "lever"}), "unsupported type: lever [json-pointer:/blocks/0/elements/0/type]"),
    (
        field(writing(max_length=3001)),
        "must be between 1 and 3000 [json-pointer:/blocks/0/element/max_length]",
    ),
    (
        field(writing(min_length=5, max_length=4)),
        "must not exceed max_length [json-pointer:/blocks/0/element/min_length]",
    ),
    (
        field(writing(initial_value="xxx", max_length=2)),
        "must be less than 3 characters [json-pointer:/blocks/0/element/initial_value]",
    ),
    (field(button()), "unsupported type: button [json-pointer:/blocks/0/element/type]"),
    (field(writing(), label=mrkdwn()), "unsupported type: mrkdwn [json-pointer:/blocks/0/label/type]"),
]


@pytest.mark.parametrize(("block", "problem"), REFUSED, ids=[problem for _, problem in REFUSED])
def test_a_block_beyond_its_limits_is_refused_with_its_place(block: Json, problem: str) -> None:
    assert [str(found) for found in block_problems([block])] == [problem]
