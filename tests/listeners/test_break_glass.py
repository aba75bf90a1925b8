"""Break-glass: nobody who may approve is there, so who asked confirms alone, late, called out and to be reviewed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.support.approving import ACCESS, dialog_of
from tests.support.slack_person import buttons_of, text_of
from tests.support.slack_text import Json
from tests.support.stage import Stage, session_id, staged

REASON = "Bob is asleep, *payments* are <down>"


@pytest.fixture(scope="module")
def standing(oceanbase: EmbeddedOceanBase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Give a stage where who asked may confirm alone after five minutes."""
    source = 'approval = "second-person"\nbreak_glass_after = "5m"'
    with staged(oceanbase, tmp_path_factory.mktemp("break-glass"), source=source, access=ACCESS) as stage:
        yield stage


@pytest.fixture
def stage(standing: Stage) -> Iterator[Stage]:
    """Give the standing stage and close afterwards what the test opened on it."""
    yield standing
    standing.tidy()


def broken(stage: Stage, session: int) -> Json:
    """Ask for a close, break the glass, and return the card as it stands then."""
    card = stage.card_of(session)
    dialog = dialog_of(stage.alice, card, "Break glass", "alone")
    stage.alice.fill_in(dialog, "Reason", REASON)
    assert stage.alice.submit() == {}
    return stage.alice.wait_for_change(card, "Break-glass")


def confirmed_alone(stage: Stage, session: int) -> Json:
    """Close a session by break-glass and return its card."""
    card = broken(stage, session)
    stage.passes(card, 301)
    dialog_of(stage.alice, card, "Close Session")
    assert stage.alice.submit() == {}
    return stage.alice.wait_for_change(card, "✅ closed")


def test_the_dialog_says_what_will_happen_and_wants_a_reason(stage: Stage) -> None:
    card = stage.card_of(session_id(stage.connect()))
    dialog = dialog_of(stage.alice, card, "Break glass", "alone")
    assert "300 s from now you may confirm Close Session alone, unless somebody presses Stop." in text_of(dialog)
    stage.alice.fill_in(dialog, "Reason", "   ")
    assert list(stage.alice.submit().values()) == ["Say why, for whoever reviews the close afterwards."]
    stage.alice.closes_modal()
    now = stage.alice.now(card)
    assert text_of(now) == text_of(card), "nothing has changed"


def test_only_who_asked_can_break_the_glass_and_others_are_told_before_they_write_a_reason(stage: Stage) -> None:
    card = stage.card_of(session_id(stage.connect()))
    for person in (stage.bob, stage.gus):
        assert stage.presses(person, card, "Break glass", "Only who asked for the close can use")["ephemeral"]
        assert person.modal() is None


def test_the_channel_is_called_and_the_card_says_from_when_on(stage: Stage) -> None:
    number = session_id(stage.connect())
    card = broken(stage, number)
    said = text_of(card)
    assert "nobody who may approve was there. <@U01ALICE> may confirm alone from <!date^" in said
    assert f"Reason {REASON}" in said
    assert buttons_of(card) == ["Close Session", "Stop"], "the glass is broken once"
    call = stage.bob.wait_for_message("Look at its card above")
    assert not call["ephemeral"]
    assert call["text"].startswith("🚨 <!subteam^S0DBATEAM> <@U02BOB>: from ")
    assert f"<@U01ALICE> may confirm alone, by break-glass: Close session {number} on demo." in call["text"]
    assert f"Reason {REASON}" in text_of(call)
    assert stage.row(number), "nothing is closed by it"


def test_before_the_delay_is_over_who_asked_closes_nothing_and_the_others_can_confirm(stage: Stage) -> None:
    number = session_id(stage.connect())
    card = broken(stage, number)
    stage.alice.press(card, "Close Session")
    said = text_of(stage.alice.wait_for_modal("You may confirm this alone in"))
    assert "Nothing was closed." in said
    assert stage.row(number)
    dialog_of(stage.bob, card, "Close Session")
    assert stage.bob.submit() == {}
    result = stage.alice.wait_for_change(card, "✅ closed")
    assert buttons_of(result) == [], "what a second person has confirmed needs no review"
    assert stage.row(number) == {}


