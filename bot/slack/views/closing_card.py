"""The card of a closing request: what would be closed, what that means, and what became of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Literal

from bot.closing.model import ApprovalPolicy, ClosingRequest, Extension, Outcome, State, Stop
from bot.sessions.masking import cut
from bot.sessions.model import Mode, Session
from bot.sessions.statement import Disclosure
from bot.slack.delivery.message import Message
from bot.slack.escaping import top_level, unformatted, visible
from bot.slack.views import blocks as kit
from bot.slack.views import closing_targets, closing_text, components, wording

# action ids
CLOSE_SESSION = "closing.close_session"
CLOSE_QUERY = "closing.close_query"
LOOK_SESSION = "closing.look_session"  # opens the dialog that shows the targets as they are now
LOOK_QUERY = "closing.look_query"
BREAK_GLASS = "closing.break_glass"  # opens the dialog that asks for the reason
REVIEW = "closing.review"
CANCEL = "closing.cancel"
APPROVE = "closing.approve"  # in a direct message: opens the same dialog for what its break-glass called for
STOP = "closing.stop"  # in a direct message: the same as CANCEL on the card
LIFT = "closing.lift"  # lets the Stop of an earlier request hold no more
CLOSE_HOLDER = "closing.close_holder"  # asks for the server session that still has a closed client's locks

_UNRECORDED = "The store does not answer: the bot writes this down as soon as it does."

_STOPPED = (
    " Break-glass stays off for this session. To close it, ask again and have somebody who may approve confirm it or "
    "press Lift Stop."
)
_STOPS = 3  # Stops that a card tells one by one

_SQL_CHARACTERS = 600
_QUESTION_CHARACTERS = 400
_REASON_CHARACTERS = 500


def closing_card(
    request: ClosingRequest,
    *,
    disclosure: Disclosure,
    approvers: Sequence[str] = (),
    break_glass: bool = False,
    note: str = "",
) -> Message:
    """Show a request that waits for its confirmation.

    ``approvers`` are Slack ids of those who are called where a second person must confirm, ``break_glass`` says
    whether the requester may come to confirm alone,
    ``note`` is a sentence on what has happened to the request.
    """
    below = [
        *([components.lines([components.bold(f"⚠️ {note}")])] if note else []),
        *_untouched(request),
        *_override(request),
        _meaning(request),
        components.context(
            *_approvals(request, approvers),
            *map(_stop, request.stops[:_STOPS]),
            f"Expires {wording.moment(request.expires_at)}. Nothing is closed without a press.",
        ),
        _buttons(request, break_glass=break_glass),
    ]
    what = "waits for a second person" if request.approval is ApprovalPolicy.SECOND_PERSON else "waits for a press"
    message = _card(request, closing_text.title(request), what, [], below, disclosure=disclosure)
    # A mobile notification, which calls them, is made of the text.
    called = map(wording.called, approvers) if request.approval is ApprovalPolicy.SECOND_PERSON else ()
    return replace(message, text=f"{' '.join((message.text, *called))}. {_in_words(request)}")


def closing_progress(request: ClosingRequest, note: str, *, disclosure: Disclosure) -> Message:
    """Show a request that is being carried out and takes longer than a moment."""
    lines = components.lines([components.bold("⏳ Closing … "), components.plain(cut(visible(note), 1000))])
    below = [*_untouched(request), *_decided(request, "pressed")]
    return _card(request, closing_text.title(request), "is being closed", [lines], below, disclosure=disclosure)


def closing_result(request: ClosingRequest, *, disclosure: Disclosure) -> Message:
    """Show what became of a request: done, cancelled or expired. What is left to press is a review, if any."""
    text = closing_text.result(request)
    title = f"{closing_text.title(request).rstrip('?')}: {text}"
    verb = "cancelled" if request.state is State.CANCELLED else "pressed"
    told = _result(request, text)
    if request.unrecorded:
        told.append([components.bold("⏳ Record pending. "), components.plain(_UNRECORDED)])
    lines = components.lines(*told)
    below = [*_untouched(request), *_decided(request, verb), *_holders(request), *_reviewed(request)]
    return _card(request, title, text, [lines], below, disclosure=disclosure)


def broken_glass(request: ClosingRequest, approvers: Sequence[str]) -> Message:
    """Call those who may approve, in a message of its own: a card that is rewritten notifies nobody."""
    called = " ".join(map(wording.called, approvers)) or "Whoever may approve"
    who, what = wording.mention(request.requester.id), closing_text.title(request).rstrip("?")
    alone_from = request.alone_from or request.created_at

    def told(since: str, source: str, stop: str) -> str:
        return (
            f"🚨 {called}: from {since} on {who} may confirm alone, by break-glass: {what} on {source}. "
            f"Look at its card above: confirm it, or press {stop}."
        )

    shown = told(wording.moment(alone_from), unformatted(request.source), "*Stop*")
    text = told(wording.utc(alone_from), top_level(request.source), "Stop")
    return Message(text, [components.context(shown), components.lines(components.facts([("Reason", request.reason)]))])


def call(request: ClosingRequest, due: datetime, *, disclosure: Disclosure) -> Message:
    """Tell somebody who may approve, by direct message, of a break-glass; its buttons count in the request's channel.

    ``due`` is from when on the requester may confirm alone, but for the moment that the messages take.
    """
    who = wording.mention(request.requester.id)
    told = (
        f"🚨 {who} has broken the glass in <#{request.channel}>: from {wording.moment(due)} on, {who} may confirm "
        "this alone. *Approve* shows the session as it is now and asks once more; *Stop* prevents it."
    )
    buttons: list[kit.Element] = [
        kit.button("Approve", action_id=APPROVE, value=request.id, style="danger"),
        kit.button("Stop", action_id=STOP, value=request.id),
    ]
    below: list[kit.Block] = [_meaning(request, [request.mode]), components.context(told), kit.actions(buttons)]
    what = f"by break-glass, from {wording.utc(due)} on it may be confirmed without you: approve or stop it"
    return _card(request, closing_text.title(request), what, [], below, disclosure=disclosure)


def call_over(request: ClosingRequest) -> Message:
    """Take the buttons off such a message once there is nothing left to approve or to stop."""
    title = closing_text.title(request).rstrip("?")
    over = request.state not in (State.OPEN, State.CLAIMED)
    result = closing_text.result(request) if over else "this message is out of date; see the card"
    by = f" by {wording.mention(request.decided_by.id)}" if over and request.decided_by is not None else ""
    said = f"{title} on {request.source}: {result}"
    where = f"{by} · <#{request.channel}>"
    return Message(top_level(said) + where, [components.context(unformatted(said) + where)])


def budget_extended(extension: Extension) -> Message:
    """Say who agreed to more closes, and how many that makes."""
    who = f"{wording.mention(extension.by.id)} extended the budget of "
    more = f" by {extension.closes} closes, to {extension.allowed} within {extension.within}. Press again."
    text, shown = (f"{who}{escape(extension.source)}{more}" for escape in (top_level, unformatted))
    return Message(text, [components.context(shown)])


def budget_call_over() -> Message:
    """Take the button off a call for more closes that is over."""
    text = "This call for a larger budget is over. Press Close on the card again; if it is too much, a new one follows."
    return Message(text, [components.context(text)])


def _card(
    request: ClosingRequest,
    title: str,
    what: str,
    state: list[kit.Block],
    below: list[kit.Block],
    *,
    disclosure: Disclosure,
) -> Message:
    """Put together what every card has: what is to be closed stands above what is said of it, as far as it is short."""
    head: list[kit.Block] = [
        components.header(title),
        components.context(f"Asked by {wording.mention(request.requester.id)} at {wording.moment(request.created_at)}"),
    ]
    text = _summary(request, what)
    facts = components.lines(*_facts(request))
    if len(request.targets) == 1:
        sql = _sql(request.targets[0].session, disclosure=disclosure)
        return Message(text, [*head, facts, *sql, *state, *below])
    if len(request.targets) <= closing_targets.AS_LINES:
        lines = closing_targets.as_lines(request, disclosure=disclosure)
        return Message(text, [*head, facts, lines, *state, *below])
    above = [*head, facts, *state]
    return Message(
        text,
        [*above, closing_targets.as_table(request, disclosure=disclosure), *below],
        fallback=[*above, *closing_targets.as_text_table(request, disclosure=disclosure), *below],
    )


def _facts(request: ClosingRequest) -> list[components.Line]:
    facts = [("Data source", request.source)]
    rows = _session_facts(request.targets[0].session, facts) if len(request.targets) == 1 else [components.facts(facts)]
    if request.question:
        question = cut(visible(request.question), _QUESTION_CHARACTERS)
        rows.append([components.bold("Where"), components.plain(" "), components.code(question)])
    if request.reason:
        rows.append(components.facts([("Reason", request.reason)], _REASON_CHARACTERS))
    return rows


def _session_facts(session: Session, before: list[tuple[str, str]]) -> list[components.Line]:
    state = f"{session.state}, {session.command}, for {wording.seconds(session.time)}"
    rows = (
        [*before, ("Tenant", session.tenant or "-"), ("observer", session.observer)],
        [
            ("User", session.client.user or "-"),
            ("Source", session.client.origin),
            ("OBProxy", session.client.proxy or "-"),
        ],
        [("Session ID", str(session.id)), ("Database Name", session.database or "-")],
        [("Status", state)],
        [("Transaction", closing_text.transaction(session))],
    )
    return [components.facts(row) for row in rows]


def _result(request: ClosingRequest, text: str) -> list[components.Line]:
    if request.state is State.CANCELLED:
        return [[components.plain(f"Nothing was closed.{_STOPPED if request.stopped else ''}")]]
    if all(target.outcome is None for target in request.targets):
        return [[components.plain("Nobody confirmed in time. This card closed nothing.")]]
    if 1 < len(request.targets) <= closing_targets.AS_LINES:  # each line tells its own outcome
        return [[components.bold(text + ".")]]
    told = closing_text.outcomes(request.targets)
    if len(request.targets) > 1:
        return [
            [components.bold(text + ".")],
            *([components.bold(which), components.plain(f" {why}")] for which, why in told),
        ]
    target = request.targets[0]
    if target.outcome is None:
        return []
    done = closing_text.DONE[target.outcome]
    rows: list[components.Line] = [
        [components.bold(done), components.plain(f". {target.detail}")]
        if target.detail
        else [components.bold(done + ".")]
    ]
    steps = (closing_text.next_step(target.outcome, [target.session.id]), closing_text.came_back(target))
    return [*rows, *([components.plain(step)] for step in steps if step)]


def _summary(request: ClosingRequest, what: str) -> str:
    of = f" of {wording.name(request.targets[0].session.client.user)}" if len(request.targets) == 1 else ""
    return top_level(f"{closing_text.title(request).rstrip('?')}{of} on {request.source}: {what}")


def _decided(request: ClosingRequest, verb: str) -> list[kit.Block]:
    """Who decided and when; ids come from Slack, so that they may stand in mrkdwn."""
    if request.decided_by is None or request.decided_at is None:
        return []
    took = ""
    known = [target.outcome_at for target in request.targets if target.outcome_at is not None]
    if len(known) == len(request.targets):
        took = f", known after {wording.seconds((max(known) - request.decided_at).total_seconds())}"
    what = f"{request.decided_mode.value} {verb}" if request.decided_mode else verb.capitalize()
    return [
        components.context(
            f"{what} by {wording.mention(request.decided_by.id)} at {wording.moment(request.decided_at)}{took}."
        )
    ]


def _sql(session: Session, *, disclosure: Disclosure) -> list[kit.Block]:
    if session.statement is None:
        return []
    return components.sql(session.statement, _SQL_CHARACTERS, disclosure)


def _untouched(request: ClosingRequest) -> list[kit.Block]:
    told = closing_text.untouched(request)
    if not told:
        return []
    return [components.lines(*([components.bold(which), components.plain(f" {why}")] for which, why in told))]


def _meaning(request: ClosingRequest, modes: Collection[Mode] = tuple(Mode)) -> kit.Block:
    meanings = [(mode, means) for mode, means in closing_text.meanings(request) if mode in modes]
    return components.lines(
        *([components.bold(mode.value), components.plain("  " + means)] for mode, means in meanings)
    )


def _in_words(request: ClosingRequest) -> str:
    """Say all that decides in the text, which is the whole card to a screen reader and on a phone's lock screen."""
    meanings = [f"{mode.value} {means}" for mode, means in closing_text.meanings(request) if request.affected(mode)]
    sentences = [top_level(" ".join(meanings))]
    if request.override:
        sentences.append(top_level(cut(visible(f"Protected: this session {request.protection}."), 500)))
    if request.alone_from is not None:
        sentences.append(
            f"Break-glass: {wording.mention(request.requester.id)} may confirm alone from "
            f"{wording.utc(request.alone_from)} on, unless somebody presses Stop."
        )
    sentences.append(f"Expires at {wording.utc(request.expires_at)}. Nothing is closed without a press.")
    return " ".join(sentences)


