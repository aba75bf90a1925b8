"""What the bot's statements rely on of their own session: set on each new connection, whatever the server's defaults.

A server's configuration, its ``init_connect`` or a proxy may have set anything else (docs/oceanbase.md 4.4).
"""

from __future__ import annotations

# PyMySQL sends it with SET NAMES after the login, so after ``init_connect``: a text that is bound and then read in GBK
# would end its own quotation. Every server has this collation.
CHARACTER_SET = "utf8mb4"
COLLATION = "utf8mb4_general_ci"

# OceanBase, MySQL and MariaDB have all of these.
EVERYWHERE: dict[str, str] = {
    # One that is known: others change what quotes, backslashes, || and empty texts mean.
    "sql_mode": "'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'",
    "sql_safe_updates": "0",
    "sql_select_limit": "9223372036854775807",  # OceanBase takes no more
    "sql_big_selects": "1",  # else ``max_join_size`` refuses a join
    "completion_type": "0",  # COMMIT neither begins the next transaction nor ends the session
    "div_precision_increment": "4",  # decimals of a quotient: without them times have whole seconds
    "time_zone": "'+00:00'",
}

# Not from a replica that is behind.
OCEANBASE: dict[str, str] = {"ob_read_consistency": "'STRONG'"}
