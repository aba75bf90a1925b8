"""The bot's own threads: a bounded pool for what people wait for, and jobs that run again and again."""

from __future__ import annotations

import enum
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import structlog

from bot.errors import SessionBotError

THREADS = 64
QUEUE = 500  # works waiting for a thread; beyond it whoever brings one is told so
JOB_ENDS_WITHIN = 5.0  # seconds
RUSHING, RUSH, RUSH_AT_MOST = 16, 0.1, 0.5  # so many within so many seconds are a rush; how long work stands back

log = structlog.get_logger(__name__)

Work = Callable[[], None]


class Handed(enum.Enum):
    """What became of a piece of work that was handed over."""

    TAKEN = "taken"
    FULL = "full"  # there is too much to do
    STOPPED = "stopped"  # nothing new is taken any more


class Workers:
    """Threads that carry out what is handed over, in its order; no more waits than has a place."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="worker")
        self._places = threading.BoundedSemaphore(THREADS + QUEUE)
        self._lock = threading.Lock()
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """How much waits for a thread."""
        return self._waiting

    def hand_over(self, work: Work) -> Handed:
        """Have it done as soon as a thread is free. Never waits."""
        if not self._places.acquire(blocking=False):
            return Handed.FULL
        self._count(1)
        try:
            future = self._threads.submit(self._run, work)
        except RuntimeError:  # the pool takes nothing new while it is stopped
            self._count(-1)
            self._places.release()
            return Handed.STOPPED
        future.add_done_callback(self._leave)
        return Handed.TAKEN

    def stop(self) -> None:
        """Take nothing new, and wait until everything that was taken is done."""
        self._threads.shutdown(wait=True)

    def _run(self, work: Work) -> None:
        self._count(-1)
        work()

    def _leave(self, _done: Future[None]) -> None:
        self._places.release()

    def _count(self, change: int) -> None:
        with self._lock:
            self._waiting += change


class Rush:
    """Knows when many arrive at once: threads that work would keep those waiting that acknowledge."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._latest = deque([-RUSH] * RUSHING, maxlen=RUSHING)

    def arrived(self) -> None:
        """Note that somebody has come."""
        self._latest.append(self._monotonic())

    def stand_back(self) -> None:
        """Wait until it is over, half a second at most."""
        end = self._monotonic() + RUSH_AT_MOST
        while self._latest[-1] - self._latest[0] < RUSH and self._monotonic() < min(end, self._latest[-1] + RUSH / 5):
            time.sleep(RUSH / 20)


@dataclass(slots=True)
class _Job:
    run: Work
    thread: threading.Thread


class Jobs:
    """What is done again and again, each in a thread of its own; its errors are logged and do not end it."""

    def __init__(self) -> None:
        self._jobs: dict[str, _Job] = {}
        self._stopping = threading.Event()
        self._ended = threading.Event()

    def every(self, seconds: float, run: Work, *, to_the_end: bool = False) -> None:
        """Run a job until ``stop``, pausing between; or ``to_the_end``, while what is under way is finished.

        One takes the place of another of the same name.
        """
        name = run.__name__
        if name in self._jobs:
            self._jobs[name].run = run
            return
        ends = self._ended if to_the_end else self._stopping
        thread = threading.Thread(target=self._repeat, args=(name, seconds, ends), name=f"job-{name}", daemon=True)
        self._jobs[name] = _Job(run, thread)
        thread.start()

    def stop(self) -> None:
        """Begin no job any more but those that go on to the end."""
        self._stopping.set()

    def end(self) -> None:
        """Begin no job any more, and wait a moment for those that run."""
        self._stopping.set()
        self._ended.set()
        for job in self._jobs.values():
            job.thread.join(timeout=JOB_ENDS_WITHIN)

    def _repeat(self, name: str, seconds: float, ends: threading.Event) -> None:
        while not ends.wait(seconds):
            try:
                self._jobs[name].run()
            except SessionBotError as error:
                log.warning("job failed", job=name, error=str(error))
            except Exception:
                log.exception("job failed", job=name)
