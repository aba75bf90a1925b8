"""A real OceanBase kernel for one machine: starts, stops, restarts and suspends the server of pylibseekdb."""

import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import pymysql
from pymysql.connections import Connection
from pymysql.constants import ER
from pymysql.cursors import Cursor

from bot.demo.processes import GuardedProcess, stop_leftover, tail

PROBE_SECONDS = 2  # while the server starts, its port may accept and then hang: measured on seekdb 1.3
LOOPBACK = "127.0.0.0/8"
NO_SERVER = (
    "There is no embedded OceanBase for this platform"
    " (linux x86_64/aarch64 with glibc 2.28+, macOS arm64 15+)."
    " Point the demo at a database of your own: DEMO_DATABASE=mysql://user:password@host:port make demo"
)
# With log_disk_size=1G the server ends by itself. It takes about 600 MB of memory (330 MB on seekdb 1.4)
# whatever memory_limit says, 1G works as well, and 385 MB of disk. At INFO it logs several MB a second.
OPTIONS = (
    "--log-level=WARN",
    "--parameter=memory_limit=2G",
    "--parameter=datafile_size=256M",
    "--parameter=log_disk_size=2G",
)
# seekdb reports its host to its makers unless told not to: https://www.oceanbase.ai/docs/telemetry
ENVIRONMENT = {"TELEMETRY_ENABLED": "false"}


class DatabaseUnavailable(Exception):  # noqa: N818 - it says what the database is
    """The embedded database cannot run or did not come up; the message is a sentence for the demo's user."""


def find_server() -> Path:
    """Return the server binary of the installed pylibseekdb, or raise DatabaseUnavailable.

    The package is found, not imported: importing it loads a second kernel into this process.
    """
    found = importlib.util.find_spec("pylibseekdb")
    for folder in (found.submodule_search_locations if found else None) or ():
        server = Path(folder) / "seekdb"
        if server.is_file():
            return server
    raise DatabaseUnavailable(NO_SERVER)


