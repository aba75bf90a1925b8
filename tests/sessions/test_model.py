"""The words of the session service: what pins a session, how many pages, what a toggle does."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from bot.sessions.model import Condition, Field, Flag, Operator, Pin, Session, SessionFilter, SessionPage, SessionQuery

RUNNING = Session(
    source="prod", server="10.0.0.1:2881", id=3221487826, tenant="shop", user="app", peer="10.0.3.7:50112",
    origin="10.0.3.7:50112", database="orders", command="Query", time=2.0, total_time=2.0, state="ACTIVE",
    sql="SELECT 1", sql_length=8, sql_id="A" * 32, trace_id="YB42-1", transaction_id=7, transaction_state=None,
    proxy=None, proxy_session_id=None, master_session_id=None, retry_info=0, module=None, own=False,
)  # fmt: skip

ANOTHER: dict[str, Any] = {
    "source": "test", "server": "10.0.0.2:2881", "id": 5, "tenant": "Shop", "user": "App",
    "peer": "10.0.3.7:50113", "origin": "10.0.3.8:50112", "proxy_session_id": 99,
}  # fmt: skip


def test_a_session_is_itself() -> None:
    pin = Pin.of(RUNNING)
    assert pin.same_session(RUNNING)
    assert pin.same_query(RUNNING)


@pytest.mark.parametrize("what", ANOTHER)
def test_whatever_names_a_connection_tells_two_apart(what: str) -> None:
    other = replace(RUNNING, **{what: ANOTHER[what]})
    assert not Pin.of(RUNNING).same_session(other)
    assert not Pin.of(RUNNING).same_query(other)


def test_a_session_that_works_on_is_the_same_session() -> None:
    later = replace(
        RUNNING, command="Sleep", state="SLEEP", time=60.0, sql=None, sql_id=None, trace_id=None, database="other"
    )
    assert Pin.of(RUNNING).same_session(later)
    assert not Pin.of(RUNNING).same_query(later)


def test_the_same_statement_run_again_is_another_query() -> None:
    assert not Pin.of(RUNNING).same_query(replace(RUNNING, trace_id="YB42-2"))


def test_a_query_that_was_pinned_by_its_trace_is_not_found_without_one() -> None:
    assert not Pin.of(RUNNING).same_query(replace(RUNNING, trace_id=None))


def test_a_retry_under_the_same_trace_is_the_same_query() -> None:
    assert Pin.of(RUNNING).same_query(replace(RUNNING, transaction_id=8, time=0.0, retry_info=-6005))


@pytest.mark.parametrize(("what", "value"), [("sql_id", "B" * 32), ("transaction_id", 8), ("sql_id", None)])
def test_without_a_trace_the_statement_and_its_transaction_tell(what: str, value: object) -> None:
    untraced = replace(RUNNING, trace_id=None)
    pin = Pin.of(untraced)
    assert pin.same_query(untraced)
    assert not pin.same_query(replace(untraced, **{what: value}))  # type: ignore[arg-type]  # by name


def test_a_query_that_has_ended_is_not_the_same_although_the_session_keeps_its_trace() -> None:
    assert not Pin.of(RUNNING).same_query(replace(RUNNING, command="Sleep"))


@pytest.mark.parametrize(
    ("matching", "limit", "pages"), [(0, 20, 1), (1, 20, 1), (20, 20, 1), (21, 20, 2), (60, 5, 12), (61, 5, 13)]
)
def test_pages_are_as_many_as_the_rows_fill_and_never_none(matching: int, limit: int, pages: int) -> None:
    query = SessionQuery(limit=limit)
    assert SessionPage("prod", (), 100, 0, matching, datetime.now(UTC), query).pages == pages


def test_a_toggle_turns_one_flag_over_and_goes_back_to_the_first_page() -> None:
    tenant = Condition(Field.TENANT, Operator.CONTAINS, ("shop",))
    query = SessionQuery(
        "prod", SessionFilter((tenant,), frozenset({Flag.IN_TRANSACTION})), limit=5, page=3, private=True
    )
    on = query.toggled(Flag.ACTIVE_ONLY)
    assert on.filter == SessionFilter((tenant,), frozenset({Flag.IN_TRANSACTION, Flag.ACTIVE_ONLY}))
    assert (on.page, on.limit, on.private, on.source) == (1, 5, True, "prod")
    assert on.toggled(Flag.ACTIVE_ONLY) == replace(query, page=1)
