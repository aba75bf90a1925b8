"""The answer to ``/sessions sources``: each data source with its health, and what its login may do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from tabulate import tabulate

from bot.sessions.details import Reach
from bot.sessions.masking import cut
from bot.sessions.source_health import SourceHealth
from bot.slack.delivery.message import Message
from bot.slack.escaping import top_level, visible
from bot.slack.views import blocks as kit
from bot.slack.views import components, wording

_HEADER = ("Data source", "Answers", "Sessions", "Active", "Waiting", "Kind", "View", "Sees", "May close")
_NUMBERS = (2, 3, 4)  # columns that are aligned to the right
_CELL = 40  # characters
_ROOM = 12_400  # characters of all that is shown; with more of them Slack refuses the message (docs/slack.md 2.2)
_ROWS, _CELLS = 99, 9_600  # rows under the heading, and characters of all cells; same
_SAID = 7_000  # characters of all sentences under the table
_SENTENCE, _SHORTEST = 400, 40  # characters of one, and of one of very many
_CAVEATS = 8  # that are told of data sources that answer
_NAMES = 1_500  # characters of the names of those for whose sentence there is no room


def sources(found: Sequence[SourceHealth], as_of: datetime) -> Message:
    """Show the data sources, those first that do not answer: each of them is named, with why as far as Slack takes it.

    The others stand in the order given.
    """
    ordered = sorted(found, key=lambda one: 0 if one.problem else 1 if one.pending else 2)
    said, room = _sentences(ordered)
    rows = [[cut(visible(cell).strip(), _CELL) or "-" for cell in _row(one)] for one in ordered[:_ROWS]]
    shown = _fitting(rows, lambda some: sum(len(cell) for row in some for cell in row), min(_CELLS, room))
    above = components.header("Data sources")
    summary = _summary(found)

    def under(left_out: int) -> list[kit.Block]:
        more = [f"{left_out} that answer are not in the table."] if left_out else []
        seen = f"{summary} · as of {wording.moment(as_of)} · sessions are those that you may see"
        return [*said, components.context(seen, *more)]

    def plainer() -> list[kit.Block]:
        some = _fitting(rows, lambda some: len(_as_text(some)), min(_CELLS, room))
        return [above, *components.preformatted(_as_text(some)), *under(len(found) - len(some))]

    return Message(
        top_level(f"Data sources: {summary}"), [above, _table(shown), *under(len(found) - len(shown))], fallback=plainer
    )


def _summary(found: Sequence[SourceHealth]) -> str:
    failing, pending = sum(1 for one in found if one.problem), sum(1 for one in found if one.pending)
    if not failing and not pending:
        return _all_well(len(found))
    does = "does" if failing == 1 else "do"
    return ", ".join(
        (
            f"{len(found)} data sources" if len(found) > 1 else "1 data source",
            *([f"{failing} of them {does} not answer"] if failing else []),
            *([f"{pending} not yet (this message is updated)"] if pending else []),
        )
    )


def _as_text(rows: Sequence[Sequence[str]]) -> str:
    return tabulate(rows, headers=_HEADER, disable_numparse=True)


def _fitting(
    rows: Sequence[Sequence[str]], size: Callable[[Sequence[Sequence[str]]], int], most: int
) -> Sequence[Sequence[str]]:
    """Return as many of the first rows as have no more than so many characters."""
    while rows and size(rows) > most:
        rows = rows[: len(rows) * 9 // 10]
    return rows


def _all_well(number: int) -> str:
    return "1 data source, it answers" if number == 1 else f"{number} data sources, all answer"


def _row(one: SourceHealth) -> tuple[str, ...]:
    if one.problem:
        return (one.name, "no", "-", "-", "-", "-", "-", "-", "-")
    if one.pending:
        return (one.name, "not yet", "-", "-", "-", "-", "-", "-", "-")
    return (
        one.name,
        "-" if one.milliseconds is None else f"in {one.milliseconds:.0f} ms",
        f"{one.total or 0:,}",
        f"{one.active or 0:,}",
        "-" if one.waiting is None else f"{one.waiting:,}",
        one.kind,
        one.view,
        _reach(one.sees, one.tenant),
        _reach(one.closes, one.tenant),
    )


def _reach(reach: Reach | None, tenant: str | None) -> str:
    if reach is None:
        return "-"
    return {
        Reach.ALL: "any session" if tenant is None else "all tenants",
        Reach.MOST: "any session but those of accounts with SYSTEM_USER",
        Reach.TENANT: f"tenant {tenant}",
        Reach.OWN: "its own only",
    }[reach]


def _table(rows: Sequence[Sequence[str]]) -> kit.Block:
    settings = [kit.RIGHT if number in _NUMBERS else kit.LEFT for number in range(len(_HEADER))]
    return kit.table([_HEADER, *rows], "sessions.sources", settings)


def _sentences(found: Sequence[SourceHealth]) -> tuple[list[kit.Block], int]:
    """Why data sources do not answer and what the others do not show; and the characters left for the table."""
    ill = [one for one in found if one.problem]
    most = max(_SHORTEST, min(_SENTENCE, _SAID // max(1, len(ill)) - _CELL))
    sentences = [(one.name, cut(visible(one.problem), most)) for one in ill]
    caveats = [(one.name, cut(visible(text), _SENTENCE)) for one in found if not one.problem for text in one.caveats]
    rows: list[components.Line] = []
    left = _SAID
    for name, sentence in [*sentences, *caveats[:_CAVEATS]]:
        left -= len(name) + len(sentence)
        if left < 0:
            break
        rows.append([components.bold(cut(visible(name), _CELL)), components.plain(f"  ⚠️ {sentence}")])
    unsaid = [cut(visible(one.name), _CELL) for one in ill[len(rows) :]]
    if unsaid:
        rows.append([components.plain(f"⚠️ These do not answer either: {_names(unsaid)}")])
    used = sum(len(piece["text"]) for row in rows for piece in row)
    return [components.lines(*rows)] if rows else [], _ROOM - used


def _names(names: Sequence[str]) -> str:
    shown = list(names)
    while len(", ".join(shown)) > _NAMES:
        shown.pop()
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return ", ".join(shown) + more
