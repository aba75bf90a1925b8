"""Why a server refuses a login, by error number, and what to do about it (docs/oceanbase.md 8.6).

The numbers were seen on MySQL 9.7, MariaDB 10.11 and 11.8 and seekdb, but for those of MySQL's error reference alone:
1042, 1130, 1251; 4666, 5150 and Oracle mode are from OceanBase's sources.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

LIMITS = (1203, 1226)  # by the server's max_user_connections, and by WITH MAX_USER_CONNECTIONS and the like
_NOT_SUPPORTED = 1235
UNKNOWN_PLUGIN = 2059  # PyMySQL's own
MISSING_PACKAGE = 2061  # of the same login plugin; the bot's own, as a client's number for a plugin that fails

# A server of MySQL or MariaDB asks by a random plugin for the password of an account that it does not have.
OR_NO_SUCH_ACCOUNT = "A server may also ask so where it has no such account for the bot's host: check that first."

_SAW = re.compile(r"'([^']*)'@'([^']*)'")  # "using password" behind it is of the first packet alone: parsec's is empty
_NO_ADDRESS = "xxx.xxx.xxx.xxx"  # what OceanBase writes in its place

# The rest of "refused the login of bot: …"; the server's own words stand where {said} is.
_WHY: Mapping[int, str] = {
    1042: "it cannot look up the name of the bot's host ({said}). Mend DNS, or set skip_name_resolve there.",
    1045: "user, password, tenant or cluster is wrong, or the account is for another host, or wants TLS or a client "
    "certificate; the server does not say which.",
    1049: "there is no such database ({said}). Create it, or name the one that is there.",
    1129: "it has blocked the bot's host after too many failed connections ({said}). Run FLUSH HOSTS there, or where "
    "that is gone TRUNCATE TABLE performance_schema.host_cache.",
    1130: "it lets no account in from the bot's host ({said}). CREATE USER … @ that host, or a pattern that it fits.",
    1184: "it runs init_connect for each new connection, and that failed ({said}). Its error log says at what: mend "
    "init_connect, or grant the account what that needs.",
    1251: "the account has a password in a form that the bot does not know ({said}). Set its password anew there, with "
    "a login plugin of today.",
    1275: "the account has a password in the old form ({said}). Set its password anew there.",
    1524: "{said}, and the account logs in by it. Load that plugin there, or give the account another one with "
    "ALTER USER.",
    1698: "the account logs in without a password, as with unix_socket or auth_socket, which works on the server's own "
    "machine alone, or there is no such account: MariaDB answers both alike. Give it a password with ALTER USER … "
    "IDENTIFIED BY, or name another one.",
    1820: "its password has expired. Set a new one there with ALTER USER … IDENTIFIED BY, and in the configuration.",
    1862: "its password has expired. Set a new one there with ALTER USER … IDENTIFIED BY, and in the configuration.",
    3118: "the account is locked. ALTER USER … ACCOUNT UNLOCK there.",
    3159: 'it takes no login without TLS. Set tls = "required", or "verified" with its CA in tls_ca.',
    3955: "the account is blocked after too many wrong passwords ({said}). Put the password right, then ALTER USER … "
    "ACCOUNT UNLOCK there.",
    4150: "the account is blocked after too many wrong passwords. Put the password right, then FLUSH PRIVILEGES there.",
    4151: "the account is locked. ALTER USER … ACCOUNT UNLOCK there.",
    _NOT_SUPPORTED: "an Oracle-mode tenant does not take this protocol. Log in to the sys tenant instead: it lists and "
    "closes the sessions of every tenant.",
    4666: "the user's name has another cluster ({said}). Write user@tenant#cluster with the one that is there.",
    5150: "{said}. Name an observer that has the tenant, or an OBProxy, which finds it.",
    UNKNOWN_PLUGIN: "{said}. Let the account use mysql_native_password or caching_sha2_password, on MariaDB also "
    f"ed25519 or parsec. {OR_NO_SUCH_ACCOUNT}",
    MISSING_PACKAGE: f"{{said}}. {OR_NO_SUCH_ACCOUNT}",
}

_LIMITS: Mapping[str, str] = {
    "max_user_connections": "MAX_USER_CONNECTIONS",
    "max_connections_per_hour": "MAX_CONNECTIONS_PER_HOUR",
    "max_queries_per_hour": "MAX_QUERIES_PER_HOUR",
    "max_questions": "MAX_QUERIES_PER_HOUR",
    "max_updates": "MAX_UPDATES_PER_HOUR",
    "max_updates_per_hour": "MAX_UPDATES_PER_HOUR",
}


def explains(errno: int) -> bool:
    """Whether the number is one that refuses logins, and known here."""
    return errno in _WHY


def why(errno: int, said: str) -> str:
    """Say why a login is refused and what to do: the rest of a sentence, after "refused the login of …: ".

    ``said`` is what the server says with that number. One that is not known here is passed on with its text.
    """
    said = said[:200].rstrip(".")
    known = _WHY.get(errno)
    if known is None or (errno == _NOT_SUPPORTED and "oracle" not in said.lower()):  # a META$ tenant, for example
        return f"{said} (error {errno}). Check the account there, and what init_connect runs at each login."
    return known.format(said=said) + _seen(said)


def _seen(said: str) -> str:
    """Say as whom the server saw the bot, where it tells: an account may be for another host."""
    seen = _SAW.search(said)
    if seen is None or seen[2] == _NO_ADDRESS:
        return ""
    return f" It saw the bot as {seen[1]}@{seen[2]}."


def limit(said: str) -> tuple[bool, str]:
    """Tell whether an account has as many connections open as it may, and say which limit of its own it has used up.

    The text is the rest of a sentence that begins with the account.
    """
    name = next((name for name in _LIMITS if f"'{name}'" in said), "")
    if name == "max_user_connections":
        return True, (
            "has as many connections open as it may (max_user_connections), those of a bot that runs included. Such a "
            "bot goes on with what it has; ALTER USER … WITH MAX_USER_CONNECTIONS 5 there allows more."
        )
    option = _LIMITS.get(name, "its limits")
    return False, (
        f"has used up a limit of its own ({said[:200].rstrip('.')}). Take it away with ALTER USER … WITH {option} 0 "
        "there: the bot asks all the time."
    )
