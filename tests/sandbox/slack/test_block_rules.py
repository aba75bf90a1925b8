"""What Slack accepts and refuses in the blocks of a message."""

from __future__ import annotations

import pytest

from sandbox.slack.rules import block_problems
from tests.sandbox.slack.block_kit import (
    COLOURED,
    DIVIDER,
    IMAGE,
    Json,
    actions,
    button,
    card,
    cell,
    code,
    confirm,
    container,
    data_table,
    field,
    mrkdwn,
    multi,
    option,
    plain,
    rich,
    section,
    select,
    table,
    writing,
)


@pytest.mark.parametrize(
    "block",
    [
        section(text=mrkdwn("x" * 3000), accessory=button(style="danger", confirm=confirm()), expand=True),
        section(fields=[mrkdwn("x" * 2000)] * 5),
        section(text=plain(), accessory=multi(placeholder=plain(), initial_options=[option()])),
        section(text=plain(), accessory=IMAGE),
        {"type": "header", "text": plain("x" * 150), "level": 2},
        {"type": "context", "elements": [mrkdwn(), IMAGE]},
        actions(button(value="x" * 2000, style="primary"), button("b", url="https://example.com/")),
        actions(select(initial_option=option()), multi(action_id="b", max_selected_items=2)),
        actions({"type": "overflow", "action_id": "a", "options": [option(str(n)) for n in range(5)]}),
        actions({"type": "checkboxes", "action_id": "a", "options": [{"text": mrkdwn(), "value": "v"}]}),
        actions({"type": "radio_buttons", "action_id": "a", "options": [option()], "initial_option": option()}),
        actions(select(options=[option(str(n)) for n in range(100)])),
        actions(
            {
                "type": "static_select",
                "action_id": "a",
                "option_groups": [{"label": plain(), "options": [option()]}],
            }
        ),
        DIVIDER,
        {**IMAGE, "title": plain()},
        field(writing(multiline=True, max_length=100, placeholder=plain())),
        rich(code("select 1", language="sql", border=0)),
        rich({"type": "rich_text_list", "style": "ordered", "elements": COLOURED["elements"], "indent": 1}),
        rich({"type": "rich_text_quote", "elements": [{"type": "link", "url": "https://example.com/"}]}),
        rich({"type": "rich_text_section", "elements": [{"type": "user", "user_id": "U1"}]}),
        {"type": "markdown", "text": "x" * 12_000},
        table(100, 20, "x", column_settings=[{"align": "right"}, None, {"is_wrapped": True}]),
        {"type": "table", "rows": [[COLOURED, {"type": "raw_number", "value": 1.5, "text": "1.5"}]]},
        data_table(201, 20, "x", page_size=100, row_header_column_index=19),
        container(section(text=plain()), table(), is_collapsible=True, default_collapsed=True, width="wide"),
        card(subtitle=plain("x" * 150), body=mrkdwn("x" * 200), actions=[button()]),
        {"type": "carousel", "elements": [card(), card()]},
    ],
)
def test_a_block_within_its_limits_is_accepted_in_messages(block: Json) -> None:
    assert block_problems([block]) == []


