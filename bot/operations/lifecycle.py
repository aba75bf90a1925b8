"""How the process ends and reads its configuration again: signals, and what is left of the time when it ends."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import structlog

from bot.errors import ConfigurationError, StoppedError
from bot.slack.delivery.retries import one_try
from bot.slack.slack_errors import CALL_ERRORS, slack_error
from bot.slack.socket_mode import LONGEST_PAUSE, LONGEST_WAIT, SocketLink

# Seconds since SIGTERM. A close looks for up to 15 s whether it worked; whoever stops the bot waits for 20 s.
CUT_SHORT_AFTER = 16.5
EXIT_AFTER = 18.5

log = structlog.get_logger("bot")

# Seconds. The system may give a signal to any thread, and Python handles it in this one: only when that runs again.
NOTICED_WITHIN = 1.0

T = TypeVar("T")


def ignore_hangups() -> None:
    """Live through a SIGHUP that comes before there is anything to read again."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


class Signals:
    """SIGTERM and Ctrl-C end the bot, SIGHUP makes it read its configuration again.

    ``failed`` says that the bot ended itself.
    """

    def __init__(self) -> None:
        # A handler may run in the middle of anything: this queue's `put` is made for that, an Event's `set` is not.
        self._came: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.ended = False
        self.failed = False
        self._hung_up = False  # while the bot started
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, _frame: self._came.put(number))

    def fail(self) -> None:
        """End the bot from within, so that whoever runs it starts it again."""
        self.failed = True
        self._came.put(signal.SIGTERM)

    def end_within(self, seconds: float) -> bool:
        """Wait that long; True once the bot is told to end, at once then."""
        until = time.monotonic() + seconds
        while not self.ended:
            try:
                hung_up = self._take(self._came.get(timeout=max(0.0, until - time.monotonic())))
                self._hung_up = self._hung_up or hung_up
            except queue.Empty:
                return False
        return True

    def wait(self, reload: Callable[[], None]) -> None:
        """Wait for the end; call ``reload`` for each SIGHUP before it, for those of before at once."""
        if self._hung_up:
            reload()
        while not self.ended:
            with contextlib.suppress(queue.Empty):
                if self._take(self._came.get(timeout=NOTICED_WITHIN)):
                    reload()

    def _take(self, number: int) -> bool:
        self.ended = self.ended or number != signal.SIGHUP
        return number == signal.SIGHUP


class Grace:
    """Sleeps for those who look whether a close has worked, until the bot runs out of time."""

    def __init__(self) -> None:
        self._over = threading.Event()

    def wait(self, seconds: float) -> None:
        """Sleep; raises ``StoppedError`` when the bot cannot wait any longer."""
        if self._over.wait(seconds):
            raise StoppedError(
                "The bot is being stopped and cannot look on. What was sent is on record; once the bot is back, "
                "it looks again and the card says what came of it."
            )

    def end_in_time(self) -> None:
        """Cut short what still waits, then end the process whatever hangs: the record is finished at the next start."""
        for seconds, act in ((CUT_SHORT_AFTER, self._over.set), (EXIT_AFTER, _exit)):
            timer = threading.Timer(seconds, act)
            timer.daemon = True
            timer.start()


def until_slack_answers(ask: Callable[[], T], signals: Signals, token: str) -> T | None:
    """Ask again and again, since Slack may be away for a while; None when told to end meanwhile.

    Raises ``ConfigurationError`` where Slack refuses the token, by its setting, or the app: that does not pass.
    """
    pause = 1.0
    while not signals.end_within(0):
        try:
            with one_try():  # this loop is patient enough
                return ask()
        except CALL_ERRORS as error:
            what = slack_error(error)
            if what.authorization:
                raise ConfigurationError([what.refusing(token)]) from error
            wait = max(pause, min(what.wait or 0.0, LONGEST_WAIT))
            log.warning("Slack does not answer, trying again", seconds=wait, error=what.word, why=what.why)
            signals.end_within(wait)
            pause = min(pause * 2, LONGEST_PAUSE)
    return None


def until_slack_delivers(link: SocketLink, signals: Signals) -> bool:
    """Wait for the first greeting of Slack's; False when told to end meanwhile.

    Raises ``ConfigurationError`` where Slack refuses the token or the app: that does not pass.
    """
    while not link.settled.wait(NOTICED_WITHIN / 10):
        if signals.end_within(0):
            return False
    if link.refusal is not None:
        raise ConfigurationError([link.refusal.refusing("SLACK_APP_TOKEN")])
    return True


def _exit() -> None:
    log.warning("stopped in the middle", after=EXIT_AFTER)
    os._exit(0)  # threads that hang in a database would keep the process
