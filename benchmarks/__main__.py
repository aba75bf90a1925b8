"""`python -m benchmarks`: measures the bot beside what else one could use, and writes BENCHMARKS.md."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import structlog

from benchmarks import acks, answers, closing, far, growth, neighbours, process, waits
from benchmarks.bots import make_login
from benchmarks.crowd import Crowd, allow_open_files
from benchmarks.machine import described
from benchmarks.report import Report, markdown, merged, targets_markdown
from benchmarks.stage import FULL, QUICK, Scale, Stage
from sandbox.databases.embedded import DatabaseUnavailable, EmbeddedServer
from sandbox.databases.mariadb import EmbeddedMariaDB
from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.support.running_bot import ROOT

Part = Callable[[Stage, Scale, Report], None]
PARTS: dict[str, Part] = {
    "answers": answers.measure,
    "acks": acks.measure,
    "closing": closing.measure,
    "waits": waits.measure,
    "neighbours": neighbours.measure,
    "far": far.measure,
    "process": process.measure,
    "growth": growth.measure,
}
ONCE = ("far", "process")  # say little of the database: measured on the first server alone
SERVERS: dict[str, type[EmbeddedServer]] = {"OceanBase": EmbeddedOceanBase, "MariaDB": EmbeddedMariaDB}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke test: few sessions, few rounds, under a minute")
    parser.add_argument("--part", action="append", choices=PARTS, help="only this part; may be repeated")
    parser.add_argument("--server", action="append", choices=SERVERS, help="only this server; may be repeated")
    parser.add_argument(
        "--output",
        type=Path,
        help="where to write (default: BENCHMARKS.md, with --quick nowhere); a part alone goes into the page there is",
    )
    chosen = parser.parse_args(arguments)
    some = bool(chosen.part or chosen.server)
    output = chosen.output or (None if chosen.quick or some else ROOT / "BENCHMARKS.md")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))  # the bot's parts in this process
    report = run(QUICK if chosen.quick else FULL, chosen.part or list(PARTS), chosen.server or list(SERVERS))
    print(targets_markdown(report.targets))
    if output is not None:
        page = output.read_text(encoding="utf-8") if some and output.exists() else ""
        now, load = datetime.now(UTC), os.getloadavg()[2]
        when = f"Measured apart from the rest of this page, on {now:%Y-%m-%d}, at a load average of {load:.0f}."
        output.write_text(merged(page, report, when) if page else whole(report), encoding="utf-8")
    return 0


def run(scale: Scale, parts: Sequence[str], servers: Sequence[str]) -> Report:
    """Measure those parts on those servers; each server is started once."""
    allow_open_files()
    report = Report()
    for name in servers:
        count = scale.oceanbase_sessions if name == "OceanBase" else scale.mariadb_sessions
        try:
            database = SERVERS[name]()
        except DatabaseUnavailable as problem:
            print(f"{name} is left out: {problem}", file=sys.stderr)
            continue
        with own_temporary_folder(), database:
            make_login(database)
            for part in parts:
                if part not in ONCE or name == servers[0]:
                    # Growing fills the server itself, and those who wait come to the others.
                    others = {"growth": scale.sizes[0], "waits": scale.waits_sessions - scale.waiters - waits.HEADS}
                    _run(part, name, database, others.get(part, count), scale, report)
    return report


def _run(part: str, name: str, database: EmbeddedServer, count: int, scale: Scale, report: Report) -> None:
    with Crowd(database) as crowd:
        held = crowd.grow_to(count)
        print(f"# {part} on {name}, {held:,} sessions", file=sys.stderr)
        started, before = time.perf_counter(), len(report.tables)
        PARTS[part](Stage(database, crowd, name), scale, report)
        print("\n".join(markdown(table) for table in report.tables[before:]))
        print(f"# {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)


@contextlib.contextmanager
def own_temporary_folder() -> Iterator[None]:
    """Let servers that start meanwhile keep their temporary tables by themselves.

    A MariaDB that starts deletes such files of any other that has the same folder.
    """
    before = os.environ.get("TMPDIR")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TMPDIR"] = folder
        try:
            yield
        finally:
            os.environ.pop("TMPDIR")
            if before is not None:
                os.environ["TMPDIR"] = before


def whole(report: Report) -> str:
    """The page that is kept."""
    return (
        "\n".join(
            [
                "# Benchmarks",
                "",
                "Ratios measured side by side in one run; `make bench` repeats all of it and writes this page,",
                "`make bench BENCH_ARGS=--quick` is a smoke test of less than a minute.",
                "",
                described(),
                targets_markdown(report.targets),
                *(markdown(table) for table in report.tables),
            ]
        ).rstrip()
        + "\n"
    )


if __name__ == "__main__":
    sys.exit(main())
