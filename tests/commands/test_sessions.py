"""/sessions on real kernels: what people type and what they see."""

from __future__ import annotations

from typing import Any

import pytest

from bot.access import Person
from bot.errors import InputError
from bot.slack.events import Command
from commands.sessions import SessionsCommand
from tests.support.slack_person import buttons_of, options_of, table_of, text_of
from tests.support.stage import Stage, session_id

OCP_COLUMNS = [
    "Session ID",
    "SQL",
    "User",
    "Source",
    "Database Name",
    "Command",
    "Execution Time (s)",
    "Status",
    "observer",
    "OBProxy",
]


def test_a_list_shows_the_columns_of_ocp_in_ocps_order(stage: Stage) -> None:
    sleeper = stage.connect(database="depot", bind_address="127.0.0.7")
    answer = stage.asks(stage.alice, f"/sessions id={session_id(sleeper)}", "Sessions on demo")
    header, row = table_of(answer)
    assert header == OCP_COLUMNS
    assert row[0] == str(session_id(sleeper))
    assert row[1:3] == ["-", "teller"]
    assert row[3].startswith("127.0.0.7:")
    assert row[4:6] == ["depot", "Sleep"]
    assert float(row[6]) >= 0
    assert row[7:] == ["SLEEP", f"127.0.0.1:{stage.database.port}", "-"]


def test_no_database_is_shown_as_a_dash_and_not_as_the_text_null(stage: Stage) -> None:
    sleeper = stage.connect()
    answer = stage.asks(stage.alice, f"/sessions id={session_id(sleeper)}", "Sessions on demo")
    assert table_of(answer)[1][4] == "-"


def test_active_sessions_of_a_tenant_show_the_running_statement_without_its_literals(stage: Stage) -> None:
    report = stage.runs("SELECT SLEEP(60), 'a secret'")
    stage.connect()
    answer = stage.asks(stage.alice, "/sessions tenant=sys active-only", "Sessions on demo")
    rows = {row[0]: row for row in table_of(answer)[1:]}
    assert rows[str(report.id)][1] == "SELECT SLEEP(?), ?"
    assert {row[7] for row in rows.values()} == {"ACTIVE"}
    assert "a secret" not in str(answer)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("user=TELLER", True),
        ("user=uditor", False),
        ("user==teller", True),
        ("user==tell", False),
        ("user==TELLER", False),
        ("db==depot", True),
        ("db==DEPOT", False),
        ("user!=auditor", True),
        ("user!=teller", False),
        ("user=nobody,teller", True),
        ("db=EPO", True),
        ("db=d_pot", False),
        ("db=%", False),
        ("host=127.0.0.9", True),
        ("host=10.", False),
        ("tenant=sys", True),
        ("tenant=SYS", False),
        ("tenant!=sys", False),
        ("status=sleep", True),
        ("status!=Active", True),
        ("status=killed", False),
        ("status=BACKGROUND,query_deadlocked", False),
        ("status!=killed", True),
        ("status!=sleep", False),
        ("time<1h", True),
        ("time>1h", False),
        ("idle", True),
        ("active-only", False),
        ("in-transaction", False),
        ("command=slee", True),
        ("sql=select", False),
        ("server=127.0.0.1", True),
        ("proxy=10.0.0.5", False),
        ("sql-id=A1B2", False),
        ("trace-id=Y", False),
        ("elle", True),
        ("any=DEPOT", True),
        ("any!=depot", False),
        ("sleep", True),
        ("nowhere", False),
        ("127.0.0.9", True),
        ("127.0.0.8", False),
    ],
)
def test_each_filter_finds_what_it_says(stage: Stage, words: str, found: bool) -> None:
    sleeper = stage.connect(database="depot", bind_address="127.0.0.9")
    answer = stage.asks(stage.alice, f"/sessions id={session_id(sleeper)} {words}", "Sessions on demo")
    assert (str(session_id(sleeper)) in {row[0] for row in table_of(answer)[1:]}) is found
    assert ("No session fits that" in text_of(answer)) is not found


def test_an_open_transaction_is_found_by_its_flag(stage: Stage) -> None:
    connection = stage.connect(database="depot")
    connection.begin()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE stock SET quantity = 1 WHERE sku = 2")
    answer = stage.asks(stage.alice, f"/sessions in-transaction id={session_id(connection)}", "Sessions on demo")
    assert len(table_of(answer)) == 2


