"""Secrets and literals in broken, cut, nested and very long texts; the plain ones are in test_statement."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.sessions.masking import HIDDEN, digest, formatted, without_passwords

MARK = "zZmarkZz"


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE USER app IDENTIFIED BY 'zZmarkZz'",
        "create user app identified by\n\t'zZmarkZz'",
        'ALTER USER app IDENTIFIED BY "zZmarkZz" ACCOUNT UNLOCK',
        "ALTER USER app IDENTIFIED /* why */ BY /* not */ 'zZmarkZz'",
        "ALTER USER app IDENTIFIED -- a comment\n BY 'zZmarkZz'",
        "CREATE USER app IDENTIFIED BY PASSWORD '*zZmarkZz'",
        "CREATE USER app IDENTIFIED WITH mysql_native_password BY 'zZmarkZz'",
        "CREATE USER app IDENTIFIED WITH 'caching_sha2_password' AS 'zZmarkZz'",
        "CREATE USER a IDENTIFIED BY 'zZmarkZz', b IDENTIFIED BY 'zZmarkZz'",
        "GRANT ALL ON *.* TO app IDENTIFIED BY 'zZmarkZz' WITH GRANT OPTION",
        "SET PASSWORD = 'zZmarkZz'",
        "SET PASSWORD FOR app = 'zZmarkZz'",
        "SET PASSWORD FOR 'app'@'%' = PASSWORD('zZmarkZz')",
        "SET PASSWORD FOR 'app'@'%' = 'zZmarkZz'",
        "SELECT PASSWORD('zZmarkZz')",
        "CHANGE MASTER TO MASTER_USER='repl', MASTER_PASSWORD = 'zZmarkZz'",
        "UPDATE users SET password = 'zZmarkZz' WHERE id = 1",
        "SELECT * FROM users WHERE `password` = 'zZmarkZz'",
        "SET @access_key = 'zZmarkZz'",
        "SET @password := 'zZmarkZz'",
        "CREATE USER app IDENTIFIED BY 'it''s zZmarkZz'",
        r"CREATE USER app IDENTIFIED BY 'it\'s zZmarkZz'",
        r"CREATE USER app IDENTIFIED BY 'x\\' COMMENT 'y', b IDENTIFIED BY 'zZmarkZz'",
        'CREATE USER app IDENTIFIED BY "say ""zZmarkZz"""',
        "CREATE USER app IDENTIFIED BY 'zZmarkZz",
        "CREATE USER app IDENTIFIED BY 'zZmarkZz\\",
        'CREATE USER app IDENTIFIED BY "zZmarkZz',
        "PREPARE s FROM 'ALTER USER app IDENTIFIED BY zZmarkZz'",
        "PREPARE s FROM 'ALTER USER app IDENTIFIED BY ''zZmarkZz'''",
        "PREPARE s FROM \"ALTER USER app IDENTIFIED BY 'zZmarkZz'\"",
        r"PREPARE s FROM 'ALTER USER app IDENTIFIED BY \'zZmarkZz\''",
        "SELECT 1 /* CREATE USER app IDENTIFIED BY 'zZmarkZz' */",
        "SELECT 1 -- IDENTIFIED BY 'zZmarkZz'",
        "SELECT 1 # password=zZmarkZz",
        "SELECT 1 /* IDENTIFIED BY 'zZmarkZz",
        "LOAD DATA INFILE 'oss://bucket/a?host=h&access_key=zZmarkZz' INTO TABLE t",
        "SELECT * FROM t WHERE `my-password` = 'zZmarkZz' OR my$password = 'zZmarkZz'",
        "SET x = 'user=app old_password : zZmarkZz'",
        "BACKUP DATABASE TO 'ftp://app:zZmarkZz@host/path'",
        "/*!50000 CREATE USER app IDENTIFIED BY 'zZmarkZz' */",
    ],
)
def test_a_password_is_hidden_however_it_is_written(sql: str) -> None:
    for shown in (without_passwords(sql), formatted(sql, literals=True), digest(sql, 1000)):
        assert MARK not in shown


@pytest.mark.parametrize("cut", range(1, 16))
def test_a_password_stays_hidden_where_the_server_cut_the_text(cut: int) -> None:
    assert "zZ" not in without_passwords("CREATE USER app IDENTIFIED BY 'zZmarkZz-zZmarkZz'"[:-cut])


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT " + "'" * 100_001,
        "SELECT '" + "\\" * 100_000,
        "SELECT " + "/*" * 50_000,
        "SELECT " + "(" * 100_000,
        "SELECT " + "1," * 50_000,
        "SELECT " + "((?,?)," * 15_000,
        "SELECT " + " " * 100_000 + "x",
        "IDENTIFIED BY " * 7_000 + "'" + "identified with " * 6_000,
        "SELECT '" + "password" * 12_500 + "'",
        "SELECT '" + "://a" * 25_000 + "'",
        "SELECT '" + "identified with " + "a" * 50_000 + " " * 50_000 + "'",
        "SELECT " + "password" * 12_500 + "$ = 'x'",
        "SELECT " + "encrypt" * 14_000 + " = 'x'",
        "SELECT " + "(" * 9_000,
        "SELECT " + "CASE " * 1_900,
        "SELECT " + "a.b," * 2_400,
        "INSERT INTO t VALUES " + "(1, 'some text', NULL), " * 4_500,
    ],
    ids=lambda sql: sql[:24],
)
def test_a_hundred_kilobytes_take_no_time_to_speak_of(sql: str) -> None:
    started = time.process_time()  # of this process alone: neighbours do not count
    digest(sql, 200)
    without_passwords(sql)
    formatted(sql, literals=True)
    formatted(sql, literals=False)
    assert time.process_time() - started < 20, "it takes 0.3 s; an expression that goes back and forth takes minutes"


