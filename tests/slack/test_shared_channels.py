"""Whether a channel is shared with other organisations: asked of the strict sandbox, once for each channel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from slack_sdk import WebClient
from structlog.testing import capture_logs

from bot.access import Access, Person, Right, Rule
from bot.errors import NotAllowedError
from bot.slack.answers import LAST_ANSWER_SECONDS
from bot.slack.directory import SlackDirectory
from bot.slack.shared_channels import SharedChannels
from sandbox.slack.faults import Failure
from sandbox.slack.server import SlackSandbox
from sandbox.slack.world import DEMO_WORLD, Channel

ALICE = Person("U01ALICE", "T01DEMO")
CHANNELS = (
    Channel("C01INC", "incident", ("U01ALICE",)),
    Channel("C02DBA", "dba", ("U01ALICE",), is_private=True),
    Channel("C03ORG", "across-workspaces", ("U01ALICE",), is_org_shared=True),
    Channel("C05SHARED", "with-customers", ("U01ALICE",), is_ext_shared=True),
    Channel("C06SHARED", "with-one-customer", ("U01ALICE",), is_private=True, is_ext_shared=True),
    Channel("C07HIDDEN", "without-the-bot", ("U01ALICE",), is_private=True, is_ext_shared=True, has_bot=False),
)
WORLD = replace(DEMO_WORLD, channels=CHANNELS)


@pytest.fixture(scope="module")
def standing() -> Iterator[SlackSandbox]:
    with SlackSandbox(WORLD) as slack:
        yield slack


@pytest.fixture
def slack(standing: SlackSandbox) -> Iterator[SlackSandbox]:
    yield standing
    standing.faults.recover()
    standing.calls.clear()


def asking(slack: SlackSandbox, now: list[float] | None = None) -> SharedChannels:
    client = WebClient(slack.world.bot_token, slack.api_url, retry_handlers=[])
    return SharedChannels(client, monotonic=lambda: now[0] if now else 0.0)


def test_channels_of_other_organisations_too_are_told_from_those_of_ones_own(slack: SlackSandbox) -> None:
    shared = asking(slack)
    assert {one.id for one in CHANNELS if shared.is_shared(one.id)} == {"C05SHARED", "C06SHARED"}
    assert not shared.is_shared("")
    assert not shared.is_shared("D01ALICE")
    assert len(slack.calls.of("conversations.info")) == len(CHANNELS), "a direct message is asked of nobody"


def test_a_channel_is_asked_for_once_in_ten_minutes_whatever_the_answer(slack: SlackSandbox) -> None:
    now = [0.0]
    shared = asking(slack, now)
    for now[0] in (0.0, LAST_ANSWER_SECONDS - 1):
        assert shared.is_shared("C05SHARED")
        assert not shared.is_shared("C07HIDDEN")
    assert len(slack.calls.of("conversations.info")) == 2
    now[0] = LAST_ANSWER_SECONDS + 1
    assert shared.is_shared("C05SHARED")
    assert len(slack.calls.of("conversations.info")) == 3


def test_a_channel_of_which_slack_does_not_say_it_counts_as_not_shared_and_the_log_says_why(
    slack: SlackSandbox,
) -> None:
    scopes = tuple(scope for scope in WORLD.scopes if scope != "channels:read")
    with SlackSandbox(replace(WORLD, scopes=scopes)) as without, capture_logs() as lines:
        shared = asking(without)
        assert not shared.is_shared("C05SHARED")
        assert not shared.is_shared("C05SHARED")
        assert shared.is_shared("C06SHARED"), "groups:read is there"
    assert [(one["channel"], one["error"]) for one in lines] == [("C05SHARED", "missing_scope")]
    slack.faults.fall_ill(Failure("", 500, "server_error"), share=1.0)
    shared = asking(slack)
    assert not shared.is_shared("C05SHARED")
    slack.faults.recover()


def test_in_a_shared_channel_nobody_may_do_anything_and_the_sentence_says_what_to_do(slack: SlackSandbox) -> None:
    client = WebClient(slack.world.bot_token, slack.api_url, retry_handlers=[])
    rules = [Rule(frozenset({"U01ALICE"}), frozenset(Right))]
    access = Access(rules, SlackDirectory(client, "T01DEMO"), is_barred=asking(slack).is_shared)
    refused = r"People of other organisations read this channel.* Use another channel; .*allow_shared_channels"
    for right in Right:
        assert access.scope(ALICE, right, "prod", "C01INC").tenants is None
        with pytest.raises(NotAllowedError, match=refused):
            access.scope(ALICE, right, "prod", "C05SHARED")
        with pytest.raises(NotAllowedError, match=refused):
            access.require(ALICE, right, "prod", "C05SHARED", "shop")
        with pytest.raises(NotAllowedError, match=refused):
            access.sources(ALICE, right, ["prod"], "C05SHARED")
    with pytest.raises(NotAllowedError, match=refused):
        access.kept_view(ALICE, "all", ALICE, "prod", "C05SHARED", None)
    assert access.rights(ALICE, "prod", "C05SHARED") == {}
    assert access.rules_of(ALICE) == rules, "the Home tab is in no channel"
