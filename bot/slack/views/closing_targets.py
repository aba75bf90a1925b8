"""The sessions of a closing request that names several: a few as lines, more as a table."""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate

from bot.closing.model import ClosingRequest, Target
from bot.sessions.masking import cut
from bot.sessions.statement import Disclosure
from bot.slack.escaping import visible
from bot.slack.views import blocks as kit
from bot.slack.views import closing_text, components, session_list, wording

AS_LINES = 5  # more are shown as a table

_SQL_CHARACTERS = 160
_NAME_CHARACTERS = 60
# What a message may hold, about 13,200 characters, less everything else that a card says.
_TABLE_CHARACTERS = 7_000
# Characters of the SQL cell and of any other cell; the first pair that fits is taken.
_WIDTHS = ((44, 40), (30, 24), (16, 16), (10, 11), (8, 8))

_TRANSACTION = session_list.Column("Transaction", lambda s, _f, _w: closing_text.transaction(s))
_BY_LABEL = {column.label: column for column in (*session_list.COLUMNS, session_list.TENANT, _TRANSACTION)}
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


def as_lines(request: ClosingRequest, *, disclosure: Disclosure) -> kit.Block:
    """Show each session in three lines, with its outcome once there is one."""
    rows: list[components.Line] = []
    servers = _several_servers(request)
    for target in request.targets:
        session = target.session
        if target.outcome is not None:
            step = closing_text.next_step(target.outcome, [session.id]) or closing_text.came_back(target)
            rows.append(
                [
                    components.bold(closing_text.DONE[target.outcome]),
                    components.plain(cut(visible(f" {target.detail} {step}"), 400)),
                ]
            )
        names = [("User", session.client.user), ("Source", session.client.origin), ("Tenant", session.tenant)]
        names += [("Database Name", session.database), *([("observer", session.observer)] if servers else [])]
        rows.append(
            components.facts([("Session ID", str(session.id)), *((label, _name(text)) for label, text in names)])
        )
        state = f"{_name(session.state)}, {_name(session.command)}, for {wording.seconds(session.time)}"
        rows.append(components.facts([("Status", state), ("Transaction", _name(closing_text.transaction(session)))]))
        if session.statement is not None:
            line = wording.sql_line(session.statement, _SQL_CHARACTERS, disclosure)
            rows.append([components.code(line)])
    return components.lines(*rows)


def as_table(request: ClosingRequest, *, disclosure: Disclosure) -> kit.Block:
    """Show the sessions in the columns of the session list, with their outcomes once there are some."""
    header = _header(request)
    for widths in _WIDTHS:
        rows = _rows(request, widths, disclosure=disclosure)
        if sum(len(cell) for row in rows for cell in row) <= _TABLE_CHARACTERS:
            break
    settings = [kit.RIGHT if number else kit.LEFT for number in _numbers(header)]
    return kit.table([header, *rows], "closing.table", settings)


def as_text_table(request: ClosingRequest, *, disclosure: Disclosure) -> list[kit.Block]:
    """Show the same where Slack takes no table."""
    header = _header(request)
    for widths in _WIDTHS:
        text = tabulate(
            _rows(request, widths, disclosure=disclosure),
            headers=header,
            disable_numparse=True,
            colalign=["right" if number else "left" for number in _numbers(header)],
        )
        if len(text) <= _TABLE_CHARACTERS:
            break
    return components.preformatted(text, block_id="closing.text")


def _header(request: ClosingRequest) -> list[str]:
    labels = [*_SHOWN, *(["observer"] if _several_servers(request) else [])]
    return [labels[0], "Outcome", *labels[1:]] if _decided(request) else labels


def _rows(request: ClosingRequest, widths: tuple[int, int], *, disclosure: Disclosure) -> list[list[str]]:
    return [
        [_cell(label, target, widths, disclosure=disclosure) for label in _header(request)]
        for target in request.targets
    ]


def _cell(label: str, target: Target, widths: tuple[int, int], *, disclosure: Disclosure) -> str:
    sql_width, width = widths
    if label == "Outcome":
        return cut(closing_text.DONE[target.outcome] if target.outcome else "…", max(width, 16))
    column = _BY_LABEL[label]
    most = sql_width if label == "SQL" else width
    # What is shown is never shorter than what it is: the rest of a long name need not be looked at.
    text = visible(column.cell(target.session, disclosure, sql_width)[: most + 1]).strip() or "-"
    return cut(text, most) if column.cuttable else text


def _numbers(labels: Sequence[str]) -> list[bool]:
    return [label in _BY_LABEL and _BY_LABEL[label].number for label in labels]


def _decided(request: ClosingRequest) -> bool:
    return any(target.outcome is not None for target in request.targets)


def _several_servers(request: ClosingRequest) -> bool:
    return len({target.session.observer for target in request.targets}) > 1


def _name(text: str | None) -> str:
    return cut(visible(text or "-"), _NAME_CHARACTERS)
