"""The configuration: every problem at once, each with its key, and never a secret."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from bot.errors import ConfigurationError
from bot.settings import load
from bot.settings.problems import without_second_persons
from bot.wiring import data_source
from tests.support.configuration import told

GOOD = """
default_source = "prod"
[data_sources.prod]
host = "10.0.0.1"
user = "root@sys"
password = "file-secret"
[[access]]
who = ["U1"]
may = ["view", "close"]
"""


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith(("SLACK_", "SESSION_BOT")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-token-secret")
    monkeypatch.setenv("SLACK_APP_TOKEN", "xapp-token-secret")


def write(text: str) -> None:
    Path("session-bot.toml").write_text(text, encoding="utf-8")


def test_a_small_file_and_two_tokens_are_enough() -> None:
    write(GOOD)
    slack, settings = load().require()
    assert slack.api_url == "https://slack.com/api/"
    source = settings.data_sources["prod"]
    assert (source.port, source.kind, source.approval, source.show_sql) == (2881, "auto", "requester", "digest")
    assert settings.closing.confirm_within == timedelta(minutes=2)
    assert source.connection_max_age == timedelta(seconds=60)


def test_how_old_a_connection_may_become_is_what_its_data_source_is_told() -> None:
    write(GOOD.replace("[data_sources.prod]", '[data_sources.prod]\nconnection_max_age = "30s"'))
    source = load().require()[1].data_sources["prod"]
    assert data_source("prod", source).options.max_age == timedelta(seconds=30)


@pytest.mark.parametrize(
    ("line", "port"),
    [("kind = 'mysql'", 3306), ("kind = 'mysql'\nport = 3310", 3310), ("kind = 'seekdb'", 2881), ("", 2881)],
)
def test_the_port_left_out_is_the_usual_one_of_the_kind(line: str, port: int) -> None:
    write(f"{GOOD}\n[data_sources.other]\nhost = 'h'\nuser = 'u'\n{line}\n")
    assert load().require()[1].data_sources["other"].port == port


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("tpyo = 1\n", "tpyo: there is no such setting"),
        ('[data_sources.prod]\nhots = "x"\n', "data_sources.prod.hots: there is no such setting"),
        (
            "[closing]\nconfirm_within = '2 parsecs'\n",
            "closing.confirm_within: a duration is a number with s, m, h or d",
        ),
        ("[closing]\nconfirm_within = '1s'\n", "closing.confirm_within"),
        ("[data_sources.other]\nuser = 'u'\n", "data_sources.other.host: is missing"),
        (
            "[data_sources.other]\nhost = 'h'\nuser = 'u'\nconnection_max_age = '2h'\n",
            "data_sources.other.connection_max_age",
        ),
        ("[channels.C1]\ndata_source = 'nowhere'\n", "channels.C1.data_source: there is no such data source"),
        ("[[access]]\nwho = ['U1']\nmay = ['fly']\n", "access.1.may"),
        ("[[access]]\nwho = ['U1']\nmay = ['view']\ndata_sources = ['nowhere']\n", "access.1.data_sources: nowhere"),
        ("[[access]]\nwho = ['alice']\nmay = ['view']\n", "access.1.who.0: a Slack id looks like U0123456789"),
        ("[[access]]\nwho = []\nmay = ['view']\n", "access.1.who"),
        ("[data_sources.mine]\nkind = 'oracle'\nhost = 'h'\nuser = 'u'\n", "data_sources.mine.kind"),
    ],
)
def test_each_mistake_is_told_with_its_key(more: str, said: str) -> None:
    top, _, rest = GOOD.partition("[data_sources.prod]")
    if more.startswith("[data_sources.prod]"):
        write(top + more + rest)
    elif more.startswith("["):
        write(GOOD + more)
    else:
        write(more + GOOD)
    problems = told(load())
    assert any(problem.startswith(said) for problem in problems), problems


def test_all_problems_come_in_one_list_and_no_secret_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_BOT_TOKEN", "wrong-token-secret")
    monkeypatch.delenv("SLACK_APP_TOKEN")
    monkeypatch.setenv("SLACK_API_URL", "https://slack.example")
    monkeypatch.setenv("SESSION_BOT__COLOUR__X", "red")
    write('default_source = "x"\n[data_sources.prod]\nhost = "h"\nport = 0\nuser = "u"\npassword = "file-secret"\n')
    loaded = load()
    assert loaded.settings is None
    keys = [problem.split(":")[0] for problem in told(loaded)]
    for key in (
        "SLACK_BOT_TOKEN",
        "SLACK_APP_TOKEN",
        "SLACK_API_URL",
        "SESSION_BOT__COLOUR__X",
        "data_sources.prod.port",
        "access",
        "default_source",
    ):
        assert key in keys
    with pytest.raises(ConfigurationError) as refused:
        loaded.require()
    assert "secret" not in str(refused.value) + repr(loaded)


def test_the_environment_beats_the_secrets_directory_and_that_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write(GOOD)
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "SESSION_BOT__DATA_SOURCES__PROD__PASSWORD").write_text("from-secrets")
    (secrets / "SESSION_BOT__DATA_SOURCES__PROD__HOST").write_text("secret-host")
    monkeypatch.setenv("SESSION_BOT_SECRETS", str(secrets))
    monkeypatch.setenv("SESSION_BOT__DATA_SOURCES__PROD__HOST", "env-host")
    _, settings = load().require()
    source = settings.data_sources["prod"]
    assert source.password.get_secret_value() == "from-secrets"
    assert source.host == "env-host"
    assert source.user == "root@sys"
    assert "from-secrets" not in repr(settings)


def test_tokens_may_come_from_the_secrets_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write(GOOD)
    (tmp_path / "SLACK_BOT_TOKEN").write_text("xoxb-from-file")
    monkeypatch.delenv("SLACK_BOT_TOKEN")
    monkeypatch.setenv("SESSION_BOT_SECRETS", str(tmp_path))
    slack, _ = load().require()
    assert slack.bot_token.get_secret_value() == "xoxb-from-file"


def test_a_file_that_is_not_there_or_no_toml_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    write("this is = = no toml")
    assert "is no valid TOML" in load().problems[0]
    monkeypatch.setenv("SESSION_BOT_CONFIG", "elsewhere.toml")
    assert load().problems == [
        "SESSION_BOT_CONFIG: there is no file elsewhere.toml; set it to the path of the configuration"
    ]


def test_data_sources_that_are_right_are_kept_when_others_are_wrong() -> None:
    write(GOOD + "[data_sources.bad]\nuser = 'u'\n")
    loaded = load()
    assert loaded.settings is None
    assert list(loaded.data_sources) == ["prod"]


TWO = """
[data_sources.prod]
host = "h"
user = "u"
approval = "second-person"
[data_sources.crm]
kind = "mysql"
host = "h"
user = "u"
"""


def rule(who: str, may: str, more: str = "") -> str:
    return f"[[access]]\nwho = [{who}]\nmay = [{may}]\n{more}\n"


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (rule('"U1"', '"close", "approve"'), "U1 alone may both close and approve there"),
        (rule('"U1"', '"close"') + rule('"U1"', '"approve"'), "U1 alone may both close and approve there"),
        (rule('"U1"', '"close"') + rule('"U2"', '"approve"'), None),
        (rule('"U1", "U2"', '"close"') + rule('"U1"', '"approve"'), None),
        (rule('"S1"', '"close", "approve"'), None),
        (rule('"*"', '"close", "approve"'), None),
        (
            rule('"U1"', '"close"', 'channels = ["C1"]') + rule('"U2"', '"approve"', 'channels = ["C2"]'),
            "have no tenant or no channel in common",
        ),
        (
            rule('"U1"', '"close"', 'tenants = ["a"]\ndata_sources = ["prod"]')
            + rule('"U2"', '"approve"', 'tenants = ["b"]\ndata_sources = ["prod"]'),
            "have no tenant or no channel in common",
        ),
        (rule('"U1"', '"view"'), "no access rule lets anybody approve there"),
    ],
)
def test_a_second_person_is_somebody_who_could_confirm_what_another_asked_for(rules: str, said: str | None) -> None:
    write(TWO + rules)
    loaded = load()
    assert loaded.settings is not None
    problems = [*told(loaded), *without_second_persons(loaded.settings)]
    assert len(problems) == (said is not None)
    assert all(
        one.startswith("data_sources.prod.approval: second-person, yet ") and str(said) in one for one in problems
    )


def test_a_second_person_of_one_tenant_is_looked_for_there() -> None:
    write(
        TWO.replace('"second-person"', '"requester"\ntenant_approval = {shop = "second-person"}')
        + rule('"U1"', '"close"')
        + rule('"U2"', '"approve"', 'tenants = ["billing"]')
    )
    (problem,) = told(load())
    assert problem.startswith("data_sources.prod.tenant_approval.shop: second-person, yet no access rule")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (rule('"U1"', '"view"', 'channels = ["#incident"]'), "access.1.channels.0: the id of a channel looks like C0"),
        (rule('"U1"', '"view"', 'channels = ["incident"]'), "access.1.channels.0: the id of a channel"),
        (rule('"U1"', '"view"', 'channels = ["c0123456789"]'), "access.1.channels.0: the id of a channel"),
        ('[channels.incident]\ndata_source = "prod"\n', "channels.incident: the id of a channel"),
        ('[channels.general]\ndata_source = "prod"\n', "channels.general: the id of a channel"),
        ('[channels."#db-2"]\ndata_source = "prod"\n', "channels.#db-2: the id of a channel"),
        ('[channels.C01INC]\ndata_source = "crm"\ntenant = "shop"\n', "channels.C01INC.tenant: crm has no tenants"),
        (rule('"U1"', '"view"', 'data_sources = ["crm"]\ntenants = ["a"]'), "access.1.tenants: crm has no tenants"),
        ('[data_sources.crm2]\nkind = "mysql"\nhost = "h"\nuser = "u"\ntenants = ["a"]\n', "data_sources.crm2.tenants"),
    ],
)
def test_what_would_match_nothing_is_told(line: str, said: str) -> None:
    write(TWO.replace("second-person", "requester") + rule('"U1"', '"close"') + line)
    (problem,) = told(load())
    assert problem.startswith(said)


def test_ids_of_channels_and_tenants_that_one_data_source_may_have_are_taken() -> None:
    channels = 'channels = ["C01INC", "GABCDEFGH", "D024BE91L"]'
    write(TWO + rule('"U1"', '"close"', 'tenants = ["a"]') + rule('"U2"', '"approve"', channels))
    assert load().problems == []
