"""The Bolt app: acknowledges first, takes each delivery once, hands work to workers, catches what is left."""

from __future__ import annotations

import logging
import re
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import structlog
from slack_bolt import Ack, BoltRequest, BoltResponse
from slack_bolt.authorization import AuthorizeResult
from slack_sdk import WebClient

from bot.errors import BusyError, SessionBotError
from bot.operations.telemetry import ObservedApp, Observer, Unobserved
from bot.slack import events
from bot.slack.delivery.deduplication import Deliveries, Payload, about, reason, typed
from bot.slack.delivery.outbox import Outbox
from bot.slack.delivery.replies import Reply
from bot.slack.delivery.retries import one_try
from bot.slack.views import notices

WORKERS = 64
QUEUE = 500  # deliveries waiting for a worker; beyond it people are told so
PROGRESS_AFTER = 2.0  # seconds until somebody who waits hears that it goes on
OUTBOX_EVERY = 1.0  # seconds
RESTARTING = "The bot is being restarted."
NOTHING_DONE = "Nothing was done. Try again in a few seconds."

log = structlog.get_logger(__name__)

Handler = Callable[[Payload, Reply], None]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the bot is in its workspace, as ``auth.test`` answers."""

    team: str
    bot_id: str
    bot_user: str

    @classmethod
    def read(cls, client: WebClient) -> Identity:
        """Ask Slack; raises slack_sdk's errors."""
        answer = client.auth_test()
        return cls(str(answer["team_id"]), str(answer.get("bot_id") or ""), str(answer["user_id"]))