class EmbeddedOceanBase:
    """A server of its own on a loopback port, for as long as the `with` block or until `stop()`.

    `server` is the binary (default: the one of the installed pylibseekdb), `port` 0 means any free one,
    `password` is root's (default: random). Without `base_dir` the data lives in a temporary folder that
    `stop()` removes. A server that an earlier, killed process left in `base_dir` is ended first.

    The server listens on all interfaces and cannot be told otherwise (measured on 1.3 and 1.4: `local_ip`,
    `devname` and `bind_address` change nothing), and a new one has an empty root password. So the first
    thing done on it is to refuse every login that does not come from 127.0.0.0/8 (`ob_tcp_invited_nodes`)
    and to set the password. Between its first answer and that, some milliseconds, whoever reaches the port
    can log in.
    """

    host = "127.0.0.1"
    user = "root"

    def __init__(
        self,
        *,
        server: Path | None = None,
        port: int = 0,
        base_dir: Path | None = None,
        password: str | None = None,
        start_within: float = 60,
    ) -> None:
        self.server = server or find_server()
        self.port = port
        self.password = password or secrets.token_urlsafe(16)
        self.base_dir = (base_dir or Path(tempfile.mkdtemp(prefix="oceanbase-"))).absolute()
        self._is_temporary = base_dir is None
        self._start_within = start_within
        self._process: GuardedProcess | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def is_running(self) -> bool:
        """Whether the server's process is alive; a suspended one is."""
        return self._process is not None and self._process.exit_code is None

    @property
    def process_id(self) -> int | None:
        """The server's process id while it runs."""
        return self._process.pid if self._process is not None and self.is_running else None

    def start(self) -> None:
        """Start the server and return when it answers SQL, or clean up and raise DatabaseUnavailable."""
        try:
            self._launch()
            self._secure()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the server (SIGTERM, then SIGKILL) and remove a temporary folder; fine when nothing runs."""
        self._end_process()
        if self._is_temporary:
            shutil.rmtree(self.base_dir, ignore_errors=True)

    def halt(self) -> None:
        """End the server but keep its folder and port, so that `start()` brings the same database back."""
        self._end_process()

    def restart(self) -> None:
        """End the server mid-flow and start it again on the same port and folder; users and tables stay."""
        self._end_process()
        self.start()

    def suspend(self) -> None:
        """Stop the server's process without ending it: connections stay open, nothing answers."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a suspended server go on."""
        self._send(signal.SIGCONT)

    def connect(
        self,
        *,
        user: str = "root",
        password: str | None = None,
        database: str | None = None,
        bind_address: str | None = None,
        autocommit: bool = True,
        read_timeout: float | None = None,
    ) -> "Connection[Cursor]":
        """Open a connection, as root unless told otherwise; `bind_address` is the client's own address."""
        return pymysql.connect(
            host=self.host,
            port=self.port,
            user=user,
            password=self.password if password is None else password,
            database=database,
            bind_address=bind_address,
            autocommit=autocommit,
            connect_timeout=5,
            read_timeout=read_timeout,
        )

    def _launch(self) -> None:
        self.base_dir.mkdir(parents=True, exist_ok=True)
        stop_leftover(self.base_dir / "run" / "seekdb.pid", expected=str(self.base_dir))
        self.port = self._claim_port()
        command = [str(self.server), "--nodaemon", "--base-dir", str(self.base_dir), "--port", str(self.port)]
        self._process = GuardedProcess(
            [*command, *OPTIONS], log=self.base_dir / "server.out", environment=os.environ | ENVIRONMENT
        )

    def _claim_port(self) -> int:
        """Check the wanted port, or choose one: the server logs a taken port and then hangs (1.3)."""
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", self.port))
            except OSError as problem:
                sentence = f"The embedded OceanBase cannot listen on port {self.port}: {problem.strerror}."
                raise DatabaseUnavailable(sentence) from problem
            return int(probe.getsockname()[1])

    def _secure(self) -> None:
        """Wait for SQL, then shut out other machines and the empty password; both survive a restart."""
        connection = self._wait_for_sql()
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute("SET GLOBAL ob_tcp_invited_nodes = %s", (LOOPBACK,))
            cursor.execute("ALTER USER root IDENTIFIED BY %s", (self.password,))

    def _wait_for_sql(self) -> "Connection[Cursor]":
        deadline = time.monotonic() + self._start_within
        while True:
            try:
                return self._probe()
            except pymysql.err.MySQLError as problem:
                self._give_up_if_ended()
                if time.monotonic() > deadline:
                    sentence = f"The embedded OceanBase did not answer within {self._start_within:.0f} s."
                    raise DatabaseUnavailable(self._with_log(sentence)) from problem
            time.sleep(0.05)

    def _probe(self) -> "Connection[Cursor]":
        """Log in with the password (a folder used before has it) or without (a new one has not)."""
        try:
            return self._probe_with(self.password)
        except pymysql.err.OperationalError as problem:
            if problem.args[0] != ER.ACCESS_DENIED_ERROR:
                raise
        return self._probe_with("")

    def _probe_with(self, password: str) -> "Connection[Cursor]":
        connection = pymysql.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            password=password,
            connect_timeout=PROBE_SECONDS,
            read_timeout=PROBE_SECONDS,
            write_timeout=PROBE_SECONDS,
        )
        try:
            connection.query("SELECT 1")
        except BaseException:
            connection.close()
            raise
        return connection

    def _give_up_if_ended(self) -> None:
        if not self.is_running:
            code = self._process.exit_code if self._process else None
            raise DatabaseUnavailable(self._with_log(f"The embedded OceanBase ended at once (exit code {code})."))

    def _with_log(self, sentence: str) -> str:
        said = self._process.log_tail() if self._process else ""
        logged = tail(self.base_dir / "log" / "seekdb.log")
        return f"{sentence} Its last words:\n{said}\n{logged}"

    def _end_process(self) -> None:
        if self._process is not None:
            self._process.stop()
            self._process = None

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send(number)
