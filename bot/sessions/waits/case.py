"""What is known of a session when advice is asked for: its waits, its past, and what its transaction tells."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from bot.sessions.address import host_of
from bot.sessions.model import Session, WaitKind
from bot.sessions.spans import span
from bot.sessions.statement import Disclosure, Statement
from bot.sessions.waits.graph import Prepared, Wait, WaitGraph

NAME = 40  # characters of a name
WHOLE_SECONDS = 1.0  # by which times may differ that servers tell in whole ones
# In the queues for these a statement that waits keeps out those behind it that the holder alone would let through.
QUEUED = (WaitKind.METADATA, WaitKind.GLOBAL_READ_LOCK, WaitKind.BACKUP_LOCK)
DDL = frozenset(
    "ALTER CREATE DROP TRUNCATE RENAME OPTIMIZE REPAIR ANALYZE FLUSH LOCK BACKUP".split()  # noqa: SIM905  # one line
)


@dataclass(frozen=True, slots=True)
class Closed:
    """One close of the same user, client and statement, a while ago."""

    at: datetime  # UTC
    by: str  # who, as the view of the store names people: a Slack id
    same_session: bool  # whether it was this very session; else one like it
    query: bool  # whether only its query was closed
    back_after: float | None = None  # seconds after which the client was back
    ago: float | None = None  # seconds since it was closed


@dataclass(frozen=True, slots=True)
class Rollback:
    """How far a rollback is: rows that it has still to undo, as two looks or more have counted them."""

    left: int
    of: int  # the most that were seen
    seconds: float | None = None  # that it takes at this pace; None while only one look has counted


@dataclass(frozen=True, slots=True)
class Case:
    """A session or a prepared transaction, and what is known of it when advice is asked for."""

    who: Session | Prepared
    waits: tuple[Wait, ...] = ()  # whom it waits for
    waiters: tuple[Wait, ...] = ()  # who waits for it directly
    held_up: int = 0  # sessions that wait for it, directly and through others
    heads: tuple[Session | Prepared, ...] = ()  # who is at the head of what it waits for; the youngest of a circle
    protected: tuple[str, ...] = ()  # reasons, each as in "belongs to ocp, a protected user of prod"
    past: tuple[Closed, ...] = ()  # of the last ten minutes, newest first
    frees: int = 0  # of those held up, the ones that wait for nobody else
    circle: int = 0  # how many sessions wait for each other in a circle with it, itself included
    circle_ahead: int = 0  # how many wait for each other in a circle at the end of what it waits for
    never: str = ""  # why it is never closed, as in "is one of this bot's own."
    killed_for: float | None = None  # seconds since it was seen, or known, to have been closed
    # Same of those that wait for it directly, the longest; None: not asked for, or not all of them have been closed.
    waiters_killed_for: float | None = None
    rollback: Rollback | None = None
    blockers: tuple[Case, ...] = ()  # the heads, each with what is known of it
    hidden: bool = False  # whether who asks may not see some head
    guessed: bool = False  # whether the heads are candidates, or to be reached by way of one alone
    lacks: tuple[str, ...] = ()  # what of the waits the login may not read, each with its grant
    rivals: bool = False  # whether whoever may wait for it may wait for others instead
    ddl: Session | None = None  # in whose queue it stands: closing the query of that DDL lets it go on; first of heads

    @classmethod
    def of(
        cls,
        who: Session | Prepared,
        graph: WaitGraph,
        protected: Sequence[str] = (),
        past: Sequence[Closed] = (),
    ) -> Case:
        """Take from the waits what concerns this session, and what they tell of it."""
        is_session = isinstance(who, Session)
        who = graph.known(who) if isinstance(who, Session) else who
        certain = graph.heads_of(who, certain=True) if isinstance(who, Session) else ()
        ddl = _ddl_before(who, graph) if isinstance(who, Session) else None
        heads = certain or (graph.heads_of(who) if isinstance(who, Session) else ())
        waiters = graph.waiters(who)
        ahead = graph.circle_ahead(who) if isinstance(who, Session) and not heads and ddl is None else ()
        return cls(
            who=who,
            waits=graph.holders(who) if isinstance(who, Session) else (),
            waiters=waiters,
            held_up=len(graph.held_up(who)),
            heads=(ddl, *heads) if ddl is not None else heads or ahead[:1],
            guessed=not certain and not ahead,
            protected=tuple(protected),
            past=tuple(past),
            frees=len(graph.frees(who)) if is_session else 0,
            circle=len(graph.circle(who)) if isinstance(who, Session) else 0,
            circle_ahead=len(ahead),
            lacks=graph.lacks,
            rivals=any(one.candidate and len(graph.holders(one.waiter)) > 1 for one in waiters),
            ddl=ddl,
        )


def past_of(who: Session, past: Sequence[Closed]) -> str:
    """Say what was closed before and came back; '' where nothing was."""
    closed = [one for one in past if not one.same_session or one.query]
    if not closed:
        return ""
    count = len(closed)
    what = "The same query was" if all(one.query for one in closed) else "The same was"
    said = f"{what} closed {_often(count)} in 10 min"
    back = [one.back_after for one in closed if one.back_after is not None]
    if not back:
        return f"{said}."
    each = "" if count == 1 else " each time" if len(back) == count else f" {_often(len(back))}"
    soon, late = span(min(back)), span(max(back))
    where = host_of(who.client.origin) or "its address"
    return f"{said}, back{each} after {soon if soon == late else f'{soon} to {late}'}: stop the client at {where}."


def _often(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def progress(rollback: Rollback) -> str:
    """Say how far a rollback is.

    >>> progress(Rollback(104_000, 300_000, 1.0)), progress(Rollback(104_000, 104_000))
    ('rows left 104,000 of 300,000, about 1.0 s', 'rows left 104,000')
    """
    if rollback.seconds is None:
        return f"rows left {rollback.left:,}"
    return f"rows left {rollback.left:,} of {rollback.of:,}, about {span(max(rollback.seconds, 0.1))}"


def is_whole_transaction(case: Case, who: Session) -> bool:
    """Whether its statement is known to be all of its transaction.

    Whoever holds a row has one, listed or not: while others ask for it all the time, InnoDB's list is an old one. What
    a transaction has done with tables of other engines keeps them as well, and is listed nowhere.
    """
    transaction = who.transaction
    if transaction is None:
        return who.transaction_known and not who.begun and not any(_is_of_more(one, who) for one in case.waiters)
    if transaction.autocommit is not None:
        return transaction.autocommit
    return transaction.state == "IMPLICIT_ACTIVE" and who.statement_transaction


def _is_of_more(wait: Wait, holder: Session) -> bool:
    """Whether what is waited for need not be of its holder's statement, so that it may be of a transaction."""
    if wait.candidate or wait.kind not in (WaitKind.ROW_LOCK, WaitKind.METADATA):
        return False
    if wait.kind is WaitKind.ROW_LOCK:
        return True
    if holder.begun is False:
        return False
    older = wait.waited is not None and wait.waited > holder.total_time + WHOLE_SECONDS
    return older or not _names(holder, wait.what or "")


