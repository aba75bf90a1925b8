"""/sessions triage on real servers: what is set up for real is found, its button pressed, and the harm seen to end."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from sandbox.databases.embedded import EmbeddedServer
from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.operations.test_reload import reload
from tests.support.servers import EmbeddedMySQL
from tests.support.slack_person import Person, buttons_of, text_of
from tests.support.slack_text import Json, tells
from tests.support.stage import ASKS, MariaDBStage, MySQLStage, RunningStatement, Stage, session_id, staged_as

SECRET = 424242
# So that nobody waits for a minute, and four are many.
QUICK = """
[triage]
timeout = "10s"
statement_over = "1s"
idle_transaction_over = "1s"
same_statement = 4
same_statement_over = "1s"
"""


@pytest.fixture(scope="module", params=["oceanbase", "mariadb", "mysql"], ids=["oceanbase-4.3.5", "mariadb", "mysql"])
def standing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    server = request.getfixturevalue(request.param)
    assert isinstance(server, EmbeddedServer)
    kind: type[Stage] = Stage
    if not isinstance(server, EmbeddedOceanBase):
        kind = MySQLStage if isinstance(server, EmbeddedMySQL) else MariaDBStage
    with staged_as(kind, server, tmp_path_factory.mktemp("bot"), user="root", more=QUICK) as stage:
        yield stage


@pytest.fixture
def stage(standing: Stage) -> Iterator[Stage]:
    """Give the standing stage and close afterwards what the test opened on it."""
    yield standing
    standing.tidy()


def triage(stage: Stage, *sentences: str, without: str = "\0") -> Json:
    """Ask until the answer has all of these: what servers show comes a moment later, and reads are shared for one."""
    found: list[Json] = []

    def told() -> bool:
        answer = stage.asks(stage.alice, "/sessions triage", "Triage of demo")
        found.append(stage.alice.wait_for_change(answer, lambda message: "It goes on" not in text_of(message)))
        said = text_of(found[-1])
        return all(sentence in said for sentence in sentences) and without not in said

    try:
        stage.wait_until(told, f"triage to tell {sentences}")
    except TimeoutError as error:
        raise AssertionError(text_of(found[-1])) from error
    return found[-1]


def closes(stage: Stage, answer: Json, button: str, confirm: str, outcome: str) -> Json:
    """Press a finding's button, then that of the card it leads to."""
    card = stage.presses(stage.alice, answer, button, ASKS)
    stage.alice.press(card, confirm)
    return stage.alice.wait_for_change(card, outcome)


def opens(stage: Stage, sku: int) -> int:
    """Leave a transaction open that has changed a row."""
    holder = stage.connect(database="depot")
    holder.begin()
    with holder.cursor() as cursor:
        cursor.execute(f"UPDATE stock SET quantity = quantity + {SECRET} WHERE sku = {sku}")
    return session_id(holder)


def test_who_holds_up_others_is_told_first_and_its_button_frees_them(stage: Stage) -> None:
    decoy = opens(stage, 3)
    holder = opens(stage, 1)
    waiters = [
        stage.runs(f"UPDATE stock SET quantity = quantity - {SECRET} WHERE sku = 1", database="depot") for _ in range(2)
    ]
    answer = triage(stage, f"Session {holder} (", "holds up 2 sessions", "1 transaction has been idle for over 1 s")
    said = text_of(answer)
    assert said.index(f"Session {holder} (") < said.index("1 transaction has been idle")
    assert f"holds up nobody: {decoy} (teller" in said
    assert f"Session {holder} (" in answer["text"], "a phone's notification has it"
    assert f"(Close Session {holder})" in answer["text"]
    assert not tells(said, SECRET)
    assert [one for one in buttons_of(answer) if one.startswith("Close")] == [f"Close Session {holder}"]
    closes(stage, answer, f"Close Session {holder}", "Close Session", "✅ closed")
    assert [one.ended() for one in waiters] == [0, 0]
    assert stage.row(holder) == {}
    assert stage.row(decoy)


