"""The columns of MySQL's and MariaDB's process lists in SQL, with what the performance schema adds to them.

The facts were measured on MySQL 9.7, MariaDB 10.11 and 11.8.
"""

from __future__ import annotations

from dataclasses import dataclass

from bot.sessions.dialect import AUTOCOMMIT, COLUMNS, COMMAND_LENGTH, PROTECTED_COMMANDS, UNCUT_BYTES, XA_PREPARED
from bot.sessions.model import AWAITS, LOCK, LOCK_STATES, LOGGING_IN

# InnoDB fills it anew only when nobody has read it for 0.1 s: it may be as old as that, or older under a busy monitor.
TRANSACTIONS = "information_schema.INNODB_TRX"
THREADS = "performance_schema.threads"
REQUESTS = "performance_schema.events_statements_current"
TRANSACTION_EVENTS = "performance_schema.events_transactions_current"
STATUSES = ("performance_schema.global_status", "information_schema.GLOBAL_STATUS")  # MySQL's and MariaDB's
UNCUT = "information_schema.PROCESSLIST"  # 65,535 bytes of a statement; MySQL: under a lock on all threads

# What the servers' own threads have for a user; nobody can log in so.
THREAD_USERS = frozenset({"system user", "event_scheduler"})

# By its name, not by an address: which one clients can use is not known to the server.
SERVER = "CONCAT(@@hostname, ':', @@port)"

# A LIMIT keeps both servers from merging what is derived into the join: they make an index for it then, which takes
# 5 ms with 1,000 sessions. MariaDB's performance schema has no indexes (50 ms), MySQL's were slower as well (9 ms).
_DERIVED = "LIMIT 1000000"
_LOGINS = (
    "LEFT JOIN (SELECT PROCESSLIST_ID AS login_id, PROCESSLIST_USER AS login_user, PROCESSLIST_HOST AS login_host, "
    # Threads that nobody logged in for have no type. MariaDB shows whoever switched the scheduler on for its events.
    f"THREAD_ID AS login_thread FROM {THREADS} WHERE CONNECTION_TYPE IS NOT NULL {_DERIVED}) AS login ON login_id = ID"
)
# The client's own statement: level 0. Those of a routine, function or trigger are nested in it, one level deeper each.
_REQUESTS = (
    "LEFT JOIN (SELECT THREAD_ID AS request_thread, EVENT_ID AS request_event, SQL_TEXT AS request_sql, "
    f"TIMER_WAIT / 1000000000000 AS request_time FROM {REQUESTS} WHERE NESTING_EVENT_LEVEL = 0 "
    f"AND END_EVENT_ID IS NULL {_DERIVED}) AS request ON request_thread = login_thread"
)


