"""Who the bot is logged in as, by whatever name an OBProxy takes, on the kernels and on the stand-in cluster."""

from __future__ import annotations

import pytest

from bot.errors import LoginRefusedError
from bot.sessions import kill
from bot.sessions.kill import Answer, Order, Sent
from bot.sessions.login import Login
from bot.sessions.model import Mode, Pin, SessionQuery
from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.sessions.conftest import Make
from tests.support.cluster import Cluster
from tests.support.odp import Odp
from tests.support.stage import session_id

FORMS = ("{0}@sys", "{0}@sys#main", "{0}@sys#main:3", "main:sys:{0}", "main:sys:{0}:3", "main-sys-{0}", "main.sys.{0}")


@pytest.mark.parametrize(
    ("name", "login"),
    [(form.format("bot"), Login("bot", "sys")) for form in FORMS]
    + [
        ("bot", Login("bot")),
        ("bot#main", Login("bot")),
        ("bot@", Login("bot")),
        ("main:bot", Login("main:bot")),  # two parts are no form of a proxy's
        ("session-bot", Login("session-bot")),
        ("a-b:c", Login("a-b:c")),
        ("main:my-shop:read-only", Login("read-only", "my-shop")),
        ("bot-2@my.shop#a:b:c", Login("bot-2", "my.shop")),
        ("main::bot", Login("bot")),
        ("::bot", Login("bot")),
    ],
)
def test_a_name_is_taken_apart_as_an_obproxy_does(name: str, login: Login) -> None:
    assert Login.read(name) == login


@pytest.mark.parametrize("form", FORMS)
def test_by_whatever_name_a_proxy_takes_the_bot_knows_its_own_sessions(
    database: EmbeddedOceanBase, source: Make, form: str
) -> None:
    source().description()  # a seekdb 1.4 that has just started takes five seconds for the first look-up of a routine
    with Odp(database.host, database.port, names=True) as odp, database.connect() as other:
        prod, replica = (source(port=odp.port, user=form.format("root")) for _ in range(2))
        with replica.console() as console:
            listed = {one.id for one in prod.page(SessionQuery(), None).sessions}
            assert console._connection.id not in listed, "another replica's, of the same login"
            assert session_id(other) in listed
            (its,) = prod.find(console._connection.id, None)
            assert its.own
        assert prod.health(None).tenant == "sys"


@pytest.mark.parametrize("name", ["main-sys-root", "main:sys:root"])
def test_without_a_proxy_a_user_may_be_called_like_a_form_of_its(
    database: EmbeddedOceanBase, source: Make, name: str
) -> None:
    with database.connect() as root, root.cursor() as cursor:
        cursor.execute(f"CREATE USER '{name}'")
        cursor.execute(f"GRANT SELECT ON *.* TO '{name}'")
    try:
        prod = source(user=name, password="")
        with prod.console() as console:
            (its,) = prod.find(console._connection.id, None)
            assert (its.own, its.client.user, its.tenant) == (True, name, "sys")
        prod.close()
    finally:
        with database.connect() as root, root.cursor() as cursor:
            cursor.execute(f"DROP USER '{name}'")


def test_a_server_refuses_the_name_of_a_cluster_and_that_is_said(database: EmbeddedOceanBase, source: Make) -> None:
    with pytest.raises(LoginRefusedError, match="tenant or cluster is wrong"):
        source(user="root@sys#main").page(SessionQuery(), None)


@pytest.mark.parametrize("form", FORMS)
def test_by_whatever_name_a_proxy_takes_a_server_is_reached_past_it(
    cluster: Cluster, cluster_source: Make, form: str
) -> None:
    victim = cluster.connect("app@shop")
    with Odp(cluster.database.host, cluster.database.port, names=True) as odp:
        prod = cluster_source(form.format("bot"), port=odp.port)
        with prod.console() as console:
            (session,) = console.find(session_id(victim))
            order = Order(Pin.of(session), Mode.SESSION, lambda _session: None, lambda: False)
            sent = kill.close(console, order)
        assert odp.kills, "the proxy has kept the KILL to itself"
    assert isinstance(sent, Sent)
    assert (sent.answer, sent.said) == (Answer.OK, "")
