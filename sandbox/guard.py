"""Run one command and end it when whoever started this guard is gone, however that came about.

It is started as a script of its own (`python guard.py GRACE LOG COMMAND…`) with a pipe as standard input. The
starter holds the other end. When the starter closes it, or dies in any way (SIGKILL included), the pipe ends
and the guard ends the command: SIGTERM, then SIGKILL after GRACE seconds.

Why not PR_SET_PDEATHSIG alone: it does not exist on macOS, and it fires when the *thread* that forked ends,
so a server started or restarted from a worker thread would die with that thread. A pipe belongs to the
whole process. The guard itself has one thread, which lives as long as it does; so between the guard and its
command PR_SET_PDEATHSIG is right, and it covers a guard that was killed.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def _die_with_the_guard() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _end(child: "subprocess.Popen[bytes]", grace: float) -> None:
    child.terminate()
    child.send_signal(signal.SIGCONT)  # a stopped process would see the SIGTERM only when it goes on
    try:
        child.wait(grace)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _wait_for_an_end(child: "subprocess.Popen[bytes]", signals: int) -> None:
    """Return when the child has ended, the starter is gone or somebody sent SIGTERM."""
    while child.poll() is None:
        ready, _, _ = select.select([sys.stdin.fileno(), signals], [], [])
        if sys.stdin.fileno() in ready:  # nobody ever writes, so readable means closed
            return
        if signal.SIGTERM in os.read(signals, 64):
            return


def main() -> int:
    """Print the command's process id, run it to its end and return its exit code as a shell would."""
    grace, log, *command = sys.argv[1:]
    signals, wakeup = os.pipe()
    os.set_blocking(wakeup, False)
    signal.set_wakeup_fd(wakeup)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: None)
    with Path(log).open("ab") as output:
        try:
            child = subprocess.Popen(  # noqa: S603 - the command is the demo's own
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=_die_with_the_guard if sys.platform == "linux" else None,  # noqa: PLW1509 - one thread
            )
        except OSError as problem:
            output.write(f"{problem}\n".encode())
            return 127
    sys.stdout.write(f"{child.pid}\n")
    sys.stdout.flush()
    _wait_for_an_end(child, signals)
    if child.poll() is None:
        _end(child, float(grace))
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


if __name__ == "__main__":
    sys.exit(main())