def test_an_approver_stops_it(stage: Stage) -> None:
    number = session_id(stage.connect())
    card = broken(stage, number)
    stage.bob.press(card, "Stop")
    result = stage.alice.wait_for_change(card, "cancelled")
    assert "Cancelled by <@U02BOB>" in text_of(result)
    assert buttons_of(result) == []
    assert stage.row(number)


def test_after_the_delay_who_asked_closes_it_alone_and_somebody_else_signs_it(stage: Stage) -> None:
    number = session_id(stage.connect())
    result = confirmed_alone(stage, number)
    assert stage.row(number) == {}
    assert "Close Session pressed by <@U01ALICE>" in text_of(result)
    assert "Confirmed alone, by break-glass. *To be reviewed* by somebody else who may approve." in text_of(result)
    assert buttons_of(result) == ["Sign review"]
    assert stage.presses(stage.alice, result, "Sign review", "Somebody else must review")["ephemeral"]
    assert stage.presses(stage.gus, result, "Sign review", "You may not approve")["ephemeral"]
    stage.bob.press(result, "Sign review")
    signed = stage.alice.wait_for_change(result, "Reviewed by <@U02BOB> at")
    assert buttons_of(signed) == []
    events = stage.stored(
        "SELECT event, person FROM audit WHERE request_id = (SELECT request_id FROM audit ORDER BY id DESC LIMIT 1)"
        "ORDER BY id"
    )
    assert events == [
        ("request", "U01ALICE"),
        ("break glass", "U01ALICE"),
        ("confirm", "U01ALICE"),
        ("intent", None),
        ("outcome", None),
        ("review", "U02BOB"),
    ]


def test_the_audit_names_what_is_to_be_reviewed_until_it_is_signed_there(stage: Stage) -> None:
    number = session_id(stage.connect())
    card = confirmed_alone(stage, number)
    listed = stage.asks(stage.bob, "/sessions audit", "To be reviewed: 1 confirmed alone")
    said = text_of(listed)
    assert f"demo: {number}, ✅ closed. Reason: {REASON}" in said
    assert "Alice Ng" not in said, "people are mentioned by their ids, so that Slack shows their names of today"
    assert f"used break-glass, because: {REASON}" in said
    assert "confirmed Close Session alone, by break-glass" in said
    told = stage.presses(stage.bob, listed, "Sign review", f"the close of {number} is reviewed")
    assert told["ephemeral"]
    stage.alice.wait_for_change(card, "Reviewed by <@U02BOB> at")
    assert "To be reviewed" not in text_of(stage.asks(stage.bob, "/sessions audit", "reviewed the close of"))
    stage.presses(stage.bob, listed, "Sign review", "Somebody has already reviewed this close")


def called(stage: Stage, number: int, what: str = "Close session") -> Json:
    """The direct message by which Bob is told."""

    def told() -> list[Json]:
        return [one for one in stage.bob.direct_messages() if f"{what} {number}?" in text_of(one)]

    return stage.slack.wait_for(told)[-1]


def test_those_who_may_approve_are_told_by_direct_message_and_approve_there(stage: Stage) -> None:
    number = session_id(stage.connect())
    card = broken(stage, number)
    call = called(stage, number)
    assert buttons_of(call) == ["Approve", "Stop"]
    assert "🚨 <@U01ALICE> has broken the glass in <#C01INC>: from <!date^" in text_of(call)
    assert f"Reason {REASON}" in text_of(call)
    assert stage.alice.direct_messages() == [], "who asked is not called"
    assert "Session ID" in text_of(dialog_of(stage.bob, call, "Approve"))
    assert stage.bob.submit() == {}
    result = stage.alice.wait_for_change(card, "✅ closed")
    assert "Close Session pressed by <@U02BOB>" in text_of(result)
    assert stage.row(number) == {}
    over = stage.bob.wait_for_change(call, "✅ closed")
    assert buttons_of(over) == []


