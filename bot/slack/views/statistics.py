"""The answer to ``/sessions stats``: OCP's three numbers, a table by user, source, database …, and a chart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tabulate import tabulate

from bot.sessions.masking import cut
from bot.sessions.model import Condition, Operator, SessionQuery
from bot.sessions.statement import Disclosure
from bot.sessions.statistics import Group, Grouping, Statistics
from bot.slack.arguments.session_query import describe
from bot.slack.delivery.message import Message
from bot.slack.escaping import top_level, visible
from bot.slack.session_reference import Asker
from bot.slack.views import blocks as kit
from bot.slack.views import components, wording

# action ids
REFRESH = "statistics.refresh"
OPEN = "statistics.open"
BY = {by: f"statistics.by_{by.value.replace('-', '_')}" for by in Grouping}

_LABELS = {
    Grouping.USER: "User",
    Grouping.SOURCE: "Source",
    Grouping.DATABASE: "Database Name",
    Grouping.SQL_ID: "SQL ID",
    Grouping.TENANT: "Tenant",
}
_OPTION_VALUE = 150  # characters (docs/slack.md 2.2)
_LABEL = 20  # characters of a label in a chart
_NAME = 60
_SQL = 80


def statistics(
    found: Statistics, notes: Sequence[str], *, disclosure: Disclosure, asker: Asker | None = None
) -> Message:
    """Show the numbers; ``notes`` are sentences on how the input was understood, ``asker`` is whose view all see."""
    above: list[kit.Block] = [
        components.header(f"Session statistics of {found.source}"),
        components.lines([components.code(cut(visible(_command(found)), 1_200))], *components.notes(notes)),
        components.lines(components.facts(_numbers(found))),
    ]
    said = [_footer(found), *components.seen_by(asker)]
    below: list[kit.Block] = [components.context(*said, *components.caveats(found.caveats))]
    opens = _open(found)
    below += [*([opens] if opens else []), _buttons(found, asker)]
    text = f"Session statistics of {top_level(found.source)}: {found.total:,} sessions, {found.active:,} active"
    if found.waiting:
        text += f", {found.waiting:,} waiting for a lock"
    if not found.groups:
        nothing = "No query runs now." if found.by is Grouping.SQL_ID and found.total else "No session fits that."
        return Message(text, [*above, components.lines([components.plain(nothing)]), *below])
    columns, rows = _rows(found, disclosure=disclosure)
    as_text = [*above, *_text_table(columns, rows), *below]
    if found.query.text:
        return Message(text, as_text)
    chart = _chart(found, [row[0] for row in rows])
    return Message(text, [*above, chart, _table(columns, rows), *below], fallback=as_text)


def _command(found: Statistics) -> str:
    return " ".join(filter(None, ("/sessions stats", value(found.query, found.by))))


def value(query: SessionQuery, by: Grouping) -> str:
    """Write the query as its command and its buttons carry it."""
    return f"{describe(query)} by={by.value}".strip()


def _numbers(found: Statistics) -> list[tuple[str, str]]:
    return [
        ("Total Sessions", f"{found.total:,}"),
        ("Active Sessions", f"{found.active:,}"),
        ("Waiting for a lock", f"{found.waiting:,}{_at_least(found)}"),
        ("Longest active", wording.seconds(found.longest_active) if found.active else "-"),
    ]


def _at_least(found: Statistics) -> str:
    return " (those for a row lock are not known here)" if found.untold else ""


def _footer(found: Statistics) -> str:
    shown = f"{len(found.groups):,} shown of {found.names:,}, the most active first · " if found.names else ""
    calls = ""
    if any(group.in_routines for group in found.groups):
        calls = " · for a statement in a routine the times are the whole call's"
    return f"{shown}as of {wording.moment(found.as_of)}{calls}"


def _rows(found: Statistics, *, disclosure: Disclosure) -> tuple[list[str], list[list[str]]]:
    name = _LABELS[found.by]
    if found.by is not Grouping.SQL_ID:
        rows = [[_name(group), f"{group.active:,}", f"{group.total:,}"] for group in found.groups]
        return [name, "Active", "Total"], rows
    # The SQL first: on a phone the last columns are out of sight.
    columns = ["SQL", "Active", "Total", "Shortest (s)", "Average (s)", "Longest (s)", name]
    return columns, [
        [
            wording.sql_line(group.statement, _SQL, disclosure) or "-",
            f"{group.active:,}",
            f"{group.total:,}",
            *(f"{seconds:.1f}" for seconds in (group.shortest, group.average, group.longest)),
            _name(group),
        ]
        for group in found.groups
    ]


def _name(group: Group) -> str:
    return cut(visible(group.name).strip(), _NAME) or "-"


def _left(column: str) -> bool:
    return column == "SQL" or column in _LABELS.values()


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> kit.Block:
    settings = [kit.LEFT if _left(column) else kit.RIGHT for column in columns]
    return kit.table([columns, *rows], "statistics.table", settings)


def _text_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[kit.Block]:
    align = ["left" if _left(column) else "right" for column in columns]
    text = tabulate(rows, headers=columns, disable_numparse=True, colalign=align)
    return components.preformatted(text, block_id="statistics.text")


def _chart(found: Statistics, names: Sequence[str]) -> kit.Block:
    labels: list[str] = []
    for name in names:
        label, number = cut(name, _LABEL), 1
        while label in labels:  # Slack wants each once
            number += 1
            label = f"{name[: _LABEL - 4].rstrip()} {number}"
        labels.append(label)
    counts = {
        "Active": [group.active for group in found.groups],
        "Other": [group.total - group.active for group in found.groups],
    }
    return kit.bar_chart(f"Sessions by {_LABELS[found.by]}", labels, counts, "Sessions", "statistics.chart")


def _open(found: Statistics) -> kit.Block | None:
    """A menu whose entries open the list of a group; an entry holds the whole query, so that it must be short."""
    options: list[kit.Option] = []
    for group in found.groups:
        query = describe(_of_group(found, group))
        if len(query) <= _OPTION_VALUE and query not in (option["value"] for option in options):
            name = wording.sql_line(group.statement, 40, Disclosure.DIGEST) or _name(group)
            label = cut(visible(f"{name} · {group.total:,}, {group.active:,} active"), 75)
            options.append(kit.option(label, query))
    if not options:
        return None
    menu = kit.static_select(OPEN, options, f"Open the list of one {_LABELS[found.by]}")
    # A new block id each time: Slack keeps a menu's choice with its block.
    return kit.actions([menu], block_id=f"statistics.{found.as_of.timestamp():.6f}")


def _of_group(found: Statistics, group: Group) -> SessionQuery:
    field = found.by.field
    others = tuple(condition for condition in found.query.filter.conditions if condition.field is not field)
    exactly = Condition(field, Operator.EXACTLY, (group.name or "-",))
    return replace(found.query, filter=replace(found.query.filter, conditions=(*others, exactly)))


def _buttons(found: Statistics, asker: Asker | None) -> kit.Block:
    buttons: list[kit.Element] = [kit.button("Refresh", action_id=REFRESH, value=value(found.query, found.by))]
    buttons += [
        kit.button(
            f"By {_LABELS[by]}",
            action_id=action_id,
            value=value(found.query, by),
            style="primary" if by is found.by else None,
        )
        for by, action_id in BY.items()
    ]
    return kit.actions(buttons, block_id=Asker.block("statistics.browse", asker))
