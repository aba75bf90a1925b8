"""The unchanged bot in HTTP mode, and what Slack and others send to it, for tests."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import json
import os
import secrets
import socket
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from sandbox.databases.embedded import EmbeddedServer
from sandbox.slack.server import SlackSandbox
from tests.support.patience import PATIENCE
from tests.support.running_bot import RunningBot

# Ports of each process of the tests: none is given to two of them, nor to a database, which takes one from 15,000 on.
_FIRST, _EACH = 10_000, 600
_GIVEN: set[int] = set()


def free_port() -> int:
    """Return a port that nobody has, from below those that outgoing connections are given: it must stay free."""
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 8
    while True:
        port = _FIRST + process * _EACH + secrets.randbelow(_EACH)
        if port in _GIVEN:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("0.0.0.0", port))
            _GIVEN.add(port)
            return port


class Web:
    """The bot's own web server, as anybody can reach it."""

    def __init__(self, port: int) -> None:
        self.port = port

    def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        timeout: float = PATIENCE,
    ) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and content."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def health(self) -> tuple[int, dict[str, Any]]:
        """Return status and report of /healthz."""
        status, _, content = self.request("GET", "/healthz")
        return status, json.loads(content)

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's values whose labels are those."""
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in self.request("GET", "/metrics")[2].decode().splitlines()
            if line.split("{")[0].split(" ")[0] == name
            and all(f'{key}="{value}"' in line for key, value in labels.items())
        )

    def reachable(self) -> bool:
        """Whether somebody listens."""
        try:
            self.request("GET", "/healthz", timeout=PATIENCE)
        except OSError:
            return False
        return True


class HttpBot(RunningBot):
    """`python -m bot run` in HTTP mode; `port` must be that of the sandbox's request URL, `health` is HEALTH_PORT."""

    def __init__(
        self,
        sandbox: SlackSandbox,
        database: EmbeddedServer,
        folder: Path,
        web: Web,
        health: Web | None = None,
        **more: Any,
    ) -> None:
        super().__init__(sandbox, database, folder, **more)
        self.web = web
        self._health = health

    @property
    def environment(self) -> dict[str, str]:
        """What the bot's process gets."""
        world = self._sandbox.world
        return super().environment | {
            "SLACK_APP_TOKEN": "",
            "SLACK_SIGNING_SECRET": world.signing_secret,
            "PORT": str(self.web.port),
            "HEALTH_PORT": "" if self._health is None else str(self._health.port),
        }


class SocketBot(HttpBot):
    """`python -m bot run` in Socket Mode, with health and metrics on a port of their own."""

    @property
    def environment(self) -> dict[str, str]:
        """What the bot's process gets."""
        token = self._sandbox.world.app_token
        return super().environment | {
            "SLACK_APP_TOKEN": token,
            "SLACK_SIGNING_SECRET": "",
            "HEALTH_PORT": str(self.web.port),
        }


def signed(secret: str, body: bytes, at: float | None = None) -> dict[str, str]:
    """Return the headers of a request as Slack signs it."""
    timestamp = str(int(time.time() if at is None else at))
    digest = hmac.new(secret.encode(), f"v0:{timestamp}:".encode() + body, hashlib.sha256).hexdigest()
    return {
        "Content-Type": "application/x-www-form-urlencoded",
        "X-Slack-Request-Timestamp": timestamp,
        "X-Slack-Signature": f"v0={digest}",
    }


def value(folder: Path, query: str) -> object:
    """Ask the store of the bot in that folder for one value."""
    with closing(sqlite3.connect(folder / "store.db")) as store:
        row = store.execute(query).fetchone()
    return row[0] if row else None


def request_url(web: Web) -> str:
    """Return where the sandbox posts to."""
    return f"http://127.0.0.1:{web.port}/slack/events"
