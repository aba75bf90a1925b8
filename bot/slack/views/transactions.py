"""The answer to ``/sessions transactions``: open transactions as a table, and what can be done with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bot.sessions.masking import cut
from bot.sessions.model import Session
from bot.sessions.statement import Disclosure
from bot.sessions.transactions import OpenTransaction, Transactions
from bot.sessions.waits.graph import Prepared, WaitGraph
from bot.slack.delivery.message import Message
from bot.slack.escaping import top_level, visible
from bot.slack.session_reference import PICK, Asker, SessionReference
from bot.slack.views import blocks as kit
from bot.slack.views import components, wording
from bot.slack.views.columns import SQL, Column, Table
from bot.slack.views.session_list import CLOSE_SESSION, DETAILS, PICK_BLOCK

# action ids
REFRESH = "transactions.refresh"
PREVIOUS = "transactions.previous"
NEXT = "transactions.next"

_OPTIONS_CHARACTERS = 2_500
_COMMAND_CHARACTERS = 1_200
_FIRST = 3  # that the text of a message tells
# Characters of the SQL cell and of any other cell; the first pair that fits is taken.
_WIDTHS = ((44, 40), (36, 28), (24, 24), (12, 16), (8, 12))


@dataclass(frozen=True, slots=True)
class Page:
    """One page of the open transactions that somebody asked for."""

    found: Transactions  # that fit
    rows: tuple[OpenTransaction, ...]  # those of this page
    total: int  # that the reader may see, whatever was asked for
    number: int  # from 1
    limit: int  # of a page
    waits: WaitGraph | None  # of all tenants; None: not known now
    words: Mapping[int, str]  # what was typed, as it is understood, for the pages before, at and after this one
    as_text: bool = False

    @property
    def pages(self) -> int:
        """How many pages there are, at least one."""
        return max(1, -(-len(self.found.open) // self.limit))

    def held_up(self, one: OpenTransaction) -> int:
        """How many sessions wait for it, directly and through others, those that the reader may not see included."""
        return len(self.waits.held_up(one.who)) if self.waits is not None and one.who is not None else 0


def transactions(page: Page, notes: Sequence[str], *, disclosure: Disclosure, asker: Asker | None = None) -> Message:
    """Show one page; ``notes`` are sentences on how the input was understood, ``asker`` is whose view all see."""
    found = page.found
    typed = f"/sessions transactions {page.words[page.number]}"
    above: list[kit.Block] = [
        components.header(f"Open transactions on {found.source}"),
        components.lines([components.code(cut(visible(typed), _COMMAND_CHARACTERS))], *components.notes(notes)),
    ]
    said = [f"{_counts(page)} · as of {wording.moment(found.as_of)}", *components.seen_by(asker)]
    below: list[kit.Block] = [components.context(*said, *components.caveats(found.caveats))]
    sessions = [one.session for one in page.rows if one.session is not None]
    if sessions:
        below.append(_pick(page, sessions))
    below.append(_browse(page, asker))
    text = top_level(f"Open transactions on {found.source}: {_in_words(page)}")
    if not page.rows:
        return Message(text, [*above, components.lines([components.plain(_nothing(page))]), *below])
    table = _table(page, disclosure)

    def as_text() -> list[kit.Block]:
        return [*above, *table.text(), *below]

    if page.as_text:
        return Message(text, as_text())
    return Message(text, [*above, table.block(), *below], fallback=as_text)


def _counts(page: Page) -> str:
    found, shown = page.found, len(page.rows)
    pages = f" · page {page.number} of {page.pages}" if page.pages > 1 else ""
    more = ", and younger ones that were not read" if found.more else ""
    return f"{shown:,} shown of {len(found.open):,} matching{pages} · {page.total:,} open in all{more}"


def _in_words(page: Page) -> str:
    """Say the counts and the oldest, for screen readers and notifications; no SQL."""
    rows = [_row_in_words(page, one) for one in page.rows[:_FIRST]]
    more = [f"and {len(page.rows) - _FIRST} more below"] if len(page.rows) > _FIRST else []
    return ". ".join(
        filter(None, (f"{_counts(page)} · as of {wording.utc(page.found.as_of)}", "; ".join([*rows, *more])))
    )


def _row_in_words(page: Page, one: OpenTransaction) -> str:
    session = one.session
    who = _name(one)
    if session is not None:
        who = f"{session.id}: {wording.name(session.client.user)} from {wording.name(session.client.origin)}"
    age = f", open for {wording.seconds(one.transaction.age)}" if one.transaction.age is not None else ""
    idle = f", idle for {wording.seconds(one.idle)}" if one.idle is not None else ""
    behind = page.held_up(one)
    return f"{who}{age}{idle}{f', holds up {behind}' if behind else ''}"


def _nothing(page: Page) -> str:
    if page.total == 0:
        return "No transaction is open that you may see."
    several = page.total > 1
    return f"No open transaction fits that. {page.total:,} {'are' if several else 'is'} open in all."


def _name(one: OpenTransaction) -> str:
    """Say who has it: the number of a session, or why there is none."""
    if one.session is not None:
        return str(one.session.id)
    if isinstance(one.who, Prepared):
        return f"prepared XA {one.who.xid or one.transaction.id or ''}".strip()
    return f"none listed (server session {one.server_session})" if one.server_session else "none"


def _statement(one: OpenTransaction, disclosure: Disclosure) -> str:
    """Return what runs, or what ran last and how long ago that was, where the server keeps it."""
    if one.session is None:
        return ""
    last = one.session.last_statement
    if one.session.statement is None and last is not None:
        return f"{wording.seconds(last.ago)} ago: {wording.sql_line(last.statement, 1_000, disclosure)}"
    return wording.sql_line(one.session.statement, 1_000, disclosure)


def _changed(one: OpenTransaction) -> str:
    if one.transaction.rows_changed is not None:
        return f"{one.transaction.rows_changed:,} rows"
    return wording.bytes_of(one.transaction.bytes_changed) if one.transaction.bytes_changed is not None else ""


def _span(seconds: float | None) -> str:
    return wording.seconds(seconds) if seconds is not None else ""


def _of(part: Callable[[Session], str | None]) -> Callable[[OpenTransaction, Disclosure, int], str]:
    return lambda one, _disclosure, _width: (part(one.session) if one.session is not None else None) or ""


_Columns = tuple[Column[OpenTransaction], ...]
_FIRST_COLUMNS: _Columns = (
    Column("Session ID", lambda one, _d, _w: _name(one), number=True),
    Column(SQL, lambda one, d, _w: _statement(one, d)),
    Column("User", _of(lambda session: session.client.user)),
)
_TENANT: _Columns = (Column("Tenant", lambda one, _d, _w: one.tenant or ""),)
_MORE_COLUMNS: _Columns = (
    Column("Source", _of(lambda session: session.client.origin)),
    Column("Database Name", _of(lambda session: session.database)),
    Column("State", lambda one, _d, _w: one.transaction.state or ""),
    Column("Age", lambda one, _d, _w: _span(one.transaction.age), number=True, cuttable=False),
    Column("Idle for", lambda one, _d, _w: _span(one.idle), number=True, cuttable=False),
)
_CHANGED: _Columns = (Column("Changed", lambda one, _d, _w: _changed(one), number=True, cuttable=False),)
_OBSERVER: _Columns = (Column("observer", _of(lambda session: session.observer)),)


def _table(page: Page, disclosure: Disclosure) -> Table[OpenTransaction]:
    tenants = {one.tenant for one in page.rows}
    servers = {one.session.observer for one in page.rows if one.session is not None}

    def held_up(one: OpenTransaction, _disclosure: Disclosure, _width: int) -> str:
        return "?" if page.waits is None else f"{page.held_up(one) or ''}"

    columns = (
        *_FIRST_COLUMNS,
        *(_TENANT if len(tenants) > 1 else ()),
        *_MORE_COLUMNS,
        Column("Holds up", held_up, number=True, cuttable=False),
        *_CHANGED,
        *(_OBSERVER if len(servers) > 1 else ()),
    )
    return Table("transactions", columns, page.rows, _WIDTHS, disclosure)


def _pick(page: Page, sessions: Sequence[Session]) -> kit.Block:
    width = min(75, _OPTIONS_CHARACTERS // len(sessions))
    options = [
        kit.option(cut(visible(_option(page, one, one.session)), width), str(SessionReference.of(one.session)))
        for one in page.rows
        if one.session is not None
    ]
    menu = kit.multi_static_select(PICK, options, "Pick sessions")
    buttons = [
        kit.button("Details", action_id=DETAILS),
        kit.button("Close Session", action_id=CLOSE_SESSION),
    ]
    # A new block id for each look: Slack keeps a menu's choice with its block, and the rows have changed.
    return kit.actions([menu, *buttons], block_id=f"{PICK_BLOCK}.{page.found.as_of.timestamp():.6f}")


def _option(page: Page, one: OpenTransaction, session: Session) -> str:
    behind = page.held_up(one)
    age, idle = _span(one.transaction.age), _span(one.idle)
    says = (f"holds up {behind}" if behind else "", f"open {age}" if age else "", f"idle {idle}" if idle else "")
    return " · ".join((str(session.id), session.client.user, *filter(None, says)))


def _browse(page: Page, asker: Asker | None) -> kit.Block:
    buttons = [kit.button("Refresh", action_id=REFRESH, value=page.words[page.number])]
    if page.number > 1:
        buttons.append(_arrow("◀", "Previous page", PREVIOUS, page.words[page.number - 1]))
    if page.number < page.pages:
        buttons.append(_arrow("▶", "Next page", NEXT, page.words[page.number + 1]))
    return kit.actions(buttons, block_id=Asker.block("transactions.browse", asker))


def _arrow(sign: str, label: str, action_id: str, words: str) -> kit.Element:
    return kit.button(sign, action_id=action_id, value=words, accessibility_label=label)
