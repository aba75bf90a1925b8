"""The Bolt app: acknowledges first, takes each delivery once, hands work to workers, catches what is left."""

from __future__ import annotations

import logging
import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import structlog
from slack_bolt import Ack, App, BoltRequest, BoltResponse
from slack_bolt.authorization import AuthorizeResult
from slack_sdk import WebClient

from bot.errors import InputError, SessionBotError
from bot.slack import events
from bot.slack.replies import Reply
from bot.slack.views import notices

# Acknowledging is quick, but Bolt holds a thread for each delivery until it is done; its own default
# of 5 misses the three seconds (SLACK.md section 4, measured).
LISTENERS = 64
WORKERS = 64
QUEUE = 500  # deliveries waiting for a worker; beyond it people are told so
PROGRESS_AFTER = 2.0  # seconds until somebody who waits hears that it goes on
REMEMBER = 600.0  # seconds; Slack redelivers within five minutes (SLACK.md section 3)

log = structlog.get_logger(__name__)

Payload = Mapping[str, Any]


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


class Deliveries:
    """Remembers what was delivered: Slack sends some payloads twice."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, float] = OrderedDict()

    def first(self, key: str) -> bool:
        """Whether this is the first time within ten minutes. True for exactly one of any callers."""
        now = self._monotonic()
        with self._lock:
            while self._seen and now - next(iter(self._seen.values())) > REMEMBER:
                self._seen.popitem(last=False)
            if key in self._seen:
                return False
            self._seen[key] = now
            return True


class SessionBot:
    """Bolt with our way of handling: what commands register is run by workers, never by Bolt's threads."""

    def __init__(self, client: WebClient, identity: Identity) -> None:
        self._client = client
        self._deliveries = Deliveries()
        self._workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="worker")
        self._places = threading.BoundedSemaphore(WORKERS + QUEUE)
        self._stopping = threading.Event()
        self._jobs: list[threading.Thread] = []
        authorized = AuthorizeResult(
            enterprise_id=None,
            team_id=identity.team,
            bot_token=client.token,
            bot_id=identity.bot_id,
            bot_user_id=identity.bot_user,
        )
        self.bolt = App(
            client=client,
            # Asking Slack who we are for each delivery would stand between it and its acknowledgement.
            authorize=lambda: authorized,
            listener_executor=ThreadPoolExecutor(LISTENERS, thread_name_prefix="listener"),
            raise_error_for_unhandled_request=True,
            logger=logging.getLogger("bolt"),
        )
        self.bolt.error(_last_net)

    def command(self, name: str, handler: events.CommandHandler) -> None:
        """Answer a slash command."""

        def run(payload: Payload, reply: Reply) -> None:
            handler(events.command_of(payload, reply))

        def listener(ack: Ack, body: dict[str, Any]) -> None:
            self._take(ack, body, run, PROGRESS_AFTER)

        self.bolt.command(name)(listener)

    def press(self, action_id: str, handler: events.PressHandler, *, shows_progress: bool = False) -> None:
        """Answer a press on a button or a choice in a menu."""

        def run(payload: Payload, reply: Reply) -> None:
            handler(events.press_of(payload, reply))

        def listener(ack: Ack, body: dict[str, Any]) -> None:
            self._take(ack, body, run, None if shows_progress else PROGRESS_AFTER)

        self.bolt.action(action_id)(listener)

    def submission(self, callback_id: str, check: events.SubmissionCheck, handler: events.SubmissionHandler) -> None:
        """Answer a modal that was submitted."""

        def run(payload: Payload, reply: Reply) -> None:
            handler(events.submission_of(payload, reply))

        def listener(ack: Ack, body: dict[str, Any]) -> None:
            # Not taken as a delivery yet: the same modal may be submitted again once it is mended.
            wrong = check(events.submission_of(body, self._reply(body)))
            if wrong:
                ack(response_action="errors", errors=dict(wrong))
            else:
                self._take(ack, body, run, None)

        self.bolt.view(callback_id)(listener)

    def home(self, handler: events.HomeHandler) -> None:
        """Fill the app's Home tab when somebody opens it."""

        def run(payload: Payload, reply: Reply) -> None:
            handler(events.HomeOpened(events.person_of(payload), reply, "view" not in payload["event"]))

        def listener(ack: Ack, body: dict[str, Any]) -> None:
            self._take(ack, body, run, None)

        self.bolt.event("app_home_opened")(listener)

    def periodically(self, seconds: float, job: Callable[[], None]) -> None:
        """Run a job again and again until ``stop``; its errors are logged and do not end it."""

        def repeat() -> None:
            while not self._stopping.wait(seconds):
                try:
                    job()
                except SessionBotError as error:
                    log.warning("job failed", job=job.__name__, error=str(error))
                except Exception:
                    log.exception("job failed", job=job.__name__)

        thread = threading.Thread(target=repeat, name=f"job-{job.__name__}", daemon=True)
        self._jobs.append(thread)
        thread.start()

    def register(self, commands: Sequence[Callable[[SessionBot], None]]) -> None:
        """Let each command announce what it answers, then answer the rest: old buttons, other versions."""
        for announce in commands:
            announce(self)

        def old(ack: Ack, body: dict[str, Any]) -> None:
            self._take(ack, body, _say_old, None)

        self.bolt.action(re.compile(".*"))(old)
        self.bolt.command(re.compile(".*"))(old)
        self.bolt.view(re.compile(".*"))(old)

    def stop(self) -> None:
        """Take nothing new and finish what is under way."""
        self._stopping.set()
        self._workers.shutdown(wait=True)
        for thread in self._jobs:
            thread.join(timeout=5)
        self.bolt.listener_runner.listener_executor.shutdown(wait=True)

    def _take(
        self, ack: Ack, payload: Payload, run: Callable[[Payload, Reply], None], progress_after: float | None
    ) -> None:
        """Acknowledge and hand over. Never raises: Bolt loses the acknowledgement of a listener that does."""
        if not self._deliveries.first(_key(payload)):
            ack()
        elif not self._places.acquire(blocking=False):
            _turn_away(ack, payload, "The bot has too much to do at this moment.")
        elif not self._submit(payload, run, progress_after):
            self._places.release()
            _turn_away(ack, payload, "The bot is being restarted.")
        else:
            ack()

    def _submit(self, payload: Payload, run: Callable[[Payload, Reply], None], progress_after: float | None) -> bool:
        try:
            self._workers.submit(self._work, payload, run, progress_after).add_done_callback(self._done)
        except RuntimeError:  # the workers take nothing new while the bot stops
            return False
        return True

    def _done(self, _future: Future[None]) -> None:
        self._places.release()

    def _work(self, payload: Payload, run: Callable[[Payload, Reply], None], progress_after: float | None) -> None:
        error_id = secrets.token_hex(4)
        started = time.monotonic()
        with structlog.contextvars.bound_contextvars(id=error_id, **_about(payload)):
            reply = self._reply(payload)
            progress = _announce(reply, progress_after)
            outcome = "done"
            try:
                run(payload, reply)
            except SessionBotError as error:
                outcome = type(error).__name__
                # What was typed may hold literals of somebody's data: the log gets the kind, the person the sentence.
                log.info("refused", sentence="" if isinstance(error, InputError) else error.sentence)
                reply.private(notices.failure(error, error_id, _typed(payload)))
            except Exception:
                # The last net: whatever it is, the person must not be left without an answer.
                outcome = "failed"
                log.exception("failed")
                reply.private(notices.unexpected(error_id))
            finally:
                if progress is not None:
                    progress.cancel()
                log.info("answered", outcome=outcome, seconds=round(time.monotonic() - started, 3))

    def _reply(self, payload: Payload) -> Reply:
        person = events.person_of(payload)
        return Reply(self._client, events.response_url_of(payload), events.channel_of(payload), person.id)


