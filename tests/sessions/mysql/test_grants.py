"""The grants of docs/install.md on real MariaDBs and MySQL, and those of a whole cluster on its stand-in."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import NoReturn

import pytest
from pydantic import SecretStr

from bot.errors import InputError, NotSessionOwnerError, PrivilegeMissingError
from bot.sessions.details import Reach
from bot.sessions.endpoint import Endpoint
from bot.sessions.model import Mode, Pin, Session, SessionQuery
from bot.sessions.source import DataSource, DataSourceOptions
from bot.sessions.statistics import Grouping
from sandbox.databases.embedded import EmbeddedServer
from sandbox.databases.mariadb import EmbeddedMariaDB
from tests.sessions.conftest import until
from tests.sessions.examples import MARIA_PASSWORD
from tests.support.cluster import BOT, Cluster
from tests.support.documents import grants
from tests.support.servers import EmbeddedMySQL, WatchedUnpackedMariaDB
from tests.support.stage import APP_PASSWORD, RunningStatement, session_id

LOGIN = "granted_bot"
Log = Callable[..., DataSource]


@dataclass(frozen=True)
class Lines:
    """The lines of docs/install.md for one kind of server."""

    process: str
    threads: str
    requests: str
    closing: str
    waits: tuple[str, ...]  # on what tells who waits for whom

    @property
    def all(self) -> tuple[str, ...]:
        return (self.process, self.threads, self.requests, self.closing, *self.waits)


@pytest.fixture
def lines(server: EmbeddedServer) -> Lines:
    process, threads, requests, *waits, closing = grants("MySQL" if isinstance(server, EmbeddedMySQL) else "MariaDB")
    return Lines(process, threads, requests, closing, tuple(waits))


@pytest.fixture
def log_in(server: EmbeddedServer, logins: str) -> Iterator[Log]:
    """Log in as an account that has been given these grants and nothing else."""
    with contextlib.ExitStack() as opened, server.connect() as admin, admin.cursor() as cursor:

        def make(*given: str) -> DataSource:
            cursor.execute(f"DROP USER IF EXISTS {LOGIN}")
            cursor.execute(f"CREATE USER {LOGIN} IDENTIFIED BY '{MARIA_PASSWORD}'")
            for grant in given:
                cursor.execute(f"{grant} TO {LOGIN}")
            endpoint = Endpoint("crm", server.host, server.port, LOGIN, SecretStr(MARIA_PASSWORD))
            return opened.enter_context(contextlib.closing(DataSource(endpoint, DataSourceOptions())))

        yield make
        opened.close()
        cursor.execute(f"DROP USER IF EXISTS {LOGIN}")


def closes(server: EmbeddedServer) -> Reach:
    """Whose sessions the guide's grants let a login close."""
    return Reach.MOST if isinstance(server, EmbeddedMySQL) else Reach.ALL


def test_mysql_spares_accounts_with_system_user_and_that_is_told(mysql: EmbeddedMySQL) -> None:
    endpoint = Endpoint("crm", mysql.host, mysql.port, LOGIN, SecretStr("system-user"))
    with mysql.connect() as admin, admin.cursor() as cursor:
        cursor.execute(f"CREATE USER {LOGIN} IDENTIFIED BY 'system-user'")
        try:
            cursor.execute(f"GRANT PROCESS, CONNECTION_ADMIN ON *.* TO {LOGIN}")
            with contextlib.closing(DataSource(endpoint, DataSourceOptions())) as crm:
                assert crm.health(None).closes is Reach.MOST
                (theirs,) = crm.find(session_id(admin), None)
                with crm.console() as console, pytest.raises(NotSessionOwnerError, match="SYSTEM_USER for accounts"):
                    console.kill(theirs, Mode.SESSION)
            cursor.execute(f"GRANT SYSTEM_USER ON *.* TO {LOGIN}")
            with contextlib.closing(DataSource(endpoint, DataSourceOptions())) as crm:
                assert crm.health(None).closes is Reach.ALL
        finally:
            cursor.execute(f"DROP USER {LOGIN}")


