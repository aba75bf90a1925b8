"""/sessions audit: who asked, confirmed, closed and looked at what; a timeline; a file; what is to be reviewed."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bot.access import Access, Right
from bot.closing.audit_query import AuditQuery, AuditRecord, AuditTrail
from bot.errors import SlackRefusedError
from bot.sessions.service import SessionService
from bot.slack.arguments import keys_and_flags
from bot.slack.arguments.value_parsers import span
from bot.slack.arguments.vocabulary import Vocabulary
from bot.slack.defaults import Defaults
from bot.slack.events import Command
from bot.slack.views import audit as view
from bot.slack.views.help import Topic
from bot.slack.views.notices import notice

NAME = "audit"  # the verb after /sessions
USAGE = "/sessions audit [here] [since=1h] [by=…] [tenant=…] [on=…] [csv]"
EXAMPLES = (
    ("/sessions audit", "who closed what in the last hour, and what is to be reviewed"),
    ("/sessions audit since=7d by=@alice tenant=shop", "by person and tenant; by=me is yourself"),
    ("/sessions audit here", "this channel's timeline of the last day, as Markdown to paste"),
    ("/sessions audit since=30d csv", "all of it as a file, by direct message"),
)
TOPIC = Topic(USAGE, "Show the record: every request, look at SQL, press, KILL and outcome", EXAMPLES)

LONGEST = timedelta(days=3650)
_VOCABULARY = Vocabulary.of(("since", "by", "tenant", "source"), ("here", "csv", "private"))
_MENTION = re.compile(r"<@([UW][A-Z0-9]+)(?:\|[^>]*)?>")  # what Slack makes of @name
_ID = re.compile(r"[UW][A-Z0-9]{4,}")
_BLOCK = 6000  # characters of a timeline that a message shows well; longer ones go as a file


@dataclass(frozen=True, slots=True)
class AuditArguments:
    """What was typed after ``audit``; ``notes`` are sentences on what had to be corrected."""

    since: timedelta
    by: str = ""
    tenant: str | None = None
    source: str | None = None
    here: bool = False
    csv: bool = False
    notes: tuple[str, ...] = ()


def parse(text: str) -> AuditArguments:
    """Read the normalized text after ``audit``. Raises ``InputError``."""
    # The < of a mention would be taken for a sign of comparison.
    typed = keys_and_flags.read(_MENTION.sub(r"\1", text), _VOCABULARY, EXAMPLES[1][0])
    given, here = typed.values, "here" in typed.flags
    usual = timedelta(days=1) if here else timedelta(hours=1)
    since = span(given["since"], LONGEST, EXAMPLES[1][0]) if "since" in given else usual
    return AuditArguments(
        since,
        given.get("by", ""),
        given.get("tenant"),
        given.get("source"),
        here=here,
        csv="csv" in typed.flags,
        notes=typed.notes,
    )


@dataclass(frozen=True, slots=True)
class AuditCommand:
    """What /sessions audit does. Only whoever asks sees the answer."""

    sessions: SessionService
    audit: AuditTrail
    access: Access
    defaults: Defaults
    # What somebody with that Slack id is called, and whether their name contains a text, which raises
    # ``PersonUnknownError``; last whose names are wanted next.
    name_of: Callable[[str, Collection[str]], str]
    called: Callable[[str, str, Collection[str]], bool]

    def answer(self, command: Command, text: str) -> None:
        """Answer the command."""
        allowed = self.access.sources(command.person, Right.VIEW, self.sessions.names, command.channel)
        arguments = parse(text)
        source = self.defaults.source_for(arguments.source, command.channel, allowed) if arguments.source else None
        query = AuditQuery(arguments.since, None, source, arguments.tenant, arguments.here)
        records, since = self.audit.read(command.person, command.channel, query, literals=arguments.csv)
        people = _people(records)
        records = [one for one in records if self._by(one, arguments.by, command, people)]
        if arguments.csv:
            what = f"{len(records):,} acts since {since:%Y-%m-%d %H:%M:%S} UTC"
            self._send(command, "audit.csv", view.as_csv(records, self._names(records)), what)
        elif arguments.here:
            self._timeline(command, records, since)
        else:
            reviews = self.audit.to_review(command.person, command.channel)
            heading = " ".join((*arguments.notes, f"/sessions audit {text}".strip()))
            command.reply.private(view.audit(records, heading, since, reviews))

    def _timeline(self, command: Command, records: list[AuditRecord], since: datetime) -> None:
        text = view.timeline(records, since, datetime.now(UTC), self._names(records))
        sent, problem = False, ""
        if len(text) > _BLOCK:
            try:
                command.reply.send_file("timeline.md", "Timeline", text, kind="markdown")
                sent = True
            except SlackRefusedError as error:
                problem = error.sentence
        command.reply.private(view.timeline_message(text, sent=sent, file_problem=problem))

    def _send(self, command: Command, name: str, text: str, what: str) -> None:
        command.reply.send_file(name, "Record of closes", text, kind="csv")
        command.reply.private(notice(f"{what} have come to you as a file, by direct message."))

    def _names(self, records: list[AuditRecord]) -> Callable[[str], str]:
        people = _people(records)
        return lambda user: self.name_of(user, people)

    def _by(self, record: AuditRecord, by: str, command: Command, people: Collection[str]) -> bool:
        if not by:
            return True
        person = record.entry.person
        if person is None:
            return False
        if _ID.fullmatch(by):
            return person.id == by
        if by.lower() == "me":
            return person.id == command.person.id
        return self.called(person.id, by.lstrip("@"), people)


def _people(records: list[AuditRecord]) -> list[str]:
    return list(dict.fromkeys(one.entry.person.id for one in records if one.entry.person is not None))
