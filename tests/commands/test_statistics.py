"""/sessions stats on real kernels: the numbers, the groups, and the way from a group to its list."""

from __future__ import annotations

import pytest

from bot.sessions.model import Condition, Field, Operator
from bot.sessions.statistics import Grouping
from commands.statistics import parse
from tests.support.slack_person import buttons_of, options_of, table_of, text_of
from tests.support.stage import APP_PASSWORD, Stage, session_id


def test_the_numbers_and_the_groups_are_those_of_the_server_the_most_active_first(stage: Stage) -> None:
    report = stage.runs("SELECT SLEEP(60)", user="auditor")
    for user in ("teller", "teller", "auditor"):
        stage.connect(user=user)
    answer = stage.asks(stage.alice, "/sessions stats user=teller,auditor", "Session statistics of demo")
    assert table_of(answer) == [["User", "Active", "Total"], ["auditor", "1", "2"], ["teller", "0", "2"]]
    said = text_of(answer)
    assert "Total Sessions 4" in said
    assert "Active Sessions 1" in said
    assert "2 shown of 2, the most active first · as of" in said
    assert report.is_alive()


def test_the_longest_active_time_is_not_that_of_an_idle_session(stage: Stage) -> None:
    idle = stage.connect(user="auditor")
    stage.wait_until(lambda: float(stage.row(session_id(idle))["TIME"]) > 1, "the idle session to be idle for a second")
    answer = stage.asks(stage.alice, "/sessions stats user=auditor", "Session statistics of demo")
    assert "Longest active -" in text_of(answer)


def test_sessions_are_counted_by_source_without_its_port_and_by_database(stage: Stage) -> None:
    for address in ("127.0.0.7", "127.0.0.7", "127.0.0.8"):
        stage.connect(user="auditor", bind_address=address, database="depot")
    stage.connect(user="auditor", bind_address="127.0.0.8")
    by_source = stage.asks(stage.alice, "/sessions stats user=auditor by=source", "Session statistics of demo")
    assert table_of(by_source)[1:] == [["127.0.0.7", "0", "2"], ["127.0.0.8", "0", "2"]]
    stage.alice.press(by_source, "By Database Name")
    by_database = stage.alice.wait_for_change(by_source, "by=db")
    assert table_of(by_database) == [["Database Name", "Active", "Total"], ["depot", "0", "3"], ["-", "0", "1"]]
    assert "user=auditor" in text_of(by_database), "the filter stays"


def test_statements_are_counted_by_their_sql_id_with_their_times_and_without_their_literals(stage: Stage) -> None:
    first, second = (stage.runs("SELECT SLEEP(60), 'a secret'", user=user) for user in ("teller", "auditor"))
    stage.connect(user="teller")
    answer = stage.asks(stage.alice, "/sessions stats user=teller,auditor by=sql-id", "Session statistics of demo")
    header, row = table_of(answer)
    assert header == ["SQL", "Active", "Total", "Shortest (s)", "Average (s)", "Longest (s)", "SQL ID"]
    assert row[6] == stage.row(first.id)["SQL_ID"] == stage.row(second.id)["SQL_ID"]
    assert row[1:3] == ["2", "2"]
    assert 0 <= float(row[3]) <= float(row[4]) <= float(row[5])
    assert row[0] == "SELECT SLEEP(?), ?"
    assert "a secret" not in str(answer)


@pytest.mark.parametrize(("by", "found"), [("user", 2), ("source", 1), ("db", 1)])
def test_an_entry_of_the_menu_opens_the_list_of_that_group(stage: Stage, by: str, found: int) -> None:
    mine = stage.connect(user="auditor", bind_address="127.0.0.7")
    stage.connect(user="auditor", bind_address="127.0.0.17", database="depot")
    answer = stage.asks(stage.alice, f"/sessions stats user=auditor by={by}", "Session statistics of demo")
    menu = f"Open the list of one {table_of(answer)[0][0]}"
    wanted = {"user": "auditor", "source": "127.0.0.7", "db": "-"}[by]
    [option] = [text for text in options_of(answer, menu) if text.startswith(f"{wanted} · ")]
    before = {message["key"] for message in stage.alice.messages()}
    stage.alice.choose(answer, menu, [option])
    listed = stage.alice.wait_for_message(
        lambda message: message["key"] not in before and "Sessions on demo" in text_of(message)
    )
    rows = table_of(listed)[1:]
    assert len(rows) == found
    assert str(session_id(mine)) in {row[0] for row in rows}


def test_nothing_that_fits_is_said_and_refreshing_finds_what_came(stage: Stage) -> None:
    answer = stage.asks(stage.alice, "/sessions stats user==auditor private", "No session fits that")
    assert answer["ephemeral"]
    stage.connect(user="auditor")
    stage.alice.press(answer, "Refresh")
    stage.alice.wait_for_change(answer, "Total Sessions 1")


def test_as_text_the_table_is_aligned_and_no_chart_is_needed(stage: Stage) -> None:
    stage.connect(user="auditor")
    answer = stage.asks(stage.alice, "/sessions stats user=auditor text", "Session statistics of demo")
    lines = [line.split() for line in text_of(answer).splitlines() if line.startswith(("User ", "auditor "))]
    assert lines == [["User", "Active", "Total"], ["auditor", "0", "1"]]


def test_names_that_differ_in_case_are_counted_apart_and_so_is_their_number(stage: Stage) -> None:
    with stage.database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE USER 'Auditor' IDENTIFIED BY '{APP_PASSWORD}'")
        for user in ("Auditor", "auditor"):
            stage.connect(user=user)
        answer = stage.asks(stage.alice, "/sessions stats user=auditor", "Session statistics of demo")
        cursor.execute("DROP USER 'Auditor'")
    assert sorted(table_of(answer)[1:]) == [["Auditor", "0", "1"], ["auditor", "0", "1"]]
    assert "2 shown of 2" in text_of(answer)


def test_by_within_a_value_stays_there() -> None:
    arguments = parse('sql="order by=source" by=source')
    assert arguments.by is Grouping.SOURCE
    assert arguments.query.filter.conditions == (Condition(Field.SQL, Operator.CONTAINS, ("order by=source",)),)


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("by=user by=db", "by is given twice. Give it once."),
        ("by=colour", "Sessions are counted by user, source, db, sql-id, tenant."),
        ("sort=time", "Statistics take no sort, limit or page"),
        ("limit=5", "Statistics take no sort, limit or page"),
        ("colour=red", "There is no key “colour”"),
    ],
)
def test_words_typed_wrong_earn_a_sentence(stage: Stage, typed: str, sentence: str) -> None:
    assert stage.asks(stage.alice, f"/sessions stats {typed}", sentence)["ephemeral"]


def test_a_guest_gets_a_sentence_and_no_numbers(stage: Stage) -> None:
    answer = stage.asks(stage.gus, "/sessions stats", "You may not")
    assert not buttons_of(answer)


def test_help_of_the_verb_shows_its_examples(stage: Stage) -> None:
    stage.asks(stage.alice, "/sessions stats help", "/sessions stats by=sql-id active-only")
