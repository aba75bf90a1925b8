"""Calls that do not depend on each other go out together."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")


def meanwhile(work: Callable[[], T]) -> Callable[[], T]:
    """Do something in a thread of its own; what is returned waits for it and returns, or raises, what came of it."""
    done: Future[T] = Future()
    context = copy_context()  # what the log says of this delivery, and whether calls are tried again

    def run() -> None:
        try:
            done.set_result(context.run(work))
        except Exception as error:  # noqa: BLE001  # whoever waits is told
            done.set_exception(error)

    threading.Thread(target=run, name="meanwhile", daemon=True).start()
    return done.result