class SessionBot:
    """Bolt with our way of handling: what commands register is run by workers, never by Bolt's threads."""

    def __init__(
        self, client: WebClient, identity: Identity, signing_secret: str = "", observer: Observer | None = None
    ) -> None:
        self._client = client
        self._observer = observer or Unobserved()
        self._deliveries = Deliveries()
        self._outbox = Outbox()
        self._workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="worker")
        self._places = threading.BoundedSemaphore(WORKERS + QUEUE)
        self._load = _Load()
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._handlers: dict[tuple[str, str], Handler] = {}
        self._jobs: dict[str, tuple[threading.Thread, Callable[[], None]]] = {}
        authorized = AuthorizeResult(
            enterprise_id=None,
            team_id=identity.team,
            bot_token=client.token,
            bot_id=identity.bot_id,
            bot_user_id=identity.bot_user,
        )
        self.bolt = ObservedApp(
            client=client,
            # In HTTP mode each request is held against it, also with `authorize`; without one none is taken.
            signing_secret=signing_secret,
            # Asking Slack who we are for each delivery would stand between it and its acknowledgement.
            authorize=lambda: authorized,
            # Our listeners only acknowledge and hand over, so they run in the thread that received the delivery. In
            # threads of their own, Bolt looks every 10 ms whether they have acknowledged: 16 ms instead of 1 ms.
            process_before_response=True,
            raise_error_for_unhandled_request=True,
            logger=logging.getLogger("bolt"),
        )
        self.bolt.observer = self._observer
        self.bolt.error(_last_net)
        self.periodically(OUTBOX_EVERY, self._outbox.deliver)

    @property
    def waiting(self) -> int:
        """How many deliveries wait for a worker."""
        return self._load.waiting

    @property
    def stopping(self) -> bool:
        """Whether nothing new is taken any more."""
        return self._stopping.is_set()

    def command(self, name: str, handler: events.CommandHandler) -> None:
        """Answer a slash command. Here and below: from now on, in place of an earlier handler."""

        def listener(ack: Ack, body: dict[str, Any]) -> None:
            self._take(ack, body, ("command", name), PROGRESS_AFTER)

        if self._handles("command", name, lambda payload, reply: handler(events.command_of(payload, reply))):
            self.bolt.command(name)(listener)

    def press(self, action_id: str, handler: events.PressHandler, *, shows_progress: bool = False) -> None:
        """Answer a press on a button or a choice in a menu."""

        def listener(ack: Ack, body: dict[str, Any]) -> None:
            self._take(ack, body, ("press", action_id), None if shows_progress else PROGRESS_AFTER)

        if self._handles("press", action_id, lambda payload, reply: handler(events.press_of(payload, reply))):
            self.bolt.action(action_id)(listener)

    def submission(self, callback_id: str, check: events.SubmissionCheck, handler: events.SubmissionHandler) -> None:
        """Answer a modal that was submitted."""

        def listener(ack: Ack, body: dict[str, Any]) -> None:
            # Not taken as a delivery yet: the same modal may be submitted again once it is mended.
            wrong = check(events.submission_of(body, self._reply(body)))
            if wrong:
                ack(response_action="errors", errors=dict(wrong))
            else:
                self._take(ack, body, ("submission", callback_id), None)

        if self._handles("submission", callback_id, lambda body, reply: handler(events.submission_of(body, reply))):
            self.bolt.view(callback_id)(listener)

    def home(self, handler: events.HomeHandler) -> None:
        """Fill the app's Home tab when somebody opens it."""

        def run(payload: Payload, reply: Reply) -> None:
            handler(events.HomeOpened(events.person_of(payload), reply, "view" not in payload["event"]))

        def listener(ack: Ack, body: dict[str, Any]) -> None:
            if body["event"].get("tab") == "home":  # it also comes for the tab of messages
                self._take(ack, body, ("event", "app_home_opened"), None)
            else:
                ack()

        if self._handles("event", "app_home_opened", run):
            self.bolt.event("app_home_opened")(listener)

    def periodically(self, seconds: float, job: Callable[[], None], *, to_the_end: bool = False) -> None:
        """Run a job again and again until ``stop``; its errors are logged and do not end it.

        ``to_the_end`` goes on while what is under way is finished.
        """
        name = job.__name__
        ends = self._ended if to_the_end else self._stopping

        def repeat() -> None:
            while not ends.wait(seconds):
                try:
                    self._jobs[name][1]()
                except SessionBotError as error:
                    log.warning("job failed", job=name, error=str(error))
                except Exception:
                    log.exception("job failed", job=name)

        known = self._jobs.get(name)
        thread = known[0] if known else threading.Thread(target=repeat, name=f"job-{name}", daemon=True)
        self._jobs[name] = thread, job
        if known is None:
            thread.start()

    def register(self, commands: Sequence[Callable[[SessionBot], None]]) -> None:
        """Let each command announce what it answers, then answer the rest: old buttons, other versions.

        Called again it puts other handlers in the place of those before; what is under way goes on with its own.
        """
        for announce in commands:
            announce(self)

        def old(ack: Ack, body: dict[str, Any]) -> None:
            self._take(ack, body, ("other", ""), None)

        if self._handles("other", "", _say_old):
            self.bolt.action(re.compile(".*"))(old)
            self.bolt.command(re.compile(".*"))(old)
            self.bolt.view(re.compile(".*"))(old)

    def stop(self, close_link: Callable[[], object] | None = None) -> None:
        """Take nothing new and finish what is under way; whoever comes meanwhile, or still waits, is told so.

        ``close_link`` ends the connection to Slack, once nothing is under way and somebody could still be told.
        """
        self._stopping.set()
        self._workers.shutdown(wait=True)
        self._ended.set()
        for thread, _job in self._jobs.values():
            thread.join(timeout=5)
        if close_link is not None:
            close_link()

    def _handles(self, kind: str, name: str, run: Handler) -> bool:
        """Remember who handles it from now on; True the first time, when Bolt must be told as well."""
        first = (kind, name) not in self._handlers
        self._handlers[kind, name] = run
        return first

    def _take(self, ack: Ack, payload: Payload, key: tuple[str, str], progress_after: float | None) -> None:
        """Acknowledge and hand over. Never raises: Bolt loses the acknowledgement of a listener that does."""
        if not self._deliveries.first(events.delivery_of(payload)):
            ack()
        elif not self._places.acquire(blocking=False):
            _turn_away(ack, payload, "The bot has too much to do at this moment.")
            self._observer.answered(key[1] or "other", "turned away", 0.0)
        elif not self._submit(payload, key, progress_after):
            self._places.release()
            if not _turn_away(ack, payload, RESTARTING):
                self._reply(payload).private(notices.notice(f"{RESTARTING} {NOTHING_DONE}"))
            self._observer.answered(key[1] or "other", "turned away", 0.0)
        else:
            ack()

    def _submit(self, payload: Payload, key: tuple[str, str], progress_after: float | None) -> bool:
        self._load.queued()
        try:
            future = self._workers.submit(self._work, payload, key, progress_after)
        except RuntimeError:  # the workers take nothing new while the bot stops
            self._load.begun()
            return False
        future.add_done_callback(self._done)
        return True

    def _refuse_when_stopping(self) -> None:
        if self._stopping.is_set():
            raise BusyError(f"{RESTARTING} {NOTHING_DONE}")

    def _done(self, _future: Future[None]) -> None:
        self._places.release()

    def _work(self, payload: Payload, key: tuple[str, str], progress_after: float | None) -> None:
        self._load.begun()
        error_id = secrets.token_hex(4)
        started = time.monotonic()
        self._deliveries.let_through()
        what = key[1] or "other"  # nothing that is not ours gets into logs and metrics
        with structlog.contextvars.bound_contextvars(id=error_id, rows=None, **about(payload) | {"what": what}):
            reply = self._reply(payload)
            progress = _announce(reply, progress_after)
            outcome, why = "done", {}
            try:
                self._refuse_when_stopping()
                self._handlers[key](payload, reply)
            except SessionBotError as error:
                outcome, why = type(error).__name__, reason(error)
                reply.private(notices.failure(error, error_id, typed(payload)))
            except Exception as error:  # noqa: BLE001  # the last net: it is logged below, and the person is told
                outcome, why = "failed", {"exc_info": error}
                reply.private(notices.unexpected(error_id))
            finally:
                if progress is not None:
                    progress.cancel()
                seconds = time.monotonic() - started
                tell = log.error if outcome == "failed" else log.info
                tell("answered", outcome=outcome, seconds=round(seconds, 3), **why)
                self._observer.answered(what, outcome, seconds)

    def _reply(self, payload: Payload) -> Reply:
        person = events.person_of(payload)
        url = events.response_url_of(payload)
        observed = self._observer.called
        return Reply(self._client, url, events.channel_of(payload), person.id, observed, outbox=self._outbox)


