"""A KILL reaches what was looked at and nobody else: twins, proxies, clients, silent servers."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import pymysql
import pytest

from bot.closing.model import Outcome
from bot.closing.reconnection import sessions_alike
from bot.closing.verification import verify
from bot.errors import ConnectionLostError, DataSourceError, DataSourceTimeoutError, NotSessionOwnerError, TargetError
from bot.sessions import kill
from bot.sessions.console import Console, Look
from bot.sessions.database import Connection
from bot.sessions.details import Reach
from bot.sessions.kill import Answer, NotSent, Sent, Why
from bot.sessions.model import Condition, Field, Mode, Operator, Pin, Session, SessionFilter, SessionQuery
from bot.sessions.source import DataSource
from bot.sessions.statistics import Grouping
from bot.slack.session_reference import SessionReference
from sandbox.databases.embedded import EmbeddedServer
from tests.conftest import leave_out
from tests.sessions.conftest import Make, until
from tests.sessions.examples import EXAMPLE, MARIA_PASSWORD
from tests.support.cluster import BOT, Cluster
from tests.support.odp import Odp
from tests.support.sessions import like
from tests.support.stage import RunningStatement, session_id


def allowed(_session: Session) -> None:
    """Nothing is protected here."""


def never() -> bool:
    return False


def close(console: Console, session: Session, mode: Mode = Mode.SESSION) -> Sent | NotSent:
    return kill.close(console, kill.Order(Pin.of(session), mode, allowed, never))


def kills(console: Console, session: Session, mode: Mode = Mode.SESSION) -> Sent:
    """Close it; a KILL was sent."""
    sent = close(console, session, mode)
    assert isinstance(sent, Sent)
    return sent


def spares(console: Console, session: Session, mode: Mode = Mode.SESSION) -> NotSent:
    """Try to close it; no KILL was sent."""
    left = close(console, session, mode)
    assert isinstance(left, NotSent)
    return left


def of(console: Console, number: int, tenant: str) -> Session:
    return next(one for one in console.find(number) if one.tenant == tenant)


def is_gone(console: Console, session: Session) -> bool:
    """Whether its server was seen serving without it."""
    look = console.look(Pin.of(session))
    return look.session is None and not look.unseen


def alive(victim: pymysql.Connection[Any]) -> bool:
    try:
        victim.ping(reconnect=False)
    except pymysql.Error:
        return False
    return True


def gone(victim: pymysql.Connection[Any]) -> None:
    """Wait for the end of a session: MariaDB ends a closed one when its thread has noticed."""
    until(lambda: not alive(victim))


@contextmanager
def nobody_there() -> Iterator[int]:
    """Give a port on which nobody answers."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield unused.getsockname()[1]


def test_a_twin_on_the_bots_own_server_is_not_closed_instead_of_the_one_that_was_confirmed(
    cluster: Cluster, cluster_source: Make
) -> None:
    bystander = cluster.connect("report@billing")
    number = session_id(bystander)
    with nobody_there() as port, cluster_source().console() as console:
        cluster.dress_up(ID=number, SVR_IP="127.0.0.1", SQL_PORT=port)
        sent = spares(console, of(console, number, "shop"))
        assert sent.why is Why.OUT_OF_REACH
        assert "Other servers may have a session with this id" in sent.said
        assert "billing" not in sent.said
        assert "report" not in sent.said
    assert alive(bystander)


