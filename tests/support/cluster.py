"""A stand-in for an OceanBase cluster with many tenants, servers and proxies, on a real MariaDB.

Sessions, statements, transactions and `KILL` are real. Dressed up is only what one server cannot have: a user
named `app@shop` is shown as `app` of the tenant `shop`, and a table says on which server a session is and through
which proxy it came. It stands for what the bot does with the rows of a cluster. It does not prove how a cluster
finds a session on another server, nor what OceanBase's own KILL does to it: for that there is the kernel.
"""

from __future__ import annotations

import contextlib
import time
from types import TracebackType
from typing import Any, Self

import pymysql

from sandbox.databases.mariadb import EmbeddedMariaDB
from tests.support.patience import PATIENCE
from tests.support.stage import APP_PASSWORD, session_id

BOT = "bot@sys"
_SET_UP = """
CREATE DATABASE oceanbase;
CREATE DATABASE shop;
CREATE TABLE shop.stock (sku INT PRIMARY KEY, quantity INT);
INSERT INTO shop.stock VALUES (1, 100), (2, 100);
CREATE TABLE oceanbase.placement (
  id BIGINT UNSIGNED, svr_ip VARCHAR(46), sql_port INT, host VARCHAR(64), proxy_sessid BIGINT UNSIGNED,
  client_ip VARCHAR(46), client_port INT, trans_id BIGINT UNSIGNED);
CREATE TABLE oceanbase.DBA_OB_SERVERS (
  SVR_IP VARCHAR(46), SVR_PORT INT, ID INT, ZONE VARCHAR(32), SQL_PORT INT, STATUS VARCHAR(16),
  START_SERVICE_TIME DATETIME(6) INVISIBLE DEFAULT '2026-11-01 06:00:00');
INSERT INTO oceanbase.DBA_OB_SERVERS VALUES ('127.0.0.1', 2882, 1, 'z1', {port}, 'ACTIVE');
CREATE TABLE oceanbase.DBA_OB_TENANTS (TENANT_ID INT, TENANT_NAME VARCHAR(64), TENANT_TYPE VARCHAR(16));
INSERT INTO oceanbase.DBA_OB_TENANTS VALUES
  (1, 'sys', 'SYS'), (1002, 'shop', 'USER'), (1004, 'billing', 'USER'), (1006, 'Shop', 'USER');
CREATE TABLE oceanbase.CDB_OB_SYS_VARIABLES (
  TENANT_ID INT, NAME VARCHAR(128), VALUE VARCHAR(1024), SCOPE VARCHAR(64), INFO VARCHAR(1024));
INSERT INTO oceanbase.CDB_OB_SYS_VARIABLES VALUES
  (1, 'ob_query_timeout', '10000000', 'GLOBAL | SESSION', ''), (1, 'autocommit', '1', 'GLOBAL | SESSION', ''),
  (1, 'sql_mode', '4194304', 'GLOBAL | SESSION', ''), (1, 'version', '', 'GLOBAL_ONLY', ''),
  (1002, 'ob_query_timeout', '77000000', 'GLOBAL | SESSION', ''), (1002, 'autocommit', '0', 'GLOBAL | SESSION', ''),
  (1002, 'sql_mode', '4194304', 'GLOBAL | SESSION', ''), (1002, 'last_insert_id', '5', 'SESSION', ''),
  (1002, 'report_password', 'hunter2', 'GLOBAL_ONLY', ''),
  (1004, 'ob_query_timeout', '44000000', 'GLOBAL | SESSION', ''), (1004, 'sql_mode', '0', 'GLOBAL | SESSION', ''),
  (1006, 'ob_query_timeout', '66000000', 'GLOBAL | SESSION', '');
CREATE SQL SECURITY INVOKER VIEW oceanbase.real_sessions AS
SELECT COALESCE(l.svr_ip, '127.0.0.1') AS SVR_IP, 2882 AS SVR_PORT, COALESCE(l.sql_port, {port}) AS SQL_PORT, p.ID,
  SUBSTRING_INDEX(p.USER, '@', 1) AS USER, COALESCE(l.host, p.HOST) AS HOST, COALESCE(p.DB, 'NULL') AS DB,
  IF(LOCATE('@', p.USER), SUBSTRING_INDEX(p.USER, '@', -1), 'sys') AS TENANT, p.COMMAND,
  CAST(p.TIME_MS / 1000 AS DOUBLE) AS TIME, CAST(p.TIME_MS / 1000 AS DOUBLE) AS TOTAL_TIME,
  CASE p.COMMAND WHEN 'Sleep' THEN 'SLEEP' WHEN 'Killed' THEN 'SESSION_KILLED' ELSE 'ACTIVE' END AS STATE,
  p.INFO, l.proxy_sessid AS PROXY_SESSID, CAST(NULL AS UNSIGNED) AS MASTER_SESSID,
  COALESCE(l.client_ip, SUBSTRING_INDEX(p.HOST, ':', 1)) AS USER_CLIENT_IP,
  COALESCE(l.client_port, SUBSTRING_INDEX(p.HOST, ':', -1)) AS USER_CLIENT_PORT, '%' AS USER_HOST,
  0 AS RETRY_CNT, 0 AS RETRY_INFO, IF(p.INFO IS NULL, '', UPPER(MD5(p.INFO))) AS SQL_ID,
  COALESCE(l.trans_id, CAST(0 AS UNSIGNED)) AS TRANS_ID,
  IF(p.INFO IS NULL, NULL, CONCAT('YB42', p.QUERY_ID, '-0-0')) AS TRACE_ID,
  IF(l.trans_id, 'ACTIVE', '') AS TRANS_STATE, NULL AS ACTION,
  IF(p.USER = '{bot}', 'session-bot', NULL) AS MODULE, NULL AS CLIENT_INFO
FROM information_schema.PROCESSLIST p LEFT JOIN oceanbase.placement l ON l.id = p.ID
WHERE p.USER NOT IN ('system user', 'event_scheduler') AND p.USER NOT LIKE 'hidden@%';
CREATE TABLE oceanbase.extra_sessions (
  SVR_IP VARCHAR(46) DEFAULT '10.0.0.9', SVR_PORT INT DEFAULT 2882, SQL_PORT INT DEFAULT 2881, ID BIGINT UNSIGNED,
  USER VARCHAR(64) DEFAULT 'app', HOST VARCHAR(64) DEFAULT '10.0.3.7:51234', DB VARCHAR(64) DEFAULT 'shop',
  TENANT VARCHAR(64) DEFAULT 'shop', COMMAND VARCHAR(32) DEFAULT 'Sleep', TIME DOUBLE DEFAULT 1.5,
  TOTAL_TIME DOUBLE DEFAULT 1.5, STATE VARCHAR(32) DEFAULT 'SLEEP', INFO LONGTEXT, PROXY_SESSID BIGINT UNSIGNED,
  MASTER_SESSID BIGINT UNSIGNED, USER_CLIENT_IP VARCHAR(46) DEFAULT '10.0.3.7', USER_CLIENT_PORT INT DEFAULT 51234,
  USER_HOST VARCHAR(64) DEFAULT '%', RETRY_CNT INT DEFAULT 0, RETRY_INFO INT DEFAULT 0, SQL_ID VARCHAR(32) DEFAULT '',
  TRANS_ID BIGINT UNSIGNED DEFAULT 0, TRACE_ID VARCHAR(64), TRANS_STATE VARCHAR(32) DEFAULT '', ACTION VARCHAR(64),
  MODULE VARCHAR(64), CLIENT_INFO VARCHAR(64));
CREATE SQL SECURITY INVOKER VIEW oceanbase.`GV$OB_PROCESSLIST` AS
SELECT * FROM (SELECT * FROM oceanbase.real_sessions UNION ALL SELECT * FROM oceanbase.extra_sessions) everything
WHERE SUBSTRING_INDEX(SUBSTRING_INDEX(USER(), '@', 2), '@', -1) IN ('sys', TENANT)
"""

