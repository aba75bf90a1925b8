"""What Slack gets when it does not take what it was given: plainer blocks, then none; and never an old button."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bot.closing.model import CardPlace
from bot.slack.client import Client
from bot.slack.connections import Answer
from bot.slack.delivery.message import HomeTab, Message
from bot.slack.delivery.replies import Reply, post_in, update
from bot.slack.views import blocks as kit
from sandbox.slack.faults import Failure
from sandbox.slack.server import SlackSandbox
from tests.support.slack_person import Person
from tests.support.slack_text import Json

TABLE = kit.table([["Session ID"], ["17"]], "table")
PLAINER = kit.preformatted("Session ID 17")
BUTTON = kit.actions([kit.button("Close Session", "close", "17")])
LIST = Message("1 session", [TABLE, BUTTON], fallback=lambda: [PLAINER, BUTTON])
REFUSALS = ("invalid_blocks", "invalid_blocks_format", "invalid_attachments", "msg_blocks_too_long")


@pytest.fixture
def slack() -> Iterator[SlackSandbox]:
    with SlackSandbox(commands=[{"command": "/sessions", "description": "List sessions"}]) as running:
        yield running


@pytest.fixture
def client(slack: SlackSandbox) -> Iterator[Client]:
    with Client(slack.world.bot_token, slack.api_url) as client:
        yield client


@pytest.fixture
def alice(slack: SlackSandbox) -> Person:
    return Person(slack, "U01ALICE")


def kinds(shown: Json) -> list[str]:
    return [block["type"] for block in shown["blocks"] or []]


@pytest.mark.parametrize("error", REFUSALS)
def test_a_message_whose_blocks_slack_refuses_is_posted_with_plainer_ones(
    slack: SlackSandbox, client: Client, alice: Person, error: str
) -> None:
    slack.faults.fail_next("chat.postMessage", error=error)
    assert isinstance(post_in(client, "C01INC", LIST), CardPlace)
    (message,) = alice.messages()
    assert kinds(message) == ["rich_text", "actions"]


@pytest.mark.parametrize("error", REFUSALS)
def test_a_message_whose_blocks_a_response_url_refuses_is_shown_there_with_plainer_ones(
    slack: SlackSandbox, client: Client, alice: Person, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Json] = []
    answers = [error, "ok"]

    def respond(_client: object, _url: str, message: Json, *, repeatable: bool) -> Answer:
        assert not repeatable
        sent.append(message)
        answer = answers.pop(0)
        return Answer(200 if answer == "ok" else 400, {}, answer.encode())

    monkeypatch.setattr(Client, "respond", respond)
    assert Reply(client, "https://hooks.example/1", "C01INC", "U01ALICE").public(LIST)
    assert [kinds(body) for body in sent] == [["table", "actions"], ["rich_text", "actions"]]
    assert alice.messages() == [], "it was not posted beside that"


def test_a_message_that_is_rewritten_without_blocks_loses_its_old_buttons(
    slack: SlackSandbox, client: Client, alice: Person
) -> None:
    place = post_in(client, "C01INC", LIST)
    assert isinstance(place, CardPlace)
    slack.faults.refuse_blocks |= {"table", "rich_text", "actions"}
    assert update(client, place, LIST).taken
    (message,) = alice.messages()
    assert (message["text"], kinds(message)) == ("1 session", [])


def test_nothing_in_the_text_of_a_message_is_looked_through_for_names_and_links(
    slack: SlackSandbox, client: Client
) -> None:
    place = post_in(client, "C01INC", LIST)
    assert isinstance(place, CardPlace)
    update(client, place, LIST)
    Reply(client, "", "C01INC", "U01ALICE").private(LIST)
    for method in ("chat.postMessage", "chat.update", "chat.postEphemeral"):
        (call,) = slack.calls.of(method)
        assert (call.payload["parse"], call.payload["link_names"]) == ("none", False), method


def test_a_home_tab_whose_table_slack_refuses_is_published_with_a_plain_one(
    slack: SlackSandbox, client: Client, alice: Person
) -> None:
    reply = Reply(client, "", "", "U01ALICE")
    tab = HomeTab([TABLE, BUTTON], [PLAINER, BUTTON])
    assert reply.publish_home(tab)
    assert kinds(alice.wait_for_home()) == ["table", "actions"]
    slack.faults.refuse_blocks.add("table")
    assert reply.publish_home(tab)
    assert kinds(alice.wait_for_home()) == ["rich_text", "actions"]


def test_a_home_tab_whose_table_slack_leaves_out_is_published_with_a_plain_one(
    slack: SlackSandbox, client: Client, alice: Person
) -> None:
    slack.faults.home_drops.add("table")
    assert Reply(client, "", "", "U01ALICE").publish_home(HomeTab([TABLE, BUTTON], [PLAINER, BUTTON]))
    assert kinds(alice.wait_for_home()) == ["rich_text", "actions"]


def test_a_home_tab_is_not_published_again_where_slack_refuses_the_person(slack: SlackSandbox, client: Client) -> None:
    assert not Reply(client, "", "", "U09NOBODY").publish_home(HomeTab([TABLE], [PLAINER]))
    assert len(slack.calls.of("views.publish")) == 1


@pytest.mark.parametrize(
    ("error", "why"),
    [("not_enabled", "the Home tab of the app is off"), ("view_too_large", "there is too much to show")],
)
def test_whoever_opens_a_home_tab_that_slack_refuses_hears_so_and_why_once(
    slack: SlackSandbox, client: Client, error: str, why: str
) -> None:
    slack.faults.fall_ill(Failure("", error=error), share=1.0, methods={"views.publish"})
    reply = Reply(client, "", "", "U01ALICE", home=True)
    tab = HomeTab([TABLE, BUTTON], [PLAINER, BUTTON])
    assert not reply.publish_home(tab)
    assert not reply.publish_home(tab)
    slack.faults.recover()
    (told,) = slack.calls.of("chat.postMessage")
    assert told.payload["text"].startswith(f"Slack did not show the Home tab ({why}")
    assert told.payload["channel"].startswith("D")
    assert "/sessions sources shows the data sources" in told.payload["text"]


def test_what_somebody_at_the_home_tab_is_told_stands_there_or_comes_as_a_direct_message(
    slack: SlackSandbox, client: Client, alice: Person
) -> None:
    reply = Reply(client, "", "", "U01ALICE", home=True)
    assert reply.private(LIST)
    assert kinds(alice.wait_for_home()) == ["table", "actions"]
    assert not slack.calls.of("chat.postEphemeral")
    slack.faults.fail_next("views.publish", error="not_enabled")
    assert reply.private(LIST)
    (told,) = slack.calls.of("chat.postMessage")
    assert told.payload["channel"].startswith("D")
