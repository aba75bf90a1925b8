"""A table by its columns, whose cells are cut until all of it fits: as a block of Slack's, and as text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from tabulate import tabulate

from bot.sessions.masking import cut
from bot.sessions.statement import Disclosure
from bot.slack.escaping import visible
from bot.slack.views import blocks as kit
from bot.slack.views import components

SQL = "SQL"  # the label of the column whose cells have a width of their own

# Slack allows 10,000 in all cells and refuses messages from about 13,200 in all (docs/slack.md 2.1 and 2.2).
_CHARACTERS = 8_600

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Column(Generic[_T]):
    """One column: its label, and how a row fills it with so much disclosed, in so many characters of SQL."""

    label: str
    cell: Callable[[_T, Disclosure, int], str]
    number: bool = False  # aligned to the right
    cuttable: bool = True


@dataclass(frozen=True, slots=True)
class Table(Generic[_T]):
    """Rows in columns.

    ``widths`` are characters of the SQL cell and of any other cell; the first pair that fits is taken.
    """

    name: str  # begins its block ids
    columns: Sequence[Column[_T]]
    rows: Sequence[_T]
    widths: Sequence[tuple[int, int]]
    disclosure: Disclosure

    def block(self) -> kit.Block:
        """Return it as Slack's table."""
        cells: list[list[str]] = []
        for widths in self.widths:
            cells = self._cells(*widths)
            if sum(len(cell) for row in cells for cell in row) <= _CHARACTERS:
                break
        settings = [kit.RIGHT if column.number else kit.LEFT for column in self.columns]
        return kit.table([[column.label for column in self.columns], *cells], f"{self.name}.table", settings)

    def text(self) -> list[kit.Block]:
        """Return the same as text."""
        text = ""
        for widths in self.widths:
            text = tabulate(
                self._cells(*widths),
                headers=[column.label for column in self.columns],
                disable_numparse=True,
                colalign=["right" if column.number else "left" for column in self.columns],
            )
            if len(text) <= _CHARACTERS:
                break
        return components.preformatted(text, block_id=f"{self.name}.text")

    def _cells(self, sql: int, other: int) -> list[list[str]]:
        return [[self._cell(row, column, sql, other) for column in self.columns] for row in self.rows]

    def _cell(self, row: _T, column: Column[_T], sql: int, other: int) -> str:
        text = visible(column.cell(row, self.disclosure, sql)).strip() or "-"
        return cut(text, sql if column.label == SQL else other) if column.cuttable else text
