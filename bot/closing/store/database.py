"""The database of the store: its transactions, its time, and what it says when it fails."""

from __future__ import annotations

import contextlib
import functools
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from random import random
from typing import ParamSpec, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from bot.closing.model import State
from bot.closing.store import audit_log, faults, file_faults, schema, tables, trial, url
from bot.closing.store.audit_log import Recorded
from bot.closing.store.clock import Kept, StoreClock, boot
from bot.closing.store.faults import UndoneError
from bot.closing.store.lock import StoreLock
from bot.closing.store.outage import Outage
from bot.closing.store.schema import Preparation
from bot.closing.store.shared_server import LOCK_TRIES, SharedServer, is_held
from bot.closing.store.sqlite_file import SqliteFile, let_read
from bot.errors import StoreAwayError, StoreError
from bot.sessions.database import safety
from bot.sessions.tls import PREFERRED, Tls
from bot.sessions.uptime import since_boot

TRY_EVERY = 30.0  # seconds between two trials of what is written
_TRIES = 6
_PAUSE = 0.05  # seconds, at the most, before the second try; each is twice as long as the one before

_STEADY = 5.0  # seconds by which a server's clock may go on otherwise than this machine's uptime
_WRONG_BY = 1.0  # seconds that a machine's clock may be beside the store's


P = ParamSpec("P")
T = TypeVar("T")


def tried_again(write: Callable[P, T]) -> Callable[P, T]:
    """Let a method write again from its beginning where its transaction came to nothing by somebody else's doing.

    It must do nothing that lasts before its transaction has ended.
    """

    @functools.wraps(write)
    def again(*arguments: P.args, **named: P.kwargs) -> T:
        for tried in range(_TRIES - 1):
            try:
                return write(*arguments, **named)
            except UndoneError:
                time.sleep(random() * _PAUSE * 2**tried)  # noqa: S311  # it keeps no secret
        return write(*arguments, **named)

    return again


