"""The answer to ``/sessions sources``: each data source with its health, and what its login may do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from tabulate import tabulate

from bot.sessions.details import Reach
from bot.sessions.masking import cut
from bot.sessions.source_health import SourceHealth
from bot.slack.delivery.message import Message
from bot.slack.escaping import top_level, visible
from bot.slack.views import blocks as kit
from bot.slack.views import components, wording

_HEADER = ("Data source", "Answers", "Sessions", "Active", "Kind", "View", "Sees", "May close")
_NUMBERS = (2, 3)  # columns that are aligned to the right
_CELL = 40  # characters
_SHOWN = 30  # data sources; with more of them Slack refuses the message (docs/slack.md 2.2)
_SENTENCES, _SENTENCE = 8, 400  # problems and caveats under the table, and characters of each


def sources(found: Sequence[SourceHealth], as_of: datetime) -> Message:
    """Show the data sources in the order given."""
    rows = [[cut(visible(cell).strip(), _CELL) or "-" for cell in _row(one)] for one in found[:_SHOWN]]
    failing = sum(1 for one in found if one.problem)
    does = "does" if failing == 1 else "do"
    summary = f"{len(found)} data sources, {failing} of them {does} not answer" if failing else _all_well(len(found))
    under = [
        *_sentences(found),
        components.context(
            f"{summary} · as of {wording.moment(as_of)} · sessions are those that you may see",
            *([f"Only the first {_SHOWN} are shown."] if len(found) > _SHOWN else []),
        ),
    ]
    above = components.header("Data sources")
    return Message(
        top_level(f"Data sources: {summary}"),
        [above, _table(rows), *under],
        fallback=[above, *components.preformatted(tabulate(rows, headers=_HEADER, disable_numparse=True)), *under],
    )


def _all_well(number: int) -> str:
    return "1 data source, it answers" if number == 1 else f"{number} data sources, all answer"


def _row(one: SourceHealth) -> tuple[str, ...]:
    if one.problem:
        return (one.name, "no", "-", "-", "-", "-", "-", "-")
    return (
        one.name,
        "-" if one.milliseconds is None else f"in {one.milliseconds:.0f} ms",
        f"{one.total or 0:,}",
        f"{one.active or 0:,}",
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
        Reach.TENANT: f"tenant {tenant}",
        Reach.OWN: "its own only",
    }[reach]


def _table(rows: Sequence[Sequence[str]]) -> kit.Block:
    settings = [kit.RIGHT if number in _NUMBERS else kit.LEFT for number in range(len(_HEADER))]
    return kit.table([_HEADER, *rows], "sessions.sources", settings)


def _sentences(found: Sequence[SourceHealth]) -> list[kit.Block]:
    rows = [
        [components.bold(cut(visible(one.name), _CELL)), components.plain(f"  ⚠️ {cut(visible(sentence), _SENTENCE)}")]
        for one in found
        for sentence in ([one.problem] if one.problem else one.caveats)
    ]
    return [components.lines(*rows[:_SENTENCES])] if rows else []
