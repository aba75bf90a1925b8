"""The app's Home tab: what this person may do where, how the data sources are, open requests and the last closes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from bot.access import Right, Rule
from bot.closing.model import ClosingRequest
from bot.sessions.masking import cut
from bot.sessions.source_health import SourceHealth
from bot.slack.delivery.message import HomeTab
from bot.slack.escaping import visible
from bot.slack.views import blocks as kit
from bot.slack.views import closing_text, components, sources, wording

REFRESH = "home.refresh"  # action id

_DOES = {Right.VIEW: "see", Right.CLOSE: "close", Right.APPROVE: "approve closing"}
_NAMES = 10  # of tenants, channels or data sources that one line tells
_NAMES_CHARACTERS = 1_200  # of them together: Slack takes 3,000 in a line
_NAME = 60


def home(
    rules: Sequence[Rule],
    found: Sequence[SourceHealth],
    open_: Sequence[ClosingRequest],
    last: Sequence[ClosingRequest],
    as_of: datetime,
) -> HomeTab:
    """Show the tab of somebody whom these ``rules`` name; the rest is what those without channels let them see."""
    if not rules:
        return HomeTab([_nothing()])
    above = [components.header("You may"), *[components.lines(_rule(rule)) for rule in rules[:_NAMES]]]
    refresh = kit.actions([kit.button("Refresh", action_id=REFRESH, value="home")])
    if not found and all(rule.channels for rule in rules):
        return HomeTab([*above, _elsewhere(), refresh])
    above.append(_hint())
    below = [
        components.header("Waiting for a press"),
        *_requests(open_, "Nothing waits."),
        components.header("Last closes"),
        *_requests(last, "Nothing was closed yet."),
        refresh,
    ]
    if not found:
        return HomeTab([*above, *below])
    health = sources.sources(found, as_of)
    plainer = health.plainer()
    return HomeTab([*above, *health.blocks, *below], None if plainer is None else [*above, *plainer, *below])


def _hint() -> kit.Block:
    plain, code = components.plain, components.code
    line = [
        plain("In a channel type "),
        code("/sessions active-only"),
        plain(" or "),
        code("/sessions help"),
        plain("."),
    ]
    return components.lines(line)


def _elsewhere() -> kit.Block:
    return components.lines(
        [
            components.plain("These rules apply only in those channels. Type "),
            components.code("/sessions"),
            components.plain(" there."),
        ]
    )


def loading() -> HomeTab:
    """The tab as it opens, until the data sources have answered."""
    return HomeTab([components.lines([components.plain("Asking the data sources …")])])


def _nothing() -> kit.Block:
    return components.lines(
        [components.plain("No access rule names you, so that you may do nothing with this bot. Ask whoever runs it.")]
    )


def _rule(rule: Rule) -> Sequence[kit.Piece]:
    """Say what a rule allows; of one with channels not where or of whom: not all who look here are in them."""
    does = components.bold(", ".join(_DOES[right] for right in Right if right in rule.may))
    if not rule.channels:
        named = f"data sources: {_named(rule.data_sources)} · tenants: {_named(rule.tenants)}"
        return [does, components.plain(f" · {named} · in every channel")]
    shown, more = _few(sorted(rule.channels))
    line: list[kit.Piece] = [does, components.plain(" · in ")]
    for number, channel in enumerate(shown):
        if number:
            line.append(components.plain(", "))
        line.append(kit.channel(channel))
    return [*line, components.plain(more)]


def _named(names: frozenset[str] | None) -> str:
    if names is None:
        return "all"
    shown, more = _few([cut(visible(name), _NAME) for name in sorted(names)])
    return ", ".join(shown) + more


def _few(names: Sequence[str]) -> tuple[Sequence[str], str]:
    """Return those that one line tells, and how many more there are."""
    shown = list(names[:_NAMES])
    while sum(map(len, shown)) > _NAMES_CHARACTERS:
        shown.pop()
    return shown, f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""


def _requests(requests: Sequence[ClosingRequest], none: str) -> list[kit.Block]:
    """One line a request."""
    if not requests:
        return [components.context(none)]
    return [components.lines(_line(request)) for request in requests]


def _line(request: ClosingRequest) -> Sequence[kit.Piece]:
    what, plain = f"{closing_text.title(request).rstrip('?')} on {request.source}", components.plain
    if request.decided_by is None or request.decided_at is None:
        where = kit.channel(request.channel)
        asked = (plain(f"{what}: asked by "), kit.user(request.requester.id), plain(" in "), where)
        return [*asked, plain(", expires "), _time(request.expires_at, "{time_secs}")]
    done = closing_text.result(request)
    decided = kit.user(request.decided_by.id)
    return [
        plain(f"{done} · {what}, by "),
        decided,
        plain(" "),
        _time(request.decided_at, "{date_short_pretty} {time}"),
    ]


def _time(at: datetime, form: str) -> kit.Date:
    return kit.date(int(at.timestamp()), form, wording.utc(at))
