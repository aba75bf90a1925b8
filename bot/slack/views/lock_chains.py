"""All chains of waits as one table: whoever waits is indented under whom it waits for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tabulate import tabulate

from bot.sessions.masking import cut
from bot.sessions.model import Session
from bot.sessions.statement import Disclosure
from bot.sessions.waits.graph import Link, Prepared, Wait, WaitGraph
from bot.slack.escaping import visible
from bot.slack.views import blocks as kit
from bot.slack.views import waits, wording

_ROWS = 30
_ARROWS = 6  # by which a line is indented; deeper ones say how deep they are
# Characters of the SQL cell and of any other cell; the first pair that fits is taken.
_WIDTHS = ((60, 48), (44, 32), (24, 24), (12, 16), (8, 12))
_WAITED = "Waited"  # column

Shows = Callable[[Session | Prepared], bool]  # whether anything of it is shown


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of the table; ``count`` sessions stand in it."""

    depth: int
    link: Link | None  # None: of several, or of those that are left out
    name: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class Chains:
    """All chains as lines of a table."""

    graph: WaitGraph
    shows: Shows
    rows: tuple[_Row, ...]
    left: int  # sessions that are not in it
    disclosure: Disclosure

    @classmethod
    def of(cls, graph: WaitGraph, shows: Shows, disclosure: Disclosure) -> Chains:
        """Lay them out, each chain with its share of the lines."""
        chains: list[list[_Row]] = []
        further: list[int] = []  # sessions of each chain that are beyond what the whole table has room for
        for link in graph.chains():
            if link.depth == 0:
                chains.append([])
                further.append(0)
            if len(chains[-1]) > _ROWS:
                further[-1] += _sessions(link, shows)
            else:
                _add(chains[-1], link, graph, shows)
        rows, left = [], 0
        shares = _shares([len(chain) for chain in chains], _ROWS)
        for chain, share, more in zip(chains, shares, further, strict=True):
            kept = chain if share >= len(chain) else chain[: share - 1] if share > 1 else []
            rest = sum(row.count for row in chain[len(kept) :]) + more
            rows += kept
            if rest and kept:
                rows.append(_Row(1, None, f"and {rest:,} more"))
            else:
                left += rest
        return cls(graph, shows, tuple(rows), left, disclosure)

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
        shown = (wait.waiter for wait in self.graph.waits if self.shows(wait.waiter))
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
        holders = len(self.graph.holders(wait.waiter))
        if wait.candidate:
            return f"{waits.waited_for(wait)}, {holders} candidate{'s' if holders > 1 else ''}"
        return f"{waits.waited_for(wait)}{f', {holders} holders' if holders > 1 else ''}"


def _add(chain: list[_Row], link: Link, graph: WaitGraph, shows: Shows) -> None:
    """Add a line; those that may not be seen and stand beside each other make one."""
    who = link.who
    if who is not None and not shows(who):
        last = chain[-1] if chain else None
        if last is not None and last.link is None and last.depth == link.depth:
            chain[-1] = _Row(link.depth, None, f"{last.count + 1:,} sessions that you may not see", last.count + 1)
        else:
            chain.append(_Row(link.depth, None, waits.HIDDEN))
        return
    if who is None:
        chain.append(_Row(link.depth, link, "holder not named", 0))
    elif isinstance(who, Prepared):
        chain.append(_Row(link.depth, link, f"prepared XA {who.transaction.id or '-'}", 0))
    else:
        waiters = graph.waiters(who) if link.depth == 0 else ()
        candidate = ", a candidate" if waiters and all(one.candidate for one in waiters) else ""
        back = "back to " if link.cycle else ""
        chain.append(_Row(link.depth, link, f"{back}{who.id}{candidate}", 0 if link.cycle else 1))


def _sessions(link: Link, shows: Shows) -> int:
    """Count the session of a line as ``_add`` does."""
    who = link.who
    return int(who is not None and (not shows(who) or (isinstance(who, Session) and not link.cycle)))


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
