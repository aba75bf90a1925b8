"""The card of one session: everything that is known of it, and what can be done with it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from bot.sessions.details import LockHolder, SessionDetails
from bot.sessions.masking import without_secrets
from bot.sessions.model import Session, WaitKind
from bot.sessions.statement import Disclosure
from bot.slack.delivery.message import Message
from bot.slack.escaping import top_level
from bot.slack.session_reference import Asker, CardReference, SessionReference
from bot.slack.views import blocks as kit
from bot.slack.views import components, wording
from bot.slack.views.session_list import CLOSE_QUERY, CLOSE_SESSION, VIEW_SQL

REFRESH = "session.refresh"  # action id

_SQL_CHARACTERS = 600
_SHOWN_IDS = 20
_WITH_DATE = "{date_short_pretty} {time_secs}"


def session_details(
    details: SessionDetails,
    as_of: datetime,
    notes: Sequence[str] = (),
    *,
    disclosure: Disclosure,
    asker: Asker | None = None,
) -> Message:
    """Show one session as it was at ``as_of``.

    ``notes`` are sentences on how the input was understood, ``asker`` is whose view all see.
    """
    session = details.session
    title = f"Session {session.id} on {session.source}"
    doing = f"{wording.name(wording.status(session))}, {wording.lasts(session)}"
    doing += f", {wording.waits(session)}" if session.waits else ""
    since = (
        f"Idle since {wording.moment(as_of - timedelta(seconds=session.time), _WITH_DATE)} · " if session.idle else ""
    )
    blocks = [
        components.header(title),
        *([components.lines(*components.notes(notes))] if notes else []),
        components.lines(*_locks(details), *(components.facts(row) for row in _facts(session, details, disclosure))),
        *_sql(session, disclosure=disclosure),
        components.context(
            f"{since}As of {wording.moment(as_of)}", *components.seen_by(asker), *components.caveats(details.caveats)
        ),
        _buttons(session, asker),
    ]
    return Message(top_level(f"{title}: {wording.name(session.client.user)}, {doing}"), blocks)


def gone(reference: SessionReference, as_of: datetime, *, reused: bool) -> Message:
    """Say in the place of a card that its session has ended."""
    title = f"Session {reference.id} on {reference.source}"
    text = "This session has ended."
    if reused:
        text += f" Another session now has its id: /sessions show {reference.id}"
    return Message(
        top_level(f"{title}: ended"),
        [
            components.header(title),
            components.lines([components.plain(text)]),
            components.context(f"As of {wording.moment(as_of)}"),
        ],
    )


def several(found: Sequence[Session]) -> Message:
    """Ask which of several sessions with one id is meant."""
    text = f"{len(found)} sessions have the id {found[0].id}. Name the server of the one you mean:"
    rows = [
        [
            components.code(f"/sessions show {one.id}@{one.server or '-'} source={one.source}"),
            components.plain(
                f"  {wording.name(one.client.user)} from {wording.name(one.client.origin)}, "
                f"tenant {wording.name(one.tenant)}, {wording.name(one.state)}"
            ),
        ]
        for one in found
    ]
    return Message(top_level(text), [components.lines([components.plain(text)], *rows)])


def _facts(session: Session, details: SessionDetails, disclosure: Disclosure) -> list[list[tuple[str, str]]]:
    rows = [
        [("Status", _status(session)), ("Execution Time", _execution_time(session))],
        [("User", session.client.user or "-"), ("Source", session.client.origin or "-")],
        [("Tenant", session.tenant or "-"), ("Database Name", session.database or "-")],
        [("Command", session.command or "-")],
        [("Transaction", _transaction(session, details))],
    ]
    if session.retry_count:
        rows.append([("Retries", _retries(session))])
    sql_id = session.statement.sql_id(disclosure) if session.statement is not None else None
    more: list[list[tuple[str, object]]] = [
        [(wording.sql_id_label(session), sql_id), ("Trace ID", session.trace_id)],
        [("Plan ID", details.plan_id), ("Memory", _bytes(session.memory))],
        [("observer", session.observer), ("OBProxy", session.client.proxy)],
        [("Proxy Session ID", session.client.proxy_session_id), ("Master Session ID", session.master_session_id)],
        [(label, without_secrets(said or "")) for label, said in _client_says(session)],
    ]
    return [*rows, *([(label, str(value or "-")) for label, value in row] for row in more if _says(row))]


def _client_says(session: Session) -> list[tuple[str, str | None]]:
    """What the client says of itself, which may be a connection URL with its password."""
    return [("Module", session.client.module), ("Action", session.client.action), ("Client Info", session.client.info)]


def _says(row: Sequence[tuple[str, object]]) -> bool:
    """Whether a line says anything; the columns of OCP stand there in any case."""
    return row[0][0] == "observer" or any(value for _, value in row)


def _status(session: Session) -> str:
    if not session.idle:
        return ", ".join(filter(None, (wording.status(session), wording.waits(session))))
    return f"{session.state}, idle for {wording.seconds(session.time)}"


def _execution_time(session: Session) -> str:
    retried = ", retries included" if session.running and session.retry_count else ""
    return wording.lasts(session) + retried


def _transaction(session: Session, details: SessionDetails) -> str:
    state = wording.transaction_state(session)
    if session.transaction is None:
        return state
    age = f", open for {wording.seconds(details.transaction_age)}" if details.transaction_age is not None else ""
    return f"{session.transaction.id or '-'}, {state}{age}"


def _retries(session: Session) -> str:
    if session.retry_count == 1:
        return f"retried once by the server, because of {_reason(session)}"
    return f"retried {session.retry_count:,} times by the server, most recently because of {_reason(session)}"


def _reason(session: Session) -> str:
    if session.retry_info == -6005:
        return "a row locked by another session (error -6005): it waits for that lock"
    return f"error {session.retry_info}"


def _locks(details: SessionDetails) -> list[components.Line]:
    rows: list[components.Line] = [_holder(holder) for holder in details.holders]
    if details.session.waits and not rows:
        why = (
            "; who holds it could not be seen just now. Press Refresh."
            if details.names_holders and details.session.waits is WaitKind.ROW_LOCK
            else "; who holds it cannot be read here."
        )
        said = wording.waits(details.session)
        rows.append([components.bold(f"W{said[1:]}"), components.plain(why)])
    if details.waiters:
        ids = ", ".join(map(str, details.waiters[:_SHOWN_IDS]))
        rows.append([components.bold("Blocks"), components.plain(f" with its row locks: session {ids}")])
    return rows


def _holder(holder: LockHolder) -> components.Line:
    age = (
        ""
        if holder.transaction_age is None
        else f", its transaction open for {wording.seconds(holder.transaction_age)}"
    )
    held = [
        components.bold("Waits for a row lock"),
        components.plain(f" for {wording.seconds(holder.waited)}, held by "),
    ]
    if holder.id is None:
        return [*held, components.plain(f"a session that this server does not name{age}")]
    session = holder.session
    if session is None:
        who = "not in the process list: it has just ended, or it is the database's own"
    else:
        doing = "idle" if session.idle else "running" if session.running else "running nothing"
        of = f"{wording.name(session.client.user)} from {wording.name(session.client.origin)}"
        who = f"{of}, {doing} for {wording.seconds(session.time)}{age}"
    return [*held, components.plain("session "), components.code(str(holder.id)), components.plain(f" ({who})")]


def _sql(session: Session, *, disclosure: Disclosure) -> list[kit.Block]:
    if session.statement is None:
        return [components.lines([components.bold("SQL"), components.plain(" -")])]
    blocks = components.sql(session.statement, _SQL_CHARACTERS, disclosure)
    if session.in_get_lock:
        blocks.append(components.context(kit.plain_text(wording.IN_GET_LOCK)))
    if session.statement.inner is not None:
        since = components.plain(f", for {wording.seconds(session.total_time)}:")
        blocks += [
            components.lines([components.bold("Its current statement"), since]),
            *components.sql(session.statement.inner, _SQL_CHARACTERS, disclosure),
        ]
    return blocks


def _buttons(session: Session, asker: Asker | None) -> kit.Block:
    reference = str(SessionReference.of(session))
    buttons = [kit.button("View SQL", action_id=VIEW_SQL, value=reference)]
    if session.running and not (session.own or session.ending or session.query_ending):
        buttons.append(kit.button("Close Query", action_id=CLOSE_QUERY, value=reference))
    if not (session.own or session.ending):
        buttons.append(kit.button("Close Session", action_id=CLOSE_SESSION, value=reference))
    buttons.append(kit.button("Refresh", action_id=REFRESH, value=str(CardReference.of(session))))
    return kit.actions(buttons, block_id=Asker.block("session.browse", asker))


def _bytes(value: int | None) -> str | None:
    return None if value is None else f"{value / 1024 / 1024:,.1f} MiB"