@dataclass(frozen=True, slots=True)
class ProcessList:
    """What one server offers to one login: the list's view and columns, and which others can be read beside it."""

    view: str
    columns: frozenset[str]
    transactions: bool = False  # TRANSACTIONS
    logins: bool = False  # THREADS
    requests: bool = False  # REQUESTS, and THREADS with it
    modes: bool = False  # TRANSACTION_EVENTS, and THREADS with it
    status: str | None = None  # where Uptime stands

    @property
    def shows_definer(self) -> bool:
        """Whether USER and HOST are those of the definer while a routine of somebody else's runs: MariaDB's are."""
        return "QUERY_ID" in self.columns

    @property
    def as_sent(self) -> bool:
        """Whether a statement is also there as the bytes that the client sent, whatever its character set."""
        return "INFO_BINARY" in self.columns

    @property
    def joined(self) -> str:
        """The view with what belongs to each session: one row at most of each.

        A plain SELECT that locks nothing is a transaction to InnoDB, to nobody else. Joined, 1,000 sessions take
        30 ms for a page and 20 ms for the totals, whatever is asked for; with subqueries 10 ms, but 220 ms for
        in-transaction, since MariaDB then reads all transactions for each session.
        """
        parts = [self.view]
        if self.transactions:
            parts.append(f"LEFT JOIN {TRANSACTIONS} ON trx_mysql_thread_id = ID AND trx_autocommit_non_locking = 0")
        if self.logins:
            parts.append(_LOGINS)
        if self.requests:
            parts.append(_REQUESTS)
        return " ".join(parts)

    @property
    def request_started_within(self) -> float:
        """How far off the start of a request may be, in seconds.

        MariaDB's TIME_MS is taken a moment after NOW(6): 2 ms on a quiet machine. MySQL's TIME has whole seconds.
        """
        return 0.05 if self.requests or "TIME_MS" in self.columns else 0.5

    def expressions(self) -> dict[str, str]:
        """The SQL of each column."""
        # KILL QUERY of an idle session leaves MariaDB showing 'Killed' until its next statement, which runs normally.
        idle = "(COMMAND = 'Sleep' OR COMMAND = 'Killed' AND INFO IS NULL)"
        threads = ", ".join(f"'{user}'" for user in sorted(THREAD_USERS))
        inner = "INFO_BINARY" if self.as_sent else "CAST(INFO AS BINARY)"
        ending = "COALESCE(trx_state, '') = 'ROLLING BACK'" if self.transactions else "FALSE"
        return dict.fromkeys(COLUMNS, "NULL") | {
            "server": SERVER,
            "id": "ID",
            "user": f"COALESCE({self._login}, {_ROUTINE_OF})" if self.shows_definer else "USER",
            "peer": self._peer,
            "origin": self._peer,
            "database_name": "DB",
            "command": f"CASE WHEN {_LOGS_IN} THEN 'Connect' WHEN {idle} THEN 'Sleep' ELSE COMMAND END",
            "time": self._time,
            "total_time": self._time,
            # In OceanBase's words, for the same filters to work. MariaDB shows KILL and KILL QUERY alike as 'Killed'.
            # MySQL shows 'Sleep' while it rolls back what a closed session has done, also what it was just doing.
            "state": (
                f"CASE WHEN COMMAND = 'Killed' OR COMMAND = 'Sleep' AND {ending} THEN 'KILLED' "
                f"WHEN {_LOGS_IN} THEN '{LOGGING_IN}' "
                f"WHEN COMMAND = 'Sleep' THEN 'SLEEP' WHEN {_OF_THREAD} OR USER IN ({threads}) "
                "THEN 'BACKGROUND' ELSE 'ACTIVE' END"
            ),
            "sql_text": self._bytes,
            "sql_letters": f"LOWER({self._text})",
            "sql_length": f"LENGTH({self._bytes})",
            "sql_cut": self._is_cut,
            # MariaDB: a number for each statement, so that it names this very run. It stays there when that has ended.
            "trace_id": f"CASE WHEN NOT ({idle} OR {_LOGS_IN}) THEN CAST(QUERY_ID AS CHAR) END"
            if self.shows_definer
            else "NULL",
            "transaction_id": "trx_id" if self.transactions else "NULL",
            "transaction_state": "trx_state" if self.transactions else "NULL",
            "transaction_started": TRANSACTION_STARTED if self.transactions else "NULL",
            "transaction_mode": _TRANSACTION_MODE if self.modes and self.logins else "NULL",
            # Sessions cannot be tagged here: all of the bot's login are the bot's.
            "own": f"(ID = connection_id() OR BINARY COALESCE({self._login}, '') = %s)",
            "memory": "MEMORY_USED" if "MEMORY_USED" in self.columns else "NULL",
            "inner_sql": f"CASE WHEN {_NESTED} THEN {inner} END" if self.requests else "NULL",
            "inner_letters": f"CASE WHEN {_NESTED} THEN LOWER(INFO) END" if self.requests else "NULL",
            "request_id": "CONCAT(request_thread, ':', request_event)" if self.requests else "NULL",
            "request_started": self._request_started,
            "server_started": f"(SELECT UNIX_TIMESTAMP() - VARIABLE_VALUE FROM {self.status} "
            "WHERE VARIABLE_NAME = 'Uptime')"
            if self.status
            else "NULL",  # both are the statement's: it never moves
            "event": self._event,
            "doing": "STATE",
            "waits": f"({self._awaits} AND NOT {idle})",
            "definer": f"CASE WHEN {self._login} IS NULL THEN USER END" if self.shows_definer else "NULL",
        }

    @property
    def _text(self) -> str:
        """What the client asked for, as text: MySQL has nothing else, MariaDB has a question mark for some letters."""
        if not self.requests:
            return "INFO"
        # Both servers cut the request's text. MySQL cuts INFO as well: in another character set than the server's at
        # the first letter that is not ASCII.
        return f"CASE WHEN {_LONGER} THEN INFO ELSE COALESCE(request_sql, INFO) END"

    @property
    def _bytes(self) -> str:
        """The same as bytes: MariaDB's as the client sent them, MySQL's in UTF-8."""
        if not self.as_sent:
            return f"CAST({self._text} AS BINARY)"
        if not self.requests:
            return "INFO_BINARY"
        return f"CASE WHEN {_NESTED} THEN CAST(request_sql AS BINARY) ELSE COALESCE(INFO_BINARY, request_sql) END"

    @property
    def _is_cut(self) -> str:
        """Whether the list has only the beginning of what is asked for, or of what runs of it."""
        listed = f"LENGTH(INFO) > {UNCUT_BYTES if self.view == UNCUT else 1024 - 4}"  # it is cut before a letter
        if not self.requests:
            return listed
        asked = f"WHEN {_LONGER} THEN {listed} ELSE COALESCE({_IS_CUT}, {listed})"
        if self.as_sent:
            asked = f"ELSE {listed}"
        return f"CASE WHEN {_NESTED} THEN {_IS_CUT} OR {listed} {asked} END"

    @property
    def _awaits(self) -> str:
        """Whether its STATE or its transaction says that it waits for a lock, as ``Session.waits`` has it."""
        row = "COALESCE(trx_state, '') = 'LOCK WAIT'" if self.transactions else "FALSE"
        return f"({row} OR COALESCE({_AWAITS_LOCK}, FALSE))"

    @property
    def _login(self) -> str:
        """Who logged in; NULL where a routine runs and the list shows its definer alone."""
        if not self.shows_definer:
            return "USER"
        listed = f"CASE WHEN NOT ({_IN_ROUTINE}) THEN USER END"
        return f"COALESCE(login_user, {listed})" if self.logins else listed

    @property
    def _event(self) -> str:
        """Whether it is a run of an event; MySQL's list shows those as threads of its own."""
        if not self.shows_definer:
            return _RUNS_EVENT_OF_MYSQL if self.logins else "NULL"
        return _RUNS_EVENT + (" AND login_id IS NULL" if self.logins else "")

    @property
    def _peer(self) -> str:
        # An address of IPv6 stands there without brackets: ::1:54012. A socket is 'localhost', a server's thread ''.
        peer = (
            "CASE WHEN LOCATE(':', HOST, LOCATE(':', HOST) + 1) > 0 AND LEFT(HOST, 1) <> '[' "
            f"THEN CONCAT('[', {_BEFORE_PORT}, ']:', SUBSTRING_INDEX(HOST, ':', -1)) ELSE HOST END"
        )
        if not (self.shows_definer and self.logins):
            return peer
        # The host of who logged in, and the connection's own port, which stands behind a definer's host as well.
        return (
            f"CASE WHEN login_host IS NULL THEN {peer} ELSE CONCAT("
            "CASE WHEN LOCATE(':', login_host) > 0 THEN CONCAT('[', login_host, ']') ELSE login_host END, "
            f"CASE WHEN {_HAS_PORT} THEN CONCAT(':', SUBSTRING_INDEX(HOST, ':', -1)) ELSE '' END) END"
        )

    @property
    def _time(self) -> str:
        time = "TIME_MS / 1000" if "TIME_MS" in self.columns else "TIME"
        return f"COALESCE(request_time, {time})" if self.requests else time

    @property
    def _request_started(self) -> str:
        # MariaDB's TIME_MS runs on through a CALL, but starts anew with each statement of a function or trigger.
        # NOW(6) is nearer to it than SYSDATE(6): 2 ms instead of 9. Of MySQL's whole second the middle is meant.
        by_list = "UNIX_TIMESTAMP() - TIME + 0.5"
        if "TIME_MS" in self.columns:
            by_list = "UNIX_TIMESTAMP(NOW(6)) - TIME_MS / 1000"
        if not self.requests:
            return by_list
        return f"COALESCE(UNIX_TIMESTAMP(NOW(6)) - request_time, {by_list})"


