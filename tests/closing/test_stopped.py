"""A bot that runs out of time while a close is looked at: the record stays, and the next start finishes it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from bot.closing.approval import Confirmation
from bot.closing.model import Outcome, State
from bot.closing.targets import Wanted
from bot.errors import StoppedError
from bot.operations.lifecycle import Grace
from bot.sessions.console import Console
from bot.sessions.model import Mode
from tests.closing.conftest import ALICE, CHANNEL, Desk, lock_waiter
from tests.support.stage import session_id


@contextlib.contextmanager
def _carried_out_late(desk: Desk, number: int) -> Iterator[None]:
    """Carry a KILL out in the end only: now and then the kernel ends a session before the first look."""
    with pytest.MonkeyPatch.context() as late:
        late.setattr(Console, "kill", lambda *_, **__: None)
        yield
    with desk.database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"KILL {number}")


def test_a_close_that_is_cut_short_stays_claimed_with_its_intent_and_is_finished_later(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.operations.lifecycle.CUT_SHORT_AFTER", 0.0)
    monkeypatch.setattr("bot.operations.lifecycle.EXIT_AFTER", 3600.0)
    patience = Grace()
    monkeypatch.setattr(desk.closer, "_wait", patience.wait)
    waiter = lock_waiter(desk)
    request = desk.ask(ALICE, CHANNEL, "demo", [Wanted(waiter.id)], Mode.SESSION)
    patience.end_in_time()
    with _carried_out_late(desk, waiter.id), pytest.raises(StoppedError, match="What was sent is on record"):
        desk.closer.confirm(Confirmation(request.id, ALICE, CHANNEL, Mode.SESSION), lambda _request, _note: None)
    stored = desk.store.requests.find(request.id)
    assert stored is not None
    assert stored.state is State.CLAIMED
    assert stored.targets[0].intent_at is not None
    assert stored.targets[0].outcome is None
    assert waiter.ended() != 0, "what was sent has its effect"
    desk.until(lambda: not desk.row(waiter.id))
    (finished,) = desk.restarted().resume()
    assert (finished.state, finished.targets[0].outcome) == (State.DONE, Outcome.CLOSED)


def test_what_a_press_knew_when_it_was_cut_short_is_on_record(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.operations.lifecycle.CUT_SHORT_AFTER", 0.0)
    monkeypatch.setattr("bot.operations.lifecycle.EXIT_AFTER", 3600.0)
    patience = Grace()
    monkeypatch.setattr(desk.closer, "_wait", patience.wait)
    gone, waiter = desk.connect(), lock_waiter(desk)
    wanted = [Wanted(session_id(gone)), Wanted(waiter.id)]
    request = desk.ask(ALICE, CHANNEL, "demo", wanted, Mode.SESSION)
    number = session_id(gone)
    gone.close()
    desk.until(lambda: not desk.row(number))
    patience.end_in_time()
    with _carried_out_late(desk, waiter.id), pytest.raises(StoppedError):
        desk.closer.confirm(Confirmation(request.id, ALICE, CHANNEL, Mode.SESSION), lambda _request, _note: None)
    stored = desk.store.requests.find(request.id)
    assert stored is not None
    assert [one.outcome for one in stored.targets] == [Outcome.ALREADY_GONE, None]
    waiter.ended()
    desk.until(lambda: not desk.row(waiter.id))
    (finished,) = desk.restarted().resume()
    assert [one.outcome for one in finished.targets] == [Outcome.ALREADY_GONE, Outcome.CLOSED]
    assert finished.targets[0].detail == "The session had ended before a KILL was sent."
