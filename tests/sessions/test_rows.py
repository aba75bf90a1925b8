"""The rows of an answer, read by the bot itself: the same as PyMySQL reads them."""

from __future__ import annotations

import io
import socket
from collections.abc import Sequence
from typing import Any

import pymysql
import pytest
from pymysql.connections import MySQLResult
from pymysql.constants import CR
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


END = b"\xfe\x00\x00\x02\x00"
ERROR = b"\xff\x25\x05#70100" + b"Query execution was interrupted"


def packets(*payloads: bytes, first: int = 1) -> bytes:
    """Write packets as servers send them."""
    return b"".join(
        len(one).to_bytes(3, "little") + bytes([(first + at) % 256]) + one for at, one in enumerate(payloads)
    )


class Stream(io.RawIOBase):
    """What arrives, in pieces; then nothing more, or what the network raises."""

    def __init__(self, sent: bytes, piece: int, then: OSError | None = None) -> None:
        self._left, self._piece, self._then = memoryview(sent), piece, then

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left and self._then is not None:
            raise self._then
        piece = self._left[: min(self._piece, len(buffer))]
        buffer[: len(piece)] = piece
        self._left = self._left[len(piece) :]
        return len(piece)


def read_all(kind: type[MySQLResult], stream: Stream) -> tuple[Any, ...]:
    """Return the rows, and what is known after them."""
    connection: Any = pymysql.Connection(defer_connect=True)
    near, far = socket.socketpair()
    with near, far:
        connection._sock, connection._rfile = near, io.BufferedReader(stream)
        connection._next_seq_id, connection._current_timeout = 1, connection._read_timeout
        result: Any = kind(connection)
        result.converters = [("ascii", int), ("utf8", None)]
        try:
            result._read_rowdata_packet()
        except pymysql.Error as error:
            return type(error), *error.args, connection._rfile is None
        left = connection._rfile.read()
    return result.rows, result.affected_rows, result.has_next, result.warning_count, connection._next_seq_id, left


MANY = [written(str(number)) + written("ü" * (number % 40)) for number in range(700)]  # packets count to 255 and on
ROWS = [*MANY, NULL + written("a"), written("7") + NULL, written("8"), written("9") + written(LONG), *MANY]


@pytest.mark.parametrize("piece", [1, 3, 100, 8192, 10**6])
@pytest.mark.parametrize("rows", [[], MANY[:1], ROWS], ids=["no row", "one row", "many rows"])
def test_rows_are_read_as_pymysql_reads_them_in_whatever_pieces_they_arrive(rows: list[bytes], piece: int) -> None:
    sent = packets(*rows, END) + b"the next answer"
    read = read_all(_Result, Stream(sent, piece))
    assert read == read_all(MySQLResult, Stream(sent, piece))
    assert (read[1], read[-1]) == (len(rows), b"the next answer")


@pytest.mark.parametrize(
    "stream",
    [
        lambda: Stream(packets(*MANY, ERROR), 8192),
        lambda: Stream(packets(*MANY[:9]) + packets(*MANY, END, first=11), 8192),
        lambda: Stream(packets(*MANY[:9]) + packets(ERROR, first=0), 8192),
        lambda: Stream(packets(*MANY), 8192),
        lambda: Stream(packets(*MANY)[:-3], 8192),
        lambda: Stream(packets(*MANY), 8192, TimeoutError("timed out")),
        lambda: Stream(packets(*MANY)[:-3], 8192, ConnectionResetError(104, "Connection reset by peer")),
    ],
    ids=[
        "the server gives up",
        "a packet is missing",
        "the server shuts down",
        "the server goes",
        "the server goes within a row",
        "nothing comes any more",
        "the connection is lost within a row",
    ],
)
def test_what_goes_wrong_between_rows_is_told_as_pymysql_tells_it(stream: Any) -> None:
    told = read_all(_Result, stream())
    assert told == read_all(MySQLResult, stream())
    assert told[0] in (pymysql.err.OperationalError, pymysql.err.InternalError)
    assert told[1] in (1317, CR.CR_SERVER_LOST) or "sequence number wrong" in told[1]
