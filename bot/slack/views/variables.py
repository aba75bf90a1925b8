"""The answer to ``/sessions vars``: variables with their units and what the well-known ones mean."""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate

from bot.sessions.masking import cut, without_secrets
from bot.sessions.variables import Variable, Variables
from bot.slack.delivery.message import Message
from bot.slack.escaping import top_level, visible
from bot.slack.views import blocks as kit
from bot.slack.views import components, wording

_COLUMNS = ("Variable", "Value", "Meaning")
_VALUE = 60
_OWN = "set by the bot for itself"
_PER_SECOND = {"µs": 1_000_000, "ms": 1_000, "s": 1}


def variables(found: Variables, notes: Sequence[str]) -> Message:
    """Show them in a table; ``notes`` are sentences on how the input was understood."""
    which = "Global variables" if found.everywhere else "Variables"
    title = f"{which} of {found.source}" + (f", tenant {wording.name(found.tenant)}" if found.tenant else "")
    whose = _whose(found)
    above: list[kit.Block] = [
        components.header(title),
        components.lines([components.plain(whose)], *components.notes(notes)),
    ]
    footer = components.context(f"{_count(found)} · read only · as of {wording.moment(found.as_of)}")
    text = top_level(f"{title}. {whose}")
    if not found.variables:
        return Message(
            text, [*above, components.lines([components.plain("No variable has a name like that.")]), footer]
        )
    rows = [_row(variable) for variable in found.variables]
    as_text = components.preformatted(tabulate(rows, headers=_COLUMNS, disable_numparse=True))
    return Message(
        text,
        [*above, kit.table([_COLUMNS, *rows], "variables.table"), footer],
        fallback=[*above, *as_text, footer],
    )


def _whose(found: Variables) -> str:
    of = f" of tenant {wording.name(found.tenant)}" if found.tenant else ""
    if not found.everywhere:
        within = f", which is{of}" if of else ""
        own = any(variable.own for variable in found.variables)
        servers = " Where the bot has set one for itself, global has the server's." if own else ""
        return f"These are the variables of the bot's own session{within}; no server shows another session's.{servers}"
    instead = "No server shows another session's, so these are the global ones. " if found.instead else ""
    return f"{instead}Defaults for new sessions{of}; a session may have changed them since."


def _count(found: Variables) -> str:
    shown = len(found.variables)
    if shown == found.matching:
        return f"{shown:,} shown"
    narrow = "narrow with a longer like=" if found.like else "find others with like=, as in /sessions vars like=timeout"
    return f"{shown:,} shown of {found.matching:,}; {narrow}"


def _row(variable: Variable) -> list[str]:
    value = cut(visible(without_secrets(variable.value)).strip(), _VALUE) or "-"
    return [
        cut(visible(variable.name).strip(), _VALUE) or "-",
        _with_unit(value, variable.unit),
        "; ".join(filter(None, (variable.meaning, _OWN if variable.own else ""))) or "-",
    ]


def _with_unit(value: str, unit: str) -> str:
    """10000000 µs is hard to read: say that it is 10 s."""
    if not unit:
        return value
    try:
        number = float(value)
    except ValueError:
        return value
    if number <= 0:
        return f"{value} {unit}"
    if unit == "bytes":
        return f"{value} bytes ({number / 2**20:.4g} MiB)" if number >= 2**20 else f"{value} bytes"
    seconds = number / _PER_SECOND[unit]
    readable = wording.seconds(seconds)
    return f"{value} {unit}" if unit == "s" and seconds < 600 else f"{value} {unit} ({readable})"
