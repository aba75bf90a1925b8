"""The session service: the configured data sources by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bot.errors import InputError
from bot.sessions.model import Session, SessionPage, SessionQuery
from bot.sessions.source import DataSource, Tenants
from bot.sessions.statement import Disclosure


class SessionService:
    """The configured data sources by name."""

    def __init__(self, sources: Sequence[DataSource]) -> None:
        self._sources: Mapping[str, DataSource] = {source.name: source for source in sources}

    @property
    def names(self) -> tuple[str, ...]:
        """All data sources in the order of the configuration."""
        return tuple(self._sources)

    def source(self, name: str) -> DataSource:
        """Look a data source up; raises ``InputError`` for one that the configuration names no more.

        What somebody has typed becomes a name in ``Defaults.source_for``, within what they may use.
        """
        try:
            return self._sources[name]
        except KeyError:
            raise InputError(
                f"There is no data source {name} here any more. /sessions sources shows those that you may use.",
                spot=name,
                example="/sessions sources",
            ) from None

    def page(
        self, name: str, query: SessionQuery, tenants: Tenants, disclosure: Disclosure, *, pinned: bool = False
    ) -> SessionPage:
        """List one page of the sessions of those tenants on that data source, ``pinned`` with all that pins compare."""
        return self.source(name).page(query, tenants, disclosure, pinned=pinned)

    def find(self, name: str, session_id: int, tenants: Tenants) -> list[Session]:
        """Find the sessions of that id."""
        return self.source(name).find(session_id, tenants)

    def close(self) -> None:
        """Close all idle connections."""
        for source in self._sources.values():
            source.close()