def test_a_stop_holds_for_the_session_until_who_may_approve_lifts_it_and_the_next_card_says_so(stage: Stage) -> None:
    number = session_id(stage.connect())
    card = broken(stage, number)
    call = called(stage, number)
    stage.bob.press(call, "Stop")
    result = stage.alice.wait_for_change(card, "cancelled")
    assert "Break-glass stays off for this session. To close it, ask again" in text_of(result)
    assert buttons_of(stage.bob.wait_for_change(call, "cancelled")) == []
    again = stage.card_of(number)
    assert "🛑 <@U02BOB> pressed *Stop* at <!date^" in text_of(again)
    assert f"when session {number} was to be closed by break-glass" in text_of(again)
    assert buttons_of(again) == ["Close Session", "Cancel", "Lift Stop"]
    for person in (stage.alice, stage.gus):
        assert stage.presses(person, again, "Lift Stop", "You may not approve closing sessions")["ephemeral"]
    stage.bob.press(again, "Lift Stop")
    lifted = stage.alice.wait_for_change(again, lambda message: "Break glass" in buttons_of(message))
    assert "🛑" not in text_of(lifted)
    assert stage.row(number)


def test_after_a_stop_an_approver_can_still_confirm(stage: Stage) -> None:
    number = session_id(stage.connect())
    card = broken(stage, number)
    stage.bob.press(card, "Stop")
    stage.alice.wait_for_change(card, "cancelled")
    again = stage.card_of(number)
    dialog_of(stage.bob, again, "Close Session")
    assert stage.bob.submit() == {}
    stage.alice.wait_for_change(again, "✅ closed")


def test_only_what_was_called_may_be_confirmed_alone(stage: Stage) -> None:
    statement = stage.runs("SELECT SLEEP(60)")
    card = stage.card_of(f"{statement.id} query")
    dialog = dialog_of(stage.alice, card, "Break glass", "you may confirm Close Query alone")
    stage.alice.fill_in(dialog, "Reason", "stuck")
    assert stage.alice.submit() == {}
    card = stage.alice.wait_for_change(card, "Break-glass")
    called(stage, statement.id, "Close the query of session")
    stage.passes(card, 301)
    stage.alice.press(card, "Close Session")
    said = text_of(stage.alice.wait_for_modal("all that you may confirm alone"))
    assert "Close Query is what those who may approve were called for" in said
    assert statement.is_alive()
    dialog_of(stage.alice, card, "Close Query")
    assert stage.alice.submit() == {}
    stage.alice.wait_for_change(card, "✅ query closed")
    assert stage.row(statement.id), "the session stays"


GONE = """
[[access]]
who = ["U01ALICE"]
may = ["view", "close"]

[[access]]
who = ["U09GONE"]
may = ["approve"]
"""


def test_a_break_glass_of_which_nobody_could_be_told_does_not_count(
    oceanbase: EmbeddedOceanBase, tmp_path: Path
) -> None:
    source = 'approval = "second-person"\nbreak_glass_after = "1s"'
    with staged(oceanbase, tmp_path, source=source, access=GONE) as stage:
        number = session_id(stage.connect())
        card = stage.card_of(number)
        stage.alice.fill_in(dialog_of(stage.alice, card, "Break glass", "alone"), "Reason", "stuck")
        assert stage.alice.submit() == {}
        told = text_of(stage.alice.wait_for_message("No approver could be reached by direct message"))
        assert "by direct message (Slack does not know this person; " in told, "why is said"
        assert buttons_of(stage.alice.now(card) or {}) == ["Close Session", "Cancel", "Break glass"], (
            "nothing has changed"
        )
        stage.passes(card, 2)
        stage.alice.press(card, "Close Session")
        stage.alice.wait_for_modal("needs a second person")
        assert stage.row(number)


ELSEWHERE = """
[[access]]
who = ["U01ALICE"]
may = ["view", "close"]

[[access]]
who = ["U02BOB"]
may = ["approve"]
channels = ["C02DBA"]
"""
EVERYBODY = """
[[access]]
who = ["*"]
may = ["view", "close", "approve"]
"""


def test_what_nobody_may_approve_in_a_channel_is_not_taken_there_and_where_it_is_is_said(
    oceanbase: EmbeddedOceanBase, tmp_path: Path
) -> None:
    source = 'approval = "second-person"\nbreak_glass_after = "1s"'
    with staged(oceanbase, tmp_path, source=source, access=ELSEWHERE) as stage:
        number = session_id(stage.connect())
        told = stage.asks(stage.alice, f"/kill-session {number}", "names anybody else who may approve it here")
        assert told["ephemeral"]
        assert "Ask in <#C02DBA>." in text_of(told)
        assert stage.stored("SELECT id FROM closing_requests") == []
        card = stage.asks(stage.alice, f"/kill-session {number}", "A second person must confirm", "C02DBA")
        dialog_of(stage.bob, card, "Close Session")
        assert stage.bob.submit() == {}
        stage.alice.wait_for_change(card, "✅ closed")


