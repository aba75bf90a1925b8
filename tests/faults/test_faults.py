"""A short run of every row that `make faults` plays: nothing happens that must never happen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest

from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.conftest import SEEKDB_14, leave_out
from tests.faults.__main__ import report
from tests.faults.arena import Row
from tests.faults.table import SCENARIOS, Scenario, Servers
from tests.faults.targets import reused_ids
from tests.support.stage import session_id


@pytest.fixture(scope="module")
def servers(oceanbase: EmbeddedOceanBase, request: pytest.FixtureRequest) -> Iterator[Servers]:
    """Give the servers; the one that is restarted counts its session ids anew."""
    if not SEEKDB_14.is_file():
        leave_out("seekdb 1.4 is not installed in .venv/seekdb-1.4 (make test does that)")
    with EmbeddedOceanBase(server=SEEKDB_14) as restartable:
        yield Servers(oceanbase, restartable, lambda: request.getfixturevalue("mariadb"))


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(one, id=one.name.replace(" ", "-"), marks=[pytest.mark.more] if one.on_mariadb else [])
        for one in SCENARIOS
        if one.short
    ],
)
def test_a_fault_closes_nothing_wrong_nothing_twice_and_loses_no_record(
    scenario: Scenario, servers: Servers, tmp_path: Path
) -> None:
    row = Row(scenario.name)
    scenario.play(row, scenario.short, servers, tmp_path)
    assert (row.wrong, row.double, row.lost, row.failures) == (0, 0, 0, [])
    assert row.complete, f"the fault came about in {row.tries} of {row.wanted} tries"


def test_an_id_that_somebody_else_took_is_not_reached_and_made_up_for_and_nothing_is_counted_as_wrong(
    servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = servers.restartable
    restart = database.restart
    others: list[pymysql.Connection[Any]] = []

    def beaten_to_it() -> None:
        """Restart, and let somebody else have the ids of all sessions of before until anybody comes."""
        first.undo()
        with database.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT MAX(ID) FROM oceanbase.V$OB_PROCESSLIST WHERE USER = 'teller'")
            ((newest,),) = cursor.fetchall()
        restart()
        while not others or session_id(others[-1]) < newest:
            others.append(database.connect())

    with monkeypatch.context() as first:
        first.setattr(database, "restart", beaten_to_it)
        row = Row("the id belongs to somebody else by now")
        reused_ids(row, 2, database, tmp_path)
    assert row.unreached >= 2
    assert (row.tries, row.wrong, row.failures) == (2, 0, [])
    assert row.complete
    assert row.clean
    for other in others:
        other.close()


def test_a_row_whose_fault_did_not_come_about_often_enough_is_incomplete_and_not_wrong() -> None:
    row = Row("ids", wanted=100, tries=75, unreached=25)
    assert row.clean
    assert not row.complete
    told = report([(row, 3.0)])
    assert "not reached" in told.splitlines()[0]
    assert told.splitlines()[2].split()[:3] == ["ids", "75", "25"]
    assert told.endswith("ids: incomplete, the fault came about in 75 of 100 tries. Run it again.\n")
    assert not Row("nothing was tried").complete
