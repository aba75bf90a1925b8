"""`check --exercise`: lists, reads and closes sessions of its own on each data source, by each way to it.

A close goes as a press lets it go: look, compare the pin, ``KILL``, look until it is so. What is not the exercise's own
is not closed: each session is known by a statement of its own that the list shows, and each look is compared with that.
What is told names no address, no account, no tenant and no statement.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTimeError
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TypeVar

from tabulate import tabulate

from bot.closing.closer import FIRST_PAUSES, LATER_PAUSE, VERIFY_FOR
from bot.closing.model import Outcome
from bot.closing.targets import refuse_protected
from bot.closing.verification import verify_all
from bot.errors import (
    AccountLimitError,
    BusyError,
    ConnectionLostError,
    DataSourceError,
    DataSourceTimeoutError,
    DataSourceUnreachableError,
    LoginRefusedError,
    NotSessionOwnerError,
    PrivilegeMissingError,
    SessionBotError,
    SessionOutOfReachError,
    TargetError,
    UnknownSessionError,
)
from bot.operations import facts
from bot.operations.facts import Fact
from bot.operations.reports import Verdict
from bot.sessions import kill
from bot.sessions.details import Reach
from bot.sessions.kill import NotSent, Why
from bot.sessions.model import Condition, Field, Mode, Operator, Pin, Session, SessionFilter, SessionQuery, WaitKind
from bot.sessions.service import SessionService
from bot.sessions.source import DataSource
from bot.sessions.statement import Disclosure
from bot.sessions.trial_session import Ended, Table, TrialSession, Way
from bot.sessions.uptime import since_boot

SHOWN_WITHIN = 10.0  # seconds for a list to show what a session of one's own does
_PAUSE = 0.02  # seconds between two looks
_PAUSE_FOR_LOCKS = (
    0.2  # InnoDB's list of them does not move while somebody reads it all the time (docs/oceanbase.md 8.4)
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Step:
    """One step by one way: what was ``shown``, the seconds that it took, and the ``fact`` that it was compared with."""

    way: str
    what: str
    verdict: Verdict
    shown: str
    seconds: float | None = None
    fact: Fact | None = None


@dataclass(frozen=True, slots=True)
class Exercised:
    """What came of one data source, whose ``kind`` of server is '' where that is not known."""

    name: str
    kind: str
    steps: tuple[Step, ...]


def exercise(source: DataSource, table: Table | None, *, read_only: bool = False) -> Exercised:
    """Try all of it on one data source. Raises nothing: what fails is a step.

    ``table`` is where a row may be locked; None leaves locks out. Nothing is closed where it is ``read_only``.
    """
    steps: list[Step] = []
    health = source.health(None)
    try:
        ways = source.ways()
        for number, way in enumerate(ways):
            name = _name(way, number, len(ways) - 1)
            known = facts.MYSQL if health.kind.startswith(("MySQL", "MariaDB")) else facts.OCEANBASE
            steps += _Exercise(source, way, name, known, table, read_only=read_only).steps()
    except (DataSourceError, BusyError) as error:
        steps.append(Step("as configured", "open a session", _not_opened(error), why(error)))
    steps.append(_of_others(health.closes, read_only=read_only))
    kind = f"{health.kind}, {health.view.rpartition('.')[2]}" if health.kind else ""
    return Exercised(source.name, kind, tuple(steps))


def _of_others(closes: Reach | None, *, read_only: bool) -> Step:
    """Say that closing one's own proves no privilege: whether others' may be closed is known from the grants alone."""
    what = "close others' sessions"
    if read_only or closes is None:
        return Step("by its grants", what, Verdict.UNTRIED, "read_only" if read_only else "not known")
    if closes is Reach.OWN:
        return Step("by its grants", what, Verdict.LESS, "its login may close only its own")
    return Step("by its grants", what, Verdict.UNTRIED, f"its login may close those of {_REACH[closes]}")


_REACH = {Reach.ALL: "everybody", Reach.MOST: "everybody but accounts with SYSTEM_USER", Reach.TENANT: "its tenant"}


def lines(found: Iterable[Exercised], version: str) -> Iterator[str]:
    """Yield what a person reads and may attach to a bug report; ``version`` is the bot's."""
    yield f"session-bot {version}, Python {platform.python_version()}. Sections are those of {facts.DOCUMENT}."
    for one in found:
        yield f"\n{one.name}: {one.kind or 'a server that did not answer'}"
        for way, steps in groupby(one.steps, key=lambda step: step.way):
            rows = [
                (_LABELS[step.verdict], step.what, step.shown, _seconds(step), step.fact.place if step.fact else "")
                for step in steps
            ]
            yield f"\n{way}"
            yield tabulate(rows, _HEADERS, tablefmt="simple", disable_numparse=True, colalign=_ALIGNED)
        for step in one.steps:
            if step.fact is not None and step.verdict is not Verdict.WORKS:
                yield f"differs ({step.way}, {step.what}) from {step.fact.place}: {step.fact.says}"


