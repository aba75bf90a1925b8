"""The Bolt app: acknowledges first, takes each delivery once, and hands it over to workers."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import structlog
from pydantic import SecretStr
from slack_bolt import Ack, BoltRequest, BoltResponse
from slack_bolt.authorization import AuthorizeResult
from slack_bolt.logger.messages import warning_client_prioritized_and_token_skipped, warning_token_skipped

from bot.errors import BusyError, SessionBotError
from bot.slack import events
from bot.slack.answers import for_delivery_of
from bot.slack.client import Client
from bot.slack.delivery import error_net
from bot.slack.delivery.deduplication import Deduplication
from bot.slack.delivery.outbox import Outbox
from bot.slack.delivery.progress import Alarms, Progress
from bot.slack.delivery.replies import Reply
from bot.slack.delivery.shared_deduplication import SharedDeduplication
from bot.slack.directory import home_of
from bot.slack.telemetry import MeasuredApp, NoTelemetry, Telemetry
from bot.slack.views import notices
from bot.workers import Handed, Jobs, Lane, Rush, Task, Workers

PROGRESS_AFTER = 2.0  # seconds until somebody who waits hears that it goes on
OUTBOX_EVERY = 1.0  # seconds
TOLD_AT_ONCE = 50  # people who are told that their press was turned away; each has a thread
TOLD_WITHIN = 2.0  # seconds for the last of them when the bot ends
TOO_MUCH = "The bot has too much to do at this moment."
RESTARTING = "The bot is being restarted."
NOTHING_DONE = "Nothing was done. Try again in a few seconds."

log = structlog.get_logger(__name__)

Payload = Mapping[str, Any]
Run = Callable[[Payload, Reply], object]
Check = Callable[[Payload, Reply], Mapping[str, str]]  # what is wrong with a modal, by block id
Asks = Callable[[Payload, Reply], events.Asked | None]
Once = Callable[[Payload, Reply], bool]
Asking = Callable[[], AbstractContextManager[None]]  # entered while Slack is asked for this delivery
Listener = Callable[[Ack, dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the bot is, as ``auth.test`` answers.

    ``team`` is its workspace, '' where it is installed in a whole organisation; ``enterprise`` is the organisation,
    '' where the workspace belongs to none.
    """

    team: str
    bot_id: str
    bot_user: str
    enterprise: str = ""

    @classmethod
    def read(cls, client: Client) -> Identity:
        """Ask Slack; raises slack_sdk's errors."""
        answer = client.auth_test()
        team, enterprise = home_of(answer)
        return cls(team, str(answer.get("bot_id") or ""), str(answer["user_id"]), enterprise)


@dataclass(frozen=True, slots=True)
class _Route:
    """A kind of delivery that something of ours answers."""

    kind: Literal["command", "press", "submission", "event", "other"]
    name: str = "other"  # also in logs and metrics: nothing that is not ours gets there
    progress_after: float | None = None


@dataclass(frozen=True, slots=True)
class _Handler:
    """What answers a route now; another one may take its place."""

    run: Run
    check: Check | None = None
    asks: Asks | None = None
    once: Once = lambda _payload, _reply: False  # whether one replica alone may answer it


