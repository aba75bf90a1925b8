"""The card of a closing request: what would be closed, what that means, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from bot.closing.model import ApprovalPolicy, ClosingRequest, Extension, Outcome, State
from bot.sessions.masking import cut
from bot.sessions.model import Mode
from bot.sessions.statement import Disclosure
from bot.sessions.waits.advice import Action
from bot.sessions.waits.case import Closed
from bot.slack.delivery.message import Message
from bot.slack.escaping import top_level, visible
from bot.slack.views import blocks as kit
from bot.slack.views import closing_advice, closing_targets, closing_text, components, wording
from bot.slack.views.closing_text import CardText, Sentence

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
CLOSE_BLOCKER = "closing.close_blocker"  # asks for the session that is advised to be closed instead
CLOSE_HOLDER = "closing.close_holder"  # asks for the server session that still has a closed client's locks

_SQL_CHARACTERS = 600
_FILTER_CHARACTERS = 400
_REASON_CHARACTERS = 500
_HOLDERS = "The server sessions that still have these locks can be closed by their own ids, each on a card of its own."


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
    whether the requester may come to confirm alone, ``note`` is a sentence on what has happened to the request.
    """
    card = closing_text.waiting(request, approvers, note)
    return _laid_out(card, _buttons(request, card, break_glass=break_glass), disclosure)


def closing_progress(request: ClosingRequest, note: str, *, disclosure: Disclosure) -> Message:
    """Show a request that is being carried out and takes longer than a moment."""
    return _laid_out(closing_text.carried_out(request, note), [], disclosure)


def closing_result(request: ClosingRequest, *, disclosure: Disclosure, before: Closed | None = None) -> Message:
    """Show what became of a request: done, cancelled or expired. What is left to press is a review, if any.

    ``before`` is who had closed already what the press found ending.
    """
    card = closing_text.concluded(request, before)
    return _laid_out(card, [*_holders(request), *_review(request, card)], disclosure)


def broken_glass(request: ClosingRequest, approvers: Sequence[str]) -> Message:
    """Call those who may approve, in a message of its own: a card that is rewritten notifies nobody."""
    called = " ".join(map(wording.called, approvers)) or "Whoever may approve"
    who, what = wording.mention(request.requester.id), closing_text.title(request).rstrip("?")
    alone_from = request.alone_from or request.created_at

    def said(since: str) -> str:
        return f"🚨 {called}: from {since} on {who} may confirm alone, by break-glass:"

    rest = f"{what} on {request.source}. Look at its card above: confirm it, or press Stop."
    shown = components.context(said(wording.moment(alone_from)), kit.plain_text(visible(rest)))
    reason = components.lines(components.facts([("Reason", request.reason)]))
    return Message(f"{said(wording.utc(alone_from))} {top_level(rest)}", [shown, reason])


def call(request: ClosingRequest, due: datetime, *, disclosure: Disclosure) -> Message:
    """Tell somebody who may approve, by direct message, of a break-glass; its buttons count in the request's channel.

    ``due`` is from when on the requester may confirm alone, but for the moment that the messages take.
    """
    who = wording.mention(request.requester.id)
    card = closing_text.called_for(
        request,
        f"by break-glass, from {wording.utc(due)} on it may be confirmed without you: approve or stop it",
        f"🚨 {who} has broken the glass in <#{request.channel}>: from {wording.moment(due)} on, {who} may confirm "
        "this alone. *Approve* shows the session as it is now and asks once more; *Stop* prevents it.",
    )
    buttons = [
        kit.button("Approve", action_id=APPROVE, value=request.id, style="danger"),
        kit.button("Stop", action_id=STOP, value=request.id),
    ]
    return _laid_out(card, [kit.actions(buttons)], disclosure)


def call_over(request: ClosingRequest) -> Message:
    """Take the buttons off such a message once there is nothing left to approve or to stop."""
    title = closing_text.title(request).rstrip("?")
    over = request.state not in (State.OPEN, State.CLAIMED)
    result = closing_text.result(request) if over else "this message is out of date; see the card"
    by = f"by {wording.mention(request.decided_by.id)} " if over and request.decided_by is not None else ""
    said = f"{title} on {request.source}: {result}"
    where = f"{by}· <#{request.channel}>"
    return Message(f"{top_level(said)} {where}", [components.context(kit.plain_text(visible(said)), where)])


def budget_extended(extension: Extension) -> Message:
    """Say who agreed to more closes, and how many that makes."""
    who = f"{wording.mention(extension.by.id)} extended the budget"
    more = f"by {extension.closes} closes, to {extension.allowed} within {extension.within}. Press again."
    said = f"of {extension.source} {more}"
    return Message(f"{who} {top_level(said)}", [components.context(who, kit.plain_text(visible(said)))])


def budget_call_over() -> Message:
    """Take the button off a call for more closes that is over."""
    text = "This call for a larger budget is over. Press Close on the card again; if it is too much, a new one follows."
    return Message(text, [components.context(text)])


