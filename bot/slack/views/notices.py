"""Errors, questions and other short messages."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence

from bot.errors import (
    AlreadyClosedError,
    BudgetError,
    InputError,
    NotAllowedError,
    RequestError,
    SessionBotError,
    SourceOpenError,
)
from bot.sessions.masking import cut
from bot.slack.arguments.normalization import normalize
from bot.slack.delivery.message import Message
from bot.slack.escaping import top_level, visible
from bot.slack.views import blocks as kit
from bot.slack.views import components, wording

CHOOSE_SOURCE = "sessions.choose_source"  # action id
EXTEND_BUDGET = "closing.extend_budget"  # same

_SHOWN = 300  # characters of what was typed
_CHOICES = 20  # buttons; more are named in the sentence


def notice(text: str) -> Message:
    """One sentence, shown as it is."""
    return Message(_text(text), [components.lines([components.plain(cut(visible(text), 2000))])])


def failure(error: SessionBotError, error_id: str, typed: str = "") -> Message:
    """Say what went wrong, mark the spot in what was typed, and name the id that is in the log."""
    rows: list[components.Line] = [[components.plain("⚠️ " + cut(visible(error.sentence), 2000))]]
    if isinstance(error, InputError):
        if typed:
            rows.append([components.plain("You typed: "), *_marked(typed, error.spot)])
        example = f"{typed} on={error.choices[0]}" if isinstance(error, SourceOpenError) and typed else error.example
        if example:
            rows.append([components.plain("For example: "), components.code(cut(visible(example), 2000))])
    first = f"{wording.mention(error.first)} was first. " if isinstance(error, RequestError) and error.first else ""
    if isinstance(error, AlreadyClosedError) and error.by and error.at is not None:
        first = f"{wording.mention(error.by)} closed it at {wording.moment(error.at)}. "
    who = where = ""
    if isinstance(error, NotAllowedError):
        who = f"{_who(error.who)} " if error.who else ""
        where = f"Ask in {', '.join(map('<#{}>'.format, error.channels[:_CHOICES]))}. " if error.channels else ""
    return Message(
        "⚠️ " + _text(error.sentence),
        [components.lines(*rows), components.context(f"{first}{who}{where}Error id {error_id}")],
    )


def budget(error: BudgetError, call: str, who: Sequence[str]) -> Message:
    """Call on those who may, by their ids, to agree to more closes; ``call`` is the id of this message."""
    button = kit.button("Extend budget", action_id=EXTEND_BUDGET, value=call)
    text = components.lines([components.plain("⚠️ " + cut(visible(error.sentence), 2000))])
    named = [components.context(_who(who))] if who else []
    return Message("⚠️ " + _text(error.sentence), [text, *named, kit.actions([button])])


def which_source(error: SourceOpenError, typed: str) -> Message:
    """Ask which data source is meant; each button runs what was ``typed`` after the command on one."""
    # One button a block: an action id may stand only once in each.
    buttons = [
        kit.actions(
            [
                kit.button(
                    cut(visible(name).strip(), 75) or "-",
                    action_id=CHOOSE_SOURCE,
                    value=f"{typed} on={name}".strip(),
                )
            ]
        )
        for name in error.choices[:_CHOICES]
    ]
    return Message(
        _text(error.sentence), [components.lines([components.plain(cut(visible(error.sentence), 2000))]), *buttons]
    )


def unexpected(error_id: str) -> Message:
    """Say that the bot itself failed."""
    text = (
        "⚠️ Something went wrong inside the bot. The card of the closing request and /sessions show whether anything "
        f"was closed. Give the error id {error_id} to whoever runs this bot."
    )
    return Message(text, [components.lines([components.plain(text)])])


def _who(ids: Sequence[str]) -> str:
    return f"You can ask: {' '.join(map(wording.called, ids))}."


def _text(sentence: str) -> str:
    """The same for notifications; an escape takes up to five characters, and Slack rewrites up to 4,000 only."""
    return top_level(cut(visible(sentence), 700))


def _marked(typed: str, spot: str) -> list[kit.RichText]:
    with contextlib.suppress(InputError):
        typed = normalize(typed)  # as the spot was found, with its quotation marks made plain
    spotted = re.compile(re.escape(spot), re.IGNORECASE)  # what was understood may be written in another case
    place = spotted.search(typed)
    if place and place.start() > _SHOWN // 2:
        typed = "…" + typed[place.start() - _SHOWN // 2 :]
    typed = cut(typed, _SHOWN)
    place = re.search(re.escape(spot[: _SHOWN // 3]), typed, re.IGNORECASE) if spot else None
    if place is None:
        return [components.code(typed)]
    before, found, after = typed[: place.start()], place.group(), typed[place.end() :]
    marked = kit.text(visible(found) or " ", bold=True, strike=True, code=True)
    return [*([components.code(before)] if before else []), marked, *([components.code(after)] if after else [])]
