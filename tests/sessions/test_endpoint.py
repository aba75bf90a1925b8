"""Where a session's own server is, past a proxy."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from bot.sessions.endpoint import Endpoint

PROXY = Endpoint("prod", "10.0.0.9", 2883, "prod_cluster:sys:root", SecretStr("hunter2"))


@pytest.mark.parametrize(
    ("server", "host", "port"),
    [
        ("10.0.0.1:2881", "10.0.0.1", 2881),
        ("10.0.0.9:2881", "10.0.0.9", 2881),
        ("[fd00::1]:2881", "fd00::1", 2881),
        ("fd00::1:2881", "fd00::1", 2881),
    ],
)
def test_the_same_login_is_used_on_the_server_by_the_name_that_servers_take(server: str, host: str, port: int) -> None:
    direct = PROXY.at(server, "root@sys")
    assert direct is not None
    assert (direct.name, direct.host, direct.port, direct.user) == ("prod", host, port, "root@sys")
    assert direct.password.get_secret_value() == "hunter2"
    assert "hunter2" not in f"{direct!r} {direct.password}"


@pytest.mark.parametrize(
    "server", [None, "", "10.0.0.9:2883", "10.0.0.1", "10.0.0.1:", "db1:3306", ":2881", "10.0.0.1:x", "[fd00::1]"]
)
def test_what_is_no_address_or_the_endpoint_itself_is_no_way_past_it(server: str | None) -> None:
    assert PROXY.at(server, "root@sys") is None
