"""The record for people: a table of acts, a timeline to paste, a file for a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from tabulate import tabulate

from bot.closing.audit_query import AuditRecord
from bot.closing.model import ClosingRequest
from bot.sessions.masking import cut
from bot.slack.delivery.message import Message
from bot.slack.escaping import top_level, visible
from bot.slack.views import blocks as kit
from bot.slack.views import closing_card, closing_text, components, wording

ROWS = 40  # acts in one table; the file has all of them
_REVIEWS = 5  # closes to review that are shown at once
_WHAT, _NAME, _REASON = 120, 40, 200  # characters
# What a message may hold, about 13,200 characters, less everything else.
_TABLE_CHARACTERS = 7_000

NameOf = Callable[[str], str]  # what a Slack id is called; the id where Slack does not say


def audit(records: Sequence[AuditRecord], query: str, since: datetime, reviews: Sequence[ClosingRequest]) -> Message:
    """Show the newest acts, the newest first, and what waits for a signature."""
    shown = list(reversed(records))[:ROWS]
    start = f"since {since:%Y-%m-%d %H:%M:%S}"
    head: list[kit.Block] = [components.header("Record of closes")]
    head.append(
        components.context(
            kit.plain_text(f"{len(shown)} shown of {len(records):,} {start}, the newest first. Times are UTC."),
            kit.plain_text(cut(visible(query), 300).strip() or "-"),
        )
    )
    below = _reviews(reviews)
    if not shown:
        return Message("Nothing is on record in that time.", [*head, _nothing(), *below])
    while _length(shown) > _TABLE_CHARACTERS:
        shown.pop()
    text = top_level(f"Record of closes: {len(records):,} acts since {since:%Y-%m-%d %H:%M} UTC")
    return Message(text, [*head, _table(shown), *below], fallback=[*head, *_text(shown), *below])


def timeline(records: Sequence[AuditRecord], since: datetime, until: datetime, name_of: NameOf) -> str:
    """Write what was done, oldest first, as Markdown for a post-mortem."""
    lines = [f"## Sessions closed, {since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC", ""]
    for one in records:
        person = one.entry.person
        who = f"**{_markdown(name_of(person.id))}** " if person is not None else ""
        lines.append(f"- {one.entry.at:%Y-%m-%d %H:%M:%S} {who}{_markdown(what(one))}")
    return "\n".join([*lines, *([] if records else ["Nothing was done."])])


def timeline_message(text: str, *, sent: bool, file_problem: str = "") -> Message:
    """Show a timeline to copy; one that is long was ``sent`` as a file, or ``file_problem`` says why not."""
    if sent:
        where = "The timeline is long: it has come to you as a file, by direct message."
        return Message(where, [components.lines([components.plain(where)])])
    where = f"{file_problem} The timeline of this channel, to copy:".lstrip()
    return Message(where, [components.lines([components.plain(where)]), *components.preformatted(text)])


def as_csv(records: Sequence[AuditRecord], name_of: NameOf) -> str:
    """Write everything, oldest first; no cell is read as a formula by a spreadsheet."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["number", "time_utc", "event", "person", "name", "team", "channel", "source", "request", "details"]
    )
    for one in records:
        entry, person = one.entry, one.entry.person
        cells = [
            str(entry.number),
            entry.at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            entry.event,
            person.id if person else "",
            name_of(person.id) if person else "",
            person.team if person else "",
            entry.channel or "",
            entry.source or "",
            entry.request_id or "",
            json.dumps(dict(entry.details), ensure_ascii=False),
        ]
        writer.writerow([_harmless(cell) for cell in cells])
    return out.getvalue()


def what(record: AuditRecord) -> str:
    """Say what an act was, in one line."""
    details = record.entry.details
    say = _WORDS.get(record.entry.event)
    return visible(say(details, record) if say is not None else record.entry.event)


def _requested(details: Mapping[str, Any], _record: AuditRecord) -> str:
    targets = details.get("targets", [])
    named = ", ".join(_session(one) for one in targets[:8])
    more = f" and {len(targets) - 8} more" if len(targets) > 8 else ""
    why = f", because: {details['reason']}" if details.get("reason") else ""
    over = f", although it {details['override']}" if details.get("override") else ""
    left = ", as a follow-up to another request" if details.get("follows") else ""
    return f"asked for {details.get('mode')}: {named}{more}{over}{why}{left}"


def _session(one: Mapping[str, Any]) -> str:
    tenant = f", tenant {one['tenant']}" if one.get("tenant") else ""
    return f"{one.get('id')} ({one.get('user') or '-'} from {one.get('origin') or '-'}{tenant})"


def _outcome(details: Mapping[str, Any], _record: AuditRecord) -> str:
    detail = f". {details['detail']}" if details.get("detail") else ""
    return f"{details.get('id')}: {details.get('outcome')}{detail}"


