"""One data source: its pool, its dialect as probed, and what can be asked of it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import TypeVar

import structlog

from bot.errors import (
    BusyError,
    ConnectionLostError,
    DataSourceError,
    DataSourceTimeoutError,
    NotAllowedError,
    SessionBotError,
)
from bot.sessions import deadlocks, disclosed, probing, states, statistics, variables
from bot.sessions.console import Console
from bot.sessions.database import Connection, Row, try_login
from bot.sessions.deadlocks import Deadlocks
from bot.sessions.details import Abilities, Reach, SessionDetails, TenantNames
from bot.sessions.diagnosis.diagnosed_source import DiagnosedSource, Waits
from bot.sessions.dialect import Dialect, own_sessions
from bot.sessions.endpoint import Endpoint
from bot.sessions.model import Condition, Field, Flag, Operator, Session, SessionFilter, SessionPage, SessionQuery, Sort
from bot.sessions.pool import MAX_AGE, OwnSession, Pool, PoolUse, Purpose, Visited
from bot.sessions.protection import Protected, is_thread
from bot.sessions.source_health import SourceHealth, Tenants
from bot.sessions.statement import Disclosure, Statement
from bot.sessions.statistics import Grouping, Statistics
from bot.sessions.trial_session import TrialSession, Way
from bot.sessions.variables import Variables

log = structlog.get_logger(__name__)

_T = TypeVar("_T")
# What the server says of a view or column that it had when it was probed, or that the login could read then: 1109 of
# one in information_schema that is switched off, 3854 of one of MySQL's in which somebody's text cannot be written.
# Probed anew, a list goes on without it.
_NO_SUCH_VIEW = 1146
_GONE = (1044, 1054, 1109, 1142, 1143, _NO_SUCH_VIEW, 1227, 3854)
SERVERS_EVERY = 10.0  # seconds between two looks at which servers of a cluster serve
PROBE_EVERY = 60.0  # seconds after which a login that could not see everything may have been given more
PASSES_WITHIN = 2.0  # seconds after which what somebody runs may keep the server from showing everything no more
TRY_EVERY = 30.0  # seconds between two trials of what lists and closes run
DIAGNOSIS_LIMIT = 2.0  # seconds
SLOW = 2.0  # seconds on its way after which a list says so

_UNNAMED = "Who holds some of the locks is not known for sure: /sessions locks says who may."
_BROKEN_OFF = (
    "This ends within a literal: it may be only the beginning of the statement. SHOW FULL PROCESSLIST at the server "
    "shows all of it."
)


@dataclass(frozen=True, slots=True)
class DataSourceOptions:
    """What the configuration says of one data source beyond its address."""

    tenants: Tenants = None
    protected: Protected = field(default_factory=Protected)
    kind: probing.Kind = "auto"
    max_age: timedelta = MAX_AGE  # of a connection
    diagnosis_limit: float = DIAGNOSIS_LIMIT  # seconds that a statement of a diagnosis may take


class DataSource(DiagnosedSource):
    """One endpoint that the bot can reach, with its pool and its dialect as probed."""

    def __init__(
        self,
        endpoint: Endpoint,
        options: DataSourceOptions,
        visited: Visited | None = None,
        waits: Waits = contextlib.nullcontext,
        waits_for_diagnosis: Waits = contextlib.nullcontext,
    ) -> None:
        super().__init__(waits_for_diagnosis)
        self.name = endpoint.name
        self.options = options
        self._waits = waits
        self._endpoint = endpoint
        self._prepare = probing.PREPARE[options.kind]
        self._pool = Pool(endpoint, self._prepare, visited, self._welcome, options.max_age, options.diagnosis_limit)
        self._dialect: Dialect | None = None
        self._fresh_looks = threading.Lock()
        self._probed_at = 0.0
        self._outdated = False  # whether a view that it had is known to be gone
        self._moved = False  # whether it is of a server that the address no longer leads to
        self._servers_asked_at = -SERVERS_EVERY
        self._tried_at = -TRY_EVERY
        self._absent_servers: tuple[str, ...] = ()

    @contextlib.contextmanager
    def console(self) -> Iterator[Console]:
        """Borrow a connection to look and close on. Raises ``DataSourceError`` or ``BusyError``."""
        with self._waits(), self._pool.connection(Purpose.CLOSING) as connection:
            console = self._console(connection, self._probed(connection))
            try:
                yield console
            except DataSourceError as error:
                self._outdated = self._outdated or error.errno in _GONE
                raise
            finally:
                self.forget_diagnoses()
                with contextlib.suppress(DataSourceError):  # then the connection is not used again
                    console.release()

    def looking(self, ask: Callable[[Console], _T]) -> _T:
        """Ask something that changes nothing on a console, and once more where its connection had broken.

        Raises ``DataSourceError`` or ``BusyError``.
        """
        try:
            with self.console() as console:
                return ask(console)
        except ConnectionLostError:
            with self.console() as console:
                return ask(console)

    def _console(self, connection: Connection, dialect: Dialect) -> Console:
        def renewed(error: DataSourceError) -> Dialect | None:
            return self._probed(connection, anew=True) if error.errno in _GONE else None

        shared = self._fresh_looks, self._pool.move
        return Console(self._endpoint, self._prepare, self.options.tenants, connection, dialect, *shared, renewed)

    def page(
        self,
        query: SessionQuery,
        tenants: Tenants,
        disclosure: Disclosure = Disclosure.DIGEST,
        *,
        pinned: bool = False,
    ) -> SessionPage:
        """List one page, ``pinned`` with all that a pin compares.

        What of statements is disclosed to whoever asks is searched and sorted by, nothing else of them.
        Raises ``InputError``, ``UnknownStatusError``, ``DataSourceError`` or ``BusyError``.
        """
        scope = self._scope(tenants)
        started = monotonic()
        asked, lacks = self._with_holders(query)

        def ask(connection: Connection, dialect: Dialect) -> SessionPage:
            page = self._page(connection, dialect, asked, scope, disclosure, pinned=pinned)
            slow = _slow(monotonic() - started - connection.waited)
            return replace(page, caveats=(*page.caveats, *lacks, *self._queued(connection), *slow))

        return self._read(ask, Purpose.SEARCHING if pinned else Purpose.READING)

    def _with_holders(self, query: SessionQuery) -> tuple[SessionQuery, tuple[str, ...]]:
        """Find out who holds what others wait for, where that is asked for, and say what is not known of it."""
        if Flag.BLOCKING not in query.filter.flags:
            return query, ()
        graph = self.waits()
        holders = [one.holder for one in graph.waits if isinstance(one.holder, Session) and not one.candidate]
        places = frozenset(f"{one.server or ''}/{one.id}" for one in holders)
        unnamed = any(one.holder is None or one.candidate for one in graph.waits)
        lacks = (*graph.lacks, *([_UNNAMED] if unnamed else []))
        return replace(query, filter=replace(query.filter, holders=places)), lacks

    def _page(
        self,
        connection: Connection,
        dialect: Dialect,
        query: SessionQuery,
        scope: Sequence[str] | None,
        disclosure: Disclosure,
        *,
        pinned: bool = False,
    ) -> SessionPage:
        self._refuse_tenants(dialect, scope)
        states.judge(connection, dialect, scope, query.filter)
        reader = disclosed.Reader(connection, dialect.disclosing(disclosure), self.name, scope, disclosure)
        dialect, filter_ = reader.dialect, reader.filter(query.filter)
        totals = dialect.totals(scope, filter_)
        total, active, matching, spread, waiting = map(int, connection.rows(totals.sql, totals.values)[0])
        # A page that has emptied since it was asked for is no answer: show the last one.
        page = min(query.page, max(1, -(-matching // query.limit)))
        offset = (page - 1) * query.limit
        sort = reader.sort(query.sort, filter_)
        listing = dialect.page(scope, filter_, sort, query.limit, offset, pinned=pinned, spread=spread > 0)
        rows = connection.rows(listing.sql, listing.values)
        sessions = [dialect.to_session(self.name, row) for row in rows]
        if spread:
            sessions = self._console(connection, dialect).with_servers(sessions)
        return SessionPage(
            source=self.name,
            sessions=tuple(sessions),
            total=total,
            active=active,
            # The two statements are not one snapshot: never claim fewer than are shown.
            matching=max(matching, (page - 1) * query.limit + len(rows)),
            as_of=datetime.now(UTC),
            query=replace(query, page=page),
            caveats=(*reader.caveats(query.filter), *self._caveats(connection, dialect)),
            names_holders=dialect.names_holders,
            waiting=waiting,
            untold=dialect.untold_waits,
        )

    def statistics(
        self,
        query: SessionQuery,
        by: Grouping,
        tenants: Tenants,
        disclosure: Disclosure = Disclosure.DIGEST,
        shown: Disclosure = Disclosure.DIGEST,
    ) -> Statistics:
        """Count the sessions that fit the filter, and group them; raises as ``page``.

        ``disclosure`` is whoever asks's, by which is searched; ``shown`` what the answer may name groups by.
        """
        scope = self._scope(tenants)
        asked, lacks = self._with_holders(query)

        def ask(connection: Connection, dialect: Dialect) -> Statistics:
            self._refuse_tenants(dialect, scope)
            states.judge(connection, dialect, scope, query.filter)
            reader = disclosed.Reader(connection, dialect.disclosing(shown), self.name, scope, disclosure)
            found = statistics.read(reader, asked, by)
            caveats = (*reader.caveats(query.filter), *lacks, *self._caveats(connection, dialect))
            return replace(found, caveats=caveats)

        return self._read(ask)

    def deadlocks(self, since: timedelta, tenants: Tenants) -> Deadlocks:
        """Read the history of deadlocks; raises ``InputError`` where the server keeps none, else as ``page``."""
        scope = self._scope(tenants)
        return self._read(lambda connection, dialect: deadlocks.read(connection, dialect, self.name, scope, since))

    def variables(
        self, like: str, tenants: Tenants, *, everywhere: bool, tenant: str | None = None, usual: str | None = None
    ) -> Variables:
        """Read variables of the bot's own session or the global ones.

        ``tenant`` is the one that was named, ``usual`` the one that is meant otherwise. Raises ``InputError``,
        ``NotAllowedError``, ``DataSourceError`` or ``BusyError``.
        """
        scope = self._scope(tenants)

        def ask(connection: Connection, dialect: Dialect) -> Variables:
            self._refuse_tenants(dialect, scope)
            whose = variables.whose(dialect, self.name, scope, tenant, usual)
            return variables.read(connection, dialect, self.name, like, whose, everywhere=everywhere)

        return self._read(ask)

    def find(self, session_id: int, tenants: Tenants) -> list[Session]:
        """Return every session of that id in those tenants, whole SQL included."""
        return self.find_all((session_id,), tenants)

    def find_all(self, ids: Sequence[int], tenants: Tenants) -> list[Session]:
        """Return every session of those ids in those tenants, whole SQL included, with one statement."""
        found = self._find_all(ids)
        return [one for one in found if tenants is None or one.tenant in tenants]

    def whole(self, session: Session) -> Session:
        """Return a session with all of its statement, where the list has cut that and another view has more.

        What cannot be read is no error: the statement says that it is not whole.
        """
        statement = session.statement
        if statement is None or statement.inner is not None or not (statement.cut or statement.raw_sql.broken_off):
            return session

        def ask(connection: Connection, dialect: Dialect) -> Statement:
            asked = dialect.uncut(session.id)
            if asked is None:
                return statement
            rows: list[Row] = []
            try:
                rows = connection.rows(asked.sql, asked.values)
            except (ConnectionLostError, DataSourceTimeoutError):
                raise
            except DataSourceError:
                pass  # it is not there in each version, and may fail for what somebody else runs
            text, cut = rows[0] if rows else ("", False)
            if statement.raw_sql.goes_on_in(text or ""):
                return Statement.of(text, sql_id=statement.raw_sql_id, cut=dialect.cut_note if cut else "")
            return replace(statement, cut=statement.cut or ("" if text else _BROKEN_OFF))

        with contextlib.suppress(DataSourceError, BusyError):
            return replace(session, statement=self._read(ask))
        return session

    def find_everywhere(self, ids: Sequence[int]) -> list[Session]:
        """Return every session of those ids, also of tenants that are not configured.

        Only so is one that has ended told from one that may not be seen: whoever asks shows nothing beyond a scope.
        """
        return self._find_all(ids, everywhere=True)

    def _find_all(self, ids: Sequence[int], *, everywhere: bool = False) -> list[Session]:
        def ask(connection: Connection, dialect: Dialect) -> list[Session]:
            return self._console(connection, dialect).find_all(ids, everywhere=everywhere)

        return self._read(ask, Purpose.CLOSING)

    def unseen(self, server: str | None, tenant: str | None = None) -> str:
        """Say why a session of that server and tenant, which is not listed, cannot be called gone; '' where it can."""
        return self._read(
            lambda connection, dialect: self._console(connection, dialect).unseen(server, tenant), Purpose.CLOSING
        )

    def details(self, session: Session) -> SessionDetails:
        """Return what the server says of a session beyond its row; what cannot be read is no error."""

        def ask(connection: Connection, dialect: Dialect) -> SessionDetails:
            caveats = self._caveats(connection, dialect)
            if dialect.details is None:
                return SessionDetails(session, caveats=caveats)
            return replace(dialect.details(connection, session), caveats=caveats)

        try:
            return self._read(ask)
        except (DataSourceError, BusyError) as error:
            return SessionDetails(session, caveats=(f"Not all could be read: {error.sentence}",))

    def health(self, tenants: Tenants) -> SourceHealth:
        """Say how this data source is and what its login may do; a failure is part of the answer."""

        def ask(connection: Connection, dialect: Dialect) -> SourceHealth:
            started = monotonic()
            totals = dialect.totals(self._scope(tenants), SessionFilter())
            total, active, _, _, waiting = map(int, connection.rows(totals.sql, totals.values)[0])
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
                waiting=None if dialect.untold_waits else waiting,
                caveats=self._caveats(connection, dialect),
            )

        try:
            return self._tried(ask)
        except SessionBotError as error:
            return SourceHealth(self.name, error.sentence)

    def tenant_names(self) -> TenantNames:
        """Say which tenants there are. Raises ``DataSourceError`` where that cannot be read, or ``BusyError``."""

        def ask(connection: Connection, dialect: Dialect) -> TenantNames:
            query = dialect.tenant_names()
            if query is not None:
                return TenantNames(frozenset(str(row[0]) for row in connection.rows(query.sql, query.values)))
            if dialect.login_tenant is None:
                return TenantNames(frozenset())
            return TenantNames(frozenset({dialect.login_tenant}), all=dialect.sees is Reach.ALL)

        return self._tried(ask)

    def check(self) -> None:
        """Say whether it can be used: what lists and closes run is tried every 30 s, in between whether it answers.

        Raises ``DataSourceError``, ``NotAllowedError`` where the configuration lets nobody list anything, or
        ``BusyError``.
        """

        def ask(connection: Connection, dialect: Dialect) -> None:
            if monotonic() - self._tried_at < TRY_EVERY:
                itself = dialect.itself()
                connection.rows(itself.sql, itself.values)
                return
            self._try_own(connection, dialect)
            self._tried_at = monotonic()  # what has failed is tried again the next time

        self._tried(ask)

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
        """Say what kind of server this is, how safely, and what cannot be seen or closed there: reading it is tried."""

        def describe(connection: Connection, dialect: Dialect) -> str:
            self._try_reading(connection, dialect)
            # Whether a KILL is allowed is known from the grants: trying one could hit somebody.
            more = [one for one in (*dialect.lacks, dialect.closing_lacks) if one and one not in dialect.caveats]
            if dialect.closes is not Reach.OWN and dialect.kill_procedures:
                more.append("It closes others' sessions by CALL mysql.rds_kill where KILL is denied.")
            view = dialect.view.split()[0].split(".")[-1]
            limits = map("({})".format, (*dialect.caveats, *more))
            return " ".join((f"{dialect.name}, {view}, {connection.safety}", *limits))

        return self._tried(describe)

    def abilities(self) -> Abilities:
        """Say what its login sees and may close, and what it lacks for more. Raises as ``check``."""
        return self._tried(lambda _, known: Abilities(known.sees, known.closes, known.lacks, known.closing_lacks))

    def ways(self) -> list[Way]:
        """Return the ways to get to it, as configured first. Raises ``DataSourceError`` or ``BusyError``."""
        return self.looking(Console.ways)

    @contextlib.contextmanager
    def trial_session(self, way: Way) -> Iterator[TrialSession]:
        """Open a session by one of the ``ways``, outside the pool. Raises ``DataSourceError`` or ``BusyError``."""
        with TrialSession.opened(way, self.looking(lambda console: console.dialect)) as session:
            yield session

    def protection(self, session: Session) -> tuple[str, ...]:
        """Say all that protects a session, each as in "belongs to ocp, a protected user of prod"."""
        return self.options.protected.reasons(session, self._dialect, self.name)

    def is_thread(self, session: Session) -> bool:
        """Whether a session is a thread of the server itself or of replication, and nobody's."""
        return is_thread(session, self._dialect)

    def close(self) -> None:
        """Close all connections, those in use as soon as they are given back."""
        self._pool.close()

    def configured(self, tenants: Tenants) -> Tenants:
        """Return those of these tenants that the configuration lets anybody see."""
        return _narrow(self.options.tenants, tenants)

    def _scope(self, tenants: Tenants) -> list[str] | None:
        """The tenants of the data source and of the asker together; None is every tenant."""
        narrowed = self.configured(tenants)
        return None if narrowed is None else sorted(narrowed)

    def _refuse_tenants(self, dialect: Dialect, scope: Sequence[str] | None) -> None:
        if scope is not None and not dialect.has_tenants:
            raise NotAllowedError(
                f"Data source {self.name} has no tenants, yet its setting tenants, or the access rule that is "
                "yours, names some. So none of its sessions is shown or closed: leave tenants out there."
            )

    def _try_reading(self, connection: Connection, dialect: Dialect) -> None:
        """Run the list itself, and then what ``_try_own`` runs."""
        scope = self._scope(None)
        self._page(connection, dialect, SessionQuery(limit=1), scope, Disclosure.DIGEST)
        for query in (dialect.states(scope), dialect.statements(scope, SessionFilter(), 1)):
            connection.rows(query.sql, query.values)
        self._try_own(connection, dialect)

    def _try_own(self, connection: Connection, dialect: Dialect) -> None:
        """Run the very statements of lists, cards, Details and closes, but for ``KILL``, on the bot's own session.

        So what they cost has nothing to do with how many sessions there are.
        """
        scope, itself = self._scope(None), dialect.itself()
        rows = connection.rows(itself.sql, itself.values)
        own = own_sessions(rows, dialect.login.user)[0].id if rows else connection.id
        only = SessionFilter((Condition(Field.ID, Operator.EXACTLY, (own,)),))
        # A list leaves it out, and what is worked out of a row fails only where there is one.
        listing = replace(dialect, expressions=dialect.expressions | {"own": "FALSE"}, own_values=())
        for query, disclosure in (
            (SessionQuery(filter=only, sort=Sort(Field.SQL_ID)), Disclosure.DIGEST),
            (SessionQuery(filter=only, sort=Sort(Field.SQL)), Disclosure.ALL_BUT_PASSWORDS),
        ):
            self._page(connection, listing, query, scope, disclosure)
        self._page(connection, listing, SessionQuery(filter=only), scope, Disclosure.DIGEST, pinned=True)
        console = self._console(connection, dialect)
        for session in console.find_all((own,), everywhere=True)[:1]:
            console.rehearse(session)
            if dialect.details is not None:
                dialect.details(connection, session)

    def _caveats(self, connection: Connection, dialect: Dialect) -> tuple[str, ...]:
        query = dialect.absent_servers()
        if query is not None and monotonic() - self._servers_asked_at >= SERVERS_EVERY:
            self._servers_asked_at = monotonic()
            # A list without this is better than none.
            with contextlib.suppress(DataSourceError):
                self._absent_servers = tuple(
                    f"Server {ip}:{port} is {status}: its sessions may be missing here."
                    for ip, port, status in connection.rows(query.sql, query.values)
                )
        move = self._pool.move
        return (
            *((move.told(self.name),) if move is not None else ()),
            *dialect.caveats,
            *(self._absent_servers if query is not None else ()),
        )

    def _queued(self, connection: Connection) -> tuple[str, ...]:
        """Say that an answer waited in the bot's own queue, where it did for long: the server is not to blame."""
        if connection.waited <= SLOW:
            return ()
        behind = f", behind {connection.behind} more" if connection.behind else ""
        return (f"It waited {connection.waited:.0f} s for one of the bot's own connections to {self.name}{behind}.",)

    def _tried(self, ask: Callable[[Connection, Dialect], _T]) -> _T:
        """Ask, and let nothing out but what a person is told: whatever goes wrong here is of this data source alone."""
        try:
            return self._read(ask)
        except SessionBotError:
            raise
        except Exception as error:
            log.exception("data source failed", source=self.name)
            raise DataSourceError(
                f"Data source {self.name} cannot be used: the bot itself failed at it ({type(error).__name__}). The "
                "log has more; please report that."
            ) from error

    def _read(self, ask: Callable[[Connection, Dialect], _T], purpose: Purpose = Purpose.READING) -> _T:
        """Ask once, and once more when the connection had broken or the server's views have changed."""
        try:
            return self._ask(ask, purpose)
        except ConnectionLostError:
            return self._ask(ask, purpose)
        except DataSourceError as error:
            if error.errno not in _GONE:
                raise
            return self._ask(ask, purpose, anew=True)

    def _ask(self, ask: Callable[[Connection, Dialect], _T], purpose: Purpose, *, anew: bool = False) -> _T:
        waits = self._waits_for_diagnosis if purpose is Purpose.DIAGNOSING else self._waits
        with waits(), self._pool.connection(purpose) as connection:
            return ask(connection, self._probed(connection, anew=anew))

    def _welcome(self, connection: Connection, moved: bool) -> None:
        """Learn of a new connection what is known of all others; of another server all is learned anew.

        What is known of the one before protects its sessions until then: a press may still be at it.
        """
        self._moved = self._moved or moved
        self._probed(connection, anew=self._moved)

    def _probed(self, connection: Connection, *, anew: bool = False) -> Dialect:
        """Return what is known of the server, probed anew where a view that it had is gone."""
        if not anew:
            try:
                return self._knowing_own(connection, self._known(connection))
            except DataSourceError as error:
                if error.errno not in _GONE:
                    raise
        return self._knowing_own(connection, self._known(connection, anew=True))

    def _known(self, connection: Connection, *, anew: bool = False) -> Dialect:
        """Probe once; anew replaces what is known only when it succeeds: its protected users hold meanwhile."""
        known = self._dialect
        again = self._outdated or (known is not None and known.lacking)
        every = PASSES_WITHIN if known is not None and known.passing else PROBE_EVERY
        if known is None or anew or (again and monotonic() - self._probed_at >= every):
            self._probed_at = monotonic()
            try:
                known = probing.probe(self.options.kind, connection, self.name, self._endpoint.user)
                if not self._pool.leads_elsewhere(connection):
                    self._dialect = known
                    self._outdated = self._moved = False
            except DataSourceError:
                # Whether more was granted is nothing that a command may fail for.
                if known is None or anew or connection.broken:
                    raise
        return known

    def _knowing_own(self, connection: Connection, dialect: Dialect) -> Dialect:
        """Look up, once for each connection, as what it is listed: a proxy may lose the tag that tells it."""

        def look() -> tuple[OwnSession, ...]:
            itself = dialect.itself()
            found = own_sessions(connection.rows(itself.sql, itself.values), dialect.login.user)
            if dialect.lists_itself and not found:
                raise DataSourceError(
                    f"{dialect.view.split()[0]} of {self.name} no longer has the bot's own session, so what else runs "
                    "there is not known. Look whether performance_schema is on there.",
                    errno=_NO_SUCH_VIEW,
                )
            return found

        itself = self._pool.remember(connection, look)
        return dialect.knowing(self._pool.own(), itself=bool(itself))


def _narrow(one: Tenants, other: Tenants) -> Tenants:
    if one is None or other is None:
        return other if one is None else one
    return one & other


def _slow(seconds: float) -> tuple[str, ...]:
    return (f"The list was {seconds:.0f} s on its way.",) if seconds > SLOW else ()
