"""What Slack refuses in charts."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.slack.refusals import Refused
from sandbox.slack.rules import block_problems, check_message


def chart(*labels: str, title: str = "Sessions by user", kind: str = "bar") -> Any:
    points = [{"label": label, "value": number} for number, label in enumerate(labels)]
    if kind == "pie":
        return {"type": "data_visualization", "title": title, "chart": {"type": "pie", "segments": points}}
    series = [{"name": "Active", "data": points}]
    axes = {"type": kind, "series": series, "axis_config": {"categories": list(labels)}}
    return {"type": "data_visualization", "title": title, "chart": axes}


@pytest.mark.parametrize("kind", ["bar", "line", "area", "pie"])
def test_a_chart_of_each_kind_is_taken_twice_but_not_three_times_in_a_message(kind: str) -> None:
    one = chart("app", "report", kind=kind)
    check_message({"text": "two", "blocks": [one, one]})
    with pytest.raises(Refused, match="invalid_blocks"):
        check_message({"text": "three", "blocks": [one, one, one]})


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (chart("app", title="x" * 51), "must be less than 51 characters [json-pointer:/blocks/0/title]"),
        (chart("x" * 21), "must be less than 21 characters"),
        (chart(*map(str, range(21))), "no more than 20 items allowed"),
        (chart(*map(str, range(13)), kind="pie"), "no more than 12 items allowed"),
        (chart("app", "app"), "must contain unique labels"),
        (chart("app", kind="radar"), "unsupported type: radar"),
        (chart(""), "must be more than 0 characters"),
        ({"type": "data_visualization", "title": "none"}, "missing required field: chart"),
    ],
)
def test_a_chart_that_breaks_a_limit_is_refused(wrong: Any, problem: str) -> None:
    assert any(problem in str(found) for found in block_problems([wrong]))


def test_a_series_must_have_a_point_for_each_category() -> None:
    wrong = chart("app", "report")
    wrong["chart"]["series"][0]["data"].pop()
    assert [str(found) for found in block_problems([wrong])] == [
        "must have one point for each category [json-pointer:/blocks/0/chart/series/0/data]"
    ]
