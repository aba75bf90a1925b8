"""What the lists of MySQL and MariaDB do not say at once, or say wrongly, closes nothing and is not told as so."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pymysql
import pytest

from bot.closing.model import Outcome
from bot.closing.verification import verify
from bot.errors import DataSourceError
from bot.sessions import kill
from bot.sessions.kill import Answer, NotSent, Sent, Why
from bot.sessions.model import Mode, Pin, SessionQuery
from bot.sessions.source import PROBE_EVERY
from bot.slack.views.closing_meaning import changes
from sandbox.databases.embedded import EmbeddedServer
from tests.sessions.conftest import Make, one, until
from tests.sessions.examples import MARIA_PASSWORD, sql_of
from tests.sessions.test_kill import close
from tests.support.patience import PATIENCE
from tests.support.servers import EmbeddedMySQL
from tests.support.stage import RunningStatement, session_id


@contextlib.contextmanager
def client_of(server: EmbeddedServer) -> Iterator[pymysql.Connection[pymysql.cursors.Cursor]]:
    with server.connect(user="mysql_app", password=MARIA_PASSWORD, database="mysql_test", autocommit=True) as client:
        yield client


def run(client: pymysql.Connection[pymysql.cursors.Cursor], *statements: str) -> None:
    with client.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
            cursor.fetchall()


BEGIN = ("BEGIN", "UPDATE stock SET quantity = quantity - 1 WHERE sku = 1")


def test_a_transaction_that_begins_during_the_intent_is_seen_though_the_list_of_them_is_old(
    server: EmbeddedServer, crm_source: Make
) -> None:
    crm = crm_source()
    with client_of(server) as client, crm.console() as console:
        card = one(crm, session_id(client))
        pin = Pin.of(card)
        assert kill.refusal(console, console.look(pin), pin, Mode.SESSION) is None
        run(client, *BEGIN)
        sent = close(console, card)
        assert isinstance(sent, NotSent)
        assert sent.why is Why.ANOTHER_TRANSACTION
        client.rollback()


def test_of_many_closed_one_after_the_other_the_transaction_of_the_last_is_seen(
    server: EmbeddedServer, crm_source: Make
) -> None:
    crm = crm_source()
    with contextlib.ExitStack() as opened, crm.console() as console:
        clients = [opened.enter_context(client_of(server)) for _ in range(5)]
        cards = [one(crm, session_id(client)) for client in clients]
        run(clients[-1], *BEGIN)
        for card in cards[:-1]:
            console.look(Pin.of(card))
            assert isinstance(close(console, card), Sent)
        assert isinstance(close(console, cards[-1]), NotSent)


def test_where_the_list_is_read_all_the_time_nothing_is_closed_and_that_is_said(
    server: EmbeddedServer, crm_source: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    crm, read_at, pauses = crm_source(), [0.0], [0.0]

    def monitor(_seconds: float) -> None:
        asked = time.monotonic()
        one(crm, card.id)
        pauses.append(time.monotonic() - read_at[0])  # at the most: the server reads its list at some time in between
        read_at[0] = asked

    while True:
        with client_of(server) as client, crm.console() as console:
            read_at[0], pauses[:] = time.monotonic(), [0.0]
            card = one(crm, session_id(client))
            with monkeypatch.context() as patched:
                patched.setattr("bot.sessions.console.sleep", monitor)
                try:
                    sent = close(console, card)
                except DataSourceError as error:
                    told = str(error)
                    break
            # A busy machine has kept the monitor from reading for so long that the list is a new one: play it again.
            assert max(*pauses, time.monotonic() - read_at[0]) > 0.09, sent
    assert "something there reads" in told
    with client_of(server) as client, crm.console() as console:
        assert isinstance(close(console, one(crm, session_id(client))), Sent)


def test_what_somebody_else_has_closed_is_not_closed_again(server: EmbeddedServer, crm_source: Make) -> None:
    crm = crm_source()
    with client_of(server) as client:
        run(client, "CREATE TABLE large (id INT PRIMARY KEY AUTO_INCREMENT, v INT) ENGINE = InnoDB")
        run(client, "INSERT INTO large (v) VALUES (1), (2), (3), (4)")
        for _ in range(16):
            run(client, "INSERT INTO large (v) SELECT v FROM large")
        run(client, "BEGIN", "UPDATE large SET v = v + 1")
        until(lambda: one(crm, session_id(client)).in_transaction)
        card = one(crm, session_id(client))
        with crm.console() as console:
            with server.connect() as root, root.cursor() as cursor:
                cursor.execute(f"KILL {card.id}")  # somebody's, a moment before the press
            until(lambda: not crm.find(card.id, None) or one(crm, card.id).ending)
            sent = close(console, card)
            assert isinstance(sent, NotSent)
            assert sent.why in (Why.ENDING, Why.GONE)
            until(lambda: verify(console, {1: Sent(card, Answer.NOT_ASKED)}, Mode.SESSION)[1].final)
            told = verify(console, {1: Sent(card, Answer.NOT_ASKED)}, Mode.SESSION)[1]
            assert (told.outcome, told.detail) == (
                Outcome.ALREADY_GONE,
                "The session has ended. Nothing was sent for it.",
            )


def test_another_transaction_that_only_reads_and_has_its_number_is_not_taken_for_the_rollback(
    server: EmbeddedServer, crm_source: Make
) -> None:
    crm = crm_source()
    read = ("START TRANSACTION", "SELECT * FROM stock")
    with client_of(server) as client:
        run(client, *read)
        until(lambda: one(crm, session_id(client)).in_transaction)
        before = one(crm, session_id(client))
        with crm.console() as console:
            console.kill(before, Mode.SESSION)
            until(lambda: not console.find(before.id))
            with client_of(server) as other:
                run(other, *read)
                assert verify(console, {1: Sent(before, Answer.OK)}, Mode.SESSION)[1].outcome is Outcome.CLOSED


@pytest.mark.parametrize("server", ["mariadb", "mariadb118"], indirect=True)  # MySQL lists no such transaction
def test_a_prepared_transaction_of_xa_is_said_to_stay(server: EmbeddedServer, crm_source: Make) -> None:
    crm = crm_source()
    with client_of(server) as client:
        run(client, "XA START 'mine'", BEGIN[1], "XA END 'mine'", "XA PREPARE 'mine'")
        until(lambda: one(crm, session_id(client)).in_transaction)
        card = one(crm, session_id(client))
    with server.connect() as root, crm.console() as console:
        try:
            until(lambda: not console.find(card.id))
            until(lambda: verify(console, {1: Sent(card, Answer.OK)}, Mode.SESSION)[1].final)
            told = verify(console, {1: Sent(card, Answer.OK)}, Mode.SESSION)[1]
            assert told.outcome is Outcome.CLOSED
            assert "its prepared XA transaction stays, with its locks" in told.detail
        finally:
            run(root, "XA ROLLBACK 'mine'")


def test_the_first_write_of_a_transaction_does_not_make_it_another_one(
    server: EmbeddedServer, crm_source: Make
) -> None:
    crm = crm_source()
    with client_of(server) as client:
        run(client, "BEGIN", "SELECT * FROM stock")
        until(lambda: one(crm, session_id(client)).in_transaction)
        before = one(crm, session_id(client))
        run(client, BEGIN[1])
        until(lambda: one(crm, session_id(client)).transaction_id != before.transaction_id)
        now = one(crm, session_id(client))
        assert Pin.of(before).same_transaction(now)
        assert "another transaction" not in changes(before, now)
        client.rollback()


def test_a_client_that_has_set_its_clock_does_not_have_its_next_statement_closed(
    server: EmbeddedServer, crm_source: Make
) -> None:
    with server.connect() as root:
        what = "CONNECTION_ADMIN" if isinstance(server, EmbeddedMySQL) else "CONNECTION ADMIN"
        run(root, f"GRANT PROCESS, {what} ON *.* TO mysql_plain")
    plain = crm_source(user="mysql_plain")
    with client_of(server) as client:
        run(client, "SET timestamp = 1700000000")
        first = RunningStatement(client, "SELECT SLEEP(60) FROM stock")
        until(lambda: one(plain, first.id).running)
        card = one(plain, first.id)
        with server.connect() as root:
            run(root, f"KILL QUERY {first.id}")
        first.join(PATIENCE)
        second = RunningStatement(client, "UPDATE stock SET quantity = SLEEP(60)")
        until(lambda: "UPDATE" in (sql_of(one(plain, first.id)) or ""))
        with plain.console() as console:
            assert isinstance(close(console, card, Mode.QUERY), NotSent)
        assert second.is_alive()
        with server.connect() as root:
            run(root, f"KILL QUERY {second.id}")
        second.join(PATIENCE)


@pytest.mark.parametrize("server", ["mysql"], indirect=True)
def test_where_a_text_keeps_mysql_from_its_transactions_lists_and_closes_go_on_without_them(
    server: EmbeddedServer, crm_source: Make
) -> None:
    crm = crm_source()
    with client_of(server) as client, client_of(server) as writer:
        card = one(crm, session_id(client))
        assert card.transaction_known
        emoji = RunningStatement(writer, "SELECT SLEEP(60), '😀' FROM stock")

        def caveats() -> str:
            return " ".join(crm.page(SessionQuery(), None).caveats)

        until(lambda: "error 3854" in caveats())
        assert not one(crm, emoji.id).transaction_known
        with crm.console() as console:
            refused = close(console, card)
            assert isinstance(refused, NotSent)
            assert refused.why is Why.ANOTHER_TRANSACTION
            assert "cannot be seen now" in changes(card, one(crm, card.id))
            assert isinstance(close(console, one(crm, emoji.id)), Sent)
        emoji.join(PATIENCE)
        ended = time.monotonic()
        until(lambda: "error 3854" not in caveats())
        assert time.monotonic() - ended < PROBE_EVERY / 2, "it is not given up for a minute"
