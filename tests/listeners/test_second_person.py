"""Where a second person must confirm: the card calls them, the dialog shows what is there now, the record has both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.support.approving import ACCESS, dialog_of
from tests.support.slack_person import buttons_of, text_of
from tests.support.stage import ASKS, Stage, session_id, staged


@pytest.fixture(scope="module")
def standing(oceanbase: EmbeddedOceanBase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Give a stage where nobody closes anything alone."""
    folder = tmp_path_factory.mktemp("second-person")
    with staged(oceanbase, folder, source='approval = "second-person"', access=ACCESS) as stage:
        yield stage


@pytest.fixture
def stage(standing: Stage) -> Iterator[Stage]:
    """Give the standing stage and close afterwards what the test opened on it."""
    yield standing
    standing.tidy()


def test_the_card_calls_those_who_may_approve_and_not_who_asked(stage: Stage) -> None:
    card = stage.card_of(session_id(stage.connect()))
    said = text_of(card)
    assert "A second person must confirm: <!subteam^S0DBATEAM>, <@U02BOB>. Who asked may cancel." in said
    assert "waits for a second person <!subteam^S0DBATEAM> <@U02BOB>. " in card["text"], "for notifications"
    assert buttons_of(card) == ["Close Session", "Cancel"], "break-glass is not switched on here"


def test_an_approver_who_asks_is_not_called_and_cannot_confirm_it_himself(stage: Stage) -> None:
    number = session_id(stage.connect())
    card = stage.asks(stage.bob, f"/kill-session {number}", ASKS)
    assert "must confirm: <!subteam^S0DBATEAM>." in text_of(card)
    assert stage.presses(stage.bob, card, "Close Session", "needs a second person")["ephemeral"]
    assert stage.row(number)


def test_the_requesters_press_closes_nothing_and_says_whose_press_is_wanted(stage: Stage) -> None:
    number = session_id(stage.connect())
    card = stage.card_of(number)
    told = stage.presses(stage.alice, card, "Close Session", "Closing on demo needs a second person")
    assert told["ephemeral"]
    dialog = stage.alice.wait_for_modal("somebody else who may approve must press")
    assert dialog["submit"] is None, "there is nothing to submit"
    assert stage.row(number)
    assert stage.stored("SELECT event, person FROM audit ORDER BY id DESC LIMIT 1") == [("refused", "U01ALICE")]


def test_the_approvers_press_shows_the_session_first_and_submitting_closes_it(stage: Stage) -> None:
    number = session_id(stage.connect(database="depot"))
    card = stage.card_of(f'{number} reason="a <leak> of *connections*"')
    said = text_of(dialog_of(stage.bob, card, "Close Session"))
    for fact in (
        "Asked by <@U01ALICE>",
        "Data source demo",
        "Reason a <leak> of *connections*",
        f"Session ID {number}",
        "User teller",
        "Database Name depot",
        "None of this has changed since the request.",
        "disconnects the client",
    ):
        assert fact in said
    assert stage.row(number), "looking closes nothing"
    assert stage.bob.submit() == {}
    result = text_of(stage.alice.wait_for_change(card, f"Close session {number}: ✅ closed"))
    assert "Asked by <@U01ALICE>" in result
    assert "Close Session pressed by <@U02BOB>" in result
    assert stage.bob.modal() is None
    assert stage.row(number) == {}


def test_the_dialog_shows_the_session_as_it_is_now_and_what_has_changed(stage: Stage) -> None:
    connection = stage.connect(database="depot")
    card = stage.card_of(session_id(connection))
    stage.starts(connection, "SELECT SLEEP(60), sku, 'pin 4711' FROM stock")
    said = text_of(dialog_of(stage.bob, card, "Close Session"))
    assert "Changed since it was asked for: it was idle, now it runs a query" in said
    assert "SELECT SLEEP(?), sku, ? FROM stock" in said
    assert "Its running query is stopped." in said
    assert "ACTIVE, Query" in said


def test_a_transaction_that_has_begun_is_told_in_the_dialog_and_asked_about_anew(stage: Stage) -> None:
    connection = stage.connect(database="depot")
    number = session_id(connection)
    card = stage.card_of(number)
    connection.begin()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE stock SET quantity = quantity + 1 WHERE sku = 3")
    said = text_of(dialog_of(stage.bob, card, "Close Session"))
    assert "Changed since it was asked for: it has a transaction open" in said
    assert "Close Session  closes nothing: a transaction has begun or ended since the request was made." in said
    assert stage.bob.submit() == {}
    again = stage.alice.wait_for_change(card, "A transaction has begun since the card was shown")
    assert stage.row(number)
    assert "A second person must confirm" in text_of(again)
    dialog = text_of(dialog_of(stage.bob, again, "Close Session"))
    assert "Its open transaction is rolled back and the locks are released." in dialog
    assert stage.bob.submit() == {}
    stage.alice.wait_for_change(again, "✅ closed")
    assert stage.row(number) == {}


