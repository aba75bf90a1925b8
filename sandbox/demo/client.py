"""A client of the workload: one pooled connection that comes back after its session was closed."""

import contextlib
import random
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pymysql
from pymysql.connections import Connection
from pymysql.cursors import Cursor

from sandbox.demo.endpoint import as_sent

LOOK_EVERY = 0.25  # seconds between two looks of an idle client at its socket, as a pool's validation does


@dataclass(frozen=True)
class Event:
    """What happened to one client: "connected", "done" (a statement or step), "error" or "holding"."""

    client: str
    what: str
    session_id: int
    errno: int = 0
    message: str = ""
    time: float = field(default_factory=time.time)


class EventLog:
    """The events of all clients in order; the oldest are forgotten after ten thousand."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=10_000)
        self._news = threading.Condition()

    def __iter__(self) -> Iterator[Event]:
        with self._news:
            return iter(list(self._events))

    def add(self, event: Event) -> None:
        """Append an event and wake up whoever waits."""
        with self._news:
            self._events.append(event)
            self._news.notify_all()

    def wait_for(self, client: str, what: str, *, errno: int = 0, after: float = 0, within: float = 120) -> Event:
        """Return the first such event later than `after` (epoch seconds), or raise TimeoutError."""

        def find() -> Event | None:
            wanted = (client, what, errno)
            matches = (e for e in self._events if (e.client, e.what, e.errno) == wanted and e.time > after)
            return next(matches, None)

        with self._news:
            found = self._news.wait_for(find, timeout=within)
        if found is None:
            raise TimeoutError(f"{client} had no event {what!r} with error {errno} within {within} s")
        return found


@dataclass(frozen=True)
class Account:
    """How a client logs in; `source` is its own loopback address, empty where only one exists."""

    host: str
    port: int
    user: str
    password: str
    database: str | None
    source: str = ""


class Client:
    """One thread with one connection: works, notes every error, connects again after `pause` seconds."""

    def __init__(
        self, name: str, account: Account, work: Callable[["Client"], None], log: EventLog, pause: float
    ) -> None:
        self.name = name
        self.account = account
        self.pause = pause
        self.connection: Connection[Cursor] | None = None
        self._work = work
        self._log = log
        self._stopping = threading.Event()
        # Of its own: the process's random numbers may be somebody else's, a property test's for example.
        self._out_of_step = random.Random()  # noqa: S311  # it is no secret when a client asks
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._live, name=f"workload {name}", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Wake the client out of whatever it waits for, a statement that runs for hours included."""
        self._stopping.set()
        sock = self._socket
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def join(self, within: float = 10) -> None:
        """Wait until the client has ended."""
        self._thread.join(within)

    def run(self, sql: str) -> None:
        """Execute one statement on the client's connection and read its whole answer."""
        if self.connection is None:
            raise pymysql.err.OperationalError(2013, "Lost connection")
        with self.connection.cursor() as cursor:
            cursor.execute(sql)
            cursor.fetchall()

    def rest(self, seconds: float) -> None:
        """Do nothing for about this long, less if the session is closed or the client is told to stop."""
        until = time.monotonic() + seconds * self._out_of_step.uniform(0.8, 1.2)
        while not self.has_ended and (left := until - time.monotonic()) > 0:
            self._stopping.wait(min(LOOK_EVERY, left))

    def note(self, what: str, errno: int = 0, message: str = "") -> None:
        """Write an event about this client."""
        session_id = 0
        if self.connection is not None:
            session_id = self.connection.thread_id()  # type: ignore[no-untyped-call]
        self._log.add(Event(self.name, what, session_id, errno, message))

    @property
    def has_ended(self) -> bool:
        """Whether there is nothing to wait for: told to stop, or the server has closed the session."""
        return self._stopping.is_set() or self._is_cut_off()

    def _live(self) -> None:
        while not self._stopping.is_set():
            try:
                if self.connection is None:
                    self._connect()
                self._work(self)
            except (pymysql.err.MySQLError, OSError) as problem:
                self._note_error(problem)
        self._disconnect()

    def _note_error(self, problem: Exception) -> None:
        if self._stopping.is_set():
            return
        errno = problem.args[0] if problem.args and isinstance(problem.args[0], int) else 0
        self.note("error", errno, str(problem))
        self._stopping.wait(self.pause)
        if self.connection is None or self._is_cut_off():  # after 5066 the server hangs up a moment later
            self._disconnect()

    def _connect(self) -> None:
        """Log in over a socket of our own, so that `ask_to_stop` can end a statement from another thread."""
        account = self.account
        source = (account.source, 0) if account.source else None
        self._socket = socket.create_connection((account.host, account.port), 5, source)
        if self._stopping.is_set():
            return
        self._socket.settimeout(None)
        connection = pymysql.connect(
            user=account.user,
            password=as_sent(account.password),
            database=account.database,
            autocommit=True,
            ssl_disabled=True,  # the socket below stays ours
            defer_connect=True,
        )
        connection.connect(self._socket)
        self.connection = connection
        self.note("connected")

    def _disconnect(self) -> None:
        if self.connection is not None:
            if self.connection.open:
                self.connection.close()
            self.connection = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _is_cut_off(self) -> bool:
        """Whether the server has hung up: a look at the socket that takes nothing out of it."""
        if self._socket is None:
            return True
        try:
            return self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True
