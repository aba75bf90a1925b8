"""The dialogs of closing: the targets as they are now, with their number to type; the reason of a break-glass."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType

from bot.closing.model import ClosingRequest, Target
from bot.sessions.masking import cut
from bot.sessions.model import Mode, Session
from bot.sessions.statement import Disclosure
from bot.slack.escaping import visible
from bot.slack.views import blocks as kit
from bot.slack.views import closing_advice, closing_meaning, components, wording

CALLBACK = "closing.typed"
TYPED = "closing.number"  # action id
TYPED_BLOCK = "closing.number_block"

GLASS_CALLBACK = "closing.break_glass_reason"
REASON = "closing.reason"  # action id
REASON_BLOCK = "closing.reason_block"
REASON_CHARACTERS = 500

_TITLES = {Mode.SESSION: "Close {} sessions", Mode.QUERY: "Close {} queries"}
_SQL_CHARACTERS = 400
_OTHERS = "Of this request {} more {} open: somebody else decides {}."
_ONE_LINE = 120  # characters of each of several


def looking(mode: Mode) -> kit.View:
    """Show that it is being looked at; the window must open within three seconds."""
    return _modal(mode.value, [components.lines([components.plain("Looking at it as it is now …")])])


def problem(mode: Mode, sentence: str) -> kit.View:
    """Show in the dialog that there is nothing to confirm."""
    return _modal(mode.value, [components.lines([components.plain(sentence)])])


def as_it_is_now(
    request: ClosingRequest,
    present: Mapping[int, Session],
    mode: Mode,
    metadata: Mapping[str, str],
    *,
    disclosure: Disclosure,
    unseen: Mapping[int, str] = MappingProxyType({}),
    others: int = 0,
) -> kit.View:
    """Show the targets as they are now and what has changed since they were asked for; submitting confirms.

    ``others`` is how many of the request are not this person's to decide, and stay open.
    ``unseen`` says why of some it cannot be seen whether they are there.
    ``metadata`` comes back with what was typed.
    """
    number = request.number_to_type(mode)
    meaning = closing_meaning.meaning_now(request, present, mode)
    blocks = [
        *_head(request),
        *_targets(request, present, unseen, others, disclosure),
        *_advice(request),
        components.lines([components.bold(mode.value), components.plain("  " + meaning)]),
        *([_number_input(number)] if number is not None else []),
    ]
    return _modal(
        mode.value if number is None else _TITLES[mode].format(number),
        blocks,
        submit=mode.value,
        close="Keep them" if len(request.targets) > 1 else "Keep it",
        callback=CALLBACK,
        metadata={**metadata, **({"number": str(number)} if number is not None else {})},
    )


def ask_reason(request: ClosingRequest, wait: float, metadata: Mapping[str, str]) -> kit.View:
    """Ask why a second person cannot be waited for; ``wait`` is in seconds."""
    warning = (
        f"{wording.seconds(wait)} from now you may confirm {request.mode.value} alone, unless somebody presses "
        "Stop. Those who may approve are called, here and by direct message, and one of them must review the close "
        "afterwards."
    )
    reason = kit.text_input(
        REASON,
        multiline=True,
        max_length=REASON_CHARACTERS,
        min_length=1,
        initial_value=request.reason[:REASON_CHARACTERS],
    )
    blocks: list[kit.Block] = [
        components.lines([components.plain(warning)]),
        kit.input_block("Reason", reason, REASON_BLOCK),
    ]
    return _modal(
        "Break glass", blocks, submit="Break glass", close="Wait for them", callback=GLASS_CALLBACK, metadata=metadata
    )


def _modal(
    title: str,
    blocks: list[kit.Block],
    *,
    submit: str | None = None,
    close: str = "Close",
    callback: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> kit.View:
    return kit.modal(
        title,
        blocks,
        submit=submit,
        close=close,
        callback_id=callback,
        private_metadata=json.dumps(dict(metadata)) if metadata is not None else None,
    )


def _advice(request: ClosingRequest) -> list[kit.Block]:
    """Say what was advised when it was asked for."""
    said = closing_advice.sentences(request)
    rows: list[components.Line] = [[components.bold(which), components.plain(why)] for which, why in said]
    return [components.lines(*rows)] if rows else []


def _head(request: ClosingRequest) -> list[kit.Block]:
    asked = f"Asked by {wording.mention(request.requester.id)} at {wording.moment(request.created_at)}."
    facts = [("Data source", request.source), *([("Reason", request.reason)] if request.reason else [])]
    head: list[kit.Block] = [
        components.context(asked),
        components.lines(*(components.facts([fact]) for fact in facts)),
    ]
    if request.override:
        why = f"this session {request.protection}."
        head.append(components.lines([components.bold("⛔ Protected: "), components.plain(why)]))
    return head


def _targets(
    request: ClosingRequest,
    present: Mapping[int, Session],
    unseen: Mapping[int, str],
    others: int,
    disclosure: Disclosure,
) -> list[kit.Block]:
    first, several = request.targets[0], len(request.targets) > 1
    now = present.get(first.number)
    blocks = [
        _all_targets(request, present, unseen) if several else _one_target(first, now, unseen.get(first.number, ""))
    ]
    if others:
        said = _OTHERS.format(others, *(("stays", "it") if others == 1 else ("stay", "them")))
        blocks.append(components.lines([components.plain(said)]))
    if not several and now is not None and now.statement is not None:
        blocks += components.sql(now.statement, _SQL_CHARACTERS, disclosure)
    return blocks


def _number_input(number: int) -> kit.Block:
    return kit.input_block(
        "How many sessions do you want to close?",
        kit.text_input(TYPED, max_length=20, focus_on_load=True),
        TYPED_BLOCK,
        hint=f"Type {number} to close them.",
    )


def _one_target(target: Target, now: Session | None, unseen: str) -> kit.Block:
    before = target.session
    if now is None and unseen:
        return components.lines(
            [components.bold(f"Session {before.id} cannot be seen"), components.plain(f". {unseen}")]
        )
    if now is None:
        return components.lines(
            [components.bold(f"Session {before.id} is gone"), components.plain(": there is nothing to close.")]
        )
    state = f"{wording.status(now)}, {now.command}, for {wording.lasts(now)}"
    rows = [
        components.facts(
            [("Session ID", str(now.id)), ("User", now.client.user or "-"), ("Source", now.client.origin)]
        ),
        components.facts(
            [("Tenant", now.tenant or "-"), ("Database Name", now.database or "-"), ("observer", now.observer)]
        ),
        components.facts([("Status", state)]),
        components.facts([("Transaction", closing_meaning.transaction(now))]),
    ]
    changes = closing_meaning.changes(before, now)
    said = [components.bold("Changed since it was asked for: "), components.plain(changes)] if changes else []
    return components.lines(*rows, said or [components.plain("None of this has changed since the request.")])


def _all_targets(request: ClosingRequest, present: Mapping[int, Session], unseen: Mapping[int, str]) -> kit.Block:
    rows: list[components.Line] = []
    for target in request.targets:
        now = present.get(target.number)
        if now is None:
            said = f"cannot be seen. {unseen[target.number]}" if target.number in unseen else "is gone"
        else:
            said = f"{now.client.user or '-'} from {now.client.origin}, {now.state} for {wording.seconds(now.time)}"
            changes = closing_meaning.changes(target.session, now)
            said += f"; changed: {changes}" if changes else ""
        rows.append([components.bold(f"{target.session.id}  "), components.plain(cut(visible(said), _ONE_LINE))])
    return components.lines(*rows)