class SessionBot:
    """Bolt with our way of handling: what commands register is run by workers, never by Bolt's threads."""

    def __init__(
        self,
        client: Client,
        identity: Identity,
        signing_secret: SecretStr | None = None,
        telemetry: Telemetry | None = None,
        shared_deduplication: SharedDeduplication | None = None,
    ) -> None:
        self._client = client
        self._telemetry = telemetry or NoTelemetry()
        self._deduplication = Deduplication()
        self._shared_deduplication = shared_deduplication
        self._outbox = Outbox()
        self._rush = Rush()
        self._workers = Workers()
        self._jobs = Jobs()
        self._alarms = Alarms()
        self._handlers: dict[_Route, _Handler] = {}
        self._stopping = False
        self._telling: list[threading.Thread] = []
        self._telling_lock = threading.Lock()
        self.bolt = _bolt(client, identity, signing_secret, self._telemetry)
        self.periodically(OUTBOX_EVERY, self._outbox.deliver)

    @property
    def waiting(self) -> int:
        """How many deliveries wait for a worker."""
        return self._workers.waiting

    @property
    def stopping(self) -> bool:
        """Whether nothing new is taken any more."""
        return self._stopping

    def waits_for(self, what: str) -> AbstractContextManager[None]:
        """Say that a handler waits for this as long as the block: others are not kept waiting by it."""
        return self._workers.waits_for(what)

    def command(
        self,
        name: str,
        handler: events.CommandHandler,
        *,
        asks: events.CommandAsks | None = None,
        once: events.Once | None = None,
    ) -> None:
        """Answer a slash command. Here and below: from now on, in place of an earlier handler."""
        self._answer(
            _Route("command", name, PROGRESS_AFTER),
            _Handler(
                lambda payload, reply: handler(events.command_of(payload, reply)),
                asks=None if asks is None else lambda payload, reply: asks(events.command_of(payload, reply)),
                once=lambda payload, reply: once is not None and once(events.command_of(payload, reply)),
            ),
            self.bolt.command(name),
        )

    def press(
        self,
        action_id: str,
        handler: events.PressHandler,
        *,
        shows_progress: bool = False,
        asks: events.PressAsks | None = None,
        once: bool = False,
    ) -> None:
        """Answer a press on a button or a choice in a menu."""
        self._answer(
            _Route("press", action_id, None if shows_progress else PROGRESS_AFTER),
            _Handler(
                lambda payload, reply: handler(events.press_of(payload, reply)),
                asks=None if asks is None else lambda payload, reply: asks(events.press_of(payload, reply)),
                once=lambda _payload, _reply: once,
            ),
            self.bolt.action(action_id),
        )

    def submission(self, callback_id: str, check: events.SubmissionCheck, handler: events.SubmissionHandler) -> None:
        """Answer a modal that was submitted, once whichever replica it comes to."""
        self._answer(
            _Route("submission", callback_id),
            _Handler(
                lambda payload, reply: handler(events.submission_of(payload, reply)),
                lambda payload, reply: check(events.submission_of(payload, reply)),
                once=lambda _payload, _reply: True,
            ),
            self.bolt.view(callback_id),
        )

    def home(self, handler: events.HomeHandler) -> None:
        """Fill the app's Home tab when somebody opens it."""

        def run(payload: Payload, reply: Reply) -> None:
            if payload["event"].get("tab", "home") == "home":  # the other tab is the conversation with the bot
                handler(events.HomeOpened(events.person_of(payload), reply, "view" not in payload["event"]))

        home = _Handler(run, asks=lambda _payload, _reply: events.EVERY_SOURCE)
        self._answer(_Route("event", "app_home_opened"), home, self.bolt.event("app_home_opened"))

    def periodically(self, seconds: float, job: Callable[[], None], *, to_the_end: bool = False) -> None:
        """Run a job again and again until ``stop``, or ``to_the_end``: while what is under way is finished."""
        self._jobs.every(seconds, job, to_the_end=to_the_end)

    def register(self, commands: Sequence[Callable[[SessionBot], None]]) -> None:
        """Let each command announce what it answers, then answer the rest: old buttons, other versions.

        Called again it puts other handlers in the place of those before; what is under way goes on with its own.
        """
        for announce in commands:
            announce(self)
        everything = re.compile(".*")
        listens = [kind(everything) for kind in (self.bolt.action, self.bolt.command, self.bolt.view)]
        self._answer(_Route("other"), _Handler(_say_old), *listens)

    def stop(self, close_link: Callable[[], object] | None = None) -> None:
        """Take nothing new and finish what is under way; whoever comes meanwhile, or still waits, is told so.

        ``close_link`` ends the connection to Slack, once nothing is under way and somebody could still be told.
        """
        self._stopping = True
        self._jobs.stop()
        self._workers.stop()
        self._jobs.end()
        if close_link is not None:
            close_link()
        until = time.monotonic() + TOLD_WITHIN
        for thread in self._telling:
            thread.join(max(0.0, until - time.monotonic()))

    def _answer(self, route: _Route, handler: _Handler, *listens: Callable[[Listener], object]) -> None:
        """Let a handler answer a route from now on. The first time Bolt is told as well: it listens in one place."""
        known = route in self._handlers
        self._handlers[route] = handler
        if not known:
            self._telemetry.answers(route.name)
            for listen in listens:
                listen(self._listener(route))

    def _listener(self, route: _Route) -> Listener:
        def listener(ack: Ack, body: dict[str, Any]) -> None:
            check = self._handlers[route].check
            # Not taken as delivered yet: the same modal may be submitted again once it is mended.
            wrong = check(body, self._reply(body)) if check is not None else {}
            if wrong:
                ack(response_action="errors", errors=dict(wrong))
            else:
                self._take(route, ack, body)

        return listener

    def _take(self, route: _Route, ack: Ack, body: Payload) -> None:
        """Acknowledge and hand over. Never raises: Bolt loses the acknowledgement of a listener that does."""
        self._rush.arrived()
        if not self._deduplication.first(events.delivery_of(body)):
            ack()
        else:
            self._hand_over(route, ack, body)

    def _hand_over(self, route: _Route, ack: Ack, payload: Payload) -> None:
        handed = self._workers.hand_over(self._task(route, payload))
        if handed is Handed.TAKEN:
            ack()
            return
        why = TOO_MUCH if handed is Handed.FULL else RESTARTING
        log.warning("turned away", why=why, **error_net.about(payload))
        if not _turn_away(ack, payload, why):
            self._tell_aside(self._reply(payload), f"{why} {NOTHING_DONE}")
        self._telemetry.answered(route.name, "turned away", 0.0)

    def _tell_aside(self, reply: Reply, text: str) -> None:
        """Tell it in a thread of its own: the acknowledgement does not wait for Slack."""
        thread = threading.Thread(target=reply.private, args=(notices.notice(text),), name="turned-away", daemon=True)
        with self._telling_lock, contextlib.suppress(RuntimeError):  # the system gives no more threads
            self._telling = [one for one in self._telling if one.is_alive()]
            if len(self._telling) < TOLD_AT_ONCE:
                thread.start()
                self._telling.append(thread)

    def _task(self, route: _Route, payload: Payload, *, taken: bool = False) -> Task:
        reply = self._reply(payload)
        progress = Progress(reply, route.progress_after, self._alarms)
        asking = partial(for_delivery_of, time.monotonic())
        return Task(
            partial(self._work, route, payload, reply, progress, asking, taken=taken),
            partial(self._lane, route, payload, reply, asking),
            progress.tell,
            partial(self._refuse, route, payload, reply, progress, taken=taken),
        )

    def _take_over(self, route: _Route, payload: Payload) -> None:
        """Answer a delivery, ours now, that the replica which had it has not answered."""
        task = self._task(route, payload, taken=True)
        handed = self._workers.hand_over(task)
        if handed is not Handed.TAKEN and task.refuse is not None:
            task.refuse(f"{TOO_MUCH if handed is Handed.FULL else RESTARTING} {NOTHING_DONE}")

    def _lane(self, route: _Route, payload: Payload, reply: Reply, asking: Asking) -> Lane | None:
        self._rush.stand_back()
        asks = self._handlers[route].asks
        try:
            with asking():
                asked = asks(payload, reply) if asks is not None else None
        except SessionBotError:  # the handler says what is wrong
            return None
        except Exception:
            log.exception("what it asks is not known", what=route.name)
            return None
        return Lane(asked.what, asked.closing) if asked is not None else None

    def _work(
        self, route: _Route, payload: Payload, reply: Reply, progress: Progress, asking: Asking, *, taken: bool
    ) -> None:
        delivery, shared = events.delivery_of(payload), self._shared_deduplication

        def run(payload: Payload, reply: Reply) -> None:
            nonlocal taken
            if self._stopping:
                raise BusyError(f"{RESTARTING} {NOTHING_DONE}")
            handler = self._handlers[route]
            if shared is not None and not taken and handler.once(payload, reply):
                shared.take(delivery, partial(self._take_over, route, payload))
                taken = True
            with asking():
                handler.run(payload, reply)

        try:
            self._answered(run, route, payload, reply, progress)
        finally:
            if shared is not None and taken:
                shared.answered(delivery)

    def _refuse(
        self, route: _Route, payload: Payload, reply: Reply, progress: Progress, sentence: str, *, taken: bool
    ) -> None:
        def refuse(_payload: Payload, _reply: Reply) -> None:
            raise BusyError(sentence)

        self._answered(refuse, route, payload, reply, progress)
        if self._shared_deduplication is not None and taken:
            self._shared_deduplication.answered(events.delivery_of(payload))

    def _answered(
        self,
        run: Callable[[Payload, Reply], None],
        route: _Route,
        payload: Payload,
        reply: Reply,
        progress: Progress,
    ) -> None:
        error_net.answer(
            run,
            payload,
            reply,
            self._telemetry,
            what=route.name,
            progress=progress,
            waits_for=self._workers.waited_for(),
        )

    def _reply(self, payload: Payload) -> Reply:
        person = events.person_of(payload)
        return Reply(
            self._client,
            events.response_url_of(payload),
            events.channel_of(payload),
            person.id,
            home=events.is_at_home(payload),
            telemetry=self._telemetry,
            outbox=self._outbox,
        )


