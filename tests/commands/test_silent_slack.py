"""What Slack does not say or take: never told as "no", never as nothing found, and never dropped."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox.databases.oceanbase import EmbeddedOceanBase
from sandbox.slack.faults import Failure
from tests.support.slack_person import buttons_of, options_of, text_of
from tests.support.slack_text import Json
from tests.support.stage import Stage, full_text, session_id, staged

EVERYBODY = """
[[access]]
who = ["U02BOB"]
may = ["view", "close"]
data_sources = ["demo"]

[[access]]
who = ["*"]
may = ["view", "close"]
data_sources = ["demo"]

[[access]]
who = ["S0DBATEAM"]
may = ["view", "close"]
data_sources = ["spare"]
"""
UNSAID = "Slack did not say who you are (the app lacks a scope). Nothing was done; whoever runs this bot must add"
INCIDENT = "C01INC"


@pytest.fixture(scope="module")
def standing(oceanbase: EmbeddedOceanBase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    spare = f'[data_sources.spare]\nhost = "{oceanbase.host}"\nport = {oceanbase.port}\nuser = "root@sys"\n'
    more = f'[closing]\nconfirm_within = "5m"\n{spare}password = "{oceanbase.password}"'
    first = 'default_source = "demo"'
    with staged(oceanbase, tmp_path_factory.mktemp("bot"), access=EVERYBODY, more=more, first=first) as stage:
        yield stage


@pytest.fixture
def stage(standing: Stage) -> Iterator[Stage]:
    """Give the stage with a Slack that is well, and leave it so."""
    yield standing
    standing.slack.faults.recover()
    standing.slack.faults.closed_channels.clear()
    standing.tidy()


def test_what_slack_does_not_say_of_one_data_source_takes_no_other_away(stage: Stage) -> None:
    sleeper = session_id(stage.connect())
    stage.slack.faults.fall_ill(Failure("", 200, "missing_scope"), share=1.0, methods=["usergroups.users.list"])
    stage.asks(stage.bob, f"/sessions id={sleeper}", "Sessions on demo")
    help_ = full_text(stage.asks(stage.bob, "/sessions help", "You may here"))
    assert "demo: see everything; close everything" in help_
    assert "on 1 more is not known: Slack did not say who you are" in help_
    for typed in ("/sessions source=spare", f"/kill-session {sleeper} source=spare", "/sessions sources"):
        assert stage.asks(stage.bob, typed, "Slack did not say who you are (the app lacks a scope)")["ephemeral"], typed
    card = stage.card_of(sleeper, person=stage.bob)
    stage.bob.press(card, "Close Session")
    stage.bob.wait_for_change(card, "✅ closed")


def test_where_slack_does_not_say_who_somebody_is_nothing_is_done_and_that_is_said(stage: Stage) -> None:
    sleeper = session_id(stage.connect())
    listed = stage.asks(stage.bob, f"/sessions id={sleeper}", "Sessions on demo")
    card = stage.card_of(sleeper, person=stage.bob)
    stage.slack.faults.fall_ill(Failure("", 200, "missing_scope"), share=1.0, methods=["users.info"])
    for typed in (
        "/sessions",
        f"/sessions show {sleeper}",
        "/sessions stats",
        "/sessions vars",
        "/sessions deadlocks",
        "/sessions audit",
        "/sessions sources",
        "/sessions help",
        f"/kill-session {sleeper}",
        f"/kill-session where id={sleeper}",
        "/kill-session help",
    ):
        before = len(stage.slack.calls.of("users.info"))
        assert stage.asks(stage.alice, typed, UNSAID)["ephemeral"], typed
        assert len(stage.slack.calls.of("users.info")) == before + 1, typed
    stage.alice.choose(listed, "sessions.pick", options_of(listed, "sessions.pick"))
    for place, button in ((listed, "Refresh"), (listed, "Close Session"), (card, "Close Session"), (card, "Cancel")):
        assert stage.presses(stage.alice, place, button, UNSAID)["ephemeral"], button
    stage.alice.press(listed, "View SQL")
    stage.alice.wait_for_modal(UNSAID)
    stage.alice.closes_modal()
    assert "No access rule" not in text_of(stage.alice.opens_home(UNSAID))
    assert "Close Session" in buttons_of(stage.bob.now(card) or {}), "the card is as it was"
    assert not stage.stored("SELECT 1 FROM audit WHERE event = 'refused'"), "nobody was refused"
    stage.slack.faults.recover()
    stage.alice.press(card, "Close Session")
    stage.alice.wait_for_change(card, "✅ closed")


def test_nothing_on_record_is_not_said_where_slack_does_not_tell_names(stage: Stage) -> None:
    stage.card_of(session_id(stage.connect()), person=stage.bob)
    stage.slack.faults.fall_ill(Failure("", 200, "missing_scope"), share=1.0, methods=["users.info"])
    said = "Slack did not say what people are called (the app lacks a scope)"
    assert stage.asks(stage.bob, "/sessions audit by=@bob since=1h", said)["ephemeral"]
    stage.asks(stage.bob, "/sessions audit by=U02BOB since=1h", "Record of closes")


FINAL = {
    "cannot_dm_bot": "Ask in a channel instead",  # first: once a direct message is open, Slack is not asked again
    "missing_scope": "add the scopes of the manifest to the Slack app",
    "file_uploads_disabled": "Ask an administrator of the workspace to allow it",
    "not_allowed_token_type": "set the bot's token (xoxb-…) as SLACK_BOT_TOKEN",
    "storage_limit_reached": "Ask an administrator of the workspace",
    "token_revoked": "install the Slack app anew",
}


def test_a_file_that_is_refused_for_good_is_not_to_be_tried_again(stage: Stage) -> None:
    for word, advice in FINAL.items():
        method = "conversations.open" if word == "cannot_dm_bot" else "files.getUploadURLExternal"
        stage.slack.faults.fail_next(method, error=word)
        said = full_text(stage.asks(stage.bob, "/sessions audit csv", "Slack did not take the file"))
        assert advice in said, word
        assert "ry again" not in said, word
        stage.slack.clear()
    stage.slack.faults.fail_next("files.getUploadURLExternal", 429, "ratelimited", retry_after=90)
    stage.asks(stage.bob, "/sessions audit csv", "Slack did not take the file (rate limit, 90 s). Try again in 90 s.")


def told_directly(stage: Stage, text: str) -> list[Json]:
    """Wait until Bob has a direct message that says that, and return his direct messages."""
    stage.slack.wait_for(lambda: any(text in full_text(one) for one in stage.bob.direct_messages()), what=text)
    return stage.bob.direct_messages()


def test_an_outcome_whose_card_was_deleted_is_told_as_a_new_message(stage: Stage) -> None:
    sleeper = session_id(stage.connect())
    card = stage.card_of(sleeper, person=stage.bob)
    gone = Failure("", 200, "message_not_found")
    stage.slack.faults.fall_ill(gone, share=1.0, methods=["chat.update", "response_url"])
    stage.bob.press(card, "Close Session")
    told = stage.bob.wait_for_message(lambda one: one["key"] != card["key"] and "✅ closed" in full_text(one))
    assert not told["ephemeral"]
    assert str(sleeper) in full_text(told)
    assert stage.bob.direct_messages() == []


@pytest.mark.parametrize("error", ["is_archived", "channel_not_found", "not_in_channel"])
def test_what_a_closed_channel_does_not_take_comes_by_direct_message(stage: Stage, error: str) -> None:
    expires, closes = session_id(stage.connect()), session_id(stage.connect())
    asked = stage.card_of(expires, person=stage.bob)
    card = stage.card_of(closes, person=stage.bob)
    stage.slack.faults.closed_channels[INCIDENT] = error
    stage.bob.press(card, "Close Session")
    stage.passes(asked, 600)
    told_directly(stage, "✅ closed")
    for message in told_directly(stage, "expired"):
        assert f"This was for <#{INCIDENT}>" in full_text(message)
        assert "Close Session" not in buttons_of(message)
    stage.bob.types("/sessions user=elsewhere")
    told_directly(stage, "user=elsewhere")
    stage.bob.types(f"/kill-session {expires}")
    told_directly(stage, "ask again where the bot can post")
    stage.bob.types("/sessions colour=red")
    told_directly(stage, "There is no key “colour”")
