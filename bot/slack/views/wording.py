"""Words that several views say: people, times, spans, names, transactions, what a session runs."""

from __future__ import annotations

from datetime import datetime

from bot.sessions.masking import cut
from bot.sessions.model import Session
from bot.sessions.spans import span
from bot.sessions.statement import Disclosure, Statement
from bot.slack.escaping import visible

IN_GET_LOCK = (
    "It waits in GET_LOCK: INSERT INTO oceanbase.__all_detect_lock_info is the server's own statement for that, which "
    "OceanBase shows in the place of the client's."
)

_NAME = 60
_DOING = 40  # characters of a STATE; those of replication are sentences


def mention(user_id: str) -> str:
    """A person as mrkdwn, by an id that came from Slack."""
    return f"<@{user_id}>"


def called(slack_id: str) -> str:
    """A person or a user group (S…) as mrkdwn, by an id of the configuration, which is checked there."""
    return f"<!subteam^{slack_id}>" if slack_id.startswith("S") else mention(slack_id)


def moment(at: datetime, style: str = "{time_secs}") -> str:
    """A time as mrkdwn, in each reader's own zone, UTC where that does not work."""
    return f"<!date^{int(at.timestamp())}^{style}|{utc(at)}>"


def utc(at: datetime) -> str:
    """A time as plain text, for readers that know no markup."""
    return f"{at:%H:%M:%S} UTC"


def seconds(value: float) -> str:
    """A span for people."""
    return span(value)


def bytes_of(count: int) -> str:
    """A number of bytes for people.

    >>> [bytes_of(count) for count in (40, 12_500, 3_500_000, 2**32)]
    ['40 B', '12.2 KiB', '3.3 MiB', '4.0 GiB']
    """
    size, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:,.0f} B" if unit == "B" else f"{size:,.1f} {unit}"


def name(text: str | None) -> str:
    """A name from a database, for a sentence: one line, and no longer than a name is."""
    return cut(visible(text or "").strip(), _NAME) or "-"


def status(session: Session) -> str:
    """The status in the server's word, with what it does where MySQL and MariaDB say it, or that nobody has logged in.

    What it waits for is told by ``waits`` or ``marked_status``.
    """
    if session.logging_in:
        return f"{session.state}, not logged in yet"
    doing = "" if session.waits else cut(visible(session.doing or "").strip(), _DOING)
    return f"{session.state} ({doing})" if doing else session.state


def marked_status(session: Session) -> str:
    """The status, and under a lock what it waits for: for a column, in as few letters as a phone has room for."""
    return f"{status(session)} 🔒 {awaited(session)}" if session.waits else status(session)


def waits(session: Session) -> str:
    """Say what it waits for, "waits for a row lock" or so; '' for nothing."""
    return f"waits for {a(awaited(session))}" if session.waits else ""


def awaited(session: Session) -> str:
    """Say for what it waits, in one line: a metadata lock in the words of the server."""
    return cut(visible(session.waits_for).strip(), _DOING)


def a(thing: str) -> str:
    """Put the article before a thing that is waited for.

    >>> a("event metadata lock"), a("user lock")
    ('an event metadata lock', 'a user lock')
    """
    return f"{'an' if thing[:1] in 'aeio' else 'a'} {thing}"


def lasts(session: Session) -> str:
    """For how long that has been so; MySQL does not say it of whoever logs in."""
    return "an unknown time" if session.logging_in and not session.time else seconds(session.time)


def time(session: Session) -> str:
    """The same in seconds, for a column."""
    return "-" if session.logging_in and not session.time else f"{session.time:.1f}"


def transaction_state(session: Session) -> str:
    """The state of its transaction in the server's words, or that there is none, or that the server does not say."""
    if session.transaction is None:
        return "none" if session.transaction_known else "not known"
    return session.transaction.state or "state unknown"


def sql_id_label(session: Session) -> str:
    """Say whose the SQL ID is: in a routine the server has that of the innermost statement only."""
    inside = session.statement is not None and session.statement.inner is not None
    return "SQL ID of its current statement" if inside else "SQL ID"


def sql_line(statement: Statement | None, most: int, disclosure: Disclosure) -> str:
    """What is shown of a statement in one line, for a cell or a sentence; '' for none."""
    return cut(visible(statement.line(disclosure)), most) if statement is not None else ""
