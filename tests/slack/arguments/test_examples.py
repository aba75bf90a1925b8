"""Examples in refusals run as they stand, whatever was typed wrong around them."""

from __future__ import annotations

import pytest

from bot.errors import InputError
from bot.slack.arguments.normalization import normalize
from bot.slack.arguments.session_query import describe, parse


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ('sql=>"a b"', "=> is not a comparison"),
        ("colour=>5", "=> is not a comparison"),
        ("id=5 id=abc", "“abc” is not a session id"),
        ("id=5 id=1", "1 is not a session id"),
        ("status=SLEEP status=dead!", "There is no status “dead!”"),
        ('active-only status="rolling back"', "active-only and that status exclude each other"),
        ("id=5 id=7", "id is given twice"),
        ('sql="a, b" sql=c', "sql is given twice"),
        ("time>1m time>2m", "Give one lower and one upper bound"),
        ("status>foo", "cannot be larger or smaller"),
        ("sort!=colour", "sort takes one value"),
        ("limit>999", "limit takes one value"),
        ('source="my prod",b', "source takes one value"),
        ("page>0", "page takes one value"),
        ("1", "1 is not a session id"),
        ("99999999999", "somebody else's id"),
        ("idle status=ACTIVE", "idle and status=ACTIVE exclude each other"),
        ("time>99999999999999999999d", "No session is older than ten years"),
        ("time>" + "9" * 400, "No session is older than ten years"),
        ("time=" + "9" * 12, "No session is older than ten years"),  # not the example with the same number
        ("id=" + "9" * 900, "is not a session id"),
    ],
)
def test_the_example_of_a_refusal_runs(typed: str, sentence: str) -> None:
    with pytest.raises(InputError) as told:
        parse(normalize(typed))
    assert sentence in told.value.sentence
    assert told.value.spot in typed
    name, _, words = told.value.example.partition(" ")
    assert name == "/sessions"
    assert parse(normalize(words)).notes == ()


@pytest.mark.parametrize(
    ("typed", "written"),
    [
        ("time>0.00001ms", "time>0s"),
        ("time>0.4ms", "time>0s"),
        ("time>1ms", "time>0.001s"),
        ("time>123456.789", "time>123456.789s"),
        ("time>5.1m", "time>306s"),
        ("time>1.5h", "time>90m"),
        ("time>3650d", "time>3650d"),
    ],
)
def test_a_duration_is_written_so_that_it_reads_back_the_same(typed: str, written: str) -> None:
    query = parse(typed).query
    assert describe(query) == written
    assert parse(written).query == query


@pytest.mark.parametrize(
    "typed",
    [
        "sql='" + '"' * 990 + "'",
        'sql="' + "'" * 990 + '"',
        "sql=" + "a=," * 330 + "a",
        "user=" + ",".join("x" * 497),
    ],
)
def test_the_longest_question_fits_into_a_button(typed: str) -> None:
    query = parse(f"source=prod {normalize(typed)}").query
    assert len(describe(query)) <= 2000
    assert parse(describe(query)).query == query
