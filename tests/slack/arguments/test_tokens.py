"""A command is cut into words as it was meant, quotes respected."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.errors import InputError
from bot.sessions.model import Operator
from bot.slack.arguments.tokens import KeyToken, Token, WordToken, quoted, tokenize
from bot.slack.arguments.vocabulary import nearest


def key(name: str, *values: str, text: str, operator: Operator = Operator.CONTAINS) -> KeyToken:
    return KeyToken(name, operator, values, text)


@pytest.mark.parametrize(
    ("typed", "cut"),
    [
        ("", []),
        ("active-only --Private", [WordToken("active-only", "active-only"), WordToken("private", "--Private")]),
        ("Tenant=shop", [key("tenant", "shop", text="Tenant=shop")]),
        ("--user = app", [key("user", "app", text="--user = app")]),
        ("db=a , b,c", [key("db", "a", "b", "c", text="db=a , b,c")]),
        ('sql="a, ""b"" c"', [key("sql", 'a, "b" c', text='sql="a, ""b"" c"')]),
        ("sql='it''s'", [key("sql", "it's", text="sql='it''s'")]),
        ("sql=a<b=c", [key("sql", "a<b=c", text="sql=a<b=c")]),
        ('user="a"db=b', [key("user", "a", text='user="a"'), key("db", "b", text="db=b")]),
        ("time>=5m", [key("time", "5m", text="time>=5m", operator=Operator.AT_LEAST)]),
        ("user!=a", [key("user", "a", text="user!=a", operator=Operator.NOT)]),
        ("user==a", [key("user", "a", text="user==a", operator=Operator.EXACTLY)]),
        ("idle user=a", [WordToken("idle", "idle"), key("user", "a", text="user=a")]),
    ],
)
def test_words_are_cut_as_they_were_meant(typed: str, cut: list[Token]) -> None:
    assert tokenize(typed) == cut


@pytest.mark.parametrize(
    ("typed", "meant"), [("time=>5m", ">="), ("time=<5m", "<="), ("user<>a", "!="), ("user===a", "==")]
)
def test_a_sign_turned_round_is_refused_with_the_one_that_was_meant(typed: str, meant: str) -> None:
    with pytest.raises(InputError) as told:
        tokenize(typed)
    assert f"Did you mean {meant}?" in told.value.sentence
    assert told.value.spot in typed
    assert tokenize(told.value.example)


def test_a_sign_that_means_nothing_is_refused_without_a_guess() -> None:
    with pytest.raises(InputError) as told:
        tokenize('sql<=>"a b"')
    assert told.value.sentence.startswith("<=> is not a comparison")
    assert "Did you mean" not in told.value.sentence
    assert tokenize(told.value.example)


@pytest.mark.parametrize("typed", ["user=", 'user=""', "user=a,", "user=a,,b", "user= ,b", "user='  '"])
def test_an_empty_value_is_refused(typed: str) -> None:
    with pytest.raises(InputError, match="has no value") as told:
        tokenize(typed)
    assert told.value.spot == "user="


def test_a_quotation_mark_that_stays_open_is_shown_with_all_it_swallowed() -> None:
    with pytest.raises(InputError, match="is never closed") as told:
        tokenize('db=x sql="update stock idle')
    assert told.value.spot == '"update stock idle'


texts = st.text(max_size=60) | st.text(st.sampled_from("ab \"'=,<>!"), max_size=40)


@given(texts.filter(str.strip))
def test_a_quoted_value_reads_back_as_it_was(value: str) -> None:
    assert tokenize(f"sql={quoted(value)}") == [key("sql", value, text=f"sql={quoted(value)}".strip())]


@given(texts)
def test_a_question_is_written_about_as_short_as_it_was_typed(typed: str) -> None:
    """A button holds 2,000 characters, a command 1,000."""
    try:
        cut = tokenize(typed)
    except InputError:
        return
    for token in cut:
        if isinstance(token, KeyToken):
            written = ",".join(map(quoted, token.values))
            assert len(written) <= len(token.text) + 2 * len(token.values)


def test_the_nearest_word_is_found_and_a_strange_one_has_none() -> None:
    assert nearest("tenat", ("tenant", "user")) == "tenant"
    assert nearest("colour", ("tenant", "user")) is None
