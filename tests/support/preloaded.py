"""Bots as processes forked from one that has imported them: imports are more than half of what a start takes of a CPU.

Such a bot is unchanged and runs as by `python -m bot`; what it shares with the next one is what is imported, and at
import nothing is opened, connected or read (`tests/test_layers.py`).
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[2]
_READ_AT_START = ("PYTHON", "LANG", "LC_", "LD_", "MALLOC_", "TZ")  # of the environment, by Python or what it stands on
_REQUEST_BYTES = 200_000


class Forked:
    """A process as `subprocess.Popen` has it, as far as tests use that: its parent tells how it ended."""

    def __init__(self, keeper: socket.socket) -> None:
        self._keeper = keeper
        self.pid = int(self._told())
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return its exit status, -n where signal n ended it, None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return its exit status; raises ``subprocess.TimeoutExpired``. ``timeout`` in seconds."""
        if self.returncode is None:
            self._keeper.settimeout(timeout)
            try:
                self.returncode = int(self._told())
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired("bot", timeout or 0) from None
            self._keeper.close()  # only now its id may be another process's
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it as a crash would."""
        self.send_signal(signal.SIGKILL)

    def is_stopped(self) -> bool:
        """Whether SIGSTOP has stopped each of its threads."""
        threads = Path(f"/proc/{self.pid}/task").glob("*/stat")
        return all(thread.read_text().rpartition(")")[2].split()[0] == "T" for thread in threads)

    def _told(self) -> bytes:
        told = self._keeper.recv(64)
        if not told:
            raise AssertionError("the parent of the bot has ended")
        return told


def started(
    command: Sequence[str], *, folder: Path, environment: Mapping[str, str], log: IO[bytes]
) -> Forked | subprocess.Popen[bytes]:
    """Start ``python COMMAND`` in a folder; a fork where that is the bot itself and Python begins alike."""
    if tuple(command[:2]) == ("-m", "bot") and sys.platform == "linux":
        preloaded, beginning = _preloaded()
        if _read_at_start(environment) == beginning:
            return _forked(preloaded, command[2:], folder, environment, log)
    return subprocess.Popen([sys.executable, *command], cwd=folder, env=environment, stdout=log, stderr=log)


def _forked(
    preloaded: socket.socket, words: Sequence[str], folder: Path, environment: Mapping[str, str], log: IO[bytes]
) -> Forked:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        request = json.dumps({"words": words, "folder": str(folder), "environment": dict(environment)}).encode()
        assert len(request) <= _REQUEST_BYTES
        socket.send_fds(preloaded, [request], [log.fileno(), theirs.fileno()])
    return Forked(ours)


def _read_at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(_READ_AT_START)}


@functools.cache
def _preloaded() -> tuple[socket.socket, dict[str, str]]:
    """Start what bots are forked from, which ends with this process; what of its environment counts comes with it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.preloaded", str(theirs.fileno())],
            cwd=ROOT,
            env=environment,
            pass_fds=[theirs.fileno()],
        )
    process.returncode = 0  # nobody waits for it
    return ours, _read_at_start(environment)


def serve(requests: socket.socket) -> None:
    """Fork a bot for each request; returns in each such process, and ends this one after the last request."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a keeper
    while True:
        given, descriptors, _, _ = socket.recv_fds(requests, _REQUEST_BYTES, 2)
        if not given:
            os._exit(0)
        log, report = descriptors
        if os.fork() == 0:
            requests.close()
            with socket.socket(fileno=report) as told:
                if _is_bot(told):
                    break
        os.close(log)
        os.close(report)
    request = json.loads(given)
    for output in (1, 2):
        os.dup2(log, output)
    os.close(log)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.path[0] = request["folder"]
    sys.argv = ["bot", *request["words"]]
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_bot(told: socket.socket) -> bool:
    """Fork once more; true in the bot, while its parent stays to tell how it ended, and never returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    bot = os.fork()
    if bot == 0:
        return True
    told.send(str(bot).encode())
    ended = os.waitid(os.P_PID, bot, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    with contextlib.suppress(OSError):  # whoever started it has gone
        told.send(str(ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status).encode())
        told.recv(1)  # until that is known, its id is no other process's
    os._exit(0)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        importlib.import_module("bot.__main__")

        del sys.modules["bot.__main__"]  # each bot runs that as Python runs it
        gc.freeze()
        serve(channel)
    runpy.run_module("bot", run_name="__main__", alter_sys=True)
