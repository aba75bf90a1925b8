"""The store's URL: what is understood, and that of a wrong one nothing is quoted, wherever its password stands."""

from __future__ import annotations

import contextlib

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from bot.closing.store.url import read
from bot.errors import StoreError

SECRET = "Geheim77"
SIGNS = "@:/?#%[]&=+ ;,\\'\"!$*()<>|~^`{}-_.aZ09ß€😀\n\0\u202e"
TAILS = (
    "",
    "@",
    "@/",
    "@/db",
    "@host",
    "@host/",
    "@host/db",
    "@host:3306",
    "@host:3306/db",
    "@host:port/db",
    ":3306/db",
    "@host:99999/db",
    "@host:-1/db",
    "@host:٣/db",
    "@[::1]:3306/db",
    "@[::1/db",
    "@::1/db",
    "@ho st/db",
    "@host/db/x",
    "@host/db?charset=utf8mb4",
    "@host/db?charset=latin1",
    "@host/db?connect_timeout=x",
    "@host/db?local_infile=1",
    "@host/db?read_default_file=/etc/my.cnf",
    "@host/db?ssl_ca=/x",
    "@/db?unix_socket=/run/db.sock",
    "@host/db?x",
)

around = st.text(st.sampled_from(SIGNS), max_size=8)


def problem(text: str) -> str:
    """What is said of a URL that is wrong; nothing else may be found out from the exception."""
    with pytest.raises(StoreError) as told:
        read(text)
    error: BaseException | None = told.value
    assert error is not None
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None
    return str(error)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("sqlite:///session-bot.db", ("sqlite", None, None, None, None, "session-bot.db")),
        ("sqlite:////var/lib/a@b c.db", ("sqlite", None, None, None, None, "/var/lib/a@b c.db")),
        ("mysql+pymysql://u:p@host/db", ("mysql+pymysql", "u", "p", "host", None, "db")),
        ("mariadb+pymysql://u@10.0.0.1:2881/db", ("mariadb+pymysql", "u", "", "10.0.0.1", 2881, "db")),
        (
            "mysql+pymysql://bot%40shop:a%40b%3Ac@[FD00::1]:1/db?charset=utf8mb4",
            ("mysql+pymysql", "bot@shop", "a@b:c", "fd00::1", 1, "db"),
        ),
        ("mysql+pymysql://u:a:b/c?d#e%25@host/db", ("mysql+pymysql", "u", "a:b/c?d#e%", "host", None, "db")),
        ("mysql+pymysql://u:p@/db?unix_socket=/run/x.sock", ("mysql+pymysql", "u", "p", None, None, "db")),
    ],
)
def test_what_is_right_is_understood_as_sqlalchemy_does(text: str, seen: tuple[object, ...]) -> None:
    url = read(text)
    assert (
        url.drivername,
        url.username,
        url.password or ("" if url.username else None),
        url.host,
        url.port,
        url.database,
    ) == seen
    theirs = sa.engine.make_url(text)
    assert (url.username, url.password or None, url.port, url.database) == (
        theirs.username,
        theirs.password,
        theirs.port,
        theirs.database,
    )
    assert "unix_socket" not in text or url.query == {"unix_socket": "/run/x.sock"}


