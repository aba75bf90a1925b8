"""What to do about a session: close it, close only its query, close another one instead, or wait.

One pure function of a session, its waits and its past; ``locks``, ``triage``, ``show``, cards and windows all ask it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from bot.sessions.address import host_of
from bot.sessions.masking import cut
from bot.sessions.model import Session, WaitKind
from bot.sessions.spans import span
from bot.sessions.statement import Disclosure, Statement
from bot.sessions.waits.graph import Prepared, Wait, WaitGraph, place_of

# OceanBase looks for closed lock waiters every 10 s: 1 to 11 s after the KILL they are gone (docs/oceanbase.md 2.2).
ENDS_WITHIN = 15.0  # seconds

_NAMED = 3  # sessions that one sentence names; more are counted
_NAME = 40  # characters of a name
# A deadlock is looked for at once or within 5 s (docs/oceanbase.md 5.3): a circle that stands longer is none to it.
_CIRCLE_ENDS_WITHIN = 10.0  # seconds

# What a session keeps whatever becomes of its statement and its transaction.
_OF_SESSION = (WaitKind.GLOBAL_READ_LOCK, WaitKind.BACKUP_LOCK, WaitKind.TABLE_LOCK, WaitKind.USER_LOCK)
# In the queues for these a statement that waits keeps out those behind it that the holder alone would let through.
QUEUED = (WaitKind.METADATA, WaitKind.GLOBAL_READ_LOCK, WaitKind.BACKUP_LOCK)
_CLOSED = ("SESSION_KILLED", "QUERY_KILLED")  # OceanBase's words
_DDL = frozenset(
    "ALTER CREATE DROP TRUNCATE RENAME OPTIMIZE REPAIR ANALYZE FLUSH LOCK BACKUP".split()  # noqa: SIM905  # one line
)

# First words of what keeps others out when it has ended.
_LOCKS_TABLES = frozenset({"FLUSH", "LOCK", "BACKUP"})
_WANTS_ALL = frozenset({"FLUSH", "BACKUP", "SET"})  # same of what waits until nobody changes anything


class Action(enum.Enum):
    """What is advised; ``value`` is the button or the word."""

    CLOSE_SESSION = "Close Session"
    CLOSE_QUERY = "Close Query"
    CLOSE_BLOCKER = "Close the blocker instead"
    WAIT = "Wait"
    NOTHING = "Nothing to close"  # no session will end it, or nothing has to be ended
    OVERRIDE = "Protected"  # closed only where its protection is set aside
    NEVER = "Never closed"  # the bot's own, or the server's
    UNKNOWN = "Not known"  # the waits could not be read, or nothing but a guess says who holds what is waited for


# Where one of these is advised, a close frees nobody, is refused, or is a guess.
_IN_VAIN = frozenset({Action.WAIT, Action.NOTHING, Action.NEVER, Action.UNKNOWN})


@dataclass(frozen=True, slots=True)
class Closed:
    """One close of the same user, client and statement, a while ago."""

    at: datetime  # UTC
    by: str  # who, as the view of the store names people: a Slack id
    same_session: bool  # whether it was this very session; else one like it
    query: bool  # whether only its query was closed
    back_after: float | None = None  # seconds after which the client was back


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


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do, and why in the words of the case; ``then`` is what comes after it, '' for nothing.

    Its texts hold names from the database: they are shown as text, never as markup.
    """

    action: Action
    reason: str
    instead: tuple[Session | Prepared, ...] = ()  # whom to close, or to look at, instead
    past: str = ""  # what was closed before and came back; beside whichever action
    then: str = ""
    closed: Closed | None = None  # who has closed this very session, where that is known and it is ending
    held_up: int = 0  # sessions that wait for it, directly and through others
    guessed: bool = False  # whether those to be closed instead are candidates: no view says that they hold it


Rule = Callable[[Case, Session], Advice | None]


def advise(case: Case) -> Advice:
    """Say what to do; the first rule that matches counts."""
    if isinstance(case.who, Prepared):
        return replace(_prepared(case, case.who), held_up=case.held_up)
    found = next(filter(None, (rule(case, case.who) for rule in RULES)))
    if case.who.event and found.action is not Action.NEVER:
        reason = f"{found.reason} It is a run of an event of the scheduler: it has no client, and runs when next due."
        found = replace(found, reason=reason)
    return replace(found, past=past_of(case.who, case.past), held_up=case.held_up)