class Database:
    """SQLite, or a MySQL-compatible server. Every method raises ``StoreError`` when it does not answer.

    ``tls`` is how a server is logged in to. A file needs none of it, and is one process's, which can keep nobody else
    from closing: that one holds its ``lock``.
    """

    def __init__(self, address: str, tls: Tls = PREFERRED, lock: StoreLock | None = None) -> None:
        parsed = url.read(address)
        self.clock = StoreClock(self.keep_time)
        self.owner = secrets.token_hex(8)  # names this process in what it has claimed
        self.quiet_for = timedelta(hours=1)  # how long what was asked or decided counts, for a budget for example
        self.opened = datetime.fromtimestamp(self.clock.seconds, UTC)
        self.newest_at_start: float | None = None  # when the newest record was written, seconds since the epoch
        self._ahead: float | None = None  # of this machine's uptime, the server's clock when it was asked last
        self.jumped = False  # whether it was seen to have been set then, since it was asked before
        self._file = url.file_of(parsed)
        self.shared = self._file is None  # may other replicas use it as well?
        self._place = SharedServer(tls) if self._file is None else SqliteFile(self._file, lock)
        self.engine = sa.create_engine(parsed, **self._place.options)
        self._place.listen(self.engine)
        self.waits: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext
        """Entered by whoever uses it, since it may hang: so that others are not kept waiting."""
        self.outage: Outage | None = None
        """Told when it fails and when it works, where somebody wants to read that in the log."""
        self.recorded: Callable[[Sequence[Recorded]], object] = lambda _acts: None
        """Told the acts that have come on record, once each. Must be quick and never raise."""
        self._in_doubt: deque[Recorded] = deque()  # of transactions of which it is not known whether they ended well
        self._created = False
        self._creating = threading.Lock()
        self._written_at = -TRY_EVERY

    @property
    def now(self) -> sa.ColumnElement[float]:
        """The store's own clock, in seconds since the epoch: the only one that all replicas share."""
        if self.shared:
            return sa.literal_column("UNIX_TIMESTAMP(NOW(6))", sa.Double)
        return sa.literal(self.clock.seconds, sa.Double)

    @property
    def drops_frozen(self) -> bool:
        """Whether what a frozen replica holds is dropped after seconds, as far as is known yet."""
        return not isinstance(self._place, SharedServer) or self._place.drops_frozen

    def create(self) -> None:
        """Prepare the store for this bot, unless that is done: make its file, its tables, and what an older one lacks.

        Two replicas may start at once. One that was away is tried again by whoever calls again. Raises
        ``StoreTooNewError`` where only newer bots may work on it.
        """
        with self._creating:
            if self._created:
                return
            with self._told(writing=True):
                if isinstance(self._place, SqliteFile):
                    self._place.make()
                    with self.engine.connect() as connection:
                        let_read(connection)
                schema.prepare(self.engine, self._acknowledge)
            self._start_time()
            self.opened = self.clock()
            with self.reading() as connection:
                newest = connection.execute(sa.select(sa.func.max(tables.audit.c.at))).scalar()
            self.newest_at_start = newest / 1e6 if newest is not None else None
            self._created = True

    def _acknowledge(self, connection: sa.Connection) -> None:
        audit_log.acknowledge(connection)
        self._in_doubt.extend(audit_log.taken(connection))

    def preparation(self, *, deleting: bool = False) -> Preparation:
        """Look what ``create`` would do, and whether it may as far as that can be found out; nothing is changed.

        Where something is to be done, a server is also asked whether its account may write, with ``deleting`` also let
        go of records. Raises ``StoreTooNewError``.
        """
        if isinstance(self._place, SqliteFile) and (file := self._place.missing()) is not None:
            if why := file_faults.unusable(file):
                raise file_faults.failure(why)
            return schema.of_nothing()
        with self.reading() as connection:
            found = schema.preparation(connection)
            if found.is_needed and self.shared:
                schema.try_rights(connection, found, deleting=deleting)
            elif found.is_needed:
                connection.exec_driver_sql("BEGIN IMMEDIATE")  # fails where it cannot be written
            connection.rollback()
        return found

    def look_after(self) -> None:
        """Prepare it where that was not possible yet, and find out whether it works again, or is for newer bots by now.

        Raises ``StoreTooNewError``.
        """
        self.create()
        with self.reading() as connection:
            schema.refuse_newer(connection)
        if self.outage is not None and self.outage.lasts:
            self.try_writing()

    def open_to_others(self) -> str:
        """Say who else may read the store's file, and how to end that; '' for nobody, and for a server."""
        return self._place.open_to_others() if isinstance(self._place, SqliteFile) else ""

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def check(self) -> None:
        """Say whether it can be used: that it can be written is tried every 30 s, in between it is read.

        An SQLite file that was taken away would else be written to unseen until the bot ends.
        """
        self.create()
        if time.monotonic() - self._written_at >= TRY_EVERY:
            self.try_writing()
            self._written_at = time.monotonic()  # what has failed is tried again the next time
        with self.reading() as connection:
            connection.execute(sa.select(tables.requests.c.id).limit(1))
            self._refuse_other_file(connection)

    @tried_again
    def try_writing(self, *, deleting: bool = False) -> None:
        """Write into all tables as closes do, and roll it back; ``deleting`` as letting go of records does."""
        with self._told(writing=True), self.engine.connect() as connection:
            _lock(connection)
            self._refuse_other_file(connection)
            # Nothing of it stays. The store's own time is not asked for: in a file it would be set right.
            written = trial.write(connection, datetime.now(UTC), deleting=deleting)
            connection.rollback()
            still = tables.requests.c.id == written
            kept = connection.execute(sa.select(tables.requests.c.id).where(still)).first() is not None
        if kept:
            raise StoreError(
                "The store's database keeps what was rolled back, as MyISAM does. Nothing is closed without a record. "
                "ALTER TABLE … ENGINE = InnoDB all of its tables."
            )

    def safety(self) -> str:
        """Connect and say how the connection is encrypted; '' for a file."""
        if not self.shared:
            return ""
        with self.reading() as connection:
            return safety(connection.connection.dbapi_connection)

    @contextlib.contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Give a connection to read with."""
        with self._told(writing=False), self.waits(), self.engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """Give a transaction that may write; it ends with the block, and nothing of it stays where that fails.

        Only one writes at a time, replicas included: what it reads nobody changes before it ends. A server lets it wait
        some seconds, several times, for those who write before.
        """
        with self._told(writing=True), self.waits(), self.engine.connect() as connection:
            _lock(connection)
            self._refuse_other_file(connection)
            self._tell_doubtful(connection)
            audit_log.taken(connection)  # of a transaction before that came to nothing
            yield connection
            if not self.shared:
                connection.execute(tables.clock.update().values(last=self.clock.seconds))
            acts = audit_log.taken(connection)
            try:
                connection.commit()
            except SQLAlchemyError:
                self._in_doubt.extend(acts)
                raise
        self.recorded(acts)

    def _tell_doubtful(self, connection: sa.Connection) -> None:
        """Tell those acts that came on record although the answer to their COMMIT was lost."""
        for one in list(self._in_doubt):
            on_record = audit_log.has(connection, one)
            try:
                self._in_doubt.remove(one)
            except ValueError:  # another thread has told it
                continue
            if on_record:
                self.recorded([one])

    @contextlib.contextmanager
    def _told(self, *, writing: bool) -> Iterator[None]:
        """Say in a sentence what fails within the block, and have it known that the store fails, or works."""
        try:
            yield
        except SQLAlchemyError as error:
            failed = faults.told(error, self._file)
            if self.outage is not None and isinstance(failed, StoreAwayError):
                self.outage.noticed(failed, writing=writing)
            raise failed from error
        except StoreAwayError as error:  # of the place itself
            if self.outage is not None:
                self.outage.noticed(error, writing=writing)
            raise
        if self.outage is not None:
            self.outage.over(writing=writing)

    def _refuse_other_file(self, connection: sa.Connection) -> None:
        if isinstance(self._place, SqliteFile):
            self._place.refuse_other_file(connection, self._replaced)

    def _replaced(self) -> None:
        """Use the new file, which may be of an older version: its tables are made before anything else."""
        self.engine.dispose()
        self._created = False

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


def _lock(connection: sa.Connection) -> None:
    for last_try in (*[False] * (LOCK_TRIES - 1), True):
        try:
            return audit_log.lock(connection)
        except DBAPIError as error:
            if last_try or not is_held(error):
                raise
            connection.rollback()
    raise AssertionError("unreachable: the last try returns or raises")