# Both servers give it in the system's time zone, whatever that of the session is.
TRANSACTION_STARTED = "UNIX_TIMESTAMP(CONVERT_TZ(trx_started, 'SYSTEM', @@session.time_zone))"

# Of a session's latest transaction, in the words of the dialect.
_TRANSACTION_MODE = (
    f"(SELECT CASE WHEN its.XA_STATE = 'PREPARED' THEN '{XA_PREPARED}' WHEN its.AUTOCOMMIT = 'YES' THEN '{AUTOCOMMIT}' "
    f"ELSE 'BEGUN' END FROM {TRANSACTION_EVENTS} AS its WHERE its.THREAD_ID = login_thread AND its.STATE = 'ACTIVE')"
)

# INFO is the innermost statement of a routine, and like the request's text it may be cut: compared is what both have.
_IS_CUT = "RIGHT(request_sql, 3) = '...'"  # it was longer than performance_schema_max_sql_text_length
_BOTH = f"GREATEST(LEAST(200, CHAR_LENGTH(INFO), CHAR_LENGTH(request_sql) - 3 * ({_IS_CUT})), 1)"
_NESTED = f"COALESCE(LEFT(INFO, {_BOTH}) <> LEFT(request_sql, {_BOTH}), FALSE)"
_LONGER = f"NOT ({_NESTED}) AND CHAR_LENGTH(INFO) > CHAR_LENGTH(request_sql)"