def named(who: Session | Prepared) -> str:
    """Name a session, or a prepared transaction, in a sentence."""
    if isinstance(who, Prepared):
        return f"a prepared XA transaction{f' ({cut(who.xid, _NAME)})' if who.xid else ''}"
    user = cut(" ".join(who.client.user.split()), _NAME)
    return f"session {who.id}{f' of {user}' if user else ''}"


def _prepared(case: Case, who: Prepared) -> Advice:
    of = f" ({cut(who.xid, _NAME)})" if who.xid else ""
    return Advice(
        Action.NOTHING,
        f"A prepared XA transaction{of} holds up {_sessions(case.held_up)}, and no session has it. XA RECOVER lists "
        "it; its transaction manager, or you by hand, must end it by XA COMMIT or XA ROLLBACK.",
    )


def _protected(case: Case, who: Session) -> Advice | None:
    if case.never:
        return Advice(Action.NEVER, f"It {case.never}")
    if not case.protected:
        return None
    frees = f" It {_holds_up(case)}." if case.held_up else ""
    return Advice(
        Action.OVERRIDE,
        f"It {', and '.join(case.protected)}: closing it could harm the cluster.{frees} Where it must be closed, "
        f'somebody who may approve can confirm it: /kill-session {who.id} override reason="…"',
    )


def _killed_and_waiting(case: Case, who: Session) -> Advice | None:
    kind = case.waits[0].kind if case.waits else who.waits
    killed = who.query_ending or (who.ending and not who.idle)
    if not killed or kind is None:
        return None
    since = f" {span(case.killed_for)} ago" if case.killed_for is not None and case.killed_for >= 1 else ""
    said = f"It was closed already{since} and still waits for a {kind.value}."
    over = case.killed_for is not None and case.killed_for > ENDS_WITHIN
    if kind is not WaitKind.USER_LOCK and not over:
        return Advice(Action.WAIT, f"{said} Wait {ENDS_WITHIN:.0f} s: the server may notice that late.", case.heads)
    late = "It ends when it gets the lock, not before." if kind is WaitKind.USER_LOCK else "It should have ended."
    return _blocked(case, f"{said} {late}")


def _ending(case: Case, who: Session) -> Advice | None:
    if who.ending:
        closed = next((one for one in case.past if one.same_session), None)
        if not who.in_transaction:
            said = "It was closed already and is ending. There is nothing more to close."
            return Advice(Action.WAIT, said, closed=closed)
        if who.state == "SESSION_KILLED" or (closed is not None and not closed.query):
            what = "It was closed already, and its transaction"
        elif who.state == "KILLED":  # MariaDB's word for both kinds
            what = "It, or what ran in it, was closed already, and what it has changed"
        else:
            what = "What it has changed"
        how_far = f" ({progress(case.rollback)})" if case.rollback is not None else ""
        return Advice(
            Action.WAIT,
            f"{what} is being rolled back{how_far}. Wait: closing it would not make that faster.",
            closed=closed,
        )
    if who.query_ending:
        return Advice(Action.WAIT, "What runs in it was closed already and has not stopped yet. Wait for it.")
    return None


def _closed_by_client_id(case: Case, who: Session) -> Advice | None:
    if who.listed:
        return None
    return Advice(
        Action.CLOSE_SESSION,
        "Its client was closed and is off the list, yet its transaction lives on until the client's next request. "
        f"{_closing(case)}",
    )


def _holds_what_outlives_it(case: Case, who: Session) -> Advice | None:
    if case.waits or who.waits is not None or not case.waiters or not all(one.outlives for one in case.waiters):
        return None
    kind = case.waiters[0].kind.value
    return Advice(
        Action.NOTHING,
        f"It holds a {kind}, which {_holds_up(case)} and which this server keeps even when the session is gone: "
        "closing it frees nobody, and nobody could release the lock then. Its client has to, by RELEASE_LOCK.",
    )


