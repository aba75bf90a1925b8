"""One read for all who ask at the same time."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from bot.errors import DataSourceError
from bot.sessions.diagnosis import shared_read
from bot.sessions.diagnosis.shared_read import FRESH, SharedRead
from tests.support.patience import PATIENCE


class Server:
    """Counts its reads; each waits until it is let go, and none overlaps another."""

    def __init__(self) -> None:
        self.reads = 0
        self.fails = False
        self._go = threading.Semaphore(0)
        self._began = threading.Semaphore(0)
        self._alone = threading.Lock()

    def read(self) -> int:
        assert self._alone.acquire(blocking=False), "two reads at a time"
        try:
            self.reads += 1
            number = self.reads
            self._began.release()
            assert self._go.acquire(timeout=PATIENCE)
            if self.fails:
                raise DataSourceError("prod is away")
            return number
        finally:
            self._alone.release()

    def began(self) -> None:
        assert self._began.acquire(timeout=PATIENCE)

    def let_go(self) -> None:
        self._go.release()


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Give the reading of the clock, which the test moves."""
    clock = [100.0]
    monkeypatch.setattr(shared_read, "monotonic", lambda: clock[0])
    return clock


def waiting(shared: SharedRead[int], count: int) -> None:
    """Wait until so many wait for somebody else's read."""
    while len(shared._changed._waiters) < count:  # type: ignore[attr-defined]  # threading has no public name
        threading.Event().wait(0.001)


def test_whoever_comes_while_a_read_runs_gets_the_next_one_for_all_who_wait(now: list[float]) -> None:
    server, shared = Server(), SharedRead[int]()
    with ThreadPoolExecutor(42) as pool:
        first = pool.submit(shared.get, server.read)
        server.began()
        soon = pool.submit(shared.get, server.read)
        waiting(shared, 1)
        now[0] += FRESH + 0.01
        later = [pool.submit(shared.get, server.read) for _ in range(40)]
        waiting(shared, 41)
        server.let_go()
        server.began()
        server.let_go()
        assert (first.result(PATIENCE), soon.result(PATIENCE)) == (1, 1), "within a moment of its start it is shared"
        assert {one.result(PATIENCE) for one in later} == {2}
    assert server.reads == 2


def test_a_read_is_shared_for_a_moment_after_its_start_and_no_longer(now: list[float]) -> None:
    server, shared = Server(), SharedRead[int]()
    for _ in range(2):
        server.let_go()
    assert shared.get(server.read) == 1
    now[0] += FRESH
    assert shared.get(server.read) == 1
    now[0] += 0.01
    assert shared.get(server.read) == 2


def test_what_was_read_before_a_change_is_shared_with_nobody_after_it() -> None:
    server, shared = Server(), SharedRead[int]()
    with ThreadPoolExecutor(2) as pool:
        before = pool.submit(shared.get, server.read)
        server.began()
        shared.forget()
        after = pool.submit(shared.get, server.read)
        waiting(shared, 1)
        server.let_go()
        server.began()
        server.let_go()
        assert (before.result(PATIENCE), after.result(PATIENCE)) == (1, 2)
    shared.forget()
    server.let_go()
    assert shared.get(server.read) == 3


def test_an_error_is_told_to_those_who_waited_and_kept_for_nobody(now: list[float]) -> None:
    server, shared = Server(), SharedRead[int]()
    server.fails = True
    with ThreadPoolExecutor(2) as pool:
        asked: list[Future[int]] = [pool.submit(shared.get, server.read)]
        server.began()
        asked.append(pool.submit(shared.get, server.read))
        waiting(shared, 1)
        server.let_go()
        for one in asked:
            with pytest.raises(DataSourceError, match="prod is away"):
                one.result(PATIENCE)
    server.fails = False
    server.let_go()
    assert shared.get(server.read) == 2, f"in the same moment, at {now[0]}"
