"""Socket Mode: the app's link to Slack, which is there whenever Slack lets it, and says whether it is."""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import structlog
from slack_bolt import App
from slack_bolt.adapter.socket_mode.internals import run_bolt_app, send_response
from slack_sdk.socket_mode.client import BaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest

from bot.sessions.uptime import since_boot
from bot.slack.app_socket import FROZEN_AFTER, LATE, AppSocket, Message
from bot.slack.client import Client
from bot.slack.delivery.retries import one_try
from bot.slack.slack_errors import SlackError

TEND_EVERY = 0.5  # seconds
STEADY_AFTER = 30.0  # seconds after which the end of a socket is Slack's way, and no trouble
LONGEST_PAUSE = 30.0  # seconds between two openings, where Slack itself answers
LONGEST_PAUSE_UNREACHED = 10.0  # seconds, where it does not: nobody is asked in vain
LONGEST_WAIT = 300.0  # seconds that are waited where Slack asks for it
TOLD_AGAIN_AFTER = 600.0  # seconds until the same trouble is told again
KEPT_BESIDE = 60.0  # seconds for which one that Slack asks to go, and does not close, stays open beside the next
ENDS_WITHIN = 2.0  # seconds that all sockets together have to end when the link does
CALL_WITHIN = 4  # seconds for each piece of an answer of apps.connections.open
DISPATCHERS = 10  # threads that take deliveries; each is acknowledged within milliseconds

log = structlog.get_logger("bot")


