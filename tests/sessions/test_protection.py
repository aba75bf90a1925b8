"""What protects a session from being closed, and the words for it."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from bot.sessions.dialect import Dialect
from bot.sessions.mysql import dialect as mysql
from bot.sessions.mysql.columns import THREAD_USERS
from bot.sessions.oceanbase import dialect as oceanbase
from bot.sessions.protection import Protected, is_thread
from tests.sessions.examples import EXAMPLE
from tests.support.sessions import like

OCEANBASE = Dialect("OceanBase", "v", {}, (), oceanbase.PROTECTED_USERS, None)
MYSQL = Dialect(
    "MySQL",
    "v",
    {},
    (),
    mysql.PROTECTED_USERS,
    None,
    thread_users=THREAD_USERS,
)
NETWORKS = tuple(map(ipaddress.ip_network, ("10.1.0.0/16", "192.168.7.9", "2001:db8::/32", "fe80::1")))


NOTHING = Protected()


def why(protected: Protected = NOTHING, **changes: Any) -> str:
    dialect: Dialect | None = changes.pop("dialect", OCEANBASE)
    return " and ".join(protected.reasons(like(EXAMPLE, **changes), dialect, "prod"))


def test_a_session_of_an_application_is_protected_by_nothing() -> None:
    assert why() == ""
    assert why(Protected(frozenset({"guard"}), frozenset({"ledger"}), NETWORKS)) == ""


def test_a_user_is_protected_by_the_configuration_or_the_kind_of_server_and_by_case() -> None:
    protected = Protected(users=frozenset({"guard"}))
    assert why(protected, user="guard") == "belongs to guard, a protected user of prod"
    assert why(protected, user="Guard") == "", "servers tell users by their case"
    assert why(user="ocp_monitor") == "belongs to ocp_monitor, a protected user of prod"
    assert why(protected, dialect=None, user="guard") != "", "before the server was probed, too"
    assert why(dialect=MYSQL, user="ocp_monitor") == ""


@pytest.mark.parametrize("user", ["proxyro", "ocp", "__oceanbase_inner_standby_user", "cdcro"])
def test_those_who_run_a_cluster_are_protected_without_being_configured(user: str) -> None:
    assert why(user=user) == f"belongs to {user}, a protected user of prod"


@pytest.mark.parametrize("where", ["module", "client_info"])
@pytest.mark.parametrize("tag", ["obshell", "OBShell", "ocp", "ledger", "LEDGER", "Straße"])
def test_a_session_is_protected_by_how_it_is_tagged_whatever_the_case(where: str, tag: str) -> None:
    protected = Protected(modules=frozenset({"Ledger", "STRASSE"}))
    assert why(protected, **{where: tag}) == f"is tagged {tag}, a protected module of prod"


@pytest.mark.parametrize("tag", ["", None, "odc", "obshell2", "my ocp"])
def test_a_tag_is_meant_as_a_whole_and_no_tag_protects_nothing(tag: str | None) -> None:
    assert why(Protected(modules=frozenset({"ledger"})), module=tag, client_info=tag) == ""


@pytest.mark.parametrize(
    ("place", "address"),
    [
        ("10.1.255.3:51234", "10.1.255.3"),
        ("10.1.0.1", "10.1.0.1"),
        ("192.168.7.9:1", "192.168.7.9"),
        ("[2001:db8::7]:51234", "2001:db8::7"),
        ("2001:DB8:0::7", "2001:db8::7"),
        ("[fe80::1]", "fe80::1"),
    ],
)
@pytest.mark.parametrize("where", ["origin", "peer"])
def test_a_session_is_protected_by_where_it_comes_from_itself_or_its_proxy(
    where: str, place: str, address: str
) -> None:
    assert why(Protected(sources=NETWORKS), **{where: place}) == f"comes from {address}, a protected source of prod"


@pytest.mark.parametrize(
    "place", ["10.2.0.1:51234", "192.168.7.10:1", "[2001:db9::7]:1", "[fe80::2]:1", "unix:", "localhost", "", "10.1.0"]
)
def test_from_elsewhere_or_from_no_address_it_is_not(place: str) -> None:
    assert why(Protected(sources=NETWORKS), origin=place, peer=place) == ""


def test_an_ipv4_address_written_as_ipv6_is_the_same_address() -> None:
    protected = Protected(sources=NETWORKS)
    for place in ("[::ffff:10.1.0.1]:51234", "::ffff:10.1.0.1"):
        assert why(protected, origin=place) == "comes from 10.1.0.1, a protected source of prod"


def test_an_address_with_its_zone_is_protected_as_well() -> None:
    assert (
        why(Protected(sources=NETWORKS), origin="[fe80::1%eth0]:1")
        == "comes from fe80::1%eth0, a protected source of prod"
    )


@pytest.mark.parametrize(("tenant", "protected"), [("META$1002", True), ("meta$1002", False), ("METAL", False)])
def test_the_tenants_that_hold_the_clusters_metadata_are_protected(tenant: str, protected: bool) -> None:
    told = f"is of tenant {tenant}, which holds the cluster's metadata, on prod"
    assert why(tenant=tenant) == (told if protected else "")
    assert why(tenant=None) == ""


@pytest.mark.parametrize(
    ("user", "command", "thread"),
    [
        ("repl", "Binlog Dump", True),
        ("repl", "Binlog Dump GTID", True),
        ("repl", "clone", True),
        ("repl", "Clone", True),
        ("repl", "Register Replica", True),
        ("repl", "Group Replicatio", True),  # as the lists cut it
        ("repl", "Group Replication Data Stream subscription", True),
        ("delayed", "Delayed insert", True),
        ("event_scheduler", "Daemon", True),
        ("system user", "Connect", True),
        ("system user", "Query", True),
        ("mysql.session", "Sleep", False),
        ("app", "Query", False),
        ("app", "Binlog", False),
    ],
)
def test_the_servers_own_threads_and_replication_are_told_from_sessions(user: str, command: str, thread: bool) -> None:
    assert is_thread(like(EXAMPLE, user=user, command=command), MYSQL) is thread


@pytest.mark.parametrize("command", ["Binlog dump", "Binlog dump gtid", "Register slave", "Daemno"])
@pytest.mark.parametrize("dialect", [OCEANBASE, None])
def test_what_reads_the_log_of_an_oceanbase_is_replication_as_well(dialect: Dialect | None, command: str) -> None:
    assert is_thread(like(EXAMPLE, command=command), dialect)
    assert not is_thread(like(EXAMPLE, user="system user", command="Query"), dialect), "anybody may be called so there"
