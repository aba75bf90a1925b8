"""The answer to ``/sessions``: OCP's columns as a table, what is possible with them under it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace

from bot.sessions.masking import cut
from bot.sessions.model import Flag, Session, SessionPage, SessionQuery, WaitKind
from bot.sessions.statement import Disclosure
from bot.slack.arguments.session_query import describe
from bot.slack.arguments.tokens import quoted
from bot.slack.delivery.message import Message
from bot.slack.escaping import top_level, visible
from bot.slack.session_reference import PICK, Asker, SessionReference
from bot.slack.views import blocks as kit
from bot.slack.views import components, wording
from bot.slack.views.columns import SQL, Column, Table

# action ids
VIEW_SQL = "sessions.view_sql"
DETAILS = "sessions.details"
CLOSE_QUERY = "sessions.close_query"
CLOSE_SESSION = "sessions.close_session"
REFRESH = "sessions.refresh"
PREVIOUS = "sessions.previous"
NEXT = "sessions.next"
TOGGLE_ACTIVE = "sessions.active_only"
WHO_BLOCKS = "locks.open"

PICK_BLOCK = "sessions.picked"

_OPTIONS_CHARACTERS = 2_500
_FIRST = 3  # rows that the text of a message tells
_KINDS = 5  # kinds of locks that are told one by one
_COMMAND_CHARACTERS = 1_200  # of the echo; more than can be typed, unless what cannot be seen is written out
# Characters of the SQL cell and of any other cell; the first pair that fits is taken.
_WIDTHS = ((44, 48), (36, 32), (24, 24), (12, 16), (8, 12))


COLUMNS: tuple[Column[Session], ...] = (
    Column("Session ID", lambda s, _d, _w: str(s.id), number=True, cuttable=False),
    Column(SQL, lambda s, d, w: wording.sql_line(s.statement, w, d) or "-"),
    Column("User", lambda s, _d, _w: s.client.user),
    Column("Source", lambda s, _d, _w: s.client.origin),
    Column("Database Name", lambda s, _d, _w: s.database or "-"),
    Column("Command", lambda s, _d, _w: s.command),
    Column("Execution Time (s)", lambda s, _d, _w: wording.time(s), number=True, cuttable=False),
    Column("Status", lambda s, _d, _w: wording.marked_status(s)),
    Column("observer", lambda s, _d, _w: s.observer),
    Column("OBProxy", lambda s, _d, _w: s.client.proxy or "-"),
)
TENANT: Column[Session] = Column("Tenant", lambda s, _d, _w: s.tenant or "-")


def session_list(
    page: SessionPage, notes: Sequence[str], *, disclosure: Disclosure, asker: Asker | None = None
) -> Message:
    """Show one page; ``notes`` are sentences on how the input was understood, ``asker`` is whose view all see."""
    above: list[kit.Block] = [components.header(f"Sessions on {page.source}"), _query(page.query, notes)]
    said: list[str | kit.PlainText] = [_totals(page), *_waiters(page), *components.seen_by(asker)]
    below: list[kit.Block] = [components.context(*said, *components.caveats(page.caveats))]
    if page.sessions:
        below.append(_pick(page))
    below.append(_browse(page, asker))
    text = top_level(f"Sessions on {page.source}: {_in_words(page)}")
    if not page.sessions:
        return Message(text, [*above, components.lines([components.plain(_nothing(page))]), *below])
    table = _table(page, disclosure)

    def as_text() -> list[kit.Block]:
        return [*above, *table.text(), *below]

    if page.query.text:
        return Message(text, as_text())
    return Message(text, [*above, table.block(), *below], fallback=as_text)


def _query(query: SessionQuery, notes: Sequence[str]) -> kit.Block:
    command = f"/sessions {describe(query)}".strip()
    return components.lines([components.code(cut(visible(command), _COMMAND_CHARACTERS))], *components.notes(notes))


def _totals(page: SessionPage) -> str:
    return f"{_counts(page)} · as of {wording.moment(page.as_of)}"


def _counts(page: SessionPage) -> str:
    shown = len(page.sessions)
    pages = f" · page {page.query.page} of {page.pages}" if page.pages > 1 else ""
    return f"{shown:,} shown of {page.matching:,} matching{pages} · {_in_all(page)}"


def _in_all(page: SessionPage) -> str:
    waiting = f", {page.waiting:,} waiting" if page.waiting else ""
    return f"{page.total:,} in all, {page.active:,} active{waiting}"


def _in_words(page: SessionPage) -> str:
    """Say the counts and the first rows, for screen readers and notifications; no SQL."""
    rows = [
        f"{one.id}: {wording.name(one.client.user)} from {wording.name(one.client.origin)}, "
        f"{wording.name(wording.status(one))} for {wording.lasts(one)}"
        f"{', ' if one.waits else ''}{wording.waits(one)}"
        for one in page.sessions[:_FIRST]
    ]
    more = [f"and {len(page.sessions) - _FIRST} more below"] if len(page.sessions) > _FIRST else []
    return ". ".join(filter(None, (f"{_counts(page)} · as of {wording.utc(page.as_of)}", "; ".join([*rows, *more]))))


def _waiters(page: SessionPage) -> list[kit.PlainText]:
    """Say what the columns do not: how many wait, for locks of which kinds, and for how long at most."""
    waiting = [session for session in page.sessions if session.waits]
    untold = page.untold if Flag.WAITING in page.query.filter.flags else ""
    return [kit.plain_text(visible(said)) for said in (_kinds(page, waiting), untold) if said]


def _kinds(page: SessionPage, waiting: Sequence[Session]) -> str:
    if not waiting:
        return ""
    kinds = Counter(map(wording.awaited, waiting)).most_common()
    longest = wording.seconds(max(session.time for session in waiting))
    who = _who_holds(page, waiting)
    if len(kinds) > 1:
        each = [f"{count} for {wording.a(kind)}" for kind, count in kinds[:_KINDS]]
        left = sum(count for _, count in kinds[_KINDS:])
        each += [f"{left} for others"] if left else []
        return f"🔒 {len(waiting)} of these wait: {', '.join(each)}; the longest for {longest}{who}"
    what = wording.a(kinds[0][0])
    if len(waiting) == 1:
        return f"🔒 1 of these waits for {what}, for {longest}{who}"
    return f"🔒 {len(waiting)} of these wait for {what}, the longest for {longest}{who}"


def _who_holds(page: SessionPage, waiting: Sequence[Session]) -> str:
    """Say what Details has: of locks other than rows' no server tells each holder."""
    if any(session.waits is not WaitKind.ROW_LOCK for session in waiting):
        return ": Details says who holds it, where that is known"
    return ": Details says who holds it" if page.names_holders else ""