_HEADERS = ("", "step", "what came of it", "s", "section")
_ALIGNED = ("left", "left", "left", "right", "left")
_LABELS = {Verdict.WORKS: "ok", Verdict.UNTRIED: "left out", Verdict.LESS: "differs", Verdict.FAILS: "problem"}


def _seconds(step: Step) -> str:
    return "" if step.seconds is None else f"{step.seconds:.3f}"


def _name(way: Way, number: int, others: int) -> str:
    if way.direct:
        return f"server {number} of {others}, directly"
    return "as configured" + (", through a proxy or NAT" if way.proxied else "")


def _not_opened(error: SessionBotError) -> Verdict:
    """Return the verdict of a session that was not opened: a bot that runs may have all that its account may."""
    taken = isinstance(error, AccountLimitError) and error.connections
    return Verdict.UNTRIED if taken else Verdict.FAILS


def why(error: SessionBotError) -> str:
    """Say what failed without the words of a server or a driver, which name addresses and accounts."""
    words = next((words for kind, words in _WHY.items() if isinstance(error, kind)), "it failed")
    number = error.errno if isinstance(error, DataSourceError) else 0
    return f"{words} ({number})" if number else words


_WHY: Mapping[type[SessionBotError], str] = {
    LoginRefusedError: "the login is refused",
    AccountLimitError: "the account has used up a limit of its own",
    DataSourceUnreachableError: "it cannot be reached",
    DataSourceTimeoutError: "no answer in time",
    ConnectionLostError: "the connection broke",
    PrivilegeMissingError: "the login lacks a privilege",
    NotSessionOwnerError: "not this login's to close",
    UnknownSessionError: "no such session",
    SessionOutOfReachError: "its server cannot be asked",
    BusyError: "no connection got free",
    DataSourceError: "the server answers with an error",
}


class _FailedError(Exception):
    """A step that failed, so that those after it make no sense."""


class _NobodyWaitsError(Exception):
    """What was to wait for a lock has ended, and nobody had closed it."""


