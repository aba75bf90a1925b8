"""Time that nobody sets: what a look may be old, and what a wait lasts, is measured by it."""

from __future__ import annotations

import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def since_boot() -> float:
    """Return the seconds since this machine was started, those in which it slept included where it tells them."""
    return time.clock_gettime(_CLOCK)