def _names(who: Session, table: str) -> bool:
    """Whether the statement of a session may name a table, which is ``database.table``."""
    if who.statement is None:
        return False
    database, _, name = table.lower().rpartition(".")
    text = who.statement.shown(Disclosure.DIGEST).lower().replace("`", "")
    found = re.findall(rf"(?:([\w$]+)\s*\.\s*)?(?<![\w$]){re.escape(name)}(?![\w$])", text)
    return any(not database or (one or (who.database or database).lower()) == database for one in found)


def before_its_statement(who: Session) -> float | None:
    """For how long its transaction had been open when its statement began; None where that is not known to be so.

    InnoDB tells the start of a transaction in whole seconds.
    """
    if who.transaction is None:
        return None
    before = None
    if who.transaction.started is not None and who.request_started is not None:
        before = who.request_started - who.request_started_within - who.transaction.started
    elif who.transaction.age is not None:
        before = who.transaction.age - who.total_time
    return before if before is not None and before >= 1 else None


def first_word(who: Session) -> str:
    """The word that says what its statement is; comments are no part of its digest."""
    return word_of(who.statement) if who.statement is not None else ""


def word_of(statement: Statement) -> str:
    """The word that says what a statement is, in capital letters."""
    words = statement.shown(Disclosure.DIGEST, NAME).split()
    return words[0].upper() if words else ""


def _ddl_before(who: Session, graph: WaitGraph) -> Session | None:
    """Find the DDL that waits itself, and whose end alone would let a session go on."""
    seen, todo = {who.id}, [who]
    while todo:
        for wait in graph.holders(todo.pop()):
            holder = wait.holder
            if not isinstance(holder, Session) or holder.id in seen:
                continue
            seen.add(holder.id)
            todo.append(holder)
            near = (*graph.holders(holder), *graph.waiters(holder))
            queues = bool(graph.holders(holder)) and any(one.kind in QUEUED for one in near)
            if queues and first_word(holder) in DDL and any(one.id == who.id for one in graph.frees(holder)):
                return holder
    return None