def _bolt(client: Client, identity: Identity, signing_secret: SecretStr | None, telemetry: Telemetry) -> MeasuredApp:
    authorized = AuthorizeResult(
        enterprise_id=identity.enterprise or None,
        team_id=identity.team or None,
        bot_token=client.token,
        bot_id=identity.bot_id,
        bot_user_id=identity.bot_user,
    )
    logger = logging.getLogger("bolt")
    logger.addFilter(_is_news)
    bolt = MeasuredApp(
        client=client,
        # In HTTP mode each request is held against it, also with `authorize`; without one none is taken.
        signing_secret=signing_secret.get_secret_value() if signing_secret else "",
        # Asking Slack who we are for each delivery would stand between it and its acknowledgement.
        authorize=lambda: authorized,
        # Our listeners only acknowledge and hand over, so they run in the thread that received the delivery. In
        # threads of their own, Bolt looks every 10 ms whether they have acknowledged: 16 ms instead of 1 ms.
        process_before_response=True,
        raise_error_for_unhandled_request=True,
        logger=logger,
    )
    bolt.telemetry = telemetry
    bolt.error(_not_handled)
    return bolt


def _is_news(record: logging.LogRecord) -> bool:
    """Drop Bolt's warnings that it ignores SLACK_BOT_TOKEN: the client that it is given has that token."""
    return record.getMessage() not in (warning_token_skipped(), warning_client_prioritized_and_token_skipped())


def _turn_away(ack: Ack, payload: Payload, why: str) -> bool:
    """Say that nothing was done; False for a press, whose acknowledgement cannot carry a text."""
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


def _say_old(payload: Payload, reply: Reply) -> None:
    del payload
    reply.private(
        notices.notice("This bot does not know that command or button. Run /sessions again, or /sessions help.")
    )


def _not_handled(error: Exception, request: BoltRequest, response: BoltResponse | None) -> BoltResponse:
    """Keep Bolt from answering with an error of its own: what it cannot place is acknowledged and logged."""
    log.warning("not handled", error=type(error).__name__, mode=request.mode)
    return response if response is not None and response.status == 200 else BoltResponse(status=200, body="")
