"""The grants of docs/install.md on real kernels: enough for everything, each needed for something, no more opened."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pymysql
import pytest

from bot.errors import InputError
from bot.sessions.model import Mode, Session, SessionQuery
from bot.sessions.source import DataSource
from bot.sessions.statistics import Grouping
from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.sessions.conftest import PASSWORD, Make
from tests.sessions.examples import sql_id_of
from tests.support.documents import grants
from tests.support.stage import APP_PASSWORD, RunningStatement, accounts, session_id

# Views of a cluster that seekdb has not, or has for no other tenant; docs/install.md says so.
ABSENT = ("DBA_OB_TENANTS", "DBA_OB_SERVERS", "CDB_OB_SYS_VARIABLES")
CLUSTER = [grant for grant in grants("OceanBase: a cluster") if not grant.endswith(ABSENT)]
# By the name of the fixture; the ids are what tests/conftest.py shares the tests out by.
KERNELS = {"oceanbase": CLUSTER, "seekdb14": grants("seekdb")}
IDS = {"oceanbase": "oceanbase-4.3.5", "seekdb14": "seekdb-1.4"}


@dataclass
class Scene:
    """Somebody holds a row, somebody else waits for it; both are to be seen by the bot's login."""

    database: EmbeddedOceanBase
    holder: pymysql.Connection[Any]
    waiter: RunningStatement


@pytest.fixture
def scene(database: EmbeddedOceanBase) -> Iterator[Scene]:
    accounts(database)
    with contextlib.ExitStack() as opened:

        def connect() -> pymysql.Connection[Any]:
            client = database.connect(user="teller", password=APP_PASSWORD, database="depot")
            return opened.enter_context(contextlib.closing(client))

        holder, waiting = connect(), connect()
        holder.begin()
        with holder.cursor() as cursor:
            cursor.execute("UPDATE stock SET quantity = 1 WHERE sku = 3")
        waiter = RunningStatement(waiting, "UPDATE stock SET quantity = 2 WHERE sku = 3")
        yield Scene(database, holder, waiter)
        with contextlib.suppress(pymysql.Error):  # the test may have closed it
            holder.rollback()
        waiter.ended()


def allow(database: EmbeddedOceanBase, user: str, *wanted: str) -> None:
    with database.connect() as admin, admin.cursor() as cursor:
        for grant in wanted:
            cursor.execute(f"{grant} TO {user}")


def until(look: Callable[[], object]) -> None:
    """Ask the database until it is so; each question takes some milliseconds."""
    for _ in range(3000):
        if look():
            return
    raise AssertionError("it never came true")


def has_deadlocks(prod: DataSource) -> bool:
    try:
        prod.deadlocks(timedelta(days=1), None)
    except InputError as error:
        if "keeps no history of deadlocks that its login can read" not in str(error):
            raise
        return False
    return True


def works(prod: DataSource, scene: Scene) -> set[str]:
    """Try everything that reads and return what works; nothing fails without a sentence."""
    (waiter,) = prod.find(scene.waiter.id, None)
    (holder,) = prod.find(session_id(scene.holder), None)
    listed = {one.id for one in prod.page(SessionQuery(limit=50), None).sessions}
    assert {waiter.id, holder.id} <= listed, "that much any login of sys sees"
    assert prod.statistics(SessionQuery(), Grouping.USER, None).total >= 2
    assert prod.variables("ob_query_timeout", None, everywhere=True).matching == 1
    assert prod.health(None).problem == ""
    of_waiter, of_holder = prod.details(waiter), prod.details(holder)
    waits = prod.waits()
    return {
        feature
        for feature, found in {
            "list": waiter.trace_id and holder.transaction_id and sql_id_of(waiter),
            "lock holder": any(one.holder for one in waits.holders(waiter)),
            "transaction": of_holder.transaction_age is not None,
            "rollback seen": still_open(prod, holder),
            "plan": of_waiter.plan_id,
            "deadlocks": has_deadlocks(prod),
            "table": any(one.what == "depot.stock" for one in waits.waits),
            "index": not any("SESSION_LONGOPS, so which transaction" in said for said in waits.lacks),
            "user lock": not any("_v2, so who holds a user lock" in said for said in waits.lacks),
            "changes": any(one.transaction.bytes_changed for one in prod.transactions(None).open),
        }.items()
        if found
    }


def still_open(prod: DataSource, holder: Session) -> bool | None:
    with prod.console() as console:
        return console.transaction_open(holder)


