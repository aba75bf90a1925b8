"""What keyboards, editors and Slack do to typed text is undone, once."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.errors import InputError
from bot.slack.arguments.normalization import MAX_TYPED, normalize


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("  tenant=shop \n", "tenant=shop"),
        ("sql=“a” „b” «c»", 'sql="a" "b" "c"'),
        ("sql=‘a’ ‚b’", "sql='a' 'b'"),
        ("—private –text −text ‑text", "-private -text -text -text"),
        ("user＝ａｐｐ", "user=app"),
        ("user=app\u00a0db=x\u202fidle\u3000text", "user=app db=x idle text"),
        ("ten\u200bant\ufeff=sh\u2060op", "tenant=shop"),
        ("<mailto:a@b.example|a@b.example>", "a@b.example"),
        ("<http://db.example|db.example> <https://x.example/>", "db.example x.example"),
        ("time&gt;5m sql=&lt;a&gt; a&amp;b", "time>5m sql=<a> a&b"),
    ],
)
def test_look_alikes_links_and_entities_become_what_was_meant(typed: str, meant: str) -> None:
    assert normalize(typed) == meant


def test_only_three_entities_are_decoded_and_only_once() -> None:
    assert normalize("&amp;lt; &amp;amp; &quot; &#60;") == "&lt; &amp; &quot; &#60;"


def test_an_entity_never_becomes_a_link_to_unwrap() -> None:
    assert normalize("sql=&lt;http://x|y&gt;") == "sql=<http://x|y>"


@pytest.mark.parametrize("typed", ["x" * (MAX_TYPED + 1), "ﷺ" * 100])
def test_a_text_that_is_too_long_is_refused_also_when_its_signs_are_written_out(typed: str) -> None:
    with pytest.raises(InputError, match="a command takes at most 1,000") as told:
        normalize(typed)
    assert "Nothing was done" in told.value.sentence
    assert normalize(told.value.example) == told.value.example


@given(st.text(max_size=200))
def test_any_text_is_repaired_to_one_that_fits_or_is_refused(text: str) -> None:
    with contextlib.suppress(InputError):
        assert len(normalize(text)) <= MAX_TYPED