def test_a_formatted_text_keeps_every_word_and_literal() -> None:
    sql = "select a, 'x  y', 0.5 from t join u on t.id=u.id where a in (1,2) and b='it''s' /* why */ order by a"
    assert "".join(formatted(sql, literals=True).split()) == "".join(sql.split())


def test_a_hidden_password_leaves_the_rest_readable() -> None:
    sql = "CREATE USER app@'10.%' IDENTIFIED BY 'x' ACCOUNT LOCK"
    assert without_passwords(sql) == f"CREATE USER app@'10.%' IDENTIFIED BY {HIDDEN} ACCOUNT LOCK"


inside = st.text(st.sampled_from("aZ0 %-#/*;,()=\n表`"), max_size=8)
around = st.sampled_from(
    [
        "SELECT ",
        " FROM t ",
        ", ",
        "(",
        ")",
        " = ",
        " IN ",
        "`odd'name`",
        '`odd"name`',
        " -- it's\n",
        " # it's\n",
        " /* it's \" */ ",
        "1",
        " 0x1F ",
        "a1",
        "\n",
        "\\",
        ";",
        " IDENTIFIED BY ",
        " PASSWORD ",
    ]
)


@st.composite
def literal(draw: st.DrawFn) -> str:
    quote = draw(st.sampled_from("'\""))
    other = '"' if quote == "'" else "'"
    noise = st.sampled_from([quote * 2, "\\" + quote, "\\\\", other, "\\n", "--", "/*", "*/"])
    middle = [draw(inside | noise), MARK, draw(inside | noise)]
    return quote + "".join(middle) + quote


@given(st.lists(around | literal().map(lambda text: f" {text} "), max_size=12), st.integers(1, 300))
def test_nothing_of_a_literal_survives_in_a_digest(parts: list[str], length: int) -> None:
    # A backslash outside of quotes is a character like any other.
    shown = digest("".join(parts), length)
    assert MARK not in shown
    assert len(shown) <= length
    assert "\n" not in shown


@st.composite
def literal_where_no_backslash_escapes(draw: st.DrawFn) -> str:
    quote = draw(st.sampled_from("'\""))
    noise = st.sampled_from([quote * 2, "\\", "\\\\", '"' if quote == "'" else "'", "--", "/*", " , "])
    return "".join([quote, draw(inside | noise), MARK, draw(inside | noise), quote])


@st.composite
def name_or_literal_with_ansi_quotes(draw: st.DrawFn) -> str:
    if draw(st.booleans()):
        return draw(st.sampled_from(['"a\\"', '"\\\\b\\"', '"\'"']))
    noise = st.sampled_from(["''", "\\'", "\\\\", '"', "\\n", "--", "/*"])
    return f"'{draw(inside | noise)}{MARK}{draw(inside | noise)}'"


# The sessions that are listed may have any sql_mode.
@pytest.mark.parametrize("texts", [literal_where_no_backslash_escapes(), name_or_literal_with_ansi_quotes()])
def test_nothing_of_a_literal_survives_whatever_a_backslash_means_to_its_session(texts: st.SearchStrategy[str]) -> None:
    @given(st.lists(around | texts.map(lambda text: f" {text} "), max_size=12))
    def nothing_survives(parts: list[str]) -> None:
        assert MARK not in digest("".join(parts), 300)

    nothing_survives()


@pytest.mark.parametrize(
    ("sql", "shown"),
    [
        (r"SELECT 'C:\', ' zZmarkZz ', 5", "SELECT ?…"),
        (r"""SELECT "C:\", " zZmarkZz ", 5""", "SELECT ?…"),
        (r"SELECT a FROM t WHERE n = 'O\'Brien' AND id = 5", "SELECT a FROM t WHERE n = ?…"),
        (r"SELECT a FROM t WHERE n = 'O\'Brien and O\'Neil' AND id = 5", "SELECT a FROM t WHERE n = ? AND id = ?"),
        (r"""SELECT '{\"a\": \"b\\\\\"}', 'C:\\' AND id = 5""", "SELECT ?, ? AND id = ?"),
    ],
)
def test_a_digest_ends_where_a_backslash_may_mean_two_things(sql: str, shown: str) -> None:
    assert digest(sql, 300) == shown


@pytest.mark.parametrize(
    "sql",
    [r"CREATE USER a IDENTIFIED BY 'x\', b IDENTIFIED BY ' zZmarkZz '", r"SET @p = 'C:\', PASSWORD = ' zZmarkZz '"],
)
def test_a_password_is_hidden_whatever_a_backslash_means(sql: str) -> None:
    assert "zZ" not in without_passwords(sql)
    assert "zZ" not in formatted(sql, literals=True)


def test_a_text_without_a_password_is_whole_whatever_a_backslash_means() -> None:
    sql = r"SELECT token FROM t WHERE n = 'O\'Brien' AND id = 5"
    assert without_passwords(sql) == sql


@given(inside.filter(lambda text: "=" not in text), st.sampled_from("'\""), st.integers(0, 12))
def test_a_password_is_hidden_wherever_its_text_is_cut(text: str, quote: str, cut: int) -> None:
    sql = f"CREATE USER app IDENTIFIED BY {quote}{text}{MARK}{quote}"
    assert MARK[:2] not in without_passwords(sql[: len(sql) - cut])