@given(st.text(min_size=1).filter(lambda user: user.encode("utf-8", "ignore")), st.text())
def test_whatever_user_and_password_are_their_quoted_form_is_understood(user: str, password: str) -> None:
    user, password = (text.encode("utf-8", "ignore").decode() for text in (user, password))
    text = sa.URL.create("mysql+pymysql", user, password, "host", 3306, "db").render_as_string(hide_password=False)
    url = read(text)
    assert (url.username, url.password or "") == (user, password)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (f"mysql+pymysql://user:{SECRET}", "has no @ and host after the password"),
        ("mysql+pymysql://user:12345", "has no @ and host after the password"),
        (f"mysql+pymysql://user:{SECRET}@host:port/db", "has a port that is no number from 1 to 65535"),
        (f"mysql+pymysql://user:{SECRET}@host:{SECRET}/db", "has a port that is no number from 1 to 65535"),
        (f"mysql+pymysql://user:{SECRET}@host:0/db", "has a port that is no number from 1 to 65535"),
        (f"mysql+pymysql://user:pass@{SECRET}@host/db", "has more than one @"),
        (f"mysql+pymysql://user:p@a/{SECRET}@host/db", "has more than one @"),
        (f"mysql+pymysql://user:p@a?{SECRET}@host/db", "has more than one @"),
        (f"mysql+pymysql://user:{SECRET}@host", "lacks the user, the host or the database"),
        (f"mysql+pymysql://:{SECRET}@host/db", "lacks the user, the host or the database"),
        (f"mysql+pymysql://user:{SECRET}@/db", "lacks the user, the host or the database"),
        (f"mysql+pymysql://user:{SECRET}@host/db/more", "cannot be understood after its @"),
        (f"mysql+pymysql://user:{SECRET}@[::1/db", "cannot be understood after its @"),
        (f"mysql+pymysql://user:{SECRET}@[{SECRET}]/db", "has no address between its brackets"),
        (f"mysql+pymysql://user:{SECRET}@h#{SECRET}/db", "has a host that is no name and no address"),
        (f"mysql+pymysql://user:{SECRET}@host/db?password={SECRET}", "has other options"),
        (f"mysql+pymysql://user:{SECRET}@host/db?charset={SECRET}", "has other options"),
        (f"mysql+pymysql://user:{SECRET}@host/db?connect_timeout={SECRET}", "has other options"),
        (f"mysql+pymysql://user:{SECRET}@host/db?local_infile=1", "has other options"),
        (f"mysql+pymysql://user:{SECRET}@host/db?ssl_ca=/ca.pem", "has other options"),
        (f"mysql+pymysql://user:{SECRET}@host/db\n", "holds a character that cannot be seen"),
        (f"mysql+pymysql://user:{SECRET}\udcff@host/db", "holds a character that cannot be seen"),
        (f" mysql+pymysql://user:{SECRET}@host/db", "is none of the two kinds"),
        ("sqlite://", "names no file: a store in memory has no record of what was closed"),
        ("sqlite:///", "names no file: a store in memory"),
        ("sqlite:///:memory:", "names no file: a store in memory"),
        (f"mysql://user:{SECRET}@host/db", "is none of the two kinds"),
        (f"mysql+{SECRET}://user:x@host/db", "is none of the two kinds"),
        (f"postgresql://user:{SECRET}@host/db", "is none of the two kinds"),
        (f"user:{SECRET}@host/db", "is none of the two kinds"),
        (f"sqlite://user:{SECRET}@host/db", "is none of the two kinds"),
        (f"sqlite:///file.db?timeout={SECRET}", "is none of the two kinds"),
        (f"sqlite+pysqlcipher://:{SECRET}@/file.db", "is none of the two kinds"),
        (SECRET, "is none of the two kinds"),
        ("", "is none of the two kinds"),
    ],
)
def test_what_is_wrong_is_said_without_a_part_of_it(text: str, wrong: str) -> None:
    said = problem(text)
    assert f"The URL of [store] url {wrong}" in said
    assert "mysql+pymysql:// and then USER:PASSWORD@HOST:PORT/DATABASE" in said
    assert SECRET not in said


@given(around, around, st.sampled_from(TAILS), st.sampled_from(["mysql+pymysql://", "mysql://", "sqlite://", ""]))
def test_no_password_is_shown_or_taken_for_another_part_of_the_url(
    before: str, after: str, tail: str, scheme: str
) -> None:
    text = f"{scheme}user:{before}{SECRET}{after}{tail}"
    url = None
    with contextlib.suppress(StoreError):
        url = read(text)
    if url is None:
        said = problem(text)
        assert SECRET not in said
        assert said == problem(text.replace(SECRET, "Another88")), "nothing of it shows in any way"
    else:
        assert SECRET in str(url.password)
        assert SECRET not in f"{url.host} {url.database} {url.query} {url!r}"


@given(st.text())
def test_no_text_at_all_makes_it_fail_in_another_way(text: str) -> None:
    with contextlib.suppress(StoreError):
        read(text)
