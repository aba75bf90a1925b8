"""The database that requests and records are kept in: its engine, its transactions, what it says when it fails."""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from bot.closing import audit_log, tables, url
from bot.closing.clock import Clock, Kept, boot
from bot.closing.lock import StoreLock
from bot.closing.model import State
from bot.errors import ConfigurationError, StoreError, UnsafeConnectionError
from bot.sessions.database import login, safety
from bot.sessions.tls import PREFERRED, Tls
from bot.sessions.uptime import since_boot

# A replica that freezes in the middle of a write holds the record's lock, and nobody closes anything, until the server
# drops its transaction: after 8 hours (`wait_timeout`) where nobody tells it another time. Seconds; OceanBase keeps to
# them within 0.2 s, but takes up to 5 s more from 10 s on (measured on seekdb 1.3).
DROPPED_AFTER = 8
# What a server is told, the first of these that it knows: OceanBase takes variables of others as well and does nothing
# about them. Its own counts from the start of the transaction, since `ob_trx_idle_timeout` leaves many idle ones alone
# for minutes (the same); MariaDB's counts while the client is silent. The last one, which every MySQL knows, drops idle
# connections that hold nothing as well: the pool tries each before it gives it out.
_DROPPING: tuple[str, ...] = ("ob_trx_timeout = {0}000000", "idle_transaction_timeout = {0}", "wait_timeout = {0}")
# How long a server lets somebody wait for the lock. It must be over before the lock is dropped: else it would be given
# to the next writer of the very replica that is frozen. And before `read_timeout`, else the wait goes on unseen.
_LOCK_WAIT = 4  # seconds; InnoDB takes up to one more
_WAITING = ("ob_trx_lock_timeout = {0}000000", "innodb_lock_wait_timeout = {0}")
_LOCK_TRIES = 4  # together longer than ``DROPPED_AFTER``
_STEADY = 5.0  # seconds by which a server's clock may go on otherwise than this machine's uptime
_WRONG_BY = 1.0  # seconds that a machine's clock may be beside the store's
_LOCK_WAIT_TIMEOUT = 1205  # MySQL's, MariaDB's and OceanBase's


