"""The embedded OceanBase starts, survives, hangs and ends as it is told."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pymysql
import pytest
from pymysql.constants import ER

from sandbox.databases.embedded import DatabaseUnavailable
from sandbox.databases.oceanbase import NO_SERVER, EmbeddedOceanBase, find_server
from sandbox.processes import GuardedProcess, stop_leftover
from tests.support.patience import PATIENCE

CHANGES = "SELECT COUNT(*) FROM oceanbase.__all_ddl_operation"


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], within: float = PATIENCE) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


def value_of(database: EmbeddedOceanBase, sql: str) -> object:
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        row = cursor.fetchone()
    return row[0] if row else None


def test_it_is_the_kernel_of_its_line_and_answers_on_loopback(database: EmbeddedOceanBase) -> None:
    assert "OceanBase seekdb-v1." in str(value_of(database, "SELECT VERSION()"))
    assert database.host == "127.0.0.1"


def test_the_first_line_has_the_cluster_wide_view_and_the_second_has_not(
    oceanbase: EmbeddedOceanBase, seekdb14: EmbeddedOceanBase
) -> None:
    assert value_of(oceanbase, "SELECT COUNT(*) FROM oceanbase.GV$OB_PROCESSLIST") != 0
    assert value_of(seekdb14, "SELECT COUNT(*) FROM oceanbase.V$OB_PROCESSLIST") != 0
    with pytest.raises(pymysql.err.ProgrammingError) as refusal:
        value_of(seekdb14, "SELECT COUNT(*) FROM oceanbase.GV$OB_PROCESSLIST")
    assert refusal.value.args[0] == ER.NO_SUCH_TABLE


def test_root_cannot_log_in_without_its_password(database: EmbeddedOceanBase) -> None:
    with pytest.raises(pymysql.err.OperationalError) as refusal:
        database.connect(password="")
    assert refusal.value.args[0] == ER.ACCESS_DENIED_ERROR


def test_nobody_logs_in_from_outside_the_machine(database: EmbeddedOceanBase) -> None:
    outer_address = own_outer_address()
    if not outer_address:
        pytest.skip("this machine has no address but loopback")
    with pytest.raises(pymysql.err.OperationalError) as refusal:
        pymysql.connect(host=outer_address, port=database.port, user="root", password=database.password)
    assert refusal.value.args[0] == ER.SPECIFIC_ACCESS_DENIED_ERROR


def own_outer_address() -> str:
    """Return the address that this machine shows to others; nothing is sent to find it out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return ""
        return str(probe.getsockname()[0])


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has 127.0.0.1 only")
def test_a_client_comes_from_the_loopback_address_that_it_chooses(database: EmbeddedOceanBase) -> None:
    with database.connect(bind_address="127.0.0.77") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT HOST FROM oceanbase.V$OB_PROCESSLIST WHERE ID = CONNECTION_ID()")
        row = cursor.fetchone()
    assert row is not None
    assert row[0].startswith("127.0.0.77:")


def test_it_tells_nobody_about_this_machine(database: EmbeddedOceanBase) -> None:
    environment = Path(f"/proc/{database.process_id}/environ")
    if not environment.exists():
        pytest.skip("another process's environment can be read on Linux only")
    assert b"TELEMETRY_ENABLED=false" in environment.read_bytes().split(b"\0")


def test_halted_it_refuses_connections_and_started_again_from_a_thread_it_has_its_port_and_its_data(
    restartable: EmbeddedOceanBase,
) -> None:
    port = restartable.port
    with restartable.connect() as before, before.cursor() as cursor:
        cursor.execute("CREATE DATABASE kept")
        cursor.execute("CREATE USER kept IDENTIFIED BY 'kept'")
        changes = value_of(restartable, CHANGES)
        restartable.halt()
        assert not restartable.is_running
        with pytest.raises(pymysql.err.OperationalError):
            restartable.connect()
        starter = threading.Thread(target=restartable.start)
        starter.start()
        starter.join()
        with pytest.raises(pymysql.err.OperationalError, match="Lost connection"):
            cursor.execute("SELECT 1")
    assert restartable.port == port
    assert value_of(restartable, CHANGES) == changes, "seekdb 1.4 may be unable to make one: docs/oceanbase.md 10"
    restartable.connect(user="kept", password="kept").close()
    assert value_of(restartable, "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = 'kept'") == 1


def test_while_it_is_suspended_nothing_answers_and_afterwards_it_goes_on(
    restartable: EmbeddedOceanBase,
) -> None:
    with restartable.connect() as connection, connection.cursor() as cursor:
        restartable.suspend()
        try:
            with pytest.raises(pymysql.err.OperationalError):
                restartable.connect(read_timeout=0.5)
        finally:
            restartable.resume()
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)


