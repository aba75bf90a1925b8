"""Many tenants, servers and proxies, on the stand-in cluster."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pymysql
import pytest

from bot.errors import InputError, NotAllowedError, PrivilegeMissingError, UnknownStatusError
from bot.sessions.console import Console
from bot.sessions.database import Connection
from bot.sessions.model import Condition, Field, Mode, Operator, Session, SessionFilter, SessionQuery
from bot.sessions.source import DataSource
from bot.sessions.statistics import Grouping
from bot.sessions.variables import HIDDEN, Variables
from tests.support.cluster import Cluster
from tests.support.patience import PATIENCE
from tests.support.stage import session_id

Make = Callable[..., DataSource]


@pytest.fixture
def source(cluster_source: Make) -> Make:
    return cluster_source


def wait_for(look: Callable[[], Session | None]) -> Session:
    deadline = time.monotonic() + PATIENCE
    while (found := look()) is None:
        assert time.monotonic() < deadline, "it never came"
    return found


def wait_until_gone(console: Console, number: int) -> None:
    """Wait for a closed session's end: MariaDB shows it as Killed until its thread has noticed."""
    deadline = time.monotonic() + PATIENCE
    while console.find(number):
        assert time.monotonic() < deadline, "it is still there"


def asked(field: Field, *values: str) -> SessionQuery:
    return SessionQuery(filter=SessionFilter((Condition(field, Operator.CONTAINS, values),)))


def status(operator: Operator, *values: str) -> SessionQuery:
    return SessionQuery(filter=SessionFilter((Condition(Field.STATUS, operator, values),)))


@pytest.mark.parametrize("operator", [Operator.CONTAINS, Operator.EXACTLY, Operator.NOT])
def test_a_status_that_some_session_has_at_that_moment_is_known_and_any_other_is_an_error_with_a_suggestion(
    cluster: Cluster, source: Make, operator: Operator
) -> None:
    cluster.dress_up(ID=3221490000, STATE="Rolling back")
    cluster.dress_up(ID=3221490001)
    prod = source()
    of_later_kernel = status(operator, "ROLLING BACK")
    fitting = 3221490001 if operator is Operator.NOT else 3221490000
    assert [one.id for one in prod.page(of_later_kernel, None).sessions] == [fitting]
    assert prod.statistics(of_later_kernel, Grouping.USER, None).total == 1
    with pytest.raises(UnknownStatusError, match=r"no session has it now.*BACKGROUND, ROLLING BACK\.") as told:
        prod.page(status(operator, "SLEEP", "ROLING BACK"), None)
    assert (told.value.spot, told.value.example) == ("ROLING BACK", '/sessions status="ROLLING BACK"')
    cluster.tidy()
    for ask in (
        lambda: prod.page(of_later_kernel, None),
        lambda: prod.statistics(of_later_kernel, Grouping.USER, None),
    ):
        with pytest.raises(UnknownStatusError, match="There is no status “ROLLING BACK”"):
            ask()


def test_nobody_learns_by_a_status_how_other_tenants_sessions_are(cluster: Cluster, source: Make) -> None:
    cluster.dress_up(ID=3221490000, TENANT="billing", STATE="ROLLING_BACK")
    prod = source()
    assert prod.page(status(Operator.CONTAINS, "ROLLING_BACK"), frozenset({"billing"})).matching == 1
    for asked_for in ("ROLLING_BACK", "ROLLING_BACC"):
        with pytest.raises(UnknownStatusError) as told:
            prod.page(status(Operator.CONTAINS, asked_for), frozenset({"shop"}))
        assert "ROLLING_BACK" not in str(told.value).replace(f"“{asked_for}”", "")


def test_from_the_sys_tenant_the_sessions_of_all_tenants_are_seen(cluster: Cluster, source: Make) -> None:
    for name in ("app@shop", "report@billing", "dba@sys"):
        cluster.connect(name)
    page = source().page(SessionQuery(), None)
    assert {(one.tenant, one.client.user) for one in page.sessions} == {
        ("shop", "app"),
        ("billing", "report"),
        ("sys", "dba"),
    }


