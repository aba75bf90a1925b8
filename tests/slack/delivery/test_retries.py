"""How long and how often Slack is called again, and what becomes of answers that it does not take."""

from __future__ import annotations

from functools import partial
from typing import TypeVar

import pytest

from bot.errors import StoreError
from bot.slack.connections import Answer
from bot.slack.delivery import retries
from bot.slack.delivery.outbox import FOR, MOST, Outbox
from bot.slack.delivery.replies import Reply
from bot.slack.delivery.retries import Tries, is_repeatable, one_try
from bot.slack.events import submission_of

POST, UPDATE, OPEN = "chat.postMessage", "chat.update", "views.open"


T = TypeVar("T")


def _note(sent: list[T], what: T) -> bool:
    sent.append(what)
    return True


class Time:
    """A clock that goes on only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    clock = Time()
    monkeypatch.setattr(retries, "time", clock)
    return clock


def tries(method: str, came: Answer | OSError, word: str = "", *, repeatable: bool = False) -> int:
    """How often a call is made in all when it always ends like that."""
    called = Tries(method, repeatable=repeatable or is_repeatable(method))
    made = 1
    while called.go_on(came, word):
        made += 1
    return made


def limited(seconds: str) -> Answer:
    return Answer(429, {"Retry-After": seconds}, b"")


@pytest.mark.parametrize(
    ("seconds", "made"), [("0", 21), ("1", 21), ("7", 3), ("20", 2), ("21", 1), ("300", 1), ("soon", 21)]
)
def test_a_limit_is_waited_out_for_twenty_seconds_in_all(time: Time, seconds: str, made: int) -> None:
    assert tries(POST, limited(seconds)) == made
    assert time.now - 100 <= retries.SECONDS


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_what_does_the_same_twice_is_tried_again_more_often_than_what_does_not(time: Time, status: int) -> None:
    failed = Answer(status, {}, b"")
    assert tries(UPDATE, failed) == tries("views.publish", failed) == 5
    assert tries(POST, failed) == tries("chat.postEphemeral", failed) == tries("", failed) == 2
    assert tries("", failed, repeatable=True) == 5


def test_a_window_is_not_waited_for_longer_than_it_can_open(time: Time) -> None:
    assert tries(OPEN, limited("3")) == 1
    assert tries(OPEN, limited("1")) == 3
    assert time.now - 100 <= 3


def test_errors_in_words_and_broken_connections_count_as_failures_and_refusals_do_not(time: Time) -> None:
    said = Answer(200, {}, b"")
    assert tries(UPDATE, said, "fatal_error") == 5
    assert tries(UPDATE, ConnectionResetError()) == 5
    assert tries(POST, TimeoutError()) == 2
    for error in ("invalid_blocks", "channel_not_found", "not_in_channel"):
        assert tries(UPDATE, said, error) == 1
    assert tries(UPDATE, Answer(404, {}, b"")) == 1


def test_who_is_impatient_tries_once(time: Time) -> None:
    with one_try():
        assert tries(UPDATE, limited("1")) == 1
    assert tries(UPDATE, limited("7")) == 3


def test_an_answer_is_tried_again_ever_more_seldom_until_it_is_taken() -> None:
    clock = Time()
    outbox = Outbox(clock.monotonic)
    tried: list[float] = []

    def send() -> bool:
        tried.append(clock.now - 100)
        return len(tried) == 6

    outbox.keep("answer", send)
    for _ in range(200):
        clock.sleep(1)
        outbox.deliver()
    assert tried == [1, 3, 7, 15, 30, 45]


def test_an_answer_that_is_never_taken_is_given_up_and_holds_up_no_other() -> None:
    clock = Time()
    outbox = Outbox(clock.monotonic)
    tried: list[float] = []
    sent: list[str] = []

    def never() -> bool:
        tried.append(clock.now)
        return False

    def unnoted() -> bool:
        sent.append("card")
        raise StoreError("The store does not answer.")

    outbox.keep("lost", never)
    outbox.keep("card", unnoted)
    outbox.keep("answer", partial(_note, sent, "answer"))
    for _ in range(int(FOR) * 2):
        clock.sleep(1)
        outbox.deliver()
    assert sent == ["card", "answer"]
    assert FOR <= tried[-1] - 100 <= FOR + 15


def test_an_answer_at_which_something_fails_that_nobody_expected_takes_no_other_with_it() -> None:
    clock = Time()
    outbox = Outbox(clock.monotonic)
    sent: list[str] = []

    def fails() -> bool:
        raise ValueError

    outbox.keep("odd", fails, at_last=partial(_note, sent, "odd, by direct message"))
    outbox.keep("answer", partial(_note, sent, "answer"))
    for _ in range(int(FOR) + 15):
        clock.sleep(1)
        outbox.deliver()
    assert sent == ["answer", "odd, by direct message"]


def test_too_many_answers_push_out_the_oldest() -> None:
    clock = Time()
    outbox = Outbox(clock.monotonic)
    sent: list[int] = []
    for number in range(MOST + 2):
        outbox.keep("answer", partial(_note, sent, number))
    clock.sleep(1)
    outbox.deliver()
    assert sent == list(range(2, MOST + 2))


def test_half_a_character_in_a_dialog_becomes_one_that_can_be_written_down() -> None:
    field = {"block": {"reason": {"value": "because \ud83d"}}}
    payload = {"user": {"id": "U1", "team_id": "T1"}, "view": {"callback_id": "x", "state": {"values": field}}}
    submission = submission_of(payload, Reply(None, "", "C1", "U1"))  # type: ignore[arg-type]  # nobody is called
    assert submission.values["reason"].encode() == b"because ?"
