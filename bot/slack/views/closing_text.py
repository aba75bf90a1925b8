"""What the card of a closing request says, whole: ``closing_card`` lays it out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from bot.closing.attempt import counted
from bot.closing.model import ApprovalPolicy, ClosingRequest, Outcome, State, Stop, Target
from bot.sessions.masking import cut
from bot.sessions.model import Mode, Session
from bot.sessions.waits.case import Closed
from bot.slack.escaping import top_level, visible
from bot.slack.views import closing_advice
from bot.slack.views.closing_meaning import meanings, number, transaction
from bot.slack.views.wording import called, lasts, mention, moment, name, seconds, status, utc

DONE = {
    Outcome.CLOSED: "✅ closed",
    Outcome.QUERY_CLOSED: "✅ query closed",
    Outcome.ALREADY_GONE: "☑️ already gone",
    Outcome.CHANGED: "⚠️ changed, not closed",
    Outcome.PROTECTED: "⛔ protected, not closed",
    Outcome.NOT_ALLOWED: "⛔ not allowed, not closed",
    Outcome.STILL_RUNNING: "⚠️ still running",
    Outcome.ROLLING_BACK: "⏳ rolling back",
    Outcome.UNVERIFIED: "❓ unverified",
    Outcome.NOT_SENT: "➖ not sent, not closed",
}
_NEXT = {
    Outcome.STILL_RUNNING: "Look again with /sessions id={id}; Close Session is stronger than Close Query.",
    Outcome.ROLLING_BACK: "Rolling back a large transaction takes time; nothing more needs to be closed.",
    Outcome.UNVERIFIED: "Look with /sessions id={id} as soon as the data source answers.",
    Outcome.CHANGED: "Nothing was closed. Look again with /sessions id={id}.",
    Outcome.NOT_SENT: "Nothing was closed. Look again with /sessions id={id}.",
}
_BACK = (
    "🔁 came back as {}: a new session of the same user and source does the same. Closing again will not help: the "
    "client, probably a connection pool, reconnects."
)
_AGAIN = (
    "🔁 runs it again: the client of session {} has sent the same query once more. Closing it again will not help: "
    "stop the client, or close the session."
)
_UNRECORDED = "The store does not answer: the bot writes this down as soon as it does."
_STOPPED = (
    " Break-glass stays off for this session. To close it, ask again and have somebody who may approve confirm it or "
    "press Lift Stop."
)
AS_LINES = 5  # targets that a card shows as lines, each with its own outcome; more are a table

_GROUPS = 8  # different reasons that one card tells; more are counted
_GROUP_CHARACTERS = 190
_IDS = 8  # ids that are named together; more are counted
_STOPS = 3  # Stops that a card tells one by one

Sentence = tuple[str, str]  # what stands in bold, and what is said of it
Fact = tuple[str, str]  # a label and its value


@dataclass(frozen=True, slots=True)
class TargetText:
    """What a card of several says of one of them."""

    session: Session
    transaction: str
    outcome: str = ""
    said: str = ""


@dataclass(frozen=True, slots=True)
class CardText:
    """What a card says, from top to bottom. Small print and ``text`` are mrkdwn, everything else is literal."""

    text: str  # all of it, for notifications and screen readers
    title: str
    asked: str
    facts: Sequence[Sequence[Fact]]
    targets: Sequence[TargetText]
    state: Sequence[Sentence] = ()  # what is known of the close
    paragraphs: Sequence[Sequence[Sentence]] = ()
    small: Sequence[str] = ()
    meanings: Mapping[Mode, str] = field(default_factory=dict)  # of each way of closing
    review: str = ""  # small print above the signature that is asked for, or in its place


def waiting(request: ClosingRequest, approvers: Sequence[str], note: str) -> CardText:
    """Write the card of a request that waits for its confirmation; the ids are those of the access rules."""
    second = request.approval is ApprovalPolicy.SECOND_PERSON
    means = dict(meanings(request))
    protected = f" This session {request.protection}. Somebody who may approve can set that aside for this one close."
    # A mobile notification, which calls them, is made of the text.
    calls = " ".join(("", *map(called, approvers))) if second else ""
    text = _summary(request, "waits for a second person" if second else "waits for a press")
    return replace(
        _card(request),
        text=f"{text}{calls}. {_in_words(request, means)}",
        paragraphs=(
            *([[(f"⚠️ {note}", "")]] if note else []),
            _untouched(request),
            *([[("⛔ Protected.", cut(visible(protected), 1000))]] if request.override else []),
            closing_advice.sentences(request),
            _means(means, closing_advice.advised_mode(request)),
        ),
        small=(
            *_approval(request, approvers),
            *map(_stop, request.stops[:_STOPS]),
            f"Expires {moment(request.expires_at)}. Nothing is closed without a press.",
        ),
        meanings=means,
    )


def carried_out(request: ClosingRequest, note: str) -> CardText:
    """Write the card of a request that is being carried out."""
    return replace(
        _card(request),
        text=_summary(request, "is being closed"),
        state=[("⏳ Closing … ", cut(visible(note), 1000))],
        paragraphs=[_untouched(request)],
        small=_decided(request, "pressed"),
    )


def concluded(request: ClosingRequest, before: Closed | None = None) -> CardText:
    """Write the card of a request that is done, cancelled or expired."""
    what = result(request)
    state = _state(request, what)
    if request.unrecorded:
        state.append(("⏳ Record pending. ", _UNRECORDED))
    return replace(
        _card(request),
        text=_summary(request, what),
        title=f"{title(request).rstrip('?')}: {what}",
        state=state,
        paragraphs=[_untouched(request)],
        small=[*_decided(request, "cancelled" if request.state is State.CANCELLED else "pressed"), *_closed(before)],
        review=_review(request),
    )


def called_for(request: ClosingRequest, what: str, small: str) -> CardText:
    """Write what somebody who may approve is told of a break-glass."""
    means = {mode: said for mode, said in meanings(request) if mode is request.mode}
    return replace(_card(request), text=_summary(request, what), paragraphs=[_means(means)], small=[small])


def title(request: ClosingRequest) -> str:
    """Ask what is to be decided."""
    mode = request.decided_mode or request.mode
    if len(request.targets) == 1:
        what = "Close the query of session" if mode is Mode.QUERY else "Close session"
        return f"{what} {request.targets[0].session.id}?"
    what = "Close the queries of" if mode is Mode.QUERY else "Close"
    return f"{what} {number(request.affected(mode), 'session', 'sessions')}?"


def result(request: ClosingRequest) -> str:
    """Say what became of the request as a whole, in a few words."""
    if request.state is State.CANCELLED:
        return "cancelled by Stop" if request.stopped else "cancelled"
    outcomes = [target.outcome for target in request.targets if target.outcome is not None]
    if not outcomes:
        return "expired"
    left = len(request.untouched) + request.beyond
    back = sum(target.newcomer is not None for target in request.targets)
    done = DONE[outcomes[0]] if len(request.targets) == 1 and not left else counted(outcomes)
    more = f"🔁 {back} came back" if len(request.targets) > 1 else "🔁 came back"
    return "; ".join(part for part in (done, more if back else "", f"{left} not touched" if left else "") if part)


def _card(request: ClosingRequest) -> CardText:
    """Write what every card says: what is to be closed, for whom and why."""
    several = len(request.targets) > 1
    session = request.targets[0].session
    facts = [[("Data source", request.source)]] if several else _session_facts(session, request.source)
    if request.filter_text:
        facts.append([("Where", request.filter_text)])
    if request.reason:
        facts.append([("Reason", request.reason)])
    return CardText(
        text="",
        title=title(request),
        asked=f"Asked by {mention(request.requester.id)} at {moment(request.created_at)}",
        facts=facts,
        targets=[_target(one) for one in request.targets],
    )


def _session_facts(session: Session, source: str) -> list[list[Fact]]:
    client = session.client
    return [
        [("Data source", source), ("Tenant", session.tenant or "-"), ("observer", session.observer)],
        [("User", client.user or "-"), ("Source", client.origin), ("OBProxy", client.proxy or "-")],
        [("Session ID", str(session.id)), ("Database Name", session.database or "-")],
        [("Status", f"{status(session)}, {session.command}, for {lasts(session)}")],
        [("Transaction", transaction(session))],
    ]


def _target(target: Target) -> TargetText:
    session = target.session
    if target.outcome is None:
        return TargetText(session, transaction(session))
    step = _next_step(target.outcome, [session.id]) or _came_back(target)
    said = cut(visible(f" {target.detail} {step}"), 400)
    return TargetText(session, transaction(session), DONE[target.outcome], said)


def _state(request: ClosingRequest, what: str) -> list[Sentence]:
    """Say what is known of a close that is over."""
    if request.state is State.CANCELLED:
        return [("", f"Nothing was closed.{_STOPPED if request.stopped else ''}")]
    if all(target.outcome is None for target in request.targets):
        return [("", "Nobody confirmed in time. This card closed nothing.")]
    if len(request.targets) > AS_LINES:
        return [(f"{what}.", ""), *_outcomes(request.targets)]
    if len(request.targets) > 1:  # each line tells its own outcome
        return [(f"{what}.", "")]
    target = request.targets[0]
    if target.outcome is None:
        return []
    done = DONE[target.outcome]
    steps = (_next_step(target.outcome, [target.session.id]), _came_back(target))
    return [
        (done, f". {target.detail}") if target.detail else (f"{done}.", ""),
        *(("", step) for step in steps if step),
    ]


def _means(means: Mapping[Mode, str], first: Mode | None = None) -> list[Sentence]:
    ordered = sorted(means.items(), key=lambda one: first is not None and one[0] is not first)
    return [(mode.value, f"  {said}") for mode, said in ordered]


def _summary(request: ClosingRequest, what: str) -> str:
    of = f" of {name(request.targets[0].session.client.user)}" if len(request.targets) == 1 else ""
    return top_level(f"{title(request).rstrip('?')}{of} on {request.source}: {what}")


def _in_words(request: ClosingRequest, means: Mapping[Mode, str]) -> str:
    """Say all that decides in the text, which is the whole card to a screen reader and on a phone's lock screen."""
    said = [f"{mode.value} {meaning}" for mode, meaning in means.items() if request.affected(mode)]
    advised = [cut(f"{heading}{why}".strip(), 300) for heading, why in closing_advice.sentences(request)[:1]]
    sentences = [top_level(" ".join((*advised, *said)))]
    if request.override:
        sentences.append(top_level(cut(visible(f"Protected: this session {request.protection}."), 500)))
    if request.alone_from is not None:
        sentences.append(
            f"Break-glass: {mention(request.requester.id)} may confirm alone from {utc(request.alone_from)} on, "
            "unless somebody presses Stop."
        )
    sentences.append(f"Expires at {utc(request.expires_at)}. Nothing is closed without a press.")
    return " ".join(sentences)