def test_totals_count_what_is_there_what_is_active_and_what_fits(stage: Stage) -> None:
    stage.runs("SELECT SLEEP(60)", user="auditor")
    for _ in range(3):
        stage.connect(user="auditor")
    answer = stage.asks(stage.alice, "/sessions user=auditor limit=2", "Sessions on demo")
    assert "2 shown of 4 matching · page 1 of 2" in text_of(answer)
    assert "active" in text_of(answer)
    assert table_of(answer)[1][7] == "ACTIVE", "ACTIVE first"


def test_those_who_wait_for_a_row_lock_are_counted_with_the_longest_wait(stage: Stage) -> None:
    holder = stage.connect(database="depot")
    holder.begin()
    with holder.cursor() as cursor:
        cursor.execute("UPDATE stock SET quantity = 1 WHERE sku = 3")
    waiter = stage.runs("UPDATE stock SET quantity = quantity + 1 WHERE sku = 3", database="depot")
    stage.wait_until(lambda: stage.row(waiter.id).get("RETRY_INFO") == -6005, "the writer to wait")
    said = text_of(stage.asks(stage.alice, "/sessions user=teller db=depot", "Sessions on demo"))
    assert "🔒 1 of these waits for a row lock, for " in said
    assert "Details says who holds it" in said
    assert "🔒" not in text_of(stage.asks(stage.alice, "/sessions user=teller idle", "Sessions on demo"))


def test_paging_and_refreshing_edit_the_message_in_place_and_keep_the_filter(stage: Stage) -> None:
    for _ in range(5):
        stage.connect(user="auditor")
    first = stage.asks(stage.alice, "/sessions user=auditor limit=2 sort=id", "page 1 of 3")
    assert "◀" not in buttons_of(first)
    stage.alice.press(first, "▶")
    second = stage.alice.wait_for_change(first, "page 2 of 3")
    assert {row[0] for row in table_of(first)[1:]}.isdisjoint({row[0] for row in table_of(second)[1:]})
    stage.bob.press(second, "▶")
    third = stage.alice.wait_for_change(first, "page 3 of 3")
    assert "▶" not in buttons_of(third)
    stage.alice.press(third, "◀")
    back = stage.alice.wait_for_change(first, "page 2 of 3")
    stage.connect(user="auditor")
    stage.alice.press(back, "Refresh")
    refreshed = stage.alice.wait_for_change(first, "of 6 matching")
    assert "user=auditor" in text_of(refreshed)
    stage.alice.press(refreshed, "Active only")
    assert "active-only" in text_of(stage.alice.wait_for_change(first, "No session fits that"))


def test_a_private_list_is_seen_by_its_asker_alone_and_refreshes_in_place(stage: Stage) -> None:
    sleeper = stage.connect()
    answer = stage.asks(stage.alice, f"/sessions private id={session_id(sleeper)}", "Sessions on demo")
    assert answer["ephemeral"]
    assert answer["key"] not in {message["key"] for message in stage.bob.messages()}
    stage.alice.press(answer, "Active only")
    stage.alice.wait_for_change(answer, "No session fits that")


def test_text_gives_an_aligned_preformatted_table(stage: Stage) -> None:
    sleeper = stage.connect()
    answer = stage.asks(stage.alice, f"/sessions text id={session_id(sleeper)}", "Sessions on demo")
    assert not [block for block in answer["blocks"] if block["type"] == "table"]
    assert "Session ID" in text_of(answer)
    assert str(session_id(sleeper)) in text_of(answer)


def test_a_workspace_without_the_table_block_gets_the_same_list_as_text(stage: Stage) -> None:
    sleeper = stage.connect()
    stage.slack.faults.refuse_blocks.add("table")
    try:
        answer = stage.asks(stage.alice, f"/sessions id={session_id(sleeper)}", "Sessions on demo")
    finally:
        stage.slack.faults.refuse_blocks.clear()
    assert str(session_id(sleeper)) in text_of(answer)
    assert "Pick sessions" in text_of(answer)


def test_the_bots_own_sessions_are_not_listed(stage: Stage) -> None:
    answer = stage.asks(stage.alice, "/sessions user=root", "Sessions on demo")
    with stage.database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT id FROM oceanbase.V$OB_PROCESSLIST WHERE module = 'session-bot'")
        own = {str(row[0]) for row in cursor.fetchall()}
    assert own, "the bot tags its sessions"
    assert own.isdisjoint({row[0] for row in table_of(answer)[1:]} if "No session" not in text_of(answer) else set())


