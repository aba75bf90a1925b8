"""Who sees what of statements: the one place where that is decided, for everything that reads them for a person."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from bot.access import Access, Person, Right, Scope
from bot.sessions.service import SessionService
from bot.sessions.statement import Disclosure


@dataclass(frozen=True, slots=True)
class Disclosures:
    """What is shown of statements, by data source and person."""

    access: Access
    sessions: SessionService
    in_public: Mapping[str, Disclosure]  # by data source: what lists and cards show, whoever reads them

    def shown(self, source: str) -> Disclosure:
        """What lists and cards of a data source show; of one that is not configured any more, digests."""
        return self.in_public.get(source, Disclosure.DIGEST)

    def covering(self, person: Person, source: str, channel: str, view: Scope) -> Disclosure:
        """What a person sees of an answer about these tenants: literals where they may close all that it covers."""
        close = self._may_close(person, source, channel)
        covered = Scope(self.sessions.source(source).configured(view.tenants))
        return self._of(source, closes_all=close is not None and close.includes(covered))

    def of(self, person: Person, source: str, channel: str, tenants: Collection[str | None]) -> Disclosure:
        """What a person sees of statements of these tenants: whoever may close must be able to judge what he closes."""
        close = self._may_close(person, source, channel)
        return self._of(source, closes_all=close is not None and all(map(close.covers, tenants)))

    def _may_close(self, person: Person, source: str, channel: str) -> Scope | None:
        return self.access.rights(person, source, channel).get(Right.CLOSE)

    def _of(self, source: str, *, closes_all: bool) -> Disclosure:
        return Disclosure.ALL_BUT_PASSWORDS if closes_all else self.shown(source)
