"""The benchmark runs and fills its tables; how fast anything is, no test says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks import far
from benchmarks.__main__ import run, whole
from benchmarks.report import Line, Report, Table, merged
from benchmarks.stage import QUICK
from tests.conftest import installed_mariadb

LINES = {
    "One command": 12,
    "Closing": 3,
    "Who is to blame": 8,
    "Beside data sources that hang": 2,
    "Slack at a distance": 6,
    "Growth": 2,
}


def test_the_short_benchmark_fills_every_row_of_its_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    installed_mariadb()
    monkeypatch.setattr(far, "DISTANCES", (0, 80))  # those that a target speaks of
    scale = replace(QUICK, rounds=2, own_rounds=3, closes=1, size_rounds=2, mariadb_sessions=60, sizes=(40, 60))
    scale = replace(scale, hung_sources=1, hung_commands=3)
    report = run(scale, ["answers", "closing", "waits", "far", "neighbours", "growth"], ["MariaDB"])
    assert {table.title.partition(":")[0]: len(table.lines) for table in report.tables} == LINES
    for table in report.tables:
        for line in table.lines:
            assert line.numbers or "install" in line.note, f"{table.title}, {line.what}: neither numbers nor why"
            for column, number in line.numbers.items():
                # A difference of two medians of two rounds may be anything on a busy machine.
                anything = column in ("beyond ms", "answered before", "MiB more", "connections")
                assert number > 0 or anything, f"{table.title}, {line.what}, {column}: {number}"
    page = whole(report)
    assert all(f"| {target.what} |" in page for target in report.targets)
    assert all(f"| {line.what} |" in page for table in report.tables for line in table.lines)


def test_a_part_that_is_measured_anew_takes_the_place_of_what_the_page_has_of_it_and_of_nothing_else() -> None:
    before, after = Report(), Report()
    for report, number in ((before, 1.0), (after, 2.0)):
        report.add(Table("Waits: prod", "In turns.", [Line("locks", {"p50 ms": number})]))
        report.at_most("locks / bare", number, 1.5, "x")
    before.add(Table("Growth", "By size.", [Line("100 sessions", {"p50 ms": 7.0})]))
    before.at_most("ready", 1.0, 2.0, "s")
    page = merged(whole(before), after, "Measured on Monday.")
    assert page.count("## Waits: prod") == page.count("## Growth") == 1
    assert "In turns. Measured on Monday.\n\n|  | p50 ms |\n| --- | ---: |\n| locks | 2.00 |\n\n## Growth" in page
    assert "| locks / bare | ≤ 1.50 x | 2.00 x | **missed** |\n| ready | ≤ 2.00 s | 1.00 s | met |" in page
    assert page.endswith("| 100 sessions | 7.00 |\n")