def test_mysql_and_mariadb_are_given_the_same_in_their_own_words() -> None:
    same = [grant.replace("CONNECTION_ADMIN", "CONNECTION ADMIN") for grant in grants("MySQL")]
    assert [grant for grant in same if "performance_schema.data_lock" not in grant] == grants("MariaDB")


def test_with_all_of_them_everything_is_listed_looked_at_and_closed(
    server: EmbeddedServer, log_in: Log, lines: Lines, logins: str
) -> None:
    crm = log_in(*lines.all)
    with server.connect(user=logins, password=MARIA_PASSWORD, database="mysql_test") as client:
        client.begin()
        with client.cursor() as cursor:
            cursor.execute("UPDATE stock SET quantity = 1")
        (seen,) = crm.find(session_id(client), None)
        assert seen.in_transaction
        assert crm.details(seen).session == seen
        assert crm.statistics(SessionQuery(), Grouping.USER, None).total >= 1
        assert crm.variables("wait_timeout", None, everywhere=True).matching >= 1
        with pytest.raises(InputError, match="keeps no history of deadlocks"):
            crm.deadlocks(timedelta(days=1), None)
        (left_out,) = crm.page(SessionQuery(), None).caveats
        assert left_out == f"The sessions of {LOGIN}, this bot's own login, are left out."
        health = crm.health(None)
        assert (health.problem, health.sees, health.closes) == ("", Reach.ALL, closes(server))
        client.rollback()
        statement = RunningStatement(client, "SELECT SLEEP(60)")
        with crm.console() as console:
            while not (running := console.find(statement.id)[0]).running:
                assert statement.is_alive()
            console.kill(running, Mode.QUERY)
            statement.ended()
            console.kill(running, Mode.SESSION)
            while console.find(statement.id):
                pass


