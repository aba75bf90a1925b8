"""Rate limits: token buckets of the sizes that Slack documents, with room for bursts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Rate:
    """So many calls a minute on the long run, so many at once; `per` names the argument counted apart."""

    per_minute: float
    burst: float
    per: str | None = None


TIER_2 = Rate(20, 20)
TIER_3 = Rate(50, 50)
TIER_4 = Rate(100, 100)

# docs.slack.dev/apis/web-api/rate-limits; Slack promises no size of a burst, a minute's worth is generous.
DOCUMENTED_RATES: dict[str, Rate] = {
    "chat.postMessage": Rate(60, 30, per="channel"),
    "response_url": Rate(60, 30, per="channel"),
    "chat.update": TIER_3,
    "chat.delete": TIER_3,
    "chat.postEphemeral": TIER_4,
    "views.open": TIER_4,
    "views.push": TIER_4,
    "views.update": TIER_4,
    "users.info": TIER_4,
    "bots.info": TIER_3,
    "usergroups.users.list": TIER_2,
    "auth.teams.list": TIER_2,
    "conversations.info": TIER_3,
    "apps.connections.open": TIER_3,
}


@dataclass(slots=True)
class _Bucket:
    left: float
    filled: float


@dataclass(slots=True)
class RateLimits:
    """Counts calls; `rates` may be changed at any time, a method without a rate is not limited."""

    clock: Callable[[], float]
    rates: dict[str, Rate] = field(default_factory=lambda: dict(DOCUMENTED_RATES))
    _buckets: dict[tuple[str, str], _Bucket] = field(default_factory=dict)

    def retry_after(self, method: str, arguments: dict[str, object]) -> int | None:
        """Count a call; returns the seconds to wait if it comes too early."""
        rate = self.rates.get(method)
        if rate is None:
            return None
        now = self.clock()
        key = (method, str(arguments.get(rate.per)) if rate.per else "")
        bucket = self._buckets.setdefault(key, _Bucket(rate.burst, now))
        bucket.left = min(rate.burst, bucket.left + (now - bucket.filled) * rate.per_minute / 60)
        bucket.filled = now
        if bucket.left >= 1:
            bucket.left -= 1
            return None
        return max(1, math.ceil((1 - bucket.left) * 60 / rate.per_minute))
