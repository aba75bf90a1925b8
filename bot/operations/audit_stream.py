"""Sends the record on: each act as one line of JSON, to a file or to standard output, for whatever ships it to a SIEM.

The record itself is the store's. A line is written once its act is there, in a thread of its own: a file or a pipe that
hangs keeps no close waiting. Lines that cannot be written wait and are tried again, and the log says so; their numbers,
counted without gaps by all replicas together, tell what is missing for good.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path

import structlog

from bot.closing import audit_masking
from bot.closing.store.audit_log import Recorded
from bot.operations import closing_log
from bot.sessions.statement import Disclosure

STDOUT = "stdout"
MOST = 10_000  # acts that wait to be written, a few MB; the newest are dropped beyond
AGAIN = 1.0  # seconds between two tries to write a line
TELL_EVERY = 60.0  # seconds between two lines of the log about the same trouble

log = structlog.get_logger("bot")


class AuditStream:
    """Writes to ``place``: ``STDOUT``, or an absolute path, whose file is opened again once it was moved away."""

    def __init__(self, place: str) -> None:
        self._output = _Output(place)
        self._changed = threading.Condition()  # guards what follows
        self._waiting: deque[Recorded] = deque()
        self._until: float | None = None  # once told to end, when it gives up; reading of time.monotonic
        self.lost = 0
        """How many acts were never written."""
        self._told_at = {"failed": -TELL_EVERY, "lost": -TELL_EVERY}
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="audit-stream", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many acts wait to be written."""
        return len(self._waiting)

    def send(self, acts: Iterable[Recorded]) -> None:
        """Have these acts written; waits for nothing."""
        with self._changed:
            dropped = 0
            for one in acts:
                if len(self._waiting) < MOST:
                    self._waiting.append(one)
                else:
                    dropped += 1
            self.lost += dropped
            self._changed.notify()
        if dropped and self._is_news("lost"):
            log.error("acts not sent on, too many wait; the store has them", lost=self.lost)

    def close(self, seconds: float) -> None:
        """Write what waits, for so long at the most."""
        with self._changed:
            self._until = time.monotonic() + seconds
            self._changed.notify()
        self._thread.join(seconds + 0.2)
        left = [one.entry.number for one in self._waiting]
        if left:
            log.error(
                "acts not sent on, the bot ends; the store has them", first=left[0], last=left[-1], lost=len(left)
            )

    def _run(self) -> None:
        while (one := self._next()) is not None:
            line = self._line(one)
            while not self._written(line):
                if self._is_over():
                    return
                time.sleep(AGAIN)
            with self._changed:
                self._waiting.popleft()

    def _line(self, recorded: Recorded) -> bytes:
        try:
            return _line(recorded)
        except Exception:  # one act that cannot be told keeps no other from it
            self.lost += 1
            log.exception("act not sent on; the store has it", number=recorded.entry.number)
            return b""

    def _next(self) -> Recorded | None:
        """Wait for an act, which goes on waiting until it is written; None for the end."""
        with self._changed:
            while not self._waiting:
                if self._until is not None:
                    return None
                self._changed.wait()
            return self._waiting[0]

    def _is_over(self) -> bool:
        with self._changed:
            return self._until is not None and time.monotonic() + AGAIN > self._until

    def _written(self, line: bytes) -> bool:
        why = self._output.failure(line)
        if why:
            self._failing = True
            if self._is_news("failed"):
                log.error("audit log cannot be written, acts wait; the store has them", why=why, waiting=self.waiting)
        elif self._failing:
            self._failing, self._told_at["failed"] = False, -TELL_EVERY
            log.info("audit log is written again", waiting=self.waiting - 1)
        return not why

    def _is_news(self, what: str) -> bool:
        now = time.monotonic()
        if now - self._told_at[what] < TELL_EVERY:
            return False
        self._told_at[what] = now
        return True


def unusable(place: str) -> str:
    """Say why lines cannot be written to ``place`` by this process and what to do; '' where they can."""
    if place == STDOUT:
        return ""
    file = Path(place)
    if not file.parent.is_dir():
        return f"there is no folder {file.parent}; make it, for the user that the bot runs as"
    if file.is_dir():
        return f"{file} is a folder; name a file"
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        return (
            f"the user that this runs as (uid {os.geteuid()}) may not write to {file}; give it to that user with chown"
        )
    return ""


class _Output:
    """Where lines are appended to."""

    def __init__(self, place: str) -> None:
        self._path = None if place == STDOUT else place
        self._open: int | None = None
        self._torn = False  # whether the last line was cut off

    def failure(self, line: bytes) -> str:
        """Append a whole line; return why that failed, '' where it did not."""
        try:
            file = self._file()
            rest = b"\n" + line if self._torn else line
            while rest:
                done = os.write(file, rest)
                self._torn = done < len(rest)
                rest = rest[done:]
        except OSError as error:
            return os.strerror(error.errno or 0)
        return ""

    def _file(self) -> int:
        if self._path is None:
            return sys.stdout.fileno()
        if self._open is not None and not self._is_there(self._path, self._open):
            with contextlib.suppress(OSError):
                os.close(self._open)
            self._open, self._torn = None, False
        if self._open is None:
            # Its user's alone: it names people, users and addresses.
            self._open = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return self._open

    def _is_there(self, path: str, file: int) -> bool:
        """Whether the path still leads to the file that is open: a rotation moves it away."""
        try:
            there = Path(path).stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(file))


def _line(recorded: Recorded) -> bytes:
    entry = recorded.entry
    told = {
        "at": entry.at.isoformat().replace("+00:00", "Z"),
        **{name: value for name, value in closing_log.fields(recorded).items() if value is not None},
        "team": entry.person.team if entry.person is not None else None,
        "details": audit_masking.shown(entry.details, Disclosure.DIGEST),
    }
    return json.dumps(told, default=str).encode() + b"\n"
