"""Whatever is wrong with a configuration is told once, by its place, its key and the way out, in no library's words."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import sys
from pathlib import Path

import pytest

from bot import __main__
from bot.errors import DataSourceUnreachableError
from bot.operations import logs, slack_trial
from bot.sessions import database
from bot.settings import DataSourceSettings, load
from bot.settings.expected import Keys, keys_of
from tests.settings.misconfigurations import GOOD, RULE, SECRET, SOURCE, WRONG, Wrong
from tests.support.strangers import Stranger
from tests.test_main import bot

TRIED = "data_sources.prod: was tried"
# What only libraries say, the names of their errors among it.
FOREIGN = re.compile(
    r"\b[A-Z]\w*(Error|Exception|Warning)\b|Errno|pydantic|sqlalchemy|timedelta|frozenset|default factory|Traceback|"
    r"(Input|String|Value|List|Dictionary) should|valid (string|integer|dictionary|boolean)|EnvSettingsSource",
    re.IGNORECASE,
)


class _Tried:
    """A data source of which only that it is tried is of interest here."""

    def __init__(self, name: str, _settings: DataSourceSettings) -> None:
        self._name = name

    def description(self) -> str:
        raise DataSourceUnreachableError("was tried")

    def close(self) -> None: ...


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Start in an empty folder with two good tokens; nobody asks Slack."""
    for name in os.environ:
        if name.upper().startswith(("SLACK_", "SESSION_BOT")) or name.upper() in ("PORT", "HEALTH_PORT", "HTTPS_PROXY"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLACK_BOT_TOKEN", f"xoxb-{SECRET}")
    monkeypatch.setenv("SLACK_APP_TOKEN", f"xapp-{SECRET}")
    monkeypatch.setattr(logs, "set_up", lambda: None)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(slack_trial, "everything", lambda *_: [])


def prepare(wrong: Wrong, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Write its files and set its variables."""
    if isinstance(wrong.file, str):
        (folder / "session-bot.toml").write_text(wrong.file, encoding="utf-8")
    elif wrong.file is not None:
        (folder / "session-bot.toml").write_bytes(wrong.file)
    for name, value in wrong.env.items():
        monkeypatch.setenv(name, value)
    if wrong.secrets is not None:
        (folder / "secrets").mkdir()
        monkeypatch.setenv("SESSION_BOT_SECRETS", "secrets")
        for name, content in wrong.secrets.items():
            if content is None:
                (folder / "secrets" / name).mkdir()
            else:
                (folder / "secrets" / name).write_bytes(content)


def check(capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Run `check` and return its exit status and all that it says."""
    status = __main__.main(["check"])
    said = capsys.readouterr()
    return status, said.out + said.err


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.what)
def test_a_mistake_is_told_once_with_its_place_and_the_way_out(
    wrong: Wrong, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(__main__, "data_source", _Tried)
    prepare(wrong, monkeypatch, tmp_path)
    status, said = check(capsys)
    problems = [line.removeprefix("problem  ") for line in said.splitlines() if line.startswith("problem  ")]
    told = [problem for problem in problems if not problem.endswith(": was tried")]
    assert status == 1
    assert len(told) == 1, told
    assert told[0].startswith(wrong.begins.replace("@", "secrets/"))
    assert wrong.way in told[0]
    assert SECRET not in said
    assert "7791467914" not in said
    assert FOREIGN.search(said) is None
    assert (len(problems) > len(told)) == wrong.tried
    assert said.startswith(f"read     {tmp_path / 'session-bot.toml'}; ") == is_read(wrong)
    assert said.startswith(("read     not ", "read     no file: ")) != is_read(wrong)
    assert len(told[0]) < 500


def is_read(wrong: Wrong) -> bool:
    """Whether the usual file can be read."""
    return (
        isinstance(wrong.file, str) and "is no valid TOML" not in wrong.begins and "SESSION_BOT_CONFIG" not in wrong.env
    )


def test_a_stranger_at_a_data_sources_port_is_told_from_a_database_that_is_overloaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(database, "READ_TIMEOUT", 1)
    other = "answered, but not as a MySQL-compatible server does"
    strangers = {
        "ssh": (Stranger(b"SSH-2.0-OpenSSH_9.2\r\n"), other),
        "mail": (Stranger(b"220 mail ESMTP\r\n"), other),
        "http": (Stranger(b"HTTP/1.1 400 Bad Request\r\n\r\n", closes=True), other),
        "x-protocol": (Stranger(b"\x05\x00\x00\x00\x0b\x08\x05\x1a\x00"), other),
        "empty": (Stranger(bytes(4)), other),
        "closes": (Stranger(closes=True), "closed the connection before any greeting"),
        "waits": (Stranger(), "Either it hangs, or something else has that port, such as a web server"),
        "tls": (Stranger(b"\x15\x03\x01\x00\x02\x02\x28"), "Either it hangs, or something else has that port"),
    }
    sections = []
    with contextlib.ExitStack() as running:
        for name, (stranger, _) in strangers.items():
            running.enter_context(stranger)
            sections.append(f'[data_sources.{name}]\nhost = "127.0.0.1"\nport = {stranger.port}\nuser = "u"\n')
        sections.append('[data_sources.nowhere]\nhost = "nowhere.invalid"\nuser = "u"\n')
        Path("session-bot.toml").write_text("".join(sections) + GOOD)
        status, said = check(capsys)
    told = {line.split(": ")[0]: line for line in said.splitlines() if line.startswith("problem  ")}
    assert status == 1
    for name, (_, sentence) in strangers.items():
        assert sentence in told[f"problem  data_sources.{name}"]
        assert "Check host and port" in told[f"problem  data_sources.{name}"]
    assert "nothing listens at that port" in told["problem  data_sources.prod"]
    assert "cannot be reached" in told["problem  data_sources.nowhere"]
    assert "overloaded" not in said
    assert FOREIGN.search(said) is None


def test_all_that_is_wrong_in_a_file_that_can_be_read_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(__main__, "data_source", _Tried)
    monkeypatch.setenv("SLACK_BOT_TOKEN", f"xoxp-{SECRET}")
    monkeypatch.setenv("SESSION_BOT_STORE__URL", SECRET)
    Path("session-bot.toml").write_text(
        f'colour = 1\n{SOURCE}approval = "second-person"\npasword = "{SECRET}"\n[data_sources.crm]\nkind = "mysql"\n'
        f'host = "h"\nuser = "u"\ntenants = ["a"]\napproval = "second-person"\n{RULE}[closing]\nconfirm_within = "x"\n'
    )
    _, said = check(capsys)
    problems = [line.split(": ")[:2] for line in said.splitlines() if line.startswith("problem  ")]
    assert [place.removeprefix("problem  ") + f": {key}" for place, key in problems if key != "was tried"] == [
        "SESSION_BOT_STORE__URL: there is no such setting; did you mean SESSION_BOT__STORE__URL?",
        "SLACK_BOT_TOKEN: it holds a user token (xoxp-); set it to the app's Bot User OAuth Token, which starts with "
        "xoxb- and has no blank",
        "session-bot.toml: data_sources.prod.pasword",
        "session-bot.toml: closing.confirm_within",
        "session-bot.toml: colour",
        "session-bot.toml: data_sources.crm.approval",
    ]


def test_what_kubernetes_sets_for_services_is_no_mistake(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(__main__, "data_source", _Tried)
    for name, value in {
        "SESSION_BOT_SERVICE_HOST": "10.0.0.1",
        "SESSION_BOT_SERVICE_PORT": "3000",
        "SESSION_BOT_SERVICE_PORT_HTTP": "3000",
        "SESSION_BOT_PORT": "tcp://10.0.0.1:3000",
        "SESSION_BOT_PORT_3000_TCP": "tcp://10.0.0.1:3000",
        "SESSION_BOT_PORT_3000_TCP_ADDR": "10.0.0.1",
        "SESSION_BOT_STORE_SERVICE_HOST": "10.0.0.2",
        "SESSION_BOT_STORE_PORT": "tcp://10.0.0.2:3306",
    }.items():
        monkeypatch.setenv(name, value)
    Path("session-bot.toml").write_text(GOOD)
    _, said = check(capsys)
    assert "no such setting" not in said


@pytest.mark.parametrize("verb", ["check", "run"])
def test_the_process_says_the_same(verb: str, tmp_path: Path) -> None:
    (tmp_path / "session-bot.toml").write_text(f"password = {SECRET}\n")
    environment = {"SLACK_BOT_TOKEN": f"xoxb-{SECRET}", "SLACK_APP_TOKEN": f"xapp-{SECRET}"}
    ended = bot(verb, tmp_path, {**environment, "SLACK_API_URL": "http://127.0.0.1:1/api/"})
    said = ended.stdout + ended.stderr
    assert ended.returncode == 1
    assert "problem  session-bot.toml: is no valid TOML at line 1, column" in said
    assert "access" not in said
    assert SECRET not in said
    assert FOREIGN.search(said) is None


@pytest.mark.parametrize(
    "section", [(), ("data_sources", "prod"), ("access", 0), ("channels", "C01"), ("closing",), ("store",)], ids=str
)
def test_no_value_of_any_key_is_refused_in_the_words_of_a_library(section: Keys) -> None:
    values = [
        "1",
        "-1",
        "1.5",
        "inf",
        "true",
        '""',
        f'"{SECRET}"',
        "[]",
        "[1]",
        f'["{SECRET}"]',
        "[[]]",
        "{}",
        "{x = 1}",
    ]
    values += ["2026-11-27", "00:00:00", "99999999999999999999", '"\\u0000"', "[{}]"]
    header = {(): "", ("access", 0): "[[access]]\n"}.get(section, f"[{'.'.join(map(str, section))}]\n")
    rest = "" if not section else RULE if section[0] == "data_sources" else GOOD
    for key, value in itertools.product(keys_of(section), values):
        Path("session-bot.toml").write_text(f"{rest}{header}{key} = {value}\n", encoding="utf-8")
        for problem in load().problems:
            assert problem.startswith("session-bot.toml: ")
            assert not problem.endswith("must be "), "nothing is known of what it takes"
            assert FOREIGN.search(problem) is None
            assert SECRET not in problem or key == "data_sources", "names of data sources are no secrets"
