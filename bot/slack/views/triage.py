"""The answer to ``/sessions triage``: what is wrong, worst first, each with the button that ends it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from bot.errors import InputError
from bot.sessions.examination import Result
from bot.sessions.masking import cut
from bot.sessions.model import Session
from bot.sessions.statement import Disclosure, Statement
from bot.sessions.survey import RecentDeadlocks
from bot.sessions.transactions import OpenTransaction
from bot.sessions.triage import (
    AbsentServers,
    Blocker,
    Candidates,
    Check,
    CrowdingClient,
    Finding,
    IdleTransactions,
    Killed,
    LongStatement,
    More,
    NearLimit,
    Returned,
    SameStatement,
    Thresholds,
)
from bot.sessions.waits.advice import Action, Advice
from bot.sessions.waits.blockages import CLOSES, Blockage
from bot.sessions.waits.graph import Prepared
from bot.slack.arguments.tokens import quoted
from bot.slack.delivery.message import Message
from bot.slack.escaping import top_level, visible
from bot.slack.session_reference import Asker, SessionReference
from bot.slack.views import blocks as kit
from bot.slack.views import components, locks, session_list, wording

# action ids
CLOSE_QUERIES = "triage.close_queries"
CLOSE_IDLE = "triage.close_idle"
AGAIN = "triage.again"

_SQL = 150
_SENTENCE = 500  # characters
_NAMED = 5  # sessions that one line names
_TOLD = 3  # findings that the text of a message tells
# Slack takes 50 blocks and about 13,200 characters in a message (docs/slack.md 2.2).
_BLOCKS, _CHARACTERS = 44, 10_000


@dataclass(frozen=True, slots=True)
class Several:
    """What a button carries that closes several at once; the sessions are found anew by it when it is pressed."""

    source: str
    tenant: str | None  # that the answer was narrowed to
    what: str  # the digest of a statement, or the address of a client
    user: str | None = None  # whose limit it is about, None for any

    def __str__(self) -> str:
        return json.dumps([self.source, self.tenant, self.what, self.user])

    @classmethod
    def read(cls, text: str) -> Several:
        """Read ``str()`` of it back; raises ``InputError`` for anything else."""
        try:
            source, tenant, what, user = json.loads(text)
        except ValueError as error:
            raise InputError("That choice cannot be read. Ask again: /sessions triage") from error
        return cls(str(source), tenant, str(what), user)


@dataclass(frozen=True, slots=True)
class Shown:
    """How an answer is shown: what of statements, how many a request may close, which tenants it was narrowed to."""

    disclosure: Callable[[str], Disclosure]  # by data source
    max_targets: Callable[[str], int]  # same
    thresholds: Thresholds
    tenants: Mapping[str, str | None] = field(default_factory=dict)  # that it was narrowed to, by data source
    words: str = ""  # what Refresh asks again
    asker: Asker | None = None  # whose view all see; None in a private message
    notes: Sequence[str] = ()  # sentences on how the input was understood


@dataclass(frozen=True, slots=True)
class _Told:
    """One finding as it is shown."""

    sign: str
    sentence: str
    statement: Statement | None = None  # that it runs, or that it ran last, so long ago
    reason: str = ""
    buttons: tuple[kit.Element, ...] = ()
    ran: float | None = None  # seconds since that ended; None: it runs

    @property
    def length(self) -> int:
        return len(self.sentence) + len(self.reason) + (_SQL if self.statement is not None else 0)


def triage(results: Sequence[Result], shown: Shown) -> Message:
    """Show what was found, the data sources that do not answer first, then those with the worst findings."""
    ordered = sorted(results, key=_rank)
    one = ordered[0].source if len(ordered) == 1 else ""
    blocks: list[kit.Block] = [components.header(f"Triage of {one}" if one else "Triage")]
    if shown.notes:
        blocks.append(components.lines(*components.notes(shown.notes)))
    room, characters = _BLOCKS - 2 * len(ordered), _CHARACTERS
    for result in ordered:
        told = [_told(finding, result, shown) for finding in result.findings]
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
        told = [_told(finding, result, shown) for finding in result.findings]
        said = [f"{cut(visible(one.sentence), _SENTENCE)}{_offer(one)}" for one in told[:_TOLD]] or [_summary(result)]
        more = [f"and {len(told) - _TOLD} more below"] if len(told) > _TOLD else []
        parts.append(f"{result.source}: {' '.join([*said, *more])}{' It goes on.' if result.pending else ''}")
    return cut(f"Triage of {'; '.join(parts)}", 2_500)


def _offer(told: _Told) -> str:
    labels = [str(one["text"]["text"]) for one in told.buttons[:1] if one["type"] == "button"]
    return f" ({labels[0]})" if labels and labels[0].startswith("Close") else ""


def _blocks(told: _Told, disclosure: Disclosure) -> list[kit.Block]:
    rows: list[components.Line] = [
        [components.plain(f"{told.sign} "), components.bold(cut(visible(told.sentence), _SENTENCE))]
    ]
    if told.statement is not None:
        ran = [components.plain(f"Ran last, {wording.seconds(told.ran)} ago ")] if told.ran is not None else []
        rows.append([*ran, components.code(wording.sql_line(told.statement, _SQL, disclosure))])
    if told.reason:
        rows.append([components.plain(cut(visible(told.reason), _SENTENCE))])
    return [components.lines(*rows), *([kit.actions(told.buttons)] if told.buttons else [])]


def _told(finding: Finding, result: Result, shown: Shown) -> _Told:  # noqa: PLR0911  # a sentence each
    """Say what is wrong with sessions; what is wrong with the server is ``_server``'s."""
    match finding:
        case Blocker():
            return _blocker(finding)
        case Candidates():
            return _candidates(finding, result.source)
        case LongStatement(session, advice):
            sentence = f"{_who(session)} has been running one statement for {wording.lasts(session)}."
            return _Told("🐢", sentence, session.statement, _reason(advice), _buttons(session, advice))
        case SameStatement():
            return _same(finding, result.source, shown)
        case CrowdingClient():
            return _crowding(finding, result.source, shown)
        case Killed(session, advice):
            since = f"what it does began {wording.lasts(session)} ago"
            sentence = f"{_who(session)} was killed and is still there; {since}."
            return _Told("💀", sentence, session.statement, _reason(advice), _buttons(session, advice))
        case Returned(session, past):
            sentence = f"{_who(session)} does again what was closed before."
            return _Told("🔁", sentence, session.statement, past, _buttons(session, None))
        case IdleTransactions():
            return _left_open(finding, shown)
        case _:
            return _server(finding, shown)


