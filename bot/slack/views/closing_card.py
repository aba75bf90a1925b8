"""The card of a closing request: what would be closed, what that means, and what became of it."""

from __future__ import annotations

from typing import Literal

import slackblocks as kit

from bot.closing.model import Approval, ClosingRequest, Outcome, State
from bot.sessions.model import Mode, Session
from bot.sessions.statement import cut, digest, without_passwords
from bot.slack.message import Message
from bot.slack.text import unformatted, visible
from bot.slack.views import parts

# action ids
CLOSE_SESSION = "closing.close_session"
CLOSE_QUERY = "closing.close_query"
CANCEL = "closing.cancel"

_SQL_CHARACTERS = 600
_DONE = {
    Outcome.CLOSED: "✅ closed",
    Outcome.QUERY_CLOSED: "✅ query closed",
    Outcome.ALREADY_GONE: "☑️ already gone",
    Outcome.CHANGED: "⚠️ changed, not closed",
    Outcome.PROTECTED: "⛔ protected, not closed",
    Outcome.NOT_ALLOWED: "⛔ not allowed, not closed",
    Outcome.STILL_RUNNING: "⚠️ still running",
    Outcome.ROLLING_BACK: "⏳ rolling back",
    Outcome.UNVERIFIED: "❓ unverified",
}
_NEXT = {
    Outcome.STILL_RUNNING: "Look at it again with /sessions id={id}; Close Session is stronger than Close Query.",
    Outcome.ROLLING_BACK: "Rolling back a large transaction takes time; nothing more needs to be closed.",
    Outcome.UNVERIFIED: "Look at it with /sessions id={id} as soon as the data source answers.",
    Outcome.CHANGED: "Nothing was closed. Look again with /sessions id={id}.",
}


def closing_card(request: ClosingRequest, *, full_sql: bool) -> Message:
    """Show a request that waits for its confirmation."""
    second = " A second person must confirm." if request.approval is Approval.SECOND_PERSON else ""
    blocks = [
        *_target(request, _title(request), full_sql=full_sql),
        _meaning(request.target.session),
        parts.context(f"Expires {parts.moment(request.expires_at)}.{second} Nothing is closed without a press."),
        _buttons(request),
    ]
    return Message(_summary(request, "waits for a press"), blocks)


def closing_progress(request: ClosingRequest, note: str, *, full_sql: bool) -> Message:
    """Show a request that is being carried out and takes longer than a moment."""
    blocks = [
        *_target(request, _title(request), full_sql=full_sql),
        parts.lines([parts.bold("⏳ Closing … "), parts.plain(note)]),
        *_decided(request, "pressed"),
    ]
    return Message(_summary(request, "is being closed"), blocks)


def closing_result(request: ClosingRequest, *, full_sql: bool) -> Message:
    """Show what became of a request: done, cancelled or expired. It has no buttons any more."""
    text, rows = _result(request)
    title = f"{_title(request).rstrip('?')}: {text}"
    verb = "cancelled" if request.state is State.CANCELLED else "pressed"
    blocks = [*_target(request, title, full_sql=full_sql), parts.lines(*rows), *_decided(request, verb)]
    return Message(_summary(request, text), blocks)


def _result(request: ClosingRequest) -> tuple[str, list[parts.Line]]:
    outcome = request.target.outcome
    if request.state is State.CANCELLED:
        return "cancelled", [[parts.plain("Nothing was closed.")]]
    if outcome is None:
        return "expired", [[parts.plain("Nobody confirmed in time. Nothing was closed.")]]
    text = _DONE[outcome]
    rows: list[parts.Line] = [[parts.bold(text), parts.plain(f". {request.target.detail}")]]
    if not request.target.detail:
        rows = [[parts.bold(text + ".")]]
    hint = _NEXT.get(outcome)
    if hint:
        rows.append([parts.plain(hint.format(id=request.target.session.id))])
    return text, rows


def _title(request: ClosingRequest) -> str:
    what = "Close the query of session" if (request.decided_mode or request.mode) is Mode.QUERY else "Close session"
    return f"{what} {request.target.session.id}?"


def _summary(request: ClosingRequest, what: str) -> str:
    session = request.target.session
    return unformatted(f"{_title(request).rstrip('?')} of {session.user} on {request.source}: {what}")


