"""What the builders of Block Kit refuse before Slack does, and what they write."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bot.slack.views import blocks as kit
from sandbox.slack.rules import check_home, check_message, check_view

BUTTON = kit.button("Close Session", "close")
FIELD = kit.text_input("reason", max_length=100)


def chart(title: str = "Sessions", label: str = "app", series: int = 1, points: int = 1) -> kit.Block:
    labels = [f"{label}{number}" for number in range(points)]
    return kit.bar_chart(title, labels, {f"s{number}": [1] * points for number in range(series)}, "Sessions", "chart")


TOO_MUCH: list[Callable[[], object]] = [
    lambda: kit.plain_text(""),
    lambda: kit.plain_text("x" * 3_001),
    lambda: kit.mrkdwn("x" * 3_001),
    lambda: kit.header("x" * 151),
    lambda: kit.preformatted("x" * 3_001),
    lambda: kit.context([]),
    lambda: kit.context([kit.mrkdwn("x")] * 11),
    lambda: kit.actions([]),
    lambda: kit.actions([BUTTON] * 26),
    lambda: kit.actions([BUTTON], "x" * 256),
    lambda: kit.button("x" * 76, "id"),
    lambda: kit.button("x", "x" * 256),
    lambda: kit.button("x", "id", ""),
    lambda: kit.button("x", "id", "x" * 2_001),
    lambda: kit.button("x", "id", accessibility_label="x" * 76),
    lambda: kit.confirm("x" * 101, "x", confirm="x", deny="x"),
    lambda: kit.confirm("x", "x" * 301, confirm="x", deny="x"),
    lambda: kit.confirm("x", "x", confirm="x" * 31, deny="x"),
    lambda: kit.confirm("x", "x", confirm="x", deny="x" * 31),
    lambda: kit.option("x" * 76, "x"),
    lambda: kit.option("x", "x" * 151),
    lambda: kit.static_select("id", [], "Pick"),
    lambda: kit.multi_static_select("id", [kit.option("x", "x")] * 101, "Pick"),
    lambda: kit.static_select("id", [kit.option("x", "x")], "x" * 151),
    lambda: kit.text_input("id", max_length=3_001),
    lambda: kit.text_input("id", max_length=3, initial_value="four"),
    lambda: kit.input_block("x" * 2_001, FIELD, "block"),
    lambda: kit.input_block("x", FIELD, "block", hint="x" * 2_001),
    lambda: kit.table([["x"]] * 101, "table"),
    lambda: kit.table([["x"] * 21], "table"),
    lambda: kit.table([["x", "x"], ["x"]], "table"),
    lambda: kit.table([["x"], [""]], "table"),
    lambda: kit.table([["x" * 10_001]], "table"),
    lambda: chart(title="x" * 51),
    lambda: chart(label="x" * 21),
    lambda: chart(series=13),
    lambda: chart(points=21),
    lambda: kit.message([kit.divider()] * 51),
    lambda: kit.message([kit.table([["x"]], "one"), kit.table([["x"]], "two")]),
    lambda: kit.modal("x" * 25, [kit.divider()]),
    lambda: kit.modal("x", [kit.divider()] * 101),
    lambda: kit.modal("x", [kit.table([["x"]], "table")]),
    lambda: kit.modal("x", [chart()]),
    lambda: kit.modal("x", [kit.divider()], private_metadata="x" * 3_001),
    lambda: kit.home([kit.divider()] * 101),
    lambda: kit.home([chart()]),
]


@pytest.mark.parametrize("build", TOO_MUCH)
def test_what_slack_would_refuse_is_refused_where_it_is_built(build: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"Slack (takes|wants)"):
        build()


def test_slack_takes_what_the_builders_write_at_its_limits() -> None:
    asked = kit.confirm("x" * 100, "x" * 300, confirm="x" * 30, deny="x" * 30)
    button = kit.button("x" * 75, "x" * 255, "x" * 2_000, style="danger", confirm=asked, accessibility_label="x" * 75)
    options = [kit.option("x" * 75, f"{number:0150}") for number in range(100)]
    menus = [kit.static_select("one", options, "x" * 150), kit.multi_static_select("many", options, "Pick")]
    small = [
        kit.header("x" * 150),
        kit.context([kit.mrkdwn("x" * 3_000)]),
        kit.divider(),
        kit.context([kit.mrkdwn("x"), kit.plain_text("x")] * 5),
        kit.rich_text(
            [
                kit.text("x", bold=True, strike=True, code=True),
                kit.user("U1"),
                kit.channel("C1"),
                kit.text(" "),
                kit.date(1, "{time}", "x"),
            ],
            "rich",
        ),
        kit.preformatted("SELECT 1", sql=True, block_id="sql"),
        kit.actions([button], "x" * 255),
    ]
    table = kit.table([["x"] * 20, *[[kit.rich_text([kit.user("U1")])] * 20] * 99], "table", [kit.LEFT, kit.RIGHT])
    check_message({"text": "x", "blocks": kit.message([*small, table, chart(series=12, points=20)])})
    check_home(kit.home([*small, table]))
    # What is chosen from takes more than a message holds.
    field = kit.text_input("reason", max_length=100, min_length=1, multiline=True, initial_value="x" * 100)
    typed = kit.input_block("x" * 2_000, field, "block", hint="x" * 2_000)
    more = {"submit": "x" * 24, "callback_id": "x" * 255, "private_metadata": "x" * 3_000}
    check_view(kit.modal("x" * 24, [*small, kit.actions(menus), typed], **more))
