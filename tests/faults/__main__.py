"""Play every fault many times and print one table: python -m tests.faults [--short] [WORDS OF A ROW]."""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from tabulate import tabulate

from sandbox.databases.embedded import DatabaseUnavailable
from sandbox.databases.mariadb import EmbeddedMariaDB
from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.conftest import SEEKDB_14
from tests.faults.arena import Row
from tests.faults.table import SCENARIOS, Servers

_COLUMNS = (
    "scenario",
    "tries",
    "not reached",
    "closes attempted",
    "closes done",
    "wrong closes",
    "double closes",
    "lost records",
    "slowest ack (ms)",
    "seconds",
)


def main() -> int:
    """Run what was asked for; 1 when anything happened that must never happen, or too little to say so."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--short", action="store_true", help="a few tries of each row, as the tests do")
    parser.add_argument("words", nargs="*", help="only rows whose names hold one of these")
    asked = parser.parse_args()
    chosen = [
        one
        for one in SCENARIOS
        if (not asked.words or any(word in one.name for word in asked.words)) and (one.short or not asked.short)
    ]
    rows = []
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as running:
        kernel = running.enter_context(EmbeddedOceanBase())
        restartable = running.enter_context(EmbeddedOceanBase(server=SEEKDB_14))
        servers = Servers(kernel, restartable, cache(lambda: running.enter_context(EmbeddedMariaDB())))
        for number, scenario in enumerate(chosen):
            row = Row(scenario.name)
            began = time.monotonic()
            sys.stderr.write(f"{scenario.name} …\n")
            tries = scenario.short if asked.short else scenario.whole
            try:
                scenario.play(row, tries, servers, Path(folder) / str(number))
            except (AssertionError, TimeoutError, subprocess.TimeoutExpired) as broken:
                row.failures.append(f"was broken off: {broken}")
            except DatabaseUnavailable as missing:
                row.wanted = row.unreached = tries
                sys.stderr.write(f"{missing}\n")
            rows.append((row, time.monotonic() - began))
    sys.stdout.write(report(rows))
    return 0 if all(row.clean and row.complete for row, _ in rows) else 1


def report(rows: Sequence[tuple[Row, float]]) -> str:
    """Put the rows, with the seconds that each took, into a table, and say below it what is not as it must be."""
    table = tabulate([_cells(row, seconds) for row, seconds in rows], headers=_COLUMNS, disable_numparse=True)
    failures = [f"{row.scenario}: {failure}" for row, _ in rows for failure in row.failures]
    incomplete = [
        f"{row.scenario}: incomplete, the fault came about in {row.tries:,} of {row.wanted:,} tries. Run it again."
        for row, _ in rows
        if not row.complete
    ]
    return "\n".join([table, *failures, *incomplete, ""])


def _cells(row: Row, seconds: float) -> list[str]:
    ack = "-" if row.slowest_ack is None else f"{row.slowest_ack * 1000:.0f}"
    counts = (row.tries, row.unreached, row.attempted, row.done, row.wrong, row.double, row.lost)
    return [row.scenario, *(f"{count:,}" for count in counts), ack, f"{seconds:.0f}"]


if __name__ == "__main__":
    sys.exit(main())
