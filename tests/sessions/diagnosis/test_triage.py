"""What triage calls wrong, and what it leaves alone: pure checks, with decoys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar

import pytest

from bot.sessions.diagnosis.survey import Limit, Limits, RecentDeadlocks, deadlock_in
from bot.sessions.diagnosis.triage import (
    Blocker,
    Candidates,
    CrowdingClient,
    Finding,
    IdleTransactions,
    Killed,
    LongStatement,
    Look,
    More,
    NearLimit,
    Returned,
    SameStatement,
    Thresholds,
    find,
    longest_running,
)
from bot.sessions.model import Client, Session, Transaction, WaitKind
from bot.sessions.statement import Statement
from bot.sessions.waits.advice import Action, Advice, advise
from bot.sessions.waits.case import Case
from bot.sessions.waits.graph import Prepared, Wait, WaitGraph
from tests.sessions.examples import EXAMPLE

F = TypeVar("F")
NO_WAITS = WaitGraph("demo", datetime(2026, 1, 1, tzinfo=UTC))


def session(
    number: int, time: float = 1.0, sql: str | None = "SELECT 1", host: str = "10.0.0.1", **more: object
) -> Session:
    """A session that runs a statement outside of a transaction, an idle one where there is none."""
    command = "Query" if sql is not None else "Sleep"
    base = replace(
        EXAMPLE,
        id=number,
        time=time,
        command=command,
        state="ACTIVE" if sql is not None else "SLEEP",
        statement=Statement.of(sql) if sql is not None else None,
        client=Client("app", f"{host}:{number}", f"{host}:{number}"),
        transaction=None,
    )
    return replace(base, **more)  # type: ignore[arg-type]


OPEN = Transaction(12, "ACTIVE")


def idle(number: int, time: float = 1.0, host: str = "10.0.0.1", **more: object) -> Session:
    return session(number, time, None, host, **more)


def waits(*edges: tuple[Session, Session | Prepared | None]) -> WaitGraph:
    return replace(
        NO_WAITS, waits=tuple(Wait(waiter, holder, WaitKind.ROW_LOCK, "a view", 7.0) for waiter, holder in edges)
    )


def advised(graph: WaitGraph, who: Session | Prepared) -> Advice:
    return advise(Case.of(who, graph))


def found(
    sessions: Sequence[Session],
    graph: WaitGraph | None = NO_WAITS,
    thresholds: Thresholds | None = None,
    **more: object,
) -> tuple[Finding, ...]:
    look = Look(tuple(sessions), graph, **more)  # type: ignore[arg-type]
    return find(look, thresholds or Thresholds(), advised, lambda _graph, _who: "")


def only(findings: Sequence[Finding], kind: type[F]) -> list[F]:
    return [one for one in findings if isinstance(one, kind)]


def test_a_quiet_server_has_no_findings() -> None:
    pool = [idle(number, 9_000) for number in range(2, 40)]
    assert found([*pool, session(50, 59.0)]) == ()


def test_the_head_of_a_chain_comes_first_and_neither_its_waiters_nor_itself_a_second_time() -> None:
    head = idle(2, 300, transaction=OPEN)
    older = idle(9, 9_000, transaction=Transaction(5, "ACTIVE"))
    waiters = [session(number, 200, "UPDATE stock SET n = 1") for number in range(20, 40)]
    first, *rest = found([*waiters, older, head], waits(*((one, head) for one in waiters)))
    assert isinstance(first, Blocker)
    assert first.blockage.who == head
    assert first.advice is not None
    assert first.advice.action is Action.CLOSE_SESSION
    assert rest == [IdleTransactions((older,))], "twenty waiters with one statement are no finding of their own"


def test_advice_is_asked_about_those_alone_that_are_told() -> None:
    asked: list[Session | Prepared] = []

    def advises(graph: WaitGraph, who: Session | Prepared) -> Advice:
        asked.append(who)
        return advised(graph, who)

    head = idle(2, 300, transaction=OPEN)
    waiters = [session(number, 200, "UPDATE stock SET n = 1") for number in range(20, 220)]
    long = [session(number, 900.0 - number, f"SELECT {number} FROM t{number}") for number in range(300, 320)]
    look = Look((*waiters, *long, head), waits(*((one, head) for one in waiters)))
    findings = find(look, Thresholds(), advises, lambda _graph, _who: "")
    assert asked == [head, *long[:5]]
    assert [one.session for one in only(findings, LongStatement)] == long[:5]


def test_what_is_to_be_waited_for_stands_behind_what_is_to_be_closed() -> None:
    prepared = Prepared(Transaction(7, "PREPARED"))
    head = idle(2, 300, transaction=OPEN)
    graph = waits(*((session(number, 9), prepared) for number in range(20, 30)), (session(40, 9), head))
    assert [one.blockage.who for one in only(found([head], graph), Blocker)] == [head, prepared]


def test_a_holder_of_another_tenant_is_counted_and_not_shown() -> None:
    head = idle(2, 300, tenant="billing", transaction=OPEN)
    mine, others = session(20, 9), session(21, 9, tenant="billing")
    graph = waits((mine, head), (others, head))
    [blocker] = only(found([mine], graph, tenants=frozenset({"shop"})), Blocker)
    assert blocker.advice is None
    assert blocker.hidden == 1


def test_a_wait_without_a_named_holder_and_a_circle_are_told_and_none_of_them_as_running() -> None:
    alone, first, second = session(2, 90), session(3, 99), session(4, 99)
    findings = found([alone, first, second], waits((alone, None), (first, second), (second, first)))
    blockages = [one.blockage for one in only(findings, Blocker)]
    assert [{one.id for one in blockage.behind} for blockage in blockages if not blockage.named] == [{2}]
    assert [{one.id for one in blockage.circle} for blockage in blockages if blockage.circle] == [{3, 4}]
    assert only(findings, LongStatement) == []


def test_what_was_closed_before_and_is_back_is_told_once() -> None:
    def back(_graph: WaitGraph, _who: Session) -> str:
        return "Closed twice in 10 min: stop the client."

    sessions = [session(2, 3, "UPDATE a SET b = 1"), session(3, 90, "SELECT 2"), idle(4)]
    findings = find(Look(tuple(sessions), NO_WAITS), Thresholds(), advised, back)
    assert [one.session.id for one in only(findings, Returned)] == [2]
    assert [one.session.id for one in only(findings, LongStatement)] == [3]


def test_what_has_only_just_begun_is_not_told_as_back_and_nobody_is_told_twice() -> None:
    pool = (idle(2, 300, transaction=OPEN), session(4, 0.2, "UPDATE a SET b = 1"))
    findings = find(Look(pool, NO_WAITS), Thresholds(), advised, lambda _graph, _who: "Closed once in 10 min.")
    assert [one.session.id for one in only(findings, Returned)] == [2]
    assert only(findings, IdleTransactions) == []


def test_one_candidate_is_a_blocker_and_of_several_none_is_offered_to_be_closed() -> None:
    waiter, first, second = session(20, 9), idle(2, 300), idle(3, 200)
    guessed = Wait(waiter, first, WaitKind.GLOBAL_READ_LOCK, "STATE", 9.0, candidate=True)
    graph = replace(NO_WAITS, waits=(guessed,))
    assert [one.blockage.who for one in only(found([], graph), Blocker)] == [first]
    graph = replace(NO_WAITS, waits=(guessed, replace(guessed, holder=second)))
    candidates, left_open = found([first, second, idle(4, 900, transaction=OPEN)], graph)
    assert isinstance(candidates, Candidates)
    assert isinstance(left_open, IdleTransactions)
    assert not left_open.known, "it may be the one"
    assert {one.who for one in candidates.blockages if isinstance(one.who, Session)} == {first, second}


def test_long_statements_are_told_longest_first_and_the_rest_is_counted() -> None:
    sessions = [session(number, 60.0 + number, f"SELECT {'a' * number}") for number in range(2, 10)]
    thread = session(70, 9_000)
    findings = found([*sessions, thread], is_thread=lambda one: one.id == 70)
    assert [one.session.id for one in only(findings, LongStatement)] == [9, 8, 7, 6, 5]
    assert [one.count for one in only(findings, More)] == [3]


def test_where_who_waits_is_not_known_nothing_is_advised() -> None:
    many = [session(number, 9, "SELECT 7 FROM carts") for number in range(20, 30)]
    findings = found([session(2, 90), *many], None)
    assert [one.advice for one in only(findings, LongStatement)] == [None]
    assert [one.advised for one in only(findings, SameStatement)] == [False]


def test_one_statement_many_times_is_one_finding_whatever_its_literals() -> None:
    retries = [session(number, 70, f"SELECT * FROM carts WHERE id = {number}", "10.0.0.6") for number in range(2, 12)]
    fresh = [session(number, 1, "SELECT * FROM carts WHERE id = 1") for number in range(20, 24)]
    other = session(30, 65, "SELECT 1 FROM reports")
    findings = found([*retries, *fresh, other])
    [same] = only(findings, SameStatement)
    assert {one.id for one in same.sessions} == {one.id for one in retries}
    assert same.origins == ("10.0.0.6",)
    assert [one.session for one in only(findings, LongStatement)] == [other]
    assert only(found(retries[1:]), SameStatement) == [], "nine are fewer than ten"


LIMIT = Limit("max_connections", 60, 64)


def crowd() -> list[Session]:
    inside = [idle(number, 9, "10.0.0.6", transaction=OPEN) for number in range(2, 5)]
    running = [session(number, 9, "SELECT 2", "10.0.0.6") for number in range(5, 9)]
    free = [idle(number, 9, "10.0.0.6") for number in range(10, 41)]
    neighbour = [idle(number, 9, "10.0.0.60") for number in range(50, 60)]
    return [*inside, *running, *free, *neighbour]


def test_near_the_limit_the_client_with_most_connections_has_its_idle_ones_named_and_no_others() -> None:
    findings = found(crowd(), limits=Limits((LIMIT,)))
    assert only(findings, NearLimit) == [NearLimit(LIMIT)]
    [client] = only(findings, CrowdingClient)
    assert (client.host, client.sessions) == ("10.0.0.6", 38)
    assert {one.id for one in client.idle} == set(range(10, 41))


@pytest.mark.parametrize(
    "limit", [replace(LIMIT, used=51), replace(LIMIT, used=900, most=1_000)], ids=["below-the-limit", "no-majority"]
)
def test_a_large_pool_is_no_finding_by_itself(limit: Limit) -> None:
    assert only(found(crowd(), limits=Limits((limit,))), CrowdingClient) == []


def test_who_holds_a_lock_without_a_transaction_or_may_not_be_closed_is_no_idle_one() -> None:
    sessions = crowd()
    holder, protected, unknown = sessions[10], sessions[11].id, sessions[12]
    sessions[12] = replace(unknown, transaction_known=False)
    graph = waits((session(90, 1), holder))
    look = found(sessions, graph, limits=Limits((LIMIT,)), may_close=lambda one: one.id != protected)
    [client] = only(look, CrowdingClient)
    assert {holder.id, protected, unknown.id} & {one.id for one in client.idle} == set()
    assert only(found(sessions, None, limits=Limits((LIMIT,))), CrowdingClient) == []


def test_the_limit_of_a_user_counts_that_user_alone() -> None:
    theirs = [replace(one, client=replace(one.client, user="batch")) for one in crowd()[7:20]]
    limit = Limit("max_user_connections", 13, 15, user="batch")
    [client] = only(found([*theirs, *crowd()[20:]], limits=Limits((limit,))), CrowdingClient)
    assert client.sessions == 13


def test_limits_of_a_tenant_are_told_only_to_who_may_see_it() -> None:
    limits = Limits((replace(LIMIT, tenant="billing"), replace(LIMIT, tenant="shop")))
    findings = found([], limits=limits, tenants=frozenset({"shop"}))
    assert [one.limit.tenant for one in only(findings, NearLimit)] == ["shop"]


def test_killed_sessions_are_told_once_they_are_slow_to_go() -> None:
    slow = session(2, 31, "DELETE FROM a", state="SESSION_KILLED")
    quick = session(3, 29, "DELETE FROM b", state="SESSION_KILLED")
    findings = found([slow, quick])
    assert [one.session for one in only(findings, Killed)] == [slow]
    assert only(findings, LongStatement) == []


def test_deadlocks_count_only_while_they_are_recent() -> None:
    assert only(found([], deadlocks=RecentDeadlocks(None, 899.0)), RecentDeadlocks) != []
    assert only(found([], deadlocks=RecentDeadlocks(None, 901.0)), RecentDeadlocks) == []


def test_thresholds_are_settings() -> None:
    running = [session(2, 5.0), idle(3, 5.0, transaction=OPEN)]
    assert found(running) == ()
    quick = Thresholds(statement_over=4.0, idle_transaction_over=4.0)
    assert [type(one) for one in found(running, thresholds=quick)] == [LongStatement, IdleTransactions]


def test_the_longest_running_are_known_without_those_that_wait() -> None:
    sessions = [session(number, number) for number in range(2, 9)]
    look = Look(tuple(sessions), waits((sessions[-1], sessions[0])))
    assert [one.id for one in longest_running(look)] == [7, 6, 5, 4, 3, 2]


STATUS = """
=====================================
2026-11-27 15:45:59 0x7f11 INNODB MONITOR OUTPUT
=====================================
{latest}------------
TRANSACTIONS
------------
LATEST DETECTED DEADLOCK
------------------------
2026-11-27  9:00:00 0x7f12
"""
LATEST = """------------------------
LATEST DETECTED DEADLOCK
------------------------
2026-11-27 15:40:59 0x7f12
*** (1) TRANSACTION:
"""


def test_the_age_of_the_latest_deadlock_is_that_between_two_times_of_one_clock() -> None:
    latest = deadlock_in(STATUS.format(latest=LATEST))
    assert latest is not None
    assert latest.ago == 300.0
    assert deadlock_in(STATUS.partition("{")[0]) is None
