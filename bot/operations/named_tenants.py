"""Whether there are the tenants that a configuration names: a misspelt one matches nothing, silently."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bot.errors import BusyError, DataSourceError
from bot.sessions.details import TenantNames
from bot.sessions.source import DataSource
from bot.settings import Settings

_TOLD = 20  # tenants that a sentence names


@dataclass(frozen=True, slots=True)
class Named:
    """One tenant by its name, the key that it stands under, and the data sources of which one should have it."""

    key: str
    tenant: str
    sources: tuple[str, ...]


class NamedTenants:
    """What is known of the tenants that a configuration names; each data source is asked until it has answered once."""

    def __init__(self, settings: Settings) -> None:
        self._named = list(_named(settings))
        self._sources = {name for one in self._named for name in one.sources}
        self._there: dict[str, TenantNames] = {}
        self._unread: dict[str, str] = {}
        self._told: set[str] = set()
        self._lock = threading.Lock()

    def ask(self, source: DataSource) -> None:
        """Ask a data source for its tenants, where any is named there and it has not answered yet. Raises nothing."""
        if source.name not in self._sources or source.name in self._there:
            return
        try:
            names = source.tenant_names()
        except (DataSourceError, BusyError) as error:
            with self._lock:
                self._unread[source.name] = error.sentence
        else:
            with self._lock:
                self._there[source.name] = names
                self._unread.pop(source.name, None)

    def problems(self) -> list[str]:
        """Say, each once, which names no tenant has, and where that cannot be checked. Raises nothing."""
        with self._lock:
            return self._new_problems()

    def _new_problems(self) -> list[str]:
        found = [problem for one in self._named if (problem := _problem(one, self._there)) is not None]
        found += [
            f"data_sources.{name}: whether it has the tenants that the configuration names cannot be checked. {why}"
            for name, why in self._unread.items()
        ]
        new = [problem for problem in found if problem not in self._told]
        self._told.update(new)
        return new


def _named(settings: Settings) -> Iterator[Named]:
    """Yield every place where the configuration names a tenant."""
    everywhere = tuple(settings.data_sources)
    for name, source in settings.data_sources.items():
        for tenant in sorted(source.tenants or ()):
            yield Named(f"data_sources.{name}.tenants", tenant, (name,))
        for tenant in source.tenant_approval:
            yield Named(f"data_sources.{name}.tenant_approval.{tenant}", tenant, (name,))
    for number, rule in enumerate(settings.access):
        covered = tuple(name for name in everywhere if rule.data_sources is None or name in rule.data_sources)
        for tenant in sorted(rule.tenants or ()):
            yield Named(f"access.{number}.tenants", tenant, covered)
    for channel, meant in settings.channels.items():
        if meant.tenant is not None:
            sources = everywhere if meant.data_source is None else (meant.data_source,)
            yield Named(f"channels.{channel}.tenant", meant.tenant, sources)


def _problem(one: Named, there: Mapping[str, TenantNames]) -> str | None:
    """Say that no data source has a tenant of that name; None where one has, or one has not answered yet."""
    if not there.keys() >= set(one.sources) or any(one.tenant in there[name].names for name in one.sources):
        return None  # compared exactly as the rules do
    known = {name: there[name] for name in one.sources}
    every = [name for name, tenants in known.items() if tenants.all and tenants.names]
    said = []
    if every:
        names = sorted({tenant for name in every for tenant in known[name].names})
        more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
        said.append(f"there is no tenant {one.tenant} on {_or(every)}; there are: {', '.join(names[:_TOLD])}{more}")
    for name, tenants in known.items():
        if not tenants.names:
            said.append(f"{name} has no tenants")
        elif not tenants.all:
            own = ", ".join(tenants.names)
            said.append(f"the bot's login on {name} sees sessions of tenant {own} alone, none of {one.tenant}")
    meant = sorted({name for tenants in known.values() for name in tenants.names if _alike(name, one.tenant)})
    return f"{one.key}: {'; '.join(said)}" + (f". Did you mean {_or(meant)}?" if meant else "")


def _alike(one: str, other: str) -> bool:
    return one.casefold() == other.casefold()


def _or(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last
