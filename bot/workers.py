"""The bot's own threads: bounded pools for what people wait for, a lane for each data source; and periodic jobs."""

from __future__ import annotations

import contextlib
import enum
import heapq
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import structlog

from bot.errors import SessionBotError, StoreAwayError

THREADS = 64  # that run what waits for no data source; more of them run what does
QUEUE = 1500  # works waiting for a thread; beyond it whoever brings one is told so
LANE = 12  # works at a time that wait for one data source, or for the store
CROWDED, LANE_WHERE_CROWDED = 160, 3  # from so many works in all lanes together on, a lane takes no more than that
WAITING, WAITING_IN_ALL, ALWAYS_WAITING = 200, 2000, 10  # for a lane; for all of them; how many may wait for any one
TOLD_AFTER, REFUSED_AFTER = 2.0, 6.0  # seconds for which work waits for its lane
SPREAD = 0.02  # seconds between two who are told: hundreds at once would hold up everybody else
IDLE = 10.0  # seconds until a thread that has nothing to do ends
JOB_ENDS_WITHIN = 5.0  # seconds
RUSHING, RUSH, RUSH_AT_MOST = 16, 0.1, 0.5  # so many within so many seconds are a rush; how long work stands back

log = structlog.get_logger(__name__)

Work = Callable[[], None]
Tell = Callable[[str], None]


class Handed(enum.Enum):
    """What became of a piece of work that was handed over."""

    TAKEN = "taken"
    FULL = "full"  # there is too much to do
    STOPPED = "stopped"  # nothing new is taken any more


@dataclass(frozen=True, slots=True)
class Lane:
    """What works wait for, as people are told, for example "data source prod"; a close does not wait behind lists."""

    what: str
    closing: bool = False


@dataclass(eq=False, slots=True)
class Task:
    """A piece of work, and how whoever waits for it is told.

    ``lane`` says what it will wait for, None for nothing or for what is not known; it is asked once, by a worker.
    ``tell`` takes a sentence for somebody who still waits for the lane; ``refuse`` one for somebody for whom nothing
    is done. Both are called by a worker.
    """

    work: Work
    lane: Callable[[], Lane | None] = lambda: None
    tell: Tell | None = None
    refuse: Tell | None = None


@dataclass(eq=False, slots=True)
class _Place:
    """A task on its way: in ``lane`` when it runs there, None among all others."""

    run: Work
    task: Task
    lane: Lane | None = None
    known: bool = False  # whether the task has been asked for its lane
    number: int = 0  # in the order in which tasks were handed over


@dataclass(slots=True)
class _Line:
    """Who is in a lane and who waits for it, in their order."""

    inside: int = 0
    waiting: deque[_Place] = field(default_factory=deque)