def _override(request: ClosingRequest) -> list[kit.Block]:
    if not request.override:
        return []
    why = f" This session {request.protection}. Somebody who may approve can set that aside for this one close."
    return [components.lines([components.bold("⛔ Protected."), components.plain(cut(visible(why), 1000))])]


def _approvals(request: ClosingRequest, approvers: Sequence[str]) -> list[str]:
    """Say whose press is wanted, as mrkdwn; the ids are those of the access rules."""
    if request.approval is not ApprovalPolicy.SECOND_PERSON:
        return []
    called = ", ".join(map(wording.called, approvers)) or "somebody who may approve"
    if request.alone_from is None:
        return [f"👥 A second person must confirm: {called}. Who asked may cancel."]
    who = wording.mention(request.requester.id)
    return [
        f"🚨 *Break-glass*: nobody who may approve was there. {who} may confirm alone from "
        f"{wording.moment(request.alone_from)} on, unless somebody presses *Stop*. Called: {called}."
    ]


def _stop(stop: Stop) -> str:
    """Say that a Stop holds, as mrkdwn; the ids come from Slack."""
    by, at = wording.mention(stop.by.id), wording.moment(stop.at)
    return (
        f"🛑 {by} pressed *Stop* at {at}, when session {stop.session_id} was to be closed by break-glass. "
        "Break-glass stays off until somebody who may approve presses *Lift Stop*."
    )


