"""What buttons and menus carry: it names one session for certain, or is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.access import Person, Scope
from bot.errors import InputError
from bot.slack.arguments.value_parsers import session_id
from bot.slack.client import Client
from bot.slack.delivery.replies import Reply
from bot.slack.events import Press, press_of
from bot.slack.session_reference import PICK, Asker, CardReference, SessionReference, all_picked, picked
from tests.sessions.examples import EXAMPLE


def pressed(reply: Reply, *chosen: str, value: str = "x") -> Press:
    """Return a press with what is picked in the menu, as Slack tells it."""
    options = [{"value": value} for value in chosen]
    state = {"values": {"block": {PICK: {"type": "multi_static_select", "selected_options": options}}}}
    action = {"action_id": "sessions.close_session", "value": value}
    payload = {"user": {"id": "U01ALICE", "team_id": "T01DEMO"}, "actions": [action], "state": state}
    press = press_of(payload, reply)
    assert press.person == Person("U01ALICE", "T01DEMO")
    return press


@pytest.fixture
def reply() -> Reply:
    """A reply that goes nowhere, since nothing is sent here."""
    return Reply(Client("xoxb-nobody"), "", "C01INC", "U01ALICE")


def test_the_chosen_session_is_the_one_meant(reply: Reply) -> None:
    reference = SessionReference.of(replace(EXAMPLE, server=None))
    assert picked(pressed(reply, str(reference))) == reference


def test_a_button_of_a_card_names_its_session_itself(reply: Reply) -> None:
    reference = SessionReference.of(EXAMPLE)
    assert picked(pressed(reply, value=str(reference))) == reference


def test_a_press_without_a_choice_asks_for_one(reply: Reply) -> None:
    with pytest.raises(InputError, match="Pick a session in the menu first"):
        picked(pressed(reply))


def test_several_are_told_apart_and_a_view_of_one_asks_for_one(reply: Reply) -> None:
    several = [SessionReference.of(replace(EXAMPLE, id=number)) for number in (5, 6)]
    press = pressed(reply, *map(str, several))
    assert all_picked(press) == several
    with pytest.raises(InputError, match="2 sessions are picked"):
        picked(press)


def test_picks_of_two_data_sources_come_from_no_list(reply: Reply) -> None:
    other = str(SessionReference.of(replace(EXAMPLE, source="other")))
    with pytest.raises(InputError, match="cannot be read"):
        all_picked(pressed(reply, str(SessionReference.of(EXAMPLE)), other))


@pytest.mark.parametrize("number", ["٥", "5.0", "-5", " 5", "0" * 19 + "59999999999999", "0" * 5000, "9" * 5000])
def test_an_id_that_no_session_can_have_is_refused(number: str, reply: Reply) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        picked(pressed(reply, f"demo||{number}|0123456789ab"))


@given(st.text() | st.text(st.sampled_from("|0159a")))
def test_no_text_makes_anything_but_a_reference_or_a_sentence(text: str) -> None:
    try:
        reference = SessionReference.read(text)
    except InputError:
        return
    assert 1 < reference.id < 2**32
    assert SessionReference.read(str(reference)) == reference


@pytest.mark.parametrize("zeros", [1, 39, 900])
def test_zeros_before_an_id_never_make_it_another_one(zeros: int) -> None:
    assert session_id("0" * zeros + "5999") == 5999


@pytest.mark.parametrize("tenants", [None, frozenset({"shop"}), frozenset(f"{number}" * 60 for number in range(99))])
def test_the_asker_of_a_public_message_reads_back_from_the_block_of_its_buttons(tenants: frozenset[str] | None) -> None:
    asker = Asker.of(Person("U" + "W" * 20, "T" + "W" * 20), Scope(tenants))
    block = Asker.block("statistics.browse", asker)
    assert Asker.read(block) == asker
    assert len(block) <= 255


@pytest.mark.parametrize(
    "block",
    [
        "",
        "sessions.browse",
        "sessions.browse|U01ALICE",
        "sessions.browse|U01ALICE|T01|",
        "a|<!here>|T01|all",
        "a|U01ALICE|T01|every",
        "a|U01ALICE|T01|all|b",
        "a|U01ALICE|T01|all\n",
        "a|٥|T01|all",
    ],
)
def test_a_block_without_an_asker_names_none(block: str) -> None:
    assert Asker.read(block) is None
    assert Asker.block("sessions.browse", None) == "sessions.browse"


@pytest.mark.parametrize("tenant", ["shop", None, "a|b|5|c", "ORA$1"])
def test_a_card_names_its_session_and_its_tenant(tenant: str | None) -> None:
    card = CardReference.of(replace(EXAMPLE, tenant=tenant))
    assert CardReference.read(str(card)) == card
    assert card.tenant == tenant
    assert CardReference.read(str(card.session)) == CardReference(card.session, None), "as older cards have it"
    with pytest.raises(InputError, match="cannot be read"):
        CardReference.read("shop|demo|5")
