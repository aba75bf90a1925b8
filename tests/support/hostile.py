"""Hostile texts: what a database, a person or a configuration could hold to become markup, SQL or a log line.

`Texts(seed)` makes them quickly and the same each time; `texts` and `statements` are theirs for hypothesis.
tests/support/hostile_judge.py shows so many of them in every view and counts what went wrong.
"""

from __future__ import annotations

import random
import re

from hypothesis import strategies as st

SECRET = "hunter2"  # in every password that a statement carries

PIECES = (
    "*bold*",
    "_italic_",
    "~struck~",
    "`code`",
    "```",
    "``` block ```",
    "> quote",
    "&",
    "&amp;",
    "&lt;!here&gt;",
    "<",
    ">",
    "<!channel>",
    "<!here>",
    "<!everyone>",
    "<!subteam^S0DBATEAM>",
    "<@U01ALICE>",
    "<@U02BOB|bob>",
    "<#C01INC>",
    "<https://evil.example|OceanBase>",
    "<mailto:a@evil.example|x>",
    "https://evil.example/?q=1",
    "www.evil.example",
    "<!date^0^{date}|never>",
    "@channel",
    "@here",
    "#general",
    ":white_check_mark: closed",
    "[x](https://evil.example)",
    "![x](https://evil.example/x.png)",
    "| a | b |\n|---|---|",
    "# heading",
    "</table>",
    "</script><script>alert(1)",
    "{}",
    "{0}",
    "{0.__class__}",
    "{request.__dict__}",
    "{{}}",
    "{{7*7}}",
    "${jndi:ldap://evil}",
    "$(id)",
    "%s",
    "%n",
    "%(password)s",
    "%d" * 9,
    "%",
    "\\",
    "\\n",
    "\\x00",
    "\\u202e",
    "\x00",
    "\x01",
    "\x07",
    "\b",
    "\t",
    "\n",
    "\r",
    "\r\n",
    "\x0b",
    "\x0c",
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\x7f",
    "\x85",
    "\x9b2J",
    "\u2028",
    "\u2029",
    "\u202e",
    "\u202d",
    "\u2066",
    "\u2069",
    "\u200f",
    "\u061c",
    "\u200b",
    "\u200d",
    "\u2060",
    "\ufeff",
    "\u00ad",
    "\u180e",
    "\u3164",
    "\U000e0041",
    "\ue000",
    "\ufffe",
    "\ufdd0",
    "\ud800",
    "\udfff",
    "\ud83d",
    "😀",
    "👩‍👩‍👧‍👦",
    "🏴‍☠️",
    "مرحبا",
    "שלום",
    "数据库",
    "ｆｕｌｌ",
    "Ｚ̷̛a̸l̵g̶o̷",
    "ﷺ",
    "İ",
    "ß",
    "'",
    '"',
    "''",
    "\\'",
    "--",
    "-- ",
    "#",
    "/*",
    "*/",
    "/*!50000",
    ";",
    "'; DROP TABLE t; --",
    "' OR '1'='1",
    "x' UNION SELECT",
    "1) OR (1=1",
    "\\%_",
    "0x27",
    "NULL",
    "None",
    "True",
    "-1",
    "1e309",
    "nan",
    "",
    " ",
    "\u00a0",
    "a,b",
    "=",
    "!=",
    "|",
    "a|b|5|c",
    "2026-11-21T03:00:00Z [info     ] ready",
    '{"event": "ready", "level": "info"}',
    "x",
    "app",
    "10.0.3.7:51234",
    "-",
    "…",
)

