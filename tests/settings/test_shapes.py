"""Configurations of the wrong shape are told as problems, never as a traceback."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bot.settings import Loaded, load
from tests.support.configuration import told

SOURCE = '[data_sources.prod]\nhost = "10.0.0.1"\nuser = "root@sys"\n'
RULE = '[[access]]\nwho = ["U1"]\nmay = ["view"]\n'


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.upper().startswith(("SLACK_", "SESSION_BOT")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-1")
    monkeypatch.setenv("SLACK_APP_TOKEN", "xapp-1")


def loaded(text: str) -> Loaded:
    Path("session-bot.toml").write_text(text, encoding="utf-8")
    return load()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[data_sources]]\nhost = "h"\n' + RULE, "data_sources: "),
        ("data_sources = 5\n" + RULE, "data_sources: "),
        ('default_source = ["prod"]\n' + SOURCE + RULE, "default_source: "),
        (SOURCE + RULE + 'data_sources = [["prod"]]\n', "access.0.data_sources.0: "),
        (SOURCE + "[access]\nwho = ['U1']\n", "access: "),
        ("channels = 1\n" + SOURCE + RULE, "channels: "),
        (SOURCE + RULE + "[channels]\nC01INC = 'shop'\n", "channels.C01INC: "),
        (SOURCE + RULE + '[closing]\nconfirm_within = "99999999999999999999d"\n', "closing.confirm_within: a duration"),
        ("_cli_parse_args = true\n" + SOURCE + RULE, "_cli_parse_args: there is no such setting"),
        ("_build_sources = 1\n" + SOURCE + RULE, "_build_sources: there is no such setting"),
    ],
)
def test_a_value_of_the_wrong_shape_is_one_problem_with_its_key(text: str, said: str) -> None:
    assert [problem for problem in told(loaded(text)) if problem.startswith(said)]


def test_a_data_source_may_be_used_although_something_else_is_wrong() -> None:
    assert list(loaded('default_source = ["prod"]\n' + SOURCE + RULE).data_sources) == ["prod"]


def test_a_channel_named_in_the_environment_is_the_channel_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_BOT__CHANNELS__C01INC__TENANT", "shop")
    _, settings = loaded(SOURCE + RULE + '[channels.C01INC]\ndata_source = "prod"\n').require()
    assert list(settings.channels) == ["C01INC"]
    assert (settings.channels["C01INC"].data_source, settings.channels["C01INC"].tenant) == ("prod", "shop")


@pytest.mark.parametrize("password", ["12345", "1e5", "007", "true", "null", '{"a": 1}', "[1]", '"quoted"', " spaces "])
def test_a_password_from_the_environment_is_taken_as_it_stands(monkeypatch: pytest.MonkeyPatch, password: str) -> None:
    monkeypatch.setenv("SESSION_BOT__DATA_SOURCES__PROD__PASSWORD", password)
    _, settings = loaded(SOURCE + RULE).require()
    assert settings.data_sources["prod"].password.get_secret_value() == password


def test_a_secrets_directory_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_BOT_SECRETS", "nowhere")
    assert loaded(SOURCE + RULE).problems == [
        "SESSION_BOT_SECRETS: there is no directory nowhere; set it to the one that has a file for each secret"
    ]


def test_a_file_of_the_secrets_directory_that_is_no_text_or_no_setting_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir()
    monkeypatch.setenv("SESSION_BOT_SECRETS", str(folder))
    (folder / "SESSION_BOT__COLOUR").write_text("red")
    (folder / "unrelated").write_text("x")
    (folder / "picture").write_bytes(b"\xff\xfe")
    (problem,) = loaded(SOURCE + RULE).problems
    assert problem.startswith(f"{folder}/SESSION_BOT__COLOUR: there is no such setting; ")
    (folder / "SESSION_BOT__COLOUR").unlink()
    (folder / "SLACK_BOT_TOKEN").write_bytes(b"\xff\xfe")
    monkeypatch.delenv("SLACK_BOT_TOKEN")
    assert load().problems == [
        f"{folder}/SLACK_BOT_TOKEN: is no text in UTF-8; put the value in a file of that name, as plain text, or "
        "remove it"
    ]


def test_a_list_in_the_environment_that_is_no_json_is_told_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_BOT__DATA_SOURCES", '{"prod": {"password": "hunter2"')
    (problem,) = loaded(SOURCE + RULE).problems
    assert problem.startswith("SESSION_BOT__DATA_SOURCES: is no JSON that can be read; such as ")
    assert "hunter2" not in problem
