"""The demo's launcher starts everything, says what went wrong, and leaves nothing running.

The bot is stood in for by a client that only opens its Socket Mode connection; the real one is started by the
tests of the whole demo.
"""

import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pymysql
import pytest

from sandbox.databases.oceanbase import EmbeddedOceanBase
from sandbox.demo.configuration import bot_environment, write_configuration
from sandbox.demo.endpoint import Endpoint, UnusableDatabase, check_login, read_endpoint
from sandbox.demo.launch import run_demo
from sandbox.demo.workload import Workload
from sandbox.slack.server import SlackSandbox
from tests.support.http_bot import free_port
from tests.support.patience import PATIENCE

ROOT = Path(__file__).parents[3]
LAUNCH = """
import sys
from sandbox.demo.launch import run_demo
sys.exit(run_demo(bot_command=[sys.executable, "-c", sys.argv[1]]))
"""
CONNECTING_BOT = """
import os, time
from slack_sdk import WebClient
from slack_sdk.socket_mode import SocketModeClient
api = os.environ["SLACK_API_URL"]
web = WebClient(os.environ["SLACK_BOT_TOKEN"], base_url=api)
SocketModeClient(os.environ["SLACK_APP_TOKEN"], web_client=web).connect()
print("connected", flush=True)
time.sleep(600)
"""


