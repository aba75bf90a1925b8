"""Waits put together: heads, chains, circles and queues, whatever the server."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from bot.sessions.model import Session, Transaction, WaitKind
from bot.sessions.waits.graph import Place, Prepared, Wait, WaitGraph, ends_of, place_of, without_queues
from tests.sessions.examples import EXAMPLE


def numbered(number: int) -> Session:
    return replace(EXAMPLE, id=number)


def wait(
    waiter: int, holder: int | None, waited: float = 1.0, lock: str | None = None, *, candidate: bool = False
) -> Wait:
    held_by = numbered(holder) if holder is not None else None
    return Wait(numbered(waiter), held_by, WaitKind.ROW_LOCK, "a view", waited, lock=lock, candidate=candidate)


def graph(*waits: Wait) -> WaitGraph:
    return WaitGraph("prod", datetime(2026, 1, 1, tzinfo=UTC), waits)


def lines(found: WaitGraph) -> list[tuple[int, int | None, bool]]:
    return [(one.depth, one.who.id if isinstance(one.who, Session) else None, one.cycle) for one in found.chains()]


def test_the_head_of_a_chain_holds_up_all_behind_it() -> None:
    found = graph(wait(2, 1), wait(3, 2, 9.0), wait(4, 2), wait(12, 11), wait(13, 11))
    assert [
        (place_of(one.holder)[1], one.held_up, one.longest) for one in found.heads if isinstance(one.holder, Session)
    ] == [
        (1, 3, 9.0),
        (11, 2, 1.0),
    ]
    assert [one.id for one in found.heads_of(numbered(4)) if isinstance(one, Session)] == [1]
    assert lines(found) == [
        (0, 1, False),
        (1, 2, False),
        (2, 3, False),
        (2, 4, False),
        (0, 11, False),
        (1, 12, False),
        (1, 13, False),
    ]


def test_a_circle_is_shown_once_and_ends() -> None:
    found = graph(wait(1, 2), wait(2, 3), wait(3, 1), wait(4, 3))
    assert found.heads == ()
    assert found.heads_of(numbered(4)) == ()
    assert {one.id for one in found.held_up(numbered(1))} == {2, 3, 4}
    assert [cycle for _, _, cycle in lines(found)].count(True) == 1
    assert {number for _, number, _ in lines(found)} == {1, 2, 3, 4}


def test_a_chain_of_thousands_is_no_deeper_than_it_is_long() -> None:
    found = graph(*(wait(number + 1, number) for number in range(2, 3000)))
    assert found.heads[0].held_up == 2998
    assert lines(found)[-1] == (2998, 3000, False)


def test_the_ends_of_hundreds_of_waits_are_named_once_whoever_walks_them(monkeypatch: pytest.MonkeyPatch) -> None:
    named = 0

    def counted(session: Session) -> Place:
        nonlocal named
        named += 1
        return place_of(session)

    monkeypatch.setattr("bot.sessions.waits.graph.place_of", counted)
    found = graph(*(wait(number, number - 1 if number % 5 else number // 100 + 1) for number in range(100, 300)))
    for head in found.heads:
        assert found.frees(head.holder)
        assert len(found.held_up(head.holder)) == head.held_up
    assert len(list(found.chains())) > 200
    assert named < 3 * len(found.waits)


def test_a_queue_for_one_lock_is_no_chain() -> None:
    queue = [wait(later, earlier, lock="a row") for later in range(2, 7) for earlier in range(1, later)]
    assert {
        (one.waiter.id, one.holder.id) for one in without_queues(queue, ends_of) if isinstance(one.holder, Session)
    } == {(later, 1) for later in range(2, 7)}
    both_share = [wait(1, 2, lock="a row"), wait(2, 1, lock="a row")]
    assert without_queues(both_share, ends_of) == both_share, "a deadlock by sharing"


def test_candidates_stand_behind_those_that_the_server_names() -> None:
    found = graph(wait(2, 1, candidate=True), wait(3, 1, candidate=True), wait(12, 11))
    assert [place_of(one.holder)[1] for one in found.heads if isinstance(one.holder, Session)] == [11, 1]


def test_a_prepared_transaction_is_a_head_and_an_unnamed_holder_is_none() -> None:
    prepared = Prepared(Transaction(77, "RUNNING"))
    row = Wait(numbered(2), prepared, WaitKind.ROW_LOCK, "a view", 3.0)
    found = graph(row, wait(3, 2), wait(5, None))
    assert [(one.holder, one.held_up) for one in found.heads] == [(prepared, 2)]
    assert lines(found) == [(0, None, False), (1, 2, False), (2, 3, False), (0, None, False), (1, 5, False)]


def test_chains_that_touch_a_tenant_stay_whole_so_that_all_can_be_counted() -> None:
    def of(tenant: str, number: int) -> Session:
        return replace(EXAMPLE, id=number, tenant=tenant)

    def row(waiter: Session, holder: Session) -> Wait:
        return Wait(waiter, holder, WaitKind.ROW_LOCK, "a view", 1.0)

    found = graph(row(of("crm", 2), of("crm", 1)), row(of("shop", 3), of("crm", 2)), row(of("crm", 4), of("crm", 1)))
    others = graph(*found.waits, row(of("hr", 12), of("hr", 11)))
    assert others.seen_by(frozenset({"shop"})).waits == found.waits
    assert others.seen_by(frozenset({"hr"})).waits == others.waits[3:]
    assert others.seen_by(frozenset({"other"})).waits == ()
    assert others.seen_by(None) is others