_COMMANDS = ", ".join(f"'{command}'" for command in sorted(PROTECTED_COMMANDS))
_OF_THREAD = f"LOWER(LEFT(COMMAND, {COMMAND_LENGTH})) IN ({_COMMANDS})"  # what writes INSERT DELAYED has no HOST

_LOCK_STATES = ", ".join(f"'{state}'" for state in LOCK_STATES)
_AWAITS_LOCK = (
    f"(STATE IN ({_LOCK_STATES}) OR LEFT(STATE, {len(AWAITS)}) = '{AWAITS}' AND RIGHT(STATE, {len(LOCK)}) = '{LOCK}')"
)

_HAS_PORT = "LOCATE(':', HOST) > 0"
_BEFORE_PORT = "LEFT(HOST, CHAR_LENGTH(HOST) - LOCATE(':', REVERSE(HOST)))"
# A connection that has not logged in: MySQL's list has it without HOST and TIME, and COMMAND is Sleep.
_LOGS_IN = "(USER = 'unauthenticated user' AND INFO IS NULL)"
_NOT_USERS = ", ".join(f"'{user}'" for user in sorted({*THREAD_USERS, "unauthenticated user"}))
_RUNS_EVENT = f"COMMAND = 'Connect' AND NOT {_HAS_PORT} AND USER NOT IN ({_NOT_USERS}) AND INFO IS NOT NULL"
_RUNS_EVENT_OF_MYSQL = (
    "(USER = 'system user' AND INFO IS NOT NULL AND EXISTS (SELECT 1 FROM "
    f"{THREADS} AS theirs WHERE theirs.PROCESSLIST_ID = ID AND theirs.NAME = 'thread/sql/event_worker'))"
)
# MariaDB: HOST is the host of the definer's account, with the client's port behind it. What can be no client's host:
# a pattern (CHAR(37) is its sign, which the driver would take for its own), a network, nothing (a role is the definer),
# a name where the server looks none up. An event has no client, so no port: its COMMAND is Connect. A definer's host
# that is an address, or a name where names are looked up, cannot be told from a client's.
_IN_ROUTINE = (
    f"(COMMAND <> 'Sleep' AND NOT {_OF_THREAD} AND USER NOT IN ({_NOT_USERS}) AND ("
    "LOCATE(CHAR(37), HOST) > 0 OR LOCATE('/', HOST) > 0 OR HOST = '' OR LEFT(HOST, 1) = ':' AND LEFT(HOST, 2) <> '::' "
    f"OR @@skip_name_resolve AND {_HAS_PORT} AND NOT (IS_IPV4({_BEFORE_PORT}) OR IS_IPV6({_BEFORE_PORT})) "
    f"OR COMMAND = 'Connect' AND NOT {_HAS_PORT}))"
)
_ROUTINE_OF = "CONCAT(CASE COMMAND WHEN 'Connect' THEN 'in an event of ' ELSE 'in a routine of ' END, USER)"