ALL = {
    *("list", "lock holder", "table", "index", "user lock"),
    *("transaction", "rollback seen", "plan", "deadlocks", "changes"),
}
# What is gone without the grant on a view whose name ends so, and the words that say it.
GONE: dict[str | tuple[str, ...], tuple[set[str], str]] = {
    "OB_PROCESSLIST": (
        {"list", "plan", "transaction", "rollback seen"},
        "trace ids, transactions, lock waits and proxies are not known",
    ),
    # /sessions locks says these by itself.
    "_OBJECTS": ({"table"}, ""),
    "SESSION_LONGOPS": ({"index"}, ""),
    "__all_detect_lock_info_v2": ({"user lock"}, ""),
    "OB_LOCKS": (
        {"lock holder", "table"},
        "who holds a row lock that a session waits for is not known (GRANT SELECT ON it)",
    ),
    # A rollback is still seen here: by the lock that somebody waits for.
    "OB_TRANSACTION_SCHEDULERS": ({"transaction", "changes"}, "neither the age of a transaction is known"),
    # /sessions transactions and `check` say it, by themselves.
    ("OB_TRANSACTION_PARTICIPANTS", "OB_TRANSACTION_WRITE_STATE"): ({"changes"}, ""),
    "__all_virtual_processlist": ({"plan"}, "the plan of a running statement is not known (GRANT SELECT ON it)"),
    "DEADLOCK_EVENT_HISTORY": ({"deadlocks"}, ""),  # asked for by itself, it says so by itself
}
EACH = [(kernel, missing) for kernel, all_of_them in KERNELS.items() for missing in all_of_them]


def test_the_guide_names_every_view_of_a_cluster_once_and_the_last_three_are_not_seekdbs() -> None:
    assert [grant.rpartition(".")[2] for grant in grants("OceanBase: a cluster")][-3:] == list(ABSENT)
    assert len({grant.replace(".GV$", ".V$") for grant in CLUSTER}) == len(GONE) == len(grants("seekdb"))


@pytest.mark.parametrize("database", KERNELS, indirect=True, ids=IDS.values())
def test_with_all_of_them_everything_works_and_there_is_no_caveat(
    database: EmbeddedOceanBase, source: Make, user: str, scene: Scene, request: pytest.FixtureRequest
) -> None:
    allow(database, user, *KERNELS[request.node.callspec.params["database"]])
    prod = source(user=user, password=PASSWORD)
    until(lambda: prod.find(scene.waiter.id, None)[0].waits)
    assert works(prod, scene) == ALL
    assert prod.page(SessionQuery(), None).caveats == ()
    with prod.console() as console:
        (waiter,) = console.find(scene.waiter.id)
        console.kill(waiter, Mode.QUERY)
        (holder,) = console.find(session_id(scene.holder))
        console.kill(holder, Mode.SESSION)
    assert scene.waiter.ended() in (0, 1317), "ended by the close of its query, or freed by that of the holder"
    until(lambda: not prod.find(session_id(scene.holder), None))


@pytest.mark.parametrize(
    ("database", "missing"),
    EACH,
    indirect=["database"],
    ids=[f"{IDS[kernel]}-{missing.rpartition('.')[2]}" for kernel, missing in EACH],
)
def test_without_one_of_them_something_is_gone_and_that_is_said(
    database: EmbeddedOceanBase, source: Make, user: str, scene: Scene, missing: str, request: pytest.FixtureRequest
) -> None:
    granted = KERNELS[request.node.callspec.params["database"]]
    allow(database, user, *(grant for grant in granted if grant != missing))
    (gone, sentence), *_ = [said for view, said in GONE.items() if missing.endswith(view)]
    with_all = source()
    until(lambda: with_all.find(scene.waiter.id, None)[0].waits)
    prod = source(user=user, password=PASSWORD)
    assert works(prod, scene) == ALL - gone
    page = prod.page(SessionQuery(), None)
    assert page.names_holders is ("lock holder" not in gone), "the list promises what the waits tell, and no more"
    caveats = page.caveats
    assert bool(caveats) is bool(sentence)
    assert sentence in " ".join(caveats)


@pytest.mark.parametrize("database", KERNELS, indirect=True, ids=IDS.values())
def test_they_open_no_passwords_and_no_data_which_the_short_way_does(
    database: EmbeddedOceanBase, user: str, request: pytest.FixtureRequest
) -> None:
    accounts(database)
    allow(database, user, *KERNELS[request.node.callspec.params["database"]])
    hashes = "SELECT passwd FROM oceanbase.__all_user WHERE passwd <> ''"
    with database.connect(user=user, password=PASSWORD) as login, login.cursor() as cursor:
        for closed in (hashes, "SELECT * FROM mysql.user", "SELECT * FROM depot.stock"):
            with pytest.raises(pymysql.err.OperationalError, match="denied"):
                cursor.execute(closed)
        allow(database, user, "GRANT SELECT ON oceanbase.*")
        assert cursor.execute(hashes) > 0, "docs/install.md warns of this"
