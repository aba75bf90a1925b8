"""Commands on a data source that is well while others hang and many wait for those."""

from __future__ import annotations

import contextlib
import threading
import time

from benchmarks.bots import LOGIN_PASSWORD, MeasuredBot, ours
from benchmarks.measure import Samples
from benchmarks.report import Line, Report, Table
from benchmarks.slack import ANSWERED_WITHIN, TimedSandbox, Typist
from benchmarks.stage import Scale, Stage
from sandbox.slack.calls import Call
from tests.support.hanging import HangingRelay

HOW = (
    "All commands for the data sources that hang (a relay that takes connections and says nothing) are typed at once; "
    "then one after the other on the one that is well, until the last of the others is answered. “Answered before” "
    "counts answers for a data source that hangs that came before the first one for the one that is well. The sandbox, "
    "the database and the bot share this machine: what it takes to check the answers of all who wait is part of these "
    "numbers."
)
TYPISTS = 50
_OF_ANOTHER = "on demo"  # what stands in each answer of the data source that is well, and in no other


def measure(stage: Stage, scale: Scale, report: Report) -> None:
    """Fill in the table and the targets of one server."""
    hung = scale.hung_sources * scale.hung_commands
    with contextlib.ExitStack() as stack:
        host, port = stage.database.host, stage.database.port
        relays = [stack.enter_context(HangingRelay(host, port, hangs=True)) for _ in range(scale.hung_sources)]
        slack = stack.enter_context(TimedSandbox())
        more = "".join(_source(number, relay.port) for number, relay in enumerate(relays))
        bot = stack.enter_context(ours(slack, stage.database, more=more))
        quiet = Samples([slack.trip("/sessions").posted for _ in range(scale.rounds)])
        memory = bot.memory
        slack.forget()
        flood = [f"/sessions source=hung{number} private" for number in range(scale.hung_sources)] * scale.hung_commands
        _type_all(slack, flood)
        acks = Samples(list(slack.watch.acks))
        beside, most = _beside(slack, bot, hung)
        before = _answered_before(slack)
    report.add(
        Table(
            f"Beside data sources that hang: {stage.label}",
            HOW,
            [
                Line("quiet", quiet.columns()),
                Line(
                    f"{scale.hung_sources} hang, {hung:,} commands wait for them",
                    {
                        **beside.columns(),
                        "it / quiet": beside.p50 / quiet.p50,
                        "answered before": before,
                        "slowest ack ms": acks.slowest,
                        "MiB more": most - memory,
                    },
                ),
            ],
        )
    )
    where = f"beside {scale.hung_sources} that hang, on {stage.name}"
    report.at_most(f"`/sessions` {where}, p50, to a quiet bot's", beside.p50 / quiet.p50, 1.5, "x")
    report.at_most(f"Answers for those that hang before the first of `/sessions` {where}", before, 0, "answers")


def _source(number: int, port: int) -> str:
    login = f'user = "session_bot"\npassword = "{LOGIN_PASSWORD}"'
    return f'\n[data_sources.hung{number}]\nhost = "127.0.0.1"\nport = {port}\n{login}\n'


def _type_all(slack: TimedSandbox, texts: list[str]) -> None:
    """Have many people type at once; returns when each command is acknowledged."""

    def types(mine: list[str]) -> None:
        with Typist(slack.port) as typist:
            for text in mine:
                typist.types(text)

    people = [threading.Thread(target=types, args=(texts[first::TYPISTS],)) for first in range(TYPISTS)]
    for person in people:
        person.start()
    for person in people:
        person.join()


def _beside(slack: TimedSandbox, bot: MeasuredBot, hung: int) -> tuple[Samples, float]:
    """Type on the data source that is well until the others have their answers; returns the most memory, too."""
    values: list[float] = []
    most, until = 0.0, time.monotonic() + ANSWERED_WITHIN
    while sum(_is_refusal(call) for call in list(slack.calls)) < hung:
        if time.monotonic() > until:
            raise RuntimeError("somebody who waits for a data source that hangs is not answered")
        slack.types("/sessions")
        slack.wait_for(lambda: len(_well(slack)) > len(values), ANSWERED_WITHIN, "the answer of the one that is well")
        values.append((_well(slack)[len(values)].time - slack.watch.sent[-1]) * 1000)
        most = max(most, bot.memory)
        time.sleep(0.05)  # people do not type in the same moment as they are answered
    return Samples(values), most


def _well(slack: TimedSandbox) -> list[Call]:
    return [call for call in list(slack.calls) if _OF_ANOTHER in call.payload.get("text", "")]


def _is_refusal(call: Call) -> bool:
    return str(call.payload.get("text", "")).startswith("⚠️")


def _answered_before(slack: TimedSandbox) -> int:
    calls = list(slack.calls)
    first = calls.index(_well(slack)[0])
    return sum(_is_refusal(call) for call in calls[:first])
