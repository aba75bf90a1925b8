"""A secret in every value that may hold one, in shapes that cannot be read: neither `check` nor `run` shows it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bot.settings import Loaded, load
from tests.support.configuration import told
from tests.support.forged import Forged
from tests.support.patience import PATIENCE
from tests.support.running_bot import ROOT
from tests.test_main import bot

SECRET = "Geheim77"
DIGITS = "7791467914"  # a secret that reads as a number
GOOD = """
[data_sources.prod]
host = "127.0.0.1"
port = 1
user = "session_bot"
[[access]]
who = ["U01ALICE"]
may = ["view"]
"""
TOKENS = {
    "SLACK_BOT_TOKEN": f"xoxb-{SECRET}",
    "SLACK_APP_TOKEN": f"xapp-{SECRET}",
    "SLACK_API_URL": "http://127.0.0.1:1/api/",
}


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Start from good tokens and nothing else of ours, in an empty folder."""
    for name in os.environ:
        if name.upper().startswith(("SLACK_", "SESSION_BOT")) or name.lower() in ("https_proxy", "http_proxy"):
            monkeypatch.delenv(name)
    for name, value in TOKENS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)


def loaded(text: str = GOOD) -> Loaded:
    Path("session-bot.toml").write_text(text, encoding="utf-8")
    return load()


def said_of(key: str, text: str = GOOD) -> str:
    """What is said of that key, which is one of the problems; none of them shows a secret, nor does a repr."""
    found = loaded(text)
    assert SECRET not in f"{found.problems} {found!r}"
    assert DIGITS not in f"{found.problems} {found!r}"
    (problem,) = (problem for problem in {*told(found), *found.problems} if problem.startswith(f"{key}: "))
    return problem.removeprefix(f"{key}: ")


@pytest.mark.parametrize(
    "url",
    [
        f'"mysql+pymysql://user:{SECRET}"',
        f'"mysql+pymysql://user:{DIGITS}"',
        f'"mysql+pymysql://u:{SECRET}@h:x/db"',
        f'"mysql+{SECRET}://u:p@h/db"',
        f'"{SECRET}"',
        f'["{SECRET}"]',
        DIGITS,
        f'{{a = "{SECRET}"}}',
        "true",
        '""',
    ],
)
def test_a_store_url_in_the_file_is_named_and_not_shown(url: str) -> None:
    said = said_of("store.url", f"{GOOD}[store]\nurl = {url}\n")
    assert "mysql+pymysql:// and then USER:PASSWORD@HOST:PORT/DATABASE" in said or said == "must be a text in quotes"


