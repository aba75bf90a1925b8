"""What is advised, rule by rule: the first that matches counts, each with its reason in the words of the case."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.sessions.model import LastStatement, Session, Transaction, WaitKind
from bot.sessions.statement import Statement
from bot.sessions.waits.advice import Action, Advice, advise
from bot.sessions.waits.blockages import blockages
from bot.sessions.waits.case import Case, Closed, Rollback
from bot.sessions.waits.graph import Prepared, Wait, WaitGraph
from tests.sessions.examples import EXAMPLE
from tests.support.sessions import like

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
OPEN = Transaction(12, "ACTIVE", age=240.0)


def running(number: int, **changes: Any) -> Session:
    return like(EXAMPLE, id=number, **changes)


def idle(number: int, **changes: Any) -> Session:
    mine = {"command": "Sleep", "state": "SLEEP", "statement": None, "time": 75.0, "transaction": OPEN} | changes
    return like(EXAMPLE, id=number, **mine)


def wait(waiter: Session, holder: Session | Prepared | None, kind: WaitKind = WaitKind.ROW_LOCK, **more: Any) -> Wait:
    return Wait(waiter, holder, kind, "a view", **{"waited": 20.0, **more})


def advised(who: Session | Prepared, *waits: Wait, **known: Any) -> Advice:
    graph = WaitGraph("demo", NOW, waits)
    case = Case.of(who, graph)
    killed_for = known.get("killed_for")
    blockers = tuple(replace(Case.of(one, graph), waiters_killed_for=killed_for) for one in case.heads)
    return advise(replace(case, **{"blockers": blockers, **known}))


def test_an_idle_holder_is_closed_and_the_reason_says_what_that_frees() -> None:
    holder = idle(1)
    found = advised(holder, wait(running(2), holder), wait(running(3), holder), wait(running(4), running(3)))
    assert found.action is Action.CLOSE_SESSION
    assert found.reason == (
        "It has been idle for 75 s in a transaction that is 240 s old. Closing it frees 3 sessions. "
        "Close Query would do nothing."
    )


def test_what_waits_for_somebody_else_as_well_is_not_called_freed() -> None:
    holder, other, waiter = idle(1), idle(9), running(2)
    found = advised(holder, wait(waiter, holder), wait(waiter, other), wait(running(3), holder))
    assert "frees 1 session; 1 more waits for others as well" in found.reason


def test_a_victim_is_not_to_be_closed_and_the_head_is_named_with_its_own_advice() -> None:
    head, middle, victim = idle(1), running(2), running(3)
    found = advised(victim, wait(middle, head), wait(victim, middle))
    assert (found.action, found.instead) == (Action.CLOSE_BLOCKER, (head,))
    assert found.reason == ("It waits itself: closing it frees nobody. Session 1 of app is at the head of the queue.")
    assert found.then.startswith("Session 1 of app: Close Session. It has been idle for 75 s in a transaction")
    between = advised(middle, wait(middle, head), wait(victim, middle))
    assert between.reason.startswith("It waits itself: closing it frees only the one behind it. Session 1 of app holds")


def test_a_head_of_which_no_view_says_so_is_said_to_hold_it_perhaps() -> None:
    head, victim = idle(1), running(2)
    edge = wait(victim, head, WaitKind.METADATA, candidate=True)
    assert "Session 1 of app may hold it; no view of this server says so." in advised(victim, edge).reason
    assert "It may be what 1 session waits for; no view of this server says so." in advised(head, edge).reason


def test_a_head_that_one_may_not_see_is_not_named() -> None:
    head, victim = idle(1), running(2)
    found = advised(victim, wait(victim, head), heads=(), blockers=(), hidden=True)
    assert (found.action, found.instead) == (Action.WAIT, ())
    assert found.reason.endswith("A session that you may not see holds it.")


def test_where_nobody_is_named_that_is_said() -> None:
    victim = running(2)
    found = advised(victim, wait(victim, None, WaitKind.USER_LOCK))
    assert found.action is Action.WAIT
    assert "closing it frees nobody. Who holds what it waits for is not known" in found.reason


@pytest.mark.parametrize("kind", [WaitKind.GLOBAL_READ_LOCK, WaitKind.TABLE_LOCK, WaitKind.USER_LOCK])
def test_an_idle_holder_of_a_lock_needs_no_transaction(kind: WaitKind) -> None:
    holder = idle(1, transaction=None)
    found = advised(holder, wait(running(2), holder, kind))
    assert found.action is Action.CLOSE_SESSION
    assert found.reason.startswith(f"It is idle and holds a {kind.value}. Closing it frees 1 session.")


def test_an_idle_session_without_a_transaction_that_holds_up_nobody_is_left_alone() -> None:
    assert advised(idle(1, transaction=None)) == Advice(
        Action.NOTHING, "It has been idle for 75 s and holds up nobody."
    )


def test_whoever_holds_a_row_has_a_transaction_whatever_a_list_says_that_is_older() -> None:
    holder = running(1, transaction=None)
    assert holder.transaction_known
    found = advised(holder, wait(running(2), holder))
    assert found.action is Action.CLOSE_SESSION
    assert found.reason.startswith("Whether its statement is all of its transaction is not known.")
    assert advised(holder, wait(running(2), holder, WaitKind.METADATA)).action is Action.CLOSE_QUERY


def test_what_runs_within_an_older_transaction_is_closed_with_its_session() -> None:
    holder = running(1, transaction=Transaction(12, "RUNNING", started=1000.0), request_started=1240.0)
    found = advised(holder, wait(running(2), holder))
    assert found.action is Action.CLOSE_SESSION
    assert found.reason == (
        "Its transaction began 240 s before this statement. Closing it frees 1 session. "
        "Close Query would keep the lock."
    )
    same_second = running(1, transaction=Transaction(12, "RUNNING", started=1000.0), request_started=1000.4)
    found = advised(same_second, wait(running(2), same_second))
    assert found.action is Action.CLOSE_SESSION
    assert found.reason.startswith("Whether its statement is all of its transaction is not known.")


@pytest.mark.parametrize(
    "transaction", [Transaction(12, "RUNNING", autocommit=True), Transaction(12, "IMPLICIT_ACTIVE"), None]
)
def test_of_a_statement_that_is_all_of_its_transaction_the_query_is_enough(transaction: Transaction | None) -> None:
    holder = running(1, transaction=transaction)
    found = advised(holder, wait(running(2), holder, WaitKind.METADATA))
    assert found.action is Action.CLOSE_QUERY
    assert found.reason.endswith("Close Query suffices and frees 1 session; the client stays connected.")


def test_where_no_transaction_can_be_seen_the_query_is_enough_to_begin_with_unless_somebody_waits() -> None:
    unseen = running(1, transaction=None, transaction_known=False)
    assert advised(unseen).action is Action.CLOSE_QUERY
    assert advised(unseen, wait(running(2), unseen, WaitKind.METADATA)).action is Action.CLOSE_SESSION


def test_what_is_the_sessions_and_not_its_statements_is_not_freed_by_closing_the_query() -> None:
    holder = running(1, transaction=None)
    found = advised(holder, wait(running(2), holder, WaitKind.USER_LOCK))
    assert found.action is Action.CLOSE_SESSION
    assert "The user lock that others wait for is the session's" in found.reason


def test_a_ddl_at_the_head_of_a_queue_loses_only_itself_and_who_it_waits_for_follows() -> None:
    reader = running(1, transaction=Transaction(7, "RUNNING", autocommit=True))
    ddl = running(2, statement=Statement.of("/* deploy */ alter table orders add note text"), transaction=None)
    behind = [running(number) for number in range(3, 10)]
    waits = (wait(ddl, reader, WaitKind.METADATA), *(wait(one, ddl, WaitKind.METADATA) for one in behind))
    found = advised(ddl, *waits)
    assert found.action is Action.CLOSE_QUERY
    assert found.reason == (
        "It waits for a table metadata lock, and 7 sessions behind it: closing its query frees them and loses only "
        "the ALTER, which has run for 75 s."
    )
    assert (found.instead, found.then[:41]) == ((reader,), "Session 1 of app: Close Query. Its statem")
    update = replace(ddl, statement=Statement.of("UPDATE orders SET note = 'alter table'"))
    waits = (wait(update, reader, WaitKind.METADATA), *(wait(one, update, WaitKind.METADATA) for one in behind))
    assert advised(update, *waits).action is Action.CLOSE_BLOCKER
    assert advised(ddl, wait(ddl, reader, WaitKind.METADATA)).action is Action.CLOSE_BLOCKER


def test_what_is_killed_and_waits_is_waited_for_then_its_holder_is_the_one() -> None:
    head, victim = idle(1), running(2, state="SESSION_KILLED", transaction=Transaction(9, "ABORTED"))
    waits = (wait(victim, head),)
    early = advised(victim, *waits, killed_for=4.0)
    assert early.action is Action.WAIT
    assert early.reason.startswith("It was closed already 4.0 s ago and still waits for a row lock. Wait 15 s")
    late = advised(victim, *waits, killed_for=16.0)
    assert (late.action, late.instead) == (Action.CLOSE_BLOCKER, (head,))
    assert late.then.startswith("Session 1 of app: Close Session.")


def test_of_a_killed_waiter_for_a_user_lock_the_holder_is_the_one_at_once() -> None:
    head, victim = idle(1, transaction=None), running(2, state="SESSION_KILLED")
    found = advised(victim, wait(victim, head, WaitKind.USER_LOCK), killed_for=0.0)
    assert (found.action, found.instead) == (Action.CLOSE_BLOCKER, (head,))
    unnamed = advised(victim, wait(victim, None, WaitKind.USER_LOCK), killed_for=0.0)
    assert unnamed.action is Action.WAIT
    assert "It ends when it gets the lock, not before." in unnamed.reason


def test_what_is_rolling_back_is_waited_for_and_how_far_it_is_is_said() -> None:
    ending = idle(1, state="KILLED", transaction=Transaction(9, "ROLLING BACK", rows_changed=104_000))
    found = advised(ending, wait(running(2), ending), rollback=Rollback(104_000, 300_000, 1.0))
    assert (found.action, found.reason) == (
        Action.WAIT,
        "It, or what ran in it, was closed already, and what it has changed is being rolled back (rows left 104,000 of "
        "300,000, about 1.0 s). Wait: closing it would not make that faster.",
    )
    by_itself = running(1, transaction=Transaction(9, "ROLLING BACK"))
    assert advised(by_itself).reason.startswith("What it has changed is being rolled back.")
    waiter = running(2)
    assert advised(waiter, wait(waiter, ending)).action is Action.WAIT, "its blocker is to be waited for"


def test_who_has_closed_what_is_ending_is_told_where_that_is_known() -> None:
    ours = Closed(NOW, "U01ALICE", same_session=True, query=False)
    like_it = replace(ours, same_session=False, at=NOW + timedelta(seconds=1))
    ending = idle(1, state="SESSION_KILLED", transaction=None)
    assert advised(ending, past=(like_it, ours)).closed == ours
    assert advised(ending, past=(like_it,)).closed is None


def test_of_a_client_that_was_closed_by_its_id_the_server_session_is_closed() -> None:
    left = idle(1, state="SESSION_KILLED", listed=False)
    found = advised(left, wait(running(2), left))
    assert found.action is Action.CLOSE_SESSION
    assert "its transaction lives on until the client's next request. Closing it frees 1 session." in found.reason


@pytest.mark.parametrize("state", ["QUERY_KILLED", "KILLED"])
def test_a_closed_query_of_an_idle_transaction_ends_nothing(state: str) -> None:
    holder = idle(1, state=state)
    found = advised(holder, wait(running(2), holder))
    assert found.action is Action.CLOSE_SESSION
    assert found.reason.startswith("Its query was closed, which does nothing to an idle transaction: it is not ending.")
    assert advised(idle(1, state=state, transaction=None)).action is Action.NOTHING


def test_a_closed_query_that_has_not_stopped_is_waited_for() -> None:
    assert advised(running(1, state="QUERY_KILLED")).action is Action.WAIT


def test_a_prepared_transaction_is_nobodys_to_close() -> None:
    prepared = Prepared(Transaction(77, "RUNNING"), xid="'order-7'")
    found = advised(prepared, wait(running(2), prepared))
    assert found.action is Action.NOTHING
    assert found.reason.startswith("A prepared XA transaction ('order-7') holds up 1 session")
    victim = running(2)
    found = advised(victim, wait(victim, prepared))
    assert (found.action, found.instead) == (Action.NOTHING, (prepared,))
    holder = idle(1, transaction=replace(OPEN, prepared=True))
    assert advised(holder, wait(running(2), holder)).action is Action.NOTHING


def test_the_protected_and_the_bots_own_come_first() -> None:
    holder = idle(1, state="SESSION_KILLED", transaction=Transaction(9, "ROLLING BACK"))
    found = advised(holder, wait(running(2), holder), protected=("belongs to ocp, a protected user of demo",))
    assert found.action is Action.OVERRIDE
    assert "It holds up 1 session." in found.reason
    assert '/kill-session 1 override reason="…"' in found.reason
    own = advised(holder, never="is one of this bot's own. It is never closed.")
    assert own == Advice(Action.NEVER, "It is one of this bot's own. It is never closed.")


def test_an_event_has_no_client_and_runs_again() -> None:
    event = running(1, event=True, transaction=None)
    found = advised(event, wait(running(2), event, WaitKind.METADATA))
    assert found.action is Action.CLOSE_QUERY
    assert found.reason.endswith("It is a run of an event of the scheduler: it has no client, and runs when next due.")


def test_a_run_of_an_event_is_named_by_the_account_that_it_runs_as() -> None:
    event = running(1, event=True, transaction=None, user="in an event of root", definer="root")
    victim = running(2)
    found = advised(victim, wait(victim, event, WaitKind.METADATA))
    assert "Session 1 in an event of root holds it." in found.reason
    of_mysql = running(1, event=True, transaction=None, user="system user")
    assert "Session 1 in an event holds it." in advised(victim, wait(victim, of_mysql, WaitKind.METADATA)).reason


@pytest.mark.parametrize(
    ("begun", "sql", "waited", "action"),
    [
        (None, "SELECT * FROM stock", 20.0, Action.CLOSE_QUERY),
        (None, "SELECT SLEEP(600)", 20.0, Action.CLOSE_SESSION),  # the table is no table of it
        (None, "SELECT * FROM stock", 90.0, Action.CLOSE_SESSION),  # the lock is older than it
        (True, "SELECT * FROM stock", 20.0, Action.CLOSE_SESSION),
        (False, "CALL report()", 20.0, Action.CLOSE_QUERY),
        (None, "SELECT SLEEP(600) FROM stock_of_2025", 20.0, Action.CLOSE_SESSION),  # nor is one that begins like it
        (None, "SELECT * FROM old.stock", 20.0, Action.CLOSE_SESSION),  # nor one of another database
        (None, "SELECT * FROM `Shop`.`Stock` s", 20.0, Action.CLOSE_QUERY),
    ],
)
def test_a_table_that_a_statement_need_not_have_is_of_a_transaction_that_no_list_of_innodb_shows(
    begun: bool | None, sql: str, waited: float, action: Action
) -> None:
    mine = {"transaction": None, "database": "shop", "statement": Statement.of(sql), "total_time": 75.0}
    holder = running(1, begun=begun, **mine)
    edge = wait(running(2), holder, WaitKind.METADATA, what="shop.stock", waited=waited)
    assert advised(holder, edge).action is action


def test_of_what_sends_rows_that_its_client_may_not_take_the_session_is_closed_where_others_wait() -> None:
    holder = running(1, transaction=None, doing="Writing to net", statement=Statement.of("SELECT * FROM stock"))
    edge = wait(running(2), holder, WaitKind.METADATA, what="shop.stock")
    found = advised(holder, edge)
    assert found.action is Action.CLOSE_SESSION
    assert found.reason == (
        "It sends rows to its client (Writing to net): while that takes none, closing the query does not end it. "
        "Closing it frees 1 session."
    )
    assert advised(holder).action is Action.CLOSE_QUERY, "nobody waits for it: the client stays connected"
    closed = replace(holder, state="KILLED")
    assert advised(closed, edge, killed_for=1.0).action is Action.WAIT
    assert advised(closed, edge, killed_for=3.0).action is Action.CLOSE_SESSION
    undone = replace(closed, transaction=Transaction(9, "ROLLING BACK"))
    assert advised(undone, edge, killed_for=3.0).action is Action.WAIT


def test_a_query_that_goes_on_after_its_close_is_ended_by_its_session() -> None:
    holder = running(1, transaction=None, total_time=75.0, statement=Statement.of("SELECT * FROM shop.stock"))
    edge = wait(running(2), holder, WaitKind.METADATA, what="shop.stock")
    closed = Closed(NOW, "U01ALICE", same_session=True, query=True, ago=30.0)
    found = advised(holder, edge, past=(closed,))
    assert found.action is Action.CLOSE_SESSION
    assert found.reason.startswith("Its query was closed 30 s ago and goes on: its client may be taking no rows.")
    for other in (replace(closed, ago=5.0), replace(closed, ago=90.0), replace(closed, same_session=False)):
        assert advised(holder, edge, past=(other,)).action is Action.CLOSE_QUERY, "it may stop yet, or is another run"


def test_a_circle_is_left_to_the_server_for_a_while() -> None:
    one, other = running(1), running(2)
    young = (wait(one, other, waited=2.0), wait(other, one, waited=1.0))
    assert advised(one, *young).action is Action.WAIT
    old = (wait(one, other), wait(other, one), wait(running(3), one))
    found = advised(one, *old)
    assert found.action is Action.CLOSE_SESSION
    assert found.reason.startswith("2 sessions wait for each other in a circle. The server has not ended that")


def closed(ago: float, back: float | None = None, **more: Any) -> Closed:
    known: dict[str, Any] = {"same_session": False, "query": False, **more}
    return Closed(NOW - timedelta(seconds=ago), "U01ALICE", back_after=back, **known)


def test_what_was_closed_before_and_came_back_is_told_beside_whatever_is_advised() -> None:
    holder = idle(1)
    assert advised(holder, past=(closed(60, 2.0), closed(300, 2.0))).past == (
        "The same was closed twice in 10 min, back each time after 2.0 s: stop the client at 10.0.3.7."
    )
    assert advised(holder, past=(closed(60), closed(300, 4.0))).past == (
        "The same was closed twice in 10 min, back once after 4.0 s: stop the client at 10.0.3.7."
    )
    assert advised(holder, past=(closed(60),)).past == "The same was closed once in 10 min."
    assert advised(holder, past=(closed(60, same_session=True),)).past == ""
    again = closed(60, 1.0, same_session=True, query=True)
    assert advised(running(1), past=(again,)).past.startswith("The same query was closed once in 10 min, back after")
    assert advised(holder).past == ""


def test_of_several_candidates_the_least_guessed_is_named_first_and_what_is_missing_is_said() -> None:
    first, second, victim = idle(1), idle(2), running(3)
    waits = [wait(victim, one, WaitKind.METADATA, candidate=True) for one in (first, second)]
    found = advised(victim, *waits)
    assert (found.action, found.instead) == (Action.UNKNOWN, ()), "closing one of several is a guess"
    assert "Session 1 of app and session 2 of app may hold it; no view of this server says so." in found.reason
    unnamed = advised(victim, wait(victim, None), lacks=("The plugin tells.",))
    assert unnamed.reason.endswith("Who holds what it waits for is not known. The plugin tells.")


def test_an_idle_candidate_is_a_guess_and_no_close_of_it_is_offered_unless_its_last_statement_was_such_a_lock() -> None:
    candidate, victim = idle(1, transaction=None), running(2)
    edge = wait(victim, candidate, WaitKind.BACKUP_LOCK, candidate=True)
    guess = advised(candidate, edge, lacks=("A plugin tells.",))
    assert guess == Advice(
        Action.UNKNOWN,
        "It is idle and may hold a backup lock. It may be what 1 session waits for; no view of this server says so. "
        "A plugin tells.",
        held_up=1,
    )
    of_victim = advised(victim, edge, lacks=("A plugin tells.",))
    assert (of_victim.action, of_victim.instead, of_victim.then) == (Action.UNKNOWN, (), "")
    assert of_victim.reason.endswith("Session 1 of app may hold it; no view of this server says so. A plugin tells.")
    locked = LastStatement(Statement.of("FLUSH TABLES WITH READ LOCK"), 75.0)
    known = replace(candidate, last_statement=locked)
    edge = replace(edge, holder=known)
    assert advised(known, edge).action is Action.CLOSE_SESSION
    assert advised(victim, edge).instead == (known,)


def test_who_stands_in_the_queue_behind_a_ddl_is_led_to_that_first() -> None:
    head, other = idle(1), idle(9)
    ddl = running(2, statement=Statement.of("ALTER TABLE orders ADD note TEXT"), transaction=None)
    victim, further = running(3), running(4)
    waits = [wait(ddl, one, WaitKind.METADATA) for one in (head, other)]
    waits += [wait(victim, ddl, WaitKind.METADATA), wait(further, victim)]
    for who in (victim, further):
        found = advised(who, *waits)
        assert (found.action, found.instead) == (Action.CLOSE_BLOCKER, (ddl, head, other))
        assert (
            "It stands in the queue behind session 2 of app. Session 1 of app and session 9 of app are" in found.reason
        )
        assert found.then.startswith(
            "Session 2 of app: Close Query. It waits for a table metadata lock, and 2 sessions"
        )
    assert "Closing it frees nobody yet: 3 sessions behind it wait for others as well." in advised(head, *waits).reason


def test_what_runs_since_before_a_lock_of_all_tables_keeps_that_out_with_its_statement_alone() -> None:
    update = running(1, transaction=Transaction(7, "RUNNING", autocommit=True))
    flush = running(2, statement=Statement.of("FLUSH TABLES WITH READ LOCK"), transaction=None)
    victim = running(3, statement=Statement.of("UPDATE orders SET note = 1"))
    kind = WaitKind.GLOBAL_READ_LOCK
    waits = wait(flush, update, kind), wait(victim, flush, kind)
    assert advised(update, *waits).action is Action.CLOSE_QUERY
    assert advised(flush, *waits).action is Action.CLOSE_QUERY
    assert advised(victim, *waits).instead == (flush, update)
    assert [one.who for one in blockages(WaitGraph("demo", NOW, waits))] == [flush, update]
    holder = running(4, transaction=None)
    assert advised(holder, wait(victim, holder, kind)).action is Action.CLOSE_SESSION, "it has the lock itself"


def test_a_flush_that_has_the_read_lock_and_waits_for_a_reader_keeps_it_when_its_query_is_closed() -> None:
    reader = running(1, transaction=None)
    flush = running(2, statement=Statement.of("FLUSH TABLES WITH READ LOCK"), transaction=None)
    behind = wait(running(3), flush, WaitKind.GLOBAL_READ_LOCK)
    waits = wait(flush, reader, WaitKind.TABLE_FLUSH), behind, wait(running(4), reader, WaitKind.TABLE_FLUSH)
    found = advised(flush, *waits)
    assert (found.action, found.instead) == (Action.CLOSE_BLOCKER, (reader,))
    head = advised(reader, *waits)
    assert head.action is Action.CLOSE_QUERY
    assert "frees 2 sessions; 1 more waits for others as well" in head.reason, "the flush goes on, and has the lock"


def test_those_for_whom_a_holder_is_a_candidate_alone_are_not_said_to_be_held_up_by_it() -> None:
    holder, other, sure, unsure = idle(1, transaction=None), idle(9), running(2), running(3)
    waits = [wait(sure, holder, WaitKind.USER_LOCK)]
    waits += [wait(unsure, one, WaitKind.USER_LOCK, candidate=True) for one in (holder, other)]
    found = advised(holder, *waits)
    assert (found.action, found.held_up) == (Action.CLOSE_SESSION, 1)
    assert "It is idle and holds a user lock. Closing it frees 1 session." in found.reason


def test_no_button_leads_to_a_head_that_is_not_closed() -> None:
    head, other, victim = running(1), idle(9), running(2)
    never = Case(head, never="is a thread of the server itself. It is never closed.")
    found = advised(victim, wait(victim, head), blockers=(never,))
    assert (found.action, found.then) == (
        Action.NOTHING,
        "Session 1 of app: Never closed. It is a thread of the server itself. It is never closed.",
    )
    waits = wait(victim, head), wait(victim, other)
    assert advised(victim, *waits, blockers=(never, Case(other))).instead == (other,)
    protected = Case(head, protected=("belongs to ocp, a protected user of demo",))
    found = advised(victim, waits[0], blockers=(protected,))
    assert (found.action, found.instead) == (Action.CLOSE_BLOCKER, ())
    assert "/kill-session 1 override" in found.then


def test_whom_a_view_names_goes_before_whom_nobody_names() -> None:
    named, guess, victim = idle(1), idle(2), running(3)
    found = advised(victim, wait(victim, guess, candidate=True), wait(victim, named))
    assert (found.instead, found.guessed) == ((named,), False)
    between = running(4)
    found = advised(victim, wait(victim, between), wait(between, guess, candidate=True))
    assert (found.instead, found.guessed) == ((guess,), True)
    assert "Session 2 of app may be at the head of the queue; no view of this server says so." in found.reason


def test_a_lock_that_outlives_its_session_is_no_reason_to_close_it() -> None:
    holder, victim = idle(1, transaction=None), running(2)
    edge = wait(victim, holder, WaitKind.USER_LOCK, outlives=True)
    found = advised(holder, edge)
    assert found.action is Action.NOTHING
    assert "closing it frees nobody" in found.reason
    assert advised(victim, edge).action is Action.NOTHING
    left = advised(victim, wait(victim, None, WaitKind.USER_LOCK, outlives=True))
    assert left.action is Action.NOTHING
    assert "The session that had the lock is gone" in left.reason
    both = advised(holder, edge, wait(running(3), holder))
    assert "Closing it frees 1 session;" in both.reason


def test_whoever_holds_up_only_what_is_closed_already_is_left_alone() -> None:
    holder, closed = idle(1), running(2, state="SESSION_KILLED", time=2.0)
    assert advised(holder, wait(closed, holder)).action is Action.WAIT
    assert advised(holder, wait(replace(closed, state="QUERY_KILLED"), holder)).action is Action.WAIT
    for more in (wait(running(3), holder), wait(running(3), closed)):
        assert advised(holder, wait(closed, holder), more).action is Action.CLOSE_SESSION
    late = replace(closed, time=60.0)
    assert advised(holder, wait(late, holder)).action is Action.WAIT, "it had waited for long when it was closed"
    stays = advised(holder, wait(closed, holder), waiters_killed_for=16.0)
    assert stays.action is Action.CLOSE_SESSION, "it should have ended"


def test_a_victim_behind_a_circle_is_led_to_the_one_in_it_that_is_to_be_closed() -> None:
    old, young = running(1, transaction=OPEN), running(2, transaction=replace(OPEN, age=90.0))
    victim = running(3)
    for waited, action in ((4.0, Action.WAIT), (20.0, Action.CLOSE_BLOCKER)):
        circle = wait(old, young, waited=waited), wait(young, old, waited=waited)
        found = advised(victim, *circle, wait(victim, old))
        assert (found.action, found.instead) == (action, (young,))
        assert "Session 2 of app is one of 2 that wait for each other in a circle" in found.reason