def _reviewed(request: ClosingRequest) -> list[kit.Block]:
    """Ask for the signature under a close that was confirmed alone, or show it."""
    if request.reviewed_by is not None and request.reviewed_at is not None:
        by, at = wording.mention(request.reviewed_by.id), wording.moment(request.reviewed_at)
        return [components.context(f"Confirmed alone, by break-glass. Reviewed by {by} at {at}.")]
    if not request.to_review:
        return []
    button = kit.button("Sign review", action_id=REVIEW, value=request.id)
    told = "🚨 Confirmed alone, by break-glass. *To be reviewed* by somebody else who may approve."
    return [components.context(told), kit.actions([button])]


def _holders(request: ClosingRequest) -> list[kit.Block]:
    """Offer to close the server sessions that still have the locks of closed clients; nothing sends that by itself."""
    left = [one for one in request.targets if one.holder is not None and one.outcome is Outcome.STILL_RUNNING]
    buttons = [
        kit.button(f"Close Session {one.holder.id}", action_id=CLOSE_HOLDER, value=f"{request.id}|{one.number}")
        for one in left[:5]
        if one.holder is not None
    ]
    if not buttons:
        return []
    told = "The server sessions that still have these locks can be closed by their own ids, each on a card of its own."
    return [components.context(told), kit.actions(buttons)]


