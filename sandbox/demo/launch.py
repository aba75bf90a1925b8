"""The demo's launcher: database, workload, Slack sandbox and the unchanged bot, until Ctrl-C.

Everything it starts ends with it: threads die with the process, processes hang on a pipe (`sandbox.guard`).
So a demo that was killed leaves nothing that could stop the next one.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

import pymysql

from sandbox.databases.embedded import DatabaseUnavailable
from sandbox.databases.mariadb import EmbeddedMariaDB
from sandbox.databases.mariadb import find_server as find_mariadb
from sandbox.databases.oceanbase import EmbeddedOceanBase
from sandbox.demo.configuration import bot_environment, write_configuration
from sandbox.demo.endpoint import Endpoint, UnusableDatabase, check_login, read_endpoint
from sandbox.demo.shop import MARIADB_BOT_GRANT, create_bot_account
from sandbox.demo.workload import MARIADB_LET_IT_RUN, Workload
from sandbox.processes import GuardedProcess, stop_leftover
from sandbox.slack.server import SlackSandbox

DEFAULT_PORT = 8026
# The same as in manifest.yml; a test holds them together.
COMMANDS = [
    {
        "command": "/sessions",
        "description": "List OceanBase sessions and close them",
        "usage_hint": "[filter…] [active-only|idle] [private] | "
        "triage | locks | transactions | show ID | stats | vars | deadlocks | audit | sources | help",
    },
    {
        "command": "/kill-session",
        "description": "Close OceanBase sessions or only their queries",
        "usage_hint": 'ID[,ID…] [query] [tenant=…] [on=…] [reason="…"] [override] | where FILTER… [query] | help',
    },
]
BOT_COMMAND = (sys.executable, "-m", "bot", "run")
BOT_CONNECTS_WITHIN = 60.0  # seconds
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class DemoFailed(Exception):  # noqa: N818 - it says what happened
    """The demo cannot start or go on; the message is a sentence for the person at the terminal."""


def run_demo(
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    bot_command: Sequence[str] = BOT_COMMAND,
) -> int:
    """Run the demo until Ctrl-C or SIGTERM (returns 0) or until something fails (says what, returns 1).

    `environment` holds DEMO_PORT, DEMO_DATABASE and DEMO_WORKLOAD (default: this process's), `folder` is where
    data and logs go (default: `.demo` here). Must be called from the main thread, for the signals.
    """
    demo = _Demo(os.environ if environment is None else environment, folder or Path(".demo"), bot_command)
    try:
        with _signals_interrupt(), ExitStack() as everything:
            demo.run(everything)
    except KeyboardInterrupt:
        demo.remove_data()
        _say("\nStopped everything.")
        return 0
    except (DemoFailed, DatabaseUnavailable, UnusableDatabase) as problem:
        _say(f"\n{problem}")
    return 1


class _Demo:
    """One run; whatever is started is entered into the exit stack at once."""

    def __init__(self, environment: Mapping[str, str], folder: Path, bot_command: Sequence[str]) -> None:
        self._environment = environment
        self._folder = folder.absolute()
        self._data = self._folder / "database"
        self._bot_command = bot_command
        self._embedded: EmbeddedOceanBase | None = None

    def run(self, everything: ExitStack) -> None:
        port = _port(self._environment.get("DEMO_PORT", ""))
        url = self._environment.get("DEMO_DATABASE", "")
        own = read_endpoint(url) if url else None
        everything.enter_context(_only_demo_in(self._folder))
        sandbox = everything.enter_context(_sandbox(port))
        self._clear_the_last_run()
        endpoint = self._own_database(everything, own) if own else self._embedded_database(everything)
        second = None if own else self._mariadb(everything)
        bot = self._bot(everything, sandbox, endpoint, second)
        _say(f"Ready: {sandbox.base_url}")
        listing = "/sessions active-only" if own else "/sessions tenant=sys active-only"
        _say(f"Type there:  {listing}")
        _say("             /kill-session ID query     with an id from that list")
        if second is not None:
            _say("             /sessions on=crm           the same on a MariaDB, where Bob must confirm a close")
        _say(f"The bot's log is {bot.log}. Ctrl-C stops everything.")
        self._watch(bot)

    def remove_data(self) -> None:
        """Remove the database's folder, some 400 MB; after a failure it is kept for its logs."""
        for folder in (self._data, self._folder / "mariadb"):
            shutil.rmtree(folder, ignore_errors=True)

    def _clear_the_last_run(self) -> None:
        """Begin with a new database: it is there in seconds, and whatever killed the last one is forgotten."""
        stop_leftover(self._data / "run" / "seekdb.pid", expected=str(self._data))
        stop_leftover(self._folder / "mariadb" / "server.pid", expected=str(self._folder / "mariadb"))
        self.remove_data()
        for file in self._folder.glob("session-bot.db*"):
            file.unlink()
        (self._folder / "bot.log").unlink(missing_ok=True)

    def _embedded_database(self, everything: ExitStack) -> Endpoint:
        with _step("Starting the embedded OceanBase"):
            database = EmbeddedOceanBase(base_dir=self._data)
            self._embedded = everything.enter_context(database)
            with database.connect() as connection:
                user, password = create_bot_account(connection)
        _say(f"  It listens on port {database.port} of every interface, as it always does, and is told to")
        _say("  refuse every login that does not come from this machine.")
        root = Endpoint(database.host, database.port, database.user, database.password)
        self._start_workload(everything, root)
        return Endpoint(database.host, database.port, user, password)

    def _mariadb(self, everything: ExitStack) -> Endpoint | None:
        """Start a data source of another kind, where the machine has what it takes."""
        try:
            find_mariadb()
        except DatabaseUnavailable as problem:
            _say(f"One data source only. {problem} adds a second one.")
            return None
        with _step("Starting a MariaDB as a second data source"):
            database = everything.enter_context(EmbeddedMariaDB(base_dir=self._folder / "mariadb"))
            with database.connect() as connection:
                user, password = create_bot_account(connection, MARIADB_BOT_GRANT)
            root = (database.host, database.port, database.user, database.password)
            everything.enter_context(Workload(*root, let_it_run=MARIADB_LET_IT_RUN))
        return Endpoint(database.host, database.port, user, password)

    def _own_database(self, everything: ExitStack, endpoint: Endpoint) -> Endpoint:
        check_login(endpoint)
        place = f"{endpoint.host}:{endpoint.port}"
        _say(f"Using the database at {place}, as {endpoint.user}.")
        if self._environment.get("DEMO_WORKLOAD") == "1":
            _say("  DEMO_WORKLOAD=1: creates the databases shop, billing and reports there, and the users app,")
            _say("  billing, report, batch and admin; they stay when the demo ends.")
            self._start_workload(everything, endpoint)
        else:
            _say("  No traffic is made on it; DEMO_WORKLOAD=1 creates databases and users there and makes some.")
        return endpoint

    def _start_workload(self, everything: ExitStack, creator: Endpoint) -> None:
        workload = Workload(creator.host, creator.port, creator.user, creator.password)
        with _step("Starting the workload"):
            try:
                everything.enter_context(workload)
            except pymysql.err.MySQLError as problem:
                raise DemoFailed(f"The workload's databases and users cannot be created: {problem}") from problem

    def _bot(
        self, everything: ExitStack, sandbox: SlackSandbox, endpoint: Endpoint, second: Endpoint | None
    ) -> GuardedProcess:
        file = self._folder / "session-bot.toml"
        write_configuration(file, endpoint, self._folder / "session-bot.db", second)
        with _step("Starting the bot"):
            bot = GuardedProcess(
                self._bot_command,
                log=self._folder / "bot.log",
                environment=bot_environment(os.environ, sandbox, file),
            )
            everything.callback(bot.stop)
            try:
                sandbox.wait_for(lambda: sandbox.connections or bot.exit_code is not None, BOT_CONNECTS_WITHIN)
            except TimeoutError as problem:
                raise DemoFailed(_with_tail("The bot did not connect to the page's Slack.", bot)) from problem
        self._check(bot)
        return bot

    def _watch(self, bot: GuardedProcess) -> None:
        while True:
            self._check(bot)
            time.sleep(0.25)

    def _check(self, bot: GuardedProcess) -> None:
        if bot.exit_code is not None:
            raise DemoFailed(_with_tail(f"The bot ended with exit code {bot.exit_code}.", bot))
        if self._embedded is not None and not self._embedded.is_running:
            raise DemoFailed(f"The embedded OceanBase ended. Its log is {self._embedded.base_dir / 'log'}.")


@contextlib.contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Turn the first ending signal into KeyboardInterrupt and ignore more: the way down has its deadlines."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for number in ENDING_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _only_demo_in(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which ends with this process however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            raise DemoFailed(f"Another demo runs in {folder}. Stop it first.") from problem
        yield


@contextlib.contextmanager
def _sandbox(port: int) -> Iterator[SlackSandbox]:
    sandbox = SlackSandbox(commands=COMMANDS, port=port)
    try:
        sandbox.start()
    except OSError as problem:
        if problem.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        sentence = f"Port {port} cannot be used ({problem.strerror}). Choose another one: "
        raise DemoFailed(f"{sentence}DEMO_PORT={port + 1} make demo") from problem
    try:
        yield sandbox
    finally:
        sandbox.stop()


@contextlib.contextmanager
def _step(text: str) -> Iterator[None]:
    """Say what is being done, and how long it took once it is."""
    sys.stdout.write(f"{text} … ")
    sys.stdout.flush()
    began = time.monotonic()
    yield
    _say(f"{time.monotonic() - began:.1f} s")


def _port(text: str) -> int:
    if not text:
        return DEFAULT_PORT
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise DemoFailed(f"DEMO_PORT must be a number from 1 to 65535, not {text!r}.")
    return int(text)


def _with_tail(sentence: str, process: GuardedProcess) -> str:
    return f"{sentence} The end of {process.log}:\n{process.log_tail()}"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
