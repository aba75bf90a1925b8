"""View SQL: the whole statement of one session, for the presser alone."""

from __future__ import annotations

import json
from dataclasses import dataclass

from bot.sessions.model import Session
from bot.sessions.statement import Disclosure, Statement
from bot.slack.escaping import visible
from bot.slack.views import blocks as kit
from bot.slack.views import components, wording

# Slack refuses a view of more than about 250 kB (docs/slack.md 2.2), escapes counted.
_MODAL_BYTES = 200_000
_INNER = "\n-- Its current statement, for {}:"
_FILE = "The whole statement comes to you as a file, by direct message."


def loading(session_id: int) -> kit.View:
    """The modal as it opens: Slack wants it within three seconds, whatever the database does."""
    return _modal(session_id, [components.lines([components.plain("Reading the session …")])])


def problem(session_id: int, sentence: str) -> kit.View:
    """The modal when the statement cannot be shown."""
    return _modal(session_id, [components.lines([components.plain(sentence)])])


@dataclass(frozen=True, slots=True)
class SqlText:
    """A statement as one person may read it; ``shown`` is what the modal takes of ``text``."""

    text: str
    shown: str
    disclosure: Disclosure

    @classmethod
    def of(cls, session: Session, disclosure: Disclosure) -> SqlText:
        """Lay out what is shown of the statement, in a routine also of the one that runs there."""
        texts = [session.statement.laid_out(disclosure)] if session.statement is not None else []
        if session.statement is not None and session.statement.inner is not None:
            texts += [
                _INNER.format(wording.seconds(session.total_time)),
                session.statement.inner.laid_out(disclosure),
            ]
        text = visible("\n".join(texts), lines=True)
        shown = text
        while len(json.dumps(shown)) > _MODAL_BYTES:
            shown = shown[: len(shown) * 9 // 10]
        return cls(text, shown, disclosure)

    @property
    def whole(self) -> bool:
        """Whether the modal shows all of it."""
        return len(self.shown) == len(self.text)


def statement(session: Session, sql: SqlText, *, file_problem: str = "") -> kit.View:
    """The modal with the statement and the session's other facts.

    Where it does not show all, the person has the rest as a file, unless ``file_problem`` says why not.
    """
    if session.statement is None:
        idle = f"This session is running nothing: it has been {wording.status(session)}, for {wording.lasts(session)}."
        return _modal(session.id, [components.lines([components.plain(idle)]), kit.divider(), _facts(session)])
    notes: list[str | kit.PlainText] = []
    if not sql.disclosure.literals:
        who = f"On {visible(session.source)}, only people who may close this session can see them."
        notes.append(kit.plain_text(f"Literals are shown as “?”. {who}"))
    if not sql.whole:
        rest = f"Slack cannot show more here: these are the first {len(sql.shown):,} of {len(sql.text):,} characters."
        notes.append(kit.plain_text(f"{rest} {visible(file_problem) or _FILE}"))
    if session.in_get_lock:
        notes.append(kit.plain_text(wording.IN_GET_LOCK))
    if session.statement.cut:
        notes.append(session.statement.cut)
    blocks = [*components.preformatted(sql.shown, sql=True), *(components.context(note) for note in notes)]
    return _modal(session.id, [*blocks, kit.divider(), _facts(session, session.statement, sql.disclosure)])


def _facts(
    session: Session, statement: Statement | None = None, disclosure: Disclosure = Disclosure.NOTHING
) -> kit.Block:
    sql_id = statement.sql_id(disclosure) if statement is not None else None
    facts = (
        ("User", session.client.user or "-"),
        ("Tenant", session.tenant or "-"),
        ("Source", session.client.origin),
        ("Database Name", session.database or "-"),
        ("observer", session.observer),
        ("OBProxy", session.client.proxy or "-"),
        ("Status", f"{wording.marked_status(session)}, {session.command}, {wording.lasts(session)}"),
        ("Transaction", wording.transaction_state(session)),
        (wording.sql_id_label(session), sql_id or "-"),
        ("Trace ID", session.trace_id or "-"),
    )
    return components.lines(*(components.facts([fact]) for fact in facts))


def _modal(session_id: int, blocks: list[kit.Block]) -> kit.View:
    # OCP's title is "SQL Details - ID", longer than the 24 characters Slack allows.
    return kit.modal(f"SQL of {session_id}", blocks)
