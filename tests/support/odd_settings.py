"""A server whose defaults for new sessions are as odd as they may be."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import pymysql

from sandbox.databases.embedded import EmbeddedServer

SQL_MODES = (
    "ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES,HIGH_NOT_PRECEDENCE,IGNORE_SPACE,PAD_CHAR_TO_FULL_LENGTH,"
    "NO_UNSIGNED_SUBTRACTION,REAL_AS_FLOAT,ONLY_FULL_GROUP_BY"
)
# Each is set where the server has it. MariaDB alone takes the second sql_mode; binlog_format counts where there is one.
ODD: tuple[tuple[str, object], ...] = (
    ("sql_mode", SQL_MODES),
    ("sql_mode", f"{SQL_MODES},ORACLE,EMPTY_STRING_IS_NULL"),
    ("sql_safe_updates", 1),
    ("sql_select_limit", 1),
    ("sql_big_selects", 0),
    ("max_join_size", 100),
    ("sql_auto_is_null", 1),
    ("autocommit", 0),
    ("completion_type", 2),
    ("tx_isolation", "SERIALIZABLE"),
    ("transaction_isolation", "SERIALIZABLE"),
    ("tx_read_only", 1),
    ("transaction_read_only", 1),
    ("binlog_format", "STATEMENT"),
    ("default_storage_engine", "MyISAM"),
    ("innodb_strict_mode", 0),
    ("alter_algorithm", "INSTANT"),
    ("character_set_server", "latin1"),
    ("default_collation_for_utf8mb4", "utf8mb4_general_ci"),
    ("character_set_collations", "utf8mb4=uca1400_as_cs"),
    ("div_precision_increment", 0),
    ("group_concat_max_len", 4),
    ("max_sort_length", 8),
    ("time_zone", "+05:45"),
    ("lc_messages", "de_DE"),
    ("max_statement_time", 2),
    ("max_execution_time", 2000),
    ("ob_query_timeout", 2000000),
    ("ob_read_consistency", "WEAK"),
    # Of logins without SUPER. seekdb 1.4 does not know the character set, and then nobody gets in.
    ("character_set_client", "gbk"),
    ("init_connect", "SET NAMES gbk; SET sql_safe_updates = 1, sql_select_limit = 1"),
)


@contextlib.contextmanager
def odd_settings(server: EmbeddedServer) -> Iterator[Mapping[str, object]]:
    """Give what is set of ``ODD``; afterwards new sessions begin as before."""
    before: dict[str, object] = {}
    now: dict[str, object] = {}
    with server.connect() as admin, admin.cursor() as cursor:
        for name, value in ODD:
            if name == "init_connect" and "character_set_client" not in now:
                continue
            with contextlib.suppress(pymysql.Error):
                cursor.execute(f"SELECT @@GLOBAL.{name}")
                before.setdefault(name, cursor.fetchall()[0][0])
                cursor.execute(f"SET GLOBAL {name} = %s", (value,))
                now[name] = value
        try:
            yield now
        finally:
            for name in reversed(now):
                cursor.execute(f"SET GLOBAL {name} = %s", (before[name],))
