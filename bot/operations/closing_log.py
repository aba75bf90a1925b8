"""What the log says of requests, presses, KILLs and outcomes: a line for each act that has come on record.

One mechanism for all of them, so that nothing is logged that is not on record, and nothing of the record is missing
from the log: what another replica has finished or what came to light later included. No statement and nothing that was
typed gets there. docs/monitoring.md says what each field is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import structlog

from bot.closing.model import ClosingRequest
from bot.closing.store.audit_log import Recorded

log = structlog.get_logger("bot")

# Acts of somebody who has pressed or typed; others are done for whoever confirmed the request.
_OF_ITS_CONFIRMATION = ("intent", "withdraw", "outcome", "later", "came back", "release")
_NAMED = ("server", "session", "tenant")


def tell(acts: Iterable[Recorded]) -> None:
    """Log each act."""
    for one in acts:
        log.info("recorded", **fields(one))


def fields(recorded: Recorded) -> dict[str, Any]:
    """Return what is told of an act, without its details; None where something does not apply."""
    entry, request = recorded.entry, recorded.request
    details = entry.details
    person = entry.person.id if entry.person is not None else None
    told: dict[str, Any] = {
        "act": entry.event,
        "number": entry.number,
        "request": entry.request_id,
        "source": entry.source,
        "channel": entry.channel,
        "user": person,
        **_targets(details, request),
    }
    if request is not None:
        decided = request.decided_by
        if person is None and decided is not None and entry.event in _OF_ITS_CONFIRMATION:
            told["user"] = decided.id
        told["requester"] = request.requester.id
        told["mode"] = details.get("mode") or (request.decided_mode or request.mode).value
        told["seconds"] = details.get("seconds", _seconds(recorded, request))
    told["finding"] = details.get("outcome") or ("came back" if entry.event == "came back" else None)
    return told


def _targets(details: Mapping[str, Any], request: ClosingRequest | None) -> dict[str, Any]:
    """Name the one session that an act is about, or all of them."""
    if "server" in details and "id" in details:
        return dict(zip(_NAMED, (details["server"], details["id"], details.get("tenant")), strict=True))
    if request is None:
        return {}
    named = [
        dict(zip(_NAMED, (one.session.server, one.session.id, one.session.tenant), strict=True))
        for one in request.targets
    ]
    return named[0] if len(named) == 1 else {"sessions": named}


def _seconds(recorded: Recorded, request: ClosingRequest) -> float | None:
    """How long it is since the press that an act belongs to, else since the request."""
    since = request.decided_at if recorded.entry.event in _OF_ITS_CONFIRMATION else request.created_at
    if since is None or recorded.entry.event == "request":
        return None
    return round((recorded.entry.at - since).total_seconds(), 3)