def _decided(request: ClosingRequest, verb: str) -> list[kit.Block]:
    """Who decided and when; ids come from Slack, so that they may stand in mrkdwn."""
    if request.decided_by is None or request.decided_at is None:
        return []
    took = ""
    if request.target.outcome_at is not None:
        took = f", known after {parts.seconds((request.target.outcome_at - request.decided_at).total_seconds())}"
    what = f"{request.decided_mode.value} {verb}" if request.decided_mode else verb.capitalize()
    return [
        parts.context(f"{what} by {parts.mention(request.decided_by.id)} at {parts.moment(request.decided_at)}{took}.")
    ]


def _target(request: ClosingRequest, title: str, *, full_sql: bool) -> list[kit.Block]:
    """What is to be closed: the same at the top of a card in each of its states."""
    session = request.target.session
    rows = [
        [("Data source", request.source), ("Tenant", session.tenant or "-"), ("observer", session.server or "-")],
        [("User", session.user or "-"), ("Source", session.origin), ("OBProxy", session.proxy or "-")],
        [("Session ID", str(session.id)), ("Database Name", session.database or "-")],
        [("Status", f"{session.state}, {session.command}, for {parts.seconds(session.time)}")],
        [("Transaction", _transaction(session))],
    ]
    if request.reason:
        rows.append([("Reason", request.reason)])
    return [
        parts.header(title),
        parts.context(f"Asked by {parts.mention(request.requester.id)} at {parts.moment(request.created_at)}"),
        parts.lines(*(parts.facts(row) for row in rows)),
        *_sql(session, full_sql=full_sql),
    ]


def _transaction(session: Session) -> str:
    if not session.in_transaction:
        return "none"
    waits = ", waits for a row lock" if session.waits_for_lock else ""
    return f"open ({session.transaction_state or 'state unknown'}){waits}"


def _sql(session: Session, *, full_sql: bool) -> list[kit.Block]:
    if not session.sql:
        return []
    text = without_passwords(session.sql) if full_sql else digest(session.sql, _SQL_CHARACTERS)
    return parts.preformatted(cut(text, _SQL_CHARACTERS), sql=True)


def _meaning(session: Session) -> kit.Block:
    return parts.lines(
        [parts.bold(Mode.SESSION.value), parts.plain("  " + session_meaning(session))],
        [parts.bold(Mode.QUERY.value), parts.plain("  " + query_meaning(session))],
    )


def session_meaning(session: Session) -> str:
    """Say what Close Session would do to exactly this session."""
    parts_ = ["disconnects the client; it must connect again."]
    if session.running:
        parts_.append("Its running query is stopped.")
    if session.in_transaction:
        parts_.append("Its open transaction is rolled back and the locks are released.")
    return " ".join(parts_)


def query_meaning(session: Session) -> str:
    """Say what Close Query would do to exactly this session."""
    if not session.running:
        keeps = " Its open transaction and its locks would stay." if session.in_transaction else ""
        return f"does nothing: this session is idle, no query runs.{keeps}"
    if session.transaction_state in ("RUNNING", "LOCK WAIT"):
        # InnoDB does not say whether a transaction is the statement's own.
        return "stops this query; the session stays. A transaction that began before it stays open, with its locks."
    if session.in_transaction and session.transaction_state != "IMPLICIT_ACTIVE":
        return "stops this query; the session stays. Its open transaction and the locks it holds stay, too."
    return "stops this query; the session stays usable."


def _buttons(request: ClosingRequest) -> kit.Block:
    session = request.target.session
    offered = [Mode.SESSION, Mode.QUERY] if session.running else [Mode.SESSION]
    # What was asked for stands first and is the coloured one.
    offered.sort(key=lambda mode: mode is not request.mode)
    buttons: list[kit.Element] = [
        _close_button(request, mode, "danger" if mode is request.mode else None) for mode in offered
    ]
    return kit.ActionsBlock([*buttons, kit.Button("Cancel", action_id=CANCEL, value=request.id)])


def _close_button(request: ClosingRequest, mode: Mode, style: Literal["danger"] | None) -> kit.Button:
    session = request.target.session
    means = session_meaning(session) if mode is Mode.SESSION else query_meaning(session)
    # Plain text: the names in it come from the database (SLACK.md 2.3).
    text = visible(
        f"{session.user} from {session.origin}, {session.state} for {parts.seconds(session.time)}. {mode.value} {means}"
    )
    confirm = kit.ConfirmationDialogue(
        title=f"{mode.value} {session.id}?",
        text=kit.PlainText(cut(text, 300)),
        confirm=mode.value,
        deny="Keep it",
        style="danger",
    )
    action = CLOSE_SESSION if mode is Mode.SESSION else CLOSE_QUERY
    return kit.Button(mode.value, action_id=action, value=request.id, style=style, confirm=confirm)
