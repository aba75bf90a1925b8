"""/sessions deadlocks on real kernels: a real deadlock, who was interrupted, and what is said where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pymysql
import pytest

from bot.sessions.deadlocks import EVENTS, Deadlock, Deadlocks, Member, complete
from bot.sessions.statement import Disclosure, Statement
from bot.slack.views.deadlocks import deadlocks
from sandbox.slack.rules import check_message
from tests.sessions.examples import sql_of
from tests.support.slack_person import text_of
from tests.support.slack_text import tells
from tests.support.stage import RunningStatement, Stage


@pytest.fixture
def quick_detection(stage: Stage) -> Iterator[Stage]:
    """Let the kernel look every 30 ms, as a cluster does; seekdb's own 5 s take it most of a minute."""
    with stage.database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("ALTER SYSTEM SET _lcl_op_interval = '30ms'")
        yield stage
        cursor.execute("ALTER SYSTEM SET _lcl_op_interval = '5s'")


def hold(stage: Stage, sku: int) -> pymysql.Connection[Any]:
    connection = stage.connect(database="depot")
    connection.begin()
    with connection.cursor() as cursor:
        cursor.execute("SET ob_query_timeout = 60000000")
        cursor.execute(f"UPDATE stock SET quantity = 7 WHERE sku = {sku}")
    return connection


def test_a_deadlock_is_shown_with_its_transactions_and_the_one_that_was_interrupted(quick_detection: Stage) -> None:
    stage = quick_detection
    first, second = hold(stage, 1), hold(stage, 2)
    crossing = [  # what is no UTF-8 keeps nobody from them
        RunningStatement(first, b"UPDATE stock SET quantity = 424242 /* \xff\xe9 */ WHERE sku = 2"),
        RunningStatement(second, b"UPDATE stock SET quantity = 424242 /* \xff\xe9 */ WHERE sku = 1"),
    ]
    ended = sorted(statement.ended() for statement in crossing)
    assert ended == [0, 1213]
    answer = stage.asks(stage.alice, "/sessions deadlocks since=1h", "2 transactions")
    said = text_of(answer)
    assert said.count("UPDATE stock SET quantity = ? WHERE sku = ?") >= 2
    assert "interrupted" in said
    assert "went on" in said
    assert not tells(said, 424242)
    assert '"INT"' not in said, "the resource holds the key's value"


def test_detection_that_is_off_is_said_with_the_way_to_switch_it_on(stage: Stage) -> None:
    with stage.database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("ALTER SYSTEM SET _lcl_op_interval = '0ms'")
        try:
            answer = stage.asks(stage.alice, "/sessions deadlocks since=1s private", "Deadlocks on demo")
        finally:
            cursor.execute("ALTER SYSTEM SET _lcl_op_interval = '5s'")
    assert "Deadlock detection is switched off" in text_of(answer)
    assert answer["ephemeral"]


def test_none_in_that_time_is_said_with_the_time_of_the_look(stage: Stage) -> None:
    recent = "SELECT 1 FROM oceanbase.DBA_OB_DEADLOCK_EVENT_HISTORY WHERE REPORT_TIME / 1000000 > UNIX_TIMESTAMP() - 2"
    with stage.database.connect() as connection, connection.cursor() as cursor:
        stage.wait_until(lambda: not cursor.execute(recent), "the last deadlock to be two seconds ago")
    said = text_of(stage.asks(stage.alice, "/sessions deadlocks since=1s", "There was no deadlock in the last 1 s"))
    assert "as of" in said
    assert "switched off" not in said


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("since=soon", "is no time to look back"),
        ("since=90d", "at most 30d"),
        ("colour=red", "There is no key “colour” here"),
        ("now", "is not understood here"),
        ("since=1h since=2h", "since takes one value"),
    ],
)
def test_words_typed_wrong_earn_a_sentence(stage: Stage, typed: str, sentence: str) -> None:
    assert stage.asks(stage.alice, f"/sessions deadlocks {typed}", sentence)["ephemeral"]


def test_a_mistyped_key_is_corrected_and_a_guest_sees_nothing(stage: Stage) -> None:
    stage.asks(stage.alice, "/sessions deadlocks sinc=1h", "“sinc” was read as since.")
    stage.asks(stage.gus, "/sessions deadlocks", "You may not")


def test_another_tenants_deadlocks_are_not_shown(stage: Stage) -> None:
    stage.asks(stage.alice, "/sessions deadlocks tenant=billing", "tells the deadlocks of tenant sys only")


def test_an_event_that_lacks_a_member_is_counted_and_not_shown() -> None:
    rows = [
        (8, 1795236013.9, "shop", 1, 2, "victim", "{txid:68}", "{}", "UPDATE a"),
        (8, 1795236013.9, "shop", 2, 2, "witness", "{txid:67}", "{}", None),
        (7, 1795236000.1, "shop", 1, 2, "witness", "{txid:5}", "{}", "UPDATE b"),
    ]
    events, incomplete = complete(rows)
    assert incomplete == 1
    [event] = events
    assert (event.id, event.tenant) == ("8", "shop")
    assert [(one.transaction, one.interrupted, sql_of(one)) for one in event.members] == [
        ("68", True, "UPDATE a"),
        ("67", False, None),
    ]


@pytest.mark.parametrize("disclosure", Disclosure)
def test_the_longest_history_fits_into_one_message_and_lets_no_markup_out(disclosure: Disclosure) -> None:
    member = Member(1, "9" * 90, False, "<!channel>" * 50, Statement.of("SELECT '<!channel>' " * 90))
    events = tuple(Deadlock("1" * 20, datetime.now(UTC), "t" * 60, (member,) * 6) for _ in range(EVENTS))
    found = Deadlocks("prod", timedelta(days=7), events, 3, False, datetime.now(UTC))
    message = deadlocks(found, ["n" * 100], disclosure=disclosure)
    check_message({"text": message.text, "blocks": message.payload()})
    assert "<!channel>" not in message.text
