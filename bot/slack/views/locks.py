"""The answer to ``/sessions locks``: who holds up whom, the worst first with what to do about it, then all chains."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tabulate import tabulate

from bot.sessions.masking import cut
from bot.sessions.model import Session
from bot.sessions.statement import Disclosure
from bot.sessions.waits.advice import Action, Advice
from bot.sessions.waits.blockages import Blockage
from bot.sessions.waits.graph import Link, Prepared, Wait, WaitGraph
from bot.slack.delivery.message import Message
from bot.slack.escaping import top_level, visible
from bot.slack.session_reference import Asker, SessionReference
from bot.slack.views import blocks as kit
from bot.slack.views import components, wording
from bot.slack.views.session_list import CLOSE_QUERY, CLOSE_SESSION, DETAILS

REFRESH = "locks.refresh"  # action id

MOST = 5  # blockages in one message
_ROWS = 30
_CHARACTERS = 12_500  # of a message in all; Slack refuses it from about 13,200 on (docs/slack.md 2.2)
_SQL, _REASON, _PAST, _IN_TEXT = 160, 350, 200, 300
_COMMAND = 1_200  # characters of the echo; what cannot be seen is written out
_CIRCLE = 6  # ids that are named of a circle
_ARROWS = 6  # by which a line is indented; deeper ones say how deep they are
# Characters of the SQL cell and of any other cell; the first pair that fits is taken.
_WIDTHS = ((60, 48), (44, 32), (24, 24), (12, 16), (8, 12))
_WAITED = "Waited"  # column
_HIDDEN = "a session that you may not see"


class Button(enum.Enum):
    """A close that is offered; ``value`` is its action id."""

    SESSION = CLOSE_SESSION
    QUERY = CLOSE_QUERY


@dataclass(frozen=True, slots=True)
class Advised:
    """A blockage with what is advised about it; None where it is of somebody whom the reader may not see."""

    blockage: Blockage
    advice: Advice | None


@dataclass(frozen=True, slots=True)
class Open:
    """How many transactions are open, and since when the oldest is."""

    count: int
    oldest: float | None = None  # seconds; None where there is none, or the server does not say
    more: bool = False  # whether there are more than were read


@dataclass(frozen=True, slots=True)
class Locks:
    """The waits that somebody asked for, as far as chains touch what they may see."""

    graph: WaitGraph
    tenants: frozenset[str] | None  # whose sessions are shown, None for all: of others it is told how many there are
    words: str  # what was typed, as it is understood; so typed again it gives the same
    advised: tuple[Advised, ...] = ()  # the worst first, ``MOST`` at most
    left: int = 0  # blockages that are not among them
    open: Open | None = None  # None where it was not asked for, or could not be read
    tenant: str | None = None  # that was asked for

    def shows(self, one: Session | Prepared) -> bool:
        """Whether anything of it is shown."""
        return self.tenants is None or one.tenant in self.tenants


def locks(found: Locks, notes: Sequence[str] = (), *, disclosure: Disclosure, asker: Asker | None = None) -> Message:
    """Show them; ``notes`` are sentences on how the input was understood, ``asker`` is whose view all see."""
    graph = found.graph
    above: list[kit.Block] = [
        components.header(f"Locks on {graph.source}"),
        components.lines(
            [components.code(cut(visible(f"/sessions locks {found.words}"), _COMMAND))], *components.notes(notes)
        ),
    ]
    for number, one in enumerate(found.advised, 1):
        above += _blockage(found, number, one, disclosure)
    if not graph.waits:
        above.append(components.lines([components.plain(nothing(found))]))
    below = [
        components.context(*_below(found), *components.seen_by(asker), *components.caveats(graph.lacks)),
        kit.actions(
            [kit.button("Refresh", action_id=REFRESH, value=found.words)], block_id=Asker.block("locks.browse", asker)
        ),
    ]
    text = top_level(f"Locks on {graph.source}: {_in_words(found)}")
    if not graph.waits:
        return Message(text, [*above, *below])
    room = _CHARACTERS - _characters([*above, *below])
    chains = _Chains.of(found, disclosure)
    fallback = [*above, *components.preformatted(chains.text(room), block_id="locks.text"), *below]
    return Message(text, [*above, chains.table(room), *below], fallback=fallback)


def nothing(found: Locks) -> str:
    """Say that nobody waits, and what is open meanwhile."""
    where = f" of tenant {wording.name(found.tenant)}" if found.tenant else ""
    said = f"No session{where} waits for another one."
    if found.graph.lacks:
        said = f"No wait{where} is seen here, though not all can be read: the small print says why."
    if found.open is None:
        return said
    if not found.open.count:
        return f"{said} No transaction is open."
    several = found.open.count > 1
    count = f"{'At least ' if found.open.more else ''}{found.open.count:,} transaction{'s are' if several else ' is'}"
    oldest = found.open.oldest
    age = "" if oldest is None else f"{', the oldest' if several else ''} for {wording.seconds(oldest)}"
    return f"{said} {count} open{age}: /sessions transactions lists them."


def holder_buttons(who: Session | Prepared, advice: Advice) -> list[kit.Element]:
    """Buttons for a session: the close that is advised first, and no close that would not help; then its details."""
    if not isinstance(who, Session):
        return []
    reference = str(SessionReference.of(who))
    labels = {Button.SESSION: f"Close Session {who.id}", Button.QUERY: f"Close Query {who.id}"}
    closes = () if who.own else _CLOSES.get(advice.action, ())
    buttons = [kit.button(labels[one], action_id=one.value, value=reference) for one in closes]
    return [*buttons, kit.button(f"Details {who.id}", action_id=DETAILS, value=reference)]


def advised(who: Session | Prepared, advice: Advice) -> components.Line:
    """Say what to do about it, and why."""
    what = advice.action.value
    if isinstance(who, Session) and advice.action in _CLOSES:
        what = f"{what} {who.id}"
    what += ", perhaps" if advice.guessed else ""
    more = "".join(f" {cut(visible(text), _PAST)}" for text in (advice.then, advice.past) if text)
    return [components.bold(f"{what}. "), components.plain(f"{cut(visible(advice.reason), _REASON)}{more}")]


def held_up(behind: Sequence[Session], shows: Callable[[Session], bool]) -> str:
    """Say how many sessions are held up, and how many of these may not be seen."""
    hidden = sum(not shows(one) for one in behind)
    count = f"{len(behind):,} session{'' if len(behind) == 1 else 's'}"
    if not hidden:
        return count
    return f"{count} that you may not see" if hidden == len(behind) else f"{count}, {hidden:,} that you may not see"


def called(who: Session | Prepared, shows: Callable[[Session | Prepared], bool]) -> str:
    """Name a session or a prepared transaction; one that may not be seen has no name."""
    if not shows(who):
        return _HIDDEN
    if isinstance(who, Session):
        return f"session {who.id}" + (" (the bot's own)" if who.own else "")
    named = f" {cut(visible(who.xid), 60)}" if who.xid else ""
    return f"prepared XA transaction{named} (id {who.transaction.id or '-'})"


def waited_for(wait: Wait) -> str:
    """Say for what somebody waits: the kind, and the table where it is known."""
    return wait.kind.value + (f" on {cut(visible(wait.what), 60)}" if wait.what else "")


# Where a query is to be closed, closing its session helps as well; where a session is, closing its query would not.
_CLOSES = {Action.CLOSE_SESSION: (Button.SESSION,), Action.CLOSE_QUERY: (Button.QUERY, Button.SESSION)}


def _blockage(found: Locks, number: int, one: Advised, disclosure: Disclosure) -> list[kit.Block]:
    blockage = one.blockage
    title = [components.bold(f"{number}. {_who_holds_up(found, blockage)}"), components.plain(_for_what(blockage))]
    who = blockage.who
    if one.advice is None:
        return [kit.divider(), components.lines(title)]
    rows: list[components.Line] = [title, [components.plain(_about(blockage)), *advised(who, one.advice)]]
    if isinstance(who, Session):
        rows += _session(who, disclosure)
    buttons = holder_buttons(who, one.advice)
    return [kit.divider(), components.lines(*rows), *([kit.actions(buttons)] if buttons else [])]


def _who_holds_up(found: Locks, blockage: Blockage) -> str:
    count = held_up(blockage.behind, found.shows)
    if blockage.circle:
        ids = [str(each.id) for each in blockage.circle[:_CIRCLE] if found.shows(each)]
        more = len(blockage.circle) - len(ids)
        named = ", ".join([*ids, *([f"{more} more"] if more else [])])
        return f"A circle of {len(blockage.circle)} sessions ({named}) holds up {count}"
    if not blockage.named:
        wait = "waits" if len(blockage.behind) == 1 else "wait"
        return f"{count[0].upper()}{count[1:]} {wait} for a holder that is not named"
    verb = "may hold up" if blockage.candidate else "holds up"
    who = called(blockage.who, found.shows)
    waits = " waits itself, and" if blockage.waiting else ""
    return f"{who[0].upper()}{who[1:]}{waits} {verb} {count}"


def _for_what(blockage: Blockage) -> str:
    longest = f", the longest for {wording.seconds(blockage.longest)}" if blockage.longest is not None else ""
    kinds = list(dict.fromkeys(waited_for(wait) for wait in blockage.waits))
    more = f" and {len(kinds) - 2} more" if len(kinds) > 2 else ""
    candidate = " · a candidate: the server does not name the holder" if blockage.candidate else ""
    return f"{longest} · {', '.join(kinds[:2])}{more}{candidate}"


def _about(blockage: Blockage) -> str:
    """Say of whom advice is where the title does not, or under which condition it holds."""
    if blockage.candidate:
        return "If that is who holds it: "
    who = blockage.who
    return f"Session {who.id}: " if isinstance(who, Session) and (blockage.circle or not blockage.named) else ""


def _session(session: Session, disclosure: Disclosure) -> Iterator[components.Line]:
    client = [("User", session.client.user or "-"), ("Source", session.client.origin or "-")]
    place = [
        ("Database Name", session.database or "-"),
        ("Tenant", session.tenant or ""),
        ("observer", session.observer),
    ]
    yield components.facts([*client, *((label, value) for label, value in place if value)], 60)
    yield components.facts([("Status", _doing(session)), ("Transaction", _transaction(session))], 120)
    last = session.last_statement
    if session.running and session.statement is not None:
        yield [components.bold("Runs "), components.code(wording.sql_line(session.statement, _SQL, disclosure))]
    elif last is not None:
        ran = f"Ran last, {wording.seconds(last.ago)} ago "
        yield [components.bold(ran), components.code(wording.sql_line(last.statement, _SQL, disclosure))]


def _doing(session: Session) -> str:
    if session.idle:
        return f"{session.state}, idle for {wording.seconds(session.time)}"
    said = [wording.status(session), *([wording.waits(session)] if session.waits else [])]
    return f"{', '.join(said)}, for {wording.lasts(session)}"


def _transaction(session: Session) -> str:
    transaction = session.transaction
    state = wording.transaction_state(session)
    if transaction is None:
        return state
    said = [state]
    if transaction.age is not None:
        said.append(f"open for {wording.seconds(transaction.age)}")
    if transaction.rows_changed:
        said.append(f"{transaction.rows_changed:,} rows changed")
    return ", ".join(said)


def _below(found: Locks) -> list[str]:
    graph, said = found.graph, []
    if found.left:
        said.append(f"and {found.left:,} more that hold up others, in the table as far as it goes")
    if graph.dropped:
        said.append(f"{graph.dropped:,} waits ended while they were read")
    return [" · ".join([*said, f"as of {wording.moment(graph.as_of)}"])]


def _in_words(found: Locks) -> str:
    """Say the worst and what to do about it: a phone's notification shows nothing else. No SQL."""
    if not found.advised:
        return f"{nothing(found)} As of {wording.utc(found.graph.as_of)}"
    first = found.advised[0]
    said = f"{_who_holds_up(found, first.blockage)}{_for_what(first.blockage)}. "
    who = first.blockage.who
    if first.advice is not None and isinstance(who, Session) and first.blockage.named and not first.blockage.circle:
        of = f"{wording.name(who.client.user)} from {wording.name(who.client.origin)}, {wording.name(who.state)}"
        said += f"It is {of} for {wording.lasts(who)}. "
    if first.advice is not None:
        said += _about(first.blockage) + "".join(piece["text"] for piece in advised(who, first.advice))
    more = len(found.advised) - 1 + found.left
    others = "candidates" if first.blockage.candidate else "more"
    return cut(f"{cut(said, 3 * _IN_TEXT)}{f' And {more} {others} below.' if more else ''}", 4 * _IN_TEXT)


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of the table; ``count`` sessions stand in it."""

    depth: int
    link: Link | None  # None: of several, or of those that are left out
    name: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class _Chains:
    """All chains as lines of a table."""

    found: Locks
    rows: tuple[_Row, ...]
    left: int  # sessions that are not in it
    disclosure: Disclosure

    @classmethod
    def of(cls, found: Locks, disclosure: Disclosure) -> _Chains:
        """Lay them out, each chain with its share of the lines."""
        chains: list[list[_Row]] = []
        for link in found.graph.chains():
            if link.depth == 0:
                chains.append([])
            _add(chains[-1], link, found)
        rows, left = [], 0
        for chain, share in zip(chains, _shares([len(chain) for chain in chains], _ROWS), strict=True):
            kept = chain if share >= len(chain) else chain[: share - 1] if share > 1 else []
            rest = sum(row.count for row in chain[len(kept) :])
            rows += kept
            if rest and kept:
                rows.append(_Row(1, None, f"and {rest:,} more"))
            else:
                left += rest
        return cls(found, tuple(rows), left, disclosure)

    def table(self, room: int) -> kit.Block:
        """Return the table block, in so many characters."""
        number = len(self.rows)
        while True:
            for widths in _WIDTHS:
                cells = self._cells(widths, number)
                if number <= 1 or sum(len(cell) for row in cells for cell in row) <= room:
                    return kit.table(
                        cells, "locks.table", [kit.RIGHT if one == _WAITED else kit.LEFT for one in cells[0]]
                    )
            number -= 1

    def text(self, room: int) -> str:
        """Return the same as text."""
        number = len(self.rows)
        while True:
            for widths in _WIDTHS:
                head, *rows = self._cells(widths, number)
                text = tabulate(rows, headers=head, disable_numparse=True)
                if number <= 1 or len(text) <= room:
                    return text
            number -= 1

    def _cells(self, widths: tuple[int, int], number: int) -> list[list[str]]:
        shown = (wait.waiter for wait in self.found.graph.waits if self.found.shows(wait.waiter))
        several = len({one.tenant for one in shown}) > 1
        head = ["Session ID", "Waits for", _WAITED, "User", *(["Tenant"] if several else []), "Source", "Status", "SQL"]
        rows = [self._row(row, widths, several) for row in self.rows[:number]]
        left = self.left + sum(row.count for row in self.rows[number:])
        if left:
            rows.append([f"and {left:,} more", *["-"] * (len(head) - 1)])
        return [head, *rows]

    def _row(self, row: _Row, widths: tuple[int, int], several: bool) -> list[str]:
        sql, width = widths
        deep = row.depth > _ARROWS
        name = f"{f'↳ ({row.depth}) ' if deep else '↳ ' * row.depth}{row.name}"
        link = row.link
        wait = link.wait if link is not None else None
        session = link.who if link is not None and isinstance(link.who, Session) else None
        cells = [self._what(wait), wording.seconds(wait.waited) if wait is not None and wait.waited is not None else ""]
        if session is None or link is None or link.cycle:
            cells += [""] * (4 + several)
        else:
            cells += [session.client.user, *([session.tenant or ""] if several else []), session.client.origin]
            cells += [f"{wording.status(session)}, {wording.lasts(session)}"]
            cells += [wording.sql_line(session.statement, sql, self.disclosure)]
        limits = [*(width for _ in cells[1:]), sql]
        return [name, *(cut(visible(cell).strip(), most) or "-" for cell, most in zip(cells, limits, strict=True))]

    def _what(self, wait: Wait | None) -> str:
        if wait is None:
            return ""
        holders = len(self.found.graph.holders(wait.waiter))
        if wait.candidate:
            return f"{waited_for(wait)}, {holders} candidate{'s' if holders > 1 else ''}"
        return f"{waited_for(wait)}{f', {holders} holders' if holders > 1 else ''}"


def _add(chain: list[_Row], link: Link, found: Locks) -> None:
    """Add a line; those that may not be seen and stand beside each other make one."""
    who = link.who
    if who is not None and not found.shows(who):
        last = chain[-1] if chain else None
        if last is not None and last.link is None and last.depth == link.depth:
            chain[-1] = _Row(link.depth, None, f"{last.count + 1:,} sessions that you may not see", last.count + 1)
        else:
            chain.append(_Row(link.depth, None, _HIDDEN))
        return
    if who is None:
        chain.append(_Row(link.depth, link, "holder not named", 0))
    elif isinstance(who, Prepared):
        chain.append(_Row(link.depth, link, f"prepared XA {who.transaction.id or '-'}", 0))
    else:
        waits = found.graph.waiters(who)
        candidate = ", a candidate" if link.depth == 0 and waits and all(one.candidate for one in waits) else ""
        back = "back to " if link.cycle else ""
        chain.append(_Row(link.depth, link, f"{back}{who.id}{candidate}", 0 if link.cycle else 1))


def _shares(lengths: Sequence[int], lines: int) -> list[int]:
    """Share lines out, so that a long chain leaves room for the others.

    >>> _shares([2, 200, 3], 30), _shares([40, 40], 30), _shares([1] * 4, 2)
    ([2, 25, 3], [15, 15], [1, 1, 0, 0])
    """
    shares = [0] * len(lengths)
    left = lines
    while left and any(share < length for share, length in zip(shares, lengths, strict=True)):
        for at, length in enumerate(lengths):
            if left and shares[at] < length:
                shares[at] += 1
                left -= 1
    return shares


def _characters(value: object) -> int:
    """Count what Slack counts: every text."""
    if isinstance(value, list):
        return sum(map(_characters, value))
    if isinstance(value, dict):
        own = len(value["text"]) if isinstance(value.get("text"), str) else 0
        return own + sum(_characters(entry) for entry in value.values() if not isinstance(entry, str))
    return 0
