"""What may be typed after /kill-session: nothing is ever guessed."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.closing.targets import Wanted
from bot.errors import InputError
from bot.sessions.model import Mode
from bot.slack.arguments import kill_arguments
from bot.slack.arguments.kill_arguments import KillArguments
from bot.slack.arguments.normalization import normalize
from bot.slack.arguments.session_query import describe


def of(
    *wanted: int | Wanted,
    mode: Mode = Mode.SESSION,
    source: str | None = None,
    tenant: str | None = None,
    reason: str = "",
) -> KillArguments:
    """What names sessions by their ids."""
    named = tuple(Wanted(one) if isinstance(one, int) else one for one in wanted)
    return KillArguments(named, mode, source, tenant, reason)


@pytest.mark.parametrize(
    ("typed", "arguments"),
    [
        ("5", of(5)),
        ("3221487826 query", of(3221487826, mode=Mode.QUERY)),
        ("query 5", of(5, mode=Mode.QUERY)),
        ("5 session", of(5)),
        ("KILL 123;", of(123)),
        ("kill query 123", of(123, mode=Mode.QUERY)),
        ("KILL CONNECTION 123 ;", of(123)),
        ("5@10.0.0.3:2881", of(Wanted(5, "10.0.0.3:2881"))),
        ("5@10.0.0.3", of(Wanted(5, "10.0.0.3"))),
        ("5@[fe80::1]:2881", of(Wanted(5, "[fe80::1]:2881"))),
        ("5 server=10.0.0.3", of(Wanted(5, "10.0.0.3"))),
        ("5 tenant=shop source=prod", of(5, source="prod", tenant="shop")),
        ("5 reason=“blocks the payments”", of(5, reason="blocks the payments")),
        ("5 reason='a \"b\" c' query", of(5, mode=Mode.QUERY, reason='a "b" c')),
        ('kill query reason="a; b" 5', of(5, mode=Mode.QUERY, reason="a; b")),
        ("KILL 123; reason=stuck", of(123, reason="stuck")),
        ("5,6,7", of(5, 6, 7)),
        ("5, 6 7 query", of(5, 6, 7, mode=Mode.QUERY)),
        ("5,6@10.0.0.3:2881", of(5, Wanted(6, "10.0.0.3:2881"))),
        ("source=prod 5,6 reason=stuck", of(5, 6, source="prod", reason="stuck")),
        ("KILL 5; KILL 6;", of(5, 6)),
        ("KILL 5;KILL 6", of(5, 6)),
        ("kill query 5;\nkill query 6;", of(5, 6, mode=Mode.QUERY)),
    ],
)
def test_what_is_meant_is_understood(typed: str, arguments: KillArguments) -> None:
    assert kill_arguments.parse(normalize(typed)) == arguments


@pytest.mark.parametrize(
    ("typed", "where", "mode"),
    [
        ("where tenant=x user=report time>10m active-only", "tenant=x user=report time>10m active-only", Mode.SESSION),
        ("where user=report query", "user=report", Mode.QUERY),
        ("query where time > 5 minutes reason=“a b” user=app", "time>5m user=app", Mode.QUERY),
        ("reason=“a b” where source=prod idle", "on=prod idle", Mode.SESSION),
        ("where sql='drop where' in-transaction", 'sql="drop where" in-transaction', Mode.SESSION),
    ],
)
def test_a_filter_is_what_a_list_takes_with_query_and_reason_anywhere(typed: str, where: str, mode: Mode) -> None:
    arguments = kill_arguments.parse(normalize(typed))
    assert arguments.where is not None
    assert (describe(arguments.where), arguments.mode, arguments.wanted) == (where, mode, ())
    assert arguments.reason == ("a b" if "reason" in typed else "")


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("", "Which session?"),
        ("query", "Which session?"),
        ("abc", "is not a session id"),
        ("hlep", "Did you mean help?"),
        ("5 qery", "Did you mean query?"),
        ("5 6 abc", "is not a session id"),
        ("5,6,4294967299", "somebody else's id"),
        ("5 connection", "is not understood"),
        ("KILL 5; KILL QUERY 6;", "sessions or queries, not both"),
        ("KILL 5; KILL", "An id must follow"),
        ("user=report time>10m", "A filter follows the word where"),
        ("tenant=shop", "A filter follows the word where"),
        ("active-only", "A filter follows the word where"),
        ("wher user=report", "A filter follows the word where"),
        ("where", "without one every session would be meant"),
        ("where query source=prod reason=x", "without one every session would be meant"),
        ("where tenat=shop", "Did you mean tenant?"),
        ("where user=app activ-only", "Did you mean active-only?"),
        ("where user=app blocked", "Did you mean waiting?"),
        ("where report", "has no key"),
        ("where 5,6 user=app", "ids or a filter, not both"),
        ("where user=app limit=5", "limit is for lists"),
        ("where user=app sort=-time", "sort is for lists"),
        ("where user=app page=1", "page is for lists"),
        ("where user=app private", "private is for lists"),
        ("where user=app text", "text is for lists"),
        ("where user=app user=x", "user is given twice"),
        ("where time=5m", "Compare a time with > or <"),
        ("where user=a reason=b reason=c", "reason is given twice"),
        ("where active-only idle", "exclude each other"),
        ("5 query session", "Say query or session once"),
        ("5 tenat=shop", "Did you mean tenant=?"),
        ("5 tenant=a tenant=b", "tenant is given twice"),
        ("5 tenant=a,b", "tenant takes one value"),
        ("5 tenant>a", "tenant takes one value"),
        ("5 user=app", "There is no key “user” here"),
        ("5@10.0.0.3:2881 server=10.0.0.4:2881", "The server is given twice"),
        ("5 reason=", "reason= has no value"),
        ('5 reason="never closed', "is never closed"),
        ("1", "is not a session id"),
        ("4294967296", "somebody else's id"),
        ("0x5", "is not a session id"),
        ("5.5", "is not a session id"),
        ("-5 -6", "is not a session id"),
        ("KILL 1+1;", "is not a session id"),
    ],
)
def test_what_is_unclear_closes_nothing_and_earns_a_sentence(typed: str, sentence: str) -> None:
    with pytest.raises(InputError) as told:
        kill_arguments.parse(normalize(typed))
    assert sentence in told.value.sentence
    assert told.value.example.startswith("/")
    if "where" in typed or "where" in told.value.example:
        assert "Nothing was closed" in told.value.sentence
        kill_arguments.parse(told.value.example.removeprefix("/kill-session "))


@given(
    st.text(max_size=60)
    | st.text(st.sampled_from("kilquery 15@;,='\"tenasorc"), max_size=40)
    | st.lists(st.sampled_from(["where", "kill", "query", "5", "6;", "user=a", "time>5m", "idle", "7@h"])).map(" ".join)
)
def test_no_text_raises_anything_but_a_sentence_and_every_wish_means_somebody(text: str) -> None:
    with contextlib.suppress(InputError):
        arguments = kill_arguments.parse(normalize(text))
        assert all(1 < one.id < 2**32 for one in arguments.wanted)
        assert (
            arguments.where.filter.conditions or arguments.where.filter.flags if arguments.where else arguments.wanted
        )
