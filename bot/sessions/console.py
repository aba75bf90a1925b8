"""One borrowed connection to a data source: what one look at a session shows, and a KILL on that very connection."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from random import random
from time import sleep
from typing import Any

from bot.errors import DataSourceError, SessionOutOfReachError
from bot.sessions.address import host_of
from bot.sessions.database import Connection, Preparation, Row, connected
from bot.sessions.details import Reach
from bot.sessions.dialect import NOW, Dialect, Query
from bot.sessions.endpoint import Endpoint
from bot.sessions.identity import Move
from bot.sessions.model import (
    Condition,
    Field,
    Mode,
    Operator,
    Pin,
    Session,
    SessionFilter,
    Sort,
    Transaction,
    same_boot,
)
from bot.sessions.trial_session import Way
from bot.sessions.uptime import since_boot
from bot.sessions.waits.reading import Party

_AT_ONCE = 0.05  # seconds within which a look's answer comes, as a rule
_RECENT = 0.5  # seconds, those for asking a server that is far away included
_FRESH_AFTER = 0.11  # seconds without anybody reading it after which InnoDB fills its list of transactions anew
_FRESH_TRIES = 16
_ON_THE_OTHER = "The session may still be on the one before."
_ANOTHER = "so the bot cannot rule out that another session has the same id."


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a pinned session showed."""

    rows: tuple[Session, ...]  # of its id: of all servers and tenants that the login sees
    session: Session | None  # the pinned one as it is now
    unseen: str  # why a session that is not in the rows cannot be called gone; '' where it is gone, or there
    asked: float  # reading of ``since_boot`` when it was asked for
    answered: float  # and when the answer had come
    read_at: float  # when the server read it, in seconds by its own clock; 0 where nothing is there
    elsewhere: bool = False  # whether it is unseen since the address leads to another server than its own
    in_transaction: bool = False  # whether the list of transactions had one of the connection that looked


