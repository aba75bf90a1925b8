"""The bots as processes of their own: ours unchanged, and the minimal one."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.slack import TimedSandbox
from sandbox.databases.embedded import EmbeddedServer
from tests.support.running_bot import ROOT, RunningBot

ACCESS = """
[[access]]
who = ["U01ALICE"]
may = ["view", "close"]
"""


class MeasuredBot(RunningBot):
    """Our bot; says how much memory it takes."""

    @property
    def memory(self) -> float:
        """Resident memory in MiB."""
        if self._process is None:
            raise RuntimeError("the bot does not run")
        for line in Path(f"/proc/{self._process.pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise RuntimeError("the bot has ended")


@contextlib.contextmanager
def ours(sandbox: TimedSandbox, database: EmbeddedServer, *, port: int = 0, more: str = "") -> Iterator[MeasuredBot]:
    """Our bot, warm: it has answered once."""
    with tempfile.TemporaryDirectory() as folder, bot_in(Path(folder), sandbox, database, port=port, more=more) as bot:
        sandbox.trip("/sessions")
        yield bot


def bot_in(
    folder: Path, sandbox: TimedSandbox, database: EmbeddedServer, *, port: int = 0, more: str = ""
) -> MeasuredBot:
    """Our bot, not yet started, with ``more`` of a configuration; bots in one folder are replicas that share a store.

    ``/sessions`` alone is about ``database``.
    """
    # On MariaDB all sessions of the bot's login are the bot's own, and the benchmark logs in as root.
    return MeasuredBot(
        sandbox,
        database,
        folder,
        access=ACCESS,
        first='default_source = "demo"',
        user="session_bot",
        password=LOGIN_PASSWORD,
        port=port,
        more=more,
    )


LOGIN_PASSWORD = "bot-password"  # noqa: S105  # opens nothing but a throw-away server


def make_login(database: EmbeddedServer) -> None:
    """Make the bot's login as the README says."""
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE USER IF NOT EXISTS session_bot IDENTIFIED BY '{LOGIN_PASSWORD}'")
        cursor.execute("GRANT ALL ON *.* TO session_bot")


@contextlib.contextmanager
def minimal(sandbox: TimedSandbox, database: EmbeddedServer) -> Iterator[None]:
    """The minimal bot, once Slack has its connection."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "SLACK_BOT_TOKEN": sandbox.world.bot_token,
        "SLACK_APP_TOKEN": sandbox.world.app_token,
        "SLACK_API_URL": sandbox.api_url,
        "DATABASE_PORT": str(database.port),
        "DATABASE_PASSWORD": database.password,
    }
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.minimal_bot"], env=environment, cwd=ROOT)
    try:
        sandbox.wait_for(lambda: sandbox.connections, 20, "the minimal bot's connection")
        yield
    finally:
        process.terminate()
        process.wait(10)


def seconds_to_ready(sandbox: TimedSandbox, database: EmbeddedServer) -> float:
    """Start our bot and stop it again; returns the seconds from its start to Slack's connection."""
    with tempfile.TemporaryDirectory() as folder:
        bot = bot_in(Path(folder), sandbox, database)
        started = time.perf_counter()
        bot.start()
        seconds = time.perf_counter() - started
        bot.stop()
    return seconds
