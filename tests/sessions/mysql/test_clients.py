"""What comes to a real MySQL or MariaDB beside an application's plain TCP connection."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import pymysql
import pytest

from sandbox.databases.embedded import EmbeddedServer
from tests.conftest import leave_out
from tests.sessions.conftest import Make, one, until
from tests.sessions.examples import MARIA_PASSWORD as PASSWORD
from tests.support.patience import PATIENCE
from tests.support.servers import EmbeddedMySQL, has_ipv6
from tests.support.sessions import transaction_state
from tests.support.stage import session_id

# Commands of the client's protocol, by their numbers (MySQL's source, include/my_command.h).
BINLOG_DUMP, BINLOG_DUMP_GTID, CLONE = 0x12, 0x1E, 0x20


@contextlib.contextmanager
def sending(client: pymysql.Connection[Any], command: int, what: bytes) -> Iterator[None]:
    """Send a command of the protocol that the server goes on answering until the connection is closed."""

    def read() -> None:
        with contextlib.suppress(pymysql.Error, OSError, AttributeError):  # when it has been closed
            client._execute_command(command, what)  # type: ignore[attr-defined]  # the driver has no public way
            while True:
                client._read_packet()  # type: ignore[no-untyped-call]  # same

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    yield
    client._sock.shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined]  # the driver's own socket
    reader.join(PATIENCE)
    client.close()


@pytest.fixture
def replica(mysql: EmbeddedMySQL) -> Iterator[pymysql.Connection[Any]]:
    """Log in to the real MySQL as a replica does, and as one that copies a whole server."""
    with mysql.connect() as root, root.cursor() as cursor:
        cursor.execute("DROP USER IF EXISTS repl")
        cursor.execute(f"CREATE USER repl IDENTIFIED BY '{PASSWORD}'")
        cursor.execute("GRANT REPLICATION SLAVE, BACKUP_ADMIN ON *.* TO repl")
        client = mysql.connect(user="repl", password=PASSWORD)
        with client.cursor() as asked:
            asked.execute("SET @source_binlog_checksum = 'NONE'")
        yield client
        cursor.execute("DROP USER repl")


def binlog(mysql: EmbeddedMySQL) -> bytes:
    with mysql.connect() as root, root.cursor() as cursor:
        cursor.execute("SHOW BINARY LOGS")
        rows = cursor.fetchall()
    return str(rows[0][0]).encode()


@pytest.mark.parametrize("server", ["mysql"], indirect=True)
@pytest.mark.parametrize("command", ["Binlog Dump", "Binlog Dump GTID", "clone"])
def test_replicas_and_clones_are_threads_that_nobody_closes(
    server: EmbeddedServer, mysql: EmbeddedMySQL, crm_source: Make, replica: pymysql.Connection[Any], command: str
) -> None:
    log = binlog(mysql)
    sent = {
        "Binlog Dump": (BINLOG_DUMP, struct.pack("<IHI", 4, 0, 7) + log),
        "Binlog Dump GTID": (
            BINLOG_DUMP_GTID,
            struct.pack("<HII", 0, 8, len(log)) + log + struct.pack("<QIQ", 4, 8, 0),
        ),
        "clone": (CLONE, b""),
    }
    if command == "clone":
        with mysql.connect() as root, root.cursor() as cursor:
            cursor.execute("SELECT 1 FROM information_schema.PLUGINS WHERE PLUGIN_NAME = 'clone'")
            if not cursor.fetchall():
                cursor.execute("INSTALL PLUGIN clone SONAME 'mysql_clone.so'")
    crm = crm_source()
    with sending(replica, *sent[command]):
        until(lambda: one(crm, session_id(replica)).command == command)
        session = one(crm, session_id(replica))
        assert (session.client.user, session.state, session.active) == ("repl", "BACKGROUND", False)
        assert crm.is_thread(session)


@pytest.mark.parametrize("server", ["mysql"], indirect=True)
def test_a_client_of_ipv6_has_an_address_in_brackets(server: EmbeddedServer, crm_source: Make, logins: str) -> None:
    if not has_ipv6():
        leave_out("this machine has no loopback address of IPv6")
    crm = crm_source()
    with pymysql.connect(host="::1", port=server.port, user=logins, password=PASSWORD) as client:
        session = one(crm, session_id(client))
        assert session.client.peer == session.client.origin == f"[::1]:{session.client.port}"


def test_what_is_rolled_back_after_a_close_reads_as_ending(server: EmbeddedServer, crm_source: Make) -> None:
    crm = crm_source()
    with (
        server.connect(user="mysql_app", password=PASSWORD, database="mysql_test") as client,
        client.cursor() as cursor,
    ):
        cursor.execute("CREATE TABLE large (id INT PRIMARY KEY AUTO_INCREMENT, v INT) ENGINE = InnoDB")
        cursor.execute("INSERT INTO large (v) VALUES (1), (2), (3), (4)")
        for _ in range(16):
            cursor.execute("INSERT INTO large (v) SELECT v FROM large")
        client.begin()
        cursor.execute("UPDATE large SET v = v + 1")
        until(lambda: one(crm, session_id(client)).in_transaction)
        with server.connect() as root, root.cursor() as killer:
            killer.execute(f"KILL {session_id(client)}")
        seen: set[tuple[str, str | None]] = set()

        def gone() -> bool:
            found = crm.find(session_id(client), None)
            seen.update((each.state, transaction_state(each)) for each in found)
            return not found

        until(gone)
        assert ("KILLED", "ROLLING BACK") in seen
        assert ("SLEEP", "ROLLING BACK") not in seen, "it is not taken for idle"
