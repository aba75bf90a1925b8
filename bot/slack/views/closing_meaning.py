"""What closing would do to sessions, in words, and what has changed since it was asked for."""

from __future__ import annotations

from collections.abc import Mapping

from bot.closing.model import ClosingRequest
from bot.sessions.model import Mode, Pin, Session
from bot.slack.views import wording

_ANOTHER_TRANSACTION = (
    "a transaction has begun or ended since the request was made. A new card will show it as it is now."
)
_UNKNOWN_TRANSACTION = (
    "whether the transaction is still the same cannot be seen now. A new card will ask without knowing it."
)


def meanings(request: ClosingRequest) -> list[tuple[Mode, str]]:
    """Say what each way of closing would do to exactly these sessions."""
    if len(request.targets) == 1:
        session, prepared = request.targets[0].session, _is_prepared(request)
        return [(Mode.SESSION, session_meaning(session, prepared=prepared)), (Mode.QUERY, query_meaning(session))]
    sessions = [target.session for target in request.targets]
    return [(Mode.SESSION, _sessions_meaning(sessions)), (Mode.QUERY, _queries_meaning(sessions))]


def meaning_now(request: ClosingRequest, present: Mapping[int, Session], mode: Mode) -> str:
    """Say what pressing would do to the targets as they are now; ``present`` has those that are still there."""
    pinned = [(target.session, present[target.number]) for target in request.targets if target.number in present]
    if mode is Mode.QUERY:
        pinned = [(before, now) for before, now in pinned if Pin.of(before).same_request(now)]
    else:
        same = [(before, now) for before, now in pinned if Pin.of(before).same_transaction(now)]
        if pinned and not same and not any(now.transaction_known for _, now in pinned):
            return f"closes nothing: {_UNKNOWN_TRANSACTION}"
        if pinned and not same:
            return f"closes nothing: {_ANOTHER_TRANSACTION}"
        pinned = same
    if len(request.targets) > 1:
        them = [now for _, now in pinned]
        if not them:
            what = "the queries that were asked for have ended" if mode is Mode.QUERY else "all of them have ended"
            return f"closes nothing: {what}. The card will say so."
        return _sessions_meaning(them) if mode is Mode.SESSION else _queries_meaning(them)
    if pinned:
        now = pinned[0][1]
        return session_meaning(now, prepared=_is_prepared(request)) if mode is Mode.SESSION else query_meaning(now)
    what = "query that was asked for" if mode is Mode.QUERY else "session"
    return f"closes nothing: the {what} has ended. The card will say so."


def _is_prepared(request: ClosingRequest) -> bool:
    advice = request.targets[0].advice
    return advice is not None and advice.prepared


def session_meaning(session: Session, *, prepared: bool = False) -> str:
    """Say what Close Session would do to exactly this session; ``prepared`` where XA has prepared its transaction."""
    if session.logging_in:
        return "disconnects a client that has not logged in yet. Nothing runs in it."
    if session.in_get_lock:
        return "ends it only once its GET_LOCK has the lock or gives up: OceanBase does not stop that wait."
    parts = ["disconnects the client; it must connect again."]
    if session.event:
        parts = ["ends this run of an event of the scheduler, which has no client; it runs again when it is next due."]
    if session.running:
        parts.append("Its running query is stopped.")
    if session.in_transaction and session.waits is not None:
        parts.append("Its own transaction is rolled back; what it waits for stays with whoever holds that.")
    elif session.in_transaction and prepared:
        parts.append("Its prepared XA transaction stays, with its locks.")
    elif session.in_transaction:
        parts.append("Its open transaction is rolled back and the locks are released.")
    return " ".join(parts)


def query_meaning(session: Session) -> str:
    """Say what Close Query would do to exactly this session."""
    if not session.running:
        keeps = " Its open transaction and its locks would stay." if session.in_transaction else ""
        return f"does nothing: {_why_no_query(session)}, no query runs.{keeps}"
    if session.in_get_lock:
        return "does nothing as long as its GET_LOCK waits: OceanBase does not stop that wait."
    if session.event:
        return "stops this run of an event of the scheduler; it runs again when it is next due."
    if session.transaction is not None and session.transaction.state in ("RUNNING", "LOCK WAIT"):
        # InnoDB does not say whether a transaction is the statement's own.
        return "stops this query; the session stays. A transaction that began before it stays open, with its locks."
    if session.lasting_transaction:
        return "stops this query; the session stays. Its open transaction and the locks it holds stay, too."
    return "stops this query; the session stays usable."


