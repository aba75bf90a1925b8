"""Telling apart what somebody may decide of a request and what stays open for others."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from bot.closing.model import ClosingRequest, Target


@dataclass(frozen=True, slots=True)
class Part:
    """What one person's press decides of a request."""

    shown: ClosingRequest  # with those targets alone that this person may decide, one at least
    taken: ClosingRequest  # with those and the lost ones: what is claimed or cancelled
    lost: Mapping[int, str]  # those that nobody may close any more, by number, and why
    remainder: ClosingRequest | None  # what stays open for others, as a request of its own


def split(
    request: ClosingRequest, mine: Collection[Target], lost: Mapping[int, str], now: datetime, waits: timedelta
) -> Part:
    """Tell apart what somebody may decide and what stays open for others, as a request of its own.

    That ``waits`` anew from ``now`` on, and a break-glass is not carried over.
    """
    mine = tuple(mine)
    rest = tuple(one for one in request.targets if one not in mine and one.number not in lost)
    taken = tuple(one for one in request.targets if one not in rest)
    matching = max(0, request.matching - len(rest))
    remainder = replace(
        request,
        id=secrets.token_urlsafe(16),
        created_at=now,
        expires_at=now + waits,
        targets=tuple(replace(one, number=number) for number, one in enumerate(rest, 1)),
        untouched=(),
        matching=len(rest) if request.matching else 0,
        card=None,
        alone_from=None,
        called_at=None,
        calls=(),
    )
    return Part(
        replace(request, targets=mine, matching=matching),
        replace(request, targets=taken, matching=matching),
        lost,
        remainder if rest else None,
    )
