"""Asking for a close: finds the target, judges whether it may be closed at all, writes the request."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from bot.access import Access, Person, Right
from bot.closing.model import Approval, CardPlace, ClosingRequest, State, Target
from bot.closing.store import Store
from bot.errors import InputError, RequestError, TargetError
from bot.sessions.model import Mode, Session
from bot.sessions.service import SessionService
from bot.sessions.statement import cut, without_passwords

_RECORDED_SQL = 4000  # characters of the statement that are kept in the store

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class ClosingRules:
    """What the configuration says of closing."""

    confirm_within: timedelta
    require_reason: bool
    approval: Mapping[str, Approval]  # by data source


class ClosingRequests:
    """Makes and ends requests; confirming them is the closer's."""

    def __init__(
        self, sessions: SessionService, access: Access, store: Store, rules: ClosingRules, clock: Clock
    ) -> None:
        self._sessions = sessions
        self._access = access
        self._store = store
        self._rules = rules
        self._clock = clock

    def ask(
        self, person: Person, channel: str, source: str, session_id: int, mode: Mode, *,
        tenant: str | None = None, server: str | None = None, reason: str = "",
        listed: Callable[[Session], bool] | None = None,
    ) -> ClosingRequest:  # fmt: skip
        """Write a request to close one session or its query.

        ``listed`` tells whether a session is still the one that was picked from a list.

        Raises ``NotAllowedError``, ``InputError``, ``TargetError``, ``StoreError`` or ``DataSourceError``.
        """
        scope = self._access.scope(person, Right.CLOSE, source, channel)
        if self._rules.require_reason and not reason:
            raise InputError(
                'A reason is required to close a session here. Say why with reason="…".',
                example=f'/kill-session {session_id} reason="blocks the payments"',
            )
        session = self._target(source, session_id, mode, scope.tenants, tenant, server)
        if listed is not None and not listed(session):
            raise TargetError(
                f"The id {session_id} belongs to another session by now. Nothing was closed. "
                "Press Refresh and choose again."
            )
        now = self._clock()
        kept = replace(session, sql=cut(without_passwords(session.sql), _RECORDED_SQL) if session.sql else None)
        request = ClosingRequest(
            id=secrets.token_urlsafe(16),
            source=source,
            mode=mode,
            requester=person,
            channel=channel,
            reason=reason,
            approval=self._rules.approval.get(source, Approval.REQUESTER),
            created_at=now,
            expires_at=now + self._rules.confirm_within,
            target=Target(kept),
        )
        self._store.add(request)
        return request

    def find(self, request_id: str) -> ClosingRequest | None:
        """Look a request up; None when there is no such."""
        return self._store.get(request_id)

    def cancel(self, request_id: str, person: Person, channel: str) -> ClosingRequest:
        """End a request without a close: by its requester or by anybody who could confirm it.

        Raises ``NotAllowedError`` or ``RequestError``.
        """
        request = known(self._store.get(request_id))
        if person.id != request.requester.id:
            self._access.require(person, Right.CLOSE, request.source, channel, request.target.session.tenant)
        if not self._store.cancel(request_id, person, self._clock()):
            raise already_decided(known(self._store.get(request_id)), self._clock())
        return known(self._store.get(request_id))

    def place_card(self, request: ClosingRequest, place: CardPlace) -> None:
        """Remember where the request's card stands, so that it can be rewritten after a restart."""
        self._store.place_card(request.id, place)

    def expire(self) -> list[ClosingRequest]:
        """Mark the requests that nobody decided in time; return them so that their cards can say so."""
        return self._store.expire(self._clock())

    def record_sql_view(self, person: Person, channel: str, session: Session) -> None:
        """Write down that a person looked at a whole SQL text."""
        self._store.record(
            self._clock(), "view sql", person, channel,
            {"source": session.source, "server": session.server, "id": session.id, "sql_id": session.sql_id},
        )  # fmt: skip

    def _target(
        self, source: str, session_id: int, mode: Mode, allowed: frozenset[str] | None,
        tenant: str | None, server: str | None,
    ) -> Session:  # fmt: skip
        if not 1 < session_id < 2**32:
            raise InputError(id_out_of_range(session_id))
        found = self._sessions.find(source, session_id, allowed)
        here = [
            one
            for one in found
            if (tenant is None or one.tenant == tenant) and (server is None or one.server == server)
        ]
        if not here:
            where = f" of tenant {found[0].tenant or '-'}" if found else ""
            hint = (
                f" There is one{where}, though."
                if found
                else " It may have ended, or the id is of another data source."
            )
            raise TargetError(
                f"There is no session {session_id}{_within(tenant)} on {source} that you may close.{hint}"
            )
        if len(here) > 1:
            raise TargetError(
                f"{len(here)} sessions have the id {session_id}: "
                + ", ".join(f"{one.user} on {one.server or '-'} (tenant {one.tenant or '-'})" for one in here)
                + ". Pick the right one from the list of /sessions id="
                + f"{session_id}. Nothing was closed."
            )
        session = here[0]
        refuse_protected(self._sessions, session)
        if mode is Mode.QUERY and not session.running:
            raise TargetError(
                f"Session {session_id} is idle: it runs no query that could be closed. "
                f"To close the session itself: /kill-session {session_id}"
            )
        return session


def refuse_protected(sessions: SessionService, session: Session) -> None:
    """Raise ``TargetError`` for a session that is never closed: the bot's own, system's, protected users'."""
    if session.own:
        raise TargetError(f"Session {session.id} is one of this bot's own. It is never closed.")
    if session.master_session_id:
        raise TargetError(
            f"Session {session.id} executes a part of session {session.master_session_id}. "
            f"Close that one instead: /kill-session {session.master_session_id}"
        )
    if not session.user:
        raise TargetError(f"Session {session.id} belongs to the database itself, not to a user. It is never closed.")
    protection = sessions.source(session.source).protection(session)
    if protection is not None:
        raise TargetError(f"Session {session.id} {protection}: closing it could harm the cluster. Nothing was closed.")


def known(request: ClosingRequest | None) -> ClosingRequest:
    """Raise ``RequestError`` for a request that the store does not hold."""
    if request is None:
        raise RequestError("This closing request is unknown. Nothing was closed. Ask again with /kill-session ID.")
    return request


def already_decided(request: ClosingRequest, now: datetime) -> RequestError:
    """Say why a press came too late."""
    if request.expired(now):
        query = " query" if request.mode is Mode.QUERY else ""
        return RequestError(
            "This closing request has expired. Nothing was closed by this press. "
            f"Ask again: /kill-session {request.target.session.id}{query}"
        )
    if request.state is State.CANCELLED:
        return RequestError("This closing request was cancelled. Nothing was closed by this press.")
    return RequestError(
        "Somebody has already confirmed this closing request; its card shows who and what came of it. "
        "Your press changed nothing."
    )


def id_out_of_range(session_id: int) -> str:
    """Say why an id cannot be right: the kernel would cut it to 32 bits and close somebody else."""
    return (
        f"{session_id} is not a session id: ids lie between 2 and 4294967295. OceanBase would cut a longer one "
        "to somebody else's id. Take it from the first column of /sessions."
    )


def _within(tenant: str | None) -> str:
    return f" in tenant {tenant}" if tenant else ""