def _came_back(details: Mapping[str, Any], _record: AuditRecord) -> str:
    pairs = ", ".join(f"{before} as {now}" for before, now in details.get("newcomers", {}).items())
    return f"came back: {pairs}"


_WORDS: Mapping[str, Callable[[Mapping[str, Any], AuditRecord], str]] = {
    "request": _requested,
    "confirm": lambda details, record: f"confirmed {details.get('mode')}{_alone(record)}",
    "cancel": lambda details, record: (
        f"{'stopped' if details.get('stopped') else 'cancelled'} the close of {_ids(record)}"
    ),
    "end break glass": lambda _details, record: f"ended the break-glass for {_ids(record)}, having stopped another",
    "expire": lambda _details, record: f"the close of {_ids(record)} expired",
    "release": lambda details, _record: f"nothing was sent: {details.get('why')}",
    "intent": lambda details, record: f"sends to {record.entry.source}: {details.get('sql')}",
    "outcome": _outcome,
    "later": _outcome,
    "came back": _came_back,
    "refused": lambda details, _record: f"pressed and was refused: {details.get('why')}",
    "break glass": lambda details, _record: f"used break-glass, because: {details.get('reason')}",
    "lift stop": lambda _details, record: f"lifted the Stop of the close of {_ids(record)}",
    "review": lambda _details, record: f"reviewed the close of {_ids(record)}",
    "call for budget": lambda _details, record: f"called for a larger budget of {record.entry.source}",
    "extend budget": lambda details, record: f"extended the budget of {record.entry.source} by {details.get('closes')}",
    "forget": lambda details, _record: f"let go of {details.get('records')} records{_up_to(details)}",
    "view sql": lambda details, record: f"looked at the {_looked_at(details)} {record.entry.source}",
}


def _looked_at(details: Mapping[str, Any]) -> str:
    if "records" in details:
        return f"SQL in {details['records']} records of"
    return f"whole SQL of {details.get('id')} on"


def _up_to(details: Mapping[str, Any]) -> str:
    return f", up to number {details['last']}" if "last" in details else ""


def _alone(record: AuditRecord) -> str:
    return " alone, by break-glass" if record.request is not None and record.request.confirmed_alone else ""


def _ids(record: AuditRecord) -> str:
    if record.request is None:
        return "-"
    return ", ".join(str(target.session.id) for target in record.request.targets)


def _nothing() -> kit.Block:
    return components.lines([components.plain("Nothing is on record in that time, of what you may see.")])


def _table(shown: Sequence[AuditRecord]) -> kit.Block:
    rows: list[list[str | kit.RichTextBlock]] = [["Time", "Who", "What"]]
    for one in shown:
        person = one.entry.person
        who = kit.rich_text([kit.user(person.id)]) if person else "-"
        rows.append([_time(one, shown), who, _short(one)])
    return kit.table(rows, "audit.table", [kit.LEFT, kit.LEFT, kit.WRAPPED])


def _text(shown: Sequence[AuditRecord]) -> list[kit.Block]:
    rows = [[_time(one, shown), one.entry.person.id if one.entry.person else "-", _short(one)] for one in shown]
    return components.preformatted(tabulate(rows, headers=["Time", "Who", "What"], disable_numparse=True))


def _length(shown: Sequence[AuditRecord]) -> int:
    return sum(len(_short(one)) + 40 for one in shown)


def _short(record: AuditRecord) -> str:
    return cut(what(record), _WHAT).strip() or "-"


def _time(record: AuditRecord, shown: Sequence[AuditRecord]) -> str:
    """Leave out the day where it is the same for all: phones are narrow."""
    one_day = len({one.entry.at.date() for one in shown}) == 1
    return f"{record.entry.at:%H:%M:%S}" if one_day else f"{record.entry.at:%m-%d %H:%M:%S}"


def _reviews(reviews: Sequence[ClosingRequest]) -> list[kit.Block]:
    if not reviews:
        return []
    blocks: list[kit.Block] = [
        components.lines([components.bold(f"🚨 To be reviewed: {len(reviews)} confirmed alone")])
    ]
    for request in reviews[:_REVIEWS]:
        ids = cut(", ".join(str(target.session.id) for target in request.targets), _NAME)
        said = f"{request.source}: {ids}, {closing_text.result(request)}. Reason: {cut(request.reason, _REASON)}"
        by = f"by {wording.mention(request.requester.id)} at {wording.moment(request.created_at)}"
        button = kit.button("Sign review", action_id=closing_card.REVIEW, value=request.id)
        blocks += [components.lines([components.plain(said)]), components.context(by), kit.actions([button])]
    return blocks


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]()#+!|<>~])", r"\\\1", visible(text))


def _harmless(cell: str) -> str:
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell
