"""How the data sources are: asked all at once, so that one that hangs holds up nobody but itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass

import structlog

from bot.sessions.details import Reach

FIRST = 1.5  # seconds until those are told that have answered, while others have not
AGAIN = 2.0  # seconds until more of them are told
PATIENCE = 7.0  # seconds until an answer is given without those that hang

log = structlog.get_logger(__name__)

Tenants = frozenset[str] | None  # None: every tenant


@dataclass(frozen=True, slots=True)
class SourceHealth:
    """One data source as its login finds it. Where ``problem`` says why it does not answer, the rest is empty."""

    name: str
    problem: str = ""
    milliseconds: float | None = None  # that counting the sessions took
    kind: str = ""  # for example "OceanBase seekdb-v1.3.0.0"
    view: str = ""  # where sessions are read from
    tenant: str | None = None  # that the login belongs to; None where there are no tenants
    sees: Reach | None = None
    closes: Reach | None = None
    total: int | None = None  # sessions that the asker may see
    active: int | None = None
    caveats: tuple[str, ...] = ()
    pending: bool = False  # whether it has not answered yet, and may still
    waiting: int | None = None  # sessions that wait for a lock of any kind; None where not all of them are known


Look = Callable[[Tenants], SourceHealth]


class Looks:
    """Looks at data sources: at each by one thread at a time, whoever asks. Who asks the same meanwhile shares it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, dict[Tenants, Future[SourceHealth]]] = {}

    def ask(self, name: str, tenants: Tenants, look: Look) -> Future[SourceHealth]:
        """Ask how a data source is for whoever may see those tenants; ``look`` does not raise."""
        with self._lock:
            line = self._open.setdefault(name, {})
            if tenants not in line:
                line[tenants] = Future()
                if len(line) == 1:
                    threading.Thread(target=self._work, args=(name, look), name=f"look-{name}", daemon=True).start()
            return line[tenants]

    def _work(self, name: str, look: Look) -> None:
        more = True
        while more:
            with self._lock:
                tenants, future = next(iter(self._open[name].items()))
            try:
                found = look(tenants)
            except Exception:
                log.exception("data source not looked at", source=name)
                found = SourceHealth(name, f"The bot failed at looking at data source {name}. See its log.")
            with self._lock:
                del self._open[name][tenants]
                more = bool(self._open[name])
                if not more:
                    del self._open[name]
            future.set_result(found)


def as_they_answer(
    asked: Mapping[str, Future[SourceHealth]], patience: float = PATIENCE
) -> Iterator[list[SourceHealth]]:
    """Yield how the data sources are, in the order given: once all have answered, or soon with those that have.

    Then again as others answer, at last after ``patience`` seconds; those that have not by then have a problem.
    """
    until = time.monotonic() + patience
    open_, pause, before = set(asked.values()), FIRST, -1
    while True:
        open_ = wait(open_, timeout=max(0.0, min(pause, until - time.monotonic()))).not_done
        over = not open_ or time.monotonic() >= until
        if over or len(open_) != before:
            yield [future.result() if future.done() else _late(name, over, patience) for name, future in asked.items()]
        if over:
            return
        pause, before = AGAIN, len(open_)


def _late(name: str, over: bool, patience: float) -> SourceHealth:
    if not over:
        return SourceHealth(name, pending=True)
    return SourceHealth(name, f"Data source {name} has not answered within {patience:.0f} s.")
