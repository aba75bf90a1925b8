"""The connections of one data source: how many, how old, where they lead, and who is given one next.

A kept connection is worth nothing by itself: its server may have been replaced behind the address, a firewall may have
forgotten it, or the server hangs. So it is tried before use when it was idle, and gives way to a successor once it is
old. Yet none is given up before its successor has logged in: a server in trouble may take no new ones.
"""

from __future__ import annotations

import contextlib
import enum
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic

import structlog

from bot.errors import BusyError, DataSourceError
from bot.sessions.database import Connection, Preparation, open_connection
from bot.sessions.driver_errors import TOO_MANY
from bot.sessions.endpoint import READ_TIMEOUT, Endpoint
from bot.sessions.identity import Move, Server, identify

POOL_SIZE = 4  # connections kept open and used at once by one data source
WAITING = 24  # commands that may wait for one
MAX_AGE = timedelta(seconds=60)  # after which a successor is tried

IDLE = 0.1  # seconds without use after which a connection is tried first
SIGN_OF_LIFE = 0.5  # seconds that it may take to answer then
AGAIN = 10.0  # seconds after which a successor that could not log in is tried again
_ROOM_AGAIN = 0.5  # seconds after which a server that takes no new connections is asked again
_TOLD = timedelta(minutes=10)  # for which it is said that an address leads to another server

# Told of each use of a pool: data source, seconds, and the kind of error, '' for none.
Visited = Callable[[str, float, str], None]
# What a new connection goes through before anybody gets it; ``moved`` is whether it leads elsewhere than those before.
Welcome = Callable[[Connection, bool], None]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class OwnSession:
    """A session of the bot's own, as the list of sessions names it."""

    server: str | None
    user: str
    id: int
    proxy_session_id: int | None  # the same on all servers that its proxy carries it to


@dataclass(frozen=True, slots=True)
class PoolUse:
    """How busy the connections of a data source are."""

    in_use: int  # those that are being opened included
    waiting: int
    size: int


class Purpose(enum.IntEnum):
    """What a connection is borrowed for; of those who wait, a higher one comes first."""

    DIAGNOSING = 0  # reads locks, transactions and what else explains sessions: views that may be slow in an incident
    READING = 1
    SEARCHING = 2  # for what a filter closes: it may take long, as any search
    CLOSING = 3  # looks at what was named or confirmed, and KILL


