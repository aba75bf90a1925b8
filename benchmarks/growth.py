"""What more sessions cost: in time and in memory."""

from __future__ import annotations

import contextlib

from benchmarks.bots import ours
from benchmarks.measure import Contender, in_turns
from benchmarks.report import Line, Report, Table
from benchmarks.rivals import BareQueries
from benchmarks.slack import TimedSandbox
from benchmarks.stage import Scale, Stage

HOW = (
    "The same questions while the server fills up: 20 rows, or the statistics by user. “Server” is the list's "
    "two statements on a warm connection; “beyond” is the list less that."
)


def measure(stage: Stage, scale: Scale, report: Report) -> None:
    """Fill in the table and the target of one server; leaves as many sessions as it holds."""
    lines: list[Line] = []
    memory: dict[int, float] = {}
    bare = BareQueries(stage.database)
    with TimedSandbox() as slack, contextlib.closing(bare), contextlib.ExitStack() as stack:
        stage.crowd.grow_to(scale.sizes[0])
        bot = stack.enter_context(ours(slack, stage.database))
        for size in scale.sizes:
            held = stage.crowd.grow_to(size)
            found = in_turns(
                {
                    "list": Contender(lambda: slack.trip("/sessions").posted),
                    "server": Contender(bare.list),
                    "stats": Contender(lambda: slack.trip("/sessions stats").posted),
                },
                scale.size_rounds,
            )
            memory[held] = bot.memory
            numbers = {f"{name} p50 ms": samples.p50 for name, samples in found.items()}
            beyond = found["list"].p50 - found["server"].p50
            lines.append(Line(f"{held:,} sessions", {**numbers, "beyond ms": beyond, "bot MiB": bot.memory}))
    report.add(Table(f"Growth: {stage.name}", HOW, lines))
    small, large = lines[0], lines[-1]
    report.at_most(
        f"List of 20 out of {large.what} / out of {small.what}, beyond the server, on {stage.name}",
        large.numbers["beyond ms"] / small.numbers["beyond ms"],
        1.5,
        "x",
    )
    first, last = min(memory), max(memory)
    grown = (memory[last] - memory[first]) / max(1, last - first) * 1000
    report.at_most(f"The bot's memory for each 1,000 more sessions on {stage.name}", grown, 1.0, "MiB")