def _server(finding: NearLimit | RecentDeadlocks | AbsentServers | More, shown: Shown) -> _Told:
    match finding:
        case NearLimit(limit):
            of = f" of user {wording.name(limit.user)}" if limit.user else ""
            of += f" of tenant {wording.name(limit.tenant)}" if limit.tenant and not limit.user else ""
            of += f" on {limit.host}" if limit.host else ""
            return _Told("🔌", f"{limit.used:,} of {limit.most:,} connections{of} are in use ({limit.name}).")
        case RecentDeadlocks(count, ago):
            return _deadlocks(count, ago, shown)
        case AbsentServers(servers):
            named = ", ".join(f"{address} is {status}" for address, status in servers)
            return _Told("⚠️", f"Servers of the cluster are away: {named}.", reason="Their sessions may be missing.")
        case More(count, what, listed):
            return _Told("…", f"{count} {what}{f': {listed}' if listed else '.'}")


def _left_open(finding: IdleTransactions, shown: Shown) -> _Told:
    sessions, over = finding.sessions, _span(shown.thresholds.idle_transaction_over)
    does = "1 transaction has" if len(sessions) == 1 else f"{len(sessions)} transactions have"
    holds = f"{'holds' if len(sessions) == 1 else 'hold'} up nobody"
    if not finding.known:
        holds = f"{'is' if len(sessions) == 1 else 'are'} not known to hold up anybody"
    named = _with_times([(one, one.time) for one in sessions])
    listed = f"/sessions idle in-transaction time>{shown.thresholds.idle_transaction_over:.0f}s lists them."
    return _Told("💤", f"{does} been idle for over {over} and {holds}: {named}.", reason=listed)