def test_of_several_one_that_has_ended_keeps_no_other_waiting_where_each_answer_takes_long(
    cluster: Cluster, cluster_source: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim, leaver = cluster.connect("app@shop"), cluster.connect("app@shop")
    rows = Connection.rows
    monkeypatch.setattr(kill, "FRESH", 0.4)  # of which a busy machine takes the smaller part

    def far(connection: Connection, *asked: Any) -> Any:
        time.sleep(kill.FRESH * 0.6)
        return rows(connection, *asked)

    with cluster_source().console() as console:
        pins = [Pin.of(of(console, session_id(one), "shop")) for one in (victim, leaver)]
        leaver.close()
        until(lambda: not console.find(pins[1].id))
        assert console.own_server is not None
        orders = {number: kill.Order(pin, Mode.SESSION, allowed, never) for number, pin in enumerate(pins)}
        looks = kill.Looks(console, orders)
        monkeypatch.setattr(Connection, "rows", far)
        sent = kill.close(console, orders[0], partial(looks.at, 0))
        assert isinstance(sent, Sent), sent
        assert sent.answer is Answer.OK
        left = kill.close(console, orders[1], partial(looks.at, 1))
        assert isinstance(left, NotSent)
        assert left.why is Why.GONE
    gone(victim)


def test_a_twin_is_seen_also_where_the_data_source_is_narrowed_to_one_tenant(
    cluster: Cluster, cluster_source: Make
) -> None:
    bystander = cluster.connect("report@billing")
    number = session_id(bystander)
    with nobody_there() as port, cluster_source(tenants=frozenset({"shop"})).console() as console:
        cluster.dress_up(ID=number, SVR_IP="127.0.0.1", SQL_PORT=port)
        (session,) = console.find(number)
        assert spares(console, session).why is Why.OUT_OF_REACH
    assert alive(bystander)


def test_the_one_on_the_bots_own_server_is_closed_although_another_server_has_its_id(
    cluster: Cluster, cluster_source: Make
) -> None:
    victim = cluster.connect("app@shop")
    number = session_id(victim)
    cluster.dress_up(ID=number, TENANT="billing")
    with cluster_source().console() as console:
        assert kills(console, of(console, number, "shop")).answer is Answer.OK
    gone(victim)


def test_a_twin_is_closed_on_its_own_server_where_that_can_be_asked(cluster: Cluster, cluster_source: Make) -> None:
    """The bot speaks to the cluster through a proxy, which sends each statement where it likes."""
    victim = cluster.connect("app@shop")
    number = session_id(victim)
    cluster.dress_up(ID=number, TENANT="billing")
    with Odp(cluster.database.host, cluster.database.port, errno=None) as proxy:
        with cluster_source(port=proxy.port).console() as console:
            assert console.own_server is None
            assert kills(console, of(console, number, "shop")).answer is Answer.OK
        assert proxy.kills == [], "the KILL did not go through the proxy"
    gone(victim)


def test_what_answers_at_a_servers_address_must_be_that_server(cluster: Cluster, cluster_source: Make) -> None:
    """At the address of the twin's server there is a proxy to the bot's own server, where somebody else has the id."""
    bystander = cluster.connect("report@billing")
    number = session_id(bystander)
    with Odp(cluster.database.host, cluster.database.port, errno=None, address="127.0.0.9") as impostor:
        cluster.dress_up(ID=number, SVR_IP="127.0.0.9", SQL_PORT=impostor.port)
        with cluster_source().console() as console:
            sent = spares(console, of(console, number, "shop"))
            assert f"The server that answers at 127.0.0.9:{impostor.port} is a proxy." in sent.said
    assert alive(bystander)


def test_a_login_that_may_close_what_it_does_not_see_closes_on_the_sessions_own_server_alone(
    cluster: Cluster, cluster_source: Make
) -> None:
    bystander = cluster.connect("boss@billing")
    number = session_id(bystander)
    with nobody_there() as port, cluster_source().console() as console:
        cluster.place(number, server="127.0.0.1", port=port)
        console.dialect = replace(console.dialect, sees=Reach.OWN, closes=Reach.TENANT)
        assert spares(console, console.find(number)[0]).why is Why.OUT_OF_REACH
    assert alive(bystander)


def test_through_a_proxy_nothing_is_closed_by_its_id_while_a_server_is_silent_that_may_have_it_too(
    cluster: Cluster, cluster_source: Make
) -> None:
    victim = cluster.connect("app@shop")
    cluster.serves("10.0.0.2", status="INACTIVE")
    with Odp(cluster.database.host, cluster.database.port, errno=None) as proxy:
        cluster.place(session_id(victim), server="127.0.0.1", port=proxy.port)
        with cluster_source(port=proxy.port).console() as console:
            assert spares(console, console.find(session_id(victim))[0]).why is Why.OUT_OF_REACH
    assert alive(victim)


@pytest.mark.parametrize("errno", [1094, 4016])
def test_what_a_proxy_does_not_reach_is_closed_on_its_own_server(
    cluster: Cluster, cluster_source: Make, errno: int
) -> None:
    victim = cluster.connect("app@shop")
    number = session_id(victim)
    with Odp(cluster.database.host, cluster.database.port, errno) as odp:
        with cluster_source(port=odp.port).console() as console:
            assert kills(console, console.find(number)[0]).answer is Answer.OK
        assert odp.kills == [b"KILL %d" % number]
    gone(victim)


def test_of_a_query_beyond_the_proxy_only_the_run_that_was_looked_at_is_closed(
    cluster: Cluster, cluster_source: Make
) -> None:
    client = cluster.connect("app@shop")
    with Odp(cluster.database.host, cluster.database.port) as odp, cluster_source(port=odp.port).console() as console:
        first = RunningStatement(client, "SELECT SLEEP(60)")
        until(lambda: console.find(first.id)[0].running)
        seen = console.find(first.id)[0]
        kills(console, seen, Mode.QUERY)
        assert first.ended() == 1317
        again = RunningStatement(client, "SELECT SLEEP(60)")
        until(lambda: console.find(first.id)[0].running)
        assert spares(console, seen, Mode.QUERY).why is Why.ANOTHER_REQUEST
        assert again.is_alive()
        close(console, console.find(first.id)[0], Mode.QUERY)
        assert again.ended() == 1317


def test_a_kill_that_a_proxy_kept_is_told_as_sent_though_the_session_ended_before_the_next(
    cluster: Cluster, cluster_source: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = cluster.connect("app@shop")
    number = session_id(victim)
    on = Console.on

    @contextmanager
    def ends_meanwhile(self: Console, server: str | None) -> Iterator[Console]:
        with on(self, server) as direct:
            cluster.run(f"KILL {number}")
            gone(victim)
            yield direct

    monkeypatch.setattr(Console, "on", ends_meanwhile)
    with Odp(cluster.database.host, cluster.database.port) as odp, cluster_source(port=odp.port).console() as console:
        sent = close(console, console.find(number)[0])
        assert odp.kills == [b"KILL %d" % number]
        assert isinstance(sent, Sent)
        assert sent.answer is Answer.UNKNOWN


def test_a_client_that_goes_on_on_another_server_has_not_come_back(cluster: Cluster, cluster_source: Make) -> None:
    def row(number: int, server: str) -> None:
        cluster.dress_up(ID=number, PROXY_SESSID=number + 900, COMMAND="Query", STATE="ACTIVE", SVR_IP=server)

    row(77, "10.0.0.8")
    row(78, "10.0.0.8")
    with cluster_source().console() as console:
        (victim,) = console.find(77)
        known = sessions_alike(console, victim)
        assert known is not None
        cluster.run("DELETE FROM oceanbase.extra_sessions WHERE ID = 77")
        row(78, "10.0.0.9")
        now = sessions_alike(console, victim)
        assert now is not None
        assert now < known


def test_a_server_that_cannot_be_asked_is_told_and_nothing_is_closed(cluster: Cluster, cluster_source: Make) -> None:
    with nobody_there() as port, Odp(cluster.database.host, cluster.database.port) as odp:
        victim = cluster.connect("app@shop", server="127.0.0.1", port=port)
        with cluster_source(port=odp.port).console() as console:
            sent = kills(console, console.find(session_id(victim))[0])
            assert sent.answer is Answer.OUT_OF_REACH
            assert "its own server could not be asked" in sent.said
        assert alive(victim)


def test_a_server_of_ipv6_is_reached_by_its_address(cluster: Cluster, cluster_source: Make) -> None:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        leave_out("this machine has no IPv6")
    # The MariaDB listens on IPv4 alone: another stand-in, which keeps nothing back, carries IPv6 to it. So what
    # answers there is a proxy, and that is said.
    with (
        Odp(cluster.database.host, cluster.database.port) as odp,
        Odp(cluster.database.host, cluster.database.port, errno=None, address="::1") as server,
        cluster_source(port=odp.port).console() as console,
    ):
        victim = cluster.connect("app@shop", server="::1", port=server.port)
        (session,) = console.find(session_id(victim))
        assert session.server == f"[::1]:{server.port}"
        sent = close(console, session)
        assert f"The server that answers at [::1]:{server.port} is a proxy" in sent.said


# Client session ids: made by a proxy, so that bit 31 is clear (docs/oceanbase.md 4.1). The stand-in's are all small.
PROXY = "10.9.0.1:33060"


def test_one_client_behind_a_proxy_is_one_session_with_all_its_servers(cluster: Cluster, cluster_source: Make) -> None:
    victim = cluster.connect("app@shop", proxy=PROXY, client="10.0.3.9")
    number = session_id(victim)
    cluster.place(number, server="10.0.0.2", port=2881, proxy="10.9.0.1:33099", client="10.0.3.9")
    cluster.serves("10.0.0.2")
    prod = cluster_source()
    (session,) = prod.find(number, None)
    here = f"127.0.0.1:{cluster.database.port}"
    assert set(session.servers) == {here, "10.0.0.2:2881"}
    with prod.console() as console:
        assert kills(console, session).answer is Answer.OK
    gone(victim)


def test_an_id_that_two_proxies_have_given_out_closes_neither_client(cluster: Cluster, cluster_source: Make) -> None:
    victim = cluster.connect("app@shop", proxy=PROXY, client="10.0.3.9")
    number = session_id(victim)
    cluster.dress_up(ID=number, TENANT="billing", USER="report", PROXY_SESSID=77, SVR_IP="10.0.0.2")
    cluster.serves("10.0.0.2")
    with cluster_source(tenants=frozenset({"shop"})).console() as console:
        sent = spares(console, console.find(number)[0])
        assert "Two OBProxies have given this id to different clients" in sent.said
        assert "billing" not in sent.said
    assert alive(victim)


def test_a_clients_id_is_not_closed_while_a_server_does_not_answer(cluster: Cluster, cluster_source: Make) -> None:
    victim = cluster.connect("app@shop", proxy=PROXY, client="10.0.3.9")
    cluster.serves("10.0.0.2", status="INACTIVE")
    with cluster_source().console() as console:
        sent = spares(console, console.find(session_id(victim))[0])
        assert "Server 10.0.0.2:2881 does not answer" in sent.said
    assert alive(victim)


def test_a_clients_id_is_not_closed_by_a_login_of_one_tenant(cluster: Cluster, cluster_source: Make) -> None:
    cluster.user("boss@shop", "PROCESS", "CONNECTION ADMIN")
    victim = cluster.connect("app@shop", proxy=PROXY, client="10.0.3.9")
    with cluster_source("boss@shop").console() as console:
        sent = spares(console, console.find(session_id(victim))[0])
        assert "does not see every tenant" in sent.said
    assert alive(victim)


def test_a_clients_id_is_closed_by_a_login_that_sees_all_with_all_servers_answering(
    cluster: Cluster, cluster_source: Make
) -> None:
    victim = cluster.connect("app@shop", proxy=PROXY, client="10.0.3.9")
    with cluster_source().console() as console:
        kills(console, console.find(session_id(victim))[0])
    gone(victim)


# Gone, or only not to be seen.


def test_a_session_of_a_server_that_does_not_answer_is_not_called_gone(cluster: Cluster, cluster_source: Make) -> None:
    cluster.dress_up(ID=3221500001)
    cluster.serves("10.0.0.9")
    with cluster_source().console() as console:
        session = console.find(3221500001)[0]
        cluster.run("DELETE FROM oceanbase.extra_sessions", "UPDATE oceanbase.DBA_OB_SERVERS SET STATUS = 'INACTIVE'")
        look = console.look(Pin.of(session))
        assert look.session is None
        assert "Server 10.0.0.9:2881 did not answer, so its sessions may be missing from the list." in look.unseen
        assert spares(console, session).why is Why.UNSEEN
        cluster.run("UPDATE oceanbase.DBA_OB_SERVERS SET STATUS = 'ACTIVE'")
        assert is_gone(console, session)


def test_a_session_is_gone_where_another_session_of_its_server_is_listed(
    cluster: Cluster, cluster_source: Make
) -> None:
    cluster.dress_up(ID=3221500001)
    cluster.dress_up(ID=3221500002)
    with cluster_source().console() as console:
        session = console.find(3221500001)[0]
        cluster.run("DELETE FROM oceanbase.extra_sessions WHERE ID = 3221500001")
        assert is_gone(console, session)
        cluster.run("DELETE FROM oceanbase.extra_sessions")
        assert not is_gone(console, session), "nothing shows that its server still answers"


def test_a_server_that_comes_back_between_list_and_question_does_not_make_its_sessions_gone(
    cluster: Cluster, cluster_source: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.dress_up(ID=3221500001)
    cluster.serves("10.0.0.9")
    with cluster_source().console() as console:
        session = console.find(3221500001)[0]
        cluster.run("UPDATE oceanbase.extra_sessions SET ID = 5")  # the server does not answer
        serves = Console._serves

        def back(self: Console, server: str) -> bool:
            cluster.run("UPDATE oceanbase.extra_sessions SET ID = 3221500001")
            return serves(self, server)

        monkeypatch.setattr(Console, "_serves", back)
        assert console.look(Pin.of(session)).session is not None


def test_who_has_the_id_now_is_not_told_to_somebody_of_another_tenant(cluster: Cluster, cluster_source: Make) -> None:
    cluster.dress_up(ID=3221500001)
    with cluster_source().console() as console:
        session = console.find(3221500001)[0]
        for tenant, why in (("shop", Why.TAKEN), ("billing", Why.GONE)):
            cluster.run("UPDATE oceanbase.extra_sessions SET USER = 'other', TENANT = %s", values=(tenant,))
            assert spares(console, session).why is why


# Back to back.


def test_several_are_looked_at_together_and_who_has_no_turn_in_time_is_looked_at_again_with_the_rest(
    cluster: Cluster, cluster_source: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    victims = [cluster.connect("app@shop") for _ in range(3)]
    looked: list[int] = []
    looks = Console.looks

    def counting(self: Console, pins: list[Pin], **more: Any) -> list[Look]:
        looked.append(len(pins))
        return looks(self, pins, **more)

    monkeypatch.setattr(Console, "looks", counting)
    with cluster_source().console() as console:
        pins = [Pin.of(console.find(session_id(victim))[0]) for victim in victims]
        orders = {number: kill.Order(pin, Mode.SESSION, allowed, never) for number, pin in enumerate(pins)}
        monkeypatch.setattr(kill, "FRESH", 60.0)
        together = kill.Looks(console, orders)
        first = together.at(0)
        assert first.session is not None
        assert first.session.id == pins[0].id
        assert together.at(1).answered == first.answered, "it is the same look"
        assert looked == [3]
        monkeypatch.setattr(kill, "FRESH", 0.0)
        last = together.at(2)
        assert last.answered > first.answered
        assert looked == [3, 1]
        monkeypatch.setattr(kill, "FRESH", 60.0)
        assert together.at(2).answered > last.answered, "another one of the same session is a new one"
        for number, order in orders.items():
            sent = kill.close(console, order, partial(kill.Looks(console, orders).at, number))
            assert isinstance(sent, Sent)
    for victim in victims:
        gone(victim)


def test_of_several_those_that_are_gone_taken_and_out_of_sight_are_told_apart_by_one_look(
    cluster: Cluster, cluster_source: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, server in ((1, "10.0.0.9"), (2, "10.0.0.9"), (3, "10.0.0.8"), (4, "10.0.0.7")):
        cluster.dress_up(ID=3221500000 + number, SVR_IP=server)
    cluster.serves("10.0.0.9")
    with cluster_source().console() as console:
        pins = [Pin.of(console.find(3221500000 + number)[0]) for number in (1, 2, 3, 4)]
        cluster.run("UPDATE oceanbase.extra_sessions SET USER = 'other' WHERE ID = 3221500001")
        cluster.run("DELETE FROM oceanbase.extra_sessions WHERE ID IN (3221500002, 3221500003)")
        statements: list[str] = []
        rows = Connection.rows

        def counting(self: Connection, sql: str, *values: Any) -> list[tuple[Any, ...]]:
            statements.append(sql)
            return rows(self, sql, *values)

        monkeypatch.setattr(Connection, "rows", counting)
        taken, ended, silent, there = console.looks(pins)
        assert sum(sql.startswith("SELECT NULL, NULL, UNIX_TIMESTAMP") for sql in statements) == 2
    assert (taken.session, taken.unseen, len(taken.rows)) == (None, "", 1)
    assert (ended.session, ended.unseen, ended.rows) == (None, "", ())
    assert silent.unseen.startswith("Server 10.0.0.8:2881 did not answer")
    assert there.session == pins[3].session


def test_a_look_that_is_too_old_is_taken_again_and_after_some_nothing_is_sent(
    cluster: Cluster, cluster_source: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = cluster.connect("app@shop")
    looks: list[int] = []

    def slow_bot(_session: Session) -> None:
        looks.append(1)
        time.sleep(kill.FRESH * 1.2)  # stands for a machine that is busy with something else

    with cluster_source().console() as console:
        (session,) = console.find(session_id(victim))
        sent = kill.close(console, kill.Order(Pin.of(session), Mode.SESSION, slow_bot, never))
        assert isinstance(sent, NotSent)
        assert (sent.why, len(looks)) == (Why.LATE, kill.LOOKS)
        assert alive(victim)

        def slow_at_first(_session: Session) -> None:
            if len(looks) < 2 * kill.LOOKS - 1:
                slow_bot(_session)

        assert isinstance(kill.close(console, kill.Order(Pin.of(session), Mode.SESSION, slow_at_first, never)), Sent)
    gone(victim)


def test_a_slow_server_is_looked_at_three_times_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    looks, session, clock = list[float](), replace(EXAMPLE, server="127.0.0.1:2881"), [100.0]
    dialect = SimpleNamespace(one_of_several=False, single=True)
    console: Any = SimpleNamespace(dialect=dialect, recent=lambda _look: False)

    def look() -> Look:
        clock[0] += 1.5  # as a list of thousands of sessions takes
        looks.append(clock[0])
        return Look((session,), session, "", clock[0] - 1.5, clock[0], 0.0)

    monkeypatch.setattr(kill, "since_boot", lambda: clock[0])
    sent = kill.close(console, kill.Order(Pin.of(session), Mode.SESSION, allowed, never), look)
    assert isinstance(sent, NotSent)
    assert (sent.why, len(looks)) == (Why.LATE, 3)
    assert "in 3 tries" in sent.said


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("late", ["on its way", "read late"], ids=["asked late", "answered late"])
def test_a_look_whose_answer_lay_around_justifies_no_kill_and_one_of_a_slow_server_does(
    cluster: Cluster, cluster_source: Make, monkeypatch: pytest.MonkeyPatch, mode: Mode, late: str
) -> None:
    """As after SIGSTOP, or behind a network that delays: what the server showed may have changed since."""
    report = RunningStatement(cluster.connect("app@shop"), "SELECT SLEEP(60)")
    rows = Connection.rows

    def slowly(self: Connection, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        looks = sql.startswith("SELECT NULL, NULL, UNIX_TIMESTAMP")
        if looks and late == "on its way":
            time.sleep(0.7)
        found = rows(self, sql, *values)
        if looks and late == "read late":
            time.sleep(0.7)
        return found

    with cluster_source().console() as console:
        until(lambda: any(one.running for one in console.find(report.id)))
        (session,) = console.find(report.id)
        monkeypatch.setattr(Connection, "rows", slowly)
        sent = kill.close(console, kill.Order(Pin.of(session), mode, allowed, never))
        if late == "read late":
            assert isinstance(sent, NotSent)
            assert sent.why is Why.LATE
            monkeypatch.undo()
            assert console.find(report.id)[0].running
            kill.close(console, kill.Order(Pin.of(session), mode, allowed, never))
        else:
            assert isinstance(sent, Sent)
    assert report.ended()


def test_once_its_time_is_over_a_press_sends_nothing(cluster: Cluster, cluster_source: Make) -> None:
    victim = cluster.connect("app@shop")
    with cluster_source().console() as console:
        (session,) = console.find(session_id(victim))
        sent = kill.close(console, kill.Order(Pin.of(session), Mode.SESSION, allowed, lambda: True))
        assert isinstance(sent, NotSent)
        assert sent.why is Why.LATE
    assert alive(victim)


def test_what_is_protected_by_then_is_not_closed(cluster: Cluster, cluster_source: Make) -> None:
    victim = cluster.connect("app@shop")

    def forbid(_session: Session) -> None:
        raise TargetError("It is protected.")

    with cluster_source().console() as console, pytest.raises(TargetError):
        kill.close(console, kill.Order(Pin.of(console.find(session_id(victim))[0]), Mode.SESSION, forbid, never))
    assert alive(victim)


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (NotSessionOwnerError("You are not owner of thread 5", errno=1095), Answer.REFUSED),
        (ConnectionLostError("broke", errno=2013), Answer.NONE),
        (DataSourceError("Kill Client Session failed", errno=4402), Answer.ERROR),
    ],
)
def test_what_a_server_answers_is_kept(
    cluster: Cluster, cluster_source: Make, monkeypatch: pytest.MonkeyPatch, error: DataSourceError, answer: Answer
) -> None:
    victim = cluster.connect("app@shop")

    def fails(*_: object) -> None:
        raise error

    source: DataSource = cluster_source()
    with source.console() as console:
        monkeypatch.setattr(Console, "kill", fails)
        sent = kills(console, console.find(session_id(victim))[0])
        assert (sent.answer, sent.said) == (answer, str(error))


def test_the_bots_own_server_is_known_on_a_direct_connection(cluster: Cluster, cluster_source: Make) -> None:
    with cluster_source().console() as console:
        assert console.own_server == f"127.0.0.1:{cluster.database.port}"
    assert BOT.endswith("@sys")


def test_a_server_that_could_not_be_asked_is_asked_again_and_not_taken_for_a_proxy(
    cluster_source: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> list[Any]:
        raise DataSourceTimeoutError("Data source prod did not answer within 10 s.")

    with cluster_source().console() as console:
        with monkeypatch.context() as meanwhile:
            meanwhile.setattr(Connection, "rows", fails)
            with pytest.raises(DataSourceTimeoutError):
                _ = console.own_server
        assert console.own_server is not None


def test_a_list_shows_one_client_behind_a_proxy_once_and_counts_it_once(cluster: Cluster, cluster_source: Make) -> None:
    client = cluster.connect("app@shop", proxy=PROXY, client="10.0.3.9")
    number = session_id(client)
    cluster.place(number, server="10.0.0.2", port=2881, proxy="10.9.0.1:33099", client="10.0.3.9")
    other = cluster.connect("app@shop")
    here = f"127.0.0.1:{cluster.database.port}"
    prod = cluster_source()
    page = prod.page(SessionQuery(), None)
    assert sorted(one.id for one in page.sessions) == sorted([number, session_id(other)])
    assert (page.total, page.matching) == (2, 2)
    (listed,) = (one for one in page.sessions if one.id == number)
    assert set(listed.servers) == {here, "10.0.0.2:2881"}
    assert listed.observer == ", ".join(listed.servers)
    for server in (here, "10.0.0.2"):
        found = Condition(Field.SERVER, Operator.CONTAINS, (server,))
        narrowed = prod.page(SessionQuery(filter=SessionFilter((found,))), None)
        assert number in [one.id for one in narrowed.sessions]
        assert narrowed.matching == len(narrowed.sessions)
    counted = prod.statistics(SessionQuery(), Grouping.USER, None)
    assert (counted.total, [(one.name, one.total) for one in counted.groups]) == (2, [("app", 2)])
    pages = [prod.page(SessionQuery(limit=1, page=number), None) for number in (1, 2)]
    assert len({one.id for page in pages for one in page.sessions}) == 2


def test_a_client_that_was_picked_is_known_again_by_the_row_of_any_of_its_servers(
    cluster: Cluster, cluster_source: Make
) -> None:
    client = cluster.connect("app@shop", proxy=PROXY, client="10.0.3.9")
    number = session_id(client)
    prod = cluster_source()
    (one_row,) = prod.find(number, None)
    cluster.place(number, server="10.0.0.2", port=2881, proxy="10.9.0.1:33099", client="10.0.3.9")
    (both,) = prod.find(number, None)
    assert SessionReference.of(one_row).matches(both)
    assert SessionReference.of(both).matches(both)
    assert not SessionReference.of(one_row).matches(like(both, user="other"))


def test_a_session_that_was_picked_inside_a_routine_is_known_again_after_it(
    cluster: Cluster, cluster_source: Make
) -> None:
    client = cluster.connect("app@shop")
    (session,) = cluster_source().find(session_id(client), None)
    port = session.client.port
    inside = like(session, user="in a routine of owner", definer="owner", peer=f"%:{port}", origin=f"%:{port}")
    assert SessionReference.of(inside).matches(session)
    assert SessionReference.of(session).matches(inside)
    assert not SessionReference.of(inside).matches(like(session, peer="10.0.0.1:9"))
    assert not SessionReference.of(session).matches(like(session, user="other"))


def test_the_server_session_that_has_a_closed_clients_locks_is_named_and_closed_by_its_own_id(
    cluster: Cluster, cluster_source: Make
) -> None:
    """Some versions only mark a client's session: it is off the list, its transaction lives (docs/oceanbase.md 4.1)."""
    client = cluster.connect("app@shop", proxy=PROXY, client="10.0.3.9")
    number = session_id(client)
    cluster.run("UPDATE oceanbase.placement SET trans_id = 77")
    marked = cluster.connect("hidden@shop")
    cluster.holds(77, session_id(marked))
    with cluster_source().console() as console:
        (session,) = console.find(number)
        kills(console, session)
        gone(client)
        verdict = verify(console, {1: Sent(session, Answer.OK)}, Mode.SESSION)[1]
        assert verdict.outcome is Outcome.STILL_RUNNING
        assert "its locks stay until the client's next request" in verdict.detail
        holder = verdict.holder
        assert holder is not None
        assert (holder.id, holder.listed, holder.server) == (session_id(marked), False, session.server)
        assert console.find(holder.id) == []
        sent = kills(console, holder)
        gone(marked)
        until(lambda: verify(console, {1: Sent(sent.session, sent.answer)}, Mode.SESSION)[1].final)
        assert verify(console, {1: Sent(sent.session, sent.answer)}, Mode.SESSION)[1].outcome is Outcome.CLOSED


def test_a_server_session_is_not_offered_where_the_transaction_does_not_name_one(
    cluster: Cluster, cluster_source: Make
) -> None:
    client = cluster.connect("app@shop", proxy=PROXY, client="10.0.3.9")
    cluster.run("UPDATE oceanbase.placement SET trans_id = 78")
    marked = [cluster.connect("hidden@shop") for _ in range(2)]
    with cluster_source().console() as console:
        (session,) = console.find(session_id(client))
        assert console.server_session(session) is None
        cluster.holds(78, session_id(marked[0]), "10.0.0.77")
        assert console.server_session(session) is None, "it is on none of the client's servers"
        cluster.run("UPDATE oceanbase.transactions SET svr_ip = '127.0.0.1'")
        assert console.server_session(session) is not None
        cluster.holds(78, session_id(marked[1]))
        assert console.server_session(session) is None, "of two it is not known which"


# Inside a routine MariaDB numbers and shows the innermost statement, MySQL the client's call.


@pytest.fixture
def churn(server: EmbeddedServer, logins: str) -> str:
    """Give a login that may call a loop of short statements."""
    with server.connect(database="mysql_test") as admin, admin.cursor() as cursor:
        cursor.execute(
            "CREATE PROCEDURE churn() BEGIN DECLARE n INT DEFAULT 0; "
            "WHILE n < 100000 DO SET n = n + 1; SELECT SLEEP(0.02) INTO @slept FROM stock; END WHILE; END"
        )
        cursor.execute(f"GRANT EXECUTE ON mysql_test.* TO {logins}")
    return logins


def test_a_call_that_runs_one_short_statement_after_the_other_is_stopped(
    server: EmbeddedServer, crm_source: Make, churn: str
) -> None:
    with server.connect(user=churn, password=MARIA_PASSWORD, database="mysql_test") as client:
        call = RunningStatement(client, "CALL churn()")
        with crm_source().console() as console:
            until(lambda: console.find(call.id)[0].running and console.find(call.id)[0].time > 0.5)
            pinned = console.find(call.id)[0]
            until(lambda: not pinned.trace_id or console.find(call.id)[0].trace_id != pinned.trace_id)
            kills(console, pinned, Mode.QUERY)
        assert call.ended() in (1317, 1969)


def test_a_call_is_stopped_where_the_number_of_its_statement_has_just_gone_by(
    server: EmbeddedServer, crm_source: Make, churn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server.connect(user=churn, password=MARIA_PASSWORD, database="mysql_test") as client:
        call = RunningStatement(client, "CALL churn()")
        with crm_source().console() as console:
            until(lambda: console.find(call.id)[0].running and console.find(call.id)[0].time > 0.5)
            kill_ = Console.kill

            def late(self: Console, session: Session, mode: Mode, pinned: Session | None = None) -> None:
                until(lambda: not session.trace_id or console.find(call.id)[0].trace_id != session.trace_id)
                kill_(self, session, mode, pinned)

            monkeypatch.setattr(Console, "kill", late)  # the call goes on right between the look and the KILL
            kills(console, console.find(call.id)[0], Mode.QUERY)
        assert call.ended() in (1317, 1969)