def test_a_login_that_lacks_nothing_is_probed_once(log_in: Log, lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.sessions.source.PROBE_EVERY", 0.0)
    crm = log_in(*lines.all)
    crm.check()
    monkeypatch.setattr("bot.sessions.probing.probe", no_probe)
    crm.check()


def test_a_login_that_lacks_something_is_probed_again_and_no_command_fails_for_it(
    log_in: Log, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.sessions.source.PROBE_EVERY", 0.0)
    for given in ((lines.process, lines.threads, lines.requests, *lines.waits), (lines.closing,)):
        crm = log_in(*given)
        crm.check()
        probes: list[str] = []

        def fails(*_: object, probes: list[str] = probes) -> NoReturn:
            probes.append("")
            raise PrivilegeMissingError("The login lacks a privilege.")

        with monkeypatch.context() as meanwhile:
            meanwhile.setattr("bot.sessions.probing.probe", fails)
            crm.check()
        assert probes


def test_without_one_of_those_on_locks_it_is_said_which(server: EmbeddedServer, log_in: Log, lines: Lines) -> None:
    for refused in lines.waits:
        crm = log_in(*(line for line in lines.all if line != refused))
        view = refused.rpartition(" ")[2]
        (lack,) = crm.waits().lacks or ("",)
        there = isinstance(server, EmbeddedMySQL | WatchedUnpackedMariaDB)
        assert lack.startswith(f"The bot's login may not read {view}, so ") is there
        assert (lack in crm.abilities().lacks) is there


def no_probe(*_: object) -> NoReturn:
    raise AssertionError("probed again")


def test_without_process_nobody_else_is_seen_and_that_is_said(
    server: EmbeddedServer, log_in: Log, lines: Lines, logins: str
) -> None:
    crm = log_in(lines.threads, lines.requests, lines.closing)
    with server.connect(user=logins, password=MARIA_PASSWORD) as client:
        assert crm.find(session_id(client), None) == []
        page = crm.page(SessionQuery(), None)
    assert page.sessions == ()
    assert "Only the login's own sessions can be seen: granted_bot lacks PROCESS." in " ".join(page.caveats)
    assert crm.health(None).sees is Reach.OWN


def test_without_the_last_nothing_of_others_is_closed_and_that_is_said(
    server: EmbeddedServer, log_in: Log, lines: Lines, logins: str
) -> None:
    crm = log_in(lines.process, lines.threads, lines.requests)
    with server.connect(user=logins, password=MARIA_PASSWORD) as client:
        (seen,) = crm.find(session_id(client), None)
        with crm.console() as console, pytest.raises(NotSessionOwnerError, match="MariaDB CONNECTION ADMIN"):
            console.kill(seen, Mode.SESSION)
        client.ping(reconnect=False)
    assert crm.health(None).closes is Reach.OWN
    assert "may close its own sessions only" in crm.description(), "session-bot check says it, too"


@pytest.mark.parametrize("missing", ["threads", "requests"])
def test_without_the_performance_schema_a_query_is_told_by_its_start_and_that_is_said(
    server: EmbeddedServer, log_in: Log, lines: Lines, logins: str, missing: str
) -> None:
    refused = getattr(lines, missing)
    crm = log_in(*(line for line in lines.all if line != refused))
    view = refused.rpartition(" ")[2]
    with server.connect(user=logins, password=MARIA_PASSWORD, database="mysql_test") as client:
        first = RunningStatement(client, "SELECT SLEEP(60) FROM stock")
        seen = told_by_its_start(crm, first)
        assert seen.request_id is None
        again = told_by_its_start(crm, first, after=seen)
        assert Pin.of(seen).same_request(again)
        close_query(crm, again, first)
        second = RunningStatement(client, "SELECT SLEEP(60) FROM stock")
        while not (other := crm.find(second.id, None)[0]).running:
            assert second.is_alive()
        assert not Pin.of(seen).same_request(other)
        caveats = crm.page(SessionQuery(), None).caveats
        close_query(crm, other, second)
    if isinstance(server, EmbeddedMySQL | WatchedUnpackedMariaDB):  # elsewhere there is nothing to be read
        assert any(caveat.startswith(f"The bot's login may not read {view}, so ") for caveat in caveats)
    else:
        assert len(caveats) == 1


def close_query(crm: DataSource, seen: Session, statement: RunningStatement) -> None:
    with crm.console() as console:
        console.kill(seen, Mode.QUERY)
    assert statement.ended() == 1317


def told_by_its_start(crm: DataSource, statement: RunningStatement, after: Session | None = None) -> Session:
    """Look until it has run for longer than its start may be off, 1.05 s on MySQL."""
    while True:
        assert statement.is_alive()
        (session,) = crm.find(statement.id, None)
        if session.running and session.time > (1.1 if after is None else after.time):
            return session


def test_grants_of_a_role_count_as_the_logins_own(server: EmbeddedServer, log_in: Log, lines: Lines) -> None:
    crm = log_in()
    with server.connect() as admin, admin.cursor() as cursor:
        cursor.execute("DROP ROLE IF EXISTS closing_bots")
        cursor.execute("CREATE ROLE closing_bots")
        for line in lines.all:
            cursor.execute(f"{line} TO closing_bots")
        cursor.execute(f"GRANT closing_bots TO {LOGIN}")
        to = "closing_bots TO" if isinstance(server, EmbeddedMySQL) else "closing_bots FOR"
        cursor.execute(f"SET DEFAULT ROLE {to} {LOGIN}")
    health = crm.health(None)
    assert (health.problem, health.sees, health.closes) == ("", Reach.ALL, closes(server))
    assert len(health.caveats) == 1


def test_a_role_that_is_not_active_is_named_with_the_way_out(server: EmbeddedServer, log_in: Log, lines: Lines) -> None:
    crm = log_in()
    with server.connect() as admin, admin.cursor() as cursor:
        for role in ("closing_bots", "idle_bots"):
            cursor.execute(f"DROP ROLE IF EXISTS {role}")
            cursor.execute(f"CREATE ROLE {role}")
            cursor.execute(f"GRANT {role} TO {LOGIN}")
        for line in lines.all:
            cursor.execute(f"{line} TO closing_bots")
        try:
            health = crm.health(None)
            assert (health.problem, health.sees, health.closes) == ("", Reach.OWN, Reach.OWN)
            (caveat,) = [one for one in health.caveats if "lacks PROCESS" in one]
            assert "It has roles that are not active (closing_bots, idle_bots)" in caveat
            assert f"SET DEFAULT ROLE closing_bots TO {LOGIN}, on MariaDB FOR {LOGIN}." in caveat
            way = "TO" if isinstance(server, EmbeddedMySQL) else "FOR"
            cursor.execute(f"SET DEFAULT ROLE closing_bots {way} {LOGIN}")
            again = contextlib.closing(DataSource(crm._endpoint, DataSourceOptions()))
            with again as source:
                health = source.health(None)
            assert (health.problem, health.sees, health.closes) == ("", Reach.ALL, closes(server))
            assert len(health.caveats) == 1
        finally:
            cursor.execute("DROP ROLE closing_bots, idle_bots")


def test_a_grant_is_noticed_by_a_bot_that_runs(
    server: EmbeddedServer, log_in: Log, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.sessions.source.PROBE_EVERY", 0.0)
    options = DataSourceOptions(max_age=timedelta(0))  # a grant counts for new connections
    with contextlib.closing(DataSource(log_in()._endpoint, options)) as crm:
        assert crm.health(None).sees is Reach.OWN
        with server.connect() as admin, admin.cursor() as cursor:
            cursor.execute(f"{lines.process} TO {LOGIN}")
        until(lambda: crm.health(None).sees is Reach.ALL)


HOSTILE_NAMES = ("super", "x, SUPER, PROCESS ON *.* TO y", "a'b, SUPER ON *.* TO", "GRANT ALL ON *.* TO")


def test_no_name_is_taken_for_a_privilege(server: EmbeddedServer) -> None:
    role = "PROCESS ON *.* TO z"
    with server.connect() as admin, admin.cursor() as cursor:
        cursor.execute(f"DROP ROLE IF EXISTS `{role}`")
        cursor.execute(f"CREATE ROLE `{role}`")
        for name in HOSTILE_NAMES:
            cursor.execute(f"DROP USER IF EXISTS `{name}`")
            cursor.execute(f"CREATE USER `{name}` IDENTIFIED BY '{MARIA_PASSWORD}'")
            cursor.execute(f"GRANT `{role}` TO `{name}`")
            cursor.execute(f"GRANT SELECT ON `SUPER, PROCESS ON`.* TO `{name}`")
            endpoint = Endpoint("crm", server.host, server.port, name, SecretStr(MARIA_PASSWORD))
            with contextlib.closing(DataSource(endpoint, DataSourceOptions())) as crm:
                health = crm.health(None)
            assert (health.problem, health.sees, health.closes) == ("", Reach.OWN, Reach.OWN), name
            assert f"not active ({role})" in " ".join(health.caveats)
            cursor.execute(f"DROP USER `{name}`")
        cursor.execute(f"DROP ROLE `{role}`")


def test_super_closes_others_where_the_server_lets_it(server: EmbeddedServer, log_in: Log, logins: str) -> None:
    crm = log_in("GRANT PROCESS, SUPER ON *.*")
    with server.connect(user=logins, password=MARIA_PASSWORD) as client:
        (seen,) = crm.find(session_id(client), None)
        with crm.console() as console:
            if crm.health(None).closes is closes(server):
                console.kill(seen, Mode.SESSION)
                while console.find(seen.id):
                    pass
            else:
                with pytest.raises(NotSessionOwnerError, match="MariaDB CONNECTION ADMIN"):
                    console.kill(seen, Mode.SESSION)


# What the views of a cluster look like that the stand-in does without elsewhere.
MORE_VIEWS = """
CREATE TABLE oceanbase.`GV$OB_LOCKS` (TENANT_ID INT, TRANS_ID INT, SESSION_ID INT, TYPE VARCHAR(9), ID1 INT, ID2 INT,
  ID3 VARCHAR(64), CTIME INT, BLOCK INT);
CREATE TABLE oceanbase.`GV$OB_TRANSACTION_SCHEDULERS` (
  TENANT_ID INT, TX_ID INT, SESSION_ID INT, STATE VARCHAR(20), ACTIVE_TIME DATETIME);
CREATE TABLE oceanbase.`GV$OB_TRANSACTION_PARTICIPANTS` (
  TENANT_ID INT, TX_ID INT, PENDING_LOG_SIZE INT, FLUSHED_LOG_SIZE INT);
CREATE TABLE oceanbase.CDB_OBJECTS (
  CON_ID INT, OWNER VARCHAR(64), OBJECT_NAME VARCHAR(64), OBJECT_TYPE VARCHAR(32), DATA_OBJECT_ID INT);
CREATE TABLE oceanbase.`GV$SESSION_LONGOPS` (TRACE_ID VARCHAR(64), MESSAGE TEXT);
CREATE TABLE oceanbase.__all_detect_lock_info_v2 (OBJ_TYPE INT, OBJ_ID INT, OWNER_ID INT);
CREATE TABLE oceanbase.`__all_virtual_processlist` (ID INT, TRACE_ID VARCHAR(64), PLAN_ID INT);
CREATE TABLE oceanbase.CDB_OB_DEADLOCK_EVENT_HISTORY (TENANT_ID INT, EVENT_ID INT, REPORT_TIME DATETIME(6),
  CYCLE_IDX INT, CYCLE_SIZE INT, ROLE VARCHAR(20), VISITOR VARCHAR(64), OBJECT VARCHAR(64), EXTRA_VALUE1 TEXT);
INSERT INTO oceanbase.CDB_OB_DEADLOCK_EVENT_HISTORY VALUES
  (1002, 7, UTC_TIMESTAMP(), 1, 2, 'victim', '{txid:5}', '', NULL),
  (1002, 7, UTC_TIMESTAMP(), 2, 2, 'witness', '{txid:6}', '', NULL)"""
# What the stand-in itself is made of, and what MariaDB asks for in place of being in the tenant sys.
ITS_OWN = (
    "GRANT PROCESS, CONNECTION ADMIN ON *.*",
    "GRANT SELECT ON oceanbase.real_sessions",
    "GRANT SELECT ON oceanbase.extra_sessions",
    "GRANT SELECT ON oceanbase.placement",
)
OF_A_CLUSTER = grants("OceanBase: a cluster")
OF_WAITS = ("oceanbase.CDB_OBJECTS", "oceanbase.GV$SESSION_LONGOPS", "oceanbase.__all_detect_lock_info_v2")


@pytest.fixture(scope="module")
def standing(mariadb: EmbeddedMariaDB) -> Iterator[Cluster]:
    """Give a cluster with every view."""
    with Cluster(mariadb) as cluster:
        cluster.run(*MORE_VIEWS.split(";\n"))
        yield cluster


@pytest.fixture
def cluster(standing: Cluster) -> Iterator[Cluster]:
    """Give that cluster, whose bot has no grant yet."""
    standing.run(f"REVOKE ALL PRIVILEGES, GRANT OPTION FROM '{BOT}'@'%'")
    yield standing
    standing.tidy()


@pytest.fixture
def prod(cluster: Cluster) -> Iterator[Log]:
    """Log in as the bot, which is given this first."""
    database = cluster.database
    with contextlib.ExitStack() as opened:

        def make(*given: str, user: str = BOT) -> DataSource:
            for grant in given:
                cluster.run(f"{grant} TO '{user}'@'%'")
            endpoint = Endpoint("prod", database.host, database.port, user, SecretStr(APP_PASSWORD))
            return opened.enter_context(contextlib.closing(DataSource(endpoint, DataSourceOptions())))

        yield make


def test_with_all_of_them_a_whole_cluster_has_no_caveat(cluster: Cluster, prod: Log) -> None:
    source = prod(*ITS_OWN, *OF_A_CLUSTER)
    client = cluster.connect("app@shop", server="10.0.0.7", port=2881)
    (seen,) = source.find(session_id(client), None)
    assert (seen.tenant, seen.server) == ("shop", "10.0.0.7:2881")
    assert source.page(SessionQuery(), None).caveats == ()
    able = source.abilities()
    assert (able.lacks, able.closing_lacks) == ((), "")
    assert [event.tenant for event in source.deadlocks(timedelta(days=1), None).events] == ["shop"]
    assert source.variables("ob_query_timeout", None, everywhere=True, tenant="shop").matching == 1
    cluster.run("INSERT INTO oceanbase.DBA_OB_SERVERS VALUES ('10.0.0.2', 2882, 2, 'z2', 2881, 'INACTIVE')")
    (away,) = prod().page(SessionQuery(), None).caveats
    assert "10.0.0.2:2881 is INACTIVE" in away


# Without the first it takes the stand-in for what it is, a MariaDB; the kernels' tests have that one.
@pytest.mark.parametrize("missing", OF_A_CLUSTER[1:], ids=lambda grant: grant.rpartition(".")[2])
def test_without_one_of_them_it_says_what_is_missing(cluster: Cluster, prod: Log, missing: str) -> None:
    source = prod(*ITS_OWN, *(grant for grant in OF_A_CLUSTER if grant != missing))
    view = missing.rpartition(" ")[2]
    (lack,) = source.abilities().lacks
    assert lack.startswith(f"The bot's login may not read {view}, so ")
    assert lack.endswith("(GRANT SELECT ON it).")
    assert lack in source.description(), "session-bot check says it, too"
    if view == "oceanbase.DBA_OB_TENANTS":
        with pytest.raises(PrivilegeMissingError, match="DBA_OB_TENANTS"):
            source.deadlocks(timedelta(days=1), None)
        with pytest.raises(PrivilegeMissingError, match="so those of tenant shop are not shown"):
            source.variables("", None, everywhere=True, tenant="shop")
    elif view == "oceanbase.CDB_OB_SYS_VARIABLES":
        with pytest.raises(PrivilegeMissingError, match="so those of tenant shop are not shown"):
            source.variables("", None, everywhere=True, tenant="shop")
        assert source.variables("", None, everywhere=True, tenant="sys").matching, "its own it may read"
    elif view == "oceanbase.CDB_OB_DEADLOCK_EVENT_HISTORY":
        with pytest.raises(InputError, match="keeps no history of deadlocks that its login can read"):
            source.deadlocks(timedelta(days=1), None)
    elif view == "oceanbase.GV$OB_TRANSACTION_PARTICIPANTS":
        assert source.transactions(None).caveats == (lack,)
    elif view in OF_WAITS:
        assert source.waits().lacks == (lack,)
    else:
        assert source.page(SessionQuery(), None).caveats == (lack,)


def test_a_login_of_one_tenant_is_told_what_each_of_its_grants_is_for(cluster: Cluster, prod: Log) -> None:
    seeing, closing, reading = grants("OceanBase: one tenant")
    cluster.user("boss@shop")  # who may read that database from the start
    assert reading == "GRANT SELECT ON oceanbase.*"
    health = prod(user="boss@shop").health(None)
    assert (health.sees, health.closes) == (Reach.OWN, Reach.OWN)
    assert "To see all of tenant shop: GRANT PROCESS ON *.* TO it." in " ".join(health.caveats)
    health = prod(seeing, user="boss@shop").health(None)
    assert (health.sees, health.closes) == (Reach.TENANT, Reach.OWN)
    assert "GRANT SUPER ON *.* TO it" in prod(user="boss@shop").abilities().closing_lacks
    health = prod(closing, user="boss@shop").health(None)
    assert (health.sees, health.closes) == (Reach.TENANT, Reach.TENANT)
