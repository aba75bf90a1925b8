"""The command line: check and run tell every problem at once and no secret."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.databases.oceanbase import EmbeddedOceanBase
from sandbox.slack.server import SlackSandbox
from tests.support.patience import PATIENCE
from tests.support.running_bot import COMMANDS, ROOT, RunningBot
from tests.support.slack_text import tells


@pytest.fixture(scope="module")
def slack() -> Iterator[SlackSandbox]:
    with SlackSandbox(commands=COMMANDS) as running:
        yield running


def bot(verb: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run one verb of the command line to its end."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SLACK_", "SESSION_BOT"))}
    return subprocess.run(
        [sys.executable, "-m", "bot", *verb.split()],
        cwd=folder,
        env={**clean, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_check_of_a_configuration_that_works_says_so(
    slack: SlackSandbox, oceanbase: EmbeddedOceanBase, tmp_path: Path
) -> None:
    result = bot("check", tmp_path, RunningBot(slack, oceanbase, tmp_path).environment)
    assert result.returncode == 0, result.stdout
    assert "Everything works." in result.stdout
    assert "data_sources.demo: OceanBase seekdb-v1.3" in result.stdout
    assert "Slack: OceanBase on-call" in result.stdout


def test_check_makes_no_store_and_run_makes_one_for_its_user_alone_and_ends_once_it_is_for_newer_bots(
    slack: SlackSandbox, oceanbase: EmbeddedOceanBase, tmp_path: Path
) -> None:
    running = RunningBot(slack, oceanbase, tmp_path)
    looked = bot("check", tmp_path, running.environment)
    assert "ok       store: it is empty; session-bot run makes " in looked.stdout
    assert list(tmp_path.glob("store*")) == []
    running.start()
    assert {stat.S_IMODE(one.stat().st_mode) for one in tmp_path.glob("store.db*")} == {0o600}
    assert (
        "ok       store: requests and records can be written; schema version 1"
        in bot("check", tmp_path, running.environment).stdout
    )
    with contextlib.closing(sqlite3.connect(tmp_path / "store.db")) as store, store:
        store.execute("UPDATE audit_head SET schema_version = 12, oldest_schema = 11, needed = '9.1.0'")
    assert running.ended() == 1
    assert "this bot is too old for its store, so it ends" in running.log.read_text()
    again = bot("run", tmp_path, running.environment)
    assert again.returncode == 1
    assert "The store has schema version 12, which wants session-bot 9.1.0 or later." in again.stderr


def test_a_store_in_memory_is_refused(slack: SlackSandbox, oceanbase: EmbeddedOceanBase, tmp_path: Path) -> None:
    refused = bot("run", tmp_path, RunningBot(slack, oceanbase, tmp_path, store="sqlite://").environment)
    assert refused.returncode == 1
    assert "names no file: a store in memory has no record of what was closed" in refused.stderr


@pytest.fixture
def broken(slack: SlackSandbox, oceanbase: EmbeddedOceanBase, tmp_path: Path) -> dict[str, str]:
    """Give an environment in which everything is wrong at once."""
    config = tmp_path / "broken.toml"
    config.write_text(
        f"""
colour = "red"
[data_sources.wrong-password]
host = "{oceanbase.host}"
port = {oceanbase.port}
user = "root@sys"
password = "not-the-password"
[data_sources.unreachable]
host = "127.0.0.1"
port = 1
user = "root@sys"
password = "another-secret"
""",
        encoding="utf-8",
    )
    return {
        "SESSION_BOT_CONFIG": str(config),
        "SLACK_BOT_TOKEN": "xoxb-revoked-token",
        "SLACK_APP_TOKEN": slack.world.app_token,
        "SLACK_API_URL": slack.api_url,
    }


@pytest.mark.parametrize("verb", ["check", "run"])
def test_every_problem_is_told_in_one_list_without_a_secret(verb: str, broken: dict[str, str], tmp_path: Path) -> None:
    result = bot(verb, tmp_path, broken)
    told = result.stdout + result.stderr
    assert result.returncode == 1
    for sentence in (
        "colour: there is no such setting",
        "access: there is no access rule",
        "data_sources.wrong-password: Data source wrong-password",
        "refused the login of root@sys",
        "SLACK_BOT_TOKEN: Slack refuses it (the token is refused",
    ):
        assert sentence in told
    for secret in ("not-the-password", "another-secret", "xoxb-revoked-token", "xapp-"):
        assert secret not in told.replace("starts with xapp-", "")


def test_check_tells_an_unreachable_host(broken: dict[str, str], tmp_path: Path) -> None:
    assert (
        "data_sources.unreachable: Data source unreachable (127.0.0.1:1) cannot be reached"
        in bot("check", tmp_path, broken).stdout
    )


def test_without_any_configuration_both_say_what_to_set(tmp_path: Path) -> None:
    for verb in ("check", "run"):
        result = bot(verb, tmp_path, {})
        assert result.returncode == 1
        assert "SLACK_BOT_TOKEN: set it" in result.stdout + result.stderr
        assert "and an [[access]] section" in result.stdout + result.stderr


def test_check_says_where_nobody_could_be_told_of_a_break_glass(
    slack: SlackSandbox, oceanbase: EmbeddedOceanBase, tmp_path: Path
) -> None:
    source = 'approval = "second-person"\nbreak_glass_after = "5m"'
    for who, green in (('"*"', False), ('"*", "S0DBATEAM"', True)):
        access = f'[[access]]\nwho = [{who}]\nmay = ["view", "close", "approve"]\n'
        result = bot(
            "check", tmp_path, RunningBot(slack, oceanbase, tmp_path, source=source, access=access).environment
        )
        assert ("data_sources.demo.break_glass_after: break-glass can never be used" not in result.stdout) is green
        assert (result.returncode == 0) is green


def test_the_exercise_says_what_came_of_its_own_sessions_and_names_nothing(
    slack: SlackSandbox, oceanbase: EmbeddedOceanBase, tmp_path: Path
) -> None:
    environment = RunningBot(slack, oceanbase, tmp_path).environment
    result = bot("check --exercise", tmp_path, environment)
    assert result.returncode == 0, result.stdout
    assert "demo: OceanBase seekdb-v1.3.0.0, GV$OB_PROCESSLIST" in result.stdout
    assert "What could be tried works." in result.stdout, "locks are left out without a table"
    for word in (oceanbase.host, "root", "sys", oceanbase.password, "SELECT"):
        assert word not in result.stdout
    assert not tells(result.stdout, oceanbase.port)
    assert bot("check --table ops.trial", tmp_path, environment).returncode == 2
    wrong = bot("check --exercise --table trial", tmp_path, environment)
    assert "name it as DATABASE.TABLE" in wrong.stderr


def test_help_and_version_need_no_configuration(tmp_path: Path) -> None:
    assert "run" in bot("--help", tmp_path, {}).stdout
    assert bot("--version", tmp_path, {}).stdout.startswith("session-bot ")
    assert bot("", tmp_path, {}).returncode == 2
