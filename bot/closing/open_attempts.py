"""The presses that this process carries out: each has this owner until what came of it is on record."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from time import sleep

import structlog

from bot.closing.attempt import Press
from bot.closing.model import ClosingRequest
from bot.closing.store import LEASE, Store
from bot.errors import StoreError
from bot.sessions.uptime import since_boot

_AGAIN = 0.5  # seconds between two tries to write what is left at the end
# While the store does not answer, an owner cannot say that it is there either: whoever comes back to the store at the
# same time gives it that long.
_HEARD_FOR = LEASE.total_seconds()

log = structlog.get_logger(__name__)


class Attempts:
    """Outlives a reload of the configuration. ``timer`` gives seconds since some moment, sleep included."""

    def __init__(self, store: Store, timer: Callable[[], float] = since_boot) -> None:
        self._store = store
        self._timer = timer
        self._lock = threading.Lock()
        self._taking: Counter[str] = Counter()  # from before their claims until their presses are over
        self._live: dict[str, Press] = {}
        self._unwritten: dict[str, Press] = {}  # their outcomes are known, and the store has not taken them
        self._unreleased: dict[str, tuple[Press, str]] = {}  # nothing was sent, and the store has not been told
        self._hears_since = timer()

    @property
    def requests(self) -> frozenset[str]:
        """The requests that nobody else is to finish."""
        with self._lock:
            return frozenset((*self._taking, *self._live, *self._unwritten, *self._unreleased))

    def carries(self, request_id: str) -> bool:
        """Whether a press that has taken this request is under way here, or not written down yet."""
        with self._lock:
            return request_id in self._live or request_id in self._unwritten

    def may_take_over(self) -> bool:
        """Whether the store has answered for so long that owners who are there have said so.

        That time begins anew when somebody has set its clock. Raises ``StoreError``.
        """
        if not self._store.shared:
            return True
        self._hear()
        return self._timer() - self._hears_since >= _HEARD_FOR

    def _hear(self) -> None:
        try:
            self._store.keep_time()
        except StoreError:
            self._hears_since = self._timer()
            raise
        if self._store.jumped:
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
    def carrying_out(self, press: Press) -> Iterator[None]:
        """Have it known as carried out by this process for as long as the block."""
        key = press.request.id
        with self._lock:
            self._live[key] = press
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
            self._store.renew()
            with self._lock:
                for press in self._live.values():
                    press.renewed(asked)

    def conclude(self, press: Press) -> ClosingRequest | None:
        """Write what came of a press and return the request; None where the store does not take it now.

        It is written when the store does, by ``settle``.
        """
        try:
            return self._written(press)
        except StoreError as error:
            log.warning("outcome not written yet", request=press.request.id, error=error.sentence)
            with self._lock:
                self._unwritten[press.request.id] = press
            return None

    def release(self, press: Press, why: str) -> None:
        """Open a request of which nothing was sent; where the store does not take that, ``settle`` tries again."""
        try:
            self._released(press, why)
        except StoreError:
            with self._lock:
                self._unreleased[press.request.id] = press, why

    def settle(self) -> list[ClosingRequest]:
        """Write what could not be written before; return the requests as they stand then. Raises ``StoreError``."""
        with self._lock:
            unwritten, unreleased = [*self._unwritten.values()], [*self._unreleased.values()]
        settled = []
        for press in unwritten:
            settled.append(self._written(press))
            with self._lock:
                self._unwritten.pop(press.request.id)
        for press, why in unreleased:
            self._released(press, why)
            with self._lock:
                self._unreleased.pop(press.request.id)
            settled += [found for found in (self._store.get(press.request.id),) if found is not None]
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

    def _released(self, press: Press, why: str) -> None:
        now = press.clock()
        if not self._store.release(press.request, now, why, nothing_sent=True):  # somebody has taken it over
            self._store.correct(press.request, press.findings, press.clock())

    def _written(self, press: Press) -> ClosingRequest:
        written = self._store.conclude(press.request, press.findings, press.clock())
        if len(written) < len(press.findings):
            if press.sent:
                self._store.put_back(press.request, press.findings, press.clock())
            # What was taken over meanwhile is told by whoever looked afterwards, who knows less.
            self._store.correct(press.request, press.findings, press.clock())
        return self._store.get(press.request.id) or press.known()
