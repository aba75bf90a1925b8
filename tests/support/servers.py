"""MySQL and MariaDB as Debian's unstable suite has them, unpacked by `.ci/servers` and installed nowhere."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from sandbox.databases.embedded import DatabaseUnavailable, EmbeddedServer
from sandbox.databases.mariadb import SMALL, EmbeddedMariaDB, as_root
from sandbox.processes import GuardedProcess, stop_leftover, tail

FOLDER = Path(os.environ.get("TESTS_SERVERS") or Path(__file__).parents[2] / ".venv" / "servers")


def unpacked(name: str) -> Path:
    """Return what runs the server of that name, ``mysql`` or ``mariadb``; raises ``DatabaseUnavailable``."""
    server = FOLDER / name / "server"
    if not server.is_file():
        raise DatabaseUnavailable(f"There is no {name} in .venv/servers; on Debian bash .ci/servers puts it there")
    return server


class UnpackedMariaDB(EmbeddedMariaDB):
    """A MariaDB that is newer than the machine's own."""

    name = "MariaDB of .venv/servers"

    def _installed(self) -> Path:
        return unpacked("mariadb")

    def _program(self) -> list[str]:
        root = self.server.parent / "usr"
        return [*super()._program(), f"--basedir={root}", f"--lc-messages-dir={root / 'share/mariadb'}"]

    def _create(self, data: Path) -> None:
        data.mkdir()
        share = self.server.parent / "usr/share/mariadb"
        # As mariadb-install-db does it, which would run with the machine's own loader and libraries.
        tables = ("system_tables", "performance_tables", "system_tables_data")
        texts = [(share / f"mariadb_{name}.sql").read_text(encoding="utf-8") for name in tables]
        sql = "\n".join(["CREATE DATABASE mysql;", "USE mysql;", "SET @auth_root_socket = NULL;", *texts])
        options = [f"--datadir={data}", f"--tmpdir={self._temporary}", "--bootstrap", *as_root(), *SMALL]
        _run([*self._program(), *options], self.base_dir / "install.out", sql)


# Switched off unless asked for: who logged in, and the clients' own statements.
_WATCHED = ("--performance-schema=ON", "--performance-schema-consumer-events-statements-current=ON")


class WatchedMariaDB(EmbeddedMariaDB):
    """The machine's own MariaDB with what its performance schema knows of sessions."""

    options = _WATCHED


class WatchedUnpackedMariaDB(UnpackedMariaDB):
    """The newer one with it."""

    options = _WATCHED


class EmbeddedMySQL(EmbeddedServer):
    """A MySQL of its own on a loopback port; it reads none of the machine's option files."""

    name = "MySQL of .venv/servers"
    own_log = "server.out"
    options: ClassVar[tuple[str, ...]] = ()

    def _installed(self) -> Path:
        return unpacked("mysql")

    def _launch(self) -> None:
        temporary = self.base_dir / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        stop_leftover(self.base_dir / "server.pid", expected=str(self.base_dir))
        self.port = self._claim_port()
        data = self.base_dir / "data"
        root = self.server.parent / "usr"
        command = [
            str(self.server),
            "--no-defaults",
            f"--basedir={root}",
            f"--lc-messages-dir={root / 'share/mysql'}",
            f"--plugin-dir={root / 'lib/mysql/plugin'}",
            f"--datadir={data}",
            f"--tmpdir={temporary}",
            "--innodb-buffer-pool-size=16M",
            "--innodb-redo-log-capacity=32M",
            "--innodb-flush-log-at-trx-commit=0",  # it is thrown away anyhow
            "--innodb-doublewrite=OFF",
            "--secure-file-priv=NULL",
            "--log-bin=binlog",  # as it is by default, for replicas to log in
            "--sync-binlog=0",
            "--log-bin-trust-function-creators=ON",
            *as_root(),
        ]
        if not (data / "mysql.ibd").is_file():
            self._create(command)
        command += [
            f"--port={self.port}",
            f"--bind-address={','.join([self.host, *(['::1'] if has_ipv6() else [])])}",
            f"--pid-file={self.base_dir / 'server.pid'}",
            "--socket=server.sock",  # relative to the data folder: the path of a socket holds 107 bytes at most
            "--mysqlx=OFF",
            "--skip-name-resolve",
            "--max-connections=500",
            *self.options,
        ]
        self._process = GuardedProcess(command, log=self.base_dir / self.own_log)

    def _create(self, command: list[str]) -> None:
        # Root of a new server gets in as root@localhost alone, which is the socket where names are not resolved.
        accounts = self.base_dir / "accounts.sql"
        accounts.write_text(
            f"CREATE USER root@'{self.host}' IDENTIFIED BY '{self.password}';\n"
            f"GRANT ALL ON *.* TO root@'{self.host}' WITH GRANT OPTION;\n"
            f"ALTER USER root@localhost IDENTIFIED BY '{self.password}';\n",
            encoding="utf-8",
        )
        _run([*command, "--initialize-insecure", f"--init-file={accounts}"], self.base_dir / "install.out")

    def _secure(self) -> None:
        self._wait_for_sql().close()


@contextlib.contextmanager
def logins_in_no_hurry(server: EmbeddedServer) -> Iterator[None]:
    """Let whoever connects log in late, or never; by default MySQL and MariaDB hang up after 10 s."""
    before = _set_connect_timeout(server, 600)  # by sessions that are over, as others are counted
    try:
        yield
    finally:
        _set_connect_timeout(server, before)


def _set_connect_timeout(server: EmbeddedServer, seconds: int) -> int:
    with server.connect() as admin, admin.cursor() as cursor:
        cursor.execute("SELECT @@GLOBAL.connect_timeout")
        ((before,),) = cursor.fetchall()
        cursor.execute("SET GLOBAL connect_timeout = %s", (seconds,))
    return int(before)


def has_ipv6() -> bool:
    """Whether this machine has a loopback address of IPv6."""
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
    return True


def _run(command: list[str], log: Path, text: str = "") -> None:
    with log.open("wb") as out:
        made = subprocess.run(command, input=text.encode(), stdout=out, stderr=out, check=False)
    if made.returncode:
        raise DatabaseUnavailable(f"The folder of the server could not be made. Its last words:\n{tail(log)}")
