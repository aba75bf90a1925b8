"""Which channels are shared with other organisations (Slack Connect). Payloads do not say: Slack is asked."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import structlog
from slack_sdk import WebClient

from bot.slack.answers import LAST_ANSWER_SECONDS, Answers, Unanswered, WaitsFor
from bot.slack.slack_errors import CALL_ERRORS, slack_error

log = structlog.get_logger(__name__)


class SharedChannels:
    """Asks once for each channel and remembers the answer for ten minutes.

    A channel of which Slack does not say it counts as not shared: one without the scope ``channels:read``, or for a
    private one ``groups:read``; a private one that the bot is not in; and any while Slack gives no answer
    (docs/slack.md 5.3).
    """

    def __init__(
        self,
        client: WebClient,
        waits_for: WaitsFor = lambda _what: contextlib.nullcontext(),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._answers = Answers(
            self._ask, lambda _channel: False, waits_for, monotonic, what="channels", fresh_for=LAST_ANSWER_SECONDS
        )

    def is_shared(self, channel: str) -> bool:
        """Whether Slack says that people of other organisations read that channel; never of a direct message."""
        if not channel or channel.startswith("D"):
            return False
        try:
            return self._answers.get(channel, wait=False)
        except Unanswered:
            return False

    def _ask(self, channel: str) -> bool:
        try:
            found = self._client.conversations_info(channel=channel).get("channel") or {}
        except CALL_ERRORS as error:
            what = slack_error(error)
            if not what.final:
                raise
            log.warning("not known whether a channel is shared", channel=channel, error=what.word)
            return False
        return bool(found.get("is_ext_shared"))
