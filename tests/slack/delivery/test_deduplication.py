"""Each act once, however often Slack delivers it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from bot.slack.delivery.deduplication import AT_MOST, REMEMBER, Deduplication


def test_one_delivery_of_many_is_the_first_and_is_forgotten_after_ten_minutes() -> None:
    now = [0.0]
    deduplication = Deduplication(lambda: now[0])
    with ThreadPoolExecutor(16) as threads:
        firsts = list(threads.map(lambda _: deduplication.first("trigger 1"), range(100)))
    assert firsts.count(True) == 1
    assert deduplication.first("trigger 2")
    now[0] = REMEMBER - 1
    assert not deduplication.first("trigger 1")
    now[0] = REMEMBER + 1
    assert deduplication.first("trigger 1")


def test_what_is_remembered_of_deliveries_is_bounded() -> None:
    now = [0.0]
    deduplication = Deduplication(lambda: now[0])
    for number in range(AT_MOST + 1):
        deduplication.first(f"trigger {number}")
    assert len(deduplication._seen) == AT_MOST
    assert not deduplication.first(f"trigger {AT_MOST}")
    assert deduplication.first("trigger 0"), "the oldest is forgotten first"
