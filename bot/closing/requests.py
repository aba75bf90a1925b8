"""Asking for a close: finds the targets, judges whether they may be closed at all, writes the request."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from bot.access import Access, Person, Right
from bot.closing import targets
from bot.closing.model import Approval, CardPlace, ClosingRequest, State, Target, Untouched
from bot.closing.store import Store
from bot.closing.targets import Wanted
from bot.errors import InputError, RequestError, TargetError
from bot.sessions.model import Condition, Field, Mode, Operator, Session, SessionFilter, SessionQuery
from bot.sessions.service import SessionService
from bot.sessions.statement import cut, without_passwords

DEFAULT_MAX_TARGETS = 20

_LOOKED_AT = 50  # requests among which those that somebody may see are sought
_RECORDED_SQL = 4000  # characters of the statement that are kept in the store
_RUNNING = Condition(Field.COMMAND, Operator.NOT, ("Sleep",))

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class ClosingRules:
    """What the configuration says of closing."""

    confirm_within: timedelta
    require_reason: bool
    approval: Mapping[str, Approval]  # by data source
    max_targets: Mapping[str, int] = field(default_factory=dict)  # same; how many one request closes at most


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
        self, person: Person, channel: str, source: str, wanted: Sequence[Wanted], mode: Mode, *,
        tenant: str | None = None, reason: str = "",
    ) -> ClosingRequest:  # fmt: skip
        """Write a request to close these sessions or their queries.

        Of several, those that cannot be closed are left untouched and the request says why.

        Raises ``NotAllowedError``, ``InputError``, ``TargetError``, ``StoreError`` or ``DataSourceError``.
        """
        scope = self._access.scope(person, Right.CLOSE, source, channel)
        self._require_reason(reason, f"/kill-session {','.join(str(one.id) for one in wanted[:3])}")
        wanted = list(dict.fromkeys(wanted))
        if len(wanted) > self._most(source):
            raise InputError(
                f"Those are {len(wanted)} sessions; one request closes at most {self._most(source)} on {source}. "
                "Nothing was closed. Ask in several requests.",
                example="/kill-session " + ",".join(str(one.id) for one in wanted[: self._most(source)][:3]),
            )
        found: dict[tuple[str | None, int], Session] = {}  # two ways of naming one session make one target
        untouched = []
        for one in wanted:
            try:
                session = targets.find(self._sessions, source, one, mode, allowed=scope.tenants, tenant=tenant)
            except TargetError as error:
                if len(wanted) == 1:
                    raise
                untouched.append(Untouched(one.id, one.server, error.why))
            else:
                found[session.server, session.id] = session
        if not found:
            raise _none_of(len(wanted), untouched)
        return self._write(person, channel, source, mode, list(found.values()), untouched, reason=reason)

    def ask_where(
        self, person: Person, channel: str, query: SessionQuery, mode: Mode, *, question: str, reason: str = ""
    ) -> ClosingRequest:
        """Write a request to close what fits a filter: ACTIVE and longest first, no more than one request may.

        ``query`` names its data source; ``question`` is the filter in words, for the card. Raises as ``ask``.
        """
        source = query.source or ""
        scope = self._access.scope(person, Right.CLOSE, source, channel)
        self._require_reason(reason, f"/kill-session where {question}")
        filter_ = query.filter
        if mode is Mode.QUERY:
            filter_ = SessionFilter((*filter_.conditions, _RUNNING), filter_.flags)
        asked = SessionQuery(source=source, filter=filter_, limit=self._most(source))
        page = self._sessions.page(source, asked, scope.tenants)
        closable, untouched = [], []
        for session in page.sessions:
            try:
                targets.refuse_protected(self._sessions, session)
            except TargetError as error:
                untouched.append(Untouched(session.id, session.server, error.why))
            else:
                closable.append(session)
        if not page.sessions:
            running = " that runs a query" if mode is Mode.QUERY else ""
            raise TargetError(
                f"No session{running} on {source} fits that; there are {page.total} in all. Nothing was closed. "
                f"Look again: /sessions {question}"
            )
        if not closable:
            raise _none_of(page.matching, untouched)
        return self._write(
            person, channel, source, mode, closable, untouched,
            reason=reason, question=question, matching=page.matching,
        )  # fmt: skip

    def find(self, request_id: str) -> ClosingRequest | None:
        """Look a request up; None when there is no such."""
        return self._store.get(request_id)

    def cancel(self, request_id: str, person: Person, channel: str) -> ClosingRequest:
        """End a request without a close: by its requester or by anybody who could confirm it.

        Raises ``NotAllowedError`` or ``RequestError``.
        """
        request = known(self._store.get(request_id))
        if person.id != request.requester.id:
            scope = self._access.scope(person, Right.CLOSE, request.source, channel)
            tenants = [target.session.tenant for target in request.targets]
            if not any(map(scope.covers, tenants)):
                self._access.require(person, Right.CLOSE, request.source, channel, tenants[0])
        if not self._store.cancel(request_id, person, self._clock()):
            raise already_decided(known(self._store.get(request_id)), self._clock())
        return known(self._store.get(request_id))

    def place_card(self, request: ClosingRequest, place: CardPlace) -> None:
        """Remember where the request's card stands, so that it can be rewritten after a restart."""
        self._store.place_card(request.id, place)

    def recent(
        self, limit: int, sees: Callable[[str, str | None], bool]
    ) -> tuple[list[ClosingRequest], list[ClosingRequest]]:
        """Return the newest open requests and the newest closes, of data sources and tenants that somebody ``sees``."""
        found = []
        for state in (State.OPEN, State.DONE):
            requests = self._store.recent(state, _LOOKED_AT)
            found.append([one for one in requests if all(sees(one.source, t.session.tenant) for t in one.targets)])
        now = self._clock()
        return [one for one in found[0] if not one.expired(now)][:limit], found[1][:limit]

    def expire(self) -> list[ClosingRequest]:
        """Mark the requests that nobody decided in time; return them so that their cards can say so."""
        return self._store.expire(self._clock())

    def record_sql_view(self, person: Person, channel: str, session: Session) -> None:
        """Write down that a person looked at a whole SQL text."""
        self._store.record(
            self._clock(), "view sql", person, channel,
            {"source": session.source, "server": session.server, "id": session.id, "sql_id": session.sql_id},
        )  # fmt: skip

    def _most(self, source: str) -> int:
        return self._rules.max_targets.get(source, DEFAULT_MAX_TARGETS)

    def _require_reason(self, reason: str, command: str) -> None:
        if self._rules.require_reason and not reason:
            raise InputError(
                'A reason is required to close a session here. Say why with reason="…".',
                example=f'{command} reason="blocks the payments"',
            )

    def _write(
        self, person: Person, channel: str, source: str, mode: Mode, found: Sequence[Session],
        untouched: Sequence[Untouched], *, reason: str, question: str = "", matching: int = 0,
    ) -> ClosingRequest:  # fmt: skip
        now = self._clock()
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
            targets=tuple(Target(number, _kept(session)) for number, session in enumerate(found, 1)),
            untouched=tuple(untouched),
            question=question,
            matching=matching,
        )
        self._store.add(request)
        return request


