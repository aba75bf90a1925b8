"""A close as it is asked for, before it is told apart by those who may approve it."""

from __future__ import annotations

import hashlib
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from bot.access import Person
from bot.closing.model import ApprovalPolicy, ClosingRequest, Target, Untouched
from bot.closing.store import session_json
from bot.sessions.model import Mode, Session
from bot.sessions.waits.advice import Advice
from bot.sessions.waits.graph import Place, place_of


@dataclass(frozen=True, slots=True)
class Draft:
    """What somebody asks for. See ``ClosingRequest`` for what these mean."""

    person: Person
    channel: str
    source: str
    mode: Mode
    sessions: Sequence[Session]
    reason: str
    untouched: Sequence[Untouched] = ()
    filter_text: str = ""
    matching: int = 0
    override: tuple[str, ...] = ()
    follows: ClosingRequest | None = None  # whose targets these were, before they changed
    delivery: str = ""  # of the command or press that asks
    advice: Mapping[Place, Advice] = field(default_factory=dict)  # on its sessions

    def request(
        self, group: Sequence[Session], approval: ApprovalPolicy, now: datetime, expires_at: datetime, number: int
    ) -> ClosingRequest:
        """Make the request of that ``number`` for some of the sessions; number 0 tells what was left out."""
        first = number == 0
        untouched = tuple(self.untouched) if first else ()
        beyond = max(0, self.matching - len(self.sessions) - len(self.untouched)) if first else 0
        return ClosingRequest(
            id=self._id(number),
            source=self.source,
            mode=self.mode,
            requester=self.person,
            channel=self.channel,
            reason=self.reason,
            approval=approval,
            created_at=now,
            expires_at=expires_at,
            targets=tuple(self._target(number, session) for number, session in enumerate(group, 1)),
            untouched=untouched,
            filter_text=self.filter_text,
            matching=len(group) + len(untouched) + beyond if self.matching else 0,
            override=self.override,
        )

    def _target(self, number: int, session: Session) -> Target:
        advice = self.advice.get(place_of(session))
        kept = session_json.advice_as_kept(advice) if advice is not None else None
        return Target(number, session_json.as_kept(session), advice=kept)

    def _id(self, number: int) -> str:
        """Name a request: the same for each replica that gets the same delivery, so that one of them can write it."""
        if not self.delivery:
            return secrets.token_urlsafe(16)
        named = hashlib.sha256(f"{self.delivery} {number}".encode()).digest()[:16]
        return urlsafe_b64encode(named).decode().rstrip("=")
