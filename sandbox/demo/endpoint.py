"""Where the demo's database is and who logs in there: the embedded one, or one of the reader's own."""

import contextlib
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

import pymysql

FORM = "mysql://user:password@host:port"
DEFAULT_PORT = 2881  # an observer's SQL port


class UnusableDatabase(Exception):  # noqa: N818 - it says what the database is
    """The database of one's own cannot be used; the message is a sentence without the password."""


@dataclass(frozen=True)
class Endpoint:
    """An address and an account."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)


def read_endpoint(url: str) -> Endpoint:
    """Read `mysql://user:password@host:port` (the user may be `user@tenant`), or raise UnusableDatabase."""
    try:
        parts = urlsplit(url)
        port = parts.port or DEFAULT_PORT
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme != "mysql" or not parts.hostname or not parts.username:
        raise UnusableDatabase(f"DEMO_DATABASE is not of the form {FORM}.")
    return Endpoint(parts.hostname, port, unquote(parts.username), unquote(parts.password or ""))


def as_sent(password: str) -> bytes:
    """Return a password as databases take it; PyMySQL would send a text as Latin-1, and quote one that is none."""
    return password.encode("utf-8", "surrogateescape")


def check_login(endpoint: Endpoint) -> None:
    """Log in and out, or raise UnusableDatabase with the reason."""
    try:
        connection = pymysql.connect(
            host=endpoint.host,
            port=endpoint.port,
            user=endpoint.user,
            password=as_sent(endpoint.password),
            connect_timeout=5,
            read_timeout=5,
        )
    except (pymysql.err.MySQLError, OSError) as problem:
        sentence = f"{endpoint.user} cannot log in to DEMO_DATABASE at {endpoint.host}:{endpoint.port}"
        raise UnusableDatabase(f"{sentence}: {problem}") from problem
    with contextlib.closing(connection):
        connection.ping(reconnect=False)
