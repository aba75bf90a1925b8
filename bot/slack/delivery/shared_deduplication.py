"""Each act once, whichever replica Slack delivers it to."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from bot.closing.store.deliveries import Deliveries, Taken
from bot.errors import AnsweredElsewhereError, StoreError

log = structlog.get_logger(__name__)


class SharedDeduplication:
    """Lets one of the replicas on a store answer a delivery; the others are there should it fall silent.

    ``look_after`` is to be called a few times within the lease that who answers has.
    """

    def __init__(self, deliveries: Deliveries) -> None:
        self._deliveries = deliveries
        self._lock = threading.Lock()
        self._ours: set[str] = set()
        self._noted_later: set[str] = set()  # answered, which the store did not take
        self._elsewhere: dict[str, Callable[[], object]] = {}  # what is done where its replica falls silent

    def take(self, delivery: str, take_over: Callable[[], object]) -> None:
        """Take a delivery. Raises ``AnsweredElsewhereError`` where another replica has it, or ``StoreError``.

        ``take_over`` is called, at any time later, where that replica falls silent before it has answered. The
        delivery is ours then.
        """
        taken = self._deliveries.take(delivery)
        with self._lock:
            if taken is Taken.OURS:
                self._ours.add(delivery)
                return
            if taken is Taken.UNDER_WAY:
                self._elsewhere[delivery] = take_over
        raise AnsweredElsewhereError("Another replica has answered this.")

    def answered(self, delivery: str) -> None:
        """Note that a delivery of ours has had its answer, now or as soon as the store takes it."""
        with self._lock:
            self._ours.discard(delivery)
            self._noted_later.add(delivery)
        try:
            self._note()
        except StoreError as error:
            log.warning("answered, but not noted", error=error.sentence)

    def look_after(self) -> None:
        """Keep what is ours, and take over what a silent replica has left. Raises ``StoreError``."""
        with self._lock:
            ours, elsewhere = bool(self._ours), dict(self._elsewhere)
        if ours:
            self._deliveries.renew()
        self._note()
        for delivery, take_over in elsewhere.items():
            taken = self._deliveries.take(delivery)
            if taken is Taken.UNDER_WAY:
                continue
            with self._lock:
                del self._elsewhere[delivery]
                if taken is Taken.OURS:
                    self._ours.add(delivery)
            if taken is Taken.OURS:
                log.warning("taken over from a silent replica")
                take_over()

    def _note(self) -> None:
        with self._lock:
            answered = list(self._noted_later)
        for delivery in answered:
            self._deliveries.answered(delivery)
            with self._lock:
                self._noted_later.discard(delivery)
