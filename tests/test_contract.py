"""Manifest, README, demo and help texts are held to the commands that are registered."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot.slack.arguments import kill_arguments
from bot.slack.arguments.normalization import normalize
from bot.slack.arguments.session_query import parse as parse_sessions
from commands import (
    audit,
    deadlocks,
    kill_session,
    locks,
    sessions,
    show,
    sources,
    statistics,
    transactions,
    triage,
    variables,
)
from sandbox.demo import launch

ROOT = Path(__file__).parent.parent
REGISTERED = {
    module.NAME: {"command": module.NAME, "description": module.DESCRIPTION, "usage_hint": module.USAGE}
    for module in (sessions, kill_session)
}
VERBS: dict[str, Callable[[str], object]] = {
    triage.NAME: triage.parse,
    locks.NAME: locks.parse,
    transactions.NAME: transactions.parse,
    show.NAME: show.parse,
    sources.NAME: sources.parse,
    statistics.NAME: statistics.parse,
    variables.NAME: variables.parse,
    deadlocks.NAME: deadlocks.parse,
    audit.NAME: audit.parse,
}
MODULES = (sessions, kill_session, triage, locks, transactions, show, sources, statistics, variables, deadlocks, audit)
# The scope that each Web API method wants, of conversations.info for each kind of channel (docs/slack.md 6).
SCOPES = {
    "chat_postMessage": "chat:write",
    "chat_postEphemeral": "chat:write",
    "chat_update": "chat:write",
    "users_info": "users:read",
    "bots_info": "users:read",
    "usergroups_users_list": "usergroups:read",
    "files_getUploadURLExternal": "files:write",
    "files_completeUploadExternal": "files:write",
    "conversations_open": "im:write",
    "conversations_info": "channels:read groups:read",
    "views_open": None,
    "views_publish": None,
    "views_update": None,
    "auth_test": None,
    "auth_teams_list": None,
}


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "manifest.yml").read_text(encoding="utf-8"))
    return loaded


def test_the_manifest_names_the_registered_commands(manifest: dict[str, Any]) -> None:
    listed = {entry["command"]: entry for entry in manifest["features"]["slash_commands"]}
    assert {name: {key: entry[key] for key in REGISTERED[name]} for name, entry in listed.items()} == REGISTERED
    for entry in listed.values():
        assert 2 <= len(entry["command"]) <= 32
        assert len(entry["description"]) <= 2000
        assert len(entry["usage_hint"]) <= 1000


def test_the_demos_page_offers_the_registered_commands() -> None:
    assert {entry["command"]: entry for entry in launch.COMMANDS} == REGISTERED


def test_the_manifest_asks_for_the_scopes_of_the_methods_called_and_no_other(manifest: dict[str, Any]) -> None:
    called = set()
    for path in [*(ROOT / "bot").rglob("*.py"), *(ROOT / "commands").rglob("*.py")]:
        pattern = r"(?:client|_client|self)\.((?:chat|users|usergroups|views|auth|files|conversations)_\w+)\("
        called |= set(re.findall(pattern, path.read_text(encoding="utf-8")))
    assert called
    wanted = {scope for method in called for scope in (SCOPES[method] or "").split()} | {"commands"}
    assert set(manifest["oauth_config"]["scopes"]["bot"]) == wanted


def test_the_manifest_keeps_slacks_lengths_and_keys(manifest: dict[str, Any]) -> None:
    assert set(manifest) == {"display_information", "features", "oauth_config", "settings"}
    assert len(manifest["display_information"]["name"]) <= 35
    assert len(manifest["display_information"]["description"]) <= 140
    assert manifest["settings"]["socket_mode_enabled"] is True
    assert manifest["settings"]["interactivity"] == {"is_enabled": True}


def examples() -> list[str]:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    from_readme = re.findall(r"^(/(?:sessions|kill-session)\b.*)$", readme, re.MULTILINE)
    assert len(from_readme) >= 5
    return [*from_readme, *(text for module in MODULES for text, _ in module.TOPIC.examples)]


@pytest.mark.parametrize("example", examples())
def test_every_example_of_readme_and_help_runs_as_it_stands(example: str) -> None:
    name, _, words = example.partition(" ")
    verb, _, rest = words.partition(" ")
    if name == sessions.NAME and verb in VERBS:
        VERBS[verb](normalize(rest))
    elif name == sessions.NAME:
        assert not [note for note in parse_sessions(normalize(words)).notes if "was read as" in note]
    else:
        kill_arguments.parse(normalize(words))


def test_every_test_that_a_document_names_as_a_proof_exists() -> None:
    documents = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    named = {name for path in documents for name in re.findall(r"`(test_\w+)`", path.read_text(encoding="utf-8"))}
    parity = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "parity.md").read_text(encoding="utf-8")))
    assert len(parity) > 80
    there: set[str] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        there |= set(re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE))
    assert named - there == set()


def test_the_readme_names_both_commands_and_the_two_that_start_everything() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for word in (*REGISTERED, "make demo", "make test", "session-bot check", "manifest.yml"):
        assert word in readme
    assert "docs/parity.md" in readme
    for picture in re.findall(r"\]\((docs/[^)]+)\)", readme):
        assert (ROOT / picture).is_file()