class _Exercise:
    """One data source by one way."""

    def __init__(
        self, source: DataSource, way: Way, name: str, known: facts.Facts, table: Table | None, *, read_only: bool
    ) -> None:
        self._source = source
        self._service = SessionService([source])
        self._way = way
        self._name = name
        self._facts = known
        self._table = table
        self._read_only = read_only
        self._proven: dict[TrialSession, Session] = {}  # as the list showed them with their marks
        self._steps: list[Step] = []

    def steps(self) -> list[Step]:
        """Do all of it. What was opened ends in any case, with its connection at the latest."""
        try:
            with ExitStack() as opened:
                self._all(opened)
        except _FailedError:
            pass
        except TargetError:
            self._tell("close", Verdict.FAILS, "not sent: it is protected, or was not opened here")
        except (DataSourceError, BusyError) as error:
            self._tell("go on", Verdict.FAILS, why(error))
        return self._steps

    def _all(self, opened: ExitStack) -> None:
        one = self._opened(opened)
        asked = since_boot()
        query = one.run_marked()
        session = self._prove(one)
        self._list(one, session)
        self._read(one, session)
        off = abs(session.time - (self._seen_at - asked))
        self._tell("compare its time", _met(off <= self._facts.time.within), f"{off:.1f} s off", fact=self._facts.time)
        if self._read_only:
            self._tell("close", Verdict.UNTRIED, "read_only")
            return
        if self._is_protected(session):
            self._tell("close", Verdict.UNTRIED, "protected by the settings, as all of the bot's login or address is")
            return
        session = self._until(lambda: self._nameable(one), "know its query again", "never for long enough")
        sent_at = self._close(session, Mode.QUERY, "close its query", self._facts.query)
        self._client("what its client gets", query, sent_at, self._facts.query)
        goes_on = one.next_statement().errno is None
        self._tell("use it again", _met(goes_on), "it stays" if goes_on else "it has ended", fact=self._facts.stays)
        if self._table is None:
            self._tell("lock a row", Verdict.UNTRIED, "no --table")
        elif self._holds(one, self._table):
            try:
                self._wait_for(one, self._opened(opened), self._table)
            except _NobodyWaitsError:
                said = "left out: nobody has to wait for it, so this table has no row locks"
                self._tell("wait for the row", Verdict.LESS, said)
            else:
                return
        self._end(one, "close the session")
        self._gone(one)

    def _opened(self, opened: ExitStack) -> TrialSession:
        started = since_boot()
        try:
            session = opened.enter_context(self._source.trial_session(self._way))
        except (DataSourceError, BusyError) as error:
            self._tell("open a session", _not_opened(error), why(error))
            raise _FailedError from error
        self._tell("open a session", Verdict.WORKS, "logged in", since_boot() - started)
        return session

    def _prove(self, one: TrialSession, what: str = "find it in the list") -> Session:
        """Find the row that shows a session's mark: it is this one, whatever else has its id."""
        started = since_boot()
        session = self._until(lambda: self._marked(one), what, "not there")
        self._seen_at = since_boot()
        self._proven.setdefault(one, session)
        self._tell(what, Verdict.WORKS, "with its statement", self._seen_at - started)
        return session

    def _list(self, one: TrialSession, session: Session) -> None:
        """Ask for a page as people get it; sessions of the bot's own login are left out of it on some servers."""
        only = SessionFilter((Condition(Field.ID, Operator.EXACTLY, (session.id,)),))
        started = since_boot()
        page = self._source.page(SessionQuery(filter=only), None, Disclosure.ALL_BUT_PASSWORDS)
        took = since_boot() - started
        shown = any(one.is_listed_as(row) for row in page.sessions)
        tenants = self._source.options.tenants
        left_out = "one of the bot's own login" if session.own else ""
        if tenants is not None and session.tenant not in tenants:
            left_out = "of a tenant that is not configured"
        said = "shown" if shown else f"left out, as {left_out}" if left_out else "not shown"
        self._tell("list it", _met(shown is not bool(left_out)), said, took)

    def _read(self, one: TrialSession, session: Session) -> None:
        started = since_boot()
        statement = self._source.whole(session).statement
        took = since_boot() - started
        whole = statement is not None and statement.shown(Disclosure.ALL_BUT_PASSWORDS) == one.sql
        said = "as it was sent" if whole else "not as it was sent"
        self._tell("read its SQL", _met(whole), said, took, self._facts.statement)
        if statement is not None and one.mark in statement.shown(Disclosure.DIGEST):
            self._tell("read its digest", Verdict.FAILS, "a literal is in it")

    def _holds(self, one: TrialSession, table: Table) -> bool:
        """Lock a row that others may want for as long as this takes; False where there is none."""
        started = since_boot()
        try:
            if one.is_view(table):
                self._tell("lock a row", Verdict.LESS, "left out: it is a view; name a table")
                return False
            there = one.lock(table)
        except ConnectionLostError:
            raise
        except DataSourceError as error:
            if error.errno in _LOCKED:
                self._tell("lock a row", Verdict.UNTRIED, "somebody else has it locked", since_boot() - started)
                return False
            hint = "; it wants SELECT and UPDATE on that table" if isinstance(error, PrivilegeMissingError) else ""
            self._tell("lock a row", Verdict.LESS, f"left out: {why(error)}{hint}", since_boot() - started)
            return False
        said = "locked" if there else "left out: the table has no row"
        self._tell("lock a row", _met(bool(there)), said, since_boot() - started)
        return bool(there)

    def _wait_for(self, one: TrialSession, two: TrialSession, table: Table) -> None:
        """Let one session wait for another's lock: close the waiter's query, then the session that holds the lock."""
        waiting = two.wait_for_lock(table)
        self._shown_waiting(one, two, waiting)
        sent_at = self._close(self._marked_now(two), Mode.QUERY, "close the waiting query", self._facts.waiter)
        self._client("what its client gets", waiting, sent_at, replace(self._facts.waiter, errors=_INTERRUPTED))
        waiting = two.wait_for_lock(table)
        self._shown_waiting(one, two, waiting)
        sent_at = self._end(one, "close the session that holds it")
        self._client("whether the other goes on", waiting, sent_at, replace(self._facts.freed, errors=_NONE))
        self._gone(one)

    def _shown_waiting(self, one: TrialSession, two: TrialSession, statement: Future[Ended]) -> None:
        def waiting() -> Session | None:
            found = self._waiting(two)
            if found is None and statement.done():
                raise _NobodyWaitsError
            return found

        started = since_boot()
        what = "see what it waits for"
        waiter = self._until(waiting, what, "not shown", _PAUSE_FOR_LOCKS)
        self._proven.setdefault(two, waiter)  # it shows the mark
        took = since_boot() - started
        self._tell(what, _met(took <= self._facts.wait.within), "a row lock", took, self._facts.wait)
        if self._facts.holder is None:
            self._tell("find who holds it", Verdict.UNTRIED, "the bot names no holders there")
            return
        started = since_boot()
        holders = [wait.holder for wait in self._source.waits().holders(waiter) if isinstance(wait.holder, Session)]
        took = since_boot() - started
        named = any(holder.id == self._proven[one].id for holder in holders)
        said = "named" if named else "another one named" if holders else "nobody named"
        self._tell("find who holds it", _met(named), said, took, self._facts.holder)

    def _end(self, one: TrialSession, what: str) -> float:
        """Close a session with the transaction that it has; returns when the ``KILL`` had been answered.

        What is said of a transaction that has just begun is up to 0.1 s old (docs/oceanbase.md 8.4), so that it is
        another one at the next look.
        """
        return self._close(self._now(one), Mode.SESSION, what, self._facts.session, again=lambda: self._now(one))

    def _close(
        self, session: Session, mode: Mode, what: str, fact: Fact, again: Callable[[], Session] | None = None
    ) -> float:
        """Close one's own as a press does, and look until it is so; returns when the ``KILL`` had been answered."""
        until = since_boot() + SHOWN_WITHIN
        while True:
            with self._source.console() as console:
                sent = kill.close(console, kill.Order(Pin.of(session), mode, self._forbid, lambda: False))
                past = ", past the proxy" if console.keeps_kills else ""
            sent_at = since_boot()
            moved_on = isinstance(sent, NotSent) and sent.why is Why.ANOTHER_TRANSACTION
            if again is None or not moved_on or sent_at > until:
                break
            time.sleep(_PAUSE_FOR_LOCKS)
            session = again()
        if isinstance(sent, NotSent):
            self._tell(what, Verdict.FAILS, f"not sent: {sent.why.value}")
            raise _FailedError
        wanted = Outcome.CLOSED if mode is Mode.SESSION else Outcome.QUERY_CLOSED
        pauses = iter(FIRST_PAUSES)  # those after a press
        while True:
            seen = verify_all(self._service, self._source.name, {1: sent}, mode)[1]
            took = since_boot() - sent_at
            if seen.final or took >= VERIFY_FOR:
                break
            time.sleep(next(pauses, LATER_PAUSE))
        said = f"{seen.outcome.value}{past}, the server answered {sent.answer.value}"
        if seen.outcome is not wanted:
            self._tell(what, Verdict.FAILS, said, took)
            raise _FailedError
        self._tell(what, _met(took <= fact.within), said, took, fact)
        return sent_at

    def _client(self, what: str, statement: Future[Ended], sent_at: float, fact: Fact) -> None:
        try:
            ended = statement.result(VERIFY_FOR)
        except NotInTimeError:
            self._tell(what, Verdict.FAILS, f"nothing within {VERIFY_FOR:.0f} s", fact=fact)
            raise _FailedError from None
        took = max(0.0, ended.at - sent_at)
        said = "an answer" if ended.errno is None else f"error {ended.errno}"
        self._tell(what, _met(took <= fact.within and ended.errno in fact.errors), said, took, fact)

    def _gone(self, one: TrialSession) -> None:
        """Say what the client of a session that was closed gets to its next statement."""
        errno = one.next_statement().errno
        said = "an answer" if errno is None else f"error {errno}"
        if errno is None:
            self._tell("what its client gets", Verdict.FAILS, said, fact=self._facts.client)
        else:
            self._tell("what its client gets", _met(errno in self._facts.client.errors), said, fact=self._facts.client)

    def _forbid(self, session: Session) -> None:
        """Raise ``TargetError`` for whatever was not opened here, and for what is protected for another reason."""
        if not any(Pin.of(known).same_session(session) for known in self._proven.values()):
            raise TargetError("It was not opened by this check.")
        self._refuse_protected(session)

    def _is_protected(self, session: Session) -> bool:
        try:
            self._refuse_protected(session)
        except TargetError:
            return True
        return False

    def _refuse_protected(self, session: Session) -> None:
        # All sessions of the bot's login count as its own on some servers, these among them.
        refuse_protected(self._service, replace(session, own=False))

    def _rows(self, one: TrialSession) -> list[Session]:
        found = self._source.find_everywhere([one.itself.id])
        known = self._proven.get(one)
        if known is not None:
            return [row for row in found if Pin.of(known).same_session(row)]
        return [row for row in found if one.is_listed_as(row)]

    def _marked(self, one: TrialSession) -> Session | None:
        return next((row for row in self._rows(one) if one.shows_mark(row)), None)

    def _nameable(self, one: TrialSession) -> Session | None:
        """Return a session once its request would be known again: some servers say only how many seconds it took."""
        found = self._marked(one)
        return found if found is not None and Pin.of(found).same_request(found) else None

    def _marked_now(self, one: TrialSession) -> Session:
        return self._until(lambda: self._nameable(one), "know its query again", "never for long enough")

    def _waiting(self, one: TrialSession) -> Session | None:
        found = self._marked(one)
        return found if found is not None and found.waits is WaitKind.ROW_LOCK else None

    def _now(self, one: TrialSession) -> Session:
        return self._until(lambda: next(iter(self._rows(one)), None), "find it again", "not there")

    def _until(self, ask: Callable[[], T | None], what: str, otherwise: str, pause: float = _PAUSE) -> T:
        until = since_boot() + SHOWN_WITHIN
        while True:
            found = ask()
            if found is not None:
                return found
            if since_boot() >= until:
                self._tell(what, Verdict.FAILS, f"{otherwise} within {SHOWN_WITHIN:.0f} s")
                raise _FailedError
            time.sleep(pause)

    def _tell(
        self, what: str, verdict: Verdict, shown: str, seconds: float | None = None, fact: Fact | None = None
    ) -> None:
        self._steps.append(Step(self._name, what, verdict, shown, seconds, fact))


_LOCKED = (1205, 3572)  # to NOWAIT: of MariaDB and OceanBase, and of MySQL
_INTERRUPTED = frozenset({1317})
_NONE = frozenset({None})


def _met(so: bool) -> Verdict:
    """Return the verdict of what is as it should be, or works and differs."""
    return Verdict.WORKS if so else Verdict.LESS
