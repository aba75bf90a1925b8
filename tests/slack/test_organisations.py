"""Who belongs to the bot in a Slack organisation and who is a stranger, by what payloads and Slack's answers say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError

from bot.access import Person
from bot.app import Identity
from bot.errors import PersonUnknownError
from bot.slack import user_groups
from bot.slack.client import Client
from bot.slack.directory import SlackDirectory, home_of
from bot.slack.events import person_of
from bot.slack.user_groups import UserGroups
from sandbox.slack.faults import Failure
from sandbox.slack.limits import Rate
from sandbox.slack.server import SlackSandbox
from sandbox.slack.world import Enterprise, Team
from tests.support.organisation import DATA, DBAS, ORGANISATION, organisation
from tests.support.running_bot import COMMANDS

FULL, NOBODY = {"U01ALICE", "U02BOB", "W04CAROL", "W05DORA"}, "U99NOBODY"


@pytest.fixture(scope="module", params=[False, True], ids=["one workspace", "whole organisation"])
def standing(request: pytest.FixtureRequest) -> Iterator[SlackSandbox]:
    with SlackSandbox(organisation(org_wide=request.param), commands=COMMANDS) as slack:
        yield slack


@pytest.fixture
def slack(standing: SlackSandbox) -> Iterator[SlackSandbox]:
    yield standing
    standing.faults.recover()
    standing.faults.omit_optional_fields = False


@pytest.fixture
def client(slack: SlackSandbox) -> Iterator[Client]:
    with Client(slack.world.bot_token, slack.api_url) as client:
        yield client


def directory_of(client: Client) -> SlackDirectory:
    identity = Identity.read(client)
    return SlackDirectory(client, identity.team, enterprise=identity.enterprise)


def at_home(slack: SlackSandbox) -> list[Person]:
    """Everybody, with the workspace that presses name as theirs."""
    return [Person(one.id, slack.world.home(one)) for one in slack.world.people]


@pytest.mark.parametrize("bare", [False, True])
def test_the_bot_knows_its_workspace_or_organisation_however_slack_puts_it(
    slack: SlackSandbox, client: Client, bare: bool
) -> None:
    slack.faults.omit_optional_fields = bare
    team = "" if slack.world.org_wide else "T01DEMO"
    assert Identity.read(client) == Identity(team, "B0SESSIONBOT", "U0SESSIONBOT", ORGANISATION)


def test_an_app_of_an_organisation_is_in_no_workspace_of_its_own() -> None:
    organisation = {"enterprise_id": "E1", "is_enterprise_install": True}
    for answer in (organisation, organisation | {"team_id": None}, {"team_id": "E1", "enterprise_id": "E1"}):
        assert home_of(answer) == ("", "E1")
    assert home_of({"team_id": "T1", "enterprise_id": "E1", "is_enterprise_install": False}) == ("T1", "E1")
    assert home_of({"team_id": "T1"}) == ("T1", "")


@pytest.mark.parametrize("bare", [False, True], ids=["team_id told", "team_id left out"])
def test_members_of_each_workspace_are_members_and_guests_and_strangers_are_not(
    slack: SlackSandbox, client: Client, bare: bool
) -> None:
    slack.faults.omit_optional_fields = bare
    directory = directory_of(client)
    people = at_home(slack)
    assert {one.id for one in people if directory.is_full_member(one)} == FULL
    assert {one.id for one in people if directory.is_internal(one)} == {*FULL, "U03GUS", "W06GREG"}
    # A command names the workspace that it was typed in instead; some payloads name none, or the organisation.
    for team in ("T01DEMO", "T02DATA", ORGANISATION, ""):
        found = {one.id for one in people if directory.is_full_member(Person(one.id, team))}
        assert found == FULL, team
    assert not directory.is_internal(Person(NOBODY, "T02DATA"))
    assert not directory.is_full_member(Person(NOBODY, ORGANISATION))


def test_a_group_of_either_workspace_lets_its_members_in_wherever_they_are_at_home(
    slack: SlackSandbox, client: Client
) -> None:
    directory = directory_of(client)
    people = at_home(slack)

    def members(group: str) -> set[str]:
        return {one.id for one in people if directory.is_in_group(one, group)}

    assert members(DBAS) == {"U02BOB"}, "at home in another workspace than the group"
    assert members(DATA) == ({"W04CAROL"} if slack.world.org_wide else set())
    assert members("S0HR") == set(), "of a workspace that the app is not in"


def test_outside_of_an_organisation_the_payload_says_all_and_an_id_counts_with_its_team() -> None:
    with SlackSandbox() as alone, Client(alone.world.bot_token, alone.api_url) as other:
        directory = directory_of(other)
        assert directory.is_internal(Person("U01ALICE", "T01DEMO"))
        assert not directory.is_internal(Person("U01ALICE", "T91ELSE"))
        assert not alone.calls.of("users.info")
        assert directory.is_internal(Person("U01ALICE", ""))


def test_where_slack_does_not_say_whose_they_are_they_are_neither(slack: SlackSandbox, client: Client) -> None:
    identity = Identity.read(client)
    impatient = WebClient(slack.world.bot_token, slack.api_url, retry_handlers=[])
    directory = SlackDirectory(impatient, identity.team, enterprise=identity.enterprise)
    slack.faults.fall_ill(Failure("", 500, "server_error"), share=1.0)
    with pytest.raises(PersonUnknownError, match="Slack did not say who you are"):
        directory.is_internal(Person("W04CAROL", "T02DATA"))
    asked = len(slack.calls.of("users.info"))
    if not slack.world.org_wide:
        assert directory.is_internal(Person("U01ALICE", "T01DEMO"))
        assert len(slack.calls.of("users.info")) == asked


def test_a_group_is_found_among_more_workspaces_than_slack_answers_for_in_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(user_groups, "_PAGE", 4)
    others = [Team(f"T{number}", f"Team {number}", "", has_app=True) for number in range(6)]
    last = replace(others.pop(), groups={"S0LAST": ("W04CAROL",)})
    enterprise = Enterprise(ORGANISATION, "Example Org", (*others, last), org_wide=True)
    now = [1000.0]
    with SlackSandbox(replace(organisation(org_wide=True), enterprise=enterprise), clock=lambda: now[0]) as slack:
        slack.limits.rates = {"usergroups.users.list": Rate(3, 3)}
        groups = UserGroups(WebClient(slack.world.bot_token, slack.api_url, retry_handlers=[]), org_wide=True)
        for _ in range(2):
            with pytest.raises(SlackApiError, match="ratelimited"):
                groups.members("S0LAST")
            now[0] += 60
        assert groups.members("S0LAST") == {"W04CAROL"}
        assert groups.members("S0LAST") == {"W04CAROL"}
        asked = [one.payload["team_id"] for one in slack.calls.of("usergroups.users.list") if one.status == 200]
        assert asked == ["T01DEMO", *(one.id for one in others), last.id, last.id], "none in vain twice"
        assert len(slack.calls.of("auth.teams.list")) == 2, "page by page, once"


def test_a_token_of_an_organisation_that_names_no_workspace_gets_no_group(slack: SlackSandbox, client: Client) -> None:
    if not slack.world.org_wide:
        assert client.usergroups_users_list(usergroup=DBAS, team_id="T02DATA")["users"] == ["U02BOB"], "ignored"
        return
    for workspace, error in ((None, "missing_argument"), ("T03HR", "team_access_not_granted")):
        with pytest.raises(SlackApiError, match=error):
            client.usergroups_users_list(usergroup=DBAS, team_id=workspace)


# The parts of payloads that say whose somebody is, as Slack's documents and people with such workspaces show them.
PAYLOADS: dict[str, tuple[Mapping[str, Any], Person]] = {
    "a command names the workspace that it was typed in": (
        {"user_id": "W1", "team_id": "T1", "enterprise_id": "E1", "is_enterprise_install": "true"},
        Person("W1", "T1"),
    ),
    "a press names whose they are; team is the app's": (  # slackapi/java-slack-sdk 1041
        {"user": {"id": "U1", "team_id": "T2"}, "team": {"id": "T1", "domain": "one"}, "enterprise": None},
        Person("U1", "T2"),
    ),
    "a press by way of an organisation has no team": (  # slackapi/deno-slack-runtime 65
        {"user": {"id": "U1", "team_id": "T2"}, "team": None, "enterprise": {"id": "E1", "name": "Org"}},
        Person("U1", "T2"),
    ),
    "a press that does not say whose they are": (
        {"user": {"id": "U1", "name": "one"}, "team": {"id": "T1", "domain": "one"}},
        Person("U1", ""),
    ),
    "an event, whose outer team is the app's": ({"event": {"user": "W1"}, "team_id": "T1"}, Person("W1", "")),
    "an event that names whose they are": (
        {"event": {"user": "W1", "user_team": "E9"}, "team_id": "T1", "is_ext_shared_channel": True},
        Person("W1", "E9"),
    ),
}


@pytest.mark.parametrize("what", PAYLOADS)
def test_whose_somebody_is_comes_from_what_the_payload_says_of_them(what: str) -> None:
    payload, person = PAYLOADS[what]
    assert person_of(payload) == person