class Workers:
    """Threads that carry out what is handed over, in its order; no more waits than has a place.

    Each data source, and the store, has a lane. Who waits for one that hangs is in that lane or, without a thread, in
    its line: all others have their threads. What is in no lane runs on ``THREADS`` at most.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.RLock()
        self._work = threading.Condition(self._lock)  # there is something for an idle thread
        self._lined = threading.Condition(self._lock)  # somebody waits in a line
        self._ended = threading.Condition(self._lock)  # a thread has ended
        self._new: deque[_Place] = deque()  # they wait for one of the threads
        self._ready: deque[_Place] = deque()  # they have one, or get one at this moment
        self._lines: dict[Lane, _Line] = {}
        self._due: list[tuple[float, int, _Place, bool]] = []  # when somebody in a line is told, or refused
        self._numbers = itertools.count()
        self._running = 0  # in no lane
        self._inside = 0  # in all lanes together
        self._threads = 0
        self._idle = 0  # threads that have nothing to do, those that begin or have just ended something included
        self._stopping = False
        self._here = threading.local()
        self._watching = False

    @property
    def waiting(self) -> int:
        """How much waits for a thread or in a line."""
        with self._lock:
            return len(self._new) + self._lined_up

    def hand_over(self, task: Task) -> Handed:
        """Have it done as soon as a thread, and a place in its lane, is free. Never waits."""
        with self._lock:
            if self._stopping:
                return Handed.STOPPED
            if self._running >= THREADS and len(self._new) >= QUEUE:
                return Handed.FULL
            self._new.append(_Place(task.work, task, number=next(self._numbers)))
            self._admit()
        return Handed.TAKEN

    @contextlib.contextmanager
    def waits_for(self, what: str) -> Iterator[None]:
        """Count the work of this thread to that lane as long as the block: it may wait there for long.

        It never waits for a place: what it does may have begun. Does nothing in a thread that is no worker.
        """
        place: _Place | None = getattr(self._here, "place", None)
        before = place.lane if place is not None else None
        if place is None or (before is not None and before.what == what):
            yield
            return
        lane = Lane(what)
        with self._lock:
            # More threads would be too many: then it stays where it is.
            full = self._inside >= CROWDED or self._line(lane).inside >= THREADS
            self._move(place, before if full else lane)
        try:
            yield
        finally:
            with self._lock:
                self._move(place, before)

    def waited_for(self) -> Callable[[], str]:
        """Return what says, in any thread and at any time, what the work of this one waits for; '' for nothing."""
        place: _Place | None = getattr(self._here, "place", None)

        def what() -> str:
            lane = place.lane if place is not None else None
            return lane.what if lane is not None else ""

        return what

    def stop(self) -> None:
        """Take nothing new, and wait until everything that was taken is done; nobody waits in a line any more."""
        with self._lock:
            self._stopping = True
            for line in self._lines.values():
                self._new.extend(_Place(one.run, one.task, known=True) for one in line.waiting)
                line.waiting.clear()
            self._admit()
            for changed in (self._work, self._lined):
                changed.notify_all()
            self._ended.wait_for(lambda: not (self._new or self._ready or self._threads))

    @property
    def _lined_up(self) -> int:
        return sum(len(line.waiting) for line in self._lines.values())

    def _line(self, lane: Lane) -> _Line:
        return self._lines.setdefault(lane, _Line())

    def _admit(self) -> None:
        """Give threads to what waits for one. Here and below: with the lock held."""
        while self._new and self._running < THREADS:
            self._running += 1
            self._begin(self._new.popleft())

    def _begin(self, place: _Place) -> None:
        self._ready.append(place)
        if self._idle >= len(self._ready):
            self._work.notify()
            return
        try:
            threading.Thread(target=self._loop, name="worker", daemon=True).start()
            self._threads += 1
            self._idle += 1
        except RuntimeError:  # the system gives no more threads: one of those that run takes it
            log.warning("no more threads", threads=self._threads)

    def _loop(self) -> None:
        while (place := self._next()) is not None:
            self._here.place = place
            try:
                if place.known or self._in_its_lane(place):
                    place.run()
            except Exception:
                log.exception("work failed")
            finally:
                self._here.place = None
                with self._lock:
                    self._idle += 1  # before others are let in: this thread may take the next one
                    self._leave(place.lane)

    def _next(self) -> _Place | None:
        """Wait for something to do; None where the thread is to end."""
        until = self._monotonic() + IDLE
        with self._lock:
            while not self._ready:
                left = until - self._monotonic()
                if self._stopping or left <= 0:
                    self._idle -= 1
                    self._threads -= 1
                    self._ended.notify_all()
                    return None
                self._work.wait(left)
            self._idle -= 1
            return self._ready.popleft()

    def _in_its_lane(self, place: _Place) -> bool:
        """Whether it may go on: it has its place in the lane, or needs none. Else it waits in the line now."""
        lane = place.task.lane()
        with self._lock:
            place.known = True
            if lane is None or self._stopping:
                return True
            line = self._line(lane)
            if not line.waiting and self._has_room(line):
                self._move(place, lane)
                return True
            waiting = _Place(place.run, place.task, lane, known=True, number=place.number)
            if not self._may_wait(line):
                place.run = self._refusal(waiting, line, "")
                return True
            # One that came later may have been asked for its lane before.
            at = next((at for at, one in enumerate(line.waiting) if one.number > waiting.number), len(line.waiting))
            line.waiting.insert(at, waiting)
            self._watch_over(waiting)
        return False

    def _has_room(self, line: _Line) -> bool:
        return line.inside < (LANE_WHERE_CROWDED if self._inside >= CROWDED else LANE)

    def _may_wait(self, line: _Line) -> bool:
        many = self._lined_up >= WAITING_IN_ALL
        return len(line.waiting) < (ALWAYS_WAITING if many else WAITING)

    def _move(self, place: _Place, lane: Lane | None) -> None:
        before, place.lane = place.lane, lane
        if lane is None:
            self._running += 1
        else:
            self._enter(self._line(lane))
        self._leave(before)

    def _enter(self, line: _Line) -> None:
        line.inside += 1
        self._inside += 1

    def _leave(self, lane: Lane | None) -> None:
        """Give back a place, and let in who waits for one."""
        if lane is None:
            self._running -= 1
            self._admit()
            return
        line = self._line(lane)
        line.inside -= 1
        self._inside -= 1
        for other in [line, *self._lines.values()]:  # whoever is left out for the crowd may have room now
            while other.waiting and self._has_room(other):
                self._enter(other)
                self._begin(other.waiting.popleft())
        if not line.inside and not line.waiting:
            self._lines.pop(lane, None)

    def _watch_over(self, place: _Place) -> None:
        now = self._monotonic()
        for seconds, refused in ((TOLD_AFTER, False), (REFUSED_AFTER, True)):
            heapq.heappush(self._due, (now + seconds, next(self._numbers), place, refused))
        if not self._watching:
            self._watching = True
            threading.Thread(target=self._watch, name="lines", daemon=True).start()
        if self._due[0][2] is place:
            self._lined.notify()

    def _watch(self) -> None:
        """Tell those who wait in a line what they wait for, then that it is too long; a little apart."""
        with self._lock:
            while self._due and not self._stopping:
                due, _, place, refused = self._due[0]
                now = self._monotonic()
                if due > now:
                    self._lined.wait(due - now)
                    continue
                heapq.heappop(self._due)
                if not refused and now >= due + REFUSED_AFTER - TOLD_AFTER:
                    continue  # so many are told that the answer is due already
                line = self._lines.get(place.lane) if place.lane is not None else None
                if line is not None and place in line.waiting:
                    self._news(place, line, refused=refused)
                    self._lined.wait(SPREAD)
            self._watching = False

    def _news(self, place: _Place, line: _Line, *, refused: bool) -> None:
        if refused:
            line.waiting.remove(place)
            run = self._refusal(place, line, f" Yours has waited for {REFUSED_AFTER:.0f} s and was not sent.")
        elif place.task.tell is not None:
            before = line.inside + line.waiting.index(place)
            text = f"⏳ Still waiting for {_what(place)}: {before} came before you and are not done."
            run = partial(place.task.tell, f"{text} An answer or an error follows within seconds.")
        else:
            return
        self._new.append(_Place(run, place.task, known=True))
        self._admit()

    def _refusal(self, place: _Place, line: _Line, more: str) -> Work:
        sentence = f"{line.inside + len(line.waiting)} commands are already waiting for {_what(place)}.{more}"
        return partial(place.task.refuse or _nobody, f"{sentence} Nothing was done. Try again in a few seconds.")


def _what(place: _Place) -> str:
    return place.lane.what if place.lane is not None else ""


def _nobody(_sentence: str) -> None:
    """Tell nobody."""


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
            except StoreAwayError:
                pass  # the store itself says so, once for all
            except SessionBotError as error:
                log.warning("job failed", job=name, error=str(error))
            except Exception:
                log.exception("job failed", job=name)