# Each carries a password where {} stands, as MySQL, MariaDB and OceanBase take it.
SECRETIVE = (
    "CREATE USER u IDENTIFIED BY {}",
    "CREATE USER u@'%' IDENTIFIED BY PASSWORD {}",
    "ALTER USER u IDENTIFIED BY {}",
    "CREATE USER IF NOT EXISTS a IDENTIFIED BY {}, b IDENTIFIED BY {}",
    "ALTER USER USER() IDENTIFIED BY {}",
    "CREATE USER u IDENTIFIED WITH mysql_native_password AS {}",
    "ALTER USER u IDENTIFIED WITH 'sha256' BY {}",
    "GRANT ALL ON *.* TO u IDENTIFIED BY {} WITH GRANT OPTION",
    "SET PASSWORD = {}",
    "SET PASSWORD FOR u = {}",
    "SET PASSWORD FOR 'u'@'h' = PASSWORD({})",
    "SET PASSWORD = OLD_PASSWORD({})",
    "SELECT PASSWORD({})",
    "CHANGE MASTER TO MASTER_HOST='h', MASTER_PASSWORD={}",
    "CHANGE REPLICATION SOURCE TO SOURCE_PASSWORD = {}",
    "START SLAVE USER='u' PASSWORD={}",
    "CREATE SERVER s OPTIONS (USER 'u', PASSWORD {})",
    "SET @password := {}",
    "CREATE USER u IDENTIFIED BY VALUES {}",
    "CREATE USER u IDENTIFIED VIA ed25519 USING {}",
    "ALTER USER u IDENTIFIED BY {} REPLACE {}",
    "SET DECRYPTION IDENTIFIED BY {}, {}, {}",
    "CREATE EXTERNAL TABLE t LOCATION = 's3://b' ACCESS_KEY = {}",
    "UPDATE users SET passwd = {} WHERE id = 5",
)
URLS = (
    f"mysql://root:{SECRET}@10.0.0.1:3306/x",
    f"jdbc:oceanbase://h/x?user=u&password={SECRET}&x=1",
    f"mysql://root:p@{SECRET}@h",
    f"https://u:p:{SECRET}@h/x",
    f"oss://b/p?host=h&access_key={SECRET}",
    f"ftp://u:{SECRET}@h/p",
    f"redis://:{SECRET}@h",
)
BARE = (
    "CREATE USER u IDENTIFIED BY {}",
    "ALTER USER u IDENTIFIED BY {} REPLACE {}",
    "CREATE ROLE r IDENTIFIED BY {} ;",
)
BARE_PASSWORDS = (SECRET, f"{SECRET}$_#1", f"a#{SECRET}", f"x-{SECRET}", f"1{SECRET}")  # as Oracle's SQL takes them
PASSWORDS = (
    f"'it's {SECRET}'",  # whoever types that has forgotten a backslash
    f"'{SECRET}'",
    f'"{SECRET}"',
    f"'a b {SECRET}'",
    f"'it''s {SECRET}'",
    f"'it\\'s {SECRET}'",
    f"'\\\\{SECRET}'",
    f'"say ""{SECRET}"""',
    f"'x,{SECRET};'",
    f"'<!channel>{SECRET}`'",
    f"'\n{SECRET}'",
    f"'\u202e{SECRET}'",
    f"'x' '{SECRET}'",
)
BETWEEN = (" ", "  ", "\n", "\t", "/**/ ", " /* why */ ", " -- x\n", " # x\n")

HARMLESS_BEFORE = (
    "",
    "",
    "",
    "SELECT 1; ",
    "/* <!channel> */ ",
    "-- `x` {0}\n",
    "SELECT '<!here>', \"```\"; ",
    "\u202e ",
    "' ",
    "SELECT 'it's; ",
)
HARMLESS_AFTER = ("", "", "; SELECT '<@U01ALICE>'", " /* {0.__class__} %s ", " -- ```", " 'never closed", "\x00\x1b[0m")


class Texts:
    """A source of hostile texts: the same ones for the same seed. `taken` counts them."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.taken = 0

    def text(self) -> str:
        """Make one for any place: a name, a state, a reason. It holds no password."""
        self.taken += 1
        chance = self._random.random()
        if chance < 0.002:
            return self._random.choice(PIECES) * self._random.choice((300, 3_000))
        if chance < 0.1:
            return self._random.choice(PIECES)
        glue = self._random.choice(("", "", " ", "\n"))
        return glue.join(self._piece() for _ in range(self._random.randint(1, 5)))

    def some(self, most: int) -> str:
        """Make one of at most so many characters, where the server itself keeps to that."""
        return self.text()[:most]

    def sql(self) -> str:
        """Make a statement: any text, or one that carries a password, whole or cut."""
        chance = self._random.random()
        if chance < 0.3:
            return self.text()
        self.taken += 1
        if chance < 0.4:
            quote = self._random.choice("'\"")
            return f"SELECT {quote}{self._random.choice(URLS)}{quote}, {quote}{self._piece(quote)}{quote}"
        patterns, passwords = (BARE, BARE_PASSWORDS) if chance < 0.45 else (SECRETIVE, PASSWORDS)
        statement = self._spelled(self._random.choice(patterns))
        while "{}" in statement:
            statement = statement.replace("{}", self._random.choice(passwords), 1)
        whole = self._random.choice(HARMLESS_BEFORE) + statement + self._random.choice(HARMLESS_AFTER)
        if chance < 0.55:  # cut where the kernel or a list cuts it
            return whole[: self._random.randint(1, len(whole))]
        return whole + " x" * 33_000 if chance > 0.999 else whole

    def told(self) -> str:
        """Make what a client says of itself, or a value of a variable: any text, or one with a password in it."""
        chance = self._random.random()
        if chance < 0.1:
            self.taken += 1
            return self._random.choice(URLS)
        return self.sql() if chance < 0.3 else self.text()

    def _piece(self, without: str = "") -> str:
        if self._random.random() < 0.2:
            return chr(self._random.choice((self._random.randrange(0x110000), self._random.randrange(0x300))))
        piece = self._random.choice(PIECES)
        return piece.replace("\\", "").replace(without, "") if without else piece

    def _spelled(self, statement: str) -> str:
        """Write the same in odd case, with comments and line breaks between the words."""
        case = self._random.choice((str.upper, str.lower, str.title, str.swapcase, str))
        between = self._random.choice(BETWEEN)
        return re.sub(" ", lambda _: between, re.sub(r"'[^']*'|[A-Za-z]+", lambda word: case(word[0]), statement))


seeds = st.integers(0, 2**32)
texts = st.lists(st.one_of(st.sampled_from(PIECES), st.text(st.characters(), max_size=20)), max_size=6).map("".join)
statements = seeds.map(lambda seed: Texts(seed).sql())
