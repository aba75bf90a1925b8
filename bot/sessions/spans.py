"""Spans of time as people read them."""

from __future__ import annotations


def span(seconds: float) -> str:
    """A span for people: 40 ms, 1.4 s, 75 s, 12 min, 3.5 h, 4.0 days.

    >>> [span(value) for value in (0.04, 1.44, 75, 720, 12_600, 345_600)]
    ['40 ms', '1.4 s', '75 s', '12 min', '3.5 h', '4.0 days']
    """
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 600:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    if seconds < 172_800:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86_400:.1f} days"