def _why_no_query(session: Session) -> str:
    if session.idle:
        return "this session is idle"
    return "its client has not logged in yet" if session.logging_in else "this session runs no statement"


def transaction(session: Session) -> str:
    """Say whether a transaction is open and what it waits for."""
    state = wording.transaction_state(session)
    said = f"open ({state})" if session.in_transaction else state
    return f"{said}, {wording.waits(session)}" if session.waits else said


def changes(before: Session, now: Session) -> str:
    """Say what is different from when the close was asked for; '' where nothing is that matters for it."""
    different = []
    if before.running and not now.running:
        different.append("its query has ended, it is idle" if now.idle else "its query has ended")
    elif now.running and not before.running:
        different.append("it was idle, now it runs a query" if before.idle else "now it runs a query")
    elif now.running and not Pin.of(before).same_request(now):
        different.append("it runs another query")
    elif now.idle and before.idle and now.time + 1 < before.time:  # what has only been idle since is idle longer
        different.append("it ran something in between and is idle again")
    if before.in_transaction and not now.in_transaction:
        different.append("its transaction has ended" if now.transaction_known else "its transaction cannot be seen now")
    elif now.in_transaction and not before.in_transaction:
        different.append("it has a transaction open")
    elif before.transaction_known and not now.transaction_known:
        different.append("whether it has a transaction open cannot be seen now")
    elif not Pin.of(before).same_transaction(now):
        different.append("it is in another transaction")
    if now.waits and now.waits_for != before.waits_for:
        different.append(f"it {wording.waits(now)}")
    elif before.waits and not now.waits and now.running and Pin.of(before).same_request(now):
        different.append(f"it waits for {wording.a(before.waits_for)} no more")
    return ", ".join(different)


def _sessions_meaning(sessions: list[Session]) -> str:
    running = sum(session.running for session in sessions)
    open_ = sum(session.in_transaction for session in sessions)
    clients, logging_in = [one for one in sessions if not one.event], sum(one.logging_in for one in sessions)
    parts = [f"disconnects {number(len(clients), 'client', 'clients')}; they must connect again."] if clients else []
    if logging_in:
        parts.append(f"{number(logging_in, 'has', 'have')} not logged in yet.")
    if len(clients) < len(sessions):
        runs = number(len(sessions) - len(clients), "run of an event", "runs of events")
        parts.append(f"It ends {runs} of the scheduler; they run again when they are next due.")
    if running:
        parts.append(f"{number(running, 'runs', 'run')} a query, which is stopped.")
    if open_:
        parts.append(f"{number(open_, 'has', 'have')} an open transaction, which is rolled back; its locks are freed.")
    return " ".join(parts)


def _queries_meaning(sessions: list[Session]) -> str:
    running = [session for session in sessions if session.running]
    if not running:
        what = "all of them are idle" if all(one.idle for one in sessions) else "none of them runs a statement"
        return f"does nothing: {what}, no query runs."
    keep, idle = sum(session.lasting_transaction for session in running), len(sessions) - len(running)
    parts = [f"stops the {number(len(running), 'query that runs', 'queries that run')}; the sessions stay."]
    if keep:
        stay = ("keeps its open transaction and its locks", "keep their open transactions and their locks")
        parts.append(f"{number(keep, *stay)}.")
    if idle:
        resting = all(one.idle or one.running for one in sessions)
        rest = ("is idle", "are idle") if resting else ("runs no statement", "run no statement")
        parts.append(f"{number(idle, *rest)} and not touched by it.")
    return " ".join(parts)


def number(count: int, one: str, many: str) -> str:
    """Count something in words."""
    return f"{count} {one if count == 1 else many}"
