"""The unchanged bot as a process of its own, pointed at a sandbox and a database, for tests."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from sandbox.databases.embedded import EmbeddedServer
from sandbox.processes import tail
from sandbox.slack.server import SlackSandbox
from tests.support.patience import PATIENCE
from tests.support.preloaded import Forked, started

ROOT = Path(__file__).parents[2]
COMMANDS = ({"command": "/sessions"}, {"command": "/kill-session"})

# Tests close more in ten minutes than people should.
BUDGET = "budget = 10000"
ACCESS = """
[[access]]
who = ["U01ALICE", "U02BOB"]
may = ["view", "close"]
"""


class RunningBot:
    """`python -m bot run` for as long as the `with` block; returns from start when Slack is connected."""

    def __init__(
        self,
        sandbox: SlackSandbox,
        database: EmbeddedServer,
        folder: Path,
        *,
        access: str = ACCESS,
        more: str = "",
        source: str = "",
        first: str = "",
        user: str = "root@sys",
        password: str = "",
        port: int = 0,
        store: str = "",
        command: Sequence[str] = ("-m", "bot", "run"),
    ) -> None:
        self._sandbox = sandbox
        self._folder = folder
        self.command = tuple(command)  # what runs at the next start
        self.config = folder / "session-bot.toml"
        self.log = folder / "bot.log"
        self.config.write_text(
            f"""
{first}
[data_sources.demo]
host = "{database.host}"
port = {port or database.port}
user = "{user}"
password = "{password or database.password}"
protected_users = ["guarded"]
{"" if "budget =" in source else BUDGET}
{source}
{access}
[store]
url = "{store or f"sqlite:///{folder / 'store.db'}"}"
{more}
""",
            encoding="utf-8",
        )
        self.config.chmod(0o600)  # it holds a password
        self._process: subprocess.Popen[bytes] | Forked | None = None
        self._readied = 0  # how often its log said so before this start

    @property
    def environment(self) -> dict[str, str]:
        """What the bot's process gets."""
        return {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "SLACK_BOT_TOKEN": self._sandbox.world.bot_token,
            "SLACK_APP_TOKEN": self._sandbox.world.app_token,
            "SLACK_SIGNING_SECRET": "",  # set on this machine or not, this is Socket Mode
            "SLACK_API_URL": self._sandbox.api_url,
            "SESSION_BOT_CONFIG": str(self.config),
        }

    def start(self) -> None:
        """Start the process and wait until it takes what Slack sends."""
        self._readied = self._times_ready()
        with self.log.open("ab") as log:
            self._process = started(self.command, folder=self._folder, environment=self.environment, log=log)
        process = self._process
        self._sandbox.wait_for(lambda: self.is_ready() or process.poll() is not None, PATIENCE, "the bot's start")
        if process.poll() is not None:
            raise AssertionError(f"the bot ended with {process.returncode}:\n{self.log.read_text()}")

    def asked(self, verb: str) -> tuple[int, str]:
        """Run another verb of the command line to its end; return its exit status and all that it said."""
        with tempfile.TemporaryFile() as said:
            process = started(("-m", "bot", verb), folder=self._folder, environment=self.environment, log=said)
            status = process.wait(PATIENCE)
            said.seek(0)
            return status, said.read().decode()

    def is_ready(self) -> bool:
        """Whether it takes what Slack sends: by its own log, since another bot may listen or be connected as well."""
        return self._times_ready() > self._readied

    def _times_ready(self) -> int:
        return self.log.read_text(encoding="utf-8").count('"event": "ready"') if self.log.exists() else 0

    def signal(self, number: int) -> None:
        """Send its process a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> int:
        """End it as systemd would and return its exit status; one that has failed says what it logged."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(PATIENCE)
        if status > 0:
            raise AssertionError(f"the bot ended with {status}; its last words:\n{tail(self.log, 60)}")
        return status

    def ended(self) -> int:
        """Wait for its end, which somebody else has caused, and return its exit status."""
        assert self._process is not None
        return self._process.wait(PATIENCE)

    def frozen(self, timeout: float = PATIENCE) -> None:
        """Wait until its process has been stopped by SIGSTOP."""
        process = self._process
        assert process is not None

        def stopped() -> bool:
            if isinstance(process, Forked):
                return process.is_stopped()
            _, status = os.waitpid(process.pid, os.WUNTRACED | os.WNOHANG)
            return os.WIFSTOPPED(status)

        self._sandbox.wait_for(stopped, timeout, "the bot to freeze")

    def kill(self) -> None:
        """End it as a crash would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(PATIENCE)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