REFUSED = [
    (section(), "must define either `text` or `fields` [json-pointer:/blocks/0]"),
    (section(text=mrkdwn("")), "must be more than 0 characters [json-pointer:/blocks/0/text/text]"),
    (section(text=mrkdwn(" \n")), "must be more than 0 characters [json-pointer:/blocks/0/text/text]"),
    (
        section(text=mrkdwn("x" * 3001)),
        "must be less than 3001 characters [json-pointer:/blocks/0/text/text]",
    ),
    (section(text="x"), "must provide an object [json-pointer:/blocks/0/text]"),
    (section(text={"type": "mrkdwn", "text": 3}), "must provide a string [json-pointer:/blocks/0/text/text]"),
    (section(text=cell()), "unsupported type: raw_text [json-pointer:/blocks/0/text/type]"),
    (
        section(text={**plain(), "verbatim": True}),
        "invalid additional property: verbatim [json-pointer:/blocks/0/text]",
    ),
    (section(fields=[mrkdwn()] * 11), "no more than 10 items allowed [json-pointer:/blocks/0/fields]"),
    (
        section(fields=[mrkdwn("x" * 2001)]),
        "must be less than 2001 characters [json-pointer:/blocks/0/fields/0/text]",
    ),
    (section(text=plain(), accessory=None), "must provide an object [json-pointer:/blocks/0/accessory]"),
    (section(text=plain(), expand="yes"), "must provide a boolean [json-pointer:/blocks/0/expand]"),
    (section(text=plain(), colour="red"), "invalid additional property: colour [json-pointer:/blocks/0]"),
    (
        section(text=plain(), block_id="x" * 256),
        "must be less than 256 characters [json-pointer:/blocks/0/block_id]",
    ),
    ({"type": "header", "text": mrkdwn()}, "unsupported type: mrkdwn [json-pointer:/blocks/0/text/type]"),
    (
        {"type": "header", "text": plain("x" * 151)},
        "must be less than 151 characters [json-pointer:/blocks/0/text/text]",
    ),
    (
        {"type": "header", "text": plain(), "level": 5},
        "must be a valid enum value [json-pointer:/blocks/0/level]",
    ),
    (
        {"type": "context", "elements": [plain()] * 11},
        "no more than 10 items allowed [json-pointer:/blocks/0/elements]",
    ),
    ({"type": "context", "elements": []}, "must provide at least 1 items [json-pointer:/blocks/0/elements]"),
    (
        {"type": "context", "elements": [button()]},
        "unsupported type: button [json-pointer:/blocks/0/elements/0/type]",
    ),
    (actions(), "must provide at least 1 items [json-pointer:/blocks/0/elements]"),
    (
        actions(*(button(str(n)) for n in range(26))),
        "no more than 25 items allowed [json-pointer:/blocks/0/elements]",
    ),
    (
        actions(
            multi(
                options=[option("a"), option("b")],
                initial_options=[option("a"), option("b")],
                max_selected_items=1,
            )
        ),
        "must not exceed max_selected_items [json-pointer:/blocks/0/elements/0/initial_options]",
    ),
    (
        {"type": "image", "image_url": "https://example.com/"},
        "missing required field: alt_text [json-pointer:/blocks/0]",
    ),
    (
        {**IMAGE, "alt_text": "x" * 2001},
        "must be less than 2001 characters [json-pointer:/blocks/0/alt_text]",
    ),
    (
        {**IMAGE, "image_url": "x" * 3001},
        "must be less than 3001 characters [json-pointer:/blocks/0/image_url]",
    ),
    (rich(), "must provide at least 1 items [json-pointer:/blocks/0/elements]"),
    (rich(code("")), "must be more than 0 characters [json-pointer:/blocks/0/elements/0/elements/0/text]"),
    (rich(code(border=2)), "must be a valid enum value [json-pointer:/blocks/0/elements/0/border]"),
    (rich(code(border=True)), "must be a valid enum value [json-pointer:/blocks/0/elements/0/border]"),
    (rich(code(lang="sql")), "invalid additional property: lang [json-pointer:/blocks/0/elements/0]"),
    (rich(section(text=plain())), "unsupported type: section [json-pointer:/blocks/0/elements/0/type]"),
    (
        rich({"type": "rich_text_preformatted", "elements": [{"type": "user", "user_id": "U1"}]}),
        "unsupported type: user [json-pointer:/blocks/0/elements/0/elements/0/type]",
    ),
    (
        {"type": "markdown", "text": "x" * 12_001},
        "must be less than 12001 characters [json-pointer:/blocks/0/text]",
    ),
    (container(*[DIVIDER] * 11), "no more than 10 items allowed [json-pointer:/blocks/0/child_blocks]"),
    (container(data_table()), "unsupported type: data_table [json-pointer:/blocks/0/child_blocks/0/type]"),
    (
        container(DIVIDER, title=plain("x" * 151)),
        "must be less than 151 characters [json-pointer:/blocks/0/title/text]",
    ),
    (
        container(DIVIDER, default_collapsed=True),
        "requires `is_collapsible` [json-pointer:/blocks/0/default_collapsed]",
    ),
    (card(title="x"), "must provide an object [json-pointer:/blocks/0/title]"),
    (card(body=plain("x" * 201)), "must be less than 201 characters [json-pointer:/blocks/0/body/text]"),
    (
        card(actions=[button(str(n)) for n in range(4)]),
        "no more than 3 items allowed [json-pointer:/blocks/0/actions]",
    ),
    (
        {"type": "carousel", "elements": [card()] * 11},
        "no more than 10 items allowed [json-pointer:/blocks/0/elements]",
    ),
    ({"type": "alert", "text": plain()}, "unsupported type: alert [json-pointer:/blocks/0/type]"),
    ({"type": "marquee"}, "unsupported type: marquee [json-pointer:/blocks/0/type]"),
    ({"text": plain()}, "missing required field: type [json-pointer:/blocks/0]"),
    ("x", "must provide an object [json-pointer:/blocks/0]"),
]


@pytest.mark.parametrize(("block", "problem"), REFUSED, ids=[problem for _, problem in REFUSED])
def test_a_block_beyond_its_limits_is_refused_with_its_place(block: Json, problem: str) -> None:
    assert [str(found) for found in block_problems([block])] == [problem]


def test_fifty_blocks_are_accepted_and_one_more_is_refused() -> None:
    assert block_problems([DIVIDER] * 50) == []
    (problem,) = block_problems([DIVIDER] * 51)
    assert str(problem) == "no more than 50 items allowed [json-pointer:/blocks]"


def test_the_same_block_id_twice_in_one_message_is_refused() -> None:
    (problem,) = block_problems([{**DIVIDER, "block_id": "b"}, container({**DIVIDER, "block_id": "b"})])
    assert str(problem) == '`block_id` "b" already exists [json-pointer:/blocks/1/child_blocks/0/block_id]'


def test_the_same_action_id_in_two_blocks_is_accepted() -> None:
    assert block_problems([actions(button()), actions(button())]) == []
