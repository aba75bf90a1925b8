"""The app's Home tab: the event, what may be published, and presses on it."""

from __future__ import annotations

from typing import Any

import pytest
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError

from sandbox.slack.refusals import Refused
from sandbox.slack.rules import check_home
from sandbox.slack.server import SlackSandbox
from tests.support.slack_person import Person, text_of

SECTION = {"type": "section", "text": {"type": "mrkdwn", "text": "your rights"}}
BUTTON = {"type": "button", "text": {"type": "plain_text", "text": "Refresh"}, "action_id": "refresh", "value": "x"}


def home(*blocks: Any) -> dict[str, Any]:
    return {"type": "home", "blocks": list(blocks)}


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        ({"type": "alert", "text": {"type": "plain_text", "text": "x"}}, "unsupported type: alert"),
        ({"type": "data_visualization", "title": "x", "chart": {}}, "unsupported type: data_visualization"),
        ({"type": "markdown", "text": "x"}, "unsupported type: markdown"),
    ],
)
def test_blocks_that_slack_does_not_take_there_are_refused(block: Any, problem: str) -> None:
    with pytest.raises(Refused) as refused:
        check_home(home(block))
    assert problem in str(refused.value.messages)


def test_a_table_may_stand_there_and_a_hundred_blocks_at_most() -> None:
    table = {"type": "table", "rows": [[{"type": "raw_text", "text": "a"}]]}
    check_home(home(table, *[SECTION] * 99))
    with pytest.raises(Refused):
        check_home(home(table, *[SECTION] * 100))
    with pytest.raises(Refused):
        check_home({"type": "modal", "blocks": [SECTION]})


def test_what_is_published_is_seen_by_that_person_alone_and_changed_only_by_who_knows_it() -> None:
    with SlackSandbox() as slack:
        client = WebClient(token=slack.world.bot_token, base_url=slack.api_url)
        alice, bob = Person(slack, "U01ALICE"), Person(slack, "U02BOB")
        first = client.views_publish(user_id="U01ALICE", view=home(SECTION))
        assert text_of(alice.wait_for_home("your rights")) == "your rights"
        assert bob.state()["home"] is None
        again = client.views_publish(user_id="U01ALICE", view=home(SECTION), hash=first["view"]["hash"])
        assert again["view"]["id"] == first["view"]["id"]
        with pytest.raises(SlackApiError, match="hash_conflict"):
            client.views_publish(user_id="U01ALICE", view=home(SECTION), hash=first["view"]["hash"])
        with pytest.raises(SlackApiError, match="user_not_found"):
            client.views_publish(user_id="U99NOBODY", view=home(SECTION))
