"""Several sessions in one request, on a real kernel: one press, and what becomes of each."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from bot.closing.approval import Confirmation
from bot.closing.closer import VERIFY_FOR
from bot.closing.model import ClosingRequest, Outcome, State
from bot.closing.targets import Wanted
from bot.errors import (
    InputError,
    NotAllowedError,
    RequestError,
    SessionBotError,
    TargetError,
)
from bot.sessions.database import Connection
from bot.sessions.model import Condition, Field, Mode, Operator, SessionFilter, SessionQuery
from bot.sessions.protection import Protected
from tests.closing.conftest import (
    ALICE,
    BOB,
    CAROL,
    CHANNEL,
    MAX_TARGETS,
    Desk,
    before_a_look,
    record_of,
    tamper,
)
from tests.closing.several import ask, confirm, outcomes, sleepers
from tests.support.patience import PATIENCE
from tests.support.stage import RunningStatement, session_id

NO_SESSION = (
    "is no session on demo that you may close. "
    "It may have ended, or it is of another data source or not yours to close."
)


def where(desk: Desk, address: str, mode: Mode = Mode.SESSION) -> ClosingRequest:
    """Ask for the sessions that come from this address; each test has one of its own."""
    filter_ = SessionFilter((Condition(Field.HOST, Operator.CONTAINS, (f"{address}:",)),))
    query = SessionQuery(source="demo", filter=filter_)
    return desk.ask_where(ALICE, CHANNEL, query, mode, filter_text=f"host={address}:")


def test_where_all_have_ended_that_were_meant_what_is_said_to_look_again_with_can_be_typed(desk: Desk) -> None:
    asked = ALICE, CHANNEL, SessionQuery(source="demo"), Mode.QUERY
    words = "one statement that runs for over 5 s in many sessions"
    look_again = "/sessions triage on=demo"
    with pytest.raises(TargetError) as refused:
        desk.ask_where(*asked, filter_text=words, look_again=look_again, fits=lambda _session: False)
    assert refused.value.sentence.endswith(f"Nothing was closed. Look again: {look_again}")


def test_three_are_closed_with_one_press_and_each_has_its_record(desk: Desk) -> None:
    ids = sleepers(desk, 3)
    done = confirm(desk, ask(desk, *ids))
    assert outcomes(done) == [Outcome.CLOSED] * 3
    assert done.state is State.DONE
    assert [desk.row(one) for one in ids] == [{}, {}, {}]
    events = record_of(desk, done)
    assert [event for event, _ in events] == ["request", "confirm", *["intent"] * 3, *["outcome"] * 3]
    assert [one["id"] for one in events[0][1]["targets"]] == ids
    server = done.targets[0].session.server
    assert [(one["target"], one["id"], one["server"]) for _, one in events[2:5]] == [
        (number, one, server) for number, one in enumerate(ids, 1)
    ]


def test_what_has_ended_changed_or_become_protected_since_does_not_keep_the_others_from_being_closed(
    desk: Desk,
) -> None:
    gone = desk.connect()
    guarded = session_id(desk.connect("auditor"))
    changed, first, last = sleepers(desk, 3)
    request = ask(desk, first, session_id(gone), guarded, changed, last)
    gone_id = session_id(gone)
    gone.close()
    desk.until(lambda: not desk.row(gone_id))
    tamper(desk, request, 4, peer="127.0.0.1:1")
    source = desk.sessions.source("demo")
    source.options = replace(source.options, protected=Protected(frozenset({"auditor"})))
    done = confirm(desk, request)
    assert outcomes(done) == [
        Outcome.CLOSED,
        Outcome.ALREADY_GONE,
        Outcome.PROTECTED,
        Outcome.CHANGED,
        Outcome.CLOSED,
    ]
    assert desk.row(guarded)
    assert desk.row(changed)


def test_of_several_those_that_cannot_be_closed_are_left_out_with_a_reason(desk: Desk) -> None:
    report = desk.runs("SELECT SLEEP(60)")
    idle, guarded = sleepers(desk, 1)[0], session_id(desk.connect("guarded"))
    stranger = Wanted(session_id(desk.connect()), listed=lambda _session: False)
    request = ask(desk, idle, report.id, guarded, 2999999999, stranger, mode=Mode.QUERY)
    assert [target.session.id for target in request.targets] == [report.id]
    assert [(one.session_id, one.why.split(":")[0].split(" by now")[0]) for one in request.untouched] == [
        (idle, "is idle"),
        (guarded, "belongs to guarded, a protected user of demo"),
        (
            2999999999,
            NO_SESSION,
        ),
        (stranger.id, "is the id of another session"),
    ]
    desk.clock.at_wait = lambda: report.join(PATIENCE)
    assert outcomes(confirm(desk, request, Mode.QUERY)) == [Outcome.QUERY_CLOSED]


def test_when_none_of_several_can_be_closed_every_reason_is_told(desk: Desk) -> None:
    guarded = session_id(desk.connect("guarded"))
    with pytest.raises(TargetError) as told:
        ask(desk, guarded, 2999999999)
    for said in ("None of these 2 sessions", f"{guarded} belongs to guarded", "2999999999 is no session", "Nothing"):
        assert said in told.value.sentence


def test_one_session_named_in_two_ways_is_one_target(desk: Desk) -> None:
    one = sleepers(desk, 1)[0]
    server = desk.sessions.source("demo").find(one, None)[0].server
    request = ask(desk, one, one, Wanted(one, server), Wanted(one, "127.0.0.1"))
    assert [target.session.id for target in request.targets] == [one]


def test_a_session_that_was_named_with_its_tenant_is_of_that_tenant_or_none(desk: Desk) -> None:
    (session,) = sleepers(desk, 1)
    (found,) = desk.sessions.source("demo").find(session, None)
    with pytest.raises(TargetError) as told:
        desk.ask(ALICE, CHANNEL, "demo", [Wanted(session)], Mode.SESSION, tenant="shop")
    assert str(told.value) == (
        f"There is no session {session} in tenant shop on demo that you may close. "
        f"There is one of tenant sys on {found.server}, though."
    )
    request = desk.ask(ALICE, CHANNEL, "demo", [Wanted(session)], Mode.SESSION, tenant="sys")
    assert outcomes(confirm(desk, request)) == [Outcome.CLOSED]


def test_more_than_one_request_may_close_are_refused(desk: Desk) -> None:
    with pytest.raises(InputError, match=f"9 sessions; one request closes at most {MAX_TARGETS} on demo"):
        ask(desk, *range(5000, 5009))
    assert len(ask(desk, *sleepers(desk, MAX_TARGETS)).targets) == MAX_TARGETS


def test_lock_waiters_are_looked_at_in_common_rounds_and_progress_counts(desk: Desk) -> None:
    notes: list[str] = []

    def play(waiting: list[RunningStatement]) -> tuple[ClosingRequest, float]:
        notes.clear()
        request = ask(desk, *sleepers(desk, 1), *(waiter.id for waiter in waiting))
        pressed = desk.clock.timer()
        done = desk.closer.confirm(
            Confirmation(request.id, ALICE, CHANNEL, Mode.SESSION), lambda _request, note: notes.append(note)
        )
        return done, desk.clock.timer() - pressed

    done, took = before_a_look(desk, play, waiters=3)
    assert outcomes(done) == [Outcome.CLOSED, *[Outcome.ROLLING_BACK] * 3]
    assert VERIFY_FOR <= took < 2 * VERIFY_FOR, "fifteen seconds for all, not for each"
    assert (notes.pop(0), notes.pop()) == ("", ""), "right after the claim, and when all is known"
    assert "1 closed, 3 waiting" in notes[:2], "a busy server has not closed the first one yet"
    assert len(notes) == len(set(notes)), "it is told again only when something has changed"


def test_more_than_five_are_closed_only_with_their_number_typed(desk: Desk) -> None:
    ids = sleepers(desk, 6)
    request = ask(desk, *ids)
    for typed in (None, 5, 66):
        with pytest.raises(InputError, match="6 sessions, and that number must be typed"):
            confirm(desk, request, typed=typed)
    assert desk.store.requests.find(request.id) == request
    assert outcomes(confirm(desk, request, typed=6)) == [Outcome.CLOSED] * 6


def test_a_number_that_nobody_has_to_type_does_not_matter(desk: Desk) -> None:
    assert outcomes(confirm(desk, ask(desk, *sleepers(desk, 1)), typed=7)) == [Outcome.CLOSED]


def test_close_query_counts_only_those_that_run_one_and_leaves_the_idle_ones(desk: Desk) -> None:
    report = desk.runs("SELECT SLEEP(60)")
    idle = sleepers(desk, 6)
    request = ask(desk, report.id, *idle)
    assert (request.number_to_type(Mode.SESSION), request.number_to_type(Mode.QUERY)) == (7, None)
    desk.clock.at_wait = lambda: report.join(PATIENCE)
    assert outcomes(confirm(desk, request, Mode.QUERY)) == [Outcome.QUERY_CLOSED, *[Outcome.NOT_SENT] * 6]
    assert all(map(desk.row, idle))


def test_a_filter_never_loads_more_than_one_request_may_close(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    sleepers(desk, MAX_TARGETS + 4, bind_address="127.0.0.31")
    fetched: list[int] = []
    rows = Connection.rows

    def counting(self: Connection, *arguments: Any) -> list[Any]:
        found = rows(self, *arguments)
        fetched.append(len(found))
        return found

    desk.sessions.source("demo").description()  # what kind of server it is has been asked before
    monkeypatch.setattr(Connection, "rows", counting)
    request = where(desk, "127.0.0.31")
    assert sum(fetched) <= MAX_TARGETS + 1, "the sessions, and the totals"
    assert (len(request.targets), request.matching, request.beyond) == (MAX_TARGETS, MAX_TARGETS + 4, 4)
    assert outcomes(confirm(desk, request, typed=MAX_TARGETS)) == [Outcome.CLOSED] * MAX_TARGETS
    assert len(where(desk, "127.0.0.31").targets) == 4, "the rest is still there"


def test_a_filter_leaves_out_protected_sessions_and_takes_the_longest_running_first(desk: Desk) -> None:
    here = "127.0.0.32"
    guarded = session_id(desk.connect("guarded", bind_address=here))
    sleepers(desk, 1, bind_address=here)
    report = desk.runs("SELECT SLEEP(60)", bind_address=here)
    request = where(desk, here)
    assert request.targets[0].session.id == report.id
    assert len(request.targets) == 2
    assert [one.session_id for one in request.untouched] == [guarded]
    assert request.beyond == 0
    only_query = where(desk, here, Mode.QUERY)
    assert [target.session.id for target in only_query.targets] == [report.id]
    desk.clock.at_wait = lambda: report.join(PATIENCE)
    assert outcomes(confirm(desk, only_query, Mode.QUERY)) == [Outcome.QUERY_CLOSED]


def test_a_filter_that_fits_nothing_or_only_what_is_protected_is_told(desk: Desk) -> None:
    here = "127.0.0.33"
    guarded = session_id(desk.connect("guarded", bind_address=here))
    with pytest.raises(TargetError, match=rf"None of these 1 sessions can be closed. Nothing was closed. {guarded}"):
        where(desk, here)
    with pytest.raises(TargetError, match="No session that runs a query on demo fits that"):
        where(desk, here, Mode.QUERY)


def test_what_a_filter_has_found_is_closed_only_while_it_is_the_same_query(desk: Desk) -> None:
    first = desk.runs("SELECT SLEEP(60)", bind_address="127.0.0.34")
    request = where(desk, "127.0.0.34", Mode.QUERY)
    desk.stops(first)
    second = desk.starts(first.connection, "SELECT SLEEP(60)")
    assert outcomes(confirm(desk, request, Mode.QUERY)) == [Outcome.CHANGED]
    assert second.is_alive()


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give the statements that read the list by ids, as they come."""
    seen: list[str] = []
    rows = Connection.rows

    def counting(self: Connection, sql: str, *values: Any) -> list[Any]:
        if "OB_PROCESSLIST WHERE ID " in sql and "connection_id()" not in sql.rpartition("WHERE")[2]:
            seen.append(sql)
        return rows(self, sql, *values)

    monkeypatch.setattr(Connection, "rows", counting)
    return seen


