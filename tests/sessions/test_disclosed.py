"""What MySQL and MariaDB run is named by its digest, and searched by it for whoever sees digests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pymysql
import pytest

from bot.errors import InputError
from bot.sessions import disclosed
from bot.sessions.model import Condition, Field, Flag, Operator, SessionFilter, SessionQuery, Sort
from bot.sessions.source import DataSource
from bot.sessions.statement import Disclosure
from bot.sessions.statistics import Grouping
from sandbox.databases.embedded import EmbeddedServer
from tests.sessions.conftest import end, until
from tests.sessions.examples import MARIA_PASSWORD, sql_id_of
from tests.support.stage import RunningStatement

LITERALS, DIGEST = Disclosure.ALL_BUT_PASSWORDS, Disclosure.DIGEST
ORDERS = 12


@pytest.fixture(params=["watched_mariadb", "mysql"])
def server(request: pytest.FixtureRequest) -> EmbeddedServer:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, EmbeddedServer)
    return found


@pytest.fixture
def orders(server: EmbeddedServer, logins: str) -> Iterator[list[int]]:
    """Run one statement in twelve sessions, each with literals of its own."""
    running = []
    for number in range(ORDERS):
        client = pymysql.connect(host=server.host, port=server.port, user=logins, password=MARIA_PASSWORD)
        running.append(RunningStatement(client, f"SELECT SLEEP(90), 'order {number:02}'"))
    with server.connect() as root, root.cursor() as cursor:
        until(lambda: cursor.execute(f"{RUNNING} AND USER = '{logins}' AND INFO LIKE '%order%'") == ORDERS)
    yield [one.id for one in running]
    for one in running:
        end(server, one)


RUNNING = "SELECT 1 FROM information_schema.PROCESSLIST WHERE INFO LIKE 'SELECT SLEEP%'"


def asked(*conditions: Condition, **more: object) -> SessionQuery:
    app = Condition(Field.USER, Operator.EXACTLY, ("mysql_app",))
    return SessionQuery(filter=SessionFilter((app, *conditions), frozenset({Flag.ACTIVE_ONLY})), limit=50, **more)  # type: ignore[arg-type]


def test_one_statement_is_one_whatever_its_literals(crm_source: Callable[..., DataSource], orders: list[int]) -> None:
    crm = crm_source()
    for disclosure in (LITERALS, DIGEST):
        counted = crm.statistics(asked(), Grouping.SQL_ID, None, disclosure, DIGEST)
        (group,) = counted.groups
        assert (group.total, group.active, counted.names) == (ORDERS, ORDERS, 1)
        assert group.statement is not None
        assert group.statement.line(DIGEST) == "SELECT SLEEP(?), ?"
        assert 0 <= group.shortest <= group.average <= group.longest
        named = Condition(Field.SQL_ID, Operator.EXACTLY, (group.name,))
        found = crm.page(asked(named), None, disclosure)
        assert found.matching == ORDERS
        assert {sql_id_of(one, DIGEST) for one in found.sessions} == {group.name}
        other = Condition(Field.SQL_ID, Operator.NOT, (group.name,))
        assert crm.page(asked(other), None, disclosure).matching == 0
        (looked_at,) = crm.find(orders[0], None)
        assert sql_id_of(looked_at) == group.name
        somewhere = Condition(Field.ANY, Operator.CONTAINS, (group.name[4:20],))
        assert crm.page(asked(somewhere), None, disclosure).matching == ORDERS


def test_literals_are_found_sorted_and_counted_only_by_who_sees_them(
    crm_source: Callable[..., DataSource], orders: list[int]
) -> None:
    crm = crm_source()
    for field, operator, value, literals, digests in (
        (Field.SQL, Operator.CONTAINS, "order 07", 1, 0),
        (Field.ANY, Operator.CONTAINS, "order 07", 1, 0),
        (Field.SQL, Operator.NOT, "order 07", ORDERS - 1, ORDERS),
        (Field.SQL, Operator.CONTAINS, "sleep(?), ?", 0, ORDERS),
        (Field.SQL, Operator.CONTAINS, "sleep", ORDERS, ORDERS),
        (Field.ANY, Operator.CONTAINS, "mysql_app", ORDERS, ORDERS),
    ):
        query = asked(Condition(field, operator, (value,)))
        assert crm.page(query, None, LITERALS).matching == literals, value
        assert crm.page(query, None, DIGEST).matching == digests, value
        assert crm.statistics(query, Grouping.USER, None, DIGEST, DIGEST).total == digests, value
    by_text = asked(sort=Sort(Field.SQL, descending=True))
    assert [one.id for one in crm.page(by_text, None, LITERALS).sessions] == orders[::-1]
    by_id = sorted(orders)
    assert [one.id for one in crm.page(by_text, None, DIGEST).sessions] == by_id


def test_more_statements_than_are_tried_are_to_be_narrowed_first(
    crm_source: Callable[..., DataSource], orders: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disclosed, "MOST", ORDERS - 1)
    crm = crm_source()
    words = Condition(Field.SQL, Operator.CONTAINS, ("sleep",))
    for ask in (
        lambda: crm.page(asked(words), None, DIGEST),
        lambda: crm.page(asked(sort=Sort(Field.SQL)), None, DIGEST),
        lambda: crm.statistics(asked(words), Grouping.USER, None, DIGEST, DIGEST),
    ):
        with pytest.raises(InputError, match="too many to search as they are shown") as told:
            ask()
        assert told.value.example.startswith("/sessions ")
    assert crm.page(asked(words), None, LITERALS).matching == ORDERS, "the database searches what is shown to them"
    narrower = Condition(Field.ID, Operator.CONTAINS, tuple(orders[:3]))
    assert crm.page(asked(words, narrower), None, DIGEST).matching == 3
