"""A stage for whole flows: a real kernel, the strict sandbox, the unchanged bot, and people."""

from __future__ import annotations

import contextlib
import math
import re
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pymysql

from bot.sessions.diagnosis.shared_read import FRESH
from sandbox.databases.embedded import EmbeddedServer
from sandbox.slack.server import SlackSandbox
from sandbox.slack.world import DEMO_WORLD, World
from tests.support.patience import PATIENCE
from tests.support.running_bot import COMMANDS, RunningBot
from tests.support.slack_person import Person
from tests.support.slack_text import Json, text_of

APP_PASSWORD = "app-password"
WAITS_FOR_LOCK = -6005  # as RETRY_INFO has it
ASKS = "Nothing is closed without a press"  # what every card says that asks for a close
_OF_WAITS = re.compile(r"/sessions +(locks?|block|waiting|trx|transactions|triage|show)", re.IGNORECASE)


class RunningStatement(threading.Thread):
    """A statement that runs on a connection of its own until it ends; `error` is what the client got."""

    def __init__(self, connection: pymysql.Connection[Any], sql: str | bytes) -> None:
        super().__init__(daemon=True)
        self.connection = connection
        self.id = session_id(connection)
        self.error: tuple[int, str] | None = None
        self._sql = sql
        self.start()

    def run(self) -> None:
        """Run it; never raise into the thread's end."""
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(self._sql)
        except pymysql.Error as error:
            self.error = error.args[0], str(error)

    def ended(self, timeout: float = PATIENCE) -> int:
        """Wait for its end and return the error number, 0 when there was none."""
        self.join(timeout)
        assert not self.is_alive(), "the statement still runs"
        return self.error[0] if self.error else 0


