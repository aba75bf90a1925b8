"""What many tests stand on: database servers and a browser, each started once, when first asked for."""

import contextlib
import importlib
import os
import shutil
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import NoReturn, TypeVar

import pytest
from hypothesis import settings
from playwright.sync_api import Browser, sync_playwright
from xdist.scheduler import LoadScopeScheduling

from sandbox.databases.embedded import DatabaseUnavailable, EmbeddedServer
from sandbox.databases.mariadb import EmbeddedMariaDB
from sandbox.databases.mariadb import find_server as find_mariadb
from sandbox.databases.oceanbase import EmbeddedOceanBase, find_server
from tests.support import left_out
from tests.support.pressure import Pressure
from tests.support.servers import EmbeddedMySQL, UnpackedMariaDB, WatchedMariaDB, WatchedUnpackedMariaDB
from tests.support.stages import (  # noqa: F401  # fixtures, here for all folders
    silent,
    stage,
    standing_stage,
    standing_wide_stage,
    wide_stage,
)

# The bot is started hundreds of times: what it consists of is compiled once, whatever the machine's environment says
# about bytecode (images forbid it), and so are the tests. Git ignores it.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# How long an example takes says how busy the machine is. CI tries the same examples each time, people new ones.
settings.register_profile("unhurried", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("unhurried")

SEEKDB_14 = Path(__file__).parent.parent / ".venv" / "seekdb-1.4" / "pylibseekdb" / "seekdb"
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class ByKernel(LoadScopeScheduling):  # type: ignore[misc]  # xdist ships no types
    """Keep all tests of one group in one process."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def group_of(nodeid: str) -> str:
    """Return a test's group: those of one kind of server, so that few are started; else those of one file.

    What would take longer together than all the rest is in two groups, each with servers of its own: the flows of
    commands are apart on OceanBase, what is asked of sessions is on MariaDB and MySQL, and closing is on its own.
    """
    file = nodeid.split("::", maxsplit=1)[0].removeprefix("tests/")
    if file.startswith("closing/") and file not in USING_MARIADB:
        return "closing"
    if "seekdb-1.4" in nodeid:
        return "seekdb-1.4"
    if "oceanbase-4.3.5" in nodeid or file.startswith(USING_OCEANBASE):
        return "oceanbase, commands" if file.startswith("commands/") else "oceanbase"
    if file in USING_MARIADB and file not in RESTARTING + USING_BOTH:
        return "mariadb, sessions" if file.startswith("sessions/") else "mariadb"
    return next((group for group, files in OTHERS.items() if file.startswith(files)), file)


# The groups that take long, longest first: they begin first, so that no process is left alone with one in the end.
LONGEST = (
    "oceanbase",
    "mariadb",
    "mariadb, sessions",
    "oceanbase, commands",
    "restartable",
    "oceanbase and mariadb",
    "closing",
    "listeners/test_owners.py",
    "seekdb-1.4",
    "test_packaging.py",
    "slack/test_socket_mode.py",
    "sandbox/demo/test_launch.py",
    "sessions/mysql/test_server_starts.py",
    "sessions/oceanbase/test_server_started.py",
    "test_benchmarks.py",
    "chromium",
    "operations/test_slow_clients.py",
    "slack/test_directory.py",
    "test_app.py",
    "sessions/test_hidden_texts.py",
    "sessions/test_tls.py",
    "test_secrets.py",
    "support/test_left_out.py",
)
USING_OCEANBASE = (
    "test_main",
    "test_guide",
    "commands/test_data_sources",
    "listeners/test_second_person",
    "listeners/test_break_glass",
    "commands/test_audit",
    "listeners/test_override_and_budget",
    "commands/test_shown_later",
    "commands/test_diagnosis",
    "commands/test_literals",
    "commands/test_silent_slack",
    "listeners/test_home",
    "listeners/test_organisations",
    "operations/test_http_mode",
    "operations/test_reload",
    "operations/test_logs_of",
    "operations/test_restart_in_incident",
    "sessions/oceanbase/test_clients_of_a_proxy",
    "sessions/test_variables",
)
USING_BOTH = ("faults/test_faults.py", "operations/test_two_replicas.py", "operations/test_named_tenants.py")
USING_MARIADB = (
    "sessions/diagnosis/test_diagnosis.py",
    "sessions/diagnosis/test_examination.py",
    "sessions/test_transactions.py",
    "sandbox/databases/test_mariadb.py",
    "support/test_odp.py",
    "sessions/oceanbase/test_cluster.py",
    "sessions/test_kill.py",
    "sessions/test_preparation.py",
    "sessions/mysql/test_mysql.py",
    "sessions/mysql/test_waits.py",
    "sessions/mysql/test_waiting.py",
    "sessions/mysql/test_state_waits.py",
    "sessions/mysql/test_advice.py",
    "sessions/oceanbase/test_partial_views.py",
    "commands/test_every_server.py",
    "commands/test_mariadb.py",
    "commands/test_switch_over.py",
    "commands/test_cluster.py",
    "sessions/mysql/test_grants.py",
    "closing/store/test_grants.py",
    "closing/test_several_past_a_proxy.py",
    "test_benchmarks.py",
    "closing/store/test_elsewhere.py",
    "closing/store/test_server_defaults.py",
    "sessions/oceanbase/test_several_tenants.py",
    "sessions/oceanbase/test_waits_of_a_cluster.py",
    "sessions/test_own_sessions.py",
    "sessions/test_login.py",
    "sessions/test_relatives.py",
    "sessions/mysql/test_stale_lists.py",
    "sessions/oceanbase/test_server_started.py",
    "closing/store/test_old_records.py",
    "closing/store/test_frozen_replica.py",
    "closing/store/test_kept_connections.py",
    "sessions/mysql/test_requests.py",
    "sessions/test_disclosed.py",
    "sessions/mysql/test_definers.py",
    "sessions/mysql/test_clients.py",
    "sessions/test_refused_logins.py",
    "commands/test_triage.py",
    "sessions/mysql/test_missing_views.py",
    "closing/store/test_trial.py",
    "closing/store/test_schema.py",
    "closing/store/test_faults.py",
    "operations/test_preflight.py",
    "operations/test_exercise.py",
    "operations/test_two_replicas.py",
    "sessions/mysql/test_kept_connections.py",
    "sessions/mysql/test_server_starts.py",
    "sessions/mysql/test_rds.py",
    "operations/test_named_tenants.py",
    "commands/test_whose_view.py",
    "listeners/test_approval_by_tenant.py",
    "sessions/test_charsets.py",
    "sessions/mysql/test_logins.py",
    "test_packaging.py",
)
# Servers of their own.
RESTARTING = (
    "test_benchmarks.py",
    "test_packaging.py",
    "sessions/oceanbase/test_server_started.py",
    "sessions/mysql/test_server_starts.py",
    "sessions/mysql/test_missing_views.py",
)
USING_RESTARTABLE = (
    "operations/test_health.py",
    "operations/test_lifecycle.py",
    "operations/test_readiness.py",
    "commands/test_faults.py",
    "sandbox/databases/test_oceanbase.py",
    "sandbox/demo/test_workload.py",
)
PAGE = "sandbox/slack/page/"
USING_CHROMIUM = (PAGE, "commands/test_in_browser.py")
OTHERS = {"oceanbase and mariadb": USING_BOTH, "chromium": (PAGE,), "restartable": USING_RESTARTABLE}
# Besides these: they use a MariaDB or a browser where there is one.
LOOKING_FOR_MORE = ("sandbox/demo/test_launch.py", "test_packaging.py")


# Fixtures that are servers.
SERVERS = {
    "oceanbase",
    "seekdb14",
    "database",
    "restartable",
    "mariadb",
    "watched_mariadb",
    "mariadb118",
    "watched_mariadb118",
    "mysql",
}
_ON_SERVERS = pytest.StashKey[set[str]]()


def file_of(item: pytest.Item) -> str:
    """Return a test's file as the groups have it."""
    return item.nodeid.split("::", maxsplit=1)[0].removeprefix("tests/")


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Let each of several processes begin with other files, so that a fresh clone's are compiled once and not by all.

    What is imported here is not imported again; a file that cannot be is told of where it is collected.
    """
    worker = getattr(session.config, "workerinput", None)
    if worker is None or session.config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return
    root = session.config.rootpath
    files = [file for file in sorted(root.glob("tests/**/test_*.py")) if not (file.parent / "__init__.py").exists()]
    first = len(files) * int(worker["workerid"].removeprefix("gw")) // worker["workercount"]
    for file in files[first:] + files[:first]:
        with contextlib.suppress(Exception):
            importlib.import_module(".".join(file.relative_to(root).with_suffix("").parts))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark as ``more`` what is another test on a machine without a MariaDB and chromium: CI runs that as there, too.

    Processes that share the tests out begin with those that take long.
    """
    for item in items:
        if file_of(item).startswith(USING_MARIADB + USING_CHROMIUM + LOOKING_FOR_MORE):
            item.add_marker("more")
    on_servers = (item for item in items if not SERVERS.isdisjoint(getattr(item, "fixturenames", ())))
    config.stash[_ON_SERVERS] = {group_of(item.nodeid) for item in on_servers}
    if hasattr(config, "workerinput"):
        places = {group: place for place, group in enumerate(LONGEST)}
        items.sort(key=lambda item: places.get(group_of(item.nodeid), len(places)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByKernel:
    """Share the tests out over the processes."""
    return ByKernel(config, log)


def leave_out(why: str, install: str = "") -> NoReturn:
    """Skip a test whose machine part is missing; with REQUIRE_ALL=1 that is a failure.

    ``install`` is the Debian package that brings the part, '' where none does.
    """
    if os.environ.get("REQUIRE_ALL") == "1":
        pytest.fail(f"REQUIRE_ALL=1, but {why}")
    pytest.skip(left_out.because(why, install))


_PRESSURE = pytest.StashKey[Pressure]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Remember what the machine was like when the test began."""
    item.stash[_PRESSURE] = Pressure()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, None, None]:
    """End the servers of a group after its last test, unless the next group is on servers.

    An idle kernel takes 4 % of a CPU.
    """
    yield
    group = group_of(nextitem.nodeid) if nextitem else None
    if group not in (None, group_of(item.nodeid)) and group not in item.config.stash[_ON_SERVERS]:
        item.session._setupstate.teardown_exact(None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell with each failure how starved the machine was, so that a fault of the bot is told from one of the machine.

    No test says how fast anything is, but the sandbox has Slack's own limits: it wants acknowledgements within 3 s,
    and the bot's take 0.5 s where a hundred come at once beside two busy neighbours. One that is late although nothing
    waited for a CPU is the bot's fault.
    """
    report = yield
    told = item.stash[_PRESSURE].told()
    if report.failed and told:
        report.sections.append(("This machine", told))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line what was left out and what to install for it."""
    skipped = terminalreporter.stats.get("skipped", [])
    told = left_out.line(str(report.longrepr[2]).removeprefix("Skipped: ") for report in skipped)
    if told:
        terminalreporter.write_line(told)


def installed_server() -> Path:
    """Return the kernel of the environment, or leave the test out where there is none."""
    try:
        return find_server()
    except DatabaseUnavailable:
        leave_out("there is no pylibseekdb for this platform")


def installed_mariadb() -> None:
    """Leave the test out where there is no MariaDB."""
    try:
        find_mariadb()
    except DatabaseUnavailable:
        leave_out("there is no MariaDB on this machine", "mariadb-server")


@pytest.fixture(scope="session")
def oceanbase() -> Iterator[EmbeddedOceanBase]:
    """Give the kernel 4.3.5 of seekdb 1.3, which has GV$ views and a tenant column."""
    with EmbeddedOceanBase(server=installed_server()) as database:
        yield database


@pytest.fixture(scope="session")
def seekdb14() -> Iterator[EmbeddedOceanBase]:
    """Give seekdb 1.4, which has V$ views only and no tenant column."""
    if not SEEKDB_14.is_file():
        leave_out("seekdb 1.4 is not installed in .venv/seekdb-1.4 (make test does that)")
    with EmbeddedOceanBase(server=SEEKDB_14) as database:
        yield database


Server = TypeVar("Server", bound=EmbeddedServer)


@contextlib.contextmanager
def running_server(make: Callable[[], Server]) -> Iterator[Server]:
    """Run a server, or leave the test out where there is none."""
    try:
        database = make()
    except DatabaseUnavailable as problem:
        leave_out(str(problem))
    with database:
        yield database


@pytest.fixture(scope="session")
def mariadb() -> Iterator[EmbeddedMariaDB]:
    """Give a real MariaDB, the machine's own, as a process of the tests."""
    installed_mariadb()
    with running_server(EmbeddedMariaDB) as database:
        yield database


@pytest.fixture(scope="session")
def watched_mariadb() -> Iterator[WatchedMariaDB]:
    """Give one more of the machine's own, whose performance schema knows who logged in and what runs."""
    installed_mariadb()
    with running_server(WatchedMariaDB) as database:
        yield database


@pytest.fixture(scope="session")
def mariadb118() -> Iterator[UnpackedMariaDB]:
    """Give a MariaDB newer than the machine's own, 11.8 or later."""
    with running_server(UnpackedMariaDB) as database:
        yield database


@pytest.fixture(scope="session")
def watched_mariadb118() -> Iterator[WatchedUnpackedMariaDB]:
    """Give one more of those, whose performance schema knows who logged in and what runs."""
    with running_server(WatchedUnpackedMariaDB) as database:
        yield database


@pytest.fixture(scope="session")
def mysql() -> Iterator[EmbeddedMySQL]:
    """Give a real MySQL, 9.6 or later."""
    with running_server(EmbeddedMySQL) as database:
        yield database


@pytest.fixture(params=["oceanbase", "seekdb14"], ids=["oceanbase-4.3.5", "seekdb-1.4"])
def database(request: pytest.FixtureRequest) -> EmbeddedOceanBase:
    """Run the test once on each of the two kernels."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, EmbeddedOceanBase)
    return found


@pytest.fixture(scope="session")
def restartable() -> Iterator[EmbeddedOceanBase]:
    """Give a database that a test may halt, restart or suspend, if it leaves it running."""
    with EmbeddedOceanBase(server=installed_server()) as database:
        yield database


@pytest.fixture(scope="session")
def page_browser() -> Iterator[Browser]:
    """Give a headless Chromium as the machine has it; nothing is downloaded."""
    chromium = shutil.which("chromium")
    if chromium is None:
        leave_out("there is no chromium on this machine", "chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, headless=True, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()
