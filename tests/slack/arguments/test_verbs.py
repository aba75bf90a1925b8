"""Which verb a slip of one was meant as, and which words are left to be searched for."""

from __future__ import annotations

import pytest

from bot.slack.arguments.verbs import meant

VERBS = ["triage", "locks", "transactions", "show", "stats", "vars", "deadlocks", "audit", "sources", "list", "help"]


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("triag", "triage"),
        ("lokcs on=demo", "locks on=demo"),
        ("Transaction age>1m", "transactions age>1m"),
        ("deadlock", "deadlocks"),
        ("hsow 3221487826", "show 3221487826"),
        ("hlep", "help"),
    ],
)
def test_a_plain_slip_is_put_right_and_that_is_said(typed: str, read: str) -> None:
    found = meant(typed, VERBS)
    first, verb = typed.split(maxsplit=1)[0], read.split(maxsplit=1)[0]
    assert (found.text, found.question) == (read, "")
    assert found.corrected == f"“{first}” was read as {verb}. In quotes it is searched for."


@pytest.mark.parametrize(
    ("typed", "perhaps"),
    [
        ("block", "locks"),
        ("shw 3221487826", "show 3221487826"),
        ("status", "stats"),  # which is a key as well
        ("source", "sources"),
        ("resources", "sources"),
    ],
)
def test_a_word_that_may_be_searched_for_is_and_the_verb_is_asked_for(typed: str, perhaps: str) -> None:
    found = meant(typed, VERBS)
    assert (found.text, found.corrected) == (typed, "")
    assert found.question == f"Did you mean /sessions {perhaps}?"


@pytest.mark.parametrize(
    "typed", ["shop", "orders", "stock", '"triag"', "idle", "waiting", "locked", "tenat=shop", "10.0.3", "", "triage"]
)
def test_what_is_no_slip_of_a_verb_is_left_alone(typed: str) -> None:
    found = meant(typed, VERBS)
    assert (found.text, found.corrected, found.question) == (typed, "", "")
