"""Addresses as servers print them."""

import pytest

from bot.sessions.address import host_of


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
