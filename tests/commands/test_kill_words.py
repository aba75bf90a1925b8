"""What may be typed after /kill-session: nothing is ever guessed."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.errors import InputError
from bot.sessions.model import Mode
from bot.slack.typed import repaired
from commands.kill_session import Wish, parse


@pytest.mark.parametrize(
    ("typed", "wish"),
    [
        ("5", Wish(5, Mode.SESSION)),
        ("3221487826 query", Wish(3221487826, Mode.QUERY)),
        ("query 5", Wish(5, Mode.QUERY)),
        ("5 session", Wish(5, Mode.SESSION)),
        ("KILL 123;", Wish(123, Mode.SESSION)),
        ("kill query 123", Wish(123, Mode.QUERY)),
        ("KILL CONNECTION 123 ;", Wish(123, Mode.SESSION)),
        ("5@10.0.0.3:2881", Wish(5, Mode.SESSION, server="10.0.0.3:2881")),
        ("5 tenant=shop source=prod", Wish(5, Mode.SESSION, "prod", "shop")),
        ("5 reason=“blocks the payments”", Wish(5, Mode.SESSION, reason="blocks the payments")),
        ("5 reason='a \"b\" c' query", Wish(5, Mode.QUERY, reason='a "b" c')),
        ('kill query reason="a; b" 5', Wish(5, Mode.QUERY, reason="a; b")),
        ("KILL 123; reason=stuck", Wish(123, Mode.SESSION, reason="stuck")),
    ],
)
def test_what_is_meant_is_understood(typed: str, wish: Wish) -> None:
    assert parse(repaired(typed)) == wish


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("", "Which session?"),
        ("query", "Which session?"),
        ("abc", "is not a session id"),
        ("hlep", "Did you mean help?"),
        ("5 qery", "Did you mean query?"),
        ("5 6", "Give one session id"),
        ("5,6", "Give one session id"),
        ("5 query session", "Say query or session once"),
        ("5 tenat=shop", "Did you mean tenant=?"),
        ("5 tenant=a tenant=b", "tenant stands there twice"),
        ("5 tenant=a,b", "tenant takes one value"),
        ("5 tenant>a", "tenant takes one value"),
        ("5 user=app", "There is no key “user” here"),
        ("5@10.0.0.3:2881 server=10.0.0.4:2881", "The server stands there twice"),
        ("5 reason=", "reason= has no value"),
        ('5 reason="never closed', "is never closed"),
        ("1", "is not a session id"),
        ("4294967296", "somebody else's id"),
        ("0x5", "is not a session id"),
        ("5.5", "is not a session id"),
        ("-5 -6", "Give one session id"),
        ("KILL 1+1;", "is not a session id"),
    ],
)
def test_what_is_unclear_closes_nothing_and_earns_a_sentence(typed: str, sentence: str) -> None:
    with pytest.raises(InputError) as told:
        parse(repaired(typed))
    assert sentence in told.value.sentence
    assert told.value.example.startswith("/")


@given(st.text(max_size=60) | st.text(st.sampled_from("kilquery 15@;,='\"tenasorc"), max_size=40))
def test_no_text_raises_anything_but_a_sentence_and_every_id_is_one(text: str) -> None:
    with contextlib.suppress(InputError):
        assert 1 < parse(repaired(text)).id < 2**32