def test_a_server_that_ends_at_once_is_reported_with_its_last_words(tmp_path: Path) -> None:
    server = tmp_path / "seekdb"
    server.write_text("#!/bin/sh\necho the disk is full\nexit 3\n")
    server.chmod(0o755)
    database = EmbeddedOceanBase(server=server, base_dir=tmp_path / "data")
    with pytest.raises(DatabaseUnavailable, match=r"ended at once \(exit code 3\)(.|\n)*the disk is full"):
        database.start()


def test_a_server_that_cannot_be_run_is_reported(tmp_path: Path) -> None:
    database = EmbeddedOceanBase(server=tmp_path / "missing", base_dir=tmp_path / "data")
    with pytest.raises(DatabaseUnavailable, match="No such file"):
        database.start()


def test_a_server_that_never_answers_is_given_up_and_ended(tmp_path: Path) -> None:
    server = tmp_path / "seekdb"
    server.write_text("#!/bin/sh\nexec sleep 600\n")
    server.chmod(0o755)
    database = EmbeddedOceanBase(server=server, base_dir=tmp_path / "data", start_within=0.3)
    with pytest.raises(DatabaseUnavailable, match="did not answer within"):
        database.start()
    assert not database.is_running


def test_a_taken_port_is_named_before_anything_is_started(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("0.0.0.0", 0))
        holder.listen()
        port = holder.getsockname()[1]
        database = EmbeddedOceanBase(port=port, base_dir=tmp_path)
        with pytest.raises(DatabaseUnavailable, match=f"cannot listen on port {port}"):
            database.start()
    assert not database.is_running


def test_a_platform_without_the_server_is_told_how_to_use_a_database_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(DatabaseUnavailable) as sentence:
        find_server()
    assert str(sentence.value) == NO_SERVER
    assert "DEMO_DATABASE=mysql://user:password@host:port make demo" in NO_SERVER


def test_a_temporary_folder_is_removed_at_the_end_and_a_given_one_is_kept(tmp_path: Path) -> None:
    temporary = EmbeddedOceanBase(server=tmp_path / "none")
    assert temporary.base_dir.is_dir()
    temporary.stop()
    assert not temporary.base_dir.exists()
    given = EmbeddedOceanBase(server=tmp_path / "none", base_dir=tmp_path)
    given.stop()
    assert tmp_path.is_dir()


STARTER = """
import sys, time
from pathlib import Path
from sandbox.processes import GuardedProcess
process = GuardedProcess(["sleep", "600"], log=Path(sys.argv[1]))
print(process.pid, flush=True)
time.sleep(600)
"""


def test_a_process_ends_when_its_starter_is_killed(tmp_path: Path) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True
    )
    assert starter.stdout is not None
    with starter.stdout as answer:
        pid = int(answer.readline())
    assert is_alive(pid)
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    wait_until(lambda: not is_alive(pid))


def test_a_process_that_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path) -> None:
    stubborn = "trap '' TERM; echo ready; while :; do sleep 0.1; done"
    process = GuardedProcess(["sh", "-c", stubborn], log=tmp_path / "log", grace=0.2)
    wait_until(lambda: "ready" in process.log_tail())
    process.stop()
    assert process.exit_code == 128 + signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG exists on Linux only")
def test_a_process_ends_when_its_guard_is_killed(tmp_path: Path) -> None:
    process = GuardedProcess(["sleep", "600"], log=tmp_path / "log")
    assert process.pid is not None
    guard = int(Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    os.kill(guard, signal.SIGKILL)
    pid = process.pid
    wait_until(lambda: not is_alive(pid))
    process.stop()


def test_a_leftover_is_ended_only_if_it_is_the_one_that_was_meant(tmp_path: Path) -> None:
    sleeper = "import time; print('up', flush=True); time.sleep(600)"
    stranger = subprocess.Popen([sys.executable, "-c", sleeper], stdout=subprocess.PIPE)
    assert stranger.stdout is not None
    with stranger.stdout as answer:
        assert answer.readline(), "while it is being started its command line is empty"
    pid_file = tmp_path / "seekdb.pid"
    pid_file.write_text(str(stranger.pid))
    try:
        stop_leftover(pid_file, expected="/some/base/dir", within=0)
        assert stranger.poll() is None
        stop_leftover(pid_file, expected="time.sleep(600)", within=0)
        assert stranger.wait(PATIENCE) == -signal.SIGKILL
    finally:
        stranger.kill()
        stranger.wait()


def test_a_pid_file_that_is_missing_or_torn_means_no_leftover(tmp_path: Path) -> None:
    stop_leftover(tmp_path / "missing", expected="x")
    (tmp_path / "torn").write_text("")
    stop_leftover(tmp_path / "torn", expected="x")
