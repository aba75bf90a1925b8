"""Every view, built from the worst that a database can hold, judged by the strict sandbox's own rules."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.access import Person
from bot.closing.model import ApprovalPolicy, ClosingRequest, Outcome, State, Target
from bot.errors import InputError, TargetError
from bot.sessions.details import Reach, SessionDetails
from bot.sessions.model import GET_LOCK, MAX_LIMIT, Mode, Session, SessionPage, SessionQuery, WaitKind
from bot.sessions.source_health import SourceHealth
from bot.sessions.statement import Disclosure, Statement
from bot.sessions.waits.advice import Action, Advice
from bot.sessions.waits.graph import Wait, WaitGraph
from bot.slack.delivery.message import Message
from bot.slack.session_reference import SessionReference
from bot.slack.views import (
    closing_card,
    closing_meaning,
    notices,
    session_details,
    session_list,
    sources,
    sql_modal,
)
from sandbox.slack.rules import check_message, check_view
from tests.sessions.examples import EXAMPLE
from tests.support.sessions import like
from tests.support.slack_text import table_of, text_of

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
HOSTILE = "``` `x` <!channel> <@U01ALICE> <https://evil.example|x> </table> *b* _i_ ~s~ \u202e \x00 &lt; 😀"
PASSWORD = "hunter2"

WORST = like(
    EXAMPLE,
    user=HOSTILE,
    database=HOSTILE * 3,
    origin=HOSTILE,
    peer=HOSTILE,
    tenant=HOSTILE,
    state=HOSTILE,
    command=HOSTILE,
    server=HOSTILE[:60],
    transaction_state=HOSTILE,
    proxy=HOSTILE,
    trace_id=HOSTILE,
    statement=Statement.of(
        f"SELECT '{HOSTILE}', {HOSTILE} FROM t IDENTIFIED BY '{PASSWORD}' " + "x" * 70_000,
        inner=f"SELECT '{HOSTILE}', {HOSTILE} FROM t IDENTIFIED BY '{PASSWORD}' " + "y" * 70_000,
        sql_id=HOSTILE,
    ),
)


def page(*sessions: Session, **query: Any) -> SessionPage:
    return SessionPage("demo", sessions, 100, 5, 100, NOW, SessionQuery(source="demo", **query), (HOSTILE * 20,) * 9)


def request(session: Session, **changes: Any) -> ClosingRequest:
    made = ClosingRequest(
        "id",
        "demo",
        Mode.QUERY,
        Person("U01ALICE", "T1"),
        "C1",
        HOSTILE * 20,
        ApprovalPolicy.SECOND_PERSON,
        NOW,
        NOW + timedelta(minutes=2),
        (Target(1, session),),
    )
    return replace(made, **changes)


def messages(session: Session) -> Iterator[Message]:
    """Yield every message that can show a session."""
    yield session_details.several([session] * 5)
    yield session_details.gone(SessionReference.of(session), NOW, reused=True)
    for disclosure in Disclosure:
        yield session_list.session_list(page(session), [HOSTILE], disclosure=disclosure)
        yield session_list.session_list(page(session, text=True), [], disclosure=disclosure)
        details = SessionDetails(
            session,
            4e9,
            2**62,
            caveats=(HOSTILE * 20,) * 9,
        )
        others = [replace(session, id=3_221_487_826 + number) for number in range(100)]
        waits = [Wait(session, one, WaitKind.METADATA, HOSTILE, 1e9, HOSTILE) for one in (*others[:9], None)]
        waits += [Wait(one, session, WaitKind.ROW_LOCK, HOSTILE, 1e9, HOSTILE, candidate=True) for one in others[9:]]
        advice = Advice(Action.CLOSE_BLOCKER, HOSTILE * 9, past=HOSTILE * 9, then=HOSTILE * 9)
        waiting = session_details.Waiting(WaitGraph("prod", NOW, tuple(waits), lacks=(HOSTILE,)), advice)
        yield session_details.session_details(details, NOW, [HOSTILE * 3], disclosure=disclosure, waiting=waiting)
        asked = request(session)
        yield closing_card.closing_card(asked, disclosure=disclosure)
        decided = replace(
            asked, decided_by=Person("U02BOB", "T1"), decided_at=NOW, decided_mode=Mode.SESSION, state=State.DONE
        )
        yield closing_card.closing_progress(decided, HOSTILE, disclosure=disclosure)
        for outcome in Outcome:
            target = Target(1, session, NOW, outcome, HOSTILE, NOW)
            yield closing_card.closing_result(replace(decided, targets=(target,)), disclosure=disclosure)
        for state in (State.CANCELLED, State.EXPIRED):
            yield closing_card.closing_result(replace(asked, state=state), disclosure=disclosure)


def check(message: Message) -> None:
    """Let the sandbox judge a message and its fallback, and look for what must not come out."""
    for blocks in (message.payload(), message.fallback_payload()):
        if blocks is None:
            continue
        check_message({"channel": "C1", "text": message.text, "blocks": blocks})
        assert_harmless(blocks)
    assert "<!" not in message.text.replace("<!date^", "")
    assert "<@" not in message.text
    assert "http" not in message.text.replace("https", "http") or "<http" not in message.text


def assert_harmless(blocks: list[dict[str, Any]]) -> None:
    for kind, text in walked(blocks):
        if kind == "mrkdwn":
            plain = text.replace("<!date^", "").replace("<@U01ALICE>", "", 1).replace("<@U02BOB>", "", 1)
            assert "<" not in plain, "small print holds the people of Slack's payload and times, no data"
            assert "`" not in plain
        else:
            assert kind in ("text", "plain_text", "raw_text"), f"data as {kind}"
            assert not set("\u202e\x00") & set(text)
    assert PASSWORD not in json.dumps(blocks)


def walked(value: Any) -> Iterator[tuple[str, str]]:
    """Yield each text with its kind."""
    if isinstance(value, list):
        for one in value:
            yield from walked(one)
    elif isinstance(value, dict):
        if isinstance(value.get("text"), str):
            yield value["type"], value["text"]
        if value.get("type") in ("user", "usergroup", "channel", "link", "broadcast"):
            yield value["type"], ""
        for one in value.values():
            yield from walked(one)


def test_no_view_of_the_worst_session_is_refused_or_lets_markup_out() -> None:
    for message in messages(WORST):
        check(message)


def sql_view(session: Session, disclosure: Disclosure = Disclosure.ALL_BUT_PASSWORDS) -> dict[str, Any]:
    return sql_modal.statement(session, sql_modal.SqlText.of(session, disclosure))


names = st.text(st.characters(), max_size=40)
sessions = st.builds(
    like,
    st.just(EXAMPLE),
    user=names,
    database=st.none() | names,
    origin=names,
    tenant=st.none() | names,
    server=st.none() | names,
    state=names,
    command=names,
    proxy=st.none() | names,
    statement=st.none() | st.builds(Statement.of, names, sql_id=st.none() | names, inner=st.none() | names),
    transaction_state=st.none() | names,
    time=st.floats(0, 1e9),
    retry_info=st.sampled_from([0, -6005]),
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(sessions)
def test_no_session_at_all_makes_a_payload_that_slack_refuses(session: Session) -> None:
    for message in messages(session):
        check(message)
    for disclosure in Disclosure:
        check_view(sql_view(session, disclosure))


@pytest.mark.parametrize("number", [1, 60, 200])
def test_any_number_of_data_sources_in_any_state_fits_into_one_message(number: int) -> None:
    well = SourceHealth(
        HOSTILE, "", 1e6, HOSTILE, HOSTILE, HOSTILE, Reach.TENANT, Reach.OWN, 10**9, 10**9, (HOSTILE * 9,) * 5
    )
    check(sources.sources([well] * number, NOW))
    check(sources.sources([SourceHealth(HOSTILE, HOSTILE * 9)] * number, NOW))
    check(sources.sources([SourceHealth("n" * 63, "w" * 300), SourceHealth("m", pending=True), well] * number, NOW))


@pytest.mark.parametrize(("well", "ill"), [(30, 20), (20, 30), (0, 60), (150, 50)])
def test_all_data_sources_that_do_not_answer_come_first_each_with_its_reason(well: int, ill: int) -> None:
    reason = "Data source {} (10.1.2.3:2883) did not answer within 6 s. It may be overloaded or hanging."
    fine = [
        SourceHealth(
            f"well{number}",
            "",
            3.2,
            "OceanBase 4.3.5.1",
            "oceanbase.GV$OB_PROCESSLIST",
            "sys",
            Reach.ALL,
            Reach.ALL,
            1234,
            56,
        )
        for number in range(well)
    ]
    names = [f"ill{number}" for number in range(ill)]
    message = sources.sources([*fine, *(SourceHealth(name, reason.format(name)) for name in names)], NOW)
    check(message)
    rows = [row[0] for row in table_of({"blocks": message.payload()})[1:]]
    assert rows[:ill] == names
    assert len(rows) >= min(ill + well, 70)
    said = text_of({"blocks": message.payload()})
    for name in names:
        assert f"{name}  ⚠️ Data source {name}" in said
    assert f"{ill} of them do not answer" in said


def test_a_full_page_of_the_widest_sessions_fits_into_one_message() -> None:
    wide = like(WORST, user="u" * 64, database="d" * 128, statement=Statement.of("SELECT " + "c" * 900))
    listed = [replace(wide, id=3_221_487_826 + number) for number in range(MAX_LIMIT)]
    for text in (False, True):
        message = session_list.session_list(page(*listed, limit=MAX_LIMIT, text=text), [], disclosure=Disclosure.DIGEST)
        check(message)
        assert str(listed[-1].id) in json.dumps(message.payload())


def test_the_modal_keeps_what_slack_takes_and_says_what_is_left_out() -> None:
    for sql in ("SELECT '" + "\x01" * 65_000 + "'", "选" * 21_845, "SELECT " + "x, " * 20_000, HOSTILE):
        view = sql_view(replace(EXAMPLE, statement=Statement.of(sql)))
        check_view(view)
        assert_harmless(view["blocks"])
    long = sql_view(replace(EXAMPLE, statement=Statement.of("\x01" * 65_000)))
    assert "of 390,000 characters. The whole statement comes to you as a file" in text_of(long)
    worst = replace(EXAMPLE, statement=Statement.of("\x01" * 65_000))
    refused = sql_modal.statement(worst, sql_modal.SqlText.of(worst, Disclosure.DIGEST), file_problem=HOSTILE)
    check_view(refused)
    assert_harmless(refused["blocks"])
    said = "Only the beginning is known."
    assert said in text_of(sql_view(replace(EXAMPLE, statement=Statement.of("SELECT 1", cut=said))))
    assert said not in text_of(sql_view(replace(EXAMPLE, statement=Statement.of("x" * 65_535))))
    check_view(sql_modal.loading(EXAMPLE.id))
    check_view(sql_modal.problem(EXAMPLE.id, HOSTILE))


def test_a_statement_that_stands_for_get_lock_is_told_as_the_servers_own() -> None:
    inner = Statement.of("INSERT INTO oceanbase.__all_detect_lock_info_v2 (task_type) VALUES (9, 13, 5)")
    waiter = like(EXAMPLE, statement=inner, doing=GET_LOCK)
    card = session_details.session_details(SessionDetails(waiter), NOW, disclosure=Disclosure.DIGEST)
    modal = sql_modal.statement(waiter, sql_modal.SqlText.of(waiter, Disclosure.DIGEST))
    for shown in (str(card.blocks), str(modal)):
        assert "It waits in GET_LOCK" in shown
        assert "the server's own statement" in shown
    assert "ACTIVE, waits for a user lock" in str(card.blocks)
    assert "ACTIVE 🔒 user lock" in str(modal)


def test_notices_show_hostile_text_as_it_is() -> None:
    for message in (
        notices.notice(HOSTILE),
        notices.failure(TargetError(HOSTILE * 100), "abcd", HOSTILE),
        notices.failure(InputError(HOSTILE, spot="<!channel>", example=HOSTILE), "abcd", f"/sessions {HOSTILE * 30}"),
        notices.unexpected("abcd"),
    ):
        check(message)


def test_a_tenant_column_appears_when_more_than_one_is_shown() -> None:
    one = session_list.session_list(page(EXAMPLE), [], disclosure=Disclosure.DIGEST)
    two = session_list.session_list(page(EXAMPLE, replace(EXAMPLE, tenant="billing")), [], disclosure=Disclosure.DIGEST)
    assert "Tenant" not in table_of({"blocks": one.payload()})[0]
    assert [row[3] for row in table_of({"blocks": two.payload()})] == ["Tenant", "shop", "billing"]


@pytest.mark.parametrize(
    ("session", "means_session", "means_query"),
    [
        (EXAMPLE, "is rolled back and the locks are released", "the locks it holds stay, too"),
        (like(EXAMPLE, transaction_id=None, transaction_state=None), "Its running query is stopped", "stays usable"),
        (replace(EXAMPLE, command="Sleep", statement=None), "is rolled back", "does nothing: this session is idle"),
        (
            like(EXAMPLE, command="Sleep", statement=None, transaction_id=None, transaction_state=None),
            "it must connect again",
            "does nothing",
        ),
    ],
)
def test_the_card_says_what_closing_means_for_exactly_this_session(
    session: Session, means_session: str, means_query: str
) -> None:
    assert means_session in closing_meaning.session_meaning(session)
    assert means_query in closing_meaning.query_meaning(session)
