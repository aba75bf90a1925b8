"""The sessions of a closing request that names several: a few as lines, more as a table."""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate

from bot.sessions.masking import cut
from bot.sessions.statement import Disclosure
from bot.slack.escaping import visible
from bot.slack.views import blocks as kit
from bot.slack.views import components, session_list, wording
from bot.slack.views.closing_text import TargetText

_SQL_CHARACTERS = 160
_NAME_CHARACTERS = 60
# What a message may hold, about 13,200 characters, less everything else that a card says.
_TABLE_CHARACTERS = 7_000
# Characters of the SQL cell and of any other cell; the first pair that fits is taken.
_WIDTHS = ((44, 40), (30, 24), (16, 16), (10, 11), (8, 8))

_BY_LABEL = {column.label: column for column in (*session_list.COLUMNS, session_list.TENANT)}
_SHOWN = (
    "Session ID",
    "SQL",
    "User",
    "Source",
    "Tenant",
    "Database Name",
    "Status",
    "Execution Time (s)",
    "Transaction",
)


def as_lines(targets: Sequence[TargetText], disclosure: Disclosure) -> kit.Block:
    """Show each session in three lines, with its outcome once there is one."""
    rows: list[components.Line] = []
    servers = _several_servers(targets)
    for target in targets:
        session = target.session
        if target.outcome:
            rows.append([components.bold(target.outcome), components.plain(target.said)])
        names = [("User", session.client.user), ("Source", session.client.origin), ("Tenant", session.tenant)]
        names += [("Database Name", session.database), *([("observer", session.observer)] if servers else [])]
        rows.append(
            components.facts([("Session ID", str(session.id)), *((label, _name(text)) for label, text in names)])
        )
        state = f"{_name(wording.status(session))}, {_name(session.command)}, for {wording.lasts(session)}"
        rows.append(components.facts([("Status", state), ("Transaction", _name(target.transaction))]))
        if session.statement is not None:
            rows.append([components.code(wording.sql_line(session.statement, _SQL_CHARACTERS, disclosure))])
    return components.lines(*rows)


def as_table(targets: Sequence[TargetText], disclosure: Disclosure) -> kit.Block:
    """Show the sessions in the columns of the session list, with their outcomes once there are some."""
    header = _header(targets)
    for widths in _WIDTHS:
        rows = _rows(targets, widths, disclosure)
        if sum(len(cell) for row in rows for cell in row) <= _TABLE_CHARACTERS:
            break
    settings = [kit.RIGHT if number else kit.LEFT for number in _numbers(header)]
    return kit.table([header, *rows], "closing.table", settings)


def as_text_table(targets: Sequence[TargetText], disclosure: Disclosure) -> list[kit.Block]:
    """Show the same where Slack takes no table."""
    header = _header(targets)
    for widths in _WIDTHS:
        text = tabulate(
            _rows(targets, widths, disclosure),
            headers=header,
            disable_numparse=True,
            colalign=["right" if number else "left" for number in _numbers(header)],
        )
        if len(text) <= _TABLE_CHARACTERS:
            break
    return components.preformatted(text, block_id="closing.text")


def _header(targets: Sequence[TargetText]) -> list[str]:
    labels = [*_SHOWN, *(["observer"] if _several_servers(targets) else [])]
    return [labels[0], "Outcome", *labels[1:]] if _decided(targets) else labels


def _rows(targets: Sequence[TargetText], widths: tuple[int, int], disclosure: Disclosure) -> list[list[str]]:
    return [[_cell(label, target, widths, disclosure) for label in _header(targets)] for target in targets]


def _cell(label: str, target: TargetText, widths: tuple[int, int], disclosure: Disclosure) -> str:
    sql_width, width = widths
    if label == "Outcome":
        return cut(target.outcome or "…", max(width, 16))
    if label == "Transaction":
        return cut(visible(target.transaction), width)
    column = _BY_LABEL[label]
    most = sql_width if label == "SQL" else width
    # What is shown is never shorter than what it is: the rest of a long name need not be looked at.
    text = visible(column.cell(target.session, disclosure, sql_width)[: most + 1]).strip() or "-"
    return cut(text, most) if column.cuttable else text


def _numbers(labels: Sequence[str]) -> list[bool]:
    return [label in _BY_LABEL and _BY_LABEL[label].number for label in labels]


def _decided(targets: Sequence[TargetText]) -> bool:
    return any(target.outcome for target in targets)


def _several_servers(targets: Sequence[TargetText]) -> bool:
    return len({target.session.observer for target in targets}) > 1


def _name(text: str | None) -> str:
    return cut(visible(text or "-"), _NAME_CHARACTERS)
