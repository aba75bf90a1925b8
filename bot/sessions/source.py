"""One data source: its pool, its dialect as probed, and what can be asked of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import TypeVar

from bot.errors import BusyError, ConnectionLostError, DataSourceError, NotAllowedError
from bot.sessions import deadlocks, kinds, statistics, variables
from bot.sessions.address import host_of
from bot.sessions.database import Connection, Pool, PoolUse, Visited, try_login
from bot.sessions.deadlocks import Deadlocks
from bot.sessions.details import Reach, SessionDetails
from bot.sessions.dialect import Dialect
from bot.sessions.direct import OUT_OF_REACH, is_among, kill_directly
from bot.sessions.endpoint import Endpoint
from bot.sessions.health import SourceHealth
from bot.sessions.model import (
    Condition,
    Field,
    Mode,
    Operator,
    Session,
    SessionFilter,
    SessionPage,
    SessionQuery,
    Sort,
)
from bot.sessions.protection import Protected, is_thread
from bot.sessions.statistics import Grouping, Statistics
from bot.sessions.variables import Variables

Tenants = frozenset[str] | None  # None: every tenant

_T = TypeVar("_T")
_NO_SUCH_COLUMN_OR_VIEW = (1054, 1146)
SERVERS_EVERY = 10.0  # seconds between two looks at which servers of a cluster serve
PROBE_EVERY = 60.0  # seconds after which a login that could not see everything may have been given more
SLOW = 2.0  # seconds on its way after which a list says so


@dataclass(frozen=True, slots=True)
class DataSourceOptions:
    """What the configuration says of one data source beyond its address."""

    tenants: Tenants = None
    protected: Protected = field(default_factory=Protected)
    kind: kinds.Kind = "auto"


class Console:
    """One borrowed connection to a data source, to look and close on without a gap between."""

    def __init__(self, source: DataSource, connection: Connection, dialect: Dialect) -> None:
        self._source = source
        self._connection = connection
        self._dialect = dialect

    def find(self, session_id: int) -> list[Session]:
        """Return every session of that id with its whole SQL, the bot's own included.

        Several servers of one cluster may use the same id (OceanBase 4.2.5 and later).
        """
        statement = self._dialect.by_id(session_id)
        rows = self._connection.rows(statement.sql, statement.values)
        sessions = [self._dialect.to_session(self._source.name, row) for row in rows]
        allowed = self._source.options.tenants
        return [one for one in sessions if allowed is None or one.tenant in allowed]

    def alike(self, session: Session, limit: int) -> list[Session]:
        """Return sessions of the same user from the same client, no more than ``limit``, the bot's own left out."""
        tenants = [session.tenant] if session.tenant else None
        host = host_of(session.origin)
        same = [Condition(Field.USER, Operator.EXACTLY, (session.user,))]
        if host:
            same.append(Condition(Field.HOST, Operator.EXACTLY, (host,)))
        statement = self._dialect.page(tenants, SessionFilter(tuple(same)), Sort(), limit, 0)
        rows = self._connection.rows(statement.sql, statement.values)
        return [self._dialect.to_session(self._source.name, row) for row in rows]

    def kill_text(self, session: Session, mode: Mode) -> str:
        """Return the statement that ``kill`` sends, for the record."""
        return self._dialect.kill(session, mode).sql

    def kill(self, session: Session, mode: Mode) -> None:
        """Send ``KILL`` or ``KILL QUERY``, once; where a proxy does not know the session, to its server instead.

        Its OK means no more than sent. Raises ``UnknownSessionError``, ``NotSessionOwnerError``,
        ``SessionOutOfReachError`` or another ``DataSourceError``; after ``ConnectionLostError`` and
        ``DataSourceTimeoutError`` it may or may not have been carried out.
        """
        try:
            self._connection.rows(self._dialect.kill(session, mode).sql)
        except DataSourceError as error:
            if error.errno not in OUT_OF_REACH or not is_among(self.find(session.id), session, mode):
                raise
            self._source.kill_directly(session, mode, self._dialect, error)

    def transaction_open(self, transaction_id: int) -> bool | None:
        """Tell whether a transaction still exists; None where the server cannot say.

        A killed session may leave the process list while its locks live on (OCEANBASE.md 2.3).
        """
        statement = self._dialect.transaction(transaction_id)
        if statement is None:
            return None
        return bool(self._connection.rows(statement.sql, statement.values))


