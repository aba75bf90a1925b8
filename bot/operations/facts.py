"""What `check --exercise` compares a server with: facts of docs/oceanbase.md, each with its place there."""

from __future__ import annotations

from dataclasses import dataclass

DOCUMENT = "docs/oceanbase.md"


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact: its ``place`` in the document and what it says.

    ``within`` is the number of seconds beyond which a server differs from it, ways and a busy machine allowed for.
    ``errors`` are the error numbers that a client may get then, None standing for none.
    """

    place: str
    says: str
    within: float = 0.0
    errors: frozenset[int | None] = frozenset()


@dataclass(frozen=True, slots=True)
class Facts:
    """Those of one family of servers; a ``holder`` of None is one that the bot does not look for there."""

    time: Fact
    statement: Fact
    query: Fact
    stays: Fact
    wait: Fact
    holder: Fact | None
    waiter: Fact
    session: Fact
    freed: Fact
    client: Fact


_TOLD = Fact(
    "2.6",
    "the client of a closed session gets 1317, 5066, 2013, 1927 or 4031, or a socket that was closed",
    errors=frozenset({0, 1317, 5066, 2006, 2013, 1927, 4031}),
)

OCEANBASE = Facts(
    time=Fact("1.3", "a running statement shows the time since its request arrived", 1.5),
    statement=Fact("1.3", "INFO is what runs"),
    query=Fact("2.2", "the client of a SELECT gets 1317 within 0.1 s", 1.0, frozenset({1317})),
    stays=Fact("2.2", "session and transaction stay after KILL QUERY"),
    wait=Fact("1.3", "a session that waits for a row lock has RETRY_INFO -6005", 5.0),
    holder=Fact("5.2", "the view of locks names the session that holds the lock", 5.0),
    waiter=Fact("2.2", "a statement that waits for a row lock fails 1 to 10 s after KILL QUERY", 11.0),
    session=Fact("2.2", "an idle session is off the list within 13 ms", 1.0),
    freed=Fact("2.2", "who waited for its lock goes on within 5 ms", 1.0),
    client=_TOLD,
)

MYSQL = Facts(  # and MariaDB
    time=Fact("8.3", "a running statement shows the time since its request arrived, MySQL in whole seconds", 1.5),
    statement=Fact("8.1", "INFO is what runs"),
    query=Fact(
        "8.5", "SLEEP ends within 0.1 s of KILL QUERY, without an error or with 1317", 1.0, frozenset({None, 1317})
    ),
    stays=Fact("8.5", "session and transaction stay after KILL QUERY"),
    wait=Fact("8.4", "the transaction of a session that waits for a row lock is in LOCK WAIT", 5.0),
    holder=None,
    waiter=Fact("8.5", "a statement that waits for a row lock ends with 1317 within 0.1 s of KILL QUERY", 1.0),
    session=Fact("8.5", "an idle session is off the list within 0.1 s of KILL", 1.0),
    freed=Fact("8.5", "who waited for its lock goes on within 0.1 s of KILL", 1.0),
    client=_TOLD,
)