class _Load:
    """Counts what waits for a worker."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.waiting = 0

    def queued(self) -> None:
        with self._lock:
            self.waiting += 1

    def begun(self) -> None:
        with self._lock:
            self.waiting -= 1


def _turn_away(ack: Ack, payload: Payload, why: str) -> bool:
    """Say that nothing was done; False for a press, whose acknowledgement cannot carry a text."""
    log.warning("turned away", why=why, **about(payload))
    text = f"{why} {NOTHING_DONE}"
    inputs = [block for block in (payload.get("view") or {}).get("blocks") or [] if block.get("type") == "input"]
    if "command" in payload:
        ack(text)
    elif payload.get("type") == "view_submission" and inputs:
        ack(response_action="errors", errors={inputs[0]["block_id"]: text})
    else:
        ack()
        return False
    return True


def _announce(reply: Reply, after: float | None) -> threading.Timer | None:
    if after is None:
        return None
    text = "⏳ Still waiting for the database. An answer or an error follows within seconds."

    def tell() -> None:
        if reply.answering:  # it waits for Slack now
            return
        with one_try():  # no news when it comes after the answer
            reply.private(notices.notice(text))

    timer = threading.Timer(after, tell)
    timer.daemon = True
    timer.start()
    return timer


def _say_old(payload: Payload, reply: Reply) -> None:
    del payload
    reply.private(
        notices.notice("This bot does not know that command or button. Run /sessions again, or /sessions help.")
    )


def _last_net(error: Exception, request: BoltRequest, response: BoltResponse | None) -> BoltResponse:
    """Keep Bolt from answering with an error of its own: what it cannot place is acknowledged and logged."""
    log.warning("not handled", error=type(error).__name__, mode=request.mode)
    return response if response is not None and response.status == 200 else BoltResponse(status=200, body="")
