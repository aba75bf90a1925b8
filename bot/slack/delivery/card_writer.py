"""One writer for each card: one call at a time, the newest state only, and again where the end of a call is unknown.

A call that was given up may still be carried out, seconds later, and put an older state in the place of a newer one.
Whoever has news of a card hands it over and never waits for Slack.
"""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import structlog

from bot.errors import SessionBotError
from bot.slack.delivery.message import Message

WRITERS = 8  # calls at a time; each card has one
AGAIN_AFTER = (5.0, 30.0, 120.0)  # seconds after a call of which the end is not known

log = structlog.get_logger(__name__)


class Written(enum.Enum):
    """What is known of a message that was to be rewritten."""

    TAKEN = "taken"
    REFUSED = "refused"  # it was not carried out
    GONE = "gone"  # it was not, and never will be: what it was meant for is gone, or closed to the bot
    UNKNOWN = "unknown"  # it may have been, or may still be
    LOST = "answer lost"  # it left whole and was carried out as a rule, but nobody said so
    IN_DOUBT = "taken, in doubt"  # it was, but one of which the end is not known may come after it

    @property
    def taken(self) -> bool:
        """Whether people see it."""
        return self in (Written.TAKEN, Written.IN_DOUBT)

    @property
    def in_doubt(self) -> bool:
        """Whether something else may still come in its place."""
        return self in (Written.UNKNOWN, Written.LOST, Written.IN_DOUBT)


Rewrite = Callable[[Message], Written]
Render = Callable[[], Message | None]  # None where there is nothing to show
OnWritten = Callable[[Written], object]


@dataclass(slots=True)
class _Card:
    rewrite: Rewrite
    render: Render
    on_written: OnWritten | None
    due: float | None  # when the newest state is to be written, None once it has been
    version: int = 0
    again: list[float] = field(default_factory=list)  # when it is written once more though it has been
    begun: bool = False  # whether any state of it has been handed to Slack
    writing: bool = False
    doubtful_until: float = 0.0  # a call of which the end is not known may be carried out until then

    @property
    def busy(self) -> bool:
        """Whether it is being written, or will be."""
        return self.writing or self.due is not None or bool(self.again)

    def next(self) -> float | None:
        """When there is something to do, None while it is written."""
        times = [one for one in (self.due, *self.again[:1]) if one is not None]
        return None if self.writing else min(times, default=self.doubtful_until)


class CardWriter:
    """Hand over with ``put``; ``close`` writes what is left."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._cards: dict[str, _Card] = {}
        self._pool = ThreadPoolExecutor(WRITERS, thread_name_prefix="card")
        self._closed = False
        threading.Thread(target=self._run, name="cards", daemon=True).start()

    def put(
        self,
        key: str,
        rewrite: Rewrite,
        render: Render,
        *,
        after: float = 0.0,
        on_written: OnWritten | None = None,
        in_doubt: bool = False,
    ) -> None:
        """Write a new state of a card, in ``after`` seconds at the latest and unless there is a newer one by then.

        ``render`` is asked for it at that moment; ``on_written`` hears what came of it. ``in_doubt`` says that a call
        of an earlier process may still be carried out.
        """
        due = self._monotonic() + after
        with self._changed:
            card = self._cards.get(key)
            if card is None:
                self._cards[key] = _Card(rewrite, render, on_written, due)
            else:
                card.rewrite, card.render, card.on_written = rewrite, render, on_written
                card.due = due if card.due is None else min(card.due, due)
                card.version += 1
            if in_doubt:
                self._cards[key].doubtful_until = self._monotonic() + AGAIN_AFTER[-1]
            self._changed.notify_all()

    def withdraw(self, key: str) -> bool:
        """Write nothing after all; True where the card still stands as it was before what was put."""
        with self._changed:
            card = self._cards.get(key)
            if card is None or card.begun:
                return False
            del self._cards[key]
            return True

    def has(self, key: str) -> bool:
        """Whether it is at a card, or will be by itself."""
        with self._changed:
            return key in self._cards and self._cards[key].busy

    def settle(self, seconds: float) -> None:
        """Write at once what has not been written, and wait for it no longer than that."""
        with self._changed:
            for card in self._cards.values():
                card.due = None if card.due is None else min(card.due, self._monotonic())
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: not any(one.writing or one.due is not None for one in self._cards.values()), seconds
            )

    def close(self, seconds: float) -> None:
        """Write what has not been written, as far as that can be done within so many seconds, and nothing more."""
        self.settle(seconds)
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self) -> None:
        with self._changed:
            while not self._closed:
                now = self._monotonic()
                times = {key: at for key, card in self._cards.items() if (at := card.next()) is not None}
                for key in [key for key, at in times.items() if at <= now]:
                    if not self._cards[key].busy:
                        del self._cards[key]  # nothing that is in doubt comes any more
                        continue
                    self._cards[key].writing = self._cards[key].begun = True
                    self._pool.submit(self._write, key)
                later = [at - now for at in times.values() if at > now]
                self._changed.wait(min(later) if later else None)

    def _write(self, key: str) -> None:
        with self._changed:
            card = self._cards[key]
            version, rewrite, render = card.version, card.rewrite, card.render
            now = self._monotonic()
            news = card.due is not None and card.due <= now
            card.due = None if news else card.due
            card.again = [at for at in card.again if at > now]
        written = _tried(rewrite, render)
        with self._changed:
            now = self._monotonic()
            in_doubt = written is not None and written.in_doubt
            if news and (in_doubt or now < card.doubtful_until):
                card.again = [now + pause for pause in AGAIN_AFTER]
            if in_doubt:
                card.doubtful_until = now + AGAIN_AFTER[-1]
            if written is Written.TAKEN and card.again:
                written = Written.IN_DOUBT
            on_written = card.on_written if card.version == version else None  # of an older state nobody needs to hear
        if on_written is not None and written is not None:
            _tell(on_written, written)  # while it still counts as being written: a bot that ends waits for it
        with self._changed:
            card.writing = False
            self._changed.notify_all()


def _tried(rewrite: Rewrite, render: Render) -> Written | None:
    try:
        message = render()
        return rewrite(message) if message is not None else None
    except SessionBotError as error:  # what it shows could not be read
        log.warning("card not written", error=error.sentence)
    except Exception:
        log.exception("card not written")
    return Written.REFUSED


def _tell(on_written: OnWritten, written: Written) -> None:
    try:
        on_written(written)
    except SessionBotError as error:  # the card is shown all the same
        log.warning("card written, but not noted", error=error.sentence)
    except Exception:
        log.exception("card written, but not noted")