def _holds_up_closed_ones(case: Case, who: Session) -> Advice | None:
    """Who holds up nobody but such as end without it: OceanBase has closed lock waiters wait on for seconds."""
    waiters = {place_of(one.waiter): one.waiter for one in case.waiters}
    if case.waits or who.waits is not None or not waiters or case.held_up > len(waiters):
        return None
    if any(one.kind is WaitKind.USER_LOCK for one in case.waiters):
        return None
    if not all(one.state in _CLOSED and one.time <= ENDS_WITHIN for one in waiters.values()):
        return None
    was = "Who waits for it was closed already" if len(waiters) == 1 else "All that wait for it were closed already"
    return Advice(Action.WAIT, f"{was}. Wait {ENDS_WITHIN:.0f} s: the server ends that, whatever this session holds.")


def _only_query_closed(case: Case, who: Session) -> Advice | None:
    if not (who.query_closed and (who.in_transaction or case.waiters)):
        return None
    return Advice(
        Action.CLOSE_SESSION,
        f"Its query was closed, which does nothing to an idle transaction: it is not ending. {_closing(case)}",
    )


def _holds_prepared(case: Case, who: Session) -> Advice | None:
    if who.transaction is None or not who.transaction.prepared:
        return None
    return Advice(
        Action.NOTHING,
        f"XA has prepared its transaction, which {_holds_up(case)}: closing the session frees nothing. XA RECOVER "
        "lists it; its transaction manager must end it by XA COMMIT or XA ROLLBACK.",
    )


def _ddl_in_a_queue(case: Case, who: Session) -> Advice | None:
    kind = case.waits[0].kind if case.waits else who.waits
    word = _first_word(who)
    queues = kind in QUEUED or any(one.kind in QUEUED for one in case.waiters)
    if kind is None or not queues or not case.frees or word not in _DDL:
        return None
    what = f"the {word}, which has run for {span(who.total_time)}"
    reason = f"It waits for a {kind.value}, and {_sessions(case.held_up)} behind it: closing its query frees "
    more = f"{case.frees} of them" if case.frees < case.held_up else "them"
    reason = f"{reason}{more} and loses only {what}."
    return replace(_blocked(case, ""), action=Action.CLOSE_QUERY, reason=reason, guessed=False)


def _waits_itself(case: Case, who: Session) -> Advice | None:
    if not case.waits and who.waits is None:
        return None
    if case.circle:
        return _in_a_circle(case)
    if case.frees:
        behind = "one" if case.frees == 1 else case.frees
        said = f"It waits itself: closing it frees only the {behind} behind it."
    else:
        said = "It waits itself: closing it frees nobody."
    return _blocked(case, said)


def _in_a_circle(case: Case) -> Advice:
    said = f"{case.circle} sessions wait for each other in a circle."
    waited = max((one.waited or 0.0 for one in case.waits), default=0.0)
    if waited < _CIRCLE_ENDS_WITHIN:
        return Advice(Action.WAIT, f"{said} Wait {_CIRCLE_ENDS_WITHIN:.0f} s: the server ends one of them by itself.")
    going_on = _closing(case, "closing it ")
    return Advice(Action.CLOSE_SESSION, f"{said} The server has not ended that by itself; {going_on}")


def _idle(case: Case, who: Session) -> Advice | None:
    if who.running or not (who.in_transaction or case.waiters):
        return None
    of_session = [one.kind for one in case.waiters if one.kind in _OF_SESSION]
    if who.in_transaction:
        age = who.transaction.age if who.transaction is not None else None
        old = f" that is {span(age)} old" if age is not None else ""
        said = f"It has been idle for {span(who.time)} in a transaction{old}"
    elif of_session:
        said = f"It is idle and {'may hold' if _only_candidate(case) else 'holds'} a {of_session[0].value}"
    else:
        said = f"It is idle and {'may hold' if _only_candidate(case) else 'holds'} a lock"
    if _is_guess(case, who):
        more = " ".join((said + ".", _closing(case), *case.lacks[-1:]))
        return Advice(Action.UNKNOWN, more)
    return Advice(Action.CLOSE_SESSION, f"{said}. {_closing(case)} Close Query would do nothing.")


def _runs_and_nothing_is_known(case: Case, who: Session) -> Advice | None:
    if not who.running or who.in_transaction or who.transaction_known or case.held_up:
        return None
    why = "It holds up nobody, and whether a transaction is open is not known"
    return Advice(Action.CLOSE_QUERY, f"{why}: begin with its query; the client stays connected.")


