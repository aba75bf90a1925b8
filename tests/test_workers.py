"""The bounded pools and their lanes, the jobs that run again and again, and what a rush is."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace

import pytest

from bot.errors import StoreError
from bot.workers import (
    CROWDED,
    LANE,
    LANE_WHERE_CROWDED,
    RUSH_AT_MOST,
    RUSHING,
    THREADS,
    Handed,
    Jobs,
    Lane,
    Rush,
    Task,
    Workers,
)
from tests.support.patience import PATIENCE


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    running = Jobs()
    yield running
    running.end()


def test_no_more_is_taken_than_there_are_threads_and_places_and_a_place_is_free_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bot.workers.THREADS", 1)
    monkeypatch.setattr("bot.workers.QUEUE", 1)
    workers, release, begun = Workers(), threading.Event(), threading.Event()

    def stuck() -> None:
        begun.set()
        release.wait(PATIENCE)

    assert workers.hand_over(Task(stuck)) is Handed.TAKEN
    assert begun.wait(PATIENCE)
    assert workers.hand_over(Task(stuck)) is Handed.TAKEN
    assert workers.waiting == 1
    assert workers.hand_over(Task(stuck)) is Handed.FULL
    release.set()
    deadline = time.monotonic() + PATIENCE
    while workers.hand_over(Task(lambda: None)) is not Handed.TAKEN:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    workers.stop()
    assert workers.waiting == 0


def test_what_was_taken_is_done_before_the_end_and_nothing_is_taken_after_it() -> None:
    workers, done = Workers(), threading.Event()

    def slow() -> None:
        time.sleep(0.1)
        done.set()

    assert workers.hand_over(Task(slow)) is Handed.TAKEN
    workers.stop()
    assert done.is_set()
    assert [workers.hand_over(Task(slow)), workers.hand_over(Task(slow))] == [Handed.STOPPED, Handed.STOPPED]
    assert workers.waiting == 0


def test_a_job_that_fails_is_run_again(jobs: Jobs) -> None:
    runs = iter([StoreError("away"), ZeroDivisionError("a mistake")])
    came = threading.Event()

    def job() -> None:
        failed = next(runs, None)
        if failed is not None:
            raise failed
        came.set()

    jobs.every(0.01, job)
    assert came.wait(PATIENCE)


def test_a_job_takes_the_place_of_the_one_of_its_name(jobs: Jobs) -> None:
    came, runs = threading.Event(), threading.Semaphore(0)

    def job() -> None:
        came.set()

    jobs.every(0.01, job)
    assert came.wait(PATIENCE)

    def another() -> None:
        runs.release()

    another.__name__ = "job"
    jobs.every(0.01, another)
    assert runs.acquire(timeout=PATIENCE)
    came.clear()  # in its own thread, so that none of the one before is under way
    for _ in range(5):
        assert runs.acquire(timeout=PATIENCE)
    assert not came.is_set(), "the one before is not run any more"


def test_only_what_goes_on_to_the_end_is_run_while_the_rest_is_finished(jobs: Jobs) -> None:
    one, to_the_end = threading.Semaphore(0), threading.Semaphore(0)

    def stops() -> None:
        one.release()

    def goes_on() -> None:
        to_the_end.release()

    jobs.every(0.01, stops)
    jobs.every(0.01, goes_on, to_the_end=True)
    assert one.acquire(timeout=PATIENCE)
    jobs.stop()
    jobs._jobs["stops"].thread.join(PATIENCE)
    assert not jobs._jobs["stops"].thread.is_alive()
    while to_the_end.acquire(blocking=False):
        pass
    assert to_the_end.acquire(timeout=PATIENCE)
    jobs.end()
    assert not jobs._jobs["goes_on"].thread.is_alive()


def test_work_stands_back_in_a_rush_and_never_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr("bot.workers.time", SimpleNamespace(sleep=sleep))
    rush = Rush(lambda: now[0])
    rush.arrived()
    rush.stand_back()
    assert now == [100.0], "one is no rush"
    for _ in range(RUSHING):
        rush.arrived()
    rush.stand_back()
    assert 0 < now[0] - 100.0 < RUSH_AT_MOST / 2, "it waits until nobody has come for a moment"


def test_a_rush_that_does_not_end_holds_nobody_up_for_more_than_half_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    rush = Rush(lambda: now[0])

    def sleep(seconds: float) -> None:
        now[0] += seconds
        rush.arrived()

    monkeypatch.setattr("bot.workers.time", SimpleNamespace(sleep=sleep))
    for _ in range(RUSHING):
        rush.arrived()
    rush.stand_back()
    assert RUSH_AT_MOST <= now[0] - 100.0 < RUSH_AT_MOST * 1.2


SHOP, CRM = Lane("data source shop"), Lane("data source crm")


class Held:
    """Works that stay where they are until they are let go, and what each of those who wait is told."""

    def __init__(self, workers: Workers) -> None:
        self.workers = workers
        self.begun: list[str] = []
        self.told: list[str] = []
        self.refused: list[str] = []
        self._changed = threading.Condition()
        self._go = threading.Event()

    def takes(self, name: str, lane: Lane | None, *, at_once: bool = False) -> Handed:
        """Hand one over that waits for that lane, or is done at once."""

        def work() -> None:
            self._note(self.begun, name)
            if not at_once:
                self._go.wait(PATIENCE)

        return self.workers.hand_over(Task(work, lambda: lane, partial(self._note, self.told), self._refuse))

    def let_go(self) -> None:
        """Let all of them end."""
        self._go.set()

    def wait_for(self, so: Callable[[], bool]) -> None:
        """Wait until something is so."""
        with self._changed:
            assert self._changed.wait_for(so, PATIENCE)

    def wait_until_waiting(self, count: int) -> None:
        """Wait until so many wait."""
        deadline = time.monotonic() + PATIENCE
        while self.workers.waiting != count:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def _refuse(self, sentence: str) -> None:
        self._note(self.refused, sentence)

    def _note(self, notes: list[str], one: str) -> None:
        with self._changed:
            notes.append(one)
            self._changed.notify_all()


@pytest.fixture
def held() -> Iterator[Held]:
    workers = Workers()
    running = Held(workers)
    yield running
    running.let_go()
    workers.stop()


@pytest.mark.parametrize("hung", [5, 50])
def test_however_many_hang_with_however_many_who_wait_for_them_one_that_is_well_is_done_at_once(
    held: Held, hung: int
) -> None:
    threads = threading.active_count()
    for number in range(hung * 30):
        assert held.takes("hung", Lane(f"data source hung{number % hung}")) is Handed.TAKEN
    assert held.takes("shop", SHOP, at_once=True) is Handed.TAKEN
    assert held.takes("of no data source", None, at_once=True) is Handed.TAKEN
    held.wait_for(lambda: {"shop", "of no data source"} <= set(held.begun))
    assert held.begun.count("hung") <= max(hung * LANE, CROWDED + 3 * hung)
    assert threading.active_count() - threads <= THREADS + CROWDED + LANE_WHERE_CROWDED * hung
    assert not held.refused


def test_those_who_wait_for_one_data_source_have_their_turn_in_their_order(
    held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.workers.LANE", 1)
    held.takes("first", SHOP)
    held.wait_for(lambda: held.begun == ["first"])
    for number in range(20):
        held.takes(str(number), SHOP)
    held.wait_until_waiting(20)
    held.let_go()
    held.wait_for(lambda: len(held.begun) == 21)
    assert held.begun == ["first", *map(str, range(20))]


def test_a_close_does_not_wait_behind_the_lists_of_its_data_source(held: Held) -> None:
    for _ in range(LANE + 10):
        held.takes("list", SHOP)
    held.takes("close", Lane(SHOP.what, closing=True))
    held.wait_for(lambda: "close" in held.begun)


def test_whoever_waits_hears_what_for_and_then_that_nothing_was_done(
    held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.workers.LANE", 2)
    monkeypatch.setattr("bot.workers.TOLD_AFTER", 0.05)
    monkeypatch.setattr("bot.workers.REFUSED_AFTER", 0.3)
    for _ in range(3):
        held.takes("list", SHOP)
    held.wait_for(lambda: bool(held.told))
    assert held.told == [
        "⏳ Still waiting for data source shop: 2 came before you and are not done. "
        "An answer or an error follows within seconds."
    ]
    held.wait_for(lambda: bool(held.refused))
    (refused,) = held.refused
    assert re.fullmatch(
        r"2 commands are already waiting for data source shop\. Yours has waited for \d+ s and was not sent\. "
        r"Nothing was done\. Try again in a few seconds\.",
        refused,
    )
    assert held.begun == ["list", "list"]


def test_beyond_its_places_one_data_source_refuses_and_the_others_take(
    held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.workers.LANE", 1)
    monkeypatch.setattr("bot.workers.WAITING", 2)
    for _ in range(4):
        held.takes("shop", SHOP)
    held.wait_for(lambda: bool(held.refused))
    assert held.refused[0].startswith("3 commands are already waiting for data source shop. Nothing was done.")
    held.takes("crm", CRM, at_once=True)
    held.wait_for(lambda: "crm" in held.begun)


def test_work_that_comes_to_wait_for_something_leaves_its_thread_to_others_meanwhile(
    held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.workers.THREADS", 1)
    release, waits, over = threading.Event(), threading.Event(), threading.Event()
    said: list[str] = []

    def press() -> None:
        what = held.workers.waited_for()
        with held.workers.waits_for("the store"), held.workers.waits_for("the store"):
            said.append(what())
            waits.set()
            release.wait(PATIENCE)
        said.append(what())
        over.set()

    held.workers.hand_over(Task(press))
    assert waits.wait(PATIENCE)
    held.takes("another", None, at_once=True)
    held.wait_for(lambda: held.begun == ["another"])
    release.set()
    assert over.wait(PATIENCE)
    assert said == ["the store", ""]


def test_whoever_waits_in_a_line_when_the_bot_ends_is_heard_all_the_same(
    held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.workers.LANE", 1)
    for name in ("first", "second", "third"):
        held.takes(name, SHOP)
    held.wait_until_waiting(2)
    ending = threading.Thread(target=held.workers.stop)
    ending.start()
    held.wait_for(lambda: len(held.begun) == 3)
    held.let_go()
    ending.join(PATIENCE)
    assert not ending.is_alive()
    assert held.takes("late", SHOP) is Handed.STOPPED
    assert held.workers.waiting == 0


def test_where_the_system_gives_no_more_threads_those_that_run_do_the_rest(
    held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = threading.Event()

    def stuck() -> None:
        first.wait(PATIENCE)

    held.workers.hand_over(Task(stuck))

    class NoMore(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    with monkeypatch.context() as few:
        few.setattr("bot.workers.threading.Thread", NoMore)
        assert held.takes("second", None, at_once=True) is Handed.TAKEN
    first.set()
    held.wait_for(lambda: held.begun == ["second"])
