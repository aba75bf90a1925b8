"""What was measured: tables of numbers and targets, as text and as Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Line:
    """One row: its numbers by column. Without numbers ``note`` says why."""

    what: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """What one part measured, and in a few words how."""

    title: str
    how: str
    lines: Sequence[Line]

    @property
    def columns(self) -> list[str]:
        """The columns in the order in which they first appear."""
        return list(dict.fromkeys(column for line in self.lines for column in line.numbers))


@dataclass(frozen=True, slots=True)
class Target:
    """A promise: what is wanted, what was measured, and whether that is good enough."""

    what: str
    wanted: str
    got: str
    met: bool


@dataclass(slots=True)
class Report:
    """Everything that was measured so far."""

    tables: list[Table] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)

    def add(self, table: Table) -> None:
        """Keep a table."""
        self.tables.append(table)

    def at_most(self, what: str, got: float, most: float, unit: str) -> None:
        """Keep a target that is met by a number not above ``most``."""
        self.targets.append(Target(what, f"≤ {shown(most)} {unit}", f"{shown(got)} {unit}", got <= most))


def shown(number: float) -> str:
    """A number with three digits that count, no less than its whole part."""
    if number >= 100:
        return f"{number:,.0f}"
    return f"{number:.1f}" if number >= 10 else f"{number:.2f}"


def markdown(table: Table) -> str:
    """A table with its heading."""
    noted = any(line.note for line in table.lines)
    head = ["", *table.columns, *([""] if noted else [])]
    rows = [
        [line.what, *(shown(line.numbers[c]) if c in line.numbers else "-" for c in table.columns)]
        + ([line.note] if noted else [])
        for line in table.lines
    ]
    rule = ["---", *("---:" for _ in table.columns), *(["---"] if noted else [])]
    body = "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))
    return f"## {table.title}\n\n{table.how}\n\n{body}\n"


def targets_markdown(targets: Sequence[Target]) -> str:
    """The targets, met or missed."""
    rows = map(_row, targets)
    return "\n".join(["## Targets", "", "| | wanted | measured | |", "| --- | --- | --- | --- |", *rows]) + "\n"


def _row(target: Target) -> str:
    return f"| {target.what} | {target.wanted} | {target.got} | {'met' if target.met else '**missed**'} |"


def merged(page: str, report: Report, when: str) -> str:
    """Put what was measured anew into a page in the place of what it has of that; ``when`` says so in each table."""
    for table in report.tables:
        section = re.compile(rf"^## {re.escape(table.title)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
        new = markdown(replace(table, how=f"{table.how} {when}"))
        page = section.sub(lambda _, new=new: f"{new}\n", page) if section.search(page) else f"{page}\n{new}"  # type: ignore[misc]
    for target in report.targets:
        row = re.compile(rf"^\| {re.escape(target.what)} \|.*$", re.MULTILINE)
        if len(row.findall(page)) == 1:  # some are of each server, and do not say of which
            page = row.sub(lambda _, target=target: _row(target), page)  # type: ignore[misc]
    return page.rstrip() + "\n"
