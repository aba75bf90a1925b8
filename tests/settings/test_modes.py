"""Socket Mode or HTTP mode: exactly one of them is chosen, and what is missing is said in a sentence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bot.settings import load


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith(("SLACK_", "SESSION_BOT")) or name in ("PORT", "HEALTH_PORT"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-1")
    Path("session-bot.toml").write_text(
        '[data_sources.prod]\nhost = "h"\nuser = "u"\n[[access]]\nwho = ["U1"]\nmay = ["view"]\n', encoding="utf-8"
    )


def test_an_app_token_means_socket_mode_and_health_only_where_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_APP_TOKEN", "xapp-1")
    slack, _ = load().require()
    assert slack.app_token is not None
    assert slack.listens_on is None
    monkeypatch.setenv("PORT", "3001")
    assert load().require()[0].listens_on is None, "PORT is HTTP mode's"
    monkeypatch.setenv("HEALTH_PORT", "9000")
    assert load().require()[0].listens_on == 9000


def test_a_signing_secret_means_http_mode_on_port_3000_or_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_SIGNING_SECRET", "8f742231b10e8888abcd99yyyzzz85a5")
    slack, _ = load().require()
    assert slack.app_token is None
    assert slack.listens_on == 3000
    monkeypatch.setenv("PORT", "8080")
    assert load().require()[0].listens_on == 8080


def test_the_signing_secret_may_come_from_the_secrets_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "SLACK_SIGNING_SECRET").write_text("8f742231b10e8888abcd99yyyzzz85a5", encoding="utf-8")
    monkeypatch.setenv("SESSION_BOT_SECRETS", str(tmp_path))
    slack, _ = load().require()
    assert slack.signing_secret is not None
    assert "8f74" not in repr(slack)


def test_neither_says_what_to_set_for_which_mode() -> None:
    (problem,) = load().problems
    assert problem.startswith("SLACK_APP_TOKEN: set it for Socket Mode")
    assert "SLACK_SIGNING_SECRET for HTTP mode" in problem


def test_a_variable_that_is_empty_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_APP_TOKEN", "")
    monkeypatch.setenv("SLACK_SIGNING_SECRET", "")
    assert len(load().problems) == 1


def test_both_say_that_one_is_to_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_APP_TOKEN", "xapp-1")
    monkeypatch.setenv("SLACK_SIGNING_SECRET", "8f742231b10e8888abcd99yyyzzz85a5")
    (problem,) = load().problems
    assert problem.startswith("SLACK_SIGNING_SECRET: SLACK_APP_TOKEN is set as well; leave this one out")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SLACK_SIGNING_SECRET", "short"),
        ("SLACK_APP_TOKEN", "xoxb-1"),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("HEALTH_PORT", "http"),
    ],
)
def test_what_cannot_be_right_is_told_by_its_name_and_not_by_its_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv("SLACK_SIGNING_SECRET", "8f742231b10e8888abcd99yyyzzz85a5")
    if name == "SLACK_APP_TOKEN":
        monkeypatch.delenv("SLACK_SIGNING_SECRET")
    monkeypatch.setenv(name, value)
    (problem,) = load().problems
    assert problem.startswith(f"{name}: ")
    assert value not in problem.replace("65535", "").split(": ", 1)[1] or value == "0"
