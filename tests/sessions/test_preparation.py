"""What the bot sets for each of its own sessions, on servers whose defaults are odd and on ones that refuse some."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from bot.errors import ConnectionLostError, DataSourceError, DataSourceTimeoutError
from bot.sessions import probing
from bot.sessions.database import Preparation, connected
from bot.sessions.endpoint import Endpoint
from sandbox.databases.embedded import EmbeddedServer
from sandbox.databases.mariadb import EmbeddedMariaDB
from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.sessions.conftest import until
from tests.support.odd_settings import odd_settings
from tests.support.servers import EmbeddedMySQL
from tests.support.stage import RunningStatement

OF_ALL = "@@sql_mode, @@sql_select_limit, @@autocommit, @@completion_type, @@div_precision_increment, @@time_zone"
ALL = ("STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION", 2**63 - 1, 1, "NO_CHAIN", 4, "+00:00")
# Whoever binds a text must know what a backslash means; a text in GBK would take one with it.
TEXTS = ("\\", "\\'", "' OR '1'='1", "Ã¥\\' 誠", "縗' -- ", "", "😀")


def at(server: EmbeddedServer) -> Endpoint:
    return Endpoint("prod", server.host, server.port, server.user, SecretStr(server.password))


@pytest.mark.parametrize(
    "name", ["oceanbase", "seekdb14", "mariadb", "mysql"], ids=["oceanbase-4.3.5", "seekdb-1.4", "mariadb", "mysql"]
)
def test_a_session_of_the_bots_is_what_its_statements_rely_on(name: str, request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue(name)
    isolation = "transaction_isolation" if isinstance(server, EmbeddedMySQL) else "tx_isolation"
    further = (
        {"ob_query_timeout": 5_000_000, "ob_read_consistency": "STRONG"}
        if isinstance(server, EmbeddedOceanBase)
        else {isolation: "REPEATABLE-READ", "sql_big_selects": 1, "collation_connection": "utf8mb4_general_ci"}
    )
    with odd_settings(server), connected(at(server), probing.PREPARE["auto"]) as connection:
        assert connection.rows(f"SELECT {OF_ALL}, {', '.join(f'@@{one}' for one in further)}") == [
            (*ALL, *further.values())
        ]
        assert connection.rows(f"SELECT {', '.join(['%s'] * len(TEXTS))}", TEXTS) == [TEXTS]


def test_what_a_server_refuses_keeps_nothing_else_from_being_set(mariadb: EmbeddedMariaDB) -> None:
    not_supported = "SIGNAL SQLSTATE '42000' SET MYSQL_ERRNO = 1235"
    preparation: Preparation = (
        not_supported,
        {"no_such_variable": "1", "sql_select_limit": "7", "wait_timeout": "'soon'", "max_sort_length": "99"},
        not_supported,
        {"lc_time_names": "'de_DE'"},
    )
    with connected(at(mariadb), preparation) as connection:
        assert connection.rows("SELECT @@sql_select_limit, @@max_sort_length, @@lc_time_names") == [(7, 99, "de_DE")]


def test_a_connection_that_ends_while_it_is_prepared_is_told_as_lost(mariadb: EmbeddedMariaDB) -> None:
    preparation: Preparation = ("KILL CONNECTION_ID()", {"sql_select_limit": "7", "sql_big_selects": "1"})
    with pytest.raises(ConnectionLostError, match="broke"), connected(at(mariadb), preparation):
        pass


def test_a_statement_that_the_server_gives_up_on_is_not_passed_over(database: EmbeddedOceanBase) -> None:
    """A session that is not tagged for it would be listed among those of people."""
    preparation: Preparation = ({"ob_query_timeout": "100000"}, "SELECT SLEEP(60)")
    with pytest.raises(DataSourceTimeoutError, match="did not answer"), connected(at(database), preparation):
        pass


def test_a_list_that_mysql_shows_nobody_while_an_emoji_runs_is_told_without_what_runs(mysql: EmbeddedMySQL) -> None:
    with mysql.connect() as client, connected(at(mysql), ()) as connection:
        statement = RunningStatement(client, "SELECT SLEEP(60), '😃 pin 84731209'")
        shown = f"SELECT 1 FROM performance_schema.processlist WHERE ID = {statement.id} AND INFO LIKE '%pin 84731209%'"
        until(lambda: connection.rows(shown))
        with pytest.raises(DataSourceError, match="Switch performance_schema on") as told:
            connection.rows("SELECT ID FROM information_schema.PROCESSLIST")
        connection.rows(f"KILL QUERY {statement.id}")
        statement.ended()
    assert "84731209" not in told.value.sentence
    assert "xF0" not in told.value.sentence