class StoreDatabase:
    """SQLite, or a MySQL-compatible server. Every method raises ``StoreError`` when it does not answer.

    ``tls`` is how a server is logged in to; a file needs none of it, and is one process's, which can keep nobody else
    from closing.
    """

    def __init__(self, address: str, tls: Tls = PREFERRED) -> None:
        parsed = url.read(address)
        self.clock = Clock(self.keep_time)
        self.lock: StoreLock | None = None  # of a file, held by this process as long as it runs
        self.owner = secrets.token_hex(8)  # names this process in what it has claimed
        self.quiet_for = timedelta(hours=1)  # how long what was asked or decided counts, for a budget for example
        self.opened = datetime.fromtimestamp(self.clock.seconds, UTC)
        self.newest_at_start: float | None = None  # when the newest record was written, seconds since the epoch
        self._ahead: float | None = None  # of this machine's uptime, the server's clock at the last look at it
        self.jumped = False  # whether it was seen to have been set then, since the look before
        self.shared = parsed.get_backend_name() != "sqlite"  # may other replicas use it as well?
        self.drops_frozen = True  # whether the server ends what a frozen replica holds, as far as it was asked yet
        self._tls = tls
        options: dict[str, Any] = {"connect_args": {"timeout": 5}}
        if self.shared:
            options = {
                "connect_args": {"connect_timeout": 3, "read_timeout": 6},
                "pool_pre_ping": True,
                "isolation_level": "READ COMMITTED",  # whoever waited for a lock must see what it was held for
            }
        self._engine = sa.create_engine(parsed, **options)
        self._file = url.file_of(parsed)
        self._file_was_there = False
        sa.event.listen(self._engine, "do_connect", self._log_in if self.shared else self._refuse_new_file)
        sa.event.listen(self._engine, "connect", self._limited if self.shared else self._durable)

    @property
    def now(self) -> sa.ColumnElement[float]:
        """The store's own clock, in seconds since the epoch: the only one that all replicas share."""
        if self.shared:
            return sa.literal_column("UNIX_TIMESTAMP(NOW(6))", sa.Double)
        return sa.literal(self.clock.seconds, sa.Double)

    def create(self) -> None:
        """Make the tables, and what an older store lacks of them; safe where two replicas start at once."""
        try:
            tables.create(self._engine, audit_log.acknowledge)
        except SQLAlchemyError as error:
            raise _failed(error) from error
        self._start_time()
        self.opened = self.clock()
        with self.reading() as connection:
            newest = connection.execute(sa.select(sa.func.max(tables.audit.c.at))).scalar()
        self.newest_at_start = newest / 1e6 if newest is not None else None

    def keep_time(self) -> None:
        """Tell the clock the server's time, which somebody may set; while somebody waits it goes on by itself.

        That of a file goes on by itself and is set right by the machine's, as nobody waits for it.
        """
        if self.shared:
            with self.reading() as connection:
                now = float(connection.execute(sa.select(self.now)).scalar_one())
                before, self._ahead = self._ahead, now - since_boot()
                self.jumped = before is not None and abs(self._ahead - before) > _STEADY
                right = abs(now - self.clock.seconds) <= _STEADY
                if right or not self.clock.told or not self._waited_for(connection):
                    self.clock.tell(now)
        elif not self.clock.told:
            self._start_time()
        elif abs(time.time() - self.clock.seconds) > _WRONG_BY:
            with self.writing() as connection:
                self._set_right(connection)

    def _start_time(self) -> None:
        """Go on from where the process before this one was, or from the server's time."""
        if self.shared:
            self.keep_time()
            return
        with self.writing() as connection:
            row = connection.execute(sa.select(tables.clock)).mappings().first()
            if row is None:
                connection.execute(tables.clock.insert().values(id=1, boot="", ahead=0.0, last=0.0))
                self.clock.tell(time.time())
            else:
                self.clock.tell(Kept(row["boot"], row["ahead"], row["last"]).now())
            self._set_right(connection)

    def _set_right(self, connection: sa.Connection) -> None:
        """Take the machine's time unless somebody waits, and keep what the next process needs to go on."""
        if not self._waited_for(connection):
            self.clock.tell(time.time())
        connection.execute(tables.clock.update().values(boot=boot(), ahead=self.clock.seconds - since_boot()))

    def _waited_for(self, connection: sa.Connection) -> bool:
        """Whether somebody waits, or may come to be told to, by the clock as it is."""
        # What is of a time long after this one is of a clock that was wrong, and has nothing to do with it.
        since, until = (self.clock.seconds + side * self.quiet_for.total_seconds() for side in (-1, 1))
        requests = tables.requests.c
        counts = sa.or_(
            requests.state.in_((State.OPEN.value, State.CLAIMED.value)),
            requests.created_at.between(since, until),
            requests.decided_at.between(since, until),
        )
        return connection.execute(sa.select(requests.id).where(counts).limit(1)).first() is not None

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def check(self) -> None:
        """Read something. An SQLite file that was taken away would else be written to unseen until the bot ends."""
        with self.reading() as connection:
            connection.execute(sa.select(tables.requests.c.id).limit(1))
            self._refuse_other_file(connection)

    def safety(self) -> str:
        """Connect and say how the connection is encrypted; '' for a file."""
        if not self.shared:
            return ""
        with self.reading() as connection:
            return safety(connection.connection.dbapi_connection)

    def _log_in(self, _dialect: object, _record: object, _positional: object, named: dict[str, Any]) -> Any:
        """Log in as to a data source, in the place of SQLAlchemy: the password goes only where ``tls`` lets it."""
        try:
            return login(self._tls, **named)
        except UnsafeConnectionError as error:
            raise StoreError(f"The store's database {error}") from error

    @contextlib.contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Give a connection to read with."""
        try:
            with self._engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise _failed(error) from error

    @contextlib.contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """Give a transaction that may write; it ends with the block, and nothing of it stays where that fails.

        Waits up to ``_LOCK_TRIES`` times ``_LOCK_WAIT`` seconds for those who write before.
        """
        try:
            with self._engine.connect() as connection:
                _lock(connection)
                self._refuse_other_file(connection)
                yield connection
                if not self.shared:
                    connection.execute(tables.clock.update().values(last=self.clock.seconds))
                connection.commit()
        except SQLAlchemyError as error:
            raise _failed(error) from error

    def _durable(self, connection: Any, record_: Any) -> None:
        _sqlite_durable(connection)
        record_.info[_FILE] = _identity(self._file)
        self._file_was_there = self._file is not None

    def replaced(self) -> None:
        """Hear that another file is used from now on."""

    def _refuse_new_file(self, *_: object) -> None:
        """Keep SQLite from making an empty file in the place of one that was taken away."""
        if self._file_was_there and _identity(self._file) is None:
            raise StoreError(_GONE)

    def _refuse_other_file(self, connection: sa.Connection) -> None:
        """Refuse a connection whose file is at its path no more: what is written there nobody would ever see.

        And one to a file that another bot may have by now, as where the whole folder was replaced.
        """
        if self._file is None:
            return
        try:
            alone = self.lock is None or self.lock.take()
        except ConfigurationError as error:
            raise StoreError(f"{error.sentence} Nothing is closed meanwhile.") from error
        if not alone:
            raise StoreError("Another bot uses the store's file by now. This one closes nothing any more: stop it.")
        now = _identity(self._file)
        if now == connection.info.get(_FILE):
            return
        if now is None:
            raise StoreError(_GONE)  # it may be put back
        connection.invalidate()
        self._engine.dispose()
        self.replaced()
        raise StoreError(
            "The store's file was replaced by another one. Nothing is closed without a record. The new file is used "
            "from now on: press again if its requests are those that you mean."
        )

    def _limited(self, connection: Any, _record: Any) -> None:
        """Let a new connection of a server wait for a lock, and hold one, for seconds only."""
        with contextlib.closing(connection.cursor()) as cursor:
            # Some servers greet without saying that this is on, so that the driver would leave it so.
            cursor.execute("SET autocommit = 0")
            cursor.execute("SET time_zone = '+00:00'")  # in which no hour of the store's clock is there twice
            self._set_first(cursor, _WAITING, _LOCK_WAIT)
            self.drops_frozen = self._set_first(cursor, _DROPPING, DROPPED_AFTER)

    def _set_first(self, cursor: Any, variables: Sequence[str], seconds: int) -> bool:
        dialect = self._engine.dialect
        for variable in variables:
            try:
                cursor.execute(f"SET SESSION {variable.format(seconds)}")
            except dialect.loaded_dbapi.Error as error:
                if dialect.is_disconnect(error, None, None):
                    raise
            else:
                return True
        return False


_FILE = "file"  # in the info of a connection: which file it has open
_GONE = "The store's file is gone. Put it back, or restart the bot. Check [store] url."


def _identity(file: Path | None) -> tuple[int, int] | None:
    """Return device and inode of a file; None where there is none."""
    try:
        found = file.stat() if file is not None else None
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if found is not None else None


def _lock(connection: sa.Connection) -> None:
    for last_try in (*[False] * (_LOCK_TRIES - 1), True):
        try:
            return audit_log.lock(connection)
        except DBAPIError as error:
            if last_try or not _is_held(error):
                raise
            connection.rollback()
    raise AssertionError("unreachable: the last try returns or raises")


def _is_held(error: SQLAlchemyError) -> bool:
    """Whether somebody else held the lock for all the time that one waits for it."""
    return isinstance(error, DBAPIError) and getattr(error.orig, "args", ())[:1] == (_LOCK_WAIT_TIMEOUT,)


def _failed(error: SQLAlchemyError) -> StoreError:
    if _is_held(error):
        return StoreError(
            "Somebody else, perhaps a replica that hangs, is writing to the store of requests and records and does not "
            "finish. Nothing is closed without a record. Give it half a minute, then try again."
        )
    return StoreError(
        f"The store of requests and records does not answer ({type(error).__name__}). "
        "Nothing is closed without a record. Check [store] url, its disk or its database."
    )


def _sqlite_durable(connection: Any) -> None:
    # WAL lets lists be read while a close is recorded; FULL keeps the record through a power cut.
    for last_try in (*[False] * 20, True):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError:  # a new file that another process switches: for that SQLite does not wait
            if last_try:
                raise
            time.sleep(0.05)
    connection.execute("PRAGMA synchronous = FULL")
