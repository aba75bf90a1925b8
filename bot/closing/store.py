"""Where closing requests and the record of what was done are kept: SQLite or a MySQL-compatible server."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from bot.access import Person
from bot.closing import audit_log, budget, session_json, tables
from bot.closing.budget import Extension
from bot.closing.database import StoreDatabase
from bot.closing.model import Budget, Call, CardPlace, ClosingRequest, Outcome, State, Target, TargetOutcome
from bot.errors import BudgetError, StoreError
from bot.sessions.kill import Answer
from bot.sessions.model import Mode, Session

_requests, _targets = tables.requests, tables.targets

# Characters of SQL in the record of one request, shared by its targets: MySQL's TEXT holds 65,535 bytes.
_RECORDED_SQL = 4000

# What replicas of an older version, which may still be running, can read.
_AS_OLDER_VERSIONS = {Outcome.NOT_SENT: "not touched"}

_AT_ONCE = 500  # ids that one statement names

# Whoever carries out a press renews its lease, by the store's clock: replicas' own may differ. After this time of
# silence another replica takes over.
LEASE = timedelta(seconds=20)


class Store(StoreDatabase):
    """Requests and record. Every method raises ``StoreError`` when the store does not answer."""

    def add(self, request: ClosingRequest, *, follows: ClosingRequest | None = None) -> None:
        """Write a new request and its record; it ``follows`` one of whose targets something had changed."""
        with self.writing() as connection:
            self._add(connection, request, follows)

    def _add(self, connection: sa.Connection, request: ClosingRequest, follows: ClosingRequest | None) -> None:
        first = follows.id if follows is not None else None
        connection.execute(_requests.insert().values(tables.request_values(request) | {"follows": first}))
        connection.execute(_targets.insert(), tables.target_values(request))
        audit_log.append(
            connection,
            request.created_at,
            "request",
            {
                "mode": request.mode.value,
                "reason": request.reason,
                "question": request.question,
                "approval": request.approval.value,
                "override": request.protection,
                "targets": [_recorded(target, _RECORDED_SQL // len(request.targets)) for target in request.targets],
                "untouched": [asdict(one) for one in request.untouched],
                "matching": request.matching,
                **({"follows": first} if first is not None else {}),
            },
            person=request.requester,
            **_of(request),
        )

    def get(self, request_id: str) -> ClosingRequest | None:
        """Look a request up; None when there is no such."""
        return next(iter(self._those(_requests.c.id == request_id)), None)

    def those(self, request_ids: Collection[str]) -> dict[str, ClosingRequest]:
        """Look several requests up; those that are not there are left out."""
        ids = sorted(request_ids)
        parts = [ids[start : start + _AT_ONCE] for start in range(0, len(ids), _AT_ONCE)]
        return {one.id: one for part in parts for one in self._those(_requests.c.id.in_(part))}

    def claim(
        self,
        request: ClosingRequest,
        person: Person,
        mode: Mode,
        now: datetime,
        within: Budget | None = None,
        delivery: str = "",
        planned: int | None = None,
        left: ClosingRequest | None = None,
        alone: bool = False,
    ) -> bool:
        """Take an open, unexpired request for one press. True for exactly one caller ever, replicas included.

        Its other targets go to the request that is ``left`` open, if any. ``planned`` is how many closes it counts
        for, all of its targets where that is not said. ``alone`` takes it only while its break-glass has not ended.

        Until its lease ends, which ``renew`` puts off, no other replica takes it over. A press whose ``delivery`` has
        taken it before, and was given up, does not take it again.
        Raises ``BudgetError`` where it would close more than may be closed on its data source ``within`` a time.
        """
        planned = request.affected(mode) if planned is None else planned
        with self.writing() as connection:
            claimed = self._decide(
                connection,
                request,
                State.CLAIMED,
                person,
                now,
                "confirm",
                {"mode": mode.value},
                decided_mode=mode.value,
                planned=planned,
                pressed=delivery or None,
                owner=self.owner,
                lease_until=self.now + LEASE.total_seconds(),
                which=_requests.c.alone_from.is_not(None) if alone else sa.true(),
            )
            if claimed and within is not None:  # whoever comes too late is told that, not that it is too much
                budget.require(connection, request, planned, within, now)
            if claimed:
                self._leave_open(connection, request, left)
            return claimed

    def cancel(
        self,
        request: ClosingRequest,
        person: Person,
        now: datetime,
        left: ClosingRequest | None = None,
        *,
        stopped: bool = False,
    ) -> bool:
        """End an open, unexpired request without a close; its other targets go to the one that is ``left`` open.

        ``stopped`` says that this stops a break-glass.
        """
        with self.writing() as connection:
            details = {"stopped": True} if stopped else {}
            cancelled = self._decide(
                connection, request, State.CANCELLED, person, now, "cancel", details, stopped=stopped
            )
            if cancelled:
                self._leave_open(connection, request, left)
            return cancelled

    def _leave_open(self, connection: sa.Connection, request: ClosingRequest, left: ClosingRequest | None) -> None:
        if left is None:
            return
        kept = [target.number for target in request.targets]
        others = sa.and_(_targets.c.request_id == request.id, _targets.c.number.not_in(kept))
        connection.execute(_targets.delete().where(others))
        connection.execute(_requests.update().where(_requests.c.id == request.id).values(matching=request.matching))
        self._add(connection, left, request)

    def _decide(
        self,
        connection: sa.Connection,
        request: ClosingRequest,
        state: State,
        person: Person,
        now: datetime,
        event: str,
        details: dict[str, Any],
        *,
        which: sa.ColumnElement[bool] | None = None,
        **more: object,
    ) -> bool:
        another_press = sa.or_(_requests.c.pressed.is_(None), _requests.c.pressed != more.get("pressed"))
        changed = connection.execute(
            _requests.update()
            .where(
                _open(request),
                _requests.c.expires_at > now.timestamp(),
                another_press,
                which if which is not None else sa.true(),
            )
            .values(
                state=state.value,
                decided_by=person.id,
                decided_team=person.team,
                decided_at=now.timestamp(),
                **more,
            )
        ).rowcount
        if changed == 1:
            audit_log.append(connection, now, event, details, person=person, **_of(request))
        return changed == 1

    def allow_alone(
        self,
        request: ClosingRequest,
        person: Person,
        now: datetime,
        *,
        alone_from: datetime,
        expires_at: datetime,
        called_at: datetime,
        calls: Sequence[Call],
    ) -> bool:
        """Let the requester of an open request confirm it alone after a while, for its reason; True the first time."""
        with self.writing() as connection:
            changed = connection.execute(
                _requests.update()
                .where(_open(request), _requests.c.expires_at > now.timestamp(), _requests.c.alone_from.is_(None))
                .values(
                    alone_from=alone_from.timestamp(),
                    expires_at=expires_at.timestamp(),
                    reason=request.reason,
                    called_at=called_at.timestamp(),
                    calls=tables.calls_value(calls),
                )
            ).rowcount
            if changed == 1:
                called = [one.person for one in calls]
                details = {"reason": request.reason, "alone_from": alone_from.isoformat(), "called": called}
                audit_log.append(connection, now, "break glass", details, person=person, **_of(request))
        return changed == 1

    def stopped(self) -> list[ClosingRequest]:
        """The requests whose break-glass somebody has stopped, and nobody has lifted that; newest first."""
        return self._those(_stopped())

    def without_card(self, before: datetime) -> list[ClosingRequest]:
        """The open requests that somebody's press has made before that time, and that have no card."""
        made = sa.and_(_requests.c.follows.is_not(None), _requests.c.created_at < before.timestamp())
        return self._those(sa.and_(_requests.c.state == State.OPEN.value, made, _requests.c.card_ts.is_(None)))

    def broken_open(self) -> list[ClosingRequest]:
        """The open requests whose requesters may come to confirm them alone."""
        return self._those(sa.and_(_requests.c.state == State.OPEN.value, _requests.c.alone_from.is_not(None)))

    def end_break_glass(self, request: ClosingRequest, person: Person, now: datetime) -> None:
        """Let an open request not be confirmed alone after all, since somebody has stopped another one of its kind."""
        with self.writing() as connection:
            ended = connection.execute(
                _requests.update()
                .where(_open(request), _requests.c.alone_from.is_not(None))
                .values(alone_from=None, called_at=None, calls=None)
            ).rowcount
            if ended == 1:
                audit_log.append(connection, now, "end break glass", {}, person=person, **_of(request))

    def lift(self, request: ClosingRequest, person: Person, now: datetime) -> None:
        """Let a Stop hold no more."""
        lifted = {"lifted_by": person.id, "lifted_team": person.team, "lifted_at": now.timestamp()}
        with self.writing() as connection:
            which = sa.and_(_requests.c.id == request.id, _stopped())
            if connection.execute(_requests.update().where(which).values(lifted)).rowcount == 1:
                audit_log.append(connection, now, "lift stop", {}, person=person, **_of(request))

    def review(self, request: ClosingRequest, person: Person, now: datetime) -> bool:
        """Sign what was confirmed alone; True only the first time."""
        with self.writing() as connection:
            changed = connection.execute(
                _requests.update()
                .where(_requests.c.id == request.id, _to_review())
                .values(reviewed_by=person.id, reviewed_team=person.team, reviewed_at=now.timestamp())
            ).rowcount
            if changed == 1:
                audit_log.append(connection, now, "review", {}, person=person, **_of(request))
                self._show_anew(connection, request)
        return changed == 1

    def renew(self, request: ClosingRequest | None = None) -> bool:
        """Put off the end of the leases of all that this process has claimed, or of one claim; True where there is any.

        A lease that has ended is renewed as well, where nobody has taken over.
        """
        mine = sa.and_(_requests.c.state == State.CLAIMED.value, _requests.c.owner == self.owner)
        with self.writing() as connection:
            renewed = connection.execute(
                _requests.update()
                .where(self._claimed(request) if request is not None else mine)
                .values(lease_until=self.now + LEASE.total_seconds())
            ).rowcount
        return renewed > 0

    def take_over(self, request: ClosingRequest) -> bool:
        """Take a claimed request from an owner that has ended or fallen silent; True for one caller.

        From then on the owner before, should it come back, neither sends anything for it nor writes of it.
        """
        with self.writing() as connection:
            changed = connection.execute(
                _requests.update()
                .where(
                    _this_claim(request),
                    sa.or_(_requests.c.owner == self.owner, self._left_behind()),
                )
                .values(owner=self.owner, lease_until=self.now + LEASE.total_seconds())
            ).rowcount
        return changed == 1

    def _left_behind(self) -> sa.ColumnElement[bool]:
        """Whether another owner's claim is its no more: a file has one process at a time, and that is this one."""
        others = sa.or_(_requests.c.owner.is_(None), _requests.c.owner != self.owner)
        if not self.shared:
            return others
        # A version that knew no leases gave its presses a minute.
        until = sa.func.coalesce(_requests.c.lease_until, _requests.c.decided_at + 60.0)
        # One that ends long after any that is given out now is of before the server's clock was set back.
        stale = _requests.c.lease_until > self.now + 6 * LEASE.total_seconds()
        return sa.and_(others, sa.or_(until <= self.now, stale))

    def release(self, request: ClosingRequest, now: datetime, why: str, *, nothing_sent: bool = False) -> bool:
        """Open a claimed request again because nothing was sent to the database; never after an intent.

        ``nothing_sent`` is for the press itself, which knows that none of its intents came to anything.
        """
        intended = sa.exists().where(_targets.c.request_id == request.id, _targets.c.intent_at.is_not(None))
        with self.writing() as connection:
            for target in request.targets if nothing_sent else ():
                self._withdraw(connection, request, target, why, now)
            changed = connection.execute(
                _requests.update()
                .where(self._claimed(request), ~intended)
                .values(
                    state=State.OPEN.value,
                    decided_by=None,
                    decided_team=None,
                    decided_at=None,
                    decided_mode=None,
                    planned=None,
                    owner=None,
                    lease_until=None,
                )
            ).rowcount
            if changed == 1:
                audit_log.append(connection, now, "release", {"why": why}, **_of(request))
        return changed == 1

    def intend(self, request: ClosingRequest, target: Target, sql: str, now: datetime) -> None:
        """Write that this KILL is about to be sent, while the claim is this process's own.

        Without this record nothing may be sent.
        """
        mine = sa.exists().where(self._claimed(request))
        with self.writing() as connection:
            changed = connection.execute(
                _targets.update()
                .where(_target(request, target), _targets.c.intent_at.is_(None), _targets.c.outcome.is_(None), mine)
                .values(intent_at=now.timestamp())
            ).rowcount
            if changed != 1:
                raise StoreError("This request was taken over in the meantime. Nothing was closed by this press.")
            audit_log.append(connection, now, "intent", {**_named(target), "sql": sql}, **_of(request))

    def answered(self, request: ClosingRequest, target: Target, answer: str, session: Session) -> None:
        """Keep what the server answered to the KILL, and the session as it was looked at right before.

        That is for whoever must finish what this press cannot, and for all who look later.
        """
        mine = sa.exists().where(self._claimed(request))
        with self.writing() as connection:
            connection.execute(
                _targets.update()
                .where(_target(request, target), _targets.c.outcome.is_(None), mine)
                .values(answer=answer, sent=session_json.written(session))
            )

    def withdraw(self, request: ClosingRequest, target: Target, why: str, now: datetime) -> None:
        """Write that an intent came to nothing: its press knows that no KILL was sent, and it counts as none."""
        with self.writing() as connection:
            self._withdraw(connection, request, target, why, now)

    def _withdraw(
        self, connection: sa.Connection, request: ClosingRequest, target: Target, why: str, now: datetime
    ) -> None:
        standing = (
            _targets.c.intent_at.is_not(None),
            _targets.c.outcome.is_(None),
            sa.exists().where(self._claimed(request)),
        )
        changed = connection.execute(
            _targets.update().where(_target(request, target), *standing).values(intent_at=None)
        ).rowcount
        if changed == 1:
            audit_log.append(connection, now, "withdraw", {**_named(target), "why": why}, **_of(request))

    def conclude(
        self, request: ClosingRequest, outcomes: Mapping[int, TargetOutcome], now: datetime
    ) -> list[TargetOutcome]:
        """Write what became of targets of a claimed request, each once, however often it is called; return what is new.

        That nothing was sent is written only where, in that same transaction, no intent stands: who finishes what a
        stopped bot left may have read it before that bot's last intent. The request ends with the last of its
        targets; from then on its share of the budget is what was sent.
        """
        written = []
        waiting = sa.exists().where(_targets.c.request_id == request.id, _targets.c.outcome.is_(None))
        sent = sa.select(sa.func.count(_targets.c.intent_at)).where(_targets.c.request_id == request.id)
        with self.writing() as connection:
            for target in request.targets:
                target_outcome = outcomes.get(target.number)
                if target_outcome is None:
                    continue
                if target_outcome.sent is False:
                    self._withdraw(connection, request, target, target_outcome.detail, now)
                nothing_sent = target_outcome.outcome is Outcome.NOT_SENT or target_outcome.sent is False
                changed = connection.execute(
                    _targets.update()
                    .where(
                        _target(request, target),
                        _targets.c.outcome.is_(None),
                        sa.exists().where(self._claimed(request)),
                        *([_targets.c.intent_at.is_(None)] if nothing_sent else []),
                    )
                    .values(_found(target_outcome))
                ).rowcount
                if changed == 1:
                    audit_log.append(connection, now, "outcome", _told(target, target_outcome), **_of(request))
                    written.append(target_outcome)
            connection.execute(
                _requests.update()
                .where(self._claimed(request), ~waiting)
                .values(state=State.DONE.value, planned=sent.scalar_subquery())
            )
        return written

    def correct(self, request: ClosingRequest, outcomes: Mapping[int, TargetOutcome], now: datetime) -> None:
        """Write what a press knows of targets that were taken over from it, where that is more than a look showed.

        Whoever took over does not know what the server answered, nor whether anything was sent.
        """
        unknown = sa.or_(_targets.c.answer.is_(None), _targets.c.answer == Answer.NONE.value)
        with self.writing() as connection:
            for target in request.targets:
                target_outcome = outcomes.get(target.number)
                if target_outcome is None or (target_outcome.sent and target_outcome.answer == Answer.NONE.value):
                    continue
                over = sa.exists().where(_requests.c.id == request.id, _requests.c.state == State.DONE.value)
                changed = connection.execute(
                    _targets.update()
                    .where(_target(request, target), unknown, _targets.c.intent_at.is_not(None), over)
                    .values(_found(target_outcome) | ({} if target_outcome.sent else {"intent_at": None}))
                ).rowcount
                if changed == 1:
                    audit_log.append(connection, now, "later", _told(target, target_outcome), **_of(request))
                    self._show_anew(connection, request)

    def put_back(self, request: ClosingRequest, outcomes: Mapping[int, TargetOutcome], now: datetime) -> bool:
        """Write what came of a press into a store that does not know of it: another file, or an older state of it.

        True where that was so. Its first records are gone with the file that held them; the card is in Slack.
        """
        with self.writing() as connection:
            state = connection.execute(sa.select(_requests.c.state).where(_requests.c.id == request.id)).scalar()
            if state in (State.CLAIMED.value, State.DONE.value):
                return False
            connection.execute(_targets.delete().where(_targets.c.request_id == request.id))
            connection.execute(_requests.delete().where(_requests.c.id == request.id))
            connection.execute(_requests.insert().values(tables.request_values(request) | _decided(request)))
            rows = tables.target_values(request)
            connection.execute(_targets.insert(), rows)
            for target in request.targets:
                target_outcome = outcomes.get(target.number)
                if target_outcome is None:
                    continue
                intended = {"intent_at": target_outcome.at.timestamp()} if target_outcome.sent else {}
                connection.execute(
                    _targets.update().where(_target(request, target)).values(_found(target_outcome) | intended)
                )
                audit_log.append(
                    connection, now, "outcome", _told(target, target_outcome), person=request.decided_by, **_of(request)
                )
        return True

    def came_back(self, request: ClosingRequest, newcomers: Mapping[int, int], now: datetime) -> bool:
        """Write which new sessions do what closed targets, by number, did; True where one of it is new."""
        written = {}
        with self.writing() as connection:
            for target in request.targets:
                number = newcomers.get(target.number)
                if number is None:
                    continue
                changed = connection.execute(
                    _targets.update()
                    .where(_target(request, target), _targets.c.newcomer.is_(None))
                    .values(newcomer=number)
                ).rowcount
                if changed == 1:
                    written[target.session.id] = number
            if written:
                audit_log.append(connection, now, "came back", {"newcomers": written}, **_of(request))
                self._show_anew(connection, request)
        return bool(written)

    def amend(
        self, request: ClosingRequest, target: Target, before: Outcome, target_outcome: TargetOutcome, now: datetime
    ) -> bool:
        """Write what became of a target later than its first outcome; True where that still stood ``before``."""
        with self.writing() as connection:
            changed = connection.execute(
                _targets.update()
                .where(_target(request, target), _targets.c.outcome == before.value)
                .values(_found(target_outcome))
            ).rowcount
            if changed == 1:
                audit_log.append(connection, now, "later", _told(target, target_outcome), **_of(request))
                self._show_anew(connection, request)
        return changed == 1

    def note(
        self, now: datetime, event: str, details: Mapping[str, Any], *, person: Person, request: ClosingRequest
    ) -> None:
        """Write an act that changes nothing of a request, for example a press that was refused."""
        named = {**details, "tenants": list({target.session.tenant: None for target in request.targets})}
        with self.writing() as connection:
            audit_log.append(connection, now, event, named, person=person, **_of(request))

    def place_card(self, request_id: str, place: CardPlace) -> None:
        """Remember where the card stands."""
        self._set(request_id, card_channel=place.channel, card_ts=place.ts)

    def mark_shown(self, request_id: str, *, shown: bool) -> None:
        """Remember whether the card tells how the request ended."""
        self._set(request_id, shown=shown)

    def _set(self, request_id: str, **values: object) -> None:
        with self.writing() as connection:
            connection.execute(_requests.update().where(_requests.c.id == request_id).values(**values))

    def _show_anew(self, connection: sa.Connection, request: ClosingRequest) -> None:
        """Let the card be rewritten until Slack has taken it: it tells what is so no more."""
        connection.execute(_requests.update().where(_requests.c.id == request.id).values(shown=False))

    def unshown(self, since: datetime, before: datetime) -> list[ClosingRequest]:
        """Requests made since a time and over before another whose cards do not tell so yet."""
        over = (State.DONE.value, State.CANCELLED.value, State.EXPIRED.value)
        decided = sa.func.coalesce(_requests.c.decided_at, _requests.c.expires_at)
        which = sa.and_(
            _requests.c.state.in_(over),
            _requests.c.shown.is_not(True),
            _requests.c.card_ts.is_not(None),
            _requests.c.created_at > since.timestamp(),
            decided < before.timestamp(),
        )
        return self._those(which)

    def expire(self, now: datetime, carried_out: Collection[str] = ()) -> list[ClosingRequest]:
        """Mark open requests that ran out of time; return those this call has marked.

        Not those that are ``carried_out``: they are open in a file that was replaced since they were confirmed.
        """
        late = sa.and_(_requests.c.state == State.OPEN.value, _requests.c.expires_at <= now.timestamp())
        marked = []
        for request in self._those(sa.and_(late, _requests.c.id.not_in(carried_out))):
            with self.writing() as connection:
                changed = connection.execute(
                    _requests.update().where(late, _requests.c.id == request.id).values(state=State.EXPIRED.value)
                ).rowcount
                if changed == 1:
                    audit_log.append(connection, now, "expire", {}, **_of(request))
                    marked.append(replace(request, state=State.EXPIRED))
        return marked

    def _claimed(self, request: ClosingRequest) -> sa.ColumnElement[bool]:
        """Whether the request is this process's own: by this very claim, where it was read with one.

        A press that was thought dead must not send under the press of somebody else who took the request since.
        """
        return sa.and_(_this_claim(request), _requests.c.owner == self.owner)

    def recent(self, state: State, limit: int) -> list[ClosingRequest]:
        """The newest requests in that state, newest first."""
        return self._those(_requests.c.state == state.value, limit)

    def abandoned(self, carried_out: Collection[str]) -> list[ClosingRequest]:
        """Requests that nobody carries out any more; ``carried_out`` are those that this process does."""
        own = sa.and_(_requests.c.owner == self.owner, _requests.c.id.not_in(carried_out))
        left = sa.or_(self._left_behind(), own)
        return self._those(sa.and_(_requests.c.state == State.CLAIMED.value, left))

    def unfinished(self, since: datetime, outcomes: Collection[Outcome]) -> list[ClosingRequest]:
        """Requests that are over and of whose targets some came to one of these outcomes since then."""
        late = sa.and_(
            _targets.c.outcome.in_([one.value for one in outcomes]), _targets.c.outcome_at > since.timestamp()
        )
        ids = sa.select(_targets.c.request_id).where(late)
        return self._those(sa.and_(_requests.c.state == State.DONE.value, _requests.c.id.in_(ids)))

    def to_review(self) -> list[ClosingRequest]:
        """Requests that were confirmed alone and that nobody has signed, newest first."""
        return self._those(_to_review())

    def call_for_budget(self, error: BudgetError, person: Person, channel: str, now: datetime) -> int:
        """Write that a message calls for more closes than the budget allows; return its number."""
        with self.writing() as connection:
            return budget.call(connection, error, person, channel, now)

    def budget_call(self, number: int) -> audit_log.Entry:
        """Look up such a message; raises ``RequestError`` where it is not known."""
        with self.reading() as connection:
            return budget.called(connection, number)

    def extend_budget(self, number: int, person: Person, within: Budget, now: datetime) -> Extension:
        """Allow as many closes again within the budget's time, once for the message of that number.

        Raises ``RequestError``.
        """
        with self.writing() as connection:
            return budget.extend(connection, number, person, within, now)

    def _those(self, which: sa.ColumnElement[bool], limit: int | None = None) -> list[ClosingRequest]:
        chosen = sa.select(_requests).where(which).order_by(_requests.c.created_at.desc()).limit(limit)
        targets: dict[str, list[sa.RowMapping]] = {}
        with self.reading() as connection:
            rows = connection.execute(chosen).mappings().all()
            ids = [row["id"] for row in rows]
            for start in range(0, len(ids), _AT_ONCE):
                theirs = _targets.c.request_id.in_(ids[start : start + _AT_ONCE])
                for one in connection.execute(sa.select(_targets).where(theirs).order_by(_targets.c.number)).mappings():
                    targets.setdefault(one["request_id"], []).append(one)
        return [tables.to_request(row, targets.get(row["id"], [])) for row in rows]

    def forget(self, before: datetime, now: datetime) -> int:
        """Let go of records older than that, and of requests that nobody waits for; return how many records."""
        waited_for = sa.or_(
            _requests.c.state.in_((State.OPEN.value, State.CLAIMED.value)),
            _to_review(),
            _stopped(),
        )
        its_own = sa.and_(tables.audit.c.request_id == _requests.c.id, tables.audit.c.event == "request")
        recorded = sa.exists().where(its_own)
        with self.writing() as connection:
            self._forget_what_ran(connection, before)
            forgotten = audit_log.forget(connection, before, now)
            # A request goes after its own record, which goes in its turn, whatever its time says.
            old = sa.and_(_requests.c.created_at < before.timestamp(), ~waited_for, ~recorded)
            connection.execute(_targets.delete().where(_targets.c.request_id.in_(sa.select(_requests.c.id).where(old))))
            connection.execute(_requests.delete().where(old))
            return forgotten

    def _forget_what_ran(self, connection: sa.Connection, before: datetime) -> None:
        """Let go of the statements of old requests that stay for their Stop alone."""
        old = sa.select(_requests.c.id).where(_requests.c.created_at < before.timestamp(), _stopped())
        rows = connection.execute(sa.select(_targets).where(_targets.c.request_id.in_(old))).mappings().all()
        for row in rows:
            which = sa.and_(_targets.c.request_id == row["request_id"], _targets.c.number == row["number"])
            connection.execute(
                _targets.update().where(which).values(session=session_json.without_statement(row["session"]))
            )

    def believed(self, keep: timedelta) -> float | None:
        """Return the time of the newest record of before the start that others a day and more older vouch for.

        That of the oldest where there is none such, None where there is no record. A clock that was wrong for a moment
        leaves records that stand alone.
        """
        if self.newest_at_start is None:
            return None
        audit, older = tables.audit.c, tables.audit.alias("older")
        day, keeps = 86_400_000_000, int(keep.total_seconds() * 1e6)
        vouched = sa.exists().where(older.c.at <= audit.at - day, older.c.at >= audit.at - keeps)
        up_to = audit.at <= int(self.newest_at_start * 1e6)
        with self.reading() as connection:
            newest = connection.execute(sa.select(sa.func.max(audit.at)).where(up_to, vouched)).scalar()
            if newest is None:
                newest = connection.execute(sa.select(sa.func.min(audit.at))).scalar()
        return newest / 1e6 if newest is not None else None


