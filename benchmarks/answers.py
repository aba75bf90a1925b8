"""One /sessions, from Slack's payload to the whole answer, beside what else one can type."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

from benchmarks.bots import minimal, ours
from benchmarks.measure import Contender, Samples, in_turns
from benchmarks.own import own_share
from benchmarks.report import Line, Report, Table
from benchmarks.rivals import BareQueries, Program, mariadb_client, mycli, pt_kill
from benchmarks.slack import TimedSandbox, Trip
from benchmarks.stage import Scale, Stage
from bot.sessions.model import DEFAULT_LIMIT

OURS = "`/sessions`, payload out → answer shown"
ARRIVED = "the same, → answer has reached Slack"
BARE = "(a) its two statements, warm PyMySQL connection"
PAGE = "the statement of the 20 rows alone"
MARIADB = "(b) `mariadb -e`, new process, same 20 rows"
MARIADB_BOTH = "the same, with the totals that the answer shows"
MYCLI = "(c) `mycli --execute`, new process, same 20 rows"
PT_KILL = "(d) `pt-kill --print`, new process, to its first line"
MINIMAL = "(e) minimal Bolt bot, SHOW FULL PROCESSLIST"
OWN = "our own ms: payload → answer sent, less the database's"
OWN_CPU = "the same in CPU time, which a busy machine does not stretch"
AFRESH = "the same, with statements not shown before"
SELDOM = 8  # programs that take a second take part in one round of so many

HOW = (
    "p50 and p99 in turns (ours, a rival, ours, the next …); “ours / it” divides the medians: below 1 the bot is "
    "faster. The bot is the unchanged process over Socket Mode; the sandbox checks each answer as strictly as Slack, "
    "which is part of “shown” and not of “has reached Slack”. (e) posts one message that Slack cuts at 40,000 "
    "characters. (d) prints until its first KILL line, since it goes on for ever."
)


def measure(stage: Stage, scale: Scale, report: Report) -> None:
    """Fill in the table of one server."""
    database = stage.database
    bare = BareQueries(database)
    with contextlib.ExitStack() as stack:
        stack.callback(bare.close)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        slack, other = stack.enter_context(TimedSandbox()), stack.enter_context(TimedSandbox())
        stack.enter_context(ours(slack, database))
        stack.enter_context(minimal(other, database))
        own = stack.enter_context(own_share(database))
        arrivals: list[float] = []

        def trip() -> float:
            answer = slack.trip("/sessions")
            _whole(answer, min(DEFAULT_LIMIT, len(stage.crowd)))
            arrivals.append(answer.arrived)
            return answer.posted

        programs = {
            MARIADB: mariadb_client(database, bare.as_text(bare.page)),
            MARIADB_BOTH: mariadb_client(database, f"{bare.as_text(bare.totals)};{bare.as_text(bare.page)}"),
            MYCLI: mycli(database, bare.as_text(bare.page), folder),
            PT_KILL: pt_kill(database),
        }
        contenders = {
            OURS: Contender(trip),
            BARE: Contender(bare.list),
            PAGE: Contender(bare.page_alone),
            MINIMAL: Contender(lambda: other.trip("/sessions").posted),
            **{name: Contender(one.run, SELDOM) for name, one in programs.items() if not one.missing},
        }
        found = in_turns(contenders, scale.rounds)
        found[ARRIVED] = Samples(arrivals[1:])
        found |= in_turns({OWN: Contender(own.ask)}, scale.own_rounds)
        found[OWN_CPU] = Samples(own.cpu[1:])
        found |= in_turns({AFRESH: Contender(own.ask_afresh)}, scale.own_rounds)
    report.add(Table(f"One command: {stage.label}", HOW, _lines(found, programs)))
    _targets(found, stage, report)


def _whole(answer: Trip, rows: int) -> None:
    """Count the rows of the answer: what was fast must also be complete."""
    tables = [block for block in answer.body["blocks"] if block["type"] == "table"]
    if not tables or len(tables[0]["rows"]) != rows + 1:
        raise RuntimeError(f"not the whole answer: {answer.body}")


def _lines(found: dict[str, Samples], programs: dict[str, Program]) -> list[Line]:
    order = [OURS, ARRIVED, BARE, PAGE, MARIADB, MARIADB_BOTH, MYCLI, PT_KILL, MINIMAL, OWN, OWN_CPU, AFRESH]
    ours_p50 = found[OURS].p50
    lines = []
    for name in order:
        if name not in found:
            lines.append(Line(name, note=programs[name].missing))
        elif name in (OURS, OWN, OWN_CPU, AFRESH):
            part = {"it / (a)": ours_p50 / found[BARE].p50} if name == OURS else {}
            lines.append(Line(name, {**found[name].columns(), **part}))
        elif name == ARRIVED:
            lines.append(Line(name, {**found[name].columns(), "it / (a)": found[name].p50 / found[BARE].p50}))
        else:
            lines.append(Line(name, {**found[name].columns(), "ours / it": ours_p50 / found[name].p50}))
    return lines


def _targets(found: dict[str, Samples], stage: Stage, report: Report) -> None:
    where = f"on {stage.label}"
    report.at_most(
        f"(a) answer has reached Slack / bare statements {where}", found[ARRIVED].p50 / found[BARE].p50, 1.5, "x"
    )
    report.at_most(
        f"(a) answer checked and shown / bare statements {where}", found[OURS].p50 / found[BARE].p50, 1.5, "x"
    )
    report.at_most(f"Our own share, p50, {where}", found[OWN].p50, 3.0, "ms")
    report.at_most(f"Our own share in CPU time, p50, {where}", found[OWN_CPU].p50, 3.0, "ms")
    for name in (MARIADB, MYCLI, PT_KILL, MINIMAL):
        if name in found:
            report.at_most(f"Faster than {name.split(',')[0]} {where}", found[OURS].p50 / found[name].p50, 1.0, "x")
