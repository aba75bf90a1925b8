"""View SQL: the whole statement of one session, for the presser alone."""

from __future__ import annotations

import json
from typing import Any

import slackblocks as kit

from bot.sessions.model import Session
from bot.sessions.statement import formatted
from bot.slack.text import visible
from bot.slack.views import parts

# OceanBase cuts INFO at 65,535 bytes (OCEANBASE.md 1.3).
_KERNEL_CUT = 65_535
# Slack refuses a view of more than about 250 kB (SLACK.md 2.2), escapes counted.
_MODAL_BYTES = 200_000


def loading(session_id: int) -> dict[str, Any]:
    """The modal as it opens: Slack wants it within three seconds, whatever the database does."""
    return _modal(session_id, [parts.lines([parts.plain("Reading the session …")])])


def problem(session_id: int, sentence: str) -> dict[str, Any]:
    """The modal when the statement cannot be shown."""
    return _modal(session_id, [parts.lines([parts.plain(sentence)])])


def statement(session: Session) -> dict[str, Any]:
    """The modal with the statement and the session's other facts."""
    if session.sql is None:
        idle = f"This session runs nothing now: it is {session.state} for {parts.seconds(session.time)}."
        blocks: list[kit.Block] = [parts.lines([parts.plain(idle)])]
    else:
        text, whole = _fitting(visible(formatted(session.sql), lines=True))
        blocks = parts.preformatted(text, sql=True)
        if not whole:
            blocks.append(parts.context("Slack takes no longer text here; the rest is left out."))
        if len(session.sql.encode()) >= _KERNEL_CUT - 3:
            blocks.append(parts.context("OceanBase itself cuts a statement at 65,535 bytes; the rest is not known."))
    return _modal(session.id, [*blocks, kit.DividerBlock(), _facts(session)])


def _fitting(text: str) -> tuple[str, bool]:
    fitting = text
    while len(json.dumps(fitting)) > _MODAL_BYTES:
        fitting = fitting[: len(fitting) * 9 // 10]
    return fitting, fitting is text


def _facts(session: Session) -> kit.Block:
    facts = (
        ("User", session.user or "-"),
        ("Tenant", session.tenant or "-"),
        ("Source", session.origin),
        ("Database Name", session.database or "-"),
        ("observer", session.server or "-"),
        ("OBProxy", session.proxy or "-"),
        ("Status", f"{session.state}, {session.command}, {parts.seconds(session.time)}"),
        ("Transaction", session.transaction_state or "none"),
        ("SQL ID", session.sql_id or "-"),
        ("Trace ID", session.trace_id or "-"),
    )
    return parts.lines(*(parts.facts([fact]) for fact in facts))


def _modal(session_id: int, blocks: list[kit.Block]) -> dict[str, Any]:
    # OCP's title is "SQL Details - ID", longer than the 24 characters Slack allows.
    view: dict[str, Any] = kit.ModalView(title=f"SQL of {session_id}", blocks=blocks, close="Close").to_dict()
    return view
