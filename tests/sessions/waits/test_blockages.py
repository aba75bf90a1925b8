"""What is told first of all waits: heads, a DDL with a queue behind it, circles, and holders that nobody names."""

from __future__ import annotations

from dataclasses import replace

from bot.sessions.model import Session, Transaction, WaitKind
from bot.sessions.waits.blockages import blockages
from bot.sessions.waits.graph import Wait, WaitGraph
from tests.sessions.waits.test_graph import graph, numbered, wait


def told(found: WaitGraph) -> list[tuple[int, int]]:
    return [(one.who.id, len(one.behind)) for one in blockages(found) if isinstance(one.who, Session)]


def metadata(waiter: int, holder: int) -> Wait:
    return replace(wait(waiter, holder, 5.0), kind=WaitKind.METADATA, what="shop.orders")


def test_the_head_that_holds_up_the_most_is_first_and_a_candidate_last() -> None:
    found = graph(
        wait(2, 1),
        wait(12, 11, 9.0),
        wait(13, 12),
        wait(14, 12),
        wait(22, 21, candidate=True),
        wait(23, 21),
        wait(32, 31),
    )
    assert told(found) == [(11, 3), (21, 2), (1, 1), (31, 1)]
    assert told(graph(wait(2, 1, candidate=True), wait(3, 1, candidate=True), wait(5, 4))) == [(4, 1), (1, 2)]


def test_a_ddl_with_a_queue_behind_it_stands_before_those_whom_it_waits_for_once() -> None:
    found = graph(metadata(9, 1), metadata(9, 2), *(metadata(number, 9) for number in range(20, 25)))
    assert told(found) == [(9, 5), (1, 6), (2, 6)]
    assert [one.waiting for one in blockages(found)] == [True, False, False]
    alone = graph(metadata(9, 1))
    assert told(alone) == [(1, 1)], "nobody stands behind it"


def test_a_circle_is_one_blockage_with_all_that_stand_behind_it() -> None:
    young = replace(numbered(2), time=1.0, transaction=Transaction(7, "ACTIVE", age=3.0))
    circle = (replace(wait(1, 2), holder=young), replace(wait(2, 3, 30.0), waiter=young), wait(3, 1))
    [one] = blockages(graph(*circle, wait(4, 3), wait(5, 4)))
    assert {session.id for session in one.circle} == {1, 2, 3}
    assert {session.id for session in one.behind} == {1, 2, 3, 4, 5}
    assert (one.who, one.longest) == (young, 30.0), "of which the youngest transaction is the least to lose"


def test_waiters_whose_holder_nobody_names_are_told_together_by_what_they_wait_for() -> None:
    user_lock = [replace(wait(number, None, float(number)), kind=WaitKind.USER_LOCK) for number in (5, 6)]
    found = graph(*user_lock, wait(7, 6), wait(8, None))
    assert [(one.named, len(one.behind), one.longest) for one in blockages(found)] == [(False, 3, 6.0), (False, 1, 1.0)]
    named_as_well = graph(wait(5, None), wait(5, 1))
    assert told(named_as_well) == [(1, 1)]
