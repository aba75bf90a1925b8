"""The Slack sandbox with a stop-watch: when a payload went out, was acknowledged, and was answered."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from starlette.types import ASGIApp, Receive, Scope, Send

from sandbox.slack.calls import Call
from sandbox.slack.delivery import Delivery, Timed
from sandbox.slack.refusals import Json
from sandbox.slack.server import SlackSandbox

COMMANDS = ({"command": "/sessions"}, {"command": "/kill-session"})
PERSON, CHANNEL = "U01ALICE", "C01INC"
ANSWERED_WITHIN = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class Trip:
    """One command, in milliseconds since Slack sent its payload out."""

    acknowledged: float
    arrived: float  # the answer has reached Slack
    posted: float  # Slack has checked it and shows it
    body: Json


class Gathering:
    """A place where everybody waits until so many are there."""

    def __init__(self) -> None:
        self._here = 0
        self._all_here = asyncio.Event()

    async def wait_for(self, count: int) -> None:
        """Wait for the last, or be the last."""
        self._here += 1
        if self._here < count:
            await self._all_here.wait()
        else:
            self._here = 0
            self._all_here.set()
            self._all_here = asyncio.Event()


class Watch:
    """A delivery that notes times.

    With ``together`` set, payloads wait until so many are there, then all go; and nobody hears of an
    acknowledgement until the last has come, since telling them would keep the sandbox from taking the next.
    """

    def __init__(self, inner: Delivery) -> None:
        self._inner = inner
        self.sent: list[float] = []
        self.acks: list[float] = []  # milliseconds
        self.together = 1
        self._here = Gathering()
        self._acknowledged = Gathering()

    async def deliver(self, kind: str, payload: Json) -> Json:
        """Deliver as Slack does."""
        await self._here.wait_for(self.together)
        started = time.time()
        self.sent.append(started)
        try:
            return await self._inner.deliver(kind, payload)
        finally:
            self.acks.append((time.time() - started) * 1000)
            await self._acknowledged.wait_for(self.together)


class TimedSandbox(SlackSandbox):
    """A sandbox without rate limits, which have nothing to do with how fast the bot is."""

    def __init__(self) -> None:
        super().__init__(commands=COMMANDS)
        self.limits.rates.clear()
        self.arrivals: list[float] = []

    def _delivery(self) -> Timed:
        self.watch = Watch(super()._delivery())
        return Timed(self.watch)

    def _build(self) -> ASGIApp:
        app = super()._build()

        async def timed(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http" and scope["path"].startswith(("/commands/", "/actions/")):
                self.arrivals.append(time.time())
            await app(scope, receive, send)

        return timed

    def __enter__(self) -> Self:
        self.start()
        return self

    def forget(self) -> None:
        """Take away all messages and times."""
        self.clear()
        for kept in (self.calls, self.arrivals, self.watch.sent, self.watch.acks):
            kept.clear()

    def trip(self, text: str) -> Trip:
        """Type a command and wait for its whole answer."""
        self.forget()
        self.types(text)
        # What a bot asks of Slack before, once in a while, is no answer.
        number, call = self.wait_for(self._answers, ANSWERED_WITHIN, f"the answer to {text}")[0]
        sent = self.watch.sent[0]
        if call.answer != "ok":
            raise RuntimeError(f"{text} was answered with {call}")
        # What is posted in a channel, as an answer is that will be edited, arrives as it is shown.
        arrived = self.arrivals[number] if number is not None else call.time
        return Trip(
            acknowledged=self.watch.acks[0],
            arrived=(arrived - sent) * 1000,
            posted=(call.time - sent) * 1000,
            body=call.payload,
        )

    def _answers(self) -> list[tuple[int | None, Call]]:
        """Return what is more than that an answer is on its way; what came by response URL with its place there."""
        by_url = list(enumerate(self.calls.of("response_url")))
        calls = [*by_url, *((None, call) for call in self.calls.of("chat.postMessage"))]
        return [found for found in calls if "⏳ Still waiting" not in str(found[1].payload.get("text"))]

    def burst(self, text: str, count: int) -> list[float]:
        """Send so many commands out in one moment; returns the milliseconds to each acknowledgement."""
        self.forget()
        self.watch.together = count
        people = [threading.Thread(target=self.types, args=(text,)) for _ in range(count)]
        for person in people:
            person.start()
        for person in people:
            person.join()
        self.watch.together = 1
        return list(self.watch.acks)

    def answered(self, count: int) -> None:
        """Wait until so many answers are there."""
        self.wait_for(lambda: len(self.calls) >= count, ANSWERED_WITHIN, f"{count} answers")

    def types(self, text: str) -> None:
        """Have somebody type a command once; returns when it is acknowledged."""
        with Typist(self.port) as typist:
            typist.types(text)


class Typist:
    """Somebody at the page with a connection of their own that stays open."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def types(self, text: str) -> None:
        """Type a command; returns once it is acknowledged."""
        body = json.dumps({"as": PERSON, "channel": CHANNEL, "text": text})
        self._connection.request("POST", "/page/post", body, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"the page answered {answer.status}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
