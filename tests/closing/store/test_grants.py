"""The grants of docs/install.md for a shared store, on a real MariaDB and MySQL."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from bot.access import Person
from bot.closing.model import ApprovalPolicy, Budget, CardPlace, ClosingRequest, Outcome, State, Target, TargetOutcome
from bot.closing.parts import split
from bot.closing.store import Store
from bot.closing.store.deliveries import Taken
from bot.errors import StoreError
from bot.sessions.model import Mode
from sandbox.databases.embedded import EmbeddedServer
from sandbox.databases.mariadb import EmbeddedMariaDB
from tests.sessions.examples import EXAMPLE
from tests.support.documents import grants
from tests.support.running_bot import ROOT
from tests.support.stores import store_at

GRANTS = grants("Two replicas on one store")
MAKING = ("GRANT CREATE", "GRANT INDEX", "GRANT ALTER")
ALICE = Person("U01ALICE", "T1")
NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
Give = Callable[..., Store]


@pytest.fixture(params=["mariadb", "mysql"])
def server(request: pytest.FixtureRequest) -> EmbeddedServer:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, EmbeddedServer)
    return found


@pytest.fixture
def give(server: EmbeddedServer) -> Iterator[Give]:
    """Give the store's account these grants and open the store with it."""
    with contextlib.ExitStack() as opened, server.connect() as admin, admin.cursor() as cursor:
        cursor.execute("DROP DATABASE IF EXISTS session_bot")
        cursor.execute("CREATE DATABASE session_bot")

        def make(*given: str) -> Store:
            cursor.execute("DROP USER IF EXISTS store_test")
            cursor.execute("CREATE USER store_test IDENTIFIED BY 'secret-of-store'")
            for grant in given:
                cursor.execute(f"{grant} TO store_test")
            url = f"mysql+pymysql://store_test:secret-of-store@{server.host}:{server.port}/session_bot"
            return opened.enter_context(store_at(url))

        yield make
        opened.close()
        cursor.execute("DROP DATABASE session_bot")
        cursor.execute("DROP USER IF EXISTS store_test")


def whole_life(store: Store, number: str) -> None:
    """Ask, confirm, close and record, as a bot does."""
    request = ClosingRequest(
        number,
        "prod",
        Mode.SESSION,
        ALICE,
        "C01INC",
        "why",
        ApprovalPolicy.REQUESTER,
        NOW,
        NOW + timedelta(minutes=2),
        (Target(1, EXAMPLE),),
    )
    assert store.deliveries.take(number) is Taken.OURS
    store.deliveries.renew()
    store.requests.add(request)
    store.deliveries.answered(number)
    store.cards.place(request, CardPlace("C01INC", "1.2"))
    assert store.decisions.claim(request, ALICE, Mode.SESSION, NOW, Budget(50, timedelta(minutes=10)))
    store.intents.intend(request, request.targets[0], "KILL 5", NOW)
    store.outcomes.conclude(request, {1: TargetOutcome(Outcome.CLOSED, "", NOW)}, NOW)
    assert store.requests.expire(NOW) == []
    assert [one.id for one in store.requests.recent(State.DONE, 5)] == [number]


def first_start(store: Store) -> None:
    store.database.create()
    whole_life(store, "first")


def test_they_are_enough_from_the_first_start_on(give: Give) -> None:
    store = give(*GRANTS)
    first_start(store)
    store.database.create()


@pytest.mark.parametrize("missing", GRANTS, ids=lambda grant: grant.split()[1].lower())
def test_without_one_of_them_it_says_so_before_anything_could_be_closed(
    server: EmbeddedServer, give: Give, missing: str
) -> None:
    if missing.startswith("GRANT ALTER"):  # which is for a store of an older version
        give(*GRANTS).database.create()
        with server.connect(database="session_bot") as admin, admin.cursor() as cursor:
            cursor.execute("ALTER TABLE audit_head DROP COLUMN schema_version")
    store = give(*(grant for grant in GRANTS if grant != missing))
    with pytest.raises(StoreError, match="Nothing is closed without a record") as told:
        first_start(store)
    assert "secret-of-store" not in str(told.value)


def test_once_the_tables_are_there_the_rights_to_make_them_may_be_taken_away(give: Give) -> None:
    give(*GRANTS).database.create()
    store = give(*(grant for grant in GRANTS if not grant.startswith(MAKING)))
    store.database.create()
    whole_life(store, "second")


def test_the_record_can_be_kept_from_being_changed_by_the_bots_own_account(give: Give) -> None:
    give(*GRANTS).database.create()
    tables = ("closing_requests", "closing_targets", "audit_head", "deliveries")
    store = give(
        "GRANT SELECT, INSERT ON session_bot.audit",
        *(f"GRANT SELECT, INSERT, UPDATE ON session_bot.{name}" for name in tables),
    )
    store.database.create()
    whole_life(store, "third")


def test_part_of_a_request_may_be_decided_and_the_rest_stays_open_without_a_right_to_delete(give: Give) -> None:
    store = give(*GRANTS)
    store.database.create()
    whole = ClosingRequest(
        "whole",
        "prod",
        Mode.SESSION,
        ALICE,
        "C01INC",
        "why",
        ApprovalPolicy.REQUESTER,
        NOW,
        NOW + timedelta(minutes=2),
        tuple(Target(number, replace(EXAMPLE, id=100 + number)) for number in (1, 2, 3)),
    )
    store.requests.add(whole)
    part = split(whole, whole.targets[1:2], {}, NOW, timedelta(minutes=2))
    assert part.remainder is not None
    assert store.decisions.claim(part.taken, ALICE, Mode.SESSION, NOW, left=part.remainder)
    assert [one.session.id for one in store.requests.get("whole").targets] == [102]
    left = store.requests.get(part.remainder.id)
    assert left.state is State.OPEN
    assert [(one.number, one.session.id) for one in left.targets] == [(1, 101), (2, 103)]


def test_the_account_of_compose_has_these_rights_and_no_more(mariadb: EmbeddedMariaDB) -> None:
    statements = (ROOT / "deploy" / "store-rights.sql").read_text(encoding="utf-8")
    statements = re.sub("^--.*\n", "", statements, flags=re.MULTILINE)
    assert sorted(re.findall(r"^(GRANT .+) TO session_bot_store@'%';$", statements, re.MULTILINE)) == sorted(GRANTS)
    with mariadb.connect() as admin, admin.cursor() as cursor:
        cursor.execute("CREATE DATABASE session_bot")
        # What MariaDB's image does with MARIADB_USER and MARIADB_DATABASE, before it runs such files.
        cursor.execute("CREATE USER session_bot_store@'%' IDENTIFIED BY 'secret-of-store'")
        cursor.execute("GRANT ALL ON `session\\_bot`.* TO session_bot_store@'%'")
        for statement in filter(str.strip, statements.split(";")):
            cursor.execute(statement)
        cursor.execute("SHOW GRANTS FOR session_bot_store@'%'")
        _, rights = sorted(str(row[0]) for row in cursor.fetchall())[::-1]
        with store_at(
            f"mysql+pymysql://session_bot_store:secret-of-store@{mariadb.host}:{mariadb.port}/session_bot"
        ) as store:
            first_start(store)
        cursor.execute("DROP USER session_bot_store@'%'")
        cursor.execute("DROP DATABASE session_bot")
    assert rights == "GRANT SELECT, INSERT, UPDATE, CREATE, INDEX, ALTER ON `session_bot`.* TO `session_bot_store`@`%`"
