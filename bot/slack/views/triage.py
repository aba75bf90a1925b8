"""The answer to ``/sessions triage``: what is wrong, worst first, each with the button that ends it."""

from __future__ import annotations

from collections.abc import Sequence

from bot.sessions.diagnosis.examination import Result
from bot.sessions.diagnosis.triage import (
    Check,
    IdleTransactions,
    More,
    Thresholds,
)
from bot.sessions.masking import cut
from bot.sessions.statement import Disclosure
from bot.sessions.transactions import OpenTransaction
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
_BLOCKS, _CHARACTERS = 50, 12_500
_FRAME = 9_000  # characters of all but findings
_SOURCES = (12, 8, 5, 3, 1)  # data sources that one message tells of, the others are named; the first that fits
# Of the small print of one data source: characters of a sentence, and how many caveats; alone, and beside others.
_ALONE, _BESIDE_OTHERS = (1_000, 4), (250, 1)


def triage(results: Sequence[Result], shown: Shown) -> Message:
    """Show what was found, the data sources that do not answer first, then those with the worst findings."""
    ordered = sorted(results, key=_rank)
    one = ordered[0].source if len(ordered) == 1 else ""
    above: list[kit.Block] = [components.header(f"Triage of {one}" if one else "Triage")]
    if shown.notes:
        above.append(components.lines(*components.notes(shown.notes)))
    below: list[kit.Block] = [components.context(*seen)] if (seen := components.seen_by(shown.asker)) else []
    again = kit.button("Refresh", action_id=AGAIN, value=shown.words or "triage")
    below.append(kit.actions([again], block_id=Asker.block("triage.browse", shown.asker)))
    for most in _SOURCES:
        parts = [_Part(result, shown, alone=bool(one)) for result in ordered[:most]]
        rest = [components.lines([components.plain(_elsewhere(ordered[most:]))])] if ordered[most:] else []
        frame = [*above, *(block for part in parts for block in part.whole), *rest, *below]
        if kit.characters(frame) <= _FRAME:
            break
    room, characters = _BLOCKS - len(frame), _CHARACTERS - kit.characters(frame)
    # The worst of each data source before the second worst of any.
    for number in range(max(len(part.result.findings) for part in parts)):
        for part in parts:
            blocks = part.finding(number)
            needed = kit.characters(blocks)
            if len(blocks) <= room and needed <= characters:
                room, characters = room - len(blocks), characters - needed
                part.blocks += blocks
                part.told += bool(blocks)
    shown_blocks = [block for part in parts for block in part.whole]
    return Message(top_level(_in_words(ordered, shown)), [*above, *shown_blocks, *rest, *below])


class _Part:
    """What is shown of one data source."""

    def __init__(self, result: Result, shown: Shown, *, alone: bool) -> None:
        self.result = result
        self.told = 0  # findings
        self.blocks: list[kit.Block] = []
        self._shown = shown
        self._alone = alone
        if not alone:
            summary = components.plain(f": {cut(_summary(result), _SENTENCE)}")
            self.blocks.append(components.lines([components.bold(result.source), summary]))
        elif not result.findings:
            self.blocks.append(components.lines([components.plain(_summary(result))]))

    def finding(self, number: int) -> list[kit.Block]:
        """Show one finding; empty where there are not so many."""
        if number >= len(self.result.findings):
            return []
        told = in_words(self.result.findings[number], self.result, self._shown)
        return _blocks(told, self._shown.disclosure(self.result.source))

    @property
    def whole(self) -> list[kit.Block]:
        """All of it, with its small print."""
        left_out = len(self.result.findings) - self.told
        return [*self.blocks, _small_print(self.result, self._shown, left_out, alone=self._alone)]


def _elsewhere(results: Sequence[Result]) -> str:
    """Name the data sources that are not shown, with what was found there."""
    found = sum(len(one.findings) for one in results)
    names = cut(", ".join(one.source for one in results), _SENTENCE)
    nothing = "nothing found" if all(one.checked for one in results) else "not all known yet"
    findings = f"{found} finding{'' if found == 1 else 's'}" if found else nothing
    return f"{len(results)} more data source{'' if len(results) == 1 else 's'}, {findings}: {names}. Name one with on=."


def nothing_left(what: str) -> str:
    """Say that what a button would close is not there any more."""
    return f"{what} Nothing was closed. Look again: /sessions triage"


def not_all_yours() -> str:
    """Say that a button is about sessions that its presser may not close: whether they are there is not told."""
    return (
        "You may not close all sessions that this is about, and of those that you may, none fits it now. "
        "Nothing was closed. See what you may: /sessions triage"
    )


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
        return "nothing found so far." if result.checked else "Nothing is known yet."
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
    return [components.lines(*rows), *([kit.actions(list(told.buttons))] if told.buttons else [])]


def _small_print(result: Result, shown: Shown, left_out: int, *, alone: bool) -> kit.Block:
    most, sentences = _ALONE if alone else _BESIDE_OTHERS
    said: list[str | kit.PlainText] = []
    if left_out:
        said.append(kit.plain_text(visible(f"{left_out} more findings: /sessions triage on={result.source}")))
    if not result.problem:
        if not result.findings and not result.pending:
            said += [kit.plain_text(sentence) for sentence in _quiet(result)]
        looked = cut(f"Checked: {', '.join(_checked(result, shown.thresholds)) or 'nothing yet'}", most)
        said.append(f"{looked} · as of {wording.moment(result.as_of)}")
    unread = cut(" ".join(f"Not checked: {check.value}, {why}" for check, why in result.not_checked), most)
    said += [kit.plain_text(f"⚠️ {visible(unread)}")] if unread else []
    said += components.caveats(_few(result.caveats, sentences))
    if result.pending:
        said.append("⏳ It goes on: this message is updated.")
    return components.context(*(said or [f"as of {wording.moment(result.as_of)}"])[:10])


def _few(said: Sequence[str], most: int) -> list[str]:
    left = len(said) - most
    return [*said[:most], *([f"and {left} more like that."] if left > 0 else [])]


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