class Console:
    """A connection of one data source, borrowed or opened for one close; ``tenants`` are those that are configured.

    ``fresh_looks`` is one for each data source; ``move`` is that its address leads to another server of late.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        prepare: Preparation,
        tenants: frozenset[str] | None,
        connection: Connection,
        dialect: Dialect,
        fresh_looks: threading.Lock,
        move: Move | None = None,
        renewed: Callable[[DataSourceError], Dialect | None] = lambda _error: None,
    ) -> None:
        self.dialect = dialect
        self._fresh_looks = fresh_looks
        self._move = move
        self._endpoint = endpoint
        self._prepare = prepare
        self._tenants = tenants
        self._connection = connection
        self.keeps_kills = False  # a proxy has kept a KILL to itself, of what was closed past it then
        self._renewed = renewed
        self._absent_servers: list[tuple[Any, ...]] | None = None  # as they were asked for since the last look
        self._in_transaction = False  # of its own, by which it tells a stale list of transactions

    def release(self) -> None:
        """End what ``look`` has begun. Raises a ``DataSourceError``."""
        if self._in_transaction:
            self._in_transaction = False
            self._connection.rows("COMMIT")

    def find(self, session_id: int) -> list[Session]:
        """Return every session of that id in the configured tenants, with its whole SQL, the bot's own included.

        Several servers of one cluster may use the same id (OceanBase 4.2.5 and later). The rows of one client
        behind a proxy are one session.
        """
        return self.find_all((session_id,))

    def find_all(self, ids: Sequence[int], *, everywhere: bool = False) -> list[Session]:
        """Return the same of several ids, with one statement.

        ``everywhere`` leaves out no tenant: whether one has ended is known from all.
        """
        if not ids:
            return []
        allowed = None if everywhere else self._tenants
        rows = self._rows(lambda dialect: dialect.by_ids(ids))
        found = [self.dialect.to_session(self._endpoint.name, row) for row in rows]
        return as_clients([one for one in found if allowed is None or one.tenant in allowed])

    def parties(self, parties: Collection[Party]) -> list[Session]:
        """Return the sessions that are ends of waits; others may have the same id or number."""
        ids = {one.session_id for one in parties if one.session_id is not None}
        # Without tenants a session has one id everywhere. Asked for by transactions as well, MariaDB joins those to
        # each session that there is before it looks at ids: 60 ms of 100 with 1,000 sessions.
        numbered = [one for one in parties if one.session_id is None or self.dialect.has_tenants]
        transactions = {one.transaction_id for one in numbered if one.transaction_id is not None}
        rows = self._rows(lambda dialect: dialect.involved(ids, transactions))
        found = as_clients([self.dialect.to_session(self._endpoint.name, row) for row in rows])
        return self.with_servers(found)

    def look(self, pin: Pin, *, fresh: bool = False) -> Look:
        """Look at one session as ``looks`` does."""
        return self.looks([pin], fresh=fresh)[0]

    def looks(self, pins: Sequence[Pin], *, fresh: bool = False) -> list[Look]:
        """Look whether pinned sessions are there, with one statement for all. Raises a ``DataSourceError``.

        What is not in the list may be on a server that does not answer: the views leave that out. So a session is
        gone only where its server was seen serving, and a list read after that does not have it. ``fresh`` takes no
        list of transactions that is older than this look, which costs 0.1 s on MySQL and MariaDB.
        """
        if not pins:
            return []
        looks = self._fresh_look(pins) if fresh and self.dialect.own_transaction is not None else self._look(pins)
        looks = [self._within_sight(pin, look) for pin, look in zip(pins, looks, strict=True)]
        if self.dialect.cluster:
            looks = self._where_they_serve(pins, looks)
        return [self._since_namesake(pin, look) for pin, look in zip(pins, looks, strict=True)]

    def _where_they_serve(self, pins: Sequence[Pin], looks: list[Look]) -> list[Look]:
        """Tell what is gone from what is on a server that was not seen serving."""
        silent: dict[tuple[str, ...], str] = {}
        missing = [number for number, look in enumerate(looks) if look.session is None and not look.unseen]
        for number in missing:
            one = pins[number].session
            servers = one.servers or ((one.server,) if one.server else ())
            if servers not in silent:
                silent[servers] = self._not_serving(servers)
            if silent[servers]:
                unseen = self._since_a_move(silent[servers])
                looks[number] = replace(looks[number], unseen=unseen, elsewhere=self._move is not None)
        if missing:
            # All of them: the look at the others has become old meanwhile.
            for number, look in enumerate(self._look(pins)):
                if not looks[number].unseen and (look.session is not None or number in missing):
                    looks[number] = look
        return looks

    def _since_namesake(self, pin: Pin, look: Look) -> Look:
        """Call nothing gone since the address has come to lead to another server with the same name."""
        unseen, before = self._on_a_namesake(), pin.session.server_started
        if look.session is not None or look.unseen or not unseen:
            return look
        now = self._own_start()
        if before is not None and now is not None and same_boot(before, now):
            return look
        return replace(look, unseen=self._since_a_move(unseen), elsewhere=True)

    def _within_sight(self, pin: Pin, look: Look) -> Look:
        if look.session is not None or look.unseen:
            return look
        return replace(look, unseen=self._out_of_sight(pin.session.tenant, pin.session.client.user))

    def _fresh_look(self, pins: Sequence[Pin]) -> list[Look]:
        """Look until the list of transactions is of now.

        InnoDB fills it anew only when nobody has read it for 0.1 s. So once the list and this connection agree on
        whether it is in a transaction, it begins one or ends it: the list that knows of that was filled after it.
        """
        with self._fresh_looks:  # two at a time would keep each other from it
            return self._look_until_fresh(pins)

    def _look_until_fresh(self, pins: Sequence[Pin]) -> list[Look]:
        looks, flipped = self._look(pins), False
        for _ in range(_FRESH_TRIES):
            if self.dialect.own_transaction is None:  # that list cannot be read any more
                return looks
            agrees = looks[0].in_transaction == self._in_transaction
            if agrees and flipped:
                return looks
            if agrees:
                self._in_transaction, flipped = not self._in_transaction, True
                self._connection.rows(
                    "START TRANSACTION WITH CONSISTENT SNAPSHOT" if self._in_transaction else "COMMIT"
                )
            # Not at the same pace as others who may be looking.
            sleep(_FRESH_AFTER + random() * _FRESH_AFTER)  # noqa: S311  # it keeps no secret
            looks = self._look(pins)
        raise DataSourceError(
            f"The bot cannot tell whether a transaction is open on {self._endpoint.name}: something there reads "
            "information_schema.INNODB_TRX all the time, and InnoDB refreshes it only when nobody has for 0.1 s."
        )

    def _rows(self, query_of: Callable[[Dialect], Query]) -> list[Row]:
        """Read sessions, once more without a view or column that can no longer be read."""
        query = query_of(self.dialect)
        try:
            return self._connection.rows(query.sql, query.values)
        except DataSourceError as error:
            dialect = self._renewed(error)
            if dialect is None:
                raise
        self.dialect = dialect
        query = query_of(dialect)
        return self._connection.rows(query.sql, query.values)

    def _look(self, pins: Sequence[Pin]) -> list[Look]:
        self._absent_servers = None
        asked = since_boot()
        rows = self._rows(lambda dialect: dialect.look(tuple(dict.fromkeys(pin.id for pin in pins))))
        answered = since_boot()
        here, in_transaction = rows[0][:2] if rows else (None, False)
        # The first columns are where the list comes from; without a session they stand alone.
        read: dict[int, list[tuple[float, Session]]] = {}
        for _, _, read_at, *row in rows:
            if read_at is not None:
                listed = self.dialect.to_session(self._endpoint.name, row)
                read.setdefault(listed.id, []).append((float(read_at), listed))
        looks = []
        for pin in pins:
            found = [session for _, session in read.get(pin.id, ())]
            if pin.session.listed:
                session = next((one for one in as_clients(found) if pin.same_session(one)), None)
            else:
                session = self._unlisted(pin.session)
                found += [session] if session is not None else []
            unseen = "" if session is not None or self.dialect.cluster else _elsewhere(pin.session.server, here)
            read_at = min((read_at for read_at, _ in read.get(pin.id, ())), default=0.0)
            looks.append(
                Look(
                    tuple(found),
                    session,
                    self._since_a_move(unseen),
                    asked,
                    answered,
                    read_at,
                    elsewhere=bool(unseen) and self.dialect.single,
                    in_transaction=bool(in_transaction),
                )
            )
        return looks

    def _since_a_move(self, unseen: str) -> str:
        """Say first that the address leads to another server of late: that is why a session of before is not seen."""
        return f"{self._move.told(self._endpoint.name)} {unseen}" if unseen and self._move is not None else unseen

    def recent(self, look: Look) -> bool:
        """Whether the server has read what a look shows within the last moment.

        An answer may lie around for long: on its way, or in a process that is frozen. One that came at once has not;
        of any other the server is asked what time it is now. Raises a ``DataSourceError``.
        """
        if look.answered - look.asked <= _AT_ONCE:
            return True
        asked = since_boot()
        now = float(self._connection.rows(f"SELECT {NOW}")[0][0])
        return max(now - look.read_at, 0.0) + since_boot() - asked <= _RECENT

    def unseen(self, server: str | None, tenant: str | None = None) -> str:
        """Say why a session of that server, which is not in the list, cannot be called gone; '' where it can.

        ``tenant`` is its tenant, None where that is not known.
        """
        out_of_sight = self._out_of_sight(tenant or self.dialect.login_tenant, None)
        if out_of_sight:
            return out_of_sight
        if self.dialect.cluster:
            return self._since_a_move(self._not_serving((server,) if server else ()) or self._on_a_namesake())
        here = self._connection.rows(f"SELECT {self.dialect.own_address}")[0][0]
        return self._since_a_move(_elsewhere(server, here) or self._on_a_namesake())

    def _own_start(self) -> float | None:
        """When the server that answers was started, in seconds since the epoch; None where it does not say."""
        query = self.dialect.own_start()
        rows = self._connection.rows(query.sql, query.values)
        return float(rows[0][0]) if rows and rows[0][0] is not None else None

    def _on_a_namesake(self) -> str:
        return _ON_THE_OTHER if self._move is not None and self._move.before.name == self._move.now.name else ""

    def _out_of_sight(self, tenant: str | None, user: str | None) -> str:
        """Say why the bot's login would not see a session, '' where it would: it may be another login than before."""
        login, sees = self._endpoint.user, self.dialect.sees
        if sees is Reach.OWN and user != self.dialect.login.user:
            return f"The bot's login {login} sees only its own sessions."
        if sees is Reach.TENANT and tenant != self.dialect.login_tenant:
            return f"The bot's login {login} sees only the sessions of tenant {self.dialect.login_tenant}."
        return ""

    def _unlisted(self, session: Session) -> Session | None:
        """Return a server session that the view of transactions alone has, where it still does."""
        query = self.dialect.server_session(session)
        rows = self._connection.rows(query.sql, query.values) if query is not None else []
        here = (session.id, host_of(session.server or ""))
        there = any((int(number), str(ip)) == here for number, ip in rows if number is not None)
        return session if there else None

    def _not_serving(self, servers: Sequence[str]) -> str:
        """Say why the servers of a session are not known to serve, '' where they are; none is one not known."""
        if not servers and (self.dialect.servers_view is None or self.absent_servers()):
            return "The server it was on is not known, and not all servers answered."
        silent = [server for server in servers if not self._serves(server)]
        if not silent:
            return ""
        return f"Server {', '.join(silent)} did not answer, so its sessions may be missing from the list."

    def _serves(self, server: str) -> bool:
        asked = (self.dialect.any_session_on(server), self.dialect.server_status(server))
        return any(self._connection.rows(one.sql, one.values) for one in asked if one is not None)

    def with_servers(self, sessions: Sequence[Session]) -> list[Session]:
        """Add to the clients among these sessions all servers that they are on, and the transaction of any of them."""
        ids = {one.id for one in sessions if one.client_session}
        if not ids:
            return list(sessions)
        query = self.dialect.of_clients(sorted(ids))
        rows = [
            self.dialect.to_session(self._endpoint.name, row) for row in self._connection.rows(query.sql, query.values)
        ]
        clients = {_client(one): one for one in as_clients(rows)}
        return [_joined(one, clients.get(_client(one), one)) for one in sessions]

    def alike(self, session: Session, limit: int) -> list[Session]:
        """Return sessions of the same user from the same client, no more than ``limit``, the bot's own left out."""
        tenants = [session.tenant] if session.tenant else None
        host = host_of(session.client.origin)
        same = [Condition(Field.USER, Operator.EXACTLY, (session.client.user,))]
        if host:
            same.append(Condition(Field.HOST, Operator.EXACTLY, (host,)))
        query = self.dialect.page(tenants, SessionFilter(tuple(same)), Sort(), limit, 0)
        rows = self._connection.rows(query.sql, query.values)
        return [self.dialect.to_session(self._endpoint.name, row) for row in rows]

    def kill_text(self, session: Session, mode: Mode, pinned: Session) -> str:
        """Return the statement that ``kill`` sends, and the one that follows where that is denied, for the record."""
        sql = self.dialect.kill(session, mode, pinned=pinned).sql
        if not self.dialect.kill_procedures:
            return sql
        return f"{sql}; where that is denied {self.dialect.kill_by_procedure(session, mode).sql}"

    def kill(self, session: Session, mode: Mode, pinned: Session | None = None) -> None:
        """Send ``KILL`` or ``KILL QUERY`` on this connection, once; ``pinned`` is the session as it was confirmed.

        Its OK means no more than sent. Raises ``UnknownSessionError``, ``NotSessionOwnerError`` or another
        ``DataSourceError``; after ``ConnectionLostError`` and ``DataSourceTimeoutError`` it may or may not have
        been carried out.
        """
        self._connection.rows(self.dialect.kill(session, mode, pinned=pinned).sql)

    def rehearse(self, own: Session) -> None:
        """Run all that a close asks before and after its ``KILL``, of this connection's own session; send no ``KILL``.

        Raises a ``DataSourceError``.
        """
        self.look(Pin.of(own))
        self._connection.rows(f"SELECT {NOW}")
        if self.dialect.own_transaction is not None:  # as a fresh look does, whose wait tries nothing more
            self._in_transaction = True
            self._connection.rows("START TRANSACTION WITH CONSISTENT SNAPSHOT")
            self.release()
        as_holder = replace(own, transaction=Transaction(0, None))
        self.transaction_open(as_holder)
        self.prepared(as_holder)
        self.rows_left(as_holder)
        self.server_session(as_holder)
        self.unseen(own.server, own.tenant)
        self._own_start()
        self.refuses_client([own])
        self.alike(own, 1)
        clients = self.dialect.of_clients([own.id])
        self._connection.rows(clients.sql, clients.values)
        self.own_server  # noqa: B018  # asks

    def kill_by_procedure(self, session: Session, mode: Mode) -> None:
        """Send the same by a procedure of Amazon RDS, once; where a ``KILL`` was denied, and so nothing was closed.

        Raises as ``kill``.
        """
        self._connection.rows(self.dialect.kill_by_procedure(session, mode).sql)

    def transaction_open(self, session: Session) -> bool | None:
        """Tell whether a session's transaction still exists; None where it had none or the server cannot say.

        A killed session may leave the process list while its locks live on (docs/oceanbase.md 4.1).
        """
        query = self.dialect.transaction(session)
        if query is None:
            return None
        return bool(self._connection.rows(query.sql, query.values))

    def prepared(self, session: Session) -> bool:
        """Whether a session's transaction has outlived it, prepared by XA: only XA COMMIT or ROLLBACK ends that."""
        query = self.dialect.prepared(session)
        return query is not None and bool(self._connection.rows(query.sql, query.values))

    def rows_left(self, session: Session) -> int | None:
        """Return how many rows a rollback has still to undo; None where it is over, or the server does not count."""
        query = self.dialect.rows_left(session)
        rows = self._connection.rows(query.sql, query.values) if query is not None else []
        return int(rows[0][0]) if rows else None

    def server_session(self, client: Session) -> Session | None:
        """Return the server session that still has the transaction of a client that is off the list.

        Its id and its server are those that the view of transactions names; None where that names none, or several.
        """
        query = self.dialect.server_session(client)
        rows = self._connection.rows(query.sql, query.values) if query is not None else []
        if len(rows) != 1 or rows[0][0] is None:
            return None
        number, ip = int(rows[0][0]), str(rows[0][1])
        if number == client.id:
            return None  # so versions from 4.3.5 on name it
        servers = [one for one in client.servers or (client.server,) if one is not None and host_of(one) == ip]
        if len(servers) != 1:
            return None
        return replace(
            client,
            id=number,
            server=servers[0],
            servers=(),
            listed=False,
            command="Sleep",
            state="SESSION_KILLED",
            statement=None,
            trace_id=None,
            request_id=None,
        )

    def absent_servers(self) -> list[tuple[Any, ...]]:
        """Return address, port and status of the servers that do not serve; none where the login cannot see them.

        They are asked for once after each look, for all that were looked at.
        """
        if self._absent_servers is None:
            query = self.dialect.absent_servers()
            self._absent_servers = self._connection.rows(query.sql, query.values) if query is not None else []
        return self._absent_servers

    @functools.cached_property
    def own_server(self) -> str | None:
        """The server of this very connection; None where a proxy stands between, or nothing tells.

        Raises a ``DataSourceError`` where it could not be asked, and asks again the next time.

        The server lists this connection with the address that the bot has on it: behind a proxy, which sends each
        statement where it likes, it lists the proxy's.
        """
        query = self.dialect.own_place()
        rows = self._connection.rows(query.sql, query.values)
        listed = {str(server) for server, peer in rows if server and peer == self._connection.local_address}
        if len(listed) != 1:
            return None
        with contextlib.suppress(DataSourceError):  # other servers have no such functions
            listed &= {str(self._connection.rows(f"SELECT {self.dialect.own_address}")[0][0])}
        return next(iter(listed), None)

    def ways(self) -> list[Way]:
        """Return the ways to get here: as it is configured, then straight to each other server of the cluster.

        Raises a ``DataSourceError``.
        """
        asked, own = self.dialect.servers(), self.own_server
        servers = sorted({str(server) for (server,) in self._connection.rows(asked.sql, asked.values) if server})
        straight = (self._at(server) for server in servers if server != own)
        return [
            Way(self._endpoint, direct=False, proxied=own is None),
            *(Way(endpoint, direct=True, proxied=False) for endpoint in straight if endpoint is not None),
        ]

    def way_past(self, server: str | None) -> bool:
        """Whether a server of the cluster has an address of its own to try, another than this connection's."""
        return self._at(server) is not None

    @contextlib.contextmanager
    def on(self, server: str | None) -> Iterator[Console]:
        """Open a connection to one server of the cluster, past any proxy, and make sure that it is that one.

        Raises ``SessionOutOfReachError`` where that cannot be done.
        """
        endpoint = self._at(server)
        if endpoint is None:
            raise SessionOutOfReachError(f"{server or 'Its server'} can only be reached through {self._endpoint.host}.")
        with contextlib.ExitStack() as stack:
            try:
                connection = stack.enter_context(connected(endpoint, self._prepare))
                direct = Console(endpoint, self._prepare, self._tenants, connection, self.dialect, self._fresh_looks)
                reached = direct.own_server
            except DataSourceError as error:
                raise SessionOutOfReachError(f"Server {server} could not be asked: {error}") from error
            if reached != server:
                raise SessionOutOfReachError(f"The server that answers at {server} is {reached or 'a proxy'}.")
            yield direct

    def _at(self, server: str | None) -> Endpoint | None:
        return self._endpoint.at(server, self.dialect.login.direct)

    def refuses_client(self, rows: Sequence[Session]) -> str:
        """Say why a KILL of this client's id could reach somebody else, '' where it cannot (docs/oceanbase.md 4.1).

        A server sends it on to all others, by the id alone; the proxies' ids differ only where each has a number of
        its own. Says nothing of whose the other sessions are.
        """
        if self.dialect.sees is not Reach.ALL:
            return f"The bot's login does not see every tenant, {_ANOTHER}"
        if not self.dialect.single and (not self.dialect.cluster or self.dialect.servers_view is None):
            return f"The bot's login may not see all servers and their sessions, {_ANOTHER}"
        absent = self.absent_servers()
        if absent:
            which = ", ".join(f"{ip}:{port}" for ip, port, *_ in absent)
            return f"Server {which} does not answer, {_ANOTHER}"
        if len(as_clients(rows)) > 1:
            return "Two OBProxies have given this id to different clients, and a KILL would close all of them."
        return ""


