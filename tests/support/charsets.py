"""Clients in other character sets than UTF-8."""

from __future__ import annotations

import contextlib
import time

import pymysql

from tests.support.slack_person import buttons_of, options_of, text_of
from tests.support.slack_text import Json
from tests.support.stage import MySQLStage, RunningStatement, Stage


def runs_in(stage: Stage, charset: str, sql: bytes) -> RunningStatement:
    """Start what a client in that character set sends; seekdb 1.4 knows no such sets, and takes all bytes."""
    client = stage.connect()
    with client.cursor() as cursor, contextlib.suppress(pymysql.err.OperationalError):
        cursor.execute(f"SET NAMES {charset}")
    client.encoding = "latin1"  # the names of columns are what was sent
    return stage.starts(client, sql)


def goes_through_everything(stage: Stage, invalid: str) -> None:
    """List, look at, search, count and close statements in GBK; ``invalid`` is shown of one that is none there."""
    broken = runs_in(stage, "gbk", b"SELECT SLEEP(300), '\xff\xfe\xe9 gbk' FROM depot.stock")
    found = runs_in(stage, "gbk", "SELECT SLEEP(300), '你好' FROM depot.stock".encode("gbk"))
    if isinstance(stage, MySQLStage):
        stage.wait_until(lambda: _transactions_are_unreadable(stage), "MySQL to have that text in a transaction")
    listed = stage.asks(stage.alice, "/sessions sql=sleep(300)", "Sessions on demo")
    assert sorted(_ids(listed)) == sorted([broken.id, found.id])
    alone = stage.asks(stage.alice, "/sessions sql=你好", "Sessions on demo")
    assert _ids(alone) == [found.id]
    others = stage.asks(stage.alice, "/sessions user=teller sql!=你好", "Sessions on demo")
    assert broken.id in _ids(others)
    assert found.id not in _ids(others)
    stage.asks(stage.alice, "/sessions stats by=sql-id", "Session statistics of demo")
    for one, shown in ((broken, invalid), (found, "你好")):
        card = stage.asks(stage.alice, f"/sessions show {one.id} private", f"Session {one.id} on demo")
        assert "SLEEP(?), ?" in text_of(card)
        stage.alice.press(card, "View SQL")
        stage.alice.wait_for_modal(shown)
        stage.alice.closes_modal()
    card = stage.card_of("where sql=你好 query")
    assert str(found.id) in text_of(card)
    assert "Close Query" in buttons_of(card)
    stage.alice.press(card, "Close Query")
    stage.alice.wait_for_change(card, "query closed")
    found.ended()
    card = stage.card_of(str(broken.id))
    stage.alice.press(card, "Close Session")
    stage.alice.wait_for_change(card, "✅ closed")
    broken.ended()
    if isinstance(stage, MySQLStage):
        stage.wait_until(lambda: _transactions_are_told(stage), "the bot to see transactions again")
    stage.asks(stage.alice, f"/sessions audit id={broken.id}", str(broken.id))


def _transactions_are_unreadable(stage: Stage) -> bool:
    time.sleep(0.15)  # InnoDB shows them anew only when nobody has asked for 0.1 s
    with stage.database.connect() as admin, admin.cursor() as cursor:
        try:
            cursor.execute("SELECT trx_id FROM information_schema.INNODB_TRX")
        except pymysql.err.OperationalError as error:
            return bool(error.args[0] == 3854)
    return False


def _transactions_are_told(stage: Stage) -> bool:
    return "error 3854" not in text_of(stage.asks(stage.alice, "/sessions private", "Sessions on demo"))


def _ids(listed: Json) -> list[int]:
    return [int(str(option).split(" · ", maxsplit=1)[0]) for option in options_of(listed, "Pick sessions")]
