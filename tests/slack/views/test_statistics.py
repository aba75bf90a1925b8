"""The view of statistics keeps Slack's limits whatever the names are, and has a chart."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from bot.access import Person
from bot.sessions.statement import Disclosure, Statement
from bot.sessions.statistics import ROWS, Group, Grouping, Statistics
from bot.slack.arguments.session_query import parse
from bot.slack.session_reference import Asker
from bot.slack.views.statistics import statistics
from sandbox.slack.rules import check_message
from tests.support.slack_text import text_of


def found(by: Grouping, *names: str, typed: str = "") -> Statistics:
    groups = tuple(
        Group(name, 3, 1_000_000, 0.1, 75.4, 86_400.0, Statement.of("SELECT '<!channel>' " * 50)) for name in names
    )
    return Statistics("prod", parse(typed).query, by, 9, 3, 75.4, groups, 99, datetime.now(UTC), ("x" * 900,) * 9)


@pytest.mark.parametrize("by", Grouping)
@pytest.mark.parametrize("disclosure", Disclosure)
def test_the_longest_names_fit_into_one_message_with_and_without_blocks_for_tables(
    by: Grouping, disclosure: Disclosure
) -> None:
    names = [f"<!channel>`{'W' * 300}{number}" for number in range(ROWS)]
    asker = Asker(Person("U" + "W" * 20, "T" + "W" * 20), "0123456789ab")
    message = statistics(
        found(by, *names, typed="user=" + "a," * 300 + "b"), ["n" * 100], disclosure=disclosure, asker=asker
    )
    check_message({"text": message.text, "blocks": message.fallback_payload()})
    blocks = message.payload()
    check_message({"text": message.text, "blocks": [one for one in blocks if one["type"] != "data_visualization"]})


def test_the_chart_shows_active_and_other_sessions_under_labels_that_are_told_apart() -> None:
    names = ["a user with a name of forty characters 1", "a user with a name of forty characters 2", ""]
    blocks = statistics(found(Grouping.USER, *names), (), disclosure=Disclosure.DIGEST).payload()
    [chart] = [block for block in blocks if block["type"] == "data_visualization"]
    labels = chart["chart"]["axis_config"]["categories"]
    assert len(set(labels)) == 3
    assert all(len(label) <= 20 for label in labels)
    assert labels[2] == "-"
    assert [series["name"] for series in chart["chart"]["series"]] == ["Active", "Other"]
    assert [point["value"] for point in chart["chart"]["series"][1]["data"]] == [999_997] * 3


def test_that_the_times_of_a_statement_in_a_routine_are_the_calls_is_said_where_there_is_one() -> None:
    plain = found(Grouping.SQL_ID, "A1", "B2")
    called = replace(plain, groups=(plain.groups[0], replace(plain.groups[1], in_routines=1)))
    for one, said in ((plain, False), (called, True)):
        text = text_of({"blocks": statistics(one, (), disclosure=Disclosure.DIGEST).payload()})
        assert ("for a statement in a routine the times are the whole call's" in text) is said


def test_without_a_group_there_is_neither_table_nor_chart() -> None:
    message = statistics(found(Grouping.SQL_ID), (), disclosure=Disclosure.DIGEST)
    assert {block["type"] for block in message.payload()} == {"header", "rich_text", "context", "actions"}