def _elsewhere(server: str | None, here: str | None) -> str:
    """Say why the list of the server that is ``here`` does not tell of another one, '' where it is the same."""
    if server is None or here == server:
        return ""
    return f"Its server is {server}, and only the sessions of {here} could be listed."


def as_clients(rows: Sequence[Session]) -> list[Session]:
    """Make one session of the rows of one client behind a proxy, which are on all servers that it has touched.

    The one that does something stands for all (docs/oceanbase.md 4.1). Everybody else stays as he is.
    """
    clients: dict[object, list[Session]] = {}
    for row in rows:
        clients.setdefault(_client(row) if row.client_session else (row.server, *_client(row)), []).append(row)
    return [_one_client(members) for members in clients.values()]


def _client(session: Session) -> tuple[object, ...]:
    return session.id, session.tenant, session.client.user, session.client.proxy_session_id, session.client.origin


def _joined(session: Session, client: Session) -> Session:
    return replace(session, servers=client.servers, transaction=session.transaction or client.transaction)


def _one_client(rows: list[Session]) -> Session:
    if len(rows) == 1:
        return rows[0]
    first = max(rows, key=lambda one: (one.active, one.running, one.in_transaction, -one.time))
    servers = tuple(sorted({one.server for one in rows if one.server is not None}))
    holder = next((one for one in rows if one.in_transaction), first)
    return _joined(first, replace(holder, servers=servers))