class SocketLink:
    """Keeps one socket open, and while it is replaced two.

    ``tell`` is told of each change of ``connected``. ``cut_off`` is called when Slack refuses the token or the app
    after it had let them in: nothing helps then until somebody changes that.
    """

    def __init__(
        self,
        app: App,
        client: Client,
        app_token: str,
        tell: Callable[[bool], None] = lambda _connected: None,
        cut_off: Callable[[], None] = lambda: None,
    ) -> None:
        self._app = app
        # A client of its own, which is patient for less long than one that sends answers.
        self._client = Client(app_token, client.base_url, timeout=CALL_WITHIN, telemetry=client.telemetry)
        self._tell = tell
        self._cut_off = cut_off
        self._pool = ThreadPoolExecutor(DISPATCHERS, "slack-delivery")
        self._thread = threading.Thread(target=self._run, name="slack-link", daemon=True)
        self._changed = threading.Event()
        self._closing = False
        self._current: AppSocket | None = None
        self._old: tuple[AppSocket, ...] = ()
        self._not_before = 0.0
        self._failures = 0  # sockets in a row that did not open or ended young
        self._flaps = 0  # those among them that Slack had greeted
        self._told: dict[str, float] = {}  # when each trouble was told last, by its word
        self._untold_end = False  # whether somebody was told of a trouble, and not yet that it is over
        self._connected = False
        self._away_since = since_boot()
        self.settled = threading.Event()
        """Set as soon as Slack delivers for the first time, or refuses for good."""
        self.refusal: SlackError | None = None
        """Why Slack refuses the token or the app."""

    def start(self) -> None:
        """Open the link, in the background."""
        self._thread.start()

    def connected(self) -> bool:
        """Whether Slack delivers here: a greeting that has held, and pings that are answered since.

        After several sockets that ended young, one is believed only once it has lasted for a while.
        """
        now, hold = since_boot(), _growing(self._flaps, LONGEST_PAUSE) if self._flaps > 1 else 0.0
        return any(
            one.delivers(now) and one.greeted_at is not None and now - one.greeted_at >= hold for one in self._sockets
        )

    def close(self) -> None:
        """Acknowledge what has come, then close the sockets."""
        self._closing = True
        self._changed.set()
        if self._thread.is_alive():
            self._thread.join()
        self._pool.shutdown()
        sockets, until = self._sockets, time.monotonic() + ENDS_WITHIN
        for one in sockets:
            one.end()
        for one in sockets:
            one.end(wait=max(0.0, until - time.monotonic()))
        self._client.close()

    @property
    def _sockets(self) -> tuple[AppSocket, ...]:
        current, old = self._current, self._old
        return old if current is None else (current, *old)

    def _run(self) -> None:
        looked_at = since_boot()
        while not self._closing and self.refusal is None:
            now = since_boot()
            was_frozen, looked_at = now - looked_at >= FROZEN_AFTER, now
            try:
                if not was_frozen:  # else the sockets are heard first
                    self._tend(now)
            except Exception:  # this thread is the only way to Slack
                log.exception("the link to Slack was not looked after")
            self._changed.wait(TEND_EVERY)
            self._changed.clear()

    def _tend(self, now: float) -> None:
        current = self._current
        if current is not None and current.is_over(now):
            self._old, self._current = (*self._old, current), None
            self._judge(current, now)
        elif current is not None and current.lasted(now) >= STEADY_AFTER:
            self._failures = self._flaps = 0
            self._told.clear()
        if self._current is None and now >= self._not_before and self.refusal is None:
            self._current = AppSocket(self._address, self._client.ssl, self._take, self._changed.set)
            self._current.start()
        replaced = self._current is not None and self._current.delivers(now)
        for one in self._old:
            kept_until = now if one.leaves_since is None else one.leaves_since + KEPT_BESIDE
            if one.is_silent(now) or (replaced and now >= kept_until):
                one.end()
        self._old = tuple(one for one in self._old if not one.ended)
        self._note(now)

    def _address(self) -> str:
        with one_try():  # the next try is another socket
            return str(self._client.apps_connections_open(app_token=self._client.token or "")["url"])

    def _judge(self, one: AppSocket, now: float) -> None:
        """Say when the next socket is opened, by how this one went: at once where it had lasted."""
        problem = one.problem or (LATE if one.greeted_at is None else None)
        self._not_before = now
        if problem is not None and problem.authorization:
            self._refuse(problem)
        elif one.lasted(now) >= STEADY_AFTER and (problem is None or not problem.reached):
            if one.leaves_since is None:
                log.info("socket to Slack ended, opening another", why=problem.why if problem is not None else None)
        else:
            self._failures += 1
            self._flaps += one.greeted_at is not None
            if one.greeted_at is None or self._failures > 1:
                self._not_before += self._pause(problem)
            if problem is not None and (one.greeted_at is None or problem.reached or self._failures > 1):
                self._warn(problem, now)

    def _pause(self, problem: SlackError | None) -> float:
        longest = LONGEST_PAUSE if problem is None or problem.reached else LONGEST_PAUSE_UNREACHED
        pause = _growing(self._failures, longest) * random.uniform(0.5, 1)  # noqa: S311  # no secret
        asked = problem.wait if problem is not None else None
        return max(pause, min(asked or 0.0, LONGEST_WAIT))

    def _warn(self, problem: SlackError, now: float) -> None:
        """Tell of a trouble, and of the same one again only after a while."""
        if now - self._told.get(problem.word, -TOLD_AGAIN_AFTER) >= TOLD_AGAIN_AFTER:
            self._told[problem.word] = now
            self._untold_end = True
            log.warning(
                "no connection to Slack, trying again", error=problem.word, why=problem.why, advice=problem.advice
            )

    def _note(self, now: float) -> None:
        connected = self.connected()
        if connected == self._connected:
            return
        self._connected = connected
        self._tell(connected)
        if not connected:
            self._away_since = now
            return
        self.settled.set()
        if self._untold_end:
            self._untold_end = False
            log.info("Slack delivers here again", away_seconds=round(now - self._away_since, 1))

    def _refuse(self, problem: SlackError) -> None:
        self.refusal = problem
        cut_off = self.settled.is_set()
        self.settled.set()
        if cut_off:
            log.error("Slack refuses the bot", error=problem.word, why=problem.why, advice=problem.advice)
            self._cut_off()

    def _take(self, socket: AppSocket, message: Message) -> None:
        try:
            request = SocketModeRequest.from_dict(dict(message))
        except ValueError:  # a payload of another kind: the next delivery is none the worse for it
            request = None
        if request is None:
            log.warning("message of Slack's not understood", kind=str(message.get("type"))[:50])
        else:
            with contextlib.suppress(RuntimeError):  # the link is being closed: Slack delivers once more, elsewhere
                self._pool.submit(self._dispatch, socket, request)

    def _dispatch(self, socket: AppSocket, request: SocketModeRequest) -> None:
        began = time.time()
        try:
            response = run_bolt_app(self._app, request)
            # Where its own socket has ended meanwhile, another one takes the answer: it names the delivery.
            send_response(_Answers((socket, *self._sockets)), request, response, began)
        except Exception:
            log.exception("delivery not taken")


def _growing(times: int, longest: float) -> float:
    """Return a second for the first time and twice as much for each after it; hours of failures are a large number."""
    return min(longest, 2.0 ** min(times - 1, 10))


class _Answers(BaseSocketModeClient):
    """What Bolt's adapter sends an acknowledgement by: the first of these sockets that is open."""

    def __init__(self, sockets: Iterable[AppSocket]) -> None:
        self.logger = logging.getLogger(__name__)
        self._sockets = sockets

    def send_message(self, message: str) -> None:
        """Send it; where no socket is open Slack delivers once more."""
        if not any(socket.send(message) for socket in self._sockets):
            log.info("an acknowledgement could not be sent, Slack delivers once more")
