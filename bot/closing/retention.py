"""Letting go of old records, by time that the bot has lived through: no jump of a clock lets go of anything."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from bot.closing.store import Store
from bot.sessions.uptime import since_boot

SURE_AFTER = 86_400.0  # seconds for which the machine's clock must have gone on evenly before it is believed
_UNEVEN = 60.0  # seconds


class Retention:
    """Lets go of what is older than is to be kept. ``wall`` is the machine's clock, ``lived`` one that nobody sets.

    After a start and after each jump of the machine's clock, time goes on from the newest believable record for a day.
    """

    def __init__(
        self, store: Store, wall: Callable[[], float] | None = None, lived: Callable[[], float] = since_boot
    ) -> None:
        self._store = store
        self._wall = wall or time.time
        self._lived = lived
        self._since = lived()
        self._ahead = self._wall() - lived()
        self._began: float | None = None  # the time from which it goes on; None: not known yet

    def let_go(self, keep: timedelta) -> int:
        """Let go of what is older, and return how many records that were. Raises ``StoreError``."""
        return self._store.old_records.forget(
            datetime.fromtimestamp(self._now(keep), UTC) - keep, self._store.database.clock()
        )

    def _now(self, keep: timedelta) -> float:
        wall, lived = self._wall(), self._lived()
        if self._began is None:
            newest = self._store.old_records.believed(keep)
            self._began = newest if newest is not None else self._ahead + self._since
        believed = self._began + lived - self._since
        if abs(wall - lived - self._ahead) > _UNEVEN:
            self._since, self._ahead, self._began = lived, wall - lived, min(believed, wall)
        elif lived - self._since >= SURE_AFTER:
            believed = wall
        return min(believed, wall)