def _approval(request: ClosingRequest, approvers: Sequence[str]) -> list[str]:
    """Say whose press is wanted."""
    if request.approval is not ApprovalPolicy.SECOND_PERSON:
        return []
    them = ", ".join(map(called, approvers)) or "somebody who may approve"
    if request.alone_from is None:
        return [f"👥 A second person must confirm: {them}. Who asked may cancel."]
    return [
        f"🚨 *Break-glass*: nobody who may approve was there. {mention(request.requester.id)} may confirm alone from "
        f"{moment(request.alone_from)} on, unless somebody presses *Stop*. Called: {them}."
    ]


def _stop(stop: Stop) -> str:
    """Say that a Stop holds; the ids come from Slack."""
    return (
        f"🛑 {mention(stop.by.id)} pressed *Stop* at {moment(stop.at)}, when session {stop.session_id} was to be "
        "closed by break-glass. Break-glass stays off until somebody who may approve presses *Lift Stop*."
    )


def _decided(request: ClosingRequest, verb: str) -> list[str]:
    """Say who decided and when; ids come from Slack, so that they may stand in mrkdwn."""
    if request.decided_by is None or request.decided_at is None:
        return []
    took = ""
    known = [target.outcome_at for target in request.targets if target.outcome_at is not None]
    if len(known) == len(request.targets):
        took = f", known after {seconds((max(known) - request.decided_at).total_seconds())}"
    what = f"{request.decided_mode.value} {verb}" if request.decided_mode else verb.capitalize()
    return [f"{what} by {mention(request.decided_by.id)} at {moment(request.decided_at)}{took}."]


