"""What is meant in a channel when nothing is named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from bot.access import Sources
from bot.errors import InputError, SourceOpenError
from bot.sessions.model import Condition, Field, Operator, SessionQuery


@dataclass(frozen=True, slots=True)
class ChannelDefault:
    """The data source and tenant of one channel."""

    data_source: str | None = None
    tenant: str | None = None


@dataclass(frozen=True, slots=True)
class Defaults:
    """The channels' defaults and the default of the whole bot."""

    source: str | None
    channels: Mapping[str, ChannelDefault] = field(default_factory=dict)

    def source_for(self, named: str | None, channel: str, allowed: Sequence[str], offered: Sequence[str] = ()) -> str:
        """Decide which data source is meant; ``allowed`` are those that the person may use here, one at least.

        Defaults that are none of them are passed over. Of ``allowed`` only those ``offered`` are told, all where none
        is. Raises ``SourceOpenError`` when it is open which one is meant, ``InputError`` for one that the person may
        not use, ``PersonUnknownError`` where Slack did not say whether they may.
        """
        here = self.channels.get(channel, ChannelDefault())
        unsaid = allowed.unsaid if isinstance(allowed, Sources) else {}
        only = allowed[0] if len(allowed) == 1 and not unsaid else None
        meant = [named] if named else [here.data_source, self.source, only]
        for one in meant:
            if one is not None and one in unsaid:
                raise unsaid[one]
            if one is not None and one in allowed:
                return one
        offered = offered or allowed
        name_one = f"Name one with on=. You may use: {', '.join(offered)}."
        example = f"/sessions on={offered[0]} active-only"
        if not named:
            raise SourceOpenError(f"Which data source? {name_one}", choices=offered, example=example)
        raise InputError(
            f"There is no data source {named} that you may use here. {name_one}", spot=named, example=example
        )

    def completed(self, query: SessionQuery, channel: str, allowed: Sequence[str]) -> SessionQuery:
        """Fill in the data source and the tenant that the channel means where none is named; raises as above."""
        source = self.source_for(query.source, channel, allowed)
        tenant = self.tenant_for(source, channel)
        if tenant is None or any(condition.field is Field.TENANT for condition in query.filter.conditions):
            return replace(query, source=source)
        conditions = (Condition(Field.TENANT, Operator.CONTAINS, (tenant,)), *query.filter.conditions)
        return replace(query, source=source, filter=replace(query.filter, conditions=conditions))

    def tenant_for(self, source: str, channel: str) -> str | None:
        """The channel's own tenant, when the channel's data source is the one meant."""
        here = self.channels.get(channel, ChannelDefault())
        return here.tenant if here.data_source in (None, source) else None
