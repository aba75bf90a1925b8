"""Text as data: nothing in it is markup."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.errors import InputError
from bot.slack.escaping import escaped, visible
from bot.slack.session_reference import SessionReference
from tests.sessions.examples import EXAMPLE
from tests.support.sessions import like


def test_what_cannot_be_seen_is_shown_as_an_escape() -> None:
    assert visible("a\u202eb\x00c\x1b\u200b\ufeff") == "a\\u202eb\\u0000c\\u001b\\u200b\\ufeff"
    assert visible("a\r\nb\tc") == "a  b c"
    assert visible("a\r\nb\tc", lines=True) == "a\nb\tc"
    assert visible("数据库 ü 😀") == "数据库 ü 😀"


@given(st.text())
def test_no_mention_link_or_formatting_comes_out_of_mrkdwn(text: str) -> None:
    assert not set("<>") & set(escaped(text))


def test_a_reference_reads_back_and_notices_another_session_under_its_id() -> None:
    reference = SessionReference.read(str(SessionReference.of(EXAMPLE)))
    assert reference == SessionReference.of(EXAMPLE)
    assert len(str(reference)) <= 150
    assert reference.matches(EXAMPLE)
    for other in (
        like(EXAMPLE, peer="10.0.3.7:1"),
        like(EXAMPLE, user="other"),
        replace(EXAMPLE, server=None),
        replace(EXAMPLE, id=5),
    ):
        assert not reference.matches(other)


@pytest.mark.parametrize("forged", ["", "a|b|c|d", "a|b|1|d", "a|b|4294967296|d", "a|b|5", "a|b|5|d|e"])
def test_a_forged_reference_is_refused(forged: str) -> None:
    with pytest.raises(InputError):
        SessionReference.read(forged)
