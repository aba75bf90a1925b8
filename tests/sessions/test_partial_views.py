"""What a cluster does not show is said: missing and empty views, servers that are away, logins that see little.

A kernel for tests has one server and every view. Here views over a real MariaDB's process list stand for a
cluster's, which the bot probes and reads as such; users are named as OceanBase's logins are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bot.demo.embedded import DatabaseUnavailable
from bot.demo.mariadb import EmbeddedMariaDB
from bot.demo.slack.server import SlackSandbox
from bot.sessions import service
from bot.sessions.details import Reach
from bot.sessions.endpoint import Endpoint
from bot.sessions.model import SessionQuery
from bot.sessions.service import DataSource, DataSourceOptions
from tests.conftest import leave_out
from tests.running_bot import COMMANDS, RunningBot
from tests.slack_person import Person, table_of, text_of

ROWS = """
SELECT '{server}' AS SVR_IP, 2882 AS SVR_PORT, 2881 AS SQL_PORT, ID, SUBSTRING_INDEX(USER, '@', 1) AS USER, HOST,
DB, SUBSTRING_INDEX(USER, '@', -1) AS TENANT, COMMAND, TIME_MS / 1000 AS TIME, TIME_MS / 1000 AS TOTAL_TIME,
IF(COMMAND = 'Sleep', 'SLEEP', 'ACTIVE') AS STATE, INFO, NULL AS PROXY_SESSID, NULL AS MASTER_SESSID,
SUBSTRING_INDEX(HOST, ':', 1) AS USER_CLIENT_IP, 0 AS RETRY_CNT, 0 AS RETRY_INFO, '' AS SQL_ID, NULL AS TRACE_ID,
0 AS TRANS_ID, '' AS TRANS_STATE, '' AS MODULE, '' AS ACTION, '' AS CLIENT_INFO
FROM information_schema.PROCESSLIST WHERE COMMAND <> 'Daemon'
"""
ONE, TWO = ROWS.format(server="10.0.0.1"), ROWS.format(server="10.0.0.2")
Log = Callable[..., DataSource]


class Cluster:
    """The stand-in: its views are made as a test says and dropped after it."""

    def __init__(self, database: EmbeddedMariaDB) -> None:
        self.database = database

    def run(self, *statements: str) -> None:
        with contextlib.closing(self.database.connect()) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def views(self, **views: str) -> None:
        self.run(*(f"CREATE OR REPLACE VIEW oceanbase.`{name}` AS {rows}" for name, rows in views.items()))


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    """Give a MariaDB of its own, since others dress theirs up differently."""
    try:
        database = EmbeddedMariaDB()
    except DatabaseUnavailable as problem:
        leave_out(str(problem))
    with database:
        cluster = Cluster(database)
        for user in ("root@sys", "all@shop", "some@shop", "close@shop"):
            cluster.run(f"CREATE USER '{user}'@'%' IDENTIFIED BY '{database.password}'")
        cluster.run("GRANT PROCESS ON *.* TO 'all@shop'", "GRANT SUPER, PROCESS ON *.* TO 'close@shop'")
        yield cluster


@pytest.fixture
def cluster(server: Cluster) -> Iterator[Cluster]:
    """Give the server with an empty database ``oceanbase`` that every login may read."""
    server.run("CREATE DATABASE oceanbase")
    for user in ("root@sys", "all@shop", "some@shop", "close@shop"):
        server.run(f"GRANT SELECT ON oceanbase.* TO '{user}'")
    yield server
    server.run("DROP DATABASE oceanbase")


@pytest.fixture
def login(cluster: Cluster) -> Iterator[Log]:
    """Log in as somebody; closed after the test."""
    database = cluster.database
    with contextlib.ExitStack() as opened:

        def log_in(user: str = "root@sys") -> DataSource:
            endpoint = Endpoint.of("prod", database.host, database.port, user, database.password)
            return opened.enter_context(contextlib.closing(DataSource(endpoint, DataSourceOptions())))

        yield log_in


def test_a_whole_cluster_has_no_caveat(cluster: Cluster, login: Log) -> None:
    cluster.views(**{"GV$OB_PROCESSLIST": f"{ONE} UNION ALL {TWO}", "V$OB_PROCESSLIST": ONE})
    prod = login()
    assert prod.page(SessionQuery(), None).caveats == ()
    assert prod.health(None).view == "oceanbase.GV$OB_PROCESSLIST"


def test_a_missing_view_of_all_servers_leaves_one_server_and_that_is_said(cluster: Cluster, login: Log) -> None:
    cluster.views(**{"V$OB_PROCESSLIST": ONE})
    (caveat,) = login().page(SessionQuery(), None).caveats
    assert "Only the sessions of one server are listed" in caveat
    assert "there is no oceanbase.GV$OB_PROCESSLIST" in caveat


def test_an_empty_view_of_all_servers_is_known_for_what_it_is(cluster: Cluster, login: Log) -> None:
    cluster.views(**{"GV$OB_PROCESSLIST": f"{ONE} AND FALSE", "V$OB_PROCESSLIST": ONE})
    prod = login()
    with contextlib.closing(cluster.database.connect(user="all@shop", password=cluster.database.password)):
        page = prod.page(SessionQuery(), None)
    assert page.total == 1
    assert "oceanbase.GV$OB_PROCESSLIST is empty" in page.caveats[0]


def test_a_server_that_does_not_serve_is_named_until_it_is_back_and_not_asked_about_each_time(
    cluster: Cluster, login: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.views(**{"GV$OB_PROCESSLIST": ONE})
    cluster.run(
        "CREATE TABLE oceanbase.DBA_OB_SERVERS (SVR_IP VARCHAR(46), SQL_PORT INT, STATUS VARCHAR(64))",
        "INSERT INTO oceanbase.DBA_OB_SERVERS VALUES ('10.0.0.1', 2881, 'ACTIVE'), ('10.0.0.2', 2881, 'INACTIVE')",
    )
    prod = login()
    said = ("Server 10.0.0.2:2881 is INACTIVE: its sessions may be missing here.",)
    assert prod.page(SessionQuery(), None).caveats == said
    cluster.run("UPDATE oceanbase.DBA_OB_SERVERS SET STATUS = 'ACTIVE'")
    assert prod.page(SessionQuery(), None).caveats == said
    monkeypatch.setattr(service, "SERVERS_EVERY", 0.0)
    assert prod.page(SessionQuery(), None).caveats == ()
    cluster.run("DROP TABLE oceanbase.DBA_OB_SERVERS")
    assert prod.page(SessionQuery(), None).caveats == (), "a list without it is better than none"


@pytest.mark.parametrize(
    ("user", "sees", "closes", "caveat"),
    [
        ("root@sys", Reach.ALL, Reach.ALL, ""),
        ("all@shop", Reach.TENANT, Reach.OWN, "The bot's login all@shop sees only the sessions of tenant shop."),
        ("close@shop", Reach.TENANT, Reach.TENANT, "sees only the sessions of tenant shop."),
        ("some@shop", Reach.OWN, Reach.OWN, "The bot's login some@shop sees only its own sessions. To see all of"),
    ],
)
def test_what_a_login_sees_and_may_close_follows_from_its_tenant_and_grants(
    cluster: Cluster, login: Log, user: str, sees: Reach, closes: Reach, caveat: str
) -> None:
    cluster.views(**{"GV$OB_PROCESSLIST": ONE})
    health = login(user).health(None)
    assert health.problem == ""
    assert (health.sees, health.closes, health.tenant) == (sees, closes, user.partition("@")[2])
    assert len(health.caveats) == bool(caveat)
    assert caveat in " ".join(health.caveats)


def test_several_sessions_with_one_id_are_told_apart_by_their_servers(cluster: Cluster, tmp_path: Path) -> None:
    cluster.views(**{"GV$OB_PROCESSLIST": f"{ONE} UNION ALL {TWO}"})
    database = cluster.database
    with (
        SlackSandbox(commands=COMMANDS) as slack,
        RunningBot(slack, database, tmp_path),
        contextlib.closing(database.connect(user="all@shop", password=database.password)) as client,
    ):
        alice, number = Person(slack, "U01ALICE"), client.thread_id()  # type: ignore[no-untyped-call]  # so in PyMySQL's types
        alice.types(f"/sessions show {number}")
        asked = text_of(alice.wait_for_message(f"2 sessions have the id {number}"))
        for address in ("10.0.0.1:2881", "10.0.0.2:2881"):
            assert f"/sessions show {number}@{address} source=demo" in asked
        alice.types(f"/sessions show {number}@10.0.0.2")
        assert "observer 10.0.0.2:2881" in text_of(alice.wait_for_message(f"Session {number} on demo"))
        alice.types("/sessions sources")
        rows = table_of(alice.wait_for_message("Data sources"))
        assert rows[1][6:] == ["all tenants", "all tenants"]
