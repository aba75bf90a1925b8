"""Each act once: Slack delivers some payloads twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from cachetools import TTLCache

REMEMBER = 600.0  # seconds; Slack redelivers within five minutes (docs/slack.md 1.5)
AT_MOST = 50_000  # acts, 80 a second for ten minutes; of more the oldest are forgotten first


class Deduplication:
    """Remembers which acts were delivered."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._seen: TTLCache[str, None] = TTLCache(AT_MOST, REMEMBER, monotonic)

    def first(self, act: str) -> bool:
        """Whether this is the first time within ten minutes. True for exactly one of any callers."""
        with self._lock:
            if act in self._seen:
                return False
            self._seen[act] = None
            return True
