"""`check --exercise`: sessions of its own on real servers are listed, read and closed, and nobody else's."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bot.errors import PrivilegeMissingError, TargetError
from bot.operations import exercise as exercising
from bot.operations import facts
from bot.operations.exercise import Exercised, exercise
from bot.operations.facts import Fact
from bot.operations.reports import Verdict
from bot.sessions import trial_session
from bot.sessions.database import Connection
from bot.sessions.endpoint import Endpoint
from bot.sessions.protection import Protected
from bot.sessions.source import DataSource, DataSourceOptions
from bot.sessions.trial_session import Table, TrialSession
from sandbox.databases.embedded import EmbeddedServer
from sandbox.databases.mariadb import EmbeddedMariaDB
from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.support.cluster import BOT, Cluster
from tests.support.odp import Odp
from tests.support.servers import EmbeddedMySQL
from tests.support.slack_text import tells
from tests.support.stage import APP_PASSWORD, session_id

ROOT = Path(__file__).parents[2]
TABLE = Table.named("ops.trial")
FACTS = [
    fact
    for family in (facts.OCEANBASE, facts.MYSQL)
    for fact in (getattr(family, name) for name in facts.Facts.__slots__)
    if fact is not None
]


def login(database: EmbeddedServer) -> str:
    return "root@sys" if isinstance(database, EmbeddedOceanBase) else "root"


def source_of(
    database: EmbeddedServer, port: int = 0, user: str = "", password: str = "", protected: Protected | None = None
) -> DataSource:
    named = SecretStr(password or database.password)
    endpoint = Endpoint("prod", database.host, port or database.port, user or login(database), named)
    return DataSource(endpoint, DataSourceOptions(protected=protected or Protected()))


def with_table(database: EmbeddedServer) -> None:
    with database.connect() as admin, admin.cursor() as cursor:
        cursor.execute("CREATE DATABASE IF NOT EXISTS ops")
        cursor.execute("CREATE TABLE IF NOT EXISTS ops.trial (id INT PRIMARY KEY)")
        cursor.execute("REPLACE INTO ops.trial VALUES (1)")
        admin.commit()


def whole(found: Exercised) -> str:
    return "\n".join(exercising.lines([found], "1.0"))


def steps(found: Exercised, verdict: Verdict) -> list[tuple[str, str]]:
    return [(step.what, step.shown) for step in found.steps if step.verdict is verdict]


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a busy machine take its time: what is slower than a fact says differs from it."""

    def patient(fact: Fact | None) -> Fact | None:
        return replace(fact, within=60.0) if fact is not None and fact.within else fact

    for family in ("OCEANBASE", "MYSQL"):
        known: facts.Facts = getattr(facts, family)
        names = set(facts.Facts.__slots__) - {"time"}  # by how much a time is off
        slower: dict[str, Any] = {name: patient(getattr(known, name)) for name in names}
        monkeypatch.setattr(facts, family, replace(known, **slower))
    monkeypatch.setattr(exercising, "VERIFY_FOR", 60.0)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Callable[[], tuple[set[int], set[int]]]:
    """Give what tells which ids KILLs were sent for, and which sessions were opened to be closed."""
    statements: list[str] = []
    opened: set[int] = set()
    run, made = Connection._run, TrialSession.__init__

    def noted(self: Connection, sql: str, *more: Any) -> Any:
        statements.append(sql)
        return run(self, sql, *more)

    def noting(self: TrialSession, connection: Connection, itself: Any) -> None:
        opened.add(connection.id)
        made(self, connection, itself)

    monkeypatch.setattr(Connection, "_run", noted)
    monkeypatch.setattr(TrialSession, "__init__", noting)
    kill = re.compile(r"KILL (?:QUERY )?(\d+)$")
    return lambda: ({int(found[1]) for one in statements if (found := kill.match(one))}, opened)


Sent = Callable[[], tuple[set[int], set[int]]]


