"""Statements of clients in any character set are listed, searched, named and closed like all others."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pymysql
import pytest

from bot.sessions import kill
from bot.sessions.model import Condition, Field, Flag, Mode, Operator, Pin, Session, SessionFilter, SessionQuery, Sort
from bot.sessions.source import DataSource
from bot.sessions.statement import Disclosure
from bot.sessions.statistics import Grouping
from sandbox.databases.embedded import EmbeddedServer
from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.sessions.conftest import Make, end, one, until
from tests.sessions.examples import MARIA_PASSWORD, sql_id_of, sql_of
from tests.support.servers import EmbeddedMySQL
from tests.support.stage import APP_PASSWORD, RunningStatement

LITERALS, DIGEST = Disclosure.ALL_BUT_PASSWORDS, Disclosure.DIGEST
CHINESE = "SELECT SLEEP(90), '你好', 'Mark'"
SENT = (
    ("gbk", CHINESE.encode("gbk")),
    ("gbk", b"SELECT SLEEP(90), '\xff\xfe\xe9 gbk'"),
    ("latin1", "SELECT SLEEP(90), 'é la', 'Mark'".encode("latin1")),
    ("binary", b"SELECT SLEEP(90), '\xff\xfe', 'Mark'"),
    ("utf8mb4", f"SELECT SLEEP(90), '𠮷', '{'é' * 600}', 'Mark'".encode()),
    ("sjis", "SELECT SLEEP(90), 'こんにちは', 'Mark'".encode("sjis")),
    ("gbk", b"SELECT SLEEP(90), '\xff', 'Mark', @pw := 'hunter2'"),
)


@dataclass(frozen=True)
class Running:
    """What runs, in the order of ``SENT``."""

    server: EmbeddedServer
    source: DataSource
    statements: list[RunningStatement]

    @property
    def ids(self) -> list[int]:
        """Their session ids."""
        return [one.id for one in self.statements]

    def found(self, *conditions: Condition, disclosure: Disclosure = LITERALS, **more: Any) -> list[int]:
        """Return the numbers in ``SENT`` of those that are listed, and in this order."""
        query = SessionQuery(filter=SessionFilter(conditions, frozenset({Flag.ACTIVE_ONLY})), limit=50, **more)
        page = self.source.page(query, None, disclosure)
        numbers = [self.ids.index(session.id) for session in page.sessions if session.id in self.ids]
        assert page.matching == len(page.sessions)
        return numbers if "sort" in more else sorted(numbers)


@contextlib.contextmanager
def running(server: EmbeddedServer, source: DataSource, user: str, password: str) -> Iterator[Running]:
    """Run all of them, each on a connection in its character set, where the server knows that."""
    statements = []
    for charset, text in SENT:
        client = server.connect(user=user, password=password)
        with client.cursor() as cursor, contextlib.suppress(pymysql.err.OperationalError):
            cursor.execute(f"SET NAMES {charset}")
        with client.cursor() as cursor, contextlib.suppress(pymysql.err.OperationalError):
            cursor.execute("SET ob_query_timeout = 600000000")
        client.encoding = "latin1"  # the names of columns are what was sent
        statements.append(RunningStatement(client, text))
    found = Running(server, source, statements)
    until(lambda: len(found.found()) == len(SENT))
    try:
        yield found
    finally:
        for statement in statements:
            end(server, statement)


@pytest.fixture(params=["mariadb", "watched_mariadb118", "mysql"])
def server(request: pytest.FixtureRequest) -> EmbeddedServer:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, EmbeddedServer)
    return found


@pytest.fixture
def on_kernel(database: EmbeddedOceanBase, source: Make) -> Iterator[Running]:
    with database.connect() as root, root.cursor() as cursor:
        cursor.execute(f"CREATE USER IF NOT EXISTS wide_app IDENTIFIED BY '{APP_PASSWORD}'")
    with running(database, source(), "wide_app", APP_PASSWORD) as found:
        yield found


@pytest.fixture
def elsewhere(server: EmbeddedServer, crm_source: Callable[..., DataSource], logins: str) -> Iterator[Running]:
    with running(server, crm_source(), logins, MARIA_PASSWORD) as found:
        yield found


def test_on_the_kernels_a_statement_in_any_character_set_is_like_all_others(on_kernel: Running) -> None:
    is_like_all_others(on_kernel, (0, 1, 2, 3, 4, 5, 6))
    with on_kernel.source.console() as console:  # ours cut none of them within a letter, the kernel does at its own
        assert console.dialect.cut_note


def test_what_is_typed_may_end_anywhere_in_the_name_that_the_kernel_gives_a_column(source: Make) -> None:
    names = ("订单", "用户", "密码", "支付", "客户")  # cut after 255 bytes, all of what is searched is such a name
    for more in ("", "a", "ab"):
        asked = SessionFilter((Condition(Field.USER, Operator.EXACTLY, (*names, f"{more}仓库", "中国" * 40)),))
        assert source().page(SessionQuery(filter=asked), None, LITERALS).matching == 0


def test_on_mysql_and_mariadb_a_statement_in_any_character_set_is_like_all_others(elsewhere: Running) -> None:
    mysql = isinstance(elsewhere.server, EmbeddedMySQL)
    is_like_all_others(elsewhere, (0, 2, 4, 5) if mysql else (0, 1, 2, 3, 4, 5, 6))


def is_like_all_others(running: Running, whole: tuple[int, ...]) -> None:
    """Go through everything; MySQL has only of some of them what follows the first letter that it cannot read."""
    every = list(range(len(SENT)))

    def sql(operator: Operator, *values: str, field: Field = Field.SQL) -> Condition:
        return Condition(field, operator, values)

    listed = running.source.page(SessionQuery(limit=50), None, LITERALS).sessions
    texts = {session.id: sql_of(session) or "" for session in listed}
    assert texts[running.ids[0]] == CHINESE
    assert texts[running.ids[4]].startswith("SELECT SLEEP(90), '𠮷', 'éé")
    for number, text in (
        (1, "SELECT SLEEP(90), '\ufffd\ufffd\ufffd gbk'"),
        (6, "SELECT SLEEP(90), '\ufffd', 'Mark', @pw := '***'"),
    ):
        assert texts[running.ids[number]].startswith(text if number in whole else "SELECT SLEEP(90), '")

    for disclosure, chinese, marked in ((LITERALS, [0], [0, 2, 3, 4, 5]), (DIGEST, [], [])):
        for value in ("sleep(", "SLEEP"):
            assert running.found(sql(Operator.CONTAINS, value), disclosure=disclosure) == every
            assert running.found(sql(Operator.NOT, value), disclosure=disclosure) == []
        for value in ("你好", "'你好', 'MARK"):
            assert running.found(sql(Operator.CONTAINS, value), disclosure=disclosure) == chinese
            others = [number for number in every if number not in chinese]
            assert running.found(sql(Operator.NOT, value), disclosure=disclosure) == others
            word = sql(Operator.CONTAINS, value, field=Field.ANY)
            if len(whole) == len(SENT):
                assert running.found(word, disclosure=disclosure) == chinese
        # What may hold a secret is tried in what is shown of it: the last one is found so as well.
        there = [number for number in (*marked, *([6] if marked else [])) if number in whole and number != 4]
        assert [n for n in running.found(sql(Operator.CONTAINS, "mark"), disclosure=disclosure) if n != 4] == there
        for order in (Sort(Field.SQL), Sort(Field.SQL_ID)):
            assert sorted(running.found(sort=order, disclosure=disclosure)) == every
    assert running.found(sql(Operator.CONTAINS, "hunter2")) == []
    assert running.found(sql(Operator.EXACTLY, CHINESE)) == [0]
    assert running.found(sql(Operator.EXACTLY, "select sleep(90), '")) == [n for n in every if n not in whole]

    counted = running.source.statistics(SessionQuery(), Grouping.SQL_ID, None, LITERALS, LITERALS)
    assert sum(group.total for group in counted.groups) >= len(SENT)
    ids = {sql_id_of(one) for one in running.source.page(SessionQuery(limit=50), None, LITERALS).sessions}
    assert {group.name for group in counted.groups if group.name} <= ids

    for number, mode in enumerate((Mode.QUERY, Mode.SESSION)):
        session = one(running.source, running.ids[number])
        assert Pin.of(session).same_request(one(running.source, session.id))
        until(lambda session=session: one(running.source, session.id).time > session.time + 1)  # type: ignore[misc]
        closes(running.source, session, mode)
        assert running.statements[number].ended() in (0, 1317, 2013, 5066)


def closes(source: DataSource, session: Session, mode: Mode) -> None:
    """Close it as a press does."""
    with source.console() as console:
        sent = kill.close(console, kill.Order(Pin.of(session), mode, lambda _session: None, lambda: False))
    assert isinstance(sent, kill.Sent), sent
    assert sent.answer is kill.Answer.OK