class Stage:
    """What a test plays on. Connections opened here are closed by `tidy`."""

    processes = "oceanbase.V$OB_PROCESSLIST"
    without_timeout = "SET ob_query_timeout = 600000000"

    def __init__(self, database: EmbeddedServer, slack: SlackSandbox, bot: RunningBot) -> None:
        self.database = database
        self.slack = slack
        self.bot = bot
        self.alice = Person(slack, "U01ALICE")
        self.bob = Person(slack, "U02BOB")
        self.gus = Person(slack, "U03GUS")
        self._opened: list[pymysql.Connection[Any]] = []
        self._statements: list[RunningStatement] = []
        self._holder: pymysql.Connection[Any] | None = None  # of the row lock that is waited for
        self._opened_at = -math.inf  # or when a statement was started, the latest of all

    def connect(self, user: str = "teller", **more: Any) -> pymysql.Connection[Any]:
        """Open a session that a test may look at and close; it is idle.

        A client has its answer a moment before the server has its session idle, and a busy machine makes it longer.
        """
        connection = self.database.connect(user=user, password=APP_PASSWORD, **more)
        self._opened.append(connection)
        self._opened_at = time.monotonic()
        number = session_id(connection)
        self.wait_until(lambda: self.row(number).get("COMMAND") == "Sleep", "the new session to be idle")
        return connection

    def keep(self, connection: pymysql.Connection[Any]) -> None:
        """Close a connection with those that were opened here."""
        self._opened.append(connection)

    def runs(self, sql: str, user: str = "teller", **more: Any) -> RunningStatement:
        """Start a statement on a session of its own and return once the server shows it."""
        return self.starts(self.connect(user, **more), sql)

    def starts(self, connection: pymysql.Connection[Any], sql: str | bytes) -> RunningStatement:
        """Start a statement on a session that is there already and return once the server shows it."""
        with connection.cursor() as cursor:
            cursor.execute(self.without_timeout)
        statement = RunningStatement(connection, sql)
        self._statements.append(statement)
        self.wait_until(lambda: self._runs(statement.id), "the statement to run")
        self._opened_at = time.monotonic()
        return statement

    def _runs(self, session: int) -> bool:
        """Whether the server shows what a session runs, and not still that its time-out was set."""
        row = self.row(session)
        text = str(row.get("TOP_INFO") or row.get("INFO") or self.without_timeout)
        return row.get("COMMAND") == "Query" and not text.startswith(self.without_timeout)

    def waits_for_lock(self) -> RunningStatement:
        """Give a statement that waits for a row lock, which the kernel takes 3 to 11 s to end; one at a time."""
        if self._holder is not None:
            self._holder.rollback()
        holder = self._holder = self.connect(database="depot")
        holder.begin()
        with holder.cursor() as cursor:
            cursor.execute("UPDATE stock SET quantity = quantity + 1 WHERE sku = 1")
        waiter = self.runs("UPDATE stock SET quantity = 0 WHERE sku = 1", database="depot")
        self.wait_until(lambda: self.row(waiter.id).get("RETRY_INFO") == WAITS_FOR_LOCK, "the lock to be waited for")
        return waiter

    def until_locks_show(self, waiter: RunningStatement) -> None:
        """Wait until the view of locks has had a statement as a waiter for longer than a read of waits is shared.

        For some 20 ms it is in no queue: it only tries again and again.
        """
        waits = "SELECT 1 FROM oceanbase.V$OB_LOCKS WHERE block = 1 AND session_id = %s AND ctime > 300000"
        with self.database.connect() as connection, connection.cursor() as cursor:
            self.wait_until(lambda: cursor.execute(waits, (waiter.id,)), "the lock to be waited for")

    def until_read_anew(self, since: float | None = None) -> None:
        """Wait until no read of waits and transactions from before now, or ``since`` then, is shared any more."""
        at = (time.monotonic() if since is None else since) + FRESH
        self.wait_until(lambda: time.monotonic() > at, "what was read before to be old")

    def stops(self, statement: RunningStatement) -> None:
        """End a statement, as if it had come to its end by itself; return once the server shows its session idle."""
        with self.database.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"KILL QUERY {statement.id}")
        statement.ended()  # on MySQL without an error: SLEEP() answers 1
        self.wait_until(lambda: self.row(statement.id).get("COMMAND") == "Sleep", "the session to be idle")

    def row(self, session: int) -> dict[str, Any]:
        """Return the server's own row of a session, empty when there is none."""
        with self.database.connect() as connection, connection.cursor(pymysql.cursors.DictCursor) as cursor:
            connection.encoding = "latin1"  # what runs may be no UTF-8
            cursor.execute(f"SELECT * FROM {self.processes} WHERE id = %s", (session,))
            return dict(cursor.fetchone() or {})

    def own_session(self) -> int:
        """Return the id of a session of the bot's own on an OceanBase; data sources of other tests log in otherwise.

        The bot answers first, so that the next answer finds no old connection that gives way to a new one.
        """
        self.asks(self.alice, "/sessions", "Sessions on demo")
        with self.database.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT id FROM {self.processes} WHERE module = 'session-bot' AND user = 'root'")
            return int(cursor.fetchall()[0][0])

    def wait_until(self, condition: Callable[[], object], what: str, timeout: float = PATIENCE) -> None:
        """Wait for something that the database shows."""
        self.slack.wait_for(lambda: bool(condition()), timeout, what)

    def asks(
        self, person: Person, text: str, answer: str, channel: str | None = None, timeout: float = PATIENCE
    ) -> Json:
        """Type something and return the answer to exactly that.

        What tells of waits and transactions is no read from before the test's sessions did what they do.
        """
        if _OF_WAITS.match(text):
            self.until_read_anew(self._opened_at)
        before = [message["key"] for message in person.messages(channel)]
        person.types(text, channel)
        return person.wait_for_message(
            lambda message: message["key"] not in before and answer in full_text(message), channel, timeout
        )

    def card_of(
        self, typed: object, channel: str | None = None, person: Person | None = None, timeout: float = PATIENCE
    ) -> Json:
        """Ask for a close, as Alice where nobody else is named, and return its card."""
        return self.asks(person or self.alice, f"/kill-session {typed}", ASKS, channel, timeout)

    def presses(self, person: Person, place: Json, button: str, answer: str) -> Json:
        """Press something and return the new message it brings."""
        before = [message["key"] for message in person.messages(place["channel"])]
        person.press(place, button)
        return person.wait_for_message(
            lambda message: message["key"] not in before and answer in full_text(message), place["channel"]
        )

    def stored(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Ask the bot's store."""
        with contextlib.closing(sqlite3.connect(self.bot.log.parent / "store.db")) as store:
            return store.execute(query, values).fetchall()

    def change_store(self, statement: str, **values: object) -> None:
        """Change the bot's store behind its back."""
        with contextlib.closing(sqlite3.connect(self.bot.log.parent / "store.db")) as store, store:
            store.execute(statement, values)

    def passes(self, card: Json, seconds: float) -> None:
        """Put back the times of the request that a card stands for, as if it had been made that long ago."""
        self.slack.wait_for(lambda: self.stored("SELECT 1 FROM closing_requests WHERE card_ts = ?", card["ts"]))
        times = ("expires_at", "decided_at", "alone_from", "called_at")
        later = ", ".join(f"{time} = {time} - :seconds" for time in times)
        with contextlib.closing(sqlite3.connect(self.bot.log.parent / "store.db")) as store, store:
            given = {"seconds": seconds, "ts": card["ts"]}
            store.execute(f"UPDATE closing_requests SET {later} WHERE card_ts = :ts", given)

    def tidy(self) -> None:
        """Close what the test opened.

        Those that hold locks go first: whoever waits for one goes on at once, and takes seconds to end when killed.
        """
        running = {statement.connection for statement in self._statements}
        close(one for one in self._opened if one not in running)
        with self.database.connect() as connection, connection.cursor() as cursor:
            for statement in self._statements:
                statement.join(0.5 if self.row(statement.id).get("RETRY_INFO") == WAITS_FOR_LOCK else 0)
                if statement.is_alive():
                    with contextlib.suppress(pymysql.Error):
                        cursor.execute(f"KILL {statement.id}")
        for statement in self._statements:
            statement.join(PATIENCE)
        close(self._opened)
        self.wait_until(lambda: not still_there(self.database, self._opened, self.processes), "the clients to be gone")
        self._statements.clear()
        self._opened.clear()
        self._holder = None
        self.slack.clear()


class MariaDBStage(Stage):
    """The same on a MariaDB."""

    processes = "information_schema.PROCESSLIST"
    without_timeout = "SET max_statement_time = 0, innodb_lock_wait_timeout = 600"


class MySQLStage(MariaDBStage):
    """The same on a MySQL."""

    processes = "performance_schema.processlist"  # nobody can read the other one while a statement has an emoji (3854)
    without_timeout = "SET max_execution_time = 0, innodb_lock_wait_timeout = 600"


S = TypeVar("S", bound=Stage)


@contextlib.contextmanager
def staged_as(
    kind: type[S],
    database: EmbeddedServer,
    folder: Path,
    *,
    bot: Callable[..., RunningBot] = RunningBot,
    request_url: str | None = None,
    world: World = DEMO_WORLD,
    **more: Any,
) -> Iterator[S]:
    """Set up a stage of its own, and close in the end what was opened on it.

    ``request_url`` is where Slack posts to in HTTP mode, ``world`` who there is; ``more`` is what the ``bot`` takes
    besides.
    """
    accounts(database)
    with SlackSandbox(world, commands=COMMANDS, request_url=request_url) as slack:
        slack.limits.rates.clear()  # rate limits have tests of their own
        with bot(slack, database, folder, **more) as running:
            stage = kind(database, slack, running)
            try:
                yield stage
            finally:
                stage.tidy()


@contextlib.contextmanager
def staged(database: EmbeddedServer, folder: Path, **more: Any) -> Iterator[Stage]:
    """Set up a stage of its own on an OceanBase; see ``staged_as``."""
    with staged_as(Stage, database, folder, **more) as stage:
        yield stage


def full_text(message: Json) -> str:
    """Everything a message says, fallback text included."""
    return f"{message['text']}\n{text_of(message)}"


def session_id(connection: pymysql.Connection[Any]) -> int:
    """The server's id of a connection."""
    return int(connection.thread_id())  # type: ignore[no-untyped-call]  # so in PyMySQL's types


def close(connections: Iterable[pymysql.Connection[Any]]) -> None:
    """Close connections, also such as the server has closed."""
    for connection in connections:
        with contextlib.suppress(pymysql.Error):
            connection.close()


def still_there(
    database: EmbeddedServer, closed: Iterable[pymysql.Connection[Any]], processes: str = Stage.processes
) -> bool:
    """Whether the server still shows one of these sessions: it takes a moment to notice that a client has gone.

    After a restart somebody else may have its id; another test counts sessions by their user.
    """
    ids, users = [], set()
    for one in closed:
        ids.append(session_id(one))
        users.add(one.user.decode() if isinstance(one.user, bytes) else one.user)
    if not ids:
        return False
    with database.connect() as connection, connection.cursor() as cursor:
        return bool(cursor.execute(f"SELECT 1 FROM {processes} WHERE ID IN %s AND USER IN %s", (ids, list(users))))


def accounts(database: EmbeddedServer) -> None:
    """Make the users that tests log in as, and a table to lock rows of; once for each database."""
    if database in _WITH_ACCOUNTS:
        return
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE IF NOT EXISTS depot")
        for user in ("teller", "auditor", "guarded"):
            cursor.execute(f"CREATE USER IF NOT EXISTS {user} IDENTIFIED BY '{APP_PASSWORD}'")
            cursor.execute(f"GRANT ALL ON depot.* TO {user}")
        cursor.execute("CREATE TABLE IF NOT EXISTS depot.stock (sku INT PRIMARY KEY, quantity INT)")
        cursor.execute("INSERT IGNORE INTO depot.stock VALUES (1, 100), (2, 100), (3, 100)")
    _WITH_ACCOUNTS.add(database)


_WITH_ACCOUNTS: weakref.WeakSet[EmbeddedServer] = weakref.WeakSet()
