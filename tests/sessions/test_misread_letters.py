"""Literals stay hidden where a statement's character set is not known: half a letter may be a quotation's end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pymysql
import pytest

from bot.sessions.charsets import decoded
from bot.sessions.masking import digest, formatted, without_passwords
from bot.sessions.model import SessionQuery
from bot.sessions.source import DataSource
from bot.sessions.statement import Disclosure
from sandbox.databases.embedded import EmbeddedServer
from sandbox.databases.oceanbase import EmbeddedOceanBase
from tests.sessions.conftest import Make, end, until
from tests.sessions.examples import MARIA_PASSWORD
from tests.support.stage import APP_PASSWORD, RunningStatement

MARK = "zZmark"
# In what a literal is to the server, whatever comes before it, the mark stands.
LATIN = "SELECT SLEEP(60) AS `société`, '(zZmark', 1 AS `b`, 'caf\xe9\\' (zZmark '"
MISREAD = (
    LATIN.encode("latin1"),
    "SELECT * FROM t WHERE `é` = 'zZmark' AND `b` = 'x'".encode("latin1"),
    "SELECT `a` FROM t WHERE `b` = 'x\\' é' AND `é` = 'zZmark' AND `c` = 1".encode("latin1"),
    "SELECT 'é\\' (zZmark'".encode("latin1"),
    "SELECT 'é\\\\', '(zZmark'".encode("latin1"),
    b"SELECT 'a\\'b\x81\\', '(zZmark', '\xff'",  # GBK, and a letter that is none there
    b"SELECT 'a\\'b\xb1\x83\\', '(zZmark'",  # Shift JIS
    b"SELECT 'a\\'b\xe4\xbd\xa0\\', '(zZmark'",  # UTF-8 on a connection in GBK
    b"SELECT 'b\xe4\xbd\xa0\\\\' (zZmark'",
)
IN_COMMENTS = (
    b"SELECT 1 /*!99999 it's */, '(zZmark'",
    b"SELECT 1 /*!99999 \" */, '\" (zZmark'",
    b"SELECT 1 /*!99999 # */, '(zZmark \n'",
    b"SELECT /*M! 'a */ zZmark' */ 1",
    b"SELECT /*! 'a */ zZmark' */ 1",
    b"/*!99999 /*! x */ ' */ '(zZmark'",
    b"CREATE FUNCTION f() RETURNS INT LANGUAGE JAVASCRIPT AS $$ return 'it\\'s' + zZmark $$",
)


@pytest.mark.parametrize("sql", MISREAD + IN_COMMENTS)
def test_a_literal_is_hidden_whatever_the_letters_before_it_are(sql: bytes) -> None:
    text = decoded(sql)
    assert MARK not in digest(text)
    assert MARK not in formatted(text, literals=False)


@pytest.mark.parametrize("sql", [b"\xe9\\' zZmark", b"\xe9\\\\', 'zZmark", b"it\\'s\x81\\', PASSWORD('zZmark'), '\xff"])
def test_a_password_is_hidden_whatever_letters_it_has(sql: bytes) -> None:
    assert MARK not in without_passwords(decoded(b"CREATE USER a IDENTIFIED BY '" + sql + b"'"))


@pytest.mark.parametrize("sql", ["SELECT 1, 'épassword=zZmark'", "SET @àPW = 'zZmark'", "# ésecret: zZmark"])
def test_what_tells_of_a_password_is_no_part_of_a_letter(sql: str) -> None:
    assert MARK not in without_passwords(decoded(sql.encode("latin1")))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("SELECT '誠品', '你好' FROM t WHERE a = 'x\\'s'", "SELECT ?, ? FROM t WHERE a = ?"),
        ("SELECT `名`, `é` FROM t WHERE p = 'D:\\\\a\\\\'", "SELECT `名`, `é` FROM t WHERE p = ?"),
        ("SELECT '剠' FROM t", "SELECT ? FROM t"),
        ("/*!40101 SET NAMES utf8 */ /*M!100100 SELECT 'a' */", "/*!? SET NAMES utf8 */ /*M!? SELECT ? */"),
    ],
)
def test_what_is_sure_is_shown(text: str, shown: str) -> None:
    assert digest(text) == shown
    assert without_passwords(text) == text


@pytest.mark.parametrize("server", ["mariadb"], indirect=True)
def test_a_client_in_latin_1_on_mariadb(
    server: EmbeddedServer, crm_source: Callable[..., DataSource], logins: str
) -> None:
    hides(server, crm_source(), logins, MARIA_PASSWORD)


def test_a_client_in_latin_1_on_the_kernel(database: EmbeddedOceanBase, source: Make) -> None:
    with database.connect() as root, root.cursor() as cursor:
        cursor.execute(f"CREATE USER IF NOT EXISTS wide_app IDENTIFIED BY '{APP_PASSWORD}'")
    hides(database, source(), "wide_app", APP_PASSWORD)


def hides(server: EmbeddedServer, source: DataSource, user: str, password: str) -> None:
    client = server.connect(user=user, password=password)
    with client.cursor() as cursor, contextlib.suppress(pymysql.err.OperationalError):
        cursor.execute("SET NAMES latin1")
    client.encoding = "latin1"
    statement = RunningStatement(client, LATIN.encode("latin1"))

    def shown(disclosure: Disclosure) -> list[str]:
        page = source.page(SessionQuery(limit=50), None, disclosure)
        mine = [one.statement for one in page.sessions if one.id == statement.id and one.statement is not None]
        return [one.shown(disclosure) for one in mine]

    try:
        until(lambda: shown(Disclosure.DIGEST))
        assert shown(Disclosure.DIGEST) == ["SELECT SLEEP(?) AS …"]
        assert MARK in shown(Disclosure.ALL_BUT_PASSWORDS)[0]
    finally:
        end(server, statement)
