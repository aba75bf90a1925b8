"""The processes that the demo starts: each ends with the demo, however the demo ends."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from sandbox import guard


class GuardedProcess:
    """A running command whose output goes to a file and which outlives neither `stop()` nor its starter.

    `environment` is all of its environment (default: ours), `grace` the time in seconds from SIGTERM to
    SIGKILL. See `sandbox.guard` for how it works.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        grace: float = 10,
    ) -> None:
        self.log = log
        self._grace = grace
        script = [sys.executable, "-I", "-S", str(guard.__file__), str(grace), str(log), *command]
        self._guard = subprocess.Popen(  # noqa: S603 - the commands are the demo's own
            script,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,  # Ctrl-C in the terminal is for the launcher, which stops things in order
        )
        self.pid = self._read_process_id()

    @property
    def exit_code(self) -> int | None:
        """None while it runs; 128 + n when signal n ended it, 127 when it could not be started."""
        return self._guard.poll()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the command itself if it still runs."""
        if self.pid is not None and self.exit_code is None:
            os.kill(self.pid, number)

    def suspend(self, within: float = 60) -> None:
        """Stop the command without ending it and return once none of its threads runs any more."""
        self.send(signal.SIGSTOP)
        deadline = time.monotonic() + within
        # A busy machine stops the threads of a process one after the other; macOS has no such folder.
        while any(_runs(thread) for thread in Path(f"/proc/{self.pid}/task").glob("*/stat")):
            if time.monotonic() > deadline:
                raise TimeoutError(f"process {self.pid} did not stop within {within:g} s")
            time.sleep(0.002)

    def stop(self) -> None:
        """End the command and wait until it has ended; calling it again does nothing."""
        if self._guard.stdin is not None:
            self._guard.stdin.close()
        try:
            self._guard.wait(self._grace + 5)
        except subprocess.TimeoutExpired:
            self._guard.kill()
            self._guard.wait()

    def log_tail(self) -> str:
        """Return the last lines of its output."""
        return tail(self.log)

    def _read_process_id(self) -> int | None:
        if self._guard.stdout is None:
            return None
        with self._guard.stdout as answer:
            line = answer.readline().strip()
        return int(line) if line else None


def _runs(stat: Path) -> bool:
    try:
        state = stat.read_text(errors="replace").rpartition(")")[2].split()[0]
    except OSError:  # the thread has ended
        return False
    return state not in ("T", "Z", "X")


def tail(file: Path, lines: int = 15) -> str:
    """Return the last lines of a text file, and nothing of a file that is not there."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def stop_leftover(pid_file: Path, *, expected: str, within: float = 5) -> None:
    """End the process that `pid_file` names, if its command line still holds `expected`.

    The number alone proves nothing: after a restart of the machine it may be anybody's.
    """
    try:
        pid = int(pid_file.read_text())
    except (OSError, ValueError):
        return
    deadline = time.monotonic() + within  # the guard of a demo that was killed just now may still be at it
    while expected in _command_line(pid):
        if time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def _command_line(pid: int) -> str:
    """Return the command line of a process, and an empty text for one that has ended."""
    if Path("/proc/self").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
        except OSError:
            return ""
    ps = ["/bin/ps", "-o", "command=", "-p", str(pid)]
    answer = subprocess.run(ps, capture_output=True, text=True, check=False)  # noqa: S603 - no foreign text
    return answer.stdout
