"""One read for all who want to know the same at the same time: a server in trouble is asked once, not by each."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Generic, NoReturn, TypeVar

FRESH = 0.25  # seconds from the start of a read for which it is shared

_T = TypeVar("_T")


@dataclass(eq=False, slots=True)
class _Read(Generic[_T]):
    started: float = 0.0
    answer: Callable[[], _T] | None = None  # gives what was read, or raises; None until there is something


class SharedRead(Generic[_T]):
    """Runs one read at a time.

    Whoever comes within ``FRESH`` seconds of its start shares it; whoever comes later, while it runs, gets the next,
    one for all who wait. An error is told to those who waited for it and kept for nobody.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running: _Read[_T] | None = None
        self._next: _Read[_T] | None = None
        self._last: _Read[_T] | None = None  # that has succeeded

    def get(self, read: Callable[[], _T]) -> _T:
        """Return what a read shows that began now or a moment ago; raises what that raised.

        ``read`` is the same question, whoever asks it.
        """
        with self._changed:
            one = self._join()
            while one.answer is None and (one is not self._next or self._running is not None):
                self._changed.wait()
            answer = one.answer
            if answer is None:
                self._next, self._running, one.started = None, one, monotonic()
        return answer() if answer is not None else self._run(one, read)()

    def forget(self) -> None:
        """Share with nobody who comes from now on what was read before, or is being read: it has changed."""
        with self._changed:
            for one in (self._running, self._last):
                if one is not None:
                    one.started = -math.inf

    def _join(self) -> _Read[_T]:
        for recent in (self._running, self._last if self._running is None else None):
            if recent is not None and monotonic() - recent.started <= FRESH:
                return recent
        if self._next is None:
            self._next = _Read()
        return self._next

    def _run(self, one: _Read[_T], read: Callable[[], _T]) -> Callable[[], _T]:
        succeeded = False
        try:
            value = read()
            answer = _giving(value)
            succeeded = True
        except BaseException as error:  # noqa: BLE001  # it is raised where it is waited for
            answer = _raising(error)
        with self._changed:
            one.answer, self._running = answer, None
            self._last = one if succeeded else None
            self._changed.notify_all()
        return answer


def _giving(value: _T) -> Callable[[], _T]:
    return lambda: value


def _raising(error: BaseException) -> Callable[[], NoReturn]:
    def answer() -> NoReturn:
        raise error

    return answer
