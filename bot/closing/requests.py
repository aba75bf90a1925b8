"""Asking for a close: finds the targets, judges whether they may be closed at all, writes the request."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta

from bot.access import Access, Person, Right
from bot.closing import session_json, stops, targets
from bot.closing.model import Approval, CardPlace, ClosingRequest, Outcome, State, Target, Untouched
from bot.closing.rules import ClosingRules
from bot.closing.store import Store
from bot.closing.targets import Wanted
from bot.errors import InputError, NotAllowedError, TargetError
from bot.sessions.model import Condition, Field, Mode, Operator, Pin, Session, SessionFilter, SessionQuery
from bot.sessions.service import SessionService
from bot.sessions.statement import Disclosure

_SHOWN_LATER = timedelta(days=1)  # how long it is tried to show an outcome that Slack did not take
_BEING_SHOWN = timedelta(seconds=5)  # whoever decided it is still at it; shown twice it is the same
_LOOKED_AT = 50  # requests among which those that somebody may see are sought
_RUNNING = Condition(Field.COMMAND, Operator.NOT, ("Sleep",))

Clock = Callable[[], datetime]


class ClosingRequests:
    """Makes requests and finds them; who may confirm them is ``Consent``'s, and carrying them out the closer's."""

    def __init__(
        self, sessions: SessionService, access: Access, store: Store, rules: ClosingRules, clock: Clock
    ) -> None:
        self._sessions = sessions
        self._access = access
        self._store = store
        self._rules = rules
        self._clock = clock

    def ask(
        self,
        person: Person,
        channel: str,
        source: str,
        wanted: Sequence[Wanted],
        mode: Mode,
        *,
        tenant: str | None = None,
        reason: str = "",
        override: bool = False,
    ) -> list[ClosingRequest]:
        """Write a request to close these sessions or their queries; where a second person confirms, one for each set
        of those who may.

        Of several, those that cannot be closed are left untouched and the request says why. ``override`` asks
        for one session although it is protected; somebody who may approve must confirm that.

        Raises ``NotAllowedError``, ``InputError``, ``TargetError``, ``StoreError`` or ``DataSourceError``.
        """
        scope = self._access.scope(person, Right.CLOSE, source, channel)
        self._require_reason(reason, f"/kill-session {','.join(str(one.id) for one in wanted[:3])}")
        wanted = list(dict.fromkeys(wanted))
        if override:
            _require_override(wanted, reason)
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
                session = targets.find(
                    self._sessions, source, one, mode, allowed=scope.tenants, tenant=tenant, override=override
                )
            except TargetError as error:
                if len(wanted) == 1:
                    raise
                untouched.append(Untouched(one.id, one.server, error.why, error.tenants))
            else:
                found[session.server, session.id] = session
        if not found:
            raise _none_of(len(wanted), untouched)
        protection = self._sessions.source(source).protection(next(iter(found.values()))) if override else ()
        return self._write(
            person, channel, source, mode, list(found.values()), untouched, reason=reason, override=protection
        )

    def ask_where(
        self, person: Person, channel: str, query: SessionQuery, mode: Mode, *, question: str, reason: str = ""
    ) -> list[ClosingRequest]:
        """Write requests to close what fits a filter: ACTIVE and longest first, no more than one request may.

        ``query`` names its data source; ``question`` is the filter in words, for the card. Raises as ``ask``, and
        ``UnknownStatusError``.
        """
        source = query.source or ""
        scope = self._access.scope(person, Right.CLOSE, source, channel)
        self._require_reason(reason, f"/kill-session where {question}")
        filter_ = query.filter
        if mode is Mode.QUERY:
            filter_ = SessionFilter((*filter_.conditions, _RUNNING), filter_.flags)
        asked = SessionQuery(source=source, filter=filter_, limit=self._most(source))
        # Whoever may close all of these sees their literals.
        page = self._sessions.page(source, asked, scope.tenants, Disclosure.ALL_BUT_PASSWORDS, pinned=True)
        closable, untouched = [], []
        for session in page.sessions:
            try:
                targets.refuse_protected(self._sessions, session)
                targets.refuse_unpinned(session)
            except TargetError as error:
                untouched.append(Untouched(session.id, session.server, error.why, error.tenants))
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
            person,
            channel,
            source,
            mode,
            closable,
            untouched,
            reason=reason,
            question=question,
            matching=page.matching,
        )

    def ask_again(self, request: ClosingRequest) -> list[ClosingRequest]:
        """Write requests for those targets that are other than their card said, as they are now.

        That is so of those whose transaction has changed, and of one that is protected by more than was to be set
        aside. They are asked in the name of the same person, and must be confirmed as any other. None where there is
        nothing of that, or where that person may not close it any more. Raises ``DataSourceError``, ``BusyError`` or
        ``StoreError``.
        """
        changed = [one for one in request.targets if _is_other(request, one)]
        if not changed:
            return []
        try:
            scope = self._access.scope(request.requester, Right.CLOSE, request.source, request.channel)
        except NotAllowedError:
            return []
        with self._sessions.source(request.source).console() as console:
            there = [console.look(Pin.of(one.session)).session for one in changed]
        asked = [one for one in there if one is not None and scope.covers(one.tenant)]
        override = self._sessions.source(request.source).protection(asked[0]) if request.override and asked else ()
        found = [one for one in asked if targets.closable(self._sessions, one, set_aside=override)]
        if not found:
            return []
        mode = request.decided_mode or request.mode
        try:
            return self._write(
                request.requester,
                request.channel,
                request.source,
                mode,
                found,
                (),
                reason=request.reason,
                override=override,
                follows=request,
            )
        except NotAllowedError:  # nobody else may approve it there any more
            return []

    def ask_for_holder(self, person: Person, channel: str, request_id: str, number: int) -> ClosingRequest:
        """Write a request for the server session that still has the locks of a client that was closed.

        Raises as ``ask``.
        """
        request = self._store.get(request_id)
        target = next((one for one in request.targets if one.number == number), None) if request is not None else None
        if request is None or target is None or target.holder is None:
            raise TargetError("There is nothing to close under this button any more. Nothing was closed.")
        self._access.require(person, Right.CLOSE, request.source, channel, target.holder.tenant)
        self._require_reason(request.reason, f"/kill-session {target.session.id}")
        with self._sessions.source(request.source).console() as console:
            look = console.look(Pin.of(target.holder))
        there = look.session
        if look.unseen:
            raise TargetError(f"Whether its transaction has ended is not known. {look.unseen} Nothing was closed.")
        if there is None:
            raise TargetError("Its transaction has ended: the locks are free. Nothing was closed.")
        targets.refuse_protected(self._sessions, there)
        (asked,) = self._write(person, channel, request.source, Mode.SESSION, [there], (), reason=request.reason)
        return asked

    def find(self, request_id: str) -> ClosingRequest | None:
        """Look a request up; None when there is no such."""
        return self._store.get(request_id)

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

    def mark_shown(self, request: ClosingRequest) -> None:
        """Remember that the card tells how the request ended; where more is known by now, that it must tell that."""
        self._store.mark_shown(request.id, shown=self._store.get(request.id) == request)

    def unshown(self) -> list[ClosingRequest]:
        """Return requests that are over and whose cards could not be told so yet."""
        now = self._clock()
        before = now - _BEING_SHOWN
        if not self._store.shared:  # then nobody is at what the process before this one decided
            before = max(before, self._store.opened)
        return self._store.unshown(now - _SHOWN_LATER, before)

    def without_card(self) -> list[ClosingRequest]:
        """Return open requests that somebody's press has made and that have no card, as after a crash."""
        now = self._clock()
        return [one for one in self._store.without_card(now - _BEING_SHOWN) if not one.expired(now)]

    def before_start(self, request: ClosingRequest) -> bool:
        """Whether a request was over before this process began."""
        return (request.decided_at or request.expires_at) < self._store.opened

    def expire(self, carried_out: Collection[str] = ()) -> list[ClosingRequest]:
        """Mark the requests that nobody decided in time; return them so that their cards can say so."""
        return self._store.expire(self._clock(), carried_out)

    def _most(self, source: str) -> int:
        return self._rules.of(source).max_targets

    def _require_reason(self, reason: str, command: str) -> None:
        if self._rules.require_reason and not reason.strip():
            raise InputError(
                'A reason is required to close a session here. Say why with reason="…".',
                example=f'{command} reason="blocks the payments"',
            )

    def _write(
        self,
        person: Person,
        channel: str,
        source: str,
        mode: Mode,
        found: Sequence[Session],
        untouched: Sequence[Untouched],
        *,
        reason: str,
        question: str = "",
        matching: int = 0,
        override: tuple[str, ...] = (),
        follows: ClosingRequest | None = None,
    ) -> list[ClosingRequest]:
        """Write a request, or several where those who may approve differ.

        What was left out, and what fits a filter beyond what is closed, is told by the first.
        """
        beyond = max(0, matching - len(found) - len(untouched))
        approval = self._rules.of(source).approval_for(session.tenant for session in found)
        if stops.of(self._store, found):
            approval = Approval.SECOND_PERSON
        groups = [list(found)]
        if approval is Approval.SECOND_PERSON:
            groups = self._by_approvers(person, channel, source, found)
        now = self._clock()
        written: list[ClosingRequest] = []
        for group in groups:
            left_out = tuple(untouched) if not written else ()
            request = ClosingRequest(
                id=secrets.token_urlsafe(16),
                source=source,
                mode=mode,
                requester=person,
                channel=channel,
                reason=reason,
                approval=approval,
                created_at=now,
                expires_at=now + self._rules.confirm_within,
                targets=tuple(Target(number, session_json.as_kept(session)) for number, session in enumerate(group, 1)),
                untouched=left_out,
                question=question,
                matching=len(group) + len(left_out) + (0 if written else beyond) if matching else 0,
                override=override,
            )
            self._store.add(request, follows=follows)
            written.append(request)
        return written

    def _by_approvers(self, person: Person, channel: str, source: str, found: Sequence[Session]) -> list[list[Session]]:
        """Put together the sessions that the same people may approve.

        Raises ``NotAllowedError`` where nobody but who asks may approve one of them in that channel: a request that
        nobody could confirm, or whose break-glass nobody could stop, is not taken.
        """
        groups: dict[frozenset[str], list[Session]] = {}
        for session in found:
            who = self._access.who(Right.APPROVE, source, session.tenant, channel)
            if not who - {person.id}:
                elsewhere = self._access.channels_to_ask_in(person, source, session.tenant)
                of = f" of tenant {session.tenant}" if session.tenant else ""
                raise NotAllowedError(
                    f"Closing sessions{of} on {source} needs a second person, and no access rule names anybody else "
                    f"who may approve it here. Nothing was asked for.{'' if elsewhere else self._where_else(channel)}",
                    channels=elsewhere,
                )
            groups.setdefault(who, []).append(session)
        return list(groups.values())

    def _where_else(self, channel: str) -> str:
        if channel.startswith("D"):
            return " Ask in a channel where others can confirm it."
        return " Ask whoever runs this bot to name somebody."


def _is_other(request: ClosingRequest, target: Target) -> bool:
    if target.outcome is Outcome.PROTECTED:
        return bool(request.override)
    return target.outcome is Outcome.CHANGED and request.decided_mode is Mode.SESSION


def _require_override(wanted: Sequence[Wanted], reason: str) -> None:
    """Let protection be set aside for one session at a time, and never without saying why."""
    example = f'/kill-session {wanted[0].id} override reason="asked for by its owner"'
    if len(wanted) > 1:
        raise InputError("override takes one session at a time. Nothing was closed.", example=example)
    if not reason.strip():
        raise InputError('override needs a reason. Say why with reason="…". Nothing was closed.', example=example)


def _none_of(count: int, untouched: Sequence[Untouched]) -> TargetError:
    reasons = " ".join(f"{one.session_id} {one.why.rstrip('.')}." for one in untouched)
    return TargetError(f"None of these {count} sessions can be closed. Nothing was closed. {reasons}")
