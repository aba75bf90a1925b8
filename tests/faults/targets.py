"""What was confirmed is no longer there: the id has changed hands, the statement has moved on."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pymysql

from bot.demo.embedded import EmbeddedServer
from tests.faults.arena import Arena, Row, arena
from tests.slack_text import Json
from tests.stage import APP_PASSWORD, Statement, session_id

_AT_ONCE = 25  # cards before each restart


def reused_ids(row: Row, tries: int, restartable: EmbeddedServer, folder: Path) -> None:
    """Restart a server that counts its ids from 2 again, and press when somebody else has them."""
    with arena(row, restartable, folder) as stage:
        for first in range(0, tries, _AT_ONCE):
            _restarted(stage, min(_AT_ONCE, tries - first))


def _restarted(stage: Arena, count: int) -> None:
    cards: dict[int, Json] = {}
    for _ in range(count):
        victim = stage.victim()
        cards[victim] = stage.card(str(victim))
    stage.database.restart()
    taken: set[int] = set()
    for _ in range(20_000):
        connection = stage.database.connect(user="auditor", password=APP_PASSWORD)
        if session_id(connection) not in cards:
            connection.close()  # one of the ids between
            continue
        taken.add(session_id(connection))
        stage.keep(connection)
        if len(taken) == len(cards):
            break
    stage.expect(len(taken) == len(cards), "the ids did not come back")
    stage.bystanders = list(cards)
    for victim, card in cards.items():
        stage.alice.press(card, "Close Session")
        told = stage.ended(card)
        stage.expect("changed, not closed" in told["text"] or "already gone" in told["text"], told["text"])
        stage.expect("changed, not closed" in told["text"], f"{victim}: {told['text']}")


def moved_on(row: Row, tries: int, database: EmbeddedServer, folder: Path) -> None:
    """Press Close Query when the very same statement runs anew."""
    with arena(row, database, folder) as stage:
        for _ in range(tries):
            connection = stage.connect()
            first = Statement(connection, "SELECT SLEEP(0.7)")
            stage.wait_until(lambda one=first: stage.row(one.id).get("COMMAND") == "Query", "the query to run")  # type: ignore[misc]  # mypy cannot infer a lambda's default
            card = stage.card(f"{first.id} query")
            first.ended()
            second = Statement(connection, "SELECT SLEEP(0.7)")
            stage.wait_until(lambda one=second: stage.row(one.id).get("COMMAND") == "Query", "it to run anew")  # type: ignore[misc]  # same
            stage.alice.press(card, "Close Query")
            told = stage.ended(card)
            stage.counts.wrong += second.ended() != 0
            stage.expect("changed, not closed" in told["text"], told["text"])


def refused_logins(row: Row, tries: int, mariadb: EmbeddedServer, folder: Path, stage_kind: type[Arena]) -> None:
    """List and close while the server refuses every new connection."""
    with arena(row, mariadb, folder, kind=stage_kind, user=mariadb.user) as stage:
        victims = [stage.victim() for _ in range(tries)]
        stage.asks(stage.alice, "/sessions limit=5", "Sessions on demo")  # the connection that is kept
        _crowded(stage, victims)


def _crowded(stage: Arena, victims: list[int]) -> None:
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
                card = stage.card(str(victim))
                stage.alice.press(card, "Close Session")
                told = stage.ended(card)
                stage.expect("✅ closed" in told["text"] or "closed" in told["text"], told["text"])
                _lets_in(stage, crowd)  # whoever waits takes the place that was freed
        finally:
            cursor.execute(f"SET GLOBAL max_connections = {int(before)}")
    for victim in victims:
        gone = not stage.alive(victim)
        stage.counts.done += gone
        stage.expect(gone, f"{victim} is still there")


def _lets_in(stage: Arena, crowd: contextlib.ExitStack) -> bool:
    try:
        connection = stage.database.connect()  # as root, who gets a place beyond the limit: nobody gets in any more
    except pymysql.err.OperationalError as refused:
        if refused.args[0] not in (1040, 1203):
            raise
        return False
    crowd.callback(connection.close)
    return True