def test_one_statement_many_times_is_closed_with_one_button_and_nothing_else_is(stage: Stage) -> None:
    retries = [stage.runs(f"SELECT SLEEP(600), {SECRET + number}") for number in range(4)]
    report = stage.runs("SELECT SLEEP(600) FROM depot.stock")
    answer = triage(stage, "4 sessions run the same statement", f"Session {report.id} (")
    said = text_of(answer)
    assert "That looks like retries" in said
    assert "SELECT SLEEP(?), ?" in said
    assert not tells(said, SECRET)
    with requiring_a_reason(stage):
        told = text_of(stage.presses(stage.alice, answer, "Close these 4 Queries", "A reason is required"))
        command = told[told.index("/kill-session ") :].splitlines()[0]
        card = text_of(stage.asks(stage.alice, command, ASKS))
        asked = set(map(int, re.findall(r"Session ID (\d+)", card)))
        assert asked == {one.id for one in retries}, "what the sentence says can be typed"
    result = closes(stage, answer, "Close these 4 Queries", "Close Query", "4 query closed")
    assert "one statement that runs for over 1 s" in text_of(result)
    for one in retries:
        one.ended()
        stage.wait_until(lambda: stage.row(one.id)["COMMAND"] == "Sleep", "the client to be idle, a moment later")  # noqa: B023
    assert report.is_alive()
    triage(stage, f"Session {report.id} (", without="the same statement")
    ended = stage.presses(stage.alice, answer, "Close these 4 Queries", "does not run for so long any more")
    assert ended["ephemeral"]


@contextlib.contextmanager
def requiring_a_reason(stage: Stage) -> Iterator[None]:
    before = stage.bot.config.read_text()
    reload(stage, f"{before}\n[closing]\nrequire_reason = true\n")
    try:
        yield
    finally:
        reload(stage, before)


def test_what_was_closed_and_runs_again_is_told_with_its_client(stage: Stage) -> None:
    report = stage.runs(f"SELECT SLEEP(600), {SECRET} FROM depot.stock")
    card = stage.card_of(f"{report.id} query")
    stage.alice.press(card, "Close Query")
    stage.alice.wait_for_change(card, "query closed")
    report.ended()
    again = stage.starts(report.connection, f"SELECT SLEEP(600), {SECRET} FROM depot.stock")
    answer = triage(stage, f"Session {report.id} (", "The same query was closed once in 10 min")
    assert text_of(answer).count(f"Session {report.id} (") == 1
    assert again.is_alive()


def test_near_the_limit_the_idle_ones_of_one_client_are_closed_and_those_in_a_transaction_stay(stage: Stage) -> None:
    with limited(stage, "crowd", 6):
        free = [session_id(stage.connect("crowd", database="depot")) for _ in range(3)]
        busy = stage.connect("crowd", database="depot")
        busy.begin()
        with busy.cursor() as cursor:
            cursor.execute("UPDATE stock SET quantity = 1 WHERE sku = 2")
        neighbour = session_id(stage.connect("teller"))
        report = stage.runs("SELECT SLEEP(600)", "crowd")
        answer = triage(
            stage, "5 of 6 connections of user crowd are in use", "of which 3 are idle outside of a transaction"
        )
        assert "frees 3 of 5 connections" in text_of(answer)
        closes(stage, answer, "Close its 3 idle ones", "Close Session", "3 closed")
        assert [stage.row(number) for number in free] == [{}, {}, {}]
        assert stage.row(session_id(busy))
        assert stage.row(neighbour)
        assert report.is_alive()


@contextlib.contextmanager
def limited(stage: Stage, user: str, most: int) -> Iterator[None]:
    """Make a user that may have so many connections."""
    with stage.database.connect() as admin, admin.cursor() as cursor:
        cursor.execute(f"CREATE USER {user} IDENTIFIED BY 'app-password'")
        cursor.execute(f"GRANT ALL ON depot.* TO {user}")
        cursor.execute(f"ALTER USER {user} WITH MAX_USER_CONNECTIONS {most}")
        try:
            yield
        finally:
            stage.tidy()
            cursor.execute(f"DROP USER {user}")