def _buttons(request: ClosingRequest, *, break_glass: bool) -> kit.Block:
    offered = [mode for mode in Mode if request.affected(mode)]
    # What was asked for stands first and is the coloured one.
    offered.sort(key=lambda mode: mode is not request.mode)
    buttons: list[kit.Element] = [
        _close_button(request, mode, "danger" if mode is request.mode else None) for mode in offered
    ]
    stop = "Cancel" if request.alone_from is None else "Stop"
    buttons.append(kit.button(stop, action_id=CANCEL, value=request.id))
    waits = request.approval is ApprovalPolicy.SECOND_PERSON and request.alone_from is None
    if break_glass and waits and not request.stops:
        buttons.append(kit.button("Break glass", action_id=BREAK_GLASS, value=request.id))
    if request.stops:
        buttons.append(kit.button("Lift Stop", action_id=LIFT, value=request.id))
    return kit.actions(buttons)


def _close_button(request: ClosingRequest, mode: Mode, style: Literal["danger"] | None) -> kit.Element:
    if request.number_to_type(mode) is not None or request.approval is ApprovalPolicy.SECOND_PERSON:
        # The dialog that it opens shows and asks more than a confirmation would.
        action = LOOK_SESSION if mode is Mode.SESSION else LOOK_QUERY
        return kit.button(mode.value, action_id=action, value=request.id, style=style)
    means = dict(closing_text.meanings(request))[mode]
    session = request.targets[0].session
    of = f"{session.client.user} from {session.client.origin}, {session.state} for {wording.seconds(session.time)}."
    which = f"{request.affected(mode)} sessions"
    tenants = {one.session.tenant for one in request.targets}
    theirs = " Those that are not yours to close stay open." if len(tenants) > 1 else ""
    if len(request.targets) > 1:
        of = ", ".join(str(one.session.id) for one in request.targets if mode is Mode.SESSION or one.session.running)
        of = f"{of} on {request.source}."
    else:
        which = str(session.id)
    confirm = kit.confirm(
        f"{mode.value} {which}?",
        cut(visible(f"{of} {mode.value} {means}{theirs}"), 300),
        confirm=mode.value,
        deny="Keep it" if len(request.targets) == 1 else "Keep them",
    )
    action = CLOSE_SESSION if mode is Mode.SESSION else CLOSE_QUERY
    return kit.button(mode.value, action_id=action, value=request.id, style=style, confirm=confirm)
