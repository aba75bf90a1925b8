"""A call of a routine on real kernels: shown as the client sent it, found by it, and no literal of it shown."""

from __future__ import annotations

import weakref

from sandbox.databases.embedded import EmbeddedServer
from tests.support.slack_person import table_of, text_of
from tests.support.stage import RunningStatement, Stage

# The statement that runs in it is made of literals, as are the call and a login that it makes.
NIGHTLY = """CREATE PROCEDURE nightly(card VARCHAR(20)) BEGIN
  PREPARE one FROM 'SELECT SLEEP(60), ''pin 847384738473'', ''IDENTIFIED BY ''''hunter2'''''''; EXECUTE one; END"""
CALL = "CALL nightly('card 471147114711')"
SECRETS = ("471147114711", "847384738473", "hunter2")


def nightly(stage: Stage) -> RunningStatement:
    """Start the call and return once the server shows what runs in it."""
    if stage.database not in _WITH_ROUTINE:
        with stage.database.connect(database="depot") as admin, admin.cursor() as cursor:
            cursor.execute(NIGHTLY)
        _WITH_ROUTINE.add(stage.database)
    call = stage.starts(stage.connect(database="depot"), CALL)

    def runs() -> bool:  # not only being prepared
        row = stage.row(call.id)
        return str(row["INFO"]).startswith("SELECT SLEEP(60)") and float(row["TOTAL_TIME"]) > 0.1

    stage.wait_until(runs, "the statement in it")
    return call


_WITH_ROUTINE: weakref.WeakSet[EmbeddedServer] = weakref.WeakSet()


def test_a_call_is_found_by_its_name_and_listed_as_the_client_sent_it_without_its_literals(stage: Stage) -> None:
    call = nightly(stage)
    for words in ("sql=nightly", "nightly", "sql=sleep(60)", "sql!=something sort=sql"):
        answer = stage.asks(stage.alice, f"/sessions {words} user=teller", "Sessions on demo")
        header, row = table_of(answer)
        assert (row[0], dict(zip(header, row, strict=True))["SQL"]) == (str(call.id), "CALL nightly(?)")
        assert not any(secret in str(answer).replace(words, "") for secret in SECRETS)
    stage.asks(stage.alice, "/sessions sql!=nightly user=teller", "0 shown of 0")


def test_details_show_the_call_and_what_runs_in_it_and_whose_sql_id_it_is(stage: Stage) -> None:
    call = nightly(stage)
    card = stage.asks(stage.alice, f"/sessions show {call.id}", f"Session {call.id} on demo")
    said = text_of(card)
    assert "CALL nightly(?)" in said
    assert "Its current statement, for " in said
    assert "SELECT SLEEP(?), ?, ?" in said
    assert "SQL ID of its current statement -" in said
    assert stage.row(call.id)["SQL_ID"] not in str(card), "of what was prepared from a text it is that text's hash"
    assert not any(secret in str(card) for secret in SECRETS)


def test_whoever_may_close_views_both_texts_with_their_literals_but_no_password(stage: Stage) -> None:
    call = nightly(stage)
    card = stage.asks(stage.alice, f"/sessions show {call.id}", f"Session {call.id} on demo")
    stage.alice.press(card, "View SQL")
    said = text_of(stage.alice.wait_for_modal("-- Its current statement, for "))
    stage.alice.closes_modal()
    assert CALL in said
    assert "'pin 847384738473'" in said
    assert "hunter2" not in said
    assert "SQL ID of its current statement" in said


def test_whoever_may_only_look_views_both_texts_without_literals(wide_stage: Stage) -> None:
    call = nightly(wide_stage)
    card = wide_stage.asks(wide_stage.bob, f"/sessions show {call.id} private", f"Session {call.id} on demo")
    wide_stage.bob.press(card, "View SQL")
    modal = wide_stage.bob.wait_for_modal("-- Its current statement, for ")
    wide_stage.bob.closes_modal()
    said = text_of(modal)
    assert "CALL nightly(?)" in said
    assert "SLEEP(?)" in said
    assert not any(secret in str(modal) for secret in SECRETS)


def test_a_card_asks_about_the_call_and_closing_its_query_ends_the_call(stage: Stage) -> None:
    call = nightly(stage)
    card = stage.asks(stage.alice, f"/kill-session {call.id} query", "Nothing is closed without a press")
    assert "CALL nightly(?)" in text_of(card)
    assert not any(secret in str(card) for secret in SECRETS)
    stage.alice.press(card, "Close Query")
    stage.alice.wait_for_change(card, "query closed")
    assert call.ended() == 1317


def test_statistics_by_sql_id_show_what_that_id_names_and_open_the_list_of_the_call(stage: Stage) -> None:
    call = nightly(stage)
    answer = stage.asks(stage.alice, "/sessions stats user=teller by=sql-id", "Session statistics of demo")
    _, row = table_of(answer)
    assert row[0] == "SELECT SLEEP(?), ?, ?"
    assert row[6] == "-"
    assert stage.row(call.id)["SQL_ID"] not in str(answer)
    assert "for a statement in a routine the times are the whole call's" in text_of(answer)
    assert not any(secret in str(answer) for secret in SECRETS)
