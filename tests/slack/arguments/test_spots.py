"""The spot that an error marks stands in what was typed, and its example runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.errors import InputError
from bot.slack.arguments import kill_arguments, session_query
from bot.slack.arguments.normalization import normalize

Parse = Callable[[str], object]

PARSERS: dict[str, Parse] = {"/sessions": session_query.parse, "/kill-session": kill_arguments.parse}
KEYS = ["user", "tenant", "id", "time", "status", "sort", "limit", "reason", "server"]
SIGNS = ["=", "==", "!=", ">", "<", "=>", "<>", ",", ";", "@", '"', "'", "“", "—", "&lt;"]
VALUES = ["0", "5", "007", "4294967296", "5m", "1.5h", "-time", "ACTIVE", "数", "ﷺ", "<http://a|b>", "10.0.0.1:2881"]
WORDS = ["kill", "query", "active-only", "idle", "text", "list"]
pieces = st.lists(st.sampled_from([*KEYS, *SIGNS, *VALUES, *WORDS]), max_size=12)


def refusal(parse: Parse, typed: str) -> InputError | None:
    try:
        parse(typed)
    except InputError as error:
        return error
    return None


@pytest.mark.parametrize("parse", PARSERS.values(), ids=PARSERS)
def test_a_sign_turned_round_between_spaces_is_marked(parse: Parse) -> None:
    refused = refusal(parse, "user => app")
    assert refused is not None
    assert refused.spot == "user =>"


@given(pieces.map(" ".join) | pieces.map("".join))
def test_every_spot_can_be_found_again_and_every_example_runs(typed: str) -> None:
    text = normalize(typed)
    for parse in PARSERS.values():
        refused = refusal(parse, text)
        if refused is None:
            continue
        assert refused.spot.lower() in text.lower()
        if refused.example:
            name, _, words = refused.example.partition(" ")
            assert refusal(PARSERS[name], normalize(words)) is None