def test_where_nothing_is_wrong_that_is_said_with_what_was_looked_at(stage: Stage) -> None:
    report: RunningStatement = stage.runs("SELECT SLEEP(600)", "auditor")
    answer = stage.asks(stage.alice, "/sessions triage private", "Triage of demo")
    said = text_of(stage.alice.wait_for_change(answer, lambda message: "It goes on" not in text_of(message)))
    assert answer["ephemeral"]
    if "Nothing found that has to be closed" in said:  # on a slow machine it has been running for a second
        assert f"Longest running: {report.id} (auditor" in said
        assert "Oldest transactions: " in said
    assert "one statement 4 times or more for over 1 s" in said
    assert "deadlocks of the last 15 min" in said
    stage.asks(stage.gus, "/sessions triage", "You may not")


def test_words_that_triage_does_not_know_earn_a_sentence(stage: Stage) -> None:
    assert stage.asks(stage.alice, "/sessions triage colour=red", "There is no key “colour” here")["ephemeral"]


def test_of_several_data_sources_the_sick_ones_stand_first_and_one_that_hangs_holds_up_nobody(
    wide_stage: Stage, silent: socket.socket
) -> None:
    silent.listen()
    report = wide_stage.runs("SELECT SLEEP(600)")
    before = [message["key"] for message in wide_stage.alice.messages()]
    wide_stage.alice.types("/sessions triage")
    first = wide_stage.alice.wait_for_message(
        lambda message: message["key"] not in before and "Triage of" in message["text"]
    )
    said = text_of(wide_stage.alice.wait_for_change(first, lambda message: "It goes on" not in text_of(message)))
    places = [said.index(f"\n{name}: ") for name in ("away", "silent", "demo")]
    assert places == sorted(places)
    assert said.count("⚠️ Data source") == 2
    assert "[Refresh]" in said
    assert "silent" not in text_of(answered(wide_stage.bob, wide_stage)), "nobody hears of what they may not see"
    assert report.is_alive()


def test_thirty_at_once_are_all_answered_though_one_data_source_hangs(wide_stage: Stage, silent: socket.socket) -> None:
    silent.listen()
    before = {message["key"] for message in wide_stage.alice.messages()}
    with ThreadPoolExecutor(30) as people:
        list(people.map(lambda _: wide_stage.alice.types("/sessions triage"), range(30)))

    def answers() -> list[str]:
        new = [one["text"] for one in wide_stage.alice.messages() if one["key"] not in before]
        return [text for text in new if not text.startswith(("⏳", "/sessions"))]

    wide_stage.wait_until(lambda: len(answers()) >= 30, "everybody to be answered")
    assert [text for text in answers() if "Triage of" not in text] == []
    wide_stage.wait_until(lambda: not any("It goes on" in text for text in answers()), "all to be told to the end")


def answered(person: Person, stage: Stage) -> Json:
    answer = stage.asks(person, "/sessions triage", "Triage")
    return person.wait_for_change(answer, lambda message: "It goes on" not in text_of(message))


def test_one_data_source_that_is_named_is_refreshed_in_place_with_its_askers_rights(wide_stage: Stage) -> None:
    answer = wide_stage.asks(wide_stage.alice, "/sessions triage on=demo", "Triage of demo")
    holder = wide_stage.connect(database="depot")
    holder.begin()
    with holder.cursor() as cursor:
        cursor.execute("UPDATE stock SET quantity = 7 WHERE sku = 1")
    waiter = wide_stage.runs("UPDATE stock SET quantity = 8 WHERE sku = 1", database="depot")
    wide_stage.until_locks_show(waiter)
    wide_stage.bob.press(answer, "Refresh")
    shown = wide_stage.alice.wait_for_change(answer, f"Session {session_id(holder)} (")
    assert "Seen with the rights of <@U01ALICE>" in text_of(shown)
    holder.rollback()
    assert waiter.ended() == 0
