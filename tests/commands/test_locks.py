"""/sessions locks as it is typed and pressed: on real kernels, through the strict sandbox."""

from __future__ import annotations

import pytest

from tests.support.slack_person import buttons_of, table_of, text_of
from tests.support.stage import RunningStatement, Stage, full_text, session_id

NOBODY = "Locks on demo"


def update(stage: Stage, sku: int) -> RunningStatement:
    return stage.runs(f"UPDATE stock SET quantity = 4242 WHERE sku = {sku}", database="depot")


def waits(stage: Stage, statement: RunningStatement) -> None:
    stage.wait_until(lambda: stage.row(statement.id).get("RETRY_INFO") == -6005, "the lock to be waited for")


def test_in_the_middle_of_an_incident_the_head_is_named_closed_and_its_waiters_go_on(stage: Stage) -> None:
    bystander, holder = stage.connect(database="depot"), stage.connect(database="depot")
    for connection, sku in ((bystander, 3), (holder, 1)):
        connection.begin()
        with connection.cursor() as cursor:
            cursor.execute(f"UPDATE stock SET quantity = 7 WHERE sku = {sku}")
    waiters = [update(stage, 1) for _ in range(3)]
    for one in waiters:
        waits(stage, one)
    head = session_id(holder)

    listed = stage.asks(stage.alice, "/sessions user=teller active-only", "🔒")
    found = stage.presses(stage.alice, listed, "Who blocks?", f"Session {head} holds up 3 sessions")
    assert not found["ephemeral"]
    assert stage.asks(stage.alice, "/sessions blocked", f"Session {head} holds up 3 sessions")
    found = stage.asks(stage.alice, "/sessions locks", f"Session {head} holds up 3 sessions")

    said = text_of(found)
    assert str(session_id(bystander)) not in said
    assert "row lock on" in said
    assert "4242" not in full_text(found)
    assert [line[0] for line in table_of(found)[1:]] == [
        str(head),
        *sorted((f"↳ {one.id}" for one in waiters), key=[line[0] for line in table_of(found)].index),
    ]
    assert buttons_of(found) == [f"Close Session {head}", f"Details {head}", "Refresh"]
    assert f"Session {head} holds up 3 sessions" in found["text"]
    assert "Close Session" in found["text"]

    card = stage.presses(stage.alice, found, f"Close Session {head}", "Nothing is closed without a press")
    stage.alice.press(card, "Close Session")
    stage.alice.wait_for_change(card, "✅ closed")
    assert [one.ended() for one in waiters] == [0, 0, 0]
    bystander.commit()
    stage.alice.press(found, "Refresh")
    stage.alice.wait_for_change(found, "No session waits for another one")


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