def _open(request: ClosingRequest) -> sa.ColumnElement[bool]:
    return sa.and_(_requests.c.id == request.id, _requests.c.state == State.OPEN.value)


def _this_claim(request: ClosingRequest) -> sa.ColumnElement[bool]:
    """Whether it is claimed, by the press that it was read with where there was one."""
    claimed = [_requests.c.id == request.id, _requests.c.state == State.CLAIMED.value]
    if request.decided_by is not None and request.decided_at is not None:
        claimed += [
            _requests.c.decided_by == request.decided_by.id,
            _requests.c.decided_at == request.decided_at.timestamp(),
        ]
    return sa.and_(*claimed)


def _to_review() -> sa.ColumnElement[bool]:
    """What ``ClosingRequest.to_review`` says, for the database."""
    alone = sa.and_(_requests.c.alone_from.is_not(None), _requests.c.decided_by == _requests.c.requester)
    return sa.and_(_requests.c.state == State.DONE.value, alone, _requests.c.reviewed_by.is_(None))


def _stopped() -> sa.ColumnElement[bool]:
    """Whether somebody has stopped a break-glass, and nobody has lifted that."""
    stopped = sa.and_(_requests.c.stopped.is_(True), _requests.c.lifted_by.is_(None))
    return sa.and_(_requests.c.state == State.CANCELLED.value, stopped)