def _with_times(sessions: Sequence[tuple[Session, float]]) -> str:
    named = [f"{one.id} ({wording.name(one.client.user)}, {wording.seconds(time)})" for one, time in sessions[:_NAMED]]
    return ", ".join(named) + (f" and {len(sessions) - _NAMED} more" if len(sessions) > _NAMED else "")


def _blocker(finding: Blocker) -> _Told:
    blockage, advice = finding.blockage, finding.advice
    who, hidden = blockage.who, finding.hidden
    count, longest, for_what = _counted(blockage, hidden)
    held = f"{'may hold' if blockage.candidate else 'holds'} up {count}{longest}: {for_what}."
    if advice is None:
        return _Told("🔒", f"A session that you may not see {held}", reason="Ask somebody who may see it.")
    sign = "⏳" if advice.action in (Action.WAIT, Action.NOTHING) else "🔒"
    if isinstance(who, Prepared):
        xid = f" {cut(visible(who.xid), 60)}" if who.xid else ""
        return _Told(sign, f"A prepared XA transaction{xid} {held}", reason=_reason(advice))
    if blockage.circle:
        sentence = f"{len(blockage.circle)} sessions wait for each other in a circle, which {held}"
    elif not blockage.named:
        does = "waits" if len(blockage.behind) == 1 else "wait"
        sentence = f"{count} {does} for a holder that is not named{longest}: {for_what}."
    else:
        itself = " waits itself, and" if blockage.waiting else ""
        sentence = f"{_who(who)}{itself} {held} It {_doing(who)}."
    about = f"Session {who.id}: " if blockage.circle or not blockage.named else ""
    last = who.last_statement if who.statement is None else None
    statement = last.statement if last is not None else who.statement
    ran = last.ago if last is not None else None
    return _Told(sign, sentence, statement, f"{about}{_reason(advice)}", _buttons(who, advice), ran)


def _counted(blockage: Blockage, hidden: int) -> tuple[str, str, str]:
    """Say how many are held up, for how long at most, and what they wait for."""
    count = f"{len(blockage.behind):,} session{'' if len(blockage.behind) == 1 else 's'}"
    count += f", {hidden:,} of them that you may not see," if hidden else ""
    longest = f", the longest for {wording.seconds(blockage.longest)}" if blockage.longest is not None else ""
    kinds = list(dict.fromkeys(map(locks.waited_for, blockage.waits)))
    return count, longest, f"{', '.join(kinds[:2])}{f' and {len(kinds) - 2} more' if len(kinds) > 2 else ''}"


def _candidates(finding: Candidates, source: str) -> _Told:
    first = finding.blockages[0]
    count, longest, for_what = _counted(first, finding.hidden)
    does = "waits" if len(first.behind) == 1 else "wait"
    may = [(one.who, one.who.time) for one in finding.blockages if isinstance(one.who, Session)]
    opens = kit.button("Who blocks?", action_id=session_list.WHO_BLOCKS, value=f"on={quoted(source)}")
    return _Told(
        "🔒",
        f"{count} {does} for what no view here names the holder of{longest}: {for_what}.",
        reason=f"Candidates, the least guessed first: {_with_times(may)}. Closing one is a guess: look at it first.",
        buttons=(opens,),
    )


def _doing(session: Session) -> str:
    if session.idle:
        inside = " in a transaction" if session.in_transaction else ""
        return f"has been idle{inside} for {wording.lasts(session)}"
    doing = f" ({cut(visible(session.doing), 60)})" if session.doing else ""
    return f"has been running its statement for {wording.lasts(session)}{doing}"


