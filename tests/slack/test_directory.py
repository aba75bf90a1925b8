"""What Slack says of people, asked of the strict sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from slack_sdk import WebClient

from bot.access import Person
from bot.slack.directory import AT_MOST, CACHE_SECONDS, SlackDirectory
from sandbox.slack.server import SlackSandbox

ALICE, BOB, GUS = (Person(who, "T01DEMO") for who in ("U01ALICE", "U02BOB", "U03GUS"))


@pytest.fixture(scope="module")
def slack() -> Iterator[SlackSandbox]:
    with SlackSandbox() as running:
        yield running


@pytest.fixture
def now() -> list[float]:
    return [0.0]


@pytest.fixture
def directory(slack: SlackSandbox, now: list[float]) -> SlackDirectory:
    client = WebClient(token=slack.world.bot_token, base_url=slack.api_url)
    return SlackDirectory(client, "T01DEMO", lambda: now[0])


def test_a_member_is_one_and_a_guest_a_stranger_and_an_unknown_are_not(directory: SlackDirectory) -> None:
    assert directory.is_full_member(ALICE)
    assert not directory.is_full_member(GUS)
    assert not directory.is_full_member(Person("U01ALICE", "T99OTHER"))
    assert not directory.is_full_member(Person("U99NOBODY", "T01DEMO"))
    assert not directory.is_full_member(Person("U0SESSIONBOT", "T01DEMO"))


def test_a_group_has_its_members_and_nobody_else(directory: SlackDirectory) -> None:
    assert directory.is_in_group(BOB, "S0DBATEAM")
    assert not directory.is_in_group(ALICE, "S0DBATEAM")
    assert not directory.is_in_group(BOB, "S99NONE")
    assert not directory.is_in_group(Person("U02BOB", "T99OTHER"), "S0DBATEAM")


def test_an_answer_is_kept_for_a_minute_and_no_answer_is_no(
    slack: SlackSandbox, directory: SlackDirectory, now: list[float]
) -> None:
    assert directory.is_full_member(ALICE)
    slack.faults.unknown_methods |= {"users.info"}
    try:
        assert directory.is_full_member(ALICE), "remembered"
        now[0] = CACHE_SECONDS + 1
        assert not directory.is_full_member(ALICE), "fails closed"
    finally:
        slack.faults.unknown_methods.clear()
    assert directory.is_full_member(ALICE), "a failure is not remembered"


class ChangingSlack(WebClient):
    """A Slack whose people and groups change under the bot; the answers are the parts of Slack's that are read."""

    def __init__(self) -> None:
        super().__init__("xoxb-nobody")
        self.name, self.guest, self.group = "Alice", False, ["U01ALICE"]
        self.asked = 0

    def api_call(self, api_method: str, **_arguments: Any) -> Any:
        self.asked += 1
        if api_method == "usergroups.users.list":
            return {"ok": True, "users": list(self.group)}
        user = {"profile": {"display_name": self.name}, "is_restricted": self.guest, "team_id": "T01DEMO"}
        return {"ok": True, "user": user}


def test_a_new_name_a_guest_and_who_has_left_a_group_are_seen_after_a_minute(now: list[float]) -> None:
    slack = ChangingSlack()
    directory = SlackDirectory(slack, "T01DEMO", lambda: now[0])

    def seen() -> tuple[str, bool, bool]:
        return directory.name_of(ALICE.id), directory.is_full_member(ALICE), directory.is_in_group(ALICE, "S0DBATEAM")

    assert seen() == ("Alice", True, True)
    slack.name, slack.guest, slack.group = "Alina", True, []
    now[0] = CACHE_SECONDS - 1
    assert seen() == ("Alice", True, True)
    assert slack.asked == 2, "one question for all that is known of a person, one for a group"
    now[0] = CACHE_SECONDS + 1
    assert seen() == ("Alina", False, False)


def test_what_is_remembered_of_people_is_bounded_and_forgotten(now: list[float]) -> None:
    directory = SlackDirectory(ChangingSlack(), "T01DEMO", lambda: now[0])
    for number in range(AT_MOST + 10):
        directory.name_of(f"U{number}")
        directory.members(f"S{number}")
    assert (len(directory._profiles), len(directory._groups)) == (AT_MOST, AT_MOST)
    now[0] = CACHE_SECONDS + 1
    assert (len(directory._profiles), len(directory._groups)) == (0, 0)
