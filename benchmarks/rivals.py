"""What else one can type to see sessions: the bare query, the command-line clients, pt-kill."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql
from pydantic import SecretStr

from benchmarks.bots import LOGIN_PASSWORD
from benchmarks.measure import milliseconds
from bot.sessions import probing
from bot.sessions.database import connected, prepare
from bot.sessions.dialect import Dialect, Query
from bot.sessions.endpoint import Endpoint
from bot.sessions.model import DEFAULT_LIMIT, SessionFilter, Sort
from bot.sessions.session_variables import CHARACTER_SET, COLLATION
from sandbox.databases.embedded import EmbeddedServer
from tests.support.running_bot import ROOT

MYCLI = ROOT / ".venv" / "mycli" / "bin" / "mycli"


class BareQueries:
    """The statements of the bot's list on one warm connection of PyMySQL, prepared as the bot's own are.

    It is PyMySQL's as it is: the bot reads the cells of rows in a way of its own.
    """

    def __init__(self, database: EmbeddedServer) -> None:
        endpoint = Endpoint("bench", database.host, database.port, "session_bot", SecretStr(LOGIN_PASSWORD))
        with connected(endpoint, probing.PREPARE["auto"]) as connection:
            self._dialect: Dialect = probing.probe("auto", connection, "bench", "session_bot")
        self._raw: pymysql.Connection[Any] = pymysql.connect(
            host=endpoint.host,
            port=endpoint.port,
            user=endpoint.user,
            password=LOGIN_PASSWORD,
            charset=CHARACTER_SET,
            collation=COLLATION,
            autocommit=True,
        )
        prepare(self._raw, probing.PREPARE["auto"])

    @property
    def server(self) -> str:
        """What the bot calls this server."""
        return self._dialect.name

    @property
    def page(self) -> Query:
        """The 20 sessions of `/sessions`."""
        return self._dialect.page(None, SessionFilter(), Sort(), DEFAULT_LIMIT, 0)

    @property
    def totals(self) -> Query:
        """The line under the list: how many, how many active."""
        return self._dialect.totals(None, SessionFilter())

    def list(self) -> float:
        """Both statements of the list, in milliseconds."""
        return milliseconds(lambda: [self._rows(self.totals), self._rows(self.page)])

    def page_alone(self) -> float:
        """The rows without the totals, in milliseconds."""
        return milliseconds(lambda: self._rows(self.page))

    def run(self, statements: Sequence[Query]) -> float:
        """Some statements one after the other, in milliseconds."""
        return milliseconds(lambda: [self._rows(statement) for statement in statements])

    def as_text(self, statement: Query) -> str:
        """A statement with its values in it, for other clients."""
        with self._raw.cursor() as cursor:
            return str(cursor.mogrify(statement.sql, statement.values))

    def _rows(self, statement: Query) -> Sequence[Any]:
        with self._raw.cursor() as cursor:
            cursor.execute(statement.sql, statement.values or None)
            return list(cursor.fetchall())

    def close(self) -> None:
        """Hang up."""
        self._raw.close()


@dataclass(frozen=True, slots=True)
class Program:
    """A program that prints sessions; ``missing`` says why it cannot be timed."""

    command: Sequence[str]
    environment: dict[str, str]
    until: str = ""  # print this and be stopped; without it the program ends by itself
    missing: str = ""

    def run(self) -> float:
        """Milliseconds from its start to its end, or to the line that is waited for."""
        started = time.perf_counter()
        process = subprocess.Popen(  # noqa: S603  # fixed programs on a throw-away server
            self.command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if process.stdout is None:
            raise RuntimeError("no output")
        lines: list[str] = []
        with process.stdout as output:
            for line in output:
                lines.append(line)
                if self.until and self.until in line:
                    break
            ended = time.perf_counter()
        if self.until:
            process.terminate()
        code = process.wait(20)
        if (self.until and self.until not in lines[-1]) or (not self.until and (code or len(lines) < DEFAULT_LIMIT)):
            raise RuntimeError(f"{self.command[0]} ended with {code}:\n{''.join(lines[-15:])}")
        return (ended - started) * 1000


def mariadb_client(database: EmbeddedServer, sql: str) -> Program:
    """`mariadb -e`, a new process each time."""
    found = shutil.which("mariadb") or shutil.which("mysql")
    command = [
        found or "mariadb",
        "--no-defaults",
        f"--host={database.host}",
        f"--port={database.port}",
        "--user=session_bot",
        "--protocol=tcp",
        "--table",
        "-e",
        sql,
    ]
    environment = {**os.environ, "MYSQL_PWD": LOGIN_PASSWORD}
    return Program(command, environment, missing="" if found else "no mariadb client on this machine")


def mycli(database: EmbeddedServer, sql: str, folder: Path) -> Program:
    """`mycli --execute`, a new process each time, with settings of its own."""
    command = [
        str(MYCLI),
        f"--host={database.host}",
        f"--port={database.port}",
        "--user=session_bot",
        f"--password={LOGIN_PASSWORD}",
        f"--myclirc={folder / 'myclirc'}",
        "--ssl-mode=off",
        "--table",
        f"--execute={sql}",
    ]
    environment = {**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    return Program(command, environment, missing="" if MYCLI.is_file() else "not installed: `make bench` does it")


def pt_kill(database: EmbeddedServer) -> Program:
    """`pt-kill --print` of all sessions, a new process each time, until its first line."""
    found = shutil.which("pt-kill")
    command = [
        found or "pt-kill",
        f"h={database.host},P={database.port},u=session_bot,p={LOGIN_PASSWORD}",
        "--print",
        "--match-all",
        "--victims=all",
        "--interval=1",
        "--run-time=5",
        "--no-version-check",
    ]
    missing = "" if found else "not installed (Debian: apt-get install percona-toolkit)"
    return Program(command, dict(os.environ), until=" KILL ", missing=missing)
