"""A short run of every row that `make faults` plays: nothing happens that must never happen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.demo.database import EmbeddedOceanBase
from bot.demo.mariadb import EmbeddedMariaDB
from tests.conftest import SEEKDB_14, leave_out
from tests.faults.arena import Row
from tests.faults.table import SCENARIOS, Scenario, Servers


@pytest.fixture(scope="module")
def servers(oceanbase: EmbeddedOceanBase, mariadb: EmbeddedMariaDB) -> Iterator[Servers]:
    """Give the servers; the one that is restarted counts its session ids anew."""
    if not SEEKDB_14.is_file():
        leave_out("seekdb 1.4 is not installed in .venv/seekdb-1.4 (make test does that)")
    with EmbeddedOceanBase(server=SEEKDB_14) as restartable:
        yield Servers(oceanbase, restartable, mariadb)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[one.name.replace(" ", "-") for one in SCENARIOS])
def test_a_fault_closes_nothing_wrong_nothing_twice_and_loses_no_record(
    scenario: Scenario, servers: Servers, tmp_path: Path
) -> None:
    row = Row(scenario.name)
    scenario.play(row, scenario.short, servers, tmp_path)
    assert (row.wrong, row.double, row.lost, row.failures) == (0, 0, 0, [])
    assert row.complete, f"the fault came about in {row.tries} of {row.wanted} tries"