def _runs_in_a_transaction(case: Case, who: Session) -> Advice | None:
    if who.idle or not who.running or _is_all(case, who):
        of_session = [one.kind for one in case.waiters if _is_of_session(one) and not one.candidate]
        if not who.running or not of_session:
            return None
        why = f"The {of_session[0].value} that others wait for is the session's, not its statement's."
        return Advice(Action.CLOSE_SESSION, f"{why} {_closing(case)} Close Query would keep the lock.")
    before = _before(who)
    if before is not None:
        why = f"Its transaction began {span(before)} before this statement."
    elif who.transaction is not None and (who.transaction.autocommit is False or who.transaction.state == "ACTIVE"):
        why = "Its client has begun a transaction."
    else:
        why = "Whether its statement is all of its transaction is not known."
        return Advice(Action.CLOSE_SESSION, f"{why} {_closing(case)} Close Query might keep its locks.")
    return Advice(Action.CLOSE_SESSION, f"{why} {_closing(case)} Close Query would keep the lock.")


def _is_of_session(wait: Wait) -> bool:
    """Whether what is waited for stays with the session when its statement has ended.

    Whoever wants all tables to itself waits until nobody changes anything: that is the statement's.
    """
    wants_all = (
        wait.kind in (WaitKind.GLOBAL_READ_LOCK, WaitKind.BACKUP_LOCK) and _first_word(wait.waiter) in _WANTS_ALL
    )
    return wait.kind in _OF_SESSION and not wants_all


def _runs_alone(case: Case, who: Session) -> Advice | None:
    if not who.running:
        return None
    why = "Its statement is all of its transaction" if who.in_transaction else "It runs without a transaction"
    frees = f" and frees {_freed(case)}" if case.held_up else ""
    return Advice(Action.CLOSE_QUERY, f"{why}: Close Query suffices{frees}; the client stays connected.")


def _harmless(case: Case, who: Session) -> Advice:
    known = "" if who.transaction_known else " Whether a transaction is open is not known."
    if who.logging_in:
        does = "Its client has not logged in yet"
    elif who.idle:
        does = f"It has been idle for {span(who.time)}"
    else:
        does = "It runs no statement"
    return Advice(Action.NOTHING, f"{does} and {_holds_up(case)}.{known}")


# In this order; the last one matches whatever is left.
RULES: tuple[Rule, ...] = (
    _protected,
    _killed_and_waiting,
    _closed_by_client_id,
    _ending,
    _holds_what_outlives_it,
    _holds_up_closed_ones,
    _only_query_closed,
    _holds_prepared,
    _ddl_in_a_queue,
    _waits_itself,
    _idle,
    _runs_and_nothing_is_known,
    _runs_in_a_transaction,
    _runs_alone,
    _harmless,
)


def progress(rollback: Rollback) -> str:
    """Say how far a rollback is.

    >>> progress(Rollback(104_000, 300_000, 1.0)), progress(Rollback(104_000, 104_000))
    ('rows left 104,000 of 300,000, about 1.0 s', 'rows left 104,000')
    """
    if rollback.seconds is None:
        return f"rows left {rollback.left:,}"
    return f"rows left {rollback.left:,} of {rollback.of:,}, about {span(max(rollback.seconds, 0.1))}"


