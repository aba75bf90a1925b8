"""A close as it is asked for, before it is told apart by those who may approve it."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from bot.access import Person
from bot.closing.model import ApprovalPolicy, ClosingRequest, Target, Untouched
from bot.sessions.model import KEPT_SQL, Mode, Session
from bot.sessions.statement import cut, without_passwords


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
    question: str = ""
    matching: int = 0
    override: tuple[str, ...] = ()
    follows: ClosingRequest | None = None  # whose targets these were, before they changed

    def request(
        self, group: Sequence[Session], approval: ApprovalPolicy, now: datetime, expires_at: datetime, *, first: bool
    ) -> ClosingRequest:
        """Make the request for some of the sessions; the ``first`` one tells what was left out."""
        untouched = tuple(self.untouched) if first else ()
        beyond = max(0, self.matching - len(self.sessions) - len(self.untouched)) if first else 0
        return ClosingRequest(
            id=secrets.token_urlsafe(16),
            source=self.source,
            mode=self.mode,
            requester=self.person,
            channel=self.channel,
            reason=self.reason,
            approval=approval,
            created_at=now,
            expires_at=expires_at,
            targets=tuple(Target(number, _kept(session)) for number, session in enumerate(group, 1)),
            untouched=untouched,
            question=self.question,
            matching=len(group) + len(untouched) + beyond if self.matching else 0,
            override=self.override,
        )


def _kept(session: Session) -> Session:
    return replace(session, sql=_kept_sql(session.sql), inner_sql=_kept_sql(session.inner_sql))


def _kept_sql(sql: str | None) -> str | None:
    return cut(without_passwords(sql), KEPT_SQL) if sql else None