def test_view_sql_shows_the_whole_statement_to_the_presser_alone(stage: Stage) -> None:
    ending = "'the very end of it'"
    report = stage.runs(f"SELECT SLEEP(60), {', '.join(f'{n} AS number_{n}' for n in range(300))}, {ending}")
    answer = stage.asks(stage.alice, f"/sessions id={report.id}", "Sessions on demo")
    stage.alice.choose(answer, "Pick sessions", options_of(answer, "Pick sessions")[:1])
    stage.alice.press(answer, "View SQL")
    modal = stage.alice.wait_for_modal(ending)
    assert "Trace ID" in text_of(modal)
    assert stage.bob.modal() is None
    stage.alice.closes_modal()


def test_view_sql_without_a_pick_asks_for_one(stage: Stage) -> None:
    sleeper = stage.connect()
    answer = stage.asks(stage.alice, f"/sessions id={session_id(sleeper)}", "Sessions on demo")
    told = stage.presses(stage.alice, answer, "View SQL", "Pick a session")
    assert told["ephemeral"]


def test_view_sql_of_a_session_that_has_ended_says_so(stage: Stage) -> None:
    sleeper = stage.connect()
    answer = stage.asks(stage.alice, f"/sessions id={session_id(sleeper)}", "Sessions on demo")
    stage.alice.choose(answer, "Pick sessions", options_of(answer, "Pick sessions")[:1])
    number = session_id(sleeper)
    sleeper.close()
    stage.wait_until(lambda: not stage.row(number), "the session's end")
    stage.alice.press(answer, "View SQL")
    stage.alice.wait_for_modal("has ended since the list was made")
    stage.alice.closes_modal()


def test_a_guest_gets_a_sentence_and_no_list(stage: Stage) -> None:
    answer = stage.asks(stage.gus, "/sessions", "You may not see sessions")
    assert answer["ephemeral"]
    assert "Error id" in text_of(answer)


def test_a_guest_cannot_use_the_buttons_of_somebody_elses_list(stage: Stage) -> None:
    report = stage.runs("SELECT SLEEP(60)")
    answer = stage.asks(stage.alice, f"/sessions id={report.id}", "Sessions on demo")
    stage.gus.choose(answer, "Pick sessions", options_of(answer, "Pick sessions")[:1])
    for button in ("Refresh", "Close Session", "Close Query"):
        assert stage.presses(stage.gus, answer, button, "You may not")["ephemeral"]
    stage.gus.press(answer, "View SQL")
    stage.gus.wait_for_modal("You may not")
    stage.gus.closes_modal()
    assert report.is_alive()


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("tenat=x colour=red", "There is no key “colour”"),
        ("tenant=a tenant=b", "tenant is given twice"),
        ("active-only idle", "exclude each other"),
        ("time=>5m", "=> is not a comparison"),
        ("id=4294967299", "is not a session id"),
        ("=😀", "What stands before"),
        ("sql=" + "x" * 3000, "a command takes at most 1,000"),
        ('sql="never closed', "is never closed"),
        ("status=actve", "There is no status “ACTVE”, and no session has it now"),
        ("status!=dead", "There is no status “DEAD”, and no session has it now"),
        ("stats status=dead", "There is no status “DEAD”, and no session has it now"),
    ],
)
def test_words_typed_wrong_earn_a_sentence_an_example_and_an_id_that_is_in_the_log(
    stage: Stage, typed: str, sentence: str
) -> None:
    answer = stage.asks(stage.alice, f"/sessions {typed}", sentence)
    assert answer["ephemeral"]
    assert "For example: /sessions" in text_of(answer)
    error_id = text_of(answer).split("Error id ")[1].split()[0]
    stage.slack.wait_for(lambda: error_id in stage.bot.log.read_text())


def test_a_mistyped_key_is_corrected_and_said(stage: Stage) -> None:
    answer = stage.asks(stage.alice, "/sessions tenat=sys user=“nobody”", "Sessions on demo")
    assert "“tenat” was read as tenant." in text_of(answer)
    assert "/sessions on=demo tenant=sys user=nobody" in text_of(answer)


