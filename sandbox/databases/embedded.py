"""A database server of its own for one machine: starts, stops, restarts and suspends it."""

import contextlib
import secrets
import shutil
import signal
import socket
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import pymysql
from pymysql.connections import Connection
from pymysql.constants import ER
from pymysql.cursors import Cursor

from sandbox.processes import GuardedProcess, tail

PROBE_SECONDS = 2  # while a server starts, its port may accept and then hang: measured on seekdb 1.3


_SERVER_PORTS = range(15_000, 32_000)


class DatabaseUnavailable(Exception):  # noqa: N818 - it says what the database is
    """The embedded database cannot run or did not come up; the message is a sentence for the demo's user."""


class EmbeddedServer(ABC):
    """A server on a loopback port, for as long as the `with` block or until `stop()`.

    `server` is the binary (default: the installed one), `port` 0 means any free one, `password` is root's
    (default: random). Without `base_dir` the data lives in a temporary folder that `stop()` removes.
    """

    host = "127.0.0.1"
    user = "root"
    name: ClassVar[str]  # for sentences, for example "embedded OceanBase"
    own_log: ClassVar[str]  # the server's log within its folder

    def __init__(
        self,
        *,
        server: Path | None = None,
        port: int = 0,
        base_dir: Path | None = None,
        password: str | None = None,
        start_within: float = 120,
    ) -> None:
        self.server = server or self._installed()
        self.port = port
        self.password = password or secrets.token_urlsafe(16)
        self.base_dir = (base_dir or Path(tempfile.mkdtemp(prefix=f"{type(self).__name__.lower()}-"))).absolute()
        self._is_temporary = base_dir is None
        self._start_within = start_within
        self._process: GuardedProcess | None = None
        self._took_password = False  # when it was started, as a folder that was used before does

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
        if self._process is not None:
            self._process.suspend()

    def resume(self) -> None:
        """Let a suspended server go on."""
        if self._process is not None:
            self._process.send(signal.SIGCONT)

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
            ssl_disabled=True,  # else each login reads all CA certificates: 35 ms instead of 1 ms
        )

    @abstractmethod
    def _installed(self) -> Path:
        """Return the installed server's binary, or raise DatabaseUnavailable."""

    @abstractmethod
    def _launch(self) -> None:
        """Start the process on `self.port`, with its data in `self.base_dir`."""

    @abstractmethod
    def _secure(self) -> None:
        """Wait for SQL and see to it that only this machine gets in, and only with the password."""

    def _claim_port(self) -> int:
        """Check the wanted port, or choose one: seekdb 1.3 logs a taken port and then hangs.

        Those that systems give to clients are left out: while the server is halted, a client that tries to reach
        it may be given its very port, and then talks to itself.
        """
        for last_try in (*[False] * 20, True):
            port = self.port or secrets.choice(_SERVER_PORTS)
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("", port))
                except OSError as problem:
                    if self.port or last_try:
                        sentence = f"The {self.name} cannot listen on port {port}: {problem.strerror}."
                        raise DatabaseUnavailable(sentence) from problem
                else:
                    return port
        raise AssertionError("unreachable: the last try returns or raises")

    def _wait_for_sql(self) -> "Connection[Cursor]":
        deadline = time.monotonic() + self._start_within
        while True:
            try:
                return self._probe()
            except pymysql.err.MySQLError as problem:
                self._give_up_if_ended()
                if time.monotonic() > deadline:
                    sentence = f"The {self.name} did not answer within {self._start_within:.0f} s."
                    raise DatabaseUnavailable(self._with_log(sentence)) from problem
            time.sleep(0.05)

    def _probe(self) -> "Connection[Cursor]":
        """Log in with the password (a folder used before has it) or without (a new one has not)."""
        try:
            connection = self._probe_with(self.password)
        except pymysql.err.OperationalError as problem:
            if problem.args[0] != ER.ACCESS_DENIED_ERROR:
                raise
            self._took_password = False
            return self._probe_with("")
        self._took_password = True
        return connection

    def _probe_with(self, password: str) -> "Connection[Cursor]":
        """Try whether it answers, then log in anew: what is done first after a start may take longer than a try."""
        with contextlib.closing(self._log_in(password, PROBE_SECONDS)) as connection:
            connection.query("SELECT 1")
        return self._log_in(password, self._start_within)

    def _log_in(self, password: str, seconds: float) -> "Connection[Cursor]":
        return pymysql.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            password=password,
            connect_timeout=PROBE_SECONDS,
            read_timeout=seconds,
            write_timeout=seconds,
            ssl_disabled=True,  # as in `connect`: a start takes a hundred tries
        )

    def _give_up_if_ended(self) -> None:
        if not self.is_running:
            code = self._process.exit_code if self._process else None
            raise DatabaseUnavailable(self._with_log(f"The {self.name} ended at once (exit code {code})."))

    def _with_log(self, sentence: str) -> str:
        said = self._process.log_tail() if self._process else ""
        logged = tail(self.base_dir / self.own_log)
        return f"{sentence} Its last words:\n{said}\n{logged}"

    def _end_process(self) -> None:
        if self._process is not None:
            self._process.stop()
            self._process = None
