"""The text of a message: all that a screen reader, a watch or a phone's lock screen tells of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from bot.access import Person
from bot.closing.model import ApprovalPolicy, ClosingRequest, Target
from bot.sessions.model import Mode, Session, SessionPage, SessionQuery
from bot.sessions.statement import Disclosure, Statement
from bot.slack.delivery.message import Message
from bot.slack.views import closing_card, notices, session_list
from tests.sessions.examples import EXAMPLE
from tests.support.sessions import like

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
ALICE = Person("U01ALICE", "T1")
ODD = "app_user*`~@here #ops :100:"


def waiting(*sessions: Session) -> ClosingRequest:
    return ClosingRequest(
        "id",
        "demo",
        Mode.SESSION,
        ALICE,
        "C1",
        "",
        ApprovalPolicy.REQUESTER,
        NOW,
        NOW + timedelta(minutes=2),
        tuple(Target(number, one) for number, one in enumerate(sessions, 1)),
    )


def page_of(*sessions: Session) -> Message:
    page = SessionPage("demo", sessions, 100, 5, 100, NOW, SessionQuery(source="demo"))
    return session_list.session_list(page, [], disclosure=Disclosure.ALL_BUT_PASSWORDS)


def listed(*sessions: Session) -> str:
    return page_of(*sessions).text


def test_the_text_of_a_waiting_card_says_what_closing_means_and_when_it_expires() -> None:
    assert closing_card.closing_card(waiting(EXAMPLE), disclosure=Disclosure.ALL_BUT_PASSWORDS).text == (
        "Close session 3221487826 of app on demo: waits for a press. "
        "Close Session disconnects the client; it must connect again. Its running query is stopped. "
        "Its open transaction is rolled back and the locks are released. "
        "Close Query stops this query; the session stays. Its open transaction and the locks it holds stay, too. "
        "Expires at 03:02:00 UTC. Nothing is closed without a press."
    )


def test_the_text_of_an_idle_sessions_card_offers_no_query_to_close() -> None:
    idle = like(EXAMPLE, command="Sleep", state="SLEEP", statement=None)
    assert (
        "Close Query"
        not in closing_card.closing_card(waiting(idle, idle), disclosure=Disclosure.ALL_BUT_PASSWORDS).text
    )


def test_the_text_of_a_break_glass_card_says_so_and_until_when_it_can_be_stopped() -> None:
    asked = replace(
        waiting(EXAMPLE),
        approval=ApprovalPolicy.SECOND_PERSON,
        alone_from=NOW + timedelta(minutes=1),
        reason="shop is down",
    )
    sentence = "Break-glass: <@U01ALICE> may confirm alone from 03:01:00 UTC on, unless somebody presses Stop."
    card = closing_card.closing_card(asked, disclosure=Disclosure.ALL_BUT_PASSWORDS, approvers=["U02BOB", "S0DBA"])
    assert sentence in card.text
    assert "waits for a second person <@U02BOB> <!subteam^S0DBA>. Close Session" in card.text, "they are called"
    assert (
        "Break-glass"
        not in closing_card.closing_card(replace(asked, alone_from=None), disclosure=Disclosure.ALL_BUT_PASSWORDS).text
    )
    assert "from 03:01:00 UTC on <@U01ALICE> may confirm alone, by break-glass" in (
        closing_card.broken_glass(asked, ["U02BOB"]).text
    )
    call = closing_card.call(asked, NOW + timedelta(minutes=1), disclosure=Disclosure.ALL_BUT_PASSWORDS)
    assert "by break-glass, from 03:01:00 UTC on it may be confirmed without you" in call.text


def test_the_text_of_a_protected_sessions_card_says_so() -> None:
    asked = replace(waiting(EXAMPLE), override=("is the login of the backup",))
    assert (
        "Protected: this session is the login of the backup."
        in closing_card.closing_card(asked, disclosure=Disclosure.ALL_BUT_PASSWORDS).text
    )


def test_the_text_of_a_list_says_its_first_rows_and_no_sql() -> None:
    sessions = [
        like(EXAMPLE, id=5001 + number, statement=Statement.of(f"SELECT {number} FROM secrets")) for number in range(5)
    ]
    assert listed(*sessions) == (
        "Sessions on demo: 5 shown of 100 matching · page 1 of 5 · 100 in all, 5 active · as of 03:00:00 UTC. "
        "5001: app from 10.0.3.7:51234, ACTIVE for 75 s; 5002: app from 10.0.3.7:51234, ACTIVE for 75 s; "
        "5003: app from 10.0.3.7:51234, ACTIVE for 75 s; and 2 more below"
    )
    assert (
        listed()
        == "Sessions on demo: 0 shown of 100 matching · page 1 of 5 · 100 in all, 5 active · as of 03:00:00 UTC"
    )


def test_the_text_of_a_list_says_what_its_first_rows_wait_for() -> None:
    flush = like(EXAMPLE, doing="Waiting for table flush")
    assert "ACTIVE for 75 s, waits for a table flush" in listed(flush)


@pytest.mark.parametrize(
    ("doing", "said"),
    [
        (
            ("User lock",),
            "🔒 1 of these waits for a user lock, for 75 s: Details says who holds it, where that is known",
        ),
        (("User lock", "User lock", None), "🔒 2 of these wait for a user lock, the longest for 75 s"),
        (
            ("Waiting for backup lock", "User lock", "User lock"),
            "🔒 3 of these wait: 2 for a user lock, 1 for a backup lock; the longest for 75 s",
        ),
        (
            ("User lock", "User lock", *(f"Waiting for {number} lock" for number in range(48))),
            "1 for a 2 lock, 1 for a 3 lock, 44 for others; the longest for 75 s",
        ),
    ],
)
def test_a_list_counts_who_waits_by_what_they_wait_for(doing: Sequence[str | None], said: str) -> None:
    sessions = [like(EXAMPLE, id=5001 + number, doing=one) for number, one in enumerate(doing)]
    assert said in str(page_of(*sessions).blocks)


@pytest.mark.parametrize("text", [listed(like(EXAMPLE, user=ODD)), notices.notice(f"There is no {ODD}.").text])
def test_a_name_in_a_text_copies_as_it_is(text: str) -> None:
    assert ODD in text


def test_of_a_name_in_a_text_nothing_can_become_a_mention_or_a_link() -> None:
    for name in ("<!channel>", "<@U01ALICE>", "<https://evil.example|x>", "https://evil.example"):
        text = listed(like(EXAMPLE, user=name))
        assert not [sign for sign in ("<", ">", "://") if sign in text]
    assert "&lt;!channel&gt; from" in listed(like(EXAMPLE, user="<!channel>"))
