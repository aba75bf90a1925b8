"""Asks many data sources the same: one that hangs holds up nobody but itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import structlog

AT_ONCE = 16  # asked at a time, not counting those that are slow
SLOW = 0.25  # seconds after which another one is asked beside it

log = structlog.get_logger(__name__)

_T = TypeVar("_T")


def ask_each(asks: Mapping[str, Callable[[], _T]], patience: float) -> dict[str, _T]:
    """Ask all of them, in threads of their own, and return the answers that there are after ``patience`` seconds.

    The answers stand in the order of ``asks``. Whoever has not answered by then may do so later, unheard; what has not
    been asked by then is left out. What fails is logged and left out.
    """
    until = time.monotonic() + patience
    changed = threading.Condition()
    answers: dict[str, _T] = {}
    open_: dict[str, float] = {}  # since when

    def ask(name: str) -> None:
        try:
            answer = asks[name]()
            with changed:
                answers[name] = answer
        except Exception:
            log.exception("asking failed", asked=name)
        finally:
            with changed:
                del open_[name]
                changed.notify_all()

    def busy() -> bool:
        fresh = time.monotonic() - SLOW
        return sum(since > fresh for since in open_.values()) >= AT_ONCE

    with changed:
        for name in asks:
            while busy() and time.monotonic() < until:
                changed.wait(SLOW / 5)
            if time.monotonic() >= until:
                break
            open_[name] = time.monotonic()
            threading.Thread(target=ask, args=(name,), name=f"ask-{name}", daemon=True).start()
        changed.wait_for(lambda: not open_, max(0.0, until - time.monotonic()))
        return {name: answers[name] for name in asks if name in answers}
