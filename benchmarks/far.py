"""Slack at a distance: what people wait for where each round trip to Slack takes 80 or 200 ms."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.bots import LOGIN_PASSWORD, MeasuredBot
from benchmarks.crowd import PASSWORD, USERS
from benchmarks.distance import FarServer
from benchmarks.measure import Samples
from benchmarks.report import Line, Report, Table
from benchmarks.slack import TimedSandbox
from benchmarks.stage import Scale, Stage
from sandbox.slack.calls import Call
from tests.support.certificates import Authority
from tests.support.slack_person import Person, buttons_of
from tests.support.stage import session_id

HOW = (
    "Slack's API and its response URLs stand behind two relays with TLS that add a round trip of 0, 80 or 200 ms: "
    "three bots, in turns. Milliseconds from the payload in the bot's hand until Slack shows what came of it; round "
    "trips and new connections of both, as many as were made meanwhile, those that are opened ahead of their use too. "
    "A close is that of an idle session. Who may do what goes by `*`, so that Slack is asked who somebody is once a "
    "minute."
)
DISTANCES = (0, 80, 200)  # milliseconds
COMMAND, PRESS, WINDOW = "command → answer", "press → card rewritten", "View SQL → window filled"
# Milliseconds beyond the same nearby, at 80 ms: one way is 40. A window takes the round trip that opens it, and a way.
BEYOND = {COMMAND: 40 + 10, PRESS: 40 + 15, WINDOW: 80 + 40 + 15}
ACCESS = """
[[access]]
who = ["*"]
may = ["view", "close"]
"""


class FarSandbox(TimedSandbox):
    """A sandbox of which the bot is told other addresses: those of relays."""

    api = urls = ""

    @property
    def base_url(self) -> str:
        """Where response URLs are."""
        return self.urls

    @property
    def page_url(self) -> str:
        """Where people are: nearby."""
        return f"http://127.0.0.1:{self.port}/"

    @property
    def api_url(self) -> str:
        """What the bot is given as SLACK_API_URL."""
        return f"{self.api}/api/"


class FarBot(MeasuredBot):
    """Our bot, which trusts the relays."""

    trusted: Path

    @property
    def environment(self) -> dict[str, str]:
        """What the bot's process gets."""
        return {**super().environment, "SSL_CERT_FILE": str(self.trusted)}


class Far:
    """The bot, and a Slack so many milliseconds away."""

    def __init__(self, stage: Stage, slack: FarSandbox, servers: tuple[FarServer, FarServer]) -> None:
        self._stage = stage
        self._slack = slack
        self._servers = servers
        self._alice = Person(slack, "U01ALICE")
        self.values: dict[str, list[float]] = {COMMAND: [], PRESS: [], WINDOW: []}
        self.round_trips = dict.fromkeys(self.values, 0)
        self.connections = dict.fromkeys(self.values, 0)

    def command(self) -> None:
        """Type /sessions."""
        self._slack.forget()
        self._timed(COMMAND, "response_url", lambda: self._slack.types("/sessions"))

    def press(self) -> None:
        """Close an idle session by a press on its card."""
        with contextlib.closing(self._stage.database.connect(user=USERS[0], password=PASSWORD)) as victim:
            self._slack.forget()
            self._slack.types(f"/kill-session {session_id(victim)}")
            card = self._alice.wait_for_message(lambda one: "Close Session" in buttons_of(one))
            self._slack.wait_for(lambda: self._slack.calls.of("chat.postMessage"))
            self._timed(PRESS, "response_url", lambda: self._alice.press(card, "Close Session"), "closed")

    def window(self) -> None:
        """Look at a statement."""
        running = self._stage.crowd.running
        self._slack.forget()
        self._slack.types(f"/sessions show {running}")
        card = self._alice.wait_for_message(f"Session {running}")
        self._slack.wait_for(lambda: self._slack.calls)
        self._timed(WINDOW, "views.update", lambda: self._alice.press(card, "View SQL"), "Trace ID")
        self._alice.closes_modal()

    def _timed(self, what: str, method: str, act: Callable[[], object], says: str = "") -> None:
        self._slack.calls.clear()
        self._slack.watch.sent.clear()
        trips, connections = self._counts
        act()

        def told() -> Call | None:
            return next((one for one in self._slack.calls.of(method) if says in str(one.payload)), None)

        call = self._slack.wait_for(told, 30, what)
        if call is None:
            raise RuntimeError(what)
        self.values[what].append((call.time - self._slack.watch.sent[0]) * 1000)
        self.round_trips[what] += self._counts[0] - trips
        self.connections[what] += self._counts[1] - connections

    @property
    def _counts(self) -> tuple[int, int]:
        return sum(one.round_trips for one in self._servers), sum(one.connections for one in self._servers)

    def forget(self) -> None:
        """Begin to count."""
        for what, values in self.values.items():
            values.clear()
            self.round_trips[what] = self.connections[what] = 0


def measure(stage: Stage, scale: Scale, report: Report) -> None:
    """Fill in the table and the targets of one server."""
    with contextlib.ExitStack() as stack:
        found = {distance: stack.enter_context(_far(stage, distance / 1000)) for distance in DISTANCES}
        for rounds in (1, scale.closes):  # what is done once is not measured
            for far in found.values():
                far.forget()
            for _ in range(rounds):
                for far in found.values():
                    far.command()
                    far.press()
                    far.window()
    lines = []
    for distance, far in found.items():
        for what, values in far.values.items():
            counts = {
                "round trips": far.round_trips[what] / len(values),
                "connections": far.connections[what] / len(values),
            }
            lines.append(Line(f"{distance} ms: {what}", {**Samples(values).columns(), **counts}))
    report.add(Table(f"Slack at a distance: {stage.label}", HOW, lines))
    for what, most in BEYOND.items():
        beyond = Samples(found[80].values[what]).p50 - Samples(found[0].values[what]).p50
        report.at_most(f"Slack 80 ms away, beyond the same nearby: {what}, on {stage.label}", beyond, most, "ms")


@contextlib.contextmanager
def _far(stage: Stage, round_trip: float) -> Iterator[Far]:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        authority = Authority(folder)
        files = authority.signs("slack", "127.0.0.1")
        slack = FarSandbox()
        servers = tuple(stack.enter_context(FarServer(lambda: slack.port, files, round_trip)) for _ in range(2))
        slack.api, slack.urls = (one.url for one in servers)
        stack.enter_context(slack)
        bot = FarBot(slack, stage.database, folder, access=ACCESS, user="session_bot", password=LOGIN_PASSWORD)
        bot.trusted = authority.file
        stack.enter_context(bot)
        yield Far(stage, slack, (servers[0], servers[1]))
