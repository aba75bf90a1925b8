"""Errors, help and other short messages to one person."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import slackblocks as kit

from bot.errors import InputError, SessionBotError
from bot.sessions.statement import cut
from bot.slack.message import Message
from bot.slack.text import unformatted, visible
from bot.slack.typed import repaired
from bot.slack.views import parts

_SHOWN = 300  # characters of what was typed


def notice(text: str) -> Message:
    """One sentence, shown as it is."""
    return Message(unformatted(text), [parts.lines([parts.plain(text)])])


def failure(error: SessionBotError, error_id: str, typed: str = "") -> Message:
    """Say what went wrong, mark the spot in what was typed, and name the id that is in the log."""
    rows: list[parts.Line] = [[parts.plain("⚠️ " + cut(visible(error.sentence), 2000))]]
    if isinstance(error, InputError):
        if typed:
            rows.append([parts.plain("You typed: "), *_marked(typed, error.spot)])
        if error.example:
            rows.append([parts.plain("For example: "), parts.code(cut(visible(error.example), 2000))])
    return Message(
        "⚠️ " + unformatted(cut(error.sentence, 1000)),
        [parts.lines(*rows), parts.context(f"Error id {error_id}")],
    )


def unexpected(error_id: str) -> Message:
    """Say that the bot itself failed."""
    text = (
        "⚠️ The bot failed at that, and the fault is its own. Whether anything was closed is shown by the card "
        f"of the closing request and by /sessions. Tell whoever runs this bot the error id {error_id}."
    )
    return Message(text, [parts.lines([parts.plain(text)])])


def usage(title: str, explanation: str, examples: Sequence[tuple[str, str]]) -> Message:
    """Help: what a command does and commands that run as they stand."""
    rows = [[parts.code(example), parts.plain("  " + what)] for example, what in examples]
    return Message(
        unformatted(f"{title}: {explanation}"),
        [parts.lines([parts.bold(title)], [parts.plain(explanation)]), parts.lines(*rows)],
    )


def _marked(typed: str, spot: str) -> list[kit.RichText]:
    with contextlib.suppress(InputError):
        typed = repaired(typed)  # as the spot was found, with its quotation marks made plain
    if typed.find(spot) > _SHOWN // 2:
        typed = "…" + typed[typed.find(spot) - _SHOWN // 2 :]
    typed, spot = cut(typed, _SHOWN), spot[: _SHOWN // 3]
    before, found, after = typed.partition(spot) if spot else (typed, "", "")
    if not found:
        return [parts.code(typed)]
    marked = kit.RichText(parts.code(found).text, bold=True, strike=True, code=True)
    return [*([parts.code(before)] if before else []), marked, *([parts.code(after)] if after else [])]
