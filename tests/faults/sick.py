"""A database that hangs or drops its clients, a store that is gone, a Slack that refuses half of what it gets."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from bot.closing.model import Outcome
from sandbox.databases.embedded import EmbeddedServer
from sandbox.slack.faults import Failure
from tests.faults.arena import ASKS, BYSTANDERS, Arena, Row, arena
from tests.support.hanging import HangingRelay
from tests.support.hostile_judge import judge
from tests.support.slack_person import buttons_of, text_of
from tests.support.slack_text import Json
from tests.support.stage import full_text

READ_TIMEOUT = 6.0  # seconds; bot.sessions.database
LIMITED = Failure("", 429, "ratelimited", retry_after=1)
FAILED = Failure("", 500)
_PEOPLE = 100  # who type at the same time
_NEIGHBOURS = 5  # data sources that hang
_NEIGHBOUR = """
[data_sources.hung{number}]
host = "127.0.0.1"
port = {port}
user = "root@sys"
password = "{password}"
"""


def hung_database(row: Row, tries: int, restartable: EmbeddedServer, folder: Path) -> None:
    """Type commands while the database answers nothing: each is acknowledged, each gets a sentence."""
    with arena(row, restartable, folder) as stage:
        stage.asks(stage.alice, "/sessions", "Sessions on demo")
        victim = stage.victim()
        card = stage.card(str(victim))
        stage.slack.take_acks()
        stage.database.suspend()
        try:
            with ThreadPoolExecutor(_PEOPLE) as pool:
                list(pool.map(lambda number: stage.bob.types(f"/sessions id={number}"), range(2, tries + 2)))
            stage.alice.press(card, "Close Session")
            row.wanted = tries
            answers = ("did not answer within", "Nothing was asked of", "are already waiting", "too much to do")

            def answered() -> bool:
                told = [text_of(message) for message in stage.bob.messages() if message["ephemeral"]]
                return sum(any(answer in text for answer in answers) for text in told) >= tries

            stage.slack.wait_for(answered, what="a sentence for each command")
            # A press that still waits when the database answers again is carried out.
            stage.alice.wait_for_message(lambda message: message["ephemeral"] and text_of(message).startswith("⚠️"))
            stage.reached(True, tries)
            lost = [m for m in stage.bob.messages() if "operation_timeout" in text_of(m)]
            stage.expect(not lost, f"{len(lost)} commands were not acknowledged in time")
        finally:
            stage.database.resume()
        stage.asks(stage.alice, "/sessions", "Sessions on demo")
        stage.expect(stage.alive(victim), "the session was closed by a press that was told to have done nothing")
        open_again = stage.alice.wait_for_change(card, lambda now: "Close Session" in buttons_of(now))
        stage.alice.press(open_again, "Close Session")
        stage.ended(card)
        stage.count(victim, card, closed=True)


def hung_neighbours(row: Row, tries: int, database: EmbeddedServer, folder: Path) -> None:
    """Type commands on data sources that hang: one that is well lists and closes before any of them is answered.

    Then they go on, and each command has its answer. The bot is a patient one: however slow this machine is, it gives
    up none of them before.
    """
    with contextlib.ExitStack() as relays:
        hung = [
            relays.enter_context(HangingRelay(database.host, database.port, hangs=True)) for _ in range(_NEIGHBOURS)
        ]
        more = "".join(
            _NEIGHBOUR.format(number=number, port=relay.port, password=database.password)
            for number, relay in enumerate(hung)
        )
        with arena(
            row,
            database,
            folder,
            more=more,
            first='default_source = "demo"',
            command=("-m", "tests.support.patient_bot"),
        ) as stage:
            stage.asks(stage.alice, "/sessions", "Sessions on demo")
            victim = stage.victim()
            stage.slack.take_acks()
            row.wanted = tries
            with ThreadPoolExecutor(_PEOPLE) as pool:
                list(pool.map(lambda number: stage.bob.types(_on_neighbour(number)), range(tries)))
            stage.asks(stage.alice, "/sessions private", "Sessions on demo")
            card = stage.card(str(victim))
            stage.alice.press(card, "Close Session")
            stage.ended(card)
            stage.expect(not _answered(stage), f"{_answered(stage)} were answered first")
            stage.count(victim, card, closed=True)
            for relay in hung:
                relay.resume()
            stage.slack.wait_for(lambda: _answered(stage) >= tries, what="an answer for each command")
            stage.reached(True, tries)
            lost = [m for m in stage.bob.messages() if "operation_timeout" in text_of(m)]
            stage.expect(not lost, f"{len(lost)} commands were not acknowledged in time")


def _on_neighbour(number: int) -> str:
    """Type of each kind of command that asks a data source."""
    kinds = ("private", "stats private", "show {id} private", "vars private")
    return f"/sessions {kinds[number % len(kinds)].format(id=number + 2)} source=hung{number % _NEIGHBOURS}"


def _answered(stage: Arena) -> int:
    return sum(m["ephemeral"] and not text_of(m).startswith("⏳") for m in stage.bob.messages())


def forgotten_connections(row: Row, tries: int, database: EmbeddedServer, folder: Path) -> None:
    """Press after a firewall has forgotten all connections of the bot: the first press closes, and once."""
    with arena(row, database, folder, relayed=True) as stage:
        assert stage.relay is not None
        for _ in stage.tries(tries):
            victim = stage.victim()
            card = stage.card(str(victim))
            before = stage.relay.taken
            stage.relay.forgets()
            stage.alice.press(card, "Close Session")
            stage.ended(card)
            stage.count(victim, card, closed=True)
            stage.reached(stage.relay.taken > before)


def stopped_between(row: Row, tries: int, restartable: EmbeddedServer, folder: Path) -> None:
    """Stop the database between card and press: nothing is claimed to be closed, and the next command works."""
    with arena(row, restartable, folder, tapped=False) as stage:
        for _ in stage.tries(tries):
            card = stage.card(str(stage.victim()))
            stage.database.halt()
            try:
                stage.presses(stage.alice, card, "Close Session", "cannot be reached")
            finally:
                stage.database.start()
            stage.bystanders.clear()  # gone with the restart
            stage.watch_over(*(stage.connect() for _ in range(BYSTANDERS)))
            stage.alice.press(card, "Close Session")
            told = stage.ended(card)
            # Its id may be somebody else's by now, or nobody's.
            outcome = stage.outcome(card)
            stage.expect(outcome in (Outcome.CHANGED.value, Outcome.ALREADY_GONE.value), f"the record says {outcome}")
            stage.expect("✅" not in full_text(told), full_text(told))
            stage.asks(stage.alice, "/sessions", "Sessions on demo")
            stage.look_after_bystanders()
            stage.reached(True)


def sick_slack(row: Row, tries: int, database: EmbeddedServer, folder: Path) -> None:
    """Close while Slack answers half of all calls with 429 or 500: every card tells its outcome in the end."""
    with arena(row, database, folder) as stage:
        for number in stage.tries(tries):
            before = len(stage.slack.calls)
            stage.slack.faults.fall_ill(LIMITED, FAILED, share=0.5, seed=number)
            victim = stage.victim()
            stage.alice.types(f"/kill-session {victim}")
            # It may stand there twice: a call that failed may have been carried out (docs/slack.md 4.2).
            card = stage.alice.wait_for_message(partial(_is_card_of, victim))
            stage.counts.attempted += 1
            stage.alice.press(card, "Close Session")
            stage.ended(card)
            stage.slack.faults.recover()
            stage.count(victim, card, closed=True)
            stage.reached(any(call.status in (LIMITED.status, FAILED.status) for call in stage.slack.calls[before:]))


def _is_card_of(session: int, message: Json) -> bool:
    return str(session) in text_of(message) and ASKS in text_of(message)


def hostile_texts(row: Row, tries: int) -> None:
    """Show so many texts made to break out in every view: none is refused, none becomes markup, none a password."""
    counted = judge(tries, seed=tries)
    row.wanted = tries
    row.tries = counted.texts
    row.wrong = counted.wrong
    row.failures += counted.examples


def store_gone(row: Row, tries: int, database: EmbeddedServer, folder: Path) -> None:
    """Take the record's table away: nothing is closed, and a sentence says why."""
    with arena(row, database, folder) as stage:
        for _ in stage.tries(tries):
            victim = stage.victim()
            card = stage.card(str(victim))
            with stage.store.begin() as connection:
                connection.execute(sa.text("ALTER TABLE audit RENAME TO audit_away"))
            try:
                stage.presses(stage.alice, card, "Close Session", "Nothing is closed without a record")
                stage.counts.wrong += stage.kills(victim) > 0 or not stage.alive(victim)
            finally:
                with stage.store.begin() as connection:
                    connection.execute(sa.text("ALTER TABLE audit_away RENAME TO audit"))
            stage.alice.press(card, "Close Session")
            stage.ended(card)
            stage.count(victim, card, closed=True)
            stage.reached(True)


