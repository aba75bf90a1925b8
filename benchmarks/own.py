"""Our own milliseconds: from the payload in the bot's hand to the answer sent, without what the database took.

The bot's own parts run in this process; the answer goes to an endpoint that does nothing, in another process.
"""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr
from slack_bolt import BoltRequest

from benchmarks.bots import LOGIN_PASSWORD
from bot.access import Access, Person, Right, Rule
from bot.app import Identity, SessionBot
from bot.closing.disclosures import Disclosures
from bot.sessions import masking
from bot.sessions.database import Connection
from bot.sessions.endpoint import Endpoint
from bot.sessions.service import SessionService
from bot.sessions.source import DataSource, DataSourceOptions
from bot.slack.client import Client
from bot.slack.defaults import Defaults
from commands import sessions
from sandbox.databases.embedded import EmbeddedServer
from tests.support.running_bot import ROOT

PERSON, CHANNEL, TEAM = "U01ALICE", "C01INC", "T01DEMO"


class Nobody:
    """A directory that is asked for no more than what a payload says: the rule names a person."""

    def is_internal(self, person: Person) -> bool:
        """Whether this is somebody of the bot's own workspace."""
        return person.team == TEAM

    def is_full_member(self, person: Person) -> bool:
        """Whether this is a full member."""
        raise NotImplementedError(person)

    def is_in_group(self, person: Person, group: str, ahead: Collection[str] = ()) -> bool:
        """Whether the person is in that group."""
        raise NotImplementedError(person, group)

    def members(self, group: str, ahead: Collection[str] = ()) -> frozenset[str]:
        """Who is in the group."""
        raise NotImplementedError(group)


@dataclass
class DatabaseTime:
    """Seconds that the bot's statements have taken, the driver's reading of their rows included; and of CPU."""

    seconds: float = 0.0
    cpu: float = 0.0
    _rows: Any = field(default=Connection.rows)

    def __enter__(self) -> DatabaseTime:
        clock, rows = self, self._rows

        def timed(connection: Connection, *arguments: Any) -> Any:
            started, cpu = time.perf_counter(), time.process_time()
            try:
                return rows(connection, *arguments)
            finally:
                clock.seconds += time.perf_counter() - started
                clock.cpu += time.process_time() - cpu

        Connection.rows = timed  # type: ignore[assignment,method-assign]  # the real bot takes no time of its own
        return self

    def __exit__(self, *_: object) -> None:
        Connection.rows = self._rows  # type: ignore[method-assign]  # same


class OwnShare:
    """The bot in this process, asked directly."""

    def __init__(self, bot: SessionBot, service: SessionService, answers: subprocess.Popen[str], port: int) -> None:
        self._bot = bot
        self._service = service
        self._answers = answers
        self._port = port
        self.cpu: list[float] = []  # milliseconds of CPU of our own, whatever else the machine did

    def ask_afresh(self) -> float:
        """The same with statements that the bot has not shown before."""
        masking._line.cache_clear()
        return self.ask()

    def ask(self, text: str = "") -> float:
        """Give the bot one /sessions; returns the milliseconds of our own until its answer was sent whole."""
        payload = {
            "command": "/sessions",
            "text": text,
            "user_id": PERSON,
            "team_id": TEAM,
            "channel_id": CHANNEL,
            "trigger_id": secrets.token_hex(8),
            "response_url": f"http://127.0.0.1:{self._port}/commands/1/2",
        }
        if self._answers.stdout is None:
            raise RuntimeError("no endpoint")
        with DatabaseTime() as database:
            started, cpu = time.time(), time.process_time()
            self._bot.bolt.dispatch(BoltRequest(mode="socket_mode", body=payload))
            ended = float(self._answers.stdout.readline())
            self.cpu.append((time.process_time() - cpu - database.cpu) * 1000)
        return (ended - started - database.seconds) * 1000

    def close(self) -> None:
        """End the bot."""
        self._bot.stop()
        self._service.close()


@contextlib.contextmanager
def own_share(database: EmbeddedServer) -> Iterator[OwnShare]:
    """The bot's parts put together as its command line does, as far as /sessions needs them."""
    command = [sys.executable, "-m", "benchmarks.endpoint"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as answers:  # noqa: S603  # ourselves
        try:
            if answers.stdout is None:
                raise RuntimeError("no endpoint")
            share = _share(database, answers, int(answers.stdout.readline()))
            yield share
            share.close()
        finally:
            answers.terminate()


def _share(database: EmbeddedServer, answers: subprocess.Popen[str], port: int) -> OwnShare:
    endpoint = Endpoint("demo", database.host, database.port, "session_bot", SecretStr(LOGIN_PASSWORD))
    service = SessionService([DataSource(endpoint, DataSourceOptions())])
    access = Access([Rule(frozenset({PERSON}), frozenset({Right.VIEW}))], Nobody(), [])
    bot = SessionBot(Client("xoxb-nobody"), Identity(TEAM, "B01", "U01BOT"))
    command = sessions.SessionsCommand(
        sessions.SessionList(service, access, Defaults("demo", {}), Disclosures(access, service, {}))
    )
    registers: Sequence[Any] = [lambda to: sessions.register(to, command)]
    bot.register(registers)
    return OwnShare(bot, service, answers, port)
