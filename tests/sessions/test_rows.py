"""The rows of an answer, read by the bot itself: the same as PyMySQL reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pymysql
import pytest
from pymysql.connections import MySQLResult
from pymysql.protocol import MysqlPacket

from bot.sessions.database import _Result

NULL = b"\xfb"
LONG = "ü" * 60_000


def written(cell: str) -> bytes:
    """Write a cell as servers do."""
    data = cell.encode()
    size = len(data)
    sign = b"" if size < 251 else b"\xfc" if size < 2**16 else b"\xfd"
    return sign + size.to_bytes(1 if size < 251 else 2 if size < 2**16 else 3, "little") + data


def read(kind: type[MySQLResult], data: bytes, converters: Sequence[Any]) -> Any:
    result: Any = kind.__new__(kind)
    result.unbuffered_active = False
    result.converters = converters
    return result._read_row_from_packet(MysqlPacket(data, "utf8mb4"))


@pytest.mark.parametrize(
    "data",
    [
        b"".join(map(written, ("12", "shop", "ü"))),
        written("7") + NULL + written(""),
        written("7") + b"\xff" + written("a"),  # a sign that says nothing
        b"".join(map(written, ("1", "a" * 250, "b" * 251))),
        b"".join(map(written, ("1", "a" * 65_535, LONG))),
        written("1") + b"\xfe" + (3).to_bytes(8, "little") + b"abc" + NULL,
        written("1") + written("fewer columns"),
    ],
)
@pytest.mark.parametrize("encoding", [None, "utf8"])
def test_a_row_is_read_as_pymysql_reads_it(data: bytes, encoding: str | None) -> None:
    converters = [(encoding and "ascii", int), (encoding, None), (encoding, None)]
    assert read(_Result, data, converters) == read(MySQLResult, data, converters)


@pytest.mark.parametrize("data", [b"\x02a", b"\xfc\x10\x00abc", written("a") + b"\x05abc"])
def test_a_row_that_ends_within_a_cell_is_no_row(data: bytes) -> None:
    with pytest.raises(pymysql.Error, match="ends within a cell"):
        read(_Result, data, [(None, None)] * 3)


@pytest.mark.parametrize("data", [b"\x02", b"\xfc\x10", written("seven")])
def test_a_number_that_is_none_is_an_error_of_the_driver(data: bytes) -> None:
    with pytest.raises(pymysql.Error):
        read(_Result, data, [(None, int)])
