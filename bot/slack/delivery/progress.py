"""Tells somebody who waits that it goes on."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from bot.slack.delivery.replies import Reply
from bot.slack.delivery.retries import one_try
from bot.slack.views import notices

_TEXT = "⏳ Still waiting for the database. An answer or an error follows within seconds."


@contextlib.contextmanager
def progress_told(reply: Reply, after: float | None) -> Iterator[None]:
    """Tell the person, once, when what is done here takes longer than ``after`` seconds; None tells nothing."""
    if after is None:
        yield
        return

    def tell() -> None:
        if reply.answering:  # it waits for Slack now
            return
        with one_try():  # no news when it comes after the answer
            reply.private(notices.notice(_TEXT))

    timer = threading.Timer(after, tell)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
