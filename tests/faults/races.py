"""Two people, one person twice, one envelope three times, two replicas: one close."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from bot.closing.model import Outcome
from sandbox.databases.embedded import EmbeddedServer
from tests.faults.arena import ASKS, LONG, Arena, Row, arena, at_once, buttons_of, text_of
from tests.support.running_bot import RunningBot
from tests.support.slack_person import NotPossible
from tests.support.slack_text import Json

_STORE = "store"
TAKEN_OVER_WITHIN = 15.0  # seconds; tests.support.hasty_bot's lease, and the time to look
STOPPED = "The bot was interrupted before anything was sent"
_KILLS = 5  # a replica is killed so often at most until it has something in its hands


def two_pressers(row: Row, tries: int, database: EmbeddedServer, folder: Path) -> None:
    """Press the same button as two people in the same instant."""
    with arena(row, database, folder) as stage:
        for _ in stage.tries(tries):
            victim = stage.victim()
            card = stage.card(str(victim))
            both = at_once([partial(person.press, card, "Close Session") for person in (stage.alice, stage.bob)])
            stage.reached(both)
            stage.ended(card)
            stage.count(victim, card, closed=True)
            _confirmed_once(stage, card["ts"])


def redeliveries(row: Row, tries: int, database: EmbeddedServer, folder: Path) -> None:
    """Press twice while every payload goes out twice and every second acknowledgement is lost: four deliveries."""
    with arena(row, database, folder) as stage:
        stage.slack.faults.deliver_twice = True
        for number in stage.tries(tries):
            victim = stage.victim()
            card = stage.card(str(victim))
            stage.slack.faults.lose_acks = number % 2
            both = at_once([partial(stage.alice.press, card, "Close Session")] * 2)
            stage.reached(both and stage.slack.faults.lose_acks == 0)
            stage.slack.faults.lose_acks = 0
            stage.ended(card)
            stage.count(victim, card, closed=True)
            _confirmed_once(stage, card["ts"])


def two_replicas(row: Row, tries: int, database: EmbeddedServer, folder: Path, store: EmbeddedServer) -> None:
    """Deliver each command and each press to two replicas on one shared store."""
    url = shared_store(store)
    with arena(row, database, folder / "one", store=url) as stage, _replica(stage, folder / "other", url) as other:
        for _ in stage.tries(tries):
            victim, bots = stage.victim(), (stage.bot, other)
            there, answered = stage.slack.connections, _count(bots, _ANSWERED)
            stage.slack.faults.deliver_twice = True  # the second copy goes to the other connection
            card = stage.card(str(victim))
            stage.alice.press(card, "Close Session")
            stage.reached(there == stage.slack.connections == 2)
            stage.slack.faults.deliver_twice = False
            stage.ended(card)
            stage.slack.wait_for(lambda: _count(bots, _ANSWERED) >= answered + 4, what="both to be done with both")  # noqa: B023
            stage.count(victim, card, closed=True)
            _confirmed_once(stage, card["ts"])
            _told_once(stage, victim, card)


def killed_at_a_command(row: Row, tries: int, database: EmbeddedServer, folder: Path, store: EmbeddedServer) -> None:
    """Deliver a command to two replicas and kill the one that has it, before its card: the other one answers it."""
    url = shared_store(store)
    played = arena(row, database, folder / "one", store=url, command=HASTY, relayed=True)
    with played as stage, _replica(stage, folder / "other", url, command=HASTY) as other:
        for _ in stage.tries(tries):
            stage.slack.faults.deliver_twice = True
            victim = stage.victim()
            card = _killed_at(stage, victim, (stage.bot, other))
            stage.slack.faults.deliver_twice = False
            stage.alice.press(card, "Close Session")
            stage.ended(card)
            stage.count(victim, card, closed=True)
            _told_once(stage, victim, card)


def _killed_at(stage: Arena, victim: int, bots: Sequence[RunningBot]) -> Json:
    """Ask for a close, kill the replica that is looking for the session, and return the card of the other one."""
    assert stage.relay is not None
    before, taken_over = [_count([bot], _ANSWERED) for bot in bots], _count(bots, _TAKEN_OVER)

    def waiting() -> list[RunningBot]:
        return [bot for bot, count in zip(bots, before, strict=True) if _count([bot], _ANSWERED) > count]

    with stage.relay.holds("PROCESSLIST"):
        stage.alice.types(f"/kill-session {victim}")
        stage.slack.wait_for(waiting, what="one replica to leave it to the other")
        (killed,) = [bot for bot in bots if bot not in waiting()]
        killed.kill()
    card = stage.alice.wait_for_message(lambda one: str(victim) in text_of(one) and ASKS in text_of(one))
    stage.reached(_count(bots, _TAKEN_OVER) > taken_over)
    stage.counts.attempted += 1
    killed.start()
    return card


_ANSWERED = '"event": "answered"'
_TAKEN_OVER = '"event": "taken over from a silent replica"'


def _count(bots: Sequence[RunningBot], event: str) -> int:
    """How often these bots have logged that."""
    return sum(bot.log.read_text(encoding="utf-8").count(event) for bot in bots)


def _told_once(stage: Arena, victim: int, card: Json) -> None:
    """Look that one card, and nothing else, was made for somebody who wants a session closed."""
    told = [text_of(one) for one in stage.alice.messages() if one["is_bot"] and one["time"] >= card["time"]]
    asked = stage.value("SELECT COUNT(*) FROM closing_targets WHERE session LIKE :id", id=f'%"id": {victim},%')
    stage.expect(len(told) == asked == 1, f"for session {victim} there are {asked} requests, and the bot says {told}")


def killed_replica(row: Row, tries: int, database: EmbeddedServer, folder: Path, store: EmbeddedServer) -> None:
    """Kill one of two replicas while both are at work; the other finishes the story, and nothing twice.

    Where it had nothing in its hands at that moment, all of it is done anew.
    """
    url = shared_store(store)
    row.wanted = tries
    with arena(row, database, folder / "one", store=url, command=HASTY) as stage:
        for number in range(_KILLS):
            if number:
                stage.bot.start()
            with _replica(stage, folder / f"other{number}", url, command=HASTY):
                if stage.reached(_killed_among(stage, tries), tries):
                    break
            stage.slack.wait_for(lambda: stage.slack.connections == 0, what="the end of the connections")


HASTY = ("-m", "tests.support.hasty_bot")


def _killed_among(stage: Arena, tries: int) -> bool:
    """Kill the first replica once closes are under way; return whether one of them was cut short by that."""
    cards = {victim: stage.card(str(victim)) for victim in [stage.victim() for _ in range(tries)]}

    def press(card: Json) -> None:
        with contextlib.suppress(NotPossible):  # lost with the replica: it is pressed again below
            stage.alice.press(card, "Close Session")

    with ThreadPoolExecutor(tries) as pool:
        pressing = pool.map(press, cards.values())
        claimed = "SELECT COUNT(*) FROM closing_requests WHERE state = 'claimed'"
        stage.slack.wait_for(lambda: stage.value(claimed) >= min(4, tries), what="the first closes")
        stage.bot.kill()
        list(pressing)
    until = time.monotonic() + TAKEN_OVER_WITHIN
    cut = False
    for victim, card in cards.items():
        this_one = _press_until_over(stage, card, until)
        cut |= this_one
        now = stage.alice.now(card)
        if this_one and _was_not_sent(stage, victim, now):
            stage.expect(stage.outcome(card) == Outcome.STILL_RUNNING.value, f"the record says {stage.outcome(card)}")
            continue
        # The answer to its KILL may have died with the replica that sent it.
        unknown = this_one and now is not None and "whether by this KILL is not known" in text_of(now)
        stage.count(victim, card, closed=True, answered=not unknown)
    return cut


def _was_not_sent(stage: Arena, victim: int, card: Json | None) -> bool:
    """Whether the replica was killed between the intent and the KILL, and the card says no more than is known."""
    told = card is not None and "No answer to the KILL is known, so it may not have arrived" in text_of(card)
    return told and stage.alive(victim) and stage.kills(victim) == 0


def _press_until_over(stage: Arena, card: Json, until: float) -> bool:
    """Wait for the outcome; where nothing came of the press, press again as a person would.

    Return whether the press was cut short: nothing came of it, or the other replica finished what it had begun.
    """

    def came(now: Json) -> bool:
        return stage.is_over(now) or STOPPED in text_of(now)

    with contextlib.suppress(AssertionError):  # acknowledged and lost with the replica: the card is as it was
        left = max(0.5, until - time.monotonic())
        stage.alice.wait_for_change(card, came, timeout=left)
    told = stage.alice.now(card)
    if told is None or not buttons_of(told):  # what the killed one was closing, the other may not have come to yet
        told = stage.alice.wait_for_change(card, came)
    again = bool(buttons_of(told))
    if again:
        with contextlib.suppress(NotPossible):  # on a busy machine the first press may be carried out just now
            stage.alice.press(told, "Close Session")
    over = stage.ended(card)
    return again or "has fallen silent" in text_of(over)


@contextlib.contextmanager
def _replica(stage: Arena, folder: Path, store: str, **more: object) -> Iterator[RunningBot]:
    """Run another bot on the same store, and wait until Slack is connected to both."""
    folder.mkdir()
    line = stage.relay or stage.tap
    port = line.port if line else 0
    with RunningBot(stage.slack, stage.database, folder, store=store, more=LONG, port=port, **more) as bot:  # type: ignore[arg-type]  # only what it takes
        stage.slack.wait_for(lambda: stage.slack.connections == 2, what="two replicas")
        yield bot


def shared_store(server: EmbeddedServer) -> str:
    """Make a schema of its own and return its URL."""
    name = f"{_STORE}_{secrets.token_hex(4)}"
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
    return f"mysql+pymysql://{server.user}:{server.password}@{server.host}:{server.port}/{name}"


def _confirmed_once(stage: Arena, ts: str) -> None:
    request = stage.value("SELECT id FROM closing_requests WHERE card_ts = :ts", ts=ts)
    confirmed = stage.value("SELECT COUNT(*) FROM audit WHERE event = 'confirm' AND request_id = :id", id=request)
    stage.expect(confirmed == 1, f"request {request} was confirmed {confirmed} times")
