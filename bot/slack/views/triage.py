"""The answer to ``/sessions triage``: what is wrong, worst first, each with the button that ends it."""

from __future__ import annotations

from collections.abc import Sequence

from bot.sessions.examination import Result
from bot.sessions.masking import cut
from bot.sessions.statement import Disclosure
from bot.sessions.transactions import OpenTransaction
from bot.sessions.triage import (
    Check,
    IdleTransactions,
    More,
    Thresholds,
)
from bot.slack.delivery.message import Message
from bot.slack.escaping import top_level, visible
from bot.slack.session_reference import Asker
from bot.slack.views import blocks as kit
from bot.slack.views import components, wording
from bot.slack.views.triage_findings import SQL, Shown, Told, as_set, in_words, with_times

AGAIN = "triage.again"  # action id

_SENTENCE = 500  # characters
_TOLD = 3  # findings that the text of a message tells
# Slack takes 50 blocks and about 13,200 characters in a message (docs/slack.md 2.2).
_BLOCKS, _CHARACTERS = 44, 10_000


def triage(results: Sequence[Result], shown: Shown) -> Message:
    """Show what was found, the data sources that do not answer first, then those with the worst findings."""
    ordered = sorted(results, key=_rank)
    one = ordered[0].source if len(ordered) == 1 else ""
    blocks: list[kit.Block] = [components.header(f"Triage of {one}" if one else "Triage")]
    if shown.notes:
        blocks.append(components.lines(*components.notes(shown.notes)))
    room, characters = _BLOCKS - 2 * len(ordered), _CHARACTERS
    for result in ordered:
        told = [in_words(finding, result, shown) for finding in result.findings]
        if not one:
            blocks.append(components.lines([components.bold(result.source), components.plain(f": {_summary(result)}")]))
        elif not told:
            blocks.append(components.lines([components.plain(_summary(result))]))
        left_out = 0
        for finding in told:
            needed = 2 if finding.buttons else 1
            if len(blocks) + needed > room or finding.length > characters:
                left_out += 1
                continue
            characters -= finding.length
            blocks += _blocks(finding, shown.disclosure(result.source))
        blocks.append(_small_print(result, shown, left_out))
    seen = components.seen_by(shown.asker)
    if seen:
        blocks.append(components.context(*seen))
    again = kit.button("Refresh", action_id=AGAIN, value=shown.words or "triage")
    blocks.append(kit.actions([again], block_id=Asker.block("triage.browse", shown.asker)))
    return Message(top_level(_in_words(ordered, shown)), blocks)


def nothing_left(what: str) -> str:
    """Say that what a button would close is not there any more."""
    return f"{what} Nothing was closed. Look again: /sessions triage"


def _rank(result: Result) -> tuple[int, int]:
    """Those that do not answer first, then those with most to close, those that are well last."""
    acute = sum(not isinstance(one, (IdleTransactions, More)) for one in result.findings)
    return (0 if result.problem else 1 if result.pending else 2 if acute else 3, -acute)


def _summary(result: Result) -> str:
    if result.problem:
        return f"⚠️ {result.problem}"
    if result.findings:
        acute = sum(not isinstance(one, More) for one in result.findings)
        return f"{acute} finding{'' if acute == 1 else 's'}"
    if result.pending:
        return "nothing found so far."
    if result.not_checked:
        return "Nothing found in what could be checked; not all could."
    return "Nothing found that has to be closed."


def _in_words(results: Sequence[Result], shown: Shown) -> str:
    """Say what was found for a phone's notification; it holds no SQL."""
    parts = []
    for result in results:
        told = [in_words(finding, result, shown) for finding in result.findings]
        said = [f"{cut(visible(one.sentence), _SENTENCE)}{_offer(one)}" for one in told[:_TOLD]] or [_summary(result)]
        more = [f"and {len(told) - _TOLD} more below"] if len(told) > _TOLD else []
        parts.append(f"{result.source}: {' '.join([*said, *more])}{' It goes on.' if result.pending else ''}")
    return cut(f"Triage of {'; '.join(parts)}", 2_500)


def _offer(told: Told) -> str:
    labels = [str(one["text"]["text"]) for one in told.buttons[:1] if one["type"] == "button"]
    return f" ({labels[0]})" if labels and labels[0].startswith("Close") else ""


def _blocks(told: Told, disclosure: Disclosure) -> list[kit.Block]:
    rows: list[components.Line] = [
        [components.plain(f"{told.sign} "), components.bold(cut(visible(told.sentence), _SENTENCE))]
    ]
    if told.statement is not None:
        ran = [components.plain(f"Ran last, {wording.seconds(told.ran)} ago ")] if told.ran is not None else []
        rows.append([*ran, components.code(wording.sql_line(told.statement, SQL, disclosure))])
    if told.reason:
        rows.append([components.plain(cut(visible(told.reason), _SENTENCE))])
    return [components.lines(*rows), *([kit.actions(told.buttons)] if told.buttons else [])]


def _small_print(result: Result, shown: Shown, left_out: int) -> kit.Block:
    said: list[str | kit.PlainText] = []
    if left_out:
        said.append(kit.plain_text(f"{left_out} more findings: /sessions triage on={result.source}"))
    if not result.problem:
        if not result.findings and not result.pending:
            said += [kit.plain_text(sentence) for sentence in _quiet(result)]
        looked = cut(f"Checked: {', '.join(_checked(result, shown.thresholds)) or 'nothing yet'}", 1_000)
        said.append(f"{looked} · as of {wording.moment(result.as_of)}")
    unread = [f"Not checked: {check.value}, {why}" for check, why in result.not_checked]
    said += components.caveats([*unread, *result.caveats])
    if result.pending:
        said.append("⏳ It goes on: this message is updated.")
    return components.context(*(said or [f"as of {wording.moment(result.as_of)}"])[:10])


def _quiet(result: Result) -> list[str]:
    """Say what there is where nothing is wrong."""
    longest = with_times([(one, one.time) for one in result.longest])
    said = [f"Longest running: {longest or 'nothing runs'}"]
    if result.open is not None:
        more = f" of {result.open:,}" if result.open > len(result.oldest) else ""
        said.append(f"Oldest transactions{more}: {', '.join(map(_open, result.oldest)) or 'none is open'}")
    return said


def _open(one: OpenTransaction) -> str:
    age = wording.seconds(one.transaction.age) if one.transaction.age is not None else "age unknown"
    whose = f"{one.session.id} ({wording.name(one.session.client.user)}" if one.session is not None else "prepared XA ("
    return f"{whose}{', ' if one.session is not None else ''}{age})"


def _checked(result: Result, thresholds: Thresholds) -> list[str]:
    """Say what was looked at, each with its threshold."""
    what = {
        Check.WAITS: ["who waits for whom"],
        Check.SESSIONS: [
            f"{result.sessions:,} sessions",
            f"statements over {as_set(thresholds.statement_over)}",
            f"transactions idle for over {as_set(thresholds.idle_transaction_over)}",
            f"one statement {thresholds.same_statement} times or more "
            f"for over {as_set(thresholds.same_statement_over)}",
            f"killed for over {as_set(thresholds.killed_over)}",
        ],
        Check.LIMITS: [f"connections at {thresholds.near_limit} % of a limit"],
        Check.SERVERS: ["servers of the cluster"],
        Check.CLOSED: ["who was closed and came back"],
        Check.DEADLOCKS: [f"deadlocks of the last {as_set(thresholds.deadlocks_within)}"],
    }
    return [text for check in result.checked for text in what[check]]
