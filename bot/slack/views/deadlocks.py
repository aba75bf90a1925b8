"""The answer to ``/sessions deadlocks``: OCP's history of deadlocks, an event after the other."""

from __future__ import annotations

from collections.abc import Sequence

from bot.sessions.deadlocks import Deadlock, Deadlocks, Member
from bot.sessions.masking import cut, without_secrets
from bot.sessions.statement import Disclosure
from bot.slack.delivery.message import Message
from bot.slack.escaping import top_level, visible
from bot.slack.views import blocks as kit
from bot.slack.views import components, wording

_OFF = (
    "Deadlock detection is switched off on this cluster: deadlocks end by their time-outs only, and none is recorded. "
    "An administrator switches it on with ALTER SYSTEM SET _lcl_op_interval = '30ms'; it costs about 2 % of the CPU."
)
_SQL = 150
_RESOURCE = 80
_CHARACTERS = 11_000  # of all events together (docs/slack.md 2.2)


def deadlocks(found: Deadlocks, notes: Sequence[str], *, disclosure: Disclosure) -> Message:
    """Show the events; ``notes`` are sentences on how the input was understood."""
    since = _words(int(found.since.total_seconds()))
    blocks: list[kit.Block] = [components.header(f"Deadlocks on {found.source}")]
    said = [_OFF] if found.detection is False else []
    if not found.events:
        said.append(f"There was no deadlock in the last {since}.")
    if notes or said:
        blocks.append(components.lines(*components.notes(notes), *([components.plain(sentence)] for sentence in said)))
    shown = 0
    left = _CHARACTERS
    for event in found.events:
        lines = _event(event, disclosure=disclosure)
        left -= sum(len(part["text"]) for line in lines for part in line)
        if left < 0:
            break
        shown += 1
        blocks += [kit.divider(), components.context(_heading(event)), components.lines(*lines)]
    blocks.append(components.context(_footer(found, shown, since)))
    return Message(f"Deadlocks on {top_level(found.source)}: {len(found.events)} in the last {since}", blocks)


def _words(seconds: int) -> str:
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds % length == 0:
            return f"{seconds // length} {unit}{'' if seconds == length else 's'}"
    return f"{seconds} s"


def _heading(event: Deadlock) -> str:
    return f"*{wording.moment(event.at, '{date_short_pretty} {time_secs}')}* · {len(event.members)} transactions"


def _event(event: Deadlock, *, disclosure: Disclosure) -> list[components.Line]:
    facts = [("Event", event.id), *([("Tenant", event.tenant)] if event.tenant else [])]
    return [components.facts(facts), *(_member(member, disclosure=disclosure) for member in event.members)]


def _member(member: Member, *, disclosure: Disclosure) -> components.Line:
    done = "interrupted" if member.interrupted else "went on"
    line = [
        components.bold(f"{member.number}. "),
        components.plain(f"transaction {cut(member.transaction, 40)}, {done}  "),
    ]
    if member.statement is not None:
        line.append(components.code(wording.sql_line(member.statement, _SQL, disclosure)))
    if disclosure.literals and member.resource:  # it holds the values of the row's key
        line.append(components.plain(f"  asked for {cut(visible(without_secrets(member.resource)), _RESOURCE)}"))
    return line


def _footer(found: Deadlocks, shown: int, since: str) -> str:
    lacking = f" · {found.incomplete} left out, since the history lacks a part of them" if found.incomplete else ""
    return f"{shown} shown, newest first · last {since}{lacking} · as of {wording.moment(found.as_of)}"