@pytest.mark.parametrize("place", ["environment", "secrets", "section"])
def test_a_store_url_from_elsewhere_is_named_and_not_shown(
    place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = f"mysql+pymysql://user:{SECRET}@host:port/db"
    if place == "environment":
        monkeypatch.setenv("SESSION_BOT__STORE__URL", url)
    elif place == "section":
        monkeypatch.setenv("SESSION_BOT__STORE", f'{{"url": "{url}"}}')
    else:
        (tmp_path / "SESSION_BOT__STORE__URL").write_text(f"{url}\n")
        monkeypatch.setenv("SESSION_BOT_SECRETS", str(tmp_path))
    found = loaded()
    assert SECRET not in f"{found.problems} {found!r}"
    (problem,) = found.problems
    name = {"environment": "SESSION_BOT__STORE__URL", "section": "SESSION_BOT__STORE: url"}.get(place)
    assert problem.startswith(f"{name or tmp_path / 'SESSION_BOT__STORE__URL'}: ")
    assert "has a port that is no number from 1 to 65535" in problem


@pytest.mark.parametrize("value", [DIGITS, f'["{SECRET}"]', f'{{a = "{SECRET}"}}', "1.5", "2026-11-21"])
def test_a_password_that_is_no_text_is_named_and_not_shown(value: str) -> None:
    said = said_of("data_sources.prod.password", GOOD.replace("port = 1", f"password = {value}"))
    assert said == "must be a text in quotes"


def test_a_password_of_half_a_character_is_named_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_BOT__DATA_SOURCES", f'{{"prod": {{"password": "{SECRET}\\ud83d"}}}}')
    assert "half a character" in said_of("SESSION_BOT__DATA_SOURCES: prod.password")


@pytest.mark.parametrize(
    "host",
    [
        f"mysql://user:{SECRET}@db",
        f"user:{SECRET}@db",
        f"{SECRET}@db",
        f"db:{SECRET}",
        f"db/{SECRET}",
        f"db {SECRET}",
        f"[{SECRET}]",
        f"db?{SECRET}",
        f"db#{SECRET}",
        "",
        "db..example",
        "d" * 64,
    ],
)
def test_a_host_with_more_in_it_is_named_and_not_shown(host: str) -> None:
    said = said_of("data_sources.prod.host", GOOD.replace('"127.0.0.1"', f'"{host}"'))
    assert "a host is a name or an address and nothing else" in said


@pytest.mark.parametrize(
    "host", ["db", "db-1.example.com", "10.0.0.1", "::1", "fd00::1", "fe80::1%eth0", "my_db", "bücher"]
)
def test_a_host_that_is_one_is_taken(host: str) -> None:
    assert loaded(GOOD.replace('"127.0.0.1"', f'"{host}"')).problems == []


@pytest.mark.parametrize(
    "text",
    [
        f'[data_sources.prod]\npassword = "{SECRET}',
        f"password = {SECRET}",
        f'password = "\\{SECRET}"',
        f"[{SECRET}]\n[{SECRET}]",
        f"a.{SECRET} = 1\na.{SECRET}.b = 2",
        f'password = "a" "{SECRET}"',
        f"password = {DIGITS * 500}",
        f'password = {"[" * 3000}"{SECRET}"',
        f"password = 0x{SECRET}",
    ],
)
def test_of_a_file_that_is_no_toml_the_place_is_told_and_not_the_text(text: str) -> None:
    said = said_of("session-bot.toml", text)
    assert re.fullmatch(r"is no valid TOML( at line \d+, column \d+| at end of document)?: [^0-9]+", said)


@pytest.mark.parametrize(
    "token",
    [SECRET, f"xoxb-{SECRET}\n", f"xoxb-{SECRET} ", f" xoxb-{SECRET}", f"xoxb-{SECRET}é", "xoxb-", f"xoxp-{SECRET}"],
)
def test_a_token_that_no_header_takes_is_named_and_not_shown(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLACK_BOT_TOKEN", "SLACK_APP_TOKEN"):
        monkeypatch.setenv(name, token if name == "SLACK_BOT_TOKEN" else token.replace("xoxb", "xapp"))
        assert "set it to " in said_of(name)


@pytest.mark.parametrize(
    "url",
    [
        f"http://user:{SECRET}/api/",
        f"http://user:{SECRET}@slack.com/api/",
        f"http://slack.com:{SECRET}/api/",
        f"https://{SECRET}@slack.com/api/",
        f"https://[{SECRET}/api/",
        f"https:///{SECRET}/api/",
        f"{SECRET}/api/",
        f"https://slack.com/{SECRET} /api/",
        f"https://slack.com/{SECRET}é/api/",
        f"https://slack.com/api/?{SECRET}",
        f"https://slack.com:0/{SECRET}/api/",
        f"https://slack.com:65536/{SECRET}/api/",
    ],
)
def test_an_address_of_slack_that_no_client_takes_is_named_and_not_shown(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLACK_API_URL", url)
    assert said_of("SLACK_API_URL").startswith("it must start with http:// or https:// and end in /api/")


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"])
@pytest.mark.parametrize(
    "url",
    [
        f"http://user:{SECRET}",
        f"user:{SECRET}",
        f"http://u:p@proxy:{SECRET}",
        f"http://[{SECRET}",
        f"http://u:{SECRET} x@p",
    ],
)
def test_a_proxy_that_no_client_takes_is_named_and_not_shown(
    name: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, url)
    assert said_of(name) == "it is no address of a proxy, such as http://USER:PASSWORD@HOST:PORT"


@pytest.mark.parametrize(
    "url", ["http://proxy:3128", "http://user:p@ss@proxy:3128/", "proxy:3128", "http://[::1]:1", " "]
)
def test_a_proxy_that_is_one_is_taken(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", url)
    assert loaded().problems == []


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ('tls = "verify"', "tls"),
        ("tls = true", "tls"),
        ('tls_ca = "ca.pem"', "tls_ca"),
        ('tls = "required"\ntls_ca = "ca.pem"', "tls_ca"),
        ('tls = "verified"\ntls_ca = "ca.pem"', "tls_ca"),
        ('tls = "verified"\ntls_ca = "session-bot.toml"', "tls_ca"),
        ('tls = "verified"\ntls_ca = ""', "tls_ca"),
        ('tls = "verified"\ntls_ca = "."', "tls_ca"),
        ('tls = "verified"\ntls_ca = "a\\u0000b"', "tls_ca"),
    ],
)
def test_a_setting_of_tls_that_would_not_do_what_it_says_is_a_problem(given: str, key: str) -> None:
    said_of(f"data_sources.prod.{key}", GOOD.replace("port = 1", given))
    said_of(f"store.{key}", f"{GOOD}[store]\n{given}\n")


def said_by(verb: str, folder: Path, environment: dict[str, str]) -> str:
    """All that the bot says where it does not start."""
    result = bot(verb, folder, TOKENS | environment)
    said = result.stdout + result.stderr
    assert result.returncode == 1, said
    assert "Traceback" not in said
    assert SECRET not in said
    assert DIGITS not in said
    return said


@pytest.mark.parametrize("verb", ["check", "run"])
def test_whatever_is_wrong_in_the_file_is_told_without_a_traceback(verb: str, tmp_path: Path) -> None:
    (tmp_path / "session-bot.toml").write_text(
        f'{GOOD.replace("port = 1", f"password = {DIGITS}")}[data_sources.url]\nhost = "mysql://u:{SECRET}@h"\n'
        f'port = "{SECRET}"\nuser = ["{SECRET}"]\ntls = "{SECRET}"\ntls_ca = "{SECRET}"\n'
        f'[store]\nurl = "mysql+pymysql://user:{SECRET}"\nkeep = "{SECRET}"\n'
    )
    said = said_by(verb, tmp_path, {})
    for key in (
        "data_sources.prod.password",
        "data_sources.url.host",
        "data_sources.url.port",
        "data_sources.url.user",
        "data_sources.url.tls",
        "data_sources.url.tls_ca",
        "store.url",
        "store.keep",
    ):
        assert f"problem  session-bot.toml: {key}: " in said


@pytest.mark.parametrize("verb", ["check", "run"])
def test_whatever_is_wrong_in_the_environment_is_told_without_a_traceback(verb: str, tmp_path: Path) -> None:
    (tmp_path / "session-bot.toml").write_text(GOOD)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "SLACK_SIGNING_SECRET").write_text(f"{SECRET}\x01{SECRET}")
    said = said_by(
        verb,
        tmp_path,
        {
            "SESSION_BOT__STORE__URL": f"mysql+pymysql://user:{SECRET}@host:port/db",
            "SESSION_BOT__DATA_SOURCES__PROD__PASSWORD__X": SECRET,
            "SESSION_BOT__ACCESS": f'["{SECRET}"',
            "SLACK_BOT_TOKEN": f"xoxb-{SECRET}\n",
            "SLACK_APP_TOKEN": "",
            "SLACK_API_URL": f"http://user:{SECRET}/api/",
            "SESSION_BOT_SECRETS": str(tmp_path / "secrets"),
            "HTTPS_PROXY": f"http://user:{SECRET}",
        },
    )
    for key in (
        "SLACK_BOT_TOKEN",
        f"{tmp_path}/secrets/SLACK_SIGNING_SECRET",
        "SLACK_API_URL",
        "HTTPS_PROXY",
        "SESSION_BOT__ACCESS",
        "SESSION_BOT__STORE__URL",
        "SESSION_BOT__DATA_SOURCES__PROD__PASSWORD__X",
    ):
        assert f"problem  {key}: " in said


@pytest.mark.parametrize("verb", ["check", "run"])
def test_a_server_that_asks_for_the_password_is_told_of_without_it(verb: str, tmp_path: Path) -> None:
    with Forged(asks="mysql_clear_password") as server, Forged(asks="dialog") as store:
        (tmp_path / "session-bot.toml").write_text(
            GOOD.replace("port = 1", f'port = {server.port}\npassword = "{SECRET}€"')
        )
        url = f"mysql+pymysql://bot:{SECRET}€@{store.host}:{store.port}/db"
        said = said_by(verb, tmp_path, {"SESSION_BOT__STORE__URL": url})
    assert not server.knows(SECRET)
    assert not store.knows(SECRET)
    assert "problem  data_sources.prod: Data source prod" in said
    assert "asks for the password in a form (mysql_clear_password)" in said
    if verb == "check":
        assert "problem  store.url: The store's database asks for the password in a form (dialog)" in said


def test_whatever_ends_the_bot_says_where_and_never_what(tmp_path: Path) -> None:
    script = f"""
from bot import __main__
def load():
    password = "{SECRET}"
    try:
        int(password)
    except ValueError as error:
        raise RuntimeError(password) from error
__main__.load = load
raise SystemExit(__main__.main(["check"]))
"""
    ended = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == 1
    assert SECRET not in ended.stdout + ended.stderr
    (line,) = ended.stderr.splitlines()
    assert line.startswith("session-bot ended, and the fault is its own: RuntimeError at ")
    assert "; raised from ValueError at " in line