def unsaid_presser(row: Row, tries: int, database: EmbeddedServer, folder: Path) -> None:
    """Press while Slack does not say who presses: nothing is closed, and nobody is told that no rule allows it."""
    with arena(row, database, folder, access=_EVERYBODY) as stage:
        for number in stage.tries(tries):
            stage.slack.faults.fall_ill(_UNSAID[number % len(_UNSAID)], share=1.0, methods=["users.info"])
            victim = stage.victim()
            card = stage.card(str(victim), stage.bob)
            stage.presses(stage.alice, card, "Close Session", "Slack did not say who you are (")
            stage.counts.wrong += stage.kills(victim) > 0 or not stage.alive(victim)
            stage.bob.press(card, "Close Session")  # a rule names him by his id
            stage.ended(card)
            stage.count(victim, card, closed=True)
            stage.reached(stage.slack.calls.of("users.info") != [])
        stage.slack.faults.recover()


def closed_channel(row: Row, tries: int, database: EmbeddedServer, folder: Path) -> None:
    """Close a channel to the bot before an outcome is known: whoever pressed has it by direct message."""
    with arena(row, database, folder, access=_EVERYBODY) as stage:
        for number in stage.tries(tries):
            victim = stage.victim()
            card = stage.card(str(victim), stage.bob)
            stage.slack.faults.closed_channels[card["channel"]] = _CLOSED[number % len(_CLOSED)]
            stage.bob.press(card, "Close Session")

            def told(victim: int = victim) -> bool:
                said = map(full_text, stage.bob.direct_messages())
                return any(str(victim) in text and "✅ closed" in text for text in said)

            stage.slack.wait_for(told, what="the direct message")
            stage.slack.faults.closed_channels.clear()
            stage.counts.done += not stage.alive(victim)
            outcome = stage.outcome(card)
            stage.counts.lost += outcome != Outcome.CLOSED.value
            stage.reached("✅ closed" not in full_text(stage.alice.now(card) or {"text": "", "blocks": []}))


_EVERYBODY = """
[[access]]
who = ["U02BOB"]
may = ["view", "close"]

[[access]]
who = ["*"]
may = ["view", "close"]
"""
_UNSAID = (LIMITED, FAILED, Failure("", 503), Failure("", 200, "missing_scope"), Failure("", 200, "token_revoked"))
_CLOSED = ("is_archived", "channel_not_found", "not_in_channel")
