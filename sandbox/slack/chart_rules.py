"""What Slack demands of data_visualization blocks (docs.slack.dev, reference/block-kit/blocks)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sandbox.slack.element_rules import ID
from sandbox.slack.schema import Problem, Rule, both, by_type, many, number, record, text

CHARTS_PER_MESSAGE = 2

_LABEL = text(20)
_POINT = record({"label": _LABEL, "value": number})
_AXIS = record({"categories": many(_LABEL, 20)}, {"x_label": text(50), "y_label": text(50)})


def _points_match(chart: dict[str, Any], at: str) -> Iterator[Problem]:
    categories = chart["axis_config"]["categories"]
    if len(set(categories)) != len(categories):
        yield Problem("must contain unique labels", f"{at}/axis_config/categories")
    names = [series["name"] for series in chart["series"]]
    if len(set(names)) != len(names):
        yield Problem("must have unique names", f"{at}/series")
    for index, series in enumerate(chart["series"]):
        if sorted(point["label"] for point in series["data"]) != sorted(categories):
            yield Problem("must have one point for each category", f"{at}/series/{index}/data")


_WITH_AXES = both(
    record({"series": many(record({"name": _LABEL, "data": many(_POINT, 20)}), 12), "axis_config": _AXIS}),
    _points_match,
)
_PIE = record({"segments": many(_POINT, 12)})

CHART: Rule = record(
    {"title": text(50), "chart": by_type({"pie": _PIE, "bar": _WITH_AXES, "area": _WITH_AXES, "line": _WITH_AXES})},
    {"block_id": ID},
)
