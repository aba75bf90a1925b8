"""What was confirmed is no longer there: the id has changed hands, the statement has moved on."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pymysql

from bot.closing.model import Outcome
from sandbox.databases.embedded import EmbeddedServer
from tests.faults.arena import Arena, Row, arena
from tests.support.slack_text import Json
from tests.support.stage import APP_PASSWORD, session_id

_AT_ONCE = 25  # cards before each restart
_ROOM = 60  # ids that others may take between the start of a server and the first one of a card


def reused_ids(row: Row, tries: int, restartable: EmbeddedServer, folder: Path) -> None:
    """Restart a server that counts its ids from 2 again, and press when somebody else has them."""
    row.wanted = tries
    with arena(row, restartable, folder, tapped=False) as stage:
        for _ in range(2 * -(-tries // _AT_ONCE) + 2):
            if row.complete:
                break
            _restarted(stage, min(_AT_ONCE, tries - row.tries))


def _restarted(stage: Arena, count: int) -> None:
    """Make cards, restart, take their ids, and press those whose ids were to be had.

    The bot itself, or the server, may have taken one meanwhile, or the server may count on: nothing is said of
    those cards, and they are made up for.
    """
    while session_id(first := stage.connect()) < _ROOM:
        first.close()
    cards: dict[int, Json] = {}
    for _ in range(count):
        victim = stage.victim()
        cards[victim] = stage.card(str(victim))
    stage.database.restart()
    stage.bystanders.clear()  # gone with the restart
    taken = _take(stage, set(cards))
    stage.watch_over(*taken.values())
    stage.reached(False, len(cards) - len(taken))
    for victim in taken:
        stage.alice.press(cards[victim], "Close Session")
        told = stage.ended(cards[victim])
        stage.expect("changed, not closed" in told["text"], f"{victim}: {told['text']}")
        stage.expect(stage.outcome(cards[victim]) == Outcome.CHANGED.value, f"{victim}: the record says otherwise")
        stage.reached(True)
    stage.look_after_bystanders()


def _take(stage: Arena, wanted: set[int]) -> dict[int, pymysql.Connection[Any]]:
    """Open sessions until the server has given out all those ids; return the ones that have them.

    Ids are given out in order, those in use left out: after the highest of them none of them comes any more.
    """
    taken: dict[int, pymysql.Connection[Any]] = {}
    while True:
        connection = stage.database.connect(user="auditor", password=APP_PASSWORD)
        number = session_id(connection)
        if number in wanted:
            stage.keep(connection)
            taken[number] = connection
        else:
            connection.close()
        if number >= max(wanted):
            return taken


def moved_on(row: Row, tries: int, database: EmbeddedServer, folder: Path) -> None:
    """Press Close Query when the very same statement runs anew."""
    with arena(row, database, folder) as stage:
        for _ in stage.tries(tries):
            connection = stage.connect()
            first = stage.starts(connection, "SELECT SLEEP(600)")
            card = stage.card(f"{first.id} query")
            stage.stops(first)
            second = stage.starts(connection, "SELECT SLEEP(600)")
            stage.alice.press(card, "Close Query")
            told = stage.ended(card)
            stage.counts.wrong += stage.kills(first.id) > 0 or not second.is_alive()
            stage.expect("changed, not closed" in told["text"], told["text"])
            stage.expect(stage.outcome(card) == Outcome.CHANGED.value, "the record says otherwise")
            stage.reached(True)
            stage.stops(second)


def refused_logins(row: Row, tries: int, mariadb: EmbeddedServer, folder: Path, stage_kind: type[Arena]) -> None:
    """List and close while the server refuses every new connection."""
    with arena(row, mariadb, folder, kind=stage_kind, user=mariadb.user) as stage:
        row.wanted = tries
        victims = [stage.victim() for _ in range(tries)]
        stage.asks(stage.alice, "/sessions limit=5", "Sessions on demo")  # the connection that is kept
        _crowded(stage, victims)


def _crowded(stage: Arena, victims: list[int]) -> None:
    cards: dict[int, Json] = {}
    with stage.database.connect() as admin, admin.cursor() as cursor, contextlib.ExitStack() as crowd:
        cursor.execute("SELECT COUNT(*) FROM information_schema.PROCESSLIST")
        ((there,),) = cursor.fetchall()
        cursor.execute("SELECT @@max_connections")
        ((before,),) = cursor.fetchall()
        cursor.execute(f"SET GLOBAL max_connections = {max(10, int(there))}")
        try:
            while _lets_in(stage, crowd):
                pass
            for victim in victims:
                cards[victim] = stage.card(str(victim))
                stage.alice.press(cards[victim], "Close Session")
                stage.ended(cards[victim])
                stage.reached(True)
                while _lets_in(stage, crowd):  # whoever waits takes the place that was freed
                    pass
        finally:
            cursor.execute(f"SET GLOBAL max_connections = {int(before)}")
    for victim, card in cards.items():
        stage.count(victim, card, closed=True)


def _lets_in(stage: Arena, crowd: contextlib.ExitStack) -> bool:
    try:
        connection = stage.database.connect()  # as root, who gets a place beyond the limit: nobody gets in any more
    except pymysql.err.OperationalError as refused:
        if refused.args[0] not in (1040, 1203):
            raise
        return False
    crowd.callback(connection.close)
    return True
