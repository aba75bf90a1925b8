"""The time that closing goes by. It only goes on: no jump of a machine's clock shortens or lengthens a wait."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bot.sessions.uptime import since_boot

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot() -> str:
    """Return what names this run of the machine, '' where nothing does."""
    with contextlib.suppress(OSError):
        return _BOOT_ID.read_text(encoding="ascii").strip()
    return ""


class StoreClock:
    """Gives the store's time: what it was told last, and the time that has passed on this machine since.

    Until it is told anything it has ``ask``, which tells it or raises: a machine's own clock may say anything.
    """

    def __init__(self, ask: Callable[[], object]) -> None:
        self._ask = ask
        self.told = False  # whether it has been told a time
        self._ahead = time.time() - since_boot()

    def __call__(self) -> datetime:
        """Return the time, UTC. Raises what ``ask`` does."""
        if not self.told:
            self._ask()
        return datetime.fromtimestamp(self.seconds, UTC)

    @property
    def seconds(self) -> float:
        """The same in seconds since the epoch."""
        return since_boot() + self._ahead

    def tell(self, seconds: float) -> None:
        """Go on from there."""
        self._ahead = seconds - since_boot()
        self.told = True


@dataclass(frozen=True, slots=True)
class Kept:
    """What a store in a file remembers of its time, for the next process that opens it."""

    boot: str
    ahead: float  # of the seconds since that boot
    last: float  # when something was written last

    def now(self) -> float:
        """Return its time now. While the machine was off it stood still: nobody knows how long that was."""
        if self.boot and self.boot == boot():
            return max(self.last, since_boot() + self.ahead)
        return self.last
