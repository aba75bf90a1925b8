"""/sessions sources: each data source with its health and with what its login may do."""

from __future__ import annotations

import socket

from tests.support.slack_person import table_of, text_of
from tests.support.slack_text import Json
from tests.support.stage import APP_PASSWORD, Stage


def is_answered(message: Json) -> bool:
    """Whether it tells of all data sources."""
    return "Data sources" in text_of(message) and "not yet" not in text_of(message)


def answered(stage: Stage, typed: str) -> Json:
    """Type that and return the answer once it tells of all data sources: on a busy machine that may take two."""
    return stage.alice.wait_for_change(stage.asks(stage.alice, typed, "Data sources"), is_answered)


def test_the_kernel_is_shown_with_its_version_its_view_and_its_sessions(stage: Stage) -> None:
    stage.runs("SELECT SLEEP(60)")
    answer = answered(stage, "/sessions sources")
    header, row = table_of(answer)
    shown = dict(zip(header, row, strict=True))
    assert shown["Data source"] == "demo"
    assert shown["Answers"].startswith("in ")
    assert shown["Answers"].endswith(" ms")
    assert shown["Kind"].startswith("OceanBase seekdb-v1.")
    assert shown["View"].endswith("V$OB_PROCESSLIST")
    assert (shown["Sees"], shown["May close"]) == ("all tenants", "all tenants")
    assert int(shown["Sessions"]) >= int(shown["Active"]) >= 1
    assert int(shown["Waiting"]) >= 0
    assert "1 data source, it answers" in text_of(answer)
    assert not answer["ephemeral"]


def test_sources_that_fail_or_see_little_say_why_and_no_password(wide_stage: Stage) -> None:
    wide_stage.alice.types("/sessions sources private")
    answer = wide_stage.alice.wait_for_message(is_answered)
    rows = {row[0]: row for row in table_of(answer)[1:]}
    assert list(rows) == ["away", "silent", "demo", "limited"], "those first that do not answer"
    assert rows["away"][1:] == ["no", *["-"] * 7]
    assert rows["limited"][4] == "-", "who waits for a row is not known to that one"
    assert rows["limited"][6] == "information_schema.PROCESSLIST"
    said = text_of(answer)
    assert "away  ⚠️ Data source away (127.0.0.1:" in said
    assert "cannot be reached" in said
    assert "limited  ⚠️ Read from information_schema.PROCESSLIST, since this login may not read" in said
    assert "(GRANT SELECT ON oceanbase.GV$OB_PROCESSLIST TO it)" in said
    assert "4 data sources, 2 of them do not answer" in said
    assert answer["ephemeral"]
    for secret in (APP_PASSWORD, "secret-of-away", wide_stage.database.password):
        assert secret not in str(answer)


def test_only_what_the_asker_may_see_is_named(wide_stage: Stage) -> None:
    answer = wide_stage.asks(wide_stage.bob, "/sessions sources", "Data sources")
    assert [row[0] for row in table_of(answer)[1:]] == ["demo", "limited"]
    assert wide_stage.asks(wide_stage.gus, "/sessions sources", "You may not see sessions")["ephemeral"]


def test_words_after_sources_earn_a_sentence(stage: Stage) -> None:
    told = stage.asks(stage.alice, "/sessions sources everything", "sources takes no words but private")
    assert told["ephemeral"]


def test_a_list_of_a_login_that_sees_little_says_so_in_its_footer(wide_stage: Stage) -> None:
    said = text_of(wide_stage.asks(wide_stage.alice, "/sessions source=limited", "Sessions on limited"))
    assert "⚠️ Read from information_schema.PROCESSLIST" in said
    assert "⚠️ Sessions of auditor are left out" in said
    said = text_of(wide_stage.asks(wide_stage.alice, "/sessions blocked user=nobody source=limited", "Sessions on"))
    assert "No session is known to wait for a lock." in said
    assert "Which sessions wait for a row lock is not known here." in said


def test_a_session_of_such_a_source_is_shown_with_what_there_is(wide_stage: Stage) -> None:
    report = wide_stage.runs("SELECT SLEEP(60), 'a secret'")
    card = wide_stage.asks(wide_stage.alice, f"/sessions show {report.id} source=limited", "Status ACTIVE")
    assert "SELECT SLEEP(?), ?" in text_of(card)
    assert "⚠️ Read from information_schema.PROCESSLIST" in text_of(card)
    assert "Transaction not known" in text_of(card), "and not: none"


def test_those_that_answer_are_shown_while_one_hangs_and_the_same_message_tells_of_that_one_then(
    wide_stage: Stage, silent: socket.socket
) -> None:
    silent.listen()
    answer = wide_stage.asks(wide_stage.alice, "/sessions sources", "1 not yet (this message is updated)")
    rows = {row[0]: row for row in table_of(answer)[1:]}
    assert rows["silent"][1] == "not yet"
    answer = wide_stage.alice.wait_for_change(answer, is_answered)
    rows = {row[0]: row for row in table_of(answer)[1:]}
    assert rows["demo"][1].startswith("in ")
    assert rows["silent"][1] == "no"
    assert "did not answer within 6 s" in text_of(answer) or "has not answered within 7 s" in text_of(answer)


def test_the_home_tab_is_filled_while_one_hangs_and_once_more_when_it_is_known(
    wide_stage: Stage, silent: socket.socket
) -> None:
    silent.listen()
    tab = wide_stage.alice.opens_home("not yet")
    assert {row[0]: row[1] for row in table_of(tab)[1:]}["demo"].startswith("in ")
    tab = wide_stage.alice.wait_for_home("silent  ⚠️ Data source silent")
    assert table_of(tab)[1][0] in ("away", "silent"), "those first that do not answer"


def test_somebody_who_waits_is_told_for_what(wide_stage: Stage, silent: socket.socket) -> None:
    silent.listen()
    wide_stage.asks(wide_stage.alice, "/sessions source=silent", "Still waiting for data source silent.")
