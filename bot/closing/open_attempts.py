"""The attempts that this process carries out: each has this owner until what came of it is on record."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from time import sleep

import structlog

from bot.closing.attempt import CloseAttempt
from bot.closing.model import ClosingRequest
from bot.closing.store import Store
from bot.closing.store.leases import LEASE
from bot.errors import StoreError
from bot.sessions.uptime import since_boot

_AGAIN = 0.5  # seconds between two tries to write what is left at the end
# While the store does not answer, an owner cannot say that it is there either: whoever comes back to the store at the
# same time gives it that long.
_HEARD_FOR = LEASE.total_seconds()

log = structlog.get_logger(__name__)


class OpenAttempts:
    """Outlives a reload of the configuration. ``timer`` gives seconds since some moment, sleep included."""

    def __init__(self, store: Store, timer: Callable[[], float] = since_boot) -> None:
        self._store = store
        self._timer = timer
        self._lock = threading.Lock()
        self._taking: Counter[str] = Counter()  # from before their claims until their attempts are over
        self._live: dict[str, CloseAttempt] = {}
        self._unwritten: dict[str, CloseAttempt] = {}  # their outcomes are known, and the store has not taken them
        self._unreleased: dict[str, tuple[CloseAttempt, str]] = {}  # nothing was sent, and the store has not been told
        self._hears_since = timer()

    @property
    def requests(self) -> frozenset[str]:
        """The requests that nobody else is to finish."""
        with self._lock:
            return frozenset((*self._taking, *self._live, *self._unwritten, *self._unreleased))

    def carries(self, request_id: str) -> bool:
        """Whether an attempt that has taken this request is under way here, or not written down yet."""
        with self._lock:
            return request_id in self._live or request_id in self._unwritten

    def may_take_over(self) -> bool:
        """Whether the store has answered for so long that owners who are there have said so.

        That time begins anew when somebody has set its clock. Raises ``StoreError``.
        """
        if not self._store.database.shared:
            return True
        self._hear()
        return self._timer() - self._hears_since >= _HEARD_FOR

    def _hear(self) -> None:
        try:
            self._store.database.keep_time()
        except StoreError:
            self._hears_since = self._timer()
            raise
        if self._store.database.jumped:
            self._hears_since = self._timer()

    @contextlib.contextmanager
    def taking(self, request_id: str) -> Iterator[None]:
        """Have it known as this process's for as long as the block, in which it is claimed and carried out.

        It must be known before the claim is: else that would be taken for one that was left.
        """
        with self._lock:
            self._taking[request_id] += 1
        try:
            yield
        finally:
            with self._lock:
                self._taking[request_id] -= 1
                self._taking = +self._taking  # without those that nobody takes any more

    @contextlib.contextmanager
    def carrying_out(self, attempt: CloseAttempt) -> Iterator[None]:
        """Have it known as carried out by this process for as long as the block."""
        key = attempt.request.id
        with self._lock:
            self._live[key] = attempt
        try:
            yield
        finally:
            with self._lock:
                self._live.pop(key, None)

    def renew(self) -> None:
        """Tell the store that this process is there, and be told its time. Raises ``StoreError``."""
        self._hear()
        if self.requests:
            asked = self._timer()
            self._store.leases.renew()
            with self._lock:
                for attempt in self._live.values():
                    attempt.renewed(asked)

    def conclude(self, attempt: CloseAttempt) -> ClosingRequest | None:
        """Write what came of an attempt and return the request; None where the store does not take it now.

        It is written when the store does, by ``settle``.
        """
        try:
            return self._written(attempt)
        except StoreError as error:
            log.warning("outcome not written yet", request=attempt.request.id, error=error.sentence)
            with self._lock:
                self._unwritten[attempt.request.id] = attempt
            return None

    def release(self, attempt: CloseAttempt, why: str) -> None:
        """Open a request of which nothing was sent; where the store does not take that, ``settle`` tries again."""
        try:
            self._released(attempt, why)
        except StoreError:
            with self._lock:
                self._unreleased[attempt.request.id] = attempt, why

    def settle(self) -> list[ClosingRequest]:
        """Write what could not be written before; return the requests as they stand then. Raises ``StoreError``."""
        with self._lock:
            unwritten, unreleased = [*self._unwritten.values()], [*self._unreleased.values()]
        settled = []
        for attempt in unwritten:
            settled.append(self._written(attempt))
            with self._lock:
                self._unwritten.pop(attempt.request.id)
        for attempt, why in unreleased:
            self._released(attempt, why)
            with self._lock:
                self._unreleased.pop(attempt.request.id)
            settled += [found for found in (self._store.requests.find(attempt.request.id),) if found is not None]
        return settled

    def settle_within(self, seconds: float) -> None:
        """Write what could not be written before as long as there is time: the next process would know less."""
        until = self._timer() + seconds
        while self._unwritten or self._unreleased:
            try:
                self.settle()
            except StoreError:
                if self._timer() >= until:
                    log.warning("outcomes not written", requests=len(self._unwritten) + len(self._unreleased))
                    return
                sleep(_AGAIN)

    def _released(self, attempt: CloseAttempt, why: str) -> None:
        now = attempt.clock()
        if not self._store.leases.release(attempt.request, now, why, nothing_sent=True):  # somebody has taken it over
            self._store.outcomes.correct(attempt.request, attempt.outcomes, attempt.clock())

    def _written(self, attempt: CloseAttempt) -> ClosingRequest:
        written = self._store.outcomes.conclude(attempt.request, attempt.outcomes, attempt.clock())
        if len(written) < len(attempt.outcomes):
            if attempt.sent:
                self._store.outcomes.put_back(attempt.request, attempt.outcomes, attempt.clock())
            # What was taken over meanwhile is told by whoever looked afterwards, who knows less.
            self._store.outcomes.correct(attempt.request, attempt.outcomes, attempt.clock())
        return self._store.requests.find(attempt.request.id) or attempt.known()
