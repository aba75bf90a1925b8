"""What Slack refuses in tables."""

from __future__ import annotations

import pytest

from sandbox.slack.rules import block_problems
from tests.sandbox.slack.block_kit import COLOURED, Json, cell, data_table, plain, table

REFUSED = [
    (table(101), "no more than 100 items allowed [json-pointer:/blocks/0/rows]"),
    (table(1, 21), "no more than 20 items allowed [json-pointer:/blocks/0/rows/0]"),
    (table(0), "must provide at least 1 items [json-pointer:/blocks/0/rows]"),
    (table(text=""), "must be more than 0 characters [json-pointer:/blocks/0/rows/0/0/text]"),
    (table(text=" "), "must be more than 0 characters [json-pointer:/blocks/0/rows/0/0/text]"),
    (
        table(100, 1, "x" * 101),
        "no more than 10000 characters allowed in all cells [json-pointer:/blocks/0/rows]",
    ),
    (
        table(column_settings=[{}] * 21),
        "no more than 20 items allowed [json-pointer:/blocks/0/column_settings]",
    ),
    (
        table(column_settings=[{"align": "middle"}]),
        "must be a valid enum value [json-pointer:/blocks/0/column_settings/0/align]",
    ),
    (
        {"type": "table", "rows": [[plain()]]},
        "unsupported type: plain_text [json-pointer:/blocks/0/rows/0/0/type]",
    ),
    (
        {"type": "table", "rows": [[cell(), cell()], [cell()]]},
        "must have 2 columns as the first row [json-pointer:/blocks/0/rows/1]",
    ),
    (
        {"type": "table", "rows": [[{"type": "raw_number", "text": "1"}]]},
        "missing required field: value [json-pointer:/blocks/0/rows/0/0]",
    ),
    (data_table(1), "must provide at least 2 items [json-pointer:/blocks/0/rows]"),
    (data_table(202), "no more than 201 items allowed [json-pointer:/blocks/0/rows]"),
    (data_table(page_size=0), "must be between 1 and 100 [json-pointer:/blocks/0/page_size]"),
    (
        data_table(row_header_column_index=1),
        "must be the index of a column [json-pointer:/blocks/0/row_header_column_index]",
    ),
    (
        data_table(200, 1, "x" * 101),
        "no more than 20000 characters allowed in all cells [json-pointer:/blocks/0/rows]",
    ),
    (
        {"type": "data_table", "caption": "x", "rows": [[COLOURED], [cell()]]},
        "unsupported type: rich_text [json-pointer:/blocks/0/rows/0/0/type]",
    ),
    ({**table(2), "type": "data_table"}, "missing required field: caption [json-pointer:/blocks/0]"),
]


@pytest.mark.parametrize(("block", "problem"), REFUSED, ids=[problem for _, problem in REFUSED])
def test_a_block_beyond_its_limits_is_refused_with_its_place(block: Json, problem: str) -> None:
    assert [str(found) for found in block_problems([block])] == [problem]
