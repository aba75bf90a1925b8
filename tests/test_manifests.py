"""Both manifests: Slack's public limits, the scopes that the code needs, and one app in two modes."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot.operations.web_server import EVENTS
from tests.test_contract import REGISTERED, SCOPES

ROOT = Path(__file__).parent.parent
NAMES = ("manifest.yml", "manifest-http.yml")
URL = f"https://bot.example.com{EVENTS}"
# The keys of Slack's manifest that these use, of those that its schema knows (docs/slack.md 6).
KEYS = {
    "": {"display_information", "features", "oauth_config", "settings"},
    "display_information": {"name", "description", "long_description", "background_color"},
    "features": {"app_home", "bot_user", "slash_commands", "shortcuts", "unfurl_domains"},
    "features.app_home": {"home_tab_enabled", "messages_tab_enabled", "messages_tab_read_only_enabled"},
    "features.bot_user": {"display_name", "always_online"},
    "oauth_config": {"scopes", "redirect_urls", "token_management_enabled", "pkce_enabled"},
    "oauth_config.scopes": {"bot", "user", "bot_optional", "user_optional"},
    "settings": {
        "allowed_ip_address_ranges",
        "event_subscriptions",
        "interactivity",
        "org_deploy_enabled",
        "socket_mode_enabled",
        "token_rotation_enabled",
        "is_mcp_enabled",
    },
    "settings.event_subscriptions": {"request_url", "bot_events", "user_events", "metadata_subscriptions"},
    "settings.interactivity": {"is_enabled", "request_url", "message_menu_options_url"},
}
COMMAND_KEYS = {"command", "description", "usage_hint", "should_escape", "url"}
# The scope that an event wants.
EVENT_SCOPES = {"app_home_opened": None}

Json = dict[str, Any]


def manifest(name: str) -> Json:
    loaded: Json = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    return loaded


def part(whole: Json, path: str) -> Json:
    for key in filter(None, path.split(".")):
        whole = whole[key]
    return whole


@pytest.mark.parametrize("name", NAMES)
def test_it_has_only_keys_that_slack_knows(name: str) -> None:
    whole = manifest(name)
    for path, known in KEYS.items():
        assert set(part(whole, path)) <= known, path
    for command in whole["features"]["slash_commands"]:
        assert set(command) <= COMMAND_KEYS


@pytest.mark.parametrize("name", NAMES)
def test_it_keeps_slacks_lengths_and_counts(name: str) -> None:
    whole = manifest(name)
    shown = whole["display_information"]
    assert 1 <= len(shown["name"]) <= 35
    assert 1 <= len(shown["description"]) <= 140
    assert re.fullmatch(r"#[0-9a-fA-F]{6}", shown["background_color"])
    assert re.fullmatch(r"[a-z0-9._-]{1,80}", whole["features"]["bot_user"]["display_name"])
    commands = whole["features"]["slash_commands"]
    assert 1 <= len(commands) <= 50
    assert len({command["command"] for command in commands}) == len(commands)
    for command in commands:
        assert re.fullmatch(r"/[a-z0-9_-]{1,31}", command["command"])
        assert 1 <= len(command["description"]) <= 2000
        assert 1 <= len(command["usage_hint"]) <= 1000
    assert len(whole["settings"]["event_subscriptions"]["bot_events"]) <= 100
    assert len(whole["oauth_config"]["scopes"]["bot"]) <= 255


@pytest.mark.parametrize("name", NAMES)
def test_it_names_the_registered_commands_and_asks_for_what_the_code_needs_and_no_more(name: str) -> None:
    whole = manifest(name)
    listed = {entry["command"]: entry for entry in whole["features"]["slash_commands"]}
    assert {key: {one: entry[one] for one in REGISTERED[key]} for key, entry in listed.items()} == REGISTERED
    code = "\n".join(
        path.read_text(encoding="utf-8")
        for path in [*(ROOT / "bot").rglob("*.py"), *(ROOT / "commands").rglob("*.py")]
        if "demo" not in path.parts
    )
    called = set(re.findall(r"(?:client|self)\.((?:chat|users|usergroups|views|auth|files|conversations)_\w+)\(", code))
    assert len(called) > 5
    events = set(re.findall(r'bolt\.event\("(\w+)"\)', code))
    assert set(whole["settings"]["event_subscriptions"]["bot_events"]) == events
    scopes = [SCOPES[method] for method in called] + [EVENT_SCOPES[event] for event in events]
    wanted = {scope for each in scopes for scope in (each or "").split()} | {"commands"}
    assert set(whole["oauth_config"]["scopes"]["bot"]) == wanted
    assert list(whole["oauth_config"]["scopes"]) == ["bot"]


def test_in_http_mode_everything_goes_to_the_one_address_that_the_bot_answers() -> None:
    whole = manifest("manifest-http.yml")
    settings = whole["settings"]
    assert settings["socket_mode_enabled"] is False
    for command in whole["features"]["slash_commands"]:
        assert command["url"] == URL
    assert settings["interactivity"] == {"is_enabled": True, "request_url": URL}
    assert settings["event_subscriptions"]["request_url"] == URL


def test_but_for_the_mode_both_are_the_same_app() -> None:
    socket, http = manifest("manifest.yml"), copy.deepcopy(manifest("manifest-http.yml"))
    for command in http["features"]["slash_commands"]:
        del command["url"]
    del http["settings"]["interactivity"]["request_url"]
    del http["settings"]["event_subscriptions"]["request_url"]
    http["settings"]["socket_mode_enabled"] = True
    assert http == socket
