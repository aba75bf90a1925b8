"""The message that a card is, and the ways to rewrite it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bot.closing.model import CardPlace
from bot.slack.delivery.card_writer import Rewrite, Written
from bot.slack.delivery.message import Message
from bot.slack.delivery.replies import Reply
from bot.slack.delivery.retries import one_try
from bot.slack.slack_errors import SlackError
from bot.slack.views.notices import notice

# Slack takes five messages for one press (docs/slack.md 1.3): an error must get through.
_BY_PRESS = 4


@dataclass(frozen=True, slots=True)
class Messages:
    """The ways to Slack that begin with no press."""

    update: Callable[[CardPlace, Message], Written]  # rewrites a message by its place
    post: Callable[[str, Message], CardPlace | Written]  # posts a message into a channel
    tell: Callable[[str, Message], CardPlace | SlackError]  # sends somebody a direct message


@dataclass(slots=True)
class CardMessage:
    """One card, and the ways to rewrite it: by its place, and by the response URL of a press, five times at most."""

    request_id: str
    reply: Reply | None
    place: CardPlace | None
    update: Callable[[CardPlace, Message], Written]
    urls_left: int = _BY_PRESS
    _last: Message | None = None

    def __post_init__(self) -> None:
        if self.place is not None and not self.place.ts:
            self.place = None

    @property
    def key(self) -> str:
        """What names the message."""
        return key_of(self.place) if self.place is not None else self.request_id

    def write(self, message: Message) -> Written:
        """Rewrite it: by the response URL first, which works in channels that the bot is not in, too."""
        self._last = message
        return self._by((self._by_url, self._by_place), message)

    def write_news(self, message: Message) -> Written:
        """Rewrite it with what the next news make old: by the place first, and once only."""
        with one_try():
            return self._by((self._by_place, self._by_url), message)

    def or_privately(self, written: Written) -> bool:
        """Tell at least the person who pressed, once, where the card does not show it; False where that fails."""
        if self.reply is None or self._last is None or written.taken:
            return written.taken
        told = self.reply.private(notice(self._last.text))
        self.reply = None  # from now on by the place alone
        return told

    def _by(self, ways: Sequence[Rewrite], message: Message) -> Written:
        found: list[Written] = []
        for way in ways:
            written = way(message)
            if written.taken:
                return Written.IN_DOUBT if any(one.in_doubt for one in found) else Written.TAKEN
            found.append(written)
        if any(one.in_doubt for one in found):
            return Written.UNKNOWN  # an answer that was lost included: the same rewrite may be sent again
        return Written.REFUSED if Written.REFUSED in found else Written.GONE

    def _by_place(self, message: Message) -> Written:
        return Written.GONE if self.place is None else self.update(self.place, message)

    def _by_url(self, message: Message) -> Written:
        if self.reply is None or self.urls_left == 0:
            return Written.GONE
        self.urls_left -= 1
        return self.reply.rewrite(message)


def key_of(place: CardPlace) -> str:
    """Name a message for its writer."""
    return f"{place.channel}/{place.ts}"