def test_a_condition_after_a_comma_narrows_the_list_and_that_is_said(stage: Stage) -> None:
    stage.connect()
    answer = stage.asks(stage.alice, "/sessions tenant=sys, user=nobody", "Sessions on demo")
    assert "/sessions on=demo tenant=sys user=nobody" in text_of(answer)
    assert "“user=nobody” after the comma was read as a condition of its own." in text_of(answer)
    assert "No session fits that" in text_of(answer)


def test_help_shows_commands_that_run(stage: Stage) -> None:
    answer = stage.asks(stage.alice, "/sessions help", "/sessions active-only")
    assert answer["ephemeral"]


def test_a_list_is_answered_where_the_bot_is_no_member(stage: Stage) -> None:
    stage.asks(stage.alice, "/sessions", "Sessions on demo", channel="C03GENERAL")


def test_a_command_delivered_twice_is_answered_once(stage: Stage) -> None:
    sleeper = stage.connect()
    marker = f"id={session_id(sleeper)}"
    stage.slack.faults.deliver_twice = True
    try:
        stage.asks(stage.alice, f"/sessions {marker}", "Sessions on demo")
        stage.asks(stage.alice, "/sessions help", "/sessions active-only")
    finally:
        stage.slack.faults.deliver_twice = False
    answers = [message for message in stage.alice.messages() if message["is_bot"] and marker in text_of(message)]
    assert len(answers) == 1


HOSTILE = (
    "SELECT SLEEP(60), 'PREPARE: CREATE USER x IDENTIFIED BY \"hunter2\"', "
    "'``` <!channel> <@U01ALICE> </table> \u202e\u0007 <https://evil.example|click>', '{long}'"
)


def test_a_statement_that_tries_to_break_out_is_shown_harmlessly_everywhere(stage: Stage) -> None:
    hostile = stage.runs(HOSTILE.format(long="x" * 100_000))
    listed = stage.asks(stage.alice, f"/sessions id={hostile.id}", "Sessions on demo")
    card = stage.asks(stage.alice, f"/kill-session {hostile.id}", "Nothing is closed without a press")
    stage.alice.choose(listed, "Pick sessions", options_of(listed, "Pick sessions")[:1])
    stage.alice.press(listed, "View SQL")
    modal = stage.alice.wait_for_modal("cuts a statement at 65,535 bytes")
    stage.alice.closes_modal()
    for place in (listed, card):
        assert "hunter2" not in str(place)
        assert "channel" not in text_of(place).replace("channel.", "")
        assert "xxx" not in text_of(place)
    assert "hunter2" not in str(modal)
    preformatted = [
        element
        for block in modal["blocks"]
        for element in block.get("elements", [])
        if element.get("type") == "rich_text_preformatted"
    ]
    literal = "".join(part["text"] for element in preformatted for part in element["elements"])
    assert "``` <!channel> <@U01ALICE> </table> \\u202e\\u0007 <https://evil.example|click>" in literal, "as it is"
    assert {part["type"] for element in preformatted for part in element["elements"]} == {"text"}


def test_a_slip_of_a_verb_is_that_verb_and_a_word_that_may_be_meant_is_looked_for(stage: Stage) -> None:
    for typed, answer, said in (
        ("triag on=demo", "Triage of demo", "“triag” was read as triage."),
        ("lokcs", "Locks on demo", "“lokcs” was read as locks."),
        ("transaction age>1m", "Open transactions on demo", "“transaction” was read as transactions."),
    ):
        stage.asks(stage.alice, f"/sessions {typed}", answer)
        stage.alice.wait_for_message(said)
    assert "Did you mean /sessions locks?" in text_of(stage.asks(stage.alice, "/sessions block", " any=block"))
    assert "Did you mean" not in text_of(stage.asks(stage.alice, '/sessions "triag"', " any=triag"))


def test_what_is_wrong_behind_a_slip_of_a_verb_is_told_with_how_that_was_read() -> None:
    def verb(_command: Command, text: str) -> None:
        raise InputError(f"“{text}” is not understood here.", spot=text)

    told: Any = None
    typed = Command("/sessions", "transaction log", Person("U01ALICE", "T1"), "C1", "", told)
    with pytest.raises(InputError) as refused:
        SessionsCommand(told, {"transactions": verb}).answer(typed)
    assert refused.value.spot == "log"
    assert refused.value.sentence == (
        "“log” is not understood here. “transaction” was read as transactions. In quotes it is searched for."
    )
