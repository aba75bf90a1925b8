"""A statement of a GBK or Latin-1 client keeps nobody from anything, and is closed like all others."""

from __future__ import annotations

from tests.support.charsets import goes_through_everything
from tests.support.slack_person import text_of
from tests.support.stage import Stage


def test_a_statement_that_is_no_utf8_is_listed_shown_found_and_closed(stage: Stage) -> None:
    goes_through_everything(stage, "\ufffd\ufffd\ufffd gbk")


def test_a_statement_that_the_kernel_cuts_within_a_letter_is_shown_up_to_the_letter_before(stage: Stage) -> None:
    long = stage.runs(f"SELECT SLEEP(60), '{'é' * 40_000}'")
    card = stage.asks(stage.alice, f"/sessions show {long.id} private", f"Session {long.id} on demo")
    stage.alice.press(card, "View SQL")
    modal = stage.alice.wait_for_modal("cuts a statement at 65,535 bytes")
    assert "\ufffd" not in text_of(modal)
    stage.alice.closes_modal()
