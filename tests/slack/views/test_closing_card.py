"""Cards of requests for several sessions: everything is said, and it fits into what Slack takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from bot.access import Person
from bot.closing.model import ApprovalPolicy, ClosingRequest, Outcome, State, Target, Untouched
from bot.sessions.model import MAX_LIMIT, Mode, Session
from bot.sessions.statement import Disclosure, Statement
from bot.slack.delivery.message import Message
from bot.slack.views import closing_card, closing_modal
from sandbox.slack.rules import check_message, check_view
from tests.sessions.examples import EXAMPLE
from tests.support.sessions import like
from tests.support.slack_text import buttons_of, table_of, text_of

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
IDLE = replace(EXAMPLE, command="Sleep", state="SLEEP", statement=None)


def request(*sessions: Session, untouched: tuple[Untouched, ...] = (), matching: int = 0) -> ClosingRequest:
    return ClosingRequest(
        "id",
        "demo",
        Mode.SESSION,
        Person("U01ALICE", "T1"),
        "C1",
        "",
        ApprovalPolicy.REQUESTER,
        NOW,
        NOW + timedelta(minutes=2),
        tuple(Target(number, one) for number, one in enumerate(sessions, 1)),
        untouched,
        "user=app time>10m" if matching else "",
        matching,
    )


def done(asked: ClosingRequest, *outcomes: Outcome, detail: str = "", mode: Mode = Mode.SESSION) -> ClosingRequest:
    targets = tuple(
        replace(target, outcome=outcome, detail=detail, outcome_at=NOW + timedelta(seconds=3))
        for target, outcome in zip(asked.targets, outcomes, strict=True)
    )
    return replace(
        asked, targets=targets, state=State.DONE, decided_by=Person("U02BOB", "T1"), decided_at=NOW, decided_mode=mode
    )


def numbered(count: int, like: Session = EXAMPLE) -> list[Session]:
    return [replace(like, id=5001 + number) for number in range(count)]


def said(message: Message) -> str:
    return text_of({"blocks": message.payload()})


def fits(message: Message) -> None:
    for blocks in (message.payload(), message.fallback_payload()):
        if blocks is not None:
            check_message({"text": message.text, "blocks": blocks})


def cards(asked: ClosingRequest, detail: str) -> Iterator[Message]:
    """Yield the card of a request in every state."""
    for disclosure in Disclosure:
        yield closing_card.closing_card(asked, disclosure=disclosure)
        yield closing_card.closing_progress(asked, detail, disclosure=disclosure)
        outcomes = [list(Outcome)[number % len(Outcome)] for number in range(len(asked.targets))]
        finished = done(asked, *outcomes)
        different = [replace(one, detail=f"{one.number} {detail}") for one in finished.targets]
        yield closing_card.closing_result(replace(finished, targets=tuple(different)), disclosure=disclosure)
        yield closing_card.closing_result(replace(asked, state=State.EXPIRED), disclosure=disclosure)


@pytest.mark.parametrize("count", [5, 6, MAX_LIMIT])
@pytest.mark.parametrize("sign", ["W", "\u202e", "选", "`<!channel>`"])
def test_the_widest_sessions_with_the_longest_reasons_fit_into_one_message(count: int, sign: str) -> None:
    wide = sign * 300
    worst = like(
        EXAMPLE,
        tenant=wide,
        user=wide,
        origin=wide,
        database=wide,
        command=wide,
        state=wide,
        proxy=wide,
        transaction_state=wide,
        statement=Statement.of(wide * 3),
        time=1e9,
        retry_info=-6005,
    )
    sessions = [
        like(worst, id=4_294_967_000 + number, server=f"[fe80::{number}]:65535", user=f"{number}{wide}")
        for number in range(count)
    ]
    left = tuple(Untouched(4_294_967_000 + number, None, f"{number} {wide}") for number in range(MAX_LIMIT - count))
    asked = replace(
        request(*sessions, untouched=left, matching=999_999),
        filter_text=sign * 1000,
        reason=sign * 1000,
        approval=ApprovalPolicy.SECOND_PERSON,
    )
    for message in cards(asked, wide):
        fits(message)
        assert "<!channel>" not in message.text


def test_a_few_are_lines_and_more_are_a_table_in_the_columns_of_the_list() -> None:
    few = said(closing_card.closing_card(request(*numbered(5)), disclosure=Disclosure.DIGEST))
    for number in range(5):
        assert f"Session ID {5001 + number}" in few
    for words in ("User app", "Tenant shop", "Database Name orders", "ACTIVE, Query, for 75 s", "open (ACTIVE)"):
        assert few.count(words) == 5
    assert few.count("SELECT * FROM orders WHERE id = ?") == 5
    message = closing_card.closing_card(request(*numbered(6)), disclosure=Disclosure.DIGEST)
    table = table_of({"blocks": message.payload()})
    assert table[0] == [
        "Session ID",
        "SQL",
        "User",
        "Source",
        "Tenant",
        "Database Name",
        "Status",
        "Execution Time (s)",
        "Transaction",
    ]
    assert [row[0] for row in table[1:]] == [str(5001 + number) for number in range(6)]
    assert "5006" in text_of({"blocks": message.fallback_payload()}), "also where Slack takes no table"


def test_the_server_is_shown_where_there_is_more_than_one() -> None:
    sessions = [*numbered(6), replace(EXAMPLE, server="10.0.0.2:2881")]
    table = table_of({"blocks": closing_card.closing_card(request(*sessions), disclosure=Disclosure.DIGEST).payload()})
    assert (table[0][-1], table[1][-1], table[-1][-1]) == ("observer", "10.0.0.1:2881", "10.0.0.2:2881")


def test_the_card_sums_up_what_closing_would_mean() -> None:
    free = like(EXAMPLE, transaction_id=None, transaction_state=None)
    card = said(closing_card.closing_card(request(EXAMPLE, EXAMPLE, free, IDLE), disclosure=Disclosure.DIGEST))
    for words in (
        "disconnects 4 clients",
        "3 run a query, which is stopped",
        "3 have an open transaction, which is rolled back",
        "stops the 3 queries that run",
        "2 keep their open transaction",
        "1 is idle and not touched by it",
    ):
        assert words in card


def test_what_is_not_touched_is_grouped_by_its_reason_and_counted() -> None:
    left = (*(Untouched(number, None, "is idle.") for number in range(2, 14)), Untouched(99, None, "is protected."))
    card = said(closing_card.closing_card(request(EXAMPLE, untouched=left, matching=51), disclosure=Disclosure.DIGEST))
    assert "Not touched: 2, 3, 4, 5, 6, 7, 8, 9 and 4 more is idle." in card
    assert "Not touched: 99 is protected." in card
    assert "Not touched: 37 also fit the filter. One request closes at most 14; ask again for the rest." in card
    assert "Where user=app time>10m" in card


def test_the_buttons_of_idle_sessions_offer_no_query_and_of_many_sessions_open_the_dialog() -> None:
    for sessions, buttons, action in (
        (numbered(3, IDLE), ["Close Session", "Cancel"], closing_card.CLOSE_SESSION),
        (numbered(3), ["Close Session", "Close Query", "Cancel"], closing_card.CLOSE_SESSION),
        (numbered(6), ["Close Session", "Close Query", "Cancel"], closing_card.LOOK_SESSION),
    ):
        blocks = closing_card.closing_card(request(*sessions), disclosure=Disclosure.DIGEST).payload()
        assert buttons_of({"blocks": blocks}) == buttons
        button = blocks[-1]["elements"][0]
        assert button["action_id"] == action
        assert ("confirm" in button) is (action == closing_card.CLOSE_SESSION)
        if "confirm" in button:
            assert button["confirm"]["title"]["text"] == "Close Session 3 sessions?"


def test_the_result_has_one_outcome_for_each_and_a_sum() -> None:
    asked = request(*numbered(7), untouched=(Untouched(99, None, "is protected."),), matching=40)
    outcomes = [*[Outcome.CLOSED] * 4, Outcome.ALREADY_GONE, Outcome.STILL_RUNNING, Outcome.NOT_SENT]
    message = closing_card.closing_result(done(asked, *outcomes, detail="Because."), disclosure=Disclosure.DIGEST)
    summary = "4 closed, 1 already gone, 1 still running, 1 not sent; 33 not touched"
    assert f"Close 7 sessions: {summary}" in said(message)
    assert summary in message.text
    table = table_of({"blocks": message.payload()})
    assert [row[1] for row in table[:3]] == ["Outcome", "✅ closed", "✅ closed"]
    assert table[6][1] == "⚠️ still running"
    assert "⚠️ still running: 5006. Because. Look again with /sessions id=5006" in said(message)
    assert "Close Session pressed by <@U02BOB>" in said(message)
    assert "known after 3.0 s" in said(message)
    few = said(
        closing_card.closing_result(
            done(request(*numbered(2)), *outcomes[3:5], detail="Because."), disclosure=Disclosure.DIGEST
        )
    )
    assert "✅ closed Because." in few
    assert "1 closed, 1 already gone." in few


def test_a_sum_of_queries_counts_those_that_run() -> None:
    asked = request(*numbered(2), *numbered(4, IDLE))
    outcomes = [*[Outcome.QUERY_CLOSED] * 2, *[Outcome.NOT_SENT] * 4]
    message = closing_card.closing_result(done(asked, *outcomes, mode=Mode.QUERY), disclosure=Disclosure.DIGEST)
    assert "Close the queries of 2 sessions: 2 query closed, 4 not sent" in said(message)


@pytest.mark.parametrize("mode", list(Mode))
def test_the_dialog_for_the_number_is_one_that_slack_takes(mode: Mode) -> None:
    asked = request(*numbered(50))
    present = {target.number: target.session for target in asked.targets[1:]}
    view = closing_modal.as_it_is_now(
        asked, present, mode, {"request": "x" * 22, "channel": "C1"}, disclosure=Disclosure.DIGEST
    )
    check_view(view)
    assert "Type 50 to close them." in text_of(view)
    assert "is gone" in text_of(view)
    check_view(closing_modal.looking(mode))
    check_view(closing_modal.problem(mode, "It has expired."))
