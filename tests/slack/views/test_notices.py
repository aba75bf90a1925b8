"""A refusal shows what was typed, with the wrong part marked."""

from __future__ import annotations

from typing import Any

import pytest

from bot.errors import InputError
from bot.slack.arguments.normalization import normalize
from bot.slack.arguments.session_query import parse
from bot.slack.views.notices import failure
from tests.support.slack_text import text_of


def refused(typed: str) -> tuple[str, list[str]]:
    """Return what the refusal of a command says and which pieces of it are marked."""
    with pytest.raises(InputError) as told:
        parse(normalize(typed))
    blocks = failure(told.value, "abcd", f"/sessions {typed}").payload()
    return text_of(blocks), list(marked(blocks))


def marked(blocks: list[dict[str, Any]]) -> list[str]:
    elements = [element for section in blocks[0]["elements"] for element in section["elements"]]
    return [element["text"] for element in elements if element.get("style", {}).get("strike")]


@pytest.mark.parametrize(
    ("typed", "wrong"),
    [
        ("tenant=sys colour=red", "colour=red"),
        ("user=app active-only idle", "idle"),
        ("sql=“never closed", '"never closed'),
        ("user＝app limit＝99", "99"),
        ("time=>5m", "time=>"),
        (f"sql={'x' * 800} colour=red", "colour=red"),
    ],
)
def test_the_wrong_part_is_marked_in_what_was_typed(typed: str, wrong: str) -> None:
    said, spots = refused(typed)
    assert spots == [wrong]
    assert "For example: /sessions" in said
    assert "Error id abcd" in said


def test_a_wrong_part_as_long_as_the_command_is_marked_from_its_start() -> None:
    said, spots = refused("=" + "x" * 900)
    assert spots == ["=" + "x" * 99]
    assert len(said) < 1200


def test_three_thousand_characters_are_shown_cut_and_unmarked() -> None:
    with pytest.raises(InputError) as told:
        normalize("x" * 3000)
    blocks = failure(told.value, "abcd", "/sessions " + "x" * 3000).payload()
    assert "That is 3,000 characters" in text_of(blocks)
    assert "You typed: /sessions xxx" in text_of(blocks)
    assert len(text_of(blocks)) < 700
    assert not list(marked(blocks))
