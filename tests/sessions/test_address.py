"""Addresses as servers print them and people type them."""

from __future__ import annotations

import pytest

from bot.sessions.address import host_of, ip_of, same_server, split, to_connect


@pytest.mark.parametrize(
    ("place", "host"),
    [
        ("10.0.3.7:51234", "10.0.3.7"),
        ("10.0.3.7", "10.0.3.7"),
        ("db-1.example:3306", "db-1.example"),
        ("localhost", "localhost"),
        ("[fe80::1]:51234", "fe80::1"),
        ("[fe80::1]", "fe80::1"),
        ("fe80::1", "fe80::1"),
        ("::1", "::1"),
        ("::ffff:10.0.3.7", "::ffff:10.0.3.7"),
        ("[::]:0", "::"),
        ("0.0.0.0:0", "0.0.0.0"),
        ("unix:", "unix:"),
        (":3306", ""),
        ("", ""),
        ("10.0.3.7:", "10.0.3.7:"),
        ("10.0.3.7:51234\n", "10.0.3.7:51234\n"),
    ],
)
def test_the_host_is_what_stands_before_the_port_and_within_the_brackets(place: str, host: str) -> None:
    assert host_of(place) == host


@pytest.mark.parametrize(
    ("place", "parts"),
    [
        ("10.0.3.7:51234", ("10.0.3.7", "51234")),
        ("10.0.3.7", ("10.0.3.7", None)),
        ("[fe80::1]:51234", ("fe80::1", "51234")),
        ("[fe80::1]", ("fe80::1", None)),
        ("fe80::1:2881", ("fe80::1:2881", None)),
        ("[fe80::1]:", ("[fe80::1]:", None)),
        ("10.0.3.7:x", ("10.0.3.7:x", None)),
        ("unix:", ("unix:", None)),
        ("/run/mysqld/mysqld.sock", ("/run/mysqld/mysqld.sock", None)),
        ("", ("", None)),
    ],
)
def test_the_port_is_a_number_after_the_last_colon(place: str, parts: tuple[str, str | None]) -> None:
    assert split(place) == parts


@pytest.mark.parametrize(
    ("place", "address"),
    [
        ("10.1.0.1:51234", "10.1.0.1"),
        ("::ffff:10.1.0.1", "10.1.0.1"),
        ("[::ffff:10.1.0.1]:51234", "10.1.0.1"),
        ("[fe80::1]:51234", "fe80::1"),
        ("::1", "::1"),
    ],
)
def test_the_address_of_a_client_is_that_of_ipv4_where_it_comes_over_ipv6(place: str, address: str) -> None:
    assert str(ip_of(place)) == address


@pytest.mark.parametrize("place", ["", "unix:", "localhost", "localhost:51234", "10.1.0.1:", "10.1.0.256", "[10.1.0.1"])
def test_a_client_without_an_address_has_none(place: str) -> None:
    assert ip_of(place) is None


@pytest.mark.parametrize(
    ("server", "there"),
    [
        ("10.0.0.1:2881", ("10.0.0.1", 2881)),
        ("[fd00::1]:2881", ("fd00::1", 2881)),
        ("fd00::1:2881", ("fd00::1", 2881)),
        ("10.0.0.1", None),
        ("10.0.0.1:", None),
        ("10.0.0.1:x", None),
        ("[fd00::1]", None),
        ("db1:3306", None),
        (":2881", None),
        ("unix:", None),
        ("", None),
    ],
)
def test_a_server_is_connected_to_by_its_ip_address_and_port(server: str, there: tuple[str, int] | None) -> None:
    assert to_connect(server) == there


@pytest.mark.parametrize(
    ("named", "server", "same"),
    [
        ("10.0.0.3", "10.0.0.3:2881", True),
        ("10.0.0.3:2881", "10.0.0.3:2881", True),
        ("10.0.0.3:2882", "10.0.0.3:2881", False),
        ("10.0.0.30", "10.0.0.3:2881", False),
        ("fe80::1", "[fe80::1]:2881", True),
        ("[fe80::1]", "[fe80::1]:2881", True),
        ("[FE80:0::1]:2881", "[fe80::1]:2881", True),
        ("[fe80::1]:2882", "[fe80::1]:2881", False),
        ("fe80::2", "[fe80::1]:2881", False),
        ("OB1", "ob1:2881", True),
        ("", "10.0.0.3:2881", False),
        ("10.0.0.3:", "10.0.0.3:2881", False),
        ("[fe80::1", "[fe80::1]:2881", False),
        ("::ffff:10.0.0.3", "10.0.0.3:2881", False),
    ],
)
def test_a_server_is_named_with_or_without_port_and_brackets(named: str, server: str, same: bool) -> None:
    assert same_server(named, server) is same
