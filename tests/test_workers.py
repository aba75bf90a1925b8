"""The bounded pool, the jobs that run again and again, and what a rush is."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from bot.errors import StoreError
from bot.workers import RUSH_AT_MOST, RUSHING, Handed, Jobs, Rush, Workers
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

    assert workers.hand_over(stuck) is Handed.TAKEN
    assert begun.wait(PATIENCE)
    assert workers.hand_over(stuck) is Handed.TAKEN
    assert workers.waiting == 1
    assert workers.hand_over(stuck) is Handed.FULL
    release.set()
    deadline = time.monotonic() + PATIENCE
    while workers.hand_over(lambda: None) is not Handed.TAKEN:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    workers.stop()
    assert workers.waiting == 0


def test_what_was_taken_is_done_before_the_end_and_nothing_is_taken_after_it() -> None:
    workers, done = Workers(), threading.Event()

    def slow() -> None:
        time.sleep(0.1)
        done.set()

    assert workers.hand_over(slow) is Handed.TAKEN
    workers.stop()
    assert done.is_set()
    assert [workers.hand_over(slow), workers.hand_over(slow)] == [Handed.STOPPED, Handed.STOPPED]
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
    came, second = threading.Event(), threading.Event()

    def job() -> None:
        came.set()

    jobs.every(0.01, job)
    assert came.wait(PATIENCE)

    def another() -> None:
        second.set()

    another.__name__ = "job"
    jobs.every(0.01, another)
    assert second.wait(PATIENCE)
    came.clear()
    assert not came.wait(0.1), "the one before is not run any more"


def test_only_what_goes_on_to_the_end_is_run_while_the_rest_is_finished(jobs: Jobs) -> None:
    one, to_the_end = threading.Event(), threading.Event()

    def stops() -> None:
        one.set()

    def goes_on() -> None:
        to_the_end.set()

    jobs.every(0.01, stops)
    jobs.every(0.01, goes_on, to_the_end=True)
    assert one.wait(PATIENCE)
    jobs.stop()
    time.sleep(0.05)  # for one that had begun
    one.clear()
    to_the_end.clear()
    assert to_the_end.wait(PATIENCE)
    assert not one.is_set()
    jobs.end()
    to_the_end.clear()
    assert not to_the_end.wait(0.1)


def test_work_stands_back_in_a_rush_and_never_for_long() -> None:
    rush = Rush()
    started = time.monotonic()
    rush.arrived()
    rush.stand_back()
    assert time.monotonic() - started < RUSH_AT_MOST / 2, "one is no rush"
    for _ in range(RUSHING):
        rush.arrived()
    before = time.monotonic()
    rush.stand_back()
    assert time.monotonic() > before + 0.005, "it waits until nobody has come for a moment"


def test_a_rush_that_does_not_end_holds_nobody_up_for_more_than_half_a_second() -> None:
    ended = threading.Event()
    rush = Rush()

    def arrive() -> None:
        while not ended.is_set():
            rush.arrived()
            time.sleep(0.001)

    arriving = threading.Thread(target=arrive)
    arriving.start()
    time.sleep(0.05)
    started = time.monotonic()
    rush.stand_back()
    waited = time.monotonic() - started
    ended.set()
    arriving.join()
    assert waited < RUSH_AT_MOST * 4
