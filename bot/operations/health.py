"""What /readyz and /livez say: how the bot's parts are, without waiting for one that hangs and naming no host."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from typing import Any

import structlog

from bot.errors import (
    AccountLimitError,
    BusyError,
    ConnectionLostError,
    DataSourceTimeoutError,
    DataSourceUnreachableError,
    LoginRefusedError,
    PrivilegeMissingError,
    SessionBotError,
    UnsafeConnectionError,
)
from bot.operations.reload import Reloads
from bot.slack.slack_errors import WORDS, Kind

FRESH = 5.0  # seconds for which an answer of a part is good enough
PATIENCE = 1.0  # seconds until it is answered with what is known so far
AWAY = 60.0  # seconds without a connection to Slack after which the bot is not ready; a renewal takes far less

OK, DEGRADED, FAILING = "ok", "degraded", "failing"

Look = Callable[[], None]
Monotonic = Callable[[], float]

log = structlog.get_logger(__name__)

# The sentences themselves name hosts.
_WORDS: dict[type[SessionBotError], str] = {
    BusyError: "busy",
    ConnectionLostError: "connection lost",
    DataSourceTimeoutError: "no answer in time",
    AccountLimitError: "account limit reached",
    DataSourceUnreachableError: "unreachable",
    UnsafeConnectionError: "not safe to log in to",
    LoginRefusedError: "login refused",
    PrivilegeMissingError: "privilege missing",
}


class Part:
    """Something to look at: by one thread at a time, at most every few seconds, whoever asks."""

    def __init__(self, name: str, look: Look, monotonic: Monotonic = time.monotonic) -> None:
        self._name = name
        self._look = look
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._future: Future[None] = Future()
        self._looking = False
        self._started_at = 0.0
        self._looked_at: float | None = None
        self._problem = ""

    def ask(self) -> Future[None]:
        """Look in the background where the last answer is too old; the future ends with that look."""
        with self._lock:
            now = self._monotonic()
            fresh = self._looked_at is not None and now - self._looked_at < FRESH
            if not self._looking and not fresh:
                self._looking, self._started_at, self._future = True, now, Future()
                threading.Thread(target=self._run, name=f"health-{self._name}", daemon=True).start()
            return self._future

    def problem(self) -> str:
        """Say what the last look found, '' for nothing wrong."""
        with self._lock:
            waited = self._monotonic() - self._started_at
            if self._looking and (self._looked_at is None or waited >= PATIENCE * 0.9):
                return f"no answer for {waited:.0f} s"
            return self._problem

    def _run(self) -> None:
        problem = "failed"
        try:
            self._look()
            problem = ""
        except SessionBotError as error:
            problem = next((word for kind, word in _WORDS.items() if isinstance(error, kind)), "failed")
        except Exception:
            log.exception("health cannot be told", part=self._name)
        finally:
            with self._lock:
                self._looking, self._looked_at, self._problem = False, self._monotonic(), problem
                future = self._future
            future.set_result(None)


class SlackHealth:
    """When Slack last answered and how, as telemetry tells."""

    def __init__(self, monotonic: Monotonic = time.monotonic) -> None:
        self._monotonic = monotonic
        self._answered_at: float | None = None
        self.unreachable = False
        self.refused = ""  # Slack's word, where it refuses the token
        self.connected: Callable[[], bool] | None = None  # in Socket Mode, whether Slack delivers here now
        self._away_since: float | None = -math.inf  # None while it does

    def called(self, error: str, *, reached: bool) -> None:
        """Note a call; ``reached`` says that Slack itself answered, be it with an error."""
        self.unreachable = not reached
        if not error:
            self.refused, self._answered_at = "", self._monotonic()
        elif error in WORDS and WORDS[error][0] is Kind.TOKEN:
            self.refused = error

    def connected_changed(self, connected: bool) -> None:
        """Note that ``connected`` has become that; it is untrue until then."""
        self._away_since = None if connected else self._monotonic()

    def away_for(self) -> float:
        """Return the seconds since Slack last delivered here, infinity where it never did; 0 in HTTP mode."""
        since = self._away_since
        return 0.0 if self.connected is None or since is None or self.connected() else self._monotonic() - since

    def report(self) -> dict[str, Any]:
        """Say how it is without asking Slack."""
        ago = None if self._answered_at is None else round(self._monotonic() - self._answered_at, 1)
        report: dict[str, Any] = {"last_success_seconds_ago": ago}
        well = ago is not None and not self.unreachable
        if self.connected is not None:
            report["connected"] = self.connected()
            well = report["connected"]
        if self.refused:
            well, report["problem"] = False, f"the token is refused ({self.refused})"
        return {"status": OK if well else DEGRADED, **report}


class Health:
    """Puts the parts together. Which data sources there are is asked each time.

    Ready is what whoever routes or replaces by it should know: whether another replica would do better. So it wants
    what a replica may lack alone, and the store once, by which a wrong setting of it is found before the replicas
    before are gone. What all replicas share is told, and takes none of them away: a store, a data source or Slack's
    API that is gone is gone for each.
    """

    def __init__(self, slack: SlackHealth, version: str, monotonic: Monotonic = time.monotonic) -> None:
        self.reloads = Reloads()
        self._slack = slack
        self._version = version
        self._monotonic = monotonic
        self._store: Part | None = None
        self._sources: Mapping[str, Part] = {}
        self._again: Part | None = None
        self._stopping: Callable[[], bool] = lambda: False
        self._takes = False
        self._stored = False  # whether the store has answered

    def ready(self) -> None:
        """Say from now on that the bot is at work: what Slack sends is taken."""
        self._takes = True

    def watch(self, store: Look, slack: Look, sources: Mapping[str, Look], stopping: Callable[[], bool]) -> None:
        """Look at these from now on; ``slack`` asks it again where it was not reached or refused."""
        self._store = Part("store", store, self._monotonic)
        self._again = Part("slack", slack, self._monotonic)
        self._sources = {name: Part(name, look, self._monotonic) for name, look in sources.items()}
        self._stopping = stopping

    def live(self) -> dict[str, Any]:
        """Say that the process works. Nothing that a restart would not bring back makes this fail."""
        here = {"pid": os.getpid(), "configuration": self.reloads.report()}
        return {"status": OK, "bot": "session-bot", "version": self._version, **here}

    def is_connected(self) -> bool:
        """Whether Slack can be worked with."""
        return bool(self._slack.report()["status"] == OK)

    def is_store_up(self) -> bool:
        """Whether the store can be used; takes a second at most."""
        store = self._store
        if store is None:
            return False
        wait([store.ask()], timeout=PATIENCE)
        return not store.problem()

    def report(self) -> tuple[bool, dict[str, Any]]:
        """Return whether the bot is ready, and how each part is; takes a second at most."""
        store, again, sources = self._store, self._again, self._sources
        if not self._takes or store is None or again is None:
            # Whoever sends commands here by this answer would lose the first ones: nobody takes them yet.
            return False, {"status": FAILING, "process": {"status": "starting"}, "slack": self._slack.report()}
        wait([part.ask() for part in (store, again, *sources.values())], timeout=PATIENCE)
        stopping, away = self._stopping(), self._slack.away_for() >= AWAY
        parts: dict[str, Any] = {
            "process": {"status": "stopping" if stopping else OK, "version": self._version},
            "slack": {**self._slack.report(), **({"status": FAILING} if away else {})},
            "store": _said(store.problem(), FAILING),
            "configuration": self.reloads.report(),
            "data_sources": {name: _said(part.problem(), DEGRADED) for name, part in sources.items()},
        }
        self._stored = self._stored or parts["store"]["status"] == OK
        ready = self._stored and not stopping and not away
        looked_at = (parts["slack"], parts["store"], parts["configuration"], *parts["data_sources"].values())
        whole = all(part["status"] == OK for part in looked_at)
        return ready, {"status": FAILING if not ready else OK if whole else DEGRADED, **parts}


def _said(problem: str, status: str) -> dict[str, str]:
    return {"status": status, "problem": problem} if problem else {"status": OK}
