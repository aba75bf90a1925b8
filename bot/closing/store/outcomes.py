"""What became of each target, written once by its attempt; and what whoever looks later knows better."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from bot.closing.model import ClosingRequest, Outcome, State, Target, TargetOutcome
from bot.closing.store import audit_log, session_json, tables
from bot.closing.store.database import Database, tried_again
from bot.closing.store.intents import is_own, is_target, named, withdraw
from bot.closing.store.requests import StoredRequests, show_anew
from bot.sessions.kill import Answer

# What replicas of an older version, which may still be running, can read.
_AS_OLDER_VERSIONS = {Outcome.NOT_SENT: "not touched"}

Concluded = Callable[[Iterable[TargetOutcome]], None]

_requests, _targets = tables.requests, tables.targets


class Outcomes:
    """The outcomes of claimed requests. ``concluded`` is told those that are on record, for metrics."""

    def __init__(self, database: Database, requests: StoredRequests, concluded: Concluded) -> None:
        self._database = database
        self._stored = requests
        self._concluded = concluded

    @tried_again
    def conclude(
        self, request: ClosingRequest, outcomes: Mapping[int, TargetOutcome], now: datetime
    ) -> list[TargetOutcome]:
        """Write what became of targets of a claimed request, each once, however often it is called; return what is new.

        The request ends with the last of its targets; from then on its share of the budget is what was sent.
        """
        waiting = sa.exists().where(_targets.c.request_id == request.id, _targets.c.outcome.is_(None))
        sent = sa.select(sa.func.count(_targets.c.intent_at)).where(_targets.c.request_id == request.id)
        over = {"state": State.DONE.value, "planned": sent.scalar_subquery()}
        with self._database.writing() as connection:
            written = [
                outcome
                for target, outcome in _known(request, outcomes)
                if self._write(connection, request, target, outcome, now)
            ]
            own = is_own(self._database, request)
            connection.execute(_requests.update().where(own, ~waiting).values(over))
        self._concluded(written)
        return written

    def _write(
        self,
        connection: sa.Connection,
        request: ClosingRequest,
        target: Target,
        outcome: TargetOutcome,
        now: datetime,
    ) -> bool:
        """Write one outcome, unless there is one.

        That nothing was sent is written only where, in that same transaction, no intent stands: who finishes what a
        stopped bot left may have read it before that bot's last intent.
        """
        if outcome.sent is False:
            withdraw(connection, self._database, request, target, outcome.detail, now)
        still = [is_target(request, target), _targets.c.outcome.is_(None)]
        still.append(sa.exists().where(is_own(self._database, request)))
        if outcome.outcome is Outcome.NOT_SENT or outcome.sent is False:
            still.append(_targets.c.intent_at.is_(None))
        changed = connection.execute(_targets.update().where(*still).values(_values(outcome))).rowcount
        if changed == 1:
            audit_log.append_for(connection, request, now, "outcome", _details(request, target, outcome))
        return changed == 1

    @tried_again
    def correct(self, request: ClosingRequest, outcomes: Mapping[int, TargetOutcome], now: datetime) -> None:
        """Write what an attempt knows of targets that were taken over from it, where that is more than a look showed.

        Whoever took over does not know what the server answered, nor whether anything was sent.
        """
        unknown = sa.or_(_targets.c.answer.is_(None), _targets.c.answer == Answer.NONE.value)
        over = sa.exists().where(_requests.c.id == request.id, _requests.c.state == State.DONE.value)
        still = sa.and_(unknown, _targets.c.intent_at.is_not(None), over)
        with self._database.writing() as connection:
            for target, outcome in _known(request, outcomes):
                if outcome.sent and outcome.answer == Answer.NONE.value:
                    continue
                intended = {} if outcome.sent else {"intent_at": None}
                _write_later(connection, request, target, outcome, now, still, intended)

    @tried_again
    def put_back(self, request: ClosingRequest, outcomes: Mapping[int, TargetOutcome], now: datetime) -> bool:
        """Write what came of an attempt into a store that does not know of it: another file, or an older state of it.

        True where that was so. Its first records are gone with the file that held them; the card is in Slack.
        """
        with self._database.writing() as connection:
            state = connection.execute(sa.select(_requests.c.state).where(_requests.c.id == request.id)).scalar()
            if state in (State.CLAIMED.value, State.DONE.value):
                return False
            if state is not None:  # which alone takes a right to delete
                connection.execute(_targets.delete().where(_targets.c.request_id == request.id))
                connection.execute(_requests.delete().where(_requests.c.id == request.id))
            connection.execute(_requests.insert().values(tables.request_values(request) | _decided(request)))
            connection.execute(_targets.insert(), tables.target_values(request))
            for target, outcome in _known(request, outcomes):
                intended = {"intent_at": outcome.at.timestamp()} if outcome.sent else {}
                values = _values(outcome) | intended
                connection.execute(_targets.update().where(is_target(request, target)).values(values))
                details = _details(request, target, outcome)
                audit_log.append_for(connection, request, now, "outcome", details, request.decided_by)
        return True

    def unfinished(self, since: datetime, outcomes: Collection[Outcome]) -> list[ClosingRequest]:
        """Requests that are over and of whose targets some came to one of these outcomes since then."""
        late = sa.and_(
            _targets.c.outcome.in_([one.value for one in outcomes]), _targets.c.outcome_at > since.timestamp()
        )
        ids = sa.select(_targets.c.request_id).where(late)
        return self._stored.where(sa.and_(_requests.c.state == State.DONE.value, _requests.c.id.in_(ids)))

    @tried_again
    def amend(
        self, request: ClosingRequest, target: Target, before: Outcome, outcome: TargetOutcome, now: datetime
    ) -> bool:
        """Write what became of a target later than its first outcome; True where that still stood ``before``."""
        with self._database.writing() as connection:
            still = _targets.c.outcome == before.value
            return _write_later(connection, request, target, outcome, now, still, {})

    def closed_since(self, source: str, since: datetime) -> list[tuple[ClosingRequest, Mapping[int, datetime]]]:
        """The requests on a data source that were decided since then, and when which of their sessions came back."""
        decided = sa.and_(
            _requests.c.source == source,
            _requests.c.state.in_([State.CLAIMED.value, State.DONE.value]),
            _requests.c.decided_at > since.timestamp(),
        )
        found = self._stored.where(decided)
        if not found:
            return []
        with self._database.reading() as connection:
            entries = audit_log.entries(connection, since=since, event="came back")
        back: dict[str, dict[int, datetime]] = {}
        for entry in entries:
            for number in entry.details.get("newcomers", ()):
                back.setdefault(entry.request_id or "", {}).setdefault(int(number), entry.at)
        return [(one, back.get(one.id, {})) for one in found]

    @tried_again
    def came_back(self, request: ClosingRequest, newcomers: Mapping[int, int], now: datetime) -> bool:
        """Write which new sessions do what closed targets, by number, did; True where one of it is new."""
        written = {}
        with self._database.writing() as connection:
            for target in request.targets:
                number = newcomers.get(target.number)
                if number is None:
                    continue
                still = sa.and_(is_target(request, target), _targets.c.newcomer.is_(None))
                if connection.execute(_targets.update().where(still).values(newcomer=number)).rowcount == 1:
                    written[target.session.id] = number
            if written:
                audit_log.append_for(connection, request, now, "came back", {"newcomers": written})
                show_anew(connection, request)
        return bool(written)


def _known(request: ClosingRequest, outcomes: Mapping[int, TargetOutcome]) -> list[tuple[Target, TargetOutcome]]:
    return [(one, outcomes[one.number]) for one in request.targets if one.number in outcomes]


def _write_later(
    connection: sa.Connection,
    request: ClosingRequest,
    target: Target,
    outcome: TargetOutcome,
    now: datetime,
    still: sa.ColumnElement[bool],
    more: Mapping[str, Any],
) -> bool:
    """Write over an outcome while that is so ``still``, and let the card tell it."""
    which = sa.and_(is_target(request, target), still)
    values = {**_values(outcome), **more}
    changed = connection.execute(_targets.update().where(which).values(values)).rowcount
    if changed == 1:
        audit_log.append_for(connection, request, now, "later", _details(request, target, outcome))
        show_anew(connection, request)
    return changed == 1


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


def _values(outcome: TargetOutcome) -> dict[str, Any]:
    sent, holder = outcome.session, outcome.holder
    return {
        "outcome": _AS_OLDER_VERSIONS.get(outcome.outcome, outcome.outcome.value),
        "detail": outcome.detail,
        "outcome_at": outcome.at.timestamp(),
        **({"answer": outcome.answer} if outcome.answer else {}),
        **({"sent": session_json.written(sent)} if sent is not None else {}),
        "holder": session_json.written(holder) if holder is not None else None,
    }


def _details(request: ClosingRequest, target: Target, outcome: TargetOutcome) -> dict[str, Any]:
    answer = outcome.said or outcome.answer
    details = {"outcome": outcome.outcome.value, "detail": outcome.detail, "answer": answer}
    since = request.decided_at
    took = {"seconds": round((outcome.at - since).total_seconds(), 3)} if since is not None else {}
    return {**named(target), **details, **took}
