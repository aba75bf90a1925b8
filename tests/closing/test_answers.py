"""What a server answers to a KILL, and what is told of it: an answer is not the truth, a look is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from bot.closing.model import ClosingRequest, Outcome, State
from bot.errors import (
    ConnectionLostError,
    DataSourceError,
    DataSourceTimeoutError,
    NotSessionOwnerError,
    UnknownSessionError,
)
from bot.sessions.console import Console, Look
from bot.sessions.model import Mode, Pin, Session
from tests.closing.conftest import Desk, record_of
from tests.closing.several import ask, confirm, outcomes, sleepers
from tests.support.patience import PATIENCE
from tests.support.sessions import like
from tests.support.stage import session_id


def answer_of(desk: Desk, request: ClosingRequest) -> str:
    return str(dict(record_of(desk, request))["outcome"]["answer"])


def test_a_session_that_ends_between_the_intent_and_the_look_was_already_gone(desk: Desk) -> None:
    (session,) = sleepers(desk, 1)
    request = ask(desk, session)
    intend = desk.store.intents.intend

    def intend_then_end(*arguments: Any) -> None:
        intend(*arguments)
        end(desk, session)

    desk.store.intents.intend = intend_then_end  # type: ignore[method-assign, assignment]  # its client disconnects right then
    done = confirm(desk, request)
    assert outcomes(done) == [Outcome.ALREADY_GONE]
    assert done.targets[0].detail == "The session had ended before a KILL was sent."
    assert done.targets[0].intent_at is None, "an intent that came to nothing is none"
    events = [event for event, _ in record_of(desk, request)]
    assert events == ["request", "confirm", "intent", "withdraw", "outcome"]
    assert answer_of(desk, request) == ""


def test_a_session_that_ends_between_the_look_and_the_kill_was_already_gone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    (session,) = sleepers(desk, 1)
    request = ask(desk, session)
    kill = Console.kill

    def end_then_kill(self: Console, *arguments: Any) -> None:
        end(desk, session)
        kill(self, *arguments)

    monkeypatch.setattr(Console, "kill", end_then_kill)  # its client disconnects right then
    done = confirm(desk, request)
    assert outcomes(done) == [Outcome.ALREADY_GONE]
    assert done.targets[0].detail == "The session has ended; the KILL did not find it."
    assert "Unknown thread id" in answer_of(desk, request)


def end(desk: Desk, session: int) -> None:
    with desk.database.connect() as admin, admin.cursor() as cursor:
        cursor.execute(f"KILL {session}")
    desk.until(lambda: not desk.row(session))


def test_a_query_that_ends_between_the_look_and_the_kill_is_not_said_to_be_the_session(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = desk.runs("SELECT SLEEP(60)")
    request = ask(desk, report.id, mode=Mode.QUERY)

    def unknown(self: Console, *_: object) -> None:
        with desk.database.connect() as admin, admin.cursor() as cursor:
            cursor.execute(f"KILL QUERY {report.id}")
        report.join(PATIENCE)
        raise UnknownSessionError("Unknown query id: 7", errno=1957)

    monkeypatch.setattr(Console, "kill", unknown)  # so MariaDB answers; this kernel says OK
    done = confirm(desk, request, Mode.QUERY)
    assert done.targets[0].detail == "The query has ended; the KILL did not find it."


def test_a_session_that_a_server_does_not_know_but_lists_is_never_said_to_be_gone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    (session,) = sleepers(desk, 1)
    request = ask(desk, session)

    def unknown(*_: object) -> None:
        raise UnknownSessionError("Unknown thread id: 7", errno=1094)

    monkeypatch.setattr(Console, "kill", unknown)  # so some versions answer for a client's id
    done = confirm(desk, request)
    assert outcomes(done) == [Outcome.STILL_RUNNING]
    assert "Unknown thread id: 7 It was still listed then." in done.targets[0].detail
    assert desk.row(session)


@pytest.mark.parametrize("gone", [True, False])
def test_a_server_that_refuses_is_quoted_and_looked_at(desk: Desk, monkeypatch: pytest.MonkeyPatch, gone: bool) -> None:
    sessions = sleepers(desk, 2)
    request = ask(desk, *sessions)
    kill = Console.kill
    told = "Data source demo does not let the bot close that session."

    def refuse_the_first(self: Console, session: Session, *more: Any) -> None:
        if session.id == sessions[0]:
            if gone:  # some versions have closed it before they ask whether they may (docs/oceanbase.md 4.1)
                end(desk, session.id)
            raise NotSessionOwnerError(told)
        kill(self, session, *more)

    monkeypatch.setattr(Console, "kill", refuse_the_first)  # everybody may close everything on this server
    done = confirm(desk, request)
    assert outcomes(done) == [Outcome.ALREADY_GONE if gone else Outcome.NOT_ALLOWED, Outcome.CLOSED]
    details = [one["answer"] for event, one in record_of(desk, request) if event == "outcome"]
    assert details == [told, "OK"]
    assert told in done.targets[0].detail
    assert bool(desk.row(sessions[0])) is not gone
    assert done.state is State.DONE


@pytest.mark.parametrize("error", [DataSourceTimeoutError, ConnectionLostError])
@pytest.mark.parametrize("sent", [True, False], ids=["arrived", "lost"])
def test_a_kill_without_an_answer_is_not_sent_again_and_told_by_a_look(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, error: type[DataSourceError], sent: bool
) -> None:
    (session,) = sleepers(desk, 1)
    request = ask(desk, session)
    kill = Console.kill
    kills = []

    def without_answer(self: Console, *arguments: Any) -> None:
        kills.append(arguments)
        if sent:
            kill(self, *arguments)
        raise error("Data source demo did not answer in time.")

    monkeypatch.setattr(Console, "kill", without_answer)  # the network breaks before or behind the server
    done = confirm(desk, request)
    assert len(kills) == 1
    assert outcomes(done) == [Outcome.ALREADY_GONE if sent else Outcome.STILL_RUNNING]
    assert bool(desk.row(session)) is not sent
    assert answer_of(desk, request) == "Data source demo did not answer in time."
    detail = done.targets[0].detail
    assert "No answer to the KILL is known, so it may not have arrived." in detail
    assert "has taken" not in detail, "that is said after an OK only"
    assert ("whether by this KILL is not known" in detail) is sent


def test_a_session_that_is_gone_while_its_transaction_lives_on_is_rolling_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = desk.connect(database="depot")
    holder.begin()
    with holder.cursor() as cursor:
        cursor.execute("UPDATE stock SET quantity = quantity + 1 WHERE sku = 2")
    request = ask(desk, session_id(holder))
    assert request.targets[0].session.transaction_id

    def answers() -> Iterator[bool]:
        yield from (True, True)
        while True:
            yield False

    still = answers()
    monkeypatch.setattr(Console, "transaction_open", lambda *_: next(still))  # 4.2.5 hides such sessions at once
    done = confirm(desk, request)
    assert outcomes(done) == [Outcome.CLOSED]
    assert len(desk.clock.waits) == 2, "it was not taken for closed as long as its locks lived"
    monkeypatch.setattr(Console, "transaction_open", lambda *_: True)
    other = desk.connect(database="depot")
    other.begin()
    with other.cursor() as cursor:
        cursor.execute("UPDATE stock SET quantity = quantity + 1 WHERE sku = 1")
    left = confirm(desk, ask(desk, session_id(other)))
    assert outcomes(left) == [Outcome.ROLLING_BACK]
    assert "its transaction is still being rolled back" in left.targets[0].detail


@pytest.mark.parametrize(
    "marked",
    [
        {"state": "SESSION_KILLED"},
        {"state": "KILLED"},
        {"transaction_state": "ABORTED"},
        {"transaction_state": "IN_TERMINATE"},
    ],
    ids=lambda marked: "".join(marked.values()),
)
def test_a_session_that_the_server_marks_as_ending_is_rolling_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, marked: dict[str, str]
) -> None:
    (session,) = sleepers(desk, 1)
    request = ask(desk, session)
    looks = Console.looks

    def look_marked(self: Console, pins: list[Pin]) -> list[Look]:
        (seen,) = looks(self, pins)
        assert seen.session is not None
        return [replace(seen, session=like(seen.session, **marked))]

    def take(*_: object) -> None:
        monkeypatch.setattr(Console, "looks", look_marked)

    monkeypatch.setattr(Console, "kill", take)  # a large transaction is undone for minutes; other versions mark it so
    done = confirm(desk, request)
    assert outcomes(done) == [Outcome.ROLLING_BACK]
    assert done.targets[0].detail == "The server has taken the KILL. The server is rolling the session back."
