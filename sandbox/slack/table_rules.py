"""What Slack demands of table and data_table blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sandbox.slack.element_rules import ID
from sandbox.slack.rich_text_rules import RICH_TEXT
from sandbox.slack.schema import (
    Problem,
    Rule,
    both,
    by_type,
    choice,
    flag,
    many,
    number,
    record,
    text,
    whole,
)

TABLE_FAMILY = ("table", "data_table")
TABLE_CHARACTERS = {"table": 10_000, "data_table": 20_000}

_RAW = {
    "raw_text": record({"text": text(1_000_000)}),
    "raw_number": record({"value": number, "text": text(1_000_000)}),
}
_CELL = by_type({**_RAW, "rich_text": RICH_TEXT})


def characters(value: Any) -> int:
    """Count the characters that a reader sees in cells or blocks: everything under a `text` key."""
    if isinstance(value, list):
        return sum(characters(entry) for entry in value)
    if isinstance(value, dict):
        own = len(value["text"]) if isinstance(value.get("text"), str) else 0
        return own + sum(characters(entry) for entry in value.values() if not isinstance(entry, str))
    return 0


def _fits(table: dict[str, Any], at: str) -> Iterator[Problem]:
    rows = table["rows"]
    for index, row in enumerate(rows):
        if len(row) != len(rows[0]):
            yield Problem(f"must have {len(rows[0])} columns as the first row", f"{at}/rows/{index}")
    most = TABLE_CHARACTERS[table["type"]]
    if characters(rows) > most:
        yield Problem(f"no more than {most} characters allowed in all cells", f"{at}/rows")


def _column_setting(value: Any, at: str) -> Iterator[Problem]:
    if value is not None:  # null leaves a column as it is
        yield from record({}, {"align": choice("left", "center", "right"), "is_wrapped": flag})(value, at)


def _header_fits(table: dict[str, Any], at: str) -> Iterator[Problem]:
    for index, cell in enumerate(table["rows"][0]):
        yield from by_type(_RAW)(cell, f"{at}/rows/0/{index}")
    if table.get("row_header_column_index", 0) >= len(table["rows"][0]):
        yield Problem("must be the index of a column", f"{at}/row_header_column_index")


TABLE: Rule = both(
    record(
        {"rows": many(many(_CELL, 20), 100)},
        {"block_id": ID, "column_settings": many(_column_setting, 20)},
    ),
    _fits,
)

DATA_TABLE: Rule = both(
    record(
        {"caption": text(3000), "rows": many(many(_CELL, 20), 201, least=2)},
        {"block_id": ID, "page_size": whole(1, 100), "row_header_column_index": whole(0, 19)},
    ),
    _fits,
    _header_fits,
)