def _turn_away(ack: Ack, payload: Payload, why: str) -> None:
    """Say that nothing was done; the acknowledgement of a press cannot carry a text."""
    log.warning("turned away", why=why)
    text = f"{why} Nothing was done. Try again in a few seconds."
    inputs = [block for block in (payload.get("view") or {}).get("blocks") or [] if block.get("type") == "input"]
    if "command" in payload:
        ack(text)
    elif payload.get("type") == "view_submission" and inputs:
        ack(response_action="errors", errors={inputs[0]["block_id"]: text})
    else:
        ack()


def _announce(reply: Reply, after: float | None) -> threading.Timer | None:
    if after is None:
        return None
    text = "⏳ Still waiting for the database. An answer or an error follows within seconds."
    timer = threading.Timer(after, lambda: reply.private(notices.notice(text)))
    timer.daemon = True
    timer.start()
    return timer


def _say_old(payload: Payload, reply: Reply) -> None:
    del payload
    reply.private(
        notices.notice("This bot does not know that command or button. Run /sessions again, or /sessions help.")
    )


def _key(payload: Payload) -> str:
    """What names one act of one person: the trigger id, or what Slack sends in its place."""
    for name in ("trigger_id", "event_id"):
        if payload.get(name):
            return f"{name} {payload[name]}"
    actions = payload.get("actions") or [{}]
    person = (payload.get("user") or {}).get("id") or payload.get("user_id")
    view = (payload.get("view") or {}).get("hash")
    act = actions[0].get("action_ts") or payload.get("response_url") or view or secrets.token_hex(8)
    return f"act {act} {person} {actions[0].get('action_id')}"


def _about(payload: Payload) -> dict[str, str]:
    """What the log says of a delivery: no text, which may hold literals, and no URL."""
    person = events.person_of(payload)
    what = (
        payload.get("command")
        or (payload.get("actions") or [{}])[0].get("action_id")
        or (payload.get("view") or {}).get("callback_id")
        or payload.get("type")
    )
    return {"user": person.id, "channel": events.channel_of(payload), "what": str(what)}


def _typed(payload: Payload) -> str:
    return f"{payload['command']} {payload.get('text') or ''}".strip() if "command" in payload else ""


def _last_net(error: Exception, request: BoltRequest, response: BoltResponse | None) -> BoltResponse:
    """Keep Bolt from answering with an error of its own: what it cannot place is acknowledged and logged."""
    log.warning("not handled", error=type(error).__name__, mode=request.mode)
    return response if response is not None and response.status == 200 else BoltResponse(status=200, body="")