def _target(request: ClosingRequest, target: Target) -> sa.ColumnElement[bool]:
    return sa.and_(_targets.c.request_id == request.id, _targets.c.number == target.number)


def _of(request: ClosingRequest) -> dict[str, Any]:
    return {"channel": request.channel, "source": request.source, "request_id": request.id}


def _decided(request: ClosingRequest) -> dict[str, Any]:
    by, at = request.decided_by, request.decided_at
    return {
        "state": State.DONE.value,
        "decided_by": by.id if by is not None else None,
        "decided_team": by.team if by is not None else None,
        "decided_at": at.timestamp() if at is not None else None,
        "decided_mode": request.decided_mode.value if request.decided_mode is not None else None,
        "alone_from": request.alone_from.timestamp() if request.alone_from is not None else None,
        "card_channel": request.card.channel if request.card is not None else None,
        "card_ts": request.card.ts if request.card is not None else None,
    }


def _found(target_outcome: TargetOutcome) -> dict[str, Any]:
    return {
        "outcome": _AS_OLDER_VERSIONS.get(target_outcome.outcome, target_outcome.outcome.value),
        "detail": target_outcome.detail,
        "outcome_at": target_outcome.at.timestamp(),
        **({"answer": target_outcome.answer} if target_outcome.answer else {}),
        **({"sent": session_json.written(target_outcome.session)} if target_outcome.session is not None else {}),
        "holder": session_json.written(target_outcome.holder) if target_outcome.holder is not None else None,
    }


def _told(target: Target, target_outcome: TargetOutcome) -> dict[str, Any]:
    told = {
        "outcome": target_outcome.outcome.value,
        "detail": target_outcome.detail,
        "answer": target_outcome.said or target_outcome.answer,
    }
    return {**_named(target), **told}


def _named(target: Target) -> dict[str, Any]:
    session = target.session
    return {"target": target.number, "id": session.id, "server": session.server, "tenant": session.tenant}


def _recorded(target: Target, sql_characters: int) -> dict[str, Any]:
    return {"target": target.number, **session_json.kept(target.session, sql_characters)}
