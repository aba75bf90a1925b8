"""Stages for whole flows, one for each kernel, set up once."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.support.stage import APP_PASSWORD, Stage, staged


@pytest.fixture(scope="session", params=["oceanbase", "seekdb14"], ids=["oceanbase-4.3.5", "seekdb-1.4"])
def standing_stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Give a stage that stands for all tests of one kernel."""
    database = request.getfixturevalue(request.param)
    with staged(database, tmp_path_factory.mktemp("bot")) as stage:
        yield stage


@pytest.fixture
def stage(standing_stage: Stage) -> Iterator[Stage]:
    """Give the standing stage and close afterwards what the test opened on it."""
    yield standing_stage
    standing_stage.tidy()


# Bob may see and not close. Besides the kernel: a login that may read nothing, and ports where nobody answers.
VIEWER = """
[[access]]
who = ["U01ALICE"]
may = ["view", "close"]

[[access]]
who = ["U02BOB"]
may = ["view"]
data_sources = ["demo", "limited"]
"""
SOURCES = """
[data_sources.limited]
host = "127.0.0.1"
port = {port}
user = "auditor"
password = "{password}"

[data_sources.away]
host = "127.0.0.1"
port = {away}
user = "root@sys"
password = "secret-of-away"

[data_sources.silent]
host = "127.0.0.1"
port = {silent}
user = "root@sys"
password = ""
"""


@pytest.fixture(scope="session")
def silent() -> Iterator[socket.socket]:
    """Give a port that refuses connections until ``listen``, then takes them and never says a word."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound


@pytest.fixture(scope="session", params=["oceanbase"], ids=["oceanbase-4.3.5"])
def standing_wide_stage(
    request: pytest.FixtureRequest, silent: socket.socket, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """Give a stage with several data sources and somebody who may only look."""
    database = request.getfixturevalue(request.param)
    with socket.socket() as away:
        away.bind(("127.0.0.1", 0))
        ports = {"port": database.port, "away": away.getsockname()[1], "silent": silent.getsockname()[1]}
        more = SOURCES.format(password=APP_PASSWORD, **ports)
        folder = tmp_path_factory.mktemp("wide-bot")
        default = 'default_source = "demo"'
        with staged(database, folder, access=VIEWER, more=more, first=default) as stage:
            yield stage


@pytest.fixture
def wide_stage(standing_wide_stage: Stage) -> Iterator[Stage]:
    """Give that stage and close afterwards what the test opened on it."""
    yield standing_wide_stage
    standing_wide_stage.tidy()