def test_a_query_that_was_asked_for_and_has_moved_on_is_told_in_the_dialog_and_not_closed(stage: Stage) -> None:
    first = stage.runs("SELECT SLEEP(60), 'first'")
    card = stage.card_of(f"{first.id} query")
    stage.stops(first)
    second = stage.starts(first.connection, "SELECT SLEEP(60)")
    said = text_of(dialog_of(stage.bob, card, "Close Query"))
    assert "it runs another query" in said
    assert "Close Query  closes nothing: the query that was asked for has ended." in said
    assert stage.bob.submit() == {}
    stage.alice.wait_for_change(card, "changed, not closed")
    assert second.is_alive()


def test_a_session_that_has_ended_is_told_in_the_dialog(stage: Stage) -> None:
    connection = stage.connect()
    number = session_id(connection)
    card = stage.card_of(number)
    connection.close()
    stage.wait_until(lambda: not stage.row(number), "the session's end")
    said = text_of(dialog_of(stage.bob, card, "Close Session"))
    assert f"Session {number} is gone: there is nothing to close." in said
    assert "Close Session  closes nothing: the session has ended. The card will say so." in said
    assert stage.bob.submit() == {}
    stage.alice.wait_for_change(card, "already gone")


def test_who_asked_can_cancel_and_an_approver_can_stop_it(stage: Stage) -> None:
    number = session_id(stage.connect())
    for person in (stage.alice, stage.bob):
        card = stage.card_of(number)
        person.press(card, "Cancel")
        result = stage.alice.wait_for_change(card, "cancelled")
        assert f"Cancelled by <@{person.id}>" in text_of(result)
        assert buttons_of(result) == []
    assert stage.row(number)


def test_a_guest_can_neither_confirm_nor_cancel(stage: Stage) -> None:
    number = session_id(stage.connect())
    card = stage.card_of(number)
    for button in ("Close Session", "Cancel"):
        assert stage.presses(stage.gus, card, button, "You may not")["ephemeral"]
    assert stage.row(number)
    assert "Close Session" in buttons_of(stage.alice.now(card) or {})


def test_a_dialog_left_open_while_another_approver_decides_changes_nothing(stage: Stage) -> None:
    number = session_id(stage.connect())
    card = stage.card_of(number)
    dialog_of(stage.bob, card, "Close Session")
    stage.alice.press(card, "Cancel")
    stage.alice.wait_for_change(card, "cancelled")
    assert stage.bob.submit() == {}
    told = stage.bob.wait_for_message("This closing request was cancelled")
    assert "<@U01ALICE> was first" in text_of(told)
    assert stage.row(number)


def test_many_want_their_number_typed_in_the_same_dialog(stage: Stage) -> None:
    ended, *stay = [stage.connect(bind_address="127.0.0.51") for _ in range(6)]
    ids = [session_id(connection) for connection in (ended, *stay)]
    card = stage.card_of("where host=127.0.0.51 user=teller")
    ended.close()
    stage.wait_until(lambda: not stage.row(ids[0]), "the session's end")
    dialog = dialog_of(stage.bob, card, "Close Session")
    said = text_of(dialog)
    assert said.startswith("Close 6 sessions")
    assert f"{ids[0]}  is gone" in said
    assert "disconnects 5 clients" in said
    assert all(f"{number}  teller from 127.0.0.51:" in said for number in ids[1:])
    stage.bob.fill_in(dialog, "How many sessions do you want to close?", "5")
    assert list(stage.bob.submit().values()) == ["That is not the number of sessions. Type 6, or press Keep them."]
    stage.bob.fill_in(dialog, "How many sessions do you want to close?", "6")
    assert stage.bob.submit() == {}
    result = stage.alice.wait_for_change(card, "5 closed, 1 already gone")
    assert "Close Session pressed by <@U02BOB>" in text_of(result)
    assert not any(map(stage.row, ids))


@pytest.mark.parametrize(
    ("approval", "sys", "second"), [("requester", "second-person", True), ("second-person", "requester", False)]
)
def test_a_tenant_can_want_another_approval_than_its_data_source_and_an_unanswered_card_expires(
    oceanbase: EmbeddedOceanBase, tmp_path: Path, approval: str, sys: str, *, second: bool
) -> None:
    source = f'approval = "{approval}"\ntenant_approval.sys = "{sys}"'
    with staged(oceanbase, tmp_path, source=source, access=ACCESS) as stage:
        number = session_id(stage.connect())
        card = stage.card_of(number)
        assert ("A second person must confirm" in text_of(card)) is second
        if second:
            stage.passes(card, 121)
            result = stage.alice.wait_for_change(card, "expired")
            assert "Nobody confirmed in time. This card closed nothing." in text_of(result)
            assert buttons_of(result) == []
            assert stage.row(number)
        else:
            stage.alice.press(card, "Close Session")
            stage.alice.wait_for_change(card, "✅ closed")
        stage.tidy()
