"""What can be asked of a data source to explain its sessions; how it is reached is ``bot/sessions/source.py``'s."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast

from bot.sessions import deadlocks, transactions
from bot.sessions.console import Console
from bot.sessions.database import Connection
from bot.sessions.deadlocks import Deadlocks
from bot.sessions.diagnosis import survey
from bot.sessions.diagnosis.shared_read import SharedRead
from bot.sessions.diagnosis.survey import Limits, RecentDeadlocks, Survey
from bot.sessions.dialect import Dialect
from bot.sessions.model import Field, Flag, SessionFilter, Sort
from bot.sessions.pool import Purpose
from bot.sessions.source_health import Tenants
from bot.sessions.transactions import Transactions
from bot.sessions.waits import reading
from bot.sessions.waits.graph import WaitGraph

# Entered by whoever uses a data source, since it may hang: so that others are not kept waiting.
Waits = Callable[[], AbstractContextManager[None]]

_T = TypeVar("_T")


class DiagnosedSource(ABC):
    """The questions of a diagnosis, each read once for all who ask at the same moment."""

    name: str

    def __init__(self, waits_for_diagnosis: Waits) -> None:
        self._waits_for_diagnosis = waits_for_diagnosis
        self._diagnoses: dict[str, SharedRead[Any]] = {}

    def waits(self) -> WaitGraph:
        """Read who waits for whom, of every tenant: whoever shows it narrows it to what its asker may see.

        Raises ``DataSourceError`` or ``BusyError``.
        """

        def ask(connection: Connection, dialect: Dialect) -> WaitGraph:
            if dialect.locks is None:
                return WaitGraph(self.name, datetime.now(UTC), lacks=("This server names no locks to this login.",))
            sessions_of = self._console(connection, dialect).parties
            return reading.read(connection, self.name, dialect.locks, sessions_of, unlisted=dialect.cluster)

        return self.diagnosis("waits", ask)

    def diagnosis(self, name: str, ask: Callable[[Connection, Dialect], _T]) -> _T:
        """Ask what explains sessions, each question by its ``name``, and never twice at a time.

        Whoever asks the same meanwhile shares the answer (``SharedRead``): so it is read of all tenants, and narrowed
        to each asker's afterwards. Each statement has ``diagnosis_limit`` seconds, and there are connections that no
        diagnosis gets: nobody who lists or closes waits for it. Raises ``DataSourceError`` or ``BusyError``.
        """
        with self._waits_for_diagnosis():
            shared = self._diagnoses.setdefault(name, SharedRead())
            return cast("_T", shared.get(lambda: self._read(ask, Purpose.DIAGNOSING)))

    def transactions(self, tenants: Tenants) -> Transactions:
        """Read the open transactions of those tenants, oldest first.

        Raises ``NotAllowedError``, ``DataSourceError`` or ``BusyError``.
        """

        def ask(connection: Connection, dialect: Dialect) -> tuple[Dialect, Transactions]:
            return dialect, self._transactions(connection, dialect)

        dialect, found = self.diagnosis("transactions", ask)
        self._refuse_tenants(dialect, self._scope(tenants))
        return found.narrowed(self.configured(tenants))

    def _transactions(self, connection: Connection, dialect: Dialect) -> Transactions:
        caveats = self._caveats(connection, dialect)
        if dialect.transactions is None:
            return self._listed_transactions(connection, dialect, caveats)
        console = self._console(connection, dialect)
        found = transactions.read(
            connection,
            self.name,
            dialect.transactions,
            console.parties,
            unlisted=dialect.cluster,
            last_of=dialect.last_statements,
        )
        return replace(found, caveats=(*caveats, *found.caveats))

    def _listed_transactions(self, connection: Connection, dialect: Dialect, caveats: tuple[str, ...]) -> Transactions:
        """Read what the list of sessions alone tells of transactions."""
        if dialect.expressions["transaction_state"] == "NULL":
            unknown = "This server tells this login of no transaction, so none is shown."
            return Transactions(self.name, datetime.now(UTC), (), caveats=(unknown, *caveats))
        only = SessionFilter(flags=frozenset({Flag.IN_TRANSACTION}))
        asked = dialect.page(None, only, Sort(Field.TIME, descending=True), transactions.MOST + 1, 0)
        rows = connection.rows(asked.sql, asked.values)
        unknown = "How old a transaction is, is not known here: that is in a view that this login cannot read."
        sessions = (dialect.to_session(self.name, row) for row in rows)
        return transactions.of_list(self.name, sessions, (unknown, *caveats))

    def survey(self, tenants: Tenants) -> Survey:
        """Read all sessions in those tenants, ``survey.MOST`` at most. Raises as ``transactions``."""

        def ask(connection: Connection, dialect: Dialect) -> tuple[Dialect, Survey]:
            asked = survey.sessions_of(dialect, self._scope(None))
            rows = connection.rows(asked.sql, asked.values)
            sessions = [dialect.to_session(self.name, row) for row in rows]
            console = self._console(connection, dialect)
            if dialect.client is not None:
                sessions = console.with_servers(sessions)
            found = survey.acquainted(sessions, console.parties)
            return dialect, Survey(self.name, found, datetime.now(UTC), self._caveats(connection, dialect))

        dialect, found = self.diagnosis("survey", ask)
        self._refuse_tenants(dialect, self._scope(tenants))
        return found.seen_by(self.configured(tenants))

    def limits(self) -> Limits:
        """Read the limits on connections: of the server, its tenants and its users. Raises as ``waits``."""
        return self.diagnosis("limits", survey.limits_of)

    def absent_servers(self) -> tuple[tuple[str, str], ...]:
        """Return address and status of the cluster's servers that do not serve. Raises as ``waits``."""
        return self.diagnosis("servers", survey.absent_servers)

    def recent_deadlocks(self, within: timedelta, tenants: Tenants) -> RecentDeadlocks | None:
        """Say how many deadlocks there were of late; None for none. Raises as ``deadlocks``."""

        def ask(connection: Connection, dialect: Dialect) -> tuple[Dialect, Deadlocks | RecentDeadlocks | None]:
            if not dialect.has_tenants:
                return dialect, survey.latest_deadlock(connection)
            return dialect, deadlocks.read(connection, dialect, self.name, None, within)

        dialect, found = self.diagnosis(f"deadlocks {within}", ask)
        if not isinstance(found, Deadlocks):
            return found if found is None or found.ago <= within.total_seconds() else None
        seen = self.configured(tenants)
        at = [one.at for one in found.events if seen is None or (one.tenant or dialect.login_tenant) in seen]
        return RecentDeadlocks(len(at), max(0.0, (found.as_of - max(at)).total_seconds())) if at else None

    def forget_diagnoses(self) -> None:
        """Share with nobody who asks from now on what was read before: something may have been closed."""
        for shared in tuple(self._diagnoses.values()):
            shared.forget()

    @abstractmethod
    def configured(self, tenants: Tenants) -> Tenants:
        """Return those of these tenants that the configuration lets anybody see."""

    @abstractmethod
    def _read(self, ask: Callable[[Connection, Dialect], _T], purpose: Purpose = Purpose.READING) -> _T:
        """Ask on a connection for that purpose. Raises ``DataSourceError`` or ``BusyError``."""

    @abstractmethod
    def _console(self, connection: Connection, dialect: Dialect) -> Console:
        """Make a console of a connection."""

    @abstractmethod
    def _scope(self, tenants: Tenants) -> Sequence[str] | None:
        """The tenants of the data source and of the asker together; None is every tenant."""

    @abstractmethod
    def _refuse_tenants(self, dialect: Dialect, scope: Sequence[str] | None) -> None:
        """Raise ``NotAllowedError`` where tenants are named and the server has none."""

    @abstractmethod
    def _caveats(self, connection: Connection, dialect: Dialect) -> tuple[str, ...]:
        """Say what cannot be seen, in sentences."""
