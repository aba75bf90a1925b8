"""Findings of triage in words: what is wrong, the evidence, and the button that ends it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bot.errors import InputError
from bot.sessions.diagnosis.examination import Result
from bot.sessions.diagnosis.survey import Limit, RecentDeadlocks
from bot.sessions.diagnosis.triage import (
    AbsentServers,
    Blocker,
    Candidates,
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
from bot.sessions.masking import cut
from bot.sessions.model import Session
from bot.sessions.statement import Disclosure, Statement
from bot.sessions.waits.advice import Action, Advice
from bot.sessions.waits.blockages import CLOSES, Blockage
from bot.sessions.waits.graph import Prepared
from bot.slack.escaping import visible
from bot.slack.session_reference import Asker, SessionReference
from bot.slack.views import blocks as kit
from bot.slack.views import session_list, waits, wording

# action ids
CLOSE_QUERIES = "triage.close_queries"
CLOSE_IDLE = "triage.close_idle"

_VALUE = 2_000  # characters that a button carries

SQL = 150  # characters that are shown of a statement
_NAMED = 5  # sessions that one line names


@dataclass(frozen=True, slots=True)
class Several:
    """What a button carries that closes several at once; the sessions are found anew by it when it is pressed."""

    source: str
    tenants: tuple[str, ...] | None  # whose sessions are meant, None for any
    what: str  # the digest of a statement, or the address of a client
    user: str | None = None  # whose limit it is about, None for any
    server: str | None = None  # same: the address of the server

    def __str__(self) -> str:
        return json.dumps([self.source, self.tenants, self.what, self.user, self.server], ensure_ascii=False)

    @classmethod
    def of(cls, source: str, sessions: Sequence[Session], what: str, limit: Limit | None = None) -> Several:
        """Stand for these sessions, which that limit counts, and for no other tenant's."""
        tenants = {one.tenant for one in sessions}
        named = tuple(sorted(filter(None, tenants))) if None not in tenants else None
        return cls(source, named, what, limit.user if limit else None, limit.host if limit else None)

    def button(self, label: str, action_id: str) -> tuple[kit.Element, ...]:
        """Return the button; none where its names are longer than what a button carries."""
        value = str(self)
        return (kit.button(label, action_id=action_id, value=value),) if len(value) <= _VALUE else ()

    @classmethod
    def read(cls, text: str) -> Several:
        """Read ``str()`` of it back; raises ``InputError`` for anything else."""
        try:
            source, tenants, what, user, *server = json.loads(text)
        except (ValueError, TypeError) as error:
            raise InputError("That choice cannot be read. Ask again: /sessions triage") from error
        if isinstance(tenants, str):  # as earlier versions wrote it
            tenants = [tenants]
        named = tuple(map(str, tenants)) if tenants is not None else None
        return cls(str(source), named, str(what), user, server[0] if server else None)


@dataclass(frozen=True, slots=True)
class Shown:
    """How an answer is shown: what of statements, and how many a request may close."""

    disclosure: Callable[[str], Disclosure]  # by data source
    max_targets: Callable[[str], int]  # same
    thresholds: Thresholds
    words: str = ""  # what Refresh asks again
    asker: Asker | None = None  # whose view all see; None in a private message
    notes: Sequence[str] = ()  # sentences on how the input was understood


@dataclass(frozen=True, slots=True)
class Told:
    """One finding as it is shown."""

    sign: str
    sentence: str
    statement: Statement | None = None  # that it runs, or that it ran last, so long ago
    reason: str = ""
    buttons: tuple[kit.Element, ...] = ()
    ran: float | None = None  # seconds since that ended; None: it runs


def in_words(finding: Finding, result: Result, shown: Shown) -> Told:  # noqa: PLR0911  # a sentence each
    """Say what is wrong with sessions; what is wrong with the server is ``_server``'s."""
    match finding:
        case Blocker():
            return _blocker(finding)
        case Candidates():
            return _candidates(finding, result.source)
        case LongStatement(session, advice):
            sentence = f"{_who(session)} has been running one statement for {wording.lasts(session)}."
            return Told("🐢", sentence, session.statement, _reason(advice), _buttons(session, advice))
        case SameStatement():
            return _same(finding, result.source, shown)
        case CrowdingClient():
            return _crowding(finding, result.source, shown)
        case Killed(session, advice):
            since = f"what it does began {wording.lasts(session)} ago"
            sentence = f"{_who(session)} was killed and is still there; {since}."
            return Told("💀", sentence, session.statement, _reason(advice), _buttons(session, advice))
        case Returned(session, past):
            sentence = f"{_who(session)} does again what was closed before."
            return Told("🔁", sentence, session.statement, past, _buttons(session, None))
        case IdleTransactions():
            return _left_open(finding, shown)
        case _:
            return _server(finding, shown)


