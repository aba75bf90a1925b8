"""Acknowledgements of many commands in one moment, with a database that answers and with one that hangs."""

from __future__ import annotations

from benchmarks.bots import ours
from benchmarks.measure import Samples
from benchmarks.report import Line, Report, Table
from benchmarks.slack import TimedSandbox
from benchmarks.stage import Scale, Stage

HOW = (
    "All payloads leave Slack in one moment; measured in the sandbox from the sending of each to its "
    "acknowledgement. “Hung” is a database whose process is stopped. The sandbox is one Python thread: what it "
    "takes to send 300 payloads and to check the answers that come meanwhile is part of these numbers. Slack gives "
    "up after 3,000 ms."
)


def measure(stage: Stage, scale: Scale, report: Report) -> None:
    """Fill in the table and the target of one server."""
    lines: list[Line] = []
    with TimedSandbox() as slack, ours(slack, stage.database):
        for count in scale.bursts:
            healthy = [_burst(slack, count) for _ in range(scale.burst_rounds)]
            lines.append(_line(f"{count} at once, healthy", healthy))
        lines += [_line(f"{count} at once, hung", [_hung(stage, slack, count)]) for count in scale.hung_bursts]
    report.add(Table(f"Acknowledgements: {stage.label}", HOW, lines))
    most = f"{scale.bursts[-1]} commands at once"
    for line in lines:
        if line.what.startswith(f"{scale.bursts[-1]} "):
            hung = line.what.rpartition(" ")[2]
            report.at_most(f"Slowest ack of {most}, {hung} database", line.numbers["slowest ms"], 300, "ms")


def _burst(slack: TimedSandbox, count: int) -> list[float]:
    acks = slack.burst("/sessions", count)
    slack.answered(count)
    return acks


def _hung(stage: Stage, slack: TimedSandbox, count: int) -> list[float]:
    stage.database.suspend()
    try:
        acks = slack.burst("/sessions", count)
        slack.answered(count)  # everybody hears of it, all that wait within the time-out
    finally:
        stage.database.resume()
    slack.trip("/sessions active-only")  # it answers again
    return acks


def _line(what: str, bursts: list[list[float]]) -> Line:
    samples = Samples([ack for burst in bursts for ack in burst])
    return Line(what, {**samples.columns(), "slowest ms": samples.slowest})
