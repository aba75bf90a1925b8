"""Triage of one data source, check by check: one that fails or hangs takes nothing from the others."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import structlog

from bot.errors import (
    BusyError,
    DataSourceTimeoutError,
    DataSourceUnreachableError,
    LoginRefusedError,
    NotAllowedError,
    SessionBotError,
)
from bot.sessions.diagnosis.triage import (
    Check,
    Finding,
    Look,
    PastOf,
    Thresholds,
    find,
    longest_running,
)
from bot.sessions.model import Session
from bot.sessions.source import DataSource
from bot.sessions.source_health import Tenants
from bot.sessions.transactions import OpenTransaction
from bot.sessions.waits.blockages import Advise

log = structlog.get_logger(__name__)

_T = TypeVar("_T")

# With these nothing else can be read there either.
_OVER = (DataSourceUnreachableError, LoginRefusedError, NotAllowedError, BusyError)
_NAMED = 3  # of the longest and the oldest


@dataclass(frozen=True, slots=True)
class Result:
    """What triage found on one data source so far."""

    source: str
    as_of: datetime  # UTC
    findings: tuple[Finding, ...] = ()
    checked: tuple[Check, ...] = ()
    not_checked: tuple[tuple[Check, str], ...] = ()  # each with why, a sentence
    caveats: tuple[str, ...] = ()  # sentences on what cannot be seen
    problem: str = ""  # why nothing could be read at all
    pending: bool = False  # whether it goes on
    sessions: int = 0  # that were looked at
    longest: tuple[Session, ...] = ()  # the longest running statements
    oldest: tuple[OpenTransaction, ...] = ()  # read where nothing was found
    open: int | None = None  # transactions, same


@dataclass(frozen=True, slots=True)
class Helpers:
    """What triage asks of others. ``require_past`` raises where what was closed lately cannot be read."""

    advise: Advise
    require_past: Callable[[], None] = lambda: None
    past: PastOf = lambda _graph, _who: ""
    may_close: Callable[[Session], bool] = lambda _session: True


@dataclass
class Examination:
    """Reads what triage looks at, for somebody who may see those tenants. ``result`` tells meanwhile what is known."""

    source: DataSource
    tenants: Tenants
    thresholds: Thresholds
    helpers: Helpers
    _result: Result = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        """Begin with nothing known."""
        self._result = Result(self.source.name, datetime.now(UTC), pending=True)

    @property
    def result(self) -> Result:
        """What is known so far; not ``pending`` any more once ``run`` has returned."""
        with self._lock:
            return self._result

    def run(self) -> None:
        """Read all of it. Never raises: what goes wrong is part of the result."""
        try:
            self._run()
        except Exception:
            log.exception("triage failed", source=self.source.name)
            self._tell(problem=f"The bot failed at looking at data source {self.source.name}. See its log.")
        finally:
            self._tell(pending=False)

    def _run(self) -> None:
        look = Look(
            tenants=self.source.configured(self.tenants),
            may_close=self.helpers.may_close,
            is_thread=self.source.is_thread,
        )
        try:
            survey = self.source.survey(self.tenants)
            look = replace(look, sessions=survey.sessions)
            self._tell(caveats=survey.caveats, sessions=len(survey.sessions))
            self._checked(Check.SESSIONS)
        except _OVER as error:
            self._tell(problem=error.sentence)
            return
        except SessionBotError as error:
            self._not_checked(Check.SESSIONS, error)
        waits = self._try(Check.WAITS, self.source.waits)
        if waits is not None:
            look = replace(look, waits=waits.seen_by(look.tenants))
            self._tell(caveats=(*self.result.caveats, *waits.lacks))
        self._find(look)
        look = replace(look, limits=self._try(Check.LIMITS, self.source.limits))
        if look.limits is not None:
            self._tell(caveats=(*self.result.caveats, *look.limits.lacks))
        look = replace(look, absent=self._try(Check.SERVERS, self.source.absent_servers) or ())
        self._find(look)
        self._try(Check.CLOSED, self.helpers.require_past)
        within = timedelta(seconds=self.thresholds.deadlocks_within)
        recent = self._try(Check.DEADLOCKS, lambda: self.source.recent_deadlocks(within, self.tenants))
        look = replace(look, deadlocks=recent)
        self._find(look)
        if not self.result.findings:
            self._oldest()

    def _oldest(self) -> None:
        try:
            found = self.source.transactions(self.tenants)
        except SessionBotError:
            return  # nothing is wrong because of that
        self._tell(oldest=found.open[:_NAMED], open=len(found.open))

    def _try(self, check: Check, read: Callable[[], _T]) -> _T | None:
        try:
            found = read()
        except SessionBotError as error:
            self._not_checked(check, error)
            return None
        except Exception:
            log.exception("check failed", source=self.source.name, check=check.value)
            self._lacks(check, "the bot itself failed at it; its log has more.")
            return None
        self._checked(check)
        return found

    def _find(self, look: Look) -> None:
        found = find(look, self.thresholds, self.helpers.advise, self.helpers.past)
        self._tell(findings=found, longest=tuple(longest_running(look)[:_NAMED]))

    def _checked(self, check: Check) -> None:
        self._tell(checked=(*self.result.checked, check))

    def _not_checked(self, check: Check, error: SessionBotError) -> None:
        late = "it took too long. " if isinstance(error, DataSourceTimeoutError) else ""
        self._lacks(check, f"{late}{error.sentence}")

    def _lacks(self, check: Check, why: str) -> None:
        self._tell(not_checked=(*self.result.not_checked, (check, why)))

    def _tell(self, **changes: object) -> None:
        with self._lock:
            self._result = replace(self._result, as_of=datetime.now(UTC), **changes)  # type: ignore[arg-type]
