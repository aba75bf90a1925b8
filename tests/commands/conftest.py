"""Stages for whole flows, one for each kernel, set up once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bot.demo.slack.server import SlackSandbox
from tests.running_bot import COMMANDS, RunningBot
from tests.stage import Stage, accounts


@pytest.fixture(scope="session", params=["oceanbase", "seekdb14"], ids=["oceanbase-4.3.5", "seekdb-1.4"])
def standing_stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Give a stage that stands for all tests of one kernel."""
    database = request.getfixturevalue(request.param)
    accounts(database)
    with SlackSandbox(commands=COMMANDS) as slack:
        slack.limits.rates.clear()  # rate limits have tests of their own
        with RunningBot(slack, database, tmp_path_factory.mktemp("bot")) as bot:
            yield Stage(database, slack, bot)


@pytest.fixture
def stage(standing_stage: Stage) -> Iterator[Stage]:
    """Give the standing stage and close afterwards what the test opened on it."""
    yield standing_stage
    standing_stage.tidy()
