"""Asking for a close: finds the targets, judges whether they may be closed at all, writes the request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from bot.access import Access, Person, Right
from bot.closing import targets
from bot.closing.advice import Adviser
from bot.closing.draft import Draft
from bot.closing.model import ApprovalPolicy, Clock, ClosingRequest, Outcome, State, Target, Untouched
from bot.closing.rules import ClosingRules
from bot.closing.store import Store
from bot.closing.targets import Wanted
from bot.errors import InputError, NotAllowedError, PersonUnknownError, TargetError
from bot.sessions.model import Mode, Pin, Session, SessionQuery
from bot.sessions.service import SessionService
from bot.sessions.statement import Disclosure

_LOOKED_AT = 50  # requests among which those that somebody may see are sought


class ClosingRequests:
    """Makes requests; who may confirm them is ``Approvals``'s, and carrying them out the closer's."""

    def __init__(
        self,
        sessions: SessionService,
        access: Access,
        store: Store,
        rules: ClosingRules,
        clock: Clock,
        adviser: Adviser,
    ) -> None:
        self._sessions = sessions
        self._access = access
        self._store = store
        self._rules = rules
        self._clock = clock
        self._adviser = adviser

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
        delivery: str = "",
    ) -> list[ClosingRequest]:
        """Write a request to close these sessions or their queries; where a second person confirms, one for each set
        of those who may.

        Of several, those that cannot be closed are left untouched and the request says why. ``override`` asks
        for one session although it is protected; somebody who may approve must confirm that. What a ``delivery`` has
        asked for before, on a replica that has fallen silent, is not written again; the requests of it that have no
        card yet are returned.

        Raises ``NotAllowedError``, ``InputError``, ``TargetError``, ``StoreError``, ``DataSourceError``, or
        ``AnsweredElsewhereError`` where another replica has taken the ``delivery`` over.
        """
        scope = self._access.scope(person, Right.CLOSE, source, channel)
        self._require_reason(reason, f"/kill-session {','.join(str(one.id) for one in wanted[:3])}")
        wanted = list(dict.fromkeys(wanted))
        if override:
            _require_override(wanted, reason)
        self._require_few(wanted, source)
        seen = self._seen_by(person, source, channel, scope.tenants)
        ended = partial(self._adviser.already_closed, tenants=seen, alone=len(wanted) == 1)
        search = targets.Search(self._sessions, source, mode, scope.tenants, ended, tenant, override)
        found, untouched = _find_all(search, wanted)
        protection = self._sessions.source(source).protection(found[0]) if override else ()
        return self._write(
            Draft(person, channel, source, mode, found, reason, untouched, override=protection, delivery=delivery)
        )

    def ask_where(
        self,
        person: Person,
        channel: str,
        query: SessionQuery,
        mode: Mode,
        *,
        filter_text: str,
        command: str = "",
        look_again: str = "",
        reason: str = "",
        fits: Callable[[Session], bool] = lambda _session: True,
        delivery: str = "",
    ) -> list[ClosingRequest]:
        """Write requests to close what fits a filter: ACTIVE and longest first, no more than one request may.

        ``query`` names its data source; ``filter_text`` is the filter in words, for the card, and ``command`` asks for
        the same, and ``look_again`` lists it, where those cannot be typed; of what ``fits`` not, nothing is asked for.
        Raises as ``ask``, and
        ``UnknownStatusError``.
        """
        source = query.source or ""
        scope = self._access.scope(person, Right.CLOSE, source, channel)
        self._require_reason(reason, command or f"/kill-session where {filter_text}")
        filter_ = query.filter
        if mode is Mode.QUERY:
            filter_ = replace(filter_, running=True)
        asked = SessionQuery(source=source, filter=filter_, limit=self.max_targets(source))
        # Whoever may close all of these sees their literals.
        page = self._sessions.source(source).page(asked, scope.tenants, Disclosure.ALL_BUT_PASSWORDS, pinned=True)
        fitting = [one for one in page.sessions if fits(one)]
        if not fitting:
            running = " that runs a query" if mode is Mode.QUERY else ""
            raise TargetError(
                f"No session{running} on {source} fits that; there are {page.total} in all. Nothing was closed. "
                f"Look again: {look_again or f'/sessions {filter_text}'}"
            )
        matching = page.matching - (len(page.sessions) - len(fitting))
        ended = partial(self._adviser.already_closed, tenants=scope.tenants, alone=False)
        closable, untouched = self._told_apart(fitting, mode, ended)
        if not closable:
            raise _none_of(matching, untouched)
        return self._write(
            Draft(
                person,
                channel,
                source,
                mode,
                closable,
                reason,
                untouched,
                filter_text,
                matching,
                delivery=delivery,
            )
        )

    def _told_apart(
        self, sessions: Sequence[Session], mode: Mode, ended: Callable[[Session], TargetError]
    ) -> tuple[list[Session], list[Untouched]]:
        """Return those that may be closed at all, and why the others are not."""
        closable, untouched = [], []
        for session in sessions:
            try:
                targets.refuse_protected(self._sessions, session)
                targets.refuse_unpinned(session)
                if targets.is_ending(session, mode):
                    raise ended(session)
            except TargetError as error:
                untouched.append(Untouched(session.id, session.server, error.why, error.tenants))
            else:
                closable.append(session)
        return closable, untouched

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
        pins = [Pin.of(one.session) for one in changed]
        looks = self._sessions.source(request.source).looking(lambda console: console.looks(pins))
        there = [look.session for look in looks]
        asked = [one for one in there if one is not None and scope.covers(one.tenant)]
        override = self._sessions.source(request.source).protection(asked[0]) if request.override and asked else ()
        found = [one for one in asked if targets.closable(self._sessions, one, set_aside=override)]
        if not found:
            return []
        person, channel, source = request.requester, request.channel, request.source
        mode = request.decided_mode or request.mode
        try:
            return self._write(
                Draft(person, channel, source, mode, found, request.reason, override=override, follows=request)
            )
        except NotAllowedError:  # nobody else may approve it there any more
            return []

    def ask_for_holder(
        self, person: Person, channel: str, request_id: str, number: int, delivery: str = ""
    ) -> list[ClosingRequest]:
        """Write a request for the server session that still has the locks of a client that was closed.

        Raises as ``ask``.
        """
        request = self._store.requests.find(request_id)
        target = next((one for one in request.targets if one.number == number), None) if request is not None else None
        if request is None or target is None or target.holder is None:
            raise TargetError("There is nothing to close under this button any more. Nothing was closed.")
        self._access.require(person, Right.CLOSE, request.source, channel, target.holder.tenant)
        self._require_reason(request.reason, f"/kill-session {target.session.id}")
        pin = Pin.of(target.holder)
        look = self._sessions.source(request.source).looking(lambda console: console.look(pin))
        there = look.session
        if look.unseen:
            raise TargetError(f"Whether its transaction has ended is not known. {look.unseen} Nothing was closed.")
        if there is None:
            raise TargetError("Its transaction has ended: the locks are free. Nothing was closed.")
        targets.refuse_protected(self._sessions, there)
        return self._write(
            Draft(person, channel, request.source, Mode.SESSION, [there], request.reason, delivery=delivery)
        )

    def ask_for_blocker(
        self, person: Person, channel: str, request_id: str, blocker: Session, delivery: str = ""
    ) -> list[ClosingRequest]:
        """Write a request for the session that a card advises to close instead of its own; raises as ``ask``."""
        request = self._store.requests.get(request_id)

        def is_it(session: Session) -> bool:
            return Pin.of(blocker).same_session(session)

        wanted = [Wanted(blocker.id, blocker.server, is_it)]
        return self.ask(
            person,
            channel,
            request.source,
            wanted,
            Mode.SESSION,
            tenant=blocker.tenant,
            reason=request.reason,
            delivery=delivery,
        )

    def recent(
        self, limit: int, sees: Callable[[str, str | None], bool]
    ) -> tuple[list[ClosingRequest], list[ClosingRequest]]:
        """Return the newest open requests and the newest closes, of data sources and tenants that somebody ``sees``."""
        found = []
        for state in (State.OPEN, State.DONE):
            requests = self._store.requests.recent(state, _LOOKED_AT)
            found.append([one for one in requests if all(sees(one.source, t.session.tenant) for t in one.targets)])
        now = self._clock()
        return [one for one in found[0] if not one.expired(now)][:limit], found[1][:limit]

    def max_targets(self, source: str) -> int:
        """How many sessions one request may close there."""
        return self._rules.of(source).max_targets

    def _require_few(self, wanted: Sequence[Wanted], source: str) -> None:
        most = self.max_targets(source)
        if len(wanted) > most:
            raise InputError(
                f"Those are {len(wanted)} sessions; one request closes at most {most} on {source}. "
                "Nothing was closed. Ask in several requests.",
                example="/kill-session " + ",".join(str(one.id) for one in wanted[:most][:3]),
            )

    def _require_reason(self, reason: str, command: str) -> None:
        if self._rules.require_reason and not reason.strip():
            raise InputError(
                'A reason is required to close a session here. Say why with reason="…".',
                example=f'{command} reason="blocks the payments"',
            )

    def _write(self, draft: Draft) -> list[ClosingRequest]:
        """Write what was asked for as a request, or as several where those who may approve differ.

        What was left out, and what fits a filter beyond what is closed, is told by the first.
        """
        approval = self._rules.of(draft.source).approval_for(session.tenant for session in draft.sessions)
        if self._store.break_glass.stops(draft.sessions):
            approval = ApprovalPolicy.SECOND_PERSON
        groups = [list(draft.sessions)]
        if approval is ApprovalPolicy.SECOND_PERSON:
            groups = self._by_approvers(draft)
        advice = self._adviser.for_card(
            draft.source,
            draft.sessions,
            self._seen_by(draft.person, draft.source, draft.channel, _tenants_of(draft.sessions)),
        )
        draft = replace(draft, advice=advice)
        now = self._clock()
        expires_at = now + self._rules.confirm_within
        asked = [draft.request(group, approval, now, expires_at, number) for number, group in enumerate(groups)]
        return self._store.requests.add(*asked, follows=draft.follows, delivery=draft.delivery)

    def _seen_by(
        self, person: Person, source: str, channel: str, closes: frozenset[str] | None
    ) -> frozenset[str] | None:
        """The tenants whose sessions may be named to somebody who may close those of some; None are all."""
        if closes is None:
            return None
        try:
            view = self._access.rights(person, source, channel).get(Right.VIEW)
        except (NotAllowedError, PersonUnknownError):
            view = None
        return closes if view is None else None if view.tenants is None else closes | view.tenants

    def _by_approvers(self, draft: Draft) -> list[list[Session]]:
        """Put together the sessions that the same people may approve.

        Raises ``NotAllowedError`` where nobody but who asks may approve one of them in that channel: a request that
        nobody could confirm, or whose break-glass nobody could stop, is not taken.
        """
        person, channel, source = draft.person, draft.channel, draft.source
        groups: dict[frozenset[str], list[Session]] = {}
        for session in draft.sessions:
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


def _tenants_of(sessions: Sequence[Session]) -> frozenset[str] | None:
    """The tenants of sessions; None where the server has none."""
    tenants = [one.tenant for one in sessions]
    return None if None in tenants else frozenset(one for one in tenants if one is not None)


def _is_other(request: ClosingRequest, target: Target) -> bool:
    if target.outcome is Outcome.PROTECTED:
        return bool(request.override)
    return target.outcome is Outcome.CHANGED and request.decided_mode is Mode.SESSION


def _find_all(search: targets.Search, wanted: Sequence[Wanted]) -> tuple[list[Session], list[Untouched]]:
    """Return those that are found and may be closed, and why the others are not.

    Raises ``TargetError`` where there is none of the first.
    """
    found: dict[tuple[str | None, int], Session] = {}  # two ways of naming one session make one target
    untouched = []
    listed = search.listed(wanted)
    for one in wanted:
        try:
            session = search.find(one, listed)
        except TargetError as error:
            if len(wanted) == 1:
                raise
            untouched.append(Untouched(one.id, one.server, error.why, error.tenants))
        else:
            found[session.server, session.id] = session
    if not found:
        raise _none_of(len(wanted), untouched)
    return list(found.values()), untouched


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
