"""What the cards of closing requests say: titles, meanings, outcomes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby

from bot.closing.attempt import counted
from bot.closing.model import ClosingRequest, Outcome, State, Target
from bot.sessions.masking import cut
from bot.sessions.model import Mode, Pin, Session
from bot.slack.escaping import visible
from bot.slack.views.wording import transaction_state

DONE = {
    Outcome.CLOSED: "✅ closed",
    Outcome.QUERY_CLOSED: "✅ query closed",
    Outcome.ALREADY_GONE: "☑️ already gone",
    Outcome.CHANGED: "⚠️ changed, not closed",
    Outcome.PROTECTED: "⛔ protected, not closed",
    Outcome.NOT_ALLOWED: "⛔ not allowed, not closed",
    Outcome.STILL_RUNNING: "⚠️ still running",
    Outcome.ROLLING_BACK: "⏳ rolling back",
    Outcome.UNVERIFIED: "❓ unverified",
    Outcome.NOT_SENT: "➖ not sent, not closed",
}
_NEXT = {
    Outcome.STILL_RUNNING: "Look again with /sessions id={id}; Close Session is stronger than Close Query.",
    Outcome.ROLLING_BACK: "Rolling back a large transaction takes time; nothing more needs to be closed.",
    Outcome.UNVERIFIED: "Look with /sessions id={id} as soon as the data source answers.",
    Outcome.CHANGED: "Nothing was closed. Look again with /sessions id={id}.",
    Outcome.NOT_SENT: "Nothing was closed. Look again with /sessions id={id}.",
}
_BACK = (
    "🔁 came back as {}: a new session of the same user and source does the same. Closing again will not help: the "
    "client, probably a connection pool, reconnects."
)
_ANOTHER_TRANSACTION = (
    "a transaction has begun or ended since the request was made. A new card will show it as it is now."
)
_GROUPS = 8  # different reasons that one card tells; more are counted
_GROUP_CHARACTERS = 190
_IDS = 8  # ids that are named together; more are counted


def title(request: ClosingRequest) -> str:
    """Ask what is to be decided."""
    mode = request.decided_mode or request.mode
    if len(request.targets) == 1:
        what = "Close the query of session" if mode is Mode.QUERY else "Close session"
        return f"{what} {request.targets[0].session.id}?"
    what = "Close the queries of" if mode is Mode.QUERY else "Close"
    return f"{what} {_number(request.affected(mode), 'session', 'sessions')}?"


def result(request: ClosingRequest) -> str:
    """Say what became of the request as a whole, in a few words."""
    if request.state is State.CANCELLED:
        return "cancelled by Stop" if request.stopped else "cancelled"
    outcomes = [target.outcome for target in request.targets if target.outcome is not None]
    if not outcomes:
        return "expired"
    left = len(request.untouched) + request.beyond
    back = sum(target.newcomer is not None for target in request.targets)
    told = DONE[outcomes[0]] if len(request.targets) == 1 and not left else counted(outcomes)
    more = f"🔁 {back} came back" if len(request.targets) > 1 else "🔁 came back"
    return "; ".join(part for part in (told, more if back else "", f"{left} not touched" if left else "") if part)


def came_back(target: Target) -> str:
    """Say which new session does what a closed one did; '' where none does."""
    return _BACK.format(f"session {target.newcomer}") if target.newcomer is not None else ""


def next_step(outcome: Outcome, ids: Iterable[int]) -> str:
    """Say what to do after such an outcome; '' where nothing is to be done."""
    return _NEXT.get(outcome, "").format(id=",".join(map(str, list(ids)[:_IDS])))


def outcomes(targets: Iterable[Target]) -> list[tuple[str, str]]:
    """Say what there is to say of the outcomes, those with the same words together: which ones, what."""
    targets = list(targets)
    told = [(one.outcome, one.detail, one) for one in targets if one.outcome is not None]
    told = [one for one in told if one[1] or one[0] in _NEXT]
    back = [one for one in targets if one.newcomer is not None]
    groups = []
    for (outcome, detail), members in groupby(sorted(told, key=_by_words), key=lambda one: one[:2]):
        ids = [target.session.id for _, _, target in members]
        groups.append((f"{DONE[outcome]}: {_ids(ids)}.", f"{detail} {next_step(outcome, ids)}".strip()))
    if back:
        what, why = _BACK.format(_ids([one.newcomer for one in back if one.newcomer is not None])).split(": ", 1)
        groups.append((f"{what}:", why[0].upper() + why[1:]))
    return _few(groups)


def untouched(request: ClosingRequest) -> list[tuple[str, str]]:
    """Say what was asked for and is not closed by this request, and why: which ones, why."""
    groups = []
    for why, members in groupby(sorted(request.untouched, key=lambda one: one.why), key=lambda one: one.why):
        groups.append((f"Not touched: {_ids([one.session_id for one in members])}", why))
    beyond = []
    if request.beyond:
        most = len(request.targets) + len(request.untouched)
        fit = "fits" if request.beyond == 1 else "fit"
        why = f"also {fit} the filter. One request closes at most {most}; ask again for the rest."
        beyond.append((f"Not touched: {request.beyond:,}", why))
    return [*beyond, *_few(groups)]


def meanings(request: ClosingRequest) -> list[tuple[Mode, str]]:
    """Say what each way of closing would do to exactly these sessions."""
    if len(request.targets) == 1:
        session = request.targets[0].session
        return [(Mode.SESSION, session_meaning(session)), (Mode.QUERY, query_meaning(session))]
    sessions = [target.session for target in request.targets]
    return [(Mode.SESSION, _sessions_meaning(sessions)), (Mode.QUERY, _queries_meaning(sessions))]


def meaning_now(request: ClosingRequest, present: Mapping[int, Session], mode: Mode) -> str:
    """Say what pressing would do to the targets as they are now; ``present`` has those that are still there."""
    pinned = [(target.session, present[target.number]) for target in request.targets if target.number in present]
    if mode is Mode.QUERY:
        pinned = [(before, now) for before, now in pinned if Pin.of(before).same_request(now)]
    else:
        same = [(before, now) for before, now in pinned if Pin.of(before).same_transaction(now)]
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
        return session_meaning(now) if mode is Mode.SESSION else query_meaning(now)
    what = "query that was asked for" if mode is Mode.QUERY else "session"
    return f"closes nothing: the {what} has ended. The card will say so."


def session_meaning(session: Session) -> str:
    """Say what Close Session would do to exactly this session."""
    parts = ["disconnects the client; it must connect again."]
    if session.running:
        parts.append("Its running query is stopped.")
    if session.in_transaction:
        parts.append("Its open transaction is rolled back and the locks are released.")
    return " ".join(parts)


def query_meaning(session: Session) -> str:
    """Say what Close Query would do to exactly this session."""
    if not session.running:
        keeps = " Its open transaction and its locks would stay." if session.in_transaction else ""
        return f"does nothing: this session is idle, no query runs.{keeps}"
    if session.transaction is not None and session.transaction.state in ("RUNNING", "LOCK WAIT"):
        # InnoDB does not say whether a transaction is the statement's own.
        return "stops this query; the session stays. A transaction that began before it stays open, with its locks."
    if session.lasting_transaction:
        return "stops this query; the session stays. Its open transaction and the locks it holds stay, too."
    return "stops this query; the session stays usable."


def transaction(session: Session) -> str:
    """Say whether a transaction is open and what it waits for."""
    state = transaction_state(session)
    waits = f", waits for a {session.waits.value}" if session.waits is not None else ""
    return f"open ({state}){waits}" if session.in_transaction else state


def changes(before: Session, now: Session) -> str:
    """Say what is different from when the close was asked for; '' where nothing is that matters for it."""
    told = []
    if before.running and not now.running:
        told.append("its query has ended, it is idle")
    elif now.running and not before.running:
        told.append("it was idle, now it runs a query")
    elif now.running and not Pin.of(before).same_request(now):
        told.append("it runs another query")
    elif not now.running and now.time + 1 < before.time:  # seconds; what has only been idle since is idle longer
        told.append("it ran something in between and is idle again")
    if before.in_transaction and not now.in_transaction:
        told.append("its transaction has ended")
    elif now.in_transaction and not before.in_transaction:
        told.append("it has a transaction open")
    elif not Pin.of(before).same_transaction(now):
        told.append("it is in another transaction")
    if now.waits and not before.waits:
        told.append("it waits for a row lock")
    return ", ".join(told)


def _sessions_meaning(sessions: list[Session]) -> str:
    running = sum(session.running for session in sessions)
    open_ = sum(session.in_transaction for session in sessions)
    parts = [f"disconnects {len(sessions)} clients; they must connect again."]
    if running:
        parts.append(f"{_number(running, 'runs', 'run')} a query, which is stopped.")
    if open_:
        parts.append(f"{_number(open_, 'has', 'have')} an open transaction, which is rolled back; its locks are freed.")
    return " ".join(parts)


def _queries_meaning(sessions: list[Session]) -> str:
    running = [session for session in sessions if session.running]
    if not running:
        return "does nothing: all of them are idle, no query runs."
    keep, idle = sum(session.lasting_transaction for session in running), len(sessions) - len(running)
    parts = [f"stops the {_number(len(running), 'query that runs', 'queries that run')}; the sessions stay."]
    if keep:
        stay = ("keeps its open transaction and its locks", "keep their open transactions and their locks")
        parts.append(f"{_number(keep, *stay)}.")
    if idle:
        parts.append(f"{_number(idle, 'is', 'are')} idle and not touched by it.")
    return " ".join(parts)


def _number(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def _by_words(told: tuple[Outcome, str, Target]) -> tuple[str, str, int]:
    return told[0].value, told[1], told[2].number


def _ids(ids: list[int]) -> str:
    more = f" and {len(ids) - _IDS} more" if len(ids) > _IDS else ""
    return ", ".join(map(str, ids[:_IDS])) + more


def _few(groups: list[tuple[str, str]]) -> list[tuple[str, str]]:
    few = [(which, cut(visible(why), _GROUP_CHARACTERS)) for which, why in groups[:_GROUPS]]
    left = len(groups) - _GROUPS
    return [*few, ("And", f"{left} more reasons, all in the record.")] if left > 0 else few
