"""What a cluster does not show is said: missing and empty views, servers that are away, logins that see little.

A kernel for tests has one server and every view; the stand-in cluster can lack some.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot.sessions import kill
from bot.sessions.details import Reach
from bot.sessions.model import Flag, Mode, Pin, SessionFilter, SessionQuery, WaitKind
from bot.sessions.statement import Disclosure
from bot.sessions.waits.advice import advise
from bot.sessions.waits.case import Case
from bot.slack.views.session_details import Waiting, session_details
from bot.slack.views.session_list import session_list
from sandbox.databases.mariadb import EmbeddedMariaDB
from sandbox.slack.server import SlackSandbox
from tests.sessions.conftest import Make
from tests.support.cluster import Cluster
from tests.support.running_bot import COMMANDS, RunningBot
from tests.support.slack_person import Person, table_of, text_of
from tests.support.stage import session_id

ONE_SERVER = "CREATE VIEW oceanbase.`V$OB_PROCESSLIST` AS SELECT * FROM oceanbase.real_sessions"


@pytest.fixture
def cluster(mariadb: EmbeddedMariaDB) -> Iterator[Cluster]:
    """Give a cluster for each test, since the views change."""
    with Cluster(mariadb) as cluster:
        yield cluster


def test_a_whole_cluster_has_no_caveat(cluster: Cluster, cluster_source: Make) -> None:
    prod = cluster_source()
    assert prod.page(SessionQuery(), None).caveats == ()
    assert prod.health(None).view == "oceanbase.GV$OB_PROCESSLIST"


def test_a_clients_id_is_not_closed_where_the_list_of_one_server_is_all_there_is(
    cluster: Cluster, cluster_source: Make
) -> None:
    client = cluster.connect("app@shop", proxy="10.9.0.1:33060", client="10.0.3.9")
    cluster.run("DROP VIEW oceanbase.`GV$OB_PROCESSLIST`", ONE_SERVER)
    with cluster_source().console() as console:
        here = f"'127.0.0.1:{cluster.database.port}'"  # as the functions say that the stand-in has not
        console.dialect = replace(console.dialect, own_address=here)
        (session,) = console.find(session_id(client))
        assert session.client_session
        sent = kill.close(console, kill.Order(Pin.of(session), Mode.SESSION, lambda _session: None, lambda: False))
        assert isinstance(sent, kill.NotSent)
        assert "may not see all servers and their sessions" in sent.said


LOCKS = "CREATE TABLE oceanbase.`GV$OB_LOCKS` (SESSION_ID INT, ID1 INT, ID2 INT, TRANS_ID INT, BLOCK INT, CTIME INT{})"


def test_who_holds_a_row_lock_is_promised_only_where_the_server_says_it(cluster: Cluster, cluster_source: Make) -> None:
    cluster.dress_up(ID=3221490000, COMMAND="Query", STATE="ACTIVE", RETRY_INFO=-6005, TRANS_ID=7, TOTAL_TIME=33)

    def said() -> str:
        return text_of(
            session_list(cluster_source().page(SessionQuery(), None), [], disclosure=Disclosure.DIGEST).payload()
        )

    assert "🔒 1 of these waits for a row lock, for 33 s" in said()
    assert "who holds it" not in said(), "no view of locks"
    cluster.run(LOCKS.format(""))
    assert "who holds it" not in said(), "of no form that is known"
    cluster.run("DROP TABLE oceanbase.`GV$OB_LOCKS`", LOCKS.format(", ID3 INT, TYPE CHAR(2)"))
    assert "for 33 s: Details says who holds it" in said()
    (waiter,) = cluster_source().find(3221490000, None)
    details, graph = cluster_source().details(waiter), cluster_source().waits()
    waiting = Waiting(graph, advise(Case.of(waiter, graph)))
    card = text_of(session_details(details, datetime.now(UTC), disclosure=Disclosure.DIGEST, waiting=waiting).payload())
    assert "who holds it could not be seen just now" in card, "nobody does any more: it is no word on the server"


def test_a_statement_that_has_got_its_row_and_goes_on_waits_no_more_whatever_the_server_keeps(
    cluster: Cluster, cluster_source: Make
) -> None:
    cluster.dress_up(ID=3221490000, COMMAND="Query", STATE="ACTIVE", RETRY_INFO=-6005, TIME=600, TOTAL_TIME=603)
    cluster.dress_up(ID=3221490001, COMMAND="Query", STATE="ACTIVE", RETRY_INFO=-6005, TIME=8, TOTAL_TIME=603)
    prod = cluster_source()
    assert [prod.find(number, None)[0].waits for number in (3221490000, 3221490001)] == [None, WaitKind.ROW_LOCK]
    page = prod.page(SessionQuery(filter=SessionFilter(flags=frozenset({Flag.WAITING}))), None)
    assert ([one.id for one in page.sessions], page.waiting) == ([3221490001], 1)


def test_a_missing_view_of_all_servers_leaves_one_server_and_that_is_said(
    cluster: Cluster, cluster_source: Make
) -> None:
    cluster.run("DROP VIEW oceanbase.`GV$OB_PROCESSLIST`", ONE_SERVER)
    (caveat,) = cluster_source().page(SessionQuery(), None).caveats
    assert "Only the sessions of one server are listed" in caveat
    assert "there is no oceanbase.GV$OB_PROCESSLIST" in caveat


def test_an_empty_view_of_all_servers_is_known_for_what_it_is(cluster: Cluster, cluster_source: Make) -> None:
    empty = "CREATE OR REPLACE VIEW oceanbase.`GV$OB_PROCESSLIST` AS SELECT * FROM oceanbase.real_sessions WHERE FALSE"
    cluster.run(empty, ONE_SERVER)
    cluster.connect("app@shop")
    page = cluster_source().page(SessionQuery(), None)
    assert [one.client.user for one in page.sessions] == ["app"]
    assert "oceanbase.GV$OB_PROCESSLIST is empty" in page.caveats[0]


def test_a_server_that_does_not_serve_is_named_until_it_is_back_and_not_asked_about_each_time(
    cluster: Cluster, cluster_source: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = "oceanbase.DBA_OB_SERVERS"
    cluster.run(f"INSERT INTO {servers} VALUES ('10.0.0.2', 2882, 2, 'z2', 2881, 'INACTIVE')")
    prod = cluster_source()
    said = ("Server 10.0.0.2:2881 is INACTIVE: its sessions may be missing here.",)
    assert prod.page(SessionQuery(), None).caveats == said
    cluster.run(f"UPDATE {servers} SET STATUS = 'ACTIVE'")
    assert prod.page(SessionQuery(), None).caveats == said
    monkeypatch.setattr("bot.sessions.source.SERVERS_EVERY", 0.0)
    assert prod.page(SessionQuery(), None).caveats == ()
    cluster.run(f"RENAME TABLE {servers} TO oceanbase.away")
    try:
        assert prod.page(SessionQuery(), None).caveats == (), "a list without it is better than none"
    finally:
        cluster.run(f"RENAME TABLE oceanbase.away TO {servers}")


@pytest.mark.parametrize(
    ("user", "privileges", "sees", "closes", "caveat"),
    [
        ("dba@sys", [], Reach.ALL, Reach.ALL, ""),
        ("boss@shop", ["PROCESS"], Reach.TENANT, Reach.OWN, "login boss@shop sees only the sessions of tenant shop."),
        ("boss@shop", ["PROCESS", "SUPER"], Reach.TENANT, Reach.TENANT, "sees only the sessions of tenant shop."),
        ("boss@shop", ["ALL PRIVILEGES"], Reach.TENANT, Reach.TENANT, "sees only the sessions of tenant shop."),
        ("app@shop", ["SUPER"], Reach.OWN, Reach.TENANT, "login app@shop sees only its own sessions. To see all of"),
        ("app@shop", [], Reach.OWN, Reach.OWN, "sees only its own sessions. To see all of tenant shop: GRANT PROCESS"),
    ],
)
def test_what_a_login_sees_and_may_close_follows_from_its_tenant_and_grants(
    cluster: Cluster, cluster_source: Make, user: str, privileges: list[str], sees: Reach, closes: Reach, caveat: str
) -> None:
    cluster.user(user, *privileges)
    health = cluster_source(user).health(None)
    assert (health.problem, health.sees, health.closes, health.tenant) == ("", sees, closes, user.partition("@")[2])
    assert len(health.caveats) == bool(caveat)
    assert caveat in " ".join(health.caveats)


def test_several_sessions_with_one_id_are_told_apart_by_their_servers(cluster: Cluster, tmp_path: Path) -> None:
    client = cluster.connect("app@shop", server="10.0.0.1", port=2881)
    number = session_id(client)
    cluster.place(number, server="10.0.0.2", port=2881)
    cluster.user("root@sys", "PROCESS")
    cluster.run(f"ALTER USER 'root@sys'@'%' IDENTIFIED BY '{cluster.database.password}'")
    with SlackSandbox(commands=COMMANDS) as slack, RunningBot(slack, cluster.database, tmp_path):
        alice = Person(slack, "U01ALICE")
        alice.types(f"/sessions show {number}")
        asked = text_of(alice.wait_for_message(f"2 sessions have the id {number}"))
        for address in ("10.0.0.1:2881", "10.0.0.2:2881"):
            assert f"/sessions show {number}@{address} on=demo" in asked
        alice.types(f"/sessions show {number}@10.0.0.2")
        assert "observer 10.0.0.2:2881" in text_of(alice.wait_for_message(f"Session {number} on demo"))
        alice.types("/sessions sources")
        rows = table_of(alice.wait_for_message("Data sources"))
        assert rows[1][7:] == ["all tenants", "all tenants"]
