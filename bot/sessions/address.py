"""Addresses as servers print them: with or without a port, IPv6 with or without brackets."""

from __future__ import annotations

import re

_BRACKETED = re.compile(r"\[([^\]]*)\](?::\d+)?")
_WITH_PORT = re.compile(r"([^:]*):\d+")


def host_of(place: str) -> str:
    """Return an address without its port and brackets.

    >>> host_of("10.0.3.7:51234"), host_of("[2001:db8::7]:2881"), host_of("2001:db8::7")
    ('10.0.3.7', '2001:db8::7', '2001:db8::7')
    """
    found = _BRACKETED.fullmatch(place) or _WITH_PORT.fullmatch(place)
    return found[1] if found else place
