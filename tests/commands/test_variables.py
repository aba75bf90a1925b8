"""/sessions vars on real kernels: values as the server has them, with units, and whose they are."""

from __future__ import annotations

import pytest

from bot.sessions.variables import HIDDEN, PINNED, chosen
from tests.support.slack_person import table_of, text_of
from tests.support.stage import Stage


def value_of(stage: Stage, name: str) -> str:
    with stage.database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"SHOW GLOBAL VARIABLES LIKE '{name}'")
        return str(cursor.fetchall()[0][1])


def test_the_well_known_ones_come_first_those_that_odc_pins_above_all(stage: Stage) -> None:
    answer = stage.asks(stage.alice, "/sessions vars", "Variables of demo")
    header, *rows = table_of(answer)
    assert header == ["Variable", "Value", "Meaning"]
    names = [row[0] for row in rows]
    pinned = [name for name in PINNED if name in names]
    assert len(pinned) >= 9
    assert names[: len(pinned)] == pinned
    assert all(row[2] != "-" for row in rows)
    assert "no server shows another session's" in text_of(answer)
    assert "find others with like=" in text_of(answer)


def test_a_time_is_shown_in_the_servers_unit_and_in_one_that_reads(stage: Stage) -> None:
    answer = stage.asks(stage.alice, "/sessions vars like=ob_query_timeout", "Variables of demo")
    rows = {row[0]: row for row in table_of(answer)}
    assert rows["ob_query_timeout"][1] == "5000000 µs (5.0 s)", "the bot's own session has its own time-out"
    assert rows["ob_query_timeout"][2] == "when a running query is ended; set by the bot for itself"
    assert "Where the bot has set one for itself, global has the server's." in text_of(answer)
    everywhere = stage.asks(stage.alice, "/sessions vars like=ob_query_timeout global", "Global variables of demo")
    rows = {row[0]: row for row in table_of(everywhere)}
    assert rows["ob_query_timeout"][1].startswith(f"{value_of(stage, 'ob_query_timeout')} µs")
    assert rows["ob_query_timeout"][2] == "when a running query is ended"
    others = stage.asks(stage.alice, "/sessions vars like=version_comment", "Variables of demo")
    assert "Where the bot has set one" not in text_of(others), "it has set none of these"


def test_whose_they_are_is_said_and_those_of_a_tenant_that_there_is_not_are_not_replaced(stage: Stage) -> None:
    for typed, said in (
        ("vars", "Variables of demo, tenant sys. These are the variables of the bot's own session, which is of tenant"),
        ("vars tenant=sys global", "Global variables of demo, tenant sys. Defaults for new sessions of tenant sys"),
    ):
        answer = stage.asks(stage.alice, f"/sessions {typed}", said)
        assert said in answer["text"], "also where no blocks are shown"
    refused = stage.asks(stage.alice, "/sessions vars tenant=shop", "demo tells the variables of tenant sys only")
    assert "those of shop are not shown" in text_of(refused)
    assert refused["ephemeral"]


def test_a_part_of_a_name_finds_them_all_and_wildcards_are_literals(stage: Stage) -> None:
    answer = stage.asks(stage.alice, "/sessions vars wait_timeout private", "Variables of demo")
    assert answer["ephemeral"]
    names = [row[0] for row in table_of(answer)[1:]]
    assert "wait_timeout" in names
    assert all("wait_timeout" in name for name in names)
    stage.asks(stage.alice, "/sessions vars like=w%t", "No variable has a name like that")


def test_more_than_are_shown_are_counted(stage: Stage) -> None:
    answer = stage.asks(stage.alice, "/sessions vars like=e", "Variables of demo")
    assert len(table_of(answer)) == 41
    assert "40 shown of" in text_of(answer)


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("colour=red", "There is no key “colour” here"),
        ("like=a like=b", "like is given twice"),
        ("timeout size", "Give one part of a name"),
        ("source=nowhere", "There is no data source nowhere"),
        ("tenant=a,b", "tenant takes one value after ="),
    ],
)
def test_words_typed_wrong_earn_a_sentence(stage: Stage, typed: str, sentence: str) -> None:
    assert stage.asks(stage.alice, f"/sessions vars {typed}", sentence)["ephemeral"]


def test_a_mistyped_word_is_corrected_and_said(stage: Stage) -> None:
    stage.asks(stage.alice, "/sessions vars globl", "“globl” was read as global.")


def test_a_guest_sees_no_variables(stage: Stage) -> None:
    stage.asks(stage.gus, "/sessions vars", "You may not")


def test_what_may_be_a_secret_is_not_shown() -> None:
    rows = [("report_password", "hunter2"), ("validate_password_length", ""), ("autocommit", "ON")]
    assert [variable.value for variable in chosen(rows, "a")] == ["ON", HIDDEN, ""]
