"""The sandbox's page in a browser, with a stand-in for the bot that keeps what it is sent."""

from __future__ import annotations

import contextlib
import json
import queue
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, ViewportSize, expect
from slack_sdk import WebClient

from sandbox.slack.faults import Faults
from sandbox.slack.server import SlackSandbox
from tests.support.patience import PATIENCE

Json = dict[str, Any]
Say = Callable[..., str]

COMMANDS = [
    {
        "command": "/sessions",
        "description": "See sessions",
        "usage_hint": "[tenant=NAME] [active-only] [help]",
    },
    {"command": "/kill-session", "description": "Close a session", "usage_hint": "ID [query]"},
]
DESKTOP: ViewportSize = {"width": 1280, "height": 800}
# A page that the last test left as it found it need not be loaded again.
AT_HOME = """home => globalThis.home === home && location.href === home
    && !document.querySelector("dialog[open]") && document.getElementById("message").value === "" """


class StandIn(ThreadingHTTPServer):
    """Stands for the bot in HTTP mode: keeps payloads, acknowledges with `answer`, or only once it is released."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.payloads: queue.Queue[Json] = queue.Queue()
        self.received = 0  # since the last `settled`
        self.answer: Json = {}
        self.held = threading.Event()
        self.released = threading.Event()

    def next(self) -> Json:
        """Return the next payload that came in."""
        return self.payloads.get(timeout=PATIENCE)

    def hold(self) -> None:
        """Let the next acknowledgements wait."""
        self.released.clear()
        self.held.set()

    def release(self) -> None:
        """Send what waits, and acknowledge at once again."""
        self.held.clear()
        self.released.set()

    def settled(self, sandbox: SlackSandbox) -> None:
        """Return when all that the sandbox has sent is here, also what it has given up waiting for."""
        sent = len(sandbox.take_acks())
        sandbox.wait_for(lambda: self.received >= sent, what="the last payload")
        self.received = 0

    def forget(self) -> None:
        """Begin anew for the next test."""
        self.answer = {}
        self.release()
        self.payloads = queue.Queue()


class _Handler(BaseHTTPRequestHandler):
    server: StandIn

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.headers.get_content_type() == "application/json":
            payload = json.loads(body)
        else:
            fields = dict(parse_qsl(body))
            payload = json.loads(fields["payload"]) if "payload" in fields else fields
        self.server.payloads.put(payload)
        self.server.received += 1
        if self.server.held.is_set():
            self.server.released.wait(PATIENCE)
        answer = json.dumps(self.server.answer).encode() if payload.get("type") == "view_submission" else b""
        with contextlib.suppress(OSError):  # Slack gave up waiting, as some tests want
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@pytest.fixture(scope="session")
def the_bot() -> Iterator[StandIn]:
    with StandIn() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def sandbox(the_bot: StandIn) -> Iterator[SlackSandbox]:
    url = f"http://127.0.0.1:{the_bot.server_port}/slack/events"
    with SlackSandbox(commands=COMMANDS, request_url=url, ack_within=PATIENCE) as running:
        running.limits.rates.clear()  # many tests share this one workspace
        yield running


@pytest.fixture
def bot(the_bot: StandIn) -> StandIn:
    the_bot.forget()
    return the_bot


@pytest.fixture
def hasty(sandbox: SlackSandbox) -> Iterator[Faults]:
    """Let Slack wait less long for acknowledgements, where none comes."""
    sandbox.faults.ack_within = 0.3
    yield sandbox.faults
    sandbox.faults.ack_within = PATIENCE


@pytest.fixture(scope="session")
def client(sandbox: SlackSandbox) -> WebClient:
    return WebClient(token=sandbox.world.bot_token, base_url=sandbox.api_url)


@pytest.fixture
def say(client: WebClient) -> Say:
    """Post blocks as the bot into #incident; returns the ts."""

    def post(*blocks: Json, text: str = "fallback text", channel: str = "C01INC") -> str:
        answer = client.chat_postMessage(channel=channel, text=text, blocks=list(blocks) or None)
        return str(answer["ts"])

    return post


@pytest.fixture(scope="session")
def context(page_browser: Browser) -> Iterator[BrowserContext]:
    expect.set_options(timeout=1000 * PATIENCE)
    made = page_browser.new_context(viewport=DESKTOP, locale="en-US", timezone_id="Europe/Lisbon")
    made.set_default_timeout(1000 * PATIENCE)
    made.grant_permissions(["clipboard-read", "clipboard-write"])
    yield made
    made.close()


@pytest.fixture(scope="session")
def troubles() -> list[str]:
    """What the browser complained of: errors, warnings and violations of the security policy."""
    return []


@pytest.fixture(scope="session")
def tab(context: BrowserContext, troubles: list[str]) -> Page:
    opened = context.new_page()
    opened.on("console", lambda message: _note(troubles, message.type, message.text))
    opened.on("pageerror", lambda error: troubles.append(str(error)))
    return opened


@pytest.fixture(scope="session")
def under_way(tab: Page) -> set[Request]:
    """The page's requests that are not answered yet."""
    unanswered: set[Request] = set()

    def begins(request: Request) -> None:
        unanswered.add(request)

    def ends(request: Request) -> None:
        unanswered.discard(request)

    tab.on("request", begins)
    tab.on("requestfinished", ends)
    tab.on("requestfailed", ends)
    return unanswered


@pytest.fixture
def page(
    tab: Page, sandbox: SlackSandbox, bot: StandIn, troubles: list[str], under_way: set[Request]
) -> Iterator[Page]:
    """Show the page to Alice in #incident; afterwards nothing is under way and nothing may have gone wrong in it."""
    home = f"{sandbox.page_url}?as=U01ALICE&channel=C01INC"
    if not tab.evaluate(AT_HOME, home):
        tab.goto(home)
        tab.evaluate("globalThis.home = location.href")
    expect(tab.get_by_role("heading", name="incident")).to_be_visible()
    yield tab
    tab.unroute_all()
    tab.set_viewport_size(DESKTOP)
    bot.release()
    deadline = time.monotonic() + PATIENCE
    while under_way:
        assert time.monotonic() < deadline, f"never answered: {under_way}"
        tab.wait_for_timeout(5)  # in which the browser's news are heard
    _close_modals(sandbox)
    bot.settled(sandbox)
    complaints = troubles.copy()
    troubles.clear()
    assert complaints == []


def _note(troubles: list[str], kind: str, text: str) -> None:
    if kind in ("error", "warning"):
        troubles.append(text)


def _close_modals(sandbox: SlackSandbox) -> None:
    with urllib.request.urlopen(sandbox.page_url + "page/state?as=U01ALICE") as answer:
        views = json.load(answer)["views"]
    for view in reversed(views):
        body = json.dumps({"as": "U01ALICE", "view_id": view["id"]}).encode()
        request = urllib.request.Request(sandbox.page_url + "page/close", body, {"Content-Type": "application/json"})
        urllib.request.urlopen(request).close()
