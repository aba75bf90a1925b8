"""No text of a database, a person or a configuration becomes markup, a mention, a link, SQL or a shown password."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.errors import InputError, TargetError
from bot.sessions.dialect import COLUMNS, Dialect
from bot.sessions.masking import digest, formatted, without_passwords, without_secrets
from bot.sessions.model import Condition, Field, Operator, SessionFilter, Sort
from bot.slack.delivery.message import Message
from bot.slack.escaping import escaped, top_level, visible
from bot.slack.views import blocks as kit
from bot.slack.views import notices
from tests.support.harmless import markup_in, refusals_of, secrets_in
from tests.support.hostile import BARE, BARE_PASSWORDS, PASSWORDS, SECRET, SECRETIVE, URLS, Texts, statements, texts
from tests.support.hostile_judge import judge
from tests.support.hostile_views import Views

KINDS = {
    "session_lists",
    "details",
    "locks",
    "transactions",
    "triages",
    "cards",
    "statistics",
    "variables",
    "deadlocks",
    "sources",
    "homes",
    "notices",
    "modals",
    "audits",
}


@pytest.mark.parametrize("seed", [1, 2])
def test_no_view_of_thousands_of_hostile_texts_is_refused_marked_up_or_tells_a_password(seed: int) -> None:
    counted = judge(12_000, seed)
    assert not counted.examples
    assert counted.wrong == 0
    assert set(counted.views) == KINDS
    assert counted.texts >= 12_000


class Names(Texts):
    """One text for all places, whose signs mean something in mrkdwn."""

    def text(self) -> str:
        """Return it."""
        self.taken += 1
        return "at 17:28:03 :100: http://db1:3306/ *app*_user~`x`@here"

    sql = told = text


def test_what_is_shown_copies_as_it_is_whatever_its_signs_mean_in_mrkdwn() -> None:
    views = Views(Names(1), 1)
    for kind in sorted(KINDS):
        for shown in getattr(views, kind)():
            parts = [shown.payload(), shown.fallback_payload()] if isinstance(shown, Message) else [shown]
            assert not set("∶∗＿∼ˋ＠") & set(json.dumps(parts, ensure_ascii=False)), kind


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32), st.sampled_from(sorted(KINDS)))
def test_each_view_of_any_hostile_texts_is_harmless(seed: int, kind: str) -> None:
    for shown in getattr(Views(Texts(seed), seed), kind)():
        if isinstance(shown, Message):
            assert not list(refusals_of(shown))
            for blocks in (shown.payload(), shown.fallback_payload()):
                assert not list(markup_in(blocks, shown.text))
                assert not list(secrets_in(blocks, shown.text))
        else:
            assert not list(markup_in(shown))
            assert not list(secrets_in(shown))


@given(texts)
def test_any_text_at_all_is_one_line_without_markup(text: str) -> None:
    assert len(visible(text).splitlines()) <= 1
    assert not set("<>") & set(escaped(text))
    assert not list(markup_in([], top_level(text)))
    for message in (notices.failure(TargetError(f"x{text}"), "abcd", text), notices.notice(f"x{text}")):
        assert not list(refusals_of(message))
        assert not list(markup_in(message.payload(), message.text))
    wrong = InputError(f"x{text}", spot=text[:10], example=text)
    assert not list(refusals_of(notices.failure(wrong, "abcd", text)))


@given(statements)
def test_any_statement_hides_its_password_however_it_is_shown(sql: str) -> None:
    for shown in (without_passwords(sql), without_secrets(sql), formatted(sql, literals=True), digest(sql, 10_000)):
        assert SECRET not in shown


@pytest.mark.parametrize("url", URLS)
def test_an_address_tells_no_password_wherever_it_stands(url: str) -> None:
    assert SECRET not in without_secrets(url)
    for sql in (f"SELECT '{url}'", f'SELECT "{url}"', f"SELECT 1 /* {url} */", f"LOAD DATA INFILE '{url}"):
        assert SECRET not in without_passwords(sql)
        assert SECRET not in digest(sql, 1_000)


@pytest.mark.parametrize("pattern", [*SECRETIVE, *BARE])
def test_every_way_to_write_a_password_is_hidden_also_behind_a_stray_quotation_mark(pattern: str) -> None:
    for password in BARE_PASSWORDS if pattern in BARE else PASSWORDS:
        sql = pattern.replace("{}", password)
        for one in (sql, sql.lower(), sql.replace(" ", " /**/ "), f"' {sql}", f"PREPARE s FROM '{sql}", f"{sql} 'x"):
            assert SECRET not in without_passwords(one)
            assert SECRET not in digest(one, 10_000)


@given(texts, st.sampled_from(sorted(Field, key=lambda field: field.value)), st.sampled_from(Operator))
def test_what_is_searched_for_is_bound_and_never_a_part_of_the_sql(text: str, field: Field, operator: Operator) -> None:
    def page(value: str | float) -> str:
        condition = Condition(field, operator, (value,))
        asked = dialect.page((text,), SessionFilter((condition,)), Sort(), 20, 0)
        return asked.sql

    dialect = Dialect("x", "view", {name: f"{name}_column" for name in COLUMNS}, (), frozenset(), None)
    if field in (Field.ID, Field.TIME):
        assert page(5) == page(6)  # no text gets there: ids and times are numbers by then
    else:
        assert page(text) == page("harmless")


def test_the_judge_finds_what_it_is_there_for() -> None:
    """A judge that finds nothing in anything would let all tests above pass."""
    bad = "<!channel> *b* `x` https://evil.example :x: \u202e"
    block = kit.context([kit.mrkdwn(bad)])
    assert list(markup_in(Message("x", [block]).payload()))
    for text in (
        "<@U01ALICE>",
        "a*b*",
        "_i_",
        "~s~",
        "`c`",
        "@here",
        "a & b",
        "https://x",
        ":smile:",
        "a\nb",
        "\x1b[0m",
    ):
        assert list(markup_in([kit.mrkdwn(text)])), text
    for text in ("<@U01ALICE>", "<!channel>", "a & b", "https://x", "a\nb", "\x1b[0m"):
        assert list(markup_in([], text)), text
    assert list(markup_in([{"type": "header", "text": {"type": "plain_text", "text": "a\u202eb"}}]))
    assert list(markup_in([{"type": "header", "text": {"type": "plain_text", "text": "fe80:100:1"}}]))
    assert list(markup_in([{"type": "rich_text", "elements": [{"type": "link", "url": "https://x"}]}]))
    assert list(refusals_of(Message("", [])))
    assert list(refusals_of(Message("x" * 5_000, [])))
    assert list(refusals_of(Message("x", [kit.header("x"), *[kit.divider()] * 60])))
    assert list(secrets_in([{"text": f"IDENTIFIED BY '{SECRET}'"}]))
    assert not list(markup_in([], "✅ closed, a &lt;b&gt; of <@U0ASKER> at <!date^1^{time_secs}|03:00:00 UTC>"))


def test_a_text_that_nobody_can_see_is_shown_as_an_escape() -> None:
    assert visible("a\u3164b\u2800c\u115fd") == "a\\u3164b\\u2800c\\u115fd"
    assert top_level("app_user*`~@here :100: <b> & fe80::1 https://x") == (
        "app_user*`~@here :100: &lt;b&gt; &amp; fe80::1 https∶//x"
    )