def _nothing(page: SessionPage) -> str:
    if page.total == 0:
        return "There is no session that you may see."
    flags = page.query.filter.flags
    if Flag.BLOCKING in flags:
        return "No session that fits that is known to hold up others. /sessions locks shows who waits, and for what."
    if Flag.WAITING not in flags:
        return f"No session fits that. There are {page.total:,} in all, {page.active:,} of them active."
    if not page.waiting:
        known = "is known to wait" if page.untold else "waits"
        return f"No session {known} for a lock. There are {page.total:,} in all, {page.active:,} of them active."
    those = "1 session waits" if page.waiting == 1 else f"{page.waiting:,} sessions wait"
    return f"{those} for a lock, but none that fits the rest. /sessions locks shows who holds them up."


def _table(page: SessionPage, disclosure: Disclosure) -> Table[Session]:
    tenants = {session.tenant for session in page.sessions}
    columns = [*COLUMNS[:3], TENANT, *COLUMNS[3:]] if len(tenants) > 1 else COLUMNS
    return Table("sessions", columns, page.sessions, _WIDTHS, disclosure)


def _pick(page: SessionPage) -> kit.Block:
    width = min(75, _OPTIONS_CHARACTERS // len(page.sessions))
    options = [kit.option(_option_text(session, width), str(SessionReference.of(session))) for session in page.sessions]
    menu = kit.multi_static_select(PICK, options, "Pick sessions")
    buttons = [
        kit.button("View SQL", action_id=VIEW_SQL),
        kit.button("Details", action_id=DETAILS),
        kit.button("Close Query", action_id=CLOSE_QUERY),
        kit.button("Close Session", action_id=CLOSE_SESSION),
    ]
    # A new block id for each look: Slack keeps a menu's choice with its block, and the rows have changed.
    return kit.actions([menu, *buttons], block_id=f"{PICK_BLOCK}.{page.as_of.timestamp():.6f}")


def _option_text(session: Session, width: int) -> str:
    doing = wording.sql_line(session.statement, 40, Disclosure.DIGEST) or wording.status(session)
    return cut(visible(f"{session.id} · {session.client.user} · {wording.lasts(session)} · {doing}"), width)


def _browse(page: SessionPage, asker: Asker | None) -> kit.Block:
    query = page.query
    only_active = Flag.ACTIVE_ONLY in query.filter.flags
    buttons = [kit.button("Refresh", action_id=REFRESH, value=_value(query))]
    if query.page > 1:
        buttons.append(_arrow("◀", "Previous page", PREVIOUS, replace(query, page=query.page - 1)))
    if query.page < page.pages:
        buttons.append(_arrow("▶", "Next page", NEXT, replace(query, page=query.page + 1)))
    if Flag.IDLE not in query.filter.flags:
        buttons.append(
            kit.button(
                "Active only: on" if only_active else "Active only",
                action_id=TOGGLE_ACTIVE,
                value=_value(query.toggled(Flag.ACTIVE_ONLY)),
                style="primary" if only_active else None,
            )
        )
    if any(session.waits for session in page.sessions):
        buttons.append(who_blocks(page.source, query.filter.tenants or ()))
    return kit.actions(buttons, block_id=Asker.block("sessions.browse", asker))


def who_blocks(source: str, tenants: Collection[str]) -> kit.Element:
    """A button that leads to all waits of a data source; of one tenant where that is the only one meant."""
    tenant = f" tenant={quoted(*tenants)}" if len(tenants) == 1 else ""
    return kit.button("Who blocks?", action_id=WHO_BLOCKS, value=f"on={quoted(source)}{tenant}")


def _arrow(sign: str, label: str, action_id: str, query: SessionQuery) -> kit.Element:
    return kit.button(sign, action_id=action_id, value=_value(query), accessibility_label=label)


def _value(query: SessionQuery) -> str:
    # Empty values are refused; the words themselves are at most 1,000 of the 2,000 characters allowed.
    return describe(query) or "list"
