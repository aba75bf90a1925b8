"""Addresses as servers print them and people type them: with or without a port, IPv6 with or without brackets."""

from __future__ import annotations

import ipaddress
import re

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_BRACKETED = re.compile(r"\[([^\]]*)\](?::(\d+))?")
_WITH_PORT = re.compile(r"([^:]*):(\d+)")


def split(place: str) -> tuple[str, str | None]:
    """Split an address into its host, without brackets, and its port; None where it has none.

    An IPv6 address without brackets has no port: its last group could be one.
    """
    found = _BRACKETED.fullmatch(place) or _WITH_PORT.fullmatch(place)
    return (found[1], found[2]) if found else (place, None)


def host_of(place: str) -> str:
    """Return an address without its port and brackets.

    >>> host_of("10.0.3.7:51234"), host_of("[2001:db8::7]:2881"), host_of("2001:db8::7")
    ('10.0.3.7', '2001:db8::7', '2001:db8::7')
    """
    return split(place)[0]


def ip_of(place: str) -> IpAddress | None:
    """Return the IP address of a client; None for a name and for a socket of the machine itself.

    ``::ffff:10.1.0.1`` is what a server that listens to both shows of IPv4.
    """
    try:
        address = ipaddress.ip_address(host_of(place))
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address


def same_server(named: str, server: str) -> bool:
    """Whether a server that somebody named is that one: with or without its port, IPv6 with or without brackets.

    >>> same_server("10.0.0.3", "10.0.0.3:2881"), same_server("10.0.0.3:2882", "10.0.0.3:2881")
    (True, False)
    """
    (named_host, named_port), (host, port) = split(named), split(server)
    return _in_one_way(named_host) == _in_one_way(host) and named_port in (None, port)


def to_connect(server: str) -> tuple[str, int] | None:
    """Return IP address and port of a server of a cluster, which always names both; None for anything else."""
    host, _, port = server.rpartition(":")
    try:
        host = str(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return None
    return (host, int(port)) if port.isdecimal() else None


def _in_one_way(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host.lower()
