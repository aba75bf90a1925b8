"""Reading the record: what somebody may see of it, and what still has to be reviewed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from bot.access import Access, Person, Right
from bot.closing import audit_masking
from bot.closing.disclosures import Disclosures
from bot.closing.model import Clock, ClosingRequest
from bot.closing.store import Store, audit_log
from bot.closing.store.audit_log import Entry
from bot.closing.store.database import tried_again
from bot.errors import NotAllowedError
from bot.sessions.model import Session
from bot.sessions.statement import Disclosure

MOST = 5000  # acts that one answer is made from


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One act with the request it belongs to, if it belongs to one."""

    entry: Entry
    request: ClosingRequest | None


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """Which acts are asked for; ``None`` does not restrict."""

    since: timedelta
    by: str | None = None  # Slack id of who acted
    source: str | None = None
    tenant: str | None = None
    here: bool = False  # only what was done in the channel it is asked from


class AuditTrail:
    """The record as people may see it: of the data sources and tenants that they may view."""

    def __init__(self, store: Store, access: Access, disclosures: Disclosures, clock: Clock) -> None:
        self._store = store
        self._access = access
        self._disclosures = disclosures
        self._clock = clock

    def note_sql_view(self, person: Person, channel: str, session: Session) -> None:
        """Write down that a person looked at a whole SQL text."""
        sql_id = session.statement.sql_id(Disclosure.DIGEST) if session.statement is not None else None
        details = {"server": session.server, "id": session.id, "tenant": session.tenant, "sql_id": sql_id}
        self._note(person, channel, session.source, details)

    @tried_again
    def _note(self, person: Person, channel: str, source: str | None, details: Mapping[str, Any]) -> None:
        with self._store.database.writing() as connection:
            audit_log.append(
                connection, self._clock(), "view sql", details, person=person, channel=channel, source=source
            )

    def read(
        self, person: Person, channel: str, query: AuditQuery, *, literals: bool = False
    ) -> tuple[list[AuditRecord], datetime]:
        """Return what fits, oldest first, and since when: later than asked for where that would be too much.

        ``literals`` shows those of statements of sessions that the person may close, and puts that on record.
        """
        since = self._clock() - query.since
        with self._store.database.reading() as connection:
            found = audit_log.entries(connection, since=since, channel=channel if query.here else None, newest=MOST)
        if len(found) == MOST:
            since = found[0].at
        requests = self._store.requests.those({entry.request_id for entry in found if entry.request_id is not None})
        sees = self._sees(person, channel)
        records = []
        for entry in found:
            one = AuditRecord(entry, requests.get(entry.request_id or ""))
            if _fits(one, query) and all(sees(entry.source or "", tenant) for tenant in tenants_of(one)):
                records.append(one)
        if not literals:
            return [_shown(one, Disclosure.DIGEST) for one in records], since
        return self._with_literals(records, person, channel), since

    def _with_literals(self, records: list[AuditRecord], person: Person, channel: str) -> list[AuditRecord]:
        answer = []
        seen: dict[str | None, list[AuditRecord]] = {}
        for one in records:
            source = one.entry.source
            digests = whole = _shown(one, Disclosure.DIGEST)
            if source is not None:
                whole = _shown(one, self._disclosures.of(person, source, channel, tenants_of(one)))
            if whole.entry.details != digests.entry.details:
                seen.setdefault(source, []).append(one)
            answer.append(whole)
        for source, those in seen.items():
            tenants = list({tenant: None for one in those for tenant in tenants_of(one)})
            self._note(person, channel, source, {"records": len(those), "tenants": tenants})
        return answer

    def to_review(self, person: Person, channel: str) -> list[ClosingRequest]:
        """Return the closes that were confirmed alone and wait for a signature, of what this person may see."""
        sees = self._sees(person, channel)
        return [
            request
            for request in self._store.break_glass.to_review()
            if all(sees(request.source, target.session.tenant) for target in request.targets)
        ]

    def _sees(self, person: Person, channel: str) -> Callable[[str, str | None], bool]:
        scopes: dict[str, Callable[[str | None], bool]] = {}

        def sees(source: str, tenant: str | None) -> bool:
            if source not in scopes:
                try:
                    scopes[source] = self._access.scope(person, Right.VIEW, source, channel).covers
                except NotAllowedError:
                    scopes[source] = lambda _tenant: False
            return scopes[source](tenant)

        return sees


def tenants_of(record: AuditRecord) -> set[str | None]:
    """Return the tenants that an act was about: those of its request's targets, and all that it names itself.

    One that names none, or does not say which (None), is seen by who may see all of them.
    """
    details = record.entry.details
    found = {target.session.tenant for target in record.request.targets} if record.request is not None else set()
    found |= {one.get("tenant") for one in (*details.get("targets", ()), *([details] if "tenant" in details else []))}
    found.update(details.get("tenants", ()))
    for one in details.get("untouched", ()):
        found.update(one.get("tenants", (None,)))
    return found or {None}


def _shown(record: AuditRecord, disclosure: Disclosure) -> AuditRecord:
    details = audit_masking.shown(record.entry.details, disclosure)
    return replace(record, entry=replace(record.entry, details=details, hash=""))


def _fits(record: AuditRecord, query: AuditQuery) -> bool:
    entry = record.entry
    return (
        (query.by is None or (entry.person is not None and entry.person.id == query.by))
        and (query.source is None or entry.source == query.source)
        and (query.tenant is None or query.tenant in tenants_of(record))
    )