def _server(finding: NearLimit | RecentDeadlocks | AbsentServers | More, shown: Shown) -> Told:
    match finding:
        case NearLimit(limit):
            of = f" of user {wording.name(limit.user)}" if limit.user else ""
            of += f" of tenant {wording.name(limit.tenant)}" if limit.tenant and not limit.user else ""
            of += f" on {limit.host}" if limit.host else ""
            return Told("🔌", f"{limit.used:,} of {limit.most:,} connections{of} are in use ({limit.name}).")
        case RecentDeadlocks(count, ago):
            return _deadlocks(count, ago, shown)
        case AbsentServers(servers):
            named = ", ".join(f"{address} is {status}" for address, status in servers)
            return Told("⚠️", f"Servers of the cluster are away: {named}.", reason="Their sessions may be missing.")
        case More(count, what, listed):
            return Told("…", f"{count} {what}{f': {listed}' if listed else '.'}")


def _left_open(finding: IdleTransactions, shown: Shown) -> Told:
    sessions, over = finding.sessions, as_set(shown.thresholds.idle_transaction_over)
    does = "1 transaction has" if len(sessions) == 1 else f"{len(sessions)} transactions have"
    holds = f"{'holds' if len(sessions) == 1 else 'hold'} up nobody"
    if not finding.known:
        holds = f"{'is' if len(sessions) == 1 else 'are'} not known to hold up anybody"
    named = with_times([(one, one.time) for one in sessions])
    listed = f"/sessions idle in-transaction time>{shown.thresholds.idle_transaction_over:.0f}s lists them."
    return Told("💤", f"{does} been idle for over {over} and {holds}: {named}.", reason=listed)


def with_times(sessions: Sequence[tuple[Session, float]]) -> str:
    """Name sessions, each with its user and the seconds that go with it; more than a few are counted."""
    named = [f"{one.id} ({wording.name(one.client.user)}, {wording.seconds(time)})" for one, time in sessions[:_NAMED]]
    return ", ".join(named) + (f" and {len(sessions) - _NAMED} more" if len(sessions) > _NAMED else "")


def _blocker(finding: Blocker) -> Told:
    blockage, advice = finding.blockage, finding.advice
    who, hidden = blockage.who, finding.hidden
    count, longest, for_what = _counted(blockage, hidden)
    held = f"{'may hold' if blockage.candidate else 'holds'} up {count}{longest}: {for_what}."
    does = "waits" if len(blockage.behind) == 1 else "wait"
    unnamed = f"{count} {does} for a holder that is not named{longest}: {for_what}."
    if advice is None:
        said = f"A session that you may not see {held}" if blockage.named else unnamed
        return Told("🔒", said, reason="Ask somebody who may see it.")
    sign = "⏳" if advice.action in (Action.WAIT, Action.NOTHING) else "🔒"
    if isinstance(who, Prepared):
        return Told(sign, f"A {waits.called(who, lambda _who: True)} {held}", reason=_reason(advice))
    if blockage.circle:
        sentence = f"A circle of {len(blockage.circle)} sessions {held}"
    elif not blockage.named:
        sentence = unnamed
    else:
        itself = " waits itself, and" if blockage.waiting else ""
        sentence = f"{_who(who)}{itself} {held} It {_doing(who)}."
    about = f"Session {who.id}: " if blockage.circle or not blockage.named else ""
    last = who.last_statement if who.statement is None else None
    statement = last.statement if last is not None else who.statement
    ran = last.ago if last is not None else None
    return Told(sign, sentence, statement, f"{about}{_reason(advice)}", _buttons(who, advice), ran)


def _counted(blockage: Blockage, hidden: int) -> tuple[str, str, str]:
    """Say how many are held up, for how long at most, and what they wait for."""
    return waits.held_up(len(blockage.behind), hidden), *waits.longest_and_what(blockage)


