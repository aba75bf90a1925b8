"""Settings from the outside that are broken, unknown or shapeless; the plain cases are in test_settings."""

import contextlib
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from bot.errors import ConfigurationError
from bot.settings import Loaded, load
from tests.support.configuration import told

SECRET = "hunter2-hunter2"
GOOD = """
[data_sources.prod]
host = "10.0.0.1"
user = "session_bot@sys"
password = "from the file"

[[access]]
who = ["U01ALICE"]
may = ["view", "close"]
"""

Write = Callable[[str], None]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Start from an environment that names two good tokens and nothing else of ours, in an empty folder."""
    for name in list(os.environ):
        if name.upper().startswith(("SLACK_", "SESSION_BOT")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SLACK_BOT_TOKEN", f"xoxb-{SECRET}")
    monkeypatch.setenv("SLACK_APP_TOKEN", f"xapp-{SECRET}")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write the file that is read when nothing else is named."""

    def into_file(text: str) -> None:
        (tmp_path / "session-bot.toml").write_text(text, encoding="utf-8")

    return into_file


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Give an empty secrets directory that the environment names."""
    directory = tmp_path / "secrets"
    directory.mkdir()
    monkeypatch.setenv("SESSION_BOT_SECRETS", str(directory))
    return directory


def problem(loaded: Loaded, key: str) -> str:
    """Return the one problem of a key."""
    found = [text for text in told(loaded) if text.startswith(f"{key}: ")]
    assert len(found) == 1, loaded.problems
    return found[0]


def test_a_value_from_elsewhere_leaves_its_neighbours_alone(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write(GOOD)
    monkeypatch.setenv("SESSION_BOT__DATA_SOURCES__PROD__PORT", "2883")
    monkeypatch.setenv("SESSION_BOT__CLOSING__CONFIRM_WITHIN", "5m")
    monkeypatch.setenv("SESSION_BOT__DATA_SOURCES__TEST__HOST", "10.0.0.2")
    monkeypatch.setenv("SESSION_BOT__DATA_SOURCES__TEST__USER", "root")
    _, settings = load().require()
    assert (settings.data_sources["prod"].host, settings.data_sources["prod"].port) == ("10.0.0.1", 2883)
    assert settings.data_sources["test"].host == "10.0.0.2"
    assert settings.closing.confirm_within == timedelta(minutes=5)


APPROVAL = "SESSION_BOT__DATA_SOURCES__PROD__TENANT_APPROVAL"
SECOND = '{"Shop": "second-person"}'


@pytest.mark.parametrize("place", ["environment", "secrets"])
@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({f"{APPROVAL}__Shop": "second-person"}, {"Shop": "second-person"}),
        (
            {f"{APPROVAL}__Shop": "second-person", f"{APPROVAL}__shop": "requester"},
            {"Shop": "second-person", "shop": "requester"},
        ),
        ({f"{APPROVAL.lower()}__T__SHOP__1": "second-person"}, {"T__SHOP__1": "second-person"}),
        ({APPROVAL: SECOND}, {"Shop": "second-person"}),
        ({"SESSION_BOT__DATA_SOURCES__PROD": f'{{"tenant_approval": {SECOND}}}'}, {"Shop": "second-person"}),
        ({"SESSION_BOT__DATA_SOURCES": f'{{"prod": {{"tenant_approval": {SECOND}}}}}'}, {"Shop": "second-person"}),
        ({f"{APPROVAL}__SHOP": "requester", APPROVAL: SECOND}, {"Shop": "second-person", "SHOP": "requester"}),
        ({APPROVAL: SECOND, f"{APPROVAL}__Shop": "requester"}, {"Shop": "requester"}),
    ],
    ids=["one", "two", "underscores", "map", "source", "sources", "beside-a-map", "over-a-map"],
)
def test_a_tenant_named_from_elsewhere_keeps_the_case_of_its_name(
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    secrets: Path,
    given: dict[str, str],
    meant: dict[str, str],
    place: str,
) -> None:
    write(GOOD.replace("[[access]]", '[data_sources.prod.tenant_approval]\nBilling = "requester"\n[[access]]'))
    for name, value in {**given, "SESSION_BOT__ACCESS": '[{"who": ["*"], "may": ["view", "approve"]}]'}.items():
        if place == "environment":
            monkeypatch.setenv(name, value)
        else:
            (secrets / name).write_text(f"{value}\n")
    assert load().require()[1].data_sources["prod"].tenant_approval == {"Billing": "requester", **meant}


def test_no_file_is_needed_when_the_environment_says_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_BOT__DATA_SOURCES__PROD__HOST", "10.0.0.1")
    monkeypatch.setenv("SESSION_BOT__DATA_SOURCES__PROD__USER", "root")
    monkeypatch.setenv("SESSION_BOT__ACCESS", '[{"who": ["*"], "may": ["view"]}]')
    assert load().require()[1].access[0].who == {"*"}


def test_a_secrets_directory_that_is_not_there_is_a_problem(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write(GOOD)
    monkeypatch.setenv("SESSION_BOT_SECRETS", "nowhere")
    assert any("nowhere" in text for text in load().problems)


def test_every_problem_is_told_at_once(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLACK_APP_TOKEN")
    monkeypatch.setenv("SLACK_BOT_TOKEN", f"xoxp-{SECRET}")
    monkeypatch.setenv("SLACK_API_URL", "https://slack.com/api")
    monkeypatch.setenv("SESSION_BOT__DATA_SOURCE__PROD__HOST", "x")
    write(
        'default_source = "gone"\ncolour = "red"\n[data_sources.prod]\nhost = "10.0.0.1"\nport = 70000\ntypo = 1\n'
        '[[access]]\nwho = []\nmay = ["own"]\ndata_sources = ["prod", "lost"]\n'
        '[channels.C01INC]\ndata_source = "missing"\n[closing]\nconfirm_within = "soon"\n'
    )
    loaded = load()
    assert {text.split(": ")[0] for text in told(loaded)} == {
        "SLACK_BOT_TOKEN",
        "SLACK_APP_TOKEN",
        "SLACK_API_URL",
        "SESSION_BOT__DATA_SOURCE__PROD__HOST",
        "default_source",
        "colour",
        "data_sources.prod.port",
        "data_sources.prod.typo",
        "data_sources.prod.user",
        "access.0.who",
        "access.0.may.0",
        "access.0.data_sources",
        "channels.C01INC.data_source",
        "closing.confirm_within",
    }
    with pytest.raises(ConfigurationError) as refusal:
        loaded.require()
    assert refusal.value.problems == loaded.problems


def test_no_secret_is_in_any_message_or_repr(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_BOT_TOKEN", f"xoxp-{SECRET}")
    monkeypatch.setenv("SESSION_BOT__DATA_SOURCES__OTHER__PASSWORD", SECRET)
    monkeypatch.setenv("SESSION_BOT__STORE__URL", f"mysql+pymysql://bot:{SECRET}@db/bot")
    write(GOOD.replace("from the file", SECRET) + f'[data_sources.bad]\nhost = 1\npassword = ["{SECRET}"]\n')
    wrong = load()
    assert wrong.problems
    assert SECRET not in f"{wrong.problems} {wrong!r} {wrong}"
    with pytest.raises(ConfigurationError) as refusal:
        wrong.require()
    assert SECRET not in f"{refusal.value} {refusal.value!r}"


def test_no_secret_is_in_the_repr_of_good_settings(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_BOT__STORE__URL", f"mysql+pymysql://bot:{SECRET}@db/bot")
    write(GOOD.replace("from the file", SECRET))
    loaded = load()
    assert not loaded.problems
    assert SECRET not in f"{loaded!r} {loaded} {loaded.require()!r} {loaded.data_sources!r}"


@pytest.mark.parametrize(
    "broken",
    [
        f'[data_sources.prod]\npassword = "{SECRET}',
        f'password = "{SECRET}" "{SECRET}"',
        f"password = {SECRET}",
        f'x = "a"\nx = "{SECRET}"',
        f'["{SECRET}\n',
    ],
)
def test_a_broken_file_says_where_and_not_what(write: Write, broken: str) -> None:
    write(broken)
    loaded = load()
    (said,) = loaded.problems
    assert said.startswith("session-bot.toml: is no valid TOML")
    assert SECRET not in str(loaded.problems)


@pytest.mark.parametrize(
    "variable", ["SESSION_BOT__DATA_SOURCES", "SESSION_BOT__ACCESS", "SESSION_BOT__DATA_SOURCES__PROD"]
)
def test_a_broken_value_in_the_environment_is_told_and_not_shown(
    write: Write, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    write(GOOD)
    monkeypatch.setenv(variable, f'{{"password": "{SECRET}"')
    loaded = load()
    assert loaded.problems
    assert SECRET not in str(loaded.problems)


@pytest.mark.parametrize("name", ["SESSION_BOT__ACESS", "session_bot__colour", "SESSION_BOT__STORES__URL"])
def test_an_unknown_variable_is_not_passed_over(write: Write, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    write(GOOD)
    monkeypatch.setenv(name, "x")
    assert problem(load(), name).startswith(f"{name}: there is no such setting; ")


@pytest.mark.parametrize("name", ["SESSION_BOT__STORE__URI", "SESSION_BOT__DATA_SOURCES__PROD__PASWORD"])
def test_an_unknown_key_below_a_known_section_is_not_passed_over(
    write: Write, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write(GOOD)
    monkeypatch.setenv(name, "x")
    meant = name.replace("URI", "URL").replace("PASWORD", "PASSWORD")
    assert load().problems == [f"{name}: there is no such setting; did you mean {meant}?"]


@pytest.mark.parametrize("name", ["SESSION_BOT__DATA_SOURCE__PROD__PASSWORD", "SESSION_BOT__STORE__URI"])
def test_an_unknown_file_of_the_secrets_directory_is_not_passed_over(write: Write, secrets: Path, name: str) -> None:
    write(GOOD)
    (secrets / name).write_text(SECRET)
    loaded = load()
    assert any("there is no such setting" in text for text in loaded.problems)
    assert SECRET not in str(loaded.problems)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("90", 90), ('"90"', 90), ('"90s"', 90), ('"2m"', 120), ('"1h"', 3600), ('" 5 m "', 300), ('"5s"', 5)],
)
def test_durations_are_read(write: Write, written: str, seconds: int) -> None:
    write(f"{GOOD}[closing]\nconfirm_within = {written}\n")
    assert load().require()[1].closing.confirm_within == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "written", ['"2 minutes"', '"-5m"', '""', '"1h30m"', "1.5", "true", '"4s"', '"2h"', '"' + "9" * 30 + '"']
)
def test_what_is_no_sensible_duration_is_a_problem(write: Write, written: str) -> None:
    write(f"{GOOD}[closing]\nconfirm_within = {written}\n")
    assert problem(load(), "closing.confirm_within")


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "session-bot.toml").write_bytes(b"host = '\xff'")
    assert load().problems == ["session-bot.toml: is no text in UTF-8; save it as UTF-8"]
    (tmp_path / "session-bot.toml").unlink()
    (tmp_path / "session-bot.toml").mkdir()
    (said,) = load().problems
    assert said.startswith("session-bot.toml: is a directory; ")


def test_an_empty_configuration_says_what_to_add(write: Write) -> None:
    write("")
    loaded = load()
    assert "[[access]]" in problem(loaded, "access")
    assert "[data_sources.NAME]" in problem(loaded, "data_sources")


def test_an_empty_list_of_rules_is_no_access_for_anybody(write: Write) -> None:
    write("access = []\n" + GOOD.partition("[[access]]")[0])
    assert "nobody could use the bot" in problem(load(), "access")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('default_source = "gone"\n' + GOOD, "default_source"),
        (GOOD + 'data_sources = ["prod", "gone"]\n', "access.0.data_sources: gone"),
        (GOOD + '[channels.C1]\ndata_source = "gone"\n', "channels.C1.data_source"),
    ],
)
def test_a_name_that_stands_for_no_data_source_is_a_contradiction(write: Write, text: str, key: str) -> None:
    write(text)
    loaded = load()
    assert problem(loaded, key) == f"{key}: there is no such data source; there is prod"
    assert len(loaded.problems) == 1


@pytest.mark.parametrize(
    "text",
    [
        "data_sources = 3\naccess = 4\nchannels = 5\nclosing = 6\nstore = 7\ndefault_source = 8\n",
        'data_sources = ["prod"]\naccess = ["x"]\nchannels = ["y"]\n',
        "[data_sources]\nprod = 1\n[[access]]\ndata_sources = 3\n[channels]\nC1 = 2\n",
        "[data_sources.prod]\nhost = []\n[[access]]\ndata_sources = [1, [2]]\n[channels.C1]\ndata_source = [1]\n",
    ],
)
def test_whatever_has_the_wrong_shape_is_a_problem_and_no_crash(write: Write, text: str) -> None:
    write(text)
    assert load().problems


def test_a_secret_that_is_a_named_pipe_is_told_and_not_waited_for(write: Write, secrets: Path) -> None:
    write(GOOD)
    pipe = secrets / "SLACK_APP_TOKEN"
    os.mkfifo(pipe)
    told = f"{pipe}: is a named pipe; put the value in a file of that name, as plain text, or remove it"
    assert told in load().problems


@pytest.mark.parametrize("sources", ["data_sources = 1", "data_sources = {}", ""])
def test_where_there_is_no_data_source_nothing_is_said_of_their_names(write: Write, sources: str) -> None:
    write(
        f'{sources}\ndefault_source = "prod"\n[[access]]\nwho = ["*"]\nmay = ["view"]\ndata_sources = ["prod"]\n'
        '[channels.C1]\ndata_source = "prod"\n'
    )
    (problem,) = told(load())
    assert problem.startswith("data_sources: ")


def test_secrets_that_everybody_on_the_machine_may_read_are_warned_of_and_the_bot_starts(
    write: Write, secrets: Path, tmp_path: Path
) -> None:
    write(GOOD)
    (tmp_path / "session-bot.toml").chmod(0o600)
    mounted = secrets / "..2026_11_21"  # as Kubernetes mounts a Secret
    mounted.mkdir()
    for name, mode in (("SLACK_BOT_TOKEN", 0o644), ("SLACK_APP_TOKEN", 0o440)):
        (mounted / name).write_text(name)
        (mounted / name).chmod(mode)
        (secrets / name).symlink_to(f"..2026_11_21/{name}")
    (said,) = load().warnings
    assert said == (
        "SESSION_BOT_SECRETS: the mode of these files lets everybody on the machine read them: "
        f"{secrets / 'SLACK_BOT_TOKEN'}. chmod o= them; in Kubernetes set defaultMode: 0440 for their volume"
    )
    (mounted / "SLACK_BOT_TOKEN").chmod(0o400)
    assert load().warnings == []


@pytest.mark.parametrize(
    "held",
    ["[data_sources.prod]\npassword = 'x'", "[store]\nurl = 'mysql+pymysql://u:x@h/db'"],
    ids=["source", "store"],
)
def test_a_file_with_a_password_that_everybody_on_the_machine_may_read_is_warned_of(
    write: Write, tmp_path: Path, held: str
) -> None:
    file = tmp_path / "session-bot.toml"
    write(held)
    file.chmod(0o644)
    (said,) = load().warnings
    assert said.startswith("session-bot.toml: it holds a password, and its mode lets everybody on the machine read it.")
    file.chmod(0o640)
    assert load().warnings == []
    write("[store]\nurl = 'sqlite:///x.db'")
    file.chmod(0o644)
    assert load().warnings == []


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "session-bot.toml").write_text(GOOD, encoding="utf-8-sig")
    assert load().require()[1].data_sources["prod"].host == "10.0.0.1"


def test_of_secrets_of_both_modes_each_is_told_with_its_place(
    write: Write, secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(GOOD)
    monkeypatch.setenv("SLACK_APP_TOKEN", "xapp-1")
    (secrets / "SLACK_SIGNING_SECRET").write_text("8f742231b10e8f74")
    (said,) = load().problems
    assert said.startswith(f"{secrets / 'SLACK_SIGNING_SECRET'}: SLACK_APP_TOKEN is set as well; leave this one out")


def test_a_secret_with_a_byte_order_mark_is_read_without_it(write: Write, secrets: Path) -> None:
    write(GOOD)
    (secrets / "SESSION_BOT__DATA_SOURCES__PROD__PASSWORD").write_text("secret\n", encoding="utf-8-sig")
    assert load().require()[1].data_sources["prod"].password.get_secret_value() == "secret"


def test_what_the_bots_user_may_not_read_is_told_and_nothing_that_would_follow_from_it(
    write: Write, secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(GOOD)
    (secrets / "SLACK_BOT_TOKEN").write_text("xoxb-1")
    monkeypatch.delenv("SLACK_BOT_TOKEN")
    secrets.chmod(0)
    with as_somebody():
        assert not {text.partition(";")[0] for text in load().problems} - {
            "session-bot.toml: may not be read by the bot's user",  # root's temporary folders are closed to all others
            f"SESSION_BOT_SECRETS: {secrets} may not be read by the bot's user",
        }
        assert load().problems
    secrets.chmod(0o700)


@contextlib.contextmanager
def as_somebody() -> Iterator[None]:
    """Be a user to whom modes of files mean something, where that is root."""
    was = os.geteuid()
    os.seteuid(was or 65534)
    try:
        yield
    finally:
        os.seteuid(was)
