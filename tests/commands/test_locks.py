"""/sessions locks as it is typed and pressed: on real kernels, through the strict sandbox."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.slack_person import buttons_of, table_of, text_of
from tests.support.slack_text import tells
from tests.support.stage import RunningStatement, Stage, full_text, session_id


def plays_an_incident(stage: Stage, until_waiting: Callable[[RunningStatement], None]) -> None:
    """Hold up three sessions by one, find it from a list and by a word, close it and see the three go on.

    ``until_waiting`` returns once the server shows that a statement waits for a row.
    """
    bystander, holder = stage.connect(database="depot"), stage.connect(database="depot")
    for connection, sku in ((bystander, 3), (holder, 1)):
        connection.begin()
        with connection.cursor() as cursor:
            cursor.execute(f"UPDATE stock SET quantity = quantity + 7 WHERE sku = {sku}")
    update = "UPDATE stock SET quantity = quantity + 0 * 424200473 WHERE sku = 1"
    waiters = [stage.runs(update, database="depot") for _ in range(3)]
    for one in waiters:
        until_waiting(one)
    head = session_id(holder)
    sentence = f"Session {head} holds up 3 sessions"

    listed = stage.asks(stage.alice, "/sessions user=teller active-only", "🔒")
    assert not stage.presses(stage.alice, listed, "Who blocks?", sentence)["ephemeral"]
    stage.asks(stage.alice, "/sessions blocked", sentence)
    found = stage.asks(stage.alice, "/sessions locks", sentence)

    said = text_of(found)
    assert not tells(said, session_id(bystander))
    assert "row lock on depot.stock" in said
    assert "4242004" not in full_text(found)  # no port has so many digits
    rows = [line[0] for line in table_of(found)[1:]]
    assert rows[0] == str(head)
    assert sorted(rows[1:]) == sorted(f"↳ {one.id}" for one in waiters)
    assert buttons_of(found) == [f"Close Session {head}", f"Details {head}", "Refresh"]
    assert f"{sentence}, the longest for" in found["text"]
    assert f"Close Session {head}. It has been idle for" in found["text"]

    card = stage.presses(stage.alice, found, f"Close Session {head}", "Nothing is closed without a press")
    stage.alice.press(card, "Close Session")
    stage.alice.wait_for_change(card, "✅ closed")
    assert [one.ended() for one in waiters] == [0, 0, 0]
    bystander.commit()
    stage.until_read_anew()
    stage.alice.press(found, "Refresh")
    stage.alice.wait_for_change(found, "No session waits for another one")


def test_in_the_middle_of_an_incident_the_head_is_named_closed_and_its_waiters_go_on(stage: Stage) -> None:
    plays_an_incident(stage, stage.until_locks_show)


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("colour=red", "There is no key “colour” here"),
        ("tenant=sys tenant=sys", "tenant takes one value"),
        ("now", "is not understood here"),
        ("on=nowhere", "There is no data source nowhere"),
        ("help", "/sessions locks tenant=shop private"),
    ],
)
def test_words_typed_wrong_earn_a_sentence(stage: Stage, typed: str, sentence: str) -> None:
    assert stage.asks(stage.alice, f"/sessions locks {typed}", sentence)["ephemeral"]


def test_where_nobody_waits_that_is_said_and_a_guest_sees_nothing(stage: Stage) -> None:
    found = stage.asks(stage.alice, "/sessions locks tenat=sys private", "No session of tenant sys waits")
    assert found["ephemeral"]
    assert "“tenat” was read as tenant." in text_of(found)
    assert "as of" in text_of(found)
    stage.asks(stage.gus, "/sessions locks", "You may not see sessions")


@pytest.mark.parametrize("word", ["lock", "Blockers", "blocking", "blocked", "waiting", "locks"])
def test_a_word_for_it_typed_alone_leads_there(stage: Stage, word: str) -> None:
    stage.asks(stage.alice, f"/sessions {word}", "Locks on demo")
