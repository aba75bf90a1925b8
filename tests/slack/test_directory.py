"""What Slack says of people, asked of the strict sandbox, and what is known where it says nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from structlog.testing import capture_logs

from bot.access import EVERYBODY, Access, Person, Right, Rule, Scope
from bot.errors import PersonUnknownError
from bot.slack.answers import AT_MOST, CACHE_SECONDS, DEADLINE, LAST_ANSWER_SECONDS, for_delivery_of
from bot.slack.client import Client
from bot.slack.directory import SlackDirectory
from sandbox.slack.faults import Failure
from sandbox.slack.server import SlackSandbox

ALICE, BOB, GUS = (Person(who, "T01DEMO") for who in ("U01ALICE", "U02BOB", "U03GUS"))


@pytest.fixture(scope="module")
def running_slack() -> Iterator[SlackSandbox]:
    with SlackSandbox() as running:
        yield running


@pytest.fixture
def slack(running_slack: SlackSandbox) -> Iterator[SlackSandbox]:
    yield running_slack
    running_slack.faults.recover()


@pytest.fixture
def now() -> list[float]:
    return [0.0]


@pytest.fixture
def directory(slack: SlackSandbox, now: list[float]) -> SlackDirectory:
    client = WebClient(token=slack.world.bot_token, base_url=slack.api_url, retry_handlers=[])
    return SlackDirectory(client, "T01DEMO", monotonic=lambda: now[0])


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


FAILURES = {
    "429": (Failure("", 429, "ratelimited", retry_after=30), "rate limit, 30 s", "try again in 30 s"),
    "500": (Failure("", 500, "server_error"), "Slack failed, HTTP 500", "try again"),
    "503": (Failure("", 503, "service_unavailable"), "Slack is not available, HTTP 503", "try again"),
    "internal_error": (Failure("", 200, "internal_error"), "Slack failed", "try again"),
    "token_revoked": (Failure("", 200, "token_revoked"), "the token was revoked", "install the Slack app anew"),
    "plan": (Failure("", 200, "plan_upgrade_required"), "this workspace has no user groups", "by their ids"),
    "unheard": (Failure("", 200, "brand_new_error"), "Slack answered brand_new_error", "try again"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_what_slack_does_not_say_is_not_known_with_its_reason_and_what_to_do(
    slack: SlackSandbox, directory: SlackDirectory, name: str
) -> None:
    failure, why, advice = FAILURES[name]
    slack.faults.fall_ill(failure, share=1.0)
    with pytest.raises(PersonUnknownError) as told:
        directory.is_full_member(ALICE)
    assert str(told.value).startswith(f"Slack did not say who you are ({why}). Nothing was done; ")
    assert advice in str(told.value)
    with pytest.raises(PersonUnknownError, match="Slack did not say who is in the user group S0DBATEAM"):
        directory.members("S0DBATEAM")
    assert directory.name_of(ALICE.id) == ALICE.id


def test_a_scope_that_is_missing_is_named(slack: SlackSandbox) -> None:
    class Without(WebClient):
        def api_call(self, api_method: str, **_: Any) -> Any:
            scope = "users:read" if api_method == "users.info" else "usergroups:read"
            data = {"ok": False, "error": "missing_scope", "needed": scope, "provided": "commands"}
            raise SlackApiError("", data)  # type: ignore[no-untyped-call]  # so in slack_sdk

    directory = SlackDirectory(Without("xoxb-nobody"), "T01DEMO")
    with pytest.raises(PersonUnknownError, match="the app lacks the scope users:read"):
        directory.is_full_member(ALICE)
    with pytest.raises(PersonUnknownError, match="add the scope usergroups:read to the Slack app"):
        directory.members("S0DBATEAM")


@pytest.mark.parametrize("status", [429, 500])
def test_the_last_answer_counts_for_ten_minutes_and_the_log_says_so(
    slack: SlackSandbox, directory: SlackDirectory, now: list[float], status: int
) -> None:
    assert directory.is_full_member(ALICE)
    assert not directory.is_full_member(GUS)
    assert directory.is_in_group(BOB, "S0DBATEAM")
    slack.faults.fall_ill(Failure("", status, "ratelimited", retry_after=30), share=1.0)
    with capture_logs() as lines:
        now[0] = CACHE_SECONDS
        assert directory.is_full_member(ALICE)
        assert not lines, "new enough"
        now[0] = LAST_ANSWER_SECONDS - 1
        assert directory.is_full_member(ALICE)
        assert not directory.is_full_member(GUS), "a no counts as well"
        assert directory.is_in_group(BOB, "S0DBATEAM")
    assert {(one["event"], one["seconds_old"]) for one in lines} == {
        ("people not known now, the last answer counts", 599)
    }
    with pytest.raises(PersonUnknownError):
        directory.is_full_member(BOB)  # never asked for: nothing counts
    now[0] = LAST_ANSWER_SECONDS + 1
    with pytest.raises(PersonUnknownError):
        directory.is_full_member(ALICE)


def test_what_slack_did_not_say_is_asked_once_for_each_delivery(slack: SlackSandbox, directory: SlackDirectory) -> None:
    slack.faults.fall_ill(Failure("", 500, "server_error"), share=1.0)
    for delivery in (1, 2):
        before, delivered_at = len(slack.calls.of("users.info")), time.monotonic()
        for _ in range(3):
            with for_delivery_of(delivered_at), pytest.raises(PersonUnknownError, match="HTTP 500"):
                directory.is_full_member(ALICE)
        assert len(slack.calls.of("users.info")) == before + 1, delivery
    slack.faults.recover()
    with for_delivery_of(time.monotonic()):
        assert directory.is_full_member(ALICE)


def test_a_failure_is_not_remembered_and_a_new_answer_replaces_the_last(slack: SlackSandbox, now: list[float]) -> None:
    with Client(slack.world.bot_token, slack.api_url) as client:  # which tries again
        directory = SlackDirectory(client, "T01DEMO", monotonic=lambda: now[0])
        assert directory.is_full_member(ALICE)
        now[0] = CACHE_SECONDS + 1
        slack.faults.fail_next("users.info", 200, "fatal_error")
        slack.faults.fail_next("users.info", 200, "user_not_found")
        assert not directory.is_full_member(ALICE), "she has gone, and Slack says so"
        now[0] += CACHE_SECONDS + 1
        assert directory.is_full_member(ALICE)


class StubbornSlack(WebClient):
    """A Slack that answers when it is let; it counts the calls."""

    def __init__(self) -> None:
        super().__init__("xoxb-nobody")
        self.calls: list[str] = []
        self.let = threading.Event()

    def api_call(self, api_method: str, **_: Any) -> Any:
        self.calls.append(api_method)
        self.let.wait(60)
        return {"ok": True, "users": ["U02BOB"], "user": {"team_id": "T01DEMO"}}


def test_nobody_waits_longer_than_three_seconds_and_not_for_each_question_in_turn() -> None:
    slack = StubbornSlack()
    directory = SlackDirectory(slack, "T01DEMO")
    started = time.monotonic()
    with pytest.raises(PersonUnknownError, match=r"\(no answer within 3 s\)"):
        directory.is_full_member(ALICE)
    assert DEADLINE <= time.monotonic() - started < 2 * DEADLINE
    for _ in range(20):
        with pytest.raises(PersonUnknownError):
            directory.is_full_member(ALICE)
        assert directory.name_of(BOB.id) == BOB.id
    assert time.monotonic() - started < 2 * DEADLINE
    assert slack.calls == ["users.info"]
    slack.let.set()
    while not directory._profiles._known:  # what comes late is an answer all the same
        time.sleep(0.01)
    assert directory.is_full_member(ALICE)
    assert slack.calls == ["users.info"]


def test_where_the_system_gives_no_more_threads_it_is_not_known_and_asked_the_next_time(
    directory: SlackDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_more(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as scarce:
        scarce.setattr(threading.Thread, "start", no_more)
        with pytest.raises(PersonUnknownError):
            directory.is_full_member(ALICE)
    assert directory.is_full_member(ALICE)


def test_somebody_of_whom_slack_does_not_say_whose_they_are_is_not_known_and_nobody_is_none_of_ours() -> None:
    class Bare(WebClient):
        def api_call(self, *_: Any, **__: Any) -> Any:
            return {"ok": True, "user": {"name": "alice"}}

    with pytest.raises(PersonUnknownError, match="its answer was incomplete"):
        SlackDirectory(Bare("xoxb-nobody"), "T01DEMO").is_internal(Person("U01ALICE", ""))


def test_workspaces_that_slack_leaves_out_of_its_answer_are_not_known() -> None:
    class Bare(WebClient):
        def api_call(self, *_: Any, **__: Any) -> Any:
            return {"ok": True, "teams": None}

    with pytest.raises(PersonUnknownError, match="its answer was incomplete"):
        SlackDirectory(Bare("xoxb-nobody"), "", enterprise="E1").members("S0DBATEAM")


def test_several_who_ask_at_once_ask_once() -> None:
    slack = StubbornSlack()
    directory = SlackDirectory(slack, "T01DEMO")
    with ThreadPoolExecutor(8) as threads:
        answers = [threads.submit(directory.is_in_group, BOB, "S0DBATEAM") for _ in range(8)]
        while not slack.calls:
            time.sleep(0.01)
        slack.let.set()
        assert all(one.result() for one in answers)
    assert slack.calls == ["usergroups.users.list"]


@dataclass
class WaitingSlack(WebClient):
    """A Slack that answers once so many user groups were asked for, each on its own; nobody is in any but the last."""

    groups: int
    people: bool = False  # the same for people
    calls: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__("xoxb-nobody")
        self._together = threading.Barrier(self.groups)

    def api_call(self, api_method: str, **arguments: Any) -> Any:
        self.calls.append(api_method)
        if api_method == "users.info":
            if self.people:
                self._together.wait(60)
            return {"ok": True, "user": {"team_id": "T01DEMO", "name": f"name of {arguments['params']['user']}"}}
        self._together.wait(60)
        asked = arguments["params"]["usergroup"]
        return {"ok": True, "users": [BOB.id] if asked == f"S{self.groups}" else []}


def of_groups(*numbers: int, tenants: frozenset[str] | None = None, source: str = "prod") -> Rule:
    return Rule(frozenset(f"S{number}" for number in numbers), VIEW, frozenset({source}), tenants)


VIEW = frozenset({Right.VIEW})
DECISIONS: dict[str, tuple[list[Rule], Callable[[Access], object]]] = {
    "one rule": ([of_groups(1, 2, 3)], lambda access: access.scope(BOB, Right.VIEW, "prod", "C01INC")),
    "several rules": (
        [of_groups(1), of_groups(2, tenants=frozenset({"shop"})), of_groups(3)],
        lambda access: access.scope(BOB, Right.VIEW, "prod", "C01INC"),
    ),
    "several data sources": (
        [of_groups(1), of_groups(2, source="crm"), of_groups(3, source="dwh")],
        lambda access: access.sources(BOB, Right.VIEW, ["prod", "crm", "dwh"], "C01INC"),
    ),
    "approvers": (
        [of_groups(1, 2, 3)],
        lambda access: access.people(Right.VIEW, "prod", [None], "C01INC", besides=ALICE),
    ),
    "a Home tab": ([of_groups(1), of_groups(2), of_groups(3)], lambda access: access.rules_of(BOB)),
}


@pytest.mark.parametrize("decision", DECISIONS)
def test_user_groups_that_one_decision_depends_on_are_asked_for_together(decision: str) -> None:
    rules, decide = DECISIONS[decision]
    slack = WaitingSlack(3)
    assert decide(Access(rules, SlackDirectory(slack, "T01DEMO")))
    assert slack.calls == ["usergroups.users.list"] * 3


def test_the_names_of_several_people_are_asked_for_together() -> None:
    people = ["U1", "U2", "U3"]
    directory = SlackDirectory(slack := WaitingSlack(3, people=True), "T01DEMO")
    assert [directory.called(one, "OF U2", people) for one in people] == [False, True, False]
    assert [directory.name_of(one, people) for one in people] == ["name of U1", "name of U2", "name of U3"]
    assert slack.calls == ["users.info"] * 3


def test_slack_is_asked_for_no_user_group_where_the_person_may_without_it() -> None:
    slack = WaitingSlack(3)
    everybody = Rule(frozenset({EVERYBODY}), VIEW)
    alice = Rule(frozenset({ALICE.id}), VIEW)
    access = Access([of_groups(1, 2), everybody, alice], SlackDirectory(slack, "T01DEMO"))
    assert access.scope(ALICE, Right.VIEW, "prod", "C01INC") == Scope(None)
    assert slack.calls == []
    assert access.sources(BOB, Right.VIEW, ["prod", "crm"], "C01INC") == ["prod", "crm"]
    assert slack.calls == ["users.info"]


def test_slack_is_not_asked_again_before_it_says(slack: SlackSandbox, directory: SlackDirectory) -> None:
    slack.faults.fall_ill(Failure("", 429, "ratelimited", retry_after=30), share=1.0)
    asked = len(slack.calls.of("users.info"))
    for person in (ALICE, BOB, GUS):
        with pytest.raises(PersonUnknownError, match=r"rate limit, (30|29) s"):
            directory.is_full_member(person)
    assert len(slack.calls.of("users.info")) == asked + 1


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
    directory = SlackDirectory(slack, "T01DEMO", monotonic=lambda: now[0])

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
    directory = SlackDirectory(ChangingSlack(), "T01DEMO", monotonic=lambda: now[0])
    for number in range(AT_MOST + 10):
        directory.name_of(f"U{number}")
        directory.members(f"S{number}")
    assert (len(directory._profiles), len(directory._groups)) == (AT_MOST, AT_MOST)
    now[0] = LAST_ANSWER_SECONDS + 1
    assert (len(directory._profiles), len(directory._groups)) == (0, 0)
