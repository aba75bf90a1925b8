"""Names in the configuration that no tenant has: told by check and at the start, and nothing false of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.errors import DataSourceError
from bot.operations.named_tenants import NamedTenants
from bot.sessions.details import TenantNames
from bot.settings import AccessRuleSettings, DataSourceSettings, Settings
from bot.wiring import data_source
from sandbox.databases.embedded import EmbeddedServer
from sandbox.databases.mariadb import EmbeddedMariaDB
from sandbox.databases.oceanbase import EmbeddedOceanBase
from sandbox.slack.server import SlackSandbox
from tests.support.cluster import BOT, Cluster
from tests.support.patience import PATIENCE
from tests.support.running_bot import COMMANDS, RunningBot
from tests.support.slack_text import text_of
from tests.support.stage import APP_PASSWORD, MariaDBStage, session_id

THERE = "there are: Shop, billing, shop, sys"
ACCESS = """
[[access]]
who = ["U01ALICE", "U02BOB"]
may = ["view", "close", "approve"]
tenants = [{tenants}]
"""


@pytest.fixture(scope="module")
def slack() -> Iterator[SlackSandbox]:
    with SlackSandbox(commands=COMMANDS) as running:
        yield running


@pytest.fixture
def cluster(mariadb: EmbeddedMariaDB) -> Iterator[Cluster]:
    with Cluster(mariadb) as cluster:
        yield cluster


def bot_on(
    slack: SlackSandbox,
    server: EmbeddedServer,
    folder: Path,
    *,
    rule: str = '"shop"',
    source: str = "",
    more: str = "",
    user: str = BOT,
    password: str = APP_PASSWORD,
) -> RunningBot:
    access = ACCESS.format(tenants=rule)
    return RunningBot(slack, server, folder, access=access, source=source, more=more, user=user, password=password)


def checked(bot: RunningBot) -> tuple[int, list[str]]:
    """Run the check; return its exit status and what it says of tenants."""
    status, told = bot.asked("check")
    lines = [line for line in told.splitlines() if "tenant" in line]
    return status, [line.removeprefix("problem  ") for line in lines]


def test_check_and_the_start_tell_each_name_that_no_tenant_of_the_server_has(
    slack: SlackSandbox, cluster: Cluster, tmp_path: Path
) -> None:
    bot = bot_on(
        slack,
        cluster.database,
        tmp_path,
        rule='"shop", "biling"',
        source='tenants = ["shop", "Shop", "sysx"]\ntenant_approval = {shp = "second-person", SHOP = "second-person"}',
        more='[channels.C01INC]\ntenant = "Billing"',
    )
    problems = [
        f"data_sources.demo.tenants: there is no tenant sysx on demo; {THERE}",
        f"data_sources.demo.tenant_approval.shp: there is no tenant shp on demo; {THERE}",
        f"data_sources.demo.tenant_approval.SHOP: there is no tenant SHOP on demo; {THERE}. Did you mean Shop or shop?",
        f"access.0.tenants: there is no tenant biling on demo; {THERE}",
        f"channels.C01INC.tenant: there is no tenant Billing on demo; {THERE}. Did you mean billing?",
    ]
    assert checked(bot) == (1, problems)
    with bot:
        slack.wait_for(lambda: "tenant name not confirmed" in bot.log.read_text(), PATIENCE, "the warning")
        log = [json.loads(line) for line in bot.log.read_text().splitlines()]
    told = [(line["level"], line["problem"]) for line in log if line["event"] == "tenant name not confirmed"]
    assert told == [("warning", problem) for problem in problems]


def test_names_that_all_are_there_are_no_problem(slack: SlackSandbox, cluster: Cluster, tmp_path: Path) -> None:
    bot = bot_on(
        slack,
        cluster.database,
        tmp_path,
        rule='"Shop", "billing"',
        source='tenants = ["shop"]\ntenant_approval = {Shop = "second-person"}',
        more='[channels.C01INC]\ntenant = "shop"',
    )
    assert checked(bot) == (0, [])


def test_a_name_in_a_rule_need_be_there_on_one_of_its_data_sources_only(
    slack: SlackSandbox, cluster: Cluster, oceanbase: EmbeddedOceanBase, tmp_path: Path
) -> None:
    spare = f'[data_sources.spare]\nhost = "{oceanbase.host}"\nport = {oceanbase.port}\nuser = "root@sys"\n'
    spare += f'password = "{oceanbase.password}"\n'
    status, told = checked(bot_on(slack, cluster.database, tmp_path, rule='"shop", "shp"', more=spare))
    assert told == [f"access.0.tenants: there is no tenant shp on demo or spare; {THERE}"]
    assert status == 1


def test_of_a_login_that_sees_one_tenant_it_is_not_said_that_there_is_no_other(
    slack: SlackSandbox, cluster: Cluster, tmp_path: Path
) -> None:
    cluster.user("boss@shop", "PROCESS", "SUPER")
    status, told = checked(bot_on(slack, cluster.database, tmp_path, rule='"shop", "billing"', user="boss@shop"))
    assert told[-1:] == [
        "access.0.tenants: the bot's login on demo sees sessions of tenant shop alone, none of billing"
    ]
    assert status == 1


def test_of_a_server_without_tenants_that_is_said(
    slack: SlackSandbox, mariadb: EmbeddedMariaDB, tmp_path: Path
) -> None:
    bot = bot_on(slack, mariadb, tmp_path, user=mariadb.user, password=mariadb.password)
    assert checked(bot) == (1, ["access.0.tenants: demo has no tenants"])


def test_names_that_cannot_be_read_are_not_called_missing(
    slack: SlackSandbox, cluster: Cluster, tmp_path: Path
) -> None:
    cluster.run("DROP TABLE oceanbase.DBA_OB_TENANTS")
    status, told = checked(bot_on(slack, cluster.database, tmp_path))
    (sentence,) = told
    assert sentence.startswith(
        "data_sources.demo: whether it has the tenants that the configuration names cannot be checked. "
    )
    assert "DBA_OB_TENANTS" in sentence
    assert status == 1


def test_a_server_that_is_away_keeps_the_bot_neither_from_its_start_nor_from_telling_the_rest(
    slack: SlackSandbox, cluster: Cluster, tmp_path: Path
) -> None:
    away = '[data_sources.away]\nhost = "127.0.0.1"\nport = 1\nuser = "root@sys"\ntenants = ["ghost"]\n'
    bot = bot_on(slack, cluster.database, tmp_path, source='tenants = ["shp"]', more=away)
    with bot:
        slack.wait_for(lambda: "tenant name not confirmed" in bot.log.read_text(), PATIENCE, "the warning")
        log = bot.log.read_text()
    assert f"data_sources.demo.tenants: there is no tenant shp on demo; {THERE}" in log
    assert "ghost" not in log, "nothing is known of it"


def test_a_tenant_that_the_environment_names_in_its_own_case_wants_a_second_person(
    slack: SlackSandbox, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SESSION_BOT__DATA_SOURCES__DEMO__TENANT_APPROVAL__Shop", "second-person")
    bot = bot_on(slack, cluster.database, tmp_path, rule='"shop", "Shop"')
    with bot:
        stage = MariaDBStage(cluster.database, slack, bot)
        for user, approval in (("app@Shop", True), ("app@shop", False)):
            number = session_id(cluster.connect(user))
            card = stage.asks(stage.alice, f"/kill-session {number}", "Nothing is closed without a press")
            assert ("A second person must confirm" in text_of(card)) is approval, user


def test_what_is_not_known_yet_is_told_when_the_server_answers_and_each_sentence_once() -> None:
    prod = DataSourceSettings(host="db", port=2881, user="bot@sys", tenants=frozenset({"shp"}))
    rule = AccessRuleSettings(who=frozenset({"*"}), may=frozenset({"view"}))
    tenants, source = NamedTenants(Settings(data_sources={"prod": prod}, access=[rule])), data_source("prod", prod)
    answers: list[TenantNames] = []
    asked = 0

    def tenant_names() -> TenantNames:
        nonlocal asked
        asked += 1
        if not answers:
            raise DataSourceError("It hangs.")
        return answers[0]

    source.tenant_names = tenant_names  # type: ignore[method-assign]
    told = []
    for _ in range(2):
        tenants.ask(source)
        told.append(tenants.problems())
    answers.append(TenantNames(frozenset({"shop"})))
    for _ in range(2):
        tenants.ask(source)
        told.append(tenants.problems())
    unread = "data_sources.prod: whether it has the tenants that the configuration names cannot be checked. It hangs."
    unknown = "data_sources.prod.tenants: there is no tenant shp on prod; there are: shop"
    assert told == [[unread], [], [unknown], []]
    assert asked == 3, "it has answered"
