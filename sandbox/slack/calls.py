"""The record of what the app asked of Slack, for tests to look at."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from sandbox.slack.refusals import Json


@dataclass(frozen=True, slots=True)
class Call:
    """One call: a Web API method, `response_url`, or `ack` for what an acknowledgement carried."""

    method: str
    payload: Json
    status: int
    answer: Json | str
    time: float


class Calls(list[Call]):
    """All calls so far, in order; whoever waits for a change is woken by each."""

    def __init__(self, clock: Callable[[], float], wake: Callable[[], None]) -> None:
        super().__init__()
        self._clock = clock
        self._wake = wake

    def record(self, method: str, payload: Json, status: int, answer: Json | str) -> None:
        """Note a call and how it was answered."""
        self.append(Call(method, payload, status, answer, self._clock()))
        self._wake()

    def of(self, method: str) -> list[Call]:
        """Return the calls of one method."""
        return [call for call in list(self) if call.method == method]


class Changes:
    """Lets threads outside the server wait until something happened inside."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._count = 0

    def wake(self) -> None:
        """Say that something changed."""
        with self._condition:
            self._count += 1
            self._condition.notify_all()

    @property
    def count(self) -> int:
        """How many changes there were; hand it to `after`."""
        with self._condition:
            return self._count

    def after(self, count: int, timeout: float) -> None:
        """Return once there were more changes than `count`, or the time is up."""
        with self._condition:
            self._condition.wait_for(lambda: self._count > count, timeout)
