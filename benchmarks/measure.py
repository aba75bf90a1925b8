"""Timing: milliseconds of a call, several things one after the other in turns, medians."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Samples:
    """Durations in milliseconds."""

    values: Sequence[float]

    def percentile(self, percent: float) -> float:
        """The value that so many percent do not exceed."""
        ordered = sorted(self.values)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]

    @property
    def p50(self) -> float:
        """The median."""
        return self.percentile(50)

    @property
    def p99(self) -> float:
        """All but one of a hundred are not slower."""
        return self.percentile(99)

    @property
    def slowest(self) -> float:
        """The slowest of all."""
        return max(self.values)

    def columns(self) -> dict[str, float]:
        """For a line of a table."""
        return {"p50 ms": self.p50, "p99 ms": self.p99}


@dataclass(frozen=True, slots=True)
class Contender:
    """Something to be timed: ``run`` returns its milliseconds; it takes part in every ``every``-th round."""

    run: Callable[[], float]
    every: int = 1


def in_turns(contenders: Mapping[str, Contender], rounds: int) -> dict[str, Samples]:
    """Time all of them in turns, so that what else the machine does meets each alike."""
    values: dict[str, list[float]] = {name: [] for name in contenders}
    for contender in contenders.values():
        contender.run()  # what is done once is not measured
    for number in range(rounds):
        for name, contender in contenders.items():
            if number % contender.every == 0:
                values[name].append(contender.run())
    return {name: Samples(found) for name, found in values.items()}


def milliseconds(call: Callable[[], object]) -> float:
    """How long a call takes."""
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1000
