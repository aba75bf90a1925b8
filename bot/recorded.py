"""The store, telling what is put on record, and set up later where it was away at the start."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from bot.closing.model import ClosingRequest, TargetOutcome
from bot.closing.store import Store
from bot.sessions.tls import PREFERRED, Tls


class RecordedStore(Store):
    """``concluded`` is told the outcomes that are on record, for metrics."""

    def __init__(self, url: str, concluded: Callable[[Iterable[TargetOutcome]], None], tls: Tls = PREFERRED) -> None:
        super().__init__(url, tls)
        self._concluded = concluded
        self._created = False
        self._creating = threading.Lock()

    def create_once(self) -> None:
        """Make the tables unless that has been done. Raises ``StoreError``."""
        with self._creating:
            if not self._created:
                self.create()
                self._created = True

    def replaced(self) -> None:
        """Make the tables in the new file, which may be of an older version."""
        self._created = False

    def check(self) -> None:
        """Read something; a store is not well before all its tables are there."""
        self.create_once()
        super().check()

    def conclude(
        self, request: ClosingRequest, outcomes: Mapping[int, TargetOutcome], now: datetime
    ) -> list[TargetOutcome]:
        """Write the outcomes, then tell those that are new."""
        written = super().conclude(request, outcomes, now)
        self._concluded(written)
        return written
