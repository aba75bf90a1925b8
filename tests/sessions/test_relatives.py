"""Servers that speak MySQL's protocol and are none that the bot is for, by what they say of themselves."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from bot.errors import DataSourceError
from bot.sessions.endpoint import Endpoint
from bot.sessions.source import DataSource, DataSourceOptions
from sandbox.databases.embedded import EmbeddedServer
from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.sessions.conftest import Make
from tests.support.forged import Forged

ASKED = "SELECT VERSION(), @@version_comment"
TIDB = "TiDB Server (Apache License 2.0) Community Edition, MySQL 8.0 compatible"
WAYS = "its sessions, transactions and KILL are not MySQL's. The bot is for OceanBase, seekdb, MySQL and MariaDB"


def told(greeting: str, said: tuple[str, str] | None, kind: str = "auto") -> str:
    """What is said of a data source on a server that greets and says so."""
    with Forged(version=greeting, rows={ASKED: said} if said else {}) as server:
        endpoint = Endpoint("stats", server.host, server.port, "bot", SecretStr("secret"))
        source = DataSource(endpoint, DataSourceOptions(kind=kind))  # type: ignore[arg-type]  # one of the kinds
        try:
            with pytest.raises(DataSourceError) as refused:
                source.check()
            assert source.health(None).problem == refused.value.sentence, "and so it is in sources"
        finally:
            source.close()
    return str(refused.value)


@pytest.mark.parametrize("kind", ["auto", "mysql", "oceanbase"])
@pytest.mark.parametrize(
    ("greeting", "said"),
    [
        ("8.0.11-TiDB-v7.5.0", ("8.0.11-TiDB-v7.5.0", TIDB)),
        ("5.7.25", ("5.7.25", TIDB)),  # with server-version set
        ("8.0.11-TiDB-v8.5.3-serverless", None),
    ],
)
def test_of_tidb_it_is_said_that_it_is_not_supported_and_why(
    greeting: str, said: tuple[str, str] | None, kind: str
) -> None:
    assert told(greeting, said, kind) == (
        "Data source stats is TiDB, which is not supported: it has no information_schema.INNODB_TRX, so that nobody "
        "could be told what a close would roll back. Take this data source out of the configuration."
    )


@pytest.mark.parametrize(
    ("name", "greeting", "said", "why"),
    [
        ("StarRocks", "5.1.0", ("5.1.0", "StarRocks version 3.1.2"), WAYS),
        ("Doris", "5.7.99", ("5.7.99", "Doris version doris-2.0.3-rc06-37d31a5"), WAYS),
        ("ClickHouse", "23.8.1.1-ClickHouse", None, WAYS),
        ("Vitess", "8.0.30-Vitess", ("8.0.30-Vitess", "MySQL Community Server"), WAYS),
        ("SingleStoreDB", "5.7.32", ("5.7.32", "SingleStoreDB source distribution (compatible)"), WAYS),
        ("ProxySQL", "8.0.11 (ProxySQL)", ("8.4.5", "MySQL Community Server - GPL"), "it answers KILL itself"),
        ("ProxySQL", "5.5.30 (ProxySQL Admin Module)", None, "Give the bot host and port of the server behind it."),
    ],
)
def test_of_other_relatives_it_is_said_by_their_name(
    name: str, greeting: str, said: tuple[str, str] | None, why: str
) -> None:
    sentence = told(greeting, said)
    assert sentence.startswith(f"Data source stats is {name}, which is not supported: ")
    assert why in sentence


@pytest.mark.parametrize("said", [("4.2.0-Hypothetica", "Hypothetica, a database"), None])
def test_of_a_server_that_nobody_has_heard_of_it_is_said_that_it_answers_as_none_that_is_known(
    said: tuple[str, str] | None,
) -> None:
    sentence = told("4.2.0-Hypothetica", said)
    called = "4.2.0-Hypothetica Hypothetica, a database" if said else "4.2.0-Hypothetica"
    assert sentence.startswith(
        f"Data source stats calls itself “{called}” and does not answer as OceanBase, MySQL and MariaDB do."
    )


def test_the_kernels_are_none_of_them(database: EmbeddedOceanBase, source: Make) -> None:
    assert source().health(None).problem == ""


def test_real_servers_are_none_of_them(server: EmbeddedServer, crm_source: Make) -> None:
    assert crm_source().health(None).problem == ""
