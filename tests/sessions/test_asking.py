"""Asking many data sources at once: who hangs, and who fails, holds up nobody else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from bot.sessions.asking import AT_ONCE, ask_each
from bot.sessions.source_health import Looks, SourceHealth, Tenants, as_they_answer
from tests.sessions.conftest import read_until
from tests.support.patience import PATIENCE

SHOP, CRM = frozenset({"shop"}), frozenset({"crm"})


@pytest.fixture
def hang() -> Iterator[threading.Event]:
    """Give what those wait for that hang; it comes at the end of the test."""
    over = threading.Event()
    yield over
    over.set()


def test_however_many_hang_the_others_are_asked_and_heard(hang: threading.Event) -> None:
    asked: list[str] = []

    def hangs() -> str:
        asked.append("hung")
        hang.wait(PATIENCE)
        return "late"

    hung = {f"hung{number}": hangs for number in range(3 * AT_ONCE)}
    well = {f"well{number}": lambda: "well" for number in range(5)}
    heard: list[dict[str, str]] = []
    asking = threading.Thread(target=lambda: heard.append(ask_each({**hung, **well}, PATIENCE)))
    asking.start()
    while len(asked) < 3 * AT_ONCE:  # beside those that are slow, others are asked
        assert asking.is_alive()
    hang.set()
    asking.join(PATIENCE)
    assert heard == [{**dict.fromkeys(hung, "late"), **dict.fromkeys(well, "well")}]


def test_after_its_patience_it_returns_the_answers_that_there_are_in_their_order(hang: threading.Event) -> None:
    def fails() -> str:
        raise ZeroDivisionError

    def hangs() -> str:
        hang.wait(PATIENCE)
        return "late"

    asks = {"b": lambda: "b", "hung": hangs, "broken": fails, "a": lambda: "a"}
    # A busy machine may start a thread too late.
    heard = read_until(lambda: ask_each(asks, 0.3), lambda heard: len(heard) == 2)
    assert list(heard.items()) == [("b", "b"), ("a", "a")]


def test_who_asks_for_the_same_meanwhile_shares_the_look_and_others_have_their_turn(hang: threading.Event) -> None:
    looks, looked = Looks(), list[Tenants]()

    def look(tenants: Tenants) -> SourceHealth:
        looked.append(tenants)
        hang.wait(PATIENCE)
        return SourceHealth("prod", total=1 if tenants == SHOP else 2)

    before = set(threading.enumerate())
    asked = [looks.ask("prod", tenants, look) for tenants in (SHOP, CRM, SHOP, SHOP, CRM)]
    assert len(set(threading.enumerate()) - before) == 1, "however many ask, a data source has one thread"
    hang.set()
    assert [one.result(PATIENCE).total for one in asked] == [1, 2, 1, 1, 2]
    assert looked == [SHOP, CRM]
    assert looks.ask("prod", SHOP, look).result(PATIENCE).total == 1
    assert looked == [SHOP, CRM, SHOP], "a look that is over is not shown to who asks later"


def test_a_look_that_fails_is_told_as_a_problem_and_the_next_one_is_made() -> None:
    def fails(_tenants: Tenants) -> SourceHealth:
        raise ZeroDivisionError

    looks = Looks()
    assert "The bot failed" in looks.ask("prod", None, fails).result(PATIENCE).problem
    assert looks.ask("prod", None, lambda _: SourceHealth("prod", total=5)).result(PATIENCE).total == 5


def test_where_all_have_answered_they_are_told_once() -> None:
    answered: Future[SourceHealth] = Future()
    answered.set_result(SourceHealth("prod"))
    assert list(as_they_answer({"prod": answered})) == [[SourceHealth("prod")]]
    assert list(as_they_answer({})) == [[]]


def test_those_that_have_answered_are_told_and_the_others_as_they_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.sessions.source_health.FIRST", 0.05)
    monkeypatch.setattr("bot.sessions.source_health.AGAIN", 0.05)
    now = [100.0]
    monkeypatch.setattr("bot.sessions.source_health.time", SimpleNamespace(monotonic=lambda: now[0]))
    asked: dict[str, Future[SourceHealth]] = {name: Future() for name in ("prod", "slow", "hung")}
    asked["prod"].set_result(SourceHealth("prod"))
    told = as_they_answer(asked, patience=0.5)
    assert next(told) == [SourceHealth("prod"), SourceHealth("slow", pending=True), SourceHealth("hung", pending=True)]
    asked["slow"].set_result(SourceHealth("slow"))
    assert next(told) == [SourceHealth("prod"), SourceHealth("slow"), SourceHealth("hung", pending=True)]
    now[0] += 0.5
    (last,) = told
    assert last[2] == SourceHealth("hung", "Data source hung has not answered within 0 s.")