_TRANSACTIONS = """
CREATE TABLE oceanbase.transactions (tx_id BIGINT, session_id BIGINT UNSIGNED, svr_ip VARCHAR(46), state VARCHAR(32));
CREATE SQL SECURITY INVOKER VIEW oceanbase.`GV$OB_TRANSACTION_SCHEDULERS` AS
SELECT 1002 AS tenant_id, t.svr_ip, 2882 AS svr_port, t.session_id, t.tx_id, t.state, NOW(6) AS active_time
FROM oceanbase.transactions t WHERE EXISTS (SELECT 1 FROM information_schema.PROCESSLIST p WHERE p.ID = t.session_id)
"""


class Cluster:
    """The stand-in for as long as the `with` block; the MariaDB is clean afterwards.

    Users are made by `user` or by the first `connect` of their name, all with APP_PASSWORD. The bot's login is BOT;
    without `tagged` its sessions do not show the tag by which it knows them.
    """

    def __init__(self, database: EmbeddedMariaDB, *, tagged: bool = True, transactions: bool = False) -> None:
        self._transactions = transactions  # whether there is a view of them
        self.database = database
        self._tagged = BOT if tagged else ""
        self._users: set[str] = set()
        self._opened: list[pymysql.Connection[Any]] = []

    def __enter__(self) -> Self:
        self.run(*_SET_UP.format(port=self.database.port, bot=self._tagged).split(";\n"))
        if self._transactions:
            self.run(*_TRANSACTIONS.split(";\n"))
        self.user(BOT, "PROCESS", "CONNECTION ADMIN")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.tidy()
        self.run("DROP DATABASE oceanbase", "DROP DATABASE shop", *(f"DROP USER '{user}'@'%'" for user in self._users))

    def run(self, *statements: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """Run statements as the MariaDB's root and return the rows of the last."""
        with contextlib.closing(self.database.connect()) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement, values or None)
            return list(cursor.fetchall())

    def user(self, name: str, *privileges: str) -> None:
        """Make a login `user@tenant` with these global privileges; PROCESS shows it more than its own sessions."""
        if name not in self._users:
            self._users.add(name)
            self.run(
                f"CREATE USER '{name}'@'%' IDENTIFIED BY '{APP_PASSWORD}'",
                f"GRANT SELECT ON oceanbase.* TO '{name}'@'%'",
                f"GRANT ALL ON shop.* TO '{name}'@'%'",
            )
        for privilege in privileges:
            self.run(f"GRANT {privilege} ON *.* TO '{name}'@'%'")

    def connect(
        self,
        name: str,
        *,
        server: str = "",
        port: int = 0,
        proxy: str = "",
        client: str = "",
        database: str | None = None,
    ) -> pymysql.Connection[Any]:
        """Open a real session of `user@tenant`, on `server`, through `proxy` (ip:port), from `client`."""
        self.user(name)
        connection = self.database.connect(user=name, password=APP_PASSWORD, database=database)
        self._opened.append(connection)
        self.place(session_id(connection), server=server, port=port, proxy=proxy, client=client)
        return connection

    def place(
        self, number: int, *, server: str = "", port: int = 0, proxy: str = "", client: str = "", transaction: int = 0
    ) -> None:
        """Show a session on a server; a second place shows a second row of the same id."""
        if not (server or port or proxy or client or transaction):
            return
        self.run(
            "INSERT INTO oceanbase.placement VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
            values=(
                number,
                server or None,
                port or None,
                proxy or None,
                number + 2**33 if proxy else None,
                client or None,
                40000 if client else None,
                transaction or None,
            ),
        )

    def serves(self, server: str, port: int = 2881, status: str = "ACTIVE") -> None:
        """Put a server into the cluster's list; without that only its rows show that it answers."""
        self.run(
            "INSERT INTO oceanbase.DBA_OB_SERVERS (SVR_IP, SVR_PORT, ID, ZONE, SQL_PORT, STATUS) "
            "VALUES (%s, 2882, 2, 'z2', %s, %s)",
            values=(server, port, status),
        )

    def holds(self, transaction: int, session: int, server: str = "127.0.0.1") -> None:
        """Put a transaction into the view of transactions, for as long as its server session lives.

        Sessions of a user `hidden@…` are in no list: so some versions hide what a KILL has only marked.
        """
        self.run(
            "INSERT INTO oceanbase.transactions VALUES (%s, %s, %s, 'ACTIVE')", values=(transaction, session, server)
        )

    def dress_up(self, **columns: object) -> None:
        """Add a row that no real session of MariaDB gives, for example one of an Oracle-mode tenant."""
        marks = ", ".join(["%s"] * len(columns))
        names = ", ".join(columns)
        self.run(f"INSERT INTO oceanbase.extra_sessions ({names}) VALUES ({marks})", values=tuple(columns.values()))

    def dress_up_many(self, count: int) -> None:
        """Add so many idle rows of seven tenants on two servers."""
        self.run(
            "USE oceanbase",
            "INSERT INTO extra_sessions (ID, TENANT, TIME, TOTAL_TIME, SVR_IP) "
            "SELECT 3221000000 + seq, CONCAT('t', seq % 7), seq, seq, CONCAT('10.0.0.', 8 + seq % 2) "
            f"FROM seq_1_to_{count}",
        )

    def tidy(self) -> None:
        """Close what was opened here, until the server shows it no more, and forget all dress."""
        ids = [session_id(connection) for connection in self._opened]
        for connection in self._opened:
            with contextlib.suppress(pymysql.Error):  # it may have been killed
                connection.close()
        self._opened.clear()
        deadline = time.monotonic() + PATIENCE
        with self.database.connect() as admin, admin.cursor() as cursor:
            while ids and cursor.execute("SELECT id FROM information_schema.PROCESSLIST WHERE id IN %s", (ids,)):
                assert time.monotonic() < deadline, "the server keeps sessions whose clients are gone"
        dressed = ("placement", "extra_sessions", *(("transactions",) if self._transactions else ()))
        self.run(*(f"DELETE FROM oceanbase.{table}" for table in dressed))
        self.run(
            "UPDATE oceanbase.DBA_OB_SERVERS SET STATUS = 'ACTIVE'", "DELETE FROM oceanbase.DBA_OB_SERVERS WHERE ID > 1"
        )
