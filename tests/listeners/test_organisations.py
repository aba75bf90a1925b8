"""Commands, presses, windows and Home in a Slack organisation, played with payloads as Slack's documents give them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace

import pytest

from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.support.approving import dialog_of
from tests.support.organisation import organisation
from tests.support.slack_person import Person, options_of, text_of
from tests.support.stage import ASKS, Stage, session_id, staged

# Eve is named by her id, and is of another organisation all the same.
ACCESS = """
[[access]]
who = ["*"]
may = ["view"]

[[access]]
who = ["U01ALICE", "U07EVE"]
may = ["view", "close", "approve"]

[[access]]
who = ["S0DBATEAM", "S0DATA"]
may = ["view", "close", "approve"]
"""
EXTERNAL = "This bot works only for members of the Slack workspace, or organisation, that it is installed in."


BARRED = "People of other organisations read this channel, and this bot does nothing in such channels."
ALLOWED = "allow_shared_channels = true"


# In the one, Slack does not say which channels are shared, and they count as not shared; in the other it is allowed.
@pytest.fixture(scope="module", params=[False, True], ids=["one workspace", "whole organisation"])
def standing(
    request: pytest.FixtureRequest, oceanbase: EmbeddedOceanBase, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """Give a stage where nobody closes anything alone, with the app in one workspace or in the organisation."""
    folder, world = tmp_path_factory.mktemp("organisation"), organisation(org_wide=request.param)
    if not request.param:
        world = replace(world, scopes=tuple(one for one in world.scopes if one != "channels:read"))
    first, source = ALLOWED if request.param else "", 'approval = "second-person"'
    with staged(oceanbase, folder, first=first, source=source, access=ACCESS, world=world) as stage:
        yield stage


@pytest.fixture
def stage(standing: Stage) -> Iterator[Stage]:
    """Give the standing stage and close afterwards what the test opened on it."""
    yield standing
    standing.tidy()


def somebody(stage: Stage, who: str) -> Person:
    return Person(stage.slack, who)


def test_a_close_is_confirmed_by_an_approver_who_is_at_home_in_another_workspace(stage: Stage) -> None:
    number = session_id(stage.connect())
    card = stage.card_of(number)
    assert "None of this has changed" in text_of(dialog_of(stage.bob, card, "Close Session"))
    assert stage.bob.submit() == {}
    stage.alice.wait_for_change(card, f"Close session {number}: ✅ closed")
    assert stage.row(number) == {}


def test_who_is_at_home_elsewhere_refreshes_opens_windows_and_home_and_asks_as_everybody_does(stage: Stage) -> None:
    number = session_id(stage.connect())
    carol = somebody(stage, "W04CAROL")
    listed = stage.asks(stage.alice, "/sessions user=teller", "Pick sessions")
    shown = text_of(listed)
    carol.choose(listed, "Pick sessions", options_of(listed, "Pick sessions")[:1])
    carol.press(listed, "View SQL")
    carol.wait_for_modal(str(number))
    carol.closes_modal()
    assert "demo" in text_of(carol.opens_home("You may"))
    stage.bob.choose(listed, "Pick sessions", options_of(listed, "Pick sessions")[:1])
    stage.bob.press(listed, "Close Session")
    card = stage.bob.wait_for_message(ASKS, after=listed)
    assert "Asked by <@U02BOB>" in text_of(card)
    stage.connect()
    carol.press(listed, "Refresh")
    carol.wait_for_change(listed, lambda message: text_of(message) != shown)


def test_commands_are_typed_where_the_app_is_and_nowhere_else(stage: Stage) -> None:
    carol, dora = somebody(stage, "W04CAROL"), somebody(stage, "W05DORA")
    assert "not a valid command" in stage.asks(dora, "/sessions", "/sessions")["text"]
    if not stage.slack.world.org_wide:
        assert "not a valid command" in stage.asks(carol, "/sessions", "/sessions", "C04DATA")["text"]
        return
    stage.asks(carol, "/sessions", "Sessions on demo", "C04DATA")
    number = session_id(stage.connect())
    card = stage.asks(carol, f"/kill-session {number}", ASKS)
    assert stage.presses(carol, card, "Close Session", "needs a second person")["ephemeral"]
    dialog_of(stage.alice, card, "Close Session")
    assert stage.alice.submit() == {}
    carol.wait_for_change(card, f"Close session {number}: ✅ closed")


@pytest.mark.parametrize("who", ["U07EVE", "U08MALLORY"])
def test_strangers_in_a_shared_channel_may_nothing_whoever_names_them(stage: Stage, who: str) -> None:
    stranger, shared = somebody(stage, who), "C05SHARED"
    assert "not a valid command" in stage.asks(stranger, "/sessions", "/sessions", shared)["text"]
    number = session_id(stage.connect())
    listed = stage.asks(stage.alice, "/sessions user=teller", "Sessions on demo", shared)
    assert stage.presses(stranger, listed, "Refresh", EXTERNAL)["ephemeral"]
    card = stage.card_of(number, shared)
    for button in ("Close Session", "Cancel"):
        assert stage.presses(stranger, card, button, EXTERNAL)["ephemeral"]
    stranger.opens_home(EXTERNAL)
    assert stage.row(number)
    # Somebody of the organisation may all the same.
    dialog_of(stage.bob, card, "Close Session")
    assert stage.bob.submit() == {}
    stage.alice.wait_for_change(card, f"Close session {number}: ✅ closed")


@pytest.mark.parametrize("who", ["U03GUS", "W06GREG"])
def test_guests_of_either_workspace_are_not_everybody(stage: Stage, who: str) -> None:
    guest = somebody(stage, who)
    listed = stage.asks(stage.alice, "/sessions user=teller", "Sessions on demo")
    stage.presses(guest, listed, "Refresh", "no access rule allows it")
    guest.opens_home("No access rule names you")


def reads(stage: Stage, config: str) -> None:
    """Let the bot work with another configuration from now on."""

    def times() -> int:
        return stage.bot.log.read_text(encoding="utf-8").count("configuration read again")

    before = times()
    stage.bot.config.write_text(config, encoding="utf-8")
    stage.bot.signal(signal.SIGHUP)
    stage.wait_until(lambda: times() > before, "the configuration to be read")


@pytest.mark.parametrize("standing", [True], indirect=True, ids=["whole organisation"])
def test_nothing_is_done_in_a_channel_that_other_organisations_read_unless_that_is_allowed(stage: Stage) -> None:
    number, shared = session_id(stage.connect()), "C05SHARED"
    listed = stage.asks(stage.alice, "/sessions user=teller", "Pick sessions", shared)
    card = stage.card_of(number, shared)
    allowed = stage.bot.config.read_text(encoding="utf-8")
    reads(stage, allowed.replace(ALLOWED, ""))
    for command in ("/sessions", "/sessions stats by=user", "/sessions audit", f"/kill-session {number}"):
        assert stage.asks(stage.alice, command, BARRED, shared)["ephemeral"], command
    assert stage.presses(stage.alice, listed, "Refresh", BARRED)["ephemeral"]
    assert stage.presses(stage.bob, card, "Close Session", BARRED)["ephemeral"]
    stage.asks(stage.alice, "/sessions", "Sessions on demo")
    assert stage.row(number)
    reads(stage, allowed)
    dialog_of(stage.bob, card, "Close Session")
    assert stage.bob.submit() == {}
    stage.alice.wait_for_change(card, f"Close session {number}: ✅ closed")
