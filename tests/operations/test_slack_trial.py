"""What `check` asks Slack, against the sandbox: tokens, scopes, and the ids that settings name. It never connects."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
import yaml
from pydantic import SecretStr

from bot.operations import reports, slack_trial
from bot.operations.reports import Report, Verdict
from bot.settings import Settings, SlackSettings
from bot.slack.client import Client
from sandbox.slack.server import SlackSandbox
from sandbox.slack.world import DEMO_WORLD, Channel, Member, World
from tests.support.organisation import DATA, DBAS, organisation

ROOT = Path(__file__).parents[2]
MANIFEST = tuple(slack_trial.SCOPES)
PEOPLE = (*DEMO_WORLD.people, Member("U04EVE", "Eve Gone", "", "#000000", deleted=True))


@pytest.fixture
def workspaces() -> Iterator[Callable[[World], SlackSandbox]]:
    """Give what starts workspaces."""
    running: list[SlackSandbox] = []

    def start(world: World) -> SlackSandbox:
        running.append(SlackSandbox(world))
        running[-1].start()
        return running[-1]

    yield start
    for one in running:
        one.stop()


def tried(
    slack: SlackSandbox,
    access: Sequence[Mapping[str, object]] = (),
    channels: Sequence[str] = (),
    app: str = "",
    *,
    shared: bool = False,
    approval: str = "requester",
) -> list[Report]:
    world = slack.world
    tokens = SlackSettings(
        bot_token=SecretStr(world.bot_token), app_token=SecretStr(app or world.app_token), signing_secret=None
    )
    settings = Settings.model_validate(
        {
            "data_sources": {"prod": {"host": "127.0.0.1", "user": "root@sys", "approval": approval}},
            "access": list(access) or [{"who": ["U01ALICE"], "may": ["view"]}],
            "allow_shared_channels": shared,
            "channels": {channel: {"data_source": "prod"} for channel in channels},
        }
    )
    with Client(world.bot_token, slack.api_url) as client:
        return slack_trial.everything(client, tokens, settings)


def worse(found: list[Report]) -> list[Report]:
    return [(verdict, text) for verdict, text in found if verdict is not Verdict.WORKS]


def test_what_works_is_said_and_nobody_is_connected(workspaces: Callable[[World], SlackSandbox]) -> None:
    slack = workspaces(dataclasses.replace(DEMO_WORLD, scopes=MANIFEST))
    access = [{"who": ["*", "U01ALICE", "S0DBATEAM"], "may": ["view"], "channels": ["C01INC", "C02DBA"]}]
    assert [verdict for verdict, _ in tried(slack, access, ["C01INC"])] == [Verdict.WORKS] * 3
    assert slack.connections == 0
    asked = [call.method for call in slack.calls]
    assert asked.count("users.info") == 1
    assert asked.count("conversations.info") == 2


def test_an_app_token_of_another_app_is_told_and_one_of_the_same_is_not(
    workspaces: Callable[[World], SlackSandbox],
) -> None:
    own, other = "xapp-1-A0SESSIONBOT-1-abc", "xapp-1-A0OTHER-1-abc"  # Slack opens a connection for either
    slack = workspaces(dataclasses.replace(DEMO_WORLD, app_token=other))
    said = [text for verdict, text in tried(slack) if verdict is Verdict.FAILS]
    assert said == [
        "SLACK_APP_TOKEN: it is of another app than SLACK_BOT_TOKEN, so that no command comes in; set it to a token of "
        "the app A0SESSIONBOT"
    ]
    slack = workspaces(dataclasses.replace(DEMO_WORLD, app_token=own))
    assert worse(tried(slack)) == []
    slack = workspaces(dataclasses.replace(DEMO_WORLD, app_token=own, scopes=("commands", "chat:write")))
    told = "SLACK_APP_TOKEN: whether it is of the same app as SLACK_BOT_TOKEN is not known ("
    assert [text for verdict, text in tried(slack) if verdict is Verdict.UNTRIED and text.startswith(told)]


def test_scopes_are_those_of_both_manifests() -> None:
    for manifest in ("manifest.yml", "manifest-http.yml"):
        written = yaml.safe_load((ROOT / manifest).read_text(encoding="utf-8"))
        assert set(slack_trial.SCOPES) == set(written["oauth_config"]["scopes"]["bot"])


@pytest.mark.parametrize("scope", MANIFEST)
def test_each_scope_that_is_missing_is_told_with_what_does_not_work_then(
    workspaces: Callable[[World], SlackSandbox], scope: str
) -> None:
    slack = workspaces(dataclasses.replace(DEMO_WORLD, scopes=tuple(one for one in MANIFEST if one != scope)))
    said = [one for one in worse(tried(slack, [{"who": ["W1"], "may": ["view"]}])) if scope in one[1]]
    verdict, text = said[0]
    assert verdict is (Verdict.FAILS if scope in ("commands", "chat:write") else Verdict.LESS)
    assert f"the app lacks the scope {scope}, so that {slack_trial.SCOPES[scope].without}; add it" in text


def test_a_scope_without_which_a_rule_allows_nothing_is_a_problem(
    workspaces: Callable[[World], SlackSandbox],
) -> None:
    scopes = tuple(one for one in MANIFEST if one not in ("users:read", "usergroups:read"))
    slack = workspaces(dataclasses.replace(DEMO_WORLD, scopes=scopes))
    found = worse(tried(slack, [{"who": ["*", "S0DBATEAM"], "may": ["view"]}]))
    assert [verdict for verdict, text in found if "lacks the scope" in text] == [Verdict.FAILS, Verdict.FAILS]
    assert [text for verdict, text in found if verdict is Verdict.UNTRIED] == [
        "user groups that settings name were not looked up (the app has no scope usergroups:read); compare their ids "
        "in Slack: S0DBATEAM"
    ]


def test_ids_that_nobody_has_or_that_are_no_use_are_told_with_their_keys(
    workspaces: Callable[[World], SlackSandbox],
) -> None:
    hidden = Channel("C04SECRET", "secret", (), is_private=True, has_bot=False)
    world = dataclasses.replace(
        DEMO_WORLD, people=PEOPLE, channels=(*DEMO_WORLD.channels, hidden), groups={"S0EMPTY": ()}
    )
    found = tried(
        workspaces(world),
        [
            {"who": ["U01ALICE", "U09NOBODY"], "may": ["view"], "channels": ["C01INC", "C09NOWHERE"]},
            {"who": ["U04EVE", "U0SESSIONBOT", "S0EMPTY", "S9NONE", "U09NOBODY"], "may": ["view"]},
        ],
        ["C04SECRET", "D01ALICE", "C03GENERAL"],
    )
    assert sorted((verdict.value, text.split("; ")[0]) for verdict, text in worse(found)) == [
        ("less", "access.0.channels: Slack shows the bot no channel with the id C09NOWHERE"),
        ("less", "access.1.who: U04EVE is deactivated in Slack"),
        ("less", "access.1.who: nobody is in the user group S0EMPTY"),
        ("less", "channels: Slack shows the bot no channel with the id C04SECRET"),
        (
            "less",
            "channels: the bot is not in the channel C03GENERAL, where its cards are kept up to date for half an hour "
            "at the most then",
        ),
        ("problem", "access.0.who: Slack knows nobody with the id U09NOBODY"),
        ("problem", "access.1.who: Slack knows no user group with the id S9NONE"),
        ("problem", "access.1.who: Slack knows nobody with the id U09NOBODY"),
        ("problem", "access.1.who: U0SESSIONBOT is an app, which uses no commands"),
    ]


@pytest.mark.parametrize("org_wide", [False, True], ids=["one workspace", "whole organisation"])
def test_people_and_channels_of_other_organisations_are_told_and_those_of_ones_own_are_found(
    workspaces: Callable[[World], SlackSandbox], org_wide: bool
) -> None:
    slack = workspaces(organisation(org_wide=org_wide))
    names = ["U01ALICE", "U02BOB", "W04CAROL", DBAS, *([DATA] if org_wide else ["U03GUS"])]
    inside, outside = {"who": names, "may": ["view"]}, {"who": ["U07EVE", "U08MALLORY"], "may": ["view"]}
    assert worse(tried(slack, [inside], ["C01INC", "C05SHARED"], shared=True)) == []
    found = worse(tried(slack, [inside, outside], ["C01INC", "C05SHARED"]))
    assert [text.split("; ")[0] for _, text in found] == [
        "access.1.who: U07EVE is of another organisation, whose people may do nothing",
        "access.1.who: U08MALLORY is of another organisation, whose people may do nothing",
        "channels: other organisations read the channel C05SHARED, so that the bot does nothing there",
    ]
    said = "Slack: Example Org, as session-bot, of the whole organisation"
    assert (said in [text for _, text in tried(slack)]) is org_wide


def test_a_user_group_of_one_who_asks_as_well_is_no_second_person(workspaces: Callable[[World], SlackSandbox]) -> None:
    slack = workspaces(
        dataclasses.replace(DEMO_WORLD, groups={"S0DBATEAM": ("U02BOB",), "S0MORE": ("U02BOB", "U01ALICE")})
    )
    asks = {"who": ["U02BOB"], "may": ["close"]}
    (told,) = worse(tried(slack, [asks, {"who": ["S0DBATEAM"], "may": ["approve"]}], approval="second-person"))
    assert told[0] is Verdict.FAILS
    assert "data_sources.prod.approval: second-person, yet U02BOB alone may both close and approve there" in told[1]
    assert worse(tried(slack, [asks, {"who": ["S0MORE"], "may": ["approve"]}], approval="second-person")) == []


def test_what_slack_does_not_say_of_an_id_is_called_not_looked_up(
    workspaces: Callable[[World], SlackSandbox],
) -> None:
    without = tuple(one for one in MANIFEST if one not in ("channels:read", "groups:read"))
    slack = workspaces(dataclasses.replace(DEMO_WORLD, scopes=without))
    (told,) = worse(tried(slack, channels=["C01INC", "C02DBA"], shared=True))
    assert told == (
        Verdict.UNTRIED,
        "channels that settings name were not looked up (the app has no scope channels:read or groups:read); compare "
        "their ids in Slack: C01INC, C02DBA",
    )
    slack.faults.fail_next("users.info", error="no_permission")
    assert (Verdict.UNTRIED, "people that settings name were not looked up (the app lacks a permission)") in [
        (verdict, text.split(";")[0]) for verdict, text in tried(slack)
    ]


def test_an_app_token_that_slack_refuses_is_told_with_what_to_do(workspaces: Callable[[World], SlackSandbox]) -> None:
    slack = workspaces(dataclasses.replace(DEMO_WORLD))
    make = "make an app-level token with the scope connections:write"
    (told,) = worse(tried(slack, app="xapp-revoked"))
    assert told[0] is Verdict.FAILS
    assert told[1].startswith("SLACK_APP_TOKEN: Slack refuses it (the token is refused")
    assert make in told[1]
    assert "xapp-" not in told[1]
    for word, verdict, advice in (
        ("missing_scope", Verdict.FAILS, make),
        ("not_allowed_token_type", Verdict.FAILS, make),
        ("socket_mode_not_enabled", Verdict.FAILS, "switch it on in the Slack app's settings"),
        ("internal_error", Verdict.AWAY, "try again"),
    ):
        slack.faults.fail_next("apps.connections.open", error=word)
        ((got, text),) = worse(tried(slack))
        assert got is verdict
        assert word in text
        assert advice in text


def test_the_table_ends_with_what_does_not_work_and_fits_a_terminal() -> None:
    long = "data_sources.prod: " + "a sentence with many words " * 6
    found = [(Verdict.FAILS, "b: no"), (Verdict.LESS, long), (Verdict.WORKS, "a: yes"), (Verdict.AWAY, "c: away")]
    assert [line.split()[0] for line in reports.lines(found, None)] == ["ok", "less", "problem", "problem"]
    wrapped = list(reports.lines(found, 60))[1].split("\n")
    assert len(wrapped) > 2
    assert all(len(line) <= 60 for line in wrapped)
    assert {line[:9].strip() for line in wrapped} == {"less", ""}


@pytest.mark.parametrize(
    ("verdicts", "status", "strict", "said"),
    [
        ([Verdict.WORKS], 0, 0, "Everything works."),
        ([Verdict.WORKS, Verdict.UNTRIED], 0, 0, "What could be tried works."),
        ([Verdict.LESS, Verdict.UNTRIED], 0, 1, "It works with less than it could; see above."),
        ([Verdict.LESS, Verdict.FAILS], 1, 1, "Not everything works; see above."),
        ([Verdict.AWAY], 1, 1, "Not everything works; see above."),
    ],
)
def test_the_exit_status_is_one_where_something_does_not_work_and_strictly_where_it_works_with_less(
    verdicts: list[Verdict], status: int, strict: int, said: str
) -> None:
    found = [(verdict, "") for verdict in verdicts]
    assert (reports.exit_status(found, strict=False), reports.exit_status(found, strict=True)) == (status, strict)
    assert reports.summary(found) == said