def test_the_tenants_that_somebody_may_see_narrow_the_list_and_its_totals_in_the_database(
    cluster: Cluster, source: Make
) -> None:
    cluster.connect("app@shop")
    cluster.connect("report@billing")
    page = source().page(SessionQuery(), frozenset({"billing"}))
    assert [one.tenant for one in page.sessions] == ["billing"]
    assert (page.total, page.matching) == (1, 1)
    assert source(tenants=frozenset({"shop"})).page(SessionQuery(), frozenset({"billing"})).total == 0


def test_a_tenants_own_login_sees_its_own_tenant(cluster: Cluster, source: Make) -> None:
    cluster.user("boss@billing", "PROCESS")
    cluster.connect("app@shop")
    cluster.connect("report@billing")
    assert [one.client.user for one in source("boss@billing").page(SessionQuery(), None).sessions] == ["report"]


def test_server_proxy_and_client_are_told_apart_and_searched(cluster: Cluster, source: Make) -> None:
    direct = cluster.connect("app@shop", server="fe80::7")
    behind = cluster.connect("app@shop", server="10.0.0.2", port=2881, proxy="10.9.0.1:33060", client="10.0.3.9")
    prod = source()
    seen = {one.id: one for one in prod.page(SessionQuery(), None).sessions}
    assert seen[session_id(direct)].server == f"[fe80::7]:{cluster.database.port}"
    assert seen[session_id(direct)].client.proxy is None
    through = seen[session_id(behind)]
    assert (through.server, through.client.proxy, through.client.origin) == ("10.0.0.2:2881", "10.9.0.1", "10.0.3.9")
    assert [one.id for one in prod.page(asked(Field.SERVER, "fe80::7"), None).sessions] == [session_id(direct)]
    for typed in ("10.9.0.", str(through.client.proxy_session_id)):
        assert [one.id for one in prod.page(asked(Field.PROXY, typed), None).sessions] == [session_id(behind)]
    assert [one.id for one in prod.page(asked(Field.HOST, "10.0.3.9"), None).sessions] == [session_id(behind)]
    assert [one.id for one in prod.page(asked(Field.ANY, "10.9.0.1"), None).sessions] == [session_id(behind)]


def values(found: Variables) -> dict[str, str]:
    return {variable.name: variable.value for variable in found.variables}


def test_the_global_variables_of_a_tenant_are_read_from_the_sys_tenant_in_the_servers_words(
    cluster: Cluster, source: Make
) -> None:
    prod = source()
    of_shop = prod.variables("", None, everywhere=True, tenant="shop")
    assert (of_shop.tenant, of_shop.everywhere, of_shop.instead) == ("shop", True, False)
    strict = cluster.run("SELECT @@GLOBAL.sql_mode")[0][0]
    assert values(of_shop) == {"autocommit": "OFF", "ob_query_timeout": "77000000", "sql_mode": strict}
    assert of_shop.matching == 4, "a session's own, which no other session has, is not among them"
    assert values(prod.variables("PASSWORD", None, everywhere=True, tenant="shop")) == {"report_password": HIDDEN}
    assert values(prod.variables("ob_query", None, everywhere=False, tenant="Shop"))["ob_query_timeout"] == "66000000"
    assert prod.variables("ob%", None, everywhere=False, tenant="shop").matching == 0
    assert values(prod.variables("sql_mode", None, everywhere=True, tenant="billing")) == {"sql_mode": "0"}
    with pytest.raises(InputError, match="There is no tenant “SHOP” on prod"):
        prod.variables("", None, everywhere=True, tenant="SHOP")


