"""What explains sessions is read within its own limits, and nobody who lists or closes waits for it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from bot.errors import DataSourceTimeoutError
from bot.sessions.database import Connection
from bot.sessions.dialect import Dialect
from bot.sessions.endpoint import STATEMENT_LIMITS
from bot.sessions.model import Mode, SessionQuery
from bot.sessions.pool import Purpose
from bot.sessions.source import DataSource, DataSourceOptions
from bot.sessions.waits.graph import WaitGraph
from sandbox.databases.embedded import EmbeddedServer
from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.sessions.conftest import Make, until
from tests.support.patience import PATIENCE
from tests.support.relay import Relay
from tests.support.stage import session_id

LIMIT = 1.0  # seconds


def test_forty_who_ask_a_view_that_is_slow_share_two_reads_and_lists_and_closes_go_on(
    database: EmbeddedOceanBase, source: Make
) -> None:
    with Relay(database.port) as relay, database.connect() as victim, ThreadPoolExecutor(40) as pool:
        prod = source(DataSourceOptions(diagnosis_limit=PATIENCE), port=relay.port)
        prod.description()  # a waits() here would be shared for a moment
        with relay.holds("V$OB_LOCKS"):
            asked = [pool.submit(prod.waits) for _ in range(40)]
            until(lambda: relay.held)
            for _ in range(5):
                assert prod.page(SessionQuery(), None).total
            with prod.console() as console:
                (session,) = console.find(session_id(victim))
                console.kill(session, Mode.SESSION)
            assert prod.transactions(None).source == "prod", "another question waits for none"
            assert not any(one.done() for one in asked), "they are all that waits"
            assert relay.held == 1
        graphs = {id(one.result(PATIENCE)) for one in asked}
        assert len(graphs) <= 2


def test_who_waits_for_a_view_that_hangs_is_told_the_same_once_and_the_next_asks_anew(
    database: EmbeddedOceanBase, source: Make
) -> None:
    together = threading.Barrier(40)

    def ask(prod: DataSource) -> WaitGraph:
        together.wait(PATIENCE)  # a busy machine is slow to start forty threads
        return prod.waits()

    with Relay(database.port) as relay, ThreadPoolExecutor(40) as pool:
        prod = source(DataSourceOptions(diagnosis_limit=LIMIT), port=relay.port)
        prod.description()  # a waits() here would be shared for a moment
        with relay.holds("V$OB_LOCKS"):
            asked = [pool.submit(ask, prod) for _ in range(40)]
            told = [one.exception(PATIENCE) for one in asked]
        assert all(isinstance(error, DataSourceTimeoutError) for error in told)
        assert "prod did not answer within 1 s" in str(told[0])
        # Each read is asked once more at most, where it may have been its connection; the second is of those who came
        # more than a moment after the first.
        assert len({id(error) for error in told}) <= 2
        assert relay.held <= 4
        assert isinstance(prod.waits(), WaitGraph), "the error is not kept"


def limits_of(connection: Connection, _dialect: Dialect) -> dict[str, float]:
    rows = [row for name in STATEMENT_LIMITS for row in connection.rows(f"SHOW SESSION VARIABLES LIKE '{name}'")]
    return {str(name): float(value) / STATEMENT_LIMITS[str(name)] for name, value, *_ in rows}


def _sleep(prod: DataSource) -> object:
    try:
        return prod.diagnosis("slow", lambda connection, _: connection.rows("SELECT SLEEP(60)"))
    except DataSourceTimeoutError as error:
        return error if error.errno else "the server itself has not given up"


def keeps_its_limit(prod: DataSource) -> None:
    """Let a statement of a diagnosis run into its limit; a list that gets the connection afterwards has the usual."""
    usual = prod._read(limits_of)
    assert usual
    assert set(prod.diagnosis("limits", limits_of).values()) == {LIMIT}
    since = time.monotonic()
    broken_off = _sleep(prod)
    assert broken_off == [(1,)] or isinstance(broken_off, DataSourceTimeoutError), "MySQL says 1 of a sleep"
    assert "within 1 s" in str(broken_off) or broken_off == [(1,)]
    assert LIMIT * 0.9 < time.monotonic() - since < 30
    with prod._pool.connection(Purpose.CLOSING) as one, prod._pool.connection(Purpose.READING) as other:
        dialect = prod._dialect
        assert dialect is not None
        assert limits_of(one, dialect) == limits_of(other, dialect) == usual


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a server that a busy machine keeps from it tell late that it has given up; else the bot does so by itself."""
    monkeypatch.setattr("bot.sessions.database.WAY_BACK", PATIENCE)


@pytest.mark.usefixtures("patient")
def test_a_statement_of_a_diagnosis_is_given_up_by_the_server_in_time_and_no_other_is_on_oceanbase(
    database: EmbeddedOceanBase, source: Make
) -> None:
    keeps_its_limit(source(DataSourceOptions(diagnosis_limit=LIMIT)))


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("server", ["mariadb", "mysql"], indirect=True)
def test_a_statement_of_a_diagnosis_is_given_up_by_the_server_in_time_and_no_other_is_on_mysql(
    server: EmbeddedServer, crm_source: Make
) -> None:
    assert server.port
    keeps_its_limit(crm_source(DataSourceOptions(diagnosis_limit=LIMIT)))
