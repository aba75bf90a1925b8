"""One writer for each card: nobody waits for Slack, the newest state stands, and what is in doubt is written again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from bot.errors import StoreError
from bot.slack.delivery import card_writer
from bot.slack.delivery.card_writer import CardWriter, Written
from bot.slack.delivery.message import Message
from tests.support.patience import PATIENCE


class Slack:
    """Takes rewritten cards one by one; a call may be held up, and its end be any."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.ends: list[Written] = []
        self.free = threading.Event()
        self.free.set()
        self.called = threading.Semaphore(0)
        self.at_once = 0
        self.most_at_once = 0
        self._lock = threading.Lock()

    def rewrite(self, message: Message) -> Written:
        with self._lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        self.called.release()
        assert self.free.wait(PATIENCE)
        with self._lock:
            self.at_once -= 1
            self.shown.append(message.text)
            return self.ends.pop(0) if self.ends else Written.TAKEN


@pytest.fixture
def slack() -> Slack:
    return Slack()


@pytest.fixture
def writer() -> Iterator[CardWriter]:
    one = CardWriter()
    yield one
    one.close(0)


def state(text: str) -> Callable[[], Message]:
    return lambda: Message(text, [])


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)


def test_whoever_has_news_never_waits_and_only_the_newest_of_them_is_written(writer: CardWriter, slack: Slack) -> None:
    slack.free.clear()
    writer.put("card", slack.rewrite, state("first"))
    assert slack.called.acquire(timeout=PATIENCE)
    for number in range(50):
        writer.put("card", slack.rewrite, state(f"{number}"))
    slack.free.set()
    writer.settle(PATIENCE)
    assert slack.shown == ["first", "49"]
    assert slack.most_at_once == 1
    until(lambda: not writer.has("card"))


def test_one_card_that_hangs_holds_up_no_other(writer: CardWriter, slack: Slack) -> None:
    other = Slack()
    slack.free.clear()
    writer.put("card", slack.rewrite, state("slow"))
    assert slack.called.acquire(timeout=PATIENCE)
    writer.put("other", other.rewrite, state("quick"))
    until(lambda: other.shown == ["quick"])
    slack.free.set()


def test_news_that_may_wait_are_not_written_where_newer_ones_come_before(writer: CardWriter, slack: Slack) -> None:
    writer.put("card", slack.rewrite, state("under way"), after=PATIENCE)
    writer.put("card", slack.rewrite, state("done"))
    writer.settle(PATIENCE)
    assert slack.shown == ["done"]


def test_news_that_may_wait_hold_up_none_that_were_due_before(slack: Slack) -> None:
    now = [100.0]
    writer = CardWriter(lambda: now[0])
    writer.put("card", slack.rewrite, state("soon"), after=0.05)
    writer.put("card", slack.rewrite, state("newer"), after=PATIENCE)
    now[0] += 0.05
    until(lambda: slack.shown == ["newer"])
    writer.close(0)


def test_what_was_not_written_yet_can_be_withdrawn_and_what_was_cannot(writer: CardWriter, slack: Slack) -> None:
    writer.put("card", slack.rewrite, state("under way"), after=PATIENCE)
    assert writer.withdraw("card")
    assert not writer.withdraw("card")
    slack.free.clear()
    writer.put("card", slack.rewrite, state("under way"))
    assert slack.called.acquire(timeout=PATIENCE)
    assert not writer.withdraw("card")
    slack.free.set()


@pytest.mark.parametrize("end", [Written.UNKNOWN, Written.IN_DOUBT])
def test_a_card_that_is_in_doubt_is_written_three_times_more_with_its_newest_state(
    writer: CardWriter, slack: Slack, monkeypatch: pytest.MonkeyPatch, end: Written
) -> None:
    monkeypatch.setattr(card_writer, "AGAIN_AFTER", (0.6, 0.8, 1.0))
    slack.ends = [end]
    heard: list[Written] = []
    writer.put("card", slack.rewrite, state("under way"))
    writer.settle(PATIENCE)
    writer.put("card", slack.rewrite, state("done"), on_written=heard.append)
    until(lambda: not writer.has("card"))
    assert slack.shown[0] == "under way"
    assert set(slack.shown[1:]) == {"done"}
    assert 3 <= len(slack.shown) <= 5
    assert set(heard[:-1]) == {Written.IN_DOUBT}, "until the last of them"
    assert heard[-1] is Written.TAKEN


