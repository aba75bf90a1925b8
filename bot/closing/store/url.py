"""Where the store is: its URL, read by rules of our own, since every parser quotes what it cannot read.

A URL that is wrong may hold a password at any place of it. So what is said of it never holds a part of it.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from urllib.parse import parse_qsl, unquote

import sqlalchemy as sa

from bot.errors import StoreError

FORMS = (
    "It is mysql+pymysql:// and then USER:PASSWORD@HOST:PORT/DATABASE, where an @ of the password is written as %40; "
    "or sqlite:/// and then a file."
)

_SQLITE = re.compile(r"sqlite://(?:/(?P<file>[^?]*))?")
_SERVER = re.compile(
    r"(?P<driver>(?:mysql|mariadb)\+pymysql)://(?P<login>[^@]*)@"
    r"(?:\[(?P<ipv6>[^\]]*)\]|(?P<name>[^@:/?\[\]]*))(?::(?P<port>[^@:/?]*))?(?:/(?P<database>[^@/?]*))?"
    r"(?:\?(?P<options>[^@]*))?"
)


def read(text: str) -> sa.URL:
    """Read the URL of an SQLite file or of a MySQL-compatible server; raises ``StoreError`` without quoting it."""
    if not text.isprintable():
        raise _wrong("holds a character that cannot be seen, such as the end of a line")
    if file := _SQLITE.fullmatch(text):
        if file["file"] in (None, "", ":memory:"):
            # It would be empty for each thread, and gone with the process.
            raise _wrong("names no file: a store in memory has no record of what was closed")
        return sa.URL.create("sqlite", database=file["file"])
    if not text.startswith(("mysql+pymysql://", "mariadb+pymysql://")):
        raise _wrong("is none of the two kinds that the bot can use")
    if text.count("@") != 1:
        raise _wrong("has no @ and host after the password" if "@" not in text else "has more than one @")
    parts = _SERVER.fullmatch(text)
    if parts is None:
        raise _wrong("cannot be understood after its @")
    user, _, password = parts["login"].partition(":")
    options = _options(parts["options"] or "")
    host = _host(parts["ipv6"], parts["name"])
    if not user or not parts["database"] or not (host or options):
        raise _wrong("lacks the user, the host or the database")
    return sa.URL.create(
        parts["driver"], unquote(user), unquote(password), host, _port(parts["port"]), parts["database"], options
    )


def file_of(address: sa.URL) -> Path | None:
    """Return the file of a store that is kept in one; None for a server."""
    return Path(str(address.database)) if address.get_backend_name() == "sqlite" else None


def _host(ipv6: str | None, name: str) -> str | None:
    if ipv6 is not None:
        try:
            return str(ipaddress.IPv6Address(ipv6))
        except ValueError:
            raise _wrong("has no address between its brackets") from None
    if not re.fullmatch(r"[A-Za-z0-9._-]*", name):
        raise _wrong("has a host that is no name and no address")
    return name or None


def _port(port: str | None) -> int | None:
    if port is None:
        return None
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise _wrong("has a port that is no number from 1 to 65535")
    return int(port)


def _options(text: str) -> dict[str, str]:
    """Take what means something here and return the rest: PyMySQL would take any option of its own."""
    options = dict(parse_qsl(text, keep_blank_values=True))
    if options.pop("charset", "utf8mb4") != "utf8mb4" or options.keys() - {"unix_socket"}:
        raise _wrong("has other options than charset=utf8mb4 and unix_socket after its ?; tls and tls_ca are settings")
    return options


def _wrong(what: str) -> StoreError:
    return StoreError(f"The URL of [store] url {what}. {FORMS}")
