"""Commands on a data source that is well while others hang and many wait for those."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from benchmarks.bots import LOGIN_PASSWORD, ours
from benchmarks.measure import Samples
from benchmarks.report import Line, Report, Table
from benchmarks.slack import ANSWERED_WITHIN, TimedSandbox, Typist
from benchmarks.stage import Scale, Stage
from sandbox.slack.calls import Call
from tests.support.hanging import HangingRelay

HOW = (
    "All commands for the data sources that hang (a relay that takes connections and says nothing) are typed at once; "
    "then one every 250 ms on the one that is well, until the last of the others is answered. “Answered before” "
    "counts answers for a data source that hangs that came before the first one for the one that is well. The sandbox, "
    "the database and the bot share this machine: what it takes to check the answers of all who wait is part of these "
    "numbers."
)
TYPISTS = 50
EVERY = 0.25  # seconds; one that is kept waiting keeps the next one from nothing, as with people
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
        slack.forget()
        quiet = _beside(slack, lambda typed: typed < scale.rounds)
        memory = [bot.memory]
        slack.forget()
        flood = [f"/sessions source=hung{number} private" for number in range(scale.hung_sources)] * scale.hung_commands
        _type_all(slack, flood)
        acks = Samples(list(slack.watch.acks))

        def waits(typed: int) -> bool:
            memory.append(bot.memory)
            return typed < scale.rounds // 4 or sum(map(_is_refusal, list(slack.calls))) < hung

        beside = _beside(slack, waits)
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
                        "MiB more": max(memory) - memory[0],
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


def _beside(slack: TimedSandbox, more: Callable[[int], bool]) -> Samples:
    """Type on the data source that is well, as long as there is to be ``more`` than so many; wait for the answers."""
    sent: list[float] = []
    until = time.monotonic() + ANSWERED_WITHIN
    while more(len(sent)):
        if time.monotonic() > until:
            raise RuntimeError("somebody who waits for a data source that hangs is not answered")
        slack.types("/sessions")
        sent.append(slack.watch.sent[-1])
        time.sleep(EVERY)
    slack.wait_for(lambda: len(_well(slack)) >= len(sent), ANSWERED_WITHIN, "the answers of the one that is well")
    return Samples([(call.time - at) * 1000 for call, at in zip(_well(slack), sent, strict=True)])


def _well(slack: TimedSandbox) -> list[Call]:
    return [call for call in list(slack.calls) if _OF_ANOTHER in call.payload.get("text", "")]


def _is_refusal(call: Call) -> bool:
    return str(call.payload.get("text", "")).startswith("⚠️")


def _answered_before(slack: TimedSandbox) -> int:
    calls = list(slack.calls)
    first = calls.index(_well(slack)[0])
    return sum(_is_refusal(call) for call in calls[:first])