def _laid_out(card: CardText, buttons: Sequence[kit.Block], disclosure: Disclosure) -> Message:
    """Lay a card out: what is to be closed stands above what is said of it, as far as it is short."""
    head = [components.header(card.title), components.context(card.asked), components.lines(*map(_facts, card.facts))]
    state = [_paragraph(card.state)] if card.state else []
    below = [
        *(_paragraph(one) for one in card.paragraphs if one),
        *([components.context(*card.small)] if card.small else []),
        *buttons,
    ]
    if len(card.targets) == 1:
        statement = card.targets[0].session.statement
        sql = components.sql(statement, _SQL_CHARACTERS, disclosure) if statement is not None else []
        return Message(card.text, [*head, *sql, *state, *below])
    if len(card.targets) <= closing_text.AS_LINES:
        return Message(card.text, [*head, closing_targets.as_lines(card.targets, disclosure), *state, *below])
    above = [*head, *state]
    return Message(
        card.text,
        [*above, closing_targets.as_table(card.targets, disclosure), *below],
        fallback=[*above, *closing_targets.as_text_table(card.targets, disclosure), *below],
    )


def _facts(facts: Sequence[closing_text.Fact]) -> components.Line:
    (label, value), *_ = facts
    if label == "Where":
        filter_ = cut(visible(value), _FILTER_CHARACTERS)
        return [components.bold(label), components.plain(" "), components.code(filter_)]
    return components.facts(facts, _REASON_CHARACTERS) if label == "Reason" else components.facts(facts)


def _paragraph(sentences: Sequence[Sentence]) -> kit.Block:
    return components.lines(*([components.bold(which), components.plain(said)] for which, said in sentences))


def _review(request: ClosingRequest, card: CardText) -> list[kit.Block]:
    if not card.review:
        return []
    button = kit.button("Sign review", action_id=REVIEW, value=request.id)
    return [components.context(card.review), *([kit.actions([button])] if request.to_review else [])]


def _holders(request: ClosingRequest) -> list[kit.Block]:
    """Offer to close the server sessions that still have the locks of closed clients; nothing sends that by itself."""
    left = [one for one in request.targets if one.holder is not None and one.outcome is Outcome.STILL_RUNNING]
    buttons = [
        kit.button(f"Close Session {one.holder.id}", action_id=CLOSE_HOLDER, value=f"{request.id}|{one.number}")
        for one in left[:5]
        if one.holder is not None
    ]
    return [components.context(_HOLDERS), kit.actions(buttons)] if buttons else []


def _buttons(request: ClosingRequest, card: CardText, *, break_glass: bool) -> list[kit.Block]:
    offered = [mode for mode in Mode if request.affected(mode)]
    # What is advised stands first, else what was asked for, which is the coloured one.
    first = closing_advice.advised_mode(request) or request.mode
    offered.sort(key=lambda mode: mode is not first)
    buttons: list[kit.Element] = [
        *_blockers(request),
        *(
            _close_button(request, mode, card.meanings[mode], "danger" if mode is request.mode else None)
            for mode in offered
        ),
    ]
    stop = "Cancel" if request.alone_from is None else "Stop"
    buttons.append(kit.button(stop, action_id=CANCEL, value=request.id))
    waits = request.approval is ApprovalPolicy.SECOND_PERSON and request.alone_from is None
    if break_glass and waits and not request.stops:
        buttons.append(kit.button("Break glass", action_id=BREAK_GLASS, value=request.id))
    if request.stops:
        buttons.append(kit.button("Lift Stop", action_id=LIFT, value=request.id))
    return [kit.actions(buttons)]


def _blockers(request: ClosingRequest) -> list[kit.Element]:
    """Lead from what waits itself to whom it waits for; nothing is closed by these."""
    sessions = closing_advice.blockers(request)
    guessed = any(one.advice is not None and one.advice.guessed for one in request.targets)
    label = Action.CLOSE_BLOCKER.value if len(sessions) == 1 and not guessed else "Close {} instead"
    return [
        kit.button(
            label.format(one.id),
            action_id=f"{CLOSE_BLOCKER}.{number}",
            value=f"{request.id}|{number}",
            style="primary" if number == 0 and not guessed else None,
        )
        for number, one in enumerate(sessions)
    ]


def _close_button(request: ClosingRequest, mode: Mode, means: str, style: Literal["danger"] | None) -> kit.Element:
    if request.number_to_type(mode) is not None or request.approval is ApprovalPolicy.SECOND_PERSON:
        # The dialog that it opens shows and asks more than a confirmation would.
        action = LOOK_SESSION if mode is Mode.SESSION else LOOK_QUERY
        return kit.button(mode.value, action_id=action, value=request.id, style=style)
    session = request.targets[0].session
    of = f"{session.client.user} from {session.client.origin}, {wording.status(session)} for {wording.lasts(session)}."
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
