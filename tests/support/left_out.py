"""What a run left out for want of something on this machine, told in one line."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

_INSTALL = re.compile(r" \[install ([\w.+-]+)\]$")


def because(why: str, install: str = "") -> str:
    """Give the reason of a skip; ``install`` is the Debian package that ends it, '' where none does."""
    return f"{why} [install {install}]" if install else why


def line(reasons: Iterable[str]) -> str:
    """Tell how many tests were left out and what to install for them; '' where none was.

    ``reasons`` has one for each test, as ``because`` gave it or as somebody else worded it.
    """
    packages: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for reason in reasons:
        install = _INSTALL.search(reason)
        if install:
            packages[install[1]] += 1
        else:
            others[reason] += 1
    count = packages.total() + others.total()
    if not count:
        return ""
    told = [f"install {_listed(packages)} for them"] if packages else []
    told += [_listed(others)] if others else []
    return f"{count} {'test was' if count == 1 else 'tests were'} left out: {'; '.join(told)}."


def _listed(counts: Counter[str]) -> str:
    named = [f"{name} ({count})" for name, count in counts.most_common()]
    return " and ".join(part for part in (", ".join(named[:-1]), named[-1]) if part)