def test_several_are_looked_at_with_one_statement_for_the_card_the_window_each_look_of_the_press_and_afterwards(
    desk: Desk, looks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.sessions.kill.FRESH", 60.0)  # on a machine that is busy with other tests as well
    ids = sleepers(desk, MAX_TARGETS)
    desk.sessions.source("demo").description()  # what kind of server it is has been asked before
    looks.clear()
    request = ask(desk, *ids)
    assert len(looks) == 1, "the card"
    desk.closer.present(Confirmation(request.id, ALICE, CHANNEL, Mode.SESSION))
    assert len(looks) == 2, "the window"
    assert outcomes(confirm(desk, request, typed=MAX_TARGETS)) == [Outcome.CLOSED] * MAX_TARGETS
    # Before the intents, before the KILLs, and after them; where some are gone their server is seen first, then they
    # are looked at again.
    assert len(looks) in (5, 6)


def test_two_people_pressing_at_once_close_each_session_once(desk: Desk) -> None:
    request = ask(desk, *sleepers(desk, 3))
    start = threading.Barrier(8)
    results: list[object] = []

    def press(number: int) -> None:
        start.wait()
        try:
            results.append(confirm(desk, request, person=ALICE if number % 2 else BOB))
        except SessionBotError as error:
            results.append(error)

    threads = [threading.Thread(target=press, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(result, ClosingRequest) for result in results) == 1
    assert sum(isinstance(result, RequestError) for result in results) == 7
    events = [event for event, _ in record_of(desk, request)]
    assert (events.count("confirm"), events.count("intent"), events.count("outcome")) == (1, 3, 3)


def test_targets_of_a_tenant_that_the_presser_may_not_close_in_are_left_and_the_others_closed(desk: Desk) -> None:
    request = ask(desk, *sleepers(desk, 2))
    tamper(desk, request, 1, tenant="billing")
    left: list[ClosingRequest] = []
    done = confirm(desk, request, person=CAROL, leave=left.append)
    assert outcomes(done) == [Outcome.CLOSED]
    assert [one.session.tenant for one in left[0].targets] == ["billing"]
    assert desk.state(left[0]) is State.OPEN


def test_what_a_part_of_a_filters_request_decides_is_not_said_to_be_more_than_it_closes(desk: Desk) -> None:
    request = replace(ask(desk, *sleepers(desk, 2)), id="of-a-filter", filter_text="user=teller", matching=5)
    desk.store.requests.add(request)
    tamper(desk, request, 1, tenant="billing")
    cancelled = desk.approvals.cancel(request.id, CAROL)
    assert (len(cancelled.request.targets), cancelled.request.beyond) == (1, 3)
    left = cancelled.remainder
    assert left is not None
    assert (len(left.targets), left.beyond) == (1, 0)


def test_who_may_close_none_of_them_closes_nothing_and_the_request_stays_open(desk: Desk) -> None:
    request = ask(desk, *sleepers(desk, 2))
    for number in (1, 2):
        tamper(desk, request, number, tenant="billing")
    with pytest.raises(NotAllowedError, match="tenant billing"):
        confirm(desk, request, person=CAROL)
    with pytest.raises(NotAllowedError, match="tenant billing"):
        desk.cancel(request.id, CAROL)
    left = desk.store.requests.find(request.id)
    assert left is not None
    assert left.state is State.OPEN
