"""Advice on a real kernel: what a card says, what it leads to, and what comes of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pymysql
import pytest

from bot.closing.advice import READ_WITHIN, Adviser, closed_before, closes_of
from bot.closing.model import ApprovalPolicy, ClosingRequest, Outcome, Target
from bot.closing.targets import Wanted
from bot.errors import AlreadyClosedError, DataSourceError, StoreError
from bot.sessions.kill import Answer
from bot.sessions.model import Mode, Session, WaitKind
from bot.sessions.statement import Disclosure
from bot.sessions.waits.advice import Action, Advice
from bot.sessions.waits.graph import Wait, WaitGraph
from bot.slack.views import closing_card
from tests.closing.conftest import ALICE, BOB, CHANNEL, Desk, before_a_look
from tests.closing.several import ask, confirm, outcomes
from tests.sessions.conftest import until
from tests.sessions.examples import EXAMPLE
from tests.support.patience import PATIENCE
from tests.support.slack_text import text_of
from tests.support.stage import RunningStatement, close, session_id

HERE = "127.0.0.57"  # nobody else's clients come from there


def holder(desk: Desk, sku: int, **more: Any) -> pymysql.Connection[Any]:
    """Open a transaction that has one row, and rests."""
    connection = desk.connect(database="depot", **more)
    connection.begin()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE stock SET quantity = quantity + 1 WHERE sku = %s", (sku,))
    desk.until(lambda: desk.row(session_id(connection)).get("COMMAND") == "Sleep")
    return connection


def waiter(desk: Desk, sku: int, connection: pymysql.Connection[Any] | None = None) -> RunningStatement:
    """Wait for that row."""
    sql = f"UPDATE stock SET quantity = 0 WHERE sku = {sku}"
    found = desk.runs(sql, database="depot") if connection is None else desk.starts(connection, sql)
    desk.until(lambda: desk.row(found.id).get("RETRY_INFO") == -6005)
    return found


def advice(request: ClosingRequest) -> Advice:
    found = request.targets[0].advice
    assert found is not None
    return found


def test_a_victims_card_leads_to_the_head_of_the_chain_and_closing_that_frees_all(desk: Desk) -> None:
    head, decoy = holder(desk, 1), holder(desk, 3)
    middle = holder(desk, 2)
    waiting = waiter(desk, 1, middle)
    victim = waiter(desk, 2)
    asked = ask(desk, victim.id)
    assert advice(asked).action is Action.CLOSE_BLOCKER
    assert advice(asked).reason.startswith("It waits itself: closing it frees nobody.")
    (blocker,) = asked.targets[0].blockers
    assert blocker.id == session_id(head)
    assert desk.store.requests.get(asked.id).targets == asked.targets, "that is kept with the request"
    (instead,) = desk.requests.ask_for_blocker(ALICE, CHANNEL, asked.id, blocker)
    assert instead.targets[0].session.id == session_id(head)
    assert advice(instead).action is Action.CLOSE_SESSION
    assert "Closing it frees 2 sessions." in advice(instead).reason
    assert outcomes(confirm(desk, instead)) == [Outcome.CLOSED]
    assert waiting.ended() == 0
    middle.rollback()
    assert victim.ended() == 0
    assert desk.row(session_id(decoy)), "who holds up nobody stays"


def test_what_runs_in_a_transaction_of_its_client_is_closed_and_what_is_autocommits_is_only_stopped(desk: Desk) -> None:
    head = desk.starts(holder(desk, 1), "SELECT SLEEP(600)")
    in_transaction = waiter(desk, 1)
    assert [one.id for one in ask(desk, in_transaction.id).targets[0].blockers] == [head.id]
    assert advice(ask(desk, head.id)).action is Action.CLOSE_SESSION
    alone = desk.runs("UPDATE stock SET quantity = SLEEP(600) WHERE sku = 2", database="depot")
    assert advice(ask(desk, alone.id)).action is Action.CLOSE_QUERY
    assert advice(ask(desk, desk.runs("SELECT SLEEP(600)").id)).action is Action.CLOSE_QUERY


def test_an_idle_transaction_whose_query_was_closed_is_not_ending(desk: Desk) -> None:
    resting = holder(desk, 1)
    blocked = waiter(desk, 1)
    with desk.database.connect() as admin, admin.cursor() as cursor:
        cursor.execute(f"KILL QUERY {session_id(resting)}")
    desk.until(lambda: desk.row(session_id(resting)).get("STATE") == "QUERY_KILLED")
    asked = ask(desk, session_id(resting))
    assert advice(asked).reason.startswith("Its query was closed, which does nothing to an idle transaction")
    assert outcomes(confirm(desk, asked)) == [Outcome.CLOSED]
    assert blocked.ended() == 0


def test_a_killed_lock_waiter_is_not_closed_again_and_who_closed_it_is_told(desk: Desk) -> None:
    def play(waiting: list[RunningStatement]) -> tuple[ClosingRequest, AlreadyClosedError]:
        done = confirm(desk, ask(desk, waiting[0].id))
        with pytest.raises(AlreadyClosedError) as refused:
            ask(desk, waiting[0].id)
        return done, refused.value

    done, refused = before_a_look(desk, play)
    assert refused.by == ALICE.id
    assert refused.at == desk.store.requests.get(done.id).targets[0].intent_at
    assert "still waits for a row lock" in refused.sentence
    assert "Nothing was sent." in refused.sentence


def test_somebody_elses_kill_is_not_told_as_ours(desk: Desk) -> None:
    def play(waiting: list[RunningStatement]) -> tuple[AlreadyClosedError, ClosingRequest]:
        asked = ask(desk, waiting[0].id)
        with desk.database.connect() as admin, admin.cursor() as cursor:
            cursor.execute(f"KILL {waiting[0].id}")
        desk.until(lambda: desk.row(waiting[0].id).get("STATE") == "SESSION_KILLED")
        with pytest.raises(AlreadyClosedError) as refused:
            ask(desk, waiting[0].id)
        return refused.value, confirm(desk, asked)

    refused, done = before_a_look(desk, play)
    assert (refused.by, refused.at) == ("", None)
    assert outcomes(done) == [Outcome.ROLLING_BACK]
    assert done.targets[0].intent_at is None


def test_waits_that_cannot_be_read_hold_up_no_card(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    sleeper = session_id(desk.connect())
    source, released = desk.sessions.source("demo"), threading.Event()

    def hangs() -> WaitGraph:
        released.wait(30)
        raise DataSourceError("It was too late.")

    monkeypatch.setattr(source, "waits", hangs)
    with monkeypatch.context() as impatient:
        impatient.setattr("bot.closing.advice.READ_WITHIN", READ_WITHIN)
        asked = ask(desk, sleeper)
    released.set()
    assert advice(asked) == Advice(
        Action.UNKNOWN, f"Who waits for whom could not be read: there was no answer within {READ_WITHIN:.0f} s."
    )
    assert outcomes(confirm(desk, asked)) == [Outcome.CLOSED]

    def fails() -> WaitGraph:
        raise DataSourceError("The view is away.")

    monkeypatch.setattr(source, "waits", fails)
    failed = ask(desk, session_id(desk.connect()))
    assert advice(failed).reason == "Who waits for whom could not be read: The view is away."


def test_a_store_that_does_not_answer_leaves_the_past_unsaid(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise StoreError("The store does not answer.")

    monkeypatch.setattr(desk.store.outcomes, "closed_since", away)
    resting = holder(desk, 1)
    found = desk.adviser.advise(desk.sessions.source("demo").waits(), ask(desk, session_id(resting)).targets[0].session)
    assert (found.action, found.past) == (Action.CLOSE_SESSION, "")


def test_a_store_that_hangs_holds_up_advice_for_a_moment_and_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    resting, released = holder(desk, 1), threading.Event()
    session = ask(desk, session_id(resting)).targets[0].session
    graph = desk.sessions.source("demo").waits()
    closed_since, asked = desk.store.outcomes.closed_since, []

    def hangs(*arguments: Any) -> Any:
        asked.append(arguments)
        released.wait(PATIENCE)
        return closed_since(*arguments)

    desk.clock.wait(2)
    monkeypatch.setattr(desk.store.outcomes, "closed_since", hangs)
    monkeypatch.setattr("bot.closing.advice.READ_WITHIN", READ_WITHIN)
    started = time.monotonic()
    advised = [desk.adviser.advise(graph, session).action for _ in range(3)]
    took = time.monotonic() - started
    released.set()
    assert advised == [Action.CLOSE_SESSION] * 3
    assert took < 3 * READ_WITHIN, "the first waits for it, and no other"
    assert len(asked) == 1


def test_a_past_that_was_read_ahead_is_not_read_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    session = ask(desk, session_id(holder(desk, 1))).targets[0].session
    graph = desk.sessions.source("demo").waits()
    closed_since, asked = desk.store.outcomes.closed_since, []

    def counted(*arguments: Any) -> Any:
        asked.append(arguments)
        return closed_since(*arguments)

    monkeypatch.setattr(desk.store.outcomes, "closed_since", counted)
    desk.clock.wait(2)
    desk.adviser.look_ahead("demo")
    desk.until(lambda: "demo" in desk.adviser._past)
    desk.adviser.look_ahead("demo")
    assert desk.adviser.advise(graph, session).action is Action.CLOSE_SESSION
    assert len(asked) == 1


def closed_and_back(desk: Desk, seconds: float) -> None:
    """Close a client that rests in a transaction, and have it back after a while."""
    resting = holder(desk, 1, bind_address=HERE)
    assert outcomes(confirm(desk, ask(desk, session_id(resting)))) == [Outcome.CLOSED]
    assert desk.closer._follow_ups.verify() == []
    desk.clock.wait(seconds)
    again = holder(desk, 1, bind_address=HERE)
    desk.until(lambda: (desk.row(session_id(again)).get("TIME") or 0) >= 1)
    (told,) = desk.closer._follow_ups.verify()
    assert told.targets[0].newcomer == session_id(again)
    close([again])


def test_a_client_that_rests_in_a_transaction_again_is_told_and_remembered(desk: Desk) -> None:
    closed_and_back(desk, 2.0)
    closed_and_back(desk, 2.0)
    third, other = holder(desk, 1, bind_address=HERE), holder(desk, 2, bind_address="127.0.0.58")
    past = advice(ask(desk, session_id(third))).past
    assert past.startswith("The same was closed twice in 10 min, back each time after ")
    assert past.endswith(f": stop the client at {HERE}.")
    assert advice(ask(desk, session_id(other))).past == ""
    everybody = {one.id: one for one in desk.sessions.source("demo").survey(None).sessions}
    graph = WaitGraph("demo", desk.clock())
    assert desk.adviser.past(graph, everybody[session_id(third)]) == past
    assert desk.adviser.past(graph, everybody[session_id(other)]) == ""


def test_what_rested_in_its_transaction_before_the_close_has_not_come_back(desk: Desk) -> None:
    bystander = session_id(holder(desk, 2, bind_address=HERE))
    desk.until(lambda: (desk.row(bystander).get("TIME") or 0) >= 4)
    assert outcomes(confirm(desk, ask(desk, session_id(holder(desk, 1, bind_address=HERE))))) == [Outcome.CLOSED]
    desk.adviser._past.clear()
    assert advice(ask(desk, bystander)).past == ""
    again = session_id(holder(desk, 1, bind_address=HERE))
    asked = ask(desk, again)
    assert advice(asked).past == "The same was closed once in 10 min."
    waits = desk.sessions.source("demo").waits()
    assert desk.adviser.past(waits, asked.targets[0].session) == "", "triage tells of such as were seen to come back"


def test_a_holder_that_has_just_gone_on_is_not_said_to_hold_anything(desk: Desk) -> None:
    head = holder(desk, 1)
    victim = waiter(desk, 1)
    desk.until(lambda: len(desk.sessions.source("demo").waits().waits) == 1)
    head.rollback()  # within the time for which that read is shared
    assert victim.ended() == 0
    assert advice(ask(desk, session_id(head))).action is Action.NOTHING


def test_a_query_that_the_same_session_runs_again_is_told(desk: Desk) -> None:
    first = desk.runs("SELECT SLEEP(600)")
    desk.clock.at_wait = first.ended
    done = confirm(desk, ask(desk, first.id, mode=Mode.QUERY), Mode.QUERY)
    assert outcomes(done) == [Outcome.QUERY_CLOSED]
    assert first.ended() == 1317
    other = desk.starts(first.connection, "SELECT SLEEP(601)")
    assert desk.closer._follow_ups.verify() == [], "another text"
    desk.stops(other)
    desk.starts(first.connection, "SELECT SLEEP(600)")
    (told,) = desk.closer._follow_ups.verify()
    assert (told.id, told.targets[0].newcomer, told.targets[0].runs_again) == (done.id, first.id, True)
    desk.clock.wait(1.1)  # for so long the past is not read again
    assert advice(ask(desk, first.id)).past.startswith("The same query was closed once in 10 min, back after")


def test_of_a_head_of_a_tenant_that_one_may_not_see_nothing_is_named(desk: Desk) -> None:
    head = holder(desk, 1)
    victim = ask(desk, waiter(desk, 1).id).targets[0].session
    graph = desk.sessions.source("demo").waits()
    seen = desk.adviser.advise(graph, victim, frozenset({"sys"}))
    assert [one.id for one in seen.instead if isinstance(one, Session)] == [session_id(head)]
    unseen = desk.adviser.advise(graph, victim, frozenset({"other"}))
    assert (unseen.instead, unseen.then) == ((), "")
    assert unseen.reason.endswith("A session that you may not see holds it.")


def test_of_several_each_has_its_own_advice(desk: Desk) -> None:
    head, sleeper = holder(desk, 1), desk.connect()
    victim = waiter(desk, 1)
    asked = desk.ask(ALICE, CHANNEL, "demo", [Wanted(victim.id), Wanted(session_id(sleeper))], Mode.SESSION)
    assert [one.advice.action for one in asked.targets if one.advice] == [Action.CLOSE_BLOCKER, Action.NOTHING]
    assert [one.id for one in asked.targets[0].blockers] == [session_id(head)]


def test_a_press_that_comes_after_another_cards_names_who_was_first(desk: Desk) -> None:
    def play(waiting: list[RunningStatement]) -> tuple[ClosingRequest, ClosingRequest]:
        first, second = ask(desk, waiting[0].id), ask(desk, waiting[0].id)
        confirm(desk, first)
        return first, confirm(desk, second, person=BOB)

    first, done = before_a_look(desk, play)
    assert (outcomes(done), done.targets[0].intent_at) == ([Outcome.ROLLING_BACK], None)
    before = closed_before(desk.store, done)
    assert before is not None
    assert (before.by, before.at) == (ALICE.id, desk.store.requests.get(first.id).targets[0].intent_at)
    card = closing_card.closing_result(done, disclosure=Disclosure.DIGEST, before=before)
    assert "It had been closed by <@U01ALICE> at" in text_of({"blocks": card.payload()})
    assert closed_before(desk.store, desk.store.requests.get(first.id)) is None


def test_a_killed_waiter_for_a_user_lock_names_its_holder_whose_end_is_its_own(desk: Desk) -> None:
    owner = desk.connect()
    with owner.cursor() as cursor:
        cursor.execute("SELECT GET_LOCK('advised', 1)")
    desk.until(lambda: desk.row(session_id(owner)).get("COMMAND") == "Sleep")
    waiting = desk.runs("SELECT GET_LOCK('advised', 600)")
    desk.until(lambda: desk.sessions.source("demo").waits().waits)
    card = advice(ask(desk, waiting.id))
    assert (card.action, [one.id for one in ask(desk, waiting.id).targets[0].blockers]) == (
        Action.CLOSE_BLOCKER,
        [session_id(owner)],
    )
    with desk.database.connect() as admin, admin.cursor() as cursor:
        killing = threading.Thread(target=cursor.execute, args=(f"KILL {waiting.id}",), daemon=True)
        killing.start()  # it does not return while the lock is waited for
        desk.until(lambda: desk.row(waiting.id).get("STATE") == "SESSION_KILLED")
        with pytest.raises(AlreadyClosedError) as refused:
            ask(desk, waiting.id)
        assert "still waits for a user lock. It ends when it gets the lock, not before." in refused.value.sentence
        assert f"Session {session_id(owner)} of teller: Close Session. It is idle and" in refused.value.sentence
        assert outcomes(confirm(desk, ask(desk, session_id(owner)))) == [Outcome.CLOSED]
        desk.until(lambda: not desk.row(waiting.id))
        killing.join(PATIENCE)
    waiting.ended()


def test_a_client_that_holds_a_lock_again_without_any_transaction_is_told_once_somebody_waits_for_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, other = desk.sessions.source("demo"), session_id(desk.connect())

    def held_by(number: int | None) -> Callable[[], WaitGraph]:
        """Stands for a user lock, whose waiters the kernel lets go on after seconds."""
        ends = [source.find(one, None)[0] for one in (other, number) if one is not None]
        waits = (Wait(ends[0], ends[1], WaitKind.USER_LOCK, "a view"),) if len(ends) == 2 else ()
        return lambda: WaitGraph("demo", desk.clock(), waits)

    first = session_id(desk.connect(bind_address=HERE))
    monkeypatch.setattr(source, "waits", held_by(first))
    done = confirm(desk, ask(desk, first))
    assert outcomes(done) == [Outcome.CLOSED]
    again = session_id(desk.connect(bind_address=HERE))
    monkeypatch.setattr(source, "waits", held_by(None))
    assert desk.closer._follow_ups.verify() == [], "as long as it holds up nobody it may be anybody"
    monkeypatch.setattr(source, "waits", held_by(again))
    (told,) = desk.closer._follow_ups.verify()
    assert (told.id, told.targets[0].newcomer) == (done.id, again)


def test_who_is_back_at_once_is_told_though_its_server_counts_whole_seconds(desk: Desk) -> None:
    resting = holder(desk, 1, bind_address=HERE)
    done = confirm(desk, ask(desk, session_id(resting)))
    before = done.targets[0].session
    at = done.targets[0].intent_at
    assert at is not None
    now = at + timedelta(seconds=0.4)
    for seconds, closes in ((1.0, 1), (3.0, 0)):  # as MySQL may tell of 0.3 s; of one that was there before
        assert len(closes_of(replace(before, id=before.id + 1, time=seconds), [(done, {})], now)) == closes


@pytest.mark.parametrize(
    ("outcome", "answer", "closes"),
    [
        (Outcome.NOT_ALLOWED, Answer.REFUSED, 0),
        (Outcome.STILL_RUNNING, Answer.ERROR, 0),
        (Outcome.STILL_RUNNING, Answer.OUT_OF_REACH, 0),
        (Outcome.STILL_RUNNING, Answer.NONE, 1),
        (Outcome.STILL_RUNNING, Answer.OK, 1),
    ],
)
def test_what_the_server_refused_to_close_is_not_told_as_closed(outcome: Outcome, answer: Answer, closes: int) -> None:
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    at = now - timedelta(seconds=30)
    target = Target(1, EXAMPLE, at, outcome, outcome_at=at, answer=answer.value)
    asked = (Mode.QUERY, ALICE, CHANNEL, "", ApprovalPolicy.REQUESTER, at, at + timedelta(minutes=2), (target,))
    done = ClosingRequest("id", EXAMPLE.source, *asked, decided_by=ALICE, decided_at=at, decided_mode=Mode.QUERY)
    assert len(closes_of(EXAMPLE, [(done, {})], now)) == closes


def test_a_store_that_hangs_is_asked_ahead_once_whoever_comes_meanwhile() -> None:
    asked, answers = list[str](), threading.Event()

    def closed_since(source: str, _since: datetime) -> list[Any]:
        asked.append(source)
        answers.wait(PATIENCE)
        return []

    store: Any = SimpleNamespace(outcomes=SimpleNamespace(closed_since=closed_since))
    sessions: Any = None
    adviser = Adviser(sessions, store, lambda: datetime.now(UTC))
    before = threading.active_count()
    try:
        for source in ("demo", "demo", "other", "demo"):
            adviser.look_ahead(source)
        assert threading.active_count() - before == 2
    finally:
        answers.set()
    until(lambda: not adviser._ahead)
    assert sorted(asked) == ["demo", "other"]