def test_in_a_direct_message_everybody_is_nobody_who_could_confirm(
    oceanbase: EmbeddedOceanBase, tmp_path: Path
) -> None:
    source = 'approval = "second-person"\nbreak_glass_after = "1s"'
    with staged(oceanbase, tmp_path, source=source, access=EVERYBODY) as stage:
        number = session_id(stage.connect())
        stage.asks(stage.alice, "/sessions audit csv", "by direct message")  # opens it
        own = "D01ALICE"
        told = stage.asks(stage.alice, f"/kill-session {number}", "needs a second person", own)
        assert "Ask in a channel where others can confirm it." in text_of(told)
        card = stage.card_of(number)
        stage.presses(stage.alice, card, "Break glass", "No approver could be reached by direct message")
        assert stage.alice.modal() is None, "nobody writes a reason for nothing"
        assert stage.row(number)


SEES_EVERYWHERE = """
[[access]]
who = ["U02BOB"]
may = ["view"]
"""


def test_a_review_is_signed_by_rights_in_the_requests_channel_wherever_it_is_pressed(
    oceanbase: EmbeddedOceanBase, tmp_path: Path
) -> None:
    source = 'approval = "second-person"\nbreak_glass_after = "1s"'
    with staged(oceanbase, tmp_path, source=source, access=ELSEWHERE + SEES_EVERYWHERE) as stage:
        number = session_id(stage.connect())
        card = stage.asks(stage.alice, f"/kill-session {number}", "A second person must confirm", "C02DBA")
        stage.alice.fill_in(dialog_of(stage.alice, card, "Break glass", "alone"), "Reason", "stuck")
        assert stage.alice.submit() == {}
        card = stage.alice.wait_for_change(card, "Break-glass")
        stage.passes(card, 2)
        dialog_of(stage.alice, card, "Close Session")
        assert stage.alice.submit() == {}
        stage.alice.wait_for_change(card, "To be reviewed")
        listed = stage.asks(stage.bob, "/sessions audit", "To be reviewed: 1 confirmed alone")
        stage.presses(stage.bob, listed, "Sign review", f"the close of {number} is reviewed")


def test_a_stop_counts_also_where_slack_did_not_say_that_the_call_had_come(stage: Stage) -> None:
    number = session_id(stage.connect())
    card = stage.card_of(number)
    dialog = dialog_of(stage.alice, card, "Break glass", "alone")
    stage.alice.fill_in(dialog, "Reason", REASON)
    stage.slack.faults.fail_next("chat.postMessage", 500, carried_out=True)
    assert stage.alice.submit() == {}
    stage.alice.wait_for_message("No approver could be reached by direct message")
    call = called(stage, number)
    stage.bob.press(call, "Stop")
    assert buttons_of(stage.bob.wait_for_change(call, "cancelled by Stop")) == []
    stage.alice.wait_for_change(card, "cancelled by Stop")
    assert "🛑 <@U02BOB> pressed *Stop*" in text_of(stage.card_of(number))


def test_a_call_for_a_larger_budget_stands_where_it_can_be_answered(
    oceanbase: EmbeddedOceanBase, tmp_path: Path
) -> None:
    source = 'approval = "second-person"\nbreak_glass_after = "5m"\nbudget = 1'
    with staged(oceanbase, tmp_path, source=source, access=ACCESS) as stage:
        first, second = (session_id(stage.connect()) for _ in range(2))
        card = stage.card_of(first)
        dialog_of(stage.bob, card, "Close Session")
        assert stage.bob.submit() == {}
        stage.alice.wait_for_change(card, "✅ closed")
        broken(stage, second)
        dialog_of(stage.bob, called(stage, second), "Approve")
        assert stage.bob.submit() == {}
        call = stage.alice.wait_for_message(lambda message: "Extend budget" in buttons_of(message))
        stage.bob.press(call, "Extend budget")
        stage.alice.wait_for_change(call, "extended the budget of demo by 1 closes")
