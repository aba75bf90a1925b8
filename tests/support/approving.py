"""Who may do what where somebody else must confirm: Alice asks, Bob and the DBA team approve, Gus has no rule."""

from __future__ import annotations

from tests.support.slack_person import Person
from tests.support.slack_text import Json

ACCESS = """
[[access]]
who = ["U01ALICE"]
may = ["view", "close"]

[[access]]
who = ["U02BOB", "S0DBATEAM"]
may = ["view", "close", "approve"]
"""


def dialog_of(person: Person, card: Json, button: str, says: str = "Asked by") -> Json:
    """Press a button of a card and return the dialog once it is filled."""
    person.press(card, button)
    return person.wait_for_modal(says)
