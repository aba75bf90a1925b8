"""The global variables of tenants: what the kernel keeps of them, and how it reads in the server's own words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pymysql
import pytest

from bot.sessions import variables
from bot.sessions.oceanbase.details import SYS_VARIABLES
from sandbox.databases.oceanbase import EmbeddedOceanBase

KEPT = f"SELECT name, value FROM {SYS_VARIABLES} WHERE scope LIKE '%GLOBAL%'"
# The others are set for good, or would keep other tests from writing; the first test has what they are.
SETTABLE = ("autocommit", "ob_read_consistency", "ob_route_policy")


@pytest.fixture
def cursor(oceanbase: EmbeddedOceanBase) -> Iterator[pymysql.cursors.Cursor]:
    with oceanbase.connect() as connection, connection.cursor() as cursor:
        yield cursor


def pairs(cursor: pymysql.cursors.Cursor, statement: str) -> dict[str, Any]:
    cursor.execute(statement)
    return dict(cursor.fetchall())


def test_what_the_kernel_keeps_of_its_tenant_reads_as_it_shows_it(cursor: pymysql.cursors.Cursor) -> None:
    said, kept = pairs(cursor, "SHOW GLOBAL VARIABLES"), pairs(cursor, KEPT)
    assert set(said) <= set(kept), "every global variable is kept"
    assert "last_insert_id" not in kept, "and of a session's own none"
    differing = {name for name in said if str(kept[name]) != str(said[name])}
    assert {"autocommit", "ob_read_consistency", "sql_mode", "version"} <= differing, "words are kept as numbers"
    for name in said:
        assert variables._in_words(name, kept[name], kept, said) == said[name]
    numbers = {
        name
        for name in variables.WELL_KNOWN
        if name in said and variables._in_words(name, kept[name], {}, said) != said[name]
    }
    assert numbers <= {"sql_mode", "version"}, "the words of these are known only by a tenant that has the same"


@pytest.mark.parametrize(("name", "kept"), [(name, kept) for name in SETTABLE for kept in variables._WORDS[name]])
def test_the_words_of_well_known_variables_are_those_of_the_kernel(
    cursor: pymysql.cursors.Cursor, name: str, kept: str
) -> None:
    before = pairs(cursor, KEPT)[name]
    cursor.execute(f"SET GLOBAL {name} = {kept}")
    try:
        assert pairs(cursor, KEPT)[name] == kept
        said = pairs(cursor, f"SHOW GLOBAL VARIABLES LIKE '{name}'")[name]
        assert variables._in_words(name, kept, {}, {}) == said
    finally:
        cursor.execute(f"SET GLOBAL {name} = {before}")
