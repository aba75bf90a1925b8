"""What Slack accepts and refuses in whole messages and modals."""

from __future__ import annotations

import pytest

from sandbox.slack.refusals import Refused
from sandbox.slack.rules import block_problems, check_message, check_view, view_problems
from tests.sandbox.slack.block_kit import (
    DIVIDER,
    Json,
    code,
    container,
    data_table,
    field,
    modal,
    mrkdwn,
    plain,
    rich,
    section,
    select,
    table,
    writing,
)


@pytest.mark.parametrize("second", [table(), data_table(), container(table())])
def test_a_second_table_in_one_message_is_refused(second: Json) -> None:
    with pytest.raises(Refused, match="invalid_attachments") as refusal:
        check_message({"text": "x", "blocks": [table(), second]})
    assert refusal.value.messages == ["only_one_table_allowed"]


def test_markdown_blocks_share_one_limit() -> None:
    with pytest.raises(Refused, match="msg_too_long"):
        check_message({"text": "x", "blocks": [{"type": "markdown", "text": "x" * 6001}] * 2})


def test_blocks_that_are_too_long_together_are_refused() -> None:
    check_message({"text": "x", "blocks": [section(text=plain("x" * 2640))] * 5})
    with pytest.raises(Refused, match="msg_blocks_too_long"):
        check_message({"text": "x", "blocks": [section(text=plain("x" * 2641))] * 5})


def test_a_message_needs_a_text_or_blocks() -> None:
    bodies: list[Json] = [{}, {"text": ""}, {"text": " "}, {"blocks": []}]
    for body in bodies:
        with pytest.raises(Refused, match="no_text"):
            check_message(body)


def test_blocks_must_be_a_list() -> None:
    with pytest.raises(Refused, match="invalid_blocks_format"):
        check_message({"text": "x", "blocks": {"type": "divider"}})


def test_a_long_text_is_cut_at_forty_thousand_characters() -> None:
    assert len(check_message({"text": "x" * 40_001}).text) == 40_000


def test_attachments_are_refused() -> None:
    with pytest.raises(Refused, match="invalid_attachments"):
        check_message({"text": "x", "attachments": [{"text": "x"}]})


def test_a_workspace_without_a_block_type_calls_it_unsupported() -> None:
    (problem,) = block_problems([table()], {"table"})
    assert str(problem) == "unsupported type: table [json-pointer:/blocks/0/type]"


@pytest.mark.parametrize(
    "view",
    [
        modal(section(text=plain())),
        modal(*[DIVIDER] * 100),
        modal({"type": "alert", "text": plain("x" * 200), "level": "warning"}),
        modal(field(writing()), submit=plain("x" * 24), close=plain(), private_metadata="x" * 3000),
        modal(rich(code("x" * 20_000, language="sql")), callback_id="sql", notify_on_close=True),
    ],
)
def test_a_modal_within_its_limits_is_accepted(view: Json) -> None:
    assert view_problems(view) == []


REFUSED_VIEWS = [
    (
        modal(DIVIDER, title=plain("x" * 25)),
        "must be less than 25 characters [json-pointer:/view/title/text]",
    ),
    (modal(DIVIDER, title=mrkdwn()), "unsupported type: mrkdwn [json-pointer:/view/title/type]"),
    ({"type": "modal", "blocks": [DIVIDER]}, "missing required field: title [json-pointer:/view]"),
    ({"type": "modal", "title": plain()}, "missing required field: blocks [json-pointer:/view]"),
    ({"type": "window"}, "unsupported type: window [json-pointer:/view/type]"),
    (modal(), "must provide at least 1 items [json-pointer:/view/blocks]"),
    (modal(*[DIVIDER] * 101), "no more than 100 items allowed [json-pointer:/view/blocks]"),
    (modal(table()), "unsupported type: table [json-pointer:/view/blocks/0/type]"),
    (modal(data_table()), "unsupported type: data_table [json-pointer:/view/blocks/0/type]"),
    (modal(container(DIVIDER)), "unsupported type: container [json-pointer:/view/blocks/0/type]"),
    (
        modal({"type": "markdown", "text": "x"}),
        "unsupported type: markdown [json-pointer:/view/blocks/0/type]",
    ),
    (
        modal({"type": "alert", "text": plain("x" * 201)}),
        "must be less than 201 characters [json-pointer:/view/blocks/0/text/text]",
    ),
    (
        modal({"type": "alert", "text": plain(), "level": "fatal"}),
        "must be a valid enum value [json-pointer:/view/blocks/0/level]",
    ),
    (
        modal(DIVIDER, submit=plain("x" * 25)),
        "must be less than 25 characters [json-pointer:/view/submit/text]",
    ),
    (
        modal(DIVIDER, close=plain("x" * 25)),
        "must be less than 25 characters [json-pointer:/view/close/text]",
    ),
    (
        modal(DIVIDER, private_metadata="x" * 3001),
        "must be less than 3001 characters [json-pointer:/view/private_metadata]",
    ),
    (
        modal(DIVIDER, callback_id="x" * 256),
        "must be less than 256 characters [json-pointer:/view/callback_id]",
    ),
    (
        modal(DIVIDER, external_id="x" * 256),
        "must be less than 256 characters [json-pointer:/view/external_id]",
    ),
    (
        modal(DIVIDER, field(writing())),
        "must define `submit` to use an `input` block in modals [json-pointer:/view/blocks/1/input]",
    ),
    (
        modal(field(writing(focus_on_load=True)), field(select(focus_on_load=True)), submit=plain()),
        "only one element can set `focus_on_load` [json-pointer:/view/blocks]",
    ),
    (modal(DIVIDER, hash="1"), "invalid additional property: hash [json-pointer:/view]"),
]


@pytest.mark.parametrize(("view", "problem"), REFUSED_VIEWS, ids=[problem for _, problem in REFUSED_VIEWS])
def test_a_modal_beyond_its_limits_is_refused_with_its_place(view: Json, problem: str) -> None:
    assert [str(found) for found in view_problems(view)] == [problem]


def test_a_modal_of_more_than_250_kilobytes_is_too_large() -> None:
    with pytest.raises(Refused, match="view_too_large"):
        check_view(modal(rich(code("x" * 250_000))))


def test_a_missing_view_is_an_invalid_argument() -> None:
    with pytest.raises(Refused, match="invalid_arguments"):
        check_view(None)