def _candidates(finding: Candidates, source: str) -> Told:
    first = finding.blockages[0]
    count, longest, for_what = _counted(first, finding.hidden)
    does = "waits" if len(first.behind) == 1 else "wait"
    may = [(one.who, one.who.time) for one in finding.blockages if isinstance(one.who, Session)]
    opens = session_list.who_blocks(source, ())
    return Told(
        "🔒",
        f"{count} {does} for a holder that no view here names{longest}: {for_what}.",
        reason=f"Candidates, the least guessed first: {with_times(may)}. Closing one is a guess: look at it first.",
        buttons=(opens,),
    )


def _doing(session: Session) -> str:
    if session.idle:
        inside = " in a transaction" if session.in_transaction else ""
        return f"has been idle{inside} for {wording.lasts(session)}"
    doing = f" ({cut(visible(session.doing), 60)})" if session.doing else ""
    return f"has been running its statement for {wording.lasts(session)}{doing}"


def _same(finding: SameStatement, source: str, shown: Shown) -> Told:
    count, most = len(finding.sessions), shown.max_targets(source)
    longest = wording.lasts(finding.sessions[0])
    over = as_set(shown.thresholds.same_statement_over)
    alone = len(finding.origins) == 1
    where = f"all from {wording.name(finding.origins[0])}" if alone else f"from {len(finding.origins)} clients"
    retries = "That looks like retries: look at that client before it sends more." if alone else ""
    reason = " ".join(filter(None, (retries, finding.past))) if finding.advised else _UNKNOWN
    label = f"Close these {count} Queries" if count <= most else f"Close {most} of these {count} Queries"
    several = Several.of(source, finding.sessions, finding.digest)
    return Told(
        "🐢",
        f"{count} sessions run the same statement, each for over {over}, the longest for {longest}, {where}.",
        finding.statement,
        reason,
        several.button(label, CLOSE_QUERIES) if finding.advised else (),
    )


def _crowding(finding: CrowdingClient, source: str, shown: Shown) -> Told:
    limit, count, most = finding.limit, len(finding.idle), shown.max_targets(source)
    host = cut(visible(finding.host), 60) or "one client"
    several = Several.of(source, finding.idle, finding.host, limit)
    label = f"Close its {count} idle ones" if count <= most else f"Close {most} of its {count} idle ones"
    label = "Close its idle one" if count == 1 else label
    does = "is idle outside of a transaction" if count == 1 else "are idle outside of a transaction"
    return Told(
        "🔌",
        f"{host} has {finding.sessions:,} of {limit.used:,} connections, of which {count:,} {does}.",
        reason=f"Closing them frees {min(count, most):,} of {limit.used:,} connections.",
        buttons=several.button(label, CLOSE_IDLE),
    )


def _deadlocks(count: int | None, ago: float, shown: Shown) -> Told:
    latest = f"{wording.seconds(ago)} ago"
    if count is None:
        return Told("⚠️", f"The latest deadlock was {latest}.", reason="SHOW ENGINE INNODB STATUS there has its parts.")
    within = as_set(shown.thresholds.deadlocks_within)
    many = "1 deadlock" if count == 1 else f"{count} deadlocks"
    listed = f"/sessions deadlocks since={shown.thresholds.deadlocks_within:.0f}s shows who was interrupted."
    return Told("⚠️", f"{many} in the last {within}, the latest {latest}.", reason=listed)


_UNKNOWN = "Who waits for whom is not known here now, so nothing is advised: look at it first."


def _reason(advice: Advice | None) -> str:
    if advice is None:
        return _UNKNOWN
    closes = f"{advice.action.value}. " if advice.action in (*CLOSES, Action.WAIT) else ""
    return " ".join(filter(None, (f"{closes}{advice.reason}", advice.then, advice.past)))


def _buttons(session: Session, advice: Advice | None) -> tuple[kit.Element, ...]:
    """The close that is advised, and the details; where nothing is advised these alone."""
    if advice is None:
        return (kit.button("Details", action_id=session_list.DETAILS, value=str(SessionReference.of(session))),)
    return tuple(waits.holder_buttons(session, advice))


def _who(session: Session) -> str:
    where = [wording.name(session.client.user), f"from {wording.name(session.client.origin)}"]
    tenant = f", tenant {wording.name(session.tenant)}" if session.tenant else ""
    return f"Session {session.id} ({' '.join(where)}{tenant})"


def as_set(seconds: float) -> str:
    """A threshold as it is set: 5 s, 15 min."""
    return f"{seconds / 60:.0f} min" if seconds >= 120 and seconds % 60 == 0 else f"{seconds:g} s"