def test_on_each_kernel_its_own_sessions_are_listed_read_and_closed_and_no_others(
    database: EmbeddedOceanBase, sent: Sent
) -> None:
    with closing(source_of(database)) as source, database.connect() as other:
        found = exercise(source, None)
        other.ping(reconnect=False)
    assert steps(found, Verdict.LESS) == steps(found, Verdict.FAILS) == []
    others = ("close others' sessions", "its login may close those of everybody")
    assert steps(found, Verdict.UNTRIED) == [("lock a row", "no --table"), others]
    closed = [(step.what, step.shown.partition(",")[0]) for step in found.steps if step.what.startswith("close")]
    assert closed[:2] == [("close its query", "query closed"), ("close the session", "closed")]
    killed, opened = sent()
    assert killed == opened
    assert len(opened) == 1


@pytest.fixture(params=["oceanbase"], ids=["oceanbase-4.3.5"])
def kernel(request: pytest.FixtureRequest) -> EmbeddedOceanBase:
    """Give the kernel to tests that are named after it, so that they run where it does."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, EmbeddedOceanBase)
    return found


def test_through_a_proxy_that_keeps_kill_to_itself_each_way_is_tried(kernel: EmbeddedOceanBase) -> None:
    with Odp(kernel.host, kernel.port) as proxy, closing(source_of(kernel, proxy.port)) as source:
        found = exercise(source, None)
    ways = list(dict.fromkeys(step.way for step in found.steps))
    assert ways == ["as configured, through a proxy or NAT", "server 1 of 1, directly", "by its grants"]
    assert steps(found, Verdict.FAILS) == []
    for way in ways[:2]:
        assert ("close the session", "closed, past the proxy, the server answered OK") in [
            (step.what, step.shown) for step in found.steps if step.way == way
        ]


def test_a_server_of_the_cluster_that_the_bot_cannot_reach_is_told_and_the_others_are_tried(
    mariadb: EmbeddedMariaDB, sent: Sent
) -> None:
    with Cluster(mariadb) as cluster, cluster.database.connect() as other:
        cluster.serves("127.0.0.9", port=1)
        with closing(source_of(mariadb, user=BOT, password=APP_PASSWORD)) as source:
            found = exercise(source, None)
        other.ping(reconnect=False)
    assert [(step.way, step.what, step.shown) for step in found.steps if step.verdict is Verdict.FAILS] == [
        ("server 1 of 1, directly", "open a session", "it cannot be reached (2003)")
    ]
    assert ("close the session", "closed, the server answered OK") in steps(found, Verdict.WORKS)
    assert sent()[0] == sent()[1]
    assert "127.0.0.9" not in whole(found)


def test_on_the_kernel_a_lock_between_two_of_its_own_is_found_and_freed(kernel: EmbeddedOceanBase, sent: Sent) -> None:
    with_table(kernel)
    with closing(source_of(kernel)) as source:
        found = exercise(source, TABLE)
    assert steps(found, Verdict.LESS) == steps(found, Verdict.FAILS) == []
    assert [what for what, _ in steps(found, Verdict.UNTRIED)] == ["close others' sessions"]
    assert ("find who holds it", "named") in steps(found, Verdict.WORKS)
    assert ("whether the other goes on", "an answer") in steps(found, Verdict.WORKS)
    killed, opened = sent()
    assert killed == opened
    assert len(opened) == 2


@pytest.mark.parametrize("server", ["mariadb", "mariadb118", "mysql"])
def test_on_mariadb_and_mysql_the_same_goes_by_what_they_show(
    request: pytest.FixtureRequest, server: str, sent: Sent
) -> None:
    database: EmbeddedServer = request.getfixturevalue(server)
    with_table(database)
    with closing(source_of(database)) as source, database.connect() as other:
        found = exercise(source, TABLE)
        other.ping(reconnect=False)  # of the same login, whose sessions all count as the bot's own there
    assert steps(found, Verdict.LESS) == steps(found, Verdict.FAILS) == []
    assert ("list it", "left out, as one of the bot's own login") in steps(found, Verdict.WORKS)
    assert ("see what it waits for", "a row lock") in steps(found, Verdict.WORKS)
    killed, opened = sent()
    assert killed <= opened
    assert len(opened) == 2
    for word in (database.host, "root", "SLEEP(", "ops", "trial"):
        assert word not in whole(found).replace("SLEEP ends", "")
    assert not tells(whole(found), database.port)


def test_what_it_did_not_open_is_refused_whatever_its_id(mariadb: EmbeddedMariaDB) -> None:
    with closing(source_of(mariadb)) as source, mariadb.connect() as other:
        (way,) = source.ways()
        (theirs,) = source.find(session_id(other), None)
        trial = exercising._Exercise(source, way, "", facts.MYSQL, None, read_only=False)
        with source.trial_session(way) as own:
            own.run_marked()
            mine = trial._prove(own)
            trial._forbid(mine)
            with pytest.raises(TargetError, match="not opened by this check"):
                trial._forbid(theirs)
            assert not own.shows_mark(theirs)


def test_where_nothing_is_closed_it_closes_nothing_and_what_fails_is_told_without_names(
    mariadb: EmbeddedMariaDB, sent: Sent
) -> None:
    with closing(source_of(mariadb)) as source:
        found = exercise(source, TABLE, read_only=True)
    assert ("close", "read_only") in steps(found, Verdict.UNTRIED)
    assert steps(found, Verdict.FAILS) == []
    assert sent()[0] == set()
    with closing(source_of(mariadb, user="nobody", password="wrong")) as source:
        found = exercise(source, TABLE)
    assert steps(found, Verdict.FAILS) == [("open a session", "the login is refused (1045)")]
    assert not [word for word in (mariadb.host, "nobody") if word in whole(found)]


def test_a_table_that_the_login_may_not_lock_leaves_locks_out_and_the_rest_goes_on(mariadb: EmbeddedMariaDB) -> None:
    with_table(mariadb)
    with mariadb.connect() as admin, admin.cursor() as cursor:
        cursor.execute("CREATE OR REPLACE USER exercised IDENTIFIED BY 'exercised-secret'")
        cursor.execute("GRANT PROCESS ON *.* TO exercised")
        with closing(source_of(mariadb, user="exercised", password="exercised-secret")) as source:
            found = exercise(source, TABLE)
        cursor.execute("DROP USER exercised")
    assert steps(found, Verdict.FAILS) == []
    assert steps(found, Verdict.LESS) == [
        (
            "lock a row",
            "left out: the login lacks a privilege (1142); it wants SELECT and UPDATE on that table",
        ),
        ("close others' sessions", "its login may close only its own"),
    ]
    assert ("close the session", "closed, the server answered OK") in steps(found, Verdict.WORKS)


NOBODY_WAITS = ("wait for the row", "left out: nobody has to wait for it, so this table has no row locks")


@pytest.mark.parametrize(
    ("made", "left_out"),
    [
        ("TABLE ops.odd (id INT)", ("lock a row", "left out: the table has no row")),
        ("TABLE ops.odd (id INT) ENGINE=MyISAM", NOBODY_WAITS),
        # Who locks a row of it locks all that is counted.
        ("VIEW ops.odd AS SELECT COUNT(*) FROM ops.trial", ("lock a row", "left out: it is a view; name a table")),
    ],
    ids=["empty", "no-row-locks", "view"],
)
def test_a_table_in_which_no_row_can_be_waited_for_is_told_and_nothing_is_called_broken(
    mysql: EmbeddedMySQL, made: str, left_out: tuple[str, str]
) -> None:
    with_table(mysql)
    with mysql.connect() as admin, admin.cursor() as cursor:
        cursor.execute(f"CREATE {made}")
        if left_out is NOBODY_WAITS:
            cursor.execute("INSERT INTO ops.odd VALUES (1)")
        with closing(source_of(mysql)) as source:
            found = exercise(source, Table.named("ops.odd"))
        cursor.execute(f"DROP {made.partition(' ')[0]} ops.odd")
    assert steps(found, Verdict.FAILS) == []
    assert steps(found, Verdict.LESS) == [left_out]
    assert ("close the session", "closed, the server answered OK") in steps(found, Verdict.WORKS)


EACH = pytest.mark.parametrize("server", ["oceanbase", "mariadb", "mysql"], ids=["oceanbase-4.3.5", "mariadb", "mysql"])


@EACH
def test_a_row_that_somebody_else_has_locked_is_left_to_them(
    request: pytest.FixtureRequest, server: str, sent: Sent
) -> None:
    database: EmbeddedServer = request.getfixturevalue(server)
    with_table(database)
    with closing(source_of(database)) as source, database.connect() as other, other.cursor() as cursor:
        other.begin()
        cursor.execute(f"SELECT id FROM {TABLE.sql} FOR UPDATE")
        found = exercise(source, TABLE)
        other.ping(reconnect=False)
    assert steps(found, Verdict.FAILS) == steps(found, Verdict.LESS) == []
    assert ("lock a row", "somebody else has it locked") in steps(found, Verdict.UNTRIED)
    assert sent()[0] == sent()[1]


@EACH
def test_a_check_that_hangs_keeps_a_row_from_nobody_for_long(
    request: pytest.FixtureRequest, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_session, "HOLDS", 1)
    database: EmbeddedServer = request.getfixturevalue(server)
    with_table(database)
    with closing(source_of(database)) as source, source.trial_session(source.ways()[0]) as hanging:
        assert hanging.lock(TABLE)
        with database.connect() as other, other.cursor() as cursor:
            cursor.execute(f"SELECT id FROM {TABLE.sql} FOR UPDATE")  # it waits, and fails after 10 s or later


def test_a_login_whose_sessions_are_protected_is_left_alone_and_nothing_is_called_broken(
    mariadb: EmbeddedMariaDB, sent: Sent
) -> None:
    with closing(source_of(mariadb, protected=Protected(users=frozenset({"root"})))) as source:
        found = exercise(source, TABLE)
    assert steps(found, Verdict.FAILS) == []
    said = "protected by the settings, as all of the bot's login or address is"
    assert ("close", said) in steps(found, Verdict.UNTRIED)
    assert sent()[0] == set()


def test_beside_a_bot_that_has_all_the_connections_of_its_account_nothing_is_called_broken(
    mariadb: EmbeddedMariaDB,
) -> None:
    with mariadb.connect() as admin, admin.cursor() as cursor:
        cursor.execute("CREATE OR REPLACE USER exercised IDENTIFIED BY 'pw' WITH MAX_USER_CONNECTIONS 1")
        cursor.execute("GRANT PROCESS, CONNECTION ADMIN ON *.* TO exercised")
        with closing(source_of(mariadb, user="exercised", password="pw")) as source:
            found = exercise(source, None)
            with closing(source_of(mariadb, user="exercised", password="pw")) as second:
                again = exercise(second, None)
        cursor.execute("DROP USER exercised")
    limited = ("open a session", "the account has used up a limit of its own (1226)")
    for one in (found, again):
        assert steps(one, Verdict.FAILS) == []
        assert limited in steps(one, Verdict.UNTRIED)


def test_what_differs_from_a_fact_is_told_with_its_section() -> None:
    fact = Fact("2.2", "it takes 0.1 s", 1.0)
    step = exercising.Step("as configured", "close its query", Verdict.LESS, "query closed", 12.1, fact)
    said = whole(Exercised("prod", "OceanBase 4.2.5", (step,)))
    assert "differs (as configured, close its query) from 2.2: it takes 0.1 s" in said
    assert re.search(r"differs +close its query +query closed +12\.100 +2\.2", said)


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: f"{fact.place} {fact.says[:30]}")
def test_each_fact_has_its_place_in_the_document(fact: Fact) -> None:
    document = (ROOT / facts.DOCUMENT).read_text(encoding="utf-8")
    assert re.search(rf"^### {re.escape(fact.place)} ", document, re.MULTILINE)


def test_why_something_failed_is_told_without_the_words_of_the_server() -> None:
    error = PrivilegeMissingError("SELECT denied to 'bot'@'10.0.0.7'", errno=1142)
    assert exercising.why(error) == "the login lacks a privilege (1142)"


@pytest.mark.parametrize("text", ["trial", "a.b.c", "a.b`", "a.", "a.b%"])
def test_a_table_is_named_with_its_database_and_nothing_else(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        Table.named(text)
