"""What to do about a session: close it, close only its query, close another one instead, or wait.

One pure function of a session, its waits and its past; ``locks``, ``triage``, ``show``, cards and windows all ask it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, replace

from bot.sessions.masking import cut
from bot.sessions.model import Session, WaitKind
from bot.sessions.spans import span
from bot.sessions.waits.case import (
    DDL,
    NAME,
    QUEUED,
    WHOLE_SECONDS,
    Case,
    Closed,
    before_its_statement,
    first_word,
    is_whole_transaction,
    past_of,
    progress,
    word_of,
)
from bot.sessions.waits.graph import OF_SESSION, Prepared, Wait, place_of

# OceanBase looks for closed lock waiters every 10 s: 1 to 11 s after the KILL they are gone (docs/oceanbase.md 2.2).
ENDS_WITHIN = 15.0  # seconds

_NAMED = 3  # sessions that one sentence names; more are counted
# A deadlock is looked for at once or within 5 s (docs/oceanbase.md 5.3): a circle that stands longer is none to it.
_CIRCLE_ENDS_WITHIN = 10.0  # seconds

# A statement that is closed while it sends rows stops at once where its client takes them.
_STOPS_WITHIN = 2.0  # seconds

CLOSED = ("SESSION_KILLED", "QUERY_KILLED")  # OceanBase's words

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
    prepared: bool = False  # whether XA has prepared its transaction, which stays then, with its locks


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
        return f"a prepared XA transaction{f' ({cut(who.xid, NAME)})' if who.xid else ''}"
    if who.event and who.client.definer is None:
        return f"session {who.id} in an event"  # MySQL does not say whose
    user = cut(" ".join(who.client.user.split()), NAME)
    of = "" if who.client.definer is not None else "of "  # else it reads "in an event of root"
    return f"session {who.id}{f' {of}{user}' if user else ''}"


def _prepared(case: Case, who: Prepared) -> Advice:
    of = f" ({cut(who.xid, NAME)})" if who.xid else ""
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


def _closed_while_it_sends(case: Case, who: Session) -> Advice | None:
    """Who has been closed by its query alone while its client takes no rows: it would stay until a time-out."""
    if not (who.query_ending and who.sends) or who.ending:
        return None
    if case.killed_for is None or case.killed_for <= _STOPS_WITHIN:
        return None
    return Advice(
        Action.CLOSE_SESSION,
        f"What runs in it was closed already and still sends rows ({who.doing}), which its client does not take. "
        f"{_closing(case)}",
    )


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
    if not all(one.state in CLOSED for one in waiters.values()):
        return None
    if case.waiters_killed_for is not None and case.waiters_killed_for > ENDS_WITHIN:
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
        prepared=True,
    )


def _ddl_in_a_queue(case: Case, who: Session) -> Advice | None:
    kind = case.waits[0].kind if case.waits else who.waits
    word = first_word(who)
    if kind is WaitKind.TABLE_FLUSH:
        return None  # it keeps the read lock of all tables, and whoever opens an old table waits all the same
    queues = kind in QUEUED or any(one.kind in QUEUED for one in case.waiters)
    if kind is None or not queues or not case.frees or word not in DDL:
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
    of_session = [one.kind for one in case.waiters if one.kind in OF_SESSION]
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


def _goes_on_after_its_close(case: Case, who: Session) -> Advice | None:
    """Who runs what was closed before: MySQL shows it as if nobody had, while its client takes no rows."""
    closed = next((one for one in case.past if one.same_session and one.query), None)
    if closed is None or closed.ago is None or not who.running:
        return None
    if not ENDS_WITHIN < closed.ago < who.total_time - WHOLE_SECONDS:
        return None
    return Advice(
        Action.CLOSE_SESSION,
        f"Its query was closed {span(closed.ago)} ago and goes on: its client may be taking no rows. {_closing(case)}",
    )


def _runs_and_nothing_is_known(case: Case, who: Session) -> Advice | None:
    if not who.running or who.in_transaction or who.transaction_known or case.held_up:
        return None
    why = "It holds up nobody, and whether a transaction is open is not known"
    return Advice(Action.CLOSE_QUERY, f"{why}: begin with its query; the client stays connected.")


def _sends_to_its_client(case: Case, who: Session) -> Advice | None:
    if not who.sends or not case.held_up:
        return None
    return Advice(
        Action.CLOSE_SESSION,
        f"It sends rows to its client ({who.doing}): while that takes none, closing the query does not end it. "
        f"{_closing(case)}",
    )


def _runs_in_a_transaction(case: Case, who: Session) -> Advice | None:
    if who.idle or not who.running or is_whole_transaction(case, who):
        of_session = [one.kind for one in case.waiters if _is_of_session(one) and not one.candidate]
        if not who.running or not of_session:
            return None
        why = f"The {of_session[0].value} that others wait for is the session's, not its statement's."
        return Advice(Action.CLOSE_SESSION, f"{why} {_closing(case)} Close Query would keep the lock.")
    before = before_its_statement(who)
    if before is not None:
        why = f"Its transaction began {span(before)} before this statement."
    elif who.begun or (
        who.transaction is not None and (who.transaction.autocommit is False or who.transaction.state == "ACTIVE")
    ):
        why = "Its client has begun a transaction."
    else:
        why = "Whether its statement is all of its transaction is not known."
        return Advice(Action.CLOSE_SESSION, f"{why} {_closing(case)} Close Query might keep its locks.")
    return Advice(Action.CLOSE_SESSION, f"{why} {_closing(case)} Close Query would keep the lock.")


def _is_of_session(wait: Wait) -> bool:
    """Whether what is waited for stays with the session when its statement has ended.

    Whoever wants all tables to itself waits until nobody changes anything: that is the statement's.
    """
    wants_all = wait.kind in (WaitKind.GLOBAL_READ_LOCK, WaitKind.BACKUP_LOCK) and first_word(wait.waiter) in _WANTS_ALL
    return wait.kind in OF_SESSION and not wants_all


def _runs_alone(case: Case, who: Session) -> Advice | None:
    if not who.running:
        return None
    why = "Its statement is all of its transaction" if who.in_transaction else "The server lists no transaction of it"
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
    _closed_while_it_sends,
    _ending,
    _holds_what_outlives_it,
    _holds_up_closed_ones,
    _only_query_closed,
    _holds_prepared,
    _ddl_in_a_queue,
    _waits_itself,
    _idle,
    _sends_to_its_client,
    _goes_on_after_its_close,
    _runs_and_nothing_is_known,
    _runs_in_a_transaction,
    _runs_alone,
    _harmless,
)


def _blocked(case: Case, said: str) -> Advice:
    """Advise on those at the head of what it waits for, each with advice of its own."""
    waits = case.waits
    then = " ".join(
        f"{_capital(named(one.who))}: {_short(advise(replace(one, lacks=())))}" for one in case.blockers[:_NAMED]
    )
    hidden = "A session that you may not see holds it." if case.hidden else ""
    if not case.heads:
        left = bool(waits) and all(one.holder is None and one.outlives for one in waits)
        gone = "The session that had the lock is gone, and this server has kept it: the wait ends when its time is up."
        unnamed = gone if left else hidden or " ".join(("Who holds what it waits for is not known.", *case.lacks[:1]))
        return Advice(Action.NOTHING if left else Action.WAIT, f"{said} {unnamed}".strip())
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
    locks = last is not None and word_of(last) in _LOCKS_TABLES
    return _only_candidate(case) and not locks and (case.rivals or not who.in_transaction)


def _sessions(count: int) -> str:
    return f"{count} session{'' if count == 1 else 's'}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