class DataSource:
    """One endpoint that the bot can reach, with its pool and its dialect as probed."""

    def __init__(self, endpoint: Endpoint, options: DataSourceOptions, visited: Visited | None = None) -> None:
        self.name = endpoint.name
        self.options = options
        self._endpoint = endpoint
        self._prepare = kinds.PREPARE[options.kind]
        self._pool = Pool(endpoint, self._prepare, visited)
        self._dialect: Dialect | None = None
        self._probed_at = 0.0
        self._servers_asked_at = -SERVERS_EVERY
        self._absent_servers: tuple[str, ...] = ()

    @contextlib.contextmanager
    def console(self) -> Iterator[Console]:
        """Borrow a connection to look and close on. Raises ``DataSourceError`` or ``BusyError``."""
        with self._pool.connection() as connection:
            yield Console(self, connection, self._probed(connection))

    def page(self, query: SessionQuery, tenants: Tenants) -> SessionPage:
        """List one page; raises ``DataSourceError`` or ``BusyError``."""
        scope = self._scope(tenants)
        started = monotonic()

        def ask(connection: Connection, dialect: Dialect) -> SessionPage:
            self._refuse_tenants(dialect, scope)
            totals = dialect.totals(scope, query.filter)
            total, active, matching = map(int, connection.rows(totals.sql, totals.values)[0])
            # A page that has emptied since it was asked for is no answer: show the last one.
            page = min(query.page, max(1, -(-matching // query.limit)))
            statement = dialect.page(scope, query.filter, query.sort, query.limit, (page - 1) * query.limit)
            rows = connection.rows(statement.sql, statement.values)
            return SessionPage(
                source=self.name,
                sessions=tuple(dialect.to_session(self.name, row) for row in rows),
                total=total,
                active=active,
                # The two statements are not one snapshot: never claim fewer than are shown.
                matching=max(matching, (page - 1) * query.limit + len(rows)),
                as_of=datetime.now(UTC),
                query=_on_page(query, page),
                caveats=(*self._caveats(connection, dialect), *_slow(monotonic() - started)),
            )

        return self._read(ask)

    def statistics(self, query: SessionQuery, by: Grouping, tenants: Tenants) -> Statistics:
        """Count the sessions that fit the filter, and group them; raises ``DataSourceError`` or ``BusyError``."""
        scope = self._scope(tenants)

        def ask(connection: Connection, dialect: Dialect) -> Statistics:
            self._refuse_tenants(dialect, scope)
            found = statistics.read(connection, dialect, self.name, scope, query, by)
            return replace(found, caveats=self._caveats(connection, dialect))

        return self._read(ask)

    def deadlocks(self, since: timedelta, tenants: Tenants) -> Deadlocks:
        """Read the history of deadlocks; raises ``InputError`` where the server keeps none, else as ``page``."""
        scope = self._scope(tenants)
        return self._read(lambda connection, dialect: deadlocks.read(connection, dialect, self.name, scope, since))

    def variables(self, like: str, *, everywhere: bool) -> Variables:
        """Read variables of the bot's own session or the global ones; raises as ``statistics`` does."""
        statement = variables.statement(like, everywhere=everywhere)
        rows = self._read(lambda connection, _dialect: connection.rows(statement.sql, statement.values))
        return Variables(self.name, everywhere, like, variables.chosen(rows, like), len(rows), datetime.now(UTC))

    def find(self, session_id: int, tenants: Tenants) -> list[Session]:
        """Return every session of that id in those tenants, whole SQL included."""
        found = self._read(lambda connection, dialect: Console(self, connection, dialect).find(session_id))
        return [one for one in found if tenants is None or one.tenant in tenants]

    def details(self, session: Session) -> SessionDetails:
        """Return what the server says of a session beyond its row; what cannot be read is no error."""

        def ask(connection: Connection, dialect: Dialect) -> SessionDetails:
            caveats = self._caveats(connection, dialect)
            if dialect.details is None:
                return SessionDetails(session, caveats=caveats)
            known = dialect.details(connection, session, Console(self, connection, dialect).find)
            return replace(known, caveats=caveats)

        try:
            return self._read(ask)
        except (DataSourceError, BusyError) as error:
            return SessionDetails(session, caveats=(f"Not all could be read: {error.sentence}",))

    def health(self, tenants: Tenants) -> SourceHealth:
        """Say how this data source is and what its login may do; a failure is part of the answer."""

        def ask(connection: Connection, dialect: Dialect) -> SourceHealth:
            started = monotonic()
            totals = dialect.totals(self._scope(tenants), SessionFilter())
            total, active, _matching = map(int, connection.rows(totals.sql, totals.values)[0])
            milliseconds = (monotonic() - started) * 1000
            self._try_reading(connection, dialect)
            return SourceHealth(
                self.name,
                milliseconds=milliseconds,
                kind=dialect.name,
                view=dialect.view.split(maxsplit=1)[0],
                tenant=dialect.login_tenant,
                sees=dialect.sees,
                closes=dialect.closes,
                total=total,
                active=active,
                caveats=self._caveats(connection, dialect),
            )

        try:
            return self._read(ask)
        except (DataSourceError, BusyError) as error:
            return SourceHealth(self.name, error.sentence)

    def check(self) -> None:
        """Try what every list and every close reads, and tell nothing. Raises ``DataSourceError`` or ``BusyError``."""
        self._read(self._try_reading)

    def is_like(self, other: DataSource) -> bool:
        """Whether both stand for the same server, login and options."""
        return self._endpoint == other._endpoint and self.options == other.options

    @property
    def pool_use(self) -> PoolUse:
        """How busy its connections are now."""
        return self._pool.use

    def try_login(self) -> None:
        """Log in once, without any further statement. Raises one of the ``DataSourceError`` family."""
        try_login(self._endpoint)

    def description(self) -> str:
        """Say what kind of server this is and what cannot be seen or closed there, once reading it has been tried."""

        def describe(connection: Connection, dialect: Dialect) -> str:
            self._try_reading(connection, dialect)
            # Whether a KILL is allowed is known from the grants: trying one could hit somebody.
            closes = ("This login may close its own sessions only.",) if dialect.closes is Reach.OWN else ()
            view = dialect.view.split()[0].split(".")[-1]
            return " ".join((f"{dialect.name}, {view}", *map("({})".format, (*dialect.caveats, *closes))))

        return self._read(describe)

    def protection(self, session: Session) -> str:
        """Say by what a session is protected, as in "belongs to ocp, a protected user of prod"; '' by nothing."""
        return self.options.protected.why(session, self._dialect, self.name)

    def is_thread(self, session: Session) -> bool:
        """Whether a session is a thread of the server itself or of replication, and nobody's."""
        return is_thread(session, self._dialect)

    def kill_directly(self, session: Session, mode: Mode, dialect: Dialect, why: DataSourceError) -> None:
        """Close past the proxy that said ``why``; raises as ``Console.kill``."""
        kill_directly(self._endpoint, self._prepare, dialect, session, mode, why)

    def close(self) -> None:
        """Close all connections, those in use as soon as they are given back."""
        self._pool.close()

    def _scope(self, tenants: Tenants) -> list[str] | None:
        """The tenants of the data source and of the asker together; None is every tenant."""
        narrowed = _narrow(self.options.tenants, tenants)
        return None if narrowed is None else sorted(narrowed)

    def _refuse_tenants(self, dialect: Dialect, scope: Sequence[str] | None) -> None:
        if scope is not None and not dialect.has_tenants:
            raise NotAllowedError(
                f"Data source {self.name} has no tenants, yet its setting tenants, or the access rule that is "
                "yours, names some. So none of its sessions is shown or closed: leave tenants out there."
            )

    def _try_reading(self, connection: Connection, dialect: Dialect) -> None:
        """Run what a list, the looks before and after a close, and Details run; the last two on the bot's own session.

        Each reads something of its own, so that one may fail on a server where the others work.
        """
        scope = self._scope(None)
        for statement in (
            dialect.totals(scope, SessionFilter()),
            dialect.page(scope, SessionFilter(), Sort(), 1, 0),
            dialect.transaction(0),
        ):
            if statement is not None:
                connection.rows(statement.sql, statement.values)
        find = Console(self, connection, dialect).find
        for own in find(connection.id)[:1]:
            if dialect.details is not None:
                dialect.details(connection, own, find)

    def _caveats(self, connection: Connection, dialect: Dialect) -> tuple[str, ...]:
        statement = dialect.absent_servers()
        if statement is not None and monotonic() - self._servers_asked_at >= SERVERS_EVERY:
            self._servers_asked_at = monotonic()
            # A list without this is better than none.
            with contextlib.suppress(DataSourceError):
                self._absent_servers = tuple(
                    f"Server {ip}:{port} is {status}: its sessions may be missing here."
                    for ip, port, status in connection.rows(statement.sql, statement.values)
                )
        return (*dialect.caveats, *(self._absent_servers if statement is not None else ()))

    def _read(self, ask: Callable[[Connection, Dialect], _T]) -> _T:
        """Ask once, and once more when the connection had broken or the server's views have changed."""
        try:
            return self._ask(ask)
        except ConnectionLostError:
            return self._ask(ask)
        except DataSourceError as error:
            if error.errno not in _NO_SUCH_COLUMN_OR_VIEW:
                raise
            return self._ask(ask, anew=True)

    def _ask(self, ask: Callable[[Connection, Dialect], _T], *, anew: bool = False) -> _T:
        with self._pool.connection() as connection:
            return ask(connection, self._probed(connection, anew=anew))

    def _probed(self, connection: Connection, *, anew: bool = False) -> Dialect:
        """Probe once; anew replaces what is known only when it succeeds: its protected users hold meanwhile."""
        partial = self._dialect is not None and bool(self._dialect.caveats)
        if anew or self._dialect is None or (partial and monotonic() - self._probed_at >= PROBE_EVERY):
            self._dialect = kinds.probe(self.options.kind, connection, self.name, self._endpoint.user)
            self._probed_at = monotonic()
        return self._dialect


def _narrow(one: Tenants, other: Tenants) -> Tenants:
    if one is None or other is None:
        return other if one is None else one
    return one & other


def _slow(seconds: float) -> tuple[str, ...]:
    return (f"The list was {seconds:.0f} s on its way.",) if seconds > SLOW else ()


def _on_page(query: SessionQuery, page: int) -> SessionQuery:
    return query if query.page == page else replace(query, page=page)