def test_a_call_that_was_in_doubt_itself_makes_what_is_put_later_written_again(
    writer: CardWriter, slack: Slack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card_writer, "AGAIN_AFTER", (0.05, 0.6, 2.0))
    slack.ends = [Written.UNKNOWN, Written.UNKNOWN]
    writer.put("card", slack.rewrite, state("under way"))
    until(lambda: len(slack.shown) == 2)  # the second is a repetition, and may be carried out late as well
    writer.put("card", slack.rewrite, state("done"))
    until(lambda: slack.shown.count("done") >= 3)


def test_what_an_earlier_process_has_left_in_doubt_is_written_again(
    writer: CardWriter, slack: Slack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card_writer, "AGAIN_AFTER", (0.05, 0.1, 1.0))
    writer.put("card", slack.rewrite, state("done"), in_doubt=True)
    until(lambda: not writer.has("card"))
    assert set(slack.shown) == {"done"}
    assert 3 <= len(slack.shown) <= 4, "two that are due at once are one"


def test_where_there_is_nothing_to_show_any_more_nothing_is_written(writer: CardWriter, slack: Slack) -> None:
    heard: list[Written] = []
    writer.put("card", slack.rewrite, lambda: None, on_written=heard.append)
    writer.settle(PATIENCE)
    assert (slack.shown, heard) == ([], [])


def test_a_card_that_stays_in_doubt_is_left_after_three_more_tries(
    writer: CardWriter, slack: Slack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card_writer, "AGAIN_AFTER", (0.02, 0.04, 0.06))
    slack.ends = [Written.UNKNOWN] * 20
    heard: list[Written] = []
    writer.put("card", slack.rewrite, state("done"), on_written=heard.append)
    until(lambda: not writer.has("card"))
    assert set(heard) == {Written.UNKNOWN}
    assert 2 <= len(heard) <= 4, "those that are due at once are one"


def test_what_came_of_an_older_state_is_told_to_nobody(writer: CardWriter, slack: Slack) -> None:
    heard: list[str] = []
    slack.free.clear()
    writer.put("card", slack.rewrite, state("old"), on_written=lambda _: heard.append("old"))
    assert slack.called.acquire(timeout=PATIENCE)
    writer.put("card", slack.rewrite, state("new"), on_written=lambda _: heard.append("new"))
    slack.free.set()
    writer.settle(PATIENCE)
    assert heard == ["new"]


@pytest.mark.parametrize("error", [StoreError("The store does not answer."), RuntimeError("a bug")])
def test_a_state_that_cannot_be_read_and_a_note_that_cannot_be_written_stop_no_later_card(
    writer: CardWriter, slack: Slack, error: Exception
) -> None:
    def fails(*_: object) -> Message:
        raise error

    heard: list[Written] = []
    writer.put("card", slack.rewrite, fails, on_written=heard.append)
    writer.settle(PATIENCE)
    assert heard == [Written.REFUSED]
    writer.put("card", slack.rewrite, state("done"), on_written=fails)
    writer.settle(PATIENCE)
    writer.put("card", slack.rewrite, state("and more"))
    writer.settle(PATIENCE)
    assert slack.shown == ["done", "and more"]


def test_at_the_end_what_may_wait_is_written_and_what_hangs_is_left(slack: Slack) -> None:
    ending, hangs = CardWriter(), Slack()
    hangs.free.clear()
    ending.put("card", slack.rewrite, state("done"), after=PATIENCE)
    ending.put("other", hangs.rewrite, state("never"))
    assert hangs.called.acquire(timeout=PATIENCE)
    began = time.monotonic()
    ending.close(0.3)
    assert time.monotonic() - began < PATIENCE / 2
    assert slack.shown == ["done"]
    hangs.free.set()