def _closed(before: Closed | None) -> list[str]:
    """Say who had closed it before; the id comes from the record."""
    return [f"It had been closed by {mention(before.by)} at {moment(before.at)}."] if before is not None else []


def _review(request: ClosingRequest) -> str:
    """Ask for the signature under a close that was confirmed alone, or show it."""
    if request.reviewed_by is not None and request.reviewed_at is not None:
        by, at = mention(request.reviewed_by.id), moment(request.reviewed_at)
        return f"Confirmed alone, by break-glass. Reviewed by {by} at {at}."
    asked = "🚨 Confirmed alone, by break-glass. *To be reviewed* by somebody else who may approve."
    return asked if request.to_review else ""


def _came_back(target: Target) -> str:
    """Say which new session does what a closed one did; '' where none does."""
    if target.newcomer is None:
        return ""
    return _AGAIN.format(target.newcomer) if target.runs_again else _BACK.format(f"session {target.newcomer}")


def _next_step(outcome: Outcome, ids: Iterable[int]) -> str:
    """Say what to do after such an outcome; '' where nothing is to be done."""
    return _NEXT.get(outcome, "").format(id=",".join(map(str, list(ids)[:_IDS])))


def _outcomes(targets: Iterable[Target]) -> list[Sentence]:
    """Say what there is to say of the outcomes, those with the same words together: which ones, what."""
    targets = list(targets)
    over = [(one.outcome, one.detail, one) for one in targets if one.outcome is not None]
    over = [one for one in over if one[1] or one[0] in _NEXT]
    back = [one for one in targets if one.newcomer is not None and not one.runs_again]
    again = [one for one in targets if one.runs_again]
    groups = []
    for (outcome, detail), members in groupby(sorted(over, key=_by_words), key=lambda one: one[:2]):
        ids = [target.session.id for _, _, target in members]
        groups.append((f"{DONE[outcome]}: {_ids(ids)}.", f"{detail} {_next_step(outcome, ids)}".strip()))
    if back:
        what, why = _BACK.format(_ids([one.newcomer for one in back if one.newcomer is not None])).split(": ", 1)
        groups.append((f"{what}:", why[0].upper() + why[1:]))
    if again:
        what, why = _AGAIN.format(_ids([one.session.id for one in again])).split(": ", 1)
        groups.append((f"{what}:", why[0].upper() + why[1:]))
    return _few(groups)


