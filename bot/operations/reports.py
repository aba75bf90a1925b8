"""What came of trying something, and how it is printed."""

from __future__ import annotations

import enum
import textwrap
from collections.abc import Iterable, Sequence

from bot.slack.escaping import visible

_LABEL = 9  # characters of the first column


class Verdict(enum.Enum):
    """What came of trying something."""

    WORKS = "ok"
    UNTRIED = "untried"  # which is no failure: a bot that runs has all the connections that there may be
    LESS = "less"  # works, with less than there could be
    FAILS = "problem"  # until it is mended
    AWAY = "away"  # and may come back by itself


Report = tuple[Verdict, str]
NOT_WORKING = (Verdict.FAILS, Verdict.AWAY)


def lines(reports: Sequence[Report], width: int | None) -> Iterable[str]:
    """Yield the table of what was tried, what does not work last; lines of a terminal are ``width`` characters long."""
    for wanted in ((Verdict.WORKS,), (Verdict.UNTRIED,), (Verdict.LESS,), NOT_WORKING):
        for verdict, text in reports:
            if verdict in wanted:
                label = Verdict.FAILS if verdict is Verdict.AWAY else verdict
                yield labelled(label.value, text, width)


def labelled(label: str, text: str, width: int | None) -> str:
    """Return one row of the table, broken between words alone, so that ids and keys can be copied."""
    line = f"{label:{_LABEL}}{visible(text)}"
    if width is None:
        return line
    return textwrap.fill(line, width, subsequent_indent=" " * _LABEL, break_long_words=False, break_on_hyphens=False)


def summary(reports: Sequence[Report]) -> str:
    """Say in one sentence what came of all of it."""
    verdicts = {verdict for verdict, _ in reports}
    if verdicts & set(NOT_WORKING):
        return "Not everything works; see above."
    if Verdict.LESS in verdicts:
        return "It works with less than it could; see above."
    return "What could be tried works." if Verdict.UNTRIED in verdicts else "Everything works."


def exit_status(reports: Sequence[Report], *, strict: bool) -> int:
    """Return 1 where something does not work, with ``strict`` also where it works with less, else 0."""
    bad = {*NOT_WORKING, *([Verdict.LESS] if strict else [])}
    return int(any(verdict in bad for verdict, _ in reports))
