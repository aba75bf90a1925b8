"""The bot as a process: how fast it starts, how much it answers, what it keeps in memory; alone and as two."""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path
from statistics import median

from benchmarks.bots import MeasuredBot, bot_in, seconds_to_ready
from benchmarks.report import Line, Report, Table
from benchmarks.slack import TimedSandbox, Typist
from benchmarks.stage import Scale, Stage

HOW = (
    "Sixteen people each type /sessions and the next as soon as it is answered. Two replicas share one store and one "
    "Slack app, which hands each payload to one of them. Bots, sandbox, people and database share this machine's "
    "cores. Ready is when Slack has the connection."
)
PEOPLE = 16
MEMORY_LIMIT, FLAT = 90.0, 1.1
LOOKS = 10  # at the memory, evenly over all commands


def measure(stage: Stage, scale: Scale, report: Report) -> None:
    """Fill in the tables and targets of one server."""
    with TimedSandbox() as slack:
        starts = [seconds_to_ready(slack, stage.database) for _ in range(scale.starts)]
        with tempfile.TemporaryDirectory() as folder, bot_in(Path(folder), slack, stage.database) as first:
            slack.trip("/sessions")
            at_start = first.memory
            memory, rate = _work(slack, first, scale.commands)
            with bot_in(Path(folder), slack, stage.database):
                slack.wait_for(lambda: slack.connections == 2, 10, "both replicas")
                _, rate_of_two = _work(slack, first, max(PEOPLE, scale.commands // 5))
    settled = memory[max(1, LOOKS // 5)]
    lines = [
        Line("start → ready", {"s": median(starts)}),
        Line("one process", {"commands/s": rate}),
        Line("two replicas on one store", {"commands/s": rate_of_two}),
        Line("memory after the first command", {"MiB": at_start}),
        Line(f"memory after {scale.commands // 5:,} commands", {"MiB": settled}),
        Line(f"memory after {scale.commands:,} commands", {"MiB": memory[-1]}),
    ]
    report.add(Table(f"The process: {stage.label}", HOW, lines))
    report.at_most("Start → ready", median(starts), 2.0, "s")
    report.at_most("Resident memory, the most seen", max(memory), MEMORY_LIMIT, "MiB")
    report.at_most(
        f"Memory flat: after {scale.commands:,} commands / after {scale.commands // 5:,}",
        memory[-1] / settled,
        FLAT,
        "x",
    )


def _work(slack: TimedSandbox, bot: MeasuredBot, commands: int) -> tuple[list[float], float]:
    """Have so many commands answered; returns the memory on the way and the commands in each second."""
    memory = [bot.memory]
    each = max(1, commands // LOOKS // PEOPLE)
    seconds = 0.0
    for _ in range(LOOKS):
        slack.forget()
        people = [threading.Thread(target=_types, args=(slack, each)) for _ in range(PEOPLE)]
        started = time.perf_counter()
        for person in people:
            person.start()
        for person in people:
            person.join()
        slack.answered(each * PEOPLE)
        seconds += time.perf_counter() - started
        memory.append(bot.memory)
        refused = [call for call in slack.calls if call.answer != "ok"]
        if refused:
            raise RuntimeError(f"{len(refused)} answers refused, the first: {refused[0]}")
    return memory, each * PEOPLE * LOOKS / seconds


def _types(slack: TimedSandbox, count: int) -> None:
    with Typist(slack.port) as typist:
        for _ in range(count):
            before = len(slack.calls)
            typist.types("/sessions")
            # Any answer will do: there are as many people as commands under way.
            slack.answered(before + 1)
