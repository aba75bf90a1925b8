"""A machine that has nothing but Python and make: nothing fails there, and one line says what was left out."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import USING_CHROMIUM, USING_MARIADB, file_of
from tests.support import left_out
from tests.support.bare import path_without
from tests.support.pressure import waited
from tests.support.running_bot import ROOT

MARIADB = left_out.because("there is no MariaDB", "mariadb-server")
CHROMIUM = left_out.because("there is no browser", "chromium")


@pytest.mark.parametrize(
    ("reasons", "told"),
    [
        ([], ""),
        ([CHROMIUM], "1 test was left out: install chromium (1) for them."),
        (
            [CHROMIUM] * 26 + [MARIADB] * 187,
            "213 tests were left out: install mariadb-server (187) and chromium (26) for them.",
        ),
        (["no IPv6"] * 2, "2 tests were left out: no IPv6 (2)."),
        (
            [MARIADB, MARIADB, CHROMIUM, left_out.because("no TLS", "g++-12"), "no IPv6"],
            "5 tests were left out: install mariadb-server (2), chromium (1) and g++-12 (1) for them; no IPv6 (1).",
        ),
    ],
)
def test_one_line_says_how_many_tests_were_left_out_and_what_to_install_for_them(reasons: list[str], told: str) -> None:
    assert left_out.line(reasons) == told


def run(folder: Path, *files: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run tests as on a machine without a MariaDB and a browser."""
    ours = ("PYTEST", "REQUIRE_ALL")
    there = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-n0", "-p", "no:cacheprovider", *files],
        cwd=ROOT,
        env={**there, "PATH": path_without(folder), **more},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


NEED_MORE = (
    "tests/sandbox/databases/test_mariadb.py",
    "tests/test_benchmarks.py",
    "tests/sandbox/slack/page/test_controls.py",
)
LINE = r"(\d+) tests were left out: install chromium \((\d+)\) and mariadb-server \((\d+)\) for them\."


def test_without_a_mariadb_and_a_browser_no_test_fails_and_one_line_says_what_to_install(tmp_path: Path) -> None:
    done = run(tmp_path, *NEED_MORE)
    assert done.returncode == 0, done.stdout
    said, last = done.stdout.splitlines()[-2:]
    told = re.fullmatch(LINE, said)
    assert told, done.stdout
    assert int(told[1]) == int(told[2]) + int(told[3])
    assert re.search(rf" [1-9]\d* passed, {told[1]} skipped in ", last)
    assert "SKIPPED" not in done.stdout, "nothing else is said of it"


def test_where_all_are_required_none_of_them_is_left_out(tmp_path: Path) -> None:
    done = run(tmp_path, *NEED_MORE[:2], REQUIRE_ALL="1")
    assert done.returncode == 1
    assert "REQUIRE_ALL=1, but there is no MariaDB on this machine" in done.stdout
    if waited() is not None:
        assert re.search(
            r"This machine.*\nIn \d+\.\d of the \d+\.\d s of this test something waited for a CPU", done.stdout
        )
    assert re.search(r" [1-9]\d* failed, ", done.stdout.splitlines()[-1])
    assert "skipped" not in done.stdout.splitlines()[-1]


def test_what_uses_a_mariadb_or_a_browser_is_in_its_group(request: pytest.FixtureRequest) -> None:
    groups = {"mariadb": USING_MARIADB, "page_browser": USING_CHROMIUM}
    for item in request.session.items:
        used = groups.keys() & set(getattr(item, "fixturenames", ()))
        assert all(file_of(item).startswith(groups[name]) for name in used), f"{item.nodeid} is in no group for {used}"