class Demo:
    """A demo running as a process of its own in a folder of its own."""

    def __init__(self, folder: Path, bot: str = CONNECTING_BOT, **settings: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.output = folder / f"output-{self.port}"
        # The kernel of seekdb 1.4 starts in half the time; where it is missing the environment's own is found.
        path = f"{ROOT / '.venv' / 'seekdb-1.4'}{os.pathsep}{ROOT}"
        environment = os.environ | {"PYTHONPATH": path, "DEMO_PORT": str(self.port)} | settings
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", LAUNCH, bot],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def wait_until_ready(self) -> None:
        wait_until(lambda: "Ready:" in self.said() or self.process.poll() is not None)
        assert "Ready:" in self.said(), self.said()

    def said(self) -> str:
        return self.output.read_text()

    def ends_with(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def relatives(self) -> list[int]:
        """Return the processes that were started for this demo and are alive, the launcher left out."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(self.folder).encode() in command and int(entry.name) != self.process.pid:
                found.append(int(entry.name))
        return found


def wait_until(condition: Callable[[], object], within: float = PATIENCE) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Demo]]:
    started: list[Demo] = []

    def begin(bot: str = CONNECTING_BOT, **settings: str) -> Demo:
        demo = Demo(tmp_path, bot, **settings)
        started.append(demo)
        return demo

    yield begin
    for demo in started:
        demo.process.kill()
        demo.process.wait()


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a demo that ends by itself, in this process, and return what it said."""

    def to_the_end(bot: str = CONNECTING_BOT, **settings: str) -> str:
        environment = {"DEMO_PORT": str(free_port())} | settings
        assert run_demo(environment, tmp_path, [sys.executable, "-c", bot]) == 1
        return capsys.readouterr().out

    return to_the_end


@pytest.fixture
def own_url(oceanbase: EmbeddedOceanBase) -> str:
    """Give the address of a database that runs already: quicker than a new one for each test."""
    return f"mysql://{oceanbase.user}:{oceanbase.password}@{oceanbase.host}:{oceanbase.port}"


needs_proc = pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are counted in /proc")


@needs_proc
def test_it_starts_everything_survives_a_kill_starts_again_at_once_and_stops_on_ctrl_c(
    start: Callable[..., Demo],
) -> None:
    first = start()
    first.wait_until_ready()
    assert f"Ready: http://127.0.0.1:{first.port}\n" in first.said()
    with urllib.request.urlopen(f"http://127.0.0.1:{first.port}/page/world") as answer:
        assert answer.status == 200
    configuration = tomllib.loads((first.folder / ".demo" / "session-bot.toml").read_text())
    source = configuration["data_sources"]["demo"]
    with (
        pymysql.connect(
            host=source["host"], port=source["port"], user=source["user"], password=source["password"]
        ) as bot,
        bot.cursor() as cursor,
    ):
        cursor.execute("SELECT COUNT(*) FROM oceanbase.V$OB_PROCESSLIST WHERE USER = 'report'")
        assert cursor.fetchone() == (1,)
    assert len(first.relatives()) >= 3  # the database, its guard, the bot's guard
    first.ends_with(signal.SIGKILL)

    second = start()
    second.wait_until_ready()
    assert second.ends_with(signal.SIGINT) == 0
    assert "Stopped everything." in second.said()
    assert second.relatives() == []
    assert not (second.folder / ".demo" / "database").exists()


@needs_proc
def test_sigterm_stops_everything_too(start: Callable[..., Demo], own_url: str) -> None:
    demo = start(DEMO_DATABASE=own_url)
    demo.wait_until_ready()
    assert demo.ends_with(signal.SIGTERM) == 0
    assert demo.relatives() == []


@needs_proc
def test_a_database_that_dies_ends_the_demo_with_a_sentence(start: Callable[..., Demo]) -> None:
    demo = start()
    demo.wait_until_ready()
    server = int((demo.folder / ".demo" / "database" / "run" / "seekdb.pid").read_text())
    os.kill(server, signal.SIGKILL)
    assert demo.process.wait(PATIENCE) == 1
    assert "The embedded OceanBase ended. Its log is" in demo.said()
    assert demo.relatives() == []


def test_a_taken_port_is_told_with_the_way_out(run: Callable[..., str], tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        said = run(DEMO_PORT=str(port))
    assert f"Port {port} cannot be used (Address already in use)." in said
    assert f"DEMO_PORT={port + 1} make demo" in said
    assert not (tmp_path / "database").exists()


@pytest.mark.parametrize("text", ["eighty", "0", "65536", "80²"])
def test_a_port_that_is_none_is_told(run: Callable[..., str], text: str) -> None:
    assert f"DEMO_PORT must be a number from 1 to 65535, not {text!r}." in run(DEMO_PORT=text)


def test_a_second_demo_in_the_same_folder_is_refused(start: Callable[..., Demo], own_url: str) -> None:
    first = start(DEMO_DATABASE=own_url)
    first.wait_until_ready()
    second = start(DEMO_DATABASE=own_url)
    assert second.process.wait(PATIENCE) == 1
    assert "Another demo runs in" in second.said()
    assert first.process.poll() is None


def test_a_bot_that_does_not_start_is_told_with_its_last_words(run: Callable[..., str], own_url: str) -> None:
    said = run("raise SystemExit('no access rule')", DEMO_DATABASE=own_url)
    assert re.search(r"The bot ended with exit code 1\. The end of .*bot\.log:\nno access rule", said)


def test_a_bot_that_ends_later_ends_the_demo(start: Callable[..., Demo], own_url: str, tmp_path: Path) -> None:
    ends = f"while not os.path.exists({str(tmp_path / 'end')!r}): time.sleep(0.05)\nos._exit(7)"
    demo = start(CONNECTING_BOT.replace("time.sleep(600)", ends), DEMO_DATABASE=own_url)
    demo.wait_until_ready()
    (tmp_path / "end").touch()
    assert demo.process.wait(PATIENCE) == 1
    assert "The bot ended with exit code 7." in demo.said()


def test_on_a_database_of_ones_own_no_traffic_is_made_unless_asked_for(
    start: Callable[..., Demo], own_url: str
) -> None:
    demo = start(DEMO_DATABASE=own_url)
    demo.wait_until_ready()
    assert "No traffic is made on it" in demo.said()
    assert "workload …" not in demo.said()
    assert not (demo.folder / ".demo" / "database").exists()
    demo.ends_with(signal.SIGINT)

    asked = start(DEMO_DATABASE=own_url, DEMO_WORKLOAD="1")
    asked.wait_until_ready()
    assert "creates the databases shop, billing and reports there" in asked.said()
    assert "Starting the workload …" in asked.said()
    assert asked.ends_with(signal.SIGINT) == 0


def test_a_wrong_password_for_ones_own_database_is_told_without_it(
    run: Callable[..., str], oceanbase: EmbeddedOceanBase
) -> None:
    said = run(DEMO_DATABASE=f"mysql://root:wr0ng-secret@127.0.0.1:{oceanbase.port}")
    assert f"root cannot log in to DEMO_DATABASE at 127.0.0.1:{oceanbase.port}" in said
    assert "wr0ng-secret" not in said


def test_an_address_is_read_with_its_tenant_and_escapes() -> None:
    endpoint = read_endpoint("mysql://root@sys:p%40ss@db.example.com")
    assert endpoint == Endpoint("db.example.com", 2881, "root@sys", "p@ss")
    assert "p@ss" not in repr(endpoint)


@pytest.mark.parametrize(
    "url", ["db.example.com", "http://a:b@c:1", "mysql://host:1", "mysql://u:secret@h:port", "mysql://u:s@"]
)
def test_an_address_of_another_form_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(UnusableDatabase) as sentence:
        read_endpoint(url)
    assert str(sentence.value) == "DEMO_DATABASE is not of the form mysql://user:password@host:port."


@pytest.mark.parametrize("password", ["secret", "geheim-€", "geheim-\udcff"])
def test_a_database_that_is_not_there_is_told(password: str) -> None:
    with pytest.raises(UnusableDatabase, match="root cannot log in to DEMO_DATABASE at ") as told:
        check_login(Endpoint("127.0.0.1", free_port(), "root", password))
    assert password not in str(told.value)


def test_the_configuration_says_what_was_given_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "session-bot.toml"
    file.write_text("left from the last run, for everybody")
    file.chmod(0o644)
    write_configuration(file, Endpoint("127.0.0.1", 2881, 'o"dd\\user@sys', "ü\n\x7f'"), tmp_path / "s.db")
    configuration = tomllib.loads(file.read_text(encoding="utf-8"))
    assert list(configuration["data_sources"]) == ["demo"]
    source = configuration["data_sources"]["demo"]
    assert (source["user"], source["password"]) == ('o"dd\\user@sys', "ü\n\x7f'")
    assert configuration["store"]["url"] == f"sqlite:///{tmp_path}/s.db"
    rights = {who: rule["may"] for rule in configuration["access"] for who in rule["who"]}
    assert rights == {"U01ALICE": ["view", "close"], "U02BOB": ["view", "close", "approve"]}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_second_data_source_is_of_another_kind_and_wants_a_second_person(tmp_path: Path) -> None:
    file = tmp_path / "session-bot.toml"
    here, second = Endpoint("127.0.0.1", 2881, "bot", "one"), Endpoint("127.0.0.1", 3306, "bot", "two")
    write_configuration(file, here, tmp_path / "s.db", second)
    configuration = tomllib.loads(file.read_text(encoding="utf-8"))
    assert configuration["data_sources"]["crm"] == {
        "kind": "mysql",
        "host": "127.0.0.1",
        "port": 3306,
        "user": "bot",
        "password": "two",
        "approval": "second-person",
        "break_glass_after": "30s",
    }
    assert configuration["channels"] == {"C01INC": {"data_source": "demo"}}


def test_the_bot_gets_nothing_of_a_real_workspace_and_no_proxy(tmp_path: Path) -> None:
    own = {
        "PATH": "/bin",
        "SLACK_BOT_TOKEN": "xoxb-real",
        "SLACK_SIGNING_SECRET": "real",
        "SESSION_BOT__STORE__URL": "real",
        "https_proxy": "http://proxy:3128",
    }
    sandbox = SlackSandbox(port=1)
    environment = bot_environment(own, sandbox, tmp_path / "session-bot.toml")
    assert environment == {
        "PATH": "/bin",
        "SLACK_BOT_TOKEN": "xoxb-sandbox-bot",
        "SLACK_APP_TOKEN": "xapp-sandbox-app",
        "SLACK_API_URL": "http://127.0.0.1:1/api/",
        "SESSION_BOT_CONFIG": str(tmp_path / "session-bot.toml"),
        "PYTHONUNBUFFERED": "1",
    }


def test_a_workload_that_may_not_create_databases_says_so(database: EmbeddedOceanBase) -> None:
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE USER IF NOT EXISTS visitor IDENTIFIED BY 'visitor'")
    workload = Workload(database.host, database.port, "visitor", "visitor")
    with pytest.raises(pymysql.err.MySQLError, match="denied"):
        workload.start()
    workload.stop()