def _same(finding: SameStatement, source: str, shown: Shown) -> _Told:
    count, most = len(finding.sessions), shown.max_targets(source)
    longest = wording.lasts(finding.sessions[0])
    over = _span(shown.thresholds.same_statement_over)
    alone = len(finding.origins) == 1
    where = f"all from {wording.name(finding.origins[0])}" if alone else f"from {len(finding.origins)} clients"
    retries = "That looks like retries: look at that client before it sends more." if alone else ""
    reason = " ".join(filter(None, (retries, finding.past))) if finding.advised else _UNKNOWN
    label = f"Close these {count} Queries" if count <= most else f"Close {most} of these {count} Queries"
    value = str(Several(source, shown.tenants.get(source), finding.digest))
    return _Told(
        "🐢",
        f"{count} sessions run the same statement, each for over {over}, the longest for {longest}, {where}.",
        finding.statement,
        reason,
        (kit.button(label, action_id=CLOSE_QUERIES, value=value),) if finding.advised else (),
    )


def _crowding(finding: CrowdingClient, source: str, shown: Shown) -> _Told:
    limit, count, most = finding.limit, len(finding.idle), shown.max_targets(source)
    host = cut(visible(finding.host), 60) or "one client"
    value = Several(source, shown.tenants.get(source) or limit.tenant, finding.host, limit.user)
    label = f"Close its {count} idle ones" if count <= most else f"Close {most} of its {count} idle ones"
    does = "is idle outside of a transaction" if count == 1 else "are idle outside of a transaction"
    return _Told(
        "🔌",
        f"{host} has {finding.sessions:,} of {limit.used:,} connections, of which {count:,} {does}.",
        reason=f"Closing them frees {min(count, most):,} of {limit.used:,} connections.",
        buttons=(kit.button(label, action_id=CLOSE_IDLE, value=str(value)),),
    )


def _deadlocks(count: int | None, ago: float, shown: Shown) -> _Told:
    latest = f"{wording.seconds(ago)} ago"
    if count is None:
        return _Told("⚠️", f"The latest deadlock was {latest}.", reason="SHOW ENGINE INNODB STATUS there has its parts.")
    within = _span(shown.thresholds.deadlocks_within)
    many = "1 deadlock" if count == 1 else f"{count} deadlocks"
    listed = f"/sessions deadlocks since={shown.thresholds.deadlocks_within:.0f}s shows who was interrupted."
    return _Told("⚠️", f"{many} in the last {within}, the latest {latest}.", reason=listed)


_UNKNOWN = "Who waits for whom is not known here now, so nothing is advised: look at it first."


def _reason(advice: Advice | None) -> str:
    if advice is None:
        return _UNKNOWN
    closes = f"{advice.action.value}: " if advice.action in (*CLOSES, Action.WAIT) else ""
    return " ".join(filter(None, (f"{closes}{advice.reason}", advice.then, advice.past)))


def _buttons(session: Session, advice: Advice | None) -> tuple[kit.Element, ...]:
    """The close that is advised, and the details; where nothing is advised these alone."""
    if advice is None:
        return (kit.button("Details", action_id=session_list.DETAILS, value=str(SessionReference.of(session))),)
    return tuple(locks.holder_buttons(session, advice))


def _who(session: Session) -> str:
    where = [wording.name(session.client.user), f"from {wording.name(session.client.origin)}"]
    tenant = f", tenant {wording.name(session.tenant)}" if session.tenant else ""
    return f"Session {session.id} ({' '.join(where)}{tenant})"


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
    longest = _with_times([(one, one.time) for one in result.longest])
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
            f"statements over {_span(thresholds.statement_over)}",
            f"transactions idle for over {_span(thresholds.idle_transaction_over)}",
            f"one statement {thresholds.same_statement} times or more for over {_span(thresholds.same_statement_over)}",
            f"killed for over {_span(thresholds.killed_over)}",
        ],
        Check.LIMITS: [f"connections at {thresholds.near_limit} % of a limit"],
        Check.SERVERS: ["servers of the cluster"],
        Check.CLOSED: ["who was closed and came back"],
        Check.DEADLOCKS: [f"deadlocks of the last {_span(thresholds.deadlocks_within)}"],
    }
    return [text for check in result.checked for text in what[check]]


def _span(seconds: float) -> str:
    """A threshold as it is set: 5 s, 15 min."""
    return f"{seconds / 60:.0f} min" if seconds >= 120 and seconds % 60 == 0 else f"{seconds:g} s"