class Pool:
    """The connections of one data source. Opens none until the first use.

    Once there are two, one of them is for closing alone: whoever reads or searches gets another, and waits where there
    is none. Once there are three, one more is for nobody who diagnoses. A statement of a diagnosis may take
    ``diagnosis_limit`` seconds.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        prepare: Preparation,
        visited: Visited | None = None,
        welcome: Welcome = lambda _connection, _moved: None,
        max_age: timedelta = MAX_AGE,
        diagnosis_limit: float | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._limits = {Purpose.DIAGNOSING: diagnosis_limit}
        self._prepare = tuple(prepare)
        self._visited: Visited = visited or (lambda _source, _seconds, _error: None)
        self._welcome = welcome
        self._max_age = max_age.total_seconds()
        self._places = threading.BoundedSemaphore(POOL_SIZE + WAITING)
        self._own: weakref.WeakKeyDictionary[Connection, tuple[OwnSession, ...]] = weakref.WeakKeyDictionary()
        # All below is guarded by this, which is notified of whatever may let somebody go on.
        self._changed = threading.Condition()
        self._idle: list[Connection] = []  # the last one given back is the first one given out
        self._in_use: dict[Connection, Purpose] = {}
        self._queues: dict[Purpose, deque[object]] = {purpose: deque() for purpose in Purpose}
        self._opening = 0
        self._room_at = 0.0  # when a server that took no new ones is asked again
        self._successor_at = 0.0  # when it is tried again to replace one that is old
        self._suspect = self._retired = 0.0  # those used last, or opened, before that are tried, or replaced, first
        self._servers: dict[Connection, Server | None] = {}
        self._server: tuple[Server, float] | None = None  # where the address leads, and when that was logged in to
        self._move: Move | None = None
        self._closed = False

    @contextlib.contextmanager
    def connection(self, purpose: Purpose = Purpose.READING) -> Iterator[Connection]:
        """Borrow a connection.

        Raises ``BusyError`` when too many wait already or none got free, else one of the ``DataSourceError`` family.
        """
        if not self._places.acquire(blocking=False):
            raise BusyError(
                f"{POOL_SIZE + WAITING} commands are already waiting for data source {self._endpoint.name}. "
                "Nothing was done. Try again in a few seconds."
            )
        started, error = monotonic(), ""
        try:
            with self._borrowed(purpose) as borrowed:
                yield borrowed
        except (DataSourceError, BusyError) as failed:
            error = type(failed).__name__
            raise
        finally:
            self._places.release()
            self._visited(self._endpoint.name, monotonic() - started, error)

    def remember(self, connection: Connection, look: Callable[[], tuple[OwnSession, ...]]) -> tuple[OwnSession, ...]:
        """Return as what a connection is listed; ``look`` is asked the first time, and raises what it raises."""
        with self._changed:
            if connection in self._own:
                return self._own[connection]
        found = look()
        with self._changed:
            self._own[connection] = found
        return found

    def own(self) -> tuple[OwnSession, ...]:
        """The sessions of the connections that are open now: others get the ids of those that were closed."""
        with self._changed:
            return tuple(one for connection, found in self._own.items() if connection.is_open for one in found)

    @property
    def use(self) -> PoolUse:
        """How busy it is now."""
        with self._changed:
            waiting = sum(map(len, self._queues.values())) - self._opening
            return PoolUse(len(self._in_use) + self._opening, max(0, waiting), POOL_SIZE)

    @property
    def move(self) -> Move | None:
        """That the address leads to another server since a while ago, if it does."""
        move = self._move
        return move if move is not None and datetime.now(UTC) - move.noticed <= _TOLD else None

    def leads_elsewhere(self, connection: Connection) -> bool:
        """Whether its server is another than the one that has the address now."""
        with self._changed:
            server = self._servers.get(connection)
            return server is not None and self._server is not None and server != self._server[0]

    def close(self) -> None:
        """Close every connection, those in use as soon as they are given back."""
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
        for one in idle:
            self._let_go(one)

    @contextlib.contextmanager
    def _borrowed(self, purpose: Purpose) -> Iterator[Connection]:
        since = monotonic()
        connection, before = self._take(purpose)
        waited = monotonic() - since
        try:
            connection = self._usable(connection)
            connection.waited, connection.behind = waited, before
            connection.limit_to(self._limits.get(purpose))
            yield connection
        finally:
            self._give_back(connection)

    def _take(self, purpose: Purpose) -> tuple[Connection, int]:
        """Wait for a connection, or open one; return it with how many had come earlier and waited still."""
        queue, ticket, since = self._queues[purpose], object(), monotonic()
        with self._changed:
            before = len(queue)
            queue.append(ticket)
        try:
            while True:
                with self._changed:
                    if queue[0] is ticket and self._may_take(purpose):
                        connection = self._idle.pop(self._best(purpose))
                        self._in_use[connection] = purpose
                        return connection, before
                    if not self._may_open():
                        left = since + READ_TIMEOUT - monotonic()
                        if left <= 0:
                            raise self._none_free(purpose)
                        until_room = max(self._room_at - monotonic(), 0.01) if self._full_elsewhere() else left
                        self._changed.wait(min(left, until_room))
                        continue
                    self._opening += 1
                self._add()
        finally:
            with self._changed:
                queue.remove(ticket)
                self._changed.notify_all()

    def _may_take(self, purpose: Purpose) -> bool:
        first = sum(len(queue) for other, queue in self._queues.items() if other > purpose)
        if len(self._idle) <= first:
            return False
        # Whoever closes has one for himself once there are two.
        others = sum(one is not Purpose.CLOSING for one in self._in_use.values())
        kept = 2 if purpose is Purpose.DIAGNOSING else 1
        return purpose is Purpose.CLOSING or others < max(1, self._open - kept)

    def _best(self, purpose: Purpose) -> int:
        """Choose among those that are idle the one used last whose limit need not be changed."""
        wanted = self._limits.get(purpose)
        return next((at for at in reversed(range(len(self._idle))) if self._idle[at].limit == wanted), -1)

    @property
    def _open(self) -> int:
        return len(self._idle) + len(self._in_use)

    def _may_open(self) -> bool:
        return self._open + self._opening < POOL_SIZE and (not self._open or monotonic() >= self._room_at)

    def _full_elsewhere(self) -> bool:
        """Whether there could be one more, if the server took it."""
        return self._open + self._opening < POOL_SIZE

    def _none_free(self, purpose: Purpose) -> BusyError:
        length = len(self._queues[purpose])
        return BusyError(
            f"Nothing was asked of data source {self._endpoint.name}: "
            f"{length} command{'s wait' if length > 1 else ' waits'} in the bot's own queue for a connection to it, "
            f"and none got free within {READ_TIMEOUT} s. Try again in a few seconds."
        )

    def _add(self) -> None:
        """Open one more; where the server takes no more, those that are open must do."""
        try:
            connection = self._logged_in()
        except DataSourceError as error:
            with self._changed:
                self._opening -= 1
                self._room_at = monotonic() + _ROOM_AGAIN
                if error.errno in TOO_MANY and self._open:
                    return
            raise
        except BaseException:
            with self._changed:
                self._opening -= 1
            raise
        with self._changed:
            self._opening -= 1
            connection.used = monotonic()
            self._idle.append(connection)
            self._changed.notify_all()

    def _logged_in(self) -> Connection:
        """Open a connection to whoever has the address now."""
        while True:
            connection = open_connection(self._endpoint, self._prepare)
            try:
                server = identify(connection)
                with self._changed:
                    late, moved = self._note(connection, server)
                if not late:
                    if moved is not None:
                        log.warning(
                            "address leads to another server",
                            source=self._endpoint.name,
                            now=moved.now.name,
                            before=moved.before.name,
                        )
                    self._welcome(connection, moved is not None)
                    return connection
            except BaseException:
                self._let_go(connection)
                raise
            self._let_go(connection)

    def _note(self, connection: Connection, server: Server | None) -> tuple[bool, Move | None]:
        """Note where a new connection leads: whether it is late, to where the address has led, or news."""
        known = self._server
        if server is not None and known is not None and server != known[0] and connection.opened < known[1]:
            return True, None
        self._servers[connection] = server
        if server is None:
            return False, None
        moved = None
        if known is not None and server != known[0]:
            moved = self._move = Move(known[0], server, datetime.now(UTC))
        self._server = (server, connection.opened)
        return False, moved

    def _usable(self, kept: Connection) -> Connection:
        """Return a connection that was taken, or its successor where it is old or gives no sign of life."""
        now = monotonic()
        kept.answered = not kept.lent and now - kept.used <= IDLE
        kept.lent = True
        with self._changed:
            gone = self.leads_elsewhere(kept)
            old = kept.opened + self._max_age <= now or kept.opened < self._retired
            due = gone or (old and now >= self._successor_at)
            tried = kept.silent or kept.used < max(now - IDLE, self._suspect)
        if due:
            try:
                return self._succeed(kept)
            except DataSourceError:
                if gone:
                    kept.broken = True
                    raise
                with self._changed:
                    self._successor_at = monotonic() + AGAIN
        if tried and not kept.answers_within(SIGN_OF_LIFE):
            with self._changed:
                self._suspect = monotonic()
            try:
                return self._succeed(kept)
            except DataSourceError as error:
                # It may be as slow as that, and take no new ones: then this one is all there is.
                if error.errno not in TOO_MANY or kept.broken or not kept.answers_within(READ_TIMEOUT):
                    raise
        return kept

    def _succeed(self, kept: Connection) -> Connection:
        """Put a new connection in the place of one in use."""
        successor = self._logged_in()
        with self._changed:
            self._in_use[successor] = self._in_use.pop(kept)
        self._let_go(kept)
        return successor

    def _give_back(self, connection: Connection) -> None:
        with self._changed:
            del self._in_use[connection]
            now = monotonic()
            lost = connection.broken or not connection.is_open
            if lost:
                self._suspect = now  # where one connection broke the others mostly did too
            if connection.demoted:
                self._retired = now
            if not connection.silent:
                connection.used = now
            kept = not (lost or connection.demoted or self._closed or self.leads_elsewhere(connection))
            if kept:
                self._idle.append(connection)
            spare = self._spare(now)
            self._changed.notify_all()
        for one in spare if kept else (connection, *spare):
            self._let_go(one)

    def _spare(self, now: float) -> list[Connection]:
        """Take out what leads elsewhere, and what was not used for long: two are enough, one of them for closing."""
        spare = [one for one in self._idle if self.leads_elsewhere(one)]
        for one in self._idle:
            if one not in spare and self._open - len(spare) > 2 and one.used + self._max_age < now:
                spare.append(one)
        self._idle = [one for one in self._idle if one not in spare]
        return spare

    def _let_go(self, connection: Connection) -> None:
        with self._changed:
            self._servers.pop(connection, None)
        connection.close()
