"""What the configuration says of closing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from bot.closing.model import ApprovalPolicy, Budget


@dataclass(frozen=True, slots=True)
class SourceRules:
    """What holds for one data source."""

    approval: ApprovalPolicy = ApprovalPolicy.REQUESTER
    tenant_approval: Mapping[str, ApprovalPolicy] = field(default_factory=dict)  # for these tenants instead
    break_glass_after: timedelta | None = None  # how long a requester waits to confirm alone; None: never
    max_targets: int = 20  # one closing request closes no more
    budget: Budget = field(default_factory=Budget)
    tenants: frozenset[str] | None = None  # the only ones whose sessions the bot sees there; None: all

    def approval_for(self, tenants: Iterable[str | None]) -> ApprovalPolicy:
        """Whose press a request for sessions of those tenants wants: the strictest of all.

        Of a session whose tenant is not known (None) that is the strictest that any tenant has there.
        """
        wanted: set[ApprovalPolicy] = set()
        for tenant in tenants:
            if tenant is None:
                wanted |= {self.approval, *self.tenant_approval.values()}
            else:
                wanted.add(self.tenant_approval.get(tenant, self.approval))
        return ApprovalPolicy.SECOND_PERSON if ApprovalPolicy.SECOND_PERSON in wanted else ApprovalPolicy.REQUESTER


@dataclass(frozen=True, slots=True)
class ClosingRules:
    """What holds everywhere, and for each data source by its name."""

    confirm_within: timedelta
    require_reason: bool = False
    sources: Mapping[str, SourceRules] = field(default_factory=dict)

    def of(self, source: str) -> SourceRules:
        """Return what holds for a data source."""
        return self.sources.get(source, SourceRules())