@pytest.mark.parametrize(
    ("tenants", "named", "usual", "whose"),
    [
        (None, None, None, "sys"),
        (None, None, "shop", "shop"),
        (None, "billing", "shop", "billing"),
        (None, "sys", "shop", "sys"),
        ({"sys", "shop"}, None, None, "sys"),
        ({"shop"}, None, None, "shop"),
        ({"shop"}, "shop", "billing", "shop"),
    ],
)
@pytest.mark.parametrize("everywhere", [False, True])
def test_whose_variables_are_shown_follows_from_what_is_named_usual_and_allowed(
    source: Make, tenants: set[str] | None, named: str | None, usual: str | None, whose: str, everywhere: bool
) -> None:
    allowed = None if tenants is None else frozenset(tenants)
    found = source().variables("", allowed, everywhere=everywhere, tenant=named, usual=usual)
    assert found.tenant == whose
    assert (found.everywhere, found.instead) == (everywhere or whose != "sys", whose != "sys" and not everywhere)
    limited = source(tenants=allowed).variables("", None, everywhere=everywhere, tenant=named, usual=usual)
    assert limited.variables == found.variables, "so the data source's own tenants"


@pytest.mark.parametrize(
    ("tenants", "named", "usual"),
    [({"shop"}, "sys", None), ({"shop"}, "billing", None), ({"shop"}, None, "billing"), (set(), None, None)],
)
def test_the_variables_of_a_tenant_that_somebody_may_not_see_are_not_shown(
    source: Make, tenants: set[str], named: str | None, usual: str | None
) -> None:
    for prod, allowed in ((source(), frozenset(tenants)), (source(tenants=frozenset(tenants)), None)):
        with pytest.raises(NotAllowedError, match="are not shown to you"):
            prod.variables("", allowed, everywhere=True, tenant=named, usual=usual)


def test_where_several_tenants_could_be_meant_it_is_asked_whose_variables(source: Make) -> None:
    with pytest.raises(InputError, match=r"Whose variables\? Name one tenant: billing, shop\.") as told:
        source().variables("", frozenset({"shop", "billing"}), everywhere=True)
    assert told.value.example == "/sessions vars tenant=billing"


def test_a_tenants_own_login_reads_its_own_variables_and_says_that_it_reads_no_others(
    cluster: Cluster, source: Make
) -> None:
    cluster.user("boss@billing", "PROCESS")
    prod = source("boss@billing")
    assert prod.variables("wait", None, everywhere=True).tenant == "billing"
    assert prod.variables("wait", None, everywhere=False).everywhere is False
    with pytest.raises(
        PrivilegeMissingError, match="is of tenant billing and cannot read the variables of tenant shop"
    ):
        prod.variables("", None, everywhere=True, tenant="shop")


def test_an_oracle_mode_tenants_session_is_listed_like_any_other(cluster: Cluster, source: Make) -> None:
    cluster.dress_up(ID=3221490000, TENANT="ora", USER="SCOTT")
    assert [(one.tenant, one.client.user) for one in source().page(SessionQuery(), None).sessions] == [("ora", "SCOTT")]


def test_a_session_of_another_tenant_is_closed_for_real(cluster: Cluster, source: Make) -> None:
    victim = cluster.connect("app@shop")
    with source().console() as console:
        console.kill(console.find(session_id(victim))[0], Mode.SESSION)
        wait_until_gone(console, session_id(victim))
    with pytest.raises(pymysql.err.OperationalError):
        victim.ping(reconnect=False)


def test_of_five_thousand_sessions_a_page_moves_only_the_rows_it_shows(
    cluster: Cluster, source: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.dress_up_many(5000)
    fetched: list[int] = []
    rows = Connection.rows

    def counting(self: Connection, *statement: Any) -> list[tuple[Any, ...]]:
        answer = rows(self, *statement)
        fetched.append(len(answer))
        return answer

    prod = source()
    prod.page(SessionQuery(), None)
    monkeypatch.setattr(Connection, "rows", counting)
    page = prod.page(SessionQuery(limit=20, page=250), None)
    assert (page.total, len(page.sessions)) == (5000, 20)
    assert sum(fetched) <= 20 + 1 + 5, "the page, its totals, and what is looked up of the server at most"
