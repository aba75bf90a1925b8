"""docs/: what they quote, name and show is what the bot says, reads and takes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bot.settings import load
from tests.support.certificates import Authority
from tests.support.documents import anchors, blocks, document, rows, section, sentences
from tests.support.image import clean
from tests.support.patience import PATIENCE
from tests.support.running_bot import ROOT
from tests.test_deployment import NAMES

TROUBLE = section("install.md", "When something does not work").partition("And what Slack itself says")[0]
PAGES = sorted([*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md")])
# All that people write here: code, tests, documents and what starts them.
TEXTS = [
    *PAGES,
    *(
        path
        for folder in ("bot", "commands", "sandbox", "tests", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
    ),
    *(ROOT / name for name in ("Makefile", "Dockerfile", "pyproject.toml", "manifest.yml", "compose.yaml")),
]
SAID = [row[0].strip("`") for row in rows(TROUBLE)[1:]]


def test_the_table_of_troubles_is_read() -> None:
    assert len(SAID) > 25
    assert all(row[0].startswith("`") and row[0].endswith("`") and len(row) == 3 for row in rows(TROUBLE)[1:])


@pytest.mark.parametrize("sentence", SAID)
def test_a_sentence_that_is_explained_is_one_that_the_bot_says(sentence: str) -> None:
    assert any(sentence in said for said in sentences()), f"the bot says nowhere: {sentence}"


@pytest.mark.parametrize("toml", blocks(document("install.md"), "toml"))
def test_a_configuration_that_is_shown_is_taken(toml: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ.keys() - clean().keys():
        monkeypatch.delenv(name)
    file = tmp_path / "shown.toml"
    file.write_text(toml.replace("/etc/session-bot/ca.pem", str(Authority(tmp_path).file)), encoding="utf-8")
    monkeypatch.setenv("SESSION_BOT_CONFIG", str(file))
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-1")
    monkeypatch.setenv("SLACK_APP_TOKEN", "xapp-1")
    monkeypatch.setenv("SESSION_BOT__DATA_SOURCES__PROD__PASSWORD", "of-the-account")
    assert load().problems == []


@pytest.mark.parametrize("name", ["install.md", "threat-model.md"])
def test_every_variable_that_is_named_is_one_that_the_bot_reads(name: str) -> None:
    named = set(re.findall(r"\b(?:SLACK_[A-Z_]+|SESSION_BOT_[A-Z]+|HEALTH_[A-Z_]+|BIND_ADDRESS)\b", document(name)))
    assert named <= NAMES | {"SLACK_SIGNING_SECRET"}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_file_of_this_repository_that_is_named_is_there(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", text):
        file = path.parent / target if target else path
        assert file.exists(), target
        assert not anchor or anchor in anchors(file.read_text(encoding="utf-8")), f"{target}#{anchor}"
    for target in re.findall(r"\bdeploy/[\w.-]+", text):
        assert (ROOT / target).is_file(), target


def test_a_page_that_is_cited_is_one_of_this_repository() -> None:
    """What nobody who has this repository can open proves nothing."""
    for path in TEXTS:
        for name in re.findall(r"(?<![\w/.-])[A-Z][A-Z_-]*\.md\b", path.read_text(encoding="utf-8")):
            assert (ROOT / name).is_file(), f"{path.relative_to(ROOT)} cites {name}"


def test_a_section_that_is_cited_is_there() -> None:
    cited = 0
    for path in TEXTS:
        text = path.read_text(encoding="utf-8")
        for name, numbers in re.findall(r"\bdocs/([\w-]+\.md) (\d[\d.]*\d*(?:(?:, | and )\d[\d.]*)*)", text):
            numbered = re.findall(r"^#+ (\d+(?:\.\d+)?)\.? ", document(name), re.MULTILINE)
            for number in re.findall(r"\d+(?:\.\d+)?", numbers):
                assert number in numbered, f"{path.relative_to(ROOT)} cites docs/{name} {number}"
                cited += 1
    assert cited > 30


def test_the_targets_and_files_that_contributors_are_told_of_are_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    told = re.findall(r"`make ([a-z]+)", text)
    assert set(told) <= set(targets)
    assert len(told) > 6
    named = re.findall(r"(?<![\w/.])((?:bot|commands|sandbox|tests|docs|\.ci)/[\w./-]+)", text)
    assert len(named) > 15
    for name in named:
        assert "NAME" in name or (ROOT / name.rstrip(".")).exists(), name


def test_the_check_that_is_shown_runs_and_leaves_no_file(tmp_path: Path) -> None:
    (block,) = blocks(section("install.md", "6. Check"))
    toml = blocks(section("install.md", "5. The configuration"), "toml")[0].replace("10.0.0.1", "127.0.0.1")
    (tmp_path / "session-bot.toml").write_text(toml.replace("2881", "1"), encoding="utf-8")
    (tmp_path / "secrets").mkdir()
    for name in ("SLACK_BOT_TOKEN", "SLACK_APP_TOKEN", "SESSION_BOT__DATA_SOURCES__PROD__PASSWORD"):
        (tmp_path / "secrets" / name).write_text(
            {"SLACK_BOT_TOKEN": "xoxb-1", "SLACK_APP_TOKEN": "xapp-1"}.get(name, "p")
        )
    work = tmp_path / "work"
    work.mkdir()
    command = (
        block.replace("/var/lib/session-bot", str(work))
        .replace("runuser -u session-bot -- ", "")
        .replace("/etc/session-bot/", f"{tmp_path}/")
        .replace("/opt/session-bot/bin/session-bot", f"{sys.executable} -m bot")
    )
    environment = {**clean(), "PYTHONPATH": str(ROOT), "SLACK_API_URL": "http://127.0.0.1:1/api/"}
    done = subprocess.run(
        command, shell=True, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "ok       store: it is empty; session-bot run makes " in done.stdout
    assert "Data source prod (127.0.0.1:1) cannot be reached" in done.stdout
    assert list(work.iterdir()) == []
