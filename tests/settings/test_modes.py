"""Socket Mode or HTTP mode: exactly one of them is chosen, and what is missing is said in a sentence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bot.settings import ListenAddress, load


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith(("SLACK_", "SESSION_BOT")) or name.endswith(("PORT", "BIND_ADDRESS")):
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
    assert slack.health_at is None
    monkeypatch.setenv("PORT", "3001")
    slack, _ = load().require()
    assert (slack.events_at, slack.health_at) == (None, None), "PORT is HTTP mode's"
    monkeypatch.setenv("HEALTH_PORT", "9000")
    slack, _ = load().require()
    assert slack.events_at is None
    assert slack.health_at == ListenAddress(None, 9000, "HEALTH_PORT", "BIND_ADDRESS")


def test_a_signing_secret_means_http_mode_on_port_3000_or_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_SIGNING_SECRET", "8f742231b10e8888abcd99yyyzzz85a5")
    slack, _ = load().require()
    assert slack.app_token is None
    assert slack.health_at == slack.events_at == ListenAddress(None, 3000, "PORT", "BIND_ADDRESS")
    monkeypatch.setenv("PORT", "8080")
    slack, _ = load().require()
    assert slack.health_at == slack.events_at == ListenAddress(None, 8080, "PORT", "BIND_ADDRESS")


def test_in_http_mode_health_has_its_own_port_where_one_is_set_and_it_is_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SLACK_SIGNING_SECRET", "8f742231b10e8888abcd99yyyzzz85a5")
    monkeypatch.setenv("HEALTH_PORT", "3000")
    slack, _ = load().require()
    assert slack.health_at == slack.events_at, "as in the image"
    monkeypatch.setenv("HEALTH_PORT", "9000")
    slack, _ = load().require()
    assert slack.events_at == ListenAddress(None, 3000, "PORT", "BIND_ADDRESS")
    assert slack.health_at == ListenAddress(None, 9000, "HEALTH_PORT", "BIND_ADDRESS")
    monkeypatch.setenv("BIND_ADDRESS", "::")
    assert [one.host for one in addresses()] == ["::", "::"], "one address for both, if nothing else is said"
    monkeypatch.setenv("HEALTH_BIND_ADDRESS", "127.0.0.1")
    assert [one.host for one in addresses()] == ["::", "127.0.0.1"]


def addresses() -> list[ListenAddress]:
    slack, _ = load().require()
    return [one for one in (slack.events_at, slack.health_at) if one is not None]


@pytest.mark.parametrize("port", ["", "3000"])
@pytest.mark.parametrize("socket_mode", [True, False])
def test_an_address_for_health_that_has_no_port_of_its_own_is_told(
    monkeypatch: pytest.MonkeyPatch, port: str, socket_mode: bool
) -> None:
    monkeypatch.setenv(*(("SLACK_APP_TOKEN", "xapp-1") if socket_mode else ("SLACK_SIGNING_SECRET", "8f742231b10e")))
    monkeypatch.setenv("HEALTH_PORT", port)
    monkeypatch.setenv("HEALTH_BIND_ADDRESS", "127.0.0.1")
    if socket_mode and port:
        assert [one.host for one in addresses()] == ["127.0.0.1"]
        return
    (problem,) = load().problems
    assert problem.startswith("HEALTH_BIND_ADDRESS: health and metrics have no port of their own; set HEALTH_PORT")


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
        ("BIND_ADDRESS", "localhost"),
        ("BIND_ADDRESS", "10.0.0.1:3000"),
        ("BIND_ADDRESS", "10.0.0.0/8"),
        ("HEALTH_BIND_ADDRESS", "*"),
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
