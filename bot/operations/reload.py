"""Reading the configuration again: what came of it, and the command that asks for it and waits for that."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

from bot.errors import ConfigurationError
from bot.settings import ListenAddress, SlackSettings

OUTCOME_WITHIN = 60.0  # seconds; logins to new data sources are tried for some of them
_LOOK_EVERY = 0.1  # seconds
_ANSWERS_WITHIN = 5.0  # seconds for one answer


class Reloads:
    """How often the configuration was read again, and what came of it last; the start itself is the first success."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun = self._ended = 0
        self.succeeded = True
        self.read_at = time.time()  # seconds since the epoch

    def begin(self) -> None:
        """Note that what is there from this moment on is read."""
        with self._lock:
            self._begun += 1

    def end(self, *, succeeded: bool) -> None:
        """Note what came of it."""
        with self._lock:
            self._ended, self.succeeded = self._begun, succeeded
            if succeeded:
                self.read_at = time.time()

    def report(self) -> dict[str, Any]:
        """Say how it is, for health and for ``reload``."""
        with self._lock:
            status = {"status": "ok"} if self.succeeded else {"status": "degraded", "problem": "the last was refused"}
            return {**status, "reloads_begun": self._begun, "reloads_ended": self._ended}


def reload(slack: SlackSettings | None) -> None:
    """Make the bot that runs with these settings read its configuration again; return once it works with it.

    Raises ``ConfigurationError`` where it does not, or where that is not known.
    """
    if slack is None:
        raise ConfigurationError(
            ["Where the bot has its health is not known. Nothing was done. Run this with the environment of the bot."]
        )
    at = slack.health_at
    if at is None:
        raise ConfigurationError(
            ["HEALTH_PORT is not set, so the bot cannot say what comes of a reload. Nothing was done. Set it, restart."]
        )
    before = asked(at)
    if before is None or "configuration" not in before:
        raise ConfigurationError(
            [
                f"No session-bot of this version answers on port {at.port}, where {at.port_variable} has its health. "
                "Nothing was done. Start it."
            ]
        )
    elsewhere = ConfigurationError(
        ["The bot that answers runs in another container or on another machine. Nothing was done. Reload it there."]
    )
    try:
        if not _listens(before["pid"], at.port):
            raise elsewhere
        os.kill(before["pid"], signal.SIGHUP)
    except (FileNotFoundError, ProcessLookupError):
        raise elsewhere from None
    except PermissionError:
        raise ConfigurationError(
            ["The bot runs as another user. Nothing was done. Run this as that user, or as root."]
        ) from None
    until = time.monotonic() + OUTCOME_WITHIN
    while time.monotonic() < until:
        now = asked(at)
        # One that had begun before may have read what was there before.
        if now is not None and now["configuration"]["reloads_ended"] > before["configuration"]["reloads_begun"]:
            if now["configuration"]["status"] == "ok":
                return
            raise ConfigurationError(
                [
                    "The bot has refused the new configuration and goes on with the one before. Its log says what is "
                    "wrong; session-bot check does, too."
                ]
            )
        time.sleep(_LOOK_EVERY)
    raise ConfigurationError(
        [f"The bot has not said within {OUTCOME_WITHIN:.0f} s what came of the reload. Look at its log."]
    )


def _listens(pid: int, port: int) -> bool:
    """Whether that process of this machine listens at the port; raises ``OSError``.

    Else it is not the one that answers: a container has numbers of its own, and anybody may answer at a free port.
    """
    has = set()
    for one in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it has been closed meanwhile
            has.add(str(one.readlink()))
    tables = [Path(f"/proc/{pid}/net/{name}") for name in ("tcp", "tcp6")]
    rows = [row.split() for table in tables if table.exists() for row in table.read_text().splitlines()[1:]]
    listening = (row for row in rows if row[3] == _LISTENS and int(row[1].rpartition(":")[2], 16) == port)
    return any(f"socket:[{row[9]}]" in has for row in listening)


_LISTENS = "0A"  # the state of a socket in /proc/net/tcp


def asked(at: ListenAddress) -> dict[str, Any] | None:
    """Return what a session-bot there says of itself; None where there is none."""
    host = at.host if at.host not in (None, "0.0.0.0", "::") else "127.0.0.1"  # noqa: S104  # nothing is bound
    connection = http.client.HTTPConnection(host, at.port, timeout=_ANSWERS_WITHIN)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException, ValueError):
        connection.request("GET", "/livez")
        answer = json.loads(connection.getresponse().read(10_000))
        if isinstance(answer, dict) and answer.get("bot") == "session-bot":
            return answer
    return None