def _kept(session: Session) -> Session:
    return replace(session, sql=cut(without_passwords(session.sql), _RECORDED_SQL) if session.sql else None)


def _none_of(count: int, untouched: Sequence[Untouched]) -> TargetError:
    reasons = " ".join(f"{one.session_id} {one.why.rstrip('.')}." for one in untouched)
    return TargetError(f"None of these {count} sessions can be closed. Nothing was closed. {reasons}")


def known(request: ClosingRequest | None) -> ClosingRequest:
    """Raise ``RequestError`` for a request that the store does not hold."""
    if request is None:
        raise RequestError("This closing request is unknown. Nothing was closed. Ask again with /kill-session ID.")
    return request


def already_decided(request: ClosingRequest, now: datetime) -> RequestError:
    """Say why a press came too late."""
    if request.expired(now):
        return RequestError(
            f"This closing request has expired. Nothing was closed by this press. Ask again: {_again(request)}"
        )
    if request.state is State.CANCELLED:
        return RequestError("This closing request was cancelled. Nothing was closed by this press.")
    return RequestError(
        "Somebody has already confirmed this closing request; its card shows who and what came of it. "
        "Your press changed nothing."
    )


def _again(request: ClosingRequest) -> str:
    ids = ",".join(str(target.session.id) for target in request.targets)
    query = " query" if request.mode is Mode.QUERY else ""
    return f"/kill-session {f'where {request.question}' if request.question else ids}{query}"
