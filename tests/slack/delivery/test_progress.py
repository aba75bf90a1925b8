"""What is due is done by one thread that waits for all, unless what it was about has ended by then."""

from __future__ import annotations

import threading

from bot.slack.delivery.progress import Alarms


def waiting() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "alarms"]


def test_one_thread_waits_for_all_that_is_due_and_ends_with_them() -> None:
    alarms, before = Alarms(), len(waiting())
    rang: list[str] = []
    first, second = threading.Event(), threading.Event()

    def ring(name: str, event: threading.Event) -> None:
        rang.append(name)
        event.set()

    with alarms.after(0.5, lambda: ring("ended", second)):
        pass
    with alarms.after(0.0, lambda: ring("soon", first)):
        assert first.wait(10)
        assert len(waiting()) == before + 1
    with alarms.after(0.6, lambda: ring("late", second)):
        assert second.wait(10)
    assert rang == ["soon", "late"]
    for thread in waiting()[before:]:
        thread.join(10)
    assert len(waiting()) == before
    with alarms.after(0.0, second.clear):  # a thread again
        pass


def test_what_is_due_holds_up_nothing_else_that_is_due() -> None:
    alarms, hangs, rang = Alarms(), threading.Event(), threading.Event()
    try:
        with alarms.after(0.0, lambda: hangs.wait(10)), alarms.after(0.0, rang.set):
            assert rang.wait(5)
    finally:
        hangs.set()