def _blocked(case: Case, said: str) -> Advice:
    """Advise on those at the head of what it waits for, each with advice of its own."""
    waits = case.waits
    then = " ".join(
        f"{_capital(named(one.who))}: {_short(advise(replace(one, lacks=())))}" for one in case.blockers[:_NAMED]
    )
    hidden = "A session that you may not see holds it." if case.hidden else ""
    if not case.heads:
        unnamed = hidden or " ".join(("Who holds what it waits for is not known.", *case.lacks[:1]))
        return Advice(Action.WAIT, f"{said} {unnamed}".strip())
    ddl = case.ddl if case.ddl in case.heads else None
    heads = tuple(one for one in case.heads if one is not ddl)
    if ddl is not None:
        said = f"{said} It stands in the queue behind {named(ddl)}."
    if not heads:
        return Advice(Action.CLOSE_BLOCKER, f"{said} {hidden}".strip(), case.heads, then=then, guessed=case.guessed)
    *most, last = list(map(named, heads[:_NAMED]))
    if len(heads) > _NAMED:
        most, last = [*most, last], f"{len(heads) - _NAMED} more"
    them = f"{', '.join(most)} and {last}" if most else last
    several = len(heads) > 1
    direct = any(one.holder in heads for one in waits)
    if case.circle_ahead:
        holds = f"is one of {case.circle_ahead} that wait for each other in a circle, which it waits for."
    elif case.guessed:
        holds = f"may {'hold it' if direct else 'be at the head of the queue'}; no view of this server says so."
    elif direct:
        holds = "hold it." if several else "holds it."
    else:
        holds = "are at the head of the queue." if several else "is at the head of the queue."
    reason = f"{said} {_capital(them)} {holds} {hidden}".strip()
    if all(isinstance(one, Prepared) for one in case.heads):
        return Advice(Action.NOTHING, reason, case.heads, then=then)
    actions = [advise(one).action for one in case.blockers]
    if not _IN_VAIN.issuperset(actions) or not actions:
        refused = {*_IN_VAIN, Action.OVERRIDE}  # what sets a protection aside has to be typed
        pairs = zip(case.blockers, actions, strict=True)
        instead = tuple(one.who for one, action in pairs if action not in refused) if actions else case.heads
        return Advice(Action.CLOSE_BLOCKER, reason, instead, then=then, guessed=case.guessed)
    if Action.UNKNOWN in actions:
        return Advice(Action.UNKNOWN, " ".join((reason, *case.lacks[-1:])))
    return Advice(Action.WAIT if Action.WAIT in actions else Action.NOTHING, reason, case.heads, then=then)


def _short(advice: Advice) -> str:
    return f"{advice.action.value}. {advice.reason}"


def _closing(case: Case, start: str = "Closing it ") -> str:
    """Say what closing the session does for those that it holds up."""
    if not case.held_up:
        return "It holds up nobody."
    if _only_candidate(case):
        waits = "waits" if case.held_up == 1 else "wait"
        return f"It may be what {_sessions(case.held_up)} {waits} for; no view of this server says so."
    return f"{start}frees {_freed(case)}."


def _freed(case: Case) -> str:
    if not case.frees:
        wait = "waits" if case.held_up == 1 else "wait"
        return f"nobody yet: {_sessions(case.held_up)} behind it {wait} for others as well"
    left = case.held_up - case.frees
    more = f"; {left} more {'waits' if left == 1 else 'wait'} for others as well" if left else ""
    return f"{_sessions(case.frees)}{more}"


def _holds_up(case: Case) -> str:
    return f"holds up {_sessions(case.held_up)}" if case.held_up else "holds up nobody"


def _only_candidate(case: Case) -> bool:
    return bool(case.waiters) and all(one.candidate for one in case.waiters)


def _is_guess(case: Case, who: Session) -> bool:
    """Whether nothing but its idle time, or a transaction that others have as well, speaks for an idle candidate."""
    last = who.last_statement.statement if who.last_statement is not None else None
    locks = last is not None and _word_of(last) in _LOCKS_TABLES
    return _only_candidate(case) and not locks and (case.rivals or not who.in_transaction)


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
            if queues and _first_word(holder) in _DDL and any(one.id == who.id for one in graph.frees(holder)):
                return holder
    return None


def _is_all(case: Case, who: Session) -> bool:
    """Whether its statement is known to be all of its transaction.

    Whoever holds a row has one, listed or not: while others ask for it all the time, InnoDB's list is an old one.
    """
    transaction = who.transaction
    if transaction is None:
        holds_a_row = any(one.kind is WaitKind.ROW_LOCK and not one.candidate for one in case.waiters)
        return who.transaction_known and not holds_a_row
    if transaction.autocommit is not None:
        return transaction.autocommit
    return transaction.state == "IMPLICIT_ACTIVE" and who.statement_transaction


def _before(who: Session) -> float | None:
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


def _first_word(who: Session) -> str:
    """The word that says what its statement is; comments are no part of its digest."""
    return _word_of(who.statement) if who.statement is not None else ""


def _word_of(statement: Statement) -> str:
    words = statement.shown(Disclosure.DIGEST, _NAME).split()
    return words[0].upper() if words else ""


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


def _sessions(count: int) -> str:
    return f"{count} session{'' if count == 1 else 's'}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
