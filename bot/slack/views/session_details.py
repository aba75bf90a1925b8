"""The card of one session: everything that is known of it, and what can be done with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bot.sessions.details import SessionDetails
from bot.sessions.masking import without_secrets
from bot.sessions.model import Session
from bot.sessions.statement import Disclosure
from bot.sessions.waits.advice import Action, Advice
from bot.sessions.waits.graph import Prepared, Wait, WaitGraph
from bot.slack.delivery.message import Message
from bot.slack.escaping import top_level
from bot.slack.session_reference import Asker, CardReference, SessionReference
from bot.slack.views import blocks as kit
from bot.slack.views import components, waits, wording
from bot.slack.views.session_list import CLOSE_QUERY, CLOSE_SESSION, VIEW_SQL, who_blocks

REFRESH = "session.refresh"  # action id

_SQL_CHARACTERS = 600
_HOLDERS = 5
_SHOWN_IDS = 20
_WITH_DATE = "{date_short_pretty} {time_secs}"


@dataclass(frozen=True, slots=True)
class Waiting:
    """Whom a session waits for and whom it holds up, what is advised about it, and whose sessions may be shown."""

    graph: WaitGraph
    advice: Advice
    tenants: frozenset[str] | None = None  # None: of all

    def holders(self, session: Session) -> tuple[Wait, ...]:
        """Whom it waits for."""
        return self.graph.holders(session)

    def shows(self, one: Session | Prepared) -> bool:
        """Whether anything of it is shown."""
        return self.tenants is None or one.tenant in self.tenants


def session_details(
    details: SessionDetails,
    as_of: datetime,
    notes: Sequence[str] = (),
    *,
    disclosure: Disclosure,
    waiting: Waiting | None = None,
    asker: Asker | None = None,
) -> Message:
    """Show one session as it was at ``as_of``.

    ``notes`` are sentences on how the input was understood, ``asker`` is whose view all see. ``waiting`` is None where
    the waits could not be read.
    """
    session = details.session if waiting is None else waiting.graph.known(details.session)
    title = f"Session {session.id} on {session.source}"
    doing = f"{wording.name(wording.status(session))}, {wording.lasts(session)}"
    doing += f", {wording.waits(session)}" if session.waits else ""
    unread = waiting.graph.lacks if waiting is not None and session.waits and not waiting.holders(session) else ()
    caveats = (*unread, *details.caveats)
    since = (
        f"Idle since {wording.moment(as_of - timedelta(seconds=session.time), _WITH_DATE)} · " if session.idle else ""
    )
    blocks = [
        components.header(title),
        *([components.lines(*components.notes(notes))] if notes else []),
        components.lines(
            *_locks(session, waiting), *(components.facts(row) for row in _facts(session, details, disclosure))
        ),
        *_sql(session, disclosure=disclosure),
        components.context(
            f"{since}As of {wording.moment(as_of)}", *components.seen_by(asker), *components.caveats(caveats)
        ),
        _buttons(session, waiting, asker),
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
            components.code(f"/sessions show {one.id}@{one.server or '-'} on={one.source}"),
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
    return f"{wording.status(session)}, {'' if session.ending else 'idle '}for {wording.seconds(session.time)}"


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
        return "a row locked by another session (error -6005)"
    return f"error {session.retry_info}"


def _locks(session: Session, waiting: Waiting | None) -> list[components.Line]:
    """Say what to do, whom it waits for and whom it holds up."""
    if waiting is None:
        return [[components.bold("Waits"), components.plain(" could not be read just now. Press Refresh.")]]
    graph, advice = waiting.graph, waiting.advice
    holders, behind = graph.holders(session), graph.held_up(session)
    rows: list[components.Line] = []
    unseen = session.waits is not None and not holders  # so that advice would be on what is not known
    if not unseen and (holders or behind or advice.past or advice.action is not Action.NOTHING):
        rows.append(waits.advised(session, advice))
    rows += [_holder(wait, waiting) for wait in holders[:_HOLDERS]]
    if len(holders) > _HOLDERS:
        rows.append([components.plain(f"and for {len(holders) - _HOLDERS:,} more.")])
    if unseen and session.waits:
        why = "cannot be read here." if graph.lacks else "could not be seen just now. Press Refresh."
        said = wording.waits(session)
        rows.append([components.bold(f"W{said[1:]}"), components.plain(f"; who holds it {why}")])
    if behind:
        ids = [str(one.id) for one in behind if waiting.shows(one)]
        more = len(behind) - min(len(ids), _SHOWN_IDS)
        named = f": {', '.join(ids[:_SHOWN_IDS])}{f' and {more:,} more' if more else ''}" if ids else ""
        may = "May hold up " if all(one.candidate for one in graph.waiters(session)) else "Holds up "
        rows.append(
            [
                components.bold(may),
                components.plain(f"{waits.held_up(len(behind), sum(not waiting.shows(one) for one in behind))}{named}"),
            ]
        )
    return rows


def _holder(wait: Wait, waiting: Waiting) -> components.Line:
    waited = f" for {wording.seconds(wait.waited)}" if wait.waited is not None else ""
    line = [components.bold(f"Waits for {wording.a(waits.waited_for(wait))}"), components.plain(f"{waited}, ")]
    held = "held perhaps by" if wait.candidate else "held by"
    holder = wait.holder
    if holder is None:
        return [*line, components.plain(f"{held} a session that this server does not name")]
    if not isinstance(holder, Session) or not waiting.shows(holder):
        return [*line, components.plain(f"{held} {waits.called(holder, waiting.shows)}")]
    doing = "idle" if holder.idle else "running" if holder.running else "running nothing"
    age = holder.transaction.age if holder.transaction is not None else None
    who = f"{wording.name(holder.client.user)} from {wording.name(holder.client.origin)}, {doing} for "
    who += wording.seconds(holder.time) + (f", its transaction open for {wording.seconds(age)}" if age else "")
    return [*line, components.plain(f"{held} session "), components.code(str(holder.id)), components.plain(f" ({who})")]


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


def _buttons(session: Session, waiting: Waiting | None, asker: Asker | None) -> kit.Block:
    reference = str(SessionReference.of(session))
    labels = {CLOSE_QUERY: "Close Query", CLOSE_SESSION: "Close Session"}
    sql = kit.button("View SQL", action_id=VIEW_SQL, value=reference)
    closes = _closes(session, waiting.advice if waiting is not None else None)
    buttons = [
        *(kit.button(labels[one], action_id=one, value=reference) for one in closes),
        kit.button("Refresh", action_id=REFRESH, value=str(CardReference.of(session))),
    ]
    waits_itself = session.waits or (waiting is not None and waiting.holders(session))
    if waits_itself or (waiting is not None and waiting.graph.waiters(session)):
        leads = who_blocks(session.source, [session.tenant] if session.tenant else [])
        # Closing a victim frees nobody: whoever looks at one is led to the other first.
        buttons = [leads, *buttons] if waits_itself else [*buttons, leads]
    buttons.insert(0, sql)
    return kit.actions(buttons, block_id=Asker.block("session.browse", asker))


def _closes(session: Session, advice: Advice | None) -> list[str]:
    """Return which closes are offered, the one that is advised first; none for what is ending or is never closed."""
    if session.own or session.ending or (advice is not None and advice.action in (Action.NEVER, Action.OVERRIDE)):
        return []
    both = [CLOSE_QUERY, CLOSE_SESSION] if session.running and not session.query_ending else [CLOSE_SESSION]
    return both[::-1] if advice is not None and advice.action is Action.CLOSE_SESSION else both


def _bytes(value: int | None) -> str | None:
    return None if value is None else f"{value / 1024 / 1024:,.1f} MiB"