def _untouched(request: ClosingRequest) -> list[Sentence]:
    """Say what was asked for and is not closed by this request, and why: which ones, why."""
    groups = []
    for why, members in groupby(sorted(request.untouched, key=lambda one: one.why), key=lambda one: one.why):
        groups.append((f"Not touched: {_ids([one.session_id for one in members])}", why))
    beyond = []
    if request.beyond:
        most = len(request.targets) + len(request.untouched)
        fit = "fits" if request.beyond == 1 else "fit"
        why = f" also {fit} the filter. One request closes at most {most}; ask again for the rest."
        beyond.append((f"Not touched: {request.beyond:,}", why))
    return [*beyond, *_few(groups)]


def _by_words(over: tuple[Outcome, str, Target]) -> tuple[str, str, int]:
    return over[0].value, over[1], over[2].number


def _ids(ids: list[int]) -> str:
    more = f" and {len(ids) - _IDS} more" if len(ids) > _IDS else ""
    return ", ".join(map(str, ids[:_IDS])) + more


def _few(groups: list[Sentence]) -> list[Sentence]:
    few = [(which, f" {cut(visible(why), _GROUP_CHARACTERS)}") for which, why in groups[:_GROUPS]]
    left = len(groups) - _GROUPS
    return [*few, ("And", f" {left} more reasons, all in the record.")] if left > 0 else few
