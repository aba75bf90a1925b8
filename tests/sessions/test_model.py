"""The words of the session service: what pins a session, how many pages, what a toggle does."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from bot.sessions.model import (
    Client,
    Condition,
    Field,
    Flag,
    Operator,
    Pin,
    Session,
    SessionFilter,
    SessionPage,
    SessionQuery,
    Transaction,
)
from bot.sessions.statement import Disclosure, Statement
from tests.support.sessions import like

RUNNING = Session(
    source="prod",
    server="10.0.0.1:2881",
    id=3221487826,
    tenant="shop",
    client=Client(user="app", peer="10.0.3.7:50112", origin="10.0.3.7:50112"),
    database="orders",
    command="Query",
    time=2.0,
    total_time=2.0,
    state="ACTIVE",
    statement=Statement.of("SELECT 1", sql_id="A" * 32),
    trace_id="YB42-1",
    request_id="YB42-1",
    transaction=Transaction(7, None),
    master_session_id=None,
    retry_info=0,
    own=False,
)

ANOTHER: dict[str, Any] = {
    "source": "test",
    "server": "10.0.0.2:2881",
    "id": 5,
    "tenant": "Shop",
    "user": "App",
    "peer": "10.0.3.7:50113",
    "origin": "10.0.3.8:50112",
    "proxy_session_id": 99,
}


def test_a_session_is_itself() -> None:
    pin = Pin.of(RUNNING)
    assert pin.same_session(RUNNING)
    assert pin.same_request(RUNNING)


@pytest.mark.parametrize("what", ANOTHER)
def test_whatever_names_a_connection_tells_two_apart(what: str) -> None:
    other = like(RUNNING, **{what: ANOTHER[what]})
    assert not Pin.of(RUNNING).same_session(other)
    assert not Pin.of(RUNNING).same_request(other)


def test_a_session_that_works_on_is_the_same_session() -> None:
    later = replace(RUNNING, command="Sleep", state="SLEEP", time=60.0, statement=None, trace_id=None, database="other")
    assert Pin.of(RUNNING).same_session(later)
    assert not Pin.of(RUNNING).same_request(later)


def test_the_same_statement_run_again_is_another_query() -> None:
    assert not Pin.of(RUNNING).same_request(replace(RUNNING, trace_id="YB42-2", request_id="YB42-2"))


def test_a_query_that_was_pinned_by_its_trace_is_not_found_without_one() -> None:
    assert not Pin.of(RUNNING).same_request(replace(RUNNING, trace_id=None, request_id=None))


def test_a_retry_under_the_same_trace_is_the_same_request() -> None:
    assert Pin.of(RUNNING).same_request(like(RUNNING, transaction_id=8, time=0.0, retry_info=-6005))


def test_another_statement_of_the_same_packet_is_another_query() -> None:
    assert not Pin.of(RUNNING).same_request(replace(RUNNING, statement=Statement.of("SELECT 2")))
    assert not Pin.of(RUNNING).same_request(replace(RUNNING, statement=Statement.of("SELECT 1", length=9000)))


def test_a_text_whose_passwords_the_store_keeps_hidden_is_still_the_same_text() -> None:
    runs = Statement.of(r"SELECT SLEEP(60), 'CREATE USER u IDENTIFIED BY \'x\''")
    kept = Statement.of(runs.shown(Disclosure.ALL_BUT_PASSWORDS), length=runs.length)
    assert kept.shown(Disclosure.ALL_BUT_PASSWORDS) != runs.shown(Disclosure.ALL_BUT_PASSWORDS), "hidden twice"
    assert Pin.of(replace(RUNNING, statement=kept)).same_request(replace(RUNNING, statement=runs))
    assert not Pin.of(replace(RUNNING, statement=kept)).same_request(RUNNING)


def test_what_a_routine_runs_by_turns_is_the_same_request() -> None:
    call = replace(RUNNING, statement=Statement.of("CALL nightly()", inner="SELECT 1", sql_id="A" * 32))
    later = Statement.of("CALL nightly()", inner="UPDATE t SET x = 1", sql_id="B" * 32)
    assert Pin.of(call).same_request(replace(call, statement=later))


def test_without_a_name_the_start_of_the_request_tells() -> None:
    unnamed = replace(RUNNING, trace_id=None, request_id=None, request_started=1000.0, request_started_within=0.5)
    pin = Pin.of(unnamed)
    later = replace(unnamed, request_started=1000.9, statement=Statement.of("the routine's next statement"))
    assert pin.same_request(later)
    assert not pin.same_request(replace(unnamed, request_started=1002.1))
    assert not pin.same_request(replace(unnamed, request_started=None))


def test_a_request_too_young_to_be_told_by_its_start_is_not_taken_for_the_same() -> None:
    young = replace(
        RUNNING, trace_id=None, request_id=None, request_started=1000.0, request_started_within=0.5, time=0.7
    )
    assert not Pin.of(young).same_request(young)


def test_on_the_list_of_last_resort_another_start_of_the_same_text_may_be_the_same_query() -> None:
    listed = replace(
        RUNNING, trace_id=None, request_id=None, request_started=1000.0, request_started_within=1.0, time=9.0
    )
    retried = replace(listed, request_started=1012.0)
    assert not Pin.of(listed).same_request(retried)
    assert Pin.of(listed).cannot_tell(retried)
    assert not Pin.of(listed).cannot_tell(replace(retried, statement=Statement.of("SELECT 2")))
    assert not Pin.of(listed).cannot_tell(replace(retried, command="Sleep"))
    assert not Pin.of(replace(listed, request_started_within=0.05)).cannot_tell(retried), "there the start tells"


def test_a_start_before_the_servers_own_is_the_clients_clock_and_tells_nothing() -> None:
    set_back = replace(
        RUNNING, trace_id=None, request_id=None, request_started=10.0, server_started=1000.0, time=95_000_000.0
    )
    assert not Pin.of(set_back).same_request(set_back)


def test_a_restarted_server_tells_two_connections_without_a_port_apart() -> None:
    local = like(RUNNING, peer="localhost", origin="localhost", server_started=1000.0)
    assert Pin.of(local).enough
    assert Pin.of(local).same_session(replace(local, server_started=1001.0))
    assert not Pin.of(local).same_session(replace(local, server_started=1060.0))
    assert not Pin.of(replace(local, server_started=None)).enough


@pytest.mark.parametrize("peer", ["", "localhost", "0.0.0.0:0", "unix:"])
def test_a_peer_without_a_port_names_no_connection(peer: str) -> None:
    assert like(RUNNING, peer=peer).client.port is None
    assert not Pin.of(like(RUNNING, peer=peer)).enough


def test_a_connection_in_somebodys_routine_is_known_by_its_id_and_port() -> None:
    inside = like(RUNNING, user="in a routine of owner", definer="owner", peer="%:50112", origin="%:50112")
    assert Pin.of(inside).same_session(RUNNING)
    assert Pin.of(RUNNING).same_session(inside)
    assert not Pin.of(inside).same_session(like(RUNNING, peer="10.0.3.7:50113", origin="10.0.3.7:50113"))


def test_a_connection_in_a_routine_by_a_socket_is_known_by_its_id_in_one_run_of_the_server() -> None:
    local = like(RUNNING, peer="localhost", origin="localhost", server_started=1000.0)
    inside = like(local, user="in a routine of owner", definer="owner", peer="%", origin="%")
    assert Pin.of(inside).same_session(local)
    assert not Pin.of(inside).same_session(replace(local, server_started=1060.0))
    assert not Pin.of(replace(inside, server_started=None)).same_session(local)


CLIENT = like(
    RUNNING,
    id=9000,
    proxy="10.0.3.250",
    proxy_session_id=99,
    peer="10.0.3.250:4001",
    origin="10.0.3.7",
    statement=None,
    command="Sleep",
    state="SLEEP",
    trace_id=None,
    request_id=None,
    transaction_id=None,
)


def test_a_client_of_a_proxy_is_the_same_on_each_server_it_has_touched() -> None:
    elsewhere = like(CLIENT, server="10.0.0.2:2881", peer="10.0.3.250:4777", server_started=5.0)
    assert CLIENT.client_session
    assert Pin.of(replace(CLIENT, server_started=1000.0)).same_session(elsewhere)
    assert Pin.of(CLIENT).same_session(elsewhere)
    assert not Pin.of(CLIENT).same_session(like(elsewhere, proxy_session_id=100))
    assert not replace(CLIENT, id=3221487826).client_session
    assert not like(CLIENT, proxy_session_id=None).client_session


IDLE = like(
    RUNNING, command="Sleep", state="SLEEP", statement=None, trace_id=None, request_id=None, transaction_id=None
)
IN_TRANSACTION = like(IDLE, transaction_id=7, transaction_state="ACTIVE")
AUTOCOMMIT = like(RUNNING, transaction_id=9, transaction_state="IMPLICIT_ACTIVE")


@pytest.mark.parametrize(
    ("before", "now", "same"),
    [
        (IDLE, IDLE, True),
        (IDLE, IN_TRANSACTION, False),
        (IN_TRANSACTION, IDLE, False),
        (IN_TRANSACTION, like(IN_TRANSACTION, transaction_id=8), False),
        (IN_TRANSACTION, replace(IN_TRANSACTION, command="Query"), True),
        (IDLE, AUTOCOMMIT, True),
        (AUTOCOMMIT, IDLE, True),
        (AUTOCOMMIT, like(AUTOCOMMIT, transaction_id=10), True),
        (AUTOCOMMIT, IN_TRANSACTION, False),
        (replace(IDLE, transaction_known=False), IN_TRANSACTION, True),
    ],
)
def test_a_transaction_is_what_a_close_would_roll_back_beyond_the_running_statement(
    before: Session, now: Session, same: bool
) -> None:
    assert Pin.of(before).same_transaction(now) is same


INNODB = like(IDLE, transaction_id=2**48 + 9, transaction_state="RUNNING", transaction_started=1000.0)


@pytest.mark.parametrize(
    ("now", "same"),
    [
        (like(INNODB, transaction_id=812), True),  # its first write
        (like(INNODB, transaction_started=1001.0), False),
        (IDLE, False),
        (replace(INNODB, command="Query", request_started=1005.0), True),
    ],
)
def test_innodbs_transaction_is_the_same_while_its_start_is(now: Session, same: bool) -> None:
    assert Pin.of(INNODB).same_transaction(now) is same


def test_two_of_innodbs_transactions_that_began_in_one_second_differ_by_their_numbers() -> None:
    assert not Pin.of(like(INNODB, transaction_id=811)).same_transaction(like(INNODB, transaction_id=812))


def test_innodbs_transaction_of_the_running_statement_is_the_statements_own() -> None:
    own = replace(INNODB, command="Query", request_started=1000.4, request_started_within=0.02)
    assert own.statement_transaction
    assert Pin.of(IDLE).same_transaction(own)
    assert not replace(own, request_started=1001.2).statement_transaction


def test_a_query_that_has_ended_is_not_the_same_although_the_session_keeps_its_trace() -> None:
    assert not Pin.of(RUNNING).same_request(replace(RUNNING, command="Sleep"))


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


@pytest.mark.parametrize(
    ("conditions", "tenants"),
    [
        ((), None),
        ((Condition(Field.TENANT, Operator.CONTAINS, ("shop", "billing")),), {"shop", "billing"}),
        ((Condition(Field.TENANT, Operator.EXACTLY, ("shop",)),), {"shop"}),
        ((Condition(Field.TENANT, Operator.NOT, ("shop",)),), None),
        ((Condition(Field.ANY, Operator.CONTAINS, ("shop",)), Condition(Field.USER, Operator.EXACTLY, ("a",))), None),
        (tuple(Condition(Field.TENANT, Operator.CONTAINS, (one, "crm")) for one in ("shop", "billing")), {"crm"}),
    ],
)
def test_a_filter_is_narrowed_to_the_tenants_that_it_wants(
    conditions: tuple[Condition, ...], tenants: set[str] | None
) -> None:
    assert SessionFilter(conditions).tenants == tenants
